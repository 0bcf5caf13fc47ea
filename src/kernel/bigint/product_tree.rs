//! Products of many limbs: a balanced tree.

use super::limbs::{mul_limb, trim};
use super::mul::{mul, mul_scratch_limbs};

/// Factors that are multiplied one after another at a leaf of the tree.
const LEAF: usize = 24;

/// Limbs of scratch memory that [`product`] needs for `factors` factors.
#[must_use]
pub fn product_scratch_limbs(factors: usize) -> usize {
    if factors <= LEAF {
        return 0;
    }
    let half = factors.div_ceil(2);
    // A shorter product may take a longer transform, of a length that costs less: by no more than
    // the largest ratio of the costs of lengths, 5 / 4.
    let mul = mul_scratch_limbs(half, half) / 4 * 5 + 5;
    factors + product_scratch_limbs(half).max(mul)
}

/// The product of `factors` into `out`; returns its limbs, without zeros at the end. The product of
/// nothing is 1.
///
/// # Panics
///
/// If `out` has fewer limbs than there are factors, or none, or `scratch` fewer than
/// [`product_scratch_limbs`].
///
/// # Examples
///
/// ```
/// use brigade::kernel::bigint::product;
/// let mut out = [0; 3];
/// assert_eq!(product(&mut out, &[1 << 40, 1 << 30, 3], &mut []), 2);
/// assert_eq!(out[..2], [0, 3 << 6]);
/// ```
pub fn product(out: &mut [u64], factors: &[u64], scratch: &mut [u64]) -> usize {
    if factors.len() <= LEAF {
        out[0] = 1;
        let mut limbs = 1;
        for &factor in factors {
            let carry = mul_limb(&mut out[..limbs], factor, 0);
            if carry > 0 {
                out[limbs] = carry;
                limbs += 1;
            }
        }
        return trim(&out[..limbs]).len();
    }
    let (left, right) = factors.split_at(factors.len().div_ceil(2));
    let (x, rest) = scratch.split_at_mut(left.len());
    let (y, rest) = rest.split_at_mut(right.len());
    let x_limbs = product(x, left, rest);
    let y_limbs = product(y, right, rest);
    let out = &mut out[..x_limbs + y_limbs];
    mul(out, &x[..x_limbs], &y[..y_limbs], rest);
    trim(out).len()
}

//! Products of many limbs or numbers, by a balanced tree.

use super::limbs::{mul_limb, trim};
use super::mul::{mul, mul_scratch_limbs, square, square_scratch_limbs};

/// The factors that are multiplied one after another at a leaf of the tree.
const LEAF: usize = 24;

/// Limbs of scratch memory that [`product`] needs for `factors` factors.
///
/// # Examples
///
/// ```
/// use brigade::kernel::bigint::{product, product_scratch_limbs};
/// let factors = [3; 100];
/// let (mut out, mut scratch) = ([0; 100], vec![0; product_scratch_limbs(100)]);
/// assert_eq!(product(&mut out, &factors, &mut scratch), 3); // 3^100 has 159 bits
/// ```
#[must_use]
pub fn product_scratch_limbs(factors: usize) -> usize {
    if factors <= LEAF {
        return 0;
    }
    let half = factors.div_ceil(2);
    // A shorter product may take a longer transform, of a length that costs less: longer by at most
    // the largest ratio of the costs of lengths, 5 / 4.
    let mul = mul_scratch_limbs(half, half) / 4 * 5 + 5;
    factors + product_scratch_limbs(half).max(mul)
}

/// Writes the product of `factors` to `out`; returns its limbs, without zeros at the end. The
/// product of no factors is 1.
///
/// # Panics
///
/// If `out` has fewer limbs than there are factors, or none, or `scratch` has fewer than
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

/// Multiplies `factor` into the last word, or appends it if the product does not fit.
pub(super) fn push_factor(words: &mut Vec<u64>, factor: u64) {
    match words.last_mut().map(|word| (word.checked_mul(factor), word)) {
        Some((Some(product), word)) => *word = product,
        _ => words.push(factor),
    }
}

/// The product of `factors` without zero limbs at the end; `scratch` grows as needed.
pub(crate) fn product_of_all(factors: &[&[u64]], scratch: &mut Vec<u64>) -> Vec<u64> {
    match *factors {
        [] => vec![1],
        [factor] => factor.to_vec(),
        [x, y] => product_of(x, y, scratch),
        _ => {
            let (left, right) = factors.split_at(factors.len() / 2);
            let (x, y) = (product_of_all(left, scratch), product_of_all(right, scratch));
            product_of(&x, &y, scratch)
        }
    }
}

/// `a b` without zero limbs at the end.
pub(super) fn product_of(a: &[u64], b: &[u64], scratch: &mut Vec<u64>) -> Vec<u64> {
    scratch.resize(mul_scratch_limbs(a.len(), b.len()).max(scratch.len()), 0);
    let mut out = vec![0; a.len() + b.len()];
    mul(&mut out, a, b, scratch);
    out.truncate(trim(&out).len());
    out
}

/// `a^2` without zero limbs at the end.
pub(super) fn square_of(a: &[u64], scratch: &mut Vec<u64>) -> Vec<u64> {
    scratch.resize(square_scratch_limbs(a.len()).max(scratch.len()), 0);
    let mut out = vec![0; 2 * a.len()];
    square(&mut out, a, scratch);
    out.truncate(trim(&out).len());
    out
}

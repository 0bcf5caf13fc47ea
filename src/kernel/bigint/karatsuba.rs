//! Karatsuba's product of two operands of the same length.
//!
//! Three products of half the length.

use super::limbs::{add_assign, sub_assign, sub_with_borrow};
use super::schoolbook;
use super::thresholds::{KARATSUBA_MIN, KARATSUBA_SQUARE_MIN};

/// Limbs of scratch memory for operands of `n` limbs.
pub(super) const fn scratch_limbs(n: usize) -> usize {
    // S(n) = 2 ceil(n / 2) + max(S(ceil(n / 2)), 2 ceil(n / 2) + 1), with at most 64 levels.
    2 * n + 2 * 64 + 2
}

/// `out = a b` for `a` and `b` of `n` limbs, `out` of `2 n`.
pub(super) fn mul(out: &mut [u64], a: &[u64], b: &[u64], scratch: &mut [u64]) {
    let n = a.len();
    debug_assert!(b.len() == n && out.len() == 2 * n);
    if n < KARATSUBA_MIN {
        return schoolbook::mul(out, a, b);
    }
    let h = n.div_ceil(2);
    let ((a0, a1), (b0, b1)) = (a.split_at(h), b.split_at(h));
    let (product, rest) = scratch.split_at_mut(2 * h);
    let (a_difference, b_difference) = out.split_at_mut(h);
    let b_difference = &mut b_difference[..h];
    let negative = difference(a_difference, a0, a1) != difference(b_difference, b0, b1);
    mul(product, a_difference, b_difference, rest);
    let (low, high) = out.split_at_mut(2 * h);
    mul(low, a0, b0, rest);
    mul(high, a1, b1, rest);
    combine(out, product, negative, rest);
}

/// `out = a^2` for `a` of `n` limbs, `out` of `2 n`.
pub(super) fn square(out: &mut [u64], a: &[u64], scratch: &mut [u64]) {
    let n = a.len();
    debug_assert_eq!(out.len(), 2 * n);
    if n < KARATSUBA_SQUARE_MIN {
        return schoolbook::square(out, a);
    }
    let h = n.div_ceil(2);
    let (a0, a1) = a.split_at(h);
    let (product, rest) = scratch.split_at_mut(2 * h);
    difference(&mut out[..h], a0, a1);
    square(product, &out[..h], rest);
    let (low, high) = out.split_at_mut(2 * h);
    square(low, a0, rest);
    square(high, a1, rest);
    combine(out, product, false, rest);
}

/// Given `a0 b0` and `a1 b1` side by side in `out` and `|a0 - a1| |b0 - b1|` with its sign, adds
/// `a0 b1 + a1 b0 = a0 b0 + a1 b1 - (a0 - a1) (b0 - b1)` in the middle.
fn combine(out: &mut [u64], product: &[u64], negative: bool, rest: &mut [u64]) {
    let two_h = product.len();
    let (low, high) = out.split_at(two_h);
    let (middle, top) = rest[..=two_h].split_at_mut(two_h);
    middle.copy_from_slice(low);
    top[0] = 0;
    let middle = &mut rest[..=two_h];
    add_assign(middle, high);
    if negative {
        add_assign(middle, product);
    } else {
        sub_assign(middle, product);
    }
    // The middle has no more limbs than remain, because the whole product fits into `out`.
    let place = &mut out[two_h / 2..];
    let limbs = middle.len().min(place.len());
    add_assign(place, &middle[..limbs]);
}

/// `out = |x - y|`, where `y` is no longer than `x`; returns whether the difference is negative.
fn difference(out: &mut [u64], x: &[u64], y: &[u64]) -> bool {
    let mut borrow = false;
    for (i, out) in out.iter_mut().enumerate() {
        (*out, borrow) = sub_with_borrow(x[i], y.get(i).copied().unwrap_or(0), borrow);
    }
    if borrow {
        let mut carry = true;
        for out in out {
            (*out, carry) = (!*out).overflowing_add(u64::from(carry));
        }
    }
    borrow
}

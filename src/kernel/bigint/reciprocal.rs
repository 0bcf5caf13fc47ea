//! Reciprocals by Newton's iteration, as many limbs as the products allow.

use super::limbs::{add_assign, sub_assign};
use super::mul::{mul, mul_scratch_limbs};

/// `1 / v` to `limbs` limbs after the point, where `v`, in `[1/2, 1)`, is `divisor` with the point
/// before its highest limb, whose top bit is set. The result has `limbs + 1` limbs; it differs
/// from the true value by at most 20 units of its lowest limb.
///
/// With `B = 2^64` and `r` right to `c / B^k`, `r + r (1 - v r)` is right to `c^2 / B^(2k)`, plus
/// what is cut off: `v` and the correction are each cut to one limb more than `k'`, less than
/// `4 / B^k'` together. For `k' = 2 k - 1` that is below `5 / B^k'` as long as `c^2 < B`; the
/// first step goes from `k = 1`, `c = 4` to `k' = 2`, `c = 20` (Brent and Zimmermann, "Modern
/// Computer Arithmetic", 4.2).
///
/// # Panics
///
/// If the top bit of `divisor` is not set.
pub(super) fn reciprocal(divisor: &[u64], limbs: usize) -> Vec<u64> {
    let top = *divisor.last().expect("a divisor has a limb");
    assert!(top >> 63 == 1, "the divisor is not normalised");
    let mut steps = vec![];
    let mut k = limbs.max(1);
    while k > 1 {
        steps.push(k);
        k = if k == 2 { 1 } else { (k + 1).div_ceil(2) };
    }
    let first = u128::MAX / u128::from(top);
    let mut r = vec![low_limb(first), low_limb(first >> 64)];
    let mut scratch = Vec::new();
    for &k in steps.iter().rev() {
        r = step(divisor, &r, k, &mut scratch);
    }
    r
}

#[expect(clippy::cast_possible_truncation, reason = "the low limb is what is asked for")]
const fn low_limb(x: u128) -> u64 {
    x as u64
}

/// From `r`, with `r.len() - 1` limbs after the point, to `k` limbs.
fn step(divisor: &[u64], r: &[u64], k: usize, scratch: &mut Vec<u64>) -> Vec<u64> {
    let r_fraction = r.len() - 1;
    let v = &divisor[divisor.len().saturating_sub(k + 1)..];

    // v r, nearly 1: `v.len() + r_fraction` limbs after the point, one before.
    let fraction = v.len() + r_fraction;
    let error = multiply(v, r, scratch);
    let above_one = error[fraction] > 0;
    let mut error = error;
    error.truncate(fraction);
    if !above_one {
        negate(&mut error);
    }
    // |1 - v r| < 32 / B^r_fraction: only its lower limbs count, and of them k - r_fraction + 1.
    let high = fraction - (r_fraction - 1);
    let low = high.saturating_sub(k + 2 - r_fraction);
    let (delta, delta_fraction) = (&error[low..high], fraction - low);

    let change = multiply(r, delta, scratch);
    let change_fraction = r_fraction + delta_fraction;
    let change = &change[(change_fraction - k).min(change.len())..];

    let mut out = vec![0; k - r_fraction];
    out.extend_from_slice(r);
    let limbs = change.len().min(out.len());
    if above_one {
        sub_assign(&mut out, &change[..limbs]);
    } else {
        add_assign(&mut out, &change[..limbs]);
    }
    out
}

/// `a b`.
pub(super) fn multiply(a: &[u64], b: &[u64], scratch: &mut Vec<u64>) -> Vec<u64> {
    let needed = mul_scratch_limbs(a.len(), b.len());
    if scratch.len() < needed {
        scratch.resize(needed, 0);
    }
    let mut out = vec![0; a.len() + b.len()];
    mul(&mut out, a, b, scratch);
    out
}

/// `number = -number` modulo a power of `2^64`.
fn negate(number: &mut [u64]) {
    let mut carry = true;
    for limb in number {
        (*limb, carry) = (!*limb).overflowing_add(u64::from(carry));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::bigint::tests::awkward;

    #[test]
    fn a_reciprocal_times_its_divisor_is_one() {
        for limbs in [1, 2, 3, 4, 5, 10, 33, 100, 257, 700] {
            for divisor_limbs in [1, 2, 7, limbs, 2 * limbs + 3] {
                for seed in 0..5 {
                    let mut divisor = awkward(divisor_limbs, seed);
                    *divisor.last_mut().unwrap() |= 1 << 63;
                    let r = reciprocal(&divisor, limbs);
                    assert_eq!(r.len(), limbs + 1);
                    // (r - 21) v < 1 < (r + 21) v, in units of the lowest limb.
                    let one = divisor_limbs + limbs;
                    let mut below = r.clone();
                    sub_assign(&mut below, &[21]);
                    let below = multiply(&below, &divisor, &mut vec![]);
                    assert_eq!(below[one], 0, "{limbs} {divisor_limbs} {seed}");
                    let mut above = r;
                    above.push(0);
                    add_assign(&mut above, &[21]);
                    let above = multiply(&above, &divisor, &mut vec![]);
                    assert!(above[one..] != [0, 0], "{limbs} {divisor_limbs} {seed}");
                }
            }
        }
    }
}

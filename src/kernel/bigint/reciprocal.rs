//! Reciprocals by Newton's iteration, with products by a team.

use crate::kernel::team::{PeerDied, Team};

use super::limbs::{add_assign, low_limb, sub_assign};
use super::team_arithmetic::{LimbSpan, Scratch, TeamArithmetic};

/// The memory for a reciprocal.
#[derive(Debug)]
pub(super) struct ReciprocalBuffers<'r, 'w> {
    /// Two buffers of [`ReciprocalBuffers::result_limbs`]; the result will be in one of them.
    pub(super) results: [LimbSpan<'r>; 2],
    /// A buffer of [`ReciprocalBuffers::error_limbs`].
    pub(super) error: LimbSpan<'w>,
    /// A buffer of [`ReciprocalBuffers::change_limbs`].
    pub(super) change: LimbSpan<'w>,
}

impl ReciprocalBuffers<'_, '_> {
    pub(super) const fn result_limbs(limbs: usize) -> usize {
        limbs + 2
    }

    /// For `v r`: at most `limbs + 1` by half of that, plus two.
    pub(super) const fn error_limbs(limbs: usize) -> usize {
        limbs + 1 + limbs / 2 + 4
    }

    /// For `r delta`: each has about half the limbs.
    pub(super) const fn change_limbs(limbs: usize) -> usize {
        limbs + 12
    }
}

/// `1 / v` to `limbs` limbs after the point, where `v`, in `[1/2, 1)`, is `divisor` with the point
/// before its highest limb, whose top bit is set. The result has `limbs + 1` limbs; it differs
/// from the true value by at most 20 units of its lowest limb.
///
/// With `B = 2^64` and `r` correct to `c / B^k`, `r + r (1 - v r)` is correct to `c^2 / B^(2k)`,
/// plus the truncation error: `v` and the correction are each cut to one limb more than `k'`, less
/// than `4 / B^k'` together. For `k' = 2 k - 1` that is below `5 / B^k'` as long as `c^2 < B`; the
/// first step goes from `k = 1`, `c = 4` to `k' = 2`, `c = 20` (Brent and Zimmermann, "Modern
/// Computer Arithmetic", 4.2).
///
/// # Errors
///
/// [`PeerDied`] if a member died.
///
/// # Panics
///
/// If the top bit of `divisor` is not set, or a buffer is too small.
pub(super) fn reciprocal<'r, T: Team>(
    arithmetic: &TeamArithmetic<'_, T>,
    divisor: &[u64],
    limbs: usize,
    buffers: ReciprocalBuffers<'r, '_>,
    scratch: &mut Scratch<'_>,
) -> Result<LimbSpan<'r>, PeerDied> {
    let top = divisor[divisor.len() - 1];
    assert!(top >> 63 == 1, "the divisor is not normalised");
    let mut steps = vec![];
    let mut k = limbs.max(1);
    while k > 1 {
        steps.push(k);
        k = if k == 2 { 1 } else { (k + 1).div_ceil(2) };
    }
    let first = u128::MAX / u128::from(top);
    let ReciprocalBuffers { results: [mut r, mut next], mut error, mut change } = buffers;
    arithmetic.once(r.reborrow(), |r| {
        r[..2].copy_from_slice(&[low_limb(first), low_limb(first >> 64)]);
    })?;
    let mut fraction = 1;
    for &k in steps.iter().rev() {
        let out = next.reborrow().take(k + 1);
        let (error, change) = (error.reborrow(), change.reborrow());
        step(arithmetic, divisor, &r.read()[..=fraction], [error, change, out], scratch)?;
        (r, next, fraction) = (next, r, k);
    }
    Ok(r.take(fraction + 1))
}

/// One iteration: from `r`, with `r.len() - 1` limbs after the point, to one less than `out` has
/// limbs.
fn step<T: Team>(
    arithmetic: &TeamArithmetic<'_, T>,
    divisor: &[u64],
    r: &[u64],
    [mut error_room, change_room, out]: [LimbSpan<'_>; 3],
    scratch: &mut Scratch<'_>,
) -> Result<(), PeerDied> {
    let (r_fraction, k) = (r.len() - 1, out.len() - 1);
    let v = &divisor[divisor.len().saturating_sub(k + 1)..];

    // v r, nearly 1: `v.len() + r_fraction` limbs after the point, one before.
    let fraction = v.len() + r_fraction;
    let error = arithmetic.multiply(error_room.reborrow(), v, r, scratch)?;
    let above_one = error[fraction] > 0;
    if !above_one {
        arithmetic.once(error_room.reborrow().take(fraction), negate)?;
    }
    // |1 - v r| < 32 / B^r_fraction: only its lower limbs count, and of them k - r_fraction + 1.
    let high = fraction - (r_fraction - 1);
    let low = high.saturating_sub(k + 2 - r_fraction);
    let (delta, delta_fraction) = (&error_room.read()[low..high], fraction - low);

    let change = arithmetic.multiply(change_room, r, delta, scratch)?;
    let change_fraction = r_fraction + delta_fraction;
    let change = &change[(change_fraction - k).min(change.len())..];
    arithmetic.once(out, |out| {
        out[..k - r_fraction].fill(0);
        out[k - r_fraction..].copy_from_slice(r);
        let change = &change[..change.len().min(out.len())];
        if above_one {
            sub_assign(out, change);
        } else {
            add_assign(out, change);
        }
    })?;
    Ok(())
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
    use crate::kernel::SingleThread;
    use crate::kernel::bigint::team_arithmetic::scratch_limbs_max;
    use crate::kernel::bigint::tests::awkward;
    use crate::kernel::bigint::{mul, mul_scratch_limbs};

    fn by_one_thread(divisor: &[u64], limbs: usize) -> Vec<u64> {
        let sizes = [
            ReciprocalBuffers::result_limbs(limbs),
            ReciprocalBuffers::result_limbs(limbs),
            ReciprocalBuffers::error_limbs(limbs),
            ReciprocalBuffers::change_limbs(limbs),
            scratch_limbs_max(limbs + 4, limbs + 4),
        ];
        let mut memory = sizes.map(|limbs| vec![u64::MAX; limbs]);
        let spans = memory.each_mut().map(|buffer| LimbSpan::from(&mut buffer[..]));
        let [first, second, error, change, scratch] = spans;
        let team = SingleThread::default();
        let arithmetic = TeamArithmetic::single(&team);
        let buffers = ReciprocalBuffers { results: [first, second], error, change };
        let mut scratch = arithmetic.scratch(scratch).unwrap();
        let result = reciprocal(&arithmetic, divisor, limbs, buffers, &mut scratch).unwrap();
        result.read().to_vec()
    }

    fn product(a: &[u64], b: &[u64]) -> Vec<u64> {
        let mut out = vec![0; a.len() + b.len()];
        mul(&mut out, a, b, &mut vec![0; mul_scratch_limbs(a.len(), b.len())]);
        out
    }

    #[test]
    fn a_reciprocal_times_its_divisor_is_one() {
        for limbs in [1, 2, 3, 4, 5, 10, 33, 100, 257, 700] {
            for divisor_limbs in [1, 2, 7, limbs, 2 * limbs + 3] {
                for seed in 0..5 {
                    let mut divisor = awkward(divisor_limbs, seed);
                    *divisor.last_mut().unwrap() |= 1 << 63;
                    let r = by_one_thread(&divisor, limbs);
                    assert_eq!(r.len(), limbs + 1);
                    // (r - 21) v < 1 < (r + 21) v, in units of the lowest limb.
                    let one = divisor_limbs + limbs;
                    let mut below = r.clone();
                    sub_assign(&mut below, &[21]);
                    assert_eq!(product(&below, &divisor)[one], 0, "{limbs} {divisor_limbs} {seed}");
                    let mut above = r;
                    above.push(0);
                    add_assign(&mut above, &[21]);
                    let above = product(&above, &divisor);
                    assert!(above[one..] != [0, 0], "{limbs} {divisor_limbs} {seed}");
                }
            }
        }
    }
}

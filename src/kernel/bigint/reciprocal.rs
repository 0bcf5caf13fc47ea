//! Reciprocals by Newton's iteration, the products by a team.
#![allow(unsafe_code)]

use crate::kernel::team::{PeerDied, Team};

use super::limbs::{add_assign, sub_assign};
use super::team_arithmetic::{LimbSpan, TeamArithmetic};

/// Memory for a reciprocal.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rooms {
    /// Two of [`Rooms::result_limbs`]: the result will be in one of them.
    pub(super) results: [LimbSpan; 2],
    /// Of [`Rooms::error_limbs`].
    pub(super) error: LimbSpan,
    /// Of [`Rooms::change_limbs`].
    pub(super) change: LimbSpan,
}

impl Rooms {
    pub(super) const fn result_limbs(limbs: usize) -> usize {
        limbs + 2
    }

    /// `v r`: at most `limbs + 1` by half of that, and two.
    pub(super) const fn error_limbs(limbs: usize) -> usize {
        limbs + 1 + limbs / 2 + 4
    }

    /// `r delta`: both about a half.
    pub(super) const fn change_limbs(limbs: usize) -> usize {
        limbs + 12
    }
}

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
/// # Errors
///
/// [`PeerDied`] if a member died.
///
/// # Panics
///
/// If the top bit of `divisor` is not set, or the rooms are too small.
///
/// # Safety
///
/// - As for [`TeamArithmetic::multiply`], with `divisor` and all rooms. All members come from a
///   barrier.
pub(super) unsafe fn reciprocal<C: Team>(
    arithmetic: &TeamArithmetic<'_, C>,
    divisor: LimbSpan,
    limbs: usize,
    rooms: Rooms,
) -> Result<LimbSpan, PeerDied> {
    // SAFETY: nobody writes to the divisor, by this function's contract.
    let top = unsafe { divisor.limb(divisor.limbs() - 1) };
    assert!(top >> 63 == 1, "the divisor is not normalised");
    let mut steps = vec![];
    let mut k = limbs.max(1);
    while k > 1 {
        steps.push(k);
        k = if k == 2 { 1 } else { (k + 1).div_ceil(2) };
    }
    let first = u128::MAX / u128::from(top);
    let [mut r, mut next] = rooms.results;
    arithmetic.once(|| {
        // SAFETY: one member does this, and the others wait for it.
        unsafe { r.store(&[low_limb(first), low_limb(first >> 64)]) };
    })?;
    let mut fraction = 1;
    for &k in steps.iter().rev() {
        // SAFETY: by this function's contract; the two results are different rooms.
        unsafe { step(arithmetic, divisor, r.part(0, fraction + 1), k, rooms, next)? };
        (r, next, fraction) = (next, r, k);
    }
    Ok(r.part(0, fraction + 1))
}

#[expect(clippy::cast_possible_truncation, reason = "the low limb is what is asked for")]
const fn low_limb(x: u128) -> u64 {
    x as u64
}

/// From `r`, with `r.limbs() - 1` limbs after the point, to `k` limbs, in `out`.
///
/// # Safety
///
/// - As for [`reciprocal`].
unsafe fn step<C: Team>(
    arithmetic: &TeamArithmetic<'_, C>,
    divisor: LimbSpan,
    r: LimbSpan,
    k: usize,
    rooms: Rooms,
    out: LimbSpan,
) -> Result<(), PeerDied> {
    let r_fraction = r.limbs() - 1;
    let v = divisor.rest(divisor.limbs().saturating_sub(k + 1));
    // SAFETY: nobody writes to the divisor.
    let x = unsafe { v.read() };
    // SAFETY: nobody writes to this result before the next step.
    let r = unsafe { r.read() };

    // v r, nearly 1: `v.limbs() + r_fraction` limbs after the point, one before.
    let fraction = v.limbs() + r_fraction;
    // SAFETY: by this function's contract.
    let error = unsafe { arithmetic.multiply_limbs(rooms.error, x, r)? };
    // SAFETY: all have made the product, and this limb of it nobody changes.
    let above_one = unsafe { error.limb(fraction) } > 0;
    arithmetic.once(|| {
        if !above_one {
            // SAFETY: one member does this, the others wait for it, and have read the limb that
            // this leaves alone.
            negate(unsafe { error.part(0, fraction).write() });
        }
    })?;
    // |1 - v r| < 32 / B^r_fraction: only its lower limbs count, and of them k - r_fraction + 1.
    let high = fraction - (r_fraction - 1);
    let low = high.saturating_sub(k + 2 - r_fraction);
    let (delta, delta_fraction) = (error.part(low, high - low), fraction - low);

    // SAFETY: nobody writes to it before the next step.
    let delta = unsafe { delta.read() };
    // SAFETY: by this function's contract.
    let change = unsafe { arithmetic.multiply_limbs(rooms.change, r, delta)? };
    let change_fraction = r_fraction + delta_fraction;
    let change = change.rest((change_fraction - k).min(change.limbs()));
    arithmetic.once(|| {
        let out = out.part(0, k + 1);
        // SAFETY: one member does this, and the others wait for it.
        unsafe { out.part(0, k - r_fraction).clear() };
        // SAFETY: as above; r is another room.
        unsafe { out.rest(k - r_fraction).store(r) };
        // SAFETY: one member does this, and the others wait for it.
        let out = unsafe { out.write() };
        // SAFETY: nobody writes to it before the next step.
        let change = unsafe { change.read() };
        let limbs = change.len().min(out.len());
        if above_one {
            sub_assign(out, &change[..limbs]);
        } else {
            add_assign(out, &change[..limbs]);
        }
    })
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
    use crate::kernel::bigint::team_arithmetic::scratch_limbs_max;
    use crate::kernel::bigint::tests::awkward;
    use crate::kernel::bigint::{Backend, mul, mul_scratch_limbs};
    use crate::kernel::team::SingleThread;

    fn alone(divisor: &mut [u64], limbs: usize) -> Vec<u64> {
        let sizes = [
            Rooms::result_limbs(limbs),
            Rooms::result_limbs(limbs),
            Rooms::error_limbs(limbs),
            Rooms::change_limbs(limbs),
            scratch_limbs_max(limbs + 4, limbs + 4),
        ];
        let mut memory = sizes.map(|limbs| vec![u64::MAX; limbs]);
        let segments = memory.each_mut().map(|room| {
            // SAFETY: the vectors outlive the segments, and nobody else has them.
            unsafe { LimbSpan::new(room.as_mut_ptr(), room.len()) }
        });
        let [first, second, error, change, scratch] = segments;
        let team = SingleThread::default();
        let arithmetic = TeamArithmetic { team: &team, scratch, backend: Backend::detect() };
        // SAFETY: as above.
        let divisor = unsafe { LimbSpan::new(divisor.as_mut_ptr(), divisor.len()) };
        let rooms = Rooms { results: [first, second], error, change };
        // SAFETY: rooms and divisor are different vectors, of the sizes asked for.
        let result = unsafe { reciprocal(&arithmetic, divisor, limbs, rooms) }.unwrap();
        // SAFETY: nobody writes to it any more.
        unsafe { result.read() }.to_vec()
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
                    let r = alone(&mut divisor, limbs);
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

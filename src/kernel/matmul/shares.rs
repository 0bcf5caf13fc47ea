//! The parts of a job that members of a team take.

use std::iter;
use std::ops::Range;

use crate::kernel::Team;

/// The parts of `0..len` that this member takes from `counter`; each is `width` long, except
/// perhaps the last.
///
/// Members of a team that pass the same numbers get each part once.
pub(in crate::kernel) fn shares<W: Team + ?Sized>(
    team: &W,
    counter: usize,
    len: usize,
    width: usize,
) -> impl Iterator<Item = Range<usize>> {
    iter::from_fn(move || {
        let first = team.take(counter, 1).checked_mul(width)?;
        (first < len).then(|| first..len.min(first + width))
    })
}

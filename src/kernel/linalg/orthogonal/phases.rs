//! Phases of a team's job, which barriers separate.

use std::ops::Range;

use crate::kernel::{PeerDied, Team};

/// One member's view of the phases of a job.
///
/// In each phase the members take units of work from a counter, so no two get the same unit. Phases
/// use counters 0 and 1 in turn: while one is in use, member 0 resets the other. The barrier before
/// proves that all members have finished with that, and the barrier after, that the reset comes
/// before its next use.
pub(super) struct Phases<'t> {
    team: &'t dyn Team,
    counter: usize,
}

impl<'t> Phases<'t> {
    /// The first phase, of a team whose counters 0 and 1 are zero. All members call the same
    /// methods in the same order.
    pub(super) fn new(team: &'t dyn Team) -> Phases<'t> {
        Phases { team, counter: 0 }
    }

    /// The next unit of this phase among `count`, `None` if all are taken.
    pub(super) fn unit(&self, count: usize) -> Option<usize> {
        let index = self.team.take(self.counter, 1);
        (index < count).then_some(index)
    }

    /// The next part of `whole` in this phase; all but the last are `width` long. `None` if all are
    /// taken.
    pub(super) fn part(&self, whole: &Range<usize>, width: usize) -> Option<Range<usize>> {
        part_of(whole, width, self.unit(whole.len().div_ceil(width))?)
    }

    /// Ends the phase: afterwards all members see what each wrote in it.
    ///
    /// # Errors
    ///
    /// [`PeerDied`] if a member died.
    pub(super) fn end(&mut self) -> Result<(), PeerDied> {
        self.team.barrier()?;
        if self.is_first() {
            self.team.reset(self.counter);
        }
        self.counter = 1 - self.counter;
        Ok(())
    }

    /// Whether this is member 0, which writes what all members know. Only after the first phase.
    pub(super) fn is_first(&self) -> bool {
        self.team.rank() == 0
    }
}

/// Part `index` of `whole`, if there is one; all but the last are `width` long.
pub(super) fn part_of(whole: &Range<usize>, width: usize, index: usize) -> Option<Range<usize>> {
    let first = index.checked_mul(width)?.checked_add(whole.start)?;
    (first < whole.end).then(|| first..whole.end.min(first + width))
}

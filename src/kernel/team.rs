//! The workers that compute one job, as a kernel sees them.
//!
//! A kernel that several processes run at once takes its work from shared counters and meets at
//! barriers. The caller implements them: [`SingleThread`] is a team of one, tests use threads, and
//! `compute/` uses shared memory.

use std::cell::Cell;

/// Counters that a team has, numbered from 0.
pub const COUNTERS: usize = 16;

/// A member died, so that a barrier can never be complete: give up and return.
///
/// # Examples
///
/// ```
/// use brigade::kernel::{PeerDied, SingleThread, Team};
/// fn share(team: &impl Team) -> Result<usize, PeerDied> {
///     team.barrier()?; // from here on members and ranks are final
///     Ok(100 / team.members())
/// }
/// assert_eq!(share(&SingleThread::default()), Ok(100));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerDied;

/// A view of the team by one of its members.
///
/// Whoever is in the team when the first barrier completes is in it to the end; before that
/// barrier [`members`](Team::members) may still grow and [`rank`](Team::rank) is not known, so
/// work up to there must be taken from counters, never divided into shares.
///
/// # Safety
///
/// Kernels write to shared memory on the strength of what the methods return. For all members of
/// one team together, and for as long as it computes:
///
/// - After the first barrier, [`members`](Team::members) returns the same number to each member,
///   and [`rank`](Team::rank) a different one below that number.
/// - The ranges that [`take`](Team::take) gives out of one counter are disjoint until that
///   counter is [`reset`](Team::reset).
/// - A [`barrier`](Team::barrier) returns `Ok` only after every member has come to it, and what a
///   member did before it comes happens before what any member does after it returns.
#[expect(unsafe_code, reason = "kernels rely on what a team promises")]
pub unsafe trait Team {
    /// How many members there are, at least 1. Final from the first barrier on.
    fn members(&self) -> usize;

    /// This member's number, from 0 to `members() - 1`. Final from the first barrier on.
    fn rank(&self) -> usize;

    /// Adds `count` to counter `counter` and returns its value before: the first of `count`
    /// units of work that nobody else gets. Counters start at zero.
    ///
    /// # Panics
    ///
    /// If `counter >= COUNTERS`.
    fn take(&self, counter: usize, count: usize) -> usize;

    /// Sets a counter to zero. Call it only between two barriers among which no member takes
    /// from this counter, by one member.
    ///
    /// # Panics
    ///
    /// If `counter >= COUNTERS`.
    fn reset(&self, counter: usize);

    /// Waits until every member is here. All that members wrote before is visible after.
    ///
    /// # Errors
    ///
    /// [`PeerDied`] if a member died, now and at every later barrier.
    fn barrier(&self) -> Result<(), PeerDied>;
}

/// A team of one, for a kernel that runs alone.
///
/// # Examples
///
/// ```
/// use brigade::kernel::{Team, SingleThread};
/// let team = SingleThread::default();
/// assert_eq!((team.take(0, 4), team.take(0, 4), team.members()), (0, 4, 1));
/// ```
#[derive(Debug, Default)]
pub struct SingleThread {
    counters: [Cell<usize>; COUNTERS],
}

#[expect(unsafe_code, reason = "kernels rely on what a team promises")]
// SAFETY: the one member is number 0 of 1, and its counters are its own, as it is not `Sync`.
unsafe impl Team for SingleThread {
    fn members(&self) -> usize {
        1
    }

    fn rank(&self) -> usize {
        0
    }

    fn take(&self, counter: usize, count: usize) -> usize {
        let first = self.counters[counter].get();
        self.counters[counter].set(first + count);
        first
    }

    fn reset(&self, counter: usize) {
        self.counters[counter].set(0);
    }

    fn barrier(&self) -> Result<(), PeerDied> {
        Ok(())
    }
}

//! A team of workers that compute one job.
//!
//! A kernel that several processes run at once takes its work from shared counters and waits at
//! barriers. The caller implements both: [`SingleThread`] is a team of one, tests use threads, and
//! `compute/` uses shared memory.

use std::cell::Cell;

/// The number of counters of a team, numbered from 0.
pub const COUNTERS: usize = 16;

/// A member died, so a barrier can never be complete: return.
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
/// Every member of the team at its first barrier stays a member to the end. Before that barrier
/// [`members`](Team::members) may still grow and [`rank`](Team::rank) is not known, so up to there
/// work must be taken from counters, never divided into shares.
///
/// # Safety
///
/// Kernels rely on the results of these methods when they write to shared memory. For all members
/// of one team together, while it computes:
///
/// - After the first barrier, [`members`](Team::members) returns the same number to each member,
///   and [`rank`](Team::rank) a different one below that number.
/// - The ranges that [`take`](Team::take) returns for one counter are disjoint until that counter
///   is [`reset`](Team::reset).
/// - A [`barrier`](Team::barrier) returns `Ok` only after every member has reached it, and
///   everything that a member did before it happens before everything that any member does after
///   it.
///
/// # Examples
///
/// ```
/// use brigade::kernel::{PeerDied, SingleThread, Team};
/// /// How many of `n` units of work this member does.
/// fn work(team: &impl Team, n: usize) -> Result<usize, PeerDied> {
///     let own = std::iter::repeat_with(|| team.take(0, 1)).take_while(|&unit| unit < n).count();
///     team.barrier()?; // all units are done
///     Ok(own)
/// }
/// assert_eq!(work(&SingleThread::default(), 5), Ok(5));
/// ```
#[expect(unsafe_code, reason = "kernels rely on what a team promises")]
pub unsafe trait Team {
    /// The number of members, at least 1. Final from the first barrier on.
    fn members(&self) -> usize;

    /// This member's number, from 0 to `members() - 1`. Final from the first barrier on.
    fn rank(&self) -> usize;

    /// Adds `count` to counter `counter` and returns its previous value: the first of `count` units
    /// of work that no other member gets. Counters start at zero.
    ///
    /// # Panics
    ///
    /// If `counter >= COUNTERS`.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::kernel::{SingleThread, Team};
    /// let team = SingleThread::default();
    /// assert_eq!((team.take(2, 10), team.take(2, 1), team.take(3, 1)), (0, 10, 0));
    /// ```
    fn take(&self, counter: usize, count: usize) -> usize;

    /// Sets a counter to zero. One member may call it, between two barriers among which no member
    /// takes from this counter.
    ///
    /// # Panics
    ///
    /// If `counter >= COUNTERS`.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::kernel::{SingleThread, Team};
    /// let team = SingleThread::default();
    /// assert_eq!(team.take(0, 10), 0);
    /// team.reset(0);
    /// assert_eq!(team.take(0, 1), 0);
    /// ```
    fn reset(&self, counter: usize);

    /// Waits until every member has reached this barrier. Everything that members wrote before it
    /// is visible after it.
    ///
    /// # Errors
    ///
    /// [`PeerDied`] if a member died, at this and every later barrier.
    fn barrier(&self) -> Result<(), PeerDied>;
}

/// A team of one, for a kernel that runs in one thread.
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
// SAFETY: the only member has rank 0 of 1, and its counters are private, because it is not `Sync`.
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

//! A team of threads, for tests.
#![allow(unsafe_code)]

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{COUNTERS, PeerDied, Team};

/// A team of threads.
struct Threads {
    counters: [AtomicUsize; COUNTERS],
    barrier: Barrier,
    members: usize,
    /// The number of barriers that can be passed before one reports a dead peer.
    barriers_max: usize,
}

impl Threads {
    fn new(members: usize, barriers_max: usize) -> Threads {
        let barrier = Barrier::new(members);
        Threads { counters: Default::default(), barrier, members, barriers_max }
    }
}

pub(in crate::kernel) struct ThreadMember<'c> {
    team: &'c Threads,
    rank: usize,
    barriers: AtomicUsize,
}

// SAFETY: each hand has its own rank; counters are atomic; the barrier is the standard one.
unsafe impl Team for ThreadMember<'_> {
    fn members(&self) -> usize {
        self.team.members
    }

    fn rank(&self) -> usize {
        assert!(self.barriers.load(Ordering::Relaxed) > 0, "rank is not known before a barrier");
        self.rank
    }

    fn take(&self, counter: usize, count: usize) -> usize {
        self.team.counters[counter].fetch_add(count, Ordering::Relaxed)
    }

    fn reset(&self, counter: usize) {
        self.team.counters[counter].store(0, Ordering::Relaxed);
    }

    fn barrier(&self) -> Result<(), PeerDied> {
        if self.barriers.fetch_add(1, Ordering::Relaxed) == self.team.barriers_max {
            return Err(PeerDied);
        }
        self.team.barrier.wait();
        Ok(())
    }
}

/// Pointers that threads may share during a test.
#[derive(Clone, Copy)]
pub(in crate::kernel) struct Shared<T>(pub(in crate::kernel) T);
// SAFETY: the tests keep the pointees alive until all threads are joined.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}

/// Runs `work` in every member of a team of threads.
pub(in crate::kernel) fn with_threads(
    members: usize,
    barriers_max: usize,
    work: impl Fn(&ThreadMember<'_>) -> Result<(), PeerDied> + Sync,
) -> Vec<Result<(), PeerDied>> {
    let team = Threads::new(members, barriers_max);
    let (team, work) = (&team, &work);
    std::thread::scope(|scope| {
        let hands: Vec<_> = (0..members)
            .map(|rank| scope.spawn(move || work(&ThreadMember { team, rank, barriers: 0.into() })))
            .collect();
        hands.into_iter().map(|hand| hand.join().expect("no member panics")).collect()
    })
}

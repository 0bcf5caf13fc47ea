//! Spreads workers over the processors.
//!
//! The kernel wakes a worker on its waker's processor, and does not move a thread that has just
//! run. Of sixteen workers on two processors, twelve or more may share one while they have little
//! work, and the kernel's load balancer needs tens of milliseconds to separate two busy ones. So
//! each worker records its processor in a table, and moves if another processor has at least two
//! workers fewer. It does not bind itself: afterwards the kernel may move it as before.
//!
//! A pool has one table for all its workers, which use it while they are idle. A team has one for
//! its members, which use it at barriers.

use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::sys::sched;

/// The most workers of a pool.
pub(crate) const WORKERS_MAX: usize = 1024;

/// How long a worker stays after a move. If the kernel moves it back for some reason, the two must
/// not alternate quickly.
const STAY: Duration = Duration::from_millis(10);

/// The processors of at most `N` workers when each last checked.
///
/// | field | written by           | read by | guard | if the writer dies               |
/// |-------|----------------------|---------|-------|----------------------------------|
/// | `end` | workers, by maximum  | workers | none  | it only grows                    |
/// | `at`  | each worker: its own | workers | none  | it counts until it is replaced   |
///
/// It is a hint that only affects speed.
#[repr(C, align(64))]
pub(crate) struct CpuTable<const N: usize> {
    /// The highest index of a worker so far, plus one.
    end: AtomicU32,
    /// The number of a processor plus one; 0 if not recorded yet.
    at: [AtomicU16; N],
}

const _: () = assert!(size_of::<CpuTable<WORKERS_MAX>>().is_multiple_of(64));

impl<const N: usize> CpuTable<N> {
    fn all(&self) -> &[AtomicU16] {
        // Relaxed, as everywhere here: the words publish no data.
        let end = usize::try_from(self.end.load(Ordering::Relaxed)).unwrap_or(N);
        &self.at[..end.min(N)]
    }

    fn note(&self, worker: usize, at: u16) {
        let word = &self.at[worker];
        // Storing only changed values keeps the cache line shared.
        if word.load(Ordering::Relaxed) != at {
            word.store(at, Ordering::Relaxed);
            let end = u32::try_from(worker + 1).unwrap_or(u32::MAX);
            self.end.fetch_max(end, Ordering::Relaxed);
        }
    }

    fn count(&self, at: u16) -> usize {
        self.all().iter().filter(|word| word.load(Ordering::Relaxed) == at).count()
    }
}

/// The number of a processor plus one; `None` if it does not fit.
fn place(cpu: usize) -> Option<u16> {
    u16::try_from(cpu + 1).ok()
}

/// The state of one worker.
#[derive(Debug)]
pub(crate) struct CpuSpread {
    worker: usize,
    /// The processors that it may use, as last read; empty before that.
    allowed: Vec<usize>,
    /// It has moved, and stays until this time.
    stays_until: Option<Instant>,
}

impl CpuSpread {
    /// The state of the worker with this index, before its first check.
    pub(crate) fn new(worker: usize) -> CpuSpread {
        CpuSpread { worker, allowed: Vec::new(), stays_until: None }
    }

    /// Records the processor of the calling thread, and moves the thread if that processor is
    /// crowded.
    pub(crate) fn rebalance<const N: usize>(&mut self, cpus: &CpuTable<N>) {
        if self.allowed.len() == 1 || self.worker >= N {
            return;
        }
        let Some(here) = sched::processor().and_then(place) else { return };
        cpus.note(self.worker, here);
        let crowd = cpus.count(here);
        if crowd > 1 && (self.allowed.is_empty() || self.emptiest(cpus, crowd).is_some()) {
            self.move_away(cpus, here, crowd);
        }
    }

    /// Removes the entry of a worker that exits.
    pub(crate) fn leave<const N: usize>(&self, cpus: &CpuTable<N>) {
        if self.worker < N {
            cpus.note(self.worker, 0);
        }
    }

    /// The processor with the fewest workers, if it has at least two fewer than `crowd`.
    fn emptiest<const N: usize>(&self, cpus: &CpuTable<N>, crowd: usize) -> Option<usize> {
        // Each worker begins with another processor, because several may search at the same time.
        let (before, after) = self.allowed.split_at(self.worker % self.allowed.len().max(1));
        let counts =
            after.iter().chain(before).filter_map(|&cpu| Some((cpus.count(place(cpu)?), cpu)));
        let (count, cpu) = counts.min_by_key(|&(count, _)| count)?;
        (count + 2 <= crowd).then_some(cpu)
    }

    #[cold]
    fn move_away<const N: usize>(&mut self, cpus: &CpuTable<N>, here: u16, crowd: usize) {
        if self.stays_until.is_some_and(|until| Instant::now() < until) {
            return;
        }
        // The allowed processors may have changed, and moving must not change them.
        self.allowed = sched::affinity().unwrap_or_default();
        let Some(to) = self.emptiest(cpus, crowd) else { return };
        // Recorded before the move, so that several workers do not choose the same processor.
        cpus.note(self.worker, place(to).unwrap_or(here));
        if sched::move_to(to).is_err() {
            cpus.note(self.worker, here);
        }
        self.stays_until = Some(Instant::now() + STAY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(at: &[Option<usize>]) -> CpuTable<WORKERS_MAX> {
        let table =
            CpuTable { end: AtomicU32::new(0), at: [const { AtomicU16::new(0) }; WORKERS_MAX] };
        for (worker, cpu) in at.iter().enumerate() {
            table.note(worker, cpu.map_or(0, |cpu| place(cpu).unwrap()));
        }
        table
    }

    fn spread(worker: usize, allowed: &[usize]) -> CpuSpread {
        CpuSpread { worker, allowed: allowed.to_vec(), stays_until: None }
    }

    #[test]
    fn a_worker_leaves_for_the_processor_with_the_fewest_others() {
        let crowded = table(&[Some(0), Some(0), Some(0), Some(1), Some(5)]);
        assert_eq!(spread(0, &[0, 1]).emptiest(&crowded, 3), Some(1));
        assert_eq!(spread(0, &[0, 1, 2]).emptiest(&crowded, 3), Some(2));
        assert_eq!(spread(0, &[0]).emptiest(&crowded, 3), None);
        let met = table(&[Some(0), Some(0)]);
        assert_eq!(spread(1, &[0, 1]).emptiest(&met, 2), Some(1), "two that meet separate");
    }

    #[test]
    fn no_worker_moves_for_a_difference_of_one() {
        let even = table(&[Some(0), Some(0), Some(1)]);
        assert_eq!(spread(0, &[0, 1]).emptiest(&even, 2), None);
        let many = table(&[Some(0); 7]);
        let moves = (0..7).filter(|&worker| {
            let crowd = many.count(place(0).unwrap());
            let to = spread(worker, &[0, 1]).emptiest(&many, crowd);
            many.note(worker, place(to.unwrap_or(0)).unwrap());
            to.is_some()
        });
        assert_eq!(moves.count(), 3);
    }

    #[test]
    fn a_worker_on_a_crowded_processor_moves_once_and_keeps_its_mask() {
        let allowed = sched::affinity().unwrap();
        let [first, second, ..] = allowed[..] else { return };
        sched::move_to(first).unwrap();
        // The kernel may move this thread at any time: crowd all but one processor.
        let others = [Some(first), Some(first), Some(first)];
        let table = table(&[&[None][..], &others].concat());
        let mut spread = CpuSpread::new(0);
        spread.rebalance(&table);
        assert_ne!(table.at[0].load(Ordering::Relaxed), 0);
        if table.at[0].load(Ordering::Relaxed) == place(second).unwrap() {
            // Unless the kernel has moved this thread there meanwhile.
            let stays_until = spread.stays_until;
            spread.rebalance(&table);
            assert_eq!(spread.stays_until, stays_until);
        }
        assert_eq!(sched::affinity().unwrap(), allowed);
    }
}

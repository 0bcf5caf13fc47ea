//! Spreads workers over the processors.
//!
//! The kernel wakes a worker where its waker runs, and does not move a thread that has just run: of
//! sixteen workers on two processors, twelve or more may share one for as long as they have little
//! to do, and its load balancer takes tens of milliseconds to see two busy ones. So each worker
//! notes where it runs in a table, and moves if another processor has at least two workers fewer.
//! It binds itself to nothing: from then on the kernel may move it as before.
//!
//! A pool has one table for all its workers, which they use while they are idle. A team has one for
//! its members, which they use at barriers.

use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::sys::sched;

/// Most workers that a pool may have.
pub(crate) const WORKERS_MAX: usize = 1024;

/// How long a worker stays where it has moved to: whatever has the kernel move it back, the two
/// must not go on like that.
const STAY: Duration = Duration::from_millis(10);

/// Where at most `N` workers were when each last looked.
///
/// | field | written by           | read by | guard | if the writer dies               |
/// |-------|----------------------|---------|-------|----------------------------------|
/// | `end` | workers, by maximum  | workers | none  | nothing to be done               |
/// | `at`  | each worker, its own | workers | none  | it counts until it is replaced   |
///
/// It is a hint: nothing but speed depends on it.
#[repr(C, align(64))]
pub(crate) struct CpuTable<const N: usize> {
    /// One more than the highest index of a worker so far.
    end: AtomicU32,
    /// One more than the number of a processor; 0: nowhere yet.
    at: [AtomicU16; N],
}

const _: () = assert!(size_of::<CpuTable<WORKERS_MAX>>().is_multiple_of(64));

impl<const N: usize> CpuTable<N> {
    fn all(&self) -> &[AtomicU16] {
        // Relaxed, as everywhere here: no other memory is meant.
        let end = usize::try_from(self.end.load(Ordering::Relaxed)).unwrap_or(N);
        &self.at[..end.min(N)]
    }

    fn note(&self, worker: usize, at: u16) {
        let word = &self.at[worker];
        // Storing only what changes keeps the line shared.
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

/// One more than the number of a processor; `None` for one beyond all bounds.
fn place(cpu: usize) -> Option<u16> {
    u16::try_from(cpu + 1).ok()
}

/// What one worker knows of the processors that it may use.
#[derive(Debug)]
pub(crate) struct CpuSpread {
    worker: usize,
    /// The processors that it may use, as far as it knows; none: it has not asked.
    allowed: Vec<usize>,
    /// It has moved, and stays until then.
    stays_until: Option<Instant>,
}

impl CpuSpread {
    /// Of the worker with this index, nowhere yet.
    pub(crate) fn new(worker: usize) -> CpuSpread {
        CpuSpread { worker, allowed: Vec::new(), stays_until: None }
    }

    /// Notes where the calling thread runs, and moves it if that is crowded.
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

    /// Counts no more: the worker leaves.
    pub(crate) fn leave<const N: usize>(&self, cpus: &CpuTable<N>) {
        if self.worker < N {
            cpus.note(self.worker, 0);
        }
    }

    /// A processor that has at least two workers less than `crowd`, and the least of all.
    fn emptiest<const N: usize>(&self, cpus: &CpuTable<N>, crowd: usize) -> Option<usize> {
        // Each begins at another: several may look at the same time.
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
        // What it may use has perhaps changed, and that is to be kept.
        self.allowed = sched::affinity().unwrap_or_default();
        let Some(to) = self.emptiest(cpus, crowd) else { return };
        // First, so that of many on one processor not all go to the same.
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
    fn nobody_moves_for_one_worker_more_or_less() {
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
    fn who_meets_others_moves_once_and_keeps_its_mask() {
        let allowed = sched::affinity().unwrap();
        let [first, second, ..] = allowed[..] else { return };
        sched::move_to(first).unwrap();
        // The kernel may move this thread at any time: crowd both but the free one.
        let others = [Some(first), Some(first), Some(first)];
        let table = table(&[&[None][..], &others].concat());
        let mut spread = CpuSpread::new(0);
        spread.rebalance(&table);
        assert_ne!(table.at[0].load(Ordering::Relaxed), 0);
        if table.at[0].load(Ordering::Relaxed) == place(second).unwrap() {
            // Unless the kernel had moved this thread there in between.
            let stays_until = spread.stays_until;
            spread.rebalance(&table);
            assert_eq!(spread.stays_until, stays_until);
        }
        assert_eq!(sched::affinity().unwrap(), allowed);
    }
}

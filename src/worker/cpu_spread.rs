//! Which worker runs on which processor, so that none is crowded.
//!
//! The kernel wakes workers where their waker runs, and never moves who has just run: of sixteen
//! that share two processors, twelve, or all, may stay on one for as long as they have little to
//! do. So each worker notes where it runs, and one that has nothing to do at the moment moves if
//! another processor has at least two workers fewer. It binds itself to nothing.

use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::sys::sched;

/// Most workers that a pool may have.
pub(crate) const WORKERS_MAX: usize = 1024;

/// How long a worker stays where it has moved to: whatever has the kernel move it back, the two
/// must not go on like that.
const STAY: Duration = Duration::from_millis(10);

/// Where the workers of a pool were when each last looked.
///
/// | field | written by           | read by | guard | if the writer dies               |
/// |-------|----------------------|---------|-------|----------------------------------|
/// | `end` | workers, by maximum  | workers | none  | nothing to be done               |
/// | `at`  | each worker, its own | workers | none  | it counts until it is replaced   |
///
/// It is a hint: nothing but speed depends on it.
#[repr(C, align(64))]
pub(crate) struct Floor {
    /// One more than the highest index of a worker so far.
    end: AtomicU32,
    /// One more than the number of a processor; 0: nowhere yet.
    at: [AtomicU16; WORKERS_MAX],
}

const _: () = assert!(size_of::<Floor>() == 64 + 2 * WORKERS_MAX);

impl Floor {
    fn all(&self) -> &[AtomicU16] {
        // Relaxed, as everywhere here: no other memory is meant.
        let end = usize::try_from(self.end.load(Ordering::Relaxed)).unwrap_or(WORKERS_MAX);
        &self.at[..end.min(WORKERS_MAX)]
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

/// One worker's place on the floor of its pool.
#[derive(Debug)]
pub(crate) struct Footing {
    worker: usize,
    /// The processors that it may use, as far as it knows; none: it has not asked.
    allowed: Vec<usize>,
    /// It has moved, and stays until then.
    stays_until: Option<Instant>,
}

impl Footing {
    /// Of the worker with this index, nowhere yet.
    pub(crate) fn new(worker: usize) -> Footing {
        Footing { worker, allowed: Vec::new(), stays_until: None }
    }

    /// Notes where the calling thread runs, and moves it if that is crowded.
    pub(crate) fn settle(&mut self, floor: &Floor) {
        if self.allowed.len() == 1 || self.worker >= WORKERS_MAX {
            return;
        }
        let Some(here) = sched::processor().and_then(place) else { return };
        floor.note(self.worker, here);
        let crowd = floor.count(here);
        if crowd > 1 && (self.allowed.is_empty() || self.emptiest(floor, crowd).is_some()) {
            self.move_away(floor, here, crowd);
        }
    }

    /// Counts no more: the worker leaves.
    pub(crate) fn leave(&self, floor: &Floor) {
        if self.worker < WORKERS_MAX {
            floor.note(self.worker, 0);
        }
    }

    /// A processor that has at least two workers less than `crowd`, and the least of all.
    fn emptiest(&self, floor: &Floor, crowd: usize) -> Option<usize> {
        // Each begins at another: several may look at the same time.
        let (before, after) = self.allowed.split_at(self.worker % self.allowed.len().max(1));
        let counts =
            after.iter().chain(before).filter_map(|&cpu| Some((floor.count(place(cpu)?), cpu)));
        let (count, cpu) = counts.min_by_key(|&(count, _)| count)?;
        (count + 2 <= crowd).then_some(cpu)
    }

    #[cold]
    fn move_away(&mut self, floor: &Floor, here: u16, crowd: usize) {
        if self.stays_until.is_some_and(|until| Instant::now() < until) {
            return;
        }
        // What it may use has perhaps changed, and that is to be kept.
        self.allowed = sched::affinity().unwrap_or_default();
        let Some(to) = self.emptiest(floor, crowd) else { return };
        // First, so that of many on one processor not all go to the same.
        floor.note(self.worker, place(to).unwrap_or(here));
        if sched::move_to(to).is_err() {
            floor.note(self.worker, here);
        }
        self.stays_until = Some(Instant::now() + STAY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floor(at: &[Option<usize>]) -> Floor {
        let floor =
            Floor { end: AtomicU32::new(0), at: [const { AtomicU16::new(0) }; WORKERS_MAX] };
        for (worker, cpu) in at.iter().enumerate() {
            floor.note(worker, cpu.map_or(0, |cpu| place(cpu).unwrap()));
        }
        floor
    }

    fn footing(worker: usize, allowed: &[usize]) -> Footing {
        Footing { worker, allowed: allowed.to_vec(), stays_until: None }
    }

    #[test]
    fn a_worker_leaves_for_the_processor_with_the_fewest_others() {
        let crowded = floor(&[Some(0), Some(0), Some(0), Some(1), Some(5)]);
        assert_eq!(footing(0, &[0, 1]).emptiest(&crowded, 3), Some(1));
        assert_eq!(footing(0, &[0, 1, 2]).emptiest(&crowded, 3), Some(2));
        assert_eq!(footing(0, &[0]).emptiest(&crowded, 3), None);
    }

    #[test]
    fn nobody_moves_for_one_worker_more_or_less() {
        let even = floor(&[Some(0), Some(0), Some(1)]);
        assert_eq!(footing(0, &[0, 1]).emptiest(&even, 2), None);
        let many = floor(&[Some(0); 7]);
        let moves = (0..7).filter(|&worker| {
            let crowd = many.count(place(0).unwrap());
            let to = footing(worker, &[0, 1]).emptiest(&many, crowd);
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
        let floor = floor(&[&[None][..], &others].concat());
        let mut footing = Footing::new(0);
        footing.settle(&floor);
        assert_ne!(floor.at[0].load(Ordering::Relaxed), 0);
        if floor.at[0].load(Ordering::Relaxed) == place(second).unwrap() {
            // Unless the kernel had moved this thread there in between.
            let stays_until = footing.stays_until;
            footing.settle(&floor);
            assert_eq!(footing.stays_until, stays_until);
        }
        assert_eq!(sched::affinity().unwrap(), allowed);
    }
}

//! Members of one job on processors of their own.
//!
//! The kernel may wake two workers on one processor while another has nothing to do, and its load
//! balancer takes up to tens of milliseconds to see it. So each member of a job notes which
//! processor it runs on, and one that finds itself on another member's moves to a free one. It
//! binds itself to nothing: from there on the kernel may move it as before. A mask that somebody
//! set for it is kept, and if there are more members than processors, those that find none free
//! stay where they are.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sys::sched;

/// Words of a [`Census`].
const WORDS: usize = 8;
/// Processors are told apart modulo this: where there are more, a member may move for nothing.
const BITS: usize = 64 * WORDS;

/// Which processors have a member of a job: a bit each.
///
/// | field    | written by               | read by | guard | if the writer dies               |
/// |----------|--------------------------|---------|-------|----------------------------------|
/// | `words`  | members, by setting bits | members | none  | its processor counts as occupied |
///
/// It is a hint: nothing but speed depends on it.
#[repr(C, align(64))]
pub(super) struct Census {
    words: [AtomicU64; WORDS],
}

const _: () = assert!(size_of::<Census>() == 64);

impl Census {
    /// Occupies a processor; false if somebody has it.
    fn occupy(&self, cpu: usize) -> bool {
        let (word, bit) = place(cpu);
        // Relaxed, as everywhere here: no other memory is meant.
        self.words[word].fetch_or(bit, Ordering::Relaxed) & bit == 0
    }

    fn vacate(&self, cpu: usize) {
        let (word, bit) = place(cpu);
        self.words[word].fetch_and(!bit, Ordering::Relaxed);
    }
}

fn place(cpu: usize) -> (usize, u64) {
    (cpu % BITS / 64, 1 << (cpu % 64))
}

/// Where a member runs, as it has noted in the census.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spot {
    Unknown,
    On(usize),
    /// All processors that it may use have a member: it is no use looking again.
    Crowded,
}

/// One member's place in the census of its job.
#[derive(Debug)]
pub(super) struct Placement {
    /// Which of its processors the member looks at first.
    home: usize,
    spot: Cell<Spot>,
}

impl Placement {
    /// Nowhere yet. Members with different `home`s seek different processors.
    pub(super) fn new(home: usize) -> Placement {
        Placement { home, spot: Cell::new(Spot::Unknown) }
    }

    /// Notes where the calling thread runs, and moves it if another member is there.
    pub(super) fn settle(&self, census: &Census) {
        let spot = self.spot.get();
        let Some(cpu) = sched::processor() else { return };
        if spot == Spot::On(cpu) || spot == Spot::Crowded {
            return;
        }
        if let Spot::On(left) = spot {
            census.vacate(left);
        }
        if census.occupy(cpu) {
            self.spot.set(Spot::On(cpu));
        } else {
            self.spot.set(self.move_away(census));
        }
    }

    /// Moves to a processor that no member has.
    #[cold]
    fn move_away(&self, census: &Census) -> Spot {
        let Ok(allowed) = sched::affinity() else { return Spot::Crowded };
        let in_turn = (0..allowed.len()).map(|i| allowed[(self.home + i) % allowed.len()]);
        for cpu in in_turn {
            if census.occupy(cpu) {
                if sched::move_to(cpu).is_ok() {
                    return Spot::On(cpu);
                }
                census.vacate(cpu);
            }
        }
        Spot::Crowded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn census() -> Census {
        Census { words: [const { AtomicU64::new(0) }; WORDS] }
    }

    fn occupied(census: &Census) -> u32 {
        census.words.iter().map(|word| word.load(Ordering::Relaxed).count_ones()).sum()
    }

    #[test]
    fn who_is_alone_stays_where_it_is_and_is_counted_once() {
        let (census, placement) = (census(), Placement::new(0));
        for _ in 0..100 {
            placement.settle(&census);
        }
        assert!(matches!(placement.spot.get(), Spot::On(_)));
        assert_eq!(occupied(&census), 1);
    }

    #[test]
    fn who_meets_a_member_moves_to_a_free_processor_and_keeps_its_mask() {
        let allowed = sched::affinity().unwrap();
        let census = census();
        let free = *allowed.last().unwrap();
        for &cpu in &allowed[..allowed.len() - 1] {
            census.occupy(cpu);
        }
        let placement = Placement::new(0);
        placement.settle(&census);
        assert_eq!(placement.spot.get(), Spot::On(free));
        assert_eq!(occupied(&census) as usize, allowed.len());
        assert_eq!(sched::affinity().unwrap(), allowed);
    }

    #[test]
    fn who_finds_every_processor_taken_stays_and_asks_no_more() {
        let census = census();
        let allowed = sched::affinity().unwrap();
        for &cpu in &allowed {
            census.occupy(cpu);
        }
        let placement = Placement::new(3);
        placement.settle(&census);
        assert_eq!(placement.spot.get(), Spot::Crowded);
        assert_eq!(occupied(&census) as usize, allowed.len());
        placement.settle(&census);
        assert_eq!(sched::affinity().unwrap(), allowed);
    }

    #[test]
    fn who_was_moved_by_the_kernel_gives_its_old_processor_back() {
        let census = census();
        let elsewhere = sched::affinity().unwrap().into_iter().max().unwrap() + 1;
        census.occupy(elsewhere);
        let placement = Placement::new(0);
        placement.spot.set(Spot::On(elsewhere));
        placement.settle(&census);
        assert_ne!(placement.spot.get(), Spot::On(elsewhere));
        assert_eq!(occupied(&census), 1);
    }

    #[test]
    fn processors_beyond_the_bits_are_told_apart_modulo_their_number() {
        let census = census();
        assert!(census.occupy(1) && census.occupy(65) && census.occupy(BITS - 1));
        assert!(!census.occupy(BITS + 1));
        census.vacate(1);
        assert!(census.occupy(BITS + 1));
    }
}

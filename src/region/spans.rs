//! Allocates the arena's bytes: size classes and runs of blocks.
//!
//! It keeps its records in private memory and touches no byte of the arena. The arena is divided
//! into *blocks* of 2 MiB. A large span is a run of blocks. A small span is a slot of a *slab*,
//! which is one block divided into slots of one size class. A free run is *clean* or *dirty*: a
//! clean one is a hole, which reads as zeros and costs no memory; a dirty one was used and still
//! has its pages.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::sys::mmap::HUGE_BYTES;

/// Size of a block, in bytes.
pub(crate) const BLOCK_BYTES: u64 = HUGE_BYTES as u64;

/// Spans of at least this size, in bytes, have blocks of their own.
pub(crate) const LARGE_BYTES: usize = 1 << 20;

/// Alignment of every span and granularity of the size classes, in bytes: one cache line.
pub(crate) const ALIGN_BYTES: usize = 64;

/// A run of blocks: the index of the first, and their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) first: u64,
    pub(crate) count: u64,
}

impl Run {
    pub(crate) fn offset(self) -> u64 {
        self.first * BLOCK_BYTES
    }

    pub(crate) fn len_bytes(self) -> u64 {
        self.count * BLOCK_BYTES
    }
}

/// The contents of a span when it is given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PageState {
    /// Zeros.
    Clean,
    /// The bytes of its last owner.
    Dirty,
}

/// Free runs of one kind; adjoining runs are merged.
#[derive(Debug, Default)]
struct Runs {
    by_start: BTreeMap<u64, u64>,
    by_count: BTreeSet<(u64, u64)>,
    blocks: u64,
}

impl Runs {
    fn insert(&mut self, mut run: Run) {
        if run.count == 0 {
            return;
        }
        self.blocks += run.count;
        let before = self.by_start.range(..run.first).next_back().map(|(&s, &c)| (s, c));
        if let Some((first, count)) = before.filter(|&(s, c)| s + c == run.first) {
            self.unlist(Run { first, count });
            run = Run { first, count: count + run.count };
        }
        let after = run.first + run.count;
        if let Some(&count) = self.by_start.get(&after) {
            self.unlist(Run { first: after, count });
            run.count += count;
        }
        self.by_start.insert(run.first, run.count);
        self.by_count.insert((run.count, run.first));
    }

    fn unlist(&mut self, run: Run) {
        self.by_start.remove(&run.first);
        self.by_count.remove(&(run.count, run.first));
    }

    fn remove(&mut self, run: Run) {
        self.unlist(run);
        self.blocks -= run.count;
    }

    /// Takes the first `count` blocks of the smallest run that is large enough.
    fn take(&mut self, count: u64) -> Option<Run> {
        let &(have, first) = self.by_count.range((count, 0)..).next()?;
        self.remove(Run { first, count: have });
        self.insert(Run { first: first + count, count: have - count });
        Some(Run { first, count })
    }

    /// Takes at most `count_max` blocks from the end of the largest run.
    fn take_largest(&mut self, count_max: u64) -> Option<Run> {
        let &(have, first) = self.by_count.last()?;
        let count = have.min(count_max);
        self.remove(Run { first, count: have });
        self.insert(Run { first, count: have - count });
        Some(Run { first: first + have - count, count })
    }
}

/// One block divided into slots of one class.
#[derive(Debug)]
struct Slab {
    class: usize,
    /// Freed slots, reused first.
    free: Vec<u32>,
    /// Slots from this one on were never given out.
    fresh: u32,
    slots: u32,
    live: u32,
    /// The contents of the block when it became a slab.
    state: PageState,
}

/// The map of the arena.
#[derive(Debug)]
pub(crate) struct Spans {
    clean: Runs,
    dirty: Runs,
    slabs: HashMap<u64, Slab>,
    /// Blocks of slabs with free slots, by class.
    partial: Vec<BTreeSet<u64>>,
    /// Blocks that are in neither free list: spans, slabs, and runs being punched out.
    used_blocks: u64,
}

impl Spans {
    /// An arena of `blocks` clean blocks.
    pub(crate) fn new(blocks: u64) -> Spans {
        let mut clean = Runs::default();
        clean.insert(Run { first: 0, count: blocks });
        let partial = vec![BTreeSet::new(); class_of(LARGE_BYTES) + 1];
        Spans { clean, dirty: Runs::default(), slabs: HashMap::new(), partial, used_blocks: 0 }
    }

    /// Bytes that are given out or kept for reuse.
    pub(crate) fn reserved_bytes(&self) -> u64 {
        (self.used_blocks + self.dirty.blocks) * BLOCK_BYTES
    }

    /// Bytes of free runs that still have their pages.
    pub(crate) fn cached_bytes(&self) -> u64 {
        self.dirty.blocks * BLOCK_BYTES
    }

    /// The largest run that could be given out now without merging, in bytes.
    pub(crate) fn largest_bytes(&self) -> u64 {
        let largest = |runs: &Runs| runs.by_count.last().map_or(0, |&(count, _)| count);
        largest(&self.clean).max(largest(&self.dirty)) * BLOCK_BYTES
    }

    /// Takes a slot for a small span, if a slab of its class has one.
    pub(crate) fn take_slot(&mut self, len_bytes: usize) -> Option<(u64, PageState)> {
        let class = class_of(len_bytes);
        let block = *self.partial[class].first()?;
        let slab = self.slabs.get_mut(&block).expect("a partial block is a slab");
        let (slot, state) = match slab.free.pop() {
            Some(slot) => (slot, PageState::Dirty),
            None => {
                slab.fresh += 1;
                (slab.fresh - 1, slab.state)
            }
        };
        slab.live += 1;
        if slab.live == slab.slots {
            self.partial[class].remove(&block);
        }
        Some((block * BLOCK_BYTES + u64::from(slot) * class_bytes(class) as u64, state))
    }

    /// Turns a block of [`Spans::take_dirty`] or [`Spans::take_clean`] into a slab for spans of
    /// `len_bytes`.
    pub(crate) fn make_slab(&mut self, block: Run, len_bytes: usize, state: PageState) {
        debug_assert_eq!(block.count, 1);
        let class = class_of(len_bytes);
        let slots = u32::try_from(HUGE_BYTES / class_bytes(class)).expect("at most 2^15 slots");
        let slab = Slab { class, free: Vec::new(), fresh: 0, slots, live: 0, state };
        self.slabs.insert(block.first, slab);
        self.partial[class].insert(block.first);
    }

    /// Takes a run that still has its pages.
    pub(crate) fn take_dirty(&mut self, count: u64) -> Option<Run> {
        let run = self.dirty.take(count)?;
        self.used_blocks += run.count;
        Some(run)
    }

    /// Takes a run of zeros, which has no pages yet.
    pub(crate) fn take_clean(&mut self, count: u64) -> Option<Run> {
        let run = self.clean.take(count)?;
        self.used_blocks += run.count;
        Some(run)
    }

    /// A cached run of at most `count_max` blocks, to be punched out and given to
    /// [`Spans::free_clean`].
    pub(crate) fn take_largest_dirty(&mut self, count_max: u64) -> Option<Run> {
        let run = self.dirty.take_largest(count_max)?;
        self.used_blocks += run.count;
        Some(run)
    }

    /// Frees a run that keeps its pages.
    pub(crate) fn free_dirty(&mut self, run: Run) {
        self.used_blocks -= run.count;
        self.dirty.insert(run);
    }

    /// Frees a run that has been punched out.
    pub(crate) fn free_clean(&mut self, run: Run) {
        self.used_blocks -= run.count;
        self.clean.insert(run);
    }

    /// Frees a small span.
    pub(crate) fn free_slot(&mut self, offset: u64) {
        let block = offset / BLOCK_BYTES;
        let slab = self.slabs.get_mut(&block).expect("a small span lies in a slab");
        let within = usize::try_from(offset % BLOCK_BYTES).expect("a block fits a usize");
        let slot = u32::try_from(within / class_bytes(slab.class)).expect("at most 2^15 slots");
        slab.free.push(slot);
        slab.live -= 1;
        let class = slab.class;
        if slab.live > 0 {
            self.partial[class].insert(block);
            return;
        }
        self.partial[class].remove(&block);
        self.slabs.remove(&block);
        self.free_dirty(Run { first: block, count: 1 });
    }
}

/// The number of blocks for `len_bytes`.
pub(crate) fn blocks_for(len_bytes: usize) -> u64 {
    (len_bytes as u64).div_ceil(BLOCK_BYTES)
}

/// The size class of a span of at most [`LARGE_BYTES`]: four classes for every doubling.
fn class_of(len_bytes: usize) -> usize {
    let lines = len_bytes.div_ceil(ALIGN_BYTES).max(1);
    if lines <= 4 {
        return lines - 1;
    }
    // lines lies in (4 * 2^k, 8 * 2^k]; each class there spans 2^k lines.
    let k = (lines - 1).ilog2() - 2;
    (k as usize) * 4 + ((lines - 1) >> k)
}

/// The size of the slots of a class, in bytes.
fn class_bytes(class: usize) -> usize {
    if class < 4 {
        return (class + 1) * ALIGN_BYTES;
    }
    let k = class / 4 - 1;
    ((class % 4 + 5) << k) * ALIGN_BYTES
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn classes_are_tight_and_ascending() {
        for len in 1..=LARGE_BYTES {
            if !(len < 5000 || len.is_power_of_two() || len % 4099 == 0) {
                continue;
            }
            let class = class_of(len);
            assert!(class_bytes(class) >= len, "{len} does not fit class {class}");
            assert!(class == 0 || class_bytes(class - 1) < len, "{len}: class {class} is too big");
            assert_eq!(class_bytes(class) % ALIGN_BYTES, 0);
        }
        assert_eq!(class_bytes(class_of(LARGE_BYTES)), LARGE_BYTES);
    }

    #[test]
    fn neighbouring_runs_merge() {
        let mut runs = Runs::default();
        for first in [4, 0, 2, 3, 1] {
            runs.insert(Run { first, count: 1 });
        }
        assert_eq!(runs.take(5), Some(Run { first: 0, count: 5 }));
        assert_eq!(runs.blocks, 0);
        assert_eq!(runs.take(1), None);
    }

    #[test]
    fn the_largest_cached_run_is_trimmed_from_its_end() {
        let mut spans = Spans::new(10);
        let run = spans.take_clean(8).unwrap();
        spans.free_dirty(run);
        assert_eq!(spans.take_largest_dirty(3), Some(Run { first: 5, count: 3 }));
        assert_eq!(spans.cached_bytes(), 5 * BLOCK_BYTES);
        assert_eq!(spans.reserved_bytes(), 8 * BLOCK_BYTES);
    }

    /// A span of a test: offset, size in bytes, and its run if it is large.
    type Held = (u64, u64, Option<Run>);

    fn take(spans: &mut Spans, len: usize) -> Option<Held> {
        if len >= LARGE_BYTES {
            let count = blocks_for(len);
            let run = spans.take_dirty(count).or_else(|| spans.take_clean(count))?;
            return Some((run.offset(), run.len_bytes(), Some(run)));
        }
        let slot = spans.take_slot(len).or_else(|| {
            let block = spans.take_dirty(1).or_else(|| spans.take_clean(1))?;
            spans.make_slab(block, len, PageState::Dirty);
            spans.take_slot(len)
        });
        slot.map(|(offset, _)| (offset, len as u64, None))
    }

    proptest! {
        #[test]
        fn live_spans_never_overlap_and_all_blocks_come_back(
            steps in prop::collection::vec((any::<bool>(), 1usize..6 << 20, any::<usize>()), 1..80)
        ) {
            let mut spans = Spans::new(40);
            let mut held: Vec<Held> = Vec::new();
            for (give, len, pick) in steps {
                // Half of the spans are small.
                let len = if pick % 2 == 0 { len % 9000 + 1 } else { len };
                if give && !held.is_empty() {
                    let (offset, _, run) = held.swap_remove(pick % held.len());
                    match run {
                        Some(run) if pick % 3 == 0 => spans.free_clean(run),
                        Some(run) => spans.free_dirty(run),
                        None => spans.free_slot(offset),
                    }
                } else if let Some((offset, len, run)) = take(&mut spans, len) {
                    prop_assert_eq!(offset % ALIGN_BYTES as u64, 0);
                    prop_assert!(offset + len <= 40 * BLOCK_BYTES);
                    for &(other, other_len, _) in &held {
                        prop_assert!(offset + len <= other || other + other_len <= offset);
                    }
                    held.push((offset, len, run));
                }
            }
            for (offset, _, run) in held {
                match run {
                    Some(run) => spans.free_clean(run),
                    None => spans.free_slot(offset),
                }
            }
            prop_assert_eq!(spans.used_blocks, 0);
            prop_assert!(spans.slabs.is_empty() && spans.partial.iter().all(BTreeSet::is_empty));
            prop_assert_eq!(spans.clean.blocks + spans.dirty.blocks, 40);
        }
    }
}

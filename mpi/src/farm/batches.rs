//! How many items a rank gets at a time.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

/// A batch takes about this long on its rank: many times the way there and back.
const TARGET: Duration = Duration::from_millis(20);

/// A batch ends with the item that makes it this long. Two batches of a rank are under way, or
/// more if its workers have less than one item each. So the bytes on their way to a rank are at
/// most those of two batches, or of one item for each worker and one batch.
pub(super) const BYTES_MAX: usize = 4 << 20;

/// The most items of a batch, and how much larger than the last one the next may be.
const ITEMS_MAX: usize = 4096;
const GROWTH_MAX: usize = 4;

/// The batches of one rank that are under way. Two of them at least, so that a rank has work
/// while its results travel.
#[derive(Debug)]
pub(super) struct Batches {
    workers: usize,
    under_way: VecDeque<Batch>,
    /// Items under way.
    items: usize,
    /// The size of the next batch.
    next: usize,
    /// When the last batch ended.
    last_end: Instant,
}

#[derive(Debug)]
struct Batch {
    positions: Range<usize>,
    left: usize,
    /// Bytes of its results so far.
    bytes: usize,
    sent: Instant,
}

impl Batches {
    pub(super) fn new(workers: usize) -> Batches {
        let workers = workers.max(1);
        let under_way = VecDeque::new();
        Batches { workers, under_way, items: 0, next: workers, last_end: Instant::now() }
    }

    pub(super) fn items(&self) -> usize {
        self.items
    }

    /// Whether it needs another batch.
    pub(super) fn is_wanting(&self) -> bool {
        self.under_way.len() < 2 || self.items < self.workers
    }

    /// The size of its next batch, if `remaining` items are known to be left for `ranks` ranks:
    /// near the end batches become smaller, so that all ranks end together.
    pub(super) fn next_size(&self, remaining: Option<usize>, ranks: usize) -> usize {
        let fair = remaining.map_or(usize::MAX, |items| items.div_ceil(2 * ranks));
        self.next.min(fair).max(1)
    }

    pub(super) fn send(&mut self, positions: Range<usize>, now: Instant) {
        let left = positions.len();
        self.items += left;
        self.under_way.push_back(Batch { positions, left, bytes: 0, sent: now });
    }

    /// Notes that an item has ended with a result of `bytes`. At the end of a batch, the next size
    /// follows from its time, and from its results, of which there are memory and messages for so
    /// many bytes as for items.
    pub(super) fn end(&mut self, position: usize, bytes: usize, now: Instant) {
        let is_here = |batch: &Batch| batch.positions.contains(&position);
        let Some(at) = self.under_way.iter().position(is_here) else { return };
        self.items -= 1;
        self.under_way[at].left -= 1;
        self.under_way[at].bytes += bytes;
        if self.under_way[at].left > 0 {
            return;
        }
        let Some(batch) = self.under_way.remove(at) else { return };
        let began = batch.sent.max(self.last_end);
        self.last_end = now;
        let took = now.saturating_duration_since(began).max(Duration::from_nanos(1));
        let count = batch.positions.len();
        let fitting = count as u128 * TARGET.as_nanos() / took.as_nanos();
        let fitting = usize::try_from(fitting).unwrap_or(usize::MAX);
        let fitting = fitting.min(count.saturating_mul(BYTES_MAX) / batch.bytes.max(1));
        self.next = fitting.min(count * GROWTH_MAX).clamp(1, ITEMS_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(batches: &mut Batches, count: usize, took: Duration) -> usize {
        let start = batches.last_end;
        batches.send(0..count, start);
        for position in 0..count {
            batches.end(position, 8, start + took);
        }
        batches.next_size(None, 1)
    }

    #[test]
    fn short_items_travel_in_large_batches_and_long_ones_alone() {
        let mut batches = Batches::new(2);
        assert_eq!(batches.next_size(None, 1), 2);
        assert_eq!(after(&mut batches, 2, Duration::from_micros(2)), 8, "four times as many");
        assert_eq!(after(&mut batches, 4096, Duration::from_micros(2)), ITEMS_MAX);
        assert_eq!(after(&mut batches, 100, Duration::from_millis(20)), 100);
        assert_eq!(after(&mut batches, 100, Duration::from_secs(2)), 1);
    }

    #[test]
    fn large_results_make_small_batches() {
        let mut batches = Batches::new(2);
        let start = batches.last_end;
        batches.send(0..100, start);
        (0..100).for_each(|at| batches.end(at, 1 << 20, start + Duration::from_millis(1)));
        assert_eq!(batches.next_size(None, 1), 4, "4 MiB of results");
        batches.send(100..104, start);
        (100..104).for_each(|at| batches.end(at, 8 << 20, start + Duration::from_millis(2)));
        assert_eq!(batches.next_size(None, 1), 1);
    }

    #[test]
    fn near_the_end_all_ranks_get_a_part_of_what_is_left() {
        let mut batches = Batches::new(8);
        assert_eq!(batches.next_size(Some(100), 4), 8);
        assert_eq!(batches.next_size(Some(10), 4), 2);
        assert_eq!(batches.next_size(Some(0), 4), 1);
        // Two batches are under way, but not every worker has an item.
        let now = batches.last_end;
        batches.send(0..2, now);
        batches.send(2..4, now);
        assert!(batches.is_wanting());
        batches.send(4..8, now);
        assert!(!batches.is_wanting());
        batches.end(0, 8, now);
        assert_eq!(batches.items(), 7);
    }
}

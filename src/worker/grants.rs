//! Spans that a worker was granted for its results.

use crate::object::transfer::RESULT_SPANS_MAX;
use crate::region::arena::Span;
use crate::worker::queue_pair::SLOTS_LEN;

/// The most spans for one result: those of its elements, and one of its payload.
const SPANS_MAX: usize = RESULT_SPANS_MAX as usize + 1;

/// Spans that a worker was granted for results that have not been drained, each with the sequence
/// number of its task.
///
/// The number is the worker's report, and determines only when the host takes the span from this
/// list. A worker runs its tasks in order, so a span for an earlier task is not used any more.
#[derive(Debug, Default)]
pub(crate) struct Grants(Vec<(u64, Span)>);

impl Grants {
    /// Adds a span for task `seq`; false if that has too many. A worker that invents numbers gets
    /// a limited number too.
    pub(crate) fn add(&mut self, seq: u64, span: Span) -> bool {
        let of_task = self.0.iter().rev().take_while(|(of, _)| *of == seq).count();
        let has_room = of_task < SPANS_MAX && self.0.len() < SPANS_MAX * SLOTS_LEN;
        if has_room {
            self.0.push((seq, span));
        }
        has_room
    }

    /// Whether the span at `offset` was granted for task `seq`.
    pub(crate) fn has(&self, seq: u64, offset: u64) -> bool {
        self.0.iter().any(|(of, span)| *of == seq && span.offset() == offset)
    }

    /// Takes the spans for task `seq`, which was drained. Frees those for earlier tasks.
    #[inline]
    pub(crate) fn take(&mut self, seq: u64) -> Vec<Span> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let over = self.0.extract_if(.., |(of, _)| *of <= seq);
        over.filter_map(|(of, span)| (of == seq).then_some(span)).collect()
    }

    /// Frees all spans.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::region::arena::{Arena, Contents};

    fn span() -> Span {
        Arena::host().unwrap().reserve(1 << 16, Contents::Stale).unwrap()
    }

    #[test]
    fn a_drained_task_has_its_own_spans_and_those_of_earlier_ones_are_freed() {
        let mut grants = Grants::default();
        let offsets: Vec<u64> = [3, 4, 4, 5]
            .map(|seq| {
                let span = span();
                let offset = span.offset();
                assert!(grants.add(seq, span));
                offset
            })
            .into();
        assert!(grants.has(3, offsets[0]) && grants.has(4, offsets[2]));
        assert!(!grants.has(4, offsets[0]), "it was granted for another task");
        let found: Vec<u64> = grants.take(4).iter().map(Span::offset).collect();
        assert_eq!(found, offsets[1..3]);
        assert_eq!(grants.take(3).len(), 0, "it is free");
        assert!(!grants.has(4, offsets[1]), "it was taken");
        assert_eq!(grants.take(5).len(), 1);
    }

    #[test]
    fn each_result_is_granted_a_limited_number_of_spans() {
        let mut grants = Grants::default();
        let tiny = || Arena::host().unwrap().reserve(64, Contents::Stale).unwrap();
        assert!((0..SPANS_MAX).all(|_| grants.add(1, tiny())));
        assert!(!grants.add(1, tiny()));
        assert!(grants.add(2, tiny()), "another task's are not counted");
        grants.clear();
        assert!(grants.add(1, tiny()));
    }
}

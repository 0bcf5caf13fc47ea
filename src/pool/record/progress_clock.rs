//! How long a worker has made no progress.

use std::time::{Duration, Instant};

/// What a worker that makes no progress waits for. At most one applies at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// It is ready and has no task. Its next task gets this sequence number.
    ForTask { next_seq: u64 },
    /// It has not started its oldest task.
    ToStart { seq: u64, is_ready: bool },
    /// It has been asked to leave and has nothing left to do.
    ToLeave,
}

/// The time at which a worker was first seen waiting for what it still waits for.
#[derive(Debug, Default)]
pub(crate) struct ProgressClock {
    seen: Option<(Waiting, Instant)>,
}

impl ProgressClock {
    /// Records what the worker waits for at `now`. Returns it with the time of the earliest of the
    /// consecutive calls that recorded the same.
    pub(crate) fn note(
        &mut self,
        waiting: Option<Waiting>,
        now: Instant,
    ) -> Option<(Waiting, Instant)> {
        let is_same = self.seen.map(|(waiting, _)| waiting) == waiting;
        if !is_same {
            self.seen = waiting.map(|waiting| (waiting, now));
        }
        self.seen
    }

    /// Clears the record.
    pub(crate) fn reset(&mut self) {
        self.seen = None;
    }

    /// Excludes a gap, in which this process was stopped, from the waiting time.
    pub(crate) fn exclude_gap(&mut self, gap: Duration) {
        if let Some((_, since)) = &mut self.seen {
            *since += gap;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_counts_from_the_first_note_of_what_is_waited_for_now() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let to_start = |seq| Some(Waiting::ToStart { seq, is_ready: true });
        let since = |noted: Option<(Waiting, Instant)>| noted.map(|(_, since)| since);
        let mut clock = ProgressClock::default();
        assert_eq!(clock.note(None, at(0)), None);
        assert_eq!(since(clock.note(to_start(1), at(1))), Some(at(1)));
        assert_eq!(since(clock.note(to_start(1), at(5))), Some(at(1)));
        clock.exclude_gap(Duration::from_millis(2));
        assert_eq!(since(clock.note(to_start(1), at(6))), Some(at(3)));
        assert_eq!(since(clock.note(to_start(2), at(7))), Some(at(7)));
        clock.reset();
        assert_eq!(since(clock.note(to_start(2), at(8))), Some(at(8)));
    }
}

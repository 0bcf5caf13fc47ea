//! The pauses of a thread that polls MPI.

use std::time::Duration;

/// Polls without a pause, before the first one.
const EAGER_POLLS: u32 = 64;
/// The first pause, and the longest; each is half as long again as the one before.
const FIRST: Duration = Duration::from_micros(20);
const LONGEST: Duration = Duration::from_millis(1);

/// The pauses of a thread that polls MPI.
///
/// A blocking call of Open MPI keeps a processor busy while it waits, and the workers need that
/// processor.
#[derive(Debug)]
pub(crate) struct Backoff {
    polls: u32,
    pause: Duration,
}

impl Default for Backoff {
    fn default() -> Backoff {
        Backoff { polls: 0, pause: FIRST }
    }
}

impl Backoff {
    /// Something has happened: the next polls follow at once.
    pub(crate) fn reset(&mut self) {
        *self = Backoff::default();
    }

    /// The next pause is short: a piece of a message was sent, and MPI moves the next one only
    /// while it is polled. Later ones grow, so that a message for which its receiver has no time
    /// costs little.
    pub(crate) fn shorten(&mut self) {
        self.pause = FIRST;
    }

    /// Lets time pass after a poll that found nothing. Returns whether it slept.
    #[expect(clippy::disallowed_methods, reason = "MPI offers no event to wait for")]
    pub(crate) fn pause(&mut self) -> bool {
        if self.polls < EAGER_POLLS {
            self.polls += 1;
            std::thread::yield_now();
            return false;
        }
        std::thread::sleep(self.pause);
        self.pause = (self.pause * 3 / 2).min(LONGEST);
        true
    }
}

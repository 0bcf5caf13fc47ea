//! Spins for a limited time before sleeping.
//!
//! A spinner that pauses takes half of a core from the other hyperthread; one that yields takes
//! nothing. So a waiter pauses for about a microsecond, then yields for its budget, and then
//! sleeps.

use std::hint;
use std::thread;
use std::time::{Duration, Instant};

/// Pauses before the first yield: about one microsecond.
const PAUSES: u32 = 32;
/// Yields between two reads of the clock.
const YIELDS: u32 = 8;

/// Spins until `done`, at most for about `budget`. Returns whether it is done.
pub(crate) fn spin(budget: Duration, mut done: impl FnMut() -> bool) -> bool {
    pause(&mut done) || yield_for(budget, done)
}

/// Pauses until `done`, for about a microsecond.
pub(crate) fn pause(mut done: impl FnMut() -> bool) -> bool {
    for _ in 0..PAUSES {
        if done() {
            return true;
        }
        hint::spin_loop();
    }
    false
}

/// Yields until `done`, at most for about `budget`.
pub(crate) fn yield_for(budget: Duration, mut done: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        for _ in 0..YIELDS {
            if done() {
                return true;
            }
            thread::yield_now();
        }
        if start.elapsed() >= budget {
            return done();
        }
    }
}

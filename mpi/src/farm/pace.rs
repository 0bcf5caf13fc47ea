//! How often a loop asks the clock.

use std::time::{Duration, Instant};

/// Steps that take less are short.
const SHORT: Duration = Duration::from_micros(100);

/// The most short steps between two looks at the clock, which takes as long as some of them.
const STEPS_MAX: u32 = 16;

/// Asks the clock at each step of a loop whose steps are long, and seldom where they are short.
#[derive(Debug)]
pub(super) struct Pace {
    asked: Instant,
    /// Steps from one look to the next.
    steps: u32,
    left: u32,
}

impl Pace {
    pub(super) fn new() -> Pace {
        Pace { asked: Instant::now(), steps: 1, left: 1 }
    }

    /// The end of a step; the time, if it was asked for.
    pub(super) fn step(&mut self) -> Option<Instant> {
        self.left -= 1;
        if self.left > 0 {
            return None;
        }
        let now = Instant::now();
        let is_short = now.saturating_duration_since(self.asked) < SHORT;
        self.steps = if is_short { STEPS_MAX.min(2 * self.steps) } else { 1 };
        (self.left, self.asked) = (self.steps, now);
        Some(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_asked_seldom_between_short_steps_and_always_between_long_ones() {
        let mut pace = Pace::new();
        let asked = (0..1000).filter(|_| pace.step().is_some()).count();
        assert!(asked >= 1000 / 16, "{asked}");
        // As if the last steps had been long.
        while pace.step().is_none() {}
        for _ in 0..3 {
            pace.asked = Instant::now().checked_sub(2 * SHORT).unwrap();
            pace.left = 1;
            assert!(pace.step().is_some());
            assert_eq!((pace.steps, pace.left), (1, 1));
        }
        pace.asked = Instant::now() + SHORT;
        assert!(pace.step().is_some() && pace.steps == 2);
        assert!(pace.step().is_none());
    }
}

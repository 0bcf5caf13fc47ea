//! How long a wait may last, and how it waits.

use std::time::{Duration, Instant};

/// How waits notice that a process died.
///
/// A death is noticed when [`OwnerTable::sweep`](super::OwnerTable::sweep) is called. Programs that
/// share only a name have no common supervisor to call it, so their waits check for deaths.
///
/// # Examples
///
/// ```
/// # use std::ptr::NonNull;
/// # use brigade::sync::{Owner, OwnerTable, Watch};
/// # #[repr(align(128))] struct Region([u8; 4096]);
/// # let place = NonNull::from(Box::leak(Box::new(Region([0; 4096])))).cast::<u8>();
/// # // SAFETY: aligned, large enough, never freed, and used for nothing else.
/// # let table = unsafe { OwnerTable::create(place, 8, 8, place, 4096) }?;
/// # let owner = Owner::claim(&table, Watch::Waiters)?;
/// assert_eq!(owner.watch(), Watch::Waiters);
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Watch {
    /// Every waiter wakes up each 50 ms, checks the word and whether the owner that it waits for
    /// lives, and sweeps if it does not.
    #[default]
    Waiters,
    /// A supervisor that is notified of each death and sweeps. Waits sleep until woken.
    Supervisor,
}

/// The longest sleep before a waiter without a supervisor checks for deaths. Long enough to cost
/// nothing (a wake-up takes about 5 us), short enough that a death does not look like a hang.
pub(crate) const CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// Pauses before the first `sched_yield`: between 1 and 2 us, the time in which a spinning peer has
/// answered. A pause takes about 40 ns on recent processors.
const PAUSES: u32 = if cfg!(loom) { 0 } else { 40 };

/// How long to yield before sleeping. A yielding spinner hardly delays others on its core, while
/// waking a halted core takes 30 to 70 us.
const YIELD_TIME: Duration = Duration::from_micros(if cfg!(loom) { 0 } else { 100 });

/// When a wait ends without success.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use brigade::sync::Timeout;
///
/// assert!(matches!(Timeout::after(Duration::ZERO), Timeout::Now));
/// assert!(matches!(Timeout::after(Duration::from_millis(5)), Timeout::At(_)));
/// // Longer than the clock can represent.
/// assert!(matches!(Timeout::after(Duration::MAX), Timeout::Never));
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Timeout {
    /// At once: one attempt, no waiting.
    Now,
    /// At this time.
    At(Instant),
    /// Never: the wait has no limit.
    Never,
    /// After this many sleeps. For callers that must check something between sleeps and need no
    /// clock for it, and for models, which have no time.
    #[doc(hidden)]
    Sleeps(u32),
}

impl From<Duration> for Timeout {
    fn from(timeout: Duration) -> Timeout {
        Timeout::after(timeout)
    }
}

impl Timeout {
    /// A timeout this long from now. Zero is [`Now`](Timeout::Now); a time that the clock cannot
    /// represent is [`Never`](Timeout::Never).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use brigade::sync::Timeout;
    /// assert!(matches!(Timeout::after(Duration::ZERO), Timeout::Now));
    /// assert!(matches!(Timeout::after(Duration::MAX), Timeout::Never));
    /// ```
    #[must_use]
    pub fn after(timeout: Duration) -> Timeout {
        if timeout.is_zero() {
            return Timeout::Now;
        }
        Instant::now().checked_add(timeout).map_or(Timeout::Never, Timeout::At)
    }

    /// The longest duration of the next sleep: `None` if the wait is over, `Some(None)` for any
    /// time.
    pub(crate) fn next_sleep(&mut self, watch: Watch) -> Option<Option<Duration>> {
        let slice = match watch {
            Watch::Waiters => Some(CHECK_INTERVAL),
            Watch::Supervisor => None,
        };
        match *self {
            Timeout::Now => None,
            Timeout::Never => Some(slice),
            Timeout::Sleeps(ref mut left) => {
                *left = left.checked_sub(1)?;
                Some(if cfg!(loom) { Some(Duration::ZERO) } else { slice })
            }
            Timeout::At(end) => {
                let left = end.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return None;
                }
                Some(Some(slice.map_or(left, |slice| slice.min(left))))
            }
        }
    }
}

/// The part of a wait before the sleep: pause for 1 us, then yield the core.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    pauses: u32,
    yields_until: Option<Instant>,
}

impl Backoff {
    /// Waits a moment, or returns false when it is time to sleep.
    #[inline]
    pub(crate) fn pass(&mut self) -> bool {
        if self.pauses < PAUSES {
            self.pauses += 1;
            std::hint::spin_loop();
            return true;
        }
        self.pass_slow()
    }

    #[cold]
    fn pass_slow(&mut self) -> bool {
        if YIELD_TIME.is_zero() {
            return false;
        }
        let now = Instant::now();
        if now >= *self.yields_until.get_or_insert(now + YIELD_TIME) {
            return false;
        }
        std::thread::yield_now();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_longer_than_the_clock_has_no_end() {
        assert!(matches!(Timeout::after(Duration::MAX), Timeout::Never));
    }

    #[test]
    fn a_supervised_wait_sleeps_in_one_piece() {
        let mut endless = Timeout::Never;
        assert_eq!(endless.next_sleep(Watch::Supervisor), Some(None));
        assert_eq!(endless.next_sleep(Watch::Waiters), Some(Some(CHECK_INTERVAL)));
    }

    #[test]
    fn a_wait_that_is_over_does_not_sleep() {
        let (mut never, mut over) = (Timeout::Now, Timeout::after(Duration::ZERO));
        assert_eq!(never.next_sleep(Watch::Waiters), None);
        assert_eq!(over.next_sleep(Watch::Supervisor), None);
    }
}

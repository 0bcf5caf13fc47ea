//! Permits of a limited queue, and who is woken for them.

#[cfg(feature = "async")]
use crate::pool::record::callbacks::Callback;
use crate::pool::record::state::{Lifecycle, State};

impl State {
    /// How many more tasks may be submitted.
    pub(crate) fn available_permits(&self) -> usize {
        let Some(limit) = self.queue_limit else { return usize::MAX };
        self.target.saturating_add(limit).saturating_sub(self.unfinished + self.reserved)
    }

    /// Whether a thread or a future waits for a permit.
    #[inline]
    pub(crate) fn is_permit_awaited(&self) -> bool {
        #[cfg(feature = "async")]
        if !self.permit_waiters.is_empty() {
            return true;
        }
        self.waiting_for_permit > 0
    }

    /// If there are permits, wakes the threads that wait for one, and as many futures as there are
    /// permits. Wakes all of both if the pool takes no more tasks.
    pub(crate) fn wake_permit_waiters(&mut self) {
        let permits =
            if self.life == Lifecycle::Open { self.available_permits() } else { usize::MAX };
        if permits == 0 {
            return;
        }
        #[cfg(feature = "async")]
        for waker in self.permit_waiters.wake(permits) {
            self.call(Callback::wake(waker));
        }
        if self.waiting_for_permit > 0 {
            for waiter in self.waiting.drain(..) {
                waiter.wake();
            }
            self.wake_sleeping_joiner();
        }
    }
}

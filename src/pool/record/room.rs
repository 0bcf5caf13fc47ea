//! Room in a limited queue, and who is woken for it.

#[cfg(feature = "async")]
use crate::pool::record::callbacks::Callback;
use crate::pool::record::state::{Lifecycle, State};

impl State {
    /// How many more tasks may be submitted.
    pub(crate) fn room(&self) -> usize {
        let Some(limit) = self.queue_limit else { return usize::MAX };
        self.target.saturating_add(limit).saturating_sub(self.unfinished + self.reserved)
    }

    /// Whether a thread or a future waits for room.
    #[inline]
    pub(crate) fn is_room_awaited(&self) -> bool {
        #[cfg(feature = "async")]
        if !self.room_waiters.is_empty() {
            return true;
        }
        self.waiting_for_room > 0
    }

    /// If there is room, wakes the threads that wait for it, and as many futures as there is room
    /// for. Wakes all of both if the pool takes no more tasks.
    pub(crate) fn wake_room(&mut self) {
        let room = if self.life == Lifecycle::Open { self.room() } else { usize::MAX };
        if room == 0 {
            return;
        }
        #[cfg(feature = "async")]
        for waker in self.room_waiters.wake(room) {
            self.call(Callback::wake(waker));
        }
        if self.waiting_for_room > 0 {
            for waiter in self.waiting.drain(..) {
                waiter.wake();
            }
            self.wake_sleeping_joiner();
        }
    }
}

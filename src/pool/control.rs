//! The host's end of the control block that all workers share.
#![allow(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::error::Result;
use crate::pool::queue_pair::{PoolControl, driver};
use crate::region::arena::{Arena, Contents, Span};
use crate::sys::futex;

/// The control block, and the memory it lies in.
#[derive(Debug)]
pub(super) struct HostControl {
    span: Arc<Span>,
}

impl HostControl {
    pub(super) fn new(arena: &Arc<Arena>) -> Result<HostControl> {
        let span = arena.reserve(size_of::<PoolControl>(), Contents::Zeroed)?;
        Ok(HostControl { span: Arc::new(span) })
    }

    /// Where it lies in the arena.
    pub(super) fn offset(&self) -> u64 {
        self.span.offset()
    }

    fn control(&self) -> &PoolControl {
        // SAFETY: the span is as large as a control block, aligned to a cache line, lives as long
        // as `self`, and a control block is nothing but atomics and padding.
        unsafe { &*self.span.as_ptr().cast::<PoolControl>() }
    }

    /// The word on which a joining thread sleeps.
    pub(super) fn driver_word(&self) -> *const AtomicU32 {
        &raw const self.control().driver
    }

    /// Who is to be woken now.
    pub(super) fn driver(&self) -> u32 {
        // Relaxed: a worker's swap to AWAKE comes with a wake-up of its own.
        self.control().driver.load(Ordering::Relaxed)
    }

    pub(super) fn set_driver(&self, whom: u32) {
        // Relaxed: the fence of `State::arm` orders it.
        self.control().driver.store(whom, Ordering::Relaxed);
    }

    /// Wakes the joining thread that sleeps on the word, if one does.
    pub(super) fn wake_joiner(&self) {
        let word = &self.control().driver;
        // Relaxed: what it is woken for is under the mutex.
        if word.swap(driver::AWAKE, Ordering::Relaxed) == driver::JOINER {
            futex::wake(word, 1);
        }
    }

    /// Wakes the joining thread that sleeps on the word, whatever the word says: a worker that
    /// was killed in the middle of ringing has changed it and woken nobody.
    pub(super) fn wake_sleeping_joiner(&self) {
        self.set_driver(driver::AWAKE);
        futex::wake(&self.control().driver, 1);
    }

    pub(super) fn set_has_surplus(&self, has_surplus: bool) {
        let word = &self.control().has_surplus;
        let value = u32::from(has_surplus);
        // Relaxed: a worker that parks looks at it after a fence, and `HostSide::wake` has the
        // other one. Storing only what changes keeps the line shared.
        if word.load(Ordering::Relaxed) != value {
            word.store(value, Ordering::Relaxed);
        }
    }
}

//! The pool's state while its mutex is held.

use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, MutexGuard, PoisonError};
use std::time::Duration;

use crate::pool::record::state::State;

/// Holds the pool's mutex. When it is dropped, the deferred events are emitted, after the mutex is
/// released.
pub(crate) struct StateGuard<'a>(Option<MutexGuard<'a, State>>);

impl<'a> StateGuard<'a> {
    pub(crate) fn new(guard: MutexGuard<'a, State>) -> StateGuard<'a> {
        StateGuard(Some(guard))
    }

    /// Releases the mutex until `changed` is notified, at most for `timeout`.
    pub(crate) fn wait(mut self, changed: &Condvar, timeout: Option<Duration>) -> StateGuard<'a> {
        let guard = self.0.take().expect(HELD);
        StateGuard::new(match timeout {
            None => changed.wait(guard).unwrap_or_else(PoisonError::into_inner),
            Some(timeout) => {
                changed.wait_timeout(guard, timeout).unwrap_or_else(PoisonError::into_inner).0
            }
        })
    }
}

const HELD: &str = "the mutex is held until this is dropped";

impl Deref for StateGuard<'_> {
    type Target = State;

    #[inline]
    fn deref(&self) -> &State {
        self.0.as_ref().expect(HELD)
    }
}

impl DerefMut for StateGuard<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut State {
        self.0.as_mut().expect(HELD)
    }
}

impl Drop for StateGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        let Some(mut guard) = self.0.take() else { return };
        if guard.events.is_empty() {
            return;
        }
        let events = std::mem::take(&mut guard.events);
        drop(guard);
        events.emit();
    }
}

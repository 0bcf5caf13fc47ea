//! The pool's state while its mutex is held.

use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, MutexGuard, PoisonError};
use std::time::Duration;

use crate::pool::state::State;

/// Holds the pool's mutex. When it is dropped, the events that were noted meanwhile are emitted,
/// without the mutex.
pub(super) struct Locked<'a>(Option<MutexGuard<'a, State>>);

impl<'a> Locked<'a> {
    pub(super) fn new(guard: MutexGuard<'a, State>) -> Locked<'a> {
        Locked(Some(guard))
    }

    /// Gives the mutex up until `changed` is told, at most for `timeout`.
    pub(super) fn wait(mut self, changed: &Condvar, timeout: Option<Duration>) -> Locked<'a> {
        let guard = self.0.take().expect(HELD);
        Locked::new(match timeout {
            None => changed.wait(guard).unwrap_or_else(PoisonError::into_inner),
            Some(timeout) => {
                changed.wait_timeout(guard, timeout).unwrap_or_else(PoisonError::into_inner).0
            }
        })
    }
}

const HELD: &str = "the mutex is held until this is dropped";

impl Deref for Locked<'_> {
    type Target = State;

    #[inline]
    fn deref(&self) -> &State {
        self.0.as_ref().expect(HELD)
    }
}

impl DerefMut for Locked<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut State {
        self.0.as_mut().expect(HELD)
    }
}

impl Drop for Locked<'_> {
    #[inline]
    fn drop(&mut self) {
        let Some(mut guard) = self.0.take() else { return };
        if guard.noted.is_empty() {
            return;
        }
        let noted = std::mem::take(&mut guard.noted);
        drop(guard);
        noted.emit();
    }
}

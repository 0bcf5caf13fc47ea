//! Lets a thread wait for another one of this process.
//!
//! Each wait has a word of its own. `std::thread::park` has one token for the whole thread, so it
//! could consume a wake-up that is meant for other code of the thread, such as an executor.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use crate::sys::futex;

const ASLEEP: u32 = 0;
const WOKEN: u32 = 1;

/// One wait of one thread. Clones refer to the same wait.
#[derive(Debug, Clone)]
pub(crate) struct ThreadParker(Arc<AtomicU32>);

impl ThreadParker {
    pub(crate) fn new() -> ThreadParker {
        ThreadParker(Arc::new(AtomicU32::new(ASLEEP)))
    }

    /// Sleeps until `wake` is called, or until `deadline`. Returns at once if it was called before.
    pub(crate) fn wait_until(&self, deadline: Option<Instant>) {
        // Acquire: pairs with the Release in `wake`.
        while self.0.load(Ordering::Acquire) == ASLEEP {
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return;
            }
            futex::wait(&self.0, ASLEEP, left);
        }
    }

    pub(crate) fn wake(&self) {
        self.0.store(WOKEN, Ordering::Release);
        futex::wake(&self.0, 1);
    }

    /// Whether both refer to the same wait.
    pub(crate) fn is_same(&self, other: &ThreadParker) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wake_up_before_the_wait_is_not_lost() {
        let waiter = ThreadParker::new();
        waiter.clone().wake();
        waiter.wait_until(None);
        assert!(waiter.is_same(&waiter.clone()) && !waiter.is_same(&ThreadParker::new()));
    }
}

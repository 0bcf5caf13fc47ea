//! Statics that are initialised anew in a forked child.
//!
//! A child that is forked while another thread of its parent holds a lock inherits the locked lock
//! without that thread, and would wait forever. The same holds for a `OnceLock` that is being
//! initialised. So a lock in a static lies in a [`PerProcess`], which a child initialises anew.
//! [`OnceBox`] needs no lock: several threads may make the value, and one is kept.
#![allow(unsafe_code)]

use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use crate::sys::fork::Instance;

/// A value of each process, made on first use. An inherited value is neither used nor dropped: it
/// belongs to the parent.
pub(crate) struct PerProcess<T: 'static> {
    slot: AtomicPtr<Slot<T>>,
    make: fn() -> T,
}

struct Slot<T> {
    /// The process that made it.
    made_in: Instance,
    value: T,
}

impl<T: Send + Sync> PerProcess<T> {
    /// Makes one without a value; `make` may run more than once in a process.
    pub(crate) const fn new(make: fn() -> T) -> PerProcess<T> {
        PerProcess { slot: AtomicPtr::new(ptr::null_mut()), make }
    }

    /// Returns this process's value.
    pub(crate) fn get(&self) -> &'static T {
        let own = Instance::current();
        // Acquire: pairs with the compare-and-swap below.
        let mut current = self.slot.load(Ordering::Acquire);
        loop {
            // SAFETY: null or a slot that the swap below published, which is never freed and never
            // changed.
            if let Some(slot) = unsafe { current.as_ref() }
                && slot.made_in == own
            {
                return &slot.value;
            }
            let fresh = Box::into_raw(Box::new(Slot { made_in: own, value: (self.make)() }));
            // AcqRel: publishes the slot to the Acquire above, or shows that of another thread.
            match self.slot.compare_exchange(current, fresh, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => current = fresh,
                Err(other) => {
                    // SAFETY: made by `Box::into_raw` above, and published nowhere.
                    drop(unsafe { Box::from_raw(fresh) });
                    current = other;
                }
            }
        }
    }
}

/// A value that does not depend on which thread makes it. Several threads may make it on first use.
pub(crate) struct OnceBox<T: 'static>(AtomicPtr<T>);

impl<T: Send + Sync> OnceBox<T> {
    /// Makes one without a value.
    pub(crate) const fn new() -> OnceBox<T> {
        OnceBox(AtomicPtr::new(ptr::null_mut()))
    }

    /// Returns the value, made by `make` if there is none. Never waits for another thread.
    pub(crate) fn get_or_init(&self, make: impl FnOnce() -> T) -> &'static T {
        // Acquire: pairs with the compare-and-swap below.
        let current = self.0.load(Ordering::Acquire);
        // SAFETY: null or a value that the swap below published, which is never freed and never
        // changed.
        if let Some(value) = unsafe { current.as_ref() } {
            return value;
        }
        let fresh = Box::into_raw(Box::new(make()));
        // AcqRel: publishes the value to the Acquire above, or shows that of another thread.
        let swapped = self.0.compare_exchange(current, fresh, Ordering::AcqRel, Ordering::Acquire);
        let published = match swapped {
            Ok(_) => fresh,
            Err(other) => {
                // SAFETY: made by `Box::into_raw` above, and published nowhere.
                drop(unsafe { Box::from_raw(fresh) });
                other
            }
        };
        // SAFETY: published, by this thread or another; see above.
        unsafe { &*published }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::{Barrier, Mutex};
    use std::thread;

    use super::*;
    use crate::sys::process;

    #[test]
    fn all_threads_of_a_process_have_the_same_value() {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        static VALUE: PerProcess<usize> = PerProcess::new(|| MADE.fetch_add(1, Ordering::Relaxed));
        static ONCE: OnceBox<usize> = OnceBox::new();
        let start = Barrier::new(4);
        let seen: Vec<_> = thread::scope(|scope| {
            let look = |n: usize| {
                start.wait();
                (ptr::from_ref(VALUE.get()) as usize, *ONCE.get_or_init(|| n))
            };
            let threads: Vec<_> = (0..4).map(|n| scope.spawn(move || look(n))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(seen.iter().all(|pair| *pair == seen[0]), "{seen:?}");
        assert_eq!(VALUE.get(), VALUE.get());
    }

    #[test]
    fn a_lock_held_at_a_fork_is_free_in_the_child_and_a_made_value_stays() {
        static LOCK: PerProcess<Mutex<u32>> = PerProcess::new(|| Mutex::new(1));
        static ONCE: OnceBox<u32> = OnceBox::new();
        // The child inherits the worst case of both: the lock held, and the value being made.
        let mut held = LOCK.get().lock().unwrap();
        *held = 2;
        let value = ONCE.get_or_init(|| {
            // SAFETY: the child only tries a lock, makes two small values and leaves.
            match unsafe { libc::fork() } {
                0 => {
                    let is_free = LOCK.get().try_lock().is_ok_and(|value| *value == 1);
                    let is_made = *ONCE.get_or_init(|| 7) == 7;
                    process::exit_now(i32::from(!(is_free && is_made)))
                }
                child => {
                    let reaped = loop {
                        let reaped = process::try_reap(child.cast_unsigned()).unwrap();
                        if let Some(reaped) = reaped {
                            break reaped;
                        }
                        thread::yield_now();
                    };
                    assert_eq!(reaped.reason, crate::exit::ExitReason::Code(0));
                }
            }
            8
        });
        assert_eq!((*value, *held), (8, 2));
    }
}

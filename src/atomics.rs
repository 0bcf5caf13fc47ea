//! Atomics and mutexes: the standard library's, or loom's.

#[cfg(loom)]
pub(crate) use loom::sync::{Mutex, MutexGuard};
#[cfg(loom)]
pub(crate) use mortal::{AtomicU32, AtomicU64, fence};
#[cfg(loom)]
pub(crate) use std::sync::atomic::Ordering;
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
#[cfg(not(loom))]
pub(crate) use std::sync::{Mutex, MutexGuard};

/// Loom's atomics, with one addition: a thread can be made to die at its n-th operation.
///
/// A killed process stops between two instructions and leaves shared memory unchanged. A model
/// thread does the same: at the fatal operation it unwinds, and all its later operations on shared
/// words, as those of dropped guards, have no effect.
#[cfg(loom)]
pub(crate) mod mortal {
    use std::cell::Cell;
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
    use std::sync::atomic::Ordering;

    loom::thread_local! {
        static LIFE: Cell<Life> = Cell::new(Life::Immortal);
    }

    #[derive(Clone, Copy)]
    enum Life {
        Immortal,
        OperationsLeft(usize),
        Over,
    }

    /// The panic payload that stops a dying thread.
    struct Died;

    /// Counts one operation on shared memory. False means that the caller is dead, and the
    /// operation must have no effect.
    pub(crate) fn step() -> bool {
        match LIFE.with(Cell::get) {
            Life::Immortal => true,
            Life::Over => false,
            Life::OperationsLeft(0) => {
                LIFE.with(|life| life.set(Life::Over));
                resume_unwind(Box::new(Died))
            }
            Life::OperationsLeft(left) => {
                LIFE.with(|life| life.set(Life::OperationsLeft(left - 1)));
                true
            }
        }
    }

    /// Runs `section` and kills it before its operation number `operations` (from 0). Returns the
    /// value of `section` if that ended first.
    pub(crate) fn live_for<T>(operations: usize, section: impl FnOnce() -> T) -> Option<T> {
        LIFE.with(|life| life.set(Life::OperationsLeft(operations)));
        let outcome = catch_unwind(AssertUnwindSafe(section));
        LIFE.with(|life| life.set(Life::Immortal));
        match outcome {
            Ok(value) => Some(value),
            Err(thrown) if thrown.is::<Died>() => None,
            Err(thrown) => resume_unwind(thrown),
        }
    }

    pub(crate) fn fence(order: Ordering) {
        if step() {
            loom::sync::atomic::fence(order);
        }
    }

    // A macro because loom's two types share no trait; a generic function over a private trait was
    // twice as long.
    macro_rules! mortal_atomic {
        ($name:ident, $value:ty) => {
            #[derive(Debug)]
            pub(crate) struct $name(loom::sync::atomic::$name);

            #[allow(dead_code)]
            impl $name {
                pub(crate) fn new(value: $value) -> Self {
                    Self(loom::sync::atomic::$name::new(value))
                }
                pub(crate) fn load(&self, order: Ordering) -> $value {
                    if step() { self.0.load(order) } else { 0 }
                }
                /// A relaxed load that is not an operation of the thread, but of the kernel, for
                /// example.
                pub(crate) fn peek(&self) -> $value {
                    self.0.load(Ordering::Relaxed)
                }
                pub(crate) fn store(&self, value: $value, order: Ordering) {
                    if step() {
                        self.0.store(value, order);
                    }
                }
                pub(crate) fn swap(&self, value: $value, order: Ordering) -> $value {
                    if step() { self.0.swap(value, order) } else { 0 }
                }
                pub(crate) fn compare_exchange(
                    &self,
                    current: $value,
                    new: $value,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$value, $value> {
                    if !step() {
                        return Ok(current);
                    }
                    self.0.compare_exchange(current, new, success, failure)
                }
                pub(crate) fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                    if step() { self.0.fetch_add(value, order) } else { 0 }
                }
                pub(crate) fn fetch_or(&self, value: $value, order: Ordering) -> $value {
                    if step() { self.0.fetch_or(value, order) } else { 0 }
                }
                pub(crate) fn fetch_and(&self, value: $value, order: Ordering) -> $value {
                    if step() { self.0.fetch_and(value, order) } else { 0 }
                }
                pub(crate) fn fetch_min(&self, value: $value, order: Ordering) -> $value {
                    if step() { self.0.fetch_min(value, order) } else { 0 }
                }
                pub(crate) fn fetch_max(&self, value: $value, order: Ordering) -> $value {
                    if step() { self.0.fetch_max(value, order) } else { 0 }
                }
            }
        };
    }

    mortal_atomic!(AtomicU32, u32);
    mortal_atomic!(AtomicU64, u64);
}

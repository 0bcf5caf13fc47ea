//! A function that one of several processes runs once.
//!
//! If the process that runs it dies or panics during the call, the next caller runs it again and is
//! informed, because the function's writes may be incomplete.
#![allow(unsafe_code)]

use std::fmt;
use std::ptr::NonNull;

use super::lock::RobustLock;
use super::lock_word::LockWord;
use super::owner::Owner;
use crate::atomics::{AtomicU32, Ordering};
use crate::error::Result;

/// A `RawOnce` in shared memory: eight bytes, zero at first.
///
/// | field | written by | read by | guard | if the writer dies |
/// |---|---|---|---|---|
/// | `lock` | callers until it is done | callers | see the lock | a sweep frees it |
/// | `state` | the running caller: TRIED | callers | `lock` | the next caller is informed |
/// |  | before, DONE after |  | Release / Acquire |  |
#[repr(C)]
#[derive(Debug)]
pub struct OnceWords {
    lock: LockWord,
    /// 0, TRIED or DONE.
    state: AtomicU32,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<OnceWords>() == 8);

const TRIED: u32 = 1;
const DONE: u32 = 2;

impl OnceWords {
    /// One whose function has not run.
    #[must_use]
    pub fn new() -> OnceWords {
        OnceWords { lock: LockWord::new(), state: AtomicU32::new(0) }
    }
}

impl Default for OnceWords {
    fn default() -> OnceWords {
        OnceWords::new()
    }
}

/// A `RawOnce` as one owner sees it.
#[derive(Clone)]
pub struct RawOnce {
    words: NonNull<OnceWords>,
    lock: RobustLock,
}

// SAFETY: the words are atomics, valid wherever the handle goes by the contract of `new`.
unsafe impl Send for RawOnce {}
// SAFETY: as for `Send`.
unsafe impl Sync for RawOnce {}

impl fmt::Debug for RawOnce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawOnce").field("done", &self.is_done()).finish_non_exhaustive()
    }
}

impl RawOnce {
    /// Makes a handle of the `RawOnce` at `words`.
    ///
    /// # Safety
    ///
    /// - `words` points to initialised [`OnceWords`] that stay valid while the handle exists, and
    ///   `owner` as well;
    /// - the words were [registered](RawOnce::register) with the table of `owner`, or no process
    ///   that uses them can die.
    #[must_use]
    pub unsafe fn new(words: NonNull<OnceWords>, owner: &Owner) -> RawOnce {
        // SAFETY: valid, by the contract.
        let lock_word = NonNull::from(unsafe { &words.as_ref().lock });
        // SAFETY: part of the words, valid by the contract.
        let lock = unsafe { RobustLock::new(lock_word, owner) };
        RawOnce { words, lock }
    }

    /// Adds the words to the directory of the owner's table. Called once, by their creator.
    ///
    /// # Errors
    ///
    /// As for [`RobustLock::register`].
    pub fn register(&self) -> Result<()> {
        self.lock.register()
    }

    fn state(&self) -> &AtomicU32 {
        // SAFETY: valid while `self` exists, by the contract of `new`.
        unsafe { &self.words.as_ref().state }
    }

    /// Whether the function has ended. Then its writes are visible.
    #[must_use]
    #[inline]
    pub fn is_done(&self) -> bool {
        // Acquire pairs with the Release in `call_first`.
        self.state().load(Ordering::Acquire) == DONE
    }

    /// Runs `function` if it has not run; waits if another caller runs it. `function` gets whether
    /// an earlier call began and did not end.
    #[inline]
    pub fn call(&self, function: impl FnOnce(bool)) {
        if !self.is_done() {
            self.call_first(function);
        }
    }

    #[cold]
    fn call_first(&self, function: impl FnOnce(bool)) {
        let _guard = self.lock.lock();
        // Relaxed: written under the lock, which is held here.
        let state = self.state().load(Ordering::Relaxed);
        if state == DONE {
            return;
        }
        // Relaxed: read under the lock only.
        self.state().store(TRIED, Ordering::Relaxed);
        function(state == TRIED);
        // Release pairs with the Acquire in `is_done`.
        self.state().store(DONE, Ordering::Release);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sync::test_memory::TestMemory;

    fn once(memory: &TestMemory, owner: &Owner) -> RawOnce {
        // SAFETY: zero bytes are a `RawOnce`, and the place lives as long as the memory.
        unsafe { RawOnce::new(memory.place().cast(), owner) }
    }

    #[test]
    fn a_function_runs_once_and_all_wait_for_its_end() {
        let memory = TestMemory::new();
        let owner = memory.owner();
        let (runs, value) = (AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            let once = once(&memory, &owner);
            for _ in 0..4 {
                let (once, runs, value) = (once.clone(), &runs, &value);
                scope.spawn(move || {
                    once.call(|begun_before| {
                        assert!(!begun_before);
                        runs.fetch_add(1, Ordering::Relaxed);
                        std::thread::yield_now();
                        value.store(7, Ordering::Relaxed);
                    });
                    assert_eq!(value.load(Ordering::Relaxed), 7);
                });
            }
        });
        assert_eq!(runs.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_function_that_panics_is_run_again_by_the_next_caller_which_is_informed() {
        let memory = TestMemory::new();
        let once = once(&memory, &memory.owner());
        let attempt = std::panic::AssertUnwindSafe(|| once.call(|_| panic!("half-way")));
        assert!(std::panic::catch_unwind(attempt).is_err());
        assert!(!once.is_done());
        let mut begun = false;
        once.call(|begun_before| begun = begun_before);
        assert!(begun && once.is_done());
    }

    #[test]
    fn a_function_whose_process_dies_is_run_again_by_the_next_caller_which_is_informed() {
        let memory = TestMemory::new();
        let dead = memory.dead_owner();
        let theirs = once(&memory, &dead);
        theirs.register().unwrap();
        // The state that a process leaves when it dies in the function: the lock and TRIED.
        std::mem::forget(theirs.lock.lock());
        theirs.state().store(TRIED, Ordering::Relaxed);
        let mut begun = false;
        once(&memory, &memory.owner()).call(|begun_before| begun = begun_before);
        assert!(begun);
    }
}

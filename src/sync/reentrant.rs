//! A lock that its holding thread may take again.
//!
//! Each `lock` needs one release; the last one frees the lock. Unlike the other primitives it
//! distinguishes threads of one process: the inner lock excludes processes, and a word beside it
//! holds the thread.
//!
//! 1. A thread that takes it first takes the inner lock, then stores a count of 1, then itself
//!    (token and thread) as the holder.
//! 2. The holder recognises itself in that word, which no other thread could have written, since no
//!    other owner or thread has that number. It takes and releases again by changing the count.
//! 3. Its last release clears the holder, then unlocks the inner lock.
//!
//! If the holder dies during these steps, a sweep frees the inner lock. The next locker begins at
//! step 1, whatever count and holder were left.
#![allow(unsafe_code)]

use std::fmt;
use std::marker::PhantomData;
use std::ptr::NonNull;

use super::lock::RobustLock;
use super::lock_word::LockWord;
use super::owner::Owner;
use super::thread;
use super::timeout::Timeout;
use crate::atomics::{AtomicU32, AtomicU64, Ordering};
use crate::error::{Error, Result};

/// A reentrant lock in shared memory: sixteen bytes, zero when free.
///
/// | field    | written by           | read by | guard  | if the writer dies                       |
/// |----------|----------------------|---------|--------|------------------------------------------|
/// | `lock`   | lockers              | all     | itself | a sweep frees it; guard is recovered     |
/// | `count`  | the holder           | holder  | `lock` | the next holder begins with 1            |
/// | `holder` | the holder: token    | all     | `lock` | no other owner has its token            |
/// |          | (high) and thread    |         |        |                                          |
#[repr(C)]
#[derive(Debug)]
pub struct ReentrantWords {
    lock: LockWord,
    count: AtomicU32,
    holder: AtomicU64,
}

#[cfg(not(loom))]
const _: () = {
    assert!(size_of::<ReentrantWords>() == 16);
    assert!(std::mem::offset_of!(ReentrantWords, holder) == 8);
};

impl ReentrantWords {
    /// A free lock.
    #[must_use]
    pub fn new() -> ReentrantWords {
        ReentrantWords {
            lock: LockWord::new(),
            count: AtomicU32::new(0),
            holder: AtomicU64::new(0),
        }
    }
}

impl Default for ReentrantWords {
    fn default() -> ReentrantWords {
        ReentrantWords::new()
    }
}

/// A reentrant lock as one owner sees it.
#[derive(Clone)]
pub struct RawReentrantLock {
    words: NonNull<ReentrantWords>,
    lock: RobustLock,
}

// SAFETY: the words are atomics, valid wherever the handle goes by the contract of `new`.
unsafe impl Send for RawReentrantLock {}
// SAFETY: as for `Send`.
unsafe impl Sync for RawReentrantLock {}

impl fmt::Debug for RawReentrantLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawReentrantLock").field("lock", &self.lock).finish_non_exhaustive()
    }
}

impl RawReentrantLock {
    /// Makes a handle of the lock at `words`, which locks for `owner`.
    ///
    /// # Safety
    ///
    /// - `words` points to initialised [`ReentrantWords`] that stay valid while the handle, a
    ///   clone or a guard of it exists, and `owner` as well;
    /// - the words were [registered](RawReentrantLock::register) with the table of `owner`, or no
    ///   process that uses them can die.
    #[must_use]
    pub unsafe fn new(words: NonNull<ReentrantWords>, owner: &Owner) -> RawReentrantLock {
        // SAFETY: valid, by the contract.
        let lock_word = NonNull::from(unsafe { &words.as_ref().lock });
        // SAFETY: part of the words, valid by the contract.
        let lock = unsafe { RobustLock::new(lock_word, owner) };
        RawReentrantLock { words, lock }
    }

    /// Adds the lock to the directory of its owner's table. Called once, by its creator.
    ///
    /// # Errors
    ///
    /// As for [`RobustLock::register`].
    pub fn register(&self) -> Result<()> {
        self.lock.register()
    }

    fn words(&self) -> &ReentrantWords {
        // SAFETY: valid and all atomics while `self` exists, by the contract of `new`.
        unsafe { self.words.as_ref() }
    }

    /// The value of `holder` for the calling thread.
    fn me(&self) -> u64 {
        u64::from(self.lock.token().bits()) << 32 | u64::from(thread::number())
    }

    /// Whether the calling thread holds it.
    #[must_use]
    #[inline]
    pub fn is_mine(&self) -> bool {
        // Relaxed: if the values are equal, this thread wrote the word.
        self.words().holder.load(Ordering::Relaxed) == self.me()
    }

    /// Whether it is held. The answer may be outdated at once.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.lock.is_locked()
    }

    /// How many times the calling thread holds it.
    #[must_use]
    pub fn depth(&self) -> u32 {
        // Relaxed: written by this thread, if it is the holder.
        if self.is_mine() { self.words().count.load(Ordering::Relaxed) } else { 0 }
    }

    /// Takes the lock, again if the calling thread has it; else waits for it until `timeout`.
    ///
    /// A thread that has taken it 2^32 - 1 times is not counted further, and never releases it.
    #[inline]
    pub fn lock(&self, timeout: Timeout) -> Option<RawReentrantGuard<'_>> {
        let words = self.words();
        let mut recovered = false;
        // Relaxed, all: between threads the inner lock orders these words.
        if self.is_mine() {
            let count = words.count.load(Ordering::Relaxed);
            // Not a panic: another process may have written this value.
            words.count.store(count.saturating_add(1), Ordering::Relaxed);
        } else {
            let guard = self.lock.lock_within(timeout)?;
            recovered = guard.recovered();
            // Unlocked by `release`.
            std::mem::forget(guard);
            words.count.store(1, Ordering::Relaxed);
            words.holder.store(self.me(), Ordering::Relaxed);
        }
        Some(RawReentrantGuard { lock: self, recovered, thread: PhantomData })
    }

    /// Releases the lock once, as a guard does when it is dropped. For callers that have forgotten
    /// the guard.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if the calling thread does not hold it.
    pub fn release(&self) -> Result<()> {
        let words = self.words();
        if !self.is_mine() {
            let holder = if self.is_locked() { "held by another" } else { "free" };
            let what = "the lock to release";
            return Err(Error::invalid(what, holder, "held by the calling thread"));
        }
        // Relaxed: as in `lock`.
        match words.count.load(Ordering::Relaxed) {
            0 | 1 => {
                words.holder.store(0, Ordering::Relaxed);
                self.lock.unlock();
            }
            // At its end the count is unknown: better never released than too early.
            u32::MAX => {}
            count => words.count.store(count - 1, Ordering::Relaxed),
        }
        Ok(())
    }
}

/// The lock, taken once. Dropping it releases it once. It stays on its thread.
#[must_use = "the lock is released at once if the guard is not kept"]
#[derive(Debug)]
pub struct RawReentrantGuard<'a> {
    lock: &'a RawReentrantLock,
    recovered: bool,
    /// The lock contains the thread's number, so the guard is not `Send`.
    thread: PhantomData<*const ()>,
}

impl RawReentrantGuard<'_> {
    /// Whether the last owner died while it held the lock, so that the guarded data may be half
    /// written. It is reported once, to the next holder, and not when that takes the lock again.
    #[must_use]
    pub fn recovered(&self) -> bool {
        self.recovered
    }
}

impl Drop for RawReentrantGuard<'_> {
    fn drop(&mut self) {
        // Fails only after a release without its guard, once too often.
        let _ = self.lock.release();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sync::test_memory::TestMemory;

    fn lock(memory: &TestMemory, owner: &Owner) -> RawReentrantLock {
        // SAFETY: zero bytes are a free lock, and the place lives as long as the memory.
        unsafe { RawReentrantLock::new(memory.place().cast(), owner) }
    }

    #[test]
    fn a_lock_taken_n_times_is_free_after_n_releases() {
        let memory = TestMemory::new();
        let (mine, theirs) = (lock(&memory, &memory.owner()), lock(&memory, &memory.owner()));
        let guards = [
            mine.lock(Timeout::Never).unwrap(),
            mine.lock(Timeout::Now).unwrap(),
            mine.lock(Timeout::Never).unwrap(),
        ];
        assert_eq!((mine.depth(), theirs.depth()), (3, 0));
        for guard in guards {
            assert!(theirs.lock(Timeout::Now).is_none() && theirs.is_locked());
            drop(guard);
        }
        assert!(!theirs.is_locked() && theirs.lock(Timeout::Now).is_some());
    }

    #[test]
    fn a_count_at_its_end_stays_there_and_so_does_the_lock() {
        let memory = TestMemory::new();
        let (mine, theirs) = (lock(&memory, &memory.owner()), lock(&memory, &memory.owner()));
        let outer = mine.lock(Timeout::Never).unwrap();
        mine.words().count.store(u32::MAX, Ordering::Relaxed);
        drop(mine.lock(Timeout::Never).unwrap());
        assert_eq!(mine.depth(), u32::MAX);
        drop(outer);
        assert!(mine.is_mine() && theirs.lock(Timeout::Now).is_none());
        mine.words().count.store(0, Ordering::Relaxed);
        mine.release().unwrap();
        assert!(theirs.lock(Timeout::Now).is_some());
    }

    #[test]
    fn threads_of_one_process_exclude_each_other() {
        let memory = TestMemory::new();
        let owner = memory.owner();
        let count = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let (lock, count) = (lock(&memory, &owner), &count);
                scope.spawn(move || {
                    for _ in 0..5000 {
                        let _outer = lock.lock(Timeout::Never).unwrap();
                        let _inner = lock.lock(Timeout::Never).unwrap();
                        // Not a fetch_add: with two holders, counts would be lost.
                        count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(count.load(Ordering::Relaxed), 20_000);
    }

    #[test]
    fn a_thread_that_does_not_hold_the_lock_cannot_release_it() {
        let memory = TestMemory::new();
        let owner = memory.owner();
        let lock = lock(&memory, &owner);
        let text = lock.release().unwrap_err().to_string();
        assert_eq!(text, "the lock to release is free, but must be held by the calling thread");
        std::mem::forget(lock.lock(Timeout::Never).unwrap());
        std::thread::scope(|scope| {
            let refused = scope.spawn(|| lock.release().unwrap_err().to_string());
            assert!(refused.join().unwrap().contains("held by another"));
            assert!(scope.spawn(|| lock.lock(Timeout::Now).is_none()).join().unwrap());
        });
        lock.release().unwrap();
        assert!(lock.release().is_err());
    }

    #[test]
    fn a_lock_whose_holder_died_with_it_taken_twice_is_free_and_recovered() {
        let memory = TestMemory::new();
        let dead = memory.dead_owner();
        let theirs = lock(&memory, &dead);
        theirs.register().unwrap();
        std::mem::forget((
            theirs.lock(Timeout::Never).unwrap(),
            theirs.lock(Timeout::Never).unwrap(),
        ));
        let mine = lock(&memory, &memory.owner());
        let guard = mine.lock(Timeout::Never).unwrap();
        assert!(guard.recovered() && mine.depth() == 1);
        assert!(!mine.lock(Timeout::Never).unwrap().recovered());
        drop(guard);
        assert!(!mine.lock(Timeout::Never).unwrap().recovered() && mine.depth() == 0);
    }
}

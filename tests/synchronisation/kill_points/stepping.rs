//! Primitives in shared memory, and processes that use them.

use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use brigade::sync::raw::{
    OnceWords, RawBarrier, RawCondvar, RawOnce, RawReentrantLock, RawRwLock, RawSemaphore,
    ReentrantWords,
};
use brigade::sync::{
    EventWord, LockWord, Owner, OwnerTable, RawEvent, Reset, Ring, RobustLock, Watch,
};
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, alarm, fork};
use rustix::thread::futex;

use crate::tracer::{Tracer, mark};

const PAGE_BYTES: usize = 1 << 14;
const DONE_OFFSET: usize = 2048;
const LOCK_OFFSET: usize = 2112;
const EVENT_OFFSET: usize = 2176;
const SUM_OFFSET: usize = 2240;
const PLACE_OFFSET: usize = 3072;
const RING_OFFSET: usize = 4096;

/// Shared memory with an owner table, a lock, an event, a ring, and a word that a sleeper sets when
/// it has finished.
pub(crate) struct Stage {
    memory: NonNull<u8>,
    table: OwnerTable,
}

impl Stage {
    pub(crate) fn new() -> Stage {
        let length = NonZeroUsize::new(PAGE_BYTES).unwrap();
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping, which replaces none.
        let memory = unsafe { mmap_anonymous(None, length, access, MapFlags::MAP_SHARED) };
        let memory = memory.unwrap().cast::<u8>();
        assert!(OwnerTable::size_bytes(8, 16) <= DONE_OFFSET);
        // SAFETY: the mapping is aligned and large enough, and lives as long as the stage.
        let table = unsafe { OwnerTable::create(memory, 8, 16, memory, PAGE_BYTES) }.unwrap();
        let stage = Stage { memory, table };
        let owner = stage.owner();
        stage.lock(&owner).register().unwrap();
        stage.event().register(&stage.table).unwrap();
        stage
    }

    fn at<T>(&self, offset: usize) -> NonNull<T> {
        // SAFETY: all offsets are within the mapping.
        unsafe { self.memory.add(offset) }.cast()
    }

    pub(crate) fn table(&self) -> &OwnerTable {
        &self.table
    }

    /// An owner that the test may sweep. It is claimed before the fork, so both processes know it.
    pub(crate) fn owner(&self) -> Owner {
        Owner::claim(&self.table, Watch::Supervisor).unwrap()
    }

    pub(crate) fn lock(&self, owner: &Owner) -> RobustLock {
        // SAFETY: zero bytes are a free lock, which lives as long as the stage.
        unsafe { RobustLock::new(self.at::<LockWord>(LOCK_OFFSET), owner) }
    }

    pub(crate) fn event(&self) -> RawEvent {
        // SAFETY: zero bytes are a manual event, which lives as long as the stage.
        unsafe { RawEvent::new(self.at::<EventWord>(EVENT_OFFSET), Watch::Supervisor) }
    }

    /// Makes the event an auto-reset one. Call it before the event is used.
    pub(crate) fn use_auto_event(&self) {
        // SAFETY: in the mapping, and not used yet.
        unsafe { self.at::<EventWord>(EVENT_OFFSET).write(EventWord::new(Reset::Auto)) };
    }

    pub(crate) fn ring(&self, owner: &Owner, capacity_bytes: usize) -> Ring {
        // SAFETY: in the mapping, which lives as long as the stage.
        unsafe { Ring::create(self.at(RING_OFFSET), capacity_bytes, owner) }.unwrap()
    }

    /// A ring for so many messages of a few bytes.
    pub(crate) fn bounded_ring(&self, owner: &Owner, messages_max: u64) -> Ring {
        // SAFETY: in the mapping, which lives as long as the stage.
        unsafe { Ring::create_bounded(self.at(RING_OFFSET), 1000, messages_max, owner) }.unwrap()
    }

    pub(crate) fn attach_ring(&self, owner: &Owner) -> Ring {
        let room = PAGE_BYTES - RING_OFFSET;
        // SAFETY: in the mapping, which lives as long as the stage.
        unsafe { Ring::attach(self.at(RING_OFFSET), room, owner) }.unwrap()
    }

    pub(crate) fn barrier(&self, owner: &Owner, parties: u32) -> RawBarrier {
        // SAFETY: in the mapping, which lives as long as the stage.
        unsafe { RawBarrier::create(self.at(PLACE_OFFSET), parties, owner) }.unwrap()
    }

    pub(crate) fn attach_barrier(&self, owner: &Owner) -> RawBarrier {
        let room = RING_OFFSET - PLACE_OFFSET;
        // SAFETY: in the mapping, which lives as long as the stage.
        unsafe { RawBarrier::attach(self.at(PLACE_OFFSET), room, owner) }.unwrap()
    }

    pub(crate) fn semaphore(&self, owner: &Owner, permits: u32) -> RawSemaphore {
        // SAFETY: in the mapping, which lives as long as the stage.
        unsafe { RawSemaphore::create(self.at(PLACE_OFFSET), permits, permits, owner) }.unwrap()
    }

    pub(crate) fn attach_semaphore(&self, owner: &Owner) -> RawSemaphore {
        let room = RING_OFFSET - PLACE_OFFSET;
        // SAFETY: in the mapping, which lives as long as the stage.
        unsafe { RawSemaphore::attach(self.at(PLACE_OFFSET), room, owner) }.unwrap()
    }

    pub(crate) fn condvar(&self, owner: &Owner) -> RawCondvar {
        // SAFETY: in the mapping, which lives as long as the stage.
        unsafe { RawCondvar::create(self.at(PLACE_OFFSET), 4, owner) }.unwrap()
    }

    pub(crate) fn attach_condvar(&self, owner: &Owner) -> RawCondvar {
        let room = RING_OFFSET - PLACE_OFFSET;
        // SAFETY: in the mapping, which lives as long as the stage.
        unsafe { RawCondvar::attach(self.at(PLACE_OFFSET), room, owner) }.unwrap()
    }

    pub(crate) fn rwlock(&self, owner: &Owner) -> RawRwLock {
        // SAFETY: in the mapping, which lives as long as the stage.
        unsafe { RawRwLock::create(self.at(PLACE_OFFSET), 2, owner) }.unwrap()
    }

    pub(crate) fn attach_rwlock(&self, owner: &Owner) -> RawRwLock {
        let room = RING_OFFSET - PLACE_OFFSET;
        // SAFETY: in the mapping, which lives as long as the stage.
        unsafe { RawRwLock::attach(self.at(PLACE_OFFSET), room, owner) }.unwrap()
    }

    /// A reentrant lock in its own place, not registered.
    pub(crate) fn reentrant(&self, owner: &Owner) -> RawReentrantLock {
        // SAFETY: zero bytes are one, which lives as long as the stage.
        unsafe { RawReentrantLock::new(self.at::<ReentrantWords>(PLACE_OFFSET), owner) }
    }

    /// A `RawOnce` in its own place, not registered.
    pub(crate) fn once(&self, owner: &Owner) -> RawOnce {
        // SAFETY: zero bytes are one, which lives as long as the stage.
        unsafe { RawOnce::new(self.at::<OnceWords>(PLACE_OFFSET), owner) }
    }

    /// Adds to a sum that all processes share.
    pub(crate) fn add(&self, value: u64) {
        self.sum_word().fetch_add(value, Ordering::Relaxed);
    }

    pub(crate) fn sum(&self) -> u64 {
        self.sum_word().load(Ordering::Relaxed)
    }

    fn sum_word(&self) -> &AtomicU64 {
        // SAFETY: in the mapping, and an atomic to all who use it.
        unsafe { self.at::<AtomicU64>(SUM_OFFSET).as_ref() }
    }

    /// Empties the ring and frees its locks, whatever its words contain.
    pub(crate) fn reset_ring_positions(&self) {
        for offset in [128, 256, 384, 512] {
            // SAFETY: in the mapping, and an atomic to all who use it.
            let word = unsafe { self.at::<AtomicU64>(RING_OFFSET + offset).as_ref() };
            word.store(0, Ordering::Relaxed);
        }
    }

    /// The address of the ring, and how much room there is for it.
    pub(crate) fn ring_place(&self) -> (NonNull<u8>, usize) {
        (self.at(RING_OFFSET), PAGE_BYTES - RING_OFFSET)
    }

    fn word(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: in the mapping, and an atomic to all who use it.
        unsafe { self.at::<AtomicU32>(offset).as_ref() }
    }

    pub(crate) fn lock_word(&self) -> u32 {
        self.word(LOCK_OFFSET).load(Ordering::Relaxed)
    }

    /// Marks the sleeper as finished.
    pub(crate) fn done(&self) {
        let done = self.word(DONE_OFFSET);
        done.store(1, Ordering::Release);
        futex::wake(done, futex::Flags::empty(), 1).unwrap();
    }

    /// Whether the sleeper finishes within `bound`.
    pub(crate) fn is_done_within(&self, bound: Duration) -> bool {
        let (done, end) = (self.word(DONE_OFFSET), Instant::now() + bound);
        while done.load(Ordering::Acquire) == 0 {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let left = left.try_into().unwrap();
            let _ = futex::wait(done, futex::Flags::empty(), 0, Some(&left));
        }
        true
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // SAFETY: mapped in `new`, and pointers into it are gone or never used again.
        unsafe { munmap(self.memory.cast(), PAGE_BYTES) }.unwrap();
    }
}

/// A forked process, killed and reaped when dropped.
pub(crate) struct Child(Pid);

impl Child {
    /// Forks a process that runs `body` and exits. It ends with this thread, and after 30 s.
    pub(crate) fn fork(body: impl FnOnce()) -> Child {
        // SAFETY: the child runs test code that takes no lock of the parent's except malloc's,
        // which glibc keeps usable over a fork.
        match unsafe { fork() }.unwrap() {
            ForkResult::Parent { child } => Child(child),
            ForkResult::Child => {
                set_pdeathsig(Signal::SIGKILL).unwrap();
                alarm::set(30);
                let code = i32::from(catch_unwind(AssertUnwindSafe(body)).is_err());
                // SAFETY: ends the process, without the parent's exit handlers.
                unsafe { libc::_exit(code) }
            }
        }
    }

    /// Waits until the process sleeps in the kernel.
    pub(crate) fn wait_until_asleep(&self) {
        let stat = format!("/proc/{}/stat", self.0);
        loop {
            let stat = std::fs::read_to_string(&stat).unwrap();
            let state = stat.rsplit_once(") ").unwrap().1;
            assert!(!state.starts_with('Z'), "the sleeper ended instead");
            if state.starts_with('S') {
                return;
            }
            std::thread::yield_now();
        }
    }

    /// Waits for its end, which must be a normal one.
    pub(crate) fn join(self) {
        assert_eq!(waitpid(self.0, None), Ok(WaitStatus::Exited(self.0, 0)));
        std::mem::forget(self);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.0, signal).unwrap();
    }

    /// Waits until the process is stopped.
    pub(crate) fn wait_until_stopped(&self) {
        let status = waitpid(self.0, Some(WaitPidFlag::WUNTRACED));
        assert_eq!(status, Ok(WaitStatus::Stopped(self.0, Signal::SIGSTOP)));
    }

    /// Kills the process and waits for its end.
    pub(crate) fn kill(self) {
        self.signal(Signal::SIGKILL);
        let status = waitpid(self.0, None).unwrap();
        assert!(matches!(status, WaitStatus::Signaled(_, Signal::SIGKILL, _)), "{status:?}");
        std::mem::forget(self);
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGKILL);
        let _ = waitpid(self.0, None);
    }
}

/// A traced process: runs `prepare`, and then the section under test with its result.
pub(crate) fn victim<T>(prepare: impl FnOnce() -> T, section: impl FnOnce(T)) -> Tracer {
    victim_that_marks(|| {
        let prepared = prepare();
        mark();
        section(prepared);
    })
}

/// A traced process whose section begins where `body` calls [`mark`].
pub(crate) fn victim_that_marks(body: impl FnOnce()) -> Tracer {
    let child = Child::fork(|| {
        ptrace::traceme().unwrap();
        body();
        mark();
    });
    let tracer = Tracer::at_mark(child.0);
    // The tracer kills it and waits for its end.
    std::mem::forget(child);
    tracer
}

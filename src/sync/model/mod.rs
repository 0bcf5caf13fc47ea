//! Loom models of every primitive and of the death sweep.
#![allow(unsafe_code)]

mod barrier;
mod condvar;
mod endpoints;
mod eventcount;
mod lock;
mod reentrant;
mod ring;
mod rwlock;
mod semaphore;
mod unacked;

use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering as StdOrdering};

use loom::cell::UnsafeCell;
use loom::thread::{self, JoinHandle};

use super::barrier::RawBarrier;
use super::condvar::RawCondvar;
use super::event::{EventWord, RawEvent, Reset};
use super::lock::{LockWord, RobustLock};
use super::once::{OnceWords, RawOnce};
use super::owner::{Owner, OwnerEntry, OwnerTable, TableHeader};
use super::reentrant::{RawReentrantLock, ReentrantWords};
use super::ring::{LockKind, Ring, RingHeader};
use super::row::{Row, RowHeader};
use super::rwlock::RawRwLock;
use super::semaphore::RawSemaphore;
use super::timeout::Watch;
use crate::atomics::{AtomicU32, AtomicU64, mortal::live_for};
use crate::sys::identity::Identity;

/// Everything that the processes of a model share.
struct Shared {
    header: TableHeader,
    owners: [OwnerEntry; 4],
    slots: [AtomicU64; 12],
    lock: LockWord,
    event: EventWord,
    value: AtomicU32,
    guarded: UnsafeCell<u32>,
    ring: RingHeader,
    data: [AtomicU64; DATA_WORDS],
    row: RowHeader,
    row_slots: [AtomicU32; 2],
    reentrant: ReentrantWords,
    once: OnceWords,
}

/// Room for one message of up to eight bytes.
const DATA_WORDS: usize = 2;

// SAFETY: atomics, and a cell that loom watches.
unsafe impl Sync for Shared {}
// SAFETY: as for `Sync`.
unsafe impl Send for Shared {}

impl Shared {
    fn new(reset: Reset) -> Arc<Shared> {
        let shared = Arc::new(Shared {
            header: TableHeader::new(4, 12, 0),
            owners: std::array::from_fn(|_| OwnerEntry::free()),
            slots: std::array::from_fn(|_| AtomicU64::new(0)),
            lock: LockWord::new(),
            event: EventWord::new(reset),
            value: AtomicU32::new(0),
            guarded: UnsafeCell::new(0),
            ring: RingHeader::new(8 * DATA_WORDS as u64, LockKind::Robust),
            data: std::array::from_fn(|_| AtomicU64::new(0)),
            row: RowHeader::new(2),
            row_slots: std::array::from_fn(|_| AtomicU32::new(0)),
            reentrant: ReentrantWords::new(),
            once: OnceWords::new(),
        });
        let owner = shared.owner();
        shared.lock(&owner).register().unwrap();
        shared.event().register(owner.table()).unwrap();
        shared.ring(&owner).register(&owner).unwrap();
        shared.row(&owner).register().unwrap();
        shared.reentrant(&owner).register().unwrap();
        shared.once(&owner).register().unwrap();
        shared
    }

    fn table(&self) -> OwnerTable {
        let region = NonNull::from(self).cast::<u8>();
        let (owners, slots) = (NonNull::from(&self.owners[..]), NonNull::from(&self.slots[..]));
        // SAFETY: all parts lie in `self`, which the model keeps until its end.
        unsafe {
            let header = NonNull::from(&self.header);
            OwnerTable::from_parts(header, owners, slots, region, size_of::<Shared>())
        }
    }

    fn owner(&self) -> Owner {
        let nobody = Identity { pid: 0, start_ticks: 0 };
        Owner::claim_as(&self.table(), Watch::Supervisor, nobody).unwrap()
    }

    fn lock(&self, owner: &Owner) -> RobustLock {
        // SAFETY: the model keeps the words until its end.
        unsafe { RobustLock::new(NonNull::from(&self.lock), owner) }
    }

    fn event(&self) -> RawEvent {
        // SAFETY: the model keeps the words until its end.
        unsafe { RawEvent::new(NonNull::from(&self.event), Watch::Supervisor) }
    }

    fn ring(&self, owner: &Owner) -> Ring {
        let parts = (NonNull::from(&self.ring), NonNull::from(&self.data[..]));
        // SAFETY: the model keeps header and data until its end.
        unsafe { Ring::robust(parts, owner) }
    }

    /// What a barrier, a semaphore, a condition variable or a read-write lock is made of.
    fn row(&self, owner: &Owner) -> Row {
        let slots = NonNull::from(&self.row_slots[..]);
        // SAFETY: the model keeps header and slots until its end.
        unsafe { Row::from_parts(NonNull::from(&self.row), slots, owner) }
    }

    fn barrier(&self, owner: &Owner) -> RawBarrier {
        RawBarrier::over(self.row(owner))
    }

    fn semaphore(&self, owner: &Owner) -> RawSemaphore {
        RawSemaphore::over(self.row(owner))
    }

    fn condvar(&self, owner: &Owner) -> RawCondvar {
        RawCondvar::over(self.row(owner))
    }

    fn rwlock(&self, owner: &Owner) -> RawRwLock {
        RawRwLock::over(self.row(owner))
    }

    fn reentrant(&self, owner: &Owner) -> RawReentrantLock {
        // SAFETY: the model keeps the words until its end.
        unsafe { RawReentrantLock::new(NonNull::from(&self.reentrant), owner) }
    }

    fn once(&self, owner: &Owner) -> RawOnce {
        // SAFETY: the model keeps the words until its end.
        unsafe { RawOnce::new(NonNull::from(&self.once), owner) }
    }

    /// One beside a critical section would make loom fail.
    fn look(&self) {
        // SAFETY: that nobody writes meanwhile is what the model checks.
        self.guarded.with(|guarded| unsafe { guarded.read() });
    }

    /// Two at once would make loom fail.
    fn critical_section(&self) {
        // SAFETY: that nobody else is here is what the model checks.
        self.guarded.with_mut(|guarded| unsafe { *guarded += 1 });
    }
}

fn check(model: impl Fn() + Send + Sync + 'static) {
    check_preempted(3, model);
}

/// Checks all schedules in which threads are preempted at most `preemptions` times.
fn check_preempted(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

/// Checks `model` for a victim that dies at its operation 0, 1, 2, ... until it always survives.
/// The model is told the operation, and returns whether the victim died.
fn check_deaths(model: impl Fn(usize) -> bool + Send + Sync + Clone + 'static) {
    for operations in 0.. {
        let someone_died = Arc::new(AtomicBool::new(false));
        let (seen, model) = (Arc::clone(&someone_died), model.clone());
        check_preempted(2, move || {
            seen.fetch_or(model(operations), StdOrdering::Relaxed);
        });
        if !someone_died.load(StdOrdering::Relaxed) {
            assert!(operations > 1, "the victim was never alive");
            return;
        }
    }
}

/// A thread with a share in the model.
fn spawn<T: 'static>(
    shared: &Arc<Shared>,
    body: impl FnOnce(&Shared) -> T + 'static,
) -> JoinHandle<T> {
    let shared = Arc::clone(shared);
    thread::spawn(move || body(&shared))
}

/// A thread that dies at its operation number `operations` of `section`. It says whether it did.
fn spawn_victim(
    shared: &Arc<Shared>,
    operations: usize,
    section: impl FnOnce(&Shared) + 'static,
) -> JoinHandle<bool> {
    spawn(shared, move |shared| live_for(operations, || section(shared)).is_none())
}

impl Shared {
    fn sweep(&self, dead: &Owner) -> usize {
        // SAFETY: the models wait for the end of the thread that uses this owner first.
        unsafe { self.table().sweep(dead.token()) }
    }
}

//! Loom models of the primitives and of the sweep.
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
mod sweep;
mod unacked;

use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering as StdOrdering};

use loom::cell::UnsafeCell;
use loom::thread::{self, JoinHandle};

use super::barrier::RawBarrier;
use super::condvar::RawCondvar;
use super::event::{EventWord, RawEvent, Reset};
use super::lock::RobustLock;
use super::lock_word::LockWord;
use super::once::{OnceWords, RawOnce};
use super::owner::{Owner, OwnerEntry, OwnerTable, TableHeader};
use super::reentrant::{RawReentrantLock, ReentrantWords};
use super::ring::{LockKind, Ring, RingHeader};
use super::rwlock::RawRwLock;
use super::semaphore::RawSemaphore;
use super::slot_table::{SlotTable, SlotTableHeader};
use super::timeout::Watch;
use crate::atomics::{AtomicU32, AtomicU64, mortal::live_for};
use crate::sys::identity::Identity;

/// The memory of a model: an owner table, and the words of its primitives.
struct ModelMemory<W> {
    header: TableHeader,
    owners: Box<[OwnerEntry]>,
    slots: Box<[AtomicU64]>,
    words: W,
}

// SAFETY: the words of all models are atomics, and cells that loom checks.
unsafe impl<W> Sync for ModelMemory<W> {}
// SAFETY: as for `Sync`.
unsafe impl<W> Send for ModelMemory<W> {}

impl<W> Deref for ModelMemory<W> {
    type Target = W;

    fn deref(&self) -> &W {
        &self.words
    }
}

impl<W> ModelMemory<W> {
    /// Adds to `words` a table for this many owners and directory entries.
    fn with_table(owners: u32, entries: u32, words: W) -> Arc<ModelMemory<W>> {
        Arc::new(ModelMemory {
            header: TableHeader::new(owners, entries, 0),
            owners: (0..owners).map(|_| OwnerEntry::free()).collect(),
            slots: (0..entries).map(|_| AtomicU64::new(0)).collect(),
            words,
        })
    }

    fn table(&self) -> OwnerTable {
        let region = NonNull::from(self).cast::<u8>();
        let (owners, slots) = (NonNull::from(&self.owners[..]), NonNull::from(&self.slots[..]));
        let header = NonNull::from(&self.header);
        // SAFETY: all parts belong to `self`, which the model keeps until its end.
        unsafe { OwnerTable::from_parts(header, owners, slots, region, size_of::<Self>()) }
    }

    fn owner(&self) -> Owner {
        let nobody = Identity { pid: 0, start_ticks: 0 };
        Owner::claim_as(&self.table(), Watch::Supervisor, nobody).unwrap()
    }

    fn sweep(&self, dead: &Owner) -> usize {
        // SAFETY: the models first wait for the end of the thread that uses this owner.
        unsafe { self.table().sweep(dead.token()) }
    }
}

/// The words of the primitives.
struct Primitives {
    lock: LockWord,
    event: EventWord,
    value: AtomicU32,
    guarded: UnsafeCell<u32>,
    ring: RingHeader,
    data: [AtomicU64; DATA_WORDS],
    slot_table: SlotTableHeader,
    table_slots: [AtomicU32; 2],
    reentrant: ReentrantWords,
    once: OnceWords,
}

/// Space for one message of up to eight bytes.
const DATA_WORDS: usize = 2;

impl ModelMemory<Primitives> {
    fn new(reset: Reset) -> Arc<ModelMemory<Primitives>> {
        let words = Primitives {
            lock: LockWord::new(),
            event: EventWord::new(reset),
            value: AtomicU32::new(0),
            guarded: UnsafeCell::new(0),
            ring: RingHeader::new(8 * DATA_WORDS as u64, LockKind::Robust),
            data: std::array::from_fn(|_| AtomicU64::new(0)),
            slot_table: SlotTableHeader::new(2),
            table_slots: std::array::from_fn(|_| AtomicU32::new(0)),
            reentrant: ReentrantWords::new(),
            once: OnceWords::new(),
        };
        let shared = ModelMemory::with_table(4, 12, words);
        let owner = shared.owner();
        shared.lock(&owner).register().unwrap();
        shared.event().register(owner.table()).unwrap();
        shared.ring(&owner).register(&owner).unwrap();
        shared.slot_table(&owner).register().unwrap();
        shared.reentrant(&owner).register().unwrap();
        shared.once(&owner).register().unwrap();
        shared
    }
}

impl Primitives {
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

    /// The slot table of a barrier, a semaphore, a condition variable or a read-write lock.
    fn slot_table(&self, owner: &Owner) -> SlotTable {
        let slots = NonNull::from(&self.table_slots[..]);
        // SAFETY: the model keeps header and slots until its end.
        unsafe { SlotTable::from_parts(NonNull::from(&self.slot_table), slots, owner) }
    }

    fn barrier(&self, owner: &Owner) -> RawBarrier {
        RawBarrier::over(self.slot_table(owner))
    }

    fn semaphore(&self, owner: &Owner) -> RawSemaphore {
        RawSemaphore::over(self.slot_table(owner))
    }

    fn condvar(&self, owner: &Owner) -> RawCondvar {
        RawCondvar::over(self.slot_table(owner))
    }

    fn rwlock(&self, owner: &Owner) -> RawRwLock {
        RawRwLock::over(self.slot_table(owner))
    }

    fn reentrant(&self, owner: &Owner) -> RawReentrantLock {
        // SAFETY: the model keeps the words until its end.
        unsafe { RawReentrantLock::new(NonNull::from(&self.reentrant), owner) }
    }

    fn once(&self, owner: &Owner) -> RawOnce {
        // SAFETY: the model keeps the words until its end.
        unsafe { RawOnce::new(NonNull::from(&self.once), owner) }
    }

    /// Reads the guarded value. Loom fails if a thread is in `critical_section` meanwhile.
    fn look(&self) {
        // SAFETY: the model checks that no other thread writes meanwhile.
        self.guarded.with(|guarded| unsafe { guarded.read() });
    }

    /// Writes the guarded value. Loom fails if two threads are here at once.
    fn critical_section(&self) {
        // SAFETY: the model checks that no other thread is here.
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

/// Checks `model` for a victim that dies at its operation 0, 1, 2, ... until it survives. The model
/// gets the number of the operation, and returns whether the victim died.
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

/// A thread of the model.
fn spawn<W: 'static, T: 'static>(
    shared: &Arc<ModelMemory<W>>,
    body: impl FnOnce(&ModelMemory<W>) -> T + 'static,
) -> JoinHandle<T> {
    let shared = Arc::clone(shared);
    thread::spawn(move || body(&shared))
}

/// A thread that dies at operation number `operations` of `section`, if it gets so far. Returns
/// whether it died.
fn spawn_victim<W: 'static>(
    shared: &Arc<ModelMemory<W>>,
    operations: usize,
    section: impl FnOnce(&ModelMemory<W>) + 'static,
) -> JoinHandle<bool> {
    spawn(shared, move |shared| live_for(operations, || section(shared)).is_none())
}

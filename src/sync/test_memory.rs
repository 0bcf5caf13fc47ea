//! A small region on the heap, for tests.
#![allow(unsafe_code)]

use std::ptr::NonNull;

use super::barrier::RawBarrier;
use super::lock::RobustLock;
use super::lock_word::LockWord;
use super::owner::{Owner, OwnerTable};
use super::timeout::Watch;
use crate::atomics::{AtomicU32, AtomicU64, Ordering};
use crate::error::Result;
use crate::sys::identity::Identity;

pub(super) const OWNERS: u32 = 4;
const ENTRIES: u32 = 8;
const BYTES: usize = 4096;
const LOCK_OFFSET: usize = 1024;
const PLACE_OFFSET: usize = 2048;

#[repr(C, align(64))]
struct Page([u8; BYTES]);

/// Freed when dropped, so it must outlive its primitives; declare it first.
pub(super) struct TestMemory {
    page: NonNull<Page>,
    table: OwnerTable,
}

impl TestMemory {
    pub(super) fn new() -> TestMemory {
        let page = NonNull::from(Box::leak(Box::new(Page([0; BYTES]))));
        let bytes = page.cast::<u8>();
        // SAFETY: the page is aligned, large enough, and lives as long as the memory.
        let table = unsafe { OwnerTable::create(bytes, OWNERS, ENTRIES, bytes, BYTES) };
        let memory = TestMemory { page, table: table.unwrap() };
        memory.lock(&memory.owner()).register().unwrap();
        memory
    }

    pub(super) fn table(&self) -> OwnerTable {
        self.table
    }

    pub(super) fn attach(&self) -> Result<OwnerTable> {
        let bytes = self.page.cast::<u8>();
        // SAFETY: the page is aligned and lives as long as the memory.
        unsafe { OwnerTable::attach(bytes, LOCK_OFFSET, bytes, BYTES) }
    }

    pub(super) fn owner(&self) -> Owner {
        Owner::claim(&self.table, Watch::Waiters).unwrap()
    }

    /// An owner whose process has ended: this process's pid with another start time.
    pub(super) fn dead_owner(&self) -> Owner {
        let mut who = Identity::current().unwrap();
        who.start_ticks += 1;
        Owner::claim_as(&self.table, Watch::Waiters, who).unwrap()
    }

    pub(super) fn attach_barrier(&self, owner: &Owner) -> RawBarrier {
        // SAFETY: the rest of the page is for the barrier and lives as long as the memory.
        unsafe { RawBarrier::attach(self.place(), BYTES - PLACE_OFFSET, owner) }.unwrap()
    }

    /// The second half of the page, for the primitive under test.
    pub(super) fn place(&self) -> NonNull<u8> {
        // SAFETY: within the page.
        unsafe { self.page.cast::<u8>().add(PLACE_OFFSET) }
    }

    fn lock_word(&self) -> NonNull<LockWord> {
        // SAFETY: within the page.
        unsafe { self.page.cast::<u8>().add(LOCK_OFFSET) }.cast()
    }

    pub(super) fn lock(&self, owner: &Owner) -> RobustLock {
        // SAFETY: zero bytes are a free lock; the page lives as long as the memory.
        unsafe { RobustLock::new(self.lock_word(), owner) }
    }

    fn lock_atomic(&self) -> &AtomicU32 {
        // SAFETY: within the page and only used as an atomic.
        unsafe { self.lock_word().cast().as_ref() }
    }

    pub(super) fn word(&self) -> u32 {
        self.lock_atomic().load(Ordering::Relaxed)
    }

    pub(super) fn overwrite(&self, word: u32) {
        self.lock_atomic().store(word, Ordering::Relaxed);
    }

    pub(super) fn overwrite_directory(&self, entry: u64) {
        let offset = OwnerTable::size_bytes(OWNERS, ENTRIES) - size_of::<u64>();
        // SAFETY: the last entry of the directory lies within the page.
        let place = unsafe { self.page.cast::<u8>().add(offset) }.cast::<AtomicU64>();
        // SAFETY: aligned, since the sizes before it are multiples of eight.
        unsafe { place.as_ref() }.store(entry, Ordering::Relaxed);
    }
}

impl Drop for TestMemory {
    fn drop(&mut self) {
        // SAFETY: leaked from a box in `new`, and no longer used.
        drop(unsafe { Box::from_raw(self.page.as_ptr()) });
    }
}

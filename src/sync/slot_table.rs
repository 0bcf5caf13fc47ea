//! Attributed slots and their header: the words of four primitives.
//!
//! Semaphore, barrier, read-write lock and condition variable each give slots to participants, so
//! that a death is attributed, and have an event count on which participants sleep until a slot or
//! the state has changed. Each primitive defines the meaning of its slots and its state, and is a
//! [`SlotPrimitive`] of what it adds to them.
#![allow(unsafe_code)]

use std::ptr::NonNull;

use super::directory::{RUN_WORDS_MAX, WordKind};
use super::eventcount::{EventCount, WaitPhase};
use super::lock_word::Token;
use super::owner::{Owner, OwnerTable};
use super::slots::Slots;
use super::timeout::{Timeout, Watch};
use crate::atomics::{AtomicU32, AtomicU64, Ordering};
use crate::error::{Error, Result};

/// The most slots of one slot table.
#[expect(clippy::cast_possible_truncation, reason = "a run has less than 2^14 words")]
pub(super) const SLOTS_MAX: u32 = RUN_WORDS_MAX as u32;

/// The primitive that a slot table belongs to, for messages and for its first word.
#[derive(Debug)]
pub(super) struct SlotTableKind {
    pub(super) magic: [u8; 8],
    /// "semaphore", say.
    pub(super) name: &'static str,
    /// "the number of permits", say.
    pub(super) count: &'static str,
    /// The number of slots in addition to the requested ones.
    pub(super) extra: u32,
}

/// Start of a slot table in shared memory; `count` slots of four bytes follow.
///
/// | field   | written by       | read by      | guard             | if the writer dies          |
/// |---------|------------------|--------------|-------------------|-----------------------------|
/// | `magic` | creator, last    | attachers    | Release / Acquire | it is not published         |
/// | `count` | creator, once    | attachers    | `magic`           | the same                    |
/// | `changed` | see `EventCount` | participants | compare-and-swap  | sweeps notify in its place  |
/// | `state` | participants     | the same     | compare-and-swap  | see the primitive          |
#[repr(C)]
#[derive(Debug)]
pub(super) struct SlotTableHeader {
    magic: AtomicU64,
    count: AtomicU32,
    changed: EventCount,
    state: AtomicU64,
}

#[cfg(not(loom))]
const _: () = {
    assert!(size_of::<SlotTableHeader>() == 24);
    assert!(std::mem::offset_of!(SlotTableHeader, state) == 16);
};

impl SlotTableHeader {
    pub(super) fn new(count: u32) -> SlotTableHeader {
        SlotTableHeader {
            magic: AtomicU64::new(0),
            count: AtomicU32::new(count),
            changed: EventCount::new(),
            state: AtomicU64::new(0),
        }
    }
}

/// A slot table as one owner sees it: geometry in private memory.
#[derive(Clone)]
pub(super) struct SlotTable {
    header: NonNull<SlotTableHeader>,
    slots: Slots,
    owner: Owner,
}

// SAFETY: header and slots are atomics, valid wherever the slot table goes by `from_parts`.
unsafe impl Send for SlotTable {}
// SAFETY: as for `Send`.
unsafe impl Sync for SlotTable {}

impl SlotTable {
    /// The size of a slot table of `count` slots, in bytes.
    pub(super) const fn size_bytes(count: u32) -> usize {
        size_of::<SlotTableHeader>() + count as usize * size_of::<AtomicU32>()
    }

    /// Writes a new slot table at `place`, with slot `index` set to `fill(index)`, and adds its
    /// words to the directory of `owner`'s table: two entries.
    ///
    /// # Safety
    ///
    /// - `place` is aligned to 64 and valid for [`SlotTable::size_bytes`] of `wanted` and the
    ///   kind's extra slots, for as long as the slot table is used;
    /// - no other process uses those bytes until this returns, and afterwards only through slot
    ///   tables.
    #[cfg(not(loom))]
    pub(super) unsafe fn create(
        kind: &SlotTableKind,
        place: NonNull<u8>,
        wanted: u32,
        owner: &Owner,
        fill: impl Fn(usize) -> u32,
    ) -> Result<SlotTable> {
        let most = SLOTS_MAX - kind.extra;
        if !(1..=most).contains(&wanted) {
            return Err(Error::invalid(kind.count, wanted, format!("1 to {most}")));
        }
        let count = wanted + kind.extra;
        let header = place.cast::<SlotTableHeader>();
        // SAFETY: aligned and valid for a header, unused by others: contract.
        unsafe { header.write(SlotTableHeader::new(count)) };
        let slots = slots_of(header, count as usize);
        for index in 0..count as usize {
            // SAFETY: within `size_bytes`: contract.
            let slot = unsafe { slots.cast::<AtomicU32>().add(index) };
            // SAFETY: aligned and valid, unused by others: contract.
            unsafe { slot.write(AtomicU32::new(fill(index))) };
        }
        // SAFETY: both were written above.
        let slot_table = unsafe { SlotTable::from_parts(header, slots, owner) };
        slot_table.register()?;
        // Release pairs with the Acquire in `attach`.
        slot_table.header().magic.store(u64::from_le_bytes(kind.magic), Ordering::Release);
        Ok(slot_table)
    }

    /// Uses the slot table that another process created at `place`.
    ///
    /// # Errors
    ///
    /// [`Error::Layout`] if there is none of this kind there, or it does not fit.
    ///
    /// # Safety
    ///
    /// - `place` is aligned to 64 and valid for `place_bytes` bytes, for as long as the slot table
    ///   is used;
    /// - all other accesses to those bytes are atomic, also those of a hostile process;
    /// - `owner` belongs to the table that the creator of the slot table used.
    #[cfg(not(loom))]
    pub(super) unsafe fn attach(
        kind: &SlotTableKind,
        place: NonNull<u8>,
        place_bytes: usize,
        owner: &Owner,
    ) -> Result<SlotTable> {
        let layout = |found: String| Error::Layout {
            place: kind.name.to_owned(),
            found,
            expected: format!("a {} within {place_bytes} bytes", kind.name),
        };
        if place_bytes < size_of::<SlotTableHeader>() {
            return Err(layout("less than a header".to_owned()));
        }
        let header = place.cast::<SlotTableHeader>();
        // SAFETY: aligned by the contract, valid as checked above, all atomics.
        let shared = unsafe { header.as_ref() };
        // Acquire pairs with the Release in `create`.
        let magic = shared.magic.load(Ordering::Acquire);
        // Relaxed: written before the magic number.
        let count = shared.count.load(Ordering::Relaxed);
        if magic != u64::from_le_bytes(kind.magic)
            || !(1 + kind.extra..=SLOTS_MAX).contains(&count)
            || SlotTable::size_bytes(count) > place_bytes
        {
            return Err(layout(format!("magic {magic:#018x} and {count} slots")));
        }
        // SAFETY: checked: header and slots lie within `place_bytes`.
        Ok(unsafe { SlotTable::from_parts(header, slots_of(header, count as usize), owner) })
    }

    /// # Safety
    ///
    /// Header and slots are initialised, stay valid while the table is used, and are atomics to
    /// all.
    pub(super) unsafe fn from_parts(
        header: NonNull<SlotTableHeader>,
        slots: NonNull<[AtomicU32]>,
        owner: &Owner,
    ) -> SlotTable {
        // SAFETY: the contract.
        let slots = unsafe { Slots::new(slots) };
        SlotTable { header, slots, owner: owner.clone() }
    }

    pub(super) fn register(&self) -> Result<()> {
        let table = self.owner.table();
        self.slots.register(table)?;
        let counted = table.directory().register(WordKind::Count, self.changed_word(), 1);
        counted.inspect_err(|_| self.slots.unregister(table))
    }

    fn changed_word(&self) -> NonNull<AtomicU32> {
        NonNull::from(&self.header().changed).cast()
    }

    #[inline]
    fn header(&self) -> &SlotTableHeader {
        // SAFETY: valid and all atomics while `self` exists: contract of `from_parts`.
        unsafe { self.header.as_ref() }
    }

    #[inline]
    pub(super) fn slots(&self) -> &Slots {
        &self.slots
    }

    #[inline]
    pub(super) fn state(&self) -> &AtomicU64 {
        &self.header().state
    }

    #[inline]
    pub(super) fn owner(&self) -> &Owner {
        &self.owner
    }

    #[inline]
    pub(super) fn token(&self) -> Token {
        self.owner.token()
    }

    pub(super) fn table(&self) -> &OwnerTable {
        self.owner.table()
    }

    /// Wakes the sleepers of [`wait_for`](SlotTable::wait_for). Called after a slot or the state
    /// was changed.
    #[inline]
    pub(super) fn notify(&self) {
        self.header().changed.notify();
    }

    /// Calls `attempt` until it returns something or `timeout` ends, and sleeps between calls.
    /// Without a supervisor, it checks for deaths before each sleep.
    #[inline]
    pub(super) fn wait_for<T>(
        &self,
        timeout: Timeout,
        mut attempt: impl FnMut(WaitPhase) -> Option<T>,
    ) -> Option<T> {
        let watch = self.owner.watch();
        self.header().changed.wait_for(timeout, watch, |phase| {
            if phase == WaitPhase::BeforeSleep && watch == Watch::Waiters {
                self.owner.table().sweep_dead();
            }
            attempt(phase)
        })
    }
}

/// What a primitive adds to its slot table.
pub(super) trait SlotPart {
    const KIND: SlotTableKind;

    fn over(slot_table: &SlotTable) -> Self;
}

/// A part whose slots are all free in a new primitive.
pub(super) trait FreeAtFirst: SlotPart {}

/// A primitive as one owner sees it: a slot table, and what its kind adds to it.
#[derive(Clone)]
pub struct SlotPrimitive<P> {
    pub(super) slot_table: SlotTable,
    pub(super) part: P,
}

#[expect(private_bounds, reason = "seals the trait")]
impl<P: SlotPart> SlotPrimitive<P> {
    /// The size of a primitive for `count` participants, in bytes: a barrier's members, a
    /// semaphore's most permits, a lock's readers, a condition variable's waiters.
    #[must_use]
    pub const fn size_bytes(count: u32) -> usize {
        SlotTable::size_bytes(count.saturating_add(P::KIND.extra))
    }

    /// The primitive that another process created at `place`.
    ///
    /// # Errors
    ///
    /// [`Error::Layout`] if there is none of this kind, or if it does not fit into `place_bytes`.
    ///
    /// # Safety
    ///
    /// As [`SlotTable::attach`].
    #[cfg(not(loom))]
    pub unsafe fn attach(place: NonNull<u8>, place_bytes: usize, owner: &Owner) -> Result<Self> {
        // SAFETY: the contract, which is the same.
        unsafe { SlotTable::attach(&P::KIND, place, place_bytes, owner) }.map(Self::over)
    }

    /// The primitive over a slot table that exists.
    pub(super) fn over(slot_table: SlotTable) -> Self {
        SlotPrimitive { part: P::over(&slot_table), slot_table }
    }
}

#[cfg(not(loom))]
#[expect(private_bounds, reason = "seals the trait")]
impl<P: FreeAtFirst> SlotPrimitive<P> {
    /// Writes a new primitive for `count` participants at `place` and registers its words with
    /// `owner`'s table: two directory entries.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if `count` is out of range; [`Error::Full`] if the directory is.
    ///
    /// # Safety
    ///
    /// As [`SlotTable::create`].
    pub unsafe fn create(place: NonNull<u8>, count: u32, owner: &Owner) -> Result<Self> {
        // SAFETY: the contract, which is the same.
        unsafe { SlotTable::create(&P::KIND, place, count, owner, |_| 0) }.map(Self::over)
    }
}

#[cfg(not(loom))]
fn slots_of(header: NonNull<SlotTableHeader>, count: usize) -> NonNull<[AtomicU32]> {
    // SAFETY: the slots follow the header in one span, by the contracts of the callers.
    let first = unsafe { header.add(1) }.cast();
    NonNull::slice_from_raw_parts(first, count)
}

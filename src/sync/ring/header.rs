//! The ring's shared words, and their checks.
#![allow(unsafe_code)]

use std::ptr::NonNull;

use super::commit_count::CommitCount;
use super::record;
use crate::atomics::{AtomicU32, AtomicU64, Ordering};
use crate::error::{Error, Result};
use crate::sync::eventcount::EventCount;
use crate::sync::lock_word::LockWord;

/// A value in its own cache line. 128 bytes: the prefetcher fetches lines in pairs.
#[repr(C, align(128))]
#[derive(Debug)]
pub(super) struct CacheLine<T>(pub(super) T);

/// Words of a [`LockSpace`] after the `LockWord`. A model has only that.
const SPACE_REST: usize = if cfg!(loom) { 0 } else { 15 };

/// Space for a lock of either kind: 64 bytes, of which a [`RobustLock`](crate::sync::RobustLock)
/// takes the first four.
#[repr(C, align(64))]
#[derive(Debug)]
pub(in crate::sync) struct LockSpace {
    pub(super) word: LockWord,
    rest: [AtomicU32; SPACE_REST],
}

/// Words that the holder of a side's lock writes.
#[repr(C)]
#[derive(Debug)]
pub(super) struct SideWords {
    pub(super) lock: LockSpace,
    /// The number of messages that were ever committed on this side.
    pub(super) count: CommitCount,
}

/// Words that both sides read often and that are rarely written.
#[repr(C)]
#[derive(Debug)]
pub(super) struct ReadMostly {
    pub(super) magic: AtomicU64,
    pub(super) data_bytes: AtomicU64,
    pub(super) messages_max: AtomicU64,
    lock_kind: AtomicU32,
    pub(super) closed: AtomicU32,
    pub(super) filled: EventCount,
    pub(super) drained: EventCount,
}

/// Start of a ring in shared memory; `data_bytes` of data follow.
///
/// | field | written by | read by | guard | if the writer dies |
/// |---|---|---|---|---|
/// | `common.magic` | creator, last | attachers | Release / Acquire | ring is not published |
/// | `common.data_bytes` | creator, once | attachers | `magic` | the same |
/// | `common.messages_max` | creator, once | attachers | `magic` | the same |
/// | `common.lock_kind` | creator, once | attachers | `magic` | the same |
/// | `common.closed` | closers, only upwards | all | push lock (drain) | the ring stays open |
/// | `common.filled` | see `EventCount` | all | compare-and-swap | sweeps wake consumers |
/// | `common.drained` | see `EventCount` | all | compare-and-swap | sweeps wake producers |
/// | `push.lock` | producers | producers | see the lock | a sweep frees it |
/// | `push.count` | producers | all | push lock | see `CommitCount` |
/// | `tail` | producers | all | push lock | message was committed, |
/// |  |  |  |  | or never was |
/// | `pop.lock` | consumers | consumers | see the lock | a sweep frees it |
/// | `pop.count` | consumers | all | pop lock | see `CommitCount` |
/// | `head` | consumers | all | pop lock | message was consumed, |
/// |  |  |  |  | or is still there |
///
/// Invariant: `head` and `tail` are multiples of 8, and `tail - head <= data_bytes` (wrapping).
#[repr(C)]
#[derive(Debug)]
pub(in crate::sync) struct RingHeader {
    pub(super) common: CacheLine<ReadMostly>,
    pub(super) push: CacheLine<SideWords>,
    pub(super) tail: CacheLine<AtomicU64>,
    pub(super) pop: CacheLine<SideWords>,
    pub(super) head: CacheLine<AtomicU64>,
}

#[cfg(not(loom))]
const _: () = {
    assert!(size_of::<LockSpace>() == 64);
    assert!(size_of::<RingHeader>() == 640);
    assert!(std::mem::offset_of!(RingHeader, tail) == 256);
    assert!(std::mem::offset_of!(RingHeader, head) == 512);
};

/// The size of the header, which the data follow.
pub(crate) const HEADER_BYTES: usize = size_of::<RingHeader>();

const MAGIC: u64 = u64::from_le_bytes(*b"brigrng2");

/// States of `closed`. It only grows, and any larger number counts as the last.
pub(super) const OPEN: u32 = 0;
pub(super) const DRAINING: u32 = 1;
pub(super) const CLOSED: u32 = 2;

/// The smallest size of the data in bytes: one message of up to 8 bytes.
const DATA_BYTES_MIN: u64 = 16;

/// The kind of lock that protects a ring's sides, as recorded in its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sync) enum LockKind {
    Robust = 1,
    #[cfg_attr(any(loom, not(feature = "raw-sync")), expect(dead_code, reason = "needs raw_sync"))]
    RawSync = 2,
}

/// Header and data of one ring.
pub(in crate::sync) type RingParts = (NonNull<RingHeader>, NonNull<[AtomicU64]>);

impl RingHeader {
    pub(in crate::sync) fn new(data_bytes: u64, kind: LockKind) -> RingHeader {
        let side = || {
            let rest = std::array::from_fn(|_| AtomicU32::new(0));
            let lock = LockSpace { word: LockWord::new(), rest };
            CacheLine(SideWords { lock, count: CommitCount::new() })
        };
        RingHeader {
            common: CacheLine(ReadMostly {
                magic: AtomicU64::new(0),
                data_bytes: AtomicU64::new(data_bytes),
                messages_max: AtomicU64::new(u64::MAX),
                lock_kind: AtomicU32::new(kind as u32),
                closed: AtomicU32::new(OPEN),
                filled: EventCount::new(),
                drained: EventCount::new(),
            }),
            push: side(),
            tail: CacheLine(AtomicU64::new(0)),
            pop: side(),
            head: CacheLine(AtomicU64::new(0)),
        }
    }

    /// The spaces of the push lock and the pop lock.
    #[cfg(feature = "raw-sync")]
    pub(in crate::sync) fn lock_spaces(&self) -> [NonNull<LockSpace>; 2] {
        [NonNull::from(&self.push.0.lock), NonNull::from(&self.pop.0.lock)]
    }

    /// Makes `check_header` accept the ring.
    pub(super) fn publish(&self) {
        // Release pairs with the Acquire in `magic`.
        self.common.0.magic.store(MAGIC, Ordering::Release);
    }

    fn magic(&self) -> u64 {
        self.common.0.magic.load(Ordering::Acquire)
    }

    /// The number of messages that were ever pushed.
    pub(super) fn pushed(&self) -> u64 {
        self.push.0.count.read(&self.tail.0)
    }

    /// The number of messages that were ever popped.
    pub(super) fn popped(&self) -> u64 {
        self.pop.0.count.read(&self.head.0)
    }
}

/// The size of a ring for messages of up to `capacity_bytes`, including the header.
pub(super) fn size_bytes(capacity_bytes: usize) -> Result<usize> {
    const WHAT: &str = "the capacity of a ring";
    if !(1..=1 << 31).contains(&capacity_bytes) {
        return Err(Error::invalid(WHAT, capacity_bytes, "1 to 2^31 bytes"));
    }
    let data_bytes = record::record_bytes(capacity_bytes as u64).next_power_of_two();
    usize::try_from(data_bytes)
        .map(|data_bytes| HEADER_BYTES + data_bytes)
        .map_err(|_| Error::invalid(WHAT, capacity_bytes, "within the address space"))
}

/// Writes an unpublished header at `place`.
///
/// # Safety
///
/// As for [`Ring::create`](super::Ring::create).
pub(in crate::sync) unsafe fn write_header(
    place: NonNull<u8>,
    capacity_bytes: usize,
    messages_max: u64,
    kind: LockKind,
) -> Result<RingParts> {
    let data_bytes = size_bytes(capacity_bytes)? - HEADER_BYTES;
    let new = RingHeader::new(data_bytes as u64, kind);
    // Relaxed: published by the magic number.
    new.common.0.messages_max.store(messages_max, Ordering::Relaxed);
    let header = place.cast::<RingHeader>();
    // SAFETY: aligned and valid for a header, unused by others: contract.
    unsafe { header.write(new) };
    // SAFETY: the contract: the place has the size of `size_bytes`.
    Ok((header, unsafe { data_behind(header, data_bytes) }))
}

/// The ring at `place`, checked against `place_bytes`.
///
/// # Safety
///
/// As for [`Ring::attach`](super::Ring::attach).
pub(in crate::sync) unsafe fn check_header(
    place: NonNull<u8>,
    place_bytes: usize,
    kind: LockKind,
) -> Result<RingParts> {
    let layout = |found: String, expected: String| {
        Err(Error::Layout { place: "ring".to_owned(), found, expected })
    };
    let Some(room) = place_bytes.checked_sub(HEADER_BYTES) else {
        return layout(format!("{place_bytes} bytes"), format!("a header of {HEADER_BYTES}"));
    };
    let header = place.cast::<RingHeader>();
    // SAFETY: aligned by the contract, valid for a header as checked above, and all atomics.
    let shared = unsafe { header.as_ref() };
    let magic = shared.magic();
    if magic != MAGIC {
        return layout(format!("magic {magic:#018x}"), format!("{MAGIC:#018x}"));
    }
    let common = &shared.common.0;
    let found_kind = common.lock_kind.load(Ordering::Relaxed);
    if found_kind != kind as u32 {
        return layout(format!("lock kind {found_kind}"), format!("{} ({kind:?})", kind as u32));
    }
    let data_bytes = common.data_bytes.load(Ordering::Relaxed);
    match usize::try_from(data_bytes) {
        Ok(bytes) if data_bytes >= DATA_BYTES_MIN && bytes.is_power_of_two() && bytes <= room => {
            // SAFETY: `bytes <= room`, so the data lie within the place.
            Ok((header, unsafe { data_behind(header, bytes) }))
        }
        _ => layout(
            format!("{data_bytes} bytes of data"),
            format!("a power of two from {DATA_BYTES_MIN} to {room}"),
        ),
    }
}

/// The `data_bytes` of data after a header.
///
/// # Safety
///
/// - Header and data are adjacent.
unsafe fn data_behind(header: NonNull<RingHeader>, data_bytes: usize) -> NonNull<[AtomicU64]> {
    // SAFETY: the contract.
    let data = unsafe { header.add(1) }.cast();
    NonNull::slice_from_raw_parts(data, data_bytes / size_of::<u64>())
}

/// The number of messages in the ring at `place`; `None` if there is no ring.
///
/// # Safety
///
/// - `place` is aligned to [`Ring::ALIGN`](super::Ring::ALIGN) and valid for [`HEADER_BYTES`], and
///   all other accesses to these bytes are atomic.
pub(crate) unsafe fn message_count(place: NonNull<u8>) -> Option<u64> {
    // SAFETY: the contract; every bit pattern is a header, of atomics.
    let header = unsafe { place.cast::<RingHeader>().as_ref() };
    if header.magic() != MAGIC {
        return None;
    }
    let popped = header.popped();
    // Saturating: the words may have been overwritten.
    Some(header.pushed().saturating_sub(popped))
}

//! The ring's shared words, and their checks.
#![allow(unsafe_code)]

use std::ptr::NonNull;

use super::record;
use super::tally::Tally;
use crate::atomics::{AtomicU32, AtomicU64, Ordering};
use crate::error::{Error, Result};
use crate::sync::eventcount::EventCount;
use crate::sync::lock::LockWord;

/// One cache line and its neighbour, which the prefetcher fetches along.
#[repr(C, align(128))]
#[derive(Debug)]
pub(in crate::sync) struct Line<T>(pub(in crate::sync) T);

/// Words of a [`LockPlace`] after our lock's. A model has only our lock.
const PLACE_REST: usize = if cfg!(loom) { 0 } else { 15 };

/// Room for a lock of either kind: 64 bytes, of which ours takes the first four.
#[repr(C, align(64))]
#[derive(Debug)]
pub(in crate::sync) struct LockPlace {
    pub(super) word: LockWord,
    rest: [AtomicU32; PLACE_REST],
}

/// What a side's lock holder writes: the lock, and how many messages went through.
#[repr(C)]
#[derive(Debug)]
pub(in crate::sync) struct Side {
    pub(super) lock: LockPlace,
    pub(super) tally: Tally,
}

/// What both sides read often and hardly anybody writes.
#[repr(C)]
#[derive(Debug)]
pub(super) struct Rare {
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
/// | `rare.magic` | creator, last | attachers | Release / Acquire | ring is not published |
/// | `rare.data_bytes` | creator, once | attachers | `magic` | the same |
/// | `rare.messages_max` | creator, once | attachers | `magic` | the same |
/// | `rare.lock_kind` | creator, once | attachers | `magic` | the same |
/// | `rare.closed` | closers, only upwards | all | push lock (drain) | the ring stays open |
/// | `rare.filled` | see `EventCount` | all | compare-and-swap | sweeps wake consumers |
/// | `rare.drained` | see `EventCount` | all | compare-and-swap | sweeps wake producers |
/// | `push.lock` | producers | producers | see the lock | a sweep frees it |
/// | `push.tally` | producers | all | push lock | see `Tally` |
/// | `tail` | producers | all | push lock | message was committed, |
/// |  |  |  |  | or never was |
/// | `pop.lock` | consumers | consumers | see the lock | a sweep frees it |
/// | `pop.tally` | consumers | all | pop lock | see `Tally` |
/// | `head` | consumers | all | pop lock | message was consumed, |
/// |  |  |  |  | or is still there |
///
/// Invariant: `head` and `tail` are multiples of 8, and `tail - head <= data_bytes` (wrapping).
#[repr(C)]
#[derive(Debug)]
pub(in crate::sync) struct RingHeader {
    pub(super) rare: Line<Rare>,
    pub(super) push: Line<Side>,
    pub(super) tail: Line<AtomicU64>,
    pub(super) pop: Line<Side>,
    pub(super) head: Line<AtomicU64>,
}

#[cfg(not(loom))]
const _: () = {
    assert!(size_of::<LockPlace>() == 64);
    assert!(size_of::<RingHeader>() == 640);
    assert!(std::mem::offset_of!(RingHeader, tail) == 256);
    assert!(std::mem::offset_of!(RingHeader, head) == 512);
};

pub(super) const MAGIC: u64 = u64::from_le_bytes(*b"brigrng2");

/// States of `closed`. It only grows, and any larger number counts as the last.
pub(super) const OPEN: u32 = 0;
pub(super) const DRAINING: u32 = 1;
pub(super) const CLOSED: u32 = 2;

/// What protects a ring's sides, as its header says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sync) enum LockKind {
    Robust = 1,
    #[cfg_attr(any(loom, not(feature = "raw-sync")), expect(dead_code, reason = "needs raw_sync"))]
    RawSync = 2,
}

impl RingHeader {
    pub(in crate::sync) fn new(data_bytes: u64, kind: LockKind) -> RingHeader {
        let side = || {
            let rest = std::array::from_fn(|_| AtomicU32::new(0));
            let lock = LockPlace { word: LockWord::new(), rest };
            Line(Side { lock, tally: Tally::new() })
        };
        RingHeader {
            rare: Line(Rare {
                magic: AtomicU64::new(0),
                data_bytes: AtomicU64::new(data_bytes),
                messages_max: AtomicU64::new(u64::MAX),
                lock_kind: AtomicU32::new(kind as u32),
                closed: AtomicU32::new(OPEN),
                filled: EventCount::new(),
                drained: EventCount::new(),
            }),
            push: side(),
            tail: Line(AtomicU64::new(0)),
            pop: side(),
            head: Line(AtomicU64::new(0)),
        }
    }
}

/// Writes an unpublished header at `place`.
///
/// # Safety
///
/// As for [`Ring::create`](super::Ring::create).
#[cfg(not(loom))]
pub(in crate::sync) unsafe fn write_header(
    place: NonNull<u8>,
    capacity_bytes: usize,
    kind: LockKind,
) -> Result<NonNull<RingHeader>> {
    let data_bytes = super::Ring::size_bytes(capacity_bytes)? - size_of::<RingHeader>();
    let header = place.cast::<RingHeader>();
    // SAFETY: aligned and valid for a header, unused by others: contract.
    unsafe { header.write(RingHeader::new(data_bytes as u64, kind)) };
    Ok(header)
}

/// Where the data of a new ring is, and how many words.
#[cfg(not(loom))]
pub(in crate::sync) fn data_of(header: NonNull<RingHeader>) -> (NonNull<AtomicU64>, usize) {
    // SAFETY: a valid header, which the callers have written or checked.
    let data_bytes = unsafe { header.as_ref() }.rare.0.data_bytes.load(Ordering::Relaxed);
    // SAFETY: the data follows the header in one span.
    let data = unsafe { header.add(1) }.cast();
    (data, usize::try_from(data_bytes / record::WORD_BYTES).unwrap_or(0))
}

/// The places of the push lock and the pop lock.
#[cfg(all(feature = "raw-sync", not(loom)))]
pub(in crate::sync) fn lock_places(header: NonNull<RingHeader>) -> [NonNull<LockPlace>; 2] {
    // SAFETY: a valid header, which the callers have written or checked.
    let shared = unsafe { header.as_ref() };
    [NonNull::from(&shared.push.0.lock), NonNull::from(&shared.pop.0.lock)]
}

/// The header at `place` and its words of data, checked against `place_bytes`.
///
/// # Safety
///
/// As for [`Ring::attach`](super::Ring::attach).
#[cfg(not(loom))]
pub(in crate::sync) unsafe fn check_header(
    place: NonNull<u8>,
    place_bytes: usize,
    kind: LockKind,
) -> Result<(NonNull<RingHeader>, usize)> {
    let layout = |found: String, expected: String| {
        Err(Error::Layout { place: "ring".to_owned(), found, expected })
    };
    let Some(room) = place_bytes.checked_sub(size_of::<RingHeader>()) else {
        return layout(format!("{place_bytes} bytes"), "a header of 640".to_owned());
    };
    let header = place.cast::<RingHeader>();
    // SAFETY: aligned by the contract, valid for a header as checked above, and all atomics.
    let rare = &unsafe { header.as_ref() }.rare.0;
    // Acquire pairs with the Release in `publish`.
    let magic = rare.magic.load(Ordering::Acquire);
    if magic != MAGIC {
        return layout(format!("magic {magic:#018x}"), format!("{MAGIC:#018x}"));
    }
    let found_kind = rare.lock_kind.load(Ordering::Relaxed);
    if found_kind != kind as u32 {
        return layout(format!("lock kind {found_kind}"), format!("{} ({kind:?})", kind as u32));
    }
    let data_bytes = rare.data_bytes.load(Ordering::Relaxed);
    if data_bytes < 16 || !data_bytes.is_power_of_two() || data_bytes > room as u64 {
        return layout(
            format!("{data_bytes} bytes of data"),
            format!("a power of two from 16 to {room}"),
        );
    }
    let words = usize::try_from(data_bytes / record::WORD_BYTES).expect("at most `room`");
    Ok((header, words))
}

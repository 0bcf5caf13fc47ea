//! A worker's queue pair: slots and rings in shared memory.
//!
//! Every worker has its own queue pair and writes to no other. A dying or faulty worker can corrupt
//! only its own, and its replacement gets a new one. All words are atomics: there is never a `&T`
//! to plain data in it.

use std::mem::offset_of;

use crate::error::{Error, Phase, Result};
use crate::worker::wakeup::ParkWord;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The most tasks that one worker can be offered; a power of two.
pub(crate) const SLOTS: u64 = SLOTS_LEN as u64;
/// No process id: what `ready` holds while a worker makes its state again.
pub(crate) const REBUILDING: u32 = u32::MAX;
pub(crate) const SLOTS_LEN: usize = 256;
/// The largest payload inside a task slot, in bytes.
pub(crate) const TASK_INLINE_BYTES: usize = TASK_INLINE_WORDS * 8;
/// The largest payload inside a result slot, in bytes.
pub(crate) const RESULT_INLINE_BYTES: usize = RESULT_INLINE_WORDS * 8;
/// Larger payloads are in spans of the arena.
pub(crate) const RING_PAYLOAD_BYTES_MAX: usize = 64 << 10;
/// The capacity of each byte ring: a payload of the largest size fits after any other.
pub(crate) const RING_BYTES: usize = 2 * RING_PAYLOAD_BYTES_MAX;
/// The longest crash message, in bytes.
pub(crate) const CRASH_MESSAGE_BYTES: usize = 1016;

const TASK_INLINE_WORDS: usize = 11;
pub(crate) const RESULT_INLINE_WORDS: usize = 5;

/// The words that a worker and its host share, in addition to slots and rings.
///
/// | field               | written by        | read by | guard                       | if the writer dies    |
/// |---------------------|-------------------|---------|-----------------------------|-----------------------|
/// | `wake_at`           | host, under mutex | worker  | Dekker with `driver`        | all end with the host |
/// | `bytes_read`        | host, under mutex | worker  | Release / Acquire           | all end with the host |
/// | `cancel_seq`        | host, under mutex | worker  | none: a hint to the task    | all end with the host |
/// | `stop`              | host, under mutex | worker  | Release / Acquire           | all end with the host |
/// | `parked`            | worker; host to 0 | both    | Dekker with the claim word  | replaced by a new one |
/// | `ready`             | worker            | host    | Release / Acquire; kept by  | 0: died in start-up   |
/// |                     |                   |         | the host once seen          |                       |
/// | `phase`             | worker            | host    | none: a phase, no result    | shows where it died   |
/// | `started_ns`        | worker            | host    | `phase`; limited to between | replaced by a new one |
/// |                     |                   |         | offer and claim first seen  |                       |
/// | `waiting`           | worker            | host    | Dekker with `bytes_read`    | replaced by a new one |
/// | `crash_message_len` | worker            | host    | read after its death        | 0: no message         |
/// | `crash_message`     | worker            | host    | `crash_message_len`         | as above              |
#[repr(C, align(64))]
pub(crate) struct QueuePairHeader {
    /// Ring the driver when the result of this task, or a later one, is committed.
    pub(crate) wake_at: AtomicU64,
    /// The position in the result ring up to which the host has copied the bytes.
    pub(crate) bytes_read: AtomicU64,
    /// The sequence number of the latest task that was requested to end early; 0 for none.
    pub(crate) cancel_seq: AtomicU64,
    /// 1: exit when nothing is offered.
    pub(crate) stop: AtomicU32,
    _host: [u32; 9],
    pub(crate) parked: ParkWord,
    _parked: [u32; 15],
    /// The worker's process id, once it is ready (initializer included); 0 before; and
    /// [`REBUILDING`] while it makes its state again.
    pub(crate) ready: AtomicU32,
    /// 1: the worker waits for room in the result ring.
    pub(crate) waiting: AtomicU32,
    /// Sequence number and [`Phase`] of the running task: `seq << 2 | phase`.
    pub(crate) phase: AtomicU64,
    /// The start time of that task: CLOCK_MONOTONIC, in nanoseconds.
    pub(crate) started_ns: AtomicU64,
    _worker: [u64; 5],
    /// The length of `crash_message`, in bytes; 0 for none.
    pub(crate) crash_message_len: AtomicU64,
    /// The latest message of the panic hook or the fault handler.
    pub(crate) crash_message: [AtomicU64; CRASH_MESSAGE_BYTES / 8],
}

/// One task, offered to one worker.
///
/// | field      | written by           | read by | guard      | if the writer dies           |
/// |------------|----------------------|---------|------------|------------------------------|
/// | `claim`    | host; both by CAS    | both    | `claim.rs` | OFFERED: goes to another     |
/// |            |                      |         |            | worker; CLAIMED: task died   |
/// | the others | host, before `claim` | worker  | `claim`    | the host's record counts     |
#[repr(C, align(128))]
pub(crate) struct TaskSlot {
    pub(crate) claim: AtomicU64,
    /// Trampoline: a [`FunctionOffset`](crate::process::function::FunctionOffset).
    pub(crate) function: AtomicU64,
    /// Packed [`TaskMeta`].
    pub(crate) meta: AtomicU64,
    /// The place of the payload: position in the task ring, or offset in the arena.
    pub(crate) place: AtomicU64,
    /// The number of the task in its pool.
    pub(crate) number: AtomicU64,
    pub(crate) inline: [AtomicU64; TASK_INLINE_WORDS],
}

/// The result of the task in the task slot of the same index.
///
/// | field      | written by       | read by | guard             | if the writer dies            |
/// |------------|------------------|---------|-------------------|-------------------------------|
/// | `seq`      | worker, last     | host    | Release / Acquire | unset: not committed, ignored |
/// | the others | worker, before   | host    | `seq`             | as above                      |
#[repr(C, align(64))]
pub(crate) struct ResultSlot {
    /// The task's sequence number: storing it is the only commit.
    pub(crate) seq: AtomicU64,
    /// Packed [`ResultMeta`].
    pub(crate) meta: AtomicU64,
    /// The place of the payload: position in the result ring, or offset in the arena. If the
    /// payload is in the slot, the start time of the task instead, as in `starts`: another cache
    /// line takes as long as a short task.
    pub(crate) place: AtomicU64,
    pub(crate) inline: [AtomicU64; RESULT_INLINE_WORDS],
}

/// A queue pair in the arena. A new one is zero up to [`QueuePair::ZEROED_BYTES`]. The rest is
/// not zeroed: it is read only where it was written, and zeroing takes long.
///
/// `starts` has the start time of the task of each result slot whose payload is elsewhere:
/// CLOCK_MONOTONIC, in nanoseconds.
/// The worker writes it before the commit. The host reads it for a timeline, after the commit and
/// before it offers the slot again, and limits it to possible times.
#[repr(C)]
pub(crate) struct QueuePair {
    pub(crate) header: QueuePairHeader,
    pub(crate) tasks: [TaskSlot; SLOTS_LEN],
    pub(crate) results: [ResultSlot; SLOTS_LEN],
    pub(crate) task_bytes: ByteRing,
    pub(crate) result_bytes: ByteRing,
    pub(crate) starts: [AtomicU64; SLOTS_LEN],
}

const _: () = {
    assert!(SLOTS.is_power_of_two());
    assert!(size_of::<TaskSlot>() == 128);
    assert!(size_of::<ResultSlot>() == 64);
    assert!(offset_of!(QueuePairHeader, cancel_seq) == 16);
    assert!(offset_of!(QueuePairHeader, parked) == 64);
    assert!(offset_of!(QueuePairHeader, ready) == 128);
    assert!(offset_of!(QueuePairHeader, crash_message_len) == 192);
    assert!(size_of::<QueuePairHeader>() == 192 + 1024);
    assert!(offset_of!(QueuePair, tasks) % 128 == 0);
    assert!(offset_of!(QueuePair, results) < QueuePair::ZEROED_BYTES);
    assert!(offset_of!(QueuePair, result_bytes) > QueuePair::ZEROED_BYTES);
    assert!(RING_BYTES.is_power_of_two());
    assert!(Phase::Publishing as u64 == 2);
};

/// The place of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the slot.
    Inline,
    /// In the byte ring, at this position.
    Ring(u64),
    /// In the arena, at this offset.
    Span(u64),
}

impl Place {
    fn pack(self) -> (u64, u64) {
        match self {
            Place::Inline => (0, 0),
            Place::Ring(position) => (1, position),
            Place::Span(offset) => (2, offset),
        }
    }

    fn unpack(kind: u64, value: u64) -> Option<Place> {
        match kind {
            0 => Some(Place::Inline),
            1 => Some(Place::Ring(value)),
            2 => Some(Place::Span(value)),
            _ => None,
        }
    }
}

/// The most handles of one task: the largest number that its slot can store.
pub(crate) const HANDLES_MAX: usize = (1 << 20) - 1;

/// A task slot's description of its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TaskMeta {
    /// The size of the payload in bytes, including the lease table.
    pub(crate) len: usize,
    /// The number of leases in that table.
    pub(crate) leases: usize,
    pub(crate) place: Place,
}

impl TaskMeta {
    /// `(meta, place)` words. Bits 0..40 length, 40..44 place, 44..64 leases.
    pub(crate) fn pack(self) -> (u64, u64) {
        let (kind, value) = self.place.pack();
        (self.len as u64 | kind << 40 | (self.leases as u64) << 44, value)
    }

    pub(crate) fn unpack(meta: u64, place: u64) -> Result<TaskMeta> {
        let corrupt = || Error::Corrupt { what: "a task slot", found: format!("{meta:#x}") };
        let len = usize::try_from(meta & ((1 << 40) - 1)).map_err(|_| corrupt())?;
        let leases = usize::try_from(meta >> 44).map_err(|_| corrupt())?;
        let place = Place::unpack(meta >> 40 & 0xf, place).ok_or_else(corrupt)?;
        Ok(TaskMeta { len, leases, place })
    }
}

/// How a task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// The payload is the value.
    Value,
    /// The payload is a message and a location.
    Panicked,
    /// The payload is the error of decoding the argument.
    ArgumentCodec,
    /// The payload is the error of encoding the result.
    ResultCodec,
    /// The task was recalled; the worker has skipped it.
    Skipped,
}

/// Why a worker exits on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LeaveReason {
    /// It has run its maximum of tasks.
    Tasks,
    /// It has more resident memory than its limit.
    Memory,
    /// A handle to an array has outlived its task, or its descriptors are closed.
    Unclean,
}

/// The contents of a result slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ResultMeta {
    pub(crate) status: Status,
    /// The worker exits now on its own, and ignores its other offers.
    pub(crate) leaving: Option<LeaveReason>,
    /// The run time of the function in nanoseconds, to 19 significant bits; at most 13 days.
    pub(crate) elapsed_ns: u64,
    /// The size of the payload in bytes. For a span only the low 32 bits: the host knows the length
    /// of the span that it granted.
    pub(crate) len: usize,
    pub(crate) place: Place,
}

/// Significant bits of a time in a result slot.
const ELAPSED_BITS: u32 = 19;

/// Packs a time as 19 bits and a shift of 5 bits.
fn pack_elapsed(ns: u64) -> u64 {
    let ns = ns.min((1 << (ELAPSED_BITS + 31)) - 1);
    let shift = (u64::BITS - ns.leading_zeros()).saturating_sub(ELAPSED_BITS);
    u64::from(shift) << ELAPSED_BITS | ns >> shift
}

fn unpack_elapsed(packed: u64) -> u64 {
    (packed & ((1 << ELAPSED_BITS) - 1)) << (packed >> ELAPSED_BITS & 31)
}

impl ResultMeta {
    /// `(meta, place)` words. Bits 0..32 length, 32..56 elapsed, 56..60 status, 60..62 place,
    /// 62..64 reason for leaving.
    pub(crate) fn pack(self) -> (u64, u64) {
        let (kind, value) = self.place.pack();
        let status = match self.status {
            Status::Value => 0u64,
            Status::Panicked => 1,
            Status::ArgumentCodec => 2,
            Status::ResultCodec => 3,
            Status::Skipped => 4,
        };
        let elapsed = pack_elapsed(self.elapsed_ns);
        let meta = (self.len as u64 & 0xffff_ffff)
            | elapsed << 32
            | status << 56
            | kind << 60
            | self.leaving.map_or(0, |reason| reason as u64 + 1) << 62;
        (meta, value)
    }

    pub(crate) fn unpack(meta: u64, place: u64) -> Result<ResultMeta> {
        let corrupt = || Error::Corrupt { what: "a result slot", found: format!("{meta:#x}") };
        let status = match meta >> 56 & 15 {
            0 => Status::Value,
            1 => Status::Panicked,
            2 => Status::ArgumentCodec,
            3 => Status::ResultCodec,
            4 => Status::Skipped,
            _ => return Err(corrupt()),
        };
        let len = usize::try_from(meta & 0xffff_ffff).map_err(|_| corrupt())?;
        let elapsed_ns = unpack_elapsed(meta >> 32);
        let place = Place::unpack(meta >> 60 & 3, place).ok_or_else(corrupt)?;
        let leaving = match meta >> 62 {
            0 => None,
            1 => Some(LeaveReason::Tasks),
            2 => Some(LeaveReason::Memory),
            _ => Some(LeaveReason::Unclean),
        };
        Ok(ResultMeta { status, leaving, elapsed_ns, len, place })
    }
}

/// A ring of bytes for one direction. Positions only grow.
///
/// | field   | written by                     | read by    | guard               | if the writer dies |
/// |---------|--------------------------------|------------|---------------------|--------------------|
/// | `words` | the one writer of the direction| the reader | claim or commit word| never committed    |
///
/// A payload never wraps: if it does not fit before the end, it starts at the next multiple of
/// [`RING_BYTES`]. Slots contain the positions, so the ring has no head or tail.
#[repr(C, align(64))]
pub(crate) struct ByteRing {
    words: [AtomicU64; RING_BYTES / 8],
}

impl ByteRing {
    /// A ring of zeros.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn zeroed() -> Box<ByteRing> {
        Box::new(ByteRing { words: [const { AtomicU64::new(0) }; RING_BYTES / 8] })
    }

    /// The place of a payload of `len` bytes if the next free position is `head` and everything
    /// before `tail` is read: its position and the next head, or `None` if there is no room.
    pub(crate) fn place(head: u64, tail: u64, len: usize) -> Option<(u64, u64)> {
        let ring = RING_BYTES as u64;
        let len = (len as u64).next_multiple_of(8);
        let start = if head % ring + len > ring { head.next_multiple_of(ring) } else { head };
        let end = start + len;
        // The other side writes `tail`: an invalid one beyond `head` leaves no room.
        (len <= ring && end.wrapping_sub(tail) <= ring).then_some((start, end))
    }

    /// Writes `bytes` at `position`, where [`ByteRing::place`] found room.
    pub(crate) fn write(&self, position: u64, bytes: &[u8]) {
        let first = Self::index(position);
        store_words(&self.words[first..], bytes);
    }

    /// Copies `len` bytes at `position` to the end of `out`.
    pub(crate) fn read(&self, position: u64, len: usize, out: &mut Vec<u8>) -> Result<()> {
        let first = Self::index(position);
        if !position.is_multiple_of(8) || len.div_ceil(8) > self.words.len() - first {
            let found = format!("{len} bytes at {position}");
            return Err(Error::Corrupt { what: "a position in a byte ring", found });
        }
        load_words(&self.words[first..], len, out);
        Ok(())
    }

    fn index(position: u64) -> usize {
        usize::try_from(position % RING_BYTES as u64).map_or(0, |byte| byte / 8)
    }
}

/// Stores `bytes` in as many words as needed.
#[inline]
pub(crate) fn store_words(words: &[AtomicU64], bytes: &[u8]) {
    let (chunks, rest) = bytes.as_chunks::<8>();
    for (&chunk, word) in chunks.iter().zip(words) {
        // Relaxed: published by the claim or commit word that follows.
        word.store(u64::from_ne_bytes(chunk), Ordering::Relaxed);
    }
    if let (false, Some(word)) = (rest.is_empty(), words.get(chunks.len())) {
        // Relaxed: as above.
        word.store(last_word(rest), Ordering::Relaxed);
    }
}

/// Fewer than 8 bytes as a word, padded with zeros. Loaded byte by byte: most payloads are short
/// and were just stored bytewise, so a wider load would stall.
#[inline]
pub(crate) fn last_word(bytes: &[u8]) -> u64 {
    u64::from_le(bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)))
}

/// Appends the first `len` bytes of `words` to `out`; `words` must have that many.
pub(crate) fn load_words(words: &[AtomicU64], len: usize, out: &mut Vec<u8>) {
    out.reserve(len.next_multiple_of(8));
    let start = out.len();
    for word in &words[..len.div_ceil(8)] {
        // Relaxed: made visible by the claim or commit word that was loaded before.
        out.extend_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
    }
    out.truncate(start + len);
}

impl QueuePair {
    /// The number of bytes that must be zero in a new queue pair: header and slots.
    pub(crate) const ZEROED_BYTES: usize = offset_of!(QueuePair, task_bytes);

    pub(crate) fn task(&self, seq: u64) -> &TaskSlot {
        &self.tasks[slot_index(seq)]
    }

    pub(crate) fn result(&self, seq: u64) -> &ResultSlot {
        &self.results[slot_index(seq)]
    }

    /// The start time of the task `seq`.
    pub(crate) fn start(&self, seq: u64) -> &AtomicU64 {
        &self.starts[slot_index(seq)]
    }
}

fn slot_index(seq: u64) -> usize {
    usize::try_from(seq % SLOTS).unwrap_or(0)
}

#[cfg(test)]
#[path = "queue_pair_tests.rs"]
mod tests;

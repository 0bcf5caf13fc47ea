//! A worker's ring of log records in shared memory.
//!
//! One writer (the worker; its threads exclude each other by a lock in private memory) and one
//! reader (the host). Positions count words and only grow. A record is a word with its length and a
//! checksum, followed by its bytes; it may continue at the start of the ring.
//!
//! 1. The writer compares the record with the room: `len - (tail - head)`. It keeps a private copy
//!    of `head`, and loads the shared one (Acquire, pairs with 6) only if there seems to be no
//!    room. Without room it counts the record in `dropped` and returns.
//! 2. It writes the record after `tail`, where the reader does not read.
//! 3. It stores the new `tail` (Release): the commit.
//! 4. After a fence, it swaps `watched` to 0 if it is 1; if the swap gave 1, it notifies the
//!    reader.
//! 5. The reader loads `tail` (Acquire, pairs with 3). Record length and checksum are checked
//!    against private geometry; what does not fit is reported as corrupt, and skipped up to `tail`.
//! 6. It copies the record, then stores the new `head` (Release).
//! 7. Before it stops reading, it stores 1 in `watched`, and after a fence loads `tail` again.
//!
//! Nothing is overlooked: 3 and 4, and the two parts of 7, are separated by fences. So the writer
//! sees `watched`, or the reader sees the new `tail`. If the writer dies before 3, the record does
//! not exist; after 3, it is complete. If it dies between 3 and 4 nobody is notified, but then the
//! reader looks into the ring because the worker has ended. A record that was overwritten by other
//! code of the worker fails its checksum, which begins with the record's position.

use crate::atomics::{AtomicU32, AtomicU64, Ordering, fence};
#[cfg(all(feature = "failpoints", not(loom)))]
use crate::sys::failpoint::{self, Point};

/// The words of a ring that both sides use, before its records.
///
/// | field     | written by   | read by | guard                  | if the writer dies            |
/// |-----------|--------------|---------|------------------------|-------------------------------|
/// | `tail`    | worker       | host    | Release / Acquire      | records before it are whole   |
/// | `dropped` | worker       | host    | an atomic sum          | stays                         |
/// | `head`    | host         | worker  | Release / Acquire      | all end with the host         |
/// | `levels`  | host         | worker  | none: a hint           | all end with the host         |
/// | `skips`   | host         | worker  | none: a hint           | all end with the host         |
/// | `watched` | both         | both    | Dekker with `tail`     | the host looks after a death  |
#[derive(Debug)]
#[repr(C, align(128))]
pub(crate) struct LogControl {
    tail: AtomicU64,
    dropped: AtomicU64,
    _worker: [u64; 14],
    head: AtomicU64,
    /// The host's levels, as [`Levels`](super::level::Levels) packs them.
    pub(crate) levels: AtomicU32,
    watched: AtomicU32,
    /// How often the host has found the ring overwritten, and skipped what was in it.
    skips: AtomicU32,
    _host: u32,
}

impl LogControl {
    /// Worker: counts records that were dropped. Needs no lock.
    pub(crate) fn count_dropped(&self, count: u64) {
        // Relaxed: a count.
        self.dropped.fetch_add(count, Ordering::Relaxed);
    }
}

#[cfg(not(loom))]
const _: () = {
    assert!(std::mem::offset_of!(LogControl, head) == 128);
    assert!(size_of::<LogControl>() == 256);
};

/// A ring: its control words and the words of its records, a power of two of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogRing<'a> {
    pub(crate) control: &'a LogControl,
    pub(crate) words: &'a [AtomicU64],
}

/// The result of [`LogWriter::push`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Push {
    /// The reader will find it.
    Stored,
    /// The reader has to be notified.
    Notify,
    /// There is no room; it was counted.
    Dropped,
}

/// The worker's end.
#[derive(Debug, Default)]
pub(crate) struct LogWriter {
    tail: u64,
    /// Everything before it is read.
    head: u64,
    skips: u32,
}

impl LogWriter {
    /// Whether the host has skipped records since the last call: definitions may be among them.
    pub(crate) fn host_has_skipped(&mut self, control: &LogControl) -> bool {
        // Relaxed: the records themselves are guarded by their checksums.
        let skips = control.skips.load(Ordering::Relaxed);
        std::mem::replace(&mut self.skips, skips) != skips
    }

    /// Stores a record.
    pub(crate) fn push(&mut self, ring: LogRing<'_>, bytes: &[u8]) -> Push {
        let LogRing { control, words } = ring;
        let capacity = words.len() as u64;
        let need = 1 + bytes.len().div_ceil(8) as u64;
        let has_room = |head: u64| self.tail.wrapping_sub(head).saturating_add(need) <= capacity;
        if !has_room(self.head) {
            self.head = control.head.load(Ordering::Acquire);
            if !has_room(self.head) {
                control.count_dropped(1);
                return Push::Dropped;
            }
        }
        let mut check = Check::new(self.tail);
        let mut at = self.tail + 1;
        let mut put = |word: u64| {
            check.add(word);
            // Relaxed: published by `tail`.
            place(words, at).store(word, Ordering::Relaxed);
            at += 1;
        };
        let (chunks, rest) = bytes.as_chunks::<8>();
        chunks.iter().for_each(|&chunk| put(u64::from_le_bytes(chunk)));
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            put(u64::from_le_bytes(last));
        }
        // Relaxed: as above.
        place(words, self.tail).store(check.header(bytes.len()), Ordering::Relaxed);
        #[cfg(all(feature = "failpoints", not(loom)))]
        failpoint::hit(Point::WorkerMidLog);
        self.tail += need;
        control.tail.store(self.tail, Ordering::Release);
        // SeqCst: with the fence in `watch`.
        fence(Ordering::SeqCst);
        // Relaxed: ordered by the fence.
        let is_watched = control.watched.load(Ordering::Relaxed) == 1
            && control.watched.swap(0, Ordering::Relaxed) == 1;
        if is_watched { Push::Notify } else { Push::Stored }
    }
}

/// The result of [`LogReader::pop`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Popped {
    /// A record was appended.
    Record,
    Empty,
    /// Something has overwritten the ring; everything in it was skipped.
    Corrupt,
}

/// The host's end. It keeps its position in private memory.
#[derive(Debug, Default)]
pub(crate) struct LogReader {
    head: u64,
    dropped: u64,
}

impl LogReader {
    /// The position of the next record.
    pub(crate) fn head(&self) -> u64 {
        self.head
    }

    /// Appends the next record to `out`.
    pub(crate) fn pop(&mut self, ring: LogRing<'_>, out: &mut Vec<u8>) -> Popped {
        let LogRing { control, words } = ring;
        let tail = control.tail.load(Ordering::Acquire);
        let available = tail.wrapping_sub(self.head);
        if available == 0 {
            return Popped::Empty;
        }
        let start = out.len();
        // Relaxed: made visible by `tail`. Each word is loaded once.
        let header = place(words, self.head).load(Ordering::Relaxed);
        let len = header & 0xffff_ffff;
        let count = len.div_ceil(8);
        let mut check = Check::new(self.head);
        let is_possible = available <= words.len() as u64 && count < available;
        if is_possible {
            for at in 1..=count {
                // Relaxed: as above.
                let word = place(words, self.head.wrapping_add(at)).load(Ordering::Relaxed);
                check.add(word);
                out.extend_from_slice(&word.to_le_bytes());
            }
        }
        let len = usize::try_from(len).unwrap_or(0);
        let is_whole = is_possible && check.header(len) == header;
        out.truncate(if is_whole { start + len } else { start });
        self.head = if is_whole { self.head.wrapping_add(1 + count) } else { tail };
        control.head.store(self.head, Ordering::Release);
        if !is_whole {
            // Relaxed: a hint. Only the host changes it.
            control.skips.fetch_add(1, Ordering::Relaxed);
        }
        if is_whole { Popped::Record } else { Popped::Corrupt }
    }

    /// The number of records that were dropped since the last call.
    pub(crate) fn take_dropped(&mut self, control: &LogControl) -> u64 {
        // Relaxed: a count.
        let total = control.dropped.load(Ordering::Relaxed);
        let fresh = total.saturating_sub(self.dropped);
        self.dropped = total;
        fresh
    }

    /// Stops reading: the writer notifies of the next record. False if there is one already.
    pub(crate) fn watch(&self, control: &LogControl) -> bool {
        // Relaxed: ordered by the fence.
        control.watched.store(1, Ordering::Relaxed);
        // SeqCst: with the fence in `push`.
        fence(Ordering::SeqCst);
        // Relaxed: `pop` loads it again.
        control.tail.load(Ordering::Relaxed) == self.head
    }
}

/// Whether there may be a record after position `head`.
pub(crate) fn has_more(control: &LogControl, head: u64) -> bool {
    // Relaxed: `pop` loads it again.
    control.tail.load(Ordering::Relaxed) != head
}

fn place(words: &[AtomicU64], position: u64) -> &AtomicU64 {
    debug_assert!(words.len().is_power_of_two());
    let index = position & (words.len() as u64 - 1);
    &words[usize::try_from(index).unwrap_or(0)]
}

/// The checksum of a record.
struct Check(u64);

impl Check {
    /// The record at `position`: one of an earlier round has another checksum.
    fn new(position: u64) -> Check {
        Check(position ^ 0x9e37_79b9_7f4a_7c15)
    }

    fn add(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0xd6e8_feb8_6659_fd93);
    }

    /// The first word of a record of `len` bytes.
    fn header(&self, len: usize) -> u64 {
        let mixed = (self.0 ^ len as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed & !0xffff_ffff | len as u64 & 0xffff_ffff
    }
}

#[cfg(test)]
#[path = "ring_tests.rs"]
mod tests;

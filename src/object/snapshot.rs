//! A copy of an object memory, for inspection.
#![allow(unsafe_code)]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::ptr::NonNull;

use super::header::{self, ALIGN_BYTES, TABLE_OFFSET};
use crate::atomics::AtomicU64;
use crate::error::{Error, Result};
use crate::object::Kind;
use crate::region::npy;
use crate::sync::report::{Claimant, TakenLock};
use crate::sync::{self, OwnerTable, RING_HEADER_BYTES};

/// The most bytes that are copied. Tables and locks come first, then messages.
const BYTES_MAX: usize = 4 << 20;

/// The most lines before a queue's ring.
const WORDS_LINES_MAX: usize = 64;

#[repr(C, align(128))]
struct Line([AtomicU64; ALIGN_BYTES / 8]);

const _: () = assert!(size_of::<Line>() == ALIGN_BYTES && ALIGN_BYTES >= TABLE_OFFSET);

/// The state of an object memory when it was copied.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub(crate) kind: Kind,
    pub(crate) body_bytes: usize,
    /// Its users and taken locks; `None` if they belong to another pid namespace.
    pub(crate) users: Option<(Vec<Claimant>, Vec<TakenLock>)>,
    /// The number of messages in a queue.
    pub(crate) messages: Option<u64>,
}

/// Copies and reads the object memory in a region of `file_bytes`; `None` if there is none. If the
/// region is another user's (not `is_own`), only the header is read: the kind, not the users.
///
/// Nothing is mapped, so a file that is truncated meanwhile causes no fault.
pub(crate) fn read(file: &File, file_bytes: u64, is_own: bool) -> Option<Snapshot> {
    let data_bytes = usize::try_from(file_bytes).ok()?.checked_sub(npy::DATA_OFFSET)?;
    // An array may be large, but its first word shows that it is not an object memory.
    let mut first = [0; size_of_val(&header::MAGIC)];
    file.read_exact_at(&mut first, npy::DATA_OFFSET as u64).ok()?;
    if u64::from_ne_bytes(first) != header::MAGIC {
        return None;
    }
    let mut bytes = vec![0; data_bytes.min(if is_own { BYTES_MAX } else { ALIGN_BYTES })];
    file.read_exact_at(&mut bytes, npy::DATA_OFFSET as u64).ok()?;
    if is_own { of_bytes(&bytes, data_bytes).ok() } else { of_header(&bytes, data_bytes).ok() }
}

/// Reads only the header of an object memory of `total_bytes`.
fn of_header(bytes: &[u8], total_bytes: usize) -> Result<Snapshot> {
    let lines: Vec<Line> = bytes.chunks(ALIGN_BYTES).map(line).collect();
    if lines.is_empty() {
        return Err(super::memory::too_short(0));
    }
    // SAFETY: aligned, and a line is longer than a header (asserted above); `lines` lives until
    // this returns.
    let header = unsafe { header::at(NonNull::from(lines.as_slice()).cast()) };
    let (kind, _, geometry) = header.read(total_bytes)?;
    Ok(Snapshot { kind, body_bytes: geometry.body_bytes, users: None, messages: None })
}

/// Reads an object memory of `total_bytes`, whose first bytes are `bytes`.
///
/// # Errors
///
/// [`Error::Layout`] if there is none.
pub(crate) fn of_bytes(bytes: &[u8], total_bytes: usize) -> Result<Snapshot> {
    let lines: Vec<Line> = bytes.chunks(ALIGN_BYTES).map(line).collect();
    let start = NonNull::from(lines.as_slice()).cast::<u8>();
    let copied_bytes = lines.len() * ALIGN_BYTES;
    if copied_bytes < TABLE_OFFSET {
        return Err(super::memory::too_short(copied_bytes));
    }
    // SAFETY: aligned, and long enough, checked above; `lines` lives until this returns.
    let (kind, _, geometry) = unsafe { header::at(start) }.read(total_bytes)?;
    let table_bytes = geometry.body_offset.min(copied_bytes) - TABLE_OFFSET;
    // SAFETY: within the lines, checked above.
    let table_place = unsafe { start.add(TABLE_OFFSET) };
    // SAFETY: aligned; the lines are atomics, cover `table_bytes` from there and `copied_bytes`
    // from the start, and live until this returns.
    let table = unsafe { OwnerTable::attach(table_place, table_bytes, start, copied_bytes) };
    let users = match table {
        Ok(table) => Some((table.claimants(), table.taken())),
        Err(Error::PidNamespace { .. } | Error::TimeNamespace { .. }) => None,
        Err(error) => return Err(error),
    };
    let messages = match kind {
        Kind::Queue | Kind::JoinableQueue => {
            ring_in(&lines[(geometry.body_offset / ALIGN_BYTES).min(lines.len())..])
        }
        _ => None,
    };
    Ok(Snapshot { kind, body_bytes: geometry.body_bytes, users, messages })
}

/// The ring at the beginning of a body, or after the words that a queue has before it.
fn ring_in(body: &[Line]) -> Option<u64> {
    let header_lines = RING_HEADER_BYTES.div_ceil(ALIGN_BYTES);
    body.windows(header_lines).take(WORDS_LINES_MAX).find_map(|lines| {
        // SAFETY: aligned, as long as a header, and atomics; it lives until this returns.
        unsafe { sync::message_count(NonNull::from(lines).cast()) }
    })
}

fn line(bytes: &[u8]) -> Line {
    let mut words = bytes.chunks(8);
    Line(std::array::from_fn(|_| {
        let mut word = [0; 8];
        let bytes = words.next().unwrap_or_default();
        word[..bytes.len()].copy_from_slice(bytes);
        AtomicU64::new(u64::from_ne_bytes(word))
    }))
}

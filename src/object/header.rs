//! The first bytes of an object memory, and their checks.

use std::ptr::NonNull;

use crate::atomics::{AtomicU32, AtomicU64, Ordering};
use crate::error::{Error, Result};
use crate::object::Kind;
use crate::sync::OwnerTable;
use crate::sys::clock;

/// First words of an object memory.
///
/// ```text
///  0  magic
///  8  version, kind
/// 16  tag
/// 24  total_bytes
/// 32  body_offset
/// 40  body_bytes
/// 48  number
/// 56  reserved
/// 64  owner table, with the directory of futex words
///  .  padding to 128
///     body
/// ```
///
/// | field | written by | read by | guard | if the writer dies |
/// |---|---|---|---|---|
/// | `magic` | creator, last | attachers | Release / Acquire | the memory is not published |
/// | all others | creator, once | attachers | `magic` | the same |
#[repr(C)]
#[derive(Debug)]
pub(super) struct ObjectHeader {
    magic: AtomicU64,
    version: AtomicU32,
    kind: AtomicU32,
    tag: AtomicU64,
    total_bytes: AtomicU64,
    body_offset: AtomicU64,
    body_bytes: AtomicU64,
    number: AtomicU64,
    reserved: AtomicU64,
}

const _: () = assert!(size_of::<ObjectHeader>() == 64);
const _: () = assert!(std::mem::offset_of!(ObjectHeader, body_offset) == 32);
const _: () = assert!(TABLE_OFFSET.is_multiple_of(OwnerTable::ALIGN));

pub(super) const MAGIC: u64 = u64::from_le_bytes(*b"brigctl1");
const VERSION: u32 = 1;

/// The offset of the owner table.
pub(super) const TABLE_OFFSET: usize = size_of::<ObjectHeader>();

/// The alignment of the body and of the whole, in bytes.
pub(super) const ALIGN_BYTES: usize = 128;

/// The offset and size of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Geometry {
    pub(super) body_offset: usize,
    pub(super) body_bytes: usize,
}

impl Geometry {
    /// The layout of a memory with this many owners and directory entries; `None` if its size
    /// overflows.
    pub(super) fn new(owners: u32, entries: u32, body_bytes: usize) -> Option<Geometry> {
        let table_bytes = OwnerTable::size_bytes(owners, entries);
        let body_offset = (TABLE_OFFSET + table_bytes).next_multiple_of(ALIGN_BYTES);
        body_offset.checked_add(body_bytes)?;
        Some(Geometry { body_offset, body_bytes })
    }

    /// The size of the whole, in bytes.
    pub(super) fn total_bytes(self) -> usize {
        self.body_offset + self.body_bytes
    }
}

impl ObjectHeader {
    /// Writes everything except the magic number, which [`publish`](ObjectHeader::publish) writes.
    pub(super) fn write(&self, kind: Kind, tag: u64, geometry: Geometry) {
        // Relaxed: published by the magic number.
        self.version.store(VERSION, Ordering::Relaxed);
        self.kind.store(kind.number(), Ordering::Relaxed);
        self.tag.store(tag, Ordering::Relaxed);
        self.total_bytes.store(geometry.total_bytes() as u64, Ordering::Relaxed);
        self.body_offset.store(geometry.body_offset as u64, Ordering::Relaxed);
        self.body_bytes.store(geometry.body_bytes as u64, Ordering::Relaxed);
        self.number.store(clock::now_ns(), Ordering::Relaxed);
    }

    /// Distinguishes this memory from earlier and later ones in the same place, which were made at
    /// other times. 0 if unknown.
    pub(super) fn number(&self) -> u64 {
        // Relaxed: written before the magic number.
        self.number.load(Ordering::Relaxed)
    }

    pub(super) fn publish(&self) {
        // Release pairs with the Acquire in `read`.
        self.magic.store(MAGIC, Ordering::Release);
    }

    /// The contents of the header, each word loaded once, checked against `len_bytes` bytes.
    pub(super) fn read(&self, len_bytes: usize) -> Result<(Kind, u64, Geometry)> {
        let layout = |found: String, expected: String| Error::Layout {
            place: "object memory".to_owned(),
            found,
            expected,
        };
        // Acquire pairs with the Release in `publish`.
        let magic = self.magic.load(Ordering::Acquire);
        if magic != MAGIC {
            return Err(layout(format!("magic {magic:#018x}"), format!("{MAGIC:#018x}")));
        }
        // Relaxed, all that follow: written before the magic number, or by a hostile process.
        let version = self.version.load(Ordering::Relaxed);
        if version != VERSION {
            return Err(layout(format!("version {version}"), format!("version {VERSION}")));
        }
        let number = self.kind.load(Ordering::Relaxed);
        let kind = Kind::from_number(number).ok_or_else(|| {
            layout(format!("primitive number {number}"), "a known primitive".to_owned())
        })?;
        let total = self.total_bytes.load(Ordering::Relaxed);
        let offset = self.body_offset.load(Ordering::Relaxed);
        let body = self.body_bytes.load(Ordering::Relaxed);
        let is_sound = total <= len_bytes as u64
            && offset.checked_add(body) == Some(total)
            && offset >= (TABLE_OFFSET + OwnerTable::size_bytes(1, 1)) as u64
            && offset.is_multiple_of(ALIGN_BYTES as u64);
        match (usize::try_from(offset), usize::try_from(body)) {
            (Ok(body_offset), Ok(body_bytes)) if is_sound => {
                let tag = self.tag.load(Ordering::Relaxed);
                Ok((kind, tag, Geometry { body_offset, body_bytes }))
            }
            _ => Err(layout(
                format!("{body} bytes at {offset} of {total}"),
                format!("a body within {len_bytes} bytes, aligned to {ALIGN_BYTES}"),
            )),
        }
    }
}

/// The header at `place`.
///
/// # Safety
///
/// - `place` is aligned to 8 and valid for [`TABLE_OFFSET`] bytes for `'a`; all concurrent writes
///   are atomic.
#[allow(unsafe_code)]
pub(super) unsafe fn at<'a>(place: NonNull<u8>) -> &'a ObjectHeader {
    // SAFETY: the contract; all fields are atomics, for which every bit pattern is valid.
    unsafe { place.cast::<ObjectHeader>().as_ref() }
}

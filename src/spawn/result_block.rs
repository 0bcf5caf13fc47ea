//! What a one-off process leaves behind, in shared memory.
#![allow(unsafe_code)]

use std::mem::offset_of;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::error::{Phase, Result};
use crate::region::arena::{Arena, Contents, Span};
use crate::region::windows::Windows;

/// Bytes of last words that are kept.
const WORDS_BYTES: usize = 1024;
/// Results up to this size lie on the result block; larger ones in a span that is asked for.
pub(super) const INLINE_BYTES: usize = 4096;

/// The words of a result block, followed by its last words and the bytes of a small result.
/// All-zero bytes are a new one.
///
/// | field       | written by  | read by          | guard             | if the writer dies           |
/// |-------------|-------------|------------------|-------------------|------------------------------|
/// | `stage`     | the process | host             | Release / Acquire | says how far it came         |
/// | `status`    | the process | host             | Release / Acquire | 0: no outcome, it has died   |
/// | `len_bytes` | the process | host, at its end | `status`          | not read without a status    |
/// | `place`     | the process | host, at its end | `status`          | as above                     |
/// | `words_len` | the process | host, at its end | the process's end | words may be cut short       |
///
/// Last words and result are plain bytes: the host reads them when the process is reaped, and
/// nobody else has a use for them.
#[repr(C)]
struct Header {
    /// 0 before the argument is decoded, then 1 + [`Stage`].
    stage: AtomicU32,
    /// 0, or a [`Status`]: storing it is the only commit.
    status: AtomicU32,
    words_len: AtomicU32,
    len_bytes: AtomicU64,
    /// Where the result is: 0 on the result block, else 1 + its offset in the arena.
    place: AtomicU64,
    _rest: [u64; 4],
}

const WORDS_AT: usize = size_of::<Header>();
const INLINE_AT: usize = WORDS_AT + WORDS_BYTES;
const BLOCK_BYTES: usize = INLINE_AT + INLINE_BYTES;

const _: () = assert!(size_of::<Header>() == 64);
const _: () = assert!(offset_of!(Header, len_bytes) == 16);

/// How far a process has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Decoding = 0,
    Running = 1,
    Publishing = 2,
}

/// What a process has to say at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Value = 1,
    Panicked = 2,
    ArgumentCodec = 3,
    ResultCodec = 4,
}

/// Where a result lies, by the word of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Inline,
    Span(u64),
}

/// The host's end: keeps the memory until it is dropped.
pub(super) struct HostResultBlock(Span);

impl HostResultBlock {
    pub(super) fn new(arena: &Arc<Arena>) -> Result<HostResultBlock> {
        Ok(HostResultBlock(arena.reserve(BLOCK_BYTES, Contents::Zeroed)?))
    }

    /// Where it begins in the arena.
    pub(super) fn offset(&self) -> u64 {
        self.0.offset()
    }

    fn header(&self) -> &Header {
        // SAFETY: the span has room for a header and more, is aligned to a cache line and zeroed
        // (`new`), and stays mapped while it exists; the header is atomics alone.
        unsafe { &*self.0.as_ptr().cast::<Header>() }
    }

    /// How far the process came; `None` if it did not even begin.
    pub(super) fn phase(&self) -> Option<Phase> {
        // Acquire: pairs with the Release in `set_stage`.
        match self.header().stage.load(Ordering::Acquire) {
            0 => None,
            1 => Some(Phase::Decoding),
            2 => Some(Phase::Running),
            _ => Some(Phase::Publishing),
        }
    }

    /// What the process committed, by its own word: nothing in it is checked.
    pub(super) fn outcome(&self) -> Option<(Status, Place, u64)> {
        let header = self.header();
        // Acquire: pairs with the Release in `commit`.
        let status = match header.status.load(Ordering::Acquire) {
            1 => Status::Value,
            2 => Status::Panicked,
            3 => Status::ArgumentCodec,
            4 => Status::ResultCodec,
            _ => return None,
        };
        // Relaxed: made visible by the load above.
        let place = match header.place.load(Ordering::Relaxed) {
            0 => Place::Inline,
            offset => Place::Span(offset - 1),
        };
        Some((status, place, header.len_bytes.load(Ordering::Relaxed)))
    }

    /// The bytes of a small result, of a process that is reaped; `None` if there cannot be as
    /// many.
    pub(super) fn inline(&self, len_bytes: u64) -> Option<Vec<u8>> {
        let len = usize::try_from(len_bytes).ok().filter(|&len| len <= INLINE_BYTES)?;
        Some(self.0.load(INLINE_AT + len).split_off(INLINE_AT))
    }

    /// What the panic hook or the fault handler of a process that is reaped wrote last.
    pub(super) fn last_words(&self) -> Option<String> {
        // Relaxed: its writer is dead.
        let len = usize::try_from(self.header().words_len.load(Ordering::Relaxed)).ok()?;
        let len = Some(len).filter(|&len| len > 0 && len <= WORDS_BYTES)?;
        let bytes = self.0.load(WORDS_AT + len).split_off(WORDS_AT);
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// The process's end, mapped for its whole life.
#[derive(Debug, Clone)]
pub(super) struct ChildResultBlock {
    windows: Windows,
    offset: u64,
    start: *mut u8,
}

#[expect(unsafe_code, reason = "a raw pointer is neither Send nor Sync by itself")]
// SAFETY: the pointer leads into a mapping that `windows` keeps, valid on every thread; it is used
// for atomics, and for bytes that nobody reads before the process has ended.
unsafe impl Send for ChildResultBlock {}

#[expect(unsafe_code, reason = "a raw pointer is neither Send nor Sync by itself")]
// SAFETY: as for `Send`.
unsafe impl Sync for ChildResultBlock {}

impl ChildResultBlock {
    /// The result block that the host has made at `offset`.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`](crate::Error::Corrupt) if it is not inside the arena.
    pub(super) fn attach(windows: &Windows, offset: u64) -> Result<ChildResultBlock> {
        let start = windows.write(offset, BLOCK_BYTES)?;
        if start.addr() % align_of::<Header>() != 0 {
            let found = format!("offset {offset}");
            return Err(crate::error::Error::Corrupt { what: "a result_block's place", found });
        }
        Ok(ChildResultBlock { windows: windows.clone(), offset, start })
    }

    fn header(&self) -> &Header {
        // SAFETY: `attach` checked bounds and alignment, and `windows` keeps the mapping; every
        // byte of the arena is initialised, and the header is atomics alone.
        unsafe { &*self.start.cast::<Header>() }
    }

    pub(super) fn set_stage(&self, stage: Stage) {
        // Release: pairs with the Acquire in `phase`.
        self.header().stage.store(1 + stage as u32, Ordering::Release);
    }

    /// Leaves an outcome whose bytes fit the result block.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`](crate::Error::Corrupt) if the result block is not in the arena; cannot
    /// be.
    pub(super) fn commit_inline(&self, status: Status, bytes: &[u8]) -> Result<()> {
        debug_assert!(bytes.len() <= INLINE_BYTES, "longer results have a span");
        self.windows.copy_in(self.offset + INLINE_AT as u64, bytes)?;
        self.commit(status, Place::Inline, bytes.len() as u64);
        Ok(())
    }

    /// Leaves an outcome whose bytes are elsewhere.
    pub(super) fn commit(&self, status: Status, place: Place, len_bytes: u64) {
        let header = self.header();
        let place = match place {
            Place::Inline => 0,
            Place::Span(offset) => offset + 1,
        };
        // Relaxed: published by the store below.
        header.place.store(place, Ordering::Relaxed);
        header.len_bytes.store(len_bytes, Ordering::Relaxed);
        // Release: pairs with the Acquire in `outcome`.
        header.status.store(status as u32, Ordering::Release);
    }

    /// Leaves last words, as many as there is room for. Async-signal-safe.
    pub(super) fn leave_words(&self, text: &[u8]) {
        let text = &text[..text.len().min(WORDS_BYTES)];
        let to = self.start.wrapping_add(WORDS_AT);
        // SAFETY: the result block has that many bytes there (`attach` checked), which only this
        // process writes and nobody reads before it has ended.
        unsafe { to.copy_from_nonoverlapping(text.as_ptr(), text.len()) };
        let len = u32::try_from(text.len()).unwrap_or(0);
        // Relaxed: read when this process is reaped.
        self.header().words_len.store(len, Ordering::Relaxed);
    }
}

//! A call: a function, and its encoded argument.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::object::Memory;
use crate::object::transfer::{Lease, LeaseList, WireLease};
use crate::process::function::FunctionOffset;
use crate::region::arena::{Arena, Contents, Span};
use crate::worker::queue_pair::{
    HANDLES_MAX, RESULT_INLINE_BYTES, RESULT_INLINE_WORDS, RING_PAYLOAD_BYTES_MAX, last_word,
};

/// Identifies a task while its record exists. An index is never reused with the same generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TaskId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl TaskId {
    /// For diagnostics.
    pub(crate) fn number(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }
}

/// Encoded bytes that the host keeps: an argument or a result.
#[derive(Debug)]
pub(crate) enum Encoded {
    /// Few enough for the task's record. Kept as words, as in slots: a load of words that were just
    /// stored as bytes would be slow.
    Inline { len: u8, words: [u64; RESULT_INLINE_WORDS] },
    /// Few enough for a slot or the byte ring.
    Heap(Box<[u8]>),
    /// More bytes; stored in the arena.
    Span(Span),
}

impl Default for Encoded {
    /// No bytes.
    fn default() -> Encoded {
        Encoded::Inline { len: 0, words: [0; RESULT_INLINE_WORDS] }
    }
}

impl Encoded {
    /// Bytes that fit into a byte ring.
    #[inline]
    pub(crate) fn small(bytes: &[u8]) -> Encoded {
        match u8::try_from(bytes.len()) {
            Ok(len) if bytes.len() <= RESULT_INLINE_BYTES => {
                let mut words = [0; RESULT_INLINE_WORDS];
                let (chunks, rest) = bytes.as_chunks::<8>();
                for (word, &chunk) in words.iter_mut().zip(chunks) {
                    *word = u64::from_ne_bytes(chunk);
                }
                if !rest.is_empty() {
                    words[chunks.len()] = last_word(rest);
                }
                Encoded::Inline { len, words }
            }
            _ => Encoded::Heap(bytes.into()),
        }
    }

    /// A table of leases and an argument, stored according to their size.
    #[inline]
    pub(crate) fn payload(
        leases: &[Lease],
        argument: &[u8],
        arena: &Arc<Arena>,
    ) -> Result<Encoded> {
        if leases.is_empty() {
            return Encoded::new(argument, arena);
        }
        if leases.len() > HANDLES_MAX {
            return Err(too_many_handles(leases.len()));
        }
        let mut bytes = table(leases);
        bytes.extend_from_slice(argument);
        Encoded::new(&bytes, arena)
    }

    /// Stores `bytes` according to their size.
    #[inline]
    fn new(bytes: &[u8], arena: &Arc<Arena>) -> Result<Encoded> {
        if bytes.len() <= RING_PAYLOAD_BYTES_MAX {
            return Ok(Encoded::small(bytes));
        }
        let span = arena.reserve(bytes.len(), Contents::Stale)?;
        span.store(bytes);
        Ok(Encoded::Span(span))
    }

    /// Bytes that were copied out of a queue pair.
    pub(crate) fn copied(bytes: Vec<u8>) -> Encoded {
        let is_small = bytes.len() <= RESULT_INLINE_BYTES;
        if is_small { Encoded::small(&bytes) } else { Encoded::Heap(bytes.into()) }
    }

    /// The first `len` bytes of a result slot's words; at most [`RESULT_INLINE_BYTES`].
    #[inline]
    pub(crate) fn of_words(len: usize, word: impl Fn(usize) -> u64) -> Encoded {
        let mut words = [0; RESULT_INLINE_WORDS];
        for (index, value) in words.iter_mut().take(len.div_ceil(8)).enumerate() {
            *value = word(index);
        }
        Encoded::Inline { len: u8::try_from(len).unwrap_or(u8::MAX), words }
    }

    /// The number of bytes.
    pub(crate) fn len(&self) -> usize {
        match self {
            Encoded::Inline { len, .. } => usize::from(*len),
            Encoded::Heap(bytes) => bytes.len(),
            Encoded::Span(span) => span.len_bytes(),
        }
    }

    /// Calls `f` with the bytes.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&[u8]) -> R) -> R {
        match self {
            Encoded::Inline { len, words } => f(&bytemuck::bytes_of(words)[..usize::from(*len)]),
            Encoded::Heap(bytes) => f(bytes),
            Encoded::Span(span) => f(&span.load(span.len_bytes())),
        }
    }
}

/// A function to run, and its argument.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) function: FunctionOffset,
    /// The type name of the function, for messages.
    pub(crate) name: &'static str,
    /// Its number among the tasks of its pool, in the order of submission.
    pub(crate) number: u64,
    /// The leases in their wire form, and the argument.
    pub(crate) payload: Encoded,
    /// The leases of the handles in the argument.
    pub(crate) leases: LeaseList,
    /// Other values that the argument refers to.
    pub(crate) shared_input: Option<Arc<SharedInput>>,
}

/// An encoded value that several tasks share, and the leases of its handles.
#[derive(Debug)]
pub(crate) struct SharedInput {
    /// Never read; keeps the value, if that is in the arena.
    pub(crate) _span: Option<Span>,
    pub(crate) leases: LeaseList,
    /// The table of each task begins with these leases, because each task decodes the value itself.
    pub(crate) is_given: bool,
}

impl SharedInput {
    /// The leases at the beginning of each task's table.
    pub(crate) fn given(&self) -> LeaseList {
        let given = self.leases.iter().filter(|_| self.is_given);
        given.filter_map(Lease::again).collect()
    }
}

impl Call {
    /// The object memories that a worker was lent with it.
    pub(crate) fn lent(&self) -> impl Iterator<Item = &Memory> {
        let kept = self.shared_input.iter().flat_map(|kept| &*kept.leases);
        self.leases.iter().chain(kept).filter_map(Lease::object)
    }
}

/// The table of leases before a payload.
pub(crate) fn table(leases: &[Lease]) -> Vec<u8> {
    let rows: Vec<WireLease> = leases.iter().map(Lease::wire).collect();
    bytemuck::cast_slice(&rows).to_vec()
}

/// The leases in a table, and the bytes after it; `None` if the table is incomplete.
pub(crate) fn split_table(bytes: &[u8], leases: usize) -> Option<(Vec<WireLease>, &[u8])> {
    let table_bytes = leases.checked_mul(size_of::<WireLease>())?;
    let (table, rest) = bytes.split_at_checked(table_bytes)?;
    let rows = table.chunks_exact(size_of::<WireLease>());
    Some((rows.map(bytemuck::pod_read_unaligned).collect(), rest))
}

#[cold]
fn too_many_handles(count: usize) -> Error {
    let bytes = |count: usize| (count * size_of::<WireLease>()) as u64;
    Error::TooLarge {
        what: "a task's list of handles, 32 bytes each,",
        size_bytes: bytes(count),
        limit_bytes: bytes(HANDLES_MAX),
    }
}

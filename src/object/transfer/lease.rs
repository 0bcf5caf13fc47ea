//! What the host lends to a worker.
//!
//! A lease as the host keeps it, and as the worker sees it.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use bytemuck::{Pod, Zeroable};
use serde::{Deserialize, Serialize};

use super::leased_bytes::LeasedBytes;
use crate::object::Memory;
use crate::region::arena::Span;
use crate::shape::Shape;

/// The array that chunks were cut from.
#[derive(Debug)]
pub(crate) struct Parent {
    pub(crate) span: Span,
    pub(crate) shape: Shape,
}

/// The right to one chunk's bytes. It exists once: it is not `Clone`, and is made by `cut`.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) parent: Arc<Parent>,
    pub(crate) offset_bytes: usize,
    pub(crate) len_bytes: usize,
}

/// Where a chunk's right is while its handle has it.
#[derive(Debug)]
pub(crate) enum ChunkOwner {
    /// In the process that made it.
    Host(Part),
    /// In a worker, for the length of a task.
    Worker(LeasedBytes),
}

/// The cell from which a right is taken when its chunk is serialised, and to which it may return.
pub(crate) type OwnerCell = Arc<Mutex<Option<ChunkOwner>>>;

/// What a worker may read or write; the host keeps it until the worker no longer can.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) right: Option<Right>,
    pub(crate) element_bytes: u32,
}

/// Leases in the order of their slots. One word if there are none, as in most tasks.
#[derive(Debug, Default)]
#[expect(clippy::box_collection, reason = "a vector would be three words in every task")]
pub(crate) struct LeaseList(Option<Box<Vec<Lease>>>);

impl LeaseList {
    pub(crate) fn push(&mut self, lease: Lease) {
        self.0.get_or_insert_default().push(lease);
    }

    /// Adds spans that a worker filled for the result.
    #[inline]
    pub(crate) fn add_returned(&mut self, spans: Vec<Span>) {
        for span in spans {
            self.push(Lease { right: Some(Right::Returned(span)), element_bytes: 0 });
        }
    }
}

impl Deref for LeaseList {
    type Target = [Lease];

    fn deref(&self) -> &[Lease] {
        self.0.as_ref().map_or(&[], |leases| leases)
    }
}

impl DerefMut for LeaseList {
    fn deref_mut(&mut self) -> &mut [Lease] {
        self.0.as_mut().map_or(&mut [], |leases| leases)
    }
}

impl FromIterator<Lease> for LeaseList {
    fn from_iter<I: IntoIterator<Item = Lease>>(leases: I) -> LeaseList {
        let leases: Vec<Lease> = leases.into_iter().collect();
        LeaseList((!leases.is_empty()).then(|| Box::new(leases)))
    }
}

/// The kind of a lease.
#[derive(Debug)]
pub(crate) enum Right {
    Frozen(Arc<Span>),
    Owned {
        part: Part,
        owner_cell: OwnerCell,
    },
    Object {
        memory: Memory,
        _hold: Option<Hold>,
    },
    /// Elements that a task returns. Never sent to a worker.
    Returned(Span),
}

/// A value that a lease of object memory keeps beside the memory, and drops with it.
pub(crate) type Hold = Box<dyn std::fmt::Debug + Send + Sync>;

/// A lease as a worker sees it.
///
/// | field           | written by | read by        | guard              | if the writer dies   |
/// |-----------------|------------|----------------|--------------------|----------------------|
/// | `arena_id`      | host       | worker, checks | the task slot's    | worker ends with the |
/// | `offset`        | host       | worker, checks | publication, after | host                 |
/// | `len_bytes`     | host       | worker, checks | it is not written  |                      |
/// | `element_bytes` | host       | worker, checks |                    |                      |
/// | `kind`          | host       | worker, checks |                    |                      |
///
/// The host never reads it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct WireLease {
    /// The arena of `offset`.
    pub(crate) arena_id: u64,
    /// The offset of the first byte in the arena, in bytes.
    pub(crate) offset: u64,
    /// The number of bytes.
    pub(crate) len_bytes: u64,
    /// The size of one element, in bytes.
    pub(crate) element_bytes: u32,
    /// [`KIND_FROZEN`], [`KIND_OWNED`] or [`KIND_OBJECT`].
    pub(crate) kind: u32,
}

const _: () = assert!(size_of::<WireLease>() == 32);
const _: () = assert!(std::mem::offset_of!(WireLease, kind) == 28);

pub(crate) const KIND_FROZEN: u32 = 1;
pub(crate) const KIND_OWNED: u32 = 2;
pub(crate) const KIND_OBJECT: u32 = 3;

impl Lease {
    /// The lease in the form that a worker reads.
    pub(crate) fn wire(&self) -> WireLease {
        let right = self.right.as_ref().expect("a lease has its right until it is redeemed");
        let (span, offset_bytes, len_bytes, kind) = match right {
            Right::Frozen(span) => (&**span, 0, span.len_bytes(), KIND_FROZEN),
            Right::Owned { part, .. } => {
                (&part.parent.span, part.offset_bytes, part.len_bytes, KIND_OWNED)
            }
            Right::Object { memory, .. } => {
                let (arena_id, offset, len_bytes) = memory.address();
                let (element_bytes, kind) = (1, KIND_OBJECT);
                let len_bytes = len_bytes as u64;
                return WireLease { arena_id, offset, len_bytes, element_bytes, kind };
            }
            Right::Returned(_) => unreachable!("only arguments have a table of leases"),
        };
        WireLease {
            arena_id: span.arena().id(),
            offset: span.offset() + offset_bytes as u64,
            len_bytes: len_bytes as u64,
            element_bytes: self.element_bytes,
            kind,
        }
    }

    /// The object memory that it lends, if any.
    ///
    /// The giver of the lease checks [`Memory::has_process`] before it drops it, keeps a handle
    /// while that process has one, and calls [`Memory::sweep_process`] when the process is reaped.
    pub(crate) fn object(&self) -> Option<&Memory> {
        match &self.right {
            Some(Right::Object { memory, .. }) => Some(memory),
            _ => None,
        }
    }

    /// Whether it lends elements of an array, which no handle may reach after the lease has ended.
    pub(crate) fn is_of_array(&self) -> bool {
        self.object().is_none()
    }

    /// Another lease of the same; `None` for a chunk, which only one task may have.
    pub(crate) fn again(&self) -> Option<Lease> {
        let right = match self.right.as_ref()? {
            Right::Frozen(span) => Right::Frozen(Arc::clone(span)),
            Right::Object { memory, .. } => Right::Object { memory: memory.clone(), _hold: None },
            Right::Owned { .. } | Right::Returned(_) => return None,
        };
        Some(Lease { right: Some(right), element_bytes: self.element_bytes })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(Right::Owned { part, owner_cell }) = self.right.take() {
            let mut owner_cell = owner_cell.lock().unwrap_or_else(PoisonError::into_inner);
            *owner_cell = Some(ChunkOwner::Host(part));
        }
    }
}

/// A handle of object memory in a payload: where its lease must be found.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct LentObject {
    pub(super) arena_id: u64,
    pub(super) offset: u64,
    pub(super) kind: u32,
    pub(super) tag: u64,
}

impl LentObject {
    /// The number that the primitive chose, from the sender.
    pub(crate) fn tag(&self) -> u64 {
        self.tag
    }
}

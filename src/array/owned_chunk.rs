//! A part of an array that moves into a task.

#![allow(unsafe_code)]

use std::fmt;
use std::marker::PhantomData;
use std::slice;
use std::sync::{Arc, Mutex, PoisonError};

use bytemuck::Pod;
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::array::send_error::SendError;
use crate::array::wire_handle::WireHandle;
use crate::error::Error;
use crate::object::transfer::{self, ChunkOwner, OwnerCell, Parent, Part, Received};
use crate::sys::fork::Instance;

/// A chunk of an array that one task at a time owns: it moves into a task, and back with the task's
/// result.
///
/// Reading takes `&mut self`, as writing does. This prevents reads here while a task writes the
/// chunk.
///
/// Passing a chunk to a task moves it, even if it was passed by reference: after that the handle is
/// empty. If the task fails, or keeps the chunk, the handle owns it again, with unspecified
/// contents. If the handle was dropped, which `submit` does, [`recovery`](OwnedChunk::recovery)
/// gets the chunk back. Without that the chunk is lost, and the array cannot be reassembled.
///
/// # Examples
///
/// ```
/// use brigade::SharedArray;
/// let mut chunks = SharedArray::<u64>::zeroed([100])?.into_chunks(30)?;
/// assert_eq!((chunks.len(), chunks[3].offset(), chunks[3].len()), (4, 90, 10));
/// chunks[3].as_mut_slice().fill(7);
/// assert_eq!(SharedArray::from_chunks(chunks)?[[99]], 7);
/// # Ok::<(), brigade::Error>(())
/// ```
pub struct OwnedChunk<T> {
    owner_cell: OwnerCell,
    /// The process that has the elements mapped.
    made_in: Instance,
    offset: usize,
    len: usize,
    elements: PhantomData<T>,
}

impl<T: Pod> OwnedChunk<T> {
    /// A chunk of `len` elements from `offset` on; chunks of a parent must not overlap.
    pub(crate) fn cut(parent: &Arc<Parent>, offset: usize, len: usize) -> OwnedChunk<T> {
        let (offset_bytes, len_bytes) = (offset * size_of::<T>(), len * size_of::<T>());
        assert!(offset_bytes + len_bytes <= parent.span.len_bytes(), "a chunk is a part");
        let part = Part { parent: Arc::clone(parent), offset_bytes, len_bytes };
        OwnedChunk::of(ChunkOwner::Host(part), offset, len)
    }

    fn of(owner: ChunkOwner, offset: usize, len: usize) -> OwnedChunk<T> {
        let owner_cell = Arc::new(Mutex::new(Some(owner)));
        OwnedChunk { owner_cell, made_in: Instance::current(), offset, len, elements: PhantomData }
    }

    /// Where the chunk begins in its array, in elements.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// The number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether the chunk was moved into a task, so that this handle is empty. In a child that was
    /// forked by hand the result is true.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{OwnedChunk, Pool, SharedArray};
    /// let pool = Pool::builder().workers(1).build()?;
    /// let mut chunks = SharedArray::from_slice(&[1, 2, 3])?.into_chunks(2)?;
    /// assert_eq!((chunks[1].offset(), chunks[1].len(), chunks[1].is_moved()), (2, 1, false));
    /// let task = pool.submit(|mut chunk: OwnedChunk<i32>| {
    ///     chunk.as_mut_slice().fill(7);
    ///     chunk
    /// }, chunks.pop().unwrap())?;
    /// assert_eq!(task.join()?.as_slice(), [7]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[must_use]
    pub fn is_moved(&self) -> bool {
        // In a forked child the thread that holds the lock may not exist.
        !self.made_in.is_current()
            || self.owner_cell.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// A way to get the chunk back if the task that it will be moved into fails.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{OwnedChunk, Pool, SharedArray};
    /// let pool = Pool::builder().workers(1).build()?;
    /// let mut chunks = SharedArray::from_slice(&[1u64, 2, 3, 4])?.into_chunks(2)?;
    /// let last = chunks.pop().unwrap();
    /// let mut recovery = last.recovery();
    /// let crash = |_: OwnedChunk<u64>| -> OwnedChunk<u64> { std::process::abort() };
    /// let task = pool.submit(crash, last)?;
    /// assert!(task.join().is_err());
    /// chunks.push(recovery.recover().expect("no task has it"));
    /// assert_eq!(SharedArray::from_chunks(chunks)?.as_slice(), [1, 2, 3, 4]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[must_use]
    pub fn recovery(&self) -> ChunkRecovery<T> {
        let OwnedChunk { owner_cell, made_in, offset, len, elements } = self;
        ChunkRecovery {
            owner_cell: Arc::clone(owner_cell),
            made_in: *made_in,
            offset: *offset,
            len: *len,
            elements: *elements,
        }
    }

    /// The elements.
    ///
    /// # Panics
    ///
    /// If the chunk was moved into a task, or in a child that was forked by hand.
    #[must_use]
    pub fn as_slice(&mut self) -> &[T] {
        self.as_mut_slice()
    }

    /// The elements, mutable.
    ///
    /// # Panics
    ///
    /// If the chunk was moved into a task, or in a child that was forked by hand.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::SharedArray;
    /// let mut chunks = SharedArray::<u8>::zeroed([4])?.into_chunks(2)?;
    /// chunks[1].as_mut_slice().fill(7);
    /// assert_eq!(SharedArray::from_chunks(chunks)?.as_slice(), [0, 0, 7, 7]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[must_use]
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        self.made_in.assert_current();
        let owner = self.owner_cell.lock().unwrap_or_else(PoisonError::into_inner);
        let start = match owner.as_ref() {
            Some(ChunkOwner::Host(part)) => {
                part.parent.span.as_ptr().wrapping_add(part.offset_bytes)
            }
            Some(ChunkOwner::Worker(leased)) => leased.as_ptr(),
            None => panic!("this chunk was moved into a task; use the one that the task returned"),
        };
        drop(owner);
        // SAFETY: the part has `len` elements inside its span (asserted in `cut`), aligned for
        // `T` (spans are, and the offset is a multiple of its size; in a worker, checked by
        // `transfer::take`). The right to it is in `owner_cell`, and stays there while `self` is
        // borrowed exclusively: point 5 of the argument in `array/mod.rs`.
        unsafe { slice::from_raw_parts_mut(start.cast(), self.len) }
    }

    /// Takes the parent out of a complete set of its chunks.
    pub(crate) fn join(
        chunks: Vec<OwnedChunk<T>>,
    ) -> std::result::Result<Parent, SendError<Vec<OwnedChunk<T>>>> {
        match common_parent(&chunks) {
            Err(found) => {
                let expected = "all chunks of one array, each once";
                Err(SendError::new(chunks, Error::invalid("the set of chunks", found, expected)))
            }
            Ok(parent) => {
                // The set is complete, so dropping its parts drops all other references. The place
                // of a handle may outlive the handle: a lease that has just returned a part still
                // holds it.
                for chunk in &chunks {
                    drop(chunk.owner_cell.lock().unwrap_or_else(PoisonError::into_inner).take());
                }
                Ok(Arc::into_inner(parent).expect("no part is left of the complete set"))
            }
        }
    }
}

/// Gets a chunk back from a task that failed; from [`OwnedChunk::recovery`].
///
/// It gives no access to the elements while a handle of the chunk exists, or a task has the chunk.
///
/// # Examples
///
/// ```
/// use brigade::SharedArray;
/// let chunk = SharedArray::from_slice(&[1u8, 2])?.into_chunks(2)?.remove(0);
/// let mut recovery = chunk.recovery();
/// assert!(recovery.recover().is_none(), "`chunk` owns it");
/// drop(chunk);
/// assert_eq!(recovery.recover().unwrap().as_slice(), [1, 2]);
/// assert!(recovery.recover().is_none(), "it was recovered");
/// # Ok::<(), brigade::Error>(())
/// ```
pub struct ChunkRecovery<T> {
    owner_cell: OwnerCell,
    made_in: Instance,
    offset: usize,
    len: usize,
    elements: PhantomData<T>,
}

impl<T: Pod> ChunkRecovery<T> {
    /// The chunk, with unspecified contents if a task had it.
    ///
    /// `None` if a handle of the chunk, or another [`ChunkRecovery`] of it, exists: drop all but
    /// one. Also `None` if a task has the chunk, or is not yet known to have ended; if the task
    /// returned it, or it was recovered before; in a child that was forked by hand; and if the task
    /// ran in a pool without processes ([`Start::InProcess`](crate::Start::InProcess)).
    /// A failed task no longer has its chunks when [`join`](crate::Handle::join) returns the error,
    /// except if its worker was killed and has not ended within a second.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::SharedArray;
    /// let mut chunks = SharedArray::from_slice(&[1, 2, 3])?.into_chunks(2)?;
    /// let mut recovery = chunks[1].recovery();
    /// assert!(recovery.recover().is_none(), "`chunks` has it");
    /// drop(chunks.pop());
    /// chunks.push(recovery.recover().expect("it was dropped"));
    /// assert_eq!(SharedArray::from_chunks(chunks)?.as_slice(), [1, 2, 3]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[must_use]
    pub fn recover(&mut self) -> Option<OwnedChunk<T>> {
        if !self.made_in.is_current() {
            return None;
        }
        // The only reference: neither a handle nor a lease can take the right, or use it.
        let owner = Arc::get_mut(&mut self.owner_cell)?;
        let owner = owner.get_mut().unwrap_or_else(PoisonError::into_inner).take()?;
        Some(OwnedChunk::of(owner, self.offset, self.len))
    }
}

impl<T> fmt::Debug for ChunkRecovery<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.offset.saturating_add(self.len);
        write!(f, "ChunkRecovery<{}>[{}..{end}]", std::any::type_name::<T>(), self.offset)
    }
}

/// The parent of a complete set of chunks, or what is wrong with the set.
///
/// Parts exist once and are disjoint, so their sizes add up to the parent's only if none was lost.
/// Each holds one reference to the parent and nothing else does. So no part is elsewhere if there
/// are no references but theirs and the one returned.
fn common_parent<T: Pod>(chunks: &[OwnedChunk<T>]) -> std::result::Result<Arc<Parent>, String> {
    let mut parent: Option<Arc<Parent>> = None;
    let mut covered_bytes = 0;
    for chunk in chunks {
        chunk.made_in.check().map_err(|error| error.to_string())?;
        let owner = chunk.owner_cell.lock().unwrap_or_else(PoisonError::into_inner);
        let part = match owner.as_ref() {
            Some(ChunkOwner::Host(part)) => part,
            Some(ChunkOwner::Worker(_)) => return Err("a chunk inside a task".to_owned()),
            None => return Err(format!("a moved chunk at {}", chunk.offset)),
        };
        let first = parent.get_or_insert_with(|| Arc::clone(&part.parent));
        if !Arc::ptr_eq(first, &part.parent) {
            return Err("chunks of different arrays".to_owned());
        }
        covered_bytes += part.len_bytes;
    }
    let parent = parent.ok_or_else(|| "empty".to_owned())?;
    // Sizes of zero-sized elements add up to zero, so the references count as well.
    let is_whole = Arc::strong_count(&parent) == chunks.len() + 1;
    if covered_bytes != parent.span.len_bytes() || !is_whole {
        let total_bytes = parent.span.len_bytes();
        return Err(format!("{} chunks with {covered_bytes} of {total_bytes} bytes", chunks.len()));
    }
    Ok(parent)
}

impl<T> fmt::Debug for OwnedChunk<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.offset.saturating_add(self.len);
        write!(f, "OwnedChunk<{}>[{}..{end}]", std::any::type_name::<T>(), self.offset)
    }
}

/// Only within the codec of a task; moves the chunk.
impl<T: Pod> Serialize for OwnedChunk<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let slot = transfer::move_chunk(&self.owner_cell, size_of::<T>())
            .map_err(|refusal| S::Error::custom(transfer::noted(refusal)))?;
        WireHandle::new::<T>(slot, self.offset, &[self.len]).serialize(serializer)
    }
}

/// Only within the codec of a task.
impl<'de, T: Pod> Deserialize<'de> for OwnedChunk<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let wire = WireHandle::deserialize(deserializer)?;
        let (_, len) =
            wire.check::<T>().map_err(|refusal| D::Error::custom(transfer::noted(refusal)))?;
        let taken = transfer::take_chunk::<T>(wire.slot, len)
            .map_err(|refusal| D::Error::custom(transfer::noted(refusal)))?;
        let (owner, offset) = match taken {
            Received::Host(part) => {
                let offset = part.offset_bytes.checked_div(size_of::<T>()).unwrap_or(0);
                (ChunkOwner::Host(part), offset)
            }
            Received::Worker(leased) => (ChunkOwner::Worker(leased), wire.offset()),
        };
        Ok(OwnedChunk::of(owner, offset, len))
    }
}

//! The array in the arena: one owner, safe slices.

#![allow(unsafe_code)]

use std::fmt;
use std::ops::{Deref, Index, IndexMut};
use std::sync::Arc;

use bytemuck::Pod;

use crate::array::array_ref::{ArrayRef, checked_size};
use crate::array::owned_chunk::OwnedChunk;
use crate::array::send_error::SendError;
use crate::error::{Error, Result};
use crate::object::source::Source;
use crate::object::transfer::Parent;
use crate::region::arena::{Arena, Contents, Span};
use crate::shape::Shape;
use crate::sys::fork::Instance;

/// An array of any number of dimensions, row-major, in memory that workers see without a copy.
///
/// It has one owner, and is not `Clone`. Tasks access its elements as chunks borrowed for one
/// parallel call, as a [`Frozen`] array that many may read, or as [`OwnedChunk`]s that move into a
/// task and back. Elements may be of any [`Pod`] type: plain data without pointers or padding.
///
/// A task may make an array and return it, or a value that holds it. Its elements are then copied
/// once, in the worker, into memory of the host. As an argument of a task an array is refused. So
/// it cannot be a partial result of a reduction, which is an argument of the task that combines it
/// with another one: use a [`Packed`] vector there.
///
/// The memory is anonymous; nothing remains of it when the process ends, in whatever way. A child
/// that the program forks by hand does not have it: there an array is inert, and accesses to its
/// elements panic or return [`Error::Closed`].
///
/// # Examples
///
/// ```
/// use brigade::SharedArray;
/// let mut a = SharedArray::from_fn([2, 3], |[i, j]| (10 * i + j) as f64)?;
/// a[[1, 2]] += 0.5;
/// assert_eq!(a.as_slice(), [0.0, 1.0, 2.0, 10.0, 11.0, 12.5]);
/// # Ok::<(), brigade::Error>(())
/// ```
///
/// An array that a task has made:
///
/// ```
/// use brigade::{Pool, SharedArray};
/// fn squares(n: usize) -> brigade::Result<SharedArray<u64>> {
///     SharedArray::from_fn([n], |[i]| (i * i) as u64)
/// }
/// let pool = Pool::builder().workers(1).build()?;
/// let made = pool.submit(|n| squares(n).map_err(|error| error.to_string()), 100_000)?;
/// let squares = made.join()?.expect("there is memory");
/// assert_eq!((squares.len(), squares[[300]]), (100_000, 90_000));
/// # Ok::<(), brigade::Error>(())
/// ```
///
/// [`Frozen`]: crate::Frozen
/// [`Packed`]: crate::Packed
pub struct SharedArray<T> {
    span: Span,
    elements: ArrayRef<T>,
}

impl<T: Pod> SharedArray<T> {
    /// An array of zeros.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`] if there is not enough memory, and [`Error::InvalidArgument`] if the
    /// shape overflows; both before anything is reserved.
    ///
    /// # Examples
    ///
    /// ```
    /// let a = brigade::SharedArray::<u32>::zeroed([4, 0, 2])?;
    /// assert!(a.is_empty());
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn zeroed(shape: impl Into<Shape>) -> Result<SharedArray<T>> {
        SharedArray::reserve(shape.into(), Contents::Zeroed)
    }

    /// An array of unspecified elements, to be overwritten; cheaper than zeros.
    ///
    /// The elements are initialised, to zeros or to what an earlier array of this process left.
    ///
    /// # Errors
    ///
    /// As [`SharedArray::zeroed`].
    ///
    /// # Examples
    ///
    /// ```
    /// let mut a = brigade::SharedArray::for_overwrite([3])?;
    /// a.as_mut_slice().copy_from_slice(&[1u8, 2, 3]);
    /// assert_eq!(a.as_slice(), [1, 2, 3]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn for_overwrite(shape: impl Into<Shape>) -> Result<SharedArray<T>> {
        SharedArray::reserve(shape.into(), Contents::Stale)
    }

    fn reserve(shape: Shape, contents: Contents) -> Result<SharedArray<T>> {
        let (_, bytes) = checked_size::<T>(&shape)?;
        Ok(SharedArray::of_parts(Arena::host()?.reserve(bytes, contents)?, shape))
    }

    /// An array whose element at `[i, j, ..]` is `element([i, j, ..])`.
    ///
    /// The function is called once for each element, in row-major order, on this thread, so it may
    /// keep state (for example a generator of random numbers).
    /// [`Pool::from_fn`](crate::Pool::from_fn) fills arrays in parallel.
    ///
    /// # Errors
    ///
    /// As [`SharedArray::zeroed`].
    ///
    /// # Examples
    ///
    /// ```
    /// let mut counter = 0;
    /// let a = brigade::SharedArray::from_fn([2, 2], |[_, _]| { counter += 1; counter })?;
    /// assert_eq!(a.as_slice(), [1, 2, 3, 4]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn from_fn<const N: usize>(
        shape: [usize; N],
        mut element: impl FnMut([usize; N]) -> T,
    ) -> Result<SharedArray<T>> {
        let mut array = SharedArray::for_overwrite(shape)?;
        array.span.populate()?;
        let mut index = [0; N];
        for place in array.as_mut_slice() {
            *place = element(index);
            for axis in (0..N).rev() {
                index[axis] += 1;
                if index[axis] < shape[axis] {
                    break;
                }
                index[axis] = 0;
            }
        }
        Ok(array)
    }

    /// A one-dimensional array with a copy of `elements`.
    ///
    /// # Errors
    ///
    /// As [`SharedArray::zeroed`].
    ///
    /// # Examples
    ///
    /// ```
    /// let mut a = brigade::SharedArray::from_slice(&[1i16, 2, 3, 4])?;
    /// a.reshape([2, 2])?;
    /// assert_eq!(a[[1, 0]], 3);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn from_slice(elements: &[T]) -> Result<SharedArray<T>> {
        let mut array = SharedArray::for_overwrite([elements.len()])?;
        array.span.populate()?;
        array.as_mut_slice().copy_from_slice(elements);
        Ok(array)
    }

    /// A new array with the same elements and the same shape.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`] if there is not enough memory for it.
    ///
    /// # Panics
    ///
    /// In a child that was forked by hand.
    ///
    /// # Examples
    ///
    /// ```
    /// let a = brigade::SharedArray::from_fn([2, 2], |[i, j]| i + j)?;
    /// let mut b = a.try_clone()?;
    /// assert_eq!(a, b);
    /// b[[0, 0]] = 7;
    /// assert_eq!(a[[0, 0]], 0);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn try_clone(&self) -> Result<SharedArray<T>> {
        let mut copy = SharedArray::from_slice(self.as_slice())?;
        copy.reshape(self.shape())?;
        Ok(copy)
    }

    /// The elements in row-major order, mutable.
    ///
    /// # Panics
    ///
    /// In a child that was forked by hand: arrays are inert there.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut a = brigade::SharedArray::<u32>::zeroed([2, 2])?;
    /// a.as_mut_slice()[3] = 7;
    /// assert_eq!(a[[1, 1]], 7);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[must_use]
    #[inline]
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        // SAFETY: `self` is the only owner of its span, which is mapped read-write, and is borrowed
        // exclusively.
        unsafe { self.elements.as_mut_slice() }
    }

    /// The elements of [`row`](ArrayRef::row), mutable.
    ///
    /// # Panics
    ///
    /// As [`row`](ArrayRef::row), and in a child that was forked by hand.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut a = brigade::SharedArray::<u32>::zeroed([2, 3])?;
    /// a.row_mut(1).fill(7);
    /// assert_eq!(a.as_slice(), [0, 0, 0, 7, 7, 7]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[must_use]
    pub fn row_mut(&mut self, index: usize) -> &mut [T] {
        let range = self.row_range(index);
        &mut self.as_mut_slice()[range]
    }

    /// The array as a mutable `ndarray` view.
    ///
    /// # Panics
    ///
    /// In a process that was forked from the one that made the array.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut a = brigade::SharedArray::<f64>::zeroed([2, 3])?;
    /// a.view_mut()[[1, 2]] = 7.0;
    /// assert_eq!(a[[1, 2]], 7.0);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[cfg(feature = "ndarray")]
    #[must_use]
    pub fn view_mut(&mut self) -> ndarray::ArrayViewMutD<'_, T> {
        let dims = ndarray::IxDyn(self.shape().dims());
        ndarray::ArrayViewMutD::from_shape(dims, self.as_mut_slice())
            .expect("`checked_size` allowed it")
    }

    /// Gives the same elements another shape.
    ///
    /// # Errors
    ///
    /// [`Error::ShapeMismatch`] if it has another number of elements; the array is unchanged.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut a = brigade::SharedArray::from_slice(&[1, 2, 3, 4, 5, 6])?;
    /// a.reshape([2, 3])?;
    /// assert_eq!(a[[1, 0]], 4);
    /// assert!(a.reshape([4]).is_err());
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn reshape(&mut self, shape: impl Into<Shape>) -> Result<()> {
        self.elements.reshape(shape.into())
    }

    /// Cuts the array into chunks of `chunk_len` elements that can move into tasks and back. The
    /// last chunk may be shorter.
    ///
    /// [`SharedArray::from_chunks`] reassembles the array.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if `chunk_len` is 0; the error contains the array.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::SharedArray;
    /// let mut chunks = SharedArray::from_slice(&[1, 2, 3, 4, 5])?.into_chunks(2)?;
    /// assert_eq!(chunks[2].as_mut_slice(), [5]);
    /// chunks.reverse();
    /// assert_eq!(SharedArray::from_chunks(chunks)?.as_slice(), [1, 2, 3, 4, 5]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn into_chunks(
        self,
        chunk_len: usize,
    ) -> std::result::Result<Vec<OwnedChunk<T>>, SendError<SharedArray<T>>> {
        if chunk_len == 0 {
            let error = Error::invalid("chunk_len", 0, "at least 1");
            return Err(SendError::new(self, error));
        }
        let (len, shape) = (self.len(), self.shape().clone());
        // An empty array has one empty chunk, so that it can be reassembled.
        let count = len.div_ceil(chunk_len).max(1);
        let parent = Arc::new(Parent { span: self.span, shape });
        let chunk = |index: usize| {
            let start = index * chunk_len;
            OwnedChunk::cut(&parent, start, chunk_len.min(len - start))
        };
        Ok((0..count).map(chunk).collect())
    }

    /// Reassembles an array from its chunks, in any order.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if they are not all chunks of one array, or if a task still has
    /// one. The error contains the chunks.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::SharedArray;
    /// let mut chunks = SharedArray::from_slice(&[1, 2, 3])?.into_chunks(1)?;
    /// let last = chunks.pop();
    /// let incomplete = SharedArray::from_chunks(chunks).unwrap_err();
    /// let mut chunks = incomplete.value;
    /// chunks.extend(last);
    /// assert_eq!(SharedArray::from_chunks(chunks)?.as_slice(), [1, 2, 3]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn from_chunks(
        chunks: Vec<OwnedChunk<T>>,
    ) -> std::result::Result<SharedArray<T>, SendError<Vec<OwnedChunk<T>>>> {
        let parent = OwnedChunk::join(chunks)?;
        Ok(SharedArray::of_parts(parent.span, parent.shape))
    }

    /// An array of `shape`, which was checked, over a span of exactly its size.
    pub(crate) fn of_parts(span: Span, shape: Shape) -> SharedArray<T> {
        let bytes = shape.size_bytes(size_of::<T>());
        assert_eq!(bytes, Some(span.len_bytes()), "a span fits its array");
        // SAFETY: the span has that many bytes, asserted above; it is aligned to a cache line, more
        // than any `T` (asserted by `checked_size`), and initialised; `as_ptr` ensures that this
        // process has it mapped. The array owns it: the argument in `array/mod.rs`.
        let elements = unsafe { ArrayRef::new(span.as_ptr(), shape, Some(Instance::current())) };
        SharedArray { span, elements }
    }

    /// The same bytes as elements of another type and shape.
    ///
    /// # Panics
    ///
    /// If they are not as many bytes.
    #[cfg(feature = "fft")]
    pub(crate) fn cast<U: Pod>(self, shape: Shape) -> SharedArray<U> {
        SharedArray::of_parts(self.span, shape)
    }

    /// An array of a span and of the elements that it holds.
    pub(super) fn of_elements(span: Span, elements: ArrayRef<T>) -> SharedArray<T> {
        SharedArray { span, elements }
    }

    /// The span that holds the elements, and the elements.
    pub(super) fn into_parts(self) -> (Span, ArrayRef<T>) {
        (self.span, self.elements)
    }

    /// The span of the arena that holds the elements.
    pub(crate) fn span(&self) -> &Span {
        &self.span
    }

    /// The source from which a worker finds the elements.
    pub(crate) fn source(&self) -> Source {
        Source::of_span(&self.span)
    }
}

impl<T> Deref for SharedArray<T> {
    type Target = ArrayRef<T>;

    #[inline]
    fn deref(&self) -> &ArrayRef<T> {
        &self.elements
    }
}

impl<T: Pod, const N: usize> Index<[usize; N]> for SharedArray<T> {
    type Output = T;

    /// # Panics
    ///
    /// If the index lies outside or has the wrong number of dimensions.
    fn index(&self, index: [usize; N]) -> &T {
        &self.elements[index]
    }
}

impl<T: Pod, const N: usize> IndexMut<[usize; N]> for SharedArray<T> {
    /// # Panics
    ///
    /// If the index lies outside or has the wrong number of dimensions.
    fn index_mut(&mut self, index: [usize; N]) -> &mut T {
        let offset = self.offset(&index);
        &mut self.as_mut_slice()[offset]
    }
}

/// A one-dimensional array with a copy of the elements.
///
/// # Examples
///
/// ```
/// use brigade::SharedArray;
/// let a = SharedArray::try_from(vec![1.5, 2.5])?;
/// assert_eq!(a.as_slice(), [1.5, 2.5]);
/// # Ok::<(), brigade::Error>(())
/// ```
impl<T: Pod> TryFrom<Vec<T>> for SharedArray<T> {
    type Error = Error;

    /// # Errors
    ///
    /// As [`SharedArray::from_slice`].
    fn try_from(elements: Vec<T>) -> Result<SharedArray<T>> {
        SharedArray::from_slice(&elements)
    }
}

impl<T> fmt::Debug for SharedArray<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.elements.show("SharedArray", f)
    }
}

/// Equal shapes and equal elements.
impl<T: Pod + PartialEq> PartialEq for SharedArray<T> {
    fn eq(&self, other: &SharedArray<T>) -> bool {
        self.elements == other.elements
    }
}

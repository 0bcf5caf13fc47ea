//! The array in the arena: one owner, safe slices.

#![allow(unsafe_code)]

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Index, IndexMut};
use std::slice;
use std::sync::Arc;

use bytemuck::Pod;

use crate::array::checked_size;
use crate::array::chunk::OwnedChunk;
use crate::array::frozen::Frozen;
use crate::array::send_error::SendError;
use crate::error::{Error, Result};
use crate::object::source::Source;
use crate::object::transfer::Parent;
use crate::region::arena::{Arena, Contents, Span};
use crate::shape::Shape;

/// An array of any number of dimensions, row-major, in memory that workers see without a copy.
///
/// It has one owner: it is neither `Clone` nor serialisable. Tasks get at its elements as chunks
/// borrowed for one parallel call, as a [`Frozen`] array that many may read, or as
/// [`OwnedChunk`]s that move into a task and back. Elements are of any [`Pod`] type: plain data
/// without pointers or padding.
///
/// The memory is anonymous; nothing remains of it when the process ends, however it ends. A child
/// that the program forks by hand has none of it: there an array is inert, and whatever looks at
/// its elements panics or returns [`Error::Closed`].
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
pub struct SharedArray<T> {
    span: Span,
    shape: Shape,
    len: usize,
    elements: PhantomData<T>,
}

impl<T: Pod> SharedArray<T> {
    /// An array of zeros.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`] if there is not that much memory, and [`Error::InvalidArgument`] if
    /// the shape overflows; both before anything is reserved.
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
        let (len, bytes) = checked_size::<T>(&shape)?;
        let span = Arena::host()?.reserve(bytes, contents)?;
        Ok(SharedArray { span, shape, len, elements: PhantomData })
    }

    /// An array whose element at `[i, j, ..]` is `element([i, j, ..])`.
    ///
    /// The function is called once for each element, in row-major order, on this thread, so it
    /// may keep state (a generator of random numbers, say). A pool fills arrays in parallel.
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

    /// The extents, outermost first.
    #[must_use]
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// How many elements there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The elements in row-major order.
    ///
    /// # Panics
    ///
    /// In a child that was forked by hand: arrays are inert there.
    #[must_use]
    pub fn as_slice(&self) -> &[T] {
        // SAFETY: the span has `len` elements (`reserve` computed its size from them), aligned
        // for them (`checked_size`), initialised and of a type with no invalid values. `self`
        // is its owner, borrowed for the slice's life: see the argument in `array/mod.rs`.
        unsafe { slice::from_raw_parts(self.span.as_ptr().cast(), self.len) }
    }

    /// The elements in row-major order, to be changed.
    ///
    /// # Panics
    ///
    /// As [`as_slice`](SharedArray::as_slice).
    #[must_use]
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        // SAFETY: as in `as_slice`; `self` is the only owner and is borrowed exclusively.
        unsafe { slice::from_raw_parts_mut(self.span.as_ptr().cast(), self.len) }
    }

    /// The element at `index`, or `None` if it lies outside or has the wrong dimensions.
    #[must_use]
    pub fn get<const N: usize>(&self, index: [usize; N]) -> Option<&T> {
        self.as_slice().get(self.shape.offset(&index)?)
    }

    /// Gives the same elements another shape.
    ///
    /// # Errors
    ///
    /// [`Error::ShapeMismatch`] if it has another number of elements; the array is unchanged.
    pub fn reshape(&mut self, shape: impl Into<Shape>) -> Result<()> {
        let shape = shape.into();
        if checked_size::<T>(&shape)?.0 == self.len {
            self.shape = shape;
            return Ok(());
        }
        Err(Error::ShapeMismatch {
            operation: "reshape",
            left: self.shape.clone(),
            right: shape,
            rule: "both must have the same number of elements",
        })
    }

    /// Cuts the array into chunks of `chunk_len` elements, the last one maybe shorter, that can
    /// move into tasks and back.
    ///
    /// [`SharedArray::from_chunks`] puts them together again.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if `chunk_len` is 0, with the array.
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
        let SharedArray { span, shape, len, .. } = self;
        // An empty array has one empty chunk, so that it can be put together again.
        let count = len.div_ceil(chunk_len).max(1);
        let parent = Arc::new(Parent { span, shape });
        let chunk = |index: usize| {
            let start = index * chunk_len;
            OwnedChunk::cut(&parent, start, chunk_len.min(len - start))
        };
        Ok((0..count).map(chunk).collect())
    }

    /// Puts the chunks of one array together again, in any order.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if they are not all of the chunks of one array, or if a task
    /// still has one, with the chunks.
    pub fn from_chunks(
        chunks: Vec<OwnedChunk<T>>,
    ) -> std::result::Result<SharedArray<T>, SendError<Vec<OwnedChunk<T>>>> {
        let parent = OwnedChunk::join(chunks)?;
        Ok(SharedArray::of_parts(parent.span, parent.shape))
    }

    /// Makes the array read-only, so that many tasks may share it.
    #[must_use]
    pub fn freeze(self) -> Frozen<T> {
        Frozen::of_span(self.span, self.shape)
    }

    /// An array of `shape` over a span that has exactly its size.
    pub(crate) fn of_parts(span: Span, shape: Shape) -> SharedArray<T> {
        let len = shape.len_elements().expect("the shape of an array was checked");
        assert_eq!(len * size_of::<T>(), span.len_bytes(), "a span fits its array");
        SharedArray { span, shape, len, elements: PhantomData }
    }

    /// The span of the arena that holds the elements.
    pub(crate) fn span(&self) -> &Span {
        &self.span
    }

    /// What a worker needs to find the elements.
    pub(crate) fn source(&self) -> Source {
        Source::of_span(&self.span)
    }
}

impl<T: Pod, const N: usize> Index<[usize; N]> for SharedArray<T> {
    type Output = T;

    /// # Panics
    ///
    /// If the index lies outside or has the wrong number of dimensions.
    fn index(&self, index: [usize; N]) -> &T {
        let Some(offset) = self.shape.offset(&index) else { outside(&index, &self.shape) };
        &self.as_slice()[offset]
    }
}

impl<T: Pod, const N: usize> IndexMut<[usize; N]> for SharedArray<T> {
    /// # Panics
    ///
    /// If the index lies outside or has the wrong number of dimensions.
    fn index_mut(&mut self, index: [usize; N]) -> &mut T {
        let Some(offset) = self.shape.offset(&index) else { outside(&index, &self.shape) };
        &mut self.as_mut_slice()[offset]
    }
}

#[cold]
fn outside(index: &[usize], shape: &Shape) -> ! {
    panic!("index {index:?} is outside of an array of shape {shape}")
}

impl<T> fmt::Debug for SharedArray<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedArray<{}>{}", std::any::type_name::<T>(), self.shape)
    }
}

/// Equal shapes and equal elements.
impl<T: Pod + PartialEq> PartialEq for SharedArray<T> {
    fn eq(&self, other: &SharedArray<T>) -> bool {
        self.shape == other.shape && self.as_slice() == other.as_slice()
    }
}

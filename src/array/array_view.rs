//! A view of an array, or of rows, for reading.

use std::ops::Range;

use bytemuck::Pod;

use crate::array::{ArrayRef, Element, Frozen, LentNamed, MappedArray, NamedArray, SharedArray};
use crate::error::{Error, Result};
use crate::object::source::Source;
use crate::shape::Shape;

/// An array, or consecutive rows of one, borrowed to be read: what the calls of the array library
/// take, as [`Pool::sum`](crate::Pool::sum). Nothing is copied.
///
/// It comes from [`AsArrayView::as_array_view`]; the calls do that themselves. A loop takes a
/// `&ArrayView` as an operand to be read.
///
/// # Examples
///
/// ```
/// use brigade::{AsArrayView, Pool, SharedArray};
/// let pool = Pool::builder().workers(2).build()?;
/// let x = SharedArray::from_fn([4, 3], |[i, j]| (10 * i + j) as f64)?;
/// assert_eq!(pool.sum(&x)?, 192.0);
/// let middle = x.as_array_view().rows(1..3)?;
/// assert_eq!(pool.sum(&middle)?, 96.0);
/// assert_eq!(pool.sum_axis(&middle, 0)?.as_slice(), [30.0, 32.0, 34.0]);
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Clone)]
pub struct ArrayView<'a, T> {
    array: &'a ArrayRef<T>,
    /// Where the array's elements are, for workers; `None` in a worker.
    source: Option<Source>,
    /// The elements of the view in row-major order.
    elements: Range<usize>,
    shape: Shape,
}

impl<'a, T: Pod> ArrayView<'a, T> {
    fn new(array: &'a ArrayRef<T>, source: impl Into<Option<Source>>) -> ArrayView<'a, T> {
        let (elements, shape) = (0..array.len(), array.shape().clone());
        ArrayView { array, source: source.into(), elements, shape }
    }

    /// The rows of the view from `rows.start` to below `rows.end`: steps of its first axis.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if they lie outside, or if the view has no axis.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{AsArrayView, SharedArray};
    /// let x = SharedArray::from_fn([4, 2], |[i, j]| 2 * i + j)?;
    /// assert_eq!(x.as_array_view().rows(1..2)?.as_slice(), [2, 3]);
    /// assert!(x.as_array_view().rows(3..5).is_err());
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn rows(&self, rows: Range<usize>) -> Result<ArrayView<'a, T>> {
        let dims = self.shape.dims();
        let inside = dims.first().is_some_and(|&all| rows.start <= rows.end && rows.end <= all);
        if !inside {
            let found = format!("{rows:?} of {}", self.shape);
            return Err(Error::invalid("the rows of a view", found, "within its first axis"));
        }
        let row_len: usize = dims[1..].iter().product();
        let first = self.elements.start + rows.start * row_len;
        let mut dims = dims.to_vec();
        dims[0] = rows.len();
        Ok(ArrayView {
            array: self.array,
            source: self.source.clone(),
            elements: first..first + rows.len() * row_len,
            shape: Shape::from(&dims[..]),
        })
    }

    /// The elements in row-major order.
    #[must_use]
    pub fn as_slice(&self) -> &'a [T] {
        &self.array.as_slice()[self.elements.clone()]
    }

    /// The shape.
    #[must_use]
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// How many elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.elements.len()
    }

    /// Whether there are no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.elements.is_empty()
    }

    /// What a worker needs to find the elements; `None` in a worker.
    pub(crate) fn source(&self) -> Option<Source> {
        let bytes = |elements: usize| (elements * size_of::<T>()) as u64;
        let source = self.source.as_ref()?;
        Some(source.part(bytes(self.elements.start), bytes(self.len())))
    }
}

impl<T: Pod> std::fmt::Debug for ArrayView<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ArrayView").field("shape", &self.shape).finish_non_exhaustive()
    }
}

/// An array that can be read as a whole, or rows of one: `SharedArray`, `Frozen`, `MappedArray`,
/// [`ArrayView`], and what [`NamedArray::lend`] returns. Other crates cannot implement it.
///
/// # Examples
///
/// ```
/// use brigade::{AsArrayView, Pool, SharedArray};
/// /// The range of an array, or of rows of one.
/// fn range(pool: &Pool, x: &impl AsArrayView<f64>) -> brigade::Result<f64> {
///     assert!(!x.as_array_view().is_empty());
///     Ok(pool.max(x)? - pool.min(x)?)
/// }
/// let pool = Pool::builder().workers(1).build()?;
/// let x = SharedArray::from_slice(&[1.0, 2.0, 6.0])?;
/// assert_eq!(range(&pool, &x)?, 5.0);
/// assert_eq!(range(&pool, &x.as_array_view().rows(0..2)?)?, 1.0);
/// # Ok::<(), brigade::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an array of `{T}` that workers can read",
    label = "not `SharedArray`, `Frozen`, `MappedArray` or `ArrayView`",
    note = "copy a slice or a `Vec` into shared memory first: `SharedArray::from_slice(&x)?`"
)]
pub trait AsArrayView<T>: Sealed {
    /// A view of all elements.
    fn as_array_view(&self) -> ArrayView<'_, T>;
}

#[expect(unnameable_types, reason = "what cannot be named cannot be implemented elsewhere")]
mod private {
    pub trait Sealed {}
}
use private::Sealed;

impl<T> Sealed for SharedArray<T> {}
impl<T> Sealed for Frozen<T> {}
impl<T> Sealed for MappedArray<T> {}
impl<T> Sealed for LentNamed<&NamedArray<T>> {}
impl<T> Sealed for ArrayView<'_, T> {}

impl<T: Pod> AsArrayView<T> for SharedArray<T> {
    fn as_array_view(&self) -> ArrayView<'_, T> {
        ArrayView::new(self, self.source())
    }
}

impl<T: Pod> AsArrayView<T> for Frozen<T> {
    fn as_array_view(&self) -> ArrayView<'_, T> {
        ArrayView::new(self, self.source())
    }
}

impl<T: Element> AsArrayView<T> for MappedArray<T> {
    fn as_array_view(&self) -> ArrayView<'_, T> {
        ArrayView::new(self, self.source())
    }
}

impl<T: Element> AsArrayView<T> for LentNamed<&NamedArray<T>> {
    fn as_array_view(&self) -> ArrayView<'_, T> {
        ArrayView::new(&self.0.elements, self.0.source())
    }
}

impl<T: Pod> AsArrayView<T> for ArrayView<'_, T> {
    fn as_array_view(&self) -> ArrayView<'_, T> {
        self.clone()
    }
}

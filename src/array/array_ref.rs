//! The elements and the shape of an array, for reading.

#![allow(unsafe_code)]

use std::fmt;
use std::ops::{Index, Range};
use std::slice;

use bytemuck::Pod;

use crate::error::{Error, Result};
use crate::object::source::Source;
use crate::region::mapping::Mapping;
use crate::shape::{DIMENSIONS_MAX, Shape};
use crate::sys::fork::Instance;

/// The elements of an array and their shape, for reading.
///
/// [`SharedArray`](crate::SharedArray), [`Frozen`](crate::Frozen),
/// [`MappedArray`](crate::MappedArray) and [`MappedArrayMut`](crate::MappedArrayMut) dereference to
/// it. So a function that reads an array takes a `&ArrayRef<T>`, as a function that reads a vector
/// takes a `&[T]`.
///
/// # Panics
///
/// A child that the program forks by hand has no arena. There every method that accesses the
/// elements of a `SharedArray` or `Frozen` panics.
///
/// # Examples
///
/// ```
/// use brigade::{ArrayRef, SharedArray};
/// fn trace(a: &ArrayRef<f64>) -> f64 {
///     (0..a.shape()[0]).map(|i| a[[i, i]]).sum()
/// }
/// let a = SharedArray::from_fn([2, 2], |[i, j]| (10 * i + j) as f64)?;
/// assert_eq!(trace(&a), 11.0);
/// assert_eq!(trace(&a.freeze()), 11.0);
/// # Ok::<(), brigade::Error>(())
/// ```
pub struct ArrayRef<T> {
    start: *mut T,
    len: usize,
    shape: Shape,
    /// The process that has the elements mapped; `None` if its children also have them mapped.
    made_in: Option<Instance>,
}

// SAFETY: it lends `&T`, and to its owner `&mut T`, of elements that its owner keeps mapped for
// every thread. So it may cross threads where those may.
unsafe impl<T: Send + Sync> Send for ArrayRef<T> {}

// SAFETY: as for `Send`; a shared reference lends only `&T`.
unsafe impl<T: Sync> Sync for ArrayRef<T> {}

impl<T: Pod> ArrayRef<T> {
    /// # Safety
    ///
    /// - `shape` was checked by `checked_size::<T>`, and `start` is aligned for `T`.
    /// - The bytes of that many elements are mapped there while the value lives, in the process
    ///   `made_in`, or also in its children if that is `None`.
    /// - While a reference to an element lives, the elements are written only through
    ///   [`as_mut_slice`](ArrayRef::as_mut_slice). So the owner lends a reference to the value only
    ///   where that holds.
    pub(super) unsafe fn new(
        start: *mut u8,
        shape: Shape,
        made_in: Option<Instance>,
    ) -> ArrayRef<T> {
        let len = shape.len_elements().expect("the shape of an array was checked");
        ArrayRef { start: start.cast(), len, shape, made_in }
    }

    /// The source from which a worker finds the elements, which lie in `mapping`.
    pub(super) fn source_in(&self, mapping: &Mapping) -> Source {
        let offset = self.start.addr() - mapping.base().addr();
        Source::of_mapping(mapping, offset, self.len * size_of::<T>())
    }

    /// The address of element `index`, which need not exist.
    pub(super) fn address(&self, index: usize) -> *mut u8 {
        self.start.wrapping_add(index).cast()
    }

    /// Another value for the same elements.
    ///
    /// # Safety
    ///
    /// - As [`new`](ArrayRef::new).
    pub(super) unsafe fn again(&self) -> ArrayRef<T> {
        let ArrayRef { start, len, ref shape, made_in } = *self;
        ArrayRef { start, len, shape: shape.clone(), made_in }
    }

    /// The elements in row-major order.
    ///
    /// # Examples
    ///
    /// ```
    /// let a = brigade::SharedArray::from_fn([2, 2], |[i, j]| 10 * i + j)?;
    /// assert_eq!(a.as_slice(), [0, 1, 10, 11]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[must_use]
    #[inline]
    pub fn as_slice(&self) -> &[T] {
        if let Some(made_in) = self.made_in {
            made_in.assert_current();
        }
        // SAFETY: `len` aligned elements are mapped there, initialised, of a type without invalid
        // values, and they are not written while `self` is borrowed: the contract of `new`.
        unsafe { slice::from_raw_parts(self.start, self.len) }
    }

    /// The elements in row-major order, mutable.
    ///
    /// # Safety
    ///
    /// - The caller has the only handle on the elements, and they are mapped writable.
    pub(super) unsafe fn as_mut_slice(&mut self) -> &mut [T] {
        if let Some(made_in) = self.made_in {
            made_in.assert_current();
        }
        // SAFETY: as in `as_slice`; the caller has the only handle, by this function's contract.
        unsafe { slice::from_raw_parts_mut(self.start, self.len) }
    }

    /// The element at `index`, or `None` if it lies outside or has the wrong number of dimensions.
    ///
    /// # Examples
    ///
    /// ```
    /// let a = brigade::SharedArray::from_fn([2, 3], |[i, j]| 10 * i + j)?;
    /// assert_eq!((a.get([1, 2]), a.get([2, 0]), a.get([1])), (Some(&12), None, None));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[must_use]
    pub fn get<const N: usize>(&self, index: [usize; N]) -> Option<&T> {
        self.as_slice().get(self.shape.offset(&index)?)
    }

    /// The elements at `index` of the first dimension, in row-major order: row `index` of a matrix.
    ///
    /// # Panics
    ///
    /// If `index` lies outside, or if the array has no dimensions.
    ///
    /// # Examples
    ///
    /// ```
    /// let a = brigade::SharedArray::from_fn([2, 3], |[i, j]| 10 * i + j)?;
    /// assert_eq!(a.row(1), [10, 11, 12]);
    /// assert_eq!((0..a.shape()[0]).map(|i| a.row(i).len()).sum::<usize>(), a.len());
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[must_use]
    pub fn row(&self, index: usize) -> &[T] {
        &self.as_slice()[self.row_range(index)]
    }

    /// The positions of the elements of [`row`](ArrayRef::row).
    pub(super) fn row_range(&self, index: usize) -> Range<usize> {
        match self.shape.dims() {
            // Cannot overflow: `checked_size` multiplied the nonzero extents.
            &[rows, ref rest @ ..] if index < rows => {
                let len: usize = rest.iter().product();
                index * len..(index + 1) * len
            }
            _ => outside(&[index], &self.shape),
        }
    }

    /// The array as an `ndarray` view.
    ///
    /// # Panics
    ///
    /// In a process that was forked from the one that made the array.
    ///
    /// # Examples
    ///
    /// ```
    /// let a = brigade::SharedArray::from_fn([2, 3], |[i, j]| (3 * i + j) as f64)?;
    /// assert_eq!(a.view().t()[[2, 1]], 5.0);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[cfg(feature = "ndarray")]
    #[must_use]
    pub fn view(&self) -> ndarray::ArrayViewD<'_, T> {
        let dims = ndarray::IxDyn(self.shape.dims());
        ndarray::ArrayViewD::from_shape(dims, self.as_slice()).expect("`checked_size` allowed it")
    }

    /// Gives the same elements another shape.
    pub(super) fn reshape(&mut self, shape: Shape) -> Result<()> {
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

    /// An error in a child that was forked from the process that has the elements mapped.
    pub(super) fn check(&self) -> Result<()> {
        self.made_in.map_or(Ok(()), Instance::check)
    }

    /// The position of the element at `index`.
    #[inline]
    pub(super) fn offset(&self, index: &[usize]) -> usize {
        self.shape.offset(index).unwrap_or_else(|| outside(index, &self.shape))
    }
}

impl<T> ArrayRef<T> {
    /// The extents, outermost first.
    #[must_use]
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The number of elements.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Writes the type and the shape of the array `name`, for its `Debug`.
    pub(super) fn show(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{name}<{}>{}", std::any::type_name::<T>(), self.shape)
    }
}

#[cold]
fn outside(index: &[usize], shape: &Shape) -> ! {
    panic!("index {index:?} is outside of an array of shape {shape}")
}

impl<T: Pod, const N: usize> Index<[usize; N]> for ArrayRef<T> {
    type Output = T;

    /// # Panics
    ///
    /// If the index lies outside or has the wrong number of dimensions.
    fn index(&self, index: [usize; N]) -> &T {
        &self.as_slice()[self.offset(&index)]
    }
}

impl<T> fmt::Debug for ArrayRef<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.show("ArrayRef", f)
    }
}

/// Equal shapes and equal elements.
impl<T: Pod + PartialEq> PartialEq for ArrayRef<T> {
    fn eq(&self, other: &ArrayRef<T>) -> bool {
        self.shape == other.shape && self.as_slice() == other.as_slice()
    }
}

/// Checks a shape for elements of type `T`; returns their number, and their size in bytes.
///
/// # Errors
///
/// [`Error::InvalidArgument`] if there are too many dimensions, or if the product of the nonzero
/// extents is more bytes than can be addressed.
pub(super) fn checked_size<T>(shape: &Shape) -> Result<(usize, usize)> {
    const {
        // Spans are aligned to a cache line.
        assert!(align_of::<T>() <= crate::region::ALIGN_BYTES, "T is aligned too strictly");
    }
    if shape.ndim() > DIMENSIONS_MAX {
        let expected = format!("at most {DIMENSIONS_MAX}");
        return Err(Error::invalid("the number of dimensions", shape.ndim(), expected));
    }
    // A zero extent hides an overflow of the others, and views would panic at that.
    let ones: Vec<usize> = shape.dims().iter().map(|&extent| extent.max(1)).collect();
    let fits = Shape::from(ones).size_bytes(size_of::<T>().max(1)).is_some();
    match (shape.len_elements(), shape.size_bytes(size_of::<T>())) {
        (Some(len), Some(bytes)) if fits => Ok((len, bytes)),
        _ => {
            let expected = format!("at most {} bytes of elements", isize::MAX);
            Err(Error::invalid("the shape", shape, expected))
        }
    }
}

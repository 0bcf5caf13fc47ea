//! The array in a named region, which other programs may write.

#![allow(unsafe_code)]

use std::fmt;
use std::slice;

use crate::array::array_ref::{ArrayRef, checked_size};
use crate::array::element::{Element, check_header};
use crate::array::shared_array::SharedArray;
use crate::error::{Error, Result};
use crate::object::source::Source;
use crate::region::atomic_copy;
use crate::region::named_region::NamedRegion;
use crate::region::npy::NpyHeader;
use crate::shape::Shape;

/// An array under a name in `/dev/shm`, shared with any program of this user.
///
/// Its bytes are a NumPy `.npy` file: `numpy.load("/dev/shm/NAME", mmap_mode="r+")` is a view
/// of the same memory. Because other programs may write at any time, elements are copied in and
/// out; a copy may mix old and new elements, but no element of up to 8 bytes is torn. Slices are
/// `unsafe`.
///
/// The name is removed when the last handle on it is dropped, in any program, or by
/// [`unlink`](NamedArray::unlink), unless it was [kept](NamedArray::keep). The name of an array
/// made by [`SharedArray::named`] is removed with the creator's handle. The memory is freed with
/// the last program that has it mapped. If a program was killed, the next
/// [`create`](SharedArray::create) of the name takes over what it left, and
/// [`reclaim`](crate::reclaim) removes it. If a program truncates the file, programs that access it
/// die of SIGBUS.
///
/// # Examples
///
/// ```
/// use brigade::SharedArray;
/// let name = format!("doc-named-{}", std::process::id());
/// let mut ours = SharedArray::<f64>::named(&name, [2, 2])?;
/// ours.copy_from_slice(&[1.0, 2.0, 3.0, 4.0])?;
/// let theirs = SharedArray::<f64>::open(&name)?;
/// assert_eq!(theirs.get([1, 0]), Some(3.0));
/// # Ok::<(), brigade::Error>(())
/// ```
pub struct NamedArray<T> {
    pub(super) region: NamedRegion,
    /// A reference to it exists only in the unsafe methods that return slices, and in a view of a
    /// lent array, which the contract of `lend` covers.
    pub(super) elements: ArrayRef<T>,
}

/// A named array as an operand of a parallel loop: `LentNamed<&NamedArray<T>>` from
/// [`NamedArray::lend`] to read, `LentNamed<&mut NamedArray<T>>` from [`NamedArray::lend_mut`] to
/// write.
///
/// # Examples
///
/// ```
/// use brigade::{LentNamed, NamedArray, Pool, SharedArray};
/// let pool = Pool::builder().workers(1).build()?;
/// let name = format!("doc-lent-{}", std::process::id());
/// let mut named = SharedArray::<f64>::named(&name, [3])?;
/// named.copy_from_slice(&[1.0, 2.0, 3.0])?;
/// // SAFETY: the name was made above; nobody else knows it.
/// let lent: LentNamed<&NamedArray<f64>> = unsafe { named.lend() };
/// assert_eq!(pool.sum(&lent)?, 6.0);
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug)]
pub struct LentNamed<A>(pub(crate) A);

impl<T: Element> NamedArray<T> {
    /// The whole array of a region, whose name the last handle removes.
    pub(super) fn new(region: NamedRegion, header: NpyHeader) -> Result<NamedArray<T>> {
        check_header::<T>(&header, region.name())?;
        checked_size::<T>(&header.shape)?;
        region.remove_with_last();
        Ok(NamedArray::of(region, header))
    }

    /// The elements that a checked header describes.
    pub(super) fn of(region: NamedRegion, header: NpyHeader) -> NamedArray<T> {
        let start = region.mapping().base().wrapping_add(header.data_offset);
        // SAFETY: the mapping has the elements of the shape there (`Mapping::of_region` or `raw`),
        // aligned (`check_header`), and lives as long as the array, in forked children too; the
        // callers have checked the shape. That nothing writes while a slice lives is the contract
        // of the unsafe methods that return one; nothing else refers to an element.
        let elements = unsafe { ArrayRef::new(start, header.shape, None) };
        NamedArray { region, elements }
    }

    /// Whether this handle made the array, rather than opened it.
    #[must_use]
    pub fn is_creator(&self) -> bool {
        self.region.is_creator()
    }

    /// The name, without `/dev/shm/`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.region.name()
    }

    /// The extents, outermost first.
    #[must_use]
    pub fn shape(&self) -> &Shape {
        self.elements.shape()
    }

    /// The number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.elements.len()
    }

    /// Whether there are no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.elements.is_empty()
    }

    /// A copy of the element at `index`, or `None` if it lies outside or has the wrong number of
    /// dimensions.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::SharedArray;
    /// let name = format!("doc-get-{}", std::process::id());
    /// let mut array = SharedArray::<u16>::named(&name, [2, 2])?;
    /// array.copy_from_slice(&[1, 2, 3, 4])?;
    /// assert_eq!((array.get([1, 0]), array.get([2, 0]), array.get([1])), (Some(3), None, None));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[must_use]
    pub fn get<const N: usize>(&self, index: [usize; N]) -> Option<T> {
        let offset = self.shape().offset(&index)?;
        let mut element = T::zeroed();
        self.copy_out(offset, slice::from_mut(&mut element));
        Some(element)
    }

    /// Overwrites the element at `index`.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if it lies outside or has the wrong number of dimensions.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Error, SharedArray};
    /// let name = format!("doc-set-{}", std::process::id());
    /// let mut array = SharedArray::<u16>::named(&name, [2, 3])?;
    /// array.set([1, 2], 7)?;
    /// assert_eq!(array.get([1, 2]), Some(7));
    /// assert!(matches!(array.set([2, 0], 7), Err(Error::InvalidArgument { .. })));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn set<const N: usize>(&mut self, index: [usize; N], element: T) -> Result<()> {
        let Some(offset) = self.shape().offset(&index) else {
            let expected = format!("within shape {}", self.shape());
            return Err(Error::invalid("the index", format!("{index:?}"), expected));
        };
        self.copy_in(offset, slice::from_ref(&element));
        Ok(())
    }

    /// A copy of all elements, in row-major order.
    #[must_use]
    pub fn copy_to_vec(&self) -> Vec<T> {
        let mut copy = vec![T::zeroed(); self.len()];
        self.copy_out(0, &mut copy);
        copy
    }

    /// A copy of the array in anonymous memory, with safe slices.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::SharedArray;
    /// let name = format!("doc-copy-{}", std::process::id());
    /// let mut named = SharedArray::<u16>::named(&name, [2, 2])?;
    /// named.copy_from_slice(&[1, 2, 3, 4])?;
    /// let copy = named.copy_to_array()?;
    /// named.set([0, 0], 9)?;
    /// assert_eq!((copy[[0, 0]], copy.shape().dims()), (1, &[2, 2][..]));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn copy_to_array(&self) -> Result<SharedArray<T>> {
        let mut copy = SharedArray::for_overwrite(self.shape())?;
        self.copy_out(0, copy.as_mut_slice());
        Ok(copy)
    }

    /// Overwrites all elements.
    ///
    /// # Errors
    ///
    /// [`Error::ShapeMismatch`] if the numbers of elements differ.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Error, SharedArray};
    /// let name = format!("doc-fill-{}", std::process::id());
    /// let mut named = SharedArray::<u16>::named(&name, [3])?;
    /// named.copy_from_slice(&[1, 2, 3])?;
    /// assert_eq!(named.copy_to_vec(), [1, 2, 3]);
    /// assert!(matches!(named.copy_from_slice(&[1]), Err(Error::ShapeMismatch { .. })));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn copy_from_slice(&mut self, elements: &[T]) -> Result<()> {
        if elements.len() != self.len() {
            return Err(Error::ShapeMismatch {
                operation: "copy_from_slice",
                left: self.shape().clone(),
                right: Shape::from(elements.len()),
                rule: "both must have the same number of elements",
            });
        }
        self.copy_in(0, elements);
        Ok(())
    }

    /// The elements in row-major order.
    ///
    /// # Safety
    ///
    /// - While the slice lives, no program, this one included, writes to the array.
    /// - While the slice lives, no program truncates its file.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::SharedArray;
    /// let name = format!("doc-slice-{}", std::process::id());
    /// let mut array = SharedArray::<u16>::named(&name, [3])?;
    /// array.copy_from_slice(&[1, 2, 3])?;
    /// // SAFETY: no other program knows the name, and this one does not write while it reads.
    /// assert_eq!(unsafe { array.as_slice() }.iter().sum::<u16>(), 6);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[must_use]
    pub unsafe fn as_slice(&self) -> &[T] {
        self.elements.as_slice()
    }

    /// The elements in row-major order, mutable.
    ///
    /// # Safety
    ///
    /// - While the slice lives, no program, this one included, accesses the array in any other way.
    /// - While the slice lives, no program truncates its file.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::SharedArray;
    /// let name = format!("doc-slice-mut-{}", std::process::id());
    /// let mut named = SharedArray::<u16>::named(&name, [3])?;
    /// // SAFETY: the name was made above; nobody else knows it.
    /// unsafe { named.as_mut_slice() }.fill(7);
    /// assert_eq!(named.copy_to_vec(), [7, 7, 7]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[must_use]
    pub unsafe fn as_mut_slice(&mut self) -> &mut [T] {
        // SAFETY: the mapping is read-write; exclusion is the caller's contract.
        unsafe { self.elements.as_mut_slice() }
    }

    /// The array as an operand of a parallel loop that reads it. Each worker maps the region on
    /// first use.
    ///
    /// # Safety
    ///
    /// - While the operand, or an [`ArrayView`](crate::ArrayView) made from it, lives, no program,
    ///   this one included, writes to the array.
    /// - While the operand lives, no program truncates its file.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let name = format!("doc-lend-{}", std::process::id());
    /// let mut named = SharedArray::<u32>::named(&name, [9])?;
    /// // SAFETY: the name was made above; nobody else knows it.
    /// pool.par_chunks_mut(unsafe { named.lend_mut() }, 2).for_each(|x| x.fill(7))?;
    /// // SAFETY: as above.
    /// let sum = pool.par_chunks(unsafe { named.lend() }, 2).map(|x| x.iter().sum::<u32>());
    /// assert_eq!(sum.reduce(0, |a, b| a + b)?, 63);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[must_use]
    pub unsafe fn lend(&self) -> LentNamed<&NamedArray<T>> {
        LentNamed(self)
    }

    /// The array as an operand of a parallel loop that writes it. See [`lend`](NamedArray::lend).
    ///
    /// # Safety
    ///
    /// - While the operand lives, no program, this one included, accesses the array in any other
    ///   way.
    /// - While the operand lives, no program truncates its file.
    #[must_use]
    pub unsafe fn lend_mut(&mut self) -> LentNamed<&mut NamedArray<T>> {
        LentNamed(self)
    }

    /// The source from which a worker finds the elements.
    pub(crate) fn source(&self) -> Source {
        self.elements.source_in(self.region.mapping())
    }

    /// Removes the name. Programs that have the array open can go on using it.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if the name no longer exists, or refers to something else.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Error, SharedArray};
    /// let name = format!("doc-unlink-{}", std::process::id());
    /// let mut array = SharedArray::<u16>::create(&name, [3])?;
    /// array.unlink()?;
    /// assert!(matches!(SharedArray::<u16>::open(&name), Err(Error::NotFound { .. })));
    /// array.set([0], 7)?;
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn unlink(&mut self) -> Result<()> {
        self.region.unlink()
    }

    /// Keeps the name beyond this handle and its program, until it is unlinked.
    ///
    /// # Errors
    ///
    /// [`Error::Os`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::SharedArray;
    /// let name = format!("doc-keep-{}", std::process::id());
    /// let mut array = SharedArray::<u16>::create(&name, [3])?;
    /// array.keep()?;
    /// drop(array);
    /// let mut opened = SharedArray::<u16>::open(&name)?;
    /// opened.unlink()?;
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn keep(&mut self) -> Result<()> {
        self.region.keep()
    }

    /// Copies `target.len()` elements out, from element `offset` on.
    fn copy_out(&self, offset: usize, target: &mut [T]) {
        assert!(offset + target.len() <= self.len(), "callers stay within the array");
        let start = self.elements.address(offset);
        // SAFETY: the range is inside the mapping (asserted above; `Mapping::of_region` or `raw`
        // checked that it has all elements), which is read-write and lives as long as `self`.
        unsafe { atomic_copy::copy_out(start, bytemuck::cast_slice_mut(target)) };
    }

    /// Copies elements in, from element `offset` on.
    fn copy_in(&mut self, offset: usize, source: &[T]) {
        assert!(offset + source.len() <= self.len(), "callers stay within the array");
        let start = self.elements.address(offset);
        // SAFETY: as in `copy_out`.
        unsafe { atomic_copy::copy_in(start, bytemuck::cast_slice(source)) };
    }
}

impl<T> fmt::Debug for NamedArray<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.elements.show("NamedArray", f)?;
        write!(f, " {:?}", self.region.name())
    }
}

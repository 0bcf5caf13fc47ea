//! The array in a mapped file.
//!
//! Others leave the file alone, by contract.

#![allow(unsafe_code)]

use std::fmt;
use std::marker::PhantomData;
use std::path::Path;
use std::slice;

use crate::array::checked_size;
use crate::array::element::{Element, dtype_of};
use crate::array::shared::SharedArray;
use crate::error::{Error, Result};
use crate::object::source::Source;
use crate::region::Dtype;
use crate::region::mapping::Mapping;
use crate::region::npy::Header;
use crate::shape::Shape;
use crate::sys::mmap::Access;

/// Checks that elements are what `T` says.
pub(crate) fn check_dtype<T: Element>(found: Dtype, place: &str) -> Result<()> {
    let wanted = dtype_of::<T>();
    if found == wanted {
        return Ok(());
    }
    let other = found.rust_name();
    let expected = format!(
        "dtype {wanted} (use SharedArray::<{other}>, or in NumPy save a.astype('{wanted}'))"
    );
    Err(Error::Layout { place: place.to_owned(), found: format!("dtype {found}"), expected })
}

/// Checks that elements can be used where they are: dtype, byte order, index order, alignment.
pub(crate) fn check_header<T: Element>(header: &Header, place: &str) -> Result<()> {
    let wrong = |found: String, expected: String| {
        Err(Error::Layout { place: place.to_owned(), found, expected })
    };
    check_dtype::<T>(header.dtype, place)?;
    let copy = "(or read a copy with from_npy)";
    if !header.is_native {
        return wrong("the other byte order".to_owned(), format!("this machine's {copy}"));
    }
    if header.is_fortran && header.shape.ndim() > 1 {
        return wrong("Fortran order".to_owned(), format!("row-major order {copy}"));
    }
    if !header.data_offset.is_multiple_of(align_of::<T>()) {
        let found = format!("elements at byte {}", header.data_offset);
        return wrong(found, format!("a multiple of {} {copy}", align_of::<T>()));
    }
    Ok(())
}

/// A `.npy` file, mapped to be read.
///
/// Made by [`SharedArray::map_npy`]. Pages are read from the file when they are first touched.
pub struct MappedArray<T> {
    mapping: Mapping,
    shape: Shape,
    len: usize,
    data_offset: usize,
    elements: PhantomData<T>,
}

/// A `.npy` file, mapped to be read and written: changes go to the file.
///
/// Made by [`SharedArray::map_npy_mut`].
pub struct MappedArrayMut<T>(MappedArray<T>);

impl<T: Element> SharedArray<T> {
    /// Maps a `.npy` file without reading it into memory first.
    ///
    /// Prefer [`SharedArray::from_npy`], which is safe, unless the file is larger than memory
    /// or only part of it is needed.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::Layout`] if it is no `.npy`, truncated, of another dtype,
    /// not row-major or in the other byte order; [`Error::Os`].
    ///
    /// # Safety
    ///
    /// - For as long as the array lives, nobody writes to the file.
    /// - For as long, nobody truncates the file: accesses would end in SIGBUS.
    pub unsafe fn map_npy(path: impl AsRef<Path>) -> Result<MappedArray<T>> {
        MappedArray::open(path.as_ref(), Access::ReadOnly)
    }

    /// Maps a `.npy` file to be read and written in place.
    ///
    /// # Errors
    ///
    /// As [`SharedArray::map_npy`].
    ///
    /// # Safety
    ///
    /// - For as long as the array lives, nobody accesses the file but through it.
    /// - For as long, nobody truncates the file: accesses would end in SIGBUS.
    pub unsafe fn map_npy_mut(path: impl AsRef<Path>) -> Result<MappedArrayMut<T>> {
        MappedArray::open(path.as_ref(), Access::ReadWrite).map(MappedArrayMut)
    }
}

impl<T: Element> MappedArray<T> {
    fn open(path: &Path, access: Access) -> Result<MappedArray<T>> {
        let (mapping, header) = Mapping::file(path, access)?;
        check_header::<T>(&header, &path.display().to_string())?;
        let (len, _) = checked_size::<T>(&header.shape)?;
        let Header { shape, data_offset, .. } = header;
        Ok(MappedArray { mapping, shape, len, data_offset, elements: PhantomData })
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
    #[must_use]
    pub fn as_slice(&self) -> &[T] {
        // SAFETY: the mapping has `len` elements from `start` on (`Mapping::file`), aligned
        // (`check_header`); that nobody writes them is the contract of `map_npy`, or, for
        // `map_npy_mut`, follows from its contract and the borrow of this handle.
        unsafe { slice::from_raw_parts(self.start().cast(), self.len) }
    }

    /// What a worker needs to find the elements.
    pub(crate) fn source(&self) -> Source {
        Source::of_mapping(&self.mapping, self.data_offset, self.len * size_of::<T>())
    }

    fn start(&self) -> *mut u8 {
        self.mapping.base().wrapping_add(self.data_offset)
    }
}

impl<T: Element> MappedArrayMut<T> {
    /// The extents, outermost first.
    #[must_use]
    pub fn shape(&self) -> &Shape {
        self.0.shape()
    }

    /// How many elements there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The elements in row-major order.
    #[must_use]
    pub fn as_slice(&self) -> &[T] {
        self.0.as_slice()
    }

    /// The elements in row-major order, to be changed in the file.
    #[must_use]
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        // SAFETY: as in `MappedArray::as_slice`; the mapping is writable (`map_npy_mut`), and
        // this handle, borrowed exclusively, is by contract the only way to the file.
        unsafe { slice::from_raw_parts_mut(self.0.start().cast(), self.0.len) }
    }

    /// What a worker needs to find the elements.
    pub(crate) fn source(&self) -> Source {
        self.0.source()
    }
}

impl<T> fmt::Debug for MappedArray<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MappedArray<{}>{}", std::any::type_name::<T>(), self.shape)
    }
}

impl<T> fmt::Debug for MappedArrayMut<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MappedArrayMut<{}>{}", std::any::type_name::<T>(), self.0.shape)
    }
}

//! The array in a mapped file.
//!
//! By contract no other program changes the file.

#![allow(unsafe_code)]

use std::fmt;
use std::ops::Deref;
use std::path::Path;

use crate::array::array_ref::{ArrayRef, checked_size};
use crate::array::element::{Element, check_header};
use crate::array::shared_array::SharedArray;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::object::source::Source;
use crate::region::mapping::Mapping;
use crate::region::npy::NpyHeader;
use crate::sys::mmap::Access;

/// A `.npy` file, mapped for reading; from [`SharedArray::map_npy`].
///
/// Pages are read from the file at the first access. It dereferences to an [`ArrayRef`].
pub struct MappedArray<T> {
    mapping: Mapping,
    elements: ArrayRef<T>,
}

/// A `.npy` file, mapped for reading and writing: changes go to the file; from
/// [`SharedArray::map_npy_mut`].
pub struct MappedArrayMut<T>(MappedArray<T>);

impl<T: Element> SharedArray<T> {
    /// Maps a `.npy` file without reading it into memory first.
    ///
    /// Prefer [`SharedArray::from_npy`], which is safe, unless the file is larger than memory
    /// or only part of it is needed.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::Layout`] if it is not a `.npy` file, truncated, of another
    /// dtype, not row-major or in the other byte order; [`Error::Os`].
    ///
    /// # Safety
    ///
    /// - While the array lives, nobody writes to the file.
    /// - While the array lives, nobody truncates the file: accesses would end in SIGBUS.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::SharedArray;
    /// let path = std::env::temp_dir().join(format!("doc-map-{}.npy", std::process::id()));
    /// SharedArray::from_slice(&[1u32, 2, 3])?.to_npy(&path)?;
    /// // SAFETY: nobody else knows the file, and nothing writes to it here.
    /// let mapped = unsafe { SharedArray::<u32>::map_npy(&path)? };
    /// assert_eq!(mapped.as_slice(), [1, 2, 3]);
    /// # std::fs::remove_file(path).unwrap();
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub unsafe fn map_npy(path: impl AsRef<Path>) -> Result<MappedArray<T>> {
        MappedArray::open(path.as_ref(), Access::ReadOnly)
    }

    /// Maps a `.npy` file for reading and writing in place.
    ///
    /// # Errors
    ///
    /// As [`SharedArray::map_npy`].
    ///
    /// # Safety
    ///
    /// - While the array lives, the file is accessed only through it.
    /// - While the array lives, nobody truncates the file: accesses would end in SIGBUS.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::SharedArray;
    /// let path = std::env::temp_dir().join(format!("doc-map-mut-{}.npy", std::process::id()));
    /// SharedArray::from_slice(&[1u32, 2, 3])?.to_npy(&path)?;
    /// // SAFETY: nobody else knows the file.
    /// let mut mapped = unsafe { SharedArray::<u32>::map_npy_mut(&path)? };
    /// mapped.as_mut_slice()[0] = 9;
    /// drop(mapped);
    /// assert_eq!(SharedArray::<u32>::from_npy(&path)?.as_slice(), [9, 2, 3]);
    /// # std::fs::remove_file(path).unwrap();
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub unsafe fn map_npy_mut(path: impl AsRef<Path>) -> Result<MappedArrayMut<T>> {
        MappedArray::open(path.as_ref(), Access::ReadWrite).map(MappedArrayMut)
    }
}

impl<T: Element> MappedArray<T> {
    fn open(path: &Path, access: Access) -> Result<MappedArray<T>> {
        let (mapping, header) = Mapping::file(path, access)?;
        check_header::<T>(&header, &path.display().to_string())?;
        checked_size::<T>(&header.shape)?;
        let NpyHeader { shape, data_offset, .. } = header;
        let start = mapping.base().wrapping_add(data_offset);
        // SAFETY: the mapping has the elements of `shape` there (`Mapping::file`), aligned
        // (`check_header`), and lives as long as the array, in forked children too. That they are
        // not written is the contract of `map_npy`; for `map_npy_mut` it follows from its contract
        // and the borrow of the handle.
        let elements = unsafe { ArrayRef::new(start, shape, None) };
        Ok(MappedArray { mapping, elements })
    }

    /// The source from which a worker finds the elements.
    pub(crate) fn source(&self) -> Source {
        self.elements.source_in(&self.mapping)
    }
}

impl<T: Element> MappedArrayMut<T> {
    /// The elements in row-major order, mutable in the file.
    #[must_use]
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        // SAFETY: the mapping is writable (`map_npy_mut`), and by contract this handle, borrowed
        // exclusively, is the only access to the file.
        unsafe { self.0.elements.as_mut_slice() }
    }

    /// The source from which a worker finds the elements.
    pub(crate) fn source(&self) -> Source {
        self.0.source()
    }
}

impl<T> Deref for MappedArray<T> {
    type Target = ArrayRef<T>;

    #[inline]
    fn deref(&self) -> &ArrayRef<T> {
        &self.elements
    }
}

impl<T> Deref for MappedArrayMut<T> {
    type Target = ArrayRef<T>;

    #[inline]
    fn deref(&self) -> &ArrayRef<T> {
        &self.0.elements
    }
}

impl<T> fmt::Debug for MappedArray<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.elements.show("MappedArray", f)
    }
}

impl<T> fmt::Debug for MappedArrayMut<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.show("MappedArrayMut", f)
    }
}

//! The array in a mapped file.
//!
//! By contract no other program changes the file.

#![allow(unsafe_code)]

use std::fmt;
use std::ops::Deref;
use std::path::Path;

use crate::array::array_ref::{ArrayRef, checked_size};
use crate::array::element::{Element, check_header, dtype_of};
use crate::array::shared_array::SharedArray;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::object::source::Source;
use crate::region::mapping::Mapping;
use crate::region::npy::NpyHeader;
use crate::shape::Shape;
use crate::sys::mmap::Access;

/// A file, mapped for reading: a `.npy` file, from [`SharedArray::map_npy`], or the bytes of any
/// file, from [`SharedArray::map_bytes`].
///
/// Pages are read from the file at the first access. It dereferences to an [`ArrayRef`].
///
/// # Examples
///
/// ```
/// use brigade::{MappedArray, SharedArray};
/// let path = std::env::temp_dir().join(format!("doc-mapped-{}.npy", std::process::id()));
/// SharedArray::from_slice(&[1u32, 2, 3])?.to_npy(&path)?;
/// // SAFETY: nobody else knows the file, and nothing writes to it here.
/// let mapped: MappedArray<u32> = unsafe { SharedArray::map_npy(&path)? };
/// assert_eq!((mapped.len(), mapped[[2]]), (3, 3));
/// # std::fs::remove_file(path).unwrap();
/// # Ok::<(), brigade::Error>(())
/// ```
pub struct MappedArray<T> {
    mapping: Mapping,
    elements: ArrayRef<T>,
}

/// A `.npy` file, mapped for reading and writing: changes go to the file; from
/// [`SharedArray::map_npy_mut`] or [`SharedArray::create_npy`].
///
/// # Examples
///
/// ```
/// use brigade::{MappedArrayMut, SharedArray};
/// let path = std::env::temp_dir().join(format!("doc-mapped-mut-{}.npy", std::process::id()));
/// // SAFETY: nobody else knows the file.
/// let mut mapped: MappedArrayMut<u32> = unsafe { SharedArray::create_npy(&path, [3])? };
/// mapped.as_mut_slice().fill(7);
/// drop(mapped);
/// assert_eq!(SharedArray::<u32>::from_npy(&path)?.as_slice(), [7, 7, 7]);
/// # std::fs::remove_file(path).unwrap();
/// # Ok::<(), brigade::Error>(())
/// ```
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
        let path = path.as_ref();
        MappedArray::new(path, Mapping::file(path, Access::ReadOnly)?)
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
        let (path, access) = (path.as_ref(), Access::ReadWrite);
        Ok(MappedArrayMut(MappedArray::new(path, Mapping::file(path, access)?)?))
    }

    /// Makes a `.npy` file of zeros and maps it for reading and writing: an output that need not
    /// fit into memory.
    ///
    /// The space for all elements is reserved, so that a full disk is an error of this call and
    /// not a signal at a later access. Changed pages are written to the file when memory is short,
    /// and at the latest some time after the array is dropped; [`MappedArrayMut::sync`] waits for
    /// that. The file gets its name at once: a program that ends early leaves a valid file in
    /// which some elements are still zero, and one that is killed during this call a file without
    /// a header. To write an array that fits into memory completely or not at all, use
    /// [`to_npy`](ArrayRef::to_npy).
    ///
    /// # Errors
    ///
    /// [`Error::NameTaken`] if there is a file, or a link, at `path`: remove it, or open it with
    /// [`map_npy_mut`](SharedArray::map_npy_mut). [`Error::NoSpace`] if the disk, or the limit on
    /// file sizes, has no room. [`Error::NotFound`] if there is no such folder.
    /// [`Error::InvalidArgument`] if the shape overflows; [`Error::Os`].
    ///
    /// # Safety
    ///
    /// As for [`map_npy_mut`](SharedArray::map_npy_mut):
    ///
    /// - While the array lives, the file is accessed only through it.
    /// - While the array lives, nobody truncates the file: accesses would end in SIGBUS.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Error, Pool, SharedArray};
    /// let path = std::env::temp_dir().join(format!("doc-create-{}.npy", std::process::id()));
    /// let pool = Pool::builder().workers(2).build()?;
    /// // SAFETY: nobody else knows the file.
    /// let mut squares = unsafe { SharedArray::<u64>::create_npy(&path, [1000])? };
    /// pool.par_chunks_mut(&mut squares, 100).enumerate().for_each(|(chunk, squares)| {
    ///     for (i, square) in squares.iter_mut().enumerate() {
    ///         *square = ((100 * chunk + i) as u64).pow(2);
    ///     }
    /// })?;
    /// squares.sync()?;
    /// drop(squares);
    /// assert_eq!(SharedArray::<u64>::from_npy(&path)?[[30]], 900);
    /// // SAFETY: the file is not mapped here.
    /// let again = unsafe { SharedArray::<u64>::create_npy(&path, [1000]) };
    /// assert!(matches!(again, Err(Error::NameTaken { .. })));
    /// # std::fs::remove_file(path).unwrap();
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub unsafe fn create_npy(
        path: impl AsRef<Path>,
        shape: impl Into<Shape>,
    ) -> Result<MappedArrayMut<T>> {
        let (path, shape) = (path.as_ref(), shape.into());
        let (_, data_bytes) = checked_size::<T>(&shape)?;
        let file = Mapping::new_file(path, dtype_of::<T>(), &shape, data_bytes)?;
        Ok(MappedArrayMut(MappedArray::new(path, file)?))
    }
}

impl SharedArray<u8> {
    /// Maps the bytes of a file without reading it into memory first: a text, for
    /// [`Pool::par_records`](crate::Pool::par_records), or any other format. An empty file gives an
    /// empty array.
    ///
    /// The pool's loops read it where each worker maps it. If the file is shortened against the
    /// contract, a worker that reads beyond its end dies of SIGBUS: the loop fails with that
    /// [`Death`](crate::Death), or with another error if the worker had not mapped the file yet,
    /// and the pool goes on.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::Layout`] if it is not a regular file; [`Error::Os`].
    ///
    /// # Safety
    ///
    /// - While the array lives, nobody writes to the file.
    /// - While the array lives, nobody truncates the file: accesses would end in SIGBUS.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let path = std::env::temp_dir().join(format!("doc-map-bytes-{}.txt", std::process::id()));
    /// std::fs::write(&path, "one\ntwo\nthree\n").unwrap();
    /// let pool = Pool::builder().workers(2).build()?;
    /// // SAFETY: nobody else knows the file, and nothing writes to it here.
    /// let text = unsafe { SharedArray::map_bytes(&path)? };
    /// let lines = pool.par_records(&text, b'\n', 4).map(|piece| {
    ///     piece.iter().filter(|&&byte| byte == b'\n').count()
    /// });
    /// assert_eq!(lines.reduce(0, |a, b| a + b)?, 3);
    /// # std::fs::remove_file(path).unwrap();
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub unsafe fn map_bytes(path: impl AsRef<Path>) -> Result<MappedArray<u8>> {
        let (mapping, len) = Mapping::plain(path.as_ref())?;
        let shape = Shape::from([len]);
        checked_size::<u8>(&shape)?;
        // SAFETY: the mapping has `len` bytes (`Mapping::plain`), lives as long as the array, in
        // forked children too, and that they are not written is this function's contract.
        let elements = unsafe { ArrayRef::new(mapping.base(), shape, None) };
        Ok(MappedArray { mapping, elements })
    }
}

impl<T: Element> MappedArray<T> {
    fn new(path: &Path, (mapping, header): (Mapping, NpyHeader)) -> Result<MappedArray<T>> {
        check_header::<T>(&header, &path.display().to_string())?;
        checked_size::<T>(&header.shape)?;
        let NpyHeader { shape, data_offset, .. } = header;
        let start = mapping.base().wrapping_add(data_offset);
        // SAFETY: the mapping has the elements of `shape` there (`Mapping::of_file`), aligned
        // (`check_header`), and lives as long as the array, in forked children too. That they are
        // not written is the contract of `map_npy`; for `map_npy_mut` and `create_npy` it follows
        // from their contract and the borrow of the handle.
        let elements = unsafe { ArrayRef::new(start, shape, None) };
        Ok(MappedArray { mapping, elements })
    }

    /// Whether the file still has the size, and the time of its last change, that it had when it
    /// was mapped: a check, after a long computation, of the contract that nobody changes it.
    ///
    /// A change within the resolution of the file system's clock, 1 to 10 ms on most, or one
    /// through a mapping that has not been written back, goes unnoticed.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::SharedArray;
    /// let path = std::env::temp_dir().join(format!("doc-unchanged-{}.txt", std::process::id()));
    /// std::fs::write(&path, "one\ntwo\n").unwrap();
    /// // SAFETY: nobody else knows the file, and the mapping is not read after it is written.
    /// let text = unsafe { SharedArray::map_bytes(&path)? };
    /// assert!(text.is_unchanged());
    /// std::fs::write(&path, "one\n").unwrap();
    /// assert!(!text.is_unchanged());
    /// # std::fs::remove_file(path).unwrap();
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[must_use]
    pub fn is_unchanged(&self) -> bool {
        self.mapping.is_unchanged()
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
        // SAFETY: the mapping is writable (`map_npy_mut`, `create_npy`), and by contract this
        // handle, borrowed exclusively, is the only access to the file.
        unsafe { self.0.elements.as_mut_slice() }
    }

    /// Waits until all changes of the elements are on the disk. The name of a new file is not
    /// covered: sync its folder for that.
    ///
    /// # Errors
    ///
    /// [`Error::Os`], for example if the disk fails.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::SharedArray;
    /// let path = std::env::temp_dir().join(format!("doc-sync-{}.npy", std::process::id()));
    /// // SAFETY: nobody else knows the file.
    /// let mut array = unsafe { SharedArray::<u8>::create_npy(&path, [3])? };
    /// array.as_mut_slice()[2] = 7;
    /// array.sync()?;
    /// assert_eq!(SharedArray::<u8>::from_npy(&path)?.as_slice(), [0, 0, 7]);
    /// # std::fs::remove_file(path).unwrap();
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn sync(&self) -> Result<()> {
        self.0.mapping.sync()
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::time::Duration;

    #[test]
    #[allow(unsafe_code)]
    fn a_change_that_keeps_the_size_is_noticed() {
        let path = std::env::temp_dir().join(format!("brigade-changed-{}", std::process::id()));
        fs::write(&path, "one\n").unwrap();
        // SAFETY: nobody else knows the file, and the mapping is not read after it is written.
        let text = unsafe { SharedArray::map_bytes(&path) }.unwrap();
        assert!(text.is_unchanged());
        fs::write(&path, "two\n").unwrap();
        // The clock of the file system may not have advanced since the file was mapped.
        let file = File::options().write(true).open(&path).unwrap();
        let modified = file.metadata().unwrap().modified().unwrap();
        file.set_modified(modified + Duration::from_secs(1)).unwrap();
        assert!(!text.is_unchanged());
        fs::remove_file(path).unwrap();
    }
}

//! Reading and writing whole `.npy` files, in parallel.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread;

use bytemuck::Pod;

use crate::array::array_ref::ArrayRef;
use crate::array::element::{Element, check_dtype, dtype_of};
use crate::array::shared_array::SharedArray;
use crate::error::{Error, Limit, Result};
use crate::region::Dtype;
use crate::region::npy::{self, NpyHeader};
use crate::shape::Shape;
use crate::sys::file;
use crate::sys::mmap::HUGE_BYTES;
use crate::sys::write_file::{self, Destination};

/// Smaller files are read and written by one thread, in bytes.
const PARALLEL_BYTES: usize = 8 << 20;

/// The dtype and the shape of the array in a `.npy` file, from its header.
///
/// It also checks that the file is long enough for all elements.
///
/// # Errors
///
/// As [`SharedArray::from_npy`], except for [`Error::NoSpace`]. [`Error::Layout`] for a file that
/// is not a regular one, for example a pipe.
///
/// # Examples
///
/// ```
/// use brigade::{Dtype, SharedArray, Shape};
/// let path = std::env::temp_dir().join(format!("brigade-header-{}.npy", std::process::id()));
/// SharedArray::from_fn([2, 3], |[i, j]| (i + j) as f32)?.to_npy(&path)?;
/// assert_eq!(brigade::npy_header(&path)?, (Dtype::F32, Shape::from([2, 3])));
/// std::fs::remove_file(path).unwrap();
/// # Ok::<(), brigade::Error>(())
/// ```
pub fn npy_header(path: impl AsRef<Path>) -> Result<(Dtype, Shape)> {
    let path = path.as_ref();
    let shown = path.display().to_string();
    // Checked before it is opened: opening a pipe waits for its writer.
    if path.metadata().is_ok_and(|found| !found.is_file()) {
        let (found, expected) = ("no regular file".to_owned(), "a .npy file".to_owned());
        return Err(Error::Layout { place: shown, found, expected });
    }
    let file = file::open_to_read(path)?;
    let header = npy::read(&file, file::state(&file, &shown)?.size_bytes, &shown)?;
    Ok((header.dtype, header.shape))
}

impl<T: Element> SharedArray<T> {
    /// Reads a `.npy` file, in parallel, into shared memory.
    ///
    /// Both byte orders and both index orders are read; the array is always row-major and in this
    /// machine's byte order. A file in Fortran order temporarily takes twice the memory.
    ///
    /// A pipe, or a descriptor of this process (`/dev/stdin`, `/dev/fd/3`, a shell's `<(..)`), is
    /// read from its current position to the end of the array, and no further.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::Layout`] if it is not a `.npy` file, truncated or of another
    /// dtype; [`Error::NoSpace`] if it is larger than memory; [`Error::Os`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::SharedArray;
    /// let path = std::env::temp_dir().join(format!("brigade-doc-{}.npy", std::process::id()));
    /// SharedArray::from_fn([2, 3], |[i, j]| (i + j) as f32)?.to_npy(&path)?;
    /// let read = SharedArray::<f32>::from_npy(&path)?;
    /// assert_eq!(read[[1, 2]], 3.0);
    /// std::fs::remove_file(path).unwrap();
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn from_npy(path: impl AsRef<Path>) -> Result<SharedArray<T>> {
        let path = path.as_ref();
        let shown = path.display().to_string();
        let (file, is_stream) = match write_file::descriptor(path)? {
            Some(stream) => (stream, true),
            None => {
                let file = file::open_to_read(path)?;
                let is_stream = !file.metadata().is_ok_and(|found| found.is_file());
                (file, is_stream)
            }
        };
        if is_stream {
            return Self::from_stream(file, &shown);
        }
        let file_bytes = file::state(&file, &shown)?.size_bytes;
        let header = npy::read(&file, file_bytes, &shown)?;
        check_dtype::<T>(header.dtype, &shown)?;
        let NpyHeader { is_native, is_fortran, shape, data_offset, .. } = header;
        let mut array = SharedArray::<T>::for_overwrite(&shape)?;
        let fail = |e| read_error(e, &shown);
        let (arena, offset) = (array.span().arena().clone(), array.span().offset());
        in_parts(array.as_mut_slice(), |start, part| {
            if part.len() >= HUGE_BYTES {
                arena.window().populate(offset + start as u64, part.len())?;
            }
            file.read_exact_at(part, (data_offset + start) as u64).map_err(fail)?;
            to_native::<T>(part, is_native);
            Ok(())
        })?;
        if is_fortran && shape.ndim() > 1 { from_fortran(&array, &shape) } else { Ok(array) }
    }

    /// Reads a stream, which cannot be read twice, from its current position.
    fn from_stream(mut stream: File, shown: &str) -> Result<SharedArray<T>> {
        let header = npy::read_stream(&mut stream, shown)?;
        check_dtype::<T>(header.dtype, shown)?;
        let NpyHeader { is_native, is_fortran, shape, .. } = header;
        let mut array = SharedArray::<T>::for_overwrite(&shape)?;
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(array.as_mut_slice());
        stream.read_exact(bytes).map_err(|e| read_error(e, shown))?;
        to_native::<T>(bytes, is_native);
        if is_fortran && shape.ndim() > 1 { from_fortran(&array, &shape) } else { Ok(array) }
    }
}

impl<T: Element> ArrayRef<T> {
    /// Writes the array as a `.npy` file, in parallel.
    ///
    /// A new file is written next to `path` and then replaces it. So `path` is either the old file
    /// or the whole new one, never a part, even if this program is killed. The new file keeps the
    /// owner, the permissions and the access control lists of the old one. When this returns the
    /// data is in the system's cache, not necessarily on the disk; see
    /// [`to_npy_synced`](ArrayRef::to_npy_synced). A symbolic link stays, and points to the new
    /// file.
    ///
    /// Some regular files cannot be replaced: one that has a second name, is mounted, belongs to
    /// another user, or lies in a folder or file system that does not permit it. Such a file is
    /// written in place, as a shell's `>` does; then a failure or a kill in the middle leaves an
    /// incomplete `.npy` file. A pipe, a device, or a descriptor of this process (`/dev/stdout`,
    /// `/dev/fd/3`) is written to at its current position.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`] if the disk has no room; [`Error::NotFound`] if there is no such folder;
    /// [`Error::Closed`] in a child that was forked by hand; [`Error::Os`], for example if this
    /// user may not write to the file.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::SharedArray;
    /// let path = std::env::temp_dir().join(format!("brigade-saved-{}.npy", std::process::id()));
    /// SharedArray::from_fn([2, 2], |[i, j]| (2 * i + j) as u16)?.to_npy(&path)?;
    /// let read = SharedArray::<u16>::from_npy(&path)?;
    /// assert_eq!((read.shape().dims(), read.as_slice()), (&[2, 2][..], &[0, 1, 2, 3][..]));
    /// std::fs::remove_file(path).unwrap();
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn to_npy(&self, path: impl AsRef<Path>) -> Result<()> {
        self.write_npy(path.as_ref(), false)
    }

    /// As [`to_npy`](ArrayRef::to_npy), but returns when the file is on the disk: after a loss of
    /// power `path` is the old file or the whole new one.
    ///
    /// # Errors
    ///
    /// As [`to_npy`](ArrayRef::to_npy).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::SharedArray;
    /// let path = std::env::temp_dir().join(format!("brigade-synced-{}.npy", std::process::id()));
    /// SharedArray::from_slice(&[1u8, 2])?.to_npy_synced(&path)?;
    /// assert_eq!(SharedArray::<u8>::from_npy(&path)?.as_slice(), [1, 2]);
    /// std::fs::remove_file(path).unwrap();
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn to_npy_synced(&self, path: impl AsRef<Path>) -> Result<()> {
        self.write_npy(path.as_ref(), true)
    }

    fn write_npy(&self, path: &Path, is_synced: bool) -> Result<()> {
        self.check()?;
        let target = Destination::find(path)?;
        let header = npy::encode(dtype_of::<T>(), self.shape())?;
        let mut bytes: &[u8] = bytemuck::cast_slice(self.as_slice());
        if bytes.is_empty() && !target.is_stream() {
            // A file with no elements gets one byte, so that it can be mapped; see
            // `npy::file_bytes`.
            bytes = &[0];
        }
        let total_bytes = (header.len() + bytes.len()) as u64;
        let fail = |call, e: io::Error| match e.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                let (requested_bytes, limited_by) = (total_bytes, Limit::FileSystem);
                Error::NoSpace { requested_bytes, free_bytes: 0, limited_by }
            }
            _ => Error::os(call, target.shown(), e),
        };
        let sync = |file: &File| match is_synced {
            true => write_file::sync(file).map_err(|e| fail("fsync", e)),
            false => Ok(()),
        };
        match target.temporary_file() {
            Ok(temporary) => {
                file::check_room(temporary.file(), total_bytes, 0, target.shown())?;
                write_parts(temporary.file(), &header, bytes).map_err(|e| fail("pwrite", e))?;
                sync(temporary.file())?;
                let folder = if is_synced { target.folder() } else { Ok(None) };
                let folder = folder.map_err(|e| fail("open", e))?;
                if temporary.persist().is_ok() {
                    return folder.as_ref().map_or(Ok(()), sync);
                }
            }
            Err(e) if write_file::is_shortage(&e) => return Err(fail("open", e)),
            // It is written in place.
            Err(_) => {}
        }
        let mut direct = target.direct(total_bytes)?;
        for part in [&header, bytes] {
            direct.write(part).map_err(|e| fail("write", e))?;
        }
        sync(direct.file())
    }
}

/// Writes a file that is still empty, in parallel.
fn write_parts(file: &File, header: &[u8], bytes: &[u8]) -> io::Result<()> {
    file.write_all_at(header, 0)?;
    let write = |start: usize, part: &[u8]| file.write_all_at(part, (header.len() + start) as u64);
    let Some(part_bytes) = part_bytes(bytes.len()) else { return write(0, bytes) };
    let parts = bytes.chunks(part_bytes).enumerate();
    share_out(parts, |(index, part)| write(index * part_bytes, part))
}

/// Converts elements from the other byte order.
fn to_native<T: Element>(bytes: &mut [u8], is_native: bool) {
    if !is_native {
        bytes.chunks_exact_mut(T::DTYPE.unit_bytes()).for_each(<[u8]>::reverse);
    }
}

fn read_error(error: io::Error, shown: &str) -> Error {
    match error.kind() {
        ErrorKind::UnexpectedEof => Error::Layout {
            place: shown.to_owned(),
            found: "the end of the file within its elements".to_owned(),
            expected: "a complete .npy file that is not truncated during the call".to_owned(),
        },
        _ => Error::os("read", shown, error),
    }
}

/// Runs `work` on parts of the bytes of `elements` in parallel, with `(offset, part)`.
///
/// Parts begin at multiples of a huge page, if `elements` does.
fn in_parts<T: Pod>(
    elements: &mut [T],
    work: impl Fn(usize, &mut [u8]) -> Result<()> + Sync,
) -> Result<()> {
    let bytes: &mut [u8] = bytemuck::cast_slice_mut(elements);
    let Some(part_bytes) = part_bytes(bytes.len()) else { return work(0, bytes) };
    let parts = bytes.chunks_mut(part_bytes).enumerate();
    share_out(parts, |(index, part)| work(index * part_bytes, part))
}

/// Calls `work` with each of the parts, on this thread and on up to as many further threads as
/// there are parts, if the system has room for them.
fn share_out<P: Send, E: Send>(
    parts: impl ExactSizeIterator<Item = P> + Send,
    work: impl Fn(P) -> std::result::Result<(), E> + Sync,
) -> std::result::Result<(), E> {
    let others = parts.len().saturating_sub(1);
    let parts = Mutex::new(parts);
    let next = || parts.lock().unwrap_or_else(PoisonError::into_inner).next();
    let take_part = || -> std::result::Result<(), E> {
        while let Some(part) = next() {
            work(part)?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let start = |_| thread::Builder::new().spawn_scoped(scope, take_part).ok();
        let others: Vec<_> = (0..others).map_while(start).collect();
        let own = take_part();
        others.into_iter().fold(own, |result, other| {
            result.and(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })
    })
}

/// The size of the parts of `len_bytes` for several threads; `None` if one thread should do it.
fn part_bytes(len_bytes: usize) -> Option<usize> {
    if len_bytes < PARALLEL_BYTES {
        return None;
    }
    let threads = thread::available_parallelism().map_or(1, usize::from).min(8);
    (threads > 1).then(|| len_bytes.div_ceil(threads).next_multiple_of(HUGE_BYTES))
}

/// A row-major copy of elements whose first index varies fastest.
fn from_fortran<T: Pod>(stored: &SharedArray<T>, shape: &Shape) -> Result<SharedArray<T>> {
    /// The edge of the square blocks of the transposition: two fit into the first-level cache.
    const EDGE: usize = 32;
    let mut array = SharedArray::for_overwrite(shape)?;
    if array.is_empty() {
        return Ok(array);
    }
    let dims = shape.dims();
    let (rows, columns) = (dims[0], dims[dims.len() - 1]);
    let middle = array.len() / rows / columns;
    let (from, to) = (stored.as_slice(), array.as_mut_slice());
    // The first and last index are swapped block by block, for each value of those between, whose
    // order is reversed.
    for between in 0..middle {
        let reversed = reverse_digits(between, &dims[1..dims.len() - 1]);
        for row_block in (0..rows).step_by(EDGE) {
            for column_block in (0..columns).step_by(EDGE) {
                for row in row_block..rows.min(row_block + EDGE) {
                    for column in column_block..columns.min(column_block + EDGE) {
                        to[(row * middle + between) * columns + column] =
                            from[(column * middle + reversed) * rows + row];
                    }
                }
            }
        }
    }
    Ok(array)
}

/// The position in the order in which the first index varies fastest, for a position in the order
/// in which the last does.
fn reverse_digits(mut position: usize, dims: &[usize]) -> usize {
    let mut stride = dims.iter().product::<usize>();
    let mut reversed = 0;
    for &extent in dims.iter().rev() {
        stride /= extent;
        reversed += (position % extent) * stride;
        position /= extent;
    }
    reversed
}

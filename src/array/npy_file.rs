//! Reading and writing whole `.npy` files, in parallel.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;

use bytemuck::Pod;

use crate::array::element::{Element, dtype_of};
use crate::array::shared::SharedArray;
use crate::error::{Error, Limit, Result};
use crate::region::npy::{self, Header};
use crate::shape::Shape;
use crate::sys::mmap::{Access, HUGE_BYTES};
use crate::sys::{file, limits, memfd};

/// Files below this size are read and written by one thread, in bytes.
const PARALLEL_BYTES: usize = 8 << 20;

impl<T: Element> SharedArray<T> {
    /// Reads a `.npy` file, in parallel, into shared memory.
    ///
    /// Both byte orders and both index orders are read; the array is always row-major and in
    /// this machine's byte order. A file in Fortran order takes twice the memory for a moment.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::Layout`] if it is no `.npy`, truncated or of another
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
        let file = file::open(path, Access::ReadOnly)?;
        let (_, file_bytes) = file::identity(&file, &shown)?;
        let header = npy::read(&file, file_bytes, &shown)?;
        if header.dtype != dtype_of::<T>() {
            let (found, expected) = (header.dtype, dtype_of::<T>());
            let (found, expected) = (format!("dtype {found}"), format!("dtype {expected}"));
            return Err(Error::Layout { place: shown, found, expected });
        }
        let Header { is_native, is_fortran, shape, data_offset, .. } = header;
        let mut array = SharedArray::<T>::for_overwrite(&shape)?;
        let fail = |e: io::Error| match e.kind() {
            io::ErrorKind::UnexpectedEof => Error::Layout {
                place: shown.clone(),
                found: "a file that became shorter while it was read".to_owned(),
                expected: format!("{file_bytes} bytes"),
            },
            _ => Error::os("pread", shown.clone(), e),
        };
        let (arena, offset) = (array.span().arena().clone(), array.span().offset());
        in_parts(array.as_mut_slice(), |start, part| {
            if part.len() >= HUGE_BYTES {
                arena.window().populate(offset + start as u64, part.len())?;
            }
            file.read_exact_at(part, (data_offset + start) as u64).map_err(fail)?;
            if !is_native {
                part.chunks_exact_mut(T::DTYPE.unit_bytes()).for_each(<[u8]>::reverse);
            }
            Ok(())
        })?;
        if is_fortran && shape.ndim() > 1 { from_fortran(&array, &shape) } else { Ok(array) }
    }

    /// Writes the array as a `.npy` file, in parallel.
    ///
    /// A temporary file beside `path` is written and then takes its place, so that `path` is
    /// the old file, or the whole new one, never a part. The data is in the system's cache by
    /// then, not necessarily on the disk. A symbolic link stays, and leads to the new file. What is
    /// no regular file, a pipe or `/dev/null`, is not replaced but written to.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`] if the disk is full; [`Error::Closed`] in a child that was forked by
    /// hand; [`Error::Os`]. Either way `path` is untouched and
    /// the temporary file is gone.
    pub fn to_npy(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        self.span().check()?;
        let header = npy::encode(dtype_of::<T>(), self.shape())?;
        let bytes: &[u8] = bytemuck::cast_slice(self.as_slice());
        if fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
            return write_through(path, &header, bytes);
        }
        // A link that leads nowhere is replaced.
        let leads_to = path.is_symlink().then(|| fs::canonicalize(path).ok()).flatten();
        let path = leads_to.as_deref().unwrap_or(path);
        let mut temporary = Temporary::beside(path)?;
        let total = header.len() as u64 + bytes.len() as u64;
        temporary.write(&header, bytes).map_err(|error| match error {
            Error::NoSpace { free_bytes, limited_by, .. } => {
                Error::NoSpace { asked_bytes: total, free_bytes, limited_by }
            }
            other => other,
        })?;
        temporary.rename_to(path)
    }
}

/// Writes to what is no regular file and cannot be replaced, from the beginning to the end.
fn write_through(path: &Path, header: &[u8], bytes: &[u8]) -> Result<()> {
    let shown = path.display().to_string();
    let opened = File::options().write(true).open(path);
    let mut file = opened.map_err(|e| Error::os("open", shown.clone(), e))?;
    file.write_all(header).and_then(|()| file.write_all(bytes)).map_err(|e| match e.kind() {
        io::ErrorKind::StorageFull => Error::NoSpace {
            asked_bytes: header.len() as u64 + bytes.len() as u64,
            free_bytes: 0,
            limited_by: Limit::FileSystem,
        },
        _ => Error::os("write", shown, e),
    })
}

/// Runs `work` on parts of the bytes of `elements`, several at a time: `(offset, part)`.
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

/// Calls `work` with each of the parts, on this thread and on as many more as there is a part for
/// and the system has room for.
fn share_out<P: Send>(
    parts: impl ExactSizeIterator<Item = P> + Send,
    work: impl Fn(P) -> Result<()> + Sync,
) -> Result<()> {
    let others = parts.len().saturating_sub(1);
    let parts = Mutex::new(parts);
    let next = || parts.lock().unwrap_or_else(PoisonError::into_inner).next();
    let take_part = || -> Result<()> {
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

/// How to cut `len_bytes` for several threads; `None` if one should do it.
fn part_bytes(len_bytes: usize) -> Option<usize> {
    if len_bytes < PARALLEL_BYTES {
        return None;
    }
    let threads = thread::available_parallelism().map_or(1, usize::from).min(8);
    (threads > 1).then(|| len_bytes.div_ceil(threads).next_multiple_of(HUGE_BYTES))
}

/// A row-major copy of elements whose first index runs fastest.
fn from_fortran<T: Pod>(stored: &SharedArray<T>, shape: &Shape) -> Result<SharedArray<T>> {
    /// Edge of the square blocks of the transposition: two fit the first-level cache.
    const EDGE: usize = 32;
    let mut array = SharedArray::for_overwrite(shape)?;
    if array.is_empty() {
        return Ok(array);
    }
    let dims = shape.dims();
    let (rows, columns) = (dims[0], dims[dims.len() - 1]);
    let middle = array.len() / rows / columns;
    let (from, to) = (stored.as_slice(), array.as_mut_slice());
    // First and last index are swapped block by block, for each value of the ones between,
    // whose order is reversed.
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

/// The position with the first index fastest, of the position with the last index fastest.
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

/// A file that is removed unless it is given its place.
#[derive(Debug)]
struct Temporary {
    file: File,
    path: PathBuf,
    is_placed: bool,
}

impl Temporary {
    fn beside(path: &Path) -> Result<Temporary> {
        let name = path.file_name().ok_or_else(|| {
            Error::invalid("the path", path.display(), "a path that ends in a file's name")
        })?;
        let mut temporary_name = std::ffi::OsString::from(".");
        temporary_name.push(name);
        temporary_name.push(format!(".{:016x}.tmp", memfd::random_u64()?));
        let temporary_path = path.with_file_name(temporary_name);
        let shown = temporary_path.display().to_string();
        let created = File::options().write(true).create_new(true).open(&temporary_path);
        let file = created.map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => Error::NotFound {
                name: path.parent().unwrap_or(path).display().to_string(),
                place: "the file system",
            },
            _ => Error::os("open", shown, e),
        })?;
        Ok(Temporary { file, path: temporary_path, is_placed: false })
    }

    fn write(&mut self, header: &[u8], bytes: &[u8]) -> Result<()> {
        let shown = self.path.display().to_string();
        let total = header.len() as u64 + bytes.len() as u64;
        let no_space = |free_bytes| {
            let limited_by = Limit::FileSystem;
            Error::NoSpace { asked_bytes: total, free_bytes, limited_by }
        };
        // Going past this limit would not be an error but a signal.
        let limit_bytes = limits::file_size_bytes_max();
        if total > limit_bytes {
            return Err(no_space(limit_bytes));
        }
        let free_bytes = file::free_bytes(&self.file, &shown)?;
        if total > free_bytes {
            return Err(no_space(free_bytes));
        }
        let fail = |e: io::Error| match e.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => no_space(free_bytes),
            _ => Error::os("pwrite", shown.clone(), e),
        };
        self.file.write_all_at(header, 0).map_err(fail)?;
        let write = |start: usize, part: &[u8]| {
            self.file.write_all_at(part, (header.len() + start) as u64).map_err(fail)
        };
        let Some(part_bytes) = part_bytes(bytes.len()) else { return write(0, bytes) };
        let parts = bytes.chunks(part_bytes).enumerate();
        share_out(parts, |(index, part)| write(index * part_bytes, part))
    }

    fn rename_to(mut self, path: &Path) -> Result<()> {
        fs::rename(&self.path, path)
            .map_err(|e| Error::os("rename", path.display().to_string(), e))?;
        self.is_placed = true;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.is_placed {
            // Nothing to be done about a failure: the error that led here is on its way.
            let _ = fs::remove_file(&self.path);
        }
    }
}

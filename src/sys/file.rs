//! Files: creation, identity, space, shared mappings, links.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use memmap2::{MmapOptions, MmapRaw};

use crate::error::{Error, Limit, Result};
use crate::sys::mmap::Access;
use crate::sys::{limits, memfd};

/// The identity of a file, independent of its names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FileId {
    pub(crate) device: u64,
    pub(crate) inode: u64,
}

/// Opens a regular file. A symbolic link is followed; anything else is refused.
///
/// # Errors
///
/// [`Error::NotFound`], [`Error::Layout`] if it is not a regular file, [`Error::Os`].
pub(crate) fn open(path: &Path, access: Access) -> Result<File> {
    open_regular(path, access, "a .npy file (of a pipe, read a copy with from_npy)")
}

/// As [`open`]; `expected` says in the error what the path should name.
///
/// # Errors
///
/// As [`open`].
pub(crate) fn open_regular(path: &Path, access: Access, expected: &str) -> Result<File> {
    // A FIFO would block until someone opens its other end.
    let file = open_with(path, access, libc::O_NONBLOCK)?;
    let shown = path.display().to_string();
    let metadata = file.metadata().map_err(|e| Error::os("fstat", shown.clone(), e))?;
    if !metadata.is_file() {
        let found = if metadata.is_dir() { "a folder" } else { "not a regular file" };
        let (found, expected) = (found.to_owned(), expected.to_owned());
        return Err(Error::Layout { place: shown, found, expected });
    }
    Ok(file)
}

/// Opens anything that can be read from beginning to end. A FIFO opens when a writer opens it.
///
/// # Errors
///
/// [`Error::NotFound`], [`Error::Layout`] for a folder, [`Error::Os`].
pub(crate) fn open_to_read(path: &Path) -> Result<File> {
    let file = open_with(path, Access::ReadOnly, 0)?;
    if file.metadata().is_ok_and(|found| found.is_dir()) {
        let (found, expected) = ("a folder".to_owned(), "a .npy file".to_owned());
        return Err(Error::Layout { place: path.display().to_string(), found, expected });
    }
    Ok(file)
}

/// Creates a regular file to write to, or empties it. It is locked until it is closed.
///
/// # Errors
///
/// [`Error::InvalidArgument`] if another user of this function has it open, and [`Error::Layout`]
/// for anything else than a regular file: both are not changed. [`Error::Os`].
pub(crate) fn create(path: &Path, expected: &str) -> Result<File> {
    let shown = path.display().to_string();
    // A FIFO would block until someone opens its other end.
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let mut options = File::options();
    let opened = options.write(true).create(true).truncate(false).custom_flags(flags).open(path);
    let file = opened.map_err(|e| Error::os("open", shown.clone(), e))?;
    let metadata = file.metadata().map_err(|e| Error::os("fstat", shown.clone(), e))?;
    if !metadata.is_file() {
        let (found, expected) = ("not a regular file".to_owned(), expected.to_owned());
        return Err(Error::Layout { place: shown, found, expected });
    }
    // Some file systems have no locks; there it is not noticed that two write to the same file.
    if !try_lock(&file, LockMode::Exclusive, &shown).unwrap_or(true) {
        let found = format!("{shown}, which is already written to");
        return Err(Error::invalid("the path", found, "a file that nothing else writes to"));
    }
    file.set_len(0).map_err(|e| Error::os("ftruncate", shown, e))?;
    Ok(file)
}

fn open_with(path: &Path, access: Access, flags: i32) -> Result<File> {
    let shown = || path.display().to_string();
    File::options()
        .read(true)
        .write(access == Access::ReadWrite)
        .custom_flags(flags | libc::O_NOCTTY)
        .open(path)
        .map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => Error::NotFound { name: shown(), place: "the file system" },
            _ => Error::os("open", shown(), e),
        })
}

/// Makes a regular file of `size_bytes` that begins with `header` and is zero after that, open for
/// reading and writing. Its space is reserved: no later write to it fails for want of space.
///
/// The header is written last, so that a file whose maker died is not taken for a whole one. A
/// file system that cannot reserve space is written full of zeros.
///
/// # Errors
///
/// [`Error::NameTaken`] if anything has the path, a dangling link too; [`Error::NoSpace`];
/// [`Error::NotFound`] if there is no such folder; [`Error::Os`]. After an error there is no file.
pub(crate) fn create_reserved(path: &Path, size_bytes: u64, header: &[u8]) -> Result<File> {
    let shown = path.display().to_string();
    let file = File::options().read(true).write(true).create_new(true).open(path);
    let file = file.map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => Error::NameTaken { name: shown.clone() },
        io::ErrorKind::NotFound => {
            let folder = path.parent().unwrap_or(path).display().to_string();
            Error::NotFound { name: folder, place: "the file system" }
        }
        _ => Error::os("open", shown.clone(), e),
    })?;
    let fail = |e: io::Error| match e.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            let (requested_bytes, limited_by) = (size_bytes, Limit::FileSystem);
            Error::NoSpace { requested_bytes, free_bytes: 0, limited_by }
        }
        _ => Error::os("pwrite", shown.clone(), e),
    };
    let fill = || {
        check_room(&file, size_bytes, 0, &shown)?;
        match memfd::allocate(file.as_fd(), 0, size_bytes) {
            Err(Error::Os { source, .. }) if source.kind() == io::ErrorKind::Unsupported => {
                write_zeros(&file, size_bytes).map_err(fail)?;
            }
            allocated => allocated?,
        }
        file.write_all_at(header, 0).map_err(fail)
    };
    let filled = fill();
    filled.inspect_err(|_| {
        // The error that is returned matters more.
        let _ = std::fs::remove_file(path);
    })?;
    Ok(file)
}

fn write_zeros(file: &File, size_bytes: u64) -> io::Result<()> {
    const STEP_BYTES: usize = 1 << 20;
    let zeros = vec![0; STEP_BYTES];
    let mut at = 0;
    while at < size_bytes {
        let step_bytes = usize::try_from(size_bytes - at).unwrap_or(usize::MAX).min(STEP_BYTES);
        file.write_all_at(&zeros[..step_bytes], at)?;
        at += step_bytes as u64;
    }
    Ok(())
}

/// The identity and size of an open file, read at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileState {
    pub(crate) id: FileId,
    pub(crate) size_bytes: u64,
    /// The time of the last change of its bytes, in seconds and nanoseconds.
    modified: (i64, i64),
}

/// The state of an open file.
pub(crate) fn state(file: &File, shown: &str) -> Result<FileState> {
    let found = file.metadata().map_err(|e| Error::os("fstat", shown, e))?;
    let id = FileId { device: found.dev(), inode: found.ino() };
    let modified = (found.mtime(), found.mtime_nsec());
    Ok(FileState { id, size_bytes: found.len(), modified })
}

/// A shared mapping of the beginning of a file.
#[derive(Debug)]
pub(crate) struct FileMapping(MmapRaw);

impl FileMapping {
    /// Maps the first `len_bytes`, not zero, of a file that has at least as many.
    pub(crate) fn map(file: &File, len_bytes: usize, access: Access) -> Result<FileMapping> {
        let mut options = MmapOptions::new();
        options.len(len_bytes);
        let mapped = match access {
            Access::ReadOnly => options.map_raw_read_only(file),
            Access::ReadWrite => options.map_raw(file),
        };
        let what = || format!("{len_bytes} bytes of a file");
        mapped.map(FileMapping).map_err(|e| Error::os("mmap", what(), e))
    }

    pub(crate) fn as_ptr(&self) -> *mut u8 {
        self.0.as_mut_ptr()
    }

    pub(crate) fn len_bytes(&self) -> usize {
        self.0.len()
    }
}

/// Makes a file without a name in `directory`, readable and writable only for its owner.
pub(crate) fn unnamed_in(directory: &Path) -> Result<File> {
    let shown = || directory.display().to_string();
    let file = unnamed_with_mode(directory, 0o600)
        .map_err(|e| Error::os("open with O_TMPFILE", shown(), e))?;
    // The umask may have cleared bits.
    set_mode(&file, 0o600, &shown())?;
    Ok(file)
}

/// Makes a file without a name in `directory`, with the bits of `mode` that the umask leaves.
pub(crate) fn unnamed_with_mode(directory: &Path, mode: u32) -> io::Result<File> {
    let flags = libc::O_TMPFILE;
    File::options().read(true).write(true).mode(mode).custom_flags(flags).open(directory)
}

/// Sets the permission bits of an open file.
pub(crate) fn set_mode(file: &File, mode: u32, shown: &str) -> Result<()> {
    rustix::fs::fchmod(file.as_fd(), rustix::fs::Mode::from_raw_mode(mode))
        .map_err(|e| Error::os("fchmod", shown, e))
}

/// Gives a file made by [`unnamed_in`] its name; `Ok(false)` if the name is taken.
pub(crate) fn link(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::fd::AsRawFd;
    // Not `/proc/self`, which has no descriptors when the main thread has ended.
    let from = format!("/proc/thread-self/fd/{}", file.as_raw_fd());
    let here = rustix::fs::CWD;
    match rustix::fs::linkat(here, from, here, path, rustix::fs::AtFlags::SYMLINK_FOLLOW) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::EXIST) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Which locks of others a lock on a file excludes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LockMode {
    /// Exclusive ones.
    Shared,
    /// All.
    Exclusive,
}

/// Locks an open file without waiting; false if a conflicting lock is held.
///
/// The lock is released when the last copy of the descriptor is closed. It is never released
/// explicitly, because that would release it for every copy.
pub(crate) fn try_lock(file: &File, hold: LockMode, shown: &str) -> Result<bool> {
    let operation = match hold {
        LockMode::Shared => rustix::fs::FlockOperation::NonBlockingLockShared,
        LockMode::Exclusive => rustix::fs::FlockOperation::NonBlockingLockExclusive,
    };
    loop {
        match rustix::fs::flock(file.as_fd(), operation) {
            Ok(()) => return Ok(true),
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(false),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(Error::os("flock", shown, e)),
        }
    }
}

/// Bytes that a user of this file system may still write there.
pub(crate) fn free_bytes(file: &File, shown: &str) -> Result<u64> {
    let stat = rustix::fs::fstatvfs(file.as_fd()).map_err(|e| Error::os("fstatvfs", shown, e))?;
    // Some file systems that are not on a disk report zero blocks.
    let is_known = stat.f_blocks != 0;
    Ok(if is_known { stat.f_bavail.saturating_mul(stat.f_frsize) } else { u64::MAX })
}

/// Returns [`Error::NoSpace`] if the file may not have `total_bytes`, or its file system has no
/// room for them when `freed_bytes` are freed.
pub(crate) fn check_room(
    file: &File,
    total_bytes: u64,
    freed_bytes: u64,
    shown: &str,
) -> Result<()> {
    // Beyond the limit on file sizes the kernel sends a signal instead of an error.
    let limit_bytes = limits::file_size_bytes_max();
    let room_bytes = free_bytes(file, shown)?.saturating_add(freed_bytes);
    let (free_bytes, limited_by) = match limit_bytes < room_bytes {
        true => (limit_bytes, Limit::FileSize),
        false => (room_bytes, Limit::FileSystem),
    };
    if total_bytes > free_bytes {
        let requested_bytes = total_bytes;
        return Err(Error::NoSpace { requested_bytes, free_bytes, limited_by });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_that_cannot_reserve_gets_zeros() {
        let file = unnamed_in(Path::new("/dev/shm")).unwrap();
        let size_bytes = (2 << 20) + 7;
        write_zeros(&file, size_bytes).unwrap();
        let (_, used_bytes) = memfd::size_and_use_bytes(file.as_fd()).unwrap();
        assert_eq!(file.metadata().unwrap().len(), size_bytes);
        assert!(used_bytes >= size_bytes, "{used_bytes} bytes are reserved");
    }
}

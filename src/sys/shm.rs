//! Named files under `/dev/shm`.

#![allow(unsafe_code)]

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use shared_memory::{Shmem, ShmemConf, ShmemError};

use crate::error::{Error, Result};
use crate::sys::file::{self, FileId, LockMode};
use crate::sys::{memfd, process};

/// The directory of named regions.
pub(crate) const DIRECTORY: &str = "/dev/shm";

/// The mode of a region that outlives its creator; on a regular file Linux ignores the sticky bit.
const KEPT_MODE: u32 = 0o1600;

/// How long another process may hold a region exclusively until the region counts as removed.
const EXCLUSIVE_TIME: Duration = Duration::from_secs(1);

/// The path of a region, whose name the caller has checked.
pub(crate) fn path_of(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}

/// Creates a region without a name. It begins with the result of `header` for the new file, and is
/// zero after that. [`publish`] gives it a name.
///
/// The descriptor holds a shared lock as long as it, or a copy of it, is open. An unpublished
/// region is invisible and needs no cleanup.
///
/// # Errors
///
/// [`Error::NoSpace`] if the file system has no room, [`Error::Os`].
pub(crate) fn prepare(
    name: &str,
    size_bytes: u64,
    header: impl FnOnce(FileId) -> Vec<u8>,
) -> Result<File> {
    let file = file::unnamed_in(Path::new(DIRECTORY))?;
    if !file::try_lock(&file, LockMode::Shared, name)? {
        return Err(Error::os("flock", name, io::Error::from(io::ErrorKind::WouldBlock)));
    }
    file::check_room(&file, size_bytes, 0, DIRECTORY)?;
    memfd::allocate(file.as_fd(), 0, size_bytes)?;
    let id = file::state(&file, name)?.id;
    file.write_all_at(&header(id), 0).map_err(|e| Error::os("pwrite", name, e))?;
    Ok(file)
}

/// Gives a region made by [`prepare`] its name; false if the name is taken.
///
/// # Errors
///
/// [`Error::Os`].
pub(crate) fn publish(file: &File, name: &str) -> Result<bool> {
    let path = path_of(name);
    file::link(file, &path).map_err(|e| Error::os("linkat", path.display().to_string(), e))
}

/// Whether anything has this name.
pub(crate) fn exists(name: &str) -> bool {
    fs::symlink_metadata(path_of(name)).is_ok()
}

/// Opens a region, if it is a regular file that only this user may access.
///
/// The descriptor holds a shared lock, like its creator's.
///
/// # Errors
///
/// [`Error::NotFound`]; [`Error::Layout`] if it is a link, no regular file, or someone else's.
pub(crate) fn open(name: &str) -> Result<File> {
    let file = checked(name)?;
    // A process that holds it exclusively checks whether others hold it. Soon the file is unlocked,
    // or its name is gone.
    let start = Instant::now();
    while !file::try_lock(&file, LockMode::Shared, name)? {
        if start.elapsed() > EXCLUSIVE_TIME {
            return Err(not_found(name));
        }
        std::thread::yield_now();
    }
    Ok(file)
}

/// Opens the file of this name, if it is a regular file that only this user may access.
fn checked(name: &str) -> Result<File> {
    let file = open_unfollowed(name, true).map_err(|e| match e.raw_os_error() {
        Some(libc::ENOENT) => not_found(name),
        Some(libc::ELOOP) => strange(name, "a symbolic link"),
        Some(libc::EISDIR) => strange(name, "a directory"),
        Some(libc::ENXIO) => strange(name, "a socket or a FIFO"),
        _ => Error::os("open", path_of(name).display().to_string(), e),
    })?;
    let metadata = file.metadata().map_err(|e| Error::os("fstat", name, e))?;
    if let Some(what) = why_inaccessible(&metadata) {
        return Err(strange(name, what));
    }
    Ok(file)
}

/// Opens a file of this user's without locking it, so others may remove its name.
///
/// # Errors
///
/// As [`open`].
pub(crate) fn open_raw(name: &str) -> Result<File> {
    checked(name)
}

fn not_found(name: &str) -> Error {
    Error::NotFound { name: name.to_owned(), place: DIRECTORY }
}

fn open_unfollowed(name: &str, write: bool) -> io::Result<File> {
    File::options()
        .read(true)
        .write(write)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path_of(name))
}

fn why_inaccessible(metadata: &fs::Metadata) -> Option<&'static str> {
    if !metadata.is_file() {
        return Some("not a regular file");
    }
    if metadata.uid() != process::effective_user() {
        return Some("a file of another user");
    }
    (metadata.mode() & 0o077 != 0).then_some("a file that other users may open")
}

fn strange(name: &str, found: &str) -> Error {
    let place = path_of(name).display().to_string();
    let expected = "a region of this user's, mode 600".to_owned();
    Error::Layout { place, found: found.to_owned(), expected }
}

/// The state of a regular file under [`DIRECTORY`].
#[derive(Debug)]
pub(crate) struct FileStatus {
    pub(crate) id: FileId,
    pub(crate) uid: u32,
    /// Permission bits.
    pub(crate) mode: u32,
    pub(crate) size_bytes: u64,
    /// Its memory.
    pub(crate) used_bytes: u64,
    /// Open for reading, if this user may read it.
    pub(crate) file: Option<File>,
}

impl FileStatus {
    /// Whether [`lock_stale`] would lock it if no process held it.
    pub(crate) fn is_reclaimable(&self) -> bool {
        self.uid == process::effective_user() && self.mode == 0o600
    }

    /// Whether it was marked by [`keep`].
    pub(crate) fn is_kept(&self) -> bool {
        self.mode == KEPT_MODE
    }
}

/// Inspects a file of any owner without changing or locking it.
///
/// # Errors
///
/// [`Error::NotFound`]; [`Error::Layout`] if it is not a regular file; [`Error::Os`].
pub(crate) fn inspect(name: &str) -> Result<FileStatus> {
    let path = path_of(name);
    let file = open_unfollowed(name, false).ok();
    let metadata = match &file {
        Some(file) => file.metadata(),
        None => fs::symlink_metadata(&path),
    };
    let metadata = metadata.map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => not_found(name),
        _ => Error::os("stat", path.display().to_string(), e),
    })?;
    if !metadata.is_file() {
        let (place, found) = (path.display().to_string(), "not a regular file".to_owned());
        return Err(Error::Layout { place, found, expected: "a region".to_owned() });
    }
    Ok(FileStatus {
        id: FileId { device: metadata.dev(), inode: metadata.ino() },
        uid: metadata.uid(),
        mode: metadata.mode() & 0o7777,
        size_bytes: metadata.len(),
        used_bytes: metadata.blocks().saturating_mul(512),
        file,
    })
}

/// Whether `name` still refers to the file `id`.
pub(crate) fn refers_to(name: &str, id: FileId) -> bool {
    fs::symlink_metadata(path_of(name))
        .is_ok_and(|found| FileId { device: found.dev(), inode: found.ino() } == id)
}

/// Marks a region so that [`lock_stale`] leaves it.
pub(crate) fn keep(file: &File, name: &str) -> Result<()> {
    file::set_mode(file, KEPT_MODE, name)
}

/// Locks a region exclusively if it belongs to this user, no process holds it, and it was not kept.
///
/// `None` otherwise, and whenever this cannot be determined.
pub(crate) fn lock_stale(name: &str) -> Option<File> {
    let file = open_unfollowed(name, false).ok()?;
    let metadata = file.metadata().ok()?;
    if why_inaccessible(&metadata).is_some() || metadata.mode() & 0o7777 != 0o600 {
        return None;
    }
    let locked = file::try_lock(&file, LockMode::Exclusive, name).unwrap_or(false);
    // It may have been kept meanwhile.
    let unchanged = file.metadata().is_ok_and(|now| now.mode() == metadata.mode());
    (locked && unchanged).then_some(file)
}

/// Locks a file exclusively; `None` if another process of this crate holds it.
///
/// # Errors
///
/// [`Error::NotFound`], [`Error::Os`].
pub(crate) fn lock_unheld(name: &str) -> Result<Option<File>> {
    let file = open_unfollowed(name, false).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => not_found(name),
        _ => Error::os("open", path_of(name).display().to_string(), e),
    })?;
    Ok(file::try_lock(&file, LockMode::Exclusive, name)?.then_some(file))
}

/// Whether this was the last descriptor that held an unkept region. Then the region is now locked
/// exclusively.
///
/// In both cases `file` loses its shared lock, so the caller must be about to close it.
pub(crate) fn is_last(file: &File, name: &str) -> bool {
    // The conversion releases the shared lock before it requests the exclusive one. So if the last
    // two holders do this at the same time, one of them gets the exclusive lock.
    let is_locked = file::try_lock(file, LockMode::Exclusive, name).unwrap_or(false);
    // Checked after locking: another holder may have kept the region just before it closed it.
    is_locked && file.metadata().is_ok_and(|metadata| metadata.mode() & 0o7777 == 0o600)
}

/// Removes a name.
///
/// # Errors
///
/// [`Error::NotFound`], [`Error::Os`].
pub(crate) fn unlink(name: &str) -> Result<()> {
    fs::remove_file(path_of(name)).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => not_found(name),
        _ => Error::os("unlink", path_of(name).display().to_string(), e),
    })
}

/// A named region, mapped by the `shared_memory` crate, which does not own it.
pub(crate) struct NamedMapping(Shmem);

// SAFETY: the mapping is an address range that the process owns, valid on every thread; nothing in
// `Shmem` depends on the thread that made it, and its drop only unmaps and closes.
unsafe impl Send for NamedMapping {}

// SAFETY: as for `Send`; a shared reference gives only the address and the length, both constant.
unsafe impl Sync for NamedMapping {}

impl NamedMapping {
    /// Maps the region that `name` refers to, read-write.
    ///
    /// The caller has opened it with [`open`] or [`prepare`], which check it. The directory's
    /// sticky bit keeps other users from replacing a file of this one's.
    pub(crate) fn map(name: &str) -> Result<NamedMapping> {
        let fail = |call, number: u32| {
            let source = io::Error::from_raw_os_error(i32::try_from(number).unwrap_or(libc::EIO));
            Error::os(call, path_of(name).display().to_string(), source)
        };
        match ShmemConf::new().os_id(name).open() {
            Ok(region) => Ok(NamedMapping(region)),
            Err(ShmemError::MapOpenFailed(number)) if number == libc::ENOENT.unsigned_abs() => {
                Err(Error::NotFound { name: name.to_owned(), place: DIRECTORY })
            }
            Err(ShmemError::MapOpenFailed(number) | ShmemError::UnknownOsError(number)) => {
                Err(fail("shm_open or mmap", number))
            }
            Err(_) => Err(fail("shm_open", libc::EIO.unsigned_abs())),
        }
    }

    pub(crate) fn as_ptr(&self) -> *mut u8 {
        self.0.as_ptr()
    }

    pub(crate) fn len_bytes(&self) -> usize {
        self.0.len()
    }
}

impl std::fmt::Debug for NamedMapping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NamedMapping").field("name", &self.0.get_os_id()).finish_non_exhaustive()
    }
}

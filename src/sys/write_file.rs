//! Writes a whole file to a path.
//!
//! - If there is nothing, or a regular file with one name whose owner and permissions a new file
//!   can get: a nameless file in the same directory is written, and then replaces it.
//! - Any other regular file is overwritten in place, as `>` does: one with a second name, a mount
//!   point, one of another owner, or one in a directory where this user cannot create or rename.
//! - To a pipe, a device or a socket the bytes are written from first to last.
//! - To a descriptor of this process (`/dev/stdout`, `/dev/fd/3`) they are written at its position.
//!
//! The file that the kernel opens decides, not the text of the path: a path is replaced only if it
//! points to the file that was opened.

#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, FromRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::XattrFlags;

use crate::error::{Error, Result};
use crate::sys::file::{self, LockMode};
use crate::sys::poll::{self, Interest};
use crate::sys::{random, shm};

/// The most symbolic links that are followed; the kernel has the same limit.
const LINKS_MAX: usize = 40;

/// The largest value, and the longest list of names, of extended attributes, in bytes.
const ATTRIBUTES_BYTES_MAX: usize = 64 << 10;

/// How long to wait for another program that holds the region to be replaced exclusively.
const LOCKED_TIME: Duration = Duration::from_secs(1);

/// The type of `/proc` in `statfs`.
const PROC_MAGIC: i64 = 0x9fa0;

/// The target of a path.
enum PathTarget {
    /// A descriptor of this process.
    Descriptor(i32),
    /// The target of a link of `/proc`, which may differ from the link's text.
    ProcLink,
    /// This path, which is not a symbolic link.
    Path(PathBuf),
}

/// Follows symbolic links to their end, which need not exist.
fn resolve(path: &Path) -> io::Result<PathTarget> {
    let mut at = path.to_owned();
    for _ in 0..=LINKS_MAX {
        let Some(name) = at.file_name() else { return Ok(PathTarget::Path(at)) };
        let folder = at.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = fs::canonicalize(folder.unwrap_or(Path::new(".")))?;
        let full = folder.join(name);
        let Ok(target) = fs::read_link(&full) else { return Ok(PathTarget::Path(full)) };
        if rustix::fs::statfs(&folder).is_ok_and(|found| found.f_type == PROC_MAGIC) {
            let is_own = fs::canonicalize("/proc/self").is_ok_and(|own| folder.starts_with(own));
            let number = name.to_str().and_then(|name| name.parse().ok());
            let number = number.filter(|_| is_own && folder.ends_with("fd"));
            return Ok(number.map_or(PathTarget::ProcLink, PathTarget::Descriptor));
        }
        at = folder.join(target);
    }
    Err(io::Error::from_raw_os_error(libc::ELOOP))
}

/// A duplicate of the descriptor of this process that `path` points to, which shares the position
/// with the original. `None` if it leads elsewhere.
///
/// # Errors
///
/// [`Error::Os`] if there is no such descriptor.
pub(crate) fn descriptor(path: &Path) -> Result<Option<File>> {
    match resolve(path) {
        Ok(PathTarget::Descriptor(number)) => duplicate(number, path).map(Some),
        _ => Ok(None),
    }
}

fn duplicate(number: i32, path: &Path) -> Result<File> {
    // SAFETY: the call duplicates a descriptor; for any number it touches no memory and no other
    // descriptor.
    let copy = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) };
    if copy < 0 {
        return Err(Error::os("fcntl", path.display().to_string(), io::Error::last_os_error()));
    }
    // SAFETY: made by the call above, so it has no other owner.
    Ok(unsafe { File::from_raw_fd(copy) })
}

/// The place for a whole file.
#[derive(Debug)]
pub(crate) struct Destination {
    method: Method,
    shown: String,
}

#[derive(Debug)]
enum Method {
    /// Write at the descriptor's position.
    Descriptor(File),
    /// Overwrite in place.
    InPlace(File),
    /// Replace what is there, if anything: a regular file with one name.
    Replace { path: PathBuf, old: Option<File> },
}

impl Destination {
    /// Determines where the bytes for `path` go. An existing file is opened, and not yet changed.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for a path without a file name; [`Error::NotFound`] if there is
    /// no such folder; [`Error::Os`] if this user may not write there, or it is a folder.
    pub(crate) fn find(path: &Path) -> Result<Destination> {
        let shown = path.display().to_string();
        if path.file_name().is_none() || path.as_os_str().as_bytes().ends_with(b"/") {
            let expected = "a path that ends in a file's name";
            return Err(Error::invalid("the path", shown, expected));
        }
        let fail = |call, e: io::Error| match e.kind() {
            ErrorKind::NotFound => {
                let folder = path.parent().unwrap_or(path).display().to_string();
                Error::NotFound { name: folder, place: "the file system" }
            }
            _ => Error::os(call, shown.clone(), e),
        };
        let place = resolve(path).map_err(|e| fail("realpath", e))?;
        if let PathTarget::Descriptor(number) = place {
            return Ok(Destination { method: Method::Descriptor(duplicate(number, path)?), shown });
        }
        // The kernel follows the links again, by its own rules, which forbid some of them.
        match (fs::metadata(path), place) {
            (Err(e), PathTarget::Path(path)) if e.kind() == ErrorKind::NotFound => {
                Ok(Destination { method: Method::Replace { path, old: None }, shown })
            }
            (Err(e), _) => Err(fail("stat", e)),
            (Ok(_), place) => {
                let method = open(path, place).map_err(|e| fail("open", e))?;
                Ok(Destination { method, shown })
            }
        }
    }

    /// Makes a new file to replace the old one.
    ///
    /// # Errors
    ///
    /// Why that is not possible: [`direct`] may be, unless it is a [shortage](is_shortage).
    ///
    /// [`direct`]: Destination::direct
    pub(crate) fn temporary_file(&self) -> io::Result<TemporaryFile> {
        let Method::Replace { path, old } = &self.method else {
            return Err(io::Error::new(ErrorKind::Unsupported, "a new file cannot replace it"));
        };
        // A file that takes over another's permissions begins without any.
        let mode = if old.is_some() { 0o600 } else { 0o666 };
        let folder = path.parent().unwrap_or(Path::new("/"));
        let (file, temporary) = match file::unnamed_with_mode(folder, mode) {
            Ok(file) => (file, None),
            Err(_) => {
                let temporary = temporary_in(folder)?;
                let mut options = File::options();
                options.write(true).create_new(true).mode(mode);
                (options.open(&temporary)?, Some(temporary))
            }
        };
        let temporary_file =
            TemporaryFile { file, temporary, path: path.clone(), is_new: old.is_none() };
        if let Some(old) = old {
            copy_attributes(&temporary_file.file, old)?;
        }
        Ok(temporary_file)
    }

    /// Opens the destination itself, emptied if it is a regular file, to be written from beginning
    /// to end.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`] if `total_bytes` are not free, before anything is changed; [`Error::Os`].
    pub(crate) fn direct(&self, total_bytes: u64) -> Result<DirectWrite<'_>> {
        let fail = |call, e| Error::os(call, self.shown.clone(), e);
        let (file, created) = match &self.method {
            Method::Descriptor(file) => {
                let mut file = file.try_clone().map_err(|e| fail("dup", e))?;
                if file.metadata().is_ok_and(|found| found.is_file()) {
                    let appends = rustix::fs::fcntl_getfl(&file)
                        .is_ok_and(|flags| flags.contains(rustix::fs::OFlags::APPEND));
                    let end = if appends { SeekFrom::End(0) } else { SeekFrom::Current(0) };
                    let at = file.seek(end).map_err(|e| fail("lseek", e))?;
                    file::check_room(&file, at.saturating_add(total_bytes), at, &self.shown)?;
                }
                (file, None)
            }
            Method::InPlace(file) | Method::Replace { old: Some(file), .. } => {
                let metadata = file.metadata().map_err(|e| fail("fstat", e))?;
                let used_bytes = metadata.blocks().saturating_mul(512);
                file::check_room(file, total_bytes, used_bytes, &self.shown)?;
                file.set_len(0).map_err(|e| fail("ftruncate", e))?;
                (file.try_clone().map_err(|e| fail("dup", e))?, None)
            }
            Method::Replace { path, old: None } => {
                let made = File::options().write(true).create_new(true).open(path);
                (made.map_err(|e| fail("open", e))?, Some(path.as_path()))
            }
        };
        let direct = DirectWrite { file, created };
        if created.is_some() {
            let room = file::check_room(&direct.file, total_bytes, 0, &self.shown);
            room.inspect_err(|_| direct.remove_created())?;
        }
        Ok(direct)
    }

    /// The folder of a file to be replaced: syncing it writes the new name to the disk.
    pub(crate) fn folder(&self) -> io::Result<Option<File>> {
        match &self.method {
            Method::Replace { path, .. } => {
                File::open(path.parent().unwrap_or(Path::new("/"))).map(Some)
            }
            Method::Descriptor(_) | Method::InPlace(_) => Ok(None),
        }
    }

    /// Whether the bytes go to a stream, in which others may follow.
    pub(crate) fn is_stream(&self) -> bool {
        matches!(self.method, Method::Descriptor(_))
    }

    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }
}

/// Opens the file at `path`, which points to `place`.
fn open(path: &Path, place: PathTarget) -> io::Result<Method> {
    let file = File::options().write(true).custom_flags(libc::O_NOCTTY).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(Method::Descriptor(file));
    }
    let PathTarget::Path(path) = place else { return Ok(Method::InPlace(file)) };
    let is_same = fs::symlink_metadata(&path)
        .is_ok_and(|found| (found.dev(), found.ino()) == (metadata.dev(), metadata.ino()));
    if !is_same || metadata.nlink() != 1 {
        return Ok(Method::InPlace(file));
    }
    if path.parent() == Some(Path::new(shm::DIRECTORY)) {
        // A process removes a name only while it holds the file's exclusive lock. This shared lock
        // on the old file keeps the name in place while the new file takes it.
        let start = Instant::now();
        let try_lock = || file::try_lock(&file, LockMode::Shared, shm::DIRECTORY).unwrap_or(true);
        while !try_lock() && start.elapsed() < LOCKED_TIME {
            std::thread::yield_now();
        }
    }
    Ok(Method::Replace { path, old: Some(file) })
}

/// An unused name in `folder`.
fn temporary_in(folder: &Path) -> io::Result<PathBuf> {
    let random = random::random_u64().map_err(io::Error::other)?;
    Ok(folder.join(format!(".brigade-{random:016x}.tmp")))
}

/// Whether some resource has run out, so that another method would fail too.
pub(crate) fn is_shortage(error: &io::Error) -> bool {
    let shortages = [libc::ENOSPC, libc::EDQUOT, libc::EMFILE, libc::ENFILE, libc::ENOMEM];
    error.raw_os_error().is_some_and(|number| shortages.contains(&number))
}

/// Gives `new` the owner, the group, the attributes (access control lists among them) and the
/// permissions of `old`. Bits that grant privileges are cleared, as by any write.
fn copy_attributes(new: &File, old: &File) -> io::Result<()> {
    let (is, was) = (new.metadata()?, old.metadata()?);
    if (is.uid(), is.gid()) != (was.uid(), was.gid()) {
        std::os::unix::fs::fchown(new, Some(was.uid()), Some(was.gid()))?;
    }
    let (present, wanted) = (attributes(new)?, attributes(old)?);
    for (name, value) in &wanted {
        if present.get(name) != Some(value) {
            rustix::fs::fsetxattr(new, name.as_slice(), value, XattrFlags::empty())?;
        }
    }
    for name in present.keys().filter(|&name| !wanted.contains_key(name)) {
        rustix::fs::fremovexattr(new, name.as_slice())?;
    }
    let mode = rustix::fs::Mode::from_raw_mode(was.mode() & 0o1777);
    Ok(rustix::fs::fchmod(new, mode)?)
}

/// The extended attributes of a file, without those that the kernel removes when it is written.
fn attributes(file: &File) -> io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut bytes = vec![0; ATTRIBUTES_BYTES_MAX];
    let len = match rustix::fs::flistxattr(file, bytes.as_mut_slice()) {
        Err(rustix::io::Errno::OPNOTSUPP) => 0,
        listed => listed?,
    };
    let names = bytes[..len].split(|&byte| byte == 0).filter(|name| !name.is_empty());
    let names: Vec<Vec<u8>> =
        names.filter(|name| *name != b"security.capability").map(<[u8]>::to_vec).collect();
    let value = |name: Vec<u8>| {
        let len = rustix::fs::fgetxattr(file, name.as_slice(), bytes.as_mut_slice())?;
        Ok((name, bytes[..len].to_vec()))
    };
    names.into_iter().map(value).collect()
}

/// A new file that is removed on drop unless it was persisted.
#[derive(Debug)]
pub(crate) struct TemporaryFile {
    file: File,
    /// Its temporary name, if it has one.
    temporary: Option<PathBuf>,
    path: PathBuf,
    is_new: bool,
}

impl TemporaryFile {
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Moves the file into its place.
    pub(crate) fn persist(mut self) -> io::Result<()> {
        if self.temporary.is_none() {
            if self.is_new && file::link(&self.file, &self.path)? {
                return Ok(());
            }
            let folder = self.path.parent().unwrap_or(Path::new("/"));
            let temporary = temporary_in(folder)?;
            if !file::link(&self.file, &temporary)? {
                return Err(ErrorKind::AlreadyExists.into());
            }
            self.temporary = Some(temporary);
        }
        if let Some(temporary) = &self.temporary {
            fs::rename(temporary, &self.path)?;
        }
        self.temporary = None;
        Ok(())
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // Ignored: the error that led here is already being returned.
            let _ = fs::remove_file(temporary);
        }
    }
}

/// A file that is written in place.
#[derive(Debug)]
pub(crate) struct DirectWrite<'a> {
    file: File,
    /// Its path, if there was no file before.
    created: Option<&'a Path>,
}

impl DirectWrite<'_> {
    /// Writes all of `bytes`. On failure, a file that did not exist before is removed.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes).inspect_err(|_| self.remove_created())
    }

    fn remove_created(&self) {
        if let Some(path) = self.created {
            // Ignored: the error that led here is already being returned.
            let _ = fs::remove_file(path);
        }
    }

    fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.file.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => bytes = &bytes[count..],
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                // Another process that shares the descriptor made it non-blocking.
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    poll::wait_any(&[Interest { fd: self.file.as_fd(), writable: true }], None)?;
                }
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }
}

/// Writes the bytes of a file to the disk. A file without a disk is no error.
pub(crate) fn sync(file: &File) -> io::Result<()> {
    match file.sync_all() {
        // A pipe, a device, or a file system in memory.
        Err(e) if matches!(e.raw_os_error(), Some(libc::EINVAL | libc::EROFS | libc::ENOTSUP)) => {
            Ok(())
        }
        other => other,
    }
}

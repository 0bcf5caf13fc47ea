//! An output file that appears complete or not at all.

use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Seek, SeekFrom, Write};
use std::path::Path;

use crate::error::{Error, Result};
use crate::sys::write_file::{self, Destination, TemporaryFile};

/// A file that is written aside and takes its place by [`commit`](OutputFile::commit).
///
/// Until then its path is what it was: nothing, or the old file, which keeps its owner, its
/// permissions and its access control lists when it is replaced. Dropping the value, a panic, or
/// the death of the process leave the path as it was.
///
/// The file is written without a name where the file system can do that. Where it cannot, and for
/// a moment while an old file is replaced, its name is `.brigade-` and 16 hexadecimal digits and
/// `.tmp`, in the same folder. A process that is killed then leaves that name behind; it may be
/// removed.
///
/// # Examples
///
/// ```
/// use std::io::Write;
/// use brigade::batch::OutputFile;
/// let path = std::env::temp_dir().join(format!("brigade-output-{}", std::process::id()));
/// let mut file = OutputFile::create(&path)?;
/// file.write_all(b"half of it").unwrap();
/// drop(file);
/// assert!(!path.exists());
///
/// let mut file = OutputFile::create(&path)?;
/// file.write_all(b"all of it").unwrap();
/// assert_eq!(file.commit()?, 9);
/// assert_eq!(std::fs::read(&path).unwrap(), b"all of it");
/// std::fs::remove_file(path).unwrap();
/// # Ok::<(), brigade::Error>(())
/// ```
#[must_use = "a file that is not committed never appears"]
pub struct OutputFile {
    writer: BufWriter<File>,
    temporary: TemporaryFile,
    target: Destination,
    /// The first error of writing, which its caller may have ignored.
    failed: Option<io::Error>,
}

impl OutputFile {
    /// Begins a file that will be at `path`. A symbolic link stays, and points to the new file.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if there is no such folder; [`Error::InvalidArgument`] if the path leads
    /// to what a new file cannot replace: a folder, a pipe, a device, a file with a second name;
    /// [`Error::Os`], for example if this user may not create files in the folder.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Error;
    /// use brigade::batch::OutputFile;
    /// let folder = std::env::temp_dir();
    /// assert!(matches!(OutputFile::create(&folder), Err(Error::InvalidArgument { .. })));
    /// let path = folder.join(format!("brigade-created-{}", std::process::id()));
    /// let file = OutputFile::create(&path)?;
    /// assert!(!path.exists(), "it appears with `commit`");
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn create(path: impl AsRef<Path>) -> Result<OutputFile> {
        let path = path.as_ref();
        let is_other = path.metadata().is_ok_and(|found| !found.is_file());
        let refused = || {
            let expected = "one that is free, or that a new file can replace";
            Error::invalid("the path of an output", path.display(), expected)
        };
        if is_other {
            // Opening a pipe would wait for its reader.
            return Err(refused());
        }
        let target = Destination::find(path)?;
        let fail = |call, e: io::Error| match e.kind() {
            ErrorKind::Unsupported => refused(),
            _ => Error::os(call, target.shown(), e),
        };
        let temporary = target.temporary_file().map_err(|e| fail("open", e))?;
        let file = temporary.file().try_clone().map_err(|e| fail("dup", e))?;
        Ok(OutputFile { writer: BufWriter::new(file), temporary, target, failed: None })
    }

    /// Puts the file into its place and returns its size, in bytes. It is in the system's cache
    /// then, not necessarily on the disk.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] if any byte could not be written, for example because the disk is full, even
    /// if the caller has ignored the error of that write. The path is what it was.
    pub fn commit(self) -> Result<u64> {
        self.place(false)
    }

    /// As [`commit`](OutputFile::commit), and returns when the file is on the disk: after a loss of
    /// power the path is what it was, or has the whole file.
    ///
    /// # Errors
    ///
    /// As [`commit`](OutputFile::commit); if the folder cannot be written to the disk, the whole
    /// file is at the path.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::Write;
    /// use brigade::batch::OutputFile;
    /// let path = std::env::temp_dir().join(format!("brigade-safe-{}", std::process::id()));
    /// let mut file = OutputFile::create(&path)?;
    /// write!(file, "{}", 42).unwrap();
    /// assert_eq!(file.commit_synced()?, 2);
    /// std::fs::remove_file(path).unwrap();
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn commit_synced(self) -> Result<u64> {
        self.place(true)
    }

    fn place(self, is_synced: bool) -> Result<u64> {
        let OutputFile { mut writer, temporary, target, failed } = self;
        let fail = |call, e: io::Error| Error::os(call, target.shown(), e);
        failed.map_or_else(|| writer.flush(), Err).map_err(|e| fail("write", e))?;
        let metadata = temporary.file().metadata().map_err(|e| fail("fstat", e))?;
        let mut folder = None;
        if is_synced {
            folder = target.folder().map_err(|e| fail("open", e))?;
            write_file::sync(temporary.file()).map_err(|e| fail("fsync", e))?;
        }
        temporary.persist().map_err(|e| fail("rename", e))?;
        folder.as_ref().map_or(Ok(()), write_file::sync).map_err(|e| fail("fsync", e))?;
        Ok(metadata.len())
    }

    /// Keeps the first error of the calls that write.
    fn keep<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        if let (Err(e), None) = (&result, &self.failed)
            && !matches!(e.kind(), ErrorKind::Interrupted | ErrorKind::InvalidInput)
        {
            let number = e.raw_os_error().map(io::Error::from_raw_os_error);
            self.failed = Some(number.unwrap_or_else(|| io::Error::new(e.kind(), e.to_string())));
        }
        result
    }
}

impl Write for OutputFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.writer.write(bytes);
        self.keep(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.writer.flush();
        self.keep(flushed)
    }
}

impl Seek for OutputFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let moved = self.writer.seek(to);
        self.keep(moved)
    }
}

impl fmt::Debug for OutputFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutputFile").field("target", &self.target).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_a_failed_write_is_not_committed_though_the_error_was_ignored() {
        let path = std::env::temp_dir().join(format!("brigade-failed-{}", std::process::id()));
        let mut file = OutputFile::create(&path).unwrap();
        let whole = std::mem::replace(&mut file.writer, BufWriter::new(File::open("/").unwrap()));
        // Like an encoder that flushes in `Drop`, where the error is lost.
        drop(BufWriter::with_capacity(1 << 20, &mut file).write(&[1; 100_000]));
        file.writer = whole;
        let _ = file.write(b"the end");
        let error = file.commit().unwrap_err();
        assert!(matches!(error, Error::Os { call: "write", .. }), "{error}");
        assert!(!path.exists());
    }
}

//! An output file that appears complete or not at all.

use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
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
}

impl OutputFile {
    /// Begins a file that will be at `path`. A symbolic link stays, and leads to the new file.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if there is no such folder; [`Error::InvalidArgument`] if the path leads
    /// to what a new file cannot replace: a pipe, a device, a file with a second name, one of
    /// another owner, or one in a folder where this user may not create; [`Error::Os`].
    pub fn create(path: impl AsRef<Path>) -> Result<OutputFile> {
        let target = Destination::find(path.as_ref())?;
        let Some(temporary) = target.temporary_file(0)? else {
            let expected = "one that is free, or that a new file can replace";
            return Err(Error::invalid("the path of an output", target.shown(), expected));
        };
        let file = temporary.file().try_clone();
        let file = file.map_err(|e| Error::os("dup", target.shown(), e))?;
        Ok(OutputFile { writer: BufWriter::new(file), temporary, target })
    }

    /// Puts the file into its place and returns its size, in bytes. It is in the system's cache
    /// then, not necessarily on the disk.
    ///
    /// # Errors
    ///
    /// [`Error::Os`], for example because the disk is full. The path is what it was.
    pub fn commit(self) -> Result<u64> {
        self.place(false)
    }

    /// As [`commit`](OutputFile::commit), and returns when the file is on the disk: after a loss of
    /// power the path is what it was, or has the whole file.
    ///
    /// # Errors
    ///
    /// As [`commit`](OutputFile::commit).
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
        let OutputFile { mut writer, temporary, target } = self;
        let fail = |call, e: io::Error| Error::os(call, target.shown(), e);
        writer.flush().map_err(|e| fail("write", e))?;
        let metadata = temporary.file().metadata().map_err(|e| fail("fstat", e))?;
        if is_synced {
            write_file::sync(temporary.file()).map_err(|e| fail("fsync", e))?;
        }
        if !temporary.persist() {
            return Err(fail("rename", io::Error::other("the new file cannot take its place")));
        }
        if is_synced {
            target.sync_name().map_err(|e| fail("fsync", e))?;
        }
        Ok(metadata.len())
    }
}

impl Write for OutputFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl Seek for OutputFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.writer.seek(to)
    }
}

impl fmt::Debug for OutputFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutputFile").field("target", &self.target).finish_non_exhaustive()
    }
}

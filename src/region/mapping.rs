//! Mapped files and named regions, whose bytes other programs may write.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::region::dtype::Dtype;
use crate::region::name::Name;
use crate::region::npy::{self, NpyHeader};
use crate::shape::Shape;
use crate::sys::file::{self, FileId, FileMapping, FileState};
use crate::sys::mmap::Access;
use crate::sys::shm::{self, NamedMapping};
use crate::sys::write_file;

/// The place of a mapped file, for mapping it again in another process.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum FileLocation {
    /// A file, by its absolute path.
    File(#[serde(with = "path_bytes")] PathBuf),
    /// A file without a header, by its absolute path.
    RawFile(#[serde(with = "path_bytes")] PathBuf),
    /// A named region, by its name.
    Named(String),
    /// A file under `/dev/shm` without a header, by its name.
    Raw(String),
}

/// A path as bytes: serde's own encoding refuses what is not UTF-8.
mod path_bytes {
    use std::ffi::OsString;
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    use std::path::{Path, PathBuf};

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
        path.as_os_str().as_bytes().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
        Vec::deserialize(from).map(|bytes| OsString::from_vec(bytes).into())
    }
}

/// A shared mapping of a `.npy` file or a named region, and the open file behind it.
#[derive(Debug)]
pub(crate) struct Mapping {
    bytes: Bytes,
    address: FileLocation,
    /// When it was mapped.
    state: FileState,
    /// Held open for its lock, for `keep`, and so that the inode is not reused.
    file: File,
}

#[derive(Debug)]
enum Bytes {
    File(FileMapping),
    Named(NamedMapping),
}

impl Mapping {
    /// Maps a `.npy` file.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Layout`], [`Error::Os`].
    pub(crate) fn file(path: &Path, access: Access) -> Result<(Mapping, NpyHeader)> {
        Mapping::of_file(path, file::open(path, access)?, access)
    }

    /// Makes a `.npy` file of zeros, whose space is reserved, and maps it for reading and writing.
    ///
    /// # Errors
    ///
    /// [`Error::NameTaken`], [`Error::NoSpace`], [`Error::NotFound`], [`Error::Os`];
    /// [`Error::InvalidArgument`] for too many dimensions.
    pub(crate) fn new_file(
        path: &Path,
        dtype: Dtype,
        shape: &Shape,
        data_bytes: usize,
    ) -> Result<(Mapping, NpyHeader)> {
        let header = npy::encode(dtype, shape)?;
        let file = file::create_reserved(path, npy::file_bytes(data_bytes), &header)?;
        Mapping::of_file(path, file, Access::ReadWrite).inspect_err(|_| {
            // The error that is returned matters more.
            let _ = std::fs::remove_file(path);
        })
    }

    /// Maps the `.npy` file that `file` has open.
    fn of_file(path: &Path, file: File, access: Access) -> Result<(Mapping, NpyHeader)> {
        let shown = path.display().to_string();
        let absolute =
            std::path::absolute(path).map_err(|e| Error::os("getcwd", shown.clone(), e))?;
        let state = file::state(&file, &shown)?;
        let header = npy::read(&file, state.size_bytes, &shown)?;
        // Never empty: the header is mapped too.
        let len_bytes = header.data_offset + header.data_bytes;
        let bytes = Bytes::File(FileMapping::map(&file, len_bytes, access)?);
        Ok((Mapping { bytes, address: FileLocation::File(absolute), state, file }, header))
    }

    /// Maps all bytes of a file for reading, whatever its contents. Returns their number, too: the
    /// mapping of an empty file has one byte, which must not be read.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Layout`], [`Error::Os`].
    pub(crate) fn plain(path: &Path) -> Result<(Mapping, usize)> {
        let (shown, access) = (path.display().to_string(), Access::ReadOnly);
        let file = file::open_regular(path, access, "a regular file")?;
        let absolute =
            std::path::absolute(path).map_err(|e| Error::os("getcwd", shown.clone(), e))?;
        let state = file::state(&file, &shown)?;
        let len_bytes = usize::try_from(state.size_bytes).unwrap_or(usize::MAX);
        let bytes = Bytes::File(FileMapping::map(&file, len_bytes.max(1), access)?);
        Ok((Mapping { bytes, address: FileLocation::RawFile(absolute), state, file }, len_bytes))
    }

    /// Maps a named region, read-write.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Layout`], [`Error::Os`].
    pub(crate) fn named(name: &Name) -> Result<(Mapping, NpyHeader)> {
        let file = shm::open(name.as_str())?;
        Mapping::of_region(name, file)
    }

    /// Maps a region, which has no name yet, through its open file.
    ///
    /// # Errors
    ///
    /// [`Error::Os`].
    pub(crate) fn unpublished(name: &Name, file: File) -> Result<(Mapping, NpyHeader)> {
        let state = file::state(&file, name.as_str())?;
        let header = npy::read(&file, state.size_bytes, name.as_str())?;
        let len_bytes = header.data_offset + header.data_bytes;
        let bytes = Bytes::File(FileMapping::map(&file, len_bytes, Access::ReadWrite)?);
        Ok((Mapping { bytes, address: FileLocation::Named(name.to_string()), state, file }, header))
    }

    /// Maps the region that `file` has open.
    fn of_region(name: &Name, file: File) -> Result<(Mapping, NpyHeader)> {
        let shown = shm::path_of(name.as_str()).display().to_string();
        let state = file::state(&file, &shown)?;
        let header = npy::read(&file, state.size_bytes, &shown)?;
        let bytes = map_checked(name, state.id, header.data_offset + header.data_bytes)?;
        let address = FileLocation::Named(name.to_string());
        Ok((Mapping { bytes, address, state, file }, header))
    }

    /// Maps a file under `/dev/shm` of at least `end_bytes`, read-write, whatever its contents.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Layout`], [`Error::Os`].
    pub(crate) fn raw(name: &Name, end_bytes: usize) -> Result<Mapping> {
        let file = shm::open_raw(name.as_str())?;
        let shown = shm::path_of(name.as_str()).display().to_string();
        let state = file::state(&file, &shown)?;
        // An empty file cannot be mapped.
        if state.size_bytes < end_bytes.max(1) as u64 {
            let (found, expected) =
                (format!("{} bytes", state.size_bytes), at_least(end_bytes.max(1)));
            return Err(Error::Layout { place: shown, found, expected });
        }
        let bytes = map_checked(name, state.id, end_bytes)?;
        Ok(Mapping { bytes, address: FileLocation::Raw(name.to_string()), state, file })
    }

    /// Maps the file that another process mapped, if it is still the same file.
    ///
    /// # Errors
    ///
    /// As [`Mapping::file`] and [`Mapping::named`]; [`Error::Layout`] if the name now refers to
    /// another file.
    pub(crate) fn again(
        address: &FileLocation,
        expected: FileId,
        access: Access,
    ) -> Result<Mapping> {
        let (mapping, _) = match address {
            FileLocation::File(path) => Mapping::file(path, access)?,
            FileLocation::RawFile(path) => return Mapping::plain(path)?.0.only_if(expected),
            // Not locked: the process that lends it to this one holds the lock, and may remove the
            // name.
            FileLocation::Named(name) => {
                Mapping::of_region(&Name::new(name)?, shm::open_raw(name)?)?
            }
            FileLocation::Raw(name) => {
                return Mapping::raw(&Name::new(name)?, 0)?.only_if(expected);
            }
        };
        mapping.only_if(expected)
    }

    /// Returns the mapping if it is of the expected file.
    fn only_if(self, expected: FileId) -> Result<Mapping> {
        let mapping = self;
        if mapping.state.id == expected {
            return Ok(mapping);
        }
        let show = |id: FileId| format!("inode {} of device {}", id.inode, id.device);
        let place = format!("{:?}", mapping.address);
        Err(Error::Layout { place, found: show(mapping.state.id), expected: show(expected) })
    }

    /// The first byte of the file.
    pub(crate) fn base(&self) -> *mut u8 {
        match &self.bytes {
            Bytes::File(mapping) => mapping.as_ptr(),
            Bytes::Named(mapping) => mapping.as_ptr(),
        }
    }

    /// The number of mapped bytes.
    pub(crate) fn len_bytes(&self) -> usize {
        match &self.bytes {
            Bytes::File(mapping) => mapping.len_bytes(),
            Bytes::Named(mapping) => mapping.len_bytes(),
        }
    }

    /// Whether the file still has a name, this one or another.
    pub(crate) fn has_name(&self) -> bool {
        self.file.metadata().is_ok_and(|found| found.nlink() > 0)
    }

    /// Whether the first `end_bytes` are mapped, and the file still has them.
    pub(crate) fn reaches(&self, end_bytes: u64) -> bool {
        end_bytes <= self.len_bytes() as u64
            && self.file.metadata().is_ok_and(|found| end_bytes <= found.len())
    }

    /// Whether the file still has the size, and the time of its last change, that it had when it
    /// was mapped.
    pub(crate) fn is_unchanged(&self) -> bool {
        file::state(&self.file, "").is_ok_and(|state| state == self.state)
    }

    /// Writes changed pages of the file to the disk, and waits for that.
    pub(crate) fn sync(&self) -> Result<()> {
        let fail = |e| Error::os("fsync", format!("{:?}", self.address), e);
        write_file::sync(&self.file).map_err(fail)
    }

    pub(crate) fn address(&self) -> &FileLocation {
        &self.address
    }

    pub(crate) fn id(&self) -> FileId {
        self.state.id
    }

    pub(crate) fn open_file(&self) -> &File {
        &self.file
    }
}

/// Maps the file with this name, which must still be the file that was checked.
fn map_checked(name: &Name, id: FileId, end_bytes: usize) -> Result<Bytes> {
    let mapped = NamedMapping::map(name.as_str())?;
    if !shm::refers_to(name.as_str(), id) {
        return Err(Error::NotFound { name: name.to_string(), place: shm::DIRECTORY });
    }
    if mapped.len_bytes() < end_bytes {
        let place = shm::path_of(name.as_str()).display().to_string();
        let found = format!("{} bytes, shrinking", mapped.len_bytes());
        return Err(Error::Layout { place, found, expected: at_least(end_bytes) });
    }
    Ok(Bytes::Named(mapped))
}

fn at_least(bytes: usize) -> String {
    format!("at least {bytes} bytes")
}

//! Mapped files and named regions: bytes that others may write.

use std::fs::File;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::region::name::Name;
use crate::region::npy::{self, Header};
use crate::sys::file::{self, FileId, FileMapping};
use crate::sys::mmap::Access;
use crate::sys::shm::{self, NamedMapping};

/// How to find a mapped thing again, in another process.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Address {
    /// A file, by its absolute path.
    File(PathBuf),
    /// A named region, by its name.
    Named(String),
}

/// A shared mapping of a `.npy` file or a named region, and the open file behind it.
#[derive(Debug)]
pub(crate) struct Mapping {
    bytes: Bytes,
    address: Address,
    id: FileId,
    /// Held open for its lock, for `keep`, and so that the inode stays ours.
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
    pub(crate) fn file(path: &Path, access: Access) -> Result<(Mapping, Header)> {
        let shown = path.display().to_string();
        let file = file::open(path, access)?;
        let absolute =
            std::path::absolute(path).map_err(|e| Error::os("getcwd", shown.clone(), e))?;
        let (id, file_bytes) = file::identity(&file, &shown)?;
        let header = npy::read(&file, file_bytes, &shown)?;
        // Never empty: the header is mapped along.
        let len_bytes = header.data_offset + header.data_bytes;
        let bytes = Bytes::File(FileMapping::map(&file, len_bytes, access)?);
        Ok((Mapping { bytes, address: Address::File(absolute), id, file }, header))
    }

    /// Maps a named region, read-write.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Layout`], [`Error::Os`].
    pub(crate) fn named(name: &Name) -> Result<(Mapping, Header)> {
        let file = shm::open(name.as_str())?;
        Mapping::of_region(name, file)
    }

    /// Maps the region that `file` holds open and locked.
    pub(crate) fn of_region(name: &Name, file: File) -> Result<(Mapping, Header)> {
        let shown = shm::path_of(name.as_str()).display().to_string();
        let (id, file_bytes) = file::identity(&file, &shown)?;
        let header = npy::read(&file, file_bytes, &shown)?;
        let mapped = NamedMapping::map(name.as_str())?;
        // The name was opened a second time: it must still mean the file that was checked.
        if !shm::names(name.as_str(), id) {
            return Err(Error::NotFound { name: name.to_string(), place: shm::DIRECTORY });
        }
        if mapped.len_bytes() < header.data_offset + header.data_bytes {
            let found = format!("{} bytes, shrinking", mapped.len_bytes());
            let expected = format!("{} bytes", header.data_offset + header.data_bytes);
            return Err(Error::Layout { place: shown, found, expected });
        }
        let address = Address::Named(name.to_string());
        Ok((Mapping { bytes: Bytes::Named(mapped), address, id, file }, header))
    }

    /// Maps what another process mapped, if it is still the same file.
    ///
    /// # Errors
    ///
    /// As [`Mapping::file`] and [`Mapping::named`]; [`Error::Layout`] if the name means another
    /// file by now.
    pub(crate) fn again(address: &Address, expected: FileId, access: Access) -> Result<Mapping> {
        let (mapping, _) = match address {
            Address::File(path) => Mapping::file(path, access)?,
            Address::Named(name) => Mapping::named(&Name::new(name)?)?,
        };
        if mapping.id == expected {
            return Ok(mapping);
        }
        let show = |id: FileId| format!("inode {} of device {}", id.inode, id.device);
        let place = format!("{address:?}");
        Err(Error::Layout { place, found: show(mapping.id), expected: show(expected) })
    }

    /// The first byte of the file.
    pub(crate) fn base(&self) -> *mut u8 {
        match &self.bytes {
            Bytes::File(mapping) => mapping.as_ptr(),
            Bytes::Named(mapping) => mapping.as_ptr(),
        }
    }

    /// How many bytes are mapped.
    pub(crate) fn len_bytes(&self) -> usize {
        match &self.bytes {
            Bytes::File(mapping) => mapping.len_bytes(),
            Bytes::Named(mapping) => mapping.len_bytes(),
        }
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    pub(crate) fn id(&self) -> FileId {
        self.id
    }

    pub(crate) fn open_file(&self) -> &File {
        &self.file
    }
}

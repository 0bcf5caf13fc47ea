//! Named regions: published whole, removed by their creator.

use crate::error::Result;
use crate::region::arena;
use crate::region::dtype::Dtype;
use crate::region::mapping::Mapping;
use crate::region::name::Name;
use crate::region::npy::{self, Header};
use crate::shape::Shape;
use crate::sys::shm;

/// A named region, mapped; its creator's handle removes the name when it is dropped.
#[derive(Debug)]
pub(crate) struct NamedRegion {
    name: Name,
    mapping: Mapping,
    /// The process that is to remove the name, if any is.
    unlinks: Option<u32>,
}

impl NamedRegion {
    /// Makes a region of zeros and publishes it.
    ///
    /// # Errors
    ///
    /// [`crate::Error::NoSpace`], [`crate::Error::NameTaken`], [`crate::Error::Os`].
    pub(crate) fn create(
        name: Name,
        dtype: Dtype,
        shape: &Shape,
        data_bytes: usize,
    ) -> Result<(NamedRegion, Header)> {
        let header = npy::encode(dtype, shape)?;
        let size_bytes = (npy::DATA_OFFSET as u64).saturating_add(data_bytes as u64);
        // A file system in memory may promise more than the machine has.
        arena::grant_outside(size_bytes)?;
        let file = shm::create(name.as_str(), size_bytes, &header)?;
        match Mapping::of_region(&name, file) {
            Ok((mapping, header)) => {
                let unlinks = Some(std::process::id());
                Ok((NamedRegion { name, mapping, unlinks }, header))
            }
            Err(error) => {
                // It was published a moment ago and nobody can use it: take the name back.
                let _ = shm::unlink(name.as_str());
                Err(error)
            }
        }
    }

    /// Maps a region that exists.
    ///
    /// # Errors
    ///
    /// [`crate::Error::NotFound`], [`crate::Error::Layout`], [`crate::Error::Os`].
    pub(crate) fn attach(name: Name) -> Result<(NamedRegion, Header)> {
        let (mapping, header) = Mapping::named(&name)?;
        Ok((NamedRegion { name, mapping, unlinks: None }, header))
    }

    pub(crate) fn name(&self) -> &str {
        self.name.as_str()
    }

    pub(crate) fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// Removes the name; the bytes stay while anyone maps them.
    ///
    /// # Errors
    ///
    /// [`crate::Error::NotFound`] if the name is gone, or means another region by now.
    pub(crate) fn unlink(&mut self) -> Result<()> {
        self.unlinks = None;
        if shm::names(self.name.as_str(), self.mapping.id()) {
            return shm::unlink(self.name.as_str());
        }
        let name = self.name.to_string();
        Err(crate::error::Error::NotFound { name, place: shm::DIRECTORY })
    }

    /// Lets the name outlive this handle, and `reclaim`.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Os`].
    pub(crate) fn keep(&mut self) -> Result<()> {
        shm::keep(self.mapping.open_file(), self.name.as_str())?;
        self.unlinks = None;
        Ok(())
    }
}

impl Drop for NamedRegion {
    fn drop(&mut self) {
        // A forked child has a copy of this handle, but the name is its parent's.
        if self.unlinks == Some(std::process::id()) {
            // Gone already is as good: someone else removed the name.
            let _ = self.unlink();
        }
    }
}

//! Named regions: published whole, removed by who releases them last.

use std::fs::File;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::region::arena;
use crate::region::dtype::Dtype;
use crate::region::mapping::Mapping;
use crate::region::name::Name;
use crate::region::npy::{self, Header};
use crate::region::reclaim::{self, reclaim_one};
use crate::shape::Shape;
use crate::sys::shm;

/// How long two programs may get in each other's way, one making and one removing a name.
const CONTENDED_TIME: Duration = Duration::from_secs(1);

/// Who removes the name when a handle is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Release {
    /// This process, whoever else has the region.
    Creator(u32),
    /// This process, if nobody else holds the region.
    Last(u32),
    /// Nobody by dropping this handle.
    Never,
}

/// A named region, mapped.
#[derive(Debug)]
pub(crate) struct NamedRegion {
    name: Name,
    mapping: Mapping,
    release: Release,
    is_creator: bool,
}

impl NamedRegion {
    /// Makes a region of zeros and publishes it; the last to drop a handle removes the name.
    ///
    /// A name that was left by a program that died is taken over.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`], [`Error::NameTaken`], [`Error::Os`].
    pub(crate) fn create(
        name: Name,
        dtype: Dtype,
        shape: &Shape,
        data_bytes: usize,
    ) -> Result<(NamedRegion, Header)> {
        let header = npy::encode(dtype, shape)?;
        let size_bytes = (npy::DATA_OFFSET as u64).saturating_add(data_bytes as u64);
        if shm::exists(name.as_str()) && !reclaim_one(name.as_str()) {
            return Err(Error::NameTaken { name: name.to_string() });
        }
        // A file system in memory may promise more than the machine has.
        arena::grant_outside(size_bytes)?;
        let file = shm::prepare(name.as_str(), size_bytes, &header)?;
        publish(&file, &name)?;
        match Mapping::of_region(&name, file) {
            Ok((mapping, header)) => {
                let release = Release::Last(std::process::id());
                Ok((NamedRegion { name, mapping, release, is_creator: true }, header))
            }
            Err(error) => {
                // It was published a moment ago and nobody can use it: take the name back.
                let _ = shm::unlink(name.as_str());
                Err(error)
            }
        }
    }

    /// Maps a region that exists; the last to drop a handle removes the name.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Layout`], [`Error::Os`].
    pub(crate) fn attach(name: Name) -> Result<(NamedRegion, Header)> {
        let start = Instant::now();
        loop {
            match Mapping::named(&name) {
                // Another region has the name by now.
                Err(Error::NotFound { .. })
                    if shm::exists(name.as_str()) && start.elapsed() < CONTENDED_TIME => {}
                Err(error) => return Err(error),
                Ok((mapping, header)) => {
                    let release = Release::Last(std::process::id());
                    let region = NamedRegion { name, mapping, release, is_creator: false };
                    return Ok((region, header));
                }
            }
        }
    }

    /// Maps a region, or makes it, whichever can be done.
    ///
    /// # Errors
    ///
    /// As [`create`](NamedRegion::create) and [`attach`](NamedRegion::attach).
    pub(crate) fn create_or_attach(
        name: &Name,
        dtype: Dtype,
        shape: &Shape,
        data_bytes: usize,
    ) -> Result<(NamedRegion, Header)> {
        // What a dead program left is no place to begin with.
        reclaim_one(name.as_str());
        let start = Instant::now();
        loop {
            match NamedRegion::attach(name.clone()) {
                Err(Error::NotFound { .. }) => {}
                found => return found,
            }
            match NamedRegion::create(name.clone(), dtype, shape, data_bytes) {
                Err(Error::NameTaken { .. }) if start.elapsed() < CONTENDED_TIME => {}
                made => return made,
            }
        }
    }

    /// Maps a file under `/dev/shm` that is no region of this crate, up to `end_bytes` at least.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Layout`], [`Error::Os`].
    pub(crate) fn attach_raw(name: Name, end_bytes: usize) -> Result<NamedRegion> {
        let mapping = Mapping::raw(&name, end_bytes)?;
        Ok(NamedRegion { name, mapping, release: Release::Never, is_creator: false })
    }

    /// Lets the name go with this handle, which made the region, whoever else has it then.
    pub(crate) fn remove_with_creator(&mut self) {
        self.release = Release::Creator(std::process::id());
    }

    pub(crate) fn name(&self) -> &str {
        self.name.as_str()
    }

    pub(crate) fn is_creator(&self) -> bool {
        self.is_creator
    }

    pub(crate) fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// Removes the name; the bytes stay while anyone maps them.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if the name is gone, or means another region by now.
    pub(crate) fn unlink(&mut self) -> Result<()> {
        self.release = Release::Never;
        if shm::names(self.name.as_str(), self.mapping.id()) {
            return shm::unlink(self.name.as_str());
        }
        Err(Error::NotFound { name: self.name.to_string(), place: shm::DIRECTORY })
    }

    /// Lets the name outlive this handle, and `reclaim`.
    ///
    /// # Errors
    ///
    /// [`Error::Os`].
    pub(crate) fn keep(&mut self) -> Result<()> {
        shm::keep(self.mapping.open_file(), self.name.as_str())?;
        self.release = Release::Never;
        Ok(())
    }
}

impl Drop for NamedRegion {
    fn drop(&mut self) {
        let own = std::process::id();
        match self.release {
            // Gone already is as good: someone else removed the name.
            Release::Creator(pid) if pid == own => {
                let _ = self.unlink();
            }
            Release::Last(pid) if pid == own => {
                reclaim::release(self.mapping.open_file(), self.name.as_str());
            }
            // A forked child has a copy of this handle, but the name is its parent's.
            _ => {}
        }
    }
}

/// Gives a prepared file its name.
fn publish(file: &File, name: &Name) -> Result<()> {
    let start = Instant::now();
    while !shm::publish(file, name.as_str())? {
        let is_free = reclaim_one(name.as_str()) || !shm::exists(name.as_str());
        if !is_free || start.elapsed() > CONTENDED_TIME {
            return Err(Error::NameTaken { name: name.to_string() });
        }
    }
    Ok(())
}

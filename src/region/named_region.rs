//! Named regions: published complete, removed with the last handle.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::region::dtype::Dtype;
use crate::region::fingerprint;
use crate::region::host_arena;
use crate::region::mapping::Mapping;
use crate::region::name::Name;
use crate::region::npy::{self, NpyHeader};
use crate::region::reclaim::{self, reclaim_one};
use crate::shape::Shape;
use crate::sys::fork::Instance;
use crate::sys::shm;

/// How long to retry while one program makes and another removes the same name.
const CONTENDED_TIME: Duration = Duration::from_secs(1);

/// Which process removes the name when a handle is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NameRemoval {
    /// This process, also if others use the region.
    WithCreator(Instance),
    /// This process, if no other uses the region.
    WithLast(Instance),
    /// No process: dropping this handle leaves the name.
    Never,
}

/// A named region, mapped.
#[derive(Debug)]
pub(crate) struct NamedRegion {
    name: Name,
    mapping: Mapping,
    removal: Mutex<NameRemoval>,
    is_creator: bool,
}

impl NamedRegion {
    /// Makes a region of zeros and publishes it. The name is removed with the last handle.
    ///
    /// A name that a dead program left is replaced.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`], [`Error::NameTaken`], [`Error::Os`].
    pub(crate) fn create(
        name: Name,
        dtype: Dtype,
        shape: &Shape,
        data_bytes: usize,
    ) -> Result<(NamedRegion, NpyHeader)> {
        let (region, header) = NamedRegion::prepare(name, dtype, shape, data_bytes)?;
        region.publish()?;
        Ok((region, header))
    }

    /// Makes a region of zeros that is invisible to others until it is [published].
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`]; [`Error::NameTaken`] if the name is taken already; [`Error::Os`].
    ///
    /// [published]: NamedRegion::publish
    pub(crate) fn prepare(
        name: Name,
        dtype: Dtype,
        shape: &Shape,
        data_bytes: usize,
    ) -> Result<(NamedRegion, NpyHeader)> {
        let mut header = npy::encode(dtype, shape)?;
        let size_bytes = npy::file_bytes(data_bytes);
        if shm::exists(name.as_str()) && !reclaim_one(name.as_str()) {
            return Err(Error::NameTaken { name: name.to_string() });
        }
        // A file system in memory may have a larger limit than the machine has memory.
        host_arena::grant_outside(size_bytes)?;
        let file = shm::prepare(name.as_str(), size_bytes, |id| {
            fingerprint::write(&mut header, name.as_str(), id);
            header
        })?;
        let (mapping, header) = Mapping::unpublished(&name, file)?;
        let removal = Mutex::new(NameRemoval::WithLast(Instance::current()));
        Ok((NamedRegion { name, mapping, removal, is_creator: true }, header))
    }

    /// Gives a prepared region its name.
    ///
    /// # Errors
    ///
    /// [`Error::NameTaken`], [`Error::Os`].
    pub(crate) fn publish(&self) -> Result<()> {
        let (file, name) = (self.mapping.open_file(), self.name.as_str());
        let start = Instant::now();
        while !shm::publish(file, name)? {
            let is_free = reclaim_one(name) || !shm::exists(name);
            if !is_free || start.elapsed() > CONTENDED_TIME {
                return Err(Error::NameTaken { name: name.to_owned() });
            }
        }
        Ok(())
    }

    /// Maps an existing region. Dropping the handle leaves the name, unless
    /// [`remove_with_last`](NamedRegion::remove_with_last) was called.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Layout`], [`Error::Os`].
    pub(crate) fn attach(name: Name) -> Result<(NamedRegion, NpyHeader)> {
        let start = Instant::now();
        loop {
            match Mapping::named(&name) {
                // The name refers to another region now.
                Err(Error::NotFound { .. })
                    if shm::exists(name.as_str()) && start.elapsed() < CONTENDED_TIME => {}
                Err(error) => return Err(error),
                Ok((mapping, header)) => {
                    let removal = Mutex::new(NameRemoval::Never);
                    let region = NamedRegion { name, mapping, removal, is_creator: false };
                    return Ok((region, header));
                }
            }
        }
    }

    /// Maps a region, or makes it if it does not exist.
    ///
    /// # Errors
    ///
    /// As [`create`](NamedRegion::create) and [`attach`](NamedRegion::attach).
    pub(crate) fn create_or_attach(
        name: &Name,
        dtype: Dtype,
        shape: &Shape,
        data_bytes: usize,
    ) -> Result<(NamedRegion, NpyHeader)> {
        // A region of a dead program must not be used.
        NamedRegion::reclaim(name);
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

    /// Removes the name if dead programs left it.
    pub(crate) fn reclaim(name: &Name) {
        reclaim_one(name.as_str());
    }

    /// Maps a file under `/dev/shm` that is not a region of this crate, at least `end_bytes` of it.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Layout`], [`Error::Os`].
    pub(crate) fn attach_raw(name: Name, end_bytes: usize) -> Result<NamedRegion> {
        let mapping = Mapping::raw(&name, end_bytes)?;
        let removal = Mutex::new(NameRemoval::Never);
        Ok(NamedRegion { name, mapping, removal, is_creator: false })
    }

    /// Makes the last handle remove the name. Call it after the region was found to have the
    /// expected contents.
    pub(crate) fn remove_with_last(&self) {
        self.set_removal(NameRemoval::WithLast(Instance::current()));
    }

    /// Makes this handle, which created the region, remove the name even if others have it open
    /// then.
    pub(crate) fn remove_with_creator(&self) {
        self.set_removal(NameRemoval::WithCreator(Instance::current()));
    }

    fn set_removal(&self, removal: NameRemoval) {
        *self.removal.lock().unwrap_or_else(PoisonError::into_inner) = removal;
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

    /// Removes the name; the bytes stay while any process maps them.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if the name is gone, or refers to another region.
    pub(crate) fn unlink(&self) -> Result<()> {
        self.set_removal(NameRemoval::Never);
        if shm::refers_to(self.name.as_str(), self.mapping.id()) {
            return shm::unlink(self.name.as_str());
        }
        Err(Error::NotFound { name: self.name.to_string(), place: shm::DIRECTORY })
    }

    /// Keeps the name after this handle is dropped, and from `reclaim`.
    ///
    /// # Errors
    ///
    /// [`Error::Os`].
    pub(crate) fn keep(&self) -> Result<()> {
        shm::keep(self.mapping.open_file(), self.name.as_str())?;
        self.set_removal(NameRemoval::Never);
        Ok(())
    }
}

impl Drop for NamedRegion {
    fn drop(&mut self) {
        // No lock: in a forked child the thread that holds it may not exist.
        match *self.removal.get_mut().unwrap_or_else(PoisonError::into_inner) {
            NameRemoval::WithCreator(maker) if maker.is_current() => {
                reclaim::release_held(self.mapping.open_file(), self.name.as_str());
            }
            NameRemoval::WithLast(holder) if holder.is_current() => {
                reclaim::release(self.mapping.open_file(), self.name.as_str());
            }
            // A forked child has a copy of this handle, but the name belongs to its parent.
            _ => {}
        }
    }
}

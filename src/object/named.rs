//! Object memory under a name.
//!
//! The bytes are the data of a named region, a `.npy` file of `|u1`. It gets its name when it is
//! complete, and is removed with its last handle or by `reclaim`, as any named region. Programs
//! that share only the name use it; each is in its owner table, and a waiting process notices
//! deaths.

use std::time::{Duration, Instant};

use super::memory::{Backing, Memory, Spec};
use crate::error::{Error, Result};
use crate::object::Kind;
use crate::region::Dtype;
use crate::region::name::Name;
use crate::region::named_region::NamedRegion;
use crate::region::npy;
use crate::shape::Shape;

/// How long to retry while other programs make and remove the name.
const CONTENDED_TIME: Duration = Duration::from_secs(1);

impl Memory {
    /// Makes a memory under a name. `make` is as in [`Memory::create`]; the name appears after it
    /// has returned.
    ///
    /// # Errors
    ///
    /// [`Error::BadName`], [`Error::NameTaken`], [`Error::NoSpace`], [`Error::Os`], and those of
    /// `make`.
    pub(crate) fn create_named<R>(
        name: &str,
        spec: &Spec,
        make: impl FnOnce(&Memory) -> Result<R>,
    ) -> Result<(R, Memory)> {
        let name = Name::new(name)?;
        let bytes = spec.size_bytes()?;
        let (region, _) = NamedRegion::prepare(name, Dtype::U8, &Shape::from(bytes), bytes)?;
        let made = Memory::create_in(Backing::Named(region), spec, make)?;
        // Enlisted before it is published: otherwise another thread that opens the name now would
        // attach it again, as if it were another process.
        made.1.enlist();
        made.1.region().expect("made in one").publish()?;
        Ok(made)
    }

    /// A handle of the memory of this name. `attach` makes the primitive over its body, as in a
    /// worker.
    ///
    /// # Errors
    ///
    /// [`Error::BadName`]; [`Error::NotFound`]; [`Error::Layout`] if it has other contents;
    /// [`Error::PidNamespace`]; [`Error::Full`] if too many processes use it; [`Error::Os`]; those
    /// of `attach`.
    pub(crate) fn open_named<R>(
        name: &str,
        kind: Kind,
        tag: u64,
        attach: impl FnOnce(&Memory) -> Result<R>,
    ) -> Result<(R, Memory)> {
        let name = Name::new(name)?;
        let (region, header) = NamedRegion::attach(name)?;
        if (header.dtype, header.data_offset) != (Dtype::U8, npy::DATA_OFFSET) {
            return Err(Error::Layout {
                place: region.name().to_owned(),
                found: format!("an array of {} at byte {}", header.dtype, header.data_offset),
                expected: kind.with_article(),
            });
        }
        let place = region.name().to_owned();
        let memory = Memory::attach_in(Backing::Named(region), kind, tag);
        let memory = memory.map_err(|error| in_place(error, &place))?;
        let attached = attach(&memory).map_err(|error| in_place(error, &place))?;
        memory.region().expect("opened in one").remove_with_last();
        Ok((attached, memory))
    }

    /// Opens a memory, or makes it if it does not exist. If others do the same concurrently, the
    /// result of `make` may be discarded.
    ///
    /// # Errors
    ///
    /// As [`create_named`](Memory::create_named) and [`open_named`](Memory::open_named).
    pub(crate) fn create_or_open_named<R>(
        name: &str,
        spec: &Spec,
        make: impl Fn(&Memory) -> Result<R>,
        attach: impl Fn(&Memory) -> Result<R>,
    ) -> Result<(R, Memory)> {
        // A region of a dead program must not be used.
        NamedRegion::reclaim(&Name::new(name)?);
        let start = Instant::now();
        loop {
            match Memory::open_named(name, spec.kind, spec.tag, &attach) {
                Err(Error::NotFound { .. }) => {}
                found => return found,
            }
            match Memory::create_named(name, spec, &make) {
                Err(Error::NameTaken { .. }) if start.elapsed() < CONTENDED_TIME => {}
                made => return made,
            }
        }
    }

    /// The name, if it has one.
    pub(crate) fn name(&self) -> Option<&str> {
        self.region().map(NamedRegion::name)
    }

    /// Removes the name; processes that have the memory can still use it.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if it has none, or the name refers to another file.
    pub(crate) fn unlink(&self) -> Result<()> {
        match self.region() {
            Some(region) => region.unlink(),
            None => Err(nameless()),
        }
    }

    /// Lets the name outlive all handles, until it is unlinked.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if it has none; [`Error::Os`].
    pub(crate) fn keep(&self) -> Result<()> {
        match self.region() {
            Some(region) => region.keep(),
            None => Err(nameless()),
        }
    }
}

/// Adds the name of the memory to an error about its contents.
fn in_place(error: Error, name: &str) -> Error {
    match error {
        Error::Layout { found, expected, .. } => {
            Error::Layout { place: name.to_owned(), found, expected }
        }
        Error::PidNamespace { theirs, ours, .. } => {
            Error::PidNamespace { what: name.to_owned(), theirs, ours }
        }
        Error::TimeNamespace { theirs, ours, .. } => {
            Error::TimeNamespace { what: name.to_owned(), theirs, ours }
        }
        other => other,
    }
}

fn nameless() -> Error {
    Error::NotFound { name: "a primitive without a name".to_owned(), place: "/dev/shm" }
}

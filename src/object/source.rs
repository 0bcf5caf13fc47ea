//! Describes an operand to workers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::region::arena::Span;
use crate::region::mapping::{FileLocation, Mapping};
use crate::region::windows::Windows;
use crate::sys::file::FileId;
use crate::sys::mmap::Access;

/// The most mappings that a worker keeps for later tasks.
const CACHED_MAX: usize = 64;

/// How long mappings are kept after the last use: a new mapping costs a fault for each page.
pub(crate) const REST_TIME: Duration = Duration::from_secs(1);

/// The place of an operand's elements, valid in every process of the pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Source {
    /// In the arena.
    Arena { id: u64, offset: u64, len_bytes: u64 },
    /// In a file or named region, which each worker maps itself.
    Mapped { address: FileLocation, device: u64, inode: u64, offset: u64, len_bytes: u64 },
}

impl Source {
    pub(crate) fn of_span(span: &Span) -> Source {
        let (id, offset) = (span.arena().id(), span.offset());
        Source::Arena { id, offset, len_bytes: span.len_bytes() as u64 }
    }

    /// The size of the operand in bytes.
    pub(crate) fn len_bytes(&self) -> u64 {
        match self {
            Source::Arena { len_bytes, .. } | Source::Mapped { len_bytes, .. } => *len_bytes,
        }
    }

    /// The `len_bytes` of it from byte `start` on.
    pub(crate) fn part(&self, start: u64, len_bytes: u64) -> Source {
        let mut part = self.clone();
        let (Source::Arena { offset, len_bytes: len, .. }
        | Source::Mapped { offset, len_bytes: len, .. }) = &mut part;
        *offset += start;
        *len = len_bytes;
        part
    }

    /// The `len_bytes` of a mapping from `offset` on.
    pub(crate) fn of_mapping(mapping: &Mapping, offset: usize, len_bytes: usize) -> Source {
        Source::Mapped {
            address: mapping.address().clone(),
            device: mapping.id().device,
            inode: mapping.id().inode,
            offset: offset as u64,
            len_bytes: len_bytes as u64,
        }
    }
}

/// An operand's first byte, and the mapping that holds it.
#[derive(Debug)]
pub(crate) struct Resolved {
    start: *mut u8,
    /// Never read; it keeps the mapping. `None` in the arena, whose windows stay mapped.
    _mapping: Option<Arc<Mapping>>,
}

impl Resolved {
    /// The first byte; it may be written only if it was resolved for writing.
    pub(crate) fn as_ptr(&self) -> *mut u8 {
        self.start
    }
}

/// A worker's mappings of files and named regions, made on first use.
///
/// A kept mapping keeps the memory of a region without a name. So such mappings are dropped when
/// another is made or the worker is about to sleep, and all mappings [`REST_TIME`] after the last
/// use.
#[derive(Debug, Default)]
pub(crate) struct Resolver {
    pub(crate) cache: Mutex<Cache>,
}

#[derive(Debug, Default)]
pub(crate) struct Cache {
    pub(crate) mappings: HashMap<(FileId, bool), Arc<Mapping>>,
    /// When one of them was last used.
    pub(crate) last_use: Option<Instant>,
}

impl Cache {
    fn forget_unlinked(&mut self) {
        self.mappings.retain(|_, mapping| mapping.has_name());
    }
}

impl Resolver {
    /// Finds an operand's bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if they are not in the arena of `windows`; [`Error::NotFound`],
    /// [`Error::Layout`] or [`Error::Os`] if the file has changed.
    pub(crate) fn resolve(
        &self,
        windows: &Windows,
        source: &Source,
        access: Access,
    ) -> Result<Resolved> {
        match source {
            Source::Arena { id, offset, len_bytes } => {
                let len_bytes = usize::try_from(*len_bytes).unwrap_or(usize::MAX);
                if *id != windows.id() {
                    let found = format!("arena {id:#x} instead of {:#x}", windows.id());
                    return Err(Error::Corrupt { what: "an operand", found });
                }
                let start = match access {
                    Access::ReadOnly => windows.read(*offset, len_bytes)?.cast_mut(),
                    Access::ReadWrite => windows.write(*offset, len_bytes)?,
                };
                Ok(Resolved { start, _mapping: None })
            }
            Source::Mapped { address, device, inode, offset, len_bytes } => {
                let id = FileId { device: *device, inode: *inode };
                let end = offset.checked_add(*len_bytes);
                let mapping = self.mapping(address, id, access, end.unwrap_or(u64::MAX))?;
                let start = usize::try_from(*offset).ok();
                match (start, end) {
                    (Some(start), Some(end)) if end <= mapping.len_bytes() as u64 => {
                        let start = mapping.base().wrapping_add(start);
                        Ok(Resolved { start, _mapping: Some(mapping) })
                    }
                    _ => Err(Error::Layout {
                        place: format!("{address:?}"),
                        found: format!("{} bytes", mapping.len_bytes()),
                        expected: format!("{len_bytes} bytes at {offset}"),
                    }),
                }
            }
        }
    }

    /// A mapping of the file `id`, old or new, up to `end_bytes` if the file has as many. A mapping
    /// keeps its inode, so the number refers to the same file while it is cached. But the file may
    /// have been rewritten since, with another length.
    fn mapping(
        &self,
        address: &FileLocation,
        id: FileId,
        access: Access,
        end_bytes: u64,
    ) -> Result<Arc<Mapping>> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.last_use = Some(Instant::now());
        let key = (id, access == Access::ReadWrite);
        if let Some(mapping) = cache.mappings.get(&key).filter(|known| known.reaches(end_bytes)) {
            return Ok(Arc::clone(mapping));
        }
        let mapping = Arc::new(Mapping::again(address, id, access)?);
        cache.forget_unlinked();
        if cache.mappings.len() >= CACHED_MAX {
            cache.mappings.clear();
        }
        cache.mappings.insert(key, Arc::clone(&mapping));
        Ok(mapping)
    }

    /// Drops mappings whose file has no name any more, and all of them if none was used for
    /// [`REST_TIME`]. Returns when to call again.
    pub(crate) fn rest(&self) -> Option<Duration> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.forget_unlinked();
        let since = cache.last_use?.elapsed();
        if since >= REST_TIME {
            *cache = Cache::default();
        }
        (!cache.mappings.is_empty()).then(|| REST_TIME.saturating_sub(since))
    }
}

//! Removes the names that dead programs left behind.

use std::fs::{self, File};

use crate::error::{Error, Result};
use crate::region::fingerprint;
use crate::region::name::Name;
use crate::region::npy::{self, NpyHeader};
use crate::sys::file::{self, FileId, FileState};
use crate::sys::open_files::{self, Holders};
use crate::sys::shm;

/// Removes named regions whose programs are gone, and returns their names.
///
/// A program that is killed cannot remove the names of its regions. This function removes each
/// region under `/dev/shm` that belongs to this user, was made by this crate, was not [kept], and
/// is neither held nor mapped by a living process. Files that other programs, or
/// [`to_npy`](crate::ArrayRef::to_npy), wrote there stay, and so does a copy of a region. In case
/// of doubt a name stays. It is safe to call at any time, from several programs at once.
///
/// [kept]: crate::NamedArray::keep
///
/// # Errors
///
/// [`Error::Os`] if `/dev/shm` cannot be listed. Files that cannot be examined are skipped.
///
/// # Examples
///
/// ```
/// use brigade::SharedArray;
/// let name = format!("reclaim-doc-{}", std::process::id());
/// let held = SharedArray::<f64>::named(&name, [10])?;
/// assert!(!brigade::reclaim()?.contains(&name));
/// # Ok::<(), brigade::Error>(())
/// ```
pub fn reclaim() -> Result<Vec<String>> {
    let entries =
        fs::read_dir(shm::DIRECTORY).map_err(|e| Error::os("readdir", shm::DIRECTORY, e))?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut mappings = None;
    let mut removed: Vec<String> =
        names.filter(|name| reclaim_unmapped(name, &mut mappings)).collect();
    removed.sort();
    Ok(removed)
}

/// Removes one name if it is certainly stale. Returns whether it did.
pub(super) fn reclaim_one(name: &str) -> bool {
    reclaim_unmapped(name, &mut None)
}

/// Removes one name if it is stale and not in `mappings`, which are read when first needed.
fn reclaim_unmapped(name: &str, mappings: &mut Option<Holders>) -> bool {
    let Some(id) = stale(name).map(|(_, id)| id) else { return false };
    // Read without the lock, which would keep others from attaching meanwhile.
    let mappings = mappings.get_or_insert_with(open_files::mappings);
    if mappings.contains_key(&id) {
        return false;
    }
    // From here to the end the exclusive lock keeps this crate's programs from attaching.
    stale(name).is_some_and(|(_locked, now)| now == id && remove(name, id))
}

/// Whether no process holds the region of this name, and it was not kept. Together with a check of
/// the mappings, this is the only rule by which names are removed, or listed as dead.
pub(crate) fn is_stale(name: &str) -> bool {
    stale(name).is_some()
}

/// The region of this name, locked exclusively, if no process holds it and it was not kept.
fn stale(name: &str) -> Option<(File, FileId)> {
    let name = Name::new(name).ok()?;
    let file = shm::lock_stale(name.as_str())?;
    let FileState { id, size_bytes, .. } = file::state(&file, name.as_str()).ok()?;
    is_region(&file, name.as_str(), id, size_bytes).then_some((file, id))
}

/// Removes the name of a region that `file` has open, if this is the last holder. `file` loses its
/// lock, so the caller must close it.
pub(super) fn release(file: &File, name: &str) {
    if shm::is_last(file, name) {
        release_held(file, name);
    }
}

/// Removes the name of a region that `file` has open, also if other processes hold it.
pub(super) fn release_held(file: &File, name: &str) {
    let Ok(FileState { id, size_bytes, .. }) = file::state(file, name) else { return };
    if is_region(file, name, id, size_bytes) {
        // A missing name is fine; in case of doubt the name stays.
        remove(name, id);
    }
}

/// Removes a name if it still refers to the file `id`.
fn remove(name: &str, id: FileId) -> bool {
    shm::refers_to(name, id) && shm::unlink(name).is_ok()
}

/// Whether `file`, with this name, is a region of this crate: a whole array with its fingerprint.
/// No other file is removed without an explicit request.
pub(crate) fn is_region(file: &File, name: &str, id: FileId, file_bytes: u64) -> bool {
    npy::read(file, file_bytes, name).is_ok_and(|header| is_made_here(&header, file_bytes))
        && fingerprint::matches(file, name, id)
}

/// Whether this crate makes such regions: the data begin at a page, and nothing follows them.
pub(crate) fn is_made_here(header: &NpyHeader, file_bytes: u64) -> bool {
    header.data_offset == npy::DATA_OFFSET && file_bytes == npy::file_bytes(header.data_bytes)
}

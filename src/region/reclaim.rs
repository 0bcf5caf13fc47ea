//! What dead programs left behind: names that nobody holds.

use std::fs::{self, File};

use crate::error::{Error, Result};
use crate::region::name::Name;
use crate::region::npy::{self, Header};
use crate::sys::{file, shm};

/// Removes named regions whose programs are gone, and returns their names.
///
/// A program that is killed cannot remove the names of its regions. This removes each region
/// under `/dev/shm` that belongs to this user, was made by this crate, was not [kept], and that
/// no living process holds. In doubt a name stays. It is safe to call at any time, by any number
/// of programs at once.
///
/// [kept]: crate::NamedArray::keep
///
/// # Errors
///
/// [`Error::Os`] if `/dev/shm` cannot be listed. What cannot be examined is left alone.
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
    let valid = names.filter(|name| Name::new(name).is_ok());
    let mut removed: Vec<String> = valid.filter(|name| reclaim_one(name)).collect();
    removed.sort();
    Ok(removed)
}

/// Removes one name, if it is stale beyond doubt; whether it did.
pub(super) fn reclaim_one(name: &str) -> bool {
    shm::lock_stale(name).is_some_and(|file| remove_locked(&file, name))
}

/// Removes the name of a region that `file` holds open, if nobody else holds it. Whoever comes
/// last does; the lock of `file` is gone afterwards, so that it must be closed.
pub(super) fn release(file: &File, name: &str) {
    if shm::is_last(file, name) {
        // Gone already is as good, and in doubt a name stays.
        let _ = remove_locked(file, name);
    }
}

/// Removes the name of a region that `file` has locked exclusively, if this crate made it.
fn remove_locked(file: &File, name: &str) -> bool {
    let is_ours = || {
        let (id, file_bytes) = file::identity(file, name).ok()?;
        let header = npy::read(file, file_bytes, name).ok()?;
        (is_made_here(&header, file_bytes) && shm::names(name, id)).then_some(())
    };
    // From here to the end the exclusive lock keeps this crate's programs from attaching.
    is_ours().is_some() && shm::unlink(name).is_ok()
}

/// Whether this crate makes regions like this: data from a page on, and nothing behind it.
pub(crate) fn is_made_here(header: &Header, file_bytes: u64) -> bool {
    let whole_bytes = header.data_offset as u64 + header.data_bytes as u64;
    header.data_offset == npy::DATA_OFFSET && file_bytes == whole_bytes
}

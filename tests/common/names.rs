//! Files of `/dev/shm` that tests make by hand.

use std::fs;
use std::path::PathBuf;

/// The file of a name.
pub(crate) fn path_of(name: &str) -> PathBuf {
    PathBuf::from("/dev/shm").join(name)
}

/// Removes a name that a test makes by hand.
pub(crate) struct Removed(pub(crate) String);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = fs::remove_file(path_of(&self.0));
    }
}

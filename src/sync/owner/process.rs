//! What a table knows of one process.
#![allow(unsafe_code)]

use super::{OwnerTable, entry_lives, unpack_identity};
use crate::atomics::Ordering;

impl OwnerTable {
    /// Whether process `pid` has claimed an entry that it has not given up.
    pub(crate) fn has_process(&self, pid: u32) -> bool {
        self.owners().iter().any(|entry| {
            let identity = entry.identity.load(Ordering::Acquire);
            unpack_identity(identity).is_some_and(|(claimant, _)| claimant == pid)
        })
    }

    /// Sweeps what process `pid`, which has ended, had claimed. Returns how many locks it held.
    ///
    /// A process that was given the same number since is left alone: the start times differ.
    pub(crate) fn sweep_process(&self, pid: u32) -> usize {
        let mut marked = 0;
        for entry in self.owners() {
            match unpack_identity(entry.identity.load(Ordering::Acquire)) {
                Some((claimant, token))
                    if claimant == pid && !entry_lives(entry, claimant, token) =>
                {
                    // SAFETY: its process has ended, as `entry_lives` has just found out.
                    marked += unsafe { self.sweep(token) };
                }
                _ => {}
            }
        }
        marked
    }
}

//! Finds and sweeps the claims of one process.
#![allow(unsafe_code)]

use super::table::OwnerTable;

impl OwnerTable {
    /// Whether process `pid` has a claim.
    pub(crate) fn has_process(&self, pid: u32) -> bool {
        self.owners().iter().any(|entry| entry.claimant().is_some_and(|(owner, _)| owner == pid))
    }

    /// Sweeps the claims of process `pid`, which has ended. Returns how many locks it held.
    ///
    /// A later process with the same pid is not affected: the start times differ.
    pub(crate) fn sweep_process(&self, pid: u32) -> usize {
        let mut marked = 0;
        for entry in self.owners() {
            match entry.claimant() {
                Some((owner, token)) if owner == pid && !entry.lives(pid, token) => {
                    // SAFETY: its process has ended: `lives` has just returned false.
                    marked += unsafe { self.sweep(token) };
                }
                _ => {}
            }
        }
        marked
    }
}

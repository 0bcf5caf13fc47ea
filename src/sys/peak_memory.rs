//! The most memory that a stretch of code has needed.

use std::fs;

use crate::sys::procfs;

/// The beginning of a stretch of code of this process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PeakMemory {
    start_bytes: u64,
}

impl PeakMemory {
    /// Begins to measure; `None` where the kernel does not say how much memory a process has.
    pub(crate) fn begin() -> Option<PeakMemory> {
        // Sets the largest resident set so far to the present one. Where that is forbidden, the
        // peak may be one from before, and the result too large.
        let _ = fs::write("/proc/self/clear_refs", "5");
        Some(PeakMemory { start_bytes: status_bytes("VmRSS:")? })
    }

    /// By how much the largest resident set since then exceeds that at the beginning, in bytes.
    pub(crate) fn grown_bytes(self) -> Option<u64> {
        Some(status_bytes("VmHWM:")?.saturating_sub(self.start_bytes))
    }
}

fn status_bytes(name: &str) -> Option<u64> {
    let text = procfs::text("/proc/thread-self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_and_freed_counts() {
        const BYTES: usize = 64 << 20;
        let Some(peak) = PeakMemory::begin() else { return };
        // Optimised code would not write bytes that nobody reads.
        drop(std::hint::black_box(vec![1u8; BYTES]));
        let grown = peak.grown_bytes().unwrap();
        // Other tests of this process may have freed some meanwhile.
        assert!(grown >= BYTES as u64 / 2, "{grown}");
    }
}

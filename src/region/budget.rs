//! Checks requests for memory against measured limits.
//!
//! The kernel cannot be asked: a memory file takes any size, and a lack of memory shows as SIGBUS,
//! or as an out-of-memory kill, when the pages are touched. So a request is compared with the
//! limits before anything is reserved.

use crate::error::{Error, Limit, Result};
use crate::sys::{cgroup, limits};

/// The limits that a request is compared with, all in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct MemoryLimits {
    /// Memory that the machine can provide without swapping.
    pub(crate) available_bytes: u64,
    /// The rest of the cgroups' limits, if they have any.
    pub(crate) cgroup_bytes: Option<u64>,
    /// The rest of the kernel's commit limit, if it enforces one.
    pub(crate) commit_bytes: Option<u64>,
    /// The program's limit for the whole arena, if it set one.
    pub(crate) cap_bytes: Option<u64>,
    /// The program's own figure for the machine's available memory, instead of `available_bytes`.
    pub(crate) stated_bytes: Option<u64>,
    /// The bytes that the arena has given out or keeps for reuse.
    pub(crate) reserved_bytes: u64,
    /// How many of these have pages; the first three do not include them.
    pub(crate) touched_bytes: u64,
}

impl MemoryLimits {
    /// Reads them from the system. `commits_strictly` is [`limits::commits_strictly`], read once.
    pub(crate) fn measure(commits_strictly: bool) -> Result<MemoryLimits> {
        let memory = limits::memory()?;
        let commit = memory.commit_limit_bytes.saturating_sub(memory.committed_bytes);
        Ok(MemoryLimits {
            available_bytes: memory.available_bytes,
            cgroup_bytes: cgroup::memory_free_bytes(),
            commit_bytes: commits_strictly.then_some(commit),
            ..MemoryLimits::default()
        })
    }

    /// Limits that refuse only what exceeds the cap.
    pub(crate) fn unlimited() -> MemoryLimits {
        MemoryLimits { available_bytes: u64::MAX, ..MemoryLimits::default() }
    }

    /// How many bytes may be granted after `needed_bytes` without another measurement: so few,
    /// compared with the free memory, that they cannot exhaust it.
    ///
    /// A measurement reads a file for each limit and takes a tenth of a millisecond; a pool starts
    /// with several small spans.
    pub(crate) fn ahead_bytes(&self, needed_bytes: u64) -> u64 {
        let (free_bytes, _) = self.free();
        (free_bytes.saturating_sub(needed_bytes) / 64).min(AHEAD_BYTES_MAX)
    }

    /// The most bytes that can be granted, and the limit that determines it.
    ///
    /// A tenth of the system's memory is left free. Bytes that earlier reservations have not
    /// touched yet count as used. A cap is exact.
    pub(crate) fn free(&self) -> (u64, Limit) {
        let promised = self.reserved_bytes.saturating_sub(self.touched_bytes);
        let of_system = |bytes: u64| (bytes - bytes / 10).saturating_sub(promised);
        let of_arena = |bytes: u64| bytes.saturating_sub(self.reserved_bytes);
        let machine = self.stated_bytes.map_or_else(|| of_system(self.available_bytes), of_arena);
        let mut least = (machine, Limit::Machine);
        let others = [
            (self.cgroup_bytes.map(of_system), Limit::Cgroup),
            (self.commit_bytes.map(of_system), Limit::Commit),
            (self.cap_bytes.map(of_arena), Limit::Caller),
        ];
        for (bytes, limit) in others {
            if let Some(bytes) = bytes.filter(|&bytes| bytes < least.0) {
                least = (bytes, limit);
            }
        }
        least
    }

    /// Returns an error if the request does not fit. `requested_bytes` is for the message;
    /// `needed_bytes` is the request rounded up to whole blocks.
    pub(crate) fn grant(&self, requested_bytes: u64, needed_bytes: u64) -> Result<()> {
        let (free_bytes, limited_by) = self.free();
        if needed_bytes <= free_bytes {
            return Ok(());
        }
        Err(Error::NoSpace { requested_bytes, free_bytes, limited_by })
    }
}

/// The most bytes that are granted ahead.
const AHEAD_BYTES_MAX: u64 = 32 << 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GIB: u64 = 1 << 30;

    fn machine(available_bytes: u64) -> MemoryLimits {
        MemoryLimits { available_bytes, ..MemoryLimits::default() }
    }

    #[test]
    fn a_tenth_of_the_machine_is_left_free() {
        let inputs = machine(10 * GIB);
        assert!(inputs.grant(9 * GIB, 9 * GIB).is_ok());
        assert!(inputs.grant(9 * GIB + 1, 9 * GIB + 1).is_err());
    }

    #[test]
    fn absurd_sizes_are_refused_without_asking_the_kernel() {
        for asked in [1 << 62, u64::MAX, u64::MAX - 1] {
            let refused = machine(10 * GIB).grant(asked, asked);
            assert!(matches!(
                refused,
                Err(Error::NoSpace { requested_bytes, free_bytes, limited_by: Limit::Machine })
                    if requested_bytes == asked && free_bytes == 9 * GIB
            ));
        }
        assert!(machine(u64::MAX).grant(u64::MAX, u64::MAX).is_err());
    }

    #[test]
    fn reserved_but_untouched_memory_is_not_granted_again() {
        let inputs =
            MemoryLimits { reserved_bytes: 5 * GIB, touched_bytes: GIB, ..machine(10 * GIB) };
        assert_eq!(inputs.free(), (5 * GIB, Limit::Machine));
    }

    #[test]
    fn the_smallest_limit_is_the_one_named() {
        let all = MemoryLimits {
            cgroup_bytes: Some(8 * GIB),
            commit_bytes: Some(7 * GIB),
            cap_bytes: Some(GIB),
            ..machine(10 * GIB)
        };
        assert_eq!(all.free(), (GIB, Limit::Caller));
        assert_eq!(MemoryLimits { cap_bytes: None, ..all }.free().1, Limit::Commit);
        assert_eq!(
            MemoryLimits { cap_bytes: None, commit_bytes: None, ..all }.free().1,
            Limit::Cgroup
        );
    }

    #[test]
    fn little_is_granted_ahead_and_nothing_where_memory_is_short() {
        assert_eq!(machine(100 * GIB).ahead_bytes(GIB), AHEAD_BYTES_MAX);
        assert_eq!(machine(640 << 20).ahead_bytes(0), (576 << 20) / 64);
        assert_eq!(machine(GIB).ahead_bytes(2 * GIB), 0);
        let capped = MemoryLimits { cap_bytes: Some(64), ..MemoryLimits::unlimited() };
        assert!(capped.grant(64, 64).is_ok() && capped.grant(65, 65).is_err());
    }

    // MemAvailable does not count the cache of some file systems.
    #[test]
    fn the_available_memory_that_a_program_sets_replaces_the_machines_and_no_other_limit() {
        let inputs = MemoryLimits { stated_bytes: Some(10 * GIB), ..machine(GIB) };
        assert_eq!(inputs.free(), (10 * GIB, Limit::Machine));
        let used = MemoryLimits { reserved_bytes: 4 * GIB, ..inputs };
        assert_eq!(used.free(), (6 * GIB, Limit::Machine));
        let grouped = MemoryLimits { cgroup_bytes: Some(5 * GIB), ..inputs };
        assert_eq!(grouped.free().1, Limit::Cgroup);
    }

    #[test]
    fn a_cap_is_exact_and_counts_all_reservations() {
        let inputs = MemoryLimits { cap_bytes: Some(GIB), ..machine(100 * GIB) };
        assert!(inputs.grant(GIB, GIB).is_ok());
        let used = MemoryLimits { reserved_bytes: GIB / 2, touched_bytes: GIB / 2, ..inputs };
        assert_eq!(used.free(), (GIB / 2, Limit::Caller));
    }

    proptest! {
        #[test]
        fn no_inputs_overflow_and_a_grant_never_exceeds_what_is_free(
            available in any::<u64>(), cgroup in any::<Option<u64>>(),
            commit in any::<Option<u64>>(), cap in any::<Option<u64>>(),
            reserved in any::<u64>(), touched in any::<u64>(), asked in any::<u64>(),
        ) {
            let inputs = MemoryLimits {
                available_bytes: available, cgroup_bytes: cgroup, commit_bytes: commit,
                cap_bytes: cap, stated_bytes: None, reserved_bytes: reserved,
                touched_bytes: touched,
            };
            let granted = inputs.grant(asked, asked).is_ok();
            prop_assert_eq!(granted, asked <= inputs.free().0);
            prop_assert!(inputs.free().0 <= available);
        }
    }
}

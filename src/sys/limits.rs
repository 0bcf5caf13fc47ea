//! What the machine, the rlimits and the affinity mask allow.

use nix::sys::resource::Resource;

use crate::error::{Error, Result};
use crate::sys::{cgroup, procfs, sched};

/// The lines of `/proc/meminfo` that are used here, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct MemInfo {
    /// All memory of the machine.
    pub(crate) total_bytes: u64,
    /// Memory that can be allocated without swapping.
    pub(crate) available_bytes: u64,
    /// The total that may be committed, if the kernel enforces it.
    pub(crate) commit_limit_bytes: u64,
    /// The total that is committed.
    pub(crate) committed_bytes: u64,
}

/// The contents of `/proc/meminfo`. If that cannot be read (`subset=pid`), the answer of `sysinfo`,
/// which does not count memory that the kernel could free.
pub(crate) fn memory() -> Result<MemInfo> {
    if let Ok(text) = procfs::text("/proc/meminfo") {
        return Ok(parse_meminfo(&text));
    }
    let info = nix::sys::sysinfo::sysinfo()
        .map_err(|e| Error::os("sysinfo", "the memory of the machine", e))?;
    let (total_bytes, available_bytes) = (info.ram_total(), info.ram_unused());
    Ok(MemInfo { total_bytes, available_bytes, commit_limit_bytes: u64::MAX, committed_bytes: 0 })
}

fn parse_meminfo(text: &str) -> MemInfo {
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
        kib.checked_mul(1024)
    };
    MemInfo {
        total_bytes: field("MemTotal").unwrap_or(0),
        available_bytes: field("MemAvailable").or_else(|| field("MemFree")).unwrap_or(0),
        commit_limit_bytes: field("CommitLimit").unwrap_or(u64::MAX),
        committed_bytes: field("Committed_AS").unwrap_or(0),
    }
}

/// Whether the kernel never commits more memory than it has (`vm.overcommit_memory` is 2).
pub(crate) fn commits_strictly() -> bool {
    procfs::text("/proc/sys/vm/overcommit_memory").is_ok_and(|text| text.trim() == "2")
}

/// The largest file that this process may make, in bytes; `u64::MAX` if there is no limit.
pub(crate) fn file_size_bytes_max() -> u64 {
    soft_limit(Resource::RLIMIT_FSIZE)
}

/// The largest address space that this process may have, in bytes; `u64::MAX` if there is no limit.
pub(crate) fn address_space_bytes_max() -> u64 {
    soft_limit(Resource::RLIMIT_AS)
}

/// Makes sure that this process may open `count` more descriptors for `what`: raises the soft limit
/// as far as needed, if the hard one allows.
///
/// # Errors
///
/// [`Error::Spawn`] with the needed and the allowed number.
pub(crate) fn reserve_descriptors(what: &'static str, count: usize) -> Result<()> {
    // Without `/proc` the start fails elsewhere, with a better error.
    let open = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let need = (open + count + SPARE_DESCRIPTORS) as u64;
    let resource = Resource::RLIMIT_NOFILE;
    let Ok((soft, hard)) = nix::sys::resource::getrlimit(resource) else { return Ok(()) };
    if need <= soft || need <= hard && nix::sys::resource::setrlimit(resource, need, hard).is_ok() {
        return Ok(());
    }
    let reason = format!(
        "{count} descriptors are needed besides the {open} that are open, and this process may \
         have {hard} in all: ask for fewer, or raise the limit (`ulimit -Hn`, or LimitNOFILE= of \
         a systemd service)"
    );
    Err(Error::Spawn { what, reason })
}

/// Raises the soft limit of descriptors to the hard one.
pub(crate) fn raise_descriptors() {
    let resource = Resource::RLIMIT_NOFILE;
    if let Ok((_, hard)) = nix::sys::resource::getrlimit(resource) {
        // Without it there are as many as before.
        let _ = nix::sys::resource::setrlimit(resource, hard, hard);
    }
}

/// The descriptors of a pool of any size, and those that are open only briefly.
const SPARE_DESCRIPTORS: usize = 32;

fn soft_limit(resource: Resource) -> u64 {
    // RLIM_INFINITY is u64::MAX on every Linux of this crate.
    nix::sys::resource::getrlimit(resource).map_or(u64::MAX, |(soft, _hard)| soft)
}

/// The number of processors that this process's first thread may run on; at least 1.
pub(crate) fn affinity_count() -> usize {
    sched::affinity_of_process().map_or(1, |cpus| cpus.len().max(1))
}

/// Processors that this process can keep busy: its affinity mask, limited by its cgroup's quota.
pub(crate) fn processors() -> usize {
    let count = affinity_count();
    match cgroup::cpu_quota() {
        // Lossless: clamped to the count before, and never negative.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
        Some(quota) => quota.ceil().clamp(1.0, count as f64) as usize,
        None => count,
    }
}

/// Whether the cgroup limits processor time, so that spinning takes time from work.
pub(crate) fn has_processor_quota() -> bool {
    cgroup::cpu_quota().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_is_read_in_bytes() {
        let text = "MemTotal:       24000 kB\nMemFree: 1 kB\nMemAvailable:   12000 kB\n\
                    CommitLimit:     500 kB\nCommitted_AS:    20 kB\n";
        let info = parse_meminfo(text);
        assert_eq!(info.total_bytes, 24_000 << 10);
        assert_eq!(info.available_bytes, 12_000 << 10);
        assert_eq!((info.commit_limit_bytes, info.committed_bytes), (500 << 10, 20 << 10));
    }

    #[test]
    fn missing_and_garbled_lines_grant_nothing() {
        let info = parse_meminfo("MemTotal: many kB\nMemFree: 99999999999999999999 kB\n");
        assert_eq!((info.total_bytes, info.available_bytes), (0, 0));
    }

    #[test]
    fn this_machine_has_memory_and_a_processor() {
        assert!(memory().unwrap().available_bytes > 0);
        assert!(affinity_count() >= 1);
        assert!(file_size_bytes_max() > 0 && address_space_bytes_max() > 0);
    }
}

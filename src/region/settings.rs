//! What a program sets of its arena.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};

/// No limit was set.
const UNSET: u64 = u64::MAX;

/// The cap of [`set_memory_limit`], in bytes.
static MEMORY_LIMIT_BYTES: AtomicU64 = AtomicU64::new(UNSET);

/// What [`set_available_memory`] said, in bytes.
static AVAILABLE_BYTES: AtomicU64 = AtomicU64::new(UNSET);

/// What [`store_cache_bytes`] stored.
static CACHE_BYTES: AtomicU64 = AtomicU64::new(UNSET);

/// The size asked for by [`set_arena_size`], in bytes.
static ARENA_SIZE_BYTES: AtomicU64 = AtomicU64::new(UNSET);

/// Caps what this process's anonymous arrays may occupy together, in bytes.
///
/// The default is no cap: only the machine, the cgroup and the kernel's commit limit count, of
/// which a tenth is always left alone. Memory is given out in blocks of 2 MiB. A cap below what
/// is occupied already takes nothing away; it refuses what comes next. `u64::MAX` lifts it.
///
/// # Examples
///
/// ```
/// use brigade::{Error, Limit, SharedArray};
/// brigade::set_memory_limit(64 << 20);
/// let refused = SharedArray::<u8>::zeroed(100 << 20);
/// assert!(matches!(refused, Err(Error::NoSpace { limited_by: Limit::Caller, .. })));
/// brigade::set_memory_limit(u64::MAX);
/// ```
pub fn set_memory_limit(bytes: u64) {
    // Relaxed: a number on its own, it publishes nothing.
    MEMORY_LIMIT_BYTES.store(bytes, Ordering::Relaxed);
}

/// Sets how much memory the machine can give to this process's anonymous arrays, in bytes.
///
/// It replaces what the kernel reports as available (`MemAvailable`), which does not count the
/// cache of some file systems, ZFS among them: with that, requests are refused that would work. The
/// limits of cgroups and the kernel's commit limit count all the same. If the number is too high,
/// the out-of-memory killer may end the process. Without a call, the environment variable
/// `BRIGADE_AVAILABLE_MEMORY` sets it, in bytes. `u64::MAX` removes the setting.
///
/// # Examples
///
/// ```
/// brigade::set_available_memory(64 << 20);
/// assert!(brigade::SharedArray::<u8>::zeroed(100 << 20).is_err());
/// brigade::set_available_memory(u64::MAX);
/// ```
pub fn set_available_memory(bytes: u64) {
    // Relaxed: a number on its own, it publishes nothing.
    AVAILABLE_BYTES.store(bytes, Ordering::Relaxed);
}

/// What was set, else what the environment sets, if anything.
fn setting(set: &AtomicU64, variable: &'static str) -> Result<Option<u64>> {
    // Relaxed: a number on its own.
    let set_bytes = set.load(Ordering::Relaxed);
    if set_bytes != UNSET {
        return Ok(Some(set_bytes));
    }
    let Some(value) = std::env::var_os(variable) else { return Ok(None) };
    let bytes = value.to_str().and_then(|text| text.trim().parse().ok());
    bytes.map(Some).ok_or_else(|| {
        Error::invalid(variable, value.to_string_lossy().into_owned(), "a number of bytes")
    })
}

/// What [`set_available_memory`] or the environment sets, in bytes.
pub(super) fn available_bytes() -> Result<Option<u64>> {
    setting(&AVAILABLE_BYTES, "BRIGADE_AVAILABLE_MEMORY")
}

/// Stores what [`set_memory_cache`](crate::set_memory_cache) sets, in bytes.
pub(super) fn store_cache_bytes(bytes: u64) {
    // Relaxed: a number on its own, it publishes nothing.
    CACHE_BYTES.store(bytes, Ordering::Relaxed);
}

/// Sets the size of the next arena, in bytes of address space; it costs no memory.
///
/// An arena is made with the first array or pool and lives while any of them does. Without a call,
/// the environment variable `BRIGADE_ARENA_SIZE` sets the size; the default is four times the
/// machine's memory. All are cut down to 32 TiB, to the limit on file sizes (`RLIMIT_FSIZE`), to a
/// quarter of the limit on address space (`RLIMIT_AS`), halved until twice as much address space
/// is free, which is what a worker needs, and rounded down to 2 MiB. `u64::MAX` restores the
/// default.
///
/// # Examples
///
/// ```
/// brigade::set_arena_size(1 << 30);
/// assert!(brigade::SharedArray::<u8>::zeroed(2 << 30).is_err());
/// brigade::set_arena_size(u64::MAX);
/// ```
pub fn set_arena_size(bytes: u64) {
    // Relaxed: a number on its own, it publishes nothing.
    ARENA_SIZE_BYTES.store(bytes, Ordering::Relaxed);
}

/// The cap on what the arena occupies, in bytes, if one was set.
pub(super) fn memory_limit_bytes() -> Option<u64> {
    // Relaxed: see `set_memory_limit`.
    Some(MEMORY_LIMIT_BYTES.load(Ordering::Relaxed)).filter(|&bytes| bytes != UNSET)
}

/// How much of freed memory is kept, in bytes, if that was set.
pub(super) fn cache_bytes() -> Option<u64> {
    // Relaxed: see `store_cache_bytes`.
    Some(CACHE_BYTES.load(Ordering::Relaxed)).filter(|&bytes| bytes != UNSET)
}

/// The size of the next arena, in bytes, if it was set by a call or the environment.
pub(super) fn arena_size_bytes() -> Result<Option<u64>> {
    setting(&ARENA_SIZE_BYTES, "BRIGADE_ARENA_SIZE")
}

//! A program's settings for its arena.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};

/// No value was set.
const UNSET: u64 = u64::MAX;

/// The value of [`set_memory_limit`], in bytes.
static MEMORY_LIMIT_BYTES: AtomicU64 = AtomicU64::new(UNSET);

/// The value of [`set_available_memory`], in bytes.
static AVAILABLE_BYTES: AtomicU64 = AtomicU64::new(UNSET);

/// The value of [`store_cache_bytes`].
static CACHE_BYTES: AtomicU64 = AtomicU64::new(UNSET);

/// The value of [`set_arena_size`], in bytes.
static ARENA_SIZE_BYTES: AtomicU64 = AtomicU64::new(UNSET);

/// Limits the total size of this process's anonymous arrays, in bytes.
///
/// There is no such limit by default: only the machine, the cgroup and the kernel's commit limit
/// count, of which a tenth is always left free. Memory is given out in blocks of 2 MiB. A limit
/// below the current size frees nothing; it refuses further requests. `u64::MAX` removes it.
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
    // Relaxed: an independent number.
    MEMORY_LIMIT_BYTES.store(bytes, Ordering::Relaxed);
}

/// Sets how much memory the machine can give to this process's anonymous arrays, in bytes.
///
/// It replaces the available memory that the kernel reports (`MemAvailable`). That excludes the
/// cache of some file systems, such as ZFS, so requests may be refused that would succeed. The
/// limits of cgroups and the kernel's commit limit still apply. If the number is too high, the
/// out-of-memory killer may end the process. Without a call, the environment variable
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
    // Relaxed: an independent number.
    AVAILABLE_BYTES.store(bytes, Ordering::Relaxed);
}

/// The value set by the program, or else by the environment, if any.
fn setting(set: &AtomicU64, variable: &'static str) -> Result<Option<u64>> {
    // Relaxed: an independent number.
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

/// The value of [`set_available_memory`] or of the environment, in bytes.
pub(super) fn available_bytes() -> Result<Option<u64>> {
    setting(&AVAILABLE_BYTES, "BRIGADE_AVAILABLE_MEMORY")
}

/// Stores the value of [`set_memory_cache`](crate::set_memory_cache), in bytes.
pub(super) fn store_cache_bytes(bytes: u64) {
    // Relaxed: an independent number.
    CACHE_BYTES.store(bytes, Ordering::Relaxed);
}

/// Sets the size of the next arena, in bytes of address space; it costs no memory.
///
/// An arena is made with the first array or pool and lives as long as any of them. Without a call,
/// the environment variable `BRIGADE_ARENA_SIZE` sets the size; the default is four times the
/// machine's memory. The size is limited to 32 TiB, to the limit on file sizes (`RLIMIT_FSIZE`) and
/// to a quarter of the limit on address space (`RLIMIT_AS`). It is halved until twice as much
/// address space is free, which a worker needs, and rounded down to 2 MiB. `u64::MAX` restores the
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
    // Relaxed: an independent number.
    ARENA_SIZE_BYTES.store(bytes, Ordering::Relaxed);
}

/// The limit on the arena's contents, in bytes, if one was set.
pub(super) fn memory_limit_bytes() -> Option<u64> {
    // Relaxed: see `set_memory_limit`.
    Some(MEMORY_LIMIT_BYTES.load(Ordering::Relaxed)).filter(|&bytes| bytes != UNSET)
}

/// The most bytes of freed memory that are kept, if that was set.
pub(super) fn cache_bytes() -> Option<u64> {
    // Relaxed: see `store_cache_bytes`.
    Some(CACHE_BYTES.load(Ordering::Relaxed)).filter(|&bytes| bytes != UNSET)
}

/// The size of the next arena, in bytes, if a call or the environment set it.
pub(super) fn arena_size_bytes() -> Result<Option<u64>> {
    setting(&ARENA_SIZE_BYTES, "BRIGADE_ARENA_SIZE")
}

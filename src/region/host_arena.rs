//! The one arena of this process.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::error::Result;
use crate::region::arena::Arena;
use crate::region::budget::MemoryLimits;
use crate::region::settings;
use crate::sys::per_process::PerProcess;
use crate::sys::{limits, memfd};

/// This process's arena, while it is in use.
static HOST: PerProcess<Mutex<Weak<Arena>>> = PerProcess::new(Mutex::default);

/// Sets the most bytes of freed memory that this process's arena keeps for reuse, and frees at once
/// what exceeds it.
///
/// Reusing freed memory costs a fiftieth of fresh memory. The default is an eighth of the machine's
/// memory, at least 256 MiB, while the memory is in use: a program with a pool that neither
/// allocates nor frees 1 MiB or more at once for half a minute keeps nothing. A value that is set
/// here is kept without that limit. In both cases the memory is freed before a request is refused,
/// and when the last array, lock and pool is dropped. `u64::MAX` restores the default; 0 keeps
/// nothing.
///
/// # Examples
///
/// ```
/// drop(brigade::SharedArray::<u8>::zeroed(100 << 20)?);
/// brigade::set_memory_cache(0);
/// brigade::set_memory_cache(u64::MAX);
/// assert_eq!(brigade::SharedArray::<u8>::zeroed(1 << 20)?.as_slice()[7], 0);
/// # Ok::<(), brigade::Error>(())
/// ```
pub fn set_memory_cache(bytes: u64) {
    settings::store_cache_bytes(bytes);
    let host = HOST.get().lock().unwrap_or_else(PoisonError::into_inner).upgrade();
    if let Some(arena) = host {
        arena.trim(arena.cache_bytes_max());
    }
}

impl Arena {
    /// This process's arena, made on first use and shared while it is in use.
    pub(crate) fn host() -> Result<Arc<Arena>> {
        let mut host = HOST.get().lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(arena) = host.upgrade() {
            return Ok(arena);
        }
        let arena = Arc::new(Arena::new()?);
        *host = Arc::downgrade(&arena);
        Ok(arena)
    }
}

/// Returns an error if the system does not have `bytes` of memory outside the arena.
///
/// Bytes that the arena has reserved and not touched count as used; its cap does not apply.
///
/// # Errors
///
/// [`Error::NoSpace`].
pub(crate) fn grant_outside(bytes: u64) -> Result<()> {
    outside()?.grant(bytes, bytes)
}

/// The most that [`grant_outside`] grants now, in bytes.
///
/// # Errors
///
/// [`Error::Os`] if the system does not say what is free.
pub(crate) fn free_outside_bytes() -> Result<u64> {
    Ok(outside()?.free().0)
}

fn outside() -> Result<MemoryLimits> {
    let host = HOST.get().lock().unwrap_or_else(PoisonError::into_inner).upgrade();
    let stated_bytes = settings::available_bytes()?;
    let measured =
        MemoryLimits { stated_bytes, ..MemoryLimits::measure(limits::commits_strictly())? };
    let Some(arena) = host else { return Ok(measured) };
    let (_, touched_bytes) = memfd::size_and_use_bytes(arena.fd())?;
    let reserved_bytes = arena.reserved_bytes();
    Ok(MemoryLimits { reserved_bytes, touched_bytes, ..measured })
}

//! The one arena of this process.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::error::Result;
use crate::region::arena::Arena;
use crate::region::budget::Inputs;
use crate::region::settings;
use crate::sys::per_process::PerProcess;
use crate::sys::{limits, memfd};

/// This process's arena, while anyone holds it.
static HOST: PerProcess<Mutex<Weak<Arena>>> = PerProcess::new(Mutex::default);

/// Sets the most that this process's arena keeps of freed memory for reuse, in bytes, and gives
/// back at once what is above it.
///
/// Memory that was freed and is used again costs a fiftieth of fresh memory. The default is an
/// eighth of the machine's memory, at least 256 MiB, for as long as the memory is in use: a program
/// with a pool that neither allocates nor frees 1 MiB and more at once for half a minute keeps
/// nothing. What is set here is kept without that limit. In both cases it is given back before a
/// request is refused, and when the last array, lock and pool is gone. `u64::MAX` restores the
/// default; 0 keeps nothing.
///
/// # Examples
///
/// ```
/// drop(brigade::SharedArray::<u8>::zeroed(100 << 20)?);
/// brigade::set_memory_cache(0);
/// brigade::set_memory_cache(u64::MAX);
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
    /// This process's arena: made on first use, shared while anyone holds it.
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

/// Refuses memory outside the arena that the system does not have, in bytes.
///
/// What the arena promised and has not touched counts as taken; its cap does not apply.
///
/// # Errors
///
/// [`Error::NoSpace`].
pub(crate) fn grant_outside(bytes: u64) -> Result<()> {
    let host = HOST.get().lock().unwrap_or_else(PoisonError::into_inner).upgrade();
    let stated_bytes = settings::available_bytes()?;
    let measured = Inputs { stated_bytes, ..Inputs::measure(limits::commits_strictly())? };
    let Some(arena) = host else {
        return measured.grant(bytes, bytes);
    };
    let (_, touched_bytes) = memfd::size_and_use_bytes(arena.fd())?;
    let reserved_bytes = arena.reserved_bytes();
    Inputs { reserved_bytes, touched_bytes, ..measured }.grant(bytes, bytes)
}

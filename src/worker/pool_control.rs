//! The control block of a pool, shared with all workers.
#![allow(unsafe_code)]

use std::mem::offset_of;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::error::Result;
use crate::region::arena::{Arena, Contents, Span};
use crate::worker::cpu_spread::{CpuTable, WORKERS_MAX};
use crate::worker::wakeup::DriverWord;

/// The words that all workers of a pool share with the host.
///
/// | field         | written by        | read by | guard                  | if the writer dies     |
/// |---------------|-------------------|---------|------------------------|------------------------|
/// | `driver`      | host; to 0 by     | all     | Dekker with the commit | the supervisor handles |
/// |               | ringing workers   |         |                        | its death, and drives  |
/// | `has_surplus` | host, under mutex | workers | Dekker with `parked`   | all end with the host  |
/// | `cpus`        | workers           | workers | none: a hint           | see [`CpuTable`]       |
#[repr(C, align(64))]
pub(crate) struct PoolControl {
    pub(crate) driver: DriverWord,
    _driver: [u32; 15],
    /// 1: a worker without offers should ring, because others have more than they need.
    pub(crate) has_surplus: AtomicU32,
    _has_surplus: [u32; 15],
    /// The processor of each worker.
    pub(crate) cpus: CpuTable<WORKERS_MAX>,
}

const _: () = assert!(offset_of!(PoolControl, has_surplus) == 64);

/// The host's handle of the control block, which owns its memory.
#[derive(Debug)]
pub(crate) struct HostPoolControl {
    span: Arc<Span>,
}

impl HostPoolControl {
    pub(crate) fn new(arena: &Arc<Arena>) -> Result<HostPoolControl> {
        let span = arena.reserve(size_of::<PoolControl>(), Contents::Zeroed)?;
        Ok(HostPoolControl { span: Arc::new(span) })
    }

    /// Its offset in the arena.
    pub(crate) fn offset(&self) -> u64 {
        self.span.offset()
    }

    fn control(&self) -> &PoolControl {
        // SAFETY: the span is as large as a control block, aligned to a cache line, and lives as
        // long as `self`; a control block consists of atomics and padding.
        unsafe { &*self.span.as_ptr().cast::<PoolControl>() }
    }

    /// The word that names the thread that workers have to wake.
    pub(crate) fn driver(&self) -> &DriverWord {
        &self.control().driver
    }

    pub(crate) fn set_has_surplus(&self, has_surplus: bool) {
        let word = &self.control().has_surplus;
        let value = u32::from(has_surplus);
        // Relaxed: a worker that parks loads it after a fence, and `HostSide::wake` has the other
        // one. Storing only changed values keeps the cache line shared.
        if word.load(Ordering::Relaxed) != value {
            word.store(value, Ordering::Relaxed);
        }
    }
}

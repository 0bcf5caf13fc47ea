//! A worker's access to leased bytes.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::region::windows::Windows;

/// Handles of tasks in this process that are still alive.
static LIVE_HANDLES: AtomicUsize = AtomicUsize::new(0);

/// The task number of handles that are kept for longer than a task.
pub(super) const NO_TASK: u64 = u64::MAX;

/// A worker's access to leased bytes.
///
/// It lasts for a task, and counts as a live handle of it. With [`NO_TASK`] it may last as long as
/// the process, and is not counted.
#[derive(Debug)]
pub(crate) struct LeasedBytes {
    /// Keeps the mapping under `start`.
    windows: Windows,
    start: *mut u8,
    pub(super) slot: u32,
    pub(super) task: u64,
}

#[expect(unsafe_code, reason = "a raw pointer is neither Send nor Sync by itself")]
// SAFETY: the pointer points into a mapping that `windows` keeps, valid on every thread; the handle
// that owns this value defines which accesses are allowed.
unsafe impl Send for LeasedBytes {}

#[expect(unsafe_code, reason = "a raw pointer is neither Send nor Sync by itself")]
// SAFETY: as for `Send`; a shared leased gives out nothing but the pointer.
unsafe impl Sync for LeasedBytes {}

impl LeasedBytes {
    pub(super) fn new(windows: &Windows, start: *mut u8, slot: u32, task: u64) -> LeasedBytes {
        if task != NO_TASK {
            // Relaxed: read by the same thread after the task; see `live_handles`.
            LIVE_HANDLES.fetch_add(1, Ordering::Relaxed);
        }
        LeasedBytes { windows: windows.clone(), start, slot, task }
    }

    /// The address of the bytes. Panics in a child that was forked from the worker.
    pub(crate) fn as_ptr(&self) -> *mut u8 {
        self.windows.assert_ours();
        self.start
    }
}

impl Drop for LeasedBytes {
    fn drop(&mut self) {
        if self.task == NO_TASK {
            return;
        }
        // Release: pairs with the Acquire in `live_handles`, so a thread that sees the lower count
        // also sees that all accesses through this handle have ended.
        LIVE_HANDLES.fetch_sub(1, Ordering::Release);
    }
}

/// The number of live handles of tasks in this process. After a task and its result, only handles
/// that the task has hidden are left.
pub(crate) fn live_handles() -> usize {
    LIVE_HANDLES.load(Ordering::Acquire)
}

//! Progress reports during a computation.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::sys::thread_parker::ThreadParker;

/// The time between two reports.
const INTERVAL: Duration = Duration::from_millis(100);

/// Returns what `work` returns. While it runs, another thread calls `watch` every [`INTERVAL`] with
/// the value of `measure`, if it has grown.
///
/// # Panics
///
/// If `work` or `watch` panics.
pub(super) fn while_watched<R>(
    work: impl FnOnce() -> R,
    measure: impl Fn() -> f64 + Sync,
    watch: &mut (dyn FnMut(f64) + Send),
) -> R {
    let is_done = AtomicBool::new(false);
    let waiter = ThreadParker::new();
    thread::scope(|scope| {
        let report = || {
            let mut last = -1.0;
            // Acquire: pairs with the Release below, which marks the end of the work.
            while !is_done.load(Ordering::Acquire) {
                let now = measure();
                if now > last {
                    last = now;
                    watch(now);
                }
                waiter.wait_until(Some(Instant::now() + INTERVAL));
            }
        };
        // If the system refuses another thread, there are no reports.
        let Ok(reporter) = thread::Builder::new().spawn_scoped(scope, report) else {
            return work();
        };
        let done = Done { is_done: &is_done, waiter: &waiter };
        let result = work();
        drop(done);
        // Joined here, because the scope would lose the message of a panic in `watch`.
        if let Err(panic) = reporter.join() {
            std::panic::resume_unwind(panic);
        }
        result
    })
}

/// Ends the reports when dropped, even if the work panics.
struct Done<'a> {
    is_done: &'a AtomicBool,
    waiter: &'a ThreadParker,
}

impl Drop for Done<'_> {
    fn drop(&mut self) {
        // Release: pairs with the Acquire in `while_watched`.
        self.is_done.store(true, Ordering::Release);
        self.waiter.wake();
    }
}

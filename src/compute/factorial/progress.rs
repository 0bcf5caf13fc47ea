//! Telling about work while it goes on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::sys::thread_parker::Waiter;

/// How often something is told.
const INTERVAL: Duration = Duration::from_millis(100);

/// Returns what `work` does; meanwhile another thread tells `watch` now and then what `measure`
/// says.
///
/// # Panics
///
/// If `work` or `watch` does.
pub(super) fn while_told<R>(
    work: impl FnOnce() -> R,
    measure: impl Fn() -> f64 + Sync,
    watch: &mut (dyn FnMut(f64) + Send),
) -> R {
    let is_done = AtomicBool::new(false);
    let waiter = Waiter::new();
    thread::scope(|scope| {
        let tell = || {
            let mut told = -1.0;
            // Acquire: pairs with the Release below, by which the work is over.
            while !is_done.load(Ordering::Acquire) {
                let now = measure();
                if now > told {
                    told = now;
                    watch(now);
                }
                waiter.wait_until(Some(Instant::now() + INTERVAL));
            }
        };
        // Nobody is told where the system has no room for another thread.
        let Ok(teller) = thread::Builder::new().spawn_scoped(scope, tell) else { return work() };
        let done = Done { is_done: &is_done, waiter: &waiter };
        let result = work();
        drop(done);
        // Left to the scope, the panic of a watch would lose its message.
        if let Err(panic) = teller.join() {
            std::panic::resume_unwind(panic);
        }
        result
    })
}

/// Ends the teller when it goes, also if the work panics.
struct Done<'a> {
    is_done: &'a AtomicBool,
    waiter: &'a Waiter,
}

impl Drop for Done<'_> {
    fn drop(&mut self) {
        // Release: pairs with the Acquire in `while_told`.
        self.is_done.store(true, Ordering::Release);
        self.waiter.wake();
    }
}

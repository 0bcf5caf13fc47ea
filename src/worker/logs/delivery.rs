//! The thread that emits log records of workers.
//!
//! A worker notifies the host of the first record after a pause; the supervisor passes its source
//! on to this thread. While records come, the thread looks again every millisecond, and workers do
//! not notify. The thread ends when there has been nothing for a while.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::sys::per_process::PerProcess;
use crate::sys::thread;
use crate::worker::logs::source::LogSource;

/// How long a joining thread emits records, or waits for another thread that does, before it leaves
/// the rest to the thread that does nothing else.
const JOINER_TIME: Duration = Duration::from_millis(200);
/// The pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// Looks without a record after which a source is watched.
const IDLE_LOOKS: u32 = 10;
/// How long the thread lives without a source.
const IDLE: Duration = Duration::from_millis(100);

#[derive(Default)]
struct Delivery {
    /// Sources that have notified.
    fresh: Vec<Arc<LogSource>>,
    has_thread: bool,
}

static DELIVERY: PerProcess<(Mutex<Delivery>, Condvar)> = PerProcess::new(Default::default);

fn lock() -> MutexGuard<'static, Delivery> {
    // No code under this lock panics in the middle of a change.
    DELIVERY.get().0.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The source has records. Does not wait.
pub(crate) fn notify(source: &Arc<LogSource>) {
    let mut delivery = lock();
    if !delivery.fresh.iter().any(|known| Arc::ptr_eq(known, source)) {
        delivery.fresh.push(Arc::clone(source));
    }
    if delivery.has_thread {
        DELIVERY.get().1.notify_one();
    } else {
        // Without a thread, joining threads emit the records, and the end of the pool does.
        delivery.has_thread = thread::start("brigade-log", thread::STACK_BYTES, run).is_ok();
    }
}

/// Emits what there is in all `sources`, on a thread that joins a task. What is left after
/// [`JOINER_TIME`] is for the other thread.
pub(crate) fn emit_for_joiner(sources: &[Arc<LogSource>]) {
    let end = Instant::now() + JOINER_TIME;
    for source in sources {
        source.emit_for_joiner(end);
        if source.has_unemitted() {
            notify(source);
        }
    }
}

/// Sources that are looked at, each with the number of looks that found nothing.
type Active = Vec<(Arc<LogSource>, u32)>;

fn run() {
    let mut active = Active::new();
    loop {
        let pause = if active.is_empty() { IDLE } else { LOOK_EVERY };
        let guard = lock();
        let wait = DELIVERY.get().1.wait_timeout_while(guard, pause, |now| now.fresh.is_empty());
        let (mut delivery, _) = wait.unwrap_or_else(PoisonError::into_inner);
        let fresh = std::mem::take(&mut delivery.fresh);
        if fresh.is_empty() && active.is_empty() {
            // Under the lock: the next notification starts another thread.
            delivery.has_thread = false;
            return;
        }
        drop(delivery);
        for source in fresh {
            active.retain(|(known, _)| !Arc::ptr_eq(known, &source));
            source.emit_share();
            active.push((source, 0));
        }
        active.retain_mut(|(source, idle)| {
            if source.has_unemitted() {
                source.emit_share();
                *idle = 0;
            }
            *idle += 1;
            *idle < IDLE_LOOKS || !source.watch()
        });
    }
}

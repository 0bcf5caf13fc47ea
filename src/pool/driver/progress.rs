//! Progress of loops and maps, for a callback.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::pool::record::callbacks::{Callback, CallbackThread};

/// The shortest time from one call of the function to the next.
const INTERVAL: Duration = Duration::from_millis(100);

/// How far a loop or a map is; see [`ParLoop::progress`](crate::ParLoop::progress) and
/// [`Options::progress`](crate::Options::progress).
///
/// # Examples
///
/// ```
/// use std::sync::mpsc;
/// use brigade::{Pool, Progress, SharedArray};
/// let pool = Pool::builder().workers(1).build()?;
/// let x = SharedArray::from_fn([100], |[i]| i as u64)?;
/// let (sender, reports) = mpsc::channel();
/// let chunks = pool.par_chunks(&x, 10).progress(move |progress: Progress| {
///     let _ = sender.send(progress);
/// });
/// assert_eq!(chunks.map(|x| x.iter().sum()).reduce(0, |a: u64, b| a + b)?, 4950);
/// let Progress { done, total, .. } = reports.iter().last().expect("the loop has ended");
/// assert_eq!((done, total), (100, Some(100)));
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// The elements, rows or tiles of a loop, or the items of a map, that are done. It never goes
    /// back, even if a worker dies and what it had done is done again.
    pub done: usize,
    /// How many there are; `None` for a map whose iterator does not know.
    pub total: Option<usize>,
}

/// A function of the user that is told the progress.
#[derive(Clone)]
pub(crate) struct ProgressFn(Arc<Mutex<dyn FnMut(Progress) + Send>>);

impl ProgressFn {
    pub(crate) fn new(function: impl FnMut(Progress) + Send + 'static) -> ProgressFn {
        ProgressFn(Arc::new(Mutex::new(function)))
    }

    fn call(&self, progress: Progress) {
        // The callback thread alone calls it. After a panic it is called again, as it is.
        let mut function = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        function(progress);
    }
}

impl fmt::Debug for ProgressFn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProgressFn")
    }
}

/// Calls a [`ProgressFn`] on the callback thread while a call runs.
pub(crate) struct ProgressReporter {
    function: ProgressFn,
    thread: CallbackThread,
    latest: Arc<Latest>,
    total: Option<usize>,
    due: Instant,
}

/// What the callback thread reads.
///
/// | field       | written by                       | read by             | guard |
/// |-------------|----------------------------------|---------------------|-------|
/// | `done`      | the thread that waits            | the callback thread | none  |
/// | `is_queued` | both: set, then cleared          | the waiting thread  | none  |
#[derive(Default)]
struct Latest {
    done: AtomicUsize,
    /// A callback that has not begun is queued.
    is_queued: AtomicBool,
}

impl ProgressReporter {
    /// # Errors
    ///
    /// [`Error::Os`](crate::Error::Os) if the callback thread cannot be started.
    pub(crate) fn new(function: &ProgressFn, total: Option<usize>) -> Result<ProgressReporter> {
        Ok(ProgressReporter {
            function: function.clone(),
            thread: CallbackThread::current()?,
            latest: Arc::default(),
            total,
            due: Instant::now() + INTERVAL,
        })
    }

    /// When the next report may be made.
    pub(crate) fn due(&self) -> Instant {
        self.due
    }

    /// Reports that `done` are done, unless the last report was a short time ago.
    pub(crate) fn report(&mut self, done: usize) {
        // Relaxed: the queue's mutex orders it before the callback. What a death takes back is
        // soon done again.
        self.latest.done.fetch_max(done, Ordering::Relaxed);
        let now = Instant::now();
        if now < self.due {
            return;
        }
        self.due = now + INTERVAL;
        // Relaxed: if it is seen too late, one report is left out.
        if !self.latest.is_queued.swap(true, Ordering::Relaxed) {
            self.push();
        }
    }

    /// Reports that the call has ended, with `done` done.
    pub(crate) fn finish(self, done: usize) {
        // Relaxed: as in `report`.
        self.latest.done.fetch_max(done, Ordering::Relaxed);
        self.push();
    }

    fn push(&self) {
        let (function, latest) = (self.function.clone(), Arc::clone(&self.latest));
        let total = self.total;
        self.thread.push(Callback::uncounted(move || {
            // Relaxed: as in `report`.
            latest.is_queued.store(false, Ordering::Relaxed);
            function.call(Progress { done: latest.done.load(Ordering::Relaxed), total });
        }));
    }
}

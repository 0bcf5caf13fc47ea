//! The counters of a pool.

use crate::pool::record::outcome::{Outcome, is_cancelled};
use crate::pool::record::run_times::RunTimes;
use crate::pool::record::worker_slot::RetireCause;
use crate::worker::queue_pair::LeaveReason;

/// Counters under the pool's mutex.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counters {
    pub(crate) submitted: u64,
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    pub(crate) cancelled: u64,
    pub(crate) retried: u64,
    pub(crate) restarts: Restarts,
    pub(crate) busy_ns: u64,
    pub(crate) run_times: RunTimes,
    /// Tasks and busy time of each worker slot.
    pub(crate) per_worker: Vec<(u64, u64)>,
}

impl Counters {
    /// Counts a task that the worker at `index` has run for `ns` nanoseconds.
    #[inline]
    pub(crate) fn note_run(&mut self, index: usize, ns: u64) {
        self.busy_ns += ns;
        self.run_times.add(ns);
        if self.per_worker.len() <= index {
            self.per_worker.resize(index + 1, (0, 0));
        }
        let (tasks, busy_ns) = &mut self.per_worker[index];
        *tasks += 1;
        *busy_ns += ns;
    }

    /// Counts an outcome.
    pub(crate) fn note(&mut self, outcome: &Outcome) {
        match outcome {
            Ok(_) => self.succeeded += 1,
            Err(_) if is_cancelled(outcome) => self.cancelled += 1,
            Err(_) => self.failed += 1,
        }
    }
}

/// How often workers were replaced, by reason.
///
/// # Examples
///
/// ```
/// use brigade::Pool;
/// let pool = Pool::builder().workers(1).build()?;
/// pool.submit(|()| -> () { std::process::abort() }, ())?.join().unwrap_err();
/// assert_eq!(pool.submit(|n: u8| n, 1)?.join()?, 1); // by another worker
/// let restarts = pool.stats().restarts_by;
/// assert_eq!((restarts.died, restarts.timed_out, restarts.total()), (1, 0, 1));
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Restarts {
    /// They died: in a task, idle, or before they were ready, by their own fault or killed from
    /// outside.
    pub died: u64,
    /// Their task timed out.
    pub timed_out: u64,
    /// Their task was killed on request.
    pub killed: u64,
    /// They had run [`max_tasks_per_worker`](crate::PoolBuilder::max_tasks_per_worker) tasks.
    pub max_tasks: u64,
    /// They exceeded [`memory_soft_bytes`](crate::PoolBuilder::memory_soft_bytes).
    pub memory: u64,
    /// A task kept an array handle, closed their descriptors, or overwrote their memory.
    pub unclean: u64,
    /// They were ended as idle, and new work arrived first.
    pub idle: u64,
}

impl Restarts {
    /// Counts a replacement.
    pub(crate) fn note(&mut self, cause: Option<RetireCause>, is_death: bool) {
        *match cause {
            Some(cause) if cause.is_departure() && is_death => &mut self.died,
            None | Some(RetireCause::Stopped | RetireCause::PoolEnds | RetireCause::PoolBroke) => {
                &mut self.died
            }
            Some(RetireCause::TimedOut(..)) => &mut self.timed_out,
            Some(RetireCause::Killed(_)) => &mut self.killed,
            Some(RetireCause::Leaving(LeaveReason::Tasks)) => &mut self.max_tasks,
            Some(RetireCause::Leaving(LeaveReason::Memory)) => &mut self.memory,
            Some(RetireCause::Leaving(LeaveReason::Unclean) | RetireCause::Corrupt) => {
                &mut self.unclean
            }
            Some(RetireCause::Idle | RetireCause::Surplus) => &mut self.idle,
        } += 1;
    }

    /// The sum of all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.causes().iter().map(|(_, count)| count).sum()
    }

    /// Each cause, and how often it occurred.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Restarts;
    /// assert!(Restarts::default().causes().contains(&("timed_out", 0)));
    /// ```
    #[must_use]
    pub fn causes(&self) -> [(&'static str, u64); 7] {
        let &Restarts { died, timed_out, killed, max_tasks, memory, unclean, idle } = self;
        [
            ("died", died),
            ("timed_out", timed_out),
            ("killed", killed),
            ("max_tasks", max_tasks),
            ("memory", memory),
            ("unclean", unclean),
            ("idle", idle),
        ]
    }
}

//! The statistics of a pool.

use std::time::Duration;

use crate::pool::Pool;
use crate::pool::record::counters::Restarts;
use crate::pool::record::run_times::RunTimes;
use crate::pool::record::state::State;
use crate::pool::record::task::TaskRecord;
use crate::pool::record::worker_slot::WorkerSlot;

/// A snapshot of what a pool has done and is doing; see [`Pool::stats`].
///
/// # Examples
///
/// ```
/// use brigade::Pool;
/// let pool = Pool::builder().workers(1).build()?;
/// pool.submit(|n: u8| n, 1)?.join()?;
/// let stats = pool.stats();
/// assert_eq!((stats.submitted, stats.succeeded, stats.failed, stats.queued), (1, 1, 0, 0));
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Tasks that were submitted so far.
    pub submitted: u64,
    /// Tasks that wait in the host, for any worker or for a certain one.
    pub queued: usize,
    /// Tasks that were offered to workers and are not known to be over.
    pub offered: usize,
    /// Those of them that workers have started.
    pub running: usize,
    /// Tasks that returned a value.
    pub succeeded: u64,
    /// Tasks that panicked, died, timed out or could not be encoded.
    pub failed: u64,
    /// Tasks that were cancelled or killed on request.
    pub cancelled: u64,
    /// Runs of tasks that were repeated because a worker died. Not the repeats of teams, loops and
    /// products.
    pub retried: u64,
    /// Workers that have a process now.
    pub workers: usize,
    /// Workers that ended and were replaced, for any reason.
    pub restarts: u64,
    /// The same by reason.
    pub restarts_by: Restarts,
    /// The time for which workers have run tasks, summed over all workers.
    pub busy: Duration,
    /// How long tasks ran. A batch of a map, and a worker's part of a loop, count as one task.
    pub run_times: RunTimes,
    /// Figures of each worker, by index.
    pub per_worker: Vec<WorkerStats>,
}

/// What the workers with one index, one after the other, have done; see [`Stats::per_worker`].
///
/// # Examples
///
/// ```
/// use brigade::Pool;
/// let pool = Pool::builder().workers(1).build()?;
/// pool.submit(|n: u8| n, 1)?.join()?;
/// assert_eq!(pool.stats().per_worker[0].tasks, 1);
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerStats {
    /// The index, as in the worker's name.
    pub index: usize,
    /// The process that is this worker now.
    pub pid: Option<u32>,
    /// Tasks that have ended with a value or an error; not those in which the worker died.
    pub tasks: u64,
    /// The time in these tasks.
    pub busy: Duration,
}

impl Stats {
    /// Tasks that are over, with any outcome.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(1).build()?;
    /// pool.submit(|n: u8| n, 1)?.join()?;
    /// pool.submit(|()| panic!("fails"), ())?.join().map(|()| ()).unwrap_err();
    /// assert_eq!(pool.stats().done(), 2);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[must_use]
    pub fn done(&self) -> u64 {
        // Those of another process (`pools`) may be any numbers.
        self.succeeded.saturating_add(self.failed).saturating_add(self.cancelled)
    }
}

impl Pool {
    /// The statistics so far; zeros in a process that was forked from the pool's.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(1).build()?;
    /// pool.submit(|n: u8| n, 1)?.join()?;
    /// assert_eq!((pool.stats().succeeded, pool.stats().workers), (1, 1));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[must_use]
    pub fn stats(&self) -> Stats {
        if !self.core.is_ours() {
            return Stats::default();
        }
        let mut state = self.core.lock();
        state.drain();
        Stats::of(&state)
    }
}

impl Stats {
    /// The statistics of a pool, without results that were not drained.
    pub(crate) fn of(state: &State) -> Stats {
        let pinned = state.workers.iter().flat_map(|slot| &slot.pinned);
        let queued = state
            .queue
            .iter()
            .chain(pinned)
            .filter(|&&id| state.tasks.get(id).is_some_and(TaskRecord::is_queued))
            .count();
        let counters = &state.counters;
        let worker = |(index, slot): (usize, &WorkerSlot)| {
            let (tasks, busy_ns) = counters.per_worker.get(index).copied().unwrap_or_default();
            let pid = (slot.is_occupied() && slot.pid != 0).then_some(slot.pid);
            WorkerStats { index, pid, tasks, busy: Duration::from_nanos(busy_ns) }
        };
        Stats {
            submitted: counters.submitted,
            queued,
            running: state.workers.iter().filter(|slot| slot.host_side.has_running()).count(),
            offered: state.workers.iter().map(|slot| slot.host_side.live()).sum(),
            succeeded: counters.succeeded,
            failed: counters.failed,
            cancelled: counters.cancelled,
            retried: counters.retried,
            workers: state.workers.iter().filter(|slot| slot.is_occupied()).count(),
            restarts: counters.restarts.total(),
            restarts_by: counters.restarts,
            busy: Duration::from_nanos(counters.busy_ns),
            run_times: counters.run_times.clone(),
            per_worker: state.workers.iter().enumerate().map(worker).collect(),
        }
    }
}

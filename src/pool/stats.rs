//! What a pool has done so far.

use std::time::Duration;

use crate::pool::Pool;
use crate::pool::task::{Entry, Outcome, is_cancelled};
use crate::pool::worker_slot::Cause;
use crate::worker::queue_pair::Leave;

/// Counters under the pool's mutex.
#[derive(Debug, Clone, Default)]
pub(super) struct Counters {
    pub(super) submitted: u64,
    pub(super) succeeded: u64,
    pub(super) failed: u64,
    pub(super) cancelled: u64,
    pub(super) retried: u64,
    pub(super) restarts: Restarts,
    pub(super) busy_ns: u64,
}

impl Counters {
    /// Counts an outcome.
    pub(super) fn note(&mut self, outcome: &Outcome) {
        match outcome {
            Ok(_) => self.succeeded += 1,
            Err(_) if is_cancelled(outcome) => self.cancelled += 1,
            Err(_) => self.failed += 1,
        }
    }
}

/// Why workers were replaced, and how often.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Restarts {
    /// They died: in a task, idle, or before they were ready, by themselves or by others.
    pub died: u64,
    /// Their task had run out of time.
    pub timed_out: u64,
    /// Their task was killed on request.
    pub killed: u64,
    /// They had run [`max_tasks_per_worker`](crate::PoolBuilder::max_tasks_per_worker) tasks.
    pub max_tasks: u64,
    /// They had outgrown [`memory_soft_bytes`](crate::PoolBuilder::memory_soft_bytes).
    pub memory: u64,
    /// A task had kept an array handle, closed their descriptors, or written over their memory.
    pub spoilt: u64,
    /// They had been idle, and work came before they were gone.
    pub idle: u64,
}

impl Restarts {
    /// Counts a replacement.
    pub(super) fn note(&mut self, cause: Option<Cause>, is_death: bool) {
        *match cause {
            Some(cause) if cause.is_departure() && is_death => &mut self.died,
            None | Some(Cause::Stopped | Cause::PoolEnds | Cause::PoolBroke) => &mut self.died,
            Some(Cause::TimedOut(..)) => &mut self.timed_out,
            Some(Cause::Killed(_)) => &mut self.killed,
            Some(Cause::Leaving(Leave::Tasks)) => &mut self.max_tasks,
            Some(Cause::Leaving(Leave::Memory)) => &mut self.memory,
            Some(Cause::Leaving(Leave::Unclean) | Cause::Corrupt) => &mut self.spoilt,
            Some(Cause::Idle | Cause::Surplus) => &mut self.idle,
        } += 1;
    }

    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        let Restarts { died, timed_out, killed, max_tasks, memory, spoilt, idle } = self;
        died + timed_out + killed + max_tasks + memory + spoilt + idle
    }
}

/// A snapshot of what a pool has done and is doing; see [`Pool::stats`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Tasks that were submitted so far.
    pub submitted: u64,
    /// Tasks that no worker has been given.
    pub queued: usize,
    /// Tasks that workers have been given and that are not known to be over.
    pub offered: usize,
    /// Those of them that workers have started.
    pub running: usize,
    /// Tasks that returned a value.
    pub succeeded: u64,
    /// Tasks that panicked, died, timed out or could not be encoded.
    pub failed: u64,
    /// Tasks that were cancelled or killed on request.
    pub cancelled: u64,
    /// Runs that were repeated because a worker died.
    pub retried: u64,
    /// Workers that have a process now.
    pub workers: usize,
    /// Workers that ended and were replaced, for whatever reason.
    pub restarts: u64,
    /// The same by reason.
    pub restarts_by: Restarts,
    /// How long workers have run tasks, all together.
    pub busy: Duration,
}

impl Stats {
    /// Tasks that are over, in whatever way.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.succeeded + self.failed + self.cancelled
    }
}

impl Pool {
    /// What the pool has done so far; nothing, in a process that was forked from the pool's.
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
        let queued = state
            .queue
            .iter()
            .filter(|&&id| state.tasks.get(id).is_some_and(Entry::is_queued))
            .count();
        let counters = &state.counters;
        Stats {
            submitted: counters.submitted,
            queued,
            running: state.workers.iter().filter(|slot| slot.queues.has_running()).count(),
            offered: state.workers.iter().map(|slot| slot.queues.live()).sum(),
            succeeded: counters.succeeded,
            failed: counters.failed,
            cancelled: counters.cancelled,
            retried: counters.retried,
            workers: state.workers.iter().filter(|slot| slot.is_occupied()).count(),
            restarts: counters.restarts.total(),
            restarts_by: counters.restarts,
            busy: Duration::from_nanos(counters.busy_ns),
        }
    }
}

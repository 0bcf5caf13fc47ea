//! What a pool publishes about itself for other processes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::pool::record::counters::Restarts;
use crate::pool::record::run_times::RunTimes;
use crate::pool::record::state::{Lifecycle, State};
use crate::pool::record::task::TaskRecord;
use crate::pool::record::worker_slot::{WorkerSlot, WorkerState};
use crate::sys::clock;

/// The longest name of a pool or of a function, in bytes; the end of a longer one is cut off.
const NAME_BYTES_MAX: usize = 120;

/// What the worker in a slot does.
///
/// # Examples
///
/// ```
/// use brigade::{Pool, WorkerStatus};
/// let pool = Pool::builder().workers(1).name("doc-status").build()?;
/// let all = brigade::pools()?;
/// let own = all.iter().find(|pool| pool.name == "doc-status").unwrap();
/// assert_ne!(own.workers[0].status, WorkerStatus::Running, "it has no task");
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum WorkerStatus {
    /// Its process starts, or runs its initializer.
    Starting,
    /// It has no task.
    Idle,
    /// It runs a task.
    Running,
    /// It finishes what it runs, and ends; or it was killed.
    Leaving,
    /// There is no process now.
    Absent,
}

/// A worker, as it is published. Times are those of CLOCK_MONOTONIC.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct WorkerReport {
    /// 0 if there is no process.
    pub(crate) pid: u32,
    pub(crate) status: WorkerStatus,
    /// The name of the function that it runs, and since when, in nanoseconds.
    pub(crate) task: Option<(String, u64)>,
    pub(crate) offered: u64,
    pub(crate) tasks: u64,
    pub(crate) busy_ns: u64,
}

/// A pool, as it is published.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct PoolReport {
    pub(crate) pid: u32,
    pub(crate) name: String,
    pub(crate) published_ns: u64,
    pub(crate) started_ns: u64,
    /// Why the pool is broken, if it is.
    pub(crate) broken: Option<String>,
    /// How many workers there should be.
    pub(crate) target: u64,
    pub(crate) submitted: u64,
    pub(crate) queued: u64,
    /// Totals of all workers: `workers` may lack some.
    pub(crate) offered: u64,
    pub(crate) running: u64,
    pub(crate) present: u64,
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    pub(crate) cancelled: u64,
    pub(crate) retried: u64,
    /// In the order of [`Restarts::causes`].
    pub(crate) restarts: [u64; 7],
    pub(crate) busy_ns: u64,
    pub(crate) run_times: Vec<u64>,
    /// Tasks that ended in each second, since the report before.
    pub(crate) tasks_per_second: f64,
    /// Memory of the host's arrays and payloads.
    pub(crate) arrays_bytes: u64,
    pub(crate) workers: Vec<WorkerReport>,
}

impl PoolReport {
    /// The state now, except for what only the caller knows.
    pub(crate) fn of(state: &State, pid: u32, name: &str) -> PoolReport {
        let counters = &state.counters;
        let is_queued = |id| state.tasks.get(id).is_some_and(TaskRecord::is_queued);
        // Counting a long queue takes long; some of it may be cancelled.
        let queued = match state.queue.len() {
            len @ 0..1000 => state.queue.iter().filter(|&&id| is_queued(id)).count().min(len),
            len => len,
        };
        let queued = queued + state.workers.iter().map(|slot| slot.pinned.len()).sum::<usize>();
        let workers: Vec<_> = (0..state.workers.len()).map(|index| worker(state, index)).collect();
        let count = |is: fn(&WorkerReport) -> bool| workers.iter().filter(|one| is(one)).count();
        PoolReport {
            pid,
            name: cut(name),
            published_ns: clock::now_ns(),
            started_ns: 0,
            broken: match &state.life {
                Lifecycle::Broken(cause) => Some(cut(cause)),
                _ => None,
            },
            target: state.target as u64,
            submitted: counters.submitted,
            queued: queued as u64,
            offered: workers.iter().map(|worker| worker.offered).sum(),
            running: count(|worker| worker.task.is_some()) as u64,
            present: count(|worker| worker.status != WorkerStatus::Absent) as u64,
            succeeded: counters.succeeded,
            failed: counters.failed,
            cancelled: counters.cancelled,
            retried: counters.retried,
            restarts: counters.restarts.causes().map(|(_, count)| count),
            busy_ns: counters.busy_ns,
            run_times: counters.run_times.counts().to_vec(),
            tasks_per_second: 0.0,
            arrays_bytes: 0,
            workers,
        }
    }

    /// Tasks that are over.
    pub(crate) fn done(&self) -> u64 {
        self.succeeded.saturating_add(self.failed).saturating_add(self.cancelled)
    }

    /// The restarts, and the histogram of run times, whose form is checked.
    pub(crate) fn figures(&self) -> Option<(Restarts, RunTimes)> {
        let [died, timed_out, killed, max_tasks, memory, unclean, idle] = self.restarts;
        let restarts = Restarts { died, timed_out, killed, max_tasks, memory, unclean, idle };
        Some((restarts, RunTimes::from_counts(self.run_times.clone())?))
    }
}

fn worker(state: &State, index: usize) -> WorkerReport {
    let slot = &state.workers[index];
    let running = slot.host_side.running_task();
    let task = running.map(|(id, since_ns)| {
        let call = state.tasks.get(id).and_then(TaskRecord::call);
        (cut(call.map_or("a task", |call| call.name)), since_ns)
    });
    let (tasks, busy_ns) = state.counters.per_worker.get(index).copied().unwrap_or_default();
    WorkerReport {
        pid: if slot.is_occupied() { slot.pid } else { 0 },
        status: status(slot, task.is_some()),
        task,
        offered: slot.host_side.live() as u64,
        tasks,
        busy_ns,
    }
}

fn status(slot: &WorkerSlot, is_running: bool) -> WorkerStatus {
    match slot.state {
        WorkerState::Vacant | WorkerState::Dormant => WorkerStatus::Absent,
        WorkerState::Retiring(_) => WorkerStatus::Leaving,
        _ if is_running => WorkerStatus::Running,
        WorkerState::Running if slot.host_side.is_ready() => WorkerStatus::Idle,
        WorkerState::Starting | WorkerState::Running => WorkerStatus::Starting,
    }
}

/// The beginning of a text, in whole characters.
fn cut(text: &str) -> String {
    let mut end = text.len().min(NAME_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

/// How often a pool publishes.
pub(crate) const PUBLISH_INTERVAL: Duration = Duration::from_secs(1);

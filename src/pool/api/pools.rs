//! The pools of this user, in all processes.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::pool::api::stats::{Stats, WorkerStats};
use crate::pool::record::publisher::LABEL;
use crate::pool::record::report::{PoolReport, WorkerReport, WorkerStatus};
use crate::sys::published::{self, Found};
use crate::sys::{clock, open_files, procfs};
use crate::worker::invocation;

/// A pool of some process, as the process published it last; see [`pools`].
///
/// # Examples
///
/// ```
/// use brigade::Pool;
/// let pool = Pool::builder().workers(1).name("doc-info").build()?;
/// let all = brigade::pools()?;
/// let own = all.iter().find(|pool| pool.name == "doc-info").unwrap();
/// assert_eq!((own.pid, own.workers.len()), (std::process::id(), 1));
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PoolInfo {
    /// The process that made the pool.
    pub pid: u32,
    /// The name (`comm`) of that process.
    pub command: Option<String>,
    /// The pool's name.
    pub name: String,
    /// How long ago this was published: about a second or less, unless the process is stopped.
    pub age: Duration,
    /// How long the pool exists.
    pub uptime: Duration,
    /// Why the pool is broken, if it is.
    pub broken: Option<String>,
    /// How many workers the pool should have.
    pub target: usize,
    /// Its statistics, of all workers.
    pub stats: Stats,
    /// Tasks that ended in each second, between the last two times that it published.
    pub tasks_per_second: f64,
    /// Memory of all arrays and payloads of the process, in bytes, in whole blocks.
    pub arrays_bytes: u64,
    /// Its workers, by index. Of more than about a thousand the last ones are missing, also in
    /// [`Stats::per_worker`].
    pub workers: Vec<WorkerInfo>,
}

/// A worker of a [`PoolInfo`].
///
/// # Examples
///
/// ```
/// use brigade::{Pool, WorkerStatus};
/// let pool = Pool::builder().workers(1).name("doc-worker").build()?;
/// let all = brigade::pools()?;
/// let own = all.iter().find(|pool| pool.name == "doc-worker").unwrap();
/// assert!(own.workers[0].status != WorkerStatus::Running);
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct WorkerInfo {
    /// Its index in the pool.
    pub index: usize,
    /// Its process.
    pub pid: Option<u32>,
    /// What it does.
    pub status: WorkerStatus,
    /// The name of the function that it runs.
    pub task: Option<String>,
    /// How long it has run that.
    pub running_for: Option<Duration>,
    /// Tasks that it has, the running one included.
    pub offered: usize,
    /// Tasks that it has ended, and the time in them.
    pub tasks: u64,
    /// The time in these tasks.
    pub busy: Duration,
    /// Its resident anonymous memory (`RssAnon` of `/proc/PID/status`), in bytes: without arrays
    /// and other shared memory. Pages that it still shares with its fork server, because neither
    /// has written to them, count too: so the sum over workers is more than what they use together.
    /// `None` if the system does not tell.
    pub memory_bytes: Option<u64>,
}

/// The pools of all processes of this user, by process.
///
/// Each pool publishes its state once a second in memory that has no name: it ends with the
/// process, and is found through `/proc`. Reading it disturbs no process, and works for one that is
/// stopped. Processes in another pid namespace are found from outside it. A pool of a program with
/// another version of this crate's format is left out.
///
/// # Errors
///
/// [`Error::Os`] if `/proc` cannot be listed.
///
/// # Examples
///
/// ```
/// let _own = brigade::Pool::builder().workers(1).name("doc-pools").build()?;
/// for pool in brigade::pools()? {
///     println!("{} of process {}: {} tasks queued", pool.name, pool.pid, pool.stats.queued);
/// }
/// assert!(brigade::pools()?.iter().any(|pool| pool.name == "doc-pools"));
/// # Ok::<(), brigade::Error>(())
/// ```
pub fn pools() -> Result<Vec<PoolInfo>> {
    let found = published::find(LABEL).map_err(|e| Error::os("readdir", "/proc", e))?;
    Ok(found.into_iter().filter_map(info).collect())
}

/// Decodes one published file. `None` if it is not a pool's, or was inherited by a fork.
fn info(found: Found) -> Option<PoolInfo> {
    let report: PoolReport = invocation::decode(&found.contents).ok()?;
    if report.pid != found.inner_pid {
        return None;
    }
    let (restarts_by, run_times) = report.figures()?;
    let now_ns = clock::now_ns();
    let since = |ns: u64| Duration::from_nanos(now_ns.saturating_sub(ns));
    // Process ids of another namespace mean nothing here.
    let is_same_namespace = found.pid == found.inner_pid;
    let worker = |(index, worker): (usize, &WorkerReport)| {
        let pid = Some(worker.pid).filter(|&pid| pid != 0 && is_same_namespace);
        WorkerInfo {
            index,
            pid,
            status: worker.status,
            task: worker.task.as_ref().map(|(name, _)| name.clone()),
            running_for: worker.task.as_ref().map(|&(_, since_ns)| since(since_ns)),
            offered: usize::try_from(worker.offered).unwrap_or(usize::MAX),
            tasks: worker.tasks,
            busy: Duration::from_nanos(worker.busy_ns),
            memory_bytes: pid.and_then(anonymous_bytes),
        }
    };
    let workers: Vec<WorkerInfo> = report.workers.iter().enumerate().map(worker).collect();
    let size = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
    let stats = Stats {
        submitted: report.submitted,
        queued: size(report.queued),
        offered: size(report.offered),
        running: size(report.running),
        succeeded: report.succeeded,
        failed: report.failed,
        cancelled: report.cancelled,
        retried: report.retried,
        workers: size(report.present),
        restarts: report.restarts.iter().fold(0, |sum, &count| count.saturating_add(sum)),
        restarts_by,
        busy: Duration::from_nanos(report.busy_ns),
        run_times,
        per_worker: workers
            .iter()
            .map(|&WorkerInfo { index, pid, tasks, busy, .. }| WorkerStats {
                index,
                pid,
                tasks,
                busy,
            })
            .collect(),
    };
    Some(PoolInfo {
        pid: found.pid,
        command: open_files::command(found.pid),
        name: report.name,
        age: since(report.published_ns),
        uptime: since(report.started_ns),
        broken: report.broken,
        target: size(report.target),
        stats,
        tasks_per_second: report.tasks_per_second,
        arrays_bytes: report.arrays_bytes,
        workers,
    })
}

/// The anonymous memory of a process, in bytes.
fn anonymous_bytes(pid: u32) -> Option<u64> {
    procfs::resident_anonymous_bytes(&procfs::text(format!("/proc/{pid}/status")).ok()?)
}

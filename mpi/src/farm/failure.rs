//! Why an item of a farm has no result.

use brigade::{Death, ExitReason};
use serde::{Deserialize, Serialize};

/// Why an item of [`Cluster::map`](crate::Cluster::map) has no result: its function panicked, its
/// worker died, or its argument or result could not be encoded.
///
/// # Examples
///
/// ```
/// use brigade::{ExitReason, Pool};
/// let cluster = brigade_mpi::Cluster::new(Pool::builder().workers(1))?;
/// let results = cluster.map([1u8, 2], |n| if n == 2 { std::process::abort() } else { n })?;
/// assert!(results[0].is_ok());
/// let failure = results[1].as_ref().unwrap_err();
/// assert_eq!((failure.position, failure.rank), (1, 0));
/// let death = failure.death.as_ref().unwrap();
/// assert_eq!(death.reason, ExitReason::Signal(6));
/// # Ok::<(), brigade_mpi::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("item {position} on rank {rank} ({host}): {message}")]
#[non_exhaustive]
pub struct Failure {
    /// The item's position among the items, from 0.
    pub position: usize,
    /// The rank that ran it.
    pub rank: usize,
    /// The node of that rank.
    pub host: String,
    /// The error of that rank's pool, as text.
    pub message: String,
    /// The death of the worker, if that was the cause.
    pub death: Option<Box<DeathReport>>,
}

/// The part of a [`Death`] that travels between ranks.
///
/// # Examples
///
/// ```
/// # use brigade::Pool;
/// let cluster = brigade_mpi::Cluster::new(Pool::builder().workers(1))?;
/// let results = cluster.map([()], |()| std::process::exit(3))?;
/// let results: Vec<Result<(), _>> = results;
/// let death = results[0].as_ref().unwrap_err().death.as_ref().unwrap();
/// assert_eq!((death.worker, death.reason), (0, brigade::ExitReason::Code(3)));
/// # Ok::<(), brigade_mpi::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DeathReport {
    /// The worker's process id on its node.
    pub pid: u32,
    /// The worker's index in its rank's pool.
    pub worker: usize,
    /// How it ended.
    #[serde(with = "exit_reason")]
    pub reason: ExitReason,
    /// Whether the out-of-memory killer is the likely cause.
    pub out_of_memory: bool,
    /// Its largest resident set, in bytes, if known.
    pub peak_rss_bytes: Option<u64>,
    /// The type name of the function.
    pub task: String,
    /// What its panic hook or overflow handler recorded, if anything.
    pub crash_message: Option<String>,
    /// The end of its standard error, if that was captured.
    pub stderr_tail: Option<String>,
    /// The last log records of the task, at most 16, oldest first; see
    /// [`PoolBuilder::logs`](brigade::PoolBuilder::logs).
    pub log_tail: Vec<String>,
}

impl DeathReport {
    /// The report of a death while a function with the name `task` ran.
    pub(crate) fn new(death: &Death, task: &str) -> DeathReport {
        DeathReport {
            pid: death.pid,
            worker: death.worker,
            reason: death.reason,
            out_of_memory: death.out_of_memory,
            peak_rss_bytes: death.peak_rss_bytes,
            task: task.to_owned(),
            crash_message: death.crash_message.clone(),
            stderr_tail: death.stderr_tail.clone(),
            log_tail: death.log_tail.clone(),
        }
    }
}

/// How an [`ExitReason`] travels: whether it was a signal, and the number.
mod exit_reason {
    use brigade::ExitReason;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(reason: &ExitReason, to: S) -> Result<S::Ok, S::Error> {
        let pair = match *reason {
            ExitReason::Code(code) => Some((false, code)),
            ExitReason::Signal(number) => Some((true, number)),
            _ => None,
        };
        pair.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<ExitReason, D::Error> {
        let pair: Option<(bool, i32)> = Option::deserialize(from)?;
        Ok(match pair {
            Some((false, code)) => ExitReason::Code(code),
            Some((true, number)) => ExitReason::Signal(number),
            None => ExitReason::Unknown,
        })
    }
}

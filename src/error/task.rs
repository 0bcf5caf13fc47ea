//! Why a task returned no value.

use std::fmt::{self, Write};
use std::ops::Range;
use std::time::Duration;

use crate::exit::ExitReason;

/// Why a task returned no value.
///
/// # Examples
///
/// ```
/// use brigade::{Error, Process, TaskError};
/// let error = Process::spawn(|()| -> () { panic!("no") }, ())?.join().unwrap_err();
/// assert!(matches!(error, Error::Task(TaskError::Panicked { message, .. }) if message == "no"));
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// The function panicked. Its worker continues.
    #[error("the task panicked at {location}: {message}{}", OfItems(.items.as_ref()))]
    Panicked {
        /// The panic's message, or a note that its payload is not text.
        message: String,
        /// `file:line:column`.
        location: String,
        /// See [`items`](TaskError::items).
        items: Option<Range<usize>>,
    },
    /// Its worker died while it ran.
    #[error("{0}")]
    Died(Box<Death>),
    /// It ran longer than its timeout; its worker was killed.
    #[error(
        "the task ran longer than its timeout of {after:?}; its worker was killed{}",
        OfItems(.items.as_ref())
    )]
    TimedOut {
        /// The timeout.
        after: Duration,
        /// See [`items`](TaskError::items).
        items: Option<Range<usize>>,
    },
    /// It was cancelled before it started, or killed on request.
    #[error("the task was cancelled")]
    Cancelled,
    /// An argument or a result could not be encoded or decoded. For example, its own code returned
    /// an error, it nests more than 512 levels deep, or more than 2^20 of its elements take no
    /// bytes.
    #[error("the task's {what} could not be {action}: {reason}")]
    Codec {
        /// `argument`, `result` or `shared value`.
        what: &'static str,
        /// `encoded` or `decoded`.
        action: &'static str,
        /// The codec's message.
        reason: String,
    },
}

impl TaskError {
    /// The positions of the items at which a call over items, such as [`map`](crate::Pool::map),
    /// failed. `None` for other tasks, and for the other errors.
    ///
    /// It is one item if the function panicked, or if the items were sent one by one, as those of
    /// [`imap`](crate::Pool::imap) are. If a worker died, or a batch of items timed out, it is the
    /// batch, of which one item is the cause; [`chunk_size(1)`](crate::Options::chunk_size) finds
    /// that one.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Error, Pool};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let error = pool.map([3u32, 1, 0, 2], |n| 6 / n).unwrap_err();
    /// let Error::Task(error) = error else { panic!("{error}") };
    /// assert_eq!(error.items(), Some(2..3));
    /// assert!(error.to_string().ends_with("divide by zero, at item 2"));
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use]
    pub fn items(&self) -> Option<Range<usize>> {
        match self {
            TaskError::Panicked { items, .. } | TaskError::TimedOut { items, .. } => items.clone(),
            TaskError::Died(death) => death.items.clone(),
            TaskError::Cancelled | TaskError::Codec { .. } => None,
        }
    }

    /// Whether the worker was lost: it died, or was killed at the timeout. Such a task may be
    /// repeated.
    pub(crate) fn is_lost_worker(&self) -> bool {
        matches!(self, TaskError::Died(_) | TaskError::TimedOut { .. })
    }

    /// Sets the positions for a batch of these items. What is set already are positions in the
    /// batch.
    pub(crate) fn set_items(&mut self, batch: &Range<usize>) {
        let items = match self {
            TaskError::Panicked { items, .. } | TaskError::TimedOut { items, .. } => items,
            TaskError::Died(death) => &mut death.items,
            TaskError::Cancelled | TaskError::Codec { .. } => return,
        };
        let inside = items.take().filter(|items| items.end <= batch.len());
        *items = Some(
            inside
                .map_or(batch.clone(), |items| batch.start + items.start..batch.start + items.end),
        );
    }
}

/// Writes the positions of the items of an error.
struct OfItems<'a>(Option<&'a Range<usize>>);

impl fmt::Display for OfItems<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => Ok(()),
            Some(items) if items.len() == 1 => write!(f, ", at item {}", items.start),
            Some(items) => {
                write!(
                    f,
                    ", at one of the items {} to {}",
                    items.start,
                    items.end.saturating_sub(1)
                )
            }
        }
    }
}

/// A report of the death of a worker, or of a one-off process, that ran a task.
///
/// # Examples
///
/// ```
/// use brigade::{ExitReason, Pool};
/// let pool = Pool::builder().workers(1).build()?;
/// let pid = pool.submit(|()| std::process::id(), ())?.join()?;
/// let error = pool.submit(|()| -> () { std::process::exit(3) }, ())?.join().unwrap_err();
/// let death = error.death().unwrap();
/// assert_eq!((death.pid, death.worker, death.reason), (pid, 0, ExitReason::Code(3)));
/// assert!(death.torn.is_empty() && !death.out_of_memory);
/// assert!(death.to_string().starts_with(&format!("worker 0 (pid {pid}) ")));
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Death {
    /// The worker's process id.
    pub pid: u32,
    /// The worker's index in its pool, from 0; 0 for a one-off process.
    pub worker: usize,
    /// The name of the one-off process, if it was not a worker of a pool.
    pub process: Option<String>,
    /// How it ended.
    pub reason: ExitReason,
    /// Whether the kernel's out-of-memory killer is the likely cause: it was SIGKILL, and the
    /// cgroup's count of such kills rose while the task ran.
    pub out_of_memory: bool,
    /// Its largest resident set, in bytes, if the fork server could read it.
    pub peak_rss_bytes: Option<u64>,
    /// The task: the type name of its function.
    pub task: &'static str,
    /// How far the task had come.
    pub phase: Phase,
    /// For loops that write: ranges of elements of the operands that the task wrote, whose
    /// contents are unspecified now. In loops over rows, ranges of rows; over tiles, of the
    /// tiles' numbers.
    pub torn: Vec<Range<usize>>,
    /// See [`TaskError::items`].
    pub items: Option<Range<usize>>,
    /// What the worker's panic hook or overflow handler recorded, if anything.
    pub crash_message: Option<String>,
    /// The end of its standard output, if that was captured.
    pub stdout_tail: Option<String>,
    /// The end of its standard error, if that was captured.
    pub stderr_tail: Option<String>,
    /// The last log records of the task, at most 16, oldest first; see
    /// [`PoolBuilder::logs`](crate::PoolBuilder::logs).
    pub log_tail: Vec<String>,
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Death { pid, worker, reason, task, phase, .. } = self;
        match &self.process {
            None => write!(f, "worker {worker}")?,
            Some(name) => write!(f, "process {name}")?,
        }
        write!(f, " (pid {pid}) {reason} while {phase} {task}")?;
        if self.out_of_memory {
            f.write_str(", out of memory")?;
        }
        if let Some(rss) = self.peak_rss_bytes {
            write!(f, ", peak {} MiB resident", rss >> 20)?;
        }
        if !self.torn.is_empty() {
            write!(f, ", torn output {:?}", self.torn)?;
        }
        OfItems(self.items.as_ref()).fmt(f)?;
        if let Some(words) = &self.crash_message {
            write!(f, ", crash message: {words}")?;
        }
        if let Some(text) = self.stderr_tail.as_ref().filter(|text| !text.trim().is_empty()) {
            write!(f, ", standard error ends: {}", text.trim_end())?;
        }
        if let Some(text) = self.log_tail.last() {
            f.write_str(", last log record: ")?;
            write_short(f, text)?;
        }
        Ok(())
    }
}

/// The longest log record in a message, in characters.
const SHORT: usize = 200;

/// Writes the beginning of `text` in one line.
fn write_short(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    for (at, c) in text.chars().enumerate() {
        match c {
            _ if at == SHORT => return f.write_str("..."),
            c if c.is_control() => write!(f, "{}", c.escape_default())?,
            c => f.write_char(c)?,
        }
    }
    Ok(())
}

/// How far a task had come when its worker died.
///
/// # Examples
///
/// ```
/// use brigade::{Phase, Process};
/// let error = Process::spawn(|()| -> () { std::process::abort() }, ())?.join().unwrap_err();
/// assert_eq!(error.death().map(|death| death.phase), Some(Phase::Running));
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Decoding the argument.
    Decoding,
    /// Running the function.
    Running,
    /// Encoding or writing the result.
    Publishing,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Decoding => "decoding the argument of",
            Phase::Running => "running",
            Phase::Publishing => "publishing the result of",
        })
    }
}

//! Recording what the workers of a pool run, and when.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use crate::error::{Error, Result};
use crate::pool::Pool;
use crate::pool::driver::core::Core;
use crate::pool::driver::stop;
use crate::pool::record::config::Start;
use crate::pool::record::state::State;
use crate::pool::record::timeline::{FLUSH_INTERVAL, Timeline};
use crate::pool::record::trace_file::TraceFile;
use crate::pool::record::worker_slot::WorkerSlot;
use crate::sys::clock;

/// What a timeline contains; returned by [`Pool::finish_timeline`].
///
/// # Examples
///
/// ```
/// use brigade::Pool;
/// let path = std::env::temp_dir().join(format!("brigade-summary-{}.json", std::process::id()));
/// let pool = Pool::builder().workers(1).build()?;
/// pool.timeline(&path)?;
/// pool.submit(|n: u8| n, 1)?.join()?;
/// let summary = pool.finish_timeline()?;
/// assert_eq!((summary.tasks, summary.lost), (1, 0));
/// # std::fs::remove_file(path).unwrap();
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TimelineSummary {
    /// Tasks in the timeline, those among them that have not ended.
    pub tasks: u64,
    /// Events in the file: fewer than tasks if many were short, and merged.
    pub events: u64,
    /// Events that are missing in the file because the disk was too slow.
    pub lost: u64,
    /// The size of the file in bytes.
    pub size_bytes: u64,
}

impl Pool {
    /// Records what each worker runs, and when, in the file `path`: a trace that
    /// [Perfetto](https://ui.perfetto.dev) and `chrome://tracing` open. An existing file is
    /// replaced.
    ///
    /// The recording ends with [`finish_timeline`](Pool::finish_timeline), or with the pool. Each
    /// worker has a track with its tasks (of the categories `task`, `batch`, `loop` and `team`),
    /// times of 10 us or more without a task (`idle`), and the starts and ends of its processes
    /// (`process`). Tasks of less than 10 us that follow one another are merged into one event,
    /// with their number in `tasks`, and the sum of their times in `busy_us`.
    ///
    /// Events are written by a thread, once a second or more often. Except during such a write the
    /// file is complete JSON: so it can be opened while the pool runs, and what was written remains
    /// if this process is killed. If it is killed during a write, the last event may be cut off.
    ///
    /// The file grows with the number of events: about 150 bytes each. A worker whose short tasks
    /// are all of one function has about a thousand a second; one whose tasks take longer, or
    /// alternate between functions, has one for each task. There is no limit, so end the recording
    /// of a program that runs for long.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if the pool already records a timeline, another one is recorded
    /// to `path`, or the pool has no processes; [`Error::Layout`] if `path` is not a regular file;
    /// [`Error::Os`] if it cannot be written;
    /// [`Error::Closed`] if the pool has ended.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// let path = std::env::temp_dir().join(format!("brigade-trace-{}.json", std::process::id()));
    /// let pool = Pool::builder().workers(2).build()?;
    /// pool.timeline(&path)?;
    /// pool.map(0..100u64, |n| n * n)?.sum::<u64>();
    /// pool.shutdown()?; // fails if the timeline could not be written
    ///
    /// let trace = std::fs::read_to_string(&path).unwrap();
    /// assert!(trace.contains("\"cat\":\"batch\""));
    /// # std::fs::remove_file(path).unwrap();
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn timeline(&self, path: impl AsRef<Path>) -> Result<()> {
        self.core.check_ours()?;
        if self.core.config.start == Start::InProcess {
            return Err(Error::invalid("the pool", "in-process", "one with worker processes"));
        }
        check_free(&self.core, &self.core.lock())?;
        let file = TraceFile::create(path.as_ref(), &self.core.config.name)?;
        let mut state = self.core.lock();
        // Another thread may have begun one, or ended the pool, in the meantime.
        if let Err(error) = check_free(&self.core, &state) {
            drop(state);
            let _ = file.finish();
            return Err(error);
        }
        state.drain();
        let workers: Vec<bool> = state.workers.iter().map(WorkerSlot::is_occupied).collect();
        let timeline = Timeline::new(Arc::new(file), &workers, clock::now_ns());
        state.timeline = Some(Box::new(timeline));
        self.core.schedule_check(&mut state, Instant::now() + FLUSH_INTERVAL);
        Ok(())
    }

    /// Ends the recording that [`timeline`](Pool::timeline) began, and waits until the file is
    /// written. Tasks that run now are recorded up to now.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] if an event could not be written: the disk was full, say. The file then has
    /// the events before that. [`Error::Closed`] if there is no recording.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// let path = std::env::temp_dir().join(format!("brigade-finish-{}.json", std::process::id()));
    /// let pool = Pool::builder().workers(1).build()?;
    /// pool.timeline(&path)?;
    /// pool.submit(|()| std::process::abort(), ())?.join().map(|()| ()).unwrap_err();
    /// pool.finish_timeline()?;
    /// assert!(std::fs::read_to_string(&path).unwrap().contains("SIGABRT"));
    /// # std::fs::remove_file(path).unwrap();
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn finish_timeline(&self) -> Result<TimelineSummary> {
        self.core.check_ours()?;
        let mut state = self.core.lock();
        state.drain();
        let timeline = state.take_timeline();
        drop(state);
        let Some(timeline) = timeline else { return Err(Error::Closed { what: "the timeline" }) };
        let totals = stop::finish_timeline(*timeline)?;
        Ok(TimelineSummary {
            tasks: totals.tasks,
            events: totals.events,
            lost: totals.lost,
            size_bytes: totals.bytes,
        })
    }
}

/// An error unless a recording may begin.
fn check_free(core: &Core, state: &State) -> Result<()> {
    core.check_open(state)?;
    match &state.timeline {
        Some(timeline) => Err(Error::invalid(
            "the timeline of a pool",
            format!("already recorded to {}", timeline.path().display()),
            "one at a time: call finish_timeline first",
        )),
        None => Ok(()),
    }
}

//! Records what each worker runs, and when.
//!
//! The pool's mutex guards a recorder. It merges runs of short tasks, so that its memory and the
//! file do not grow with the number of tasks: a task of less than [`SHORT_NS`] that follows another
//! one of the same function within that time is added to the same event, up to [`MERGED_NS`].
//! Complete events go to the thread that writes them (`trace_file.rs`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::pool::record::trace_event::{Ending, Event, Slice};
use crate::pool::record::trace_file::{TraceFile, TraceTotals};
use crate::sys::clock;

/// How often events are passed on, even if there are few.
pub(crate) const FLUSH_INTERVAL: Duration = Duration::from_secs(1);
/// Tasks shorter than this may be merged, and times shorter than this are not called idle.
const SHORT_NS: u64 = 10_000;
/// The longest event of merged tasks.
const MERGED_NS: u64 = 1_000_000;
/// How far a worker's time may be ahead of the clock's latest reading, so that the clock need not
/// be read for every task.
const AHEAD_NS: u64 = 10_000_000;
/// Events that are passed to the writing thread at once.
const EVENTS_MAX: usize = 1024;

/// A recording.
#[derive(Debug)]
pub(crate) struct Timeline {
    tracks: Vec<Track>,
    events: Vec<Event>,
    tasks: u64,
    /// No task ends later than this: the clock's latest reading, and [`AHEAD_NS`].
    limit_ns: u64,
    /// When events are passed on, even if there are few.
    flush_at: Instant,
    file: Arc<TraceFile>,
}

/// The recording of one worker.
#[derive(Debug, Clone, Default)]
struct Track {
    /// The latest task, to which more may be added.
    open: Option<Slice>,
    /// Everything before this is recorded; 0 while there is no worker.
    end_ns: u64,
}

impl Timeline {
    /// Begins at `now_ns`. For each slot, `workers` has whether there is a process.
    pub(crate) fn new(file: Arc<TraceFile>, workers: &[bool], now_ns: u64) -> Timeline {
        let mut timeline = Timeline {
            tracks: Vec::new(),
            events: Vec::with_capacity(EVENTS_MAX),
            tasks: 0,
            limit_ns: 0,
            flush_at: Instant::now() + FLUSH_INTERVAL,
            file,
        };
        for (worker, &is_present) in workers.iter().enumerate() {
            timeline.track(worker).end_ns = if is_present { now_ns } else { 0 };
        }
        timeline
    }

    fn track(&mut self, worker: usize) -> &mut Track {
        while self.tracks.len() <= worker {
            self.events.push(Event::Track { worker: self.tracks.len() });
            self.tracks.push(Track::default());
        }
        &mut self.tracks[worker]
    }

    /// Records a task that has ended.
    #[inline]
    pub(crate) fn task(&mut self, worker: usize, task: Slice) {
        self.tasks += 1;
        // A worker can report any time. Within one track times only grow, and no task may end so
        // late that those after it have no time left. `hand_over` limits them further.
        if task.end_ns > self.limit_ns {
            self.limit_ns = clock::now_ns() + AHEAD_NS;
        }
        let limit_ns = self.limit_ns;
        let track = self.track(worker);
        let start_ns = task.start_ns.min(limit_ns).max(track.end_ns);
        let task = Slice { start_ns, end_ns: task.end_ns.min(limit_ns).max(start_ns), ..task };
        let idle_ns = start_ns - track.end_ns;
        let idle_since = std::mem::replace(&mut track.end_ns, task.end_ns);
        if idle_ns < SHORT_NS
            && let Some(open) = &mut track.open
            && open.may_grow(&task)
        {
            open.add(&task);
            return;
        }
        if let Some(done) = track.open.replace(task) {
            self.events.push(Event::Tasks(worker, done));
        }
        if idle_ns >= SHORT_NS && idle_since > 0 {
            self.events.push(Event::Idle { worker, start_ns: idle_since, end_ns: start_ns });
        }
        if self.events.len() >= EVENTS_MAX {
            self.hand_over();
        }
    }

    /// Records that the slot got a process.
    pub(crate) fn started(&mut self, worker: usize, pid: u32) {
        let now_ns = clock::now_ns();
        self.close(worker);
        self.track(worker).end_ns = now_ns;
        let text = format!("pid {pid}");
        self.events.push(Event::Instant { worker, at_ns: now_ns, name: "worker started", text });
    }

    /// Records that the process in the slot has ended.
    pub(crate) fn ended(&mut self, worker: usize, name: &'static str, text: String) {
        let now_ns = clock::now_ns();
        self.close(worker);
        self.idle_until(worker, now_ns);
        self.track(worker).end_ns = 0;
        self.events.push(Event::Instant { worker, at_ns: now_ns, name, text });
    }

    /// Ends the event of a worker's latest task.
    pub(crate) fn close(&mut self, worker: usize) {
        if let Some(done) = self.track(worker).open.take() {
            self.events.push(Event::Tasks(worker, done));
        }
    }

    pub(crate) fn idle_until(&mut self, worker: usize, end_ns: u64) {
        let start_ns = std::mem::replace(&mut self.track(worker).end_ns, end_ns);
        if start_ns > 0 && end_ns.saturating_sub(start_ns) >= SHORT_NS {
            self.events.push(Event::Idle { worker, start_ns, end_ns });
        }
    }

    /// Passes all events to the writing thread if that is due. Returns when it is due again.
    pub(crate) fn flush_if_due(&mut self) -> Instant {
        let now = Instant::now();
        if now >= self.flush_at {
            self.flush();
            self.flush_at = now + FLUSH_INTERVAL;
        }
        self.flush_at
    }

    /// Passes all events to the writing thread.
    fn flush(&mut self) {
        for worker in 0..self.tracks.len() {
            self.close(worker);
        }
        self.hand_over();
    }

    fn hand_over(&mut self) {
        if !self.events.is_empty() {
            let now_ns = clock::now_ns();
            self.events.iter_mut().for_each(|event| event.limit(now_ns));
            let next = Vec::with_capacity(EVENTS_MAX);
            self.file.send(std::mem::replace(&mut self.events, next));
        }
    }

    /// Completes the file. Waits for the disk, so call it without the mutex.
    ///
    /// # Errors
    ///
    /// The first failure to write.
    pub(crate) fn finish(mut self) -> Result<TraceTotals> {
        self.flush();
        let totals = self.file.finish()?;
        Ok(TraceTotals { tasks: self.tasks, ..totals })
    }

    /// The file that is written.
    pub(crate) fn path(&self) -> &std::path::Path {
        self.file.path()
    }
}

impl Slice {
    /// Whether `next`, which follows soon, may be added.
    #[inline]
    fn may_grow(&self, next: &Slice) -> bool {
        std::ptr::eq(self.name, next.name)
            && self.kind == next.kind
            && self.ending == Ending::Returned
            && next.ending == Ending::Returned
            && self.busy_ns / u64::from(self.count) < SHORT_NS
            && next.busy_ns < SHORT_NS
            && next.end_ns - self.start_ns < MERGED_NS
    }

    #[inline]
    fn add(&mut self, next: &Slice) {
        self.end_ns = next.end_ns;
        self.busy_ns += next.busy_ns;
        self.count += 1;
    }
}

#[cfg(test)]
#[path = "timeline_tests.rs"]
mod tests;

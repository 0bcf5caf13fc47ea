//! What a pool's state adds to its timeline.

use std::time::Instant;

use crate::pool::record::state::State;
use crate::pool::record::task::{TaskKind, TaskRecord};
use crate::pool::record::timeline::Timeline;
use crate::pool::record::trace_event::{Ending, Slice};
use crate::pool::record::worker_slot::RetireCause;
use crate::sys::clock;
use crate::worker::call::TaskId;
use crate::worker::current_task::PART;
use crate::worker::host_side::Drained;
use crate::worker::queue_pair::Status;

impl State {
    /// Records a task whose result was drained.
    #[inline]
    pub(crate) fn record_task(&mut self, index: usize, id: TaskId, drained: &Drained) {
        let Some(timeline) = &mut self.timeline else { return };
        let Some(entry) = self.tasks.get(id) else { return };
        let Some(call) = entry.call() else { return };
        let ending = match drained.meta.status {
            Status::Value => Ending::Returned,
            Status::Panicked => Ending::Panicked,
            _ => Ending::Codec,
        };
        let start_ns = self.workers[index].host_side.reported_start_ns(drained);
        let elapsed_ns = drained.meta.elapsed_ns;
        let slice = Slice::new(
            call.name,
            entry.task_options.kind,
            call.number,
            start_ns,
            elapsed_ns,
            ending,
        );
        timeline.task(index, slice);
    }

    /// Records the end of a worker, and that of the task that it was running.
    pub(crate) fn record_exit(
        &mut self,
        index: usize,
        running: Option<(TaskId, u64)>,
        cause: Option<RetireCause>,
        text: impl std::fmt::Display,
    ) {
        let Some(timeline) = &mut self.timeline else { return };
        let name = match cause {
            Some(cause) if cause.is_departure() && running.is_none() => "worker left",
            None | Some(RetireCause::Leaving(_)) => "worker died",
            Some(_) => "worker ended",
        };
        if let Some((id, start_ns)) = running {
            let ending = match cause {
                Some(RetireCause::TimedOut(..)) => Ending::TimedOut,
                Some(RetireCause::Killed(_) | RetireCause::PoolEnds) => Ending::Killed,
                _ => Ending::Died,
            };
            let entry = self.tasks.get(id);
            timeline.task(index, unfinished(entry, start_ns, ending));
        }
        timeline.ended(index, name, format!("pid {} {text}", self.workers[index].pid));
    }

    /// Passes what was recorded to the thread that writes it, if that is due. Returns when it is
    /// due again. The supervisor may call it much more often, for other reasons.
    pub(crate) fn flush_timeline(&mut self) -> Option<Instant> {
        Some(self.timeline.as_mut()?.flush_if_due())
    }

    /// Ends the recording: adds what runs now.
    pub(crate) fn take_timeline(&mut self) -> Option<Box<Timeline>> {
        let mut timeline = self.timeline.take()?;
        let now_ns = clock::now_ns();
        for (index, slot) in self.workers.iter().enumerate() {
            if let Some((id, start_ns)) = slot.host_side.running_task() {
                let entry = self.tasks.get(id);
                timeline.task(index, unfinished(entry, start_ns, Ending::Running));
            } else if slot.is_occupied() {
                timeline.close(index);
                timeline.idle_until(index, now_ns);
            }
        }
        Some(timeline)
    }
}

/// The event of a task that has no result, up to now.
fn unfinished(entry: Option<&TaskRecord>, start_ns: u64, ending: Ending) -> Slice {
    let call = entry.and_then(TaskRecord::call);
    let (name, number) = call.map_or(("a task", PART), |call| (call.name, call.number));
    let kind = entry.map_or(TaskKind::Single, |entry| entry.task_options.kind);
    let elapsed_ns = clock::now_ns().saturating_sub(start_ns);
    Slice::new(name, kind, number, start_ns, elapsed_ns, ending)
}

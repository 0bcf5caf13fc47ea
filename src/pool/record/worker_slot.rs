//! A worker's slot in the pool.
//!
//! It outlives the workers that occupy it, one after the other.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::object::Memory;
use crate::pool::record::progress_clock::{ProgressClock, Waiting};
use crate::process::captured_output::CapturedStreams;
use crate::process::fork_server::ChildHandle;
use crate::region::arena::Span;
use crate::sys::process;
use crate::worker::call::{Call, TaskId};
use crate::worker::grants::Grants;
use crate::worker::host_side::{Drained, HostSide};
use crate::worker::link::ChildLink;
use crate::worker::logs::source::LogSource;
use crate::worker::queue_pair::LeaveReason;

/// The state of the worker in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WorkerState {
    /// Requested, not yet forked.
    Starting,
    /// It has a process.
    Running,
    /// It gets no more offers and is about to end, for this reason.
    Retiring(RetireCause),
    /// The slot has no worker.
    Vacant,
    /// The slot has no worker until there is work.
    Dormant,
}

/// Why a worker was retired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RetireCause {
    /// This task timed out.
    TimedOut(TaskId, Duration),
    /// A kill of this task was requested.
    Killed(TaskId),
    /// It leaves by itself after the result that announced this.
    Leaving(LeaveReason),
    /// There are too many workers; it leaves when it has nothing to do.
    Surplus,
    /// It was idle for too long; it leaves.
    Idle,
    /// The pool has asked it to leave when it has nothing to do.
    Stopped,
    /// It corrupted its queue pair.
    Corrupt,
    /// The pool is being killed.
    PoolEnds,
    /// The pool broke, and might not notice the end of this worker otherwise.
    PoolBroke,
}

impl RetireCause {
    /// Whether the worker leaves by itself, rather than being killed.
    pub(crate) fn is_departure(self) -> bool {
        matches!(
            self,
            RetireCause::Leaving(_)
                | RetireCause::Surplus
                | RetireCause::Idle
                | RetireCause::Stopped
        )
    }
}

/// A worker's slot in the pool; workers are replaced, slots stay.
#[derive(Debug)]
pub(crate) struct WorkerSlot {
    pub(crate) state: WorkerState,
    pub(crate) host_side: HostSide,
    /// The number of workers that have had this slot.
    pub(crate) incarnation: u64,
    pub(crate) pid: u32,
    pub(crate) child: Option<ChildHandle>,
    pub(crate) link: Option<Arc<ChildLink>>,
    /// When it was first killed.
    pub(crate) killed_at: Option<Instant>,
    /// Why its fork server has ended, if that is the reason of its end.
    pub(crate) server_end: Option<String>,
    /// It was killed and did not end within the time allowed.
    pub(crate) is_abandoned: bool,
    /// The calls that it had started when it was abandoned: it may still write to what they lend.
    pub(crate) abandoned_calls: Vec<Call>,
    /// Its last result, which a handle of an array has outlived. It is delivered when the worker is
    /// reaped.
    pub(crate) held_result: Option<Drained>,
    /// Spans that the worker requested for results that have not been drained.
    pub(crate) granted: Grants,
    /// Object memories of which the worker had handles at the last check.
    pub(crate) lent: Vec<Memory>,
    /// Its configuration, while it may read it.
    pub(crate) config: Option<Span>,
    /// Its standard streams, as far as they are captured.
    pub(crate) streams: CapturedStreams,
    /// Its log records.
    pub(crate) logs: Option<Arc<LogSource>>,
    /// The start failures in this slot, weighted, since a worker last became ready.
    pub(crate) start_failures: u32,
    pub(crate) clock: ProgressClock,
    /// It has not run a function that all workers have, and is about to leave.
    pub(crate) misses_broadcast: bool,
    /// Tasks that only the worker of this slot may run, and that it was not offered yet.
    pub(crate) pinned: VecDeque<TaskId>,
}

impl WorkerSlot {
    /// A slot without a worker.
    pub(crate) fn vacant(host_side: HostSide) -> WorkerSlot {
        WorkerSlot {
            state: WorkerState::Vacant,
            host_side,
            incarnation: 0,
            pid: 0,
            child: None,
            link: None,
            killed_at: None,
            server_end: None,
            is_abandoned: false,
            abandoned_calls: Vec::new(),
            held_result: None,
            granted: Grants::default(),
            lent: Vec::new(),
            config: None,
            streams: CapturedStreams::default(),
            logs: None,
            start_failures: 0,
            clock: ProgressClock::default(),
            misses_broadcast: false,
            pinned: VecDeque::new(),
        }
    }

    /// Whether it may be offered tasks.
    pub(crate) fn takes_offers(&self) -> bool {
        matches!(self.state, WorkerState::Starting | WorkerState::Running)
    }

    /// Whether its process has nothing to do, not even recalled slots to pass.
    pub(crate) fn is_idle(&self) -> bool {
        self.state == WorkerState::Running && self.host_side.in_flight().next().is_none()
    }

    /// Whether it has, or may get, a process.
    pub(crate) fn has_worker(&self) -> bool {
        !matches!(self.state, WorkerState::Vacant | WorkerState::Dormant)
    }

    /// The same, unless the process was abandoned.
    pub(crate) fn is_occupied(&self) -> bool {
        self.has_worker() && !self.is_abandoned
    }

    /// Whether the worker is leaving as surplus and may be kept instead.
    pub(crate) fn may_stay(&self) -> bool {
        self.state == WorkerState::Retiring(RetireCause::Surplus) && !self.misses_broadcast
    }

    /// Whether its worker leaves, and this slot then gets another.
    pub(crate) fn awaits_successor(&self) -> bool {
        let WorkerState::Retiring(cause) = self.state else { return false };
        let has_none = matches!(
            cause,
            RetireCause::Surplus
                | RetireCause::Idle
                | RetireCause::Stopped
                | RetireCause::PoolEnds
                | RetireCause::PoolBroke
        );
        !has_none && !self.is_abandoned
    }

    /// What its worker waits for at `now`, and since when; `None` while it makes progress.
    pub(crate) fn waiting_since(&mut self, now: Instant) -> Option<(Waiting, Instant)> {
        let waiting = match self.state {
            _ if self.is_abandoned => None,
            WorkerState::Retiring(_) => (self.host_side.live() == 0).then_some(Waiting::ToLeave),
            _ => match self.host_side.unstarted() {
                Some(seq) => {
                    let is_ready = self.host_side.is_ready() && !self.host_side.is_rebuilding();
                    Some(Waiting::ToStart { seq, is_ready })
                }
                // A worker that runs its initializer is not idle.
                None if self.is_idle() && self.host_side.is_ready() => {
                    Some(Waiting::ForTask { next_seq: self.host_side.next_seq() })
                }
                None => None,
            },
        };
        self.clock.note(waiting, now)
    }

    /// Kills a worker that should have left but has not done so within `timeout` after it was first
    /// seen with nothing left to do: it may be stopped. Returns when to check again.
    pub(crate) fn kill_overdue(&mut self, now: Instant, timeout: Duration) -> Option<Instant> {
        if !matches!(self.state, WorkerState::Retiring(_)) || self.is_abandoned {
            return None;
        }
        if let Some((Waiting::ToLeave, since)) = self.waiting_since(now)
            && now.saturating_duration_since(since) >= timeout
        {
            self.kill();
        }
        Some(now + timeout)
    }

    /// Releases what its worker had, after the worker has ended.
    pub(crate) fn release(&mut self) {
        self.clock.reset();
        self.killed_at = None;
        self.server_end = None;
        self.is_abandoned = false;
        self.abandoned_calls.clear();
        self.lent.clear();
        self.state = WorkerState::Vacant;
        self.child = None;
        self.config = None;
        self.logs = None;
        self.granted.clear();
    }

    /// Whether its worker has left, or is leaving, because there was no work.
    pub(crate) fn is_dormant(&self) -> bool {
        matches!(self.state, WorkerState::Dormant | WorkerState::Retiring(RetireCause::Idle))
    }

    /// Keeps the object memories that a call lent to the worker, if the worker has kept handles of
    /// them.
    pub(crate) fn keep_lent(&mut self, call: &Call) {
        let pid = self.pid;
        for memory in call.lent() {
            if self.lent.iter().any(|known| known.is_same(memory)) || !memory.has_process(pid) {
                continue;
            }
            // Removes memories that the worker has released in the meantime. One check of all is
            // made for as many new ones.
            if self.lent.len() == self.lent.capacity() {
                self.lent.retain(|known| known.has_process(pid));
                self.lent.reserve(self.lent.len().max(8));
            }
            self.lent.push(memory.clone());
        }
    }

    /// Frees what the dead worker held in the object memories that it was lent.
    pub(crate) fn sweep<'a>(&'a self, others: impl Iterator<Item = &'a Memory>) {
        let pid = self.pid;
        for memory in self.lent.iter().chain(others) {
            memory.sweep_process(pid);
        }
    }

    /// Kills its process.
    pub(crate) fn kill(&mut self) {
        self.killed_at.get_or_insert_with(Instant::now);
        if let Some(child) = &self.child {
            // An error is ignored: the process has ended, or its server has, which ends it.
            let _ = child.signal(process::SIGKILL);
        }
    }
}

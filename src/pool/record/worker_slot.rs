//! A worker's place in the pool.
//!
//! It outlives the workers that take it, one after the other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::object::Memory;
use crate::pool::record::progress_clock::{ProgressClock, Waiting};
use crate::process::captured_stderr::CapturedStderr;
use crate::process::fork_server::ChildHandle;
use crate::region::arena::Span;
use crate::sys::process;
use crate::worker::call::{Call, TaskId};
use crate::worker::host_side::{Drained, HostSide};
use crate::worker::link::ChildLink;
use crate::worker::queue_pair::LeaveReason;

/// The state of the worker in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WorkerState {
    /// Asked for, not yet forked.
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
    /// This task ran too long.
    TimedOut(TaskId, Duration),
    /// This task was to be killed.
    Killed(TaskId),
    /// It leaves by itself after the result that said so.
    Leaving(LeaveReason),
    /// There are more workers than there should be; it leaves when it has nothing to do.
    Surplus,
    /// It had nothing to do for long; it leaves.
    Idle,
    /// The pool has asked it to leave when it has nothing to do.
    Stopped,
    /// It corrupted its queue pair.
    Corrupt,
    /// The pool is being killed.
    PoolEnds,
    /// The pool broke, and may not notice the end of its worker otherwise.
    PoolBroke,
}

impl RetireCause {
    /// Whether the worker leaves by itself, as against being killed.
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

/// A worker's place in the pool; workers come and go, slots stay.
#[derive(Debug)]
pub(crate) struct WorkerSlot {
    pub(crate) state: WorkerState,
    pub(crate) queues: HostSide,
    /// Counts the workers that have had this slot.
    pub(crate) incarnation: u64,
    pub(crate) pid: u32,
    pub(crate) child: Option<ChildHandle>,
    pub(crate) link: Option<Arc<ChildLink>>,
    /// When it was killed first.
    pub(crate) killed_at: Option<Instant>,
    /// It was killed and did not end within the time allowed.
    pub(crate) is_abandoned: bool,
    /// The calls that it had started when it was abandoned: it may still write to what they lend.
    pub(crate) abandoned_calls: Vec<Call>,
    /// Its last result, which a handle to an array has outlived: delivered when it is reaped.
    pub(crate) held_result: Option<Drained>,
    /// Spans that the worker asked for and has not yet committed a result in; at most as many as
    /// it has slots for results.
    pub(crate) granted: Vec<Span>,
    /// Control memories that the worker had handles of when it was last looked at.
    pub(crate) lent: Vec<Memory>,
    /// Its configuration, for as long as it may read it.
    pub(crate) config: Option<Span>,
    /// The end of what it writes to its standard error, if that is captured.
    pub(crate) stderr: Option<Arc<CapturedStderr>>,
    /// Weight of the workers that died here before they were ready, since the last that was ready.
    pub(crate) start_failures: u32,
    pub(crate) clock: ProgressClock,
}

impl WorkerSlot {
    /// A slot that has had no worker.
    pub(crate) fn vacant(queues: HostSide) -> WorkerSlot {
        WorkerSlot {
            state: WorkerState::Vacant,
            queues,
            incarnation: 0,
            pid: 0,
            child: None,
            link: None,
            killed_at: None,
            is_abandoned: false,
            abandoned_calls: Vec::new(),
            held_result: None,
            granted: Vec::new(),
            lent: Vec::new(),
            config: None,
            stderr: None,
            start_failures: 0,
            clock: ProgressClock::default(),
        }
    }

    /// Whether it may be offered tasks.
    pub(crate) fn takes_offers(&self) -> bool {
        matches!(self.state, WorkerState::Starting | WorkerState::Running)
    }

    /// Whether it has a process with nothing to do, not even slots to pass.
    pub(crate) fn is_idle(&self) -> bool {
        self.state == WorkerState::Running && self.queues.in_flight().next().is_none()
    }

    /// Whether it has, or may get, a process.
    pub(crate) fn has_worker(&self) -> bool {
        !matches!(self.state, WorkerState::Vacant | WorkerState::Dormant)
    }

    /// The same, unless that was given up.
    pub(crate) fn is_occupied(&self) -> bool {
        self.has_worker() && !self.is_abandoned
    }

    /// What its worker waits for at `now`, and since when it was seen waiting for that; `None`
    /// while it makes progress.
    pub(crate) fn waiting_since(&mut self, now: Instant) -> Option<(Waiting, Instant)> {
        let waiting = match self.state {
            _ if self.is_abandoned => None,
            WorkerState::Retiring(_) => (self.queues.live() == 0).then_some(Waiting::ToLeave),
            _ => match self.queues.unstarted() {
                Some(seq) => Some(Waiting::ToStart { seq, is_ready: self.queues.is_ready() }),
                // A worker that runs its initializer is not idle.
                None if self.is_idle() && self.queues.is_ready() => {
                    Some(Waiting::ForTask { next_seq: self.queues.next_seq() })
                }
                None => None,
            },
        };
        self.clock.note(waiting, now)
    }

    /// Kills a worker that is to leave and has not left within `timeout` after it was first seen
    /// with nothing left to do: it may be stopped. Returns when to check again.
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
        self.is_abandoned = false;
        self.abandoned_calls.clear();
        self.lent.clear();
        self.state = WorkerState::Vacant;
        self.child = None;
        self.config = None;
        self.granted.clear();
    }

    /// Whether its worker has left, or is leaving, because it had no work.
    pub(crate) fn is_dormant(&self) -> bool {
        matches!(self.state, WorkerState::Dormant | WorkerState::Retiring(RetireCause::Idle))
    }

    /// Keeps the object memories that a call has lent to the worker, as far as the worker has
    /// kept handles of them itself.
    pub(crate) fn keep_lent(&mut self, call: &Call) {
        let pid = self.pid;
        for memory in call.lent() {
            if self.lent.iter().any(|known| known.is_same(memory)) || !memory.has_process(pid) {
                continue;
            }
            // Whatever the worker has given up in the meantime goes, with one look at all for as
            // many new ones.
            if self.lent.len() == self.lent.capacity() {
                self.lent.retain(|known| known.has_process(pid));
                self.lent.reserve(self.lent.len().max(8));
            }
            self.lent.push(memory.clone());
        }
    }

    /// Frees what the worker, which is dead, held in the object memories that it was lent.
    pub(crate) fn sweep<'a>(&'a self, others: impl Iterator<Item = &'a Memory>) {
        let pid = self.pid;
        for memory in self.lent.iter().chain(others) {
            memory.sweep_process(pid);
        }
    }

    /// Ends its process; whatever it ran dies with it.
    pub(crate) fn kill(&mut self) {
        self.killed_at.get_or_insert_with(Instant::now);
        if let Some(child) = &self.child {
            // It may have ended already, which is as good; or its server has, which ends it.
            let _ = child.signal(process::SIGKILL);
        }
    }
}

//! The state of a pool, guarded by its mutex.

use std::collections::VecDeque;
use std::time::Instant;

use tracing::Level;

use crate::pool::record::callbacks::CallbackThread;
use crate::pool::record::completion_queue::CompletionQueue;
use crate::pool::record::config::Initializer;
use crate::pool::record::counters::Counters;
use crate::pool::record::log_sources::LogSources;
use crate::pool::record::outcome::{EncodedResult, Outcome, broken};
#[cfg(feature = "async")]
use crate::pool::record::permit_waiters::PermitWaiters;
use crate::pool::record::task::{Offer, TaskNumbers, TaskRecord, TaskState, TaskTable};
use crate::pool::record::timeline::Timeline;
use crate::pool::record::worker_slot::{RetireCause, WorkerSlot, WorkerState};
use crate::process::diagnostics::DeferredEvents;
use crate::sys::thread_parker::ThreadParker;
use crate::sys::{clock, oom};
use crate::worker::call::TaskId;
use crate::worker::death;
use crate::worker::host_side::Drained;
use crate::worker::pool_control::HostPoolControl;
use crate::worker::queue_pair::{LeaveReason, ResultMeta, SLOTS};

/// The life cycle of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lifecycle {
    /// It takes tasks.
    Open,
    /// It takes no tasks, but runs those it has.
    Draining,
    /// Its workers are being ended, and no more are started.
    Stopping,
    /// It has ended.
    Closed,
    /// It cannot start workers, for this reason.
    Broken(String),
}

/// What a waiting thread waits for.
#[derive(Clone, Copy)]
pub(crate) enum WaitTarget<'a> {
    /// Until any of these tasks is done.
    Tasks(&'a [TaskId]),
    /// Until any task that reports to this queue is done.
    WaitSet(&'a CompletionQueue),
    /// Until all tasks are done.
    All,
    /// Until any task is done, so that another may be submitted.
    Permit,
}

/// Everything that the pool's mutex guards.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) life: Lifecycle,
    pub(crate) tasks: TaskTable,
    /// Tasks that no worker has, oldest first; cancelled ones are removed when they reach the
    /// front.
    pub(crate) queue: VecDeque<TaskId>,
    pub(crate) workers: Vec<WorkerSlot>,
    pub(crate) control: HostPoolControl,
    /// The functions that each worker runs first. They are dropped with the last worker, which ends
    /// their leases even if other threads still hold the pool.
    pub(crate) initializers: Vec<Initializer>,
    /// The function that makes each worker's state, kept as long.
    pub(crate) state_maker: Option<Initializer>,
    /// Tasks that are not done.
    pub(crate) unfinished: usize,
    /// A joining thread sleeps on the control block's driver word.
    pub(crate) joiner_sleeps: bool,
    /// Other joining threads, which sleep meanwhile.
    pub(crate) waiting: Vec<ThreadParker>,
    /// Threads that sleep until all tasks are done.
    pub(crate) waiting_for_all: usize,
    /// Number of listeners, over all tasks.
    pub(crate) listeners: usize,
    /// Keeps the callback thread alive, from the first callback on.
    pub(crate) callbacks: Option<CallbackThread>,
    /// Callbacks that have not run although their tasks are over.
    pub(crate) callbacks_due: usize,
    /// A running average of the time that a task takes, in nanoseconds; 0 if unknown.
    pub(crate) average_ns: u64,
    /// Why a slot is empty, until the next attempt to fill it.
    pub(crate) retry_cause: Option<String>,
    /// A slot is empty because there is no fork server; one is about to be started.
    pub(crate) needs_server: bool,
    /// How many workers there should be.
    pub(crate) target: usize,
    /// Workers that ended because there was no work, and are restarted when there is.
    pub(crate) dormant: usize,
    /// A task is pinned to a worker and was not offered yet.
    pub(crate) has_pinned: bool,
    /// How many calls of a function on each worker there were.
    pub(crate) broadcasts: u64,
    /// How many tasks may wait for a worker; `None` without a limit.
    pub(crate) queue_limit: Option<usize>,
    /// Threads that sleep until another task may be submitted.
    pub(crate) waiting_for_permit: usize,
    /// Futures that wait for the same.
    #[cfg(feature = "async")]
    pub(crate) permit_waiters: PermitWaiters,
    /// Threads that sleep until every worker is ready.
    pub(crate) waiting_for_ready: usize,
    /// Why the last worker that failed could not be started, or ended before it was ready.
    pub(crate) start_failure: Option<String>,
    /// Places in the queue that are reserved for tasks being submitted.
    pub(crate) reserved: usize,
    /// When the supervisor checks next, for any reason.
    pub(crate) deadline: Option<Instant>,
    /// No task can time out before this; checking all of them takes time.
    pub(crate) late_at: Option<Instant>,
    pub(crate) counters: Counters,
    pub(crate) logs: LogSources,
    pub(crate) numbers: TaskNumbers,
    /// Events for `tracing`, emitted when the mutex is released.
    pub(crate) events: DeferredEvents,
    /// The recording of what runs, if there is one.
    pub(crate) timeline: Option<Box<Timeline>>,
    /// The workers that `refill` has to wake; kept to reuse its memory.
    touched: Vec<bool>,
}

impl State {
    pub(crate) fn new(control: HostPoolControl) -> State {
        oom::update();
        State {
            life: Lifecycle::Open,
            tasks: TaskTable::default(),
            queue: VecDeque::new(),
            workers: Vec::new(),
            control,
            initializers: Vec::new(),
            state_maker: None,
            unfinished: 0,
            joiner_sleeps: false,
            waiting: Vec::new(),
            waiting_for_all: 0,
            listeners: 0,
            callbacks: None,
            callbacks_due: 0,
            average_ns: 0,
            retry_cause: None,
            needs_server: false,
            target: 0,
            dormant: 0,
            has_pinned: false,
            broadcasts: 0,
            queue_limit: None,
            waiting_for_permit: 0,
            #[cfg(feature = "async")]
            permit_waiters: PermitWaiters::default(),
            waiting_for_ready: 0,
            start_failure: None,
            reserved: 0,
            deadline: None,
            late_at: None,
            counters: Counters::default(),
            logs: LogSources::default(),
            numbers: TaskNumbers::default(),
            events: DeferredEvents::default(),
            timeline: None,
            touched: Vec::new(),
        }
    }

    /// Drains results, offers queued tasks, and rebalances offered ones.
    pub(crate) fn drive(&mut self) {
        self.drain();
        if self.has_pinned {
            self.offer_pinned();
        }
        self.refill();
        self.balance();
        let spare = self.workers.iter().any(|slot| slot.host_side.live() > 1);
        self.control.set_has_surplus(spare || !self.queue.is_empty());
    }

    /// Takes every committed result.
    pub(crate) fn drain(&mut self) {
        for index in 0..self.workers.len() {
            self.drain_worker(index);
        }
    }

    /// Takes every committed result of one worker.
    ///
    /// If a handle has outlived its task, the task's result is held back with its leases until the
    /// worker is reaped: until then the worker can access what it was lent. So is a result in a
    /// span that was not granted, whose worker may write to what it was lent and granted.
    pub(crate) fn drain_worker(&mut self, index: usize) {
        while self.workers[index].held_result.is_none() {
            let Some(drained) = self.next_result(index) else { return };
            let is_granted = death::is_granted(&drained, &self.workers[index].granted);
            if !is_granted {
                self.kill_corrupt(index, "a result in a span that was not granted");
            } else if drained.meta.leaving == Some(LeaveReason::Unclean) {
                self.retire(index, RetireCause::Leaving(LeaveReason::Unclean));
            } else {
                self.finish_drained(index, drained);
                continue;
            }
            self.workers[index].held_result = Some(drained);
        }
    }

    /// Takes every committed result of a worker that was reaped, in the order of the commits.
    pub(crate) fn drain_dead(&mut self, index: usize) {
        if let Some(drained) = self.workers[index].held_result.take() {
            self.finish_drained(index, drained);
        }
        while let Some(drained) = self.next_result(index) {
            self.finish_drained(index, drained);
        }
    }

    #[inline]
    fn next_result(&mut self, index: usize) -> Option<Drained> {
        match self.workers[index].host_side.drain() {
            Ok(Some(drained)) => {
                self.note_logs_of(index);
                Some(drained)
            }
            Ok(None) => None,
            Err(error) => {
                self.kill_corrupt(index, &error.to_string());
                None
            }
        }
    }

    /// Kills a worker that corrupted its queue pair.
    fn kill_corrupt(&mut self, index: usize, found: &str) {
        let found = found.to_owned();
        self.events.defer(Level::ERROR, move || {
            tracing::error!(worker = index, found, "a worker corrupted its queues");
        });
        self.retire(index, RetireCause::Corrupt);
        self.workers[index].kill();
    }

    /// Retires the workers that overwrote their offers: their results would never be noticed.
    pub(crate) fn retire_corrupt(&mut self) {
        for index in 0..self.workers.len() {
            let slot = &self.workers[index];
            if slot.is_occupied() && slot.held_result.is_none() && slot.host_side.is_corrupt() {
                self.kill_corrupt(index, "invalid claim words");
            }
        }
    }

    #[inline]
    fn finish_drained(&mut self, index: usize, drained: Drained) {
        let (task, meta) = (drained.task, drained.meta);
        if let Some(reason) = meta.leaving {
            if reason == LeaveReason::Memory {
                self.events.defer(Level::INFO, move || {
                    tracing::info!(worker = index, "memory_soft_bytes outgrown: replaced");
                });
            }
            self.retire(index, RetireCause::Leaving(reason));
        }
        let Some(id) = task else { return };
        if let Some(call) = self.tasks.get(id).and_then(TaskRecord::call) {
            self.workers[index].keep_lent(call);
        }
        self.note_elapsed(index, meta);
        if self.timeline.is_some() {
            self.record_task(index, id, &drained);
        }
        let outcome = self.outcome(index, id, drained);
        self.complete(id, outcome);
    }

    fn note_elapsed(&mut self, index: usize, meta: ResultMeta) {
        let ns = meta.elapsed_ns.max(1);
        self.counters.note_run(index, ns);
        // A longer task is no better prediction of the next ones than one of a second.
        let ns = ns.min(1_000_000_000);
        self.average_ns = match self.average_ns {
            0 => ns,
            // The weight is 1/8: a change of workload takes effect after about ten tasks.
            average => average - average / 8 + ns / 8,
        };
    }

    #[inline]
    fn outcome(&mut self, index: usize, id: TaskId, drained: Drained) -> Outcome {
        let ResultMeta { status, elapsed_ns, .. } = drained.meta;
        let payload = death::payload(drained, &mut self.workers[index].granted);
        let (payload, returned) = payload.map_err(Box::new)?;
        let bytes = death::value(status, payload)?;
        let call = self.tasks.get_mut(id).and_then(TaskRecord::call_mut);
        let mut leases = call.map(|call| std::mem::take(&mut call.leases)).unwrap_or_default();
        leases.add_returned(returned);
        Ok(EncodedResult { bytes, leases, elapsed_ns })
    }

    /// Wakes the joining thread that sleeps on the control block. Workers ring for results that
    /// they commit; this is for everything else: a death, a timeout, a cancellation, and a result
    /// that another thread drained before its worker could ring.
    pub(crate) fn wake_sleeping_joiner(&self) {
        if self.joiner_sleeps {
            self.control.driver().wake_joiner_anyway();
        }
    }

    /// Offers queued tasks to workers that have room, and wakes those workers.
    pub(crate) fn refill(&mut self) {
        if self.queue.is_empty() {
            return;
        }
        let mut offered = std::mem::take(&mut self.touched);
        offered.clear();
        offered.resize(self.workers.len(), false);
        while let Some(&id) = self.queue.front() {
            if !self.tasks.get(id).is_some_and(TaskRecord::is_queued) {
                self.queue.pop_front();
                continue;
            }
            let Some(index) = self.pick() else { break };
            if !self.offer(index, id) {
                break;
            }
            offered[index] = true;
            self.queue.pop_front();
        }
        for (slot, &offered) in self.workers.iter().zip(&offered) {
            if offered {
                slot.host_side.wake();
            }
        }
        self.touched = offered;
    }

    /// Offers a queued task to the worker at `index`. False if its byte ring has no room.
    #[inline]
    pub(crate) fn offer(&mut self, index: usize, id: TaskId) -> bool {
        let Some(TaskRecord { state: TaskState::Open { call, offer }, task_options, .. }) =
            self.tasks.get_mut(id)
        else {
            return true;
        };
        let now_ns = if task_options.timeout.is_some() { clock::now_ns() } else { 0 };
        let Some(seq) = self.workers[index].host_side.offer(id, call, now_ns) else { return false };
        *offer = Some(Offer { worker: index, seq });
        self.events.defer(Level::TRACE, move || {
            tracing::trace!(task = id.number(), worker = index, "task offered");
        });
        true
    }

    /// The worker that should get the next task: an idle one that spins, else an idle one that
    /// sleeps, else the one with the fewest tasks, if those are fewer than `ahead_max`.
    #[inline]
    pub(crate) fn pick(&self) -> Option<usize> {
        let mut best: Option<(usize, usize)> = None;
        for (index, slot) in self.workers.iter().enumerate() {
            if !slot.takes_offers() || !slot.host_side.has_slot() {
                continue;
            }
            let live = slot.host_side.live();
            // Idle and awake has rank 0, idle and asleep 1, and all others rank after them by the
            // number of their tasks. A worker that has not passed its recalled tasks does not count
            // as idle.
            let rank = match live {
                0 if slot.host_side.in_flight().next().is_some() => 2,
                0 => usize::from(slot.host_side.is_parked()),
                _ => live + 1,
            };
            if rank == 0 {
                return Some(index);
            }
            if best.is_none_or(|(_, least)| rank < least) {
                best = Some((index, rank));
            }
        }
        best.filter(|&(_, rank)| rank <= self.ahead_max()).map(|(index, _)| index)
    }

    /// How many tasks a worker may have at once: enough to keep it busy for four wake-ups of the
    /// driver, and at least one in reserve.
    fn ahead_max(&self) -> usize {
        const FOUR_WAKE_UPS_NS: u64 = 1_200_000;
        const UNKNOWN: u64 = 4;
        let count = FOUR_WAKE_UPS_NS.checked_div(self.average_ns).unwrap_or(UNKNOWN);
        // Lossless: at most SLOTS.
        count.clamp(2, SLOTS) as usize
    }

    /// Puts a task that no worker has back to the front of the queue, or of its worker's queue if
    /// it is pinned, unless it is over. In a broken pool it ends, because nothing can run it.
    pub(crate) fn requeue_first(&mut self, id: TaskId) {
        if let Lifecycle::Broken(cause) = &self.life {
            let error = broken(cause);
            self.complete(id, Err(Box::new(error)));
            return;
        }
        let entry = self.tasks.get_mut(id);
        if let Some(TaskRecord { state: TaskState::Open { offer, .. }, cold, .. }) = entry {
            *offer = None;
            match cold.as_ref().and_then(|cold| cold.pin) {
                Some(pin) => self.push_pinned(id, pin),
                None => self.queue.push_front(id),
            }
        }
    }

    /// Ends offers to this worker and recalls the tasks that it has not started.
    pub(crate) fn retire(&mut self, index: usize, cause: RetireCause) {
        if !self.workers[index].takes_offers() {
            // A worker that was to leave by itself may still be killed; then the new cause counts.
            match &mut self.workers[index].state {
                WorkerState::Retiring(old) if old.is_departure() && !cause.is_departure() => {
                    *old = cause;
                }
                _ => {}
            }
            return;
        }
        self.workers[index].state = WorkerState::Retiring(cause);
        // Latest first, and each goes to the front, so that the oldest ends up at the front.
        for id in self.workers[index].host_side.recall_latest(usize::MAX) {
            self.requeue_first(id);
        }
    }
}

//! The supervisor's part of a pool: rings, requests for spans, deadlines.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use crate::pool::driver::core::{Core, WAKE_TIMEOUT};
use crate::pool::record::progress_clock::Waiting;
use crate::pool::record::state::State;
use crate::pool::record::task::Offer;
use crate::pool::record::worker_slot::RetireCause;
use crate::process::supervisor::Handler;
use crate::region::arena::Contents;
use crate::sys::clock;
use crate::sys::poll::EventFd;
use crate::worker::link::LinkOwner;

/// The handler of a pool, which the supervisor calls. Workers ring its doorbell.
pub(crate) struct PoolHandler {
    doorbell: Arc<EventFd>,
    core: OnceLock<Weak<Core>>,
}

impl PoolHandler {
    pub(crate) fn new(doorbell: Arc<EventFd>) -> PoolHandler {
        PoolHandler { doorbell, core: OnceLock::new() }
    }

    /// Sets the pool, once.
    pub(crate) fn set_core(&self, core: Weak<Core>) {
        let _ = self.core.set(core);
    }

    fn core(&self) -> Option<Arc<Core>> {
        self.core.get()?.upgrade()
    }
}

impl Handler for PoolHandler {
    fn fd(&self) -> BorrowedFd<'_> {
        self.doorbell.as_fd()
    }

    fn readable(&self) {
        self.doorbell.clear();
        if let Some(core) = self.core() {
            let mut state = core.lock();
            state.drive();
            core.watch_exits(&mut state);
            core.arm_supervisor(&mut state);
            // A worker rings when it is ready.
            let is_awaited = state.waiting_for_ready > 0;
            drop(state);
            if is_awaited {
                core.changed.notify_all();
            }
        }
    }

    fn deadline(&self) {
        if let Some(core) = self.core() {
            // A server is started outside the mutex, so that other threads can go on.
            let server = core.start_needed_server();
            let decay = Instant::now() + core.arena.decay(clock::now_ns());
            let mut state = core.lock();
            state.deadline = None;
            state.drain();
            state.retire_corrupt();
            core.fill_vacant(&mut state, &server);
            if state.late_at.is_some_and(|at| at <= Instant::now()) {
                state.late_at = end_late_tasks(&mut state);
            }
            let late = state.late_at;
            let idle = core.retire_idle(&mut state);
            let unstarted = core.recall_stalled(&mut state);
            let leaving = kill_overdue(&mut state);
            let dying = core.abandon_unkillable(&mut state);
            let flush = state.flush_timeline().into_iter().chain(core.publish(&mut state));
            let soon = late.into_iter().chain(idle).chain(unstarted).chain(leaving).chain(dying);
            let soon = soon.chain(flush);
            core.schedule_check(&mut state, soon.fold(decay, Instant::min));
            core.restart_dormant(&mut state);
            // Tasks that the killed workers had not started can go to others now.
            state.drive();
            core.arm_supervisor(&mut state);
            drop(state);
            core.changed.notify_all();
        }
    }

    fn after_gap(&self, gap: Duration) {
        if let Some(core) = self.core() {
            core.lock().exclude_gap(gap);
        }
    }

    fn after_panic(&self, cause: &str) {
        if let Some(core) = self.core() {
            core.break_and_kill(cause);
        }
    }
}

impl State {
    /// Excludes a gap, in which this process was stopped, from all that is measured by the clock.
    fn exclude_gap(&mut self, gap: Duration) {
        for slot in &mut self.workers {
            slot.host_side.exclude_gap(gap);
            slot.clock.exclude_gap(gap);
            if let Some(killed_at) = &mut slot.killed_at {
                *killed_at += gap;
            }
        }
        for id in self.tasks.unfinished() {
            let cold = self.tasks.get_mut(id).and_then(|entry| entry.cold.as_mut());
            if let Some(kill_at) = cold.and_then(|cold| cold.kill_at.as_mut()) {
                *kill_at += gap;
            }
        }
    }
}

/// While there are tasks, kills the workers that should have left, so that their replacements can
/// run the tasks. Returns when to check again.
fn kill_overdue(state: &mut State) -> Option<Instant> {
    if state.unfinished == 0 {
        return None;
    }
    let now = Instant::now();
    state.workers.iter_mut().filter_map(|slot| slot.kill_overdue(now, WAKE_TIMEOUT)).min()
}

/// Kills the workers whose tasks have timed out. Returns when to check again.
fn end_late_tasks(state: &mut State) -> Option<Instant> {
    let (now, now_ns) = (Instant::now(), clock::now_ns());
    let mut next: Option<Instant> = None;
    let mut sooner = |at: Instant| next = Some(next.map_or(at, |next| next.min(at)));
    for id in state.tasks.unfinished() {
        let Some(entry) = state.tasks.get(id) else { continue };
        match entry.cold.as_ref().and_then(|cold| cold.kill_at) {
            Some(at) if at <= now => {
                state.kill_task(id, RetireCause::Killed(id));
                sooner(now + WAKE_TIMEOUT);
                continue;
            }
            Some(at) => sooner(at),
            None => {}
        }
        let Some(timeout) = entry.task_options.timeout else { continue };
        let running = match entry.offer() {
            Some(Offer { worker, seq }) => {
                let seq = seq.get();
                if state.workers[worker].is_abandoned {
                    continue;
                }
                let slot = &mut state.workers[worker];
                match slot.host_side.running() {
                    Some((running, _, started_ns)) if running == seq => {
                        Some(Duration::from_nanos(now_ns.saturating_sub(started_ns)))
                    }
                    // The worker may have been stopped before it started the task: without this
                    // the task would never time out. Waking up is not part of the task's time.
                    _ => match slot.waiting_since(now) {
                        Some((Waiting::ToStart { seq: next, is_ready: true }, since))
                            if next == seq =>
                        {
                            let waited = now.saturating_duration_since(since);
                            Some(waited.saturating_sub(WAKE_TIMEOUT))
                        }
                        _ => None,
                    },
                }
            }
            None => None,
        };
        match running {
            Some(ran) if ran >= timeout => {
                state.kill_task(id, RetireCause::TimedOut(id, timeout));
                // If it had not started it goes to another worker now, with its full timeout.
                sooner(now + timeout);
            }
            Some(ran) => sooner(now + (timeout - ran)),
            // It has not started, so it cannot time out before this.
            None => sooner(now + timeout),
        }
    }
    next
}

/// Handles the messages of one worker for its pool.
pub(crate) struct LinkToWorker {
    pub(crate) core: Weak<Core>,
    pub(crate) index: usize,
    pub(crate) incarnation: u64,
}

impl LinkOwner for LinkToWorker {
    fn grant(&self, seq: u64, len: u64) -> Option<u64> {
        let core = self.core.upgrade()?;
        let span = core.arena.reserve(usize::try_from(len).ok()?, Contents::Stale).ok()?;
        let offset = span.offset();
        let mut state = core.lock();
        let slot = state.workers.get_mut(self.index)?;
        // A slot without a worker keeps the number of its last one, whose grants were freed.
        let is_its = slot.incarnation == self.incarnation && slot.has_worker();
        (is_its && slot.granted.add(seq, span)).then_some(offset)
    }

    fn closed(&self) {
        if let Some(core) = self.core.upgrade() {
            core.link_closed(self.index, self.incarnation);
        }
    }

    fn stalled(&self) {
        let Some(core) = self.core.upgrade() else { return };
        let mut state = core.lock();
        let slot = state.workers.get_mut(self.index);
        if let Some(slot) = slot.filter(|slot| slot.incarnation == self.incarnation) {
            slot.kill();
            core.watch_exits(&mut state);
        }
    }
}

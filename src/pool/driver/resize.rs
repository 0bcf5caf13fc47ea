//! The number of workers: resizing, retiring idle workers, restarting them.

use std::sync::atomic::Ordering;
use std::time::Instant;

use tracing::Level;

use crate::error::Result;
use crate::pool::driver::core::Core;
use crate::pool::record::progress_clock::Waiting;
use crate::pool::record::state::{Lifecycle, State};
use crate::pool::record::worker_slot::{RetireCause, WorkerSlot, WorkerState};

impl State {
    /// The number of workers that take offers, dormant ones included.
    pub(crate) fn available_workers(&self) -> usize {
        self.workers.iter().filter(|slot| slot.takes_offers() || slot.is_dormant()).count()
    }

    /// Whether a worker may be started: there are, or may still come, tasks to run.
    pub(crate) fn may_start(&self) -> bool {
        match self.life {
            Lifecycle::Open => true,
            Lifecycle::Draining => self.unfinished > 0,
            Lifecycle::Stopping | Lifecycle::Closed | Lifecycle::Broken(_) => false,
        }
    }

    /// Counts the dormant workers again.
    pub(crate) fn count_dormant(&mut self) {
        self.dormant = self.workers.iter().filter(|slot| slot.is_dormant()).count();
    }

    /// Retires workers until no more than `target` are available.
    fn shrink(&mut self) {
        while self.available_workers() > self.target {
            // Dormant workers first, then those with the fewest tasks; among equals the last.
            let workers = self.workers.iter().enumerate().rev();
            let least = workers
                .filter(|(_, slot)| slot.takes_offers() || slot.is_dormant())
                .min_by_key(|(_, slot)| (!slot.is_dormant(), slot.host_side.live()));
            let Some((index, _)) = least else { return };
            match self.workers[index].state {
                WorkerState::Dormant => self.workers[index].state = WorkerState::Vacant,
                WorkerState::Retiring(_) => {
                    self.workers[index].state = WorkerState::Retiring(RetireCause::Surplus);
                }
                _ => {
                    self.retire(index, RetireCause::Surplus);
                    self.workers[index].host_side.stop();
                }
            }
        }
        self.count_dormant();
    }

    /// Keeps a worker that was asked to leave as idle or surplus. If it has left already, that is
    /// handled like any other exit, and its later offers go to other workers.
    fn keep(&mut self, index: usize) {
        let slot = &mut self.workers[index];
        let has_process = slot.child.is_some();
        slot.state = if has_process { WorkerState::Running } else { WorkerState::Starting };
        slot.clock.reset();
        slot.host_side.cancel_stop();
    }

    /// The empty slots: those with tasks that wait for a worker first.
    pub(crate) fn vacant(&self) -> Vec<usize> {
        let all = 0..self.workers.len();
        let is_vacant = |index: &usize| self.workers[*index].state == WorkerState::Vacant;
        let mut found: Vec<usize> = all.filter(is_vacant).collect();
        found.sort_by_key(|&index| self.workers[index].pinned.is_empty());
        found
    }

    pub(crate) fn position(&self, state: WorkerState) -> Option<usize> {
        self.workers.iter().position(|slot| slot.state == state)
    }
}

impl Core {
    pub(crate) fn resize(&self, workers: usize) -> Result<()> {
        let present = self.size.load(Ordering::Relaxed);
        self.config.make_room_for(workers.saturating_sub(present))?;
        let server = self.ensure_server()?;
        let mut state = self.lock();
        self.check_open(&state)?;
        state.target = workers;
        let mut outcome = Ok(());
        while outcome.is_ok() && state.available_workers() < workers {
            if let Some(index) = state.workers.iter().position(WorkerSlot::may_stay) {
                state.keep(index);
                continue;
            }
            let vacant = state.vacant().first().copied();
            outcome = vacant
                .map_or_else(|| self.add_slot(&mut state), Ok)
                .and_then(|index| self.start_worker(&mut state, index, &server));
        }
        if outcome.is_err() {
            state.target = state.available_workers().max(1);
        }
        state.shrink();
        // Relaxed: callers use the number only to size their work.
        self.size.store(state.target, Ordering::Relaxed);
        let target = state.target;
        state.events.defer(Level::DEBUG, move || tracing::debug!(workers = target, "pool resized"));
        state.wake_permit_waiters();
        state.drive();
        self.arm_supervisor(&mut state);
        drop(state);
        self.changed.notify_all();
        outcome
    }

    /// Restarts one worker that left as idle, if there are more tasks than workers.
    #[cold]
    pub(crate) fn restart_dormant(&self, state: &mut State) {
        if state.dormant == 0
            || !state.may_start()
            || state.unfinished <= state.workers.iter().filter(|slot| slot.takes_offers()).count()
        {
            return;
        }
        let leaving = state.position(WorkerState::Retiring(RetireCause::Idle));
        if let Some(index) = leaving.or_else(|| state.position(WorkerState::Dormant)) {
            self.restart(state, index);
        }
    }

    /// Restarts the worker at `index` if it left, or is about to leave, as idle.
    pub(crate) fn restart(&self, state: &mut State, index: usize) {
        match state.workers[index].state {
            WorkerState::Retiring(RetireCause::Idle) => {
                state.keep(index);
                if let Some(timeout) = self.config.idle_timeout {
                    self.schedule_check(state, Instant::now() + timeout);
                }
            }
            WorkerState::Dormant => self.fill(state, index),
            _ => return,
        }
        state.count_dormant();
    }

    /// Retires the workers that were idle for the idle timeout. Returns when to check again.
    pub(crate) fn retire_idle(&self, state: &mut State) -> Option<Instant> {
        let timeout = self.config.idle_timeout?;
        if state.life != Lifecycle::Open {
            return None;
        }
        let (now, mut next) = (Instant::now(), None::<Instant>);
        for index in 0..state.workers.len() {
            let slot = &mut state.workers[index];
            if !slot.takes_offers() {
                continue;
            }
            let since = match slot.waiting_since(now) {
                Some((Waiting::ForTask { .. }, since)) => since,
                _ => now,
            };
            // `timeout` is not zero, so this is false for a worker that is not idle.
            if now.saturating_duration_since(since) >= timeout {
                state.retire(index, RetireCause::Idle);
                state.workers[index].host_side.stop();
                state.events.defer(Level::DEBUG, move || {
                    tracing::debug!(worker = index, "idle worker leaves");
                });
            } else {
                let again = since + timeout;
                next = Some(next.map_or(again, |next| next.min(again)));
            }
        }
        state.count_dormant();
        next
    }
}

//! How many workers there are: resizing, leaving when idle, coming back.

use std::sync::atomic::Ordering;
use std::time::Instant;

use tracing::Level;

use crate::error::Result;
use crate::pool::driver::core::Core;
use crate::pool::record::state::{Lifecycle, State};
use crate::pool::record::worker_slot::{Cause, WorkerState};

impl State {
    /// Workers that take offers, or will when they are called.
    pub(crate) fn available_workers(&self) -> usize {
        self.workers.iter().filter(|slot| slot.takes_offers() || slot.is_dormant()).count()
    }

    /// Whether a worker may be started: there is, or may yet be, something to run.
    pub(crate) fn may_start(&self) -> bool {
        match self.life {
            Lifecycle::Open => true,
            Lifecycle::Draining => self.unfinished > 0,
            Lifecycle::Completion | Lifecycle::Closed | Lifecycle::Broken(_) => false,
        }
    }

    /// Counts the workers that can be called.
    pub(crate) fn count_dormant(&mut self) {
        self.dormant = self.workers.iter().filter(|slot| slot.is_dormant()).count();
    }

    /// Sends workers home until no more than `target` stand.
    fn shrink(&mut self) {
        while self.available_workers() > self.target {
            // The dormant first, then who has least to do; among equals the last.
            let workers = self.workers.iter().enumerate().rev();
            let least = workers
                .filter(|(_, slot)| slot.takes_offers() || slot.is_dormant())
                .min_by_key(|(_, slot)| (!slot.is_dormant(), slot.queues.live()));
            let Some((index, _)) = least else { return };
            match self.workers[index].state {
                WorkerState::Dormant => self.workers[index].state = WorkerState::Vacant,
                WorkerState::Retiring(_) => {
                    self.workers[index].state = WorkerState::Retiring(Cause::Surplus);
                }
                _ => {
                    self.retire(index, Cause::Surplus);
                    self.workers[index].queues.stop();
                }
            }
        }
        self.count_dormant();
    }

    /// Keeps a worker that was told to leave for want of work, or of room. If it has left all the
    /// same, that is as any other end, and what it was offered since goes to others.
    fn keep(&mut self, index: usize) {
        let slot = &mut self.workers[index];
        let has_process = slot.child.is_some();
        slot.state = if has_process { WorkerState::Running } else { WorkerState::Starting };
        slot.idle_since = None;
        slot.queues.cancel_stop();
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
            if let Some(index) = state.position(WorkerState::Retiring(Cause::Surplus)) {
                state.keep(index);
                continue;
            }
            if state.position(WorkerState::Vacant).is_none() {
                outcome = self.add_slot(&mut state).map(drop);
            }
            if let Some(index) = state.position(WorkerState::Vacant) {
                outcome = self.start_worker(&mut state, index, &server);
            }
        }
        if outcome.is_err() {
            state.target = state.available_workers().max(1);
        }
        state.shrink();
        // Relaxed: a number for those who size their work by it.
        self.size.store(state.target, Ordering::Relaxed);
        let target = state.target;
        state.events.defer(Level::DEBUG, move || tracing::debug!(workers = target, "pool resized"));
        state.wake_room();
        state.drive();
        self.arm_supervisor(&mut state);
        drop(state);
        self.changed.notify_all();
        outcome
    }

    /// Has one worker come back that left for want of work, if there are more tasks than workers.
    #[cold]
    pub(crate) fn restart_dormant(&self, state: &mut State) {
        if state.dormant == 0
            || !state.may_start()
            || state.unfinished <= state.workers.iter().filter(|slot| slot.takes_offers()).count()
        {
            return;
        }
        if let Some(index) = state.position(WorkerState::Retiring(Cause::Idle)) {
            state.keep(index);
            if let Some(timeout) = self.config.idle_timeout {
                self.look_at(state, Instant::now() + timeout);
            }
        } else if let Some(index) = state.position(WorkerState::Dormant) {
            self.fill(state, index);
        }
        state.count_dormant();
    }

    /// Sends home who has had nothing to do for long; returns when to look again.
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
            let seq = slot.queues.next_seq();
            // One that runs its initializer has something to do.
            let is_idle = slot.is_idle() && slot.queues.is_ready();
            let since = match slot.idle_since {
                Some((seen, since)) if is_idle && seen == seq => since,
                _ => now,
            };
            slot.idle_since = is_idle.then_some((seq, since));
            if is_idle && now.saturating_duration_since(since) >= timeout {
                state.retire(index, Cause::Idle);
                state.workers[index].queues.stop();
                state.events.defer(Level::DEBUG, move || {
                    tracing::debug!(worker = index, "worker leaves for want of work");
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

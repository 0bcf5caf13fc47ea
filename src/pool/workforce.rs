//! How many workers there are: resizing, leaving when idle, coming back.

use std::sync::atomic::Ordering;
use std::time::Instant;

use tracing::Level;

use crate::error::{Error, Result};
use crate::pool::Pool;
use crate::pool::builder::WORKERS_MAX;
use crate::pool::core::{Core, Start};
use crate::pool::seat::{Cause, Condition};
use crate::pool::state::{Life, State};

impl Pool {
    /// Changes how many workers there are.
    ///
    /// Workers that are no longer wanted, idle ones first, finish the task that they run and leave;
    /// what they had not started goes to others. Workers that stay are not touched, and new ones
    /// are started without waiting for them. No task is lost or run again.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] unless `workers` is 1 to 1024, and in a pool without processes;
    /// [`Error::Closed`] or [`Error::Broken`] if the pool takes no tasks; as
    /// [`PoolBuilder::build`](crate::PoolBuilder::build) if a worker cannot be started: the pool
    /// keeps those it has then.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(1).build()?;
    /// let tasks: Vec<_> = (0..9u8).map(|n| pool.submit(|n: u8| n, n)).collect::<Result<_, _>>()?;
    /// pool.resize(2)?;
    /// assert_eq!(pool.workers(), 2);
    /// for (n, task) in (0..9).zip(tasks) {
    ///     assert_eq!(task.join()?, n);
    /// }
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn resize(&self, workers: usize) -> Result<()> {
        if !(1..=WORKERS_MAX).contains(&workers) {
            return Err(Error::invalid("the number of workers", workers, "1 to 1024"));
        }
        if self.core.config.start == Start::InProcess {
            return Err(Error::invalid("resize", "called", "asked of a pool that has workers"));
        }
        self.core.check_ours()?;
        self.core.resize(workers)
    }
}

impl State {
    /// Workers that take offers, or will when they are called.
    pub(super) fn standing(&self) -> usize {
        self.seats.iter().filter(|seat| seat.takes_offers() || seat.is_dormant()).count()
    }

    /// Whether a worker may be started: there is, or may yet be, something to run.
    pub(super) fn may_start(&self) -> bool {
        match self.life {
            Life::Open => true,
            Life::Draining => self.unfinished > 0,
            Life::Ending | Life::Closed | Life::Broken(_) => false,
        }
    }

    /// Counts the workers that can be called.
    pub(super) fn count_dormant(&mut self) {
        self.dormant = self.seats.iter().filter(|seat| seat.is_dormant()).count();
    }

    /// Sends workers home until no more than `target` stand.
    fn shrink(&mut self) {
        while self.standing() > self.target {
            // The dormant first, then who has least to do; among equals the last.
            let seats = self.seats.iter().enumerate().rev();
            let least = seats
                .filter(|(_, seat)| seat.takes_offers() || seat.is_dormant())
                .min_by_key(|(_, seat)| (!seat.is_dormant(), seat.lane.live()));
            let Some((index, _)) = least else { return };
            match self.seats[index].condition {
                Condition::Dormant => self.seats[index].condition = Condition::Vacant,
                Condition::Condemned(_) => {
                    self.seats[index].condition = Condition::Condemned(Cause::Surplus);
                }
                _ => {
                    self.condemn(index, Cause::Surplus);
                    self.seats[index].lane.stop();
                }
            }
        }
        self.count_dormant();
    }

    /// Keeps a worker that was told to leave for want of work, or of room. If it has left all the
    /// same, that is as any other end, and what it was offered since goes to others.
    fn keep(&mut self, index: usize) {
        let seat = &mut self.seats[index];
        let has_process = seat.child.is_some();
        seat.condition = if has_process { Condition::Running } else { Condition::Starting };
        seat.quiet = None;
        seat.lane.unstop();
    }

    pub(super) fn position(&self, condition: Condition) -> Option<usize> {
        self.seats.iter().position(|seat| seat.condition == condition)
    }
}

impl Core {
    fn resize(&self, workers: usize) -> Result<()> {
        let present = self.size.load(Ordering::Relaxed);
        self.config.make_room_for(workers.saturating_sub(present))?;
        let server = self.running_server()?;
        let mut state = self.lock();
        self.check_open(&state)?;
        state.target = workers;
        let mut outcome = Ok(());
        while outcome.is_ok() && state.standing() < workers {
            if let Some(index) = state.position(Condition::Condemned(Cause::Surplus)) {
                state.keep(index);
                continue;
            }
            if state.position(Condition::Vacant).is_none() {
                outcome = self.add_seat(&mut state).map(drop);
            }
            if let Some(index) = state.position(Condition::Vacant) {
                outcome = self.start_worker(&mut state, index, &server);
            }
        }
        if outcome.is_err() {
            state.target = state.standing().max(1);
        }
        state.shrink();
        // Relaxed: a number for those who size their work by it.
        self.size.store(state.target, Ordering::Relaxed);
        let target = state.target;
        state.noted.note(Level::DEBUG, move || tracing::debug!(workers = target, "pool resized"));
        state.wake_room();
        state.drive();
        self.arm_supervisor(&mut state);
        drop(state);
        self.changed.notify_all();
        outcome
    }

    /// Has one worker come back that left for want of work, if there are more tasks than workers.
    #[cold]
    pub(super) fn call_up(&self, state: &mut State) {
        if state.dormant == 0
            || !state.may_start()
            || state.unfinished <= state.seats.iter().filter(|seat| seat.takes_offers()).count()
        {
            return;
        }
        if let Some(index) = state.position(Condition::Condemned(Cause::Idle)) {
            state.keep(index);
            if let Some(timeout) = self.config.idle_timeout {
                self.look_at(state, Instant::now() + timeout);
            }
        } else if let Some(index) = state.position(Condition::Dormant) {
            self.fill(state, index);
        }
        state.count_dormant();
    }

    /// Sends home who has had nothing to do for long; returns when to look again.
    pub(super) fn dismiss_idle(&self, state: &mut State) -> Option<Instant> {
        let timeout = self.config.idle_timeout?;
        if state.life != Life::Open {
            return None;
        }
        let (now, mut next) = (Instant::now(), None::<Instant>);
        for index in 0..state.seats.len() {
            let seat = &mut state.seats[index];
            if !seat.takes_offers() {
                continue;
            }
            let seq = seat.lane.next_seq();
            // One that runs its initializer has something to do.
            let is_idle = seat.is_idle() && seat.lane.is_ready();
            let since = match seat.quiet {
                Some((seen, since)) if is_idle && seen == seq => since,
                _ => now,
            };
            seat.quiet = is_idle.then_some((seq, since));
            if is_idle && now.saturating_duration_since(since) >= timeout {
                state.condemn(index, Cause::Idle);
                state.seats[index].lane.stop();
                state.noted.note(Level::DEBUG, move || {
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

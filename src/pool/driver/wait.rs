//! How threads wait for tasks. A waiting thread drives the pool.
#![allow(unsafe_code)]

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::pool::driver::core::Core;
use crate::pool::driver::core::WAKE_TIMEOUT;
use crate::pool::record::listener::Listener;
use crate::pool::record::outcome::{Outcome, cancelled};
use crate::pool::record::state::{State, WaitTarget};
use crate::pool::record::state_guard::StateGuard;
use crate::pool::record::worker_slot::{WorkerSlot, WorkerState};
use crate::sys::thread_parker::ThreadParker;
use crate::worker::backoff;
use crate::worker::call::TaskId;
use crate::worker::host_side::PendingCommit;
use crate::worker::wakeup::{Driver, DriverWord};

/// How long a joining thread spins before it sleeps, after the last progress that it saw.
const JOIN_SPIN: Duration = Duration::from_micros(500);
/// The same where spinning uses up a processor quota.
const JOIN_SPIN_SHORT: Duration = Duration::from_micros(50);

/// How long a worker may leave a task unstarted before it goes to an idle worker.
const START_TIMEOUT: Duration = Duration::from_millis(50);

/// The longest time between two checks of the workers while a thread waits for them. A worker that
/// has overwritten the words that it needs for ringing does not ring.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// How long until the workers are to be checked again.
fn next_check(state: &mut State) -> Duration {
    if state.has_unstarted() { START_TIMEOUT } else { CHECK_INTERVAL }
}

impl Core {
    /// Waits until `poll` returns a value, and drives meanwhile; `None` after `deadline`.
    ///
    /// `poll` is called under the mutex, after every step. `target` says what it waits for.
    #[inline]
    pub(crate) fn wait<T>(
        &self,
        deadline: Option<Instant>,
        target: WaitTarget<'_>,
        mut poll: impl FnMut(&mut State) -> Option<T>,
    ) -> Option<T> {
        let now = poll(&mut self.lock());
        if now.is_some() { now } else { self.wait_on(deadline, target, poll) }
    }

    /// Waits for a task until `deadline`, and takes its outcome. This thread emits the log records
    /// that are due if it `may_wait`.
    pub(crate) fn outcome(
        &self,
        id: TaskId,
        deadline: Option<Instant>,
        may_wait: bool,
    ) -> Option<Outcome> {
        self.wait(deadline, WaitTarget::Tasks(&[id]), |state| match may_wait {
            true => Core::take_with_logs(state, id),
            false => Core::take(state, id),
        })
    }

    /// The slow path of [`wait`](Core::wait).
    fn wait_on<T>(
        &self,
        deadline: Option<Instant>,
        target: WaitTarget<'_>,
        mut poll: impl FnMut(&mut State) -> Option<T>,
    ) -> Option<T> {
        let spin = if self.config.spin_short { JOIN_SPIN_SHORT } else { JOIN_SPIN };
        let mut progressed = true;
        loop {
            let mut state = self.lock();
            state.drive();
            if let Some(value) = poll(&mut state) {
                self.hand_over(state);
                return Some(value);
            }
            if deadline.is_some_and(|at| Instant::now() >= at) {
                self.hand_over(state);
                return None;
            }
            if progressed {
                progressed = self.spin(state, spin, deadline);
            } else {
                self.sleep(state, target, deadline);
                progressed = true;
            }
        }
    }

    /// Spins until a result is committed or another thread has driven; false if neither happened
    /// within `budget`.
    fn spin(&self, state: StateGuard<'_>, budget: Duration, end: Option<Instant>) -> bool {
        let next: Vec<PendingCommit> =
            state.workers.iter().filter_map(|slot| slot.host_side.pending_commit()).collect();
        if !state.queue.is_empty() && !state.joiner_sleeps {
            // Workers need not ring while this thread spins.
            state.control.driver().set(Driver::Awake);
        }
        let turn = self.driver_turns.load(Ordering::Relaxed);
        drop(state);
        let left = end.map_or(budget, |end| end.saturating_duration_since(Instant::now()));
        backoff::spin(budget.min(left), || {
            // Relaxed: what has changed is under the mutex.
            self.driver_turns.load(Ordering::Relaxed) != turn
                || next.iter().any(PendingCommit::is_committed)
        })
    }

    /// Sleeps until there may be something to do for `target`, or until `deadline`.
    fn sleep<'a>(
        &'a self,
        mut state: StateGuard<'a>,
        target: WaitTarget<'_>,
        deadline: Option<Instant>,
    ) {
        let left = || deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let me = ThreadParker::new();
        self.add_listeners(&mut state, target, &me);
        state.retire_corrupt();
        self.watch_exits(&mut state);
        if state.joiner_sleeps {
            state.waiting.push(me.clone());
            let sleeper = state.control.driver().get();
            if sleeper != Driver::Awake && !state.arm(sleeper) {
                self.wake_driver(&state, sleeper);
            }
            drop(state);
            me.wait_until(deadline);
            let mut state = self.lock();
            state.waiting.retain(|waiter| !waiter.is_same(&me));
            self.remove_listeners(&mut state, target, &me);
            return;
        }
        state.joiner_sleeps = true;
        let word: *const DriverWord = state.control.driver();
        if state.arm(Driver::Joiner) {
            let slice = Some(next_check(&mut state));
            drop(state);
            // SAFETY: the control block lives as long as the state, and that as long as `self`.
            let word = unsafe { &*word };
            word.sleep(left().into_iter().chain(slice).min());
            state = self.lock();
            state.recall_unstarted(START_TIMEOUT);
        }
        state.joiner_sleeps = false;
        state.control.driver().set(Driver::Awake);
        self.remove_listeners(&mut state, target, &me);
    }

    /// Makes the supervisor check that the tasks with listeners are started. No thread drives for
    /// them, so only the supervisor can notice a worker that was stopped while idle.
    pub(crate) fn watch_start(&self, state: &mut State) {
        if state.unfinished > 0 {
            let soon = next_check(state);
            self.schedule_check(state, Instant::now() + soon);
        }
        self.watch_exits(state);
        self.rearm(state);
    }

    /// Makes the supervisor check that retiring and killed workers end soon: their replacements
    /// start only then.
    pub(crate) fn watch_exits(&self, state: &mut State) {
        let is_leaving = |slot: &WorkerSlot| {
            let is_retiring = matches!(slot.state, WorkerState::Retiring(_));
            (is_retiring || slot.killed_at.is_some()) && slot.is_occupied()
        };
        if state.workers.iter().any(is_leaving) {
            self.schedule_check(state, Instant::now() + WAKE_TIMEOUT);
        }
    }

    /// Recalls the tasks that workers have not started in time. Returns when to check again.
    pub(crate) fn recall_stalled(&self, state: &mut State) -> Option<Instant> {
        if state.listeners == 0 && !state.is_permit_awaited() {
            return None;
        }
        state.recall_unstarted(START_TIMEOUT);
        (state.unfinished > 0).then(|| Instant::now() + next_check(state))
    }

    fn add_listeners(&self, state: &mut State, target: WaitTarget<'_>, me: &ThreadParker) {
        match target {
            WaitTarget::All => state.waiting_for_all += 1,
            WaitTarget::Permit => state.waiting_for_permit += 1,
            WaitTarget::WaitSet(queue) => queue.set_waiter(Some(me.clone())),
            WaitTarget::Tasks(tasks) => {
                for &id in tasks {
                    state.listen(id, Listener::Thread(me.clone()));
                }
            }
        }
    }

    fn remove_listeners(&self, state: &mut State, target: WaitTarget<'_>, me: &ThreadParker) {
        match target {
            WaitTarget::All => state.waiting_for_all -= 1,
            WaitTarget::Permit => state.waiting_for_permit -= 1,
            WaitTarget::WaitSet(queue) => queue.set_waiter(None),
            WaitTarget::Tasks(tasks) => {
                for &id in tasks {
                    state.unlisten_thread(id, me);
                }
            }
        }
    }

    /// Passes the role of the driver to another joining thread, else to the supervisor.
    fn hand_over(&self, mut state: StateGuard<'_>) {
        if state.joiner_sleeps || !state.needs_rings() {
            return;
        }
        if let Some(next) = state.waiting.pop() {
            next.wake();
            return;
        }
        self.arm_supervisor(&mut state);
    }

    /// Makes the workers ring the supervisor from now on, unless a joining thread sleeps. In
    /// that case it wakes the joining thread: this thread may have offered tasks that the other has
    /// not seen, or a worker may have died after it changed the driver word and before it woke a
    /// thread.
    pub(crate) fn arm_supervisor(&self, state: &mut State) {
        // Relaxed: a hint for a spinning thread, whose queue pairs may be outdated.
        self.driver_turns.fetch_add(1, Ordering::Relaxed);
        self.watch_exits(state);
        if state.joiner_sleeps {
            state.wake_sleeping_joiner();
            return;
        }
        if !state.arm(Driver::Supervisor) {
            self.doorbell.ring();
        }
    }

    /// Arms the sleeping driver again after a change, or wakes it.
    pub(crate) fn rearm(&self, state: &mut State) {
        let sleeper = state.control.driver().get();
        if sleeper != Driver::Awake && !state.arm(sleeper) {
            self.wake_driver(state, sleeper);
        }
    }

    fn wake_driver(&self, state: &State, sleeper: Driver) {
        match sleeper {
            Driver::Joiner => state.control.driver().wake_joiner_anyway(),
            Driver::Supervisor => self.doorbell.ring(),
            Driver::Awake => {}
        }
    }

    /// Detaches a task whose outcome is not wanted. It still runs.
    pub(crate) fn detach(&self, id: TaskId) {
        if !self.is_ours() {
            return;
        }
        let mut state = self.lock();
        let Some(entry) = state.tasks.get_mut(id) else { return };
        entry.detached = true;
        if entry.is_done() {
            state.tasks.remove(id);
        }
    }

    /// Like [`take`](Core::take). This thread emits the log records that are due when it has
    /// released the mutex: only for a caller that may wait.
    #[inline]
    pub(crate) fn take_with_logs(state: &mut State, id: TaskId) -> Option<Outcome> {
        let outcome = Core::take(state, id)?;
        state.emit_due_logs();
        Some(outcome)
    }

    /// Takes the outcome of a task that is done, and removes the task.
    #[inline]
    pub(crate) fn take(state: &mut State, id: TaskId) -> Option<Outcome> {
        if state.tasks.get(id).is_none() {
            return Some(Err(cancelled()));
        }
        state.tasks.take(id)
    }
}

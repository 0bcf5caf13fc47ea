//! How threads wait for tasks.
//!
//! Who waits, drives; who leaves, hands over.
#![allow(unsafe_code)]

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::pool::driver::core::Core;
use crate::pool::driver::core::WAKE;
use crate::pool::record::listener::Listener;
use crate::pool::record::outcome::{Outcome, cancelled};
use crate::pool::record::state::{State, WaitTarget};
use crate::pool::record::state_guard::StateGuard;
use crate::pool::record::worker_slot::{WorkerSlot, WorkerState};
use crate::sys::thread_parker::Waiter;
use crate::worker::backoff;
use crate::worker::call::TaskId;
use crate::worker::host_side::PendingCommit;
use crate::worker::wakeup::{Driver, DriverWord};

/// How long a joining thread yields before it sleeps, after the last progress it saw.
const JOIN_SPIN: Duration = Duration::from_micros(500);
/// The same where spinning eats a quota.
const JOIN_SPIN_SHORT: Duration = Duration::from_micros(50);

/// How long a worker may leave a task unstarted before another that is idle gets it.
const BEGIN: Duration = Duration::from_millis(50);

/// How long nobody looks at the workers at most while somebody waits for them: one that has written
/// over the words by which it rings, or sleeps, does not ring.
const LOOK: Duration = Duration::from_secs(1);

impl Core {
    /// Waits until `poll` returns a value, driving meanwhile; `None` after `deadline`.
    ///
    /// `poll` is asked under the mutex, after every step; what it waits for is in `watch`.
    #[inline]
    pub(crate) fn wait<T>(
        &self,
        deadline: Option<Instant>,
        watch: WaitTarget<'_>,
        mut poll: impl FnMut(&mut State) -> Option<T>,
    ) -> Option<T> {
        let now = poll(&mut self.lock());
        if now.is_some() { now } else { self.wait_on(deadline, watch, poll) }
    }

    /// The same for what is not there yet.
    fn wait_on<T>(
        &self,
        deadline: Option<Instant>,
        watch: WaitTarget<'_>,
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
                self.sleep(state, watch, deadline);
                progressed = true;
            }
        }
    }

    /// Spins until a result is committed, or somebody else has had a turn; false if neither
    /// happened for as long as `budget`.
    fn spin(&self, state: StateGuard<'_>, budget: Duration, end: Option<Instant>) -> bool {
        let next: Vec<PendingCommit> =
            state.workers.iter().filter_map(|slot| slot.queues.pending_commit()).collect();
        if !state.queue.is_empty() && !state.joiner_sleeps {
            // Nobody needs to ring while this thread looks.
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

    /// Sleeps until there may be something to do for `watch`, or until `deadline`.
    fn sleep<'a>(
        &'a self,
        mut state: StateGuard<'a>,
        watch: WaitTarget<'_>,
        deadline: Option<Instant>,
    ) {
        let left = || deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let me = Waiter::new();
        self.start_watching(&mut state, watch, &me);
        state.retire_corrupt();
        self.watch_exits(&mut state);
        if state.joiner_sleeps {
            state.waiting.push(me.clone());
            let whom = state.control.driver().get();
            if whom != Driver::Awake && !state.arm(whom) {
                self.wake_driver(&state, whom);
            }
            drop(state);
            me.wait_until(deadline);
            let mut state = self.lock();
            state.waiting.retain(|waiter| !waiter.is(&me));
            self.stop_watching(&mut state, watch, &me);
            return;
        }
        state.joiner_sleeps = true;
        let word: *const DriverWord = state.control.driver();
        if state.arm(Driver::Joiner) {
            let unstarted = state.unstarted();
            let slice = Some(if unstarted.is_empty() { LOOK } else { BEGIN });
            let asleep = Instant::now();
            drop(state);
            // SAFETY: the control block lives as long as the state, and that as long as `self`.
            let word = unsafe { &*word };
            word.sleep(left().into_iter().chain(slice).min());
            state = self.lock();
            if asleep.elapsed() >= BEGIN {
                state.recall_unstarted(&unstarted);
            }
        }
        state.joiner_sleeps = false;
        state.control.driver().set(Driver::Awake);
        self.stop_watching(&mut state, watch, &me);
    }

    /// Has the supervisor see to it that the tasks that somebody listens to begin: no thread of
    /// theirs drives, so nobody else would notice a worker that was stopped while idle.
    pub(crate) fn watch_start(&self, state: &mut State) {
        if state.unfinished > 0 {
            let soon = if state.unstarted().is_empty() { LOOK } else { BEGIN };
            self.look_at(state, Instant::now() + soon);
        }
        self.watch_exits(state);
        self.rearm(state);
    }

    /// Has the supervisor see to it that workers that are to leave, or were killed, are gone soon:
    /// others can do their work only when they are.
    pub(crate) fn watch_exits(&self, state: &mut State) {
        let is_leaving = |slot: &WorkerSlot| {
            let is_retiring = matches!(slot.state, WorkerState::Retiring(_));
            (is_retiring || slot.killed_at.is_some()) && slot.is_occupied()
        };
        if state.workers.iter().any(is_leaving) {
            self.look_at(state, Instant::now() + WAKE);
        }
    }

    /// Takes back what workers have still not begun since the last look; when to look again.
    pub(crate) fn recall_stalled(&self, state: &mut State) -> Option<Instant> {
        let before = std::mem::take(&mut state.unstarted);
        if state.listeners == 0 {
            return None;
        }
        state.recall_unstarted(&before);
        state.unstarted = state.unstarted();
        let soon = if state.unstarted.is_empty() { LOOK } else { BEGIN };
        (state.unfinished > 0).then(|| Instant::now() + soon)
    }

    fn start_watching(&self, state: &mut State, watch: WaitTarget<'_>, me: &Waiter) {
        match watch {
            WaitTarget::All => state.waiting_for_all += 1,
            WaitTarget::Room => state.waiting_for_room += 1,
            WaitTarget::WaitSet(queue) => queue.set_waiter(Some(me.clone())),
            WaitTarget::Tasks(tasks) => {
                for &id in tasks {
                    state.listen(id, Listener::Thread(me.clone()));
                }
            }
        }
    }

    fn stop_watching(&self, state: &mut State, watch: WaitTarget<'_>, me: &Waiter) {
        match watch {
            WaitTarget::All => state.waiting_for_all -= 1,
            WaitTarget::Room => state.waiting_for_room -= 1,
            WaitTarget::WaitSet(queue) => queue.set_waiter(None),
            WaitTarget::Tasks(tasks) => {
                for &id in tasks {
                    state.unlisten_thread(id, me);
                }
            }
        }
    }

    /// Hands the driver's role on: to another joining thread, else to the supervisor.
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

    /// Has the workers ring the supervisor from now on, unless a joining thread sleeps: that is
    /// woken then, to look at what this thread has changed. Tasks may have been offered of which
    /// it does not know, and a worker may have died between changing the driver word and waking.
    pub(crate) fn arm_supervisor(&self, state: &mut State) {
        // Relaxed: a hint for who spins, on queue pairs that may be no more.
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

    /// Makes whoever sleeps as driver hear of what has just changed.
    pub(crate) fn rearm(&self, state: &mut State) {
        let whom = state.control.driver().get();
        if whom != Driver::Awake && !state.arm(whom) {
            self.wake_driver(state, whom);
        }
    }

    fn wake_driver(&self, state: &State, whom: Driver) {
        match whom {
            Driver::Joiner => state.control.driver().wake_joiner_anyway(),
            Driver::Supervisor => self.doorbell.ring(),
            Driver::Awake => {}
        }
    }

    /// Gives up a task whose outcome nobody wants; it runs all the same.
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

    /// Takes the outcome of a task that is done, and forgets the task.
    #[inline]
    pub(crate) fn take(state: &mut State, id: TaskId) -> Option<Outcome> {
        if state.tasks.get(id).is_none() {
            return Some(Err(cancelled()));
        }
        state.tasks.take(id)
    }
}

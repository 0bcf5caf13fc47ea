//! What pool, handles and supervisor share.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use crate::array::handoff;
use crate::error::{Error, Result, TaskError};
use crate::pool::backoff;
use crate::pool::board::HostBoard;
use crate::pool::host_lane::HostLane;
use crate::pool::in_process;
use crate::pool::job::{self, Trampoline};
use crate::pool::lane::driver;
use crate::pool::state::{Cause, Condition, Life, Seat, State, Watch};
use crate::pool::supervise::{Bell, WorkerSocket};
use crate::pool::task::{Call, Outcome, Rules, TaskId, Whereabouts, cancelled};
use crate::pool::worker::{self, Charter};
use crate::process::events::{Supervisor, Token};
use crate::process::function::FunctionOffset;
use crate::process::launch::{ForkServer, Order};
use crate::region::arena::{Arena, Contents, Span};
use crate::sys::socket::Socket;
use crate::sys::{futex, process};

/// How tasks are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Start {
    /// In workers that a fork server forks: a crash costs one task.
    #[default]
    ForkServer,
    /// In the calling thread, at once, inside `submit`: for debugging. Nothing can be killed or
    /// timed out, and a crash is the program's own.
    InProcess,
}

/// What every worker of a pool is started with.
#[derive(Debug, Clone, Default)]
pub(super) struct Config {
    pub(super) start: Start,
    pub(super) workers: usize,
    pub(super) name: String,
    pub(super) grace: Duration,
    pub(super) rules: Rules,
    pub(super) initializer: Option<(u64, Vec<u8>)>,
    pub(super) tasks_max: Option<u64>,
    pub(super) memory_soft_bytes: Option<u64>,
    pub(super) memory_hard_bytes: Option<u64>,
    pub(super) env: BTreeMap<String, String>,
    pub(super) nice: Option<i32>,
    pub(super) pin: Option<Vec<usize>>,
    pub(super) spin_short: bool,
}

/// Submits to a full pool between two looks at what its workers have finished.
const SUBMITS_PER_LOOK: usize = 16;
/// How long a joining thread yields before it sleeps, after the last progress it saw.
const JOIN_SPIN: Duration = Duration::from_micros(500);
/// The same where spinning eats a quota.
const JOIN_SPIN_SHORT: Duration = Duration::from_micros(50);

/// Bytes of encoding buffer that a submitting thread keeps.
const SCRATCH_BYTES_MAX: usize = 64 << 10;

thread_local! {
    /// Where arguments are encoded before they are put where they belong.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A pool without its user's face.
pub(crate) struct Core {
    pid: u32,
    pub(super) config: Config,
    pub(super) arena: Arc<Arena>,
    supervisor: Arc<Supervisor>,
    server: Mutex<Option<Arc<ForkServer>>>,
    pub(super) bell: Arc<Bell>,
    bell_token: Token,
    state: Mutex<State>,
    /// Told when a worker starts or ends.
    pub(super) changed: Condvar,
    own: Weak<Core>,
    last_call: AtomicU64,
}

impl Core {
    /// A pool with all its workers forked.
    pub(super) fn start(config: Config) -> Result<Arc<Core>> {
        let arena = Arena::host()?;
        let supervisor = Supervisor::current()?;
        let server = match config.start {
            Start::ForkServer => Some(ForkServer::current()?),
            Start::InProcess => None,
        };
        let state = State::new(HostBoard::new(&arena)?);
        state.board.set_driver(driver::SUPERVISOR);
        let bell = Arc::new(Bell::new()?);
        let bell_token = supervisor.add(Arc::clone(&bell) as _)?;
        let core = Arc::new_cyclic(|own: &Weak<Core>| {
            bell.set_core(own.clone());
            Core {
                pid: process::pid(),
                config,
                arena,
                supervisor,
                server: Mutex::new(server),
                bell,
                bell_token,
                state: Mutex::new(state),
                changed: Condvar::new(),
                own: own.clone(),
                last_call: AtomicU64::new(0),
            }
        });
        core.start_workers()?;
        Ok(core)
    }

    /// Asks for all workers and waits until they are forked.
    fn start_workers(&self) -> Result<()> {
        if self.config.start == Start::InProcess {
            return Ok(());
        }
        let mut state = self.lock();
        let started = (0..self.config.workers).try_for_each(|index| {
            state.seats.push(Seat {
                condition: Condition::Vacant,
                lane: HostLane::new(&self.arena)?,
                incarnation: 0,
                pid: 0,
                pidfd: None,
                socket: None,
                granted: Vec::new(),
                charter: None,
                strikes: 0,
            });
            self.start_worker(&mut state, index)
        });
        let failed = |state: &State| match &state.life {
            Life::Broken(cause) => Some(cause.clone()),
            _ => state.vacancy.clone(),
        };
        while started.is_ok()
            && failed(&state).is_none()
            && state.seats.iter().any(|seat| seat.condition == Condition::Starting)
        {
            state = self.wait_changed(state, None);
        }
        let cause = failed(&state);
        drop(state);
        if let Err(error) = started {
            self.end(Duration::ZERO);
            return Err(error);
        }
        if let Some(reason) = cause {
            self.end(Duration::ZERO);
            return Err(Error::Spawn { what: "a worker", reason });
        }
        Ok(())
    }

    /// Asks the fork server for a worker at `index`, with a lane of its own.
    pub(super) fn start_worker(&self, state: &mut State, index: usize) -> Result<()> {
        let server = self.running_server()?;
        let lane = HostLane::new(&self.arena)?;
        let config = &self.config;
        let charter = Charter {
            index,
            lane: lane.offset(),
            board: state.board.offset(),
            depth: worker::depth() + 1,
            initializer: config.initializer.clone(),
            tasks_max: config.tasks_max,
            memory_soft_bytes: config.memory_soft_bytes,
            memory_hard_bytes: config.memory_hard_bytes,
            env: config.env.clone(),
            nice: config.nice,
            affinity: config.pin.as_ref().map(|cpus| vec![cpus[index % cpus.len()]]),
            spin_short: config.spin_short,
        };
        let mut bytes = Vec::new();
        job::encode_onto(&mut bytes, &charter).map_err(|reason| {
            Error::invalid("the pool's configuration", reason, "values that can be encoded")
        })?;
        let span = self.arena.reserve(bytes.len().max(1), Contents::Stale)?;
        span.store(&bytes);
        let os = |call, error| Error::os(call, "a worker's socket", error);
        let (ours, theirs) = Socket::pair().map_err(|e| os("socketpair", e))?;
        let incarnation = state.seats[index].incarnation + 1;
        let socket = Arc::new(WorkerSocket::new(ours, self.own.clone(), index, incarnation));
        let token = self.supervisor.add(Arc::clone(&socket) as _)?;
        let order = Order {
            entry: worker::main,
            words: worker::words(
                (span.offset(), bytes.len()),
                (self.arena.id(), self.arena.size_bytes()),
            ),
            fds: &[self.arena.fd(), theirs.as_fd(), self.bell.as_fd()],
            name: &format!("{}-{index}", config.name),
        };
        let own = self.own.clone();
        let watcher = move |event| {
            if let Some(core) = own.upgrade() {
                core.child_event(index, incarnation, event);
            }
        };
        if let Err(error) = server.spawn(&order, Box::new(watcher)) {
            self.supervisor.remove(token);
            return Err(error);
        }
        let strikes = state.seats[index].strikes;
        let old = std::mem::replace(
            &mut state.seats[index],
            Seat {
                condition: Condition::Starting,
                lane,
                incarnation,
                pid: 0,
                pidfd: None,
                socket: Some((socket, token)),
                granted: Vec::new(),
                charter: Some(span),
                strikes,
            },
        );
        if let Some((_, token)) = old.socket {
            self.supervisor.remove(token);
        }
        Ok(())
    }

    /// The fork server, started anew if it has died.
    fn running_server(&self) -> Result<Arc<ForkServer>> {
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        match &*server {
            Some(running) if running.is_alive() => Ok(Arc::clone(running)),
            _ => {
                let current = ForkServer::current()?;
                *server = Some(Arc::clone(&current));
                Ok(current)
            }
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under the mutex would be a bug of ours; going on is better than hanging.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a change among the workers, at most until `deadline`.
    pub(super) fn wait_changed<'a>(
        &'a self,
        state: MutexGuard<'a, State>,
        deadline: Option<Instant>,
    ) -> MutexGuard<'a, State> {
        match deadline {
            None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(at) => {
                let left = at.saturating_duration_since(Instant::now());
                self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }

    /// Whether this process made the pool, as against a child that was forked from it.
    pub(super) fn is_ours(&self) -> bool {
        self.pid == process::pid()
    }

    /// A number for a call that several tasks belong to.
    pub(crate) fn next_call(&self) -> u64 {
        // Only distinctness matters.
        self.last_call.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The arena that the pool's arrays and payloads are in.
    pub(crate) fn arena(&self) -> &Arc<Arena> {
        &self.arena
    }

    /// How many workers there are, or may be.
    pub(crate) fn workers(&self) -> usize {
        self.config.workers
    }

    /// The rules that tasks have unless they say otherwise.
    pub(super) fn rules(&self) -> Rules {
        self.config.rules
    }

    /// An error if this pool cannot keep the rules.
    pub(super) fn check(&self, rules: Rules) -> Result<()> {
        match rules.timeout {
            Some(Duration::ZERO) => Err(Error::invalid("the timeout of a task", "0 s", "longer")),
            Some(_) if self.config.start == Start::InProcess => {
                let expected = "left out where tasks have no process that could be killed";
                Err(Error::invalid("the timeout of a task", "set", expected))
            }
            _ => Ok(()),
        }
    }

    /// Submits a call of `trampoline`, whose argument `encode` appends to a buffer.
    pub(super) fn submit(
        &self,
        trampoline: Trampoline,
        name: &'static str,
        rules: Rules,
        encode: impl FnOnce(&mut Vec<u8>) -> std::result::Result<(), String>,
    ) -> Result<TaskId> {
        self.submit_keeping(trampoline, name, rules, None, encode)
    }

    /// The same for an argument that refers to a span, which is kept until the task is over.
    pub(super) fn submit_keeping(
        &self,
        trampoline: Trampoline,
        name: &'static str,
        rules: Rules,
        keeps: Option<Arc<Span>>,
        encode: impl FnOnce(&mut Vec<u8>) -> std::result::Result<(), String>,
    ) -> Result<TaskId> {
        let function = FunctionOffset::of(trampoline as *const ())?;
        let mut bytes = SCRATCH.take();
        bytes.clear();
        let encoded = handoff::encode(|| encode(&mut bytes));
        let ((), leases) = encoded.map_err(|reason| TaskError::Codec {
            what: "argument",
            action: "encoded",
            reason,
        })?;
        let mut call = Call::new(function, name, &bytes, leases, &self.arena)?;
        call.keeps = keeps;
        if self.config.start == Start::InProcess {
            return in_process::submit(self, trampoline, call, &bytes);
        }
        if bytes.capacity() <= SCRATCH_BYTES_MAX {
            SCRATCH.set(bytes);
        }
        self.admit(call, rules)
    }

    fn admit(&self, call: Call, rules: Rules) -> Result<TaskId> {
        let mut state = self.lock();
        self.check_open(&state)?;
        let id = state.tasks.insert(call, rules)?;
        state.unfinished += 1;
        state.counters.submitted += 1;
        if let Some(timeout) = rules.timeout {
            self.look_at(&mut state, Instant::now() + timeout);
        }
        if state.queue.is_empty() {
            if let Some(index) = state.pick() {
                if state.offer(index, id) {
                    state.seats[index].lane.wake();
                    if state.seats[index].lane.live() > 1 {
                        state.board.set_hungry(true);
                    }
                    return Ok(id);
                }
            }
        }
        let had_queue = !state.queue.is_empty();
        state.queue.push_back(id);
        // Workers that run low ring; looking more often would cost more than it hastens.
        if !had_queue || state.queue.len() % SUBMITS_PER_LOOK == 0 {
            state.drive();
            if !state.queue.is_empty() {
                self.rearm(&mut state);
            }
        }
        Ok(id)
    }

    /// An error unless the pool takes tasks.
    pub(super) fn check_open(&self, state: &State) -> Result<()> {
        if !self.is_ours() {
            return Err(Error::Closed { what: "a pool that was made before this process forked" });
        }
        match &state.life {
            Life::Open => Ok(()),
            Life::Draining | Life::Closed => Err(Error::Closed { what: "the pool" }),
            Life::Broken(cause) => Err(Error::Broken { what: "the pool", cause: cause.clone() }),
        }
    }

    /// Makes whoever sleeps as driver hear of what has just changed.
    fn rearm(&self, state: &mut State) {
        let whom = state.board.driver();
        if whom != driver::AWAKE && !state.arm(whom) {
            self.wake_driver(state, whom);
        }
    }

    fn wake_driver(&self, state: &State, whom: u32) {
        if whom == driver::JOINER {
            state.board.set_driver(driver::JOINER);
            state.board.wake_joiner();
        } else {
            self.bell.ring();
        }
    }

    /// Has the supervisor look at timeouts at `at`, or earlier.
    pub(super) fn look_at(&self, state: &mut State, at: Instant) {
        if state.deadline.is_none_or(|deadline| at < deadline) {
            state.deadline = Some(at);
            self.supervisor.set_deadline(self.bell_token, at);
        }
    }

    /// Waits until `poll` returns a value, driving meanwhile; `None` after `deadline`.
    ///
    /// `poll` is asked under the mutex, after every step; what it waits for is in `watch`.
    pub(super) fn wait<T>(
        &self,
        deadline: Option<Instant>,
        watch: Watch<'_>,
        mut poll: impl FnMut(&mut State) -> Option<T>,
    ) -> Option<T> {
        let spin = if self.config.spin_short { JOIN_SPIN_SHORT } else { JOIN_SPIN };
        if let Some(value) = poll(&mut self.lock()) {
            return Some(value);
        }
        let mut progressed = true;
        loop {
            let mut state = self.lock();
            state.drive();
            if let Some(value) = poll(&mut state) {
                self.leave(state);
                return Some(value);
            }
            if deadline.is_some_and(|at| Instant::now() >= at) {
                self.leave(state);
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

    /// Spins until a result is committed; false if none was for as long as `budget`.
    fn spin(&self, state: MutexGuard<'_, State>, budget: Duration, end: Option<Instant>) -> bool {
        let next: Vec<(*const AtomicU64, u64)> =
            state.seats.iter().filter_map(|seat| seat.lane.next_commit()).collect();
        if !state.queue.is_empty() && !state.sleeper {
            // Nobody needs to ring while this thread looks.
            state.board.set_driver(driver::AWAKE);
        }
        drop(state);
        let left = end.map_or(budget, |end| end.saturating_duration_since(Instant::now()));
        backoff::spin(budget.min(left), || {
            next.iter().any(|&(word, seq)| {
                // SAFETY: the word lies in the arena, which stays mapped as long as `self` holds
                // it; if its span has another owner by now, it is still an initialised,
                // aligned word, and what it says is only a hint.
                let word = unsafe { &*word };
                // Relaxed: `drain` looks again.
                word.load(Ordering::Relaxed) == seq
            })
        })
    }

    /// Sleeps until there may be something to do for `watch`, or until `deadline`.
    fn sleep<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        watch: Watch<'_>,
        deadline: Option<Instant>,
    ) {
        let left = || deadline.map(|at| at.saturating_duration_since(Instant::now()));
        self.start_watching(&mut state, watch);
        if state.sleeper {
            let me = thread::current();
            state.waiting.push(me.clone());
            let whom = state.board.driver();
            if whom != driver::AWAKE && !state.arm(whom) {
                self.wake_driver(&state, whom);
            }
            drop(state);
            match left() {
                None => thread::park(),
                Some(left) => thread::park_timeout(left),
            }
            let mut state = self.lock();
            state.waiting.retain(|thread| thread.id() != me.id());
            self.stop_watching(&mut state, watch);
            return;
        }
        state.sleeper = true;
        let word = state.board.driver_word();
        if state.arm(driver::JOINER) {
            let unbegun = state.unbegun();
            let slice = (!unbegun.is_empty()).then_some(BEGIN);
            let asleep = Instant::now();
            drop(state);
            // SAFETY: the board lives as long as the state, and that as long as `self`.
            let word = unsafe { &*word };
            futex::wait(word, driver::JOINER, left().into_iter().chain(slice).min());
            state = self.lock();
            if asleep.elapsed() >= BEGIN {
                state.rescue(&unbegun);
            }
        }
        state.sleeper = false;
        state.board.set_driver(driver::AWAKE);
        self.stop_watching(&mut state, watch);
    }

    fn start_watching(&self, state: &mut State, watch: Watch<'_>) {
        let Watch::Tasks(tasks) = watch else {
            state.watch_all += 1;
            return;
        };
        state.watchers += 1;
        for &id in tasks {
            if let Some(entry) = state.tasks.get_mut(id) {
                entry.watched = true;
                entry.sleepers.push(thread::current());
            }
        }
    }

    fn stop_watching(&self, state: &mut State, watch: Watch<'_>) {
        let Watch::Tasks(tasks) = watch else {
            state.watch_all -= 1;
            return;
        };
        state.watchers -= 1;
        let me = thread::current().id();
        for &id in tasks {
            if let Some(entry) = state.tasks.get_mut(id) {
                entry.sleepers.retain(|thread| thread.id() != me);
                entry.watched = !entry.sleepers.is_empty();
            }
        }
    }

    /// Hands the driver's role on: to another joining thread, else to the supervisor.
    fn leave(&self, mut state: MutexGuard<'_, State>) {
        if state.sleeper || !state.needs_rings() {
            return;
        }
        if let Some(next) = state.waiting.pop() {
            next.unpark();
            return;
        }
        self.arm_supervisor(&mut state);
    }

    /// Has the workers ring the supervisor from now on, unless a joining thread sleeps: that is
    /// woken then, to look at what this thread has changed. Tasks may have been offered of which
    /// it does not know, and a worker may have died between changing the driver word and waking.
    pub(super) fn arm_supervisor(&self, state: &mut State) {
        if state.sleeper {
            state.wake_sleeper();
            return;
        }
        if !state.arm(driver::SUPERVISOR) {
            self.bell.ring();
        }
    }

    /// Ends the pool: waits up to `grace` for tasks that run, then kills. Idempotent.
    pub(super) fn end(&self, grace: Duration) {
        let deadline = Instant::now() + grace;
        {
            let mut state = self.lock();
            if state.life == Life::Closed {
                return;
            }
            if state.life == Life::Open {
                state.life = Life::Draining;
            }
            for id in state.tasks.unfinished() {
                state.cancel(id);
            }
        }
        self.wait(Some(deadline), Watch::All, |state| (state.unfinished == 0).then_some(()));
        let mut state = self.lock();
        for index in 0..state.seats.len() {
            if state.seats[index].lane.live() > 0 || state.unfinished > 0 {
                state.condemn(index, Cause::PoolEnds);
                state.seats[index].kill();
            }
        }
        drop(state);
        self.retire(deadline.max(Instant::now() + LEAVE));
    }

    /// Sends the workers home and waits for them, killing those that linger past `deadline`.
    pub(super) fn retire(&self, deadline: Instant) {
        let mut state = self.lock();
        for index in 0..state.seats.len() {
            state.condemn(index, Cause::Stopped);
            state.seats[index].lane.stop();
        }
        let occupied = |state: &State| state.seats.iter().any(Seat::is_occupied);
        while occupied(&state) && Instant::now() < deadline {
            state = self.wait_changed(state, Some(deadline));
        }
        for seat in &state.seats {
            seat.kill();
        }
        while occupied(&state) {
            state = self.wait_changed(state, None);
        }
        state.life = Life::Closed;
        for id in state.tasks.unfinished() {
            state.complete(id, Err(Box::new(Error::Closed { what: "the pool" })));
        }
        let sockets: Vec<Token> =
            state.seats.iter_mut().filter_map(|seat| Some(seat.socket.take()?.1)).collect();
        drop(state);
        for token in sockets {
            self.supervisor.remove(token);
        }
        self.supervisor.remove(self.bell_token);
        // The last pool's server ends here.
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(server);
    }

    /// Stops listening to a handler.
    pub(super) fn remove_handler(&self, token: Token) {
        self.supervisor.remove(token);
    }

    /// Gives up a task whose outcome nobody wants; it runs all the same.
    pub(super) fn detach(&self, id: TaskId) {
        if !self.is_ours() {
            return;
        }
        let mut state = self.lock();
        let Some(entry) = state.tasks.get_mut(id) else { return };
        entry.detached = true;
        if matches!(entry.place, Whereabouts::Done(_)) {
            state.tasks.remove(id);
        }
    }

    /// Takes the outcome of a task that is done, and forgets the task.
    pub(super) fn take(state: &mut State, id: TaskId) -> Option<Outcome> {
        let Some(entry) = state.tasks.get(id) else { return Some(Err(cancelled())) };
        if !matches!(entry.place, Whereabouts::Done(_)) {
            return None;
        }
        match state.tasks.remove(id)?.place {
            Whereabouts::Done(outcome) => Some(outcome),
            _ => None,
        }
    }
}

/// How long a worker may leave a task unbegun before another that is idle gets it.
const BEGIN: Duration = Duration::from_millis(50);

/// How long workers with nothing to do may take to leave.
const LEAVE: Duration = Duration::from_secs(5);

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").field("config", &self.config).finish_non_exhaustive()
    }
}

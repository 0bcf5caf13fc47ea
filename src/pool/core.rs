//! What pool, handles and supervisor share.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::object::transfer::LeaseList;
use crate::pool::in_process;
use crate::pool::state::{Lifecycle, State};
use crate::pool::state_guard::StateGuard;
use crate::pool::supervise::{Doorbell, LinkToWorker};
use crate::pool::task::Rules;
use crate::pool::worker_slot::{WorkerSlot, WorkerState};
use crate::process::fork_server::ForkServer;
use crate::process::host_snapshot::HostSnapshot;
use crate::process::supervisor::{Supervisor, Token};
use crate::region::arena::{Arena, COLD};
use crate::sys::fork::Instance;
use crate::sys::limits;
use crate::worker::call;
use crate::worker::child::WorkerConfig;
use crate::worker::host_side::HostSide;
use crate::worker::invocation::Trampoline;
use crate::worker::launch::Launch;
use crate::worker::pool_control::HostControl;
use crate::worker::settings::Settings;
use crate::worker::wakeup::Driver;

/// How tasks are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Start {
    /// In workers that a fork server forks: a crash costs one task.
    #[default]
    ForkServer,
    /// In the calling thread, at once, inside `submit`: for debugging. The initializer runs in
    /// `build`. Nothing can be killed, timed out, limited or resized, which are errors, and a crash
    /// is the program's own.
    InProcess,
}

/// What every worker of a pool is started with.
#[derive(Debug, Default)]
pub(super) struct Config {
    pub(super) start: Start,
    pub(super) workers: usize,
    pub(super) name: String,
    pub(super) grace: Duration,
    pub(super) rules: Rules,
    /// The pool's state has it as long as there are workers.
    pub(super) initializer: Option<Initializer>,
    pub(super) tasks_max: Option<u64>,
    pub(super) memory_soft_bytes: Option<u64>,
    pub(super) settings: Settings,
    /// Processors for the workers, in turn.
    pub(super) pin: Option<Vec<usize>>,
    /// `None` where tasks have no processes.
    pub(super) snapshot: Option<HostSnapshot>,
    pub(super) spin_short: bool,
    /// A worker without work for this long leaves.
    pub(super) idle_timeout: Option<Duration>,
    /// How many tasks may be unfinished beyond one for each worker.
    pub(super) queue_limit: Option<usize>,
}

/// What every worker runs first.
#[derive(Debug, Clone)]
pub(super) struct Initializer {
    pub(super) function: Trampoline,
    /// The same for other processes.
    pub(super) word: u64,
    pub(super) encoded: Vec<u8>,
    /// What its argument refers to; every worker, and every later one, may keep it.
    pub(super) leases: Arc<LeaseList>,
}

impl Initializer {
    /// As a worker's configuration has it.
    fn worker_config(&self) -> (u64, usize, Vec<u8>) {
        let mut bytes = call::table(&self.leases);
        bytes.extend_from_slice(&self.encoded);
        (self.word, self.leases.len(), bytes)
    }
}

/// A pool without its user's face.
pub(crate) struct Core {
    made_in: Instance,
    pub(super) config: Config,
    pub(super) arena: Arc<Arena>,
    pub(super) supervisor: Arc<Supervisor>,
    pub(super) server: Mutex<Option<Arc<ForkServer>>>,
    pub(super) doorbell: Arc<Doorbell>,
    pub(super) doorbell_token: Token,
    state: Mutex<State>,
    /// Told when a worker starts or ends.
    pub(super) changed: Condvar,
    pub(super) own: Weak<Core>,
    last_call: AtomicU64,
    /// Counts the turns of others than a spinning thread: a worker may have been replaced, and
    /// what that thread waits for be offered to one that it does not look at.
    pub(super) driver_turns: AtomicU64,
    /// How many workers there should be, as `State::target` has it under the mutex.
    pub(super) size: AtomicUsize,
}

impl Config {
    /// Sees to it that this process may have what `count` more workers take.
    pub(super) fn make_room_for(&self, count: usize) -> Result<()> {
        // A socket and a pidfd each, and the pipe of its standard error.
        let each = 2 + usize::from(self.settings.captures_stderr);
        limits::make_room_for_descriptors("a worker", count * each)
    }
}

impl Core {
    /// A pool with all its workers forked.
    pub(super) fn start(mut config: Config) -> Result<Arc<Core>> {
        let arena = Arena::host()?;
        let supervisor = Supervisor::current()?;
        let server = match config.start {
            Start::ForkServer => {
                config.make_room_for(config.workers)?;
                Some(ForkServer::current()?)
            }
            Start::InProcess => None,
        };
        let mut state = State::new(HostControl::new(&arena)?);
        state.target = config.workers;
        state.initializer = config.initializer.take();
        state.control.driver().set(Driver::Supervisor);
        let doorbell = Arc::new(Doorbell::new()?);
        let doorbell_token = supervisor.add(Arc::clone(&doorbell) as _)?;
        let core = Arc::new_cyclic(|own: &Weak<Core>| {
            doorbell.set_core(own.clone());
            Core {
                made_in: Instance::current(),
                size: AtomicUsize::new(config.workers),
                config,
                arena,
                supervisor,
                server: Mutex::new(server),
                doorbell,
                doorbell_token,
                state: Mutex::new(state),
                changed: Condvar::new(),
                own: own.clone(),
                last_call: AtomicU64::new(0),
                driver_turns: AtomicU64::new(0),
            }
        });
        core.look_at(&mut core.lock(), Instant::now() + COLD);
        match core.start_workers() {
            Ok(()) => Ok(core),
            Err(error) => {
                core.end(Duration::ZERO, Duration::ZERO);
                Err(error)
            }
        }
    }

    /// Asks for all workers and waits until they are forked.
    fn start_workers(&self) -> Result<()> {
        if self.config.start == Start::InProcess {
            return in_process::initialize(self);
        }
        let server = self.ensure_server()?;
        let mut state = self.lock();
        let started = (0..self.config.workers).try_for_each(|index| {
            self.add_slot(&mut state)?;
            self.start_worker(&mut state, index, &server)
        });
        let failed = |state: &State| match &state.life {
            Lifecycle::Broken(cause) => Some(cause.clone()),
            _ => state.retry_cause.clone(),
        };
        while started.is_ok()
            && failed(&state).is_none()
            && (state.needs_server
                || state.workers.iter().any(|slot| slot.state == WorkerState::Starting))
        {
            state = self.wait_changed(state, None);
        }
        started?;
        let cause = failed(&state);
        cause.map_or(Ok(()), |reason| Err(Error::Spawn { what: "a worker", reason }))
    }

    /// Asks the fork server for a worker at `index`, with a queue pair of its own.
    pub(super) fn start_worker(
        &self,
        state: &mut State,
        index: usize,
        server: &ForkServer,
    ) -> Result<()> {
        let queues = HostSide::new(&self.arena)?;
        let incarnation = state.workers[index].incarnation + 1;
        let (own, start_failures) = (self.own.clone(), state.workers[index].start_failures);
        let watcher = move |event| {
            if let Some(core) = own.upgrade() {
                core.child_event(index, incarnation, event);
            }
        };
        let snapshot = self.config.snapshot.as_ref();
        let launch = Launch {
            arena: &self.arena,
            supervisor: &self.supervisor,
            server,
            name: &format!("{}-{index}", self.config.name),
            config: &self.worker_config(state, index, queues.offset()),
            attributes: snapshot.map(HostSnapshot::of_worker).unwrap_or_default(),
            doorbell: Some(self.doorbell.as_fd()),
        };
        let owner = LinkToWorker { core: self.own.clone(), index, incarnation };
        let launched = launch.start(Box::new(owner), Box::new(watcher))?;
        let old = std::mem::replace(
            &mut state.workers[index],
            WorkerSlot {
                state: WorkerState::Starting,
                incarnation,
                link: Some(launched.link),
                config: Some(launched.config),
                stderr: launched.stderr,
                start_failures,
                ..WorkerSlot::vacant(queues)
            },
        );
        if let Some(link) = old.link {
            link.close();
        }
        if let Some(timeout) = self.config.idle_timeout {
            self.look_at(state, Instant::now() + timeout);
        }
        Ok(())
    }

    /// What a worker at `index` is started with.
    fn worker_config(&self, state: &State, index: usize, queues: u64) -> WorkerConfig {
        let config = &self.config;
        let mut settings = config.settings.clone();
        settings.affinity = config.pin.as_ref().map(|cpus| vec![cpus[index % cpus.len()]]);
        let host = config.snapshot.as_ref().map(|snapshot| &snapshot.attributes);
        WorkerConfig {
            index,
            queues,
            control: Some(state.control.offset()),
            initializer: state.initializer.as_ref().map(Initializer::worker_config),
            tasks_max: config.tasks_max,
            memory_soft_bytes: config.memory_soft_bytes,
            inherited: host.map(|host| settings.inherited(host)).unwrap_or_default(),
            settings,
            spin_short: config.spin_short,
        }
    }

    /// An empty slot, the last one; its index.
    pub(super) fn add_slot(&self, state: &mut State) -> Result<usize> {
        state.workers.push(WorkerSlot::vacant(HostSide::new(&self.arena)?));
        Ok(state.workers.len() - 1)
    }

    /// The fork server, if it runs. Does not wait for one that is starting.
    pub(super) fn server_if_alive(&self) -> Option<Arc<ForkServer>> {
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        server.as_ref().filter(|server| server.is_alive()).map(Arc::clone)
    }

    /// The fork server, started anew if it has died: that takes milliseconds, so call it without
    /// the mutex. It may not have answered yet; what it is asked waits in its socket.
    pub(super) fn ensure_server(&self) -> Result<Arc<ForkServer>> {
        if let Some(server) = self.server_if_alive() {
            return Ok(server);
        }
        let current = ForkServer::soon()?;
        let state = self.lock();
        if state.life == Lifecycle::Closed {
            // A pool that has ended in between keeps no server.
            drop(state);
            return Err(Error::Closed { what: "the pool" });
        }
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        *server = Some(Arc::clone(&current));
        Ok(current)
    }

    #[inline]
    pub(super) fn lock(&self) -> StateGuard<'_> {
        // A panic under the mutex would be a bug of ours; going on is better than hanging.
        StateGuard::new(self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits for a change among the workers, at most until `deadline`.
    pub(super) fn wait_changed<'a>(
        &'a self,
        state: StateGuard<'a>,
        deadline: Option<Instant>,
    ) -> StateGuard<'a> {
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        state.wait(&self.changed, left)
    }

    /// Whether this process made the pool, as against a child that was forked from it.
    #[inline]
    pub(super) fn is_ours(&self) -> bool {
        self.made_in.is_current()
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
        // Relaxed: by the time it is used, the pool may have another size anyway.
        self.size.load(Ordering::Relaxed)
    }

    /// The rules that tasks have unless they say otherwise.
    pub(super) fn rules(&self) -> Rules {
        self.config.rules
    }
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").field("config", &self.config).finish_non_exhaustive()
    }
}

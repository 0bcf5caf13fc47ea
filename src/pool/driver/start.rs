//! Starting a pool and its workers.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::time::{Duration, Instant};

use tracing::dispatcher::{self, Dispatch};

use crate::error::{Error, Result};
use crate::pool::driver::core::{Core, own_server};
use crate::pool::driver::in_process;
use crate::pool::driver::supervise::{LinkToWorker, PoolHandler};
use crate::pool::record::config::{Config, Initializer, Start};
use crate::pool::record::publisher::Publisher;
use crate::pool::record::state::{Lifecycle, State};
use crate::pool::record::worker_slot::{WorkerSlot, WorkerState};
use crate::process::fork_server::ForkServer;
use crate::process::host_snapshot::HostSnapshot;
use crate::process::supervisor::Supervisor;
use crate::region::arena::{Arena, DECAY_TIME};
use crate::sys::fork::Instance;
use crate::sys::poll::EventFd;
use crate::worker::child::WorkerConfig;
use crate::worker::host_side::HostSide;
use crate::worker::launch::Launch;
use crate::worker::pool_control::HostPoolControl;
use crate::worker::wakeup::Driver;

impl Core {
    /// Starts a pool. All its workers are forked when this returns.
    pub(crate) fn start(mut config: Config) -> Result<Arc<Core>> {
        let arena = Arena::host()?;
        let supervisor = Supervisor::current()?;
        let server = match config.start {
            Start::ForkServer => {
                config.make_room_for(config.workers)?;
                let shared = ForkServer::current(&config.settings.env_removed)?;
                // The limit is that of the wait.
                let server = own_server(&config, &arena, shared, None)?;
                server.await_answer(config.preload_timeout)?;
                Some(server)
            }
            Start::InProcess => None,
        };
        let mut state = State::new(HostPoolControl::new(&arena)?);
        state.target = config.workers;
        state.queue_limit = config.queue_limit;
        state.initializers.extend(config.initializer.take());
        state.state_maker = config.state_maker.take();
        state.control.driver().set(Driver::Supervisor);
        let doorbell = EventFd::new().map_err(|e| Error::os("eventfd", "a pool's doorbell", e))?;
        let doorbell = Arc::new(doorbell);
        let handler = Arc::new(PoolHandler::new(Arc::clone(&doorbell)));
        let doorbell_handler = supervisor.add(Arc::clone(&handler) as _)?;
        let core = Arc::new_cyclic(|own: &Weak<Core>| {
            handler.set_core(own.clone());
            Core {
                made_in: Instance::current(),
                size: AtomicUsize::new(config.workers),
                subscriber: dispatcher::get_default(Dispatch::clone),
                config,
                arena,
                supervisor,
                server: Mutex::new(server),
                doorbell,
                doorbell_handler,
                state: Mutex::new(state),
                changed: Condvar::new(),
                own: own.clone(),
                last_call: AtomicU64::new(0),
                driver_turns: AtomicU64::new(0),
                publisher: Mutex::new(Publisher::new()),
            }
        });
        core.schedule_check(&mut core.lock(), Instant::now() + DECAY_TIME);
        match core.start_workers() {
            Ok(()) => {
                let mut state = core.lock();
                let next = core.publish(&mut state);
                next.into_iter().for_each(|at| core.schedule_check(&mut state, at));
                drop(state);
                Ok(core)
            }
            Err(error) => {
                core.end(Duration::ZERO, Duration::ZERO);
                Err(error)
            }
        }
    }

    /// Requests all workers and waits until they are forked.
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

    /// Requests a worker for the slot at `index` from the fork server, with a new queue pair.
    pub(crate) fn start_worker(
        &self,
        state: &mut State,
        index: usize,
        server: &ForkServer,
    ) -> Result<()> {
        let queues = HostSide::new(&self.arena)?;
        let incarnation = state.workers[index].incarnation + 1;
        let own = self.own.clone();
        let watcher = move |event| {
            if let Some(core) = own.upgrade() {
                core.child_event(index, incarnation, event);
            }
        };
        let snapshot = self.config.snapshot.as_deref();
        let launch = Launch {
            arena: &self.arena,
            supervisor: &self.supervisor,
            server,
            name: &format!("{}-{index}", self.config.name),
            config: self.worker_config(state, index, queues.offset()),
            worker: Some(index),
            attributes: snapshot.map(HostSnapshot::of_worker).unwrap_or_default(),
            subscriber: &self.subscriber,
            doorbell: Some(self.doorbell.as_fd()),
        };
        let owner = LinkToWorker { core: self.own.clone(), index, incarnation };
        let launched = launch.start(Box::new(owner), Box::new(watcher))?;
        let start_failures = state.workers[index].start_failures;
        let pinned = std::mem::take(&mut state.workers[index].pinned);
        let old = std::mem::replace(
            &mut state.workers[index],
            WorkerSlot {
                state: WorkerState::Starting,
                incarnation,
                link: Some(launched.link),
                config: Some(launched.config),
                streams: launched.streams,
                logs: launched.logs,
                start_failures,
                pinned,
                ..WorkerSlot::vacant(queues)
            },
        );
        if let Some(link) = old.link {
            link.close();
        }
        state.forget_sent_levels();
        if let Some(timeout) = self.config.idle_timeout {
            self.schedule_check(state, Instant::now() + timeout);
        }
        Ok(())
    }

    /// The configuration of the worker at `index`.
    fn worker_config(&self, state: &State, index: usize, queues: u64) -> WorkerConfig {
        let config = &self.config;
        let mut settings = config.settings.clone();
        settings.affinity = config.pin.as_ref().map(|cpus| vec![cpus[index % cpus.len()]]);
        let host = config.snapshot.as_ref().map(|snapshot| &snapshot.attributes);
        WorkerConfig {
            index,
            queues,
            control: Some(state.control.offset()),
            initializers: state.initializers_of(index).map(Initializer::worker_config).collect(),
            state: state.state_maker.as_ref().map(Initializer::worker_config),
            tasks_max: config.max_tasks_per_worker,
            memory_soft_bytes: config.memory_soft_bytes,
            inherited: host.map(|host| settings.inherited(host)).unwrap_or_default(),
            settings,
            spin_short: config.spin_short,
            seed: config.seed.unwrap_or(0),
            logs: None,
        }
    }

    /// Appends an empty slot and returns its index.
    pub(crate) fn add_slot(&self, state: &mut State) -> Result<usize> {
        state.workers.push(WorkerSlot::vacant(HostSide::new(&self.arena)?));
        Ok(state.workers.len() - 1)
    }
}

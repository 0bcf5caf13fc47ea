//! The life of a worker, from set-up to exit.
#![allow(unsafe_code)]

use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Phase, Result};
use crate::object::transfer::{self, WireLease};
use crate::process::child::{self, Child, EXIT_SETUP, EntryPoint};
use crate::process::host_snapshot::ProcessAttributes;
use crate::process::panic;
use crate::region::windows::Windows;
#[cfg(feature = "failpoints")]
use crate::sys::failpoint::{self, Point};
use crate::sys::fork::Instance;
use crate::sys::mmap::HUGE_BYTES;
use crate::sys::poll::EventFd;
use crate::sys::signal::{self, Fault, FaultText};
use crate::sys::socket::{Received, Socket};
use crate::sys::{process, sched};
use crate::worker::call;
use crate::worker::cleanup::TaskCleanup;
use crate::worker::cpu_spread::CpuSpread;
use crate::worker::current_task;
use crate::worker::invocation::{self, Invocation, Leases, WorkerCache};
use crate::worker::link::SpanMessage;
use crate::worker::logs::capture::Capture;
use crate::worker::logs::source::LogMemory;
use crate::worker::queue_pair::{LeaveReason, Place, QueuePair, Status};
use crate::worker::settings::Settings;
use crate::worker::spin_budget::{SPIN_HOT, SPIN_MAX, SPIN_MIN, next_budget};
use crate::worker::worker_side::{Claimed, Next, ResultBody, WorkerSide};

mod start_up;

/// The start parameters of a worker.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct WorkerConfig {
    /// Its index in the pool.
    pub(crate) index: usize,
    /// The offset of its queue pair in the arena.
    pub(crate) queues: u64,
    /// The offset of the pool's control block; `None` for a one-off process, which exits after one
    /// call.
    pub(crate) control: Option<u64>,
    /// The initializers, in order: for each its trampoline, the number of leases of its argument,
    /// and both encoded.
    pub(crate) initializers: Vec<(u64, usize, Vec<u8>)>,
    /// The function that makes the worker's state, in the same form.
    pub(crate) state: Option<(u64, usize, Vec<u8>)>,
    /// Exit after this many tasks.
    pub(crate) tasks_max: Option<u64>,
    /// Exit after a task if more than this is resident, in bytes, without shared memory.
    pub(crate) memory_soft_bytes: Option<u64>,
    pub(crate) settings: Settings,
    /// The attributes of the host at the time of the request.
    pub(crate) inherited: ProcessAttributes,
    /// Spin only briefly, because spinning uses up a processor quota.
    pub(crate) spin_short: bool,
    /// The seed of its pool.
    pub(crate) seed: u64,
    /// The offset of its ring of log records, set by the launch.
    pub(crate) logs: Option<u64>,
}

/// The identity of this process as a worker.
struct WorkerIdentity {
    /// A child that a task forks is not a worker, and has no queue pair.
    made_in: Instance,
    queues: &'static QueuePair,
    read_only: std::ops::Range<usize>,
    is_one_off: bool,
    index: usize,
    socket: &'static Socket,
    /// Keeps the mapping of `queues`, whatever else is dropped.
    windows: Windows,
}

static IDENTITY: OnceLock<WorkerIdentity> = OnceLock::new();

/// The identity of this worker; `None` in a child that a task forked.
fn identity() -> Option<&'static WorkerIdentity> {
    IDENTITY.get().filter(|identity| identity.made_in.is_current())
}

/// The words of a request for a worker: the span of its configuration, and the arena.
pub(crate) fn words(config: (u64, usize), arena: (u64, usize)) -> [u64; 5] {
    [config.0, config.1 as u64, arena.0, arena.1 as u64, 0]
}

/// Whether the running task was requested to end early: by
/// [`Handle::cancel`](crate::Handle::cancel), by [`Handle::kill`](crate::Handle::kill) with a
/// grace, or by the end of its pool. False outside of tasks, and in tasks that run without
/// processes.
///
/// A long task may poll it and return early, with any value; it is not forced to. A call costs a
/// few loads, so inner loops can poll too, and so can threads that the task has started.
///
/// # Examples
///
/// ```
/// use brigade::Pool;
/// let pool = Pool::builder().workers(1).build()?;
/// let counts = |()| (0u64..).take_while(|_| !brigade::is_cancelled()).count();
/// let task = pool.submit(counts, ())?;
/// while !task.is_running() {
///     std::thread::yield_now();
/// }
/// assert!(!task.cancel(), "it has started, so it is asked and not taken back");
/// println!("counted to {}", task.join()?);
/// # Ok::<(), brigade::Error>(())
/// ```
#[must_use]
pub fn is_cancelled() -> bool {
    identity().is_some_and(|identity| {
        let header = &identity.queues.header;
        // Relaxed: neither word publishes data. `phase` is written by this process.
        let cancel_seq = header.cancel_seq.load(Ordering::Relaxed);
        cancel_seq != 0 && header.phase.load(Ordering::Relaxed) >> 2 == cancel_seq
    })
}

/// The index of this worker in its pool, from 0. `None` in the host, and in a
/// [`Process`](crate::Process).
///
/// A replacement has the index of the worker that it replaces.
///
/// # Examples
///
/// ```
/// use brigade::Pool;
/// let pool = Pool::builder().workers(1).build()?;
/// assert_eq!(pool.submit(|()| brigade::worker_index(), ())?.join()?, Some(0));
/// assert_eq!(brigade::worker_index(), None);
/// # Ok::<(), brigade::Error>(())
/// ```
#[must_use]
pub fn worker_index() -> Option<usize> {
    identity().filter(|identity| !identity.is_one_off).map(|identity| identity.index)
}

/// The entry point of a worker.
pub(crate) static ENTRY: EntryPoint = EntryPoint::new(main);

/// Exit code of a one-off process whose function panicked, as of a program whose `main` panics.
const EXIT_PANIC: i32 = 101;

fn main(child: Child) {
    match Worker::set_up(child) {
        Ok(mut worker) => {
            let last = worker.run();
            worker.cleanup.finish_pending(worker.cache.drop_state());
            worker.queues.leave_cpu_table(&worker.spread);
            if worker.is_one_off() {
                process::exit_now(match last {
                    Status::Value | Status::Skipped => 0,
                    Status::Panicked => EXIT_PANIC,
                    Status::ArgumentCodec | Status::ResultCodec => EXIT_SETUP,
                });
            }
        }
        Err(error) if identity().is_none() => child::end_unready(&error),
        Err(error) => {
            set_crash_message(&error.to_string());
            process::exit_now(EXIT_SETUP);
        }
    }
}

struct Worker {
    queues: WorkerSide,
    windows: Windows,
    socket: &'static Socket,
    config: WorkerConfig,
    logs: Option<&'static Capture>,
    cache: WorkerCache,
    spread: CpuSpread,
    cleanup: TaskCleanup,
    /// Tasks run so far.
    tasks: u64,
}

impl Worker {
    fn set_up(child: Child) -> Result<Worker> {
        #[cfg(feature = "failpoints")]
        failpoint::hit(Point::WorkerStart);
        let [config_at, config_len, arena_id, arena_size, _] = child.words;
        let mut fds = child.fds.into_iter();
        let (Some(arena), Some(socket)) = (fds.next(), fds.next()) else {
            process::exit_now(EXIT_SETUP);
        };
        let doorbell = fds.next().map(EventFd::from_fd);
        let size = |word: u64| usize::try_from(word).unwrap_or(usize::MAX);
        // Used by every thread that logs, as long as the process lives.
        let socket: &Socket = Box::leak(Box::new(Socket::from(socket)));
        let windows = Windows::attach(arena, arena_id, size(arena_size))?;
        child::await_permit(socket);
        // SAFETY: the host wrote the configuration before it permitted this worker to start, and
        // keeps it unchanged until the worker is ready.
        let config = unsafe { windows.copy_out(config_at, size(config_len)) };
        let mut config: WorkerConfig = config
            .map(|bytes| invocation::decode(&bytes))?
            .map_err(|found| Error::Corrupt { what: "a worker's configuration", found })?;
        let waker = config.control.zip(doorbell);
        let is_one_off = waker.is_none();
        let queues = WorkerSide::attach(&windows, config.queues, waker)?;
        let _ = IDENTITY.set(WorkerIdentity {
            made_in: Instance::current(),
            queues: queues.queues(),
            read_only: windows.read_only_range(),
            is_one_off,
            index: config.index,
            socket,
            windows: windows.clone(),
        });
        transfer::set_store_result(store_result);
        current_task::set_seed(config.seed);
        install_panic_hook();
        signal::catch_faults(on_fault)
            .map_err(|e| Error::os("sigaction", "the fault handler", e))?;
        // SAFETY: the worker starts, and has one thread until its initializer runs.
        unsafe { config.inherited.apply() };
        // SAFETY: as above.
        unsafe { config.settings.apply_env() };
        // A pool's `build` has tried niceness and processors. Its workers continue if these have
        // become unavailable since.
        config.settings.apply(is_one_off)?;
        let logs = config.logs.map(|at| capture(&windows, at, socket)).transpose()?;
        let (cache, spread) = (WorkerCache::new(config.index), CpuSpread::new(config.index));
        let initializers = std::mem::take(&mut config.initializers);
        let cleanup = TaskCleanup::default();
        let mut worker =
            Worker { queues, windows, socket, config, logs, cache, spread, cleanup, tasks: 0 };
        // They may install a subscriber or a logger of their own.
        let logging = logs.filter(|_| !initializers.is_empty()).map(Capture::begin);
        initializers.iter().for_each(|one| worker.initialise("initializer", one));
        drop(logging);
        if let Some(logs) = logs {
            logs.install();
        }
        worker.ensure_state();
        if !is_one_off {
            worker.cleanup.begin();
        }
        #[cfg(feature = "failpoints")]
        failpoint::hit(Point::WorkerBeforeReady);
        worker.queues.set_ready();
        Ok(worker)
    }

    fn is_one_off(&self) -> bool {
        self.config.control.is_none()
    }

    /// Runs tasks until this worker has to exit. Returns how the last one ended.
    fn run(&mut self) -> Status {
        let longest = match self.config {
            WorkerConfig { spin_short: true, .. } => SPIN_MIN,
            // An idle pool gives its next task to this worker.
            WorkerConfig { index: 0, .. } => SPIN_HOT,
            _ => SPIN_MAX,
        };
        let mut budget = longest.min(SPIN_MAX);
        let (mut payload, mut out) = (Vec::new(), Vec::new());
        let mut last = Status::Skipped;
        loop {
            match self.queues.next(&mut payload) {
                Ok(Next::Task(task)) => {
                    self.cleanup.before_next();
                    let (status, is_last) = self.work(&task, &mut payload, &mut out);
                    last = status;
                    if is_last {
                        return last;
                    }
                    if last == Status::Panicked {
                        self.rebuild_state();
                    }
                }
                Ok(Next::Nothing) if self.queues.should_stop() || self.is_one_off() => return last,
                Ok(Next::Nothing) => {
                    self.cleanup.before_next();
                    let start = Instant::now();
                    let Worker { queues, spread, cache, cleanup, .. } = self;
                    queues.wait(budget, spread, || {
                        cleanup.finish_pending(false);
                        cache.release_idle()
                    });
                    budget = next_budget(budget, start.elapsed(), longest);
                }
                Err(error) => {
                    set_crash_message(&error.to_string());
                    process::exit_now(EXIT_SETUP);
                }
            }
        }
    }

    /// Runs and commits one task. Returns how it ended, and whether this worker has to exit.
    fn work(&mut self, task: &Claimed, payload: &mut Vec<u8>, out: &mut Vec<u8>) -> (Status, bool) {
        out.clear();
        let mut status = match self.run_claimed(task, payload, out) {
            Ok(status) => status,
            Err(error) => {
                out.clear();
                out.extend_from_slice(error.to_string().as_bytes());
                Status::ArgumentCodec
            }
        };
        current_task::end();
        self.tasks += 1;
        if self.cleanup.task_ends(self.queues.stop_clock()) {
            self.queues.restart_clock();
        }
        if self.tasks.is_multiple_of(RESTED_TASKS) {
            // A worker that never sleeps must also release mappings.
            self.cache.resolver.rest();
        }
        let leaving = self.should_leave();
        if WorkerSide::fits_ring(out.len()) {
            self.queues.commit(status, leaving, ResultBody::Bytes(out));
        } else {
            match write_to_span(out) {
                Ok(at) => {
                    let len = out.len();
                    self.queues.commit(status, leaving, ResultBody::Span { at, len });
                }
                Err(text) => {
                    status = Status::ResultCodec;
                    self.queues.commit(status, leaving, ResultBody::Bytes(text.as_bytes()));
                }
            }
        }
        if out.capacity() > KEPT_BUFFER_BYTES {
            *out = Vec::new();
        }
        (status, leaving.is_some())
    }

    fn run_claimed(
        &mut self,
        task: &Claimed,
        payload: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<Status> {
        let Claimed { function, meta, number } = task;
        current_task::begin(*number, *function);
        if let Some(logs) = self.logs {
            logs.begin_task();
        }
        if let Place::Span(offset) = meta.place {
            // SAFETY: the host wrote the argument before it offered the task, and keeps the span
            // unchanged until the task is over, or a one-off process has sent the message below.
            *payload = unsafe { self.windows.copy_out(offset, meta.len) }?;
            if self.is_one_off() {
                // The host can free the argument now; this process may run for long.
                let copied = SpanMessage { len: 0, offset: 0 };
                let _ = self.socket.send(bytemuck::bytes_of(&copied), &[]);
            }
        }
        let split = call::split_table(payload, meta.leases);
        let Some((leases, encoded)) = split.filter(|_| payload.len() == meta.len) else {
            let found = format!("{meta:?} with {} bytes", payload.len());
            return Err(Error::Corrupt { what: "a task slot", found });
        };
        let status = self.run_job(*function, encoded, &leases, out);
        if payload.capacity() > KEPT_BUFFER_BYTES {
            *payload = Vec::new();
        }
        status
    }

    fn run_job(
        &mut self,
        function: u64,
        payload: &[u8],
        leases: &[WireLease],
        out: &mut Vec<u8>,
    ) -> Result<Status> {
        let trampoline = invocation::trampoline(function)?;
        let queues = &self.queues;
        let made_in = Instance::current();
        let progress = |phase: Phase| {
            child::end_if_forked(made_in);
            queues.set_phase(phase);
        };
        let (windows, cache) = (&self.windows, &mut self.cache);
        let leases = Leases::Wire(leases);
        let mut invocation =
            Invocation { payload, leases, windows, out, cache, progress: &progress };
        let status = invocation::run(trampoline, &mut invocation);
        child::end_if_forked(made_in);
        // The task survived, so its panic message is dropped: it must not be reported as the cause
        // of a later crash.
        self.queues.clear_crash_message();
        Ok(status)
    }

    /// Why this worker exits after the task that just ran, if it does.
    fn should_leave(&mut self) -> Option<LeaveReason> {
        let WorkerConfig { tasks_max, memory_soft_bytes, .. } = self.config;
        // A handle that outlived its task gives this process access to an array that others may
        // write now. Only the end of the process removes that access.
        if transfer::live_handles() > 0 || self.cleanup.has_too_many_zombies() {
            return Some(LeaveReason::Unclean);
        }
        if tasks_max.is_some_and(|max| self.tasks >= max) {
            return Some(LeaveReason::Tasks);
        }
        let is_large = |max| sched::resident_private_bytes().is_ok_and(|used| used > max);
        memory_soft_bytes.is_some_and(is_large).then_some(LeaveReason::Memory)
    }
}

/// Copies a part of the running task's result into a span; `None` without memory.
fn store_result(bytes: &[u8]) -> Option<u64> {
    write_to_span(bytes).ok()
}

/// Requests a span from the host for the running task, and writes a result there, or a part of it.
/// Returns the span's offset.
fn write_to_span(bytes: &[u8]) -> std::result::Result<u64, String> {
    let WorkerIdentity { queues, socket, windows, is_one_off, .. } =
        identity().ok_or("a result is written by the worker alone")?;
    #[cfg(feature = "failpoints")]
    failpoint::hit(Point::WorkerSpanRequest);
    let len = bytes.len() as u64;
    // Relaxed: this process wrote the word, on this thread, when it claimed the task.
    let seq = queues.header.phase.load(Ordering::Relaxed) >> 2;
    let request = SpanMessage { len, offset: seq };
    socket.send(bytemuck::bytes_of(&request), &[]).map_err(|error| error.to_string())?;
    let mut answer = SpanMessage { len: 0, offset: 0 };
    match socket.receive(bytemuck::bytes_of_mut(&mut answer)) {
        Ok(Received::Message(..)) if answer.len == len => {
            #[cfg(feature = "failpoints")]
            failpoint::hit(Point::WorkerSpanGranted);
            if bytes.len() >= HUGE_BYTES {
                let populated = windows.populate(answer.offset, bytes.len());
                populated.map_err(|error| error.to_string())?;
            }
            // SAFETY: the host granted this span, of `len` bytes, to this worker alone, and reads
            // it when the result is committed; the result is in private memory, or in an array of
            // this process's own arena.
            let copied = unsafe { windows.copy_in(answer.offset, bytes) };
            copied.map_err(|error| error.to_string())?;
            Ok(answer.offset)
        }
        Ok(Received::Message(..)) => Err(format!("no memory for a result of {len} bytes")),
        Ok(Received::WouldBlock | Received::Closed) | Err(_) if *is_one_off => {
            Err("its function has closed the socket to the host".into())
        }
        Ok(Received::WouldBlock | Received::Closed) | Err(_) => process::exit_now(EXIT_SETUP),
    }
}

/// The capture of this worker's log records, which go to the ring at this offset.
fn capture(windows: &Windows, at: u64, socket: &'static Socket) -> Result<&'static Capture> {
    let memory = windows.write(at, size_of::<LogMemory>())?.cast::<LogMemory>();
    // SAFETY: the line above checked bounds; the window stays mapped until the process ends, as
    // `IDENTITY` keeps it; the host aligned the span; a ring consists of atomics and padding.
    let memory: &'static LogMemory = unsafe { &*memory };
    Ok(Capture::new(memory.ring(), socket))
}

/// The number of tasks after which a worker that does not sleep releases unused mappings.
const RESTED_TASKS: u64 = 1024;
/// The largest buffer that a worker keeps between tasks, in bytes.
const KEPT_BUFFER_BYTES: usize = 1 << 20;
fn set_crash_message(text: &str) {
    if let Some(identity) = identity() {
        WorkerSide::set_crash_message(identity.queues, text.as_bytes());
    }
}

/// Records panics for the death report. A worker of a pool does not print panics of its main
/// thread, unless a backtrace is requested. All others are printed as usual.
fn install_panic_hook() {
    let usual = std::panic::take_hook();
    let own = std::thread::current().id();
    std::panic::set_hook(Box::new(move |info| {
        let (message, location) = panic::record(info);
        set_crash_message(&format!("panicked at {location}: {message}"));
        let is_reported = identity().is_some_and(|identity| !identity.is_one_off)
            && std::thread::current().id() == own;
        if !is_reported || panic::wants_backtrace() {
            usual(info);
        }
    }));
}

/// Records the fault that ends this process. Async-signal-safe: it only writes to the queue pair.
fn on_fault(fault: Fault) {
    let Some(identity) = identity() else { return };
    let text = FaultText::new(fault, |address| identity.read_only.contains(&address));
    WorkerSide::set_crash_message(identity.queues, text.bytes());
}

//! The host's record of a one-off process.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use tracing::Level;
use tracing::dispatcher::{self, Dispatch};

use crate::error::{Death, Error, Phase, Result, TaskError};
use crate::exit::ExitReason;
use crate::object::transfer::LeaseList;
use crate::process::captured_output::CapturedStreams;
use crate::process::child::{EXIT_SETUP, unready_message};
use crate::process::diagnostics;
use crate::process::fork_server::{ChildEvent, ChildHandle, ForkServer};
use crate::process::host_snapshot::HostSnapshot;
use crate::process::supervisor::Supervisor;
use crate::region::arena::{Arena, Contents, Span};
use crate::sys::fork::Instance;
use crate::sys::oom;
use crate::sys::poll::is_readable;
use crate::worker::call::{Call, Encoded, TaskId};
use crate::worker::child::WorkerConfig;
use crate::worker::current_task::PART;
use crate::worker::death::{self, phase_of};
use crate::worker::grants::Grants;
use crate::worker::host_side::HostSide;
use crate::worker::launch::Launch;
use crate::worker::link::{ChildLink, LinkOwner};
use crate::worker::logs::delivery;
use crate::worker::logs::source::LogSource;
use crate::worker::settings::Settings;

/// The bytes of a value and the leases of its arrays, or why there is none.
pub(super) type ProcessResult = Result<(Encoded, LeaseList)>;

/// A one-off process, from the request for it until its last handle is dropped.
pub(super) struct ProcessRecord {
    /// The process that requested it; in a forked child of that, this is inert.
    host: Instance,
    pub(super) name: String,
    /// The type name of its function.
    task: &'static str,
    arena: Arc<Arena>,
    supervisor: Arc<Supervisor>,
    /// Kept at least as long as the process runs.
    server: Arc<ForkServer>,
    streams: OnceLock<CapturedStreams>,
    logs: OnceLock<Arc<LogSource>>,
    /// Its id and handle, once it runs.
    started: OnceLock<(u32, ChildHandle)>,
    state: Mutex<ProcessState>,
    changed: Condvar,
}

struct ProcessState {
    /// The process's queue pair, with its only call offered.
    host_side: HostSide,
    /// The call, until the process has ended.
    call: Option<Call>,
    /// Its configuration, while it may read it.
    config: Option<Span>,
    /// Why it could not be forked, or why that is unknown.
    failure: Option<io::Error>,
    end: Option<ExitReason>,
    outcome: Option<ProcessResult>,
    /// This program sent it SIGKILL.
    is_killed_by_us: bool,
    /// Spans that were granted for its result.
    granted: Grants,
    link: Option<Arc<ChildLink>>,
}

/// The id of the only call of a process.
const ONLY: TaskId = TaskId { index: 0, generation: 0 };
/// The sequence number of the first call in a queue pair.
const ONLY_SEQ: u64 = 1;
/// The number of the only call: marked, since it is none of a pool's tasks.
pub(super) const ONLY_NUMBER: u64 = PART;

impl ProcessRecord {
    /// Makes the record of a process that will run `call`.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`] without memory for its queue pair.
    pub(super) fn new(
        name: &str,
        arena: &Arc<Arena>,
        supervisor: Arc<Supervisor>,
        server: Arc<ForkServer>,
        call: Call,
    ) -> Result<Arc<ProcessRecord>> {
        let mut host_side = HostSide::new(arena)?;
        // An empty queue pair has room for every call.
        let _ = host_side.offer(ONLY, &call, 0);
        let task = call.name;
        let state = ProcessState {
            host_side,
            call: Some(call),
            config: None,
            failure: None,
            end: None,
            outcome: None,
            is_killed_by_us: false,
            granted: Grants::default(),
            link: None,
        };
        Ok(Arc::new(ProcessRecord {
            host: Instance::current(),
            name: name.to_owned(),
            task,
            arena: Arc::clone(arena),
            supervisor,
            server,
            streams: OnceLock::new(),
            logs: OnceLock::new(),
            started: OnceLock::new(),
            state: Mutex::new(state),
            changed: Condvar::new(),
        }))
    }

    /// Requests the process from the fork server.
    ///
    /// # Errors
    ///
    /// As [`Launch::start`].
    pub(super) fn launch(
        self: &Arc<Self>,
        settings: &Settings,
        snapshot: &HostSnapshot,
    ) -> Result<()> {
        let watcher = Arc::clone(self);
        let owner = Box::new(LinkToProcess(Arc::downgrade(self)));
        // Held meanwhile: the report of its start waits for the link.
        let mut state = self.lock();
        let config = WorkerConfig {
            queues: state.host_side.offset(),
            tasks_max: Some(1),
            settings: settings.clone(),
            inherited: settings.inherited(&snapshot.attributes),
            ..WorkerConfig::default()
        };
        let launch = Launch {
            arena: &self.arena,
            supervisor: &self.supervisor,
            server: &self.server,
            name: &self.name,
            config,
            worker: None,
            attributes: snapshot.of_process(),
            subscriber: &dispatcher::get_default(Dispatch::clone),
            doorbell: None,
        };
        let launched = launch.start(owner, Box::new(move |event| watcher.on_child_event(event)))?;
        state.config = Some(launched.config);
        state.link = Some(launched.link);
        let _ = self.streams.set(launched.streams);
        let _ = launched.logs.map(|logs| self.logs.set(logs));
        Ok(())
    }

    /// Stops listening to the process's socket and standard streams.
    pub(super) fn stop(&self) {
        self.close_link();
        self.streams.get().into_iter().for_each(CapturedStreams::stop);
    }

    fn close_link(&self) {
        let link = self.lock().link.take();
        if let Some(link) = link {
            link.close();
        }
    }

    /// Handles a report of the fork server; called on the supervisor's thread.
    pub(super) fn on_child_event(&self, event: ChildEvent) {
        let end = match &event {
            ChildEvent::Ended { reason, .. } => Some(*reason),
            _ => None,
        };
        // Also after a panic here: no other code would wake the waiters.
        let _notify = NotifyOnDrop { record: self, end };
        match event {
            ChildEvent::Started { pid, child } => {
                let name = self.name.clone();
                diagnostics::event(Level::DEBUG, move || {
                    tracing::debug!(name, pid, "process started");
                });
                let _ = self.started.set((pid, child));
                // The thread that launches it holds the mutex until both are there.
                let link = self.lock().link.clone();
                self.logs.get().inspect(|logs| logs.set_pid(pid));
                if let Some(link) = link {
                    link.permit();
                }
            }
            ChildEvent::Failed(error) => self.lock().failure = Some(error),
            ChildEvent::Killed(_) => {}
            ChildEvent::Ended { reason, peak_rss_bytes } => self.ended(reason, peak_rss_bytes),
        }
    }

    /// Handles the end of the process, which is reaped and no longer writes.
    fn ended(&self, reason: ExitReason, peak_rss_bytes: Option<u64>) {
        let (name, pid) = (self.name.clone(), self.pid());
        diagnostics::event(Level::DEBUG, move || {
            tracing::debug!(name, pid, %reason, "process ended");
        });
        self.stop();
        let logs = self.logs.get().inspect(|logs| logs.finish());
        logs.into_iter().for_each(delivery::notify);
        let mut state = self.lock();
        let ProcessState { host_side, granted, .. } = &mut *state;
        let running = host_side.running();
        let words = host_side.crash_message();
        // An invalid result counts as none.
        let drained = host_side.drain().ok().flatten();
        let committed = drained.and_then(|drained| {
            let status = drained.meta.status;
            death::payload(drained, granted).ok().map(|payload| (status, payload))
        });
        let call = state.call.take();
        self.sweep(call.as_ref());
        let outcome = match committed {
            Some((status, (payload, returned))) => match death::value(status, payload) {
                Ok(bytes) => {
                    let mut leases = call.map(|call| call.leases).unwrap_or_default();
                    leases.add_returned(returned);
                    Ok((bytes, leases))
                }
                Err(error) => Err(*error),
            },
            None => {
                let is_killed = reason == ExitReason::Signal(SIGKILL) && !state.is_killed_by_us;
                // A panic that the function caught, or a fault that it survived, did not end the
                // process.
                let words = words.filter(|_| sets_crash_message(reason));
                let death = Death {
                    process: Some(self.name.clone()),
                    out_of_memory: is_killed && oom::attribute(),
                    peak_rss_bytes,
                    task: self.task,
                    phase: running.map_or(Phase::Decoding, |_| phase_of(ONLY_SEQ, running)),
                    stdout_tail: self.stdout_tail(),
                    stderr_tail: self.stderr_tail(),
                    log_tail: logs.map_or(Vec::new(), |logs| logs.last_records(ONLY_NUMBER)),
                    ..death::report(pid.unwrap_or(0), reason, words)
                };
                let unready = || running.is_none().then(|| unready_message(reason).to_owned());
                let crash_message = death.crash_message.clone().or_else(unready);
                Err(Error::Task(TaskError::Died(Box::new(Death { crash_message, ..death }))))
            }
        };
        state.config = None;
        state.granted.clear();
        state.outcome = Some(outcome);
        state.end = Some(reason);
    }

    /// Takes the call back. Requires that the process certainly has not begun it.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] if it was taken back before.
    pub(super) fn reclaim(&self) -> Result<Call> {
        let mut state = self.lock();
        state.config = None;
        state.call.take().ok_or(Error::Closed { what: "the process" })
    }

    /// Frees the locks that it held in lent memory. Requires that it certainly has ended.
    fn sweep(&self, call: Option<&Call>) {
        let Some(pid) = self.pid() else { return };
        for memory in call.iter().flat_map(|call| call.lent()) {
            memory.sweep_process(pid);
        }
    }

    /// Whether this process requested it; false in a forked child.
    pub(super) fn is_ours(&self) -> bool {
        self.host.is_current()
    }

    pub(super) fn pid(&self) -> Option<u32> {
        Some(self.started.get()?.0)
    }

    pub(super) fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.started.get()?.1.as_fd())
    }

    pub(super) fn stdout_tail(&self) -> Option<String> {
        self.streams.get()?.stdout_tail()
    }

    pub(super) fn stderr_tail(&self) -> Option<String> {
        self.streams.get()?.stderr_tail()
    }

    /// Waits until it runs; returns the error if it could not be started.
    pub(super) fn wait_started(&self) -> std::result::Result<(), io::Error> {
        let mut state = self.lock();
        loop {
            if self.started.get().is_some() {
                return Ok(());
            }
            if let Some(error) = state.failure.take() {
                return Err(error);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether it has not ended.
    pub(super) fn is_alive(&self) -> bool {
        self.is_ours()
            && self.lock().end.is_none()
            && self.pidfd().is_some_and(|pidfd| !is_readable(pidfd))
    }

    /// How it ended, if it has. If it is not reaped yet, waits for a short time: the fork server
    /// reaps it promptly, unless it is stopped.
    pub(super) fn end(&self) -> Option<ExitReason> {
        if !self.is_ours() {
            return None;
        }
        if let Some(reason) = self.lock().end {
            return Some(reason);
        }
        match self.is_alive() {
            true => None,
            false => self.wait_until(Instant::now().checked_add(KILL_TIMEOUT)),
        }
    }

    /// How it ended, if that is known; never waits.
    pub(super) fn known_end(&self) -> Option<ExitReason> {
        self.lock().end
    }

    /// Waits for its end, at most until `deadline`.
    pub(super) fn wait_until(&self, deadline: Option<Instant>) -> Option<ExitReason> {
        let mut state = self.lock();
        loop {
            if let Some(end) = state.end {
                drop(state);
                self.logs.get().inspect(|logs| logs.emit_all());
                return Some(end);
            }
            state = match deadline {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(at) => {
                    let left = at.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return None;
                    }
                    let waited = self.changed.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Returns its outcome, once.
    pub(super) fn take_outcome(&self) -> Option<ProcessResult> {
        self.lock().outcome.take()
    }

    /// Sends it a signal; has no effect after its end.
    pub(super) fn signal(&self, number: i32) -> Result<()> {
        if !self.is_ours() {
            return Err(Error::Closed { what: "a process that the parent of this one spawned" });
        }
        let Some((_, child)) = self.started.get() else { return Ok(()) };
        let mut state = self.lock();
        state.is_killed_by_us |= number == SIGKILL && state.end.is_none();
        child
            .signal(number)
            .map(drop)
            .map_err(|e| Error::os("pidfd_send_signal", format!("{} and {number}", self.name), e))
    }

    /// Ends it: SIGTERM, and SIGKILL after `grace`; returns when it has ended. A process that
    /// sleeps in the kernel, or is frozen, is left behind. Memory that was lent to it stays with
    /// its record, which the connection to its fork server keeps until it has ended.
    pub(super) fn finish(&self, grace: Duration) {
        // If it has ended, what it has logged is emitted.
        if !self.is_ours() || self.wait_until(Some(Instant::now())).is_some() {
            return;
        }
        if !grace.is_zero() {
            // A signal fails only if the process has been reaped.
            let _ = self.signal(SIGTERM);
            let deadline = Instant::now().checked_add(grace);
            if self.wait_until(deadline).is_some() {
                return;
            }
        }
        let _ = self.signal(SIGKILL);
        self.wait_until(Instant::now().checked_add(KILL_TIMEOUT));
    }

    fn lock(&self) -> MutexGuard<'_, ProcessState> {
        // No code under this lock panics in the middle of a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long to wait for the end of a killed process.
const KILL_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) const SIGINT: i32 = 2;
pub(super) const SIGKILL: i32 = 9;
pub(super) const SIGTERM: i32 = 15;

/// Whether a process that ended like this has recorded the cause by its panic hook or fault
/// handler.
fn sets_crash_message(reason: ExitReason) -> bool {
    const ABORT: i32 = 6;
    const BUS: i32 = 7;
    const SEGV: i32 = 11;
    matches!(
        reason,
        ExitReason::Signal(ABORT | BUS | SEGV) | ExitReason::Code(EXIT_SETUP) | ExitReason::Unknown
    )
}

/// Wakes the waiters of a process after an event of it. If the handler of that event panics, which
/// is a fault of this crate, they get an error.
struct NotifyOnDrop<'a> {
    record: &'a ProcessRecord,
    end: Option<ExitReason>,
}

impl Drop for NotifyOnDrop<'_> {
    fn drop(&mut self) {
        // Locked, so that a thread between its test and its wait is not missed.
        let mut state = self.record.lock();
        if thread::panicking() {
            const FAULT: &str = "the supervisor panicked, which is a bug of brigade";
            state.failure.get_or_insert_with(|| io::Error::other(FAULT));
            if self.end.is_some() {
                let error = Error::Broken { what: "the process", cause: FAULT.to_owned() };
                state.outcome.get_or_insert(Err(error));
                state.end = self.end;
            }
        }
        drop(state);
        self.record.changed.notify_all();
    }
}

/// Handles the messages of a process.
struct LinkToProcess(Weak<ProcessRecord>);

impl LinkOwner for LinkToProcess {
    fn grant(&self, seq: u64, len: u64) -> Option<u64> {
        let record = self.0.upgrade()?;
        let span = record.arena.reserve(usize::try_from(len).ok()?, Contents::Stale).ok()?;
        let offset = span.offset();
        let mut state = record.lock();
        (state.end.is_none() && state.granted.add(seq, span)).then_some(offset)
    }

    fn argument_copied(&self) {
        if let Some(record) = self.0.upgrade()
            && let Some(call) = &mut record.lock().call
        {
            call.payload = Encoded::default();
        }
    }

    fn closed(&self) {
        if let Some(record) = self.0.upgrade() {
            record.close_link();
        }
    }

    fn stalled(&self) {
        if let Some(record) = self.0.upgrade() {
            let _ = record.signal(SIGKILL);
        }
    }
}

impl std::fmt::Debug for ProcessRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProcessRecord")
            .field("name", &self.name)
            .field("pid", &self.pid())
            .finish_non_exhaustive()
    }
}

//! What the host knows of a one-off process.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use tracing::Level;

use crate::error::{Death, Error, Phase, Result, TaskError};
use crate::exit::ExitReason;
use crate::object::transfer::{Lease, LeaseList};
use crate::process::captured_stderr::CapturedStderr;
use crate::process::child::{PERMIT, words_for, words_of_unready};
use crate::process::diagnostics;
use crate::process::fork_server::{ChildEvent, ChildHandle, ForkServer};
use crate::process::outbox::{Outbox, RETRY_AFTER, SendState};
use crate::process::supervisor::{Handler, Supervisor, Token};
use crate::region::arena::{Arena, Contents, Span};
use crate::spawn::child::SpanMessage;
use crate::spawn::result_block::{HostResultBlock, Place, Status};
use crate::sys::fork::Instance;
use crate::sys::oom;
use crate::sys::poll::is_readable;
use crate::sys::socket::{Received, Socket};

/// The bytes of a value and the arrays that it may refer to, or why there is none.
pub(super) type Outcome = Result<(Vec<u8>, LeaseList)>;

/// A one-off process, from when it is asked for until nobody asks about it.
pub(super) struct Record {
    /// The process that asked for it; in a child forked from that, this is inert.
    host: Instance,
    pub(super) name: String,
    /// The type name of its function.
    task: &'static str,
    arena: Arc<Arena>,
    supervisor: Arc<Supervisor>,
    /// Runs at least as long as the process.
    server: OnceLock<Arc<ForkServer>>,
    result_block: HostResultBlock,
    tail: Option<Arc<CapturedStderr>>,
    /// Its id and process, once it is known to run.
    started: OnceLock<(u32, ChildHandle)>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// It could not be forked, or nobody knows.
    failure: Option<io::Error>,
    end: Option<ExitReason>,
    outcome: Option<Outcome>,
    /// This program sent it SIGKILL.
    is_killed_by_us: bool,
    /// Charter and argument, until the process has copied them.
    order: Option<Span>,
    leases: LeaseList,
    /// Spans that it was given for its result.
    granted: Vec<Span>,
    socket: Option<(Arc<Link>, Token)>,
}

/// What a new record is made of.
pub(super) struct Parts {
    pub(super) name: String,
    pub(super) task: &'static str,
    pub(super) arena: Arc<Arena>,
    pub(super) supervisor: Arc<Supervisor>,
    pub(super) result_block: HostResultBlock,
    pub(super) tail: Option<Arc<CapturedStderr>>,
    pub(super) order: Span,
    pub(super) leases: LeaseList,
}

impl Record {
    pub(super) fn new(parts: Parts) -> Arc<Record> {
        let Parts { name, task, arena, supervisor, result_block, tail, order, leases } = parts;
        let state = State { order: Some(order), leases, ..State::default() };
        Arc::new(Record {
            host: Instance::current(),
            name,
            task,
            arena,
            supervisor,
            server: OnceLock::new(),
            result_block,
            tail,
            started: OnceLock::new(),
            state: Mutex::new(state),
            changed: Condvar::new(),
        })
    }

    /// Listens to the process on `socket` from now on, and keeps the server that runs it.
    pub(super) fn listen(self: &Arc<Self>, socket: Socket, server: Arc<ForkServer>) -> Result<()> {
        let _ = self.server.set(server);
        let link =
            Arc::new(Link { socket, record: Arc::downgrade(self), answers: Outbox::default() });
        // Held while adding: a handler that is called at once finds its token.
        let mut state = self.lock();
        let token = self.supervisor.add(Arc::clone(&link) as Arc<dyn Handler>)?;
        state.socket = Some((link, token));
        Ok(())
    }

    /// Stops listening to the process.
    pub(super) fn forget_socket(&self) {
        let socket = self.lock().socket.take();
        if let Some((_, token)) = socket {
            self.supervisor.remove(token);
        }
    }

    /// What the fork server says of it; called on the supervisor's thread.
    pub(super) fn on_child_event(&self, event: ChildEvent) {
        match event {
            ChildEvent::Started { pid, child } => {
                let name = self.name.clone();
                diagnostics::event(Level::DEBUG, move || {
                    tracing::debug!(name, pid, "process started");
                });
                let _ = self.started.set((pid, child));
                let link = self.lock().socket.as_ref().map(|(link, _)| Arc::clone(link));
                if let Some(link) = link {
                    link.answers.add(&PERMIT);
                    link.answer(self);
                }
            }
            ChildEvent::Failed(error) => self.lock().failure = Some(error),
            ChildEvent::Killed => {}
            ChildEvent::Ended { reason, peak_rss_bytes } => self.ended(reason, peak_rss_bytes),
        }
        // Taken and released, so that who has tested and does not wait yet is not missed.
        drop(self.lock());
        self.changed.notify_all();
    }

    /// It is reaped: from here on it writes nothing.
    fn ended(&self, reason: ExitReason, peak_rss_bytes: Option<u64>) {
        let (name, pid) = (self.name.clone(), self.pid());
        diagnostics::event(Level::DEBUG, move || {
            tracing::debug!(name, pid, %reason, "process ended");
        });
        self.forget_socket();
        self.stop_tail();
        let mut state = self.lock();
        let out_of_memory =
            reason == ExitReason::Signal(SIGKILL) && !state.is_killed_by_us && oom::claim();
        let granted = std::mem::take(&mut state.granted);
        let leases = std::mem::take(&mut state.leases);
        self.sweep(&leases);
        let outcome = match self.committed(&granted) {
            Some((Status::Value, bytes)) => Ok((bytes, leases)),
            Some((status, bytes)) => Err(Error::Task(failure(status, &bytes))),
            None => {
                let mut death = self.death(reason);
                death.out_of_memory = out_of_memory;
                death.peak_rss_bytes = peak_rss_bytes;
                Err(Error::Task(TaskError::Died(Box::new(death))))
            }
        };
        state.order = None;
        state.outcome = Some(outcome);
        state.end = Some(reason);
    }

    /// What it has left on its result block, and the bytes of that; it is reaped.
    fn committed(&self, granted: &[Span]) -> Option<(Status, Vec<u8>)> {
        let (status, place, len_bytes) = self.result_block.outcome()?;
        let bytes = match place {
            Place::Inline => self.result_block.inline(len_bytes)?,
            Place::Span(offset) => {
                let span = granted.iter().find(|span| span.offset() == offset)?;
                let len = usize::try_from(len_bytes).ok().filter(|&len| len <= span.len_bytes())?;
                span.load(len)
            }
        };
        Some((status, bytes))
    }

    /// What is known of its death.
    fn death(&self, reason: ExitReason) -> Death {
        Death {
            pid: self.pid().unwrap_or(0),
            worker: 0,
            process: Some(self.name.clone()),
            reason,
            out_of_memory: false,
            peak_rss_bytes: None,
            task: self.task,
            phase: self.result_block.phase().unwrap_or(Phase::Decoding),
            torn: Vec::new(),
            // A panic that the function caught, or a fault that it survived, did not end it.
            last_words: (self.result_block.last_words().filter(|_| leaves_words(reason)))
                .or_else(|| words_for(reason))
                .or_else(|| self.has_not_begun().then(|| words_of_unready(reason).to_owned())),
            stderr_tail: self.tail.as_ref().map(|tail| tail.text()),
        }
    }

    /// Whether it never came to look at its argument.
    fn has_not_begun(&self) -> bool {
        self.result_block.phase().is_none()
    }

    /// Takes back what the process would have had; it is certain that it has not begun.
    pub(super) fn reclaim(&self) -> LeaseList {
        let mut state = self.lock();
        state.order = None;
        std::mem::take(&mut state.leases)
    }

    /// Frees the locks that it held in memory that it was lent; it is certain that it has ended.
    fn sweep(&self, leases: &[Lease]) {
        let Some(pid) = self.pid() else { return };
        for memory in leases.iter().filter_map(Lease::object) {
            memory.sweep_process(pid);
        }
    }

    /// Whether this process asked for it, as against a child that was forked from that.
    pub(super) fn is_ours(&self) -> bool {
        self.host.is_current()
    }

    pub(super) fn pid(&self) -> Option<u32> {
        Some(self.started.get()?.0)
    }

    pub(super) fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.started.get()?.1.as_fd())
    }

    /// The end of what it wrote to its standard error, if that is captured.
    pub(super) fn stderr_tail(&self) -> Option<String> {
        self.tail.as_ref().map(|tail| tail.text())
    }

    /// Waits until it runs; the error if it does not come to that.
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

    /// How it ended, if it has. One that was not reaped yet is waited for a while: that takes no
    /// longer than the fork server takes to look, unless somebody has stopped that.
    pub(super) fn end(&self) -> Option<ExitReason> {
        if !self.is_ours() {
            return None;
        }
        if let Some(reason) = self.lock().end {
            return Some(reason);
        }
        match self.is_alive() {
            true => None,
            false => self.wait_until(Instant::now().checked_add(DEATH)),
        }
    }

    /// How it ended, if that is known; never waits.
    pub(super) fn known_end(&self) -> Option<ExitReason> {
        self.lock().end
    }

    /// Stops reading its standard error.
    pub(super) fn stop_tail(&self) {
        if let Some(tail) = &self.tail {
            tail.stop();
        }
    }

    /// Waits for its end, at most until `deadline`.
    pub(super) fn wait_until(&self, deadline: Option<Instant>) -> Option<ExitReason> {
        let mut state = self.lock();
        loop {
            if state.end.is_some() {
                return state.end;
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

    /// What it left, once.
    pub(super) fn take_outcome(&self) -> Option<Outcome> {
        self.lock().outcome.take()
    }

    /// Sends it a signal; nothing if it has ended.
    pub(super) fn signal(&self, number: i32) -> Result<()> {
        if !self.is_ours() {
            return Err(Error::Closed { what: "a process of the one that this was forked from" });
        }
        let Some((_, child)) = self.started.get() else { return Ok(()) };
        let mut state = self.lock();
        state.is_killed_by_us |= number == SIGKILL && state.end.is_none();
        child
            .signal(number)
            .map(drop)
            .map_err(|e| Error::os("pidfd_send_signal", format!("{} and {number}", self.name), e))
    }

    /// Ends it: SIGTERM, and SIGKILL after `grace`; returns when it is gone. One that sleeps in the
    /// kernel, or is frozen, is left behind: what it was lent stays with its record, which the
    /// connection to its fork server keeps until it is gone.
    pub(super) fn finish(&self, grace: Duration) {
        if !self.is_ours() || self.lock().end.is_some() {
            return;
        }
        if !grace.is_zero() {
            // A signal can only fail to reach a process that is gone.
            let _ = self.signal(SIGTERM);
            let deadline = Instant::now().checked_add(grace);
            if self.wait_until(deadline).is_some() {
                return;
            }
        }
        let _ = self.signal(SIGKILL);
        self.wait_until(Instant::now().checked_add(DEATH));
    }

    /// Reserves a span in the process's name; its offset, or `None` without memory.
    fn grant(&self, len: u64) -> Option<u64> {
        let span = self.arena.reserve(usize::try_from(len).ok()?, Contents::Stale).ok()?;
        let offset = span.offset();
        let mut state = self.lock();
        // It asks once, for its result; one that asks again and again is broken.
        if state.end.is_some() || state.granted.len() >= GRANTS_MAX {
            return None;
        }
        state.granted.push(span);
        Some(offset)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock panics half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long the end of a process that was killed is waited for.
const DEATH: Duration = Duration::from_secs(1);

/// Spans that a process may be given.
const GRANTS_MAX: usize = 2;

pub(super) const SIGINT: i32 = 2;
pub(super) const SIGKILL: i32 = 9;
pub(super) const SIGTERM: i32 = 15;

/// Whether the panic hook or the fault handler speaks last in a process that ends like this.
fn leaves_words(reason: ExitReason) -> bool {
    use crate::process::child::EXIT_SETUP;
    const ABORT: i32 = 6;
    const BUS: i32 = 7;
    const SEGV: i32 = 11;
    matches!(
        reason,
        ExitReason::Signal(ABORT | BUS | SEGV) | ExitReason::Code(EXIT_SETUP) | ExitReason::Unknown
    )
}

/// Why there is no value, by the process's own word.
fn failure(status: Status, bytes: &[u8]) -> TaskError {
    let codec = |what, action| {
        let reason = String::from_utf8_lossy(bytes).into_owned();
        TaskError::Codec { what, action, reason }
    };
    match status {
        Status::ArgumentCodec => codec("argument", "decoded"),
        Status::ResultCodec | Status::Value => codec("result", "encoded"),
        Status::Panicked => {
            let (message, location) = crate::array::codec::decode(bytes).unwrap_or_default();
            TaskError::Panicked { message, location }
        }
    }
}

/// The host's end of a process's socket.
pub(super) struct Link {
    socket: Socket,
    record: Weak<Record>,
    answers: Outbox,
}

impl Link {
    /// Sends the answers that wait; if there is no room, again later.
    fn answer(&self, record: &Record) {
        match self.answers.send(&self.socket) {
            SendState::Done => {}
            SendState::Pending => {
                if let Some((_, token)) = &record.lock().socket {
                    record.supervisor.set_deadline(*token, Instant::now() + RETRY_AFTER);
                }
            }
            // It would wait for ever.
            SendState::Stalled => drop(record.signal(SIGKILL)),
        }
    }
}

impl Handler for Link {
    fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn readable(&self) {
        let Some(record) = self.record.upgrade() else { return };
        let mut message = SpanMessage { len: 0, offset: 0 };
        match self.socket.try_receive(bytemuck::bytes_of_mut(&mut message)) {
            Ok(Received::Nothing) => {}
            Ok(Received::Message(bytes, _)) if bytes == size_of::<SpanMessage>() => {
                let len = message.len;
                if len == 0 {
                    // It has copied its argument.
                    return drop(record.lock().order.take());
                }
                let answer = match record.grant(len) {
                    Some(offset) => SpanMessage { len, offset },
                    None => SpanMessage { len: 0, offset: 0 },
                };
                self.answers.add(bytemuck::bytes_of(&answer));
                self.answer(&record);
            }
            // The death follows, or its function has closed every descriptor. What makes no sense
            // is not listened to twice.
            Ok(Received::Closed | Received::Message(..)) | Err(_) => {
                record.forget_socket();
            }
        }
    }

    fn deadline(&self) {
        if let Some(record) = self.record.upgrade() {
            self.answer(&record);
        }
    }
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Record")
            .field("name", &self.name)
            .field("pid", &self.pid())
            .finish_non_exhaustive()
    }
}

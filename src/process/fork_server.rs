//! The host's side of the fork server.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::process::child::{self, EntryPoint};
use crate::process::message::{CHILD_WORDS, ChildSetup, Request};
use crate::process::server_below;
use crate::process::server_connection::ServerConnection;
use crate::process::server_reuse::{self, IdleServer};
use crate::process::supervisor::Supervisor;
use crate::sys::fork::Instance;
use crate::sys::per_process::PerProcess;
use crate::sys::process::{self, Credentials};
use crate::sys::signal::Dispositions;
use crate::sys::socket::Socket;

pub(crate) use crate::process::child_handle::{ChildEvent, ChildHandle, Watcher};
pub(crate) use crate::process::handshake::Names;

/// A request for a new child.
pub(crate) struct SpawnRequest<'a> {
    pub(crate) entry: &'static EntryPoint,
    pub(crate) words: [u64; CHILD_WORDS - 1],
    pub(crate) fds: &'a [BorrowedFd<'a>],
    /// The name that `ps` shows, at most 15 bytes.
    pub(crate) name: &'a str,
    pub(crate) attributes: SpawnAttributes<'a>,
}

/// Attributes that not every child has.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct SpawnAttributes<'a> {
    /// Its standard error, if not the server's.
    pub(crate) stderr: Option<BorrowedFd<'a>>,
    /// Its standard output, if not the server's.
    pub(crate) stdout: Option<BorrowedFd<'a>>,
    /// Its standard input, if not `/dev/null`.
    pub(crate) stdin: Option<BorrowedFd<'a>>,
    /// Its working directory, if not the server's.
    pub(crate) directory: Option<BorrowedFd<'a>>,
    /// Its dispositions of signals.
    pub(crate) dispositions: Dispositions,
}

/// A running fork server. Dropping this ends the server, and thereby its children. If ended servers
/// are not reaped, it is kept without children: see `server_reuse`.
pub(crate) struct ForkServer {
    connection: Arc<ServerConnection>,
    /// The server that has forked it, if one has.
    above: Option<Arc<ForkServer>>,
    /// Kept while the server may send messages.
    supervisor: Arc<Supervisor>,
    start: server_reuse::StartContext,
    /// The process that started it; a forked child of that has no control over it.
    made_in: Instance,
    /// Credentials of its children.
    credentials: Credentials,
}

impl ForkServer {
    /// The fork server of this process. Starts one if none is running with the current users and
    /// groups of this process: so a process that dropped privileges cannot start children that
    /// still have them.
    ///
    /// A server that is started now has the environment of this process except the variables
    /// `without`. Children set their environment themselves.
    ///
    /// The server has answered when this returns, which takes milliseconds, or twenty seconds if it
    /// hangs. Never called by the supervisor, which reads the answer.
    ///
    /// # Errors
    ///
    /// [`Error::TooDeep`], [`Error::Privileged`], [`Error::Spawn`], [`Error::MultiThreaded`], or
    /// [`Error::Os`].
    pub(crate) fn current(without: &Names) -> Result<Arc<ForkServer>> {
        let server = ForkServer::current_unanswered(without)?;
        server.await_answer(None)?;
        Ok(server)
    }

    /// As [`current`](ForkServer::current), without waiting for the answer. If that is a refusal,
    /// later requests fail.
    ///
    /// # Errors
    ///
    /// As [`current`](ForkServer::current).
    pub(crate) fn current_unanswered(without: &Names) -> Result<Arc<ForkServer>> {
        static CURRENT: PerProcess<Mutex<Weak<ForkServer>>> = PerProcess::new(Mutex::default);
        let mut current = CURRENT.get().lock().unwrap_or_else(PoisonError::into_inner);
        let credentials =
            process::credentials().map_err(|e| Error::os("getgroups", "this process", e))?;
        let is_fit =
            |server: &Arc<ForkServer>| server.is_alive() && server.credentials == credentials;
        if let Some(running) = current.upgrade().filter(is_fit) {
            return Ok(running);
        }
        let (depth, limit) = (child::total_depth(), child::DEPTH_MAX);
        if depth >= limit {
            return Err(Error::TooDeep { depth: depth.into(), limit: limit.into() });
        }
        let started = Arc::new(ForkServer::start(credentials, without)?);
        *current = Arc::downgrade(&started);
        Ok(started)
    }

    fn start(credentials: Credentials, without: &Names) -> Result<ForkServer> {
        let made_in = Instance::current();
        if let Some(IdleServer { connection, supervisor, start }) = server_reuse::take() {
            return Ok(ForkServer {
                connection,
                above: None,
                supervisor,
                start,
                made_in,
                credentials,
            });
        }
        let start = server_reuse::StartContext::now();
        let supervisor = Supervisor::current()?;
        let connection = ServerConnection::open(&supervisor, without)?;
        Ok(ForkServer { connection, above: None, supervisor, start, made_in, credentials })
    }

    /// Starts a server as a child of this one; see `server_below`. The entry of `request` runs
    /// first, and ends with [`server_below::serve`] or [`server_below::refuse`]. Its last two
    /// descriptors are a socket at which it awaits its permit, and the server's socket; its last
    /// word is the token. `kept` is kept while it may run with the permit. If it has not answered
    /// within `answer_within`, it is killed.
    ///
    /// # Errors
    ///
    /// [`Error::Spawn`] or [`Error::Os`].
    pub(crate) fn start_below(
        self: &Arc<ForkServer>,
        request: &SpawnRequest<'_>,
        answer_within: Option<Duration>,
        kept: impl Send + Sync + 'static,
    ) -> Result<ForkServer> {
        let supervisor = Arc::clone(&self.supervisor);
        let (connection, theirs) = ServerConnection::open_below(&supervisor, answer_within)?;
        let mut words = request.words;
        words[CHILD_WORDS - 2] = connection.token;
        let (permit, awaited) = Socket::pair()
            .map_err(|e| Error::os("socketpair", server_below::NAME, e))
            .inspect_err(|_| connection.close_below())?;
        let own_fds = [awaited.as_fd(), theirs.as_fd()];
        let fds: Vec<BorrowedFd<'_>> = request.fds.iter().copied().chain(own_fds).collect();
        let own = Arc::downgrade(&connection);
        let watcher = move |event| {
            let _ = &kept;
            let has_started = matches!(event, ChildEvent::Started { .. });
            server_below::child_event(&own, event);
            if has_started {
                // The socket is empty, so an error means that the child has ended.
                let _ = permit.try_send(&child::PERMIT, &[]);
            }
        };
        let SpawnRequest { entry, name, attributes, .. } = *request;
        let request = SpawnRequest { entry, words, fds: &fds, name, attributes };
        self.spawn(&request, Box::new(watcher)).inspect_err(|_| connection.close_below())?;
        let (start, credentials) = (self.start, self.credentials.clone());
        let (above, made_in) = (Some(Arc::clone(self)), Instance::current());
        Ok(ForkServer { connection, above, supervisor, start, made_in, credentials })
    }

    /// Waits for its answer that it can fork, no longer than `timeout`.
    ///
    /// # Errors
    ///
    /// Why it cannot; [`Error::TimedOut`].
    pub(crate) fn await_answer(&self, timeout: Option<Duration>) -> Result<()> {
        self.connection.answer.wait(timeout)
    }

    fn is_ours(&self) -> bool {
        self.made_in.is_current()
    }

    /// Whether it can still fork.
    pub(crate) fn is_alive(&self) -> bool {
        self.connection.is_open()
    }

    /// Requests a child. `watcher` receives its events.
    ///
    /// # Errors
    ///
    /// [`Error::Spawn`] if the server is gone; the watcher is not called then.
    pub(crate) fn spawn(&self, request: &SpawnRequest<'_>, watcher: Watcher) -> Result<()> {
        static LAST_ID: AtomicU64 = AtomicU64::new(0);
        let entry = request.entry.to_word()?;
        // Relaxed: the ids must only be distinct.
        let id = LAST_ID.fetch_add(1, Ordering::Relaxed) + 1;
        let mut name = [0u8; 16];
        for (to, from) in name[..15].iter_mut().zip(request.name.bytes()) {
            *to = from;
        }
        let SpawnAttributes { stderr, stdout, stdin, directory, dispositions } = request.attributes;
        // The child takes them from the end.
        let special = [directory, stdin, stdout, stderr].into_iter().flatten();
        let fds: Vec<BorrowedFd<'_>> = request.fds.iter().copied().chain(special).collect();
        let setup = ChildSetup {
            has_stderr: stderr.is_some(),
            has_stdout: stdout.is_some(),
            has_stdin: stdin.is_some(),
            has_directory: directory.is_some(),
            dispositions,
            depth: child::depth().saturating_add(1),
            fds: u8::try_from(fds.len()).unwrap_or(u8::MAX),
        };
        let message = Request::Spawn { id, entry, words: request.words, name, setup }.message();
        self.connection.spawn(id, &message, &fds, watcher)
    }
}

impl Drop for ForkServer {
    fn drop(&mut self) {
        if !self.is_ours() {
            return;
        }
        if self.above.is_some() {
            return self.connection.close_below();
        }
        let (connection, supervisor) = (Arc::clone(&self.connection), Arc::clone(&self.supervisor));
        server_reuse::keep_or_end(IdleServer { connection, supervisor, start: self.start });
    }
}

impl std::fmt::Debug for ForkServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ForkServer").field("alive", &self.is_alive()).finish_non_exhaustive()
    }
}

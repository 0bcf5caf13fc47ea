//! The host's side of the fork server.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::exit::ExitReason;
use crate::process::child::{self, Entry};
use crate::process::events::{Handler, Supervisor, Token};
use crate::process::function::FunctionOffset;
use crate::process::greeting::{self, spawn_error};
use crate::process::message::{CHILD_WORDS, Manner, RECORD_BYTES, Report, Request};
use crate::sys::poll::{Interest, is_readable, wait_any};
use crate::sys::process;
use crate::sys::socket::{Received, Socket};

/// What happens to a child, in this order: `Started` or `Failed`; after `Started` once `Ended`.
/// After `Failed` there is no child, unless the error is `BrokenPipe`: then nobody knows.
#[derive(Debug)]
pub(crate) enum ChildEvent {
    /// It runs.
    Started { pid: u32, pidfd: OwnedFd },
    /// It could not be forked.
    Failed(io::Error),
    /// It has ended and is reaped: it can write to shared memory no more.
    Ended { reason: ExitReason, peak_rss_bytes: Option<u64> },
}

/// Hears of a child; called on the supervisor's thread.
pub(crate) type Watcher = Box<dyn Fn(ChildEvent) + Send + Sync>;

/// What a new child gets.
pub(crate) struct Order<'a> {
    pub(crate) entry: Entry,
    pub(crate) words: [u64; CHILD_WORDS - 1],
    pub(crate) fds: &'a [BorrowedFd<'a>],
    /// What `ps` shows, at most 15 bytes.
    pub(crate) name: &'a str,
    pub(crate) extras: Extras<'a>,
}

/// What not every child is to have.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Extras<'a> {
    /// What becomes its standard error, if not the server's.
    pub(crate) stderr: Option<BorrowedFd<'a>>,
    /// Whether SIGINT ends it, instead of being ignored.
    pub(crate) interruptible: bool,
}

/// How long the server may owe a report before it is looked after.
const PROMPT: Duration = Duration::from_millis(500);
/// How often it is told to continue before it is given up, `PROMPT` apart.
const REMINDERS_MAX: u32 = 40;

struct Watched {
    watcher: Arc<Watcher>,
    has_started: bool,
    /// It runs, but its pidfd did not arrive: it is to be killed.
    is_unwanted: bool,
    /// A descriptor for it and its registration, from when it has started.
    end: Option<(Arc<ChildEnd>, Token)>,
}

/// The end of a child, seen without the server: which may be stopped, and then does not report.
struct ChildEnd {
    pidfd: OwnedFd,
    connection: Weak<Connection>,
}

/// The end of the server, seen by its pidfd: a process that the host forked at the wrong moment
/// may keep the other end of the socket open.
struct ServerEnd(Weak<Connection>, OwnedFd);

struct Connection {
    socket: Socket,
    pidfd: OwnedFd,
    /// `None` once the server is gone.
    children: Mutex<Option<HashMap<u64, Watched>>>,
    own: Weak<Connection>,
    supervisor: Weak<Supervisor>,
    /// What is registered with the supervisor: this, and the server's end.
    tokens: Mutex<Vec<Token>>,
    /// How often the server was reminded of what it owes; `None` while it is not known to owe.
    reminders: Mutex<Option<u32>>,
}

/// A running fork server; it ends, and its children with it, when this is dropped.
pub(crate) struct ForkServer {
    connection: Arc<Connection>,
    /// Kept while there is a server to hear from.
    _supervisor: Arc<Supervisor>,
    /// The process that started it: a child forked from that has no say.
    pid: u32,
}

impl ForkServer {
    /// The fork server of this process, started if it is not running.
    ///
    /// # Errors
    ///
    /// [`Error::TooDeep`], [`Error::Spawn`], [`Error::MultiThreaded`], or [`Error::Os`].
    pub(crate) fn current() -> Result<Arc<ForkServer>> {
        let (depth, limit) = (child::depth(), child::DEPTH_MAX);
        if depth >= limit {
            return Err(Error::TooDeep { depth: depth.into(), limit: limit.into() });
        }
        static CURRENT: Mutex<Weak<ForkServer>> = Mutex::new(Weak::new());
        let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) =
            current.upgrade().filter(|server| server.is_ours() && server.is_alive())
        {
            return Ok(running);
        }
        let started = Arc::new(ForkServer::start()?);
        *current = Arc::downgrade(&started);
        Ok(started)
    }

    fn start() -> Result<ForkServer> {
        let os = |call| move |error: io::Error| Error::os(call, "the fork server", error);
        let supervisor = Supervisor::current()?;
        let (socket, pidfd) = greeting::start_server()?;
        let end = pidfd.try_clone().map_err(os("dup"))?;
        let connection = Arc::new_cyclic(|own: &Weak<Connection>| Connection {
            own: own.clone(),
            socket,
            pidfd,
            children: Mutex::new(Some(HashMap::new())),
            supervisor: Arc::downgrade(&supervisor),
            tokens: Mutex::default(),
            reminders: Mutex::new(None),
        });
        let server = ForkServer {
            connection: Arc::clone(&connection),
            _supervisor: Arc::clone(&supervisor),
            pid: process::pid(),
        };
        let end = Arc::new(ServerEnd(Arc::downgrade(&connection), end));
        // Held while adding: a handler that is called at once finds all tokens.
        let mut tokens = lock(&connection.tokens);
        tokens.push(supervisor.add(Arc::clone(&connection) as Arc<dyn Handler>)?);
        tokens.push(supervisor.add(end)?);
        drop(tokens);
        Ok(server)
    }

    fn is_ours(&self) -> bool {
        self.pid == process::pid()
    }

    /// Whether it can still fork.
    pub(crate) fn is_alive(&self) -> bool {
        lock(&self.connection.children).is_some()
    }

    /// Asks for a child. What becomes of it, `watcher` hears.
    ///
    /// # Errors
    ///
    /// [`Error::Spawn`] if the server is gone; the watcher is not called then.
    pub(crate) fn spawn(&self, order: &Order<'_>, watcher: Watcher) -> Result<()> {
        static LAST_ID: AtomicU64 = AtomicU64::new(0);
        let entry = FunctionOffset::of(order.entry as *const ())?.to_word();
        // Only distinctness matters.
        let id = LAST_ID.fetch_add(1, Ordering::Relaxed) + 1;
        let mut name = [0u8; 16];
        for (to, from) in name[..15].iter_mut().zip(order.name.bytes()) {
            *to = from;
        }
        let fds: Vec<BorrowedFd<'_>> =
            order.fds.iter().copied().chain(order.extras.stderr).collect();
        let manner = Manner {
            interruptible: order.extras.interruptible,
            captures_stderr: order.extras.stderr.is_some(),
            depth: child::depth().saturating_add(1),
            fds: u8::try_from(fds.len()).unwrap_or(u8::MAX),
        };
        let record = Request::Spawn { id, entry, words: order.words, name, manner }.record();
        {
            let mut children = lock(&self.connection.children);
            let Some(children) = children.as_mut() else {
                return Err(spawn_error("the fork server has ended"));
            };
            children.insert(
                id,
                Watched {
                    watcher: Arc::new(watcher),
                    has_started: false,
                    is_unwanted: false,
                    end: None,
                },
            );
        }
        let sent = self.connection.socket.send(bytemuck::bytes_of(&record), &fds);
        if let Err(error) = sent {
            if let Some(children) = lock(&self.connection.children).as_mut() {
                children.remove(&id);
            }
            return Err(spawn_error(format!("the fork server does not listen: {error}")));
        }
        self.connection.await_report();
        Ok(())
    }
}

impl Drop for ForkServer {
    fn drop(&mut self) {
        if !self.is_ours() {
            return;
        }
        self.connection.unregister();
        // It ends at end of file; a server that hangs is killed.
        self.connection.socket.shut_down();
        let exited = [Interest { fd: self.connection.pidfd.as_fd(), writable: false }];
        let deadline = Instant::now() + Duration::from_secs(1);
        while !wait_any(&exited, Some(deadline.saturating_duration_since(Instant::now())))
            .is_ok_and(|ready| ready[0])
        {
            if Instant::now() >= deadline {
                let _ = process::pidfd_kill(self.connection.pidfd.as_fd());
                break;
            }
        }
        process::reap_if_adopted(self.connection.pidfd.as_fd());
        self.connection.server_gone();
    }
}

impl Handler for Connection {
    fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn readable(&self) {
        let mut buffer = [0u8; RECORD_BYTES];
        loop {
            let report = match self.socket.try_receive(&mut buffer) {
                Ok(Received::Message(len, fds)) => {
                    Report::parse(&buffer[..len]).ok().map(|report| (report, fds))
                }
                Ok(Received::Nothing) => return,
                Ok(Received::Closed) | Err(_) => None,
            };
            match report {
                Some((report, fds)) => self.deliver(report, fds),
                None => {
                    self.server_gone();
                    return;
                }
            }
        }
    }

    /// The server owes a report: if it still does, it is stopped, or worse.
    fn deadline(&self) {
        self.readable();
        let owes = lock(&self.children).as_ref().is_some_and(|children| {
            children.values().any(|child| match &child.end {
                None => !child.has_started,
                Some((end, _)) => is_readable(end.pidfd.as_fd()),
            })
        });
        let mut reminders = lock(&self.reminders);
        let Some(count) = reminders.filter(|_| owes) else {
            *reminders = None;
            return;
        };
        *reminders = Some(count + 1);
        drop(reminders);
        // Counted in looks, not in time, so that a host that was stopped itself blames nobody.
        let _ = if count < REMINDERS_MAX {
            process::pidfd_continue(self.pidfd.as_fd())
        } else {
            process::pidfd_kill(self.pidfd.as_fd())
        };
        self.look_again();
    }
}

impl Handler for ChildEnd {
    fn fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    fn readable(&self) {
        if let Some(connection) = self.connection.upgrade() {
            connection.child_ended(self);
        }
    }

    fn deadline(&self) {}
}

impl Handler for ServerEnd {
    fn fd(&self) -> BorrowedFd<'_> {
        self.1.as_fd()
    }

    fn readable(&self) {
        if let Some(connection) = self.0.upgrade() {
            // What it said before it ended comes first.
            connection.readable();
            connection.server_gone();
        }
    }

    fn deadline(&self) {}
}

impl Connection {
    /// From now on the server owes a report.
    fn await_report(&self) {
        let mut reminders = lock(&self.reminders);
        if reminders.is_none() {
            *reminders = Some(0);
            drop(reminders);
            self.look_again();
        }
    }

    fn look_again(&self) {
        let token = lock(&self.tokens).first().copied();
        if let (Some(supervisor), Some(token)) = (self.supervisor.upgrade(), token) {
            supervisor.set_deadline(token, Instant::now() + PROMPT);
        }
    }

    /// A child has ended, which the server is to report.
    fn child_ended(&self, end: &ChildEnd) {
        let token = lock(&self.children).as_ref().and_then(|children| {
            let mut ends = children.values().filter_map(|child| child.end.as_ref());
            ends.find(|(other, _)| std::ptr::eq(&**other, end)).map(|(_, token)| *token)
        });
        if let (Some(token), Some(supervisor)) = (token, self.supervisor.upgrade()) {
            supervisor.remove(token);
            self.await_report();
        }
    }

    /// Has the supervisor watch for the end of a child.
    fn watch(&self, pidfd: &OwnedFd) -> Option<(Arc<ChildEnd>, Token)> {
        let pidfd = pidfd.try_clone().ok()?;
        let end = Arc::new(ChildEnd { pidfd, connection: self.own.clone() });
        let token = self.supervisor.upgrade()?.add(Arc::clone(&end) as Arc<dyn Handler>).ok()?;
        Some((end, token))
    }

    /// Stops listening to the server.
    fn unregister(&self) {
        let tokens = std::mem::take(&mut *lock(&self.tokens));
        if let Some(supervisor) = self.supervisor.upgrade() {
            tokens.into_iter().for_each(|token| supervisor.remove(token));
        }
    }

    fn deliver(&self, report: Report, mut fds: Vec<OwnedFd>) {
        match report {
            Report::Started { id, pid } => match fds.pop() {
                Some(pidfd) => self.started(id, pid, pidfd),
                None => self.reject(id),
            },
            Report::Failed { id, errno } => {
                self.finished(id, ChildEvent::Failed(io::Error::from_raw_os_error(errno)));
            }
            Report::Ended { id, reason, peak_rss_bytes, .. } => {
                let peak_rss_bytes = Some(peak_rss_bytes);
                self.finished(id, ChildEvent::Ended { reason, peak_rss_bytes });
            }
            Report::Ready { .. } | Report::MultiThreaded { .. } => {}
        }
    }

    fn started(&self, id: u64, pid: u32, pidfd: OwnedFd) {
        let end = self.watch(&pidfd);
        let watcher = {
            let mut children = lock(&self.children);
            children.as_mut().and_then(|children| children.get_mut(&id)).map(|watched| {
                watched.has_started = true;
                watched.end = end;
                Arc::clone(&watched.watcher)
            })
        };
        if let Some(watcher) = watcher {
            watcher(ChildEvent::Started { pid, pidfd });
        }
    }

    /// This process has no descriptor to spare, so the kernel dropped the pidfd of a child: the
    /// server ends it, and its end is a failure to start.
    fn reject(&self, id: u64) {
        if let Some(children) = lock(&self.children).as_mut()
            && let Some(watched) = children.get_mut(&id)
        {
            watched.is_unwanted = true;
        }
        // Without room the child runs to its own end, and the failure is heard of then.
        let kill = Request::Kill { id }.record();
        let _ = self.socket.try_send(bytemuck::bytes_of(&kill), &[]);
        self.await_report();
    }

    /// Nothing more happens to a child after this.
    fn finished(&self, id: u64, event: ChildEvent) {
        let Some(watched) = lock(&self.children).as_mut().and_then(|all| all.remove(&id)) else {
            return;
        };
        let is_unwanted = watched.is_unwanted;
        let (watcher, _) = self.forget(watched);
        watcher(match is_unwanted {
            true => ChildEvent::Failed(process::no_more_descriptors()),
            false => event,
        });
    }

    /// Stops watching for the end of a child; who is to hear of it, and its pidfd.
    fn forget(&self, watched: Watched) -> (Arc<Watcher>, Option<Arc<ChildEnd>>) {
        let Watched { watcher, end, .. } = watched;
        let end = end.map(|(end, token)| {
            if let Some(supervisor) = self.supervisor.upgrade() {
                supervisor.remove(token);
            }
            end
        });
        (watcher, end)
    }

    /// The server has ended, so its children end too: waits for each, and tells its watcher.
    fn server_gone(&self) {
        self.unregister();
        let Some(children) = lock(&self.children).take() else { return };
        let ends: Vec<_> = children.into_values().map(|child| self.forget(child)).collect();
        for (_, end) in &ends {
            if let Some(end) = end {
                // The kernel sends SIGKILL with the server's end; a task may have disabled that.
                let _ = process::pidfd_kill(end.pidfd.as_fd());
            }
        }
        for (watcher, end) in ends {
            let Some(end) = end else {
                watcher(ChildEvent::Failed(io::Error::from(io::ErrorKind::BrokenPipe)));
                continue;
            };
            let interest = [Interest { fd: end.pidfd.as_fd(), writable: false }];
            while !wait_any(&interest, None).is_ok_and(|ready| ready[0]) {}
            watcher(ChildEvent::Ended { reason: ExitReason::Unknown, peak_rss_bytes: None });
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under these locks panics half-way through a change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for ForkServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ForkServer").field("alive", &self.is_alive()).finish_non_exhaustive()
    }
}

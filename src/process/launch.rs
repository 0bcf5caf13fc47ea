//! The host's side of the fork server: starting it, asking it for children, hearing of their end.

use std::collections::HashMap;
use std::ffi::CString;
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
use crate::process::hook;
use crate::process::message::{CHILD_WORDS, RECORD_BYTES, Report, Request};
use crate::sys::poll::{Interest, wait_any};
use crate::sys::process::{self, Kinship};
use crate::sys::socket::{Received, Socket};

/// How long a fork server may take from exec to its first word.
const HANDSHAKE: Duration = Duration::from_secs(20);

/// Variables that make numeric libraries start threads; such a library reads them when loaded.
const THREADS_OF_LIBRARIES: [&str; 6] = [
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "RAYON_NUM_THREADS",
];

/// What happens to a child, in this order: `Started` or `Failed`; after `Started` once `Ended`.
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
}

struct Watched {
    watcher: Arc<Watcher>,
    /// Its pid and a descriptor for it, from when it has started.
    started: Option<OwnedFd>,
}

struct Connection {
    socket: Socket,
    pidfd: OwnedFd,
    /// `None` once the server is gone.
    children: Mutex<Option<HashMap<u64, Watched>>>,
    /// For removing itself when the server is gone.
    registration: Mutex<Option<(Weak<Supervisor>, Token)>>,
}

/// A running fork server; it ends, and its children with it, when this is dropped.
pub(crate) struct ForkServer {
    connection: Arc<Connection>,
    supervisor: Arc<Supervisor>,
    token: Token,
    /// The process that started it: a child forked from that has no say.
    pid: u32,
}

impl ForkServer {
    /// The fork server of this process, started if it is not running.
    ///
    /// # Errors
    ///
    /// [`Error::Spawn`], [`Error::MultiThreaded`], or [`Error::Os`].
    pub(crate) fn current() -> Result<Arc<ForkServer>> {
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
        if !hook::is_in_place() {
            return Err(spawn_error(
                "this program's start-up does not run brigade's hook (is the crate linked into a \
                 library that another program loads?); use Start::InProcess",
            ));
        }
        let supervisor = Supervisor::current()?;
        let os = |call| move |error: io::Error| Error::os(call, "the fork server", error);
        let (socket, theirs) = Socket::pair().map_err(os("socketpair"))?;
        // Only there to tell this exec from any other that inherits the variable.
        let token = rand_token();
        let env = server_environment(token);
        let args = [c"brigade-server".to_owned()];
        // The fork server above a worker kills whatever it adopts when any worker ends.
        let kinship = if child::is_child() { Kinship::Child } else { Kinship::Orphan };
        process::spawn(kinship, c"/proc/self/exe", &args, &env, theirs.as_fd())
            .map_err(os("posix_spawn"))?;
        drop(theirs);
        let pidfd = handshake(&socket, token)?;
        let connection = Arc::new(Connection {
            socket,
            pidfd,
            children: Mutex::new(Some(HashMap::new())),
            registration: Mutex::new(None),
        });
        let token = supervisor.add(Arc::clone(&connection) as Arc<dyn Handler>)?;
        *lock(&connection.registration) = Some((Arc::downgrade(&supervisor), token));
        Ok(ForkServer { connection, supervisor, token, pid: process::pid() })
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
        let record = Request::Spawn { id, entry, words: order.words, name }.record();
        {
            let mut children = lock(&self.connection.children);
            let Some(children) = children.as_mut() else {
                return Err(spawn_error("the fork server has ended"));
            };
            children.insert(id, Watched { watcher: Arc::new(watcher), started: None });
        }
        let sent = self.connection.socket.send(bytemuck::bytes_of(&record), order.fds);
        if let Err(error) = sent {
            if let Some(children) = lock(&self.connection.children).as_mut() {
                children.remove(&id);
            }
            return Err(spawn_error(format!("the fork server does not listen: {error}")));
        }
        Ok(())
    }
}

impl Drop for ForkServer {
    fn drop(&mut self) {
        if !self.is_ours() {
            return;
        }
        self.supervisor.remove(self.token);
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
                    if let Some((supervisor, token)) = lock(&self.registration).take() {
                        if let Some(supervisor) = supervisor.upgrade() {
                            supervisor.remove(token);
                        }
                    }
                    self.server_gone();
                    return;
                }
            }
        }
    }

    fn deadline(&self) {}
}

impl Connection {
    fn deliver(&self, report: Report, mut fds: Vec<OwnedFd>) {
        let (id, event) = match report {
            Report::Started { id, pid } => match fds.pop() {
                Some(pidfd) => (id, ChildEvent::Started { pid, pidfd }),
                None => return,
            },
            Report::Failed { id, errno } => {
                (id, ChildEvent::Failed(io::Error::from_raw_os_error(errno)))
            }
            Report::Ended { id, reason, peak_rss_bytes, .. } => {
                (id, ChildEvent::Ended { reason, peak_rss_bytes: Some(peak_rss_bytes) })
            }
            Report::Ready { .. } | Report::MultiThreaded { .. } => return,
        };
        let watcher = {
            let mut children = lock(&self.children);
            let Some(children) = children.as_mut() else { return };
            let Some(watched) = children.get_mut(&id) else { return };
            let watcher = Arc::clone(&watched.watcher);
            match &event {
                ChildEvent::Started { pidfd, .. } => watched.started = pidfd.try_clone().ok(),
                ChildEvent::Failed(_) | ChildEvent::Ended { .. } => drop(children.remove(&id)),
            }
            watcher
        };
        watcher(event);
    }

    /// The server has ended, so its children end too: waits for each, and tells its watcher.
    fn server_gone(&self) {
        let Some(children) = lock(&self.children).take() else { return };
        for (_, Watched { watcher, started }) in children {
            let Some(pidfd) = started else {
                watcher(ChildEvent::Failed(io::Error::from(io::ErrorKind::BrokenPipe)));
                continue;
            };
            // The kernel sends it SIGKILL with the server's end; a task may have disabled that.
            let _ = process::pidfd_kill(pidfd.as_fd());
            let interest = [Interest { fd: pidfd.as_fd(), writable: false }];
            while !wait_any(&interest, None).is_ok_and(|ready| ready[0]) {}
            watcher(ChildEvent::Ended { reason: ExitReason::Unknown, peak_rss_bytes: None });
        }
    }
}

fn handshake(socket: &Socket, token: u64) -> Result<OwnedFd> {
    let os = |call| move |error: io::Error| Error::os(call, "the fork server", error);
    let own = process::pidfd_open(process::pid()).map_err(os("pidfd_open"))?;
    let hello = Request::Hello { token }.record();
    socket.send(bytemuck::bytes_of(&hello), &[own.as_fd()]).map_err(os("sendmsg"))?;
    let deadline = Instant::now() + HANDSHAKE;
    let interest = [Interest { fd: socket.as_fd(), writable: false }];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(spawn_error(format!("no answer within {HANDSHAKE:?}")));
        }
        if wait_any(&interest, Some(left)).map_err(os("poll"))?[0] {
            break;
        }
    }
    let mut buffer = [0u8; RECORD_BYTES];
    let (report, mut fds) = match socket.try_receive(&mut buffer).map_err(os("recvmsg"))? {
        Received::Message(len, fds) => (Report::parse(&buffer[..len])?, fds),
        Received::Nothing | Received::Closed => {
            return Err(spawn_error("it ended before its first word"));
        }
    };
    match (report, fds.pop()) {
        (Report::Ready { token: theirs }, Some(pidfd)) if theirs == token => Ok(pidfd),
        (Report::MultiThreaded { threads }, _) => {
            Err(Error::MultiThreaded { threads: usize::try_from(threads).unwrap_or(usize::MAX) })
        }
        (other, _) => Err(spawn_error(format!("it answered {other:?}"))),
    }
}

fn server_environment(token: u64) -> Vec<CString> {
    let ours = |name: &str| name == hook::VARIABLE || THREADS_OF_LIBRARIES.contains(&name);
    let mut env = process::environment(ours);
    let added = THREADS_OF_LIBRARIES
        .iter()
        .map(|name| format!("{name}=1"))
        .chain([format!("{}={token}", hook::VARIABLE)]);
    // None of these strings has a zero byte.
    env.extend(added.filter_map(|entry| CString::new(entry).ok()));
    env
}

/// A number that no other exec of this program will guess by accident.
fn rand_token() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::hash::RandomState::new().build_hasher().finish()
}

fn spawn_error(reason: impl Into<String>) -> Error {
    Error::Spawn { what: "the fork server", reason: reason.into() }
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

//! Starts a fork server, and exchanges the first messages with it.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::process::child;
use crate::process::init_hook;
use crate::process::message::Request;
use crate::process::peer;
use crate::process::sweep;
#[cfg(feature = "failpoints")]
use crate::sys::failpoint::{self, Point};
use crate::sys::poll::{Interest, wait_any};
use crate::sys::posix_spawn::{Parentage, spawn};
use crate::sys::socket::Socket;
use crate::sys::{exec_privileges, process, random};

/// Variables that make numeric libraries start threads; the libraries read them when loaded.
const THREADS_OF_LIBRARIES: [&str; 6] = [
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "RAYON_NUM_THREADS",
];

/// Names of environment variables.
pub(crate) type Names = BTreeSet<String>;

/// A server that was started and greeted, and has not answered yet.
pub(super) struct Handshake {
    pub(super) socket: Socket,
    /// The token that its answer must repeat.
    pub(super) token: u64,
    /// A pidfd opened by the server's number; its own pidfd comes with its answer. If the server
    /// has ended and was reaped, this refers to another process, so it must not be used for
    /// signals. `None` for a server below another.
    pub(super) pidfd: Option<OwnedFd>,
}

/// A server's answer to the handshake: the supervisor reads it, other threads wait for it.
#[derive(Default)]
pub(super) struct Answer {
    state: Mutex<AnswerState>,
    changed: Condvar,
}

#[derive(Default)]
enum AnswerState {
    /// No answer yet.
    #[default]
    Awaited,
    /// It can fork.
    Ready,
    /// It cannot fork, for this reason.
    Rejected(Error),
    /// The same; the reason was returned before.
    Reported,
}

impl Answer {
    fn lock(&self) -> MutexGuard<'_, AnswerState> {
        // No code under this lock panics in the middle of a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_awaited(&self) -> bool {
        matches!(*self.lock(), AnswerState::Awaited)
    }

    /// Whether the server can fork.
    pub(super) fn is_ready(&self) -> bool {
        matches!(*self.lock(), AnswerState::Ready)
    }

    /// Sets the answer. Only the first call has an effect.
    pub(super) fn set(&self, answer: Result<()>) {
        let mut state = self.lock();
        if matches!(*state, AnswerState::Awaited) {
            *state = answer.map_or_else(AnswerState::Rejected, |()| AnswerState::Ready);
            self.changed.notify_all();
        }
    }

    /// Waits for the answer, no longer than `timeout`.
    ///
    /// # Errors
    ///
    /// Why the server refuses to serve. Except for [`Error::MultiThreaded`], only the first caller
    /// gets the reason itself. [`Error::TimedOut`] if there is none in time.
    pub(super) fn wait(&self, timeout: Option<Duration>) -> Result<()> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut state = self.lock();
        while matches!(*state, AnswerState::Awaited) {
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            if let Some(after) = timeout.filter(|_| left.is_some_and(|left| left.is_zero())) {
                return Err(Error::TimedOut { what: "a fork server", after });
            }
            state = match left {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(left) => {
                    let waited = self.changed.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        match &*state {
            AnswerState::Awaited | AnswerState::Ready => return Ok(()),
            AnswerState::Reported => {
                return Err(spawn_error("it has refused to serve, and has ended"));
            }
            AnswerState::Rejected(Error::MultiThreaded { threads, names }) => {
                return Err(Error::MultiThreaded { threads: *threads, names: names.clone() });
            }
            AnswerState::Rejected(_) => {}
        }
        match std::mem::replace(&mut *state, AnswerState::Reported) {
            AnswerState::Rejected(error) => Err(error),
            _ => unreachable!("matched above, under the same lock"),
        }
    }
}

/// Starts a server and greets it. It has the environment of this process except the variables
/// `without`.
///
/// # Errors
///
/// [`Error::Privileged`], [`Error::Spawn`] or [`Error::Os`].
pub(super) fn start_server(without: &Names) -> Result<Handshake> {
    if !init_hook::is_in_place() {
        return Err(spawn_error(
            "this program's start-up does not run brigade's hook (is the crate linked into a \
             library that another program loads?); use Start::InProcess",
        ));
    }
    if let Some(privileges) = exec_privileges::of_own_file() {
        return Err(Error::Privileged { privileges });
    }
    let os = |call| move |error: io::Error| Error::os(call, "the fork server", error);
    let (socket, theirs) = Socket::pair().map_err(os("socketpair"))?;
    // It distinguishes this exec from any other that inherits the variable. From the kernel, since
    // the keys of a `RandomState` are the same in all processes that a preload forks.
    let token = random::random_u64()?;
    let env = server_environment(token, without);
    // For tasks that read the program's arguments.
    let mut args = process::arguments();
    if args.is_empty() {
        args.push(c"brigade-server".to_owned());
    }
    // A fork server above this process kills the processes that it adopts when any worker ends.
    let parentage = if child::total_depth() > 0 { Parentage::Child } else { Parentage::Orphan };
    let exe = c"/proc/self/exe".to_owned();
    // Opened first, because there may be no free descriptor: later there is a process to end.
    let own = process::pidfd_open(process::pid()).map_err(os("pidfd_open"))?;
    let pid = spawn(parentage, exe, args, env, theirs.into()).map_err(|error| {
        match error.raw_os_error() {
            Some(_) => Error::os("posix_spawn", "/proc/self/exe, the fork server", error),
            None => spawn_error(error.to_string()),
        }
    })?;
    #[cfg(feature = "failpoints")]
    failpoint::hit(Point::HostStartsServer);
    let ended = |_| spawn_error("it ended before it was greeted");
    let pidfd = process::pidfd_open(pid).map_err(|error| match error.raw_os_error() {
        Some(ESRCH) => ended(error),
        _ => os("pidfd_open")(error),
    })?;
    let hello = Request::Hello { token }.message();
    if let Err(error) = socket.send(bytemuck::bytes_of(&hello), &[own.as_fd()]) {
        socket.shut_down();
        wait_for_exit(pidfd.as_fd());
        return Err(match error.kind() {
            io::ErrorKind::BrokenPipe => ended(error),
            _ => os("sendmsg")(error),
        });
    }
    Ok(Handshake { socket, token, pidfd: Some(pidfd) })
}

/// Waits up to `EXIT_TIMEOUT` for the end of a server that was told to end, and reaps it if this
/// process has adopted it. Returns false if it does not end.
pub(super) fn wait_for_exit(pidfd: BorrowedFd<'_>) -> bool {
    let deadline = Instant::now() + EXIT_TIMEOUT;
    let interest = [Interest { fd: pidfd, writable: false }];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if wait_any(&interest, Some(left)).is_ok_and(|ready| ready[0]) {
            process::reap_if_adopted(pidfd);
            return true;
        }
        if left.is_zero() {
            return false;
        }
    }
}

/// How long a server may take to end.
const EXIT_TIMEOUT: Duration = Duration::from_secs(1);

/// No such process.
const ESRCH: i32 = 3;

/// Whether the fork server sets this variable itself.
pub(super) fn is_own_variable(name: &str) -> bool {
    name == peer::VARIABLE || name == sweep::MARK || THREADS_OF_LIBRARIES.contains(&name)
}

fn server_environment(token: u64, without: &Names) -> Vec<CString> {
    let mut env = process::environment(|name| is_own_variable(name) || without.contains(name));
    let added = THREADS_OF_LIBRARIES
        .iter()
        .map(|name| format!("{name}=1"))
        .chain([format!("{}={token}", peer::VARIABLE), format!("{}={token}", sweep::MARK)]);
    // None of these strings contains a zero byte.
    env.extend(added.filter_map(|entry| CString::new(entry).ok()));
    env
}

/// The error of a server that could not be started, or is gone.
pub(super) fn spawn_error(reason: impl Into<String>) -> Error {
    Error::Spawn { what: "the fork server", reason: reason.into() }
}

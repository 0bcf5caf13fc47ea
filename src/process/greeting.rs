//! Starting a fork server, and the first words with it.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::process::child;
use crate::process::hook;
use crate::process::message::{RECORD_BYTES, Report, Request};
#[cfg(feature = "failpoints")]
use crate::sys::failpoint::{self, Point};
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

/// Starts a server that may fork; the socket to it, and its pidfd.
///
/// # Errors
///
/// [`Error::Spawn`], [`Error::MultiThreaded`], or [`Error::Os`].
pub(super) fn start_server() -> Result<(Socket, OwnedFd)> {
    if !hook::is_in_place() {
        return Err(spawn_error(
            "this program's start-up does not run brigade's hook (is the crate linked into a \
             library that another program loads?); use Start::InProcess",
        ));
    }
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
    #[cfg(feature = "failpoints")]
    failpoint::hit(Point::HostStartsServer);
    drop(theirs);
    let pidfd = handshake(&socket, token)?;
    Ok((socket, pidfd))
}

fn handshake(socket: &Socket, token: u64) -> Result<OwnedFd> {
    let os = |call| move |error: io::Error| Error::os(call, "the fork server", error);
    let own = process::pidfd_open(process::pid()).map_err(os("pidfd_open"))?;
    let hello = Request::Hello { token }.record();
    socket.send(bytemuck::bytes_of(&hello), &[own.as_fd()]).map_err(|error| {
        match error.kind() {
            io::ErrorKind::BrokenPipe => spawn_error("it ended before it was greeted"),
            _ => os("sendmsg")(error),
        }
    })?;
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

/// The error of a server that could not be started, or is gone.
pub(super) fn spawn_error(reason: impl Into<String>) -> Error {
    Error::Spawn { what: "the fork server", reason: reason.into() }
}

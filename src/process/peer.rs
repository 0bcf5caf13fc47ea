//! Checks the process at the other end of a server's socket.
//!
//! A fork server runs functions on request, with its own rights. It accepts requests only from a
//! process of the same user that runs the same executable, and only after a handshake. Each failed
//! check prints a sentence for the user who started the program.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use crate::process::child::EXIT_SETUP;
use crate::process::message::Report;
use crate::sys::process;
use crate::sys::socket::{Peer, Socket};

/// The variable that makes a process a fork server; its value is the token. Each version of this
/// crate in a program has its own hook and its own variable.
pub(super) const VARIABLE: &str = concat!("BRIGADE_FORK_SERVER_", env!("CARGO_PKG_VERSION"));

/// The descriptor of a fork server's socket.
pub(super) const SOCKET_FD: i32 = 3;

/// Checks that `fd` is one end of a socket that a process of this user made for a fork server.
///
/// # Errors
///
/// A description of what it is instead.
pub(super) fn socket(fd: OwnedFd) -> Result<(Socket, Peer), String> {
    let socket = Socket::adopt(fd).map_err(|error| format!("it is {error}"))?;
    if process::is_privileged_exec() {
        // Only the host can report the reason to its user.
        let _ = socket.try_send(bytemuck::bytes_of(&Report::Privileged.message()), &[]);
        return Err("this program has privileges that its caller lacks (set-uid, set-gid, file \
                    capabilities), and serves nobody then"
            .to_owned());
    }
    let peer = socket.peer().map_err(|error| format!("its peer is unknown: {error}"))?;
    let own = process::effective_user();
    if peer.uid != own {
        return Err(format!("its peer is user {}, and this process is user {own}", peer.uid));
    }
    Ok((socket, peer))
}

/// Checks that `host`, which came with the handshake, is the process that made the socket, and runs
/// this process's executable.
///
/// If the kernel does not let this process inspect the other's executable, because that has changed
/// its user or forbids inspection, being the same user must suffice.
///
/// # Errors
///
/// A description of the mismatch.
pub(super) fn host(host: BorrowedFd<'_>, peer: Peer) -> Result<(), String> {
    let found = process::pid_of(host).map_err(|error| format!("its host is unknown: {error}"))?;
    if found.own != peer.pid {
        return Err(format!("process {} made the socket, {} greets", peer.pid, found.own));
    }
    let file = |error: io::Error| format!("its host's executable is unknown: {error}");
    match process::executable(&found.in_proc.to_string()) {
        Ok(theirs) if theirs == process::executable("self").map_err(file)? => Ok(()),
        Ok(_) => Err(format!("process {} runs another executable", peer.pid)),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        Err(error) => Err(file(error)),
    }
}

/// Ends a process that was started as a fork server, but may not become one.
pub(super) fn refuse(found: &str) -> ! {
    process::print_error(&format!(
        "brigade: this program was started with {VARIABLE} in its environment, which makes it the \
         fork server of a program that waits at descriptor {SOCKET_FD}; but {found}. \
         Unset the variable to run the program itself."
    ));
    process::exit_now(EXIT_SETUP)
}

//! Processes of the engine, and the thread that watches them.
//!
//! ```text
//! host --(thread, clone VM|VFORK, posix_spawn)--> fork server --(fork)--> worker
//!                                                             --(fork)--> worker
//! ```
//!
//! With a preload there is a second fork server below the first, which runs a function of the host
//! before it serves (`server_below.rs`).
//!
//! What a process inherits:
//!
//! | | fork server | worker |
//! |---|---|---|
//! | made by | `posix_spawn` of `/proc/self/exe`, adopted by init | `fork` of the server |
//! | memory | its own, fresh | the server's: nothing but the image after its constructors ran |
//! | threads | exactly one, checked | one |
//! | descriptors | 0, 1, 2, and its socket | 0, 1, 2, and what the host sent for it |
//! | signal mask | empty | empty |
//! | dispositions | default; ignores INT, TERM, HUP, QUIT, PIPE | see `host_snapshot.rs` |
//! | environment | the host's, with `OMP_NUM_THREADS` and others at 1 | the host's at the request |
//! | ends with | the host (pidfd, or end of file on the socket) | the server (`PR_SET_PDEATHSIG`) |
//! | is reaped by | init (or the host, if that adopted it) | the server |
//!
//! Until then, the process that spawns the server is the host's child, without a signal at its end.
//! `waitpid(-1, ...)` does not see it; a wait with `__WALL` or `__WCLONE` does, and may reap it.
//!
//! If ended servers are not reaped, the server is kept for the next pool: see `server_reuse`.
//!
//! This module does not know pools or tasks: a child is started with an entry function, descriptors
//! and a few words, and its end is reported to the code that requested it.

pub(crate) mod captured_output;
pub(crate) mod child;
mod child_handle;
pub(crate) mod diagnostics;
mod exit_watch;
pub(crate) mod fork_server;
pub(crate) mod function;
mod handshake;
pub(crate) mod host_snapshot;
mod init_hook;
pub(crate) mod message;
pub(crate) mod outbox;
pub(crate) mod panic;
mod peer;
pub(crate) mod server_below;
mod server_connection;
mod server_main;
mod server_reuse;
pub(crate) mod stdio_flush;
pub(crate) mod supervisor;
mod sweep;

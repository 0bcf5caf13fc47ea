//! Keeps a fork server if ended servers are not reaped.
//!
//! A server is adopted by init or by the nearest subreaper. In a container that is often a program
//! that never waits for children, so each ended server occupies a process number there as long as
//! the container runs. If many servers of this process have ended, and the first of them was not
//! reaped within [`REAP_TIMEOUT`], the server of the last pool is kept, idle, until the next pool
//! uses it or the host ends.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::process::server_connection::ServerConnection;
use crate::process::supervisor::{Supervisor, is_supervisor};
use crate::sys::per_process::PerProcess;
use crate::sys::poll::wait_any;
use crate::sys::{exec_attributes, process};

/// A server without a pool.
pub(super) struct IdleServer {
    pub(super) connection: Arc<ServerConnection>,
    pub(super) supervisor: Arc<Supervisor>,
    pub(super) start: StartContext,
}

/// The state in which a server was started.
#[derive(Debug, Clone, Copy)]
pub(super) struct StartContext {
    /// A hash of what it inherited from the host; `None` if it need not be kept.
    inherited: Option<u64>,
}

#[derive(Default)]
struct ServerHistory {
    /// The numbers of ended servers that were not reaped at the last check, and when they ended, in
    /// that order.
    unreaped: Vec<(u32, Instant)>,
    kept: Option<IdleServer>,
}

/// How long a process may take to reap the servers that it has adopted.
const REAP_TIMEOUT: Duration = Duration::from_secs(3);

/// The number of servers that may stay unreaped for any time.
const UNREAPED_FREE: usize = 16;

/// The number of unreaped servers beyond which the next one waits until the first is found reaped
/// or not.
const UNREAPED_MAX: usize = 256;

/// The time between two checks of whether a server was reaped. The kernel notifies only its parent.
const PAUSE: Duration = Duration::from_millis(10);

fn history() -> MutexGuard<'static, ServerHistory> {
    static PAST: PerProcess<Mutex<ServerHistory>> = PerProcess::new(Mutex::default);
    // No code under this lock panics in the middle of a change.
    PAST.get().lock().unwrap_or_else(PoisonError::into_inner)
}

impl ServerHistory {
    /// Whether the servers of this process seem not to be reaped.
    fn is_full(&mut self) -> bool {
        if self.unreaped.len() < UNREAPED_FREE {
            return false;
        }
        self.unreaped.retain(|&(number, _)| process::is_unreaped_server(number));
        let first = self.unreaped.first().filter(|_| self.unreaped.len() >= UNREAPED_FREE);
        first.is_some_and(|(_, ended)| ended.elapsed() >= REAP_TIMEOUT)
    }

    /// The same, but if too many are unreaped, waits until it is known.
    fn is_found_full(&mut self) -> bool {
        while !self.is_full() {
            // The supervisor must not wait.
            if self.unreaped.len() < UNREAPED_MAX || is_supervisor() {
                return false;
            }
            let _ = wait_any(&[], Some(PAUSE));
        }
        true
    }
}

impl StartContext {
    /// The state of a server that the calling thread starts now.
    pub(super) fn now() -> StartContext {
        StartContext { inherited: history().is_found_full().then(exec_attributes::digest) }
    }
}

/// The kept server, if one that is started now would inherit the same from the host.
pub(super) fn take() -> Option<IdleServer> {
    let kept = history().kept.take()?;
    if kept.start.inherited == Some(exec_attributes::digest()) && kept.connection.is_ready() {
        return Some(kept);
    }
    end(&kept.connection);
    None
}

/// Keeps a server without a pool, or ends it.
pub(super) fn keep_or_end(server: IdleServer) {
    let mut history = history();
    let may_keep = history.kept.is_none() && server.start.inherited.is_some();
    if may_keep && server.connection.is_ready() && history.is_full() {
        history.kept = Some(server);
        return;
    }
    drop(history);
    end(&server.connection);
}

fn end(connection: &ServerConnection) {
    connection.close();
    // A reaped server has no number.
    if let Some(Ok(found)) = connection.pidfd().map(process::pid_of) {
        history().unreaped.push((found.in_proc, Instant::now()));
    }
}

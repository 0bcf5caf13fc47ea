//! Keeping a fork server where nobody reaps those that have ended.
//!
//! A server is adopted by init or by the nearest subreaper. In a container that is often a program
//! that never waits for children, and each server that ends takes up a process number there for
//! as long as the container runs. Once [`UNREAPED_MAX`] servers of this process have not been
//! reaped, the server of the last pool goes on, idle, until the next pool takes it over or the
//! host ends.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::process::connection::Connection;
use crate::process::events::Supervisor;
use crate::sys::per_process::PerProcess;
use crate::sys::{inherited, process};

/// A server without a pool.
pub(super) struct Kept {
    pub(super) connection: Arc<Connection>,
    pub(super) supervisor: Arc<Supervisor>,
    pub(super) start: Start,
}

/// How a server was started.
#[derive(Debug, Clone, Copy)]
pub(super) struct Start {
    /// What it has from the host, as a number; `None` if there is no reason to keep it.
    inherited: Option<u64>,
}

#[derive(Default)]
struct Past {
    /// The numbers of servers that have ended and had not been reaped when that was last looked
    /// at.
    unreaped: Vec<u32>,
    kept: Option<Kept>,
}

/// So many servers are left to be reaped before one is kept: a process that reaps may be slow.
const UNREAPED_MAX: usize = 16;

fn past() -> MutexGuard<'static, Past> {
    static PAST: PerProcess<Mutex<Past>> = PerProcess::new(Mutex::default);
    // Nothing under this lock panics half-way through a change.
    PAST.get().lock().unwrap_or_else(PoisonError::into_inner)
}

impl Past {
    /// Whether nobody seems to reap the servers of this process.
    fn is_full(&mut self) -> bool {
        if self.unreaped.len() >= UNREAPED_MAX {
            self.unreaped.retain(|&number| process::is_unreaped_server(number));
        }
        self.unreaped.len() >= UNREAPED_MAX
    }
}

impl Start {
    /// Of a server that the calling thread starts now.
    pub(super) fn now() -> Start {
        Start { inherited: past().is_full().then(inherited::digest) }
    }
}

/// The server that was kept, if one that is started now would have nothing else from the host.
pub(super) fn take() -> Option<Kept> {
    let kept = past().kept.take()?;
    if kept.start.inherited == Some(inherited::digest()) && kept.connection.is_ready() {
        return Some(kept);
    }
    end(&kept.connection);
    None
}

/// Keeps a server that has no pool any more, or ends it.
pub(super) fn or_end(server: Kept) {
    let mut past = past();
    let may_keep = past.kept.is_none() && server.start.inherited.is_some();
    if may_keep && server.connection.is_ready() && past.is_full() {
        past.kept = Some(server);
        return;
    }
    drop(past);
    end(&server.connection);
}

fn end(connection: &Connection) {
    connection.close();
    // One that was reaped has no number.
    if let Ok(found) = process::pid_of(connection.pidfd()) {
        past().unreaped.push(found.in_proc);
    }
}

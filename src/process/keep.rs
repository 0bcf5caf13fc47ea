//! Keeping a fork server where nobody reaps those that have ended.
//!
//! A server is adopted by init or by the nearest subreaper. In a container that is often a program
//! that never waits for children, and then each server that ends takes up a process number for
//! ever. Where the one before is seen to be unreaped, the server of the last pool goes on, idle,
//! until the next pool takes it over or the host ends.

use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::process::connection::Connection;
use crate::process::events::Supervisor;
use crate::sys::per_process::PerProcess;
use crate::sys::poll::wait_any;
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
    /// The last server that had ended and was not reaped, by its number.
    unreaped: Option<u32>,
    /// Whether the process that adopts them was given time to reap, and did not.
    was_patient: bool,
    kept: Option<Kept>,
}

/// How often, and how long apart, is looked whether a server was reaped.
const LOOKS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(1);

fn past() -> MutexGuard<'static, Past> {
    static PAST: PerProcess<Mutex<Past>> = PerProcess::new(Mutex::default);
    // Nothing under this lock panics half-way through a change.
    PAST.get().lock().unwrap_or_else(PoisonError::into_inner)
}

impl Past {
    fn has_unreaped(&self) -> bool {
        self.unreaped.is_some_and(process::is_unreaped_server)
    }

    /// Whether nobody reaps; waits a while for that to be false, once.
    fn is_unreaped_for_long(&mut self) -> bool {
        let looks = if self.was_patient { 1 } else { LOOKS };
        for look in 0..looks {
            if !self.has_unreaped() {
                *self = Past { kept: self.kept.take(), ..Past::default() };
                return false;
            }
            if look + 1 < looks {
                // The kernel tells nobody but the parent.
                let _ = wait_any(&[], Some(PAUSE));
            }
        }
        self.was_patient = true;
        true
    }
}

impl Start {
    /// Of a server that the calling thread starts now.
    pub(super) fn now() -> Start {
        Start { inherited: past().has_unreaped().then(inherited::digest) }
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
    if may_keep && server.connection.is_ready() && past.is_unreaped_for_long() {
        past.kept = Some(server);
        return;
    }
    drop(past);
    end(&server.connection);
}

fn end(connection: &Connection) {
    connection.close();
    note(connection.pidfd());
}

/// Takes note of a server that has ended, if it was not reaped yet.
fn note(pidfd: BorrowedFd<'_>) {
    // One that was reaped has no number.
    let number = process::pid_of(pidfd).ok().map(|found| found.in_proc);
    if let Some(number) = number.filter(|&number| process::is_unreaped_server(number)) {
        past().unreaped = Some(number);
    }
}

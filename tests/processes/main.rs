//! One-off processes.
#![cfg(not(loom))]
#![allow(unsafe_code)]

#[path = "../common/mod.rs"]
mod common;
mod environment;
mod inheritance;
mod leftovers;
mod lifecycle;
mod memory;
mod orphans;
mod outcome;
mod server_access;

use brigade::{Error, Process, active_processes};
use common::tasks::forever;

/// Simulates a library that ignores SIGCHLD from the time when it is loaded.
pub(crate) const IGNORES_CHILDREN: &str = "BRIGADE_TEST_IGNORES_CHILDREN";

#[used]
#[unsafe(link_section = ".init_array")]
static LIBRARY: extern "C" fn() = library;

extern "C" fn library() {
    if std::env::var_os(IGNORES_CHILDREN).is_some() {
        // SAFETY: ignoring a signal installs no handler.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    }
}

pub(crate) fn sleeps() -> Process<()> {
    Process::spawn(|()| forever(), ()).unwrap()
}

pub(crate) fn is_active(pid: u32) -> bool {
    active_processes().iter().any(|process| process.pid == pid)
}

pub(crate) fn death(error: Error) -> brigade::Death {
    error.death().unwrap_or_else(|| panic!("not a death: {error}")).clone()
}

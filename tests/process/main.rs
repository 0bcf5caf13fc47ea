//! One-off processes.
#![allow(unsafe_code)]

#[path = "../common/mod.rs"]
mod common;
mod life;
mod memory;
mod outcome;
mod surroundings;

use brigade::{Error, Process, active_processes};
use common::tasks::forever;

pub(crate) fn sleeps() -> Process<()> {
    Process::spawn(|()| forever(), ()).unwrap()
}

pub(crate) fn is_active(pid: u32) -> bool {
    active_processes().iter().any(|process| process.pid == pid)
}

pub(crate) fn death(error: Error) -> brigade::Death {
    error.death().unwrap_or_else(|| panic!("not a death: {error}")).clone()
}

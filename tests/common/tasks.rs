//! Tasks that misbehave, and what their handles must say.

use brigade::{Death, Handle, Pool, PoolBuilder};
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use serde::de::DeserializeOwned;

pub(crate) fn forever() {
    loop {
        std::thread::park();
    }
}

/// A task that is noted in a file and never returns.
pub(crate) fn endless(path: String) {
    count(&path);
    forever();
}

pub(crate) fn raise(signal: Signal) {
    signal::kill(Pid::this(), signal).unwrap();
}

pub(crate) fn with(workers: usize) -> PoolBuilder {
    Pool::builder().workers(workers)
}

pub(crate) fn death<R: DeserializeOwned + std::fmt::Debug>(handle: Handle<R>) -> Death {
    let error = handle.join().unwrap_err();
    error.death().unwrap_or_else(|| panic!("not a death: {error}")).clone()
}

/// A file whose bytes count what tasks did, whatever became of them.
pub(crate) fn tally(label: &str) -> String {
    std::env::temp_dir().join(super::unique(label)).to_string_lossy().into_owned()
}

pub(crate) fn count(path: &str) {
    use std::io::Write;
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(b"x").unwrap();
}

pub(crate) fn counted(path: &str) -> usize {
    std::fs::read(path).map_or(0, |bytes| bytes.len())
}

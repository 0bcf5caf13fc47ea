//! Tasks that misbehave, and the expected outcomes.

use brigade::{Death, Handle, Pool, PoolBuilder};
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use serde::de::DeserializeOwned;

pub(crate) fn forever() {
    loop {
        std::thread::park();
    }
}

/// A task that is recorded in a file and never returns.
pub(crate) fn endless(path: String) {
    count(&path);
    forever();
}

pub(crate) fn same(n: u32) -> u32 {
    n
}

pub(crate) fn panics(n: u32) -> u32 {
    panic!("no {n}")
}

/// A task that never returns, and has started.
pub(crate) fn hanging(pool: &Pool) -> Handle<u32> {
    let never = |_: ()| -> u32 {
        loop {
            forever()
        }
    };
    let task = pool.submit(never, ()).unwrap();
    super::time::wait_for(|| task.is_running());
    task
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

/// A file whose bytes count what tasks did, even if they died.
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

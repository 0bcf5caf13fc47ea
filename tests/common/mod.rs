//! Support code of the test programs.

#![allow(dead_code, reason = "each test binary compiles all of this and uses its part")]

pub(crate) mod alone;
pub(crate) mod cgroup;
pub(crate) mod float;
pub(crate) mod forks;
pub(crate) mod machine;
pub(crate) mod names;
pub(crate) mod processes;
pub(crate) mod tasks;
pub(crate) mod time;

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

/// Reports, past the test harness's capture, that a test could not run here.
pub(crate) fn skipped(why: &str) {
    // A closed standard error must not fail the test.
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}

/// A name for a region, different for each test.
pub(crate) fn unique(label: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("brigade-test-{}-{count}-{label}", std::process::id())
}

/// A new directory, removed with everything in it.
pub(crate) struct Directory(pub(crate) PathBuf);

impl Directory {
    pub(crate) fn new() -> Directory {
        let path = std::env::temp_dir().join(unique("dir"));
        fs::create_dir(&path).unwrap();
        Directory(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Collects what is written to any of its clones.
#[derive(Clone, Default)]
pub(crate) struct Log(pub(crate) Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// xorshift64*, good enough for choices.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap() % bound
    }
}

//! What the test programs share.

#![allow(dead_code, reason = "each test binary compiles all of this and uses its part")]

pub(crate) mod alone;
pub(crate) mod cgroup;
pub(crate) mod float;
pub(crate) mod forks;
pub(crate) mod machine;
pub(crate) mod processes;
pub(crate) mod tasks;
pub(crate) mod time;

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// Says, past the test harness's capture, that a test could not be run here.
pub(crate) fn skipped(why: &str) {
    // Nobody may be listening; the test passes all the same.
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}

/// A name for a region that no other test has.
pub(crate) fn unique(label: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("brigade-test-{}-{count}-{label}", std::process::id())
}

/// A directory of its own, removed with everything in it.
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

//! What a test must leave as it found it.

#![allow(dead_code, reason = "each test binary compiles all of this and uses its part")]

pub(crate) mod alone;
pub(crate) mod cgroup;
pub(crate) mod float;
pub(crate) mod forks;
pub(crate) mod machine;
pub(crate) mod processes;
pub(crate) mod tasks;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Runs one test of this binary at a time, and fails it if it leaves anything behind.
pub(crate) struct LeakCheck {
    before: BTreeSet<String>,
    _alone: MutexGuard<'static, ()>,
}

impl LeakCheck {
    pub(crate) fn new() -> LeakCheck {
        let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        LeakCheck { before: everything(), _alone: alone }
    }
}

impl Drop for LeakCheck {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(everything(), self.before, "left behind, or closed but not its own");
        }
    }
}

/// Names of this process in /dev/shm, and its descriptors with what they are open on.
fn everything() -> BTreeSet<String> {
    let ours = format!("brigade-test-{}-", std::process::id());
    let names = fs::read_dir("/dev/shm").unwrap().map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| name.to_string_lossy().into_owned());
    let descriptors = fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| {
        let path = entry.unwrap().path();
        // The directory being listed is open as well, and gone by now.
        let target = fs::read_link(&path).ok()?;
        Some(format!("{} -> {}", path.display(), target.display()))
    });
    let listing = |line: &String| line.contains("/proc/") && line.ends_with("/fd");
    names
        .filter(|name| name.starts_with(&ours))
        .chain(descriptors.filter(|d| !listing(d)))
        .collect()
}

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

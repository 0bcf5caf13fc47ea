//! What a program inherits from the process that starts it.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::sys::procfs;

/// The lines of `/proc/PID/status` that describe credentials.
const LINES: [&str; 6] = ["Uid:", "Gid:", "Groups:", "Cap", "NoNewPrivs:", "Seccomp"];

/// A hash of everything that a program started by the calling thread inherits: credentials,
/// environment, limits, niceness, cgroup, namespaces and root. It excludes what brigade sends to
/// each process separately, such as the working directory.
pub(crate) fn digest() -> u64 {
    let mut hasher = DefaultHasher::new();
    for (name, value) in std::env::vars_os() {
        (name, value).hash(&mut hasher);
    }
    let status = procfs::text("/proc/thread-self/status").unwrap_or_default();
    for line in status.lines().filter(|line| LINES.iter().any(|name| line.starts_with(name))) {
        line.hash(&mut hasher);
    }
    for file in ["limits", "cgroup"] {
        procfs::text(format!("/proc/thread-self/{file}")).ok().hash(&mut hasher);
    }
    let namespaces = fs::read_dir("/proc/thread-self/ns").into_iter().flatten().flatten();
    let namespaces = namespaces.map(|entry| entry.path());
    for path in namespaces.chain(["/proc/thread-self/root".into()]) {
        fs::read_link(path).ok().hash(&mut hasher);
    }
    rustix::process::getpriority_process(None).ok().hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_the_same_until_something_changes() {
        let on_a_thread = |change: fn()| {
            let run = move || {
                let before = (digest(), digest());
                change();
                (before, digest())
            };
            std::thread::spawn(run).join().unwrap()
        };
        let ((first, second), after) = on_a_thread(|| ());
        assert!(first == second && second == after);
        let lowers = || rustix::process::setpriority_process(None, 19).unwrap();
        let ((before, _), after) = on_a_thread(lowers);
        assert_ne!(before, after);
    }
}

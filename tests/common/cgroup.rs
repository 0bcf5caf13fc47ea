//! A control group for one test.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// A memory cgroup limited to this many bytes, with this process in it.
pub(crate) struct Cgroup {
    path: PathBuf,
    parent: PathBuf,
}

impl Cgroup {
    pub(crate) fn enter(bytes: u64) -> io::Result<Cgroup> {
        let groups = fs::read_to_string("/proc/self/cgroup")?;
        let of = |prefix: &str| {
            let line =
                groups.lines().find(|line| line.split_once(':').unwrap().1.starts_with(prefix));
            line.map(|line| line.rsplit(':').next().unwrap().to_owned())
        };
        let (parent, limit) = match of("memory:") {
            Some(own) => (format!("/sys/fs/cgroup/memory{own}"), "memory.limit_in_bytes"),
            None => (format!("/sys/fs/cgroup{}", of(":").unwrap_or_default()), "memory.max"),
        };
        let parent = PathBuf::from(parent);
        let path = parent.join(super::unique("cgroup"));
        fs::create_dir(&path)?;
        let group = Cgroup { path, parent };
        fs::write(group.path.join(limit), bytes.to_string())?;
        fs::write(group.path.join("cgroup.procs"), std::process::id().to_string())?;
        Ok(group)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let own = std::process::id().to_string();
        let _ = fs::write(self.parent.join("cgroup.procs"), own);
        // The kernel may take a moment to see that the last process has left.
        super::time::wait_until(Duration::from_secs(5), || fs::remove_dir(&self.path).is_ok());
    }
}

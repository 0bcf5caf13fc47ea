//! What this process's control group allows, versions 1 and 2.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::sys::per_process::PerProcess;
use crate::sys::procfs;

/// The directories of this process's cgroup, from its own up to the root of the mount.
#[derive(Debug, Default, PartialEq, Eq)]
struct Directories {
    /// Version 2 (one hierarchy for everything).
    unified: Vec<PathBuf>,
    /// Version 1, memory controller.
    memory: Vec<PathBuf>,
    /// Version 1, cpu controller.
    cpu: Vec<PathBuf>,
}

/// The groups are read on each call, since a process can be moved to others; the mounts only if the
/// groups have changed.
fn directories() -> Arc<Directories> {
    static FOUND: PerProcess<Mutex<(String, Arc<Directories>)>> = PerProcess::new(Mutex::default);
    // Of the thread: the entries of a process cannot be read when its main thread has ended.
    let groups = procfs::text("/proc/thread-self/cgroup").unwrap_or_default();
    let mut found = FOUND.get().lock().unwrap_or_else(PoisonError::into_inner);
    if found.0 != groups {
        let mounts = procfs::text("/proc/thread-self/mountinfo").unwrap_or_default();
        let directories = Arc::new(find_directories(&groups, &mounts));
        *found = (groups, directories);
    }
    Arc::clone(&found.1)
}

/// The number of bytes that this process's cgroups still allow it; `None` if they set no limit.
///
/// Page cache that the kernel can drop counts as free.
pub(crate) fn memory_free_bytes() -> Option<u64> {
    let found = directories();
    let unified = found
        .unified
        .iter()
        .filter_map(|dir| free_bytes_in(dir, "memory.max", "memory.current", "inactive_file"));
    let version1 = found.memory.iter().filter_map(|dir| {
        let (limit, usage) = ("memory.limit_in_bytes", "memory.usage_in_bytes");
        free_bytes_in(dir, limit, usage, "total_inactive_file")
    });
    unified.chain(version1).min()
}

/// The number of processors whose time this process's cgroups allow it; `None` if they set no
/// limit.
pub(crate) fn cpu_quota() -> Option<f64> {
    let found = directories();
    let unified = found.unified.iter().filter_map(|dir| {
        let text = procfs::text(dir.join("cpu.max")).ok()?;
        let (quota, period) = text.trim().split_once(' ')?;
        quota_of(quota, period)
    });
    let version1 = found.cpu.iter().filter_map(|dir| {
        let quota = procfs::text(dir.join("cpu.cfs_quota_us")).ok()?;
        let period = procfs::text(dir.join("cpu.cfs_period_us")).ok()?;
        quota_of(quota.trim(), period.trim())
    });
    unified.chain(version1).min_by(f64::total_cmp)
}

/// The number of processes that the kernel's out-of-memory killer has ended in this process's
/// cgroup, or on the machine if the cgroup does not count them.
pub(crate) fn oom_kills() -> Option<u64> {
    oom_kills_of(&directories(), Path::new("/proc/vmstat"))
}

/// The count in the first of these places that has one.
fn oom_kills_of(found: &Directories, machine: &Path) -> Option<u64> {
    let version1 = found.memory.first().map(|dir| dir.join("memory.oom_control"));
    // A group without the memory controller has no such file; the nearest one above it counts.
    let unified = found.unified.iter().map(|dir| dir.join("memory.events"));
    let files = version1.into_iter().chain(unified).chain([machine.to_path_buf()]);
    files.into_iter().find_map(|path| oom_kills_in(&path))
}

fn oom_kills_in(path: &Path) -> Option<u64> {
    let text = procfs::text(path).ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

fn quota_of(quota_us: &str, period_us: &str) -> Option<f64> {
    // No limit is "max" in version 2 and -1 in version 1; neither is a u32.
    let quota: u32 = quota_us.parse().ok()?;
    let period: u32 = period_us.parse().ok()?;
    (period > 0).then(|| f64::from(quota) / f64::from(period))
}

/// In version 1, "no limit" is the largest number of whole pages.
const UNLIMITED_BYTES: u64 = 1 << 62;

fn free_bytes_in(dir: &Path, limit: &str, usage: &str, reclaimable: &str) -> Option<u64> {
    let number = |name: &str| procfs::text(dir.join(name)).ok()?.trim().parse::<u64>().ok();
    let limit = number(limit).filter(|&limit| limit < UNLIMITED_BYTES)?;
    let usage = number(usage)?;
    let stat = procfs::text(dir.join("memory.stat")).unwrap_or_default();
    let cache = stat
        .lines()
        .find_map(|line| line.strip_prefix(reclaimable)?.strip_prefix(' ')?.parse::<u64>().ok())
        .unwrap_or(0);
    Some(limit.saturating_sub(usage.saturating_sub(cache)))
}

/// Joins `/proc/self/cgroup` (which group) with `/proc/self/mountinfo` (where it is mounted).
fn find_directories(groups: &str, mounts: &str) -> Directories {
    let mut found = Directories::default();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_id), Some(controllers), Some(group)) =
            (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let has = |name: &str| controllers.split(',').any(|controller| controller == name);
        if controllers.is_empty() {
            found.unified = climb(mounts, "cgroup2", None, group);
        } else if has("memory") {
            found.memory = climb(mounts, "cgroup", Some("memory"), group);
        }
        if has("cpu") {
            found.cpu = climb(mounts, "cgroup", Some("cpu"), group);
        }
    }
    found
}

/// The directory of `group` and all above it, up to where its hierarchy is mounted.
fn climb(mounts: &str, fs_type: &str, controller: Option<&str>, group: &str) -> Vec<PathBuf> {
    for line in mounts.lines() {
        // "36 35 98:0 /root /mount/point options - type source super,options"
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let mut right = right.split(' ');
        let (kind, super_options) = (right.next(), right.nth(1).unwrap_or_default());
        let wanted = controller.is_none_or(|c| super_options.split(',').any(|o| o == c));
        if kind != Some(fs_type) || !wanted {
            continue;
        }
        let mut left = left.split(' ').skip(3);
        let (Some(root), Some(point)) = (left.next(), left.next()) else { continue };
        // In a container the group's path may lie outside the mount. Then the mount's root is the
        // group.
        let below = Path::new(group).strip_prefix(root).unwrap_or(Path::new(""));
        let point = Path::new(point);
        return point
            .join(below)
            .ancestors()
            .take_while(|dir| dir.starts_with(point))
            .map(Path::to_path_buf)
            .collect();
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_nested_group_is_climbed_to_its_mount() {
        let mounts = "24 1 0:21 / /sys/fs/cgroup rw - cgroup2 cgroup rw,nsdelegate";
        let found = find_directories("0::/user/job\n", mounts);
        let expected = ["/sys/fs/cgroup/user/job", "/sys/fs/cgroup/user", "/sys/fs/cgroup"];
        assert_eq!(found.unified, expected.map(PathBuf::from));
    }

    #[test]
    fn a_version_1_container_reads_its_mount_point() {
        let mounts = "30 1 0:2 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n\
                      31 1 0:3 /docker/abc /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu,cpuacct";
        let groups = "5:memory:/docker/abc\n6:cpu,cpuacct:/elsewhere\nnonsense\n";
        let found = find_directories(groups, mounts);
        assert_eq!(found.memory, [PathBuf::from("/sys/fs/cgroup/memory/")]);
        assert_eq!(found.cpu, [PathBuf::from("/sys/fs/cgroup/cpu/")]);
        assert!(found.unified.is_empty());
    }

    #[test]
    fn a_quota_is_a_ratio_and_max_is_none() {
        assert_eq!(quota_of("150000", "100000"), Some(1.5));
        assert_eq!(quota_of("max", "100000"), None);
        assert_eq!(quota_of("-1", "100000"), None);
        assert_eq!(quota_of("100000", "0"), None);
    }

    #[test]
    fn out_of_memory_kills_are_read_in_all_three_formats() {
        let path = std::env::temp_dir().join(format!("brigade-oom-{}", std::process::id()));
        let texts = [
            "low 0\nhigh 0\nmax 7\noom 2\noom_kill 3\noom_group_kill 0\n",
            "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
            "drop_pagecache 0\noom_kill 3\nnuma_pte_updates 0\n",
        ];
        for text in texts {
            fs::write(&path, text).unwrap();
            assert_eq!(oom_kills_in(&path), Some(3), "{text}");
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(oom_kills_in(&path), None);
    }

    #[test]
    fn out_of_memory_kills_are_counted_by_the_nearest_group_that_can_or_the_machine() {
        let root = std::env::temp_dir().join(format!("brigade-oom-dirs-{}", std::process::id()));
        let (own, above, machine) =
            (root.join("group/own"), root.join("group"), root.join("vmstat"));
        fs::create_dir_all(&own).unwrap();
        let version1 =
            Directories { memory: vec![own.clone(), above.clone()], ..Default::default() };
        let version2 =
            Directories { unified: vec![own.clone(), above.clone()], ..Default::default() };
        let count = |found: &Directories| oom_kills_of(found, &machine);
        let nowhere = count(&version1).or(count(&version2)).or(count(&Directories::default()));
        fs::write(&machine, "nr_free_pages 1\noom_kill 9\n").unwrap();
        let by_machine = [count(&version1), count(&version2), count(&Directories::default())];
        fs::write(above.join("memory.events"), "oom 1\noom_kill 5\n").unwrap();
        fs::write(above.join("memory.oom_control"), "oom_kill 6\n").unwrap();
        // Version 1 does not count a group's kills above it.
        let by_above = [count(&version1), count(&version2)];
        fs::write(own.join("memory.events"), "oom_kill 2\n").unwrap();
        fs::write(own.join("memory.oom_control"), "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n")
            .unwrap();
        let by_own = [count(&version1), count(&version2)];
        let garbage: [&[u8]; 7] = [
            b"",
            b"oom_kill",
            b"oom_kill \n",
            b"oom_kill many\n",
            b"oom_kill -1\n",
            b"oom_kill 99999999999999999999\n",
            b"oom_kill 1\xff\n",
        ];
        let by_garbage = garbage.map(|bytes| {
            fs::write(own.join("memory.events"), bytes).unwrap();
            fs::write(own.join("memory.oom_control"), bytes).unwrap();
            [count(&version1), count(&version2)]
        });
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(nowhere, None);
        assert_eq!(by_machine, [Some(9); 3]);
        assert_eq!(by_above, [Some(9), Some(5)]);
        assert_eq!(by_own, [Some(3), Some(2)]);
        assert_eq!(by_garbage, [[Some(9), Some(5)]; 7]);
    }

    #[test]
    fn free_memory_counts_reclaimable_cache() {
        let dir = std::env::temp_dir().join(format!("brigade-cgroup-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("memory.max"), "1000\n").unwrap();
        fs::write(dir.join("memory.current"), "800\n").unwrap();
        fs::write(dir.join("memory.stat"), "anon 5\ninactive_file 300\n").unwrap();
        let free = free_bytes_in(&dir, "memory.max", "memory.current", "inactive_file");
        fs::write(dir.join("memory.max"), "max\n").unwrap();
        let unlimited = free_bytes_in(&dir, "memory.max", "memory.current", "inactive_file");
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!((free, unlimited), (Some(500), None));
    }
}

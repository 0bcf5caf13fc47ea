//! Which processes hold or map a file.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::sys::file::FileId;

/// Files, and the processes that have each of them.
pub(crate) type Holders = HashMap<FileId, BTreeSet<u32>>;

/// The processes that hold each file: by a `flock`, or by a mapping under [`DIRECTORY`].
///
/// The result may be outdated: processes come and go. Those of other users, or of a pid namespace
/// that is invisible here, may be missing.
///
/// [`DIRECTORY`]: crate::sys::shm::DIRECTORY
pub(crate) fn holders() -> Holders {
    let mut found = mappings();
    for line in fs::read_to_string("/proc/locks").unwrap_or_default().lines() {
        if let Some((id, pid)) = parse_lock(line) {
            found.entry(id).or_default().insert(pid);
        }
    }
    found
}

/// The processes that have each file under [`DIRECTORY`](crate::sys::shm::DIRECTORY) mapped. May be
/// outdated, as [`holders`].
pub(crate) fn mappings() -> Holders {
    let mut found = Holders::new();
    // A process in another mount namespace may have another path for the same file.
    let Ok(shared) = fs::metadata(crate::sys::shm::DIRECTORY) else { return found };
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let maps = fs::read(entry.path().join("maps")).unwrap_or_default();
        let mapped = String::from_utf8_lossy(&maps);
        for id in mapped.lines().filter_map(parse_mapping).filter(|id| id.device == shared.dev()) {
            found.entry(id).or_default().insert(pid);
        }
    }
    found
}

/// The name (`comm`) of a process, if it lives and its name may be read.
pub(crate) fn command(pid: u32) -> Option<String> {
    let name = fs::read(format!("/proc/{pid}/comm")).ok()?;
    Some(String::from_utf8_lossy(&name).trim_end().to_owned())
}

/// Parses a line of `/proc/locks`: `1: FLOCK  ADVISORY  READ 4711 00:1b:42 0 EOF`. A line with an
/// arrow instead describes a process that waits.
fn parse_lock(line: &str) -> Option<(FileId, u32)> {
    let mut words = line.split_ascii_whitespace().skip(1);
    if words.next() != Some("FLOCK") {
        return None;
    }
    let pid = words.nth(2)?.parse().ok()?;
    let mut place = words.next()?.split(':');
    let device = device(place.next()?, place.next()?)?;
    Some((FileId { device, inode: place.next()?.parse().ok()? }, pid))
}

/// Parses a line of `/proc/PID/maps`: `7f00-7f10 rw-s 00000000 00:1b 42    /dev/shm/name`.
fn parse_mapping(line: &str) -> Option<FileId> {
    let mut words = line.split_ascii_whitespace().skip(3);
    let (place, inode, _path) = (words.next()?, words.next()?, words.next()?);
    let (major, minor) = place.split_once(':')?;
    Some(FileId { device: device(major, minor)?, inode: inode.parse().ok()? })
}

/// The number of a device, from its major and minor numbers in hexadecimal.
fn device(major: &str, minor: &str) -> Option<u64> {
    let number = |text| u32::from_str_radix(text, 16).ok();
    Some(rustix::fs::makedev(number(major)?, number(minor)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernel_are_read_and_others_passed_over() {
        let id = FileId { device: rustix::fs::makedev(0, 0x1b), inode: 42 };
        let lock = "1: FLOCK  ADVISORY  READ 4711 00:1b:42 0 EOF";
        assert_eq!(parse_lock(lock), Some((id, 4711)));
        let mapping = "7f00-7f10 rw-s 00000000 00:1b 42     /dev/shm/name";
        assert_eq!(parse_mapping(mapping), Some(id));
        for other in [
            "",
            "1: POSIX  ADVISORY  WRITE 12 00:1b:42 0 EOF",
            "1: -> FLOCK  ADVISORY  WRITE 12 00:1b:42 0 EOF",
            "1: FLOCK  ADVISORY  READ 4711 00:1b",
        ] {
            assert_eq!(parse_lock(other), None, "{other}");
        }
        for other in ["7f00-7f10 rw-p 00000000 00:00 0", "7f00-7f10 rw-p 00000000", ""] {
            assert_eq!(parse_mapping(other), None, "{other}");
        }
    }

    #[test]
    fn a_process_can_read_its_own_name() {
        assert!(command(std::process::id()).is_some_and(|name| !name.is_empty()));
        assert_eq!(command(0), None);
    }
}

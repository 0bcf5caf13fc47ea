//! A file in memory that other processes can read.
//!
//! It is a memfd without a name: it ends with the process that made it, however that ends, so
//! nothing has to be cleaned up. Readers find it as `/proc/PID/fd/N`, which the kernel lets only
//! processes with the right to inspect PID open: those of the same user, and root's. They read
//! it by `pread` and map nothing, so no reader can fault or change it.
//!
//! 1. The writer writes a header (mark, length, checksum) and the contents in one `pwrite`.
//! 2. A reader reads both, and compares the checksum. A read that overlaps a write does not match,
//!    and is repeated.
//!
//! The checksum detects torn reads, not forgeries: the contents are whatever a process of this user
//! wants them to be, so the caller decodes them without trust.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use crate::error::Result;
use crate::sys::{limits, memfd, process, procfs};

/// The size of such a file; pages that were never written take no memory.
const FILE_BYTES: u64 = 256 << 10;
/// The most contents, in bytes.
const CONTENTS_BYTES_MAX: usize = (256 << 10) - HEADER_BYTES;
/// Mark, length and checksum, eight bytes each.
const HEADER_BYTES: usize = 24;
/// The first word. The last byte is the version of the contents.
const MARK: u64 = u64::from_le_bytes(*b"brigade\x02");
/// How often a reader tries again after an overlap with a write.
const READS_MAX: u32 = 100;

/// The writer's side.
#[derive(Debug)]
pub(crate) struct PublishedFile {
    file: File,
}

impl PublishedFile {
    /// An empty file. `None` if the limit of file sizes of this process does not allow it.
    ///
    /// # Errors
    ///
    /// [`Error::Os`](crate::Error::Os).
    pub(crate) fn new(label: &str) -> Result<Option<PublishedFile>> {
        if limits::file_size_bytes_max() < FILE_BYTES {
            return Ok(None);
        }
        let file = File::from(memfd::create_sealed(label, FILE_BYTES)?);
        Ok(Some(PublishedFile { file }))
    }

    /// Replaces the contents. False if they are more than [`CONTENTS_BYTES_MAX`].
    pub(crate) fn publish(&self, contents: &[u8]) -> bool {
        if contents.len() > CONTENTS_BYTES_MAX {
            return false;
        }
        let mut bytes = Vec::with_capacity(HEADER_BYTES + contents.len());
        for word in [MARK, contents.len() as u64, checksum(contents)] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.extend_from_slice(contents);
        // A failure (no memory) leaves contents that do not match, which readers pass over.
        let _ = self.file.write_all_at(&bytes, 0);
        true
    }
}

/// A file that was found, and the process that has it.
#[derive(Debug)]
pub(crate) struct Found {
    /// In the pid namespace of this process.
    pub(crate) pid: u32,
    /// In the pid namespace of the process itself.
    pub(crate) inner_pid: u32,
    pub(crate) contents: Vec<u8>,
}

/// All files of this `label` that processes of this user have. A process that is forked while it
/// has one has it too, so the caller compares [`Found::inner_pid`] with the contents.
///
/// # Errors
///
/// `/proc` cannot be listed.
pub(crate) fn find(label: &str) -> io::Result<Vec<Found>> {
    let wanted = format!("/memfd:{label} (deleted)");
    let mut found = Vec::new();
    let user = process::effective_user();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // A process that ends meanwhile is passed over, at each step.
        if entry.metadata().is_ok_and(|metadata| metadata.uid() == user) {
            let _ = of_process(&entry.path(), pid, &wanted, &mut found);
        }
    }
    found.sort_by_key(|found| found.pid);
    Ok(found)
}

fn of_process(path: &Path, pid: u32, wanted: &str, found: &mut Vec<Found>) -> io::Result<()> {
    let mut files = HashSet::new();
    let mut inner_pid = None;
    for entry in fs::read_dir(path.join("fd"))?.flatten() {
        let is_wanted = fs::read_link(entry.path()).is_ok_and(|link| link.as_os_str() == wanted);
        if !is_wanted {
            continue;
        }
        let opened = File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(entry.path());
        let Ok(file) = opened else { continue };
        let metadata = file.metadata()?;
        if !metadata.is_file() || !files.insert((metadata.dev(), metadata.ino())) {
            continue;
        }
        if let Some(contents) = contents(&file) {
            if inner_pid.is_none() {
                inner_pid = inner_pid_of(&procfs::text(path.join("status"))?);
            }
            found.push(Found { pid, inner_pid: inner_pid.unwrap_or(pid), contents });
        }
    }
    Ok(())
}

/// The process's number in the innermost namespace: the last of the line `NSpid:`.
fn inner_pid_of(status: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    line.split_ascii_whitespace().last()?.parse().ok()
}

/// The contents, if there are any of this version.
fn contents(file: &File) -> Option<Vec<u8>> {
    for _ in 0..READS_MAX {
        let mut header = [0; HEADER_BYTES];
        file.read_exact_at(&mut header, 0).ok()?;
        let word = |index: usize| {
            let bytes = header[8 * index..].first_chunk().copied().unwrap_or_default();
            u64::from_le_bytes(bytes)
        };
        let len = usize::try_from(word(1)).ok().filter(|&len| len <= CONTENTS_BYTES_MAX)?;
        if word(0) != MARK || len == 0 {
            return None;
        }
        let mut bytes = vec![0; len];
        file.read_exact_at(&mut bytes, HEADER_BYTES as u64).ok()?;
        if checksum(&bytes) == word(2) {
            return Some(bytes);
        }
        std::thread::yield_now();
    }
    None
}

/// FNV-1a.
fn checksum(bytes: &[u8]) -> u64 {
    let step = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(label: &str) -> Vec<Vec<u8>> {
        let own = std::process::id();
        let all = find(label).unwrap();
        all.into_iter().filter(|found| found.pid == own).map(|found| found.contents).collect()
    }

    #[test]
    fn what_was_published_last_is_found_while_the_file_is_open() {
        let file = PublishedFile::new("brigade-sys-test").unwrap().unwrap();
        assert!(found("brigade-sys-test").is_empty(), "nothing is published");
        assert!(file.publish(b"first, and longer") && file.publish(b"second"));
        assert!(!file.publish(&vec![7; CONTENTS_BYTES_MAX + 1]));
        assert_eq!(found("brigade-sys-test"), [b"second"]);
        assert!(found("brigade-sys-tes").is_empty());
        drop(file);
        assert!(found("brigade-sys-test").is_empty());
    }

    #[test]
    fn torn_contents_foreign_marks_and_impossible_lengths_are_passed_over() {
        let file = PublishedFile::new("brigade-sys-torn").unwrap().unwrap();
        assert!(file.publish(b"whole"));
        for (at, byte) in [(HEADER_BYTES, b'W'), (0, b'B'), (15, 0xff), (8, 0)] {
            let mut old = [0];
            file.file.read_exact_at(&mut old, at as u64).unwrap();
            file.file.write_all_at(&[byte], at as u64).unwrap();
            assert!(found("brigade-sys-torn").is_empty(), "{at}");
            file.file.write_all_at(&old, at as u64).unwrap();
        }
        assert_eq!(found("brigade-sys-torn"), [b"whole"]);
    }

    #[test]
    fn the_innermost_process_id_is_the_last() {
        assert_eq!(inner_pid_of("Name:\tx\nNSpid:\t4711\t7\nNSpgid:\t1\n"), Some(7));
        assert_eq!(inner_pid_of("Name:\tx\n"), None);
    }
}

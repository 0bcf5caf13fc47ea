//! Reads files of `/proc` and `/sys` as text.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The size of the first read, in bytes; most of these files are smaller.
const USUAL_BYTES: usize = 8 << 10;

/// The text of a file below `/proc` or `/sys`.
///
/// Such a file reports a size of 0, so a reader that trusts the size starts with a small buffer and
/// doubles it. Here one call usually reads all of it, and one more finds the end.
///
/// Bytes that are not UTF-8 are replaced: many of these files contain the name of a process or
/// thread, and the kernel may cut a long name in the middle of a character.
pub(crate) fn text(path: impl AsRef<Path>) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut bytes = vec![0; USUAL_BYTES];
    let mut len = 0;
    loop {
        match file.read(&mut bytes[len..]) {
            Ok(0) => break,
            Ok(count) => len += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if len == bytes.len() {
            bytes.resize(2 * len, 0);
        }
    }
    bytes.truncate(len);
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// The resident anonymous memory in the text of `/proc/PID/status`, in bytes.
pub(crate) fn resident_anonymous_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kib: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_read_whole_however_long() {
        for path in ["/proc/self/limits", "/proc/self/smaps", "/proc/filesystems"] {
            let (ours, theirs) = (text(path).unwrap(), std::fs::read_to_string(path).unwrap());
            // Values change between two reads, the number of lines does not.
            assert!(ours.lines().count() >= theirs.lines().count().min(20), "{path}: {ours}");
            assert!(ours.ends_with('\n') && !ours.contains('\0'), "{path}");
        }
        assert!(text("/proc/self/smaps").unwrap().len() > USUAL_BYTES);
    }

    // Without the replacement, a pool in a process with such a name had no soft limit of memory.
    #[test]
    fn a_name_that_is_not_utf_8_does_not_hide_the_rest() {
        let name = "fourteen bytes\u{e9}".to_owned();
        let read = || text("/proc/thread-self/status").unwrap();
        let status = std::thread::Builder::new().name(name).spawn(read).unwrap().join().unwrap();
        let name = status.lines().next().unwrap();
        assert!(name.starts_with("Name:\tfourteen bytes\u{fffd}"), "{name}");
        assert!(status.contains("\nUmask:"));
    }

    #[test]
    fn a_missing_file_is_an_error() {
        assert_eq!(text("/proc/self/nothing").unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}

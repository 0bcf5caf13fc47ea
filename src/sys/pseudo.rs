//! Files that the kernel makes up when they are read.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// More than most of them have, in bytes.
const USUAL_BYTES: usize = 8 << 10;

/// The text of a file below `/proc` or `/sys`.
///
/// Such a file says that its size is 0, so that a reader that goes by the size starts with a few
/// bytes and doubles them; here one call gets all of it, and one more finds the end.
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
    String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_read_whole_however_long() {
        for path in ["/proc/self/limits", "/proc/self/smaps", "/proc/filesystems"] {
            let (ours, theirs) = (text(path).unwrap(), std::fs::read_to_string(path).unwrap());
            // Numbers change between two reads, lines do not.
            assert!(ours.lines().count() >= theirs.lines().count().min(20), "{path}: {ours}");
            assert!(ours.ends_with('\n') && !ours.contains('\0'), "{path}");
        }
        assert!(text("/proc/self/smaps").unwrap().len() > USUAL_BYTES);
    }

    #[test]
    fn what_is_not_there_is_an_error() {
        assert_eq!(text("/proc/self/nothing").unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}

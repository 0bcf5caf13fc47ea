//! The journal: an append-only file, one line for each attempt.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::path::Path;

use crate::batch::json::{self, JsonValue};
use crate::batch::ledger::Ledger;
use crate::batch::report::KeyReport;
use crate::error::{Error, Result};
use crate::sys::file::{self, LockMode};
use crate::sys::{limits, write_file};

/// How every journal begins.
const MAGIC: &str = "{\"journal\":\"brigade.batch\"";
/// The version that this program writes.
const VERSION: u32 = 1;
/// The longest label, in bytes.
const LABEL_BYTES_MAX: usize = 4096;
/// The longest header, in bytes: more than that of the longest label.
const HEADER_BYTES_MAX: u64 = 64 << 10;

/// A journal, locked against other runs.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    shown: String,
    /// Lines that are not in the file yet.
    pending: String,
    /// Where the last whole line of the file ends, in bytes.
    whole_bytes: u64,
    /// Something of a failed write may follow them.
    is_torn: bool,
    is_synced: bool,
}

/// What a journal said when it was opened.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) ledger: Ledger,
    /// Whole lines that could not be read.
    pub(super) unread_lines: usize,
}

impl Journal {
    /// Opens or creates a journal. A torn last line is removed; with `is_synced`, whatever is
    /// written is on the disk when the call returns.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if there is no such folder; [`Error::Layout`] if the file is not a
    /// journal, or one with another label; [`Error::InvalidArgument`] if another run has it;
    /// [`Error::TooLarge`] for a long label; [`Error::Os`].
    pub(super) fn open(path: &Path, label: &str, is_synced: bool) -> Result<(Journal, Contents)> {
        if label.len() > LABEL_BYTES_MAX {
            let (size_bytes, limit_bytes) = (label.len() as u64, LABEL_BYTES_MAX as u64);
            return Err(Error::TooLarge { what: "a journal's label", size_bytes, limit_bytes });
        }
        let shown = path.display().to_string();
        let opened = File::options().read(true).append(true).create(true).open(path);
        let file = opened.map_err(|e| match e.kind() {
            ErrorKind::NotFound => Error::NotFound { name: shown.clone(), place: "its folder" },
            _ => Error::os("open", format!("the journal {shown}"), e),
        })?;
        let (pending, whole_bytes, is_torn) = (String::new(), 0, false);
        let mut journal = Journal { file, shown, pending, whole_bytes, is_torn, is_synced };
        if !journal.file.metadata().is_ok_and(|found| found.is_file()) {
            return Err(journal.unlike("no regular file"));
        }
        if !file::try_lock(&journal.file, LockMode::Exclusive, &journal.shown)? {
            let expected = "one that no other run writes to: wait for that run, or name another";
            return Err(Error::invalid("the journal", &journal.shown, expected));
        }
        let contents = journal.read(label)?;
        if journal.whole_bytes == 0 {
            journal.begin(path, label)?;
        }
        Ok((journal, contents))
    }

    /// Adds a report. It is in the file after the next [`commit`](Journal::commit).
    pub(super) fn push(&mut self, report: &KeyReport) {
        report.push_line(&mut self.pending);
    }

    /// Writes what was added since the last call, by one call of the system.
    ///
    /// # Errors
    ///
    /// [`Error::Os`], for example because the disk is full. The file ends with a whole line
    /// all the same, and the next call tries again.
    pub(super) fn commit(&mut self) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        if self.is_torn {
            self.file.set_len(self.whole_bytes).map_err(|e| self.failed("ftruncate", e))?;
            self.is_torn = false;
        }
        self.append().map_err(|e| {
            // Removes the partly written line. If that fails, the next call or the next run does.
            self.is_torn = self.file.set_len(self.whole_bytes).is_err();
            self.failed("write", e)
        })?;
        self.whole_bytes += self.pending.len() as u64;
        self.pending.clear();
        self.sync()
    }

    fn append(&mut self) -> io::Result<()> {
        // Going past this limit is not an error but a signal.
        let end = self.whole_bytes + self.pending.len() as u64;
        if end > limits::file_size_bytes_max() {
            return Err(ErrorKind::FileTooLarge.into());
        }
        self.file.write_all(self.pending.as_bytes())
    }

    fn sync(&self) -> Result<()> {
        match self.is_synced {
            true => write_file::sync(&self.file).map_err(|e| self.failed("fsync", e)),
            false => Ok(()),
        }
    }

    fn failed(&self, call: &'static str, error: io::Error) -> Error {
        let subject = format!("the journal {} (what it does not name runs again)", self.shown);
        Error::os(call, subject, error)
    }

    fn unlike(&self, found: impl Into<String>) -> Error {
        let place = format!("the journal {}", self.shown);
        let expected = "a journal of this batch; name another file".to_owned();
        Error::Layout { place, found: found.into(), expected }
    }

    /// Writes the header of a new journal.
    fn begin(&mut self, path: &Path, label: &str) -> Result<()> {
        json::push_plain(&mut self.pending, format_args!("{MAGIC},\"version\":{VERSION}"));
        self.pending.push_str(",\"label\":");
        json::push_text(&mut self.pending, label);
        self.pending.push_str("}\n");
        self.commit()?;
        if self.is_synced {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = File::open(folder.unwrap_or(Path::new(".")));
            folder.and_then(|f| write_file::sync(&f)).map_err(|e| self.failed("fsync", e))?;
        }
        Ok(())
    }

    /// Reads the file, and cuts off what follows its last whole line.
    fn read(&mut self, label: &str) -> Result<Contents> {
        let mut contents = Contents::default();
        let mut reader = BufReader::with_capacity(1 << 16, &self.file);
        let mut line = Vec::new();
        let mut header = (&mut reader).take(HEADER_BYTES_MAX);
        header.read_until(b'\n', &mut line).map_err(|e| self.failed("read", e))?;
        let mut whole_bytes = 0;
        if line.ends_with(b"\n") {
            self.check_header(&line, label)?;
            whole_bytes = line.len() as u64;
        } else if !is_torn_header(&line) || line.len() as u64 == HEADER_BYTES_MAX {
            return Err(self.unlike("another file"));
        }
        loop {
            line.clear();
            reader.read_until(b'\n', &mut line).map_err(|e| self.failed("read", e))?;
            if !line.ends_with(b"\n") {
                break;
            }
            whole_bytes += line.len() as u64;
            match KeyReport::of_line(&line) {
                Some(report) => contents.ledger.note(&report),
                None => contents.unread_lines += 1,
            }
        }
        drop(reader);
        self.file.set_len(whole_bytes).map_err(|e| self.failed("ftruncate", e))?;
        self.whole_bytes = whole_bytes;
        Ok(contents)
    }

    fn check_header(&self, line: &[u8], label: &str) -> Result<()> {
        let fields = std::str::from_utf8(line).ok().and_then(json::fields).unwrap_or_default();
        let is_journal = fields.iter().any(|(name, value)| {
            name == "journal" && *value == JsonValue::Text("brigade.batch".into())
        });
        if !is_journal {
            return Err(self.unlike("another file"));
        }
        let found = fields.into_iter().find_map(|(name, value)| match value {
            JsonValue::Text(text) if name == "label" => Some(text),
            _ => None,
        });
        match found.unwrap_or_default() {
            found if found == label => Ok(()),
            found => Err(self.unlike(format!("the label {found:?} instead of {label:?}"))),
        }
    }
}

/// Whether a file that ends in its first line is a journal all the same, cut short.
fn is_torn_header(line: &[u8]) -> bool {
    MAGIC.as_bytes().starts_with(line) || line.starts_with(MAGIC.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;
    use crate::batch::key::Key;
    use crate::batch::ledger::Decision;
    use crate::batch::report::KeyOutcome;

    /// A file of its own, removed at the end.
    struct Place(PathBuf);

    impl Place {
        fn new(label: &str) -> Place {
            let name = format!("brigade-journal-{label}-{}", std::process::id());
            Place(std::env::temp_dir().join(name))
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    fn done(key: &str) -> KeyReport {
        let (key, outcome) = (Key::from(key), KeyOutcome::Done);
        KeyReport { key, outcome, attempt: 1, duration: None, bytes: 0, error: None, death: None }
    }

    fn is_done(contents: &mut Contents, key: &str) -> bool {
        contents.ledger.decide(Key::from(key), false) == Decision::Done
    }

    const KEYS: [&str; 3] = ["plain", "new\nline", "quote\"d"];

    fn written(place: &Place) -> Vec<u8> {
        let (mut journal, _) = Journal::open(&place.0, "label", false).unwrap();
        for key in KEYS {
            journal.push(&done(key));
            journal.commit().unwrap();
        }
        fs::read(&place.0).unwrap()
    }

    #[test]
    fn a_journal_that_is_cut_anywhere_has_the_lines_before_the_cut_and_can_be_written() {
        let place = Place::new("cut");
        let bytes = written(&place);
        for len in 0..=bytes.len() {
            fs::write(&place.0, &bytes[..len]).unwrap();
            let lines = bytes[..len].iter().filter(|&&byte| byte == b'\n').count();
            let (mut journal, mut contents) = Journal::open(&place.0, "label", false).unwrap();
            assert_eq!(contents.unread_lines, 0, "{len}");
            let kept = KEYS.map(|key| is_done(&mut contents, key));
            let expected = [lines > 1, lines > 2, lines > 3];
            assert_eq!(kept, expected, "{len}");
            journal.push(&done("later"));
            journal.commit().unwrap();
            drop(journal);
            let (_, mut contents) = Journal::open(&place.0, "label", false).unwrap();
            assert_eq!(KEYS.map(|key| is_done(&mut contents, key)), expected, "{len}");
            assert!(is_done(&mut contents, "later") && contents.unread_lines == 0, "{len}");
        }
    }

    #[test]
    fn a_damaged_line_costs_itself_alone() {
        let place = Place::new("damaged");
        let bytes = written(&place);
        let start = bytes.iter().position(|&byte| byte == b'\n').unwrap() + 1;
        let end = start + bytes[start..].iter().position(|&byte| byte == b'\n').unwrap();
        for at in start..end {
            let mut damaged = bytes.clone();
            damaged[at] = 0;
            fs::write(&place.0, damaged).unwrap();
            let (_, mut contents) = Journal::open(&place.0, "label", false).unwrap();
            assert!(!is_done(&mut contents, KEYS[0]), "{at}");
            assert!(is_done(&mut contents, KEYS[1]) && is_done(&mut contents, KEYS[2]), "{at}");
            assert_eq!(contents.unread_lines, 1, "{at}");
        }
    }

    #[test]
    fn a_journal_of_a_newer_version_is_read() {
        let place = Place::new("newer");
        let text = "{\"journal\":\"brigade.batch\",\"version\":9,\"new\":[],\"label\":\"\"}\n\
                    {\"key\":\"a\",\"outcome\":\"done\",\"new\":1}\n{\"checkpoint\":5}\n";
        fs::write(&place.0, text).unwrap();
        let (_, mut contents) = Journal::open(&place.0, "", false).unwrap();
        assert!(is_done(&mut contents, "a"));
        assert_eq!(contents.unread_lines, 1);
    }

    #[test]
    fn what_is_no_journal_is_refused_and_not_touched() {
        let place = Place::new("foreign");
        for bytes in [&b"hello"[..], b"hello\n", b"{}\n", b"{\"journal\":\"other\"}\n", &[0; 100]] {
            fs::write(&place.0, bytes).unwrap();
            let refused = Journal::open(&place.0, "", false).unwrap_err();
            assert!(matches!(refused, Error::Layout { .. }), "{refused}");
            assert_eq!(fs::read(&place.0).unwrap(), bytes);
        }
        fs::remove_file(&place.0).unwrap();
        drop(written(&place));
        let refused = Journal::open(&place.0, "another", false).unwrap_err().to_string();
        assert!(refused.contains("\"label\" instead of \"another\""), "{refused}");
        let refused = Journal::open(Path::new("/dev/null"), "", false).unwrap_err();
        assert!(matches!(refused, Error::Layout { .. }), "{refused}");
        let refused = Journal::open(Path::new("/nonexistent/journal"), "", false).unwrap_err();
        assert!(matches!(refused, Error::NotFound { .. }), "{refused}");
        let refused = Journal::open(&place.0, &"x".repeat(5000), false).unwrap_err();
        assert!(matches!(refused, Error::TooLarge { .. }), "{refused}");
    }

    #[test]
    fn a_journal_has_one_writer() {
        let place = Place::new("locked");
        let (first, _) = Journal::open(&place.0, "", false).unwrap();
        let refused = Journal::open(&place.0, "", false).unwrap_err();
        assert!(matches!(refused, Error::InvalidArgument { .. }), "{refused}");
        drop(first);
        Journal::open(&place.0, "", true).unwrap();
    }

    #[test]
    fn a_full_disk_is_an_error_that_names_the_journal_and_the_lines_are_kept() {
        let place = Place::new("full");
        let (mut journal, _) = Journal::open(&place.0, "", false).unwrap();
        let full = File::options().append(true).open("/dev/full").unwrap();
        let file = std::mem::replace(&mut journal.file, full);
        journal.push(&done("a"));
        let error = journal.commit().unwrap_err().to_string();
        assert!(error.contains("No space left") && error.contains("journal-full"), "{error}");
        // A device cannot be cut, so what was written of the line may still be there.
        assert!(journal.is_torn);
        let error = journal.commit().unwrap_err().to_string();
        assert!(error.contains("ftruncate") && error.contains("journal-full"), "{error}");
        journal.file = file;
        journal.file.write_all(b"{\"key\":\"half a li").unwrap();
        journal.push(&done("b"));
        journal.commit().unwrap();
        drop(journal);
        let (_, mut contents) = Journal::open(&place.0, "", false).unwrap();
        assert!(is_done(&mut contents, "a") && is_done(&mut contents, "b"));
        assert_eq!(contents.unread_lines, 0);
    }
}

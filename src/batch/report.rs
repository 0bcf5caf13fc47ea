//! How an attempt at a key ended, and its line.

use std::fmt;
use std::time::Duration;

use crate::batch::json::{self, JsonValue};
use crate::batch::key::Key;
use crate::error::{Death, Phase};
use crate::exit::ExitReason;

/// The longest text of an error that is kept, in bytes.
const ERROR_BYTES_MAX: usize = 4096;

/// How one attempt at a key ended.
///
/// # Examples
///
/// ```
/// use brigade::batch::KeyOutcome;
/// assert!(KeyOutcome::Quarantined.is_failure());
/// assert!(!KeyOutcome::Done.is_failure() && !KeyOutcome::Died.is_failure());
/// assert_eq!(KeyOutcome::TimedOut.to_string(), "timed_out");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyOutcome {
    /// The function returned `Ok`.
    Done,
    /// The function returned `Err` or panicked, or a value could not be encoded or decoded.
    Failed,
    /// The function ran longer than the batch's timeout, and its worker was killed.
    TimedOut,
    /// Its worker died. The key runs once more.
    Died,
    /// Its worker ran out of memory. The key runs once more, alone.
    OutOfMemory,
    /// Its worker died for the second time. The key runs no more.
    Quarantined,
}

const NAMES: [(KeyOutcome, &str); 6] = [
    (KeyOutcome::Done, "done"),
    (KeyOutcome::Failed, "failed"),
    (KeyOutcome::TimedOut, "timed_out"),
    (KeyOutcome::Died, "died"),
    (KeyOutcome::OutOfMemory, "out_of_memory"),
    (KeyOutcome::Quarantined, "quarantined"),
];

impl KeyOutcome {
    /// Whether the key has failed permanently: it runs again only with
    /// [`retry_failed`](crate::batch::Batch::retry_failed).
    #[must_use]
    pub fn is_failure(self) -> bool {
        matches!(self, KeyOutcome::Failed | KeyOutcome::TimedOut | KeyOutcome::Quarantined)
    }

    /// The name in a journal.
    fn name(self) -> &'static str {
        NAMES.iter().find(|(outcome, _)| *outcome == self).map_or("", |(_, name)| name)
    }

    fn of_name(text: &str) -> Option<KeyOutcome> {
        NAMES.iter().find(|(_, name)| *name == text).map(|(outcome, _)| *outcome)
    }
}

impl fmt::Display for KeyOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How an attempt at a key ended: what a line of a journal says.
///
/// # Examples
///
/// ```
/// use brigade::Pool;
/// use brigade::batch::{Batch, Key, KeyOutcome};
/// let pool = Pool::builder().workers(1).build()?;
/// let summary = Batch::new(&pool).run(["a"], |_: &Key| Err::<u64, _>("no such thing"))?;
/// let report = &summary.failed[0];
/// assert_eq!((report.outcome, report.attempt), (KeyOutcome::Failed, 1));
/// assert_eq!(report.to_string(), "a: failed at attempt 1: no such thing");
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct KeyReport {
    /// The key.
    pub key: Key,
    /// How the attempt ended.
    pub outcome: KeyOutcome,
    /// Which attempt it was, from 1, counted over all runs on the same journal.
    pub attempt: u32,
    /// How long the function ran, if it returned.
    pub duration: Option<Duration>,
    /// What the function returned: the size of its output, in bytes; 0 if it failed.
    pub bytes: u64,
    /// Why it failed; at most 4 KiB of it.
    pub error: Option<String>,
    /// The report of its worker's death, if the worker died in this run. The journal has its parts.
    pub death: Option<Box<Death>>,
}

impl fmt::Display for KeyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let KeyReport { key, outcome, attempt, error, .. } = self;
        write!(f, "{key}: {outcome} at attempt {attempt}")?;
        // One line, whatever the error says.
        match error {
            Some(error) => write!(f, ": {}", Key::from(error.as_str())),
            None => Ok(()),
        }
    }
}

/// At most [`ERROR_BYTES_MAX`] of a text.
pub(super) fn shortened(mut text: String) -> String {
    if text.len() > ERROR_BYTES_MAX {
        let end = (0..=ERROR_BYTES_MAX - 3).rev().find(|&end| text.is_char_boundary(end));
        text.truncate(end.unwrap_or(0));
        text.push_str("...");
    }
    text
}

impl KeyReport {
    /// Appends the report's line, the newline included.
    pub(super) fn push_line(&self, out: &mut String) {
        out.push_str("{\"key\":");
        match self.key.as_str() {
            Some(text) => json::push_text(out, text),
            None => {
                json::push_text(out, &String::from_utf8_lossy(self.key.as_bytes()));
                out.push_str(",\"key_hex\":\"");
                for byte in self.key.as_bytes() {
                    json::push_plain(out, format_args!("{byte:02x}"));
                }
                out.push('"');
            }
        }
        let attempt = self.attempt;
        json::push_plain(out, format_args!(",\"outcome\":\"{}\"", self.outcome.name()));
        json::push_plain(out, format_args!(",\"attempt\":{attempt},\"ms\":"));
        match self.duration {
            Some(duration) => {
                let us = duration.as_micros();
                json::push_plain(out, format_args!("{}.{:03}", us / 1000, us % 1000));
            }
            None => out.push_str("null"),
        }
        json::push_plain(out, format_args!(",\"bytes\":{},\"error\":", self.bytes));
        push_optional_text(out, self.error.as_deref());
        if let Some(death) = &self.death {
            push_death(out, death);
        }
        out.push_str("}\n");
    }

    /// Reads a line; `None` if it is not one of a report, or of a kind that is not known here.
    pub(super) fn of_line(line: &[u8]) -> Option<KeyReport> {
        let fields = json::fields(std::str::from_utf8(line).ok()?)?;
        let mut key = None;
        let mut hex = None;
        let mut outcome = None;
        let (mut attempt, mut duration, mut bytes, mut error) = (1, None, 0, None);
        for (name, value) in fields {
            match (name.as_str(), value) {
                ("key", JsonValue::Text(text)) => key = Some(Key::from(text)),
                ("key_hex", JsonValue::Text(text)) => hex = Some(bytes_of_hex(&text)?),
                ("outcome", JsonValue::Text(text)) => outcome = Some(KeyOutcome::of_name(&text)?),
                ("attempt", JsonValue::Number(number)) => attempt = number.parse().ok()?,
                ("ms", JsonValue::Number(number)) => {
                    let seconds = number.parse::<f64>().ok()? / 1e3;
                    duration = Some(Duration::try_from_secs_f64(seconds).ok()?);
                }
                ("bytes", JsonValue::Number(number)) => bytes = number.parse().ok()?,
                ("error", JsonValue::Text(text)) => error = Some(text),
                _ => {}
            }
        }
        let key = hex.map(Key::from).or(key)?;
        Some(KeyReport { key, outcome: outcome?, attempt, duration, bytes, error, death: None })
    }
}

fn push_optional_text(out: &mut String, text: Option<&str>) {
    match text {
        Some(text) => json::push_text(out, text),
        None => out.push_str("null"),
    }
}

fn push_optional_number(out: &mut String, number: Option<impl fmt::Display>) {
    match number {
        Some(number) => json::push_plain(out, number),
        None => out.push_str("null"),
    }
}

fn push_death(out: &mut String, death: &Death) {
    let (signal, code) = match death.reason {
        ExitReason::Signal(number) => (Some(number), None),
        ExitReason::Code(code) => (None, Some(code)),
        ExitReason::Unknown => (None, None),
    };
    let phase = match death.phase {
        Phase::Decoding => "decoding",
        Phase::Running => "running",
        Phase::Publishing => "publishing",
    };
    out.push_str(",\"death\":{\"signal\":");
    push_optional_number(out, signal);
    out.push_str(",\"code\":");
    push_optional_number(out, code);
    json::push_plain(out, format_args!(",\"phase\":\"{phase}\""));
    json::push_plain(out, format_args!(",\"out_of_memory\":{}", death.out_of_memory));
    out.push_str(",\"peak_rss_bytes\":");
    push_optional_number(out, death.peak_rss_bytes);
    out.push_str(",\"crash_message\":");
    push_optional_text(out, death.crash_message.as_deref());
    out.push_str(",\"stderr_tail\":");
    push_optional_text(out, death.stderr_tail.as_deref());
    out.push('}');
}

fn bytes_of_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|c| c.to_digit(16)?.try_into().ok()).collect();
    let (pairs, rest) = digits.as_deref()?.as_chunks();
    rest.is_empty().then(|| pairs.iter().map(|&[high, low]| high << 4 | low).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line_of(report: &KeyReport) -> String {
        let mut line = String::new();
        report.push_line(&mut line);
        line
    }

    fn report(key: impl Into<Key>, outcome: KeyOutcome) -> KeyReport {
        let (key, error) = (key.into(), None);
        KeyReport { key, outcome, attempt: 1, duration: None, bytes: 0, error, death: None }
    }

    #[test]
    fn a_line_is_what_the_documentation_shows() {
        let done = KeyReport {
            duration: Some(Duration::from_micros(1500)),
            bytes: 4096,
            ..report("a\nb", KeyOutcome::Done)
        };
        let expected =
            r#"{"key":"a\nb","outcome":"done","attempt":1,"ms":1.500,"bytes":4096,"error":null}"#;
        assert_eq!(line_of(&done), format!("{expected}\n"));
        let died = Death {
            peak_rss_bytes: Some(7),
            crash_message: Some("last \"words\"".into()),
            ..death(ExitReason::Signal(6))
        };
        let died =
            KeyReport { death: Some(Box::new(died)), ..report("k", KeyOutcome::Quarantined) };
        let line: serde_json::Value = serde_json::from_str(&line_of(&died)).unwrap();
        assert_eq!((&line["outcome"], &line["ms"]), (&"quarantined".into(), &().into()));
        let expected = serde_json::json!({
            "signal": 6, "code": null, "phase": "running", "out_of_memory": false,
            "peak_rss_bytes": 7, "crash_message": "last \"words\"", "stderr_tail": null,
        });
        assert_eq!(line["death"], expected);
    }

    fn death(reason: ExitReason) -> Death {
        Death {
            pid: 1,
            worker: 0,
            process: None,
            reason,
            out_of_memory: false,
            peak_rss_bytes: None,
            task: "",
            phase: Phase::Running,
            torn: Vec::new(),
            items: None,
            crash_message: None,
            stdout_tail: None,
            stderr_tail: None,
            log_tail: Vec::new(),
        }
    }

    #[test]
    fn a_line_of_a_newer_version_says_what_is_known_or_nothing() {
        let more = br#"{"new":{"a":[1]},"key":"k","outcome":"done","attempt":3,"more":true}"#;
        let expected = KeyReport { attempt: 3, ..report("k", KeyOutcome::Done) };
        assert_eq!(KeyReport::of_line(more), Some(expected));
        for unknown in [
            &br#"{"key":"k","outcome":"postponed"}"#[..],
            br#"{"outcome":"done"}"#,
            br#"{"key":"k"}"#,
            br#"{"key":"k","key_hex":"6","outcome":"done"}"#,
            br#"{"key":"k","outcome":"done","attempt":-1}"#,
            br#"{"key":"k","outcome":"done","ms":-1}"#,
            b"{\"key\":\"\xff\",\"outcome\":\"done\"}",
            b"\0\0\0\0",
            b"",
        ] {
            assert_eq!(KeyReport::of_line(unknown), None, "{}", unknown.escape_ascii());
        }
    }

    #[test]
    fn a_long_error_is_cut_between_characters() {
        let cut = shortened("\u{e9}".repeat(ERROR_BYTES_MAX));
        assert!(cut.len() <= ERROR_BYTES_MAX && cut.ends_with("\u{e9}..."), "{cut}");
        assert_eq!(shortened("short".into()), "short");
    }

    proptest! {
        #[test]
        fn every_report_comes_back_from_its_line(
            key in prop::collection::vec(any::<u8>(), 0..20),
            which in 0usize..6, attempt: u32, ms in 0u64..1 << 20, bytes: u64,
            error in any::<Option<String>>(),
        ) {
            let report = KeyReport {
                key: Key::from(key),
                outcome: NAMES[which].0,
                attempt,
                duration: Some(Duration::from_millis(ms)),
                bytes,
                error,
                death: None,
            };
            let line = line_of(&report);
            prop_assert_eq!(line.matches('\n').count(), 1);
            prop_assert!(serde_json::from_str::<serde_json::Value>(&line).is_ok());
            prop_assert_eq!(KeyReport::of_line(line.as_bytes()), Some(report));
        }
    }
}

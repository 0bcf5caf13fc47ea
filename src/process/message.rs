//! The messages between host and fork server.

use bytemuck::{Pod, Zeroable};

use crate::error::{Error, Result};
use crate::exit::ExitReason;
use crate::sys::signal::{Dispositions, Signals};

/// The number of words that the host can pass to a child beside its descriptors.
pub(crate) const CHILD_WORDS: usize = 6;

/// The set-up of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ChildSetup {
    /// The last of its descriptors becomes its standard error.
    pub(crate) has_stderr: bool,
    /// The last of the others becomes its standard output.
    pub(crate) has_stdout: bool,
    /// The last of those that are left becomes its standard input.
    pub(crate) has_stdin: bool,
    /// The last of those that are left becomes its working directory.
    pub(crate) has_directory: bool,
    /// Its dispositions of signals.
    pub(crate) dispositions: Dispositions,
    /// Its nesting depth: 1 for a host's own child.
    pub(crate) depth: u8,
    /// The number of descriptors that it was sent.
    pub(crate) fds: u8,
}

impl ChildSetup {
    fn to_word(self) -> u64 {
        let flags = [self.has_stderr, self.has_stdout, self.has_stdin, self.has_directory];
        let flags = flags.into_iter().rev().fold(0, |bits, flag| bits << 1 | u64::from(flag));
        flags | u64::from(self.depth) << 8 | u64::from(self.fds) << 16
    }

    /// Reads a word; unused bits are ignored.
    fn from_words(word: u64, [ignored, held]: [u64; 2]) -> ChildSetup {
        let [flags, depth, fds, ..] = word.to_le_bytes();
        ChildSetup {
            has_stderr: flags & 1 != 0,
            has_stdout: flags & 2 != 0,
            has_stdin: flags & 4 != 0,
            has_directory: flags & 8 != 0,
            dispositions: Dispositions { ignored: Signals(ignored), held: Signals(held) },
            depth,
            fds,
        }
    }
}

/// The first word of every message; it reveals a foreign writer.
const MAGIC: u64 = u64::from_le_bytes(*b"brigade1");

/// A message, in words. Private to the two processes on one socket, which run the same image.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct WireMessage {
    magic: u64,
    kind: u64,
    id: u64,
    setup: u64,
    /// Signals that are ignored, and signals that are held.
    signals: [u64; 2],
    words: [u64; CHILD_WORDS],
    name: [u8; 16],
}

pub(crate) const MESSAGE_BYTES: usize = size_of::<WireMessage>();

/// A request of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    /// The first request; carries the host's pidfd. The token ties server and host to each other.
    Hello { token: u64 },
    /// Fork a child; carries the child's descriptors.
    Spawn { id: u64, entry: u64, words: [u64; CHILD_WORDS - 1], name: [u8; 16], setup: ChildSetup },
    /// Send a signal to the child of this id, because the host may not, or has no pidfd.
    Signal { id: u64, number: i32 },
}

/// A report of the fork server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Report {
    /// It can fork; carries its own pidfd.
    Ready { token: u64 },
    /// It cannot: it has this many threads, and the others have these names.
    MultiThreaded { threads: u64, names: ThreadNames },
    /// It cannot: its executable gave it privileges that the host may lack.
    Privileged,
    /// It cannot: what it had to do first has failed; carries a pipe with the reason.
    Unprepared,
    /// The child runs; carries its pidfd.
    Started { id: u64, pid: u32 },
    /// The child could not be forked.
    Failed { id: u64, errno: i32 },
    /// The child has ended and was reaped.
    Ended { id: u64, pid: u32, reason: ExitReason, peak_rss_bytes: u64 },
}

/// Names of threads, as many as fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ThreadNames([u64; 4]);

impl ThreadNames {
    /// Stores the first of these names.
    pub(crate) fn new(names: &[String]) -> ThreadNames {
        let mut bytes = names.join("\n").into_bytes();
        bytes.resize(size_of::<ThreadNames>(), 0);
        ThreadNames(bytemuck::pod_read_unaligned(&bytes))
    }

    /// The names; the last one may be truncated.
    pub(crate) fn list(&self) -> Vec<String> {
        let bytes: &[u8] = bytemuck::bytes_of(&self.0);
        let len = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
        String::from_utf8_lossy(&bytes[..len]).lines().map(str::to_owned).collect()
    }
}

impl WireMessage {
    fn new(kind: u64, id: u64, words: [u64; CHILD_WORDS], name: [u8; 16]) -> WireMessage {
        WireMessage { magic: MAGIC, kind, id, setup: 0, signals: [0; 2], words, name }
    }

    /// Reads a message from received bytes.
    fn parse(bytes: &[u8]) -> Result<WireMessage> {
        let message: WireMessage =
            bytemuck::try_pod_read_unaligned(bytes).map_err(|_| corrupt(bytes))?;
        if message.magic == MAGIC { Ok(message) } else { Err(corrupt(bytes)) }
    }
}

fn corrupt(bytes: &[u8]) -> Error {
    let shown = &bytes[..bytes.len().min(24)];
    Error::Corrupt {
        what: "a message between host and fork server",
        found: format!("{} bytes starting with {shown:02x?}", bytes.len()),
    }
}

impl Request {
    /// The message as it is sent.
    pub(crate) fn message(self) -> WireMessage {
        match self {
            Request::Hello { token } => WireMessage::new(1, token, [0; CHILD_WORDS], [0; 16]),
            Request::Spawn { id, entry, words, name, setup } => {
                let mut all = [entry; CHILD_WORDS];
                all[1..].copy_from_slice(&words);
                let Dispositions { ignored, held } = setup.dispositions;
                let (setup, signals) = (setup.to_word(), [ignored.0, held.0]);
                WireMessage { setup, signals, ..WireMessage::new(2, id, all, name) }
            }
            Request::Signal { id, number } => {
                let word = u64::from(number.cast_unsigned());
                WireMessage::new(3, id, [word; CHILD_WORDS], [0; 16])
            }
        }
    }

    /// Reads a received message.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Request> {
        let message = WireMessage::parse(bytes)?;
        match message.kind {
            1 => Ok(Request::Hello { token: message.id }),
            2 => {
                let mut words = [0; CHILD_WORDS - 1];
                words.copy_from_slice(&message.words[1..]);
                let (id, entry, name) = (message.id, message.words[0], message.name);
                let setup = ChildSetup::from_words(message.setup, message.signals);
                Ok(Request::Spawn { id, entry, words, name, setup })
            }
            3 => {
                let word = u32::try_from(message.words[0]).map_err(|_| corrupt(bytes))?;
                Ok(Request::Signal { id: message.id, number: word.cast_signed() })
            }
            _ => Err(corrupt(bytes)),
        }
    }
}

impl Report {
    /// The message as it is sent.
    pub(crate) fn message(self) -> WireMessage {
        let (kind, id, words) = match self {
            Report::Ready { token } => (1, token, [0; 4]),
            Report::MultiThreaded { threads, names } => (2, threads, names.0),
            Report::Privileged => (6, 0, [0; 4]),
            Report::Unprepared => (7, 0, [0; 4]),
            Report::Started { id, pid } => (3, id, [u64::from(pid), 0, 0, 0]),
            Report::Failed { id, errno } => (4, id, [u64::from(errno.cast_unsigned()), 0, 0, 0]),
            Report::Ended { id, pid, reason, peak_rss_bytes } => {
                let (how, value) = match reason {
                    ExitReason::Code(code) => (0, code),
                    ExitReason::Signal(signal) => (1, signal),
                    ExitReason::Unknown => (2, 0),
                };
                (5, id, [u64::from(pid), how, u64::from(value.cast_unsigned()), peak_rss_bytes])
            }
        };
        let mut all = [0; CHILD_WORDS];
        all[..4].copy_from_slice(&words);
        WireMessage::new(kind, id, all, [0; 16])
    }

    /// Reads a received message.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Report> {
        let message = WireMessage::parse(bytes)?;
        let [first, how, value, peak_rss_bytes, ..] = message.words;
        let first_four = [first, how, value, peak_rss_bytes];
        let id = message.id;
        let narrow = |word: u64| u32::try_from(word).map_err(|_| corrupt(bytes));
        Ok(match message.kind {
            1 => Report::Ready { token: id },
            2 => Report::MultiThreaded { threads: id, names: ThreadNames(first_four) },
            3 => Report::Started { id, pid: narrow(first)? },
            4 => Report::Failed { id, errno: narrow(first)?.cast_signed() },
            5 => {
                let value = narrow(value)?.cast_signed();
                let reason = match how {
                    0 => ExitReason::Code(value),
                    1 => ExitReason::Signal(value),
                    _ => ExitReason::Unknown,
                };
                Report::Ended { id, pid: narrow(first)?, reason, peak_rss_bytes }
            }
            6 => Report::Privileged,
            7 => Report::Unprepared,
            _ => return Err(corrupt(bytes)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_survives_the_way_through_bytes() {
        let requests = [
            Request::Hello { token: 7 },
            Request::Spawn {
                id: 1,
                entry: 2,
                words: [3, 4, 5, 6, 7],
                name: *b"0123456789abcdef",
                setup: ChildSetup {
                    has_stderr: true,
                    has_stdout: false,
                    has_stdin: false,
                    has_directory: true,
                    dispositions: Dispositions { ignored: Signals(1 << 63 | 1), held: Signals(2) },
                    depth: 200,
                    fds: 4,
                },
            },
            Request::Signal { id: 7, number: 15 },
        ];
        for request in requests {
            let message = request.message();
            assert_eq!(Request::parse(bytemuck::bytes_of(&message)).unwrap(), request);
        }
        let ended = |reason| Report::Ended { id: 9, pid: 10, reason, peak_rss_bytes: 11 };
        let reports = [
            Report::Ready { token: 7 },
            Report::MultiThreaded {
                threads: 3,
                names: ThreadNames::new(&["a".into(), "b".into()]),
            },
            Report::Privileged,
            Report::Unprepared,
            Report::Started { id: 1, pid: 2 },
            Report::Failed { id: 1, errno: 11 },
            ended(ExitReason::Code(3)),
            ended(ExitReason::Signal(9)),
            ended(ExitReason::Unknown),
        ];
        for report in reports {
            let message = report.message();
            assert_eq!(Report::parse(bytemuck::bytes_of(&message)).unwrap(), report);
        }
    }

    #[test]
    fn bytes_that_are_no_message_are_refused() {
        let good = Report::Ready { token: 7 }.message();
        let bytes = bytemuck::bytes_of(&good);
        assert!(matches!(Report::parse(&bytes[1..]), Err(Error::Corrupt { .. })));
        assert!(matches!(Report::parse(&[0; MESSAGE_BYTES]), Err(Error::Corrupt { .. })));
        assert!(matches!(Report::parse(b""), Err(Error::Corrupt { .. })));
    }
}

//! How a process ended: with a code or by a signal.

use std::fmt;

/// How a process ended.
///
/// # Examples
///
/// ```
/// use brigade::ExitReason;
/// assert_eq!(ExitReason::Signal(9).to_string(), "killed by SIGKILL (signal 9)");
/// assert_eq!(ExitReason::Code(3).to_string(), "exited with code 3");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ExitReason {
    /// It called `exit` or `_exit` with this code (0..=255), or returned it from `main`.
    Code(i32),
    /// A signal of this number (1..=64) ended it.
    Signal(i32),
    /// It has ended, but the process that could have read its status ended first.
    Unknown,
}

impl ExitReason {
    /// The name of the signal, if one ended the process and it has a name.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::ExitReason;
    /// assert_eq!(ExitReason::Signal(11).signal_name(), Some("SIGSEGV"));
    /// assert_eq!(ExitReason::Code(11).signal_name(), None);
    /// ```
    #[must_use]
    pub fn signal_name(self) -> Option<&'static str> {
        let ExitReason::Signal(number) = self else { return None };
        SIGNAL_NAMES.iter().find(|(n, _)| *n == number).map(|(_, name)| *name)
    }

    /// Whether another process may have ended it: by SIGKILL, by SIGTERM, or in an unknown way.
    pub(crate) fn is_from_outside(self) -> bool {
        matches!(self, ExitReason::Signal(9 | 15) | ExitReason::Unknown)
    }
}

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            ExitReason::Code(code) => write!(f, "exited with code {code}"),
            ExitReason::Signal(number) => match self.signal_name() {
                Some(name) => write!(f, "killed by {name} (signal {number})"),
                None => write!(f, "killed by signal {number}"),
            },
            ExitReason::Unknown => f.write_str("ended, status unknown"),
        }
    }
}

/// Numbers of the signals that end a process, valid on every architecture of Linux except MIPS,
/// Alpha, SPARC and PA-RISC.
const SIGNAL_NAMES: [(i32, &str); 22] = [
    (1, "SIGHUP"),
    (2, "SIGINT"),
    (3, "SIGQUIT"),
    (4, "SIGILL"),
    (5, "SIGTRAP"),
    (6, "SIGABRT"),
    (7, "SIGBUS"),
    (8, "SIGFPE"),
    (9, "SIGKILL"),
    (10, "SIGUSR1"),
    (11, "SIGSEGV"),
    (12, "SIGUSR2"),
    (13, "SIGPIPE"),
    (14, "SIGALRM"),
    (15, "SIGTERM"),
    (16, "SIGSTKFLT"),
    (24, "SIGXCPU"),
    (25, "SIGXFSZ"),
    (26, "SIGVTALRM"),
    (27, "SIGPROF"),
    (30, "SIGPWR"),
    (31, "SIGSYS"),
];

//! Why a command ends early.

use std::io;
use std::path::Path;

use brigade::{Dtype, Error};

/// Why a command ends early.
#[derive(Debug)]
pub(crate) enum CommandError {
    /// The command line is wrong: exit code 2.
    Usage(String),
    /// The command failed: exit code 1.
    Failure(String),
    /// The reader of standard output has closed it.
    Unread,
}

impl CommandError {
    /// The error for elements that a command does not take.
    pub(crate) fn unsupported(path: &Path, dtype: Dtype, expected: &str) -> CommandError {
        let text = format!("{}: found dtype {dtype}, but expected {expected}", path.display());
        CommandError::Failure(text)
    }
}

impl From<Error> for CommandError {
    fn from(error: Error) -> CommandError {
        let text = error.to_string();
        match error {
            Error::BadName { .. } => CommandError::Usage(text),
            _ => CommandError::Failure(text),
        }
    }
}

impl From<io::Error> for CommandError {
    fn from(error: io::Error) -> CommandError {
        match error.kind() {
            io::ErrorKind::BrokenPipe => CommandError::Unread,
            _ => CommandError::Failure(format!("cannot write to standard output: {error}")),
        }
    }
}

//! The outcome of a task.

use crate::error::{Error, TaskError};
use crate::object::transfer::LeaseList;
use crate::worker::call::Encoded;

/// The outcome of a task.
pub(crate) type Outcome = std::result::Result<EncodedResult, Box<Error>>;

/// An encoded result.
#[derive(Debug, Default)]
pub(crate) struct EncodedResult {
    pub(crate) bytes: Encoded,
    /// The leases of the call, for handles in the result.
    pub(crate) leases: LeaseList,
    /// The time that the worker took, in nanoseconds; 0 if unknown.
    pub(crate) elapsed_ns: u64,
}

/// How a task has ended, without its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Completion {
    /// With a value, or cancelled.
    NotFailed,
    /// With any other error.
    Failed,
}

impl Completion {
    pub(crate) fn of(outcome: &Outcome) -> Completion {
        match outcome {
            Ok(_) => Completion::NotFailed,
            Err(_) if is_cancelled(outcome) => Completion::NotFailed,
            Err(_) => Completion::Failed,
        }
    }
}

/// Whether the task was cancelled.
pub(crate) fn is_cancelled(outcome: &Outcome) -> bool {
    outcome.as_ref().is_err_and(|error| matches!(**error, Error::Task(TaskError::Cancelled)))
}

/// The error of a task that was cancelled.
pub(crate) fn cancelled() -> Box<Error> {
    Box::new(Error::Task(TaskError::Cancelled))
}

/// The error of a task that a broken pool cannot run.
pub(crate) fn broken(cause: &str) -> Error {
    Error::Broken { what: "the pool", cause: cause.to_owned() }
}

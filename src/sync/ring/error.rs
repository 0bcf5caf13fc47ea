//! Errors of the ring with additional values.

use std::fmt;

use crate::error::Error;

/// A push that failed, with the message that was not pushed.
///
/// # Examples
///
/// ```
/// # let queue = brigade::Queue::<()>::new(8)?;
/// # let ring = queue.raw()?;
/// use brigade::sync::Timeout;
/// ring.close()?;
/// let refused = ring.push("late", Timeout::Never).unwrap_err();
/// assert_eq!(refused.value, "late");
/// assert!(matches!(refused.error, brigade::Error::Closed { .. }));
/// # Ok::<(), brigade::Error>(())
/// ```
pub struct PushError<T> {
    /// The message.
    pub value: T,
    /// Why it was not pushed.
    pub error: Error,
}

impl<T> fmt::Debug for PushError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushError").field("error", &self.error).finish_non_exhaustive()
    }
}

impl<T> fmt::Display for PushError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<T> std::error::Error for PushError<T> {}

impl<T> From<PushError<T>> for Error {
    fn from(error: PushError<T>) -> Error {
        error.error
    }
}

/// A batch of which only the first messages were pushed.
///
/// # Examples
///
/// ```
/// # let queue = brigade::Queue::<()>::new(8)?;
/// # let ring = queue.raw()?;
/// use brigade::sync::Timeout;
/// let error = ring.push_batch(&["a"; 9], Timeout::Now).unwrap_err();
/// assert_eq!(error.pushed, 8);
/// assert!(matches!(error.error, brigade::Error::Full { .. }));
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[error("{pushed} messages were pushed, then: {error}")]
pub struct BatchError {
    /// How many messages of the batch were pushed.
    pub pushed: usize,
    /// Why the next one was not.
    pub error: Error,
}

impl From<BatchError> for Error {
    fn from(error: BatchError) -> Error {
        error.error
    }
}

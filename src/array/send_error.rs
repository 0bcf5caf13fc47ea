//! A value that a call did not accept, and the reason.

use std::fmt;

use crate::error::Error;

/// A value that a call would have consumed, returned because the call failed.
///
/// `?` converts it into the [`Error`], in functions that return that.
///
/// # Examples
///
/// ```
/// use brigade::SharedArray;
/// let array = SharedArray::from_slice(&[1, 2, 3])?;
/// let refused = array.into_chunks(0).unwrap_err();
/// assert_eq!(refused.value.as_slice(), [1, 2, 3]);
/// # Ok::<(), brigade::Error>(())
/// ```
pub struct SendError<V> {
    /// The value, unchanged.
    pub value: V,
    /// Why it was not accepted; boxed, so that the success is not as large as the failure.
    pub error: Box<Error>,
}

impl<V> SendError<V> {
    pub(crate) fn new(value: V, error: Error) -> SendError<V> {
        SendError { value, error: Box::new(error) }
    }
}

impl<V> fmt::Debug for SendError<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendError").field("error", &self.error).finish_non_exhaustive()
    }
}

impl<V> fmt::Display for SendError<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)
    }
}

impl<V> std::error::Error for SendError<V> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

impl<V> From<SendError<V>> for Error {
    fn from(refused: SendError<V>) -> Error {
        *refused.error
    }
}

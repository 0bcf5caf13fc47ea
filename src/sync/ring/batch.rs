//! Messages that were popped together.

/// Messages that [`pop_batch`](super::Ring::pop_batch) took in one step, in private memory.
///
/// Reuse a batch: it keeps its memory.
///
/// # Examples
///
/// ```
/// # let queue = brigade::Queue::<()>::new(8)?;
/// # let ring = queue.raw()?;
/// use brigade::sync::Timeout;
/// use brigade::sync::MessageBatch;
/// ring.push_batch(&["one", "two"], Timeout::Never)?;
/// let mut batch = MessageBatch::new();
/// assert!(batch.is_empty());
/// ring.pop_batch(&mut batch, 10, Timeout::Never)?;
/// assert_eq!(batch.len(), 2);
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Default, Clone)]
pub struct MessageBatch {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl MessageBatch {
    /// An empty batch.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::sync::MessageBatch;
    /// let batch = MessageBatch::new();
    /// assert_eq!((batch.len(), batch.iter().next()), (0, None));
    /// ```
    #[must_use]
    pub fn new() -> MessageBatch {
        MessageBatch::default()
    }

    /// The number of messages.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether it holds no message.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The messages, in the order in which they were pushed.
    ///
    /// # Examples
    ///
    /// ```
    /// # let queue = brigade::Queue::<()>::new(8)?;
    /// # let ring = queue.raw()?;
    /// use brigade::sync::Timeout;
    /// use brigade::sync::MessageBatch;
    /// ring.push_batch(&["one", "two"], Timeout::Never)?;
    /// let mut batch = MessageBatch::new();
    /// assert!(batch.is_empty());
    /// ring.pop_batch(&mut batch, 10, Timeout::Never)?;
    /// assert_eq!(batch.iter().next(), Some(&b"one"[..]));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.bytes[start..end])
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// Adds a message: the bytes that `append` appends to `self.bytes`.
    #[inline]
    pub(super) fn add(&mut self, append: impl FnOnce(&mut Vec<u8>)) {
        append(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }
}

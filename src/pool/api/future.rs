//! A handle as a future.
//!
//! The callback thread wakes a handle's waker when the task ends; no thread polls for it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::pool::Pool;
use crate::pool::api::handle::Handle;
use crate::pool::driver::core::Core;
use crate::pool::record::callbacks::CallbackThread;
use crate::pool::record::listener::Listener;

impl Pool {
    /// As [`submit`](Pool::submit), but waits for room without blocking the thread; with the
    /// feature `async`. The task is submitted when the future has room, not before it is polled.
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Errors
    ///
    /// As [`submit`](Pool::submit); [`Error::Os`] if the callback thread cannot be started.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::pin::pin;
    /// use std::task::{Context, Poll, Waker};
    /// use std::time::Duration;
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(1).queue_limit(1).build()?;
    /// let hangs = pool.submit(|()| loop { std::thread::park() }, ())?;
    /// let waits = pool.submit(|n: u64| n, 1)?;
    /// let mut submitted = pin!(pool.submit_async(|n: u64| n * n, 12));
    /// let mut context = Context::from_waker(Waker::noop());
    /// assert!(submitted.as_mut().poll(&mut context).is_pending(), "the queue is full");
    /// hangs.kill(Duration::ZERO)?;
    /// let task = loop {
    ///     if let Poll::Ready(task) = submitted.as_mut().poll(&mut context) {
    ///         break task?;
    ///     }
    /// };
    /// assert_eq!(task.join()?, 144);
    /// # waits.join()?;
    /// # hangs.join().map(|()| ()).unwrap_err();
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub async fn submit_async<F, A, R>(&self, function: F, argument: A) -> Result<Handle<R>>
    where
        F: Fn(A) -> R + Copy + Send + 'static,
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        let _room = self.core.reserve_async().await?;
        let handle = self.submit_by(self.core.task_options(), function, &argument)?;
        // As in `submit`.
        drop(argument);
        Ok(handle)
    }
}

/// What [`join`](Handle::join) returns; with the feature `async`.
///
/// Dropping the future drops the handle, which detaches the task, or cancels it after
/// [`cancel_on_drop`](Handle::cancel_on_drop). To stop waiting and keep the task, poll
/// `&mut handle`. After it was ready, polling it again returns [`Error::Closed`].
///
/// # Examples
///
/// ```
/// use std::pin::pin;
/// use std::task::{Context, Poll, Waker};
/// use brigade::Pool;
/// let pool = Pool::builder().workers(1).build()?;
/// let task = pool.submit(|n: u64| n * n, 12)?;
/// let mut squared = pin!(async { task.await });
/// let mut context = Context::from_waker(Waker::noop());
/// let value = loop {
///     if let Poll::Ready(value) = squared.as_mut().poll(&mut context) {
///         break value?;
///     }
/// };
/// assert_eq!(value, 144);
/// # Ok::<(), brigade::Error>(())
/// ```
impl<R: DeserializeOwned> Future for Handle<R> {
    type Output = Result<R>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<R>> {
        let this = &mut *self;
        let Some((core, id)) = this.place() else {
            return Poll::Ready(Err(Error::Closed { what: "the handle" }));
        };
        let callbacks = match CallbackThread::current() {
            Ok(callbacks) => callbacks,
            Err(error) => return Poll::Ready(Err(error)),
        };
        let core = Arc::clone(core);
        let waker = context.waker().clone();
        let mut state = core.lock();
        state.drive();
        if let Some(outcome) = Core::take(&mut state, id) {
            drop(state);
            return Poll::Ready(this.finish(outcome));
        }
        state.callbacks.get_or_insert(callbacks);
        // A handle has one waker, the latest. An old one is dropped without the mutex, because
        // dropping it runs foreign code.
        let old = state.unlisten(id, |listener| matches!(listener, Listener::Wake(_)));
        state.listen(id, Listener::Wake(waker));
        core.watch_start(&mut state);
        drop(state);
        drop(old);
        Poll::Pending
    }
}

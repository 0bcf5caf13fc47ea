//! A handle as a future.
//!
//! A task's end wakes its waker through the callback thread: no thread polls for any handle.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::pool::api::handle::Handle;
use crate::pool::driver::core::Core;
use crate::pool::record::callbacks::CallbackThread;
use crate::pool::record::listener::Listener;

/// What [`join`](Handle::join) returns; with the feature `async`.
///
/// Dropping the future is dropping the handle: it detaches the task. To give up waiting and keep
/// the task, poll `&mut handle`. Once it has been ready, polling it again gives
/// [`Error::Closed`].
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
        // One waker a handle: the latest. An old one is dropped without the mutex, since that is
        // code of others.
        let old = state.unlisten(id, |listener| matches!(listener, Listener::Wake(_)));
        state.listen(id, Listener::Wake(waker));
        core.watch_start(&mut state);
        drop(state);
        drop(old);
        Poll::Pending
    }
}

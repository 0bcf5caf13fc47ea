//! Callbacks at the end of a task.

use crate::error::Result;
use crate::pool::driver::core::Core;
use crate::pool::record::callbacks::{Callback, CallbackThread};
use crate::pool::record::listener::Listener;
use crate::pool::record::state::Lifecycle;
use crate::worker::call::TaskId;

impl Core {
    /// Runs a callback on the callback thread when the task has ended; at once if it has.
    ///
    /// # Errors
    ///
    /// [`Error::Os`](crate::Error::Os) if the callback thread cannot be started.
    pub(crate) fn call_at_end(
        &self,
        id: TaskId,
        callback: impl FnOnce() + Send + 'static,
    ) -> Result<()> {
        let pool = self.own.clone();
        let done = move || {
            if let Some(core) = pool.upgrade() {
                core.callback_done();
            }
        };
        let callback = Callback::new(callback, done);
        let callbacks = CallbackThread::current()?;
        let mut state = self.lock();
        state.callbacks.get_or_insert(callbacks);
        state.drain();
        match state.listen(id, Listener::Call(callback)) {
            None => self.watch_start(&mut state),
            Some(Listener::Call(callback)) => {
                state.call(callback);
                if state.life == Lifecycle::Closed {
                    // No later call would release the thread.
                    state.callbacks = None;
                }
            }
            Some(_) => {}
        }
        Ok(())
    }

    /// A callback of this pool has run.
    fn callback_done(&self) {
        let mut state = self.lock();
        state.callbacks_due -= 1;
        if state.callbacks_due == 0 {
            drop(state);
            self.changed.notify_all();
        }
    }
}

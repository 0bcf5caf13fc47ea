//! Who runs what, and what happens when a worker dies.
//!
//! `README.md` beside this file has the protocol, step by step, and why it holds.

mod abandoned;
mod backpressure;
mod builder;
mod callbacks;
mod completed;
mod completion;
mod core;
#[cfg(feature = "async")]
mod future;
mod group;
mod handle;
mod in_process;
mod items;
mod listener;
mod loops;
mod placement;
mod readiness;
mod recovery;
mod resize;
mod shutdown;
mod state;
mod state_guard;
mod stats;
mod submit;
mod supervise;
mod task;
mod team;
mod wait;
mod wait_set;
mod with;
mod worker_slot;

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Result;
use crate::pool::backpressure::Timeout;
use crate::process::function::FunctionOffset;
use crate::worker::invocation;

pub use crate::worker::child::is_cancelled;
pub use builder::PoolBuilder;
pub use completed::{AsCompleted, ReturnWhen, Unfinished, Waited, as_completed, wait};
pub use core::Start;
pub use handle::Handle;
pub use items::{Imap, Options};
pub use loops::{Operand, ParChunks, ParMap};
pub use shutdown::Shutdown;
pub use stats::{Restarts, Stats};
pub use with::With;

pub(crate) use crate::worker::invocation::{CodecError, Invocation};
pub(crate) use task::Rules;
pub(crate) use team::{TeamJob, TeamOrders, take_part};

/// Workers that run tasks.
pub struct Pool {
    core: Arc<core::Core>,
}

impl Pool {
    /// A pool with one worker for each processor that this process may use.
    ///
    /// # Errors
    ///
    /// As [`PoolBuilder::build`].
    pub fn new() -> Result<Pool> {
        Pool::builder().build()
    }

    /// Settings for a pool.
    pub fn builder() -> PoolBuilder {
        PoolBuilder::default()
    }

    fn from_core(core: Arc<core::Core>) -> Pool {
        Pool { core }
    }

    pub(crate) fn core(&self) -> &core::Core {
        &self.core
    }

    /// The rules for tasks that say nothing else.
    pub(crate) fn rules(&self) -> Rules {
        self.core.rules()
    }

    /// Whether tasks run in processes of their own.
    pub(crate) fn has_workers(&self) -> bool {
        self.core.config.start == Start::ForkServer
    }

    /// How many workers the pool has, or has again when there is work.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.core.workers()
    }

    /// Runs `function(argument)` in a worker. Waits for room if the pool's queue has a
    /// [limit](PoolBuilder::queue_limit), and for nothing else.
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Errors
    ///
    /// [`Closed`](crate::Error::Closed) or [`Broken`](crate::Error::Broken) if the pool takes no
    /// tasks, [`TaskError::Codec`](crate::TaskError::Codec) if the argument cannot be encoded,
    /// [`NoSpace`](crate::Error::NoSpace) if it is large and there is no memory for it.
    pub fn submit<F, A, R>(&self, function: F, argument: A) -> Result<Handle<R>>
    where
        F: Fn(A) -> R + Copy + Send + 'static,
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        let _room = self.core.reserve(Timeout::Endless)?;
        let handle = self.submit_by(self.core.rules(), function, &argument)?;
        // Not on the way out: a panic of its `Drop` would leak what is being returned.
        drop(argument);
        Ok(handle)
    }

    fn submit_by<F, A, R>(&self, rules: Rules, function: F, argument: &A) -> Result<Handle<R>>
    where
        F: Fn(A) -> R + Copy + Send + 'static,
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        // Only its type matters: a function item or a closure that captures nothing.
        let _ = function;
        let name = std::any::type_name::<F>();
        let encode = |out: &mut Vec<u8>| invocation::encode_onto(out, argument);
        let id = self.core.submit(invocation::call::<F, A, R>, name, rules, encode)?;
        Ok(Handle::new(Arc::clone(&self.core), id))
    }

    /// Runs `function(argument)` in a worker, for a function that is known only at run time.
    ///
    /// # Errors
    ///
    /// As [`Pool::submit`], and [`InvalidArgument`](crate::Error::InvalidArgument) for a function
    /// that is not part of the program's executable.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(1).build()?;
    /// let functions: [fn(f64) -> f64; 2] = [f64::sqrt, f64::abs];
    /// let handles: Vec<_> =
    ///     functions.iter().map(|&f| pool.submit_fn(f, 16.0)).collect::<Result<_, _>>()?;
    /// let values: Vec<f64> = handles.into_iter().map(|h| h.join()).collect::<Result<_, _>>()?;
    /// assert_eq!(values, [4.0, 16.0]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn submit_fn<A, R>(&self, function: fn(A) -> R, argument: A) -> Result<Handle<R>>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        let word = match self.core.config.start {
            Start::InProcess => function as usize as u64,
            Start::ForkServer => FunctionOffset::of(function as *const ())?.to_word(),
        };
        let name = std::any::type_name::<fn(A) -> R>();
        let encode = |out: &mut Vec<u8>| invocation::encode_onto(out, &(word, &argument));
        let trampoline = invocation::call_pointer::<A, R>;
        let _room = self.core.reserve(Timeout::Endless)?;
        let id = self.core.submit(trampoline, name, self.core.rules(), encode)?;
        let handle = Handle::new(Arc::clone(&self.core), id);
        // As in `submit`.
        drop(argument);
        Ok(handle)
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("core", &self.core).finish()
    }
}

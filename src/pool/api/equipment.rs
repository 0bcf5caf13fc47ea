//! What a pool's workers are equipped with: logs, state, a seed.

use std::any::{TypeId, type_name};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::pool::Pool;
use crate::pool::api::builder::PoolBuilder;
use crate::pool::api::handle::Handle;
use crate::pool::record::config::{Initializer, StateType};
use crate::worker::logs::level::LogLevel;
use crate::worker::{invocation, local_state};

impl PoolBuilder {
    /// The least severe log records that workers send to this program. Default:
    /// [`LogLevel::Trace`], which means: those that this program wants.
    ///
    /// Events of `tracing` and records of `log` in a task appear at this program's subscriber of
    /// `tracing`, or at its logger of `log`, with their own target, file, line and fields, and with
    /// the fields `worker` (its index), `pid`, `task` (the function) and `task_number` (in the
    /// order of submission), and `span` (the names of the spans that the task was in). Records of a
    /// [`Process`](crate::Process) have `process` instead of `worker`.
    ///
    /// A record is emitted on a thread of this program, outside of its spans: before the thread
    /// that joins the task goes on, or within some milliseconds. Records of a worker are in order.
    /// What a worker had logged when it died is emitted too, and the death report has the task's
    /// last [records](crate::Death::log_tail).
    ///
    /// Logging never makes a task wait. A worker keeps up to 256 KiB of records that were not
    /// emitted; further ones are dropped, and a warning has their number. A text is cut after 8
    /// KiB.
    ///
    /// A level that this program's subscriber and logger do not want costs a worker one load. A
    /// change of that level is in effect from the next task. With a subscriber or logger of its own
    /// (set by the [initializer](PoolBuilder::initializer)), a worker sends nothing. Records of
    /// `log` are not sent while an initializer runs.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::{Result, Write};
    /// use std::sync::{Arc, Mutex};
    /// use brigade::Pool;
    ///
    /// #[derive(Clone, Default)]
    /// struct Buffer(Arc<Mutex<Vec<u8>>>);
    /// impl Write for Buffer {
    ///     fn write(&mut self, bytes: &[u8]) -> Result<usize> {
    ///         self.0.lock().unwrap().write(bytes)
    ///     }
    ///     fn flush(&mut self) -> Result<()> {
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let buffer = Buffer::default();
    /// let out = buffer.clone();
    /// let writer = move || out.clone();
    /// tracing_subscriber::fmt().with_ansi(false).with_writer(writer).init();
    /// let pool = Pool::builder().workers(1).build()?;
    /// pool.submit(|n: u32| tracing::warn!(n, "low on fuel"), 3)?.join()?;
    /// drop(pool);
    /// let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
    /// assert!(text.contains("low on fuel n=3 worker=0 pid="), "{text}");
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn logs(mut self, level: LogLevel) -> PoolBuilder {
        self.config.settings.logs = level;
        self
    }

    /// The seed of [`task_seed`](crate::task_seed) and [`seed_of`](crate::seed_of), from which
    /// tasks make their random numbers. Default: another one for each pool.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// let seed = |()| brigade::task_seed();
    /// let first = || Pool::builder().workers(1).seed(3).build()?.submit(seed, ())?.join();
    /// assert_eq!(first()?, first()?);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn seed(mut self, seed: u64) -> PoolBuilder {
        self.config.seed = Some(seed);
        self
    }

    /// Gives each worker a value of its own, which [`Pool::submit_with_state`] lends to tasks as
    /// `&mut S`: a model, a connection, a cache. It is made by `make(argument)` in the worker, so
    /// `S` needs neither `Serialize` nor `Send`. Default: none.
    ///
    /// `make` runs in each worker, and in each replacement, after the
    /// [initializer](PoolBuilder::initializer) and before the first task. If it fails, panics or
    /// hangs, the same happens as with an initializer. After a panic in a task that had the state,
    /// the state is dropped, and `make` runs again before the next task. The state is dropped when
    /// its worker leaves, unless the worker is killed. A later call replaces an earlier one.
    ///
    /// `make` captures nothing, not even a value [of size zero](crate#functions). Its argument may
    /// hold any handle except an [`OwnedChunk`](crate::OwnedChunk), as that of an initializer.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::collections::HashMap;
    /// use brigade::Pool;
    ///
    /// struct Model {
    ///     weights: Vec<f64>,
    ///     seen: HashMap<u64, f64>,
    /// }
    ///
    /// fn load(size: usize) -> Result<Model, String> {
    ///     Ok(Model { weights: vec![0.5; size], seen: HashMap::new() })
    /// }
    ///
    /// let pool = Pool::builder().workers(1).state(load, 1000).build()?;
    /// let score = |model: &mut Model, n: u64| {
    ///     *model.seen.entry(n).or_insert(model.weights.iter().sum::<f64>() * n as f64)
    /// };
    /// assert_eq!(pool.submit_with_state(score, 2)?.join()?, 1000.0);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn state<F, A, S>(mut self, make: F, argument: A) -> PoolBuilder
    where
        F: Fn(A) -> std::result::Result<S, String> + Copy + Send + 'static,
        A: Serialize + DeserializeOwned,
        S: 'static,
    {
        // Only its type matters: a function item or a closure that captures nothing.
        let _ = make;
        let encode = |out: &mut Vec<u8>| invocation::encode_onto(out, &argument);
        let made = Initializer::new(local_state::make::<F, A, S>, encode);
        (self.config.state_maker, self.state_error) = match made {
            Ok(maker) => (Some(maker), None),
            Err(reason) => (None, Some(reason)),
        };
        self.config.state = Some(StateType { id: TypeId::of::<S>(), name: type_name::<S>() });
        self
    }
}

impl Pool {
    /// As [`submit`](Pool::submit), for a function that also gets the worker's
    /// [state](PoolBuilder::state). Tasks in one worker run one after the other, so it has the
    /// state for itself.
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if the pool has no state, or one of another type; else as
    /// [`submit`](Pool::submit).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Error, Pool};
    /// let pool = Pool::builder().workers(1).state(|start: u32| Ok(start), 40).build()?;
    /// let add = |sum: &mut u32, n: u32| {
    ///     *sum += n;
    ///     *sum
    /// };
    /// pool.submit_with_state(add, 1)?.join()?;
    /// assert_eq!(pool.submit_with_state(add, 1)?.join()?, 42);
    ///
    /// let refused = pool.submit_with_state(|_: &mut String, ()| (), ()).unwrap_err();
    /// assert!(matches!(refused, Error::InvalidArgument { .. }));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn submit_with_state<S, F, A, R>(&self, function: F, argument: A) -> Result<Handle<R>>
    where
        S: 'static,
        F: Fn(&mut S, A) -> R + Copy + Send + 'static,
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        // Only its type matters, as in `submit`.
        let _ = function;
        let expected = match self.core.config.state {
            Some(state) if state.id == TypeId::of::<S>() => None,
            Some(state) => Some(state.name),
            None => Some("absent, because the pool has none (PoolBuilder::state)"),
        };
        if let Some(expected) = expected {
            return Err(Error::invalid("the state of a task", type_name::<S>(), expected));
        }
        let _room = self.core.reserve()?;
        let encode = |out: &mut Vec<u8>| invocation::encode_onto(out, &argument);
        let (trampoline, name) = (local_state::call::<F, S, A, R>, type_name::<F>());
        let id = self.core.submit(trampoline, name, self.core.rules(), encode)?;
        let handle = Handle::new(Arc::clone(&self.core), id);
        // As in `submit`.
        drop(argument);
        Ok(handle)
    }
}

//! What workers are equipped with: first functions, logs, state, a seed.

use std::any::{TypeId, type_name};
use std::sync::Arc;
use std::time::Duration;

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

    /// Runs `function(argument)` in every worker before its first task. If it fails or panics, the
    /// worker ends; three failures in a row break the pool, with the last one as the cause.
    /// Default: none.
    ///
    /// The argument may hold any handle except an [`OwnedChunk`](crate::OwnedChunk), and `function`
    /// may keep its handles while the worker lives. The pool keeps a [`Frozen`](crate::Frozen)
    /// array among them equally long, so [`thaw`](crate::Frozen::thaw) copies it.
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::OnceLock;
    /// use brigade::Pool;
    /// static FACTOR: OnceLock<u64> = OnceLock::new();
    /// let set = |factor: u64| FACTOR.set(factor).map_err(|_| "set twice".to_owned());
    /// let pool = Pool::builder().workers(1).initializer(set, 3).build()?;
    /// assert_eq!(pool.submit(|n: u64| n * FACTOR.get().unwrap(), 14)?.join()?, 42);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn initializer<F, A>(mut self, function: F, argument: A) -> PoolBuilder
    where
        F: Fn(A) -> std::result::Result<(), String> + Copy + Send + 'static,
        A: Serialize + DeserializeOwned,
    {
        // Only its type matters: a function item or a closure that captures nothing.
        let _ = function;
        let trampoline = invocation::call::<F, A, std::result::Result<(), String>>;
        let encode = &mut |out: &mut Vec<u8>| invocation::encode_onto(out, &argument);
        let made = Initializer::new(trampoline, encode);
        self.config.initializer = self.encoded("initializer's argument", made);
        self
    }

    /// Runs `function(argument)` once, in a process from which all workers of this pool are forked:
    /// for a start that takes long or needs much memory. Workers, also those that replace others,
    /// have from their beginning what it left in statics, and share that memory until they write to
    /// it. Default: none.
    ///
    /// ```text
    /// host --> fork server of all pools --fork--> function, own fork server --fork--> workers
    /// ```
    ///
    /// A task reaches what the function has made through a static: a [`OnceLock`] that the function
    /// sets, an atomic, a `thread_local` of the main thread. Only memory is inherited. Descriptors
    /// that the function has opened are closed in the workers (a mapping of a file stays),
    /// processes that it has started are killed, and each worker has the environment, the directory
    /// and the limits of this program. Pages that a worker writes to are copied: a count of
    /// references in an `Rc` is a write, too. The memory counts for
    /// [`memory_soft_bytes`](PoolBuilder::memory_soft_bytes) and
    /// [`memory_hard_bytes`](PoolBuilder::memory_hard_bytes). The
    /// [initializer](PoolBuilder::initializer) and the [state](PoolBuilder::state) are made in each
    /// worker, afterwards.
    ///
    /// The function must leave no thread behind: [`Error::MultiThreaded`] names those that it does,
    /// because a fork copies only one thread. `build` waits for the function, for as long as
    /// [`preload_timeout`](PoolBuilder::preload_timeout) allows, and returns [`Error::Spawn`] with
    /// the reason if it fails, panics, or ends its process.
    ///
    /// If that process is killed while the pool runs, its workers end with it, and the
    /// [deaths](crate::Death::crash_message) of their tasks name it. It is started again, and the
    /// function runs again; if that fails three times in a row the pool is [broken](Error::Broken).
    /// It ends with the pool.
    ///
    /// The argument holds no handle of this crate. `function` captures nothing, not even a value
    /// [of size zero](crate#functions). In a pool [in this process](crate::Start::InProcess) it
    /// runs in `build`.
    ///
    /// [`OnceLock`]: std::sync::OnceLock
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::OnceLock;
    /// use brigade::Pool;
    /// static WEIGHTS: OnceLock<Vec<u64>> = OnceLock::new();
    /// fn load(count: u64) -> Result<(), String> {
    ///     WEIGHTS.set((0..count).collect()).map_err(|_| "loaded twice".to_owned())
    /// }
    /// let pool = Pool::builder().workers(2).preload(load, 1000).build()?;
    /// let sum = pool.submit(|()| WEIGHTS.get().unwrap().iter().sum::<u64>(), ())?;
    /// assert_eq!(sum.join()?, 499_500);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn preload<F, A>(mut self, function: F, argument: A) -> PoolBuilder
    where
        F: Fn(A) -> std::result::Result<(), String> + Copy + Send + 'static,
        A: Serialize + DeserializeOwned,
    {
        // Only its type matters: a function item or a closure that captures nothing.
        let _ = function;
        let trampoline = invocation::call::<F, A, std::result::Result<(), String>>;
        let encode = &mut |out: &mut Vec<u8>| invocation::encode_onto(out, &argument);
        let made = Initializer::new(trampoline, encode).and_then(|made| match made.leases.len() {
            0 => Ok(made),
            held => Err(format!("it holds {held} handles; give them to an initializer")),
        });
        self.config.preload = self.encoded("preload's argument", made);
        self
    }

    /// How long [`build`](PoolBuilder::build) waits for the function of a
    /// [`preload`](PoolBuilder::preload) before it kills it and returns [`Error::TimedOut`].
    /// Default: as long as it takes. The same limit applies when the function runs again, because
    /// its process was killed; a run that exceeds it counts as a failure.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use brigade::{Error, Pool};
    /// let hangs = |()| -> Result<(), String> { loop { std::thread::park() } };
    /// let hasty = Pool::builder().preload(hangs, ()).preload_timeout(Duration::from_millis(20));
    /// assert!(matches!(hasty.build(), Err(Error::TimedOut { .. })));
    /// ```
    pub fn preload_timeout(mut self, timeout: Duration) -> PoolBuilder {
        self.config.preload_timeout = Some(timeout);
        self
    }

    /// What was encoded, or nothing: then `build` returns why.
    fn encoded(
        &mut self,
        what: &'static str,
        made: std::result::Result<Initializer, String>,
    ) -> Option<Initializer> {
        self.codec_errors.remove(what);
        made.map_err(|reason| self.codec_errors.insert(what, reason)).ok()
    }

    /// Gives each worker a value of its own, which [`Pool::submit_with_state`] lends to tasks as
    /// `&mut S`: a model, a connection, a cache. It is made by `make(argument)` in the worker, so
    /// `S` needs neither `Serialize` nor `Send`. Default: none.
    ///
    /// `make` runs in each worker, and in each replacement, after the
    /// [initializer](PoolBuilder::initializer) and before the first task. If it fails, panics or
    /// hangs, the same happens as with an initializer. After a panic in a task that had the state,
    /// the state is dropped, and `make` runs again before the next task. The state is dropped when
    /// its worker leaves, unless the worker is killed. It has limited time: a worker that leaves is
    /// killed after 5 s, and after 1 s if tasks wait for its replacement. A later call replaces an
    /// earlier one.
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
        let encode = &mut |out: &mut Vec<u8>| invocation::encode_onto(out, &argument);
        let made = Initializer::new(local_state::make::<F, A, S>, encode);
        let what = "argument of the function that makes the state";
        self.config.state_maker = self.encoded(what, made);
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
        let encode = &mut |out: &mut Vec<u8>| invocation::encode_onto(out, &argument);
        let (trampoline, name) = (local_state::call::<F, S, A, R>, type_name::<F>());
        let id = self.core.submit(trampoline, name, self.core.task_options(), encode)?;
        let handle = Handle::new(Arc::clone(&self.core), id);
        // As in `submit`.
        drop(argument);
        Ok(handle)
    }
}

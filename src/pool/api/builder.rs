//! How a pool is configured.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::object::transfer::{self, LeaseList};
use crate::pool::Pool;
use crate::pool::driver::core::Core;
use crate::pool::record::config::{Config, Initializer, Start};
use crate::pool::record::task::{FOREVER, Rules};
use crate::process::function::FunctionOffset;
use crate::process::host_snapshot::HostSnapshot;
use crate::sys::{limits, sched};
use crate::worker::cpu_spread::WORKERS_MAX;
use crate::worker::invocation::{self, Trampoline};
use crate::worker::settings::Settings;

/// Configures a [`Pool`]; made by [`Pool::builder`].
///
/// Nothing is checked before [`build`](PoolBuilder::build), which reports what is wrong.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use brigade::Pool;
/// let pool = Pool::builder()
///     .workers(2)
///     .name("squares")
///     .timeout(Duration::from_secs(10))
///     .build()?;
/// assert_eq!(pool.map(1..4u32, |n| n * n)?.collect::<Vec<_>>(), [1, 4, 9]);
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing before `build`"]
pub struct PoolBuilder {
    workers: Option<usize>,
    start: Start,
    name: String,
    grace: Duration,
    timeout: Option<Duration>,
    retries: u32,
    initializer: Option<(Trampoline, Vec<u8>, Arc<LeaseList>)>,
    initializer_error: Option<String>,
    max_tasks_per_worker: Option<u64>,
    memory_soft_bytes: Option<u64>,
    settings: Settings,
    pin: bool,
    idle_timeout: Option<Duration>,
    queue_limit: Option<usize>,
}

impl Default for PoolBuilder {
    fn default() -> PoolBuilder {
        PoolBuilder {
            workers: None,
            start: Start::ForkServer,
            name: "brigade".into(),
            grace: Duration::from_secs(5),
            timeout: None,
            retries: 0,
            initializer: None,
            initializer_error: None,
            max_tasks_per_worker: None,
            memory_soft_bytes: None,
            settings: Settings::default(),
            pin: false,
            idle_timeout: None,
            queue_limit: None,
        }
    }
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
}

impl PoolBuilder {
    /// How many workers, 1 to 1024. Default: one for each processor that this process may use,
    /// by its affinity mask and its cgroup's `cpu.max`.
    ///
    /// A worker takes two descriptors of this process, or three if its standard error is captured.
    /// If the soft limit (`ulimit -n`) is too low for that, it is raised as far as needed.
    pub fn workers(mut self, count: usize) -> PoolBuilder {
        self.workers = Some(count);
        self
    }

    /// How tasks are run. Default: [`Start::ForkServer`].
    pub fn start(mut self, start: Start) -> PoolBuilder {
        self.start = start;
        self
    }

    /// What `ps` and `/proc/PID/comm` show of a worker, with its index behind; 15 bytes in all
    /// are kept. Default: `brigade`.
    pub fn name(mut self, name: impl Into<String>) -> PoolBuilder {
        self.name = name.into();
        self
    }

    /// How long dropping the pool waits for tasks that run, before it kills their workers.
    /// Default: 5 s.
    pub fn grace(mut self, grace: Duration) -> PoolBuilder {
        self.grace = grace;
        self
    }

    /// How long a task may run before its worker is killed, and it ends as
    /// [`TimedOut`](crate::TaskError::TimedOut); more than zero. Default: for ever.
    pub fn timeout(mut self, timeout: Duration) -> PoolBuilder {
        self.timeout = Some(timeout.min(FOREVER));
        self
    }

    /// Declares every task idempotent: if its worker dies it is run again, up to `retries` times.
    /// Default: 0, because a task that had started may have had effects.
    pub fn retries(mut self, retries: u32) -> PoolBuilder {
        self.retries = retries;
        self
    }

    /// Runs `function(argument)` in every worker before its first task. If it fails or panics,
    /// the worker ends; three in a row break the pool with its text. Default: none.
    ///
    /// The argument may hold any handle but an [`OwnedChunk`](crate::OwnedChunk), and `function`
    /// may keep those as long as the worker lives. The pool keeps a [`Frozen`](crate::Frozen) array
    /// among them for as long, so that [`thaw`](crate::Frozen::thaw) copies it.
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    pub fn initializer<F, A>(mut self, function: F, argument: A) -> PoolBuilder
    where
        F: Fn(A) -> std::result::Result<(), String> + Copy + Send + 'static,
        A: Serialize + DeserializeOwned,
    {
        // Only its type matters: a function item or a closure that captures nothing.
        let _ = function;
        let mut bytes = Vec::new();
        let encoded = transfer::encode_shared(|| invocation::encode_onto(&mut bytes, &argument));
        let (leases, error) = match encoded {
            Ok(((), leases)) => (leases, None),
            Err(reason) => (LeaseList::default(), Some(reason)),
        };
        let trampoline: Trampoline = invocation::call::<F, A, std::result::Result<(), String>>;
        self.initializer = Some((trampoline, bytes, Arc::new(leases)));
        self.initializer_error = error;
        self
    }

    /// Replaces a worker after this many tasks, at least 1. Default: never.
    pub fn max_tasks_per_worker(mut self, count: u64) -> PoolBuilder {
        self.max_tasks_per_worker = Some(count);
        self
    }

    /// Replaces a worker after a task that leaves more than this many bytes of its own memory
    /// resident; the task's result is kept. Shared arrays do not count. Default: no limit.
    pub fn memory_soft_bytes(mut self, bytes: u64) -> PoolBuilder {
        self.memory_soft_bytes = Some(bytes);
        self
    }

    /// Lets no worker have more than this many bytes of its own writable memory
    /// (`RLIMIT_DATA`): an allocation beyond fails, which usually aborts the worker. Shared
    /// arrays do not count. Default: no limit.
    pub fn memory_hard_bytes(mut self, bytes: u64) -> PoolBuilder {
        self.settings.memory_hard_bytes = Some(bytes);
        self
    }

    /// Sets an environment variable in every worker, before the initializer. Default: the
    /// workers have the host's environment as it is in [`build`](PoolBuilder::build), with
    /// `OMP_NUM_THREADS` and its kin at 1.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> PoolBuilder {
        self.settings.env.insert(name.into(), value.into());
        self
    }

    /// The niceness of every worker, -20 to 19. Default: the host's.
    pub fn nice(mut self, nice: i32) -> PoolBuilder {
        self.settings.nice = Some(nice);
        self
    }

    /// Binds each worker to one of the host's processors, in turn. Default: the kernel chooses.
    pub fn pin_workers(mut self) -> PoolBuilder {
        self.pin = true;
        self
    }

    /// Sends the standard error of each worker through a pipe. Of each the last 8 KiB are kept, for
    /// the [error](crate::Death::stderr_tail) of a task in which it dies. Nobody waits for long for
    /// room in the pipe. Default: the workers have this program's standard error.
    pub fn capture_stderr(mut self) -> PoolBuilder {
        self.settings.captures_stderr = true;
        self
    }

    /// Gives the workers this program's standard input. What a task reads, this program does not
    /// get to read. Default: `/dev/null`.
    pub fn inherit_stdin(mut self) -> PoolBuilder {
        self.settings.inherits_stdin = true;
        self
    }

    /// Lets a worker leave that has had no work for this long, more than zero; it may stay up to
    /// twice as long. All may leave; they come back, one by one, as tasks find no idle worker.
    /// Default: workers stay.
    pub fn idle_timeout(mut self, timeout: Duration) -> PoolBuilder {
        self.idle_timeout = Some(timeout.min(FOREVER));
        self
    }

    /// How many tasks may wait, at least 1: [`Pool::submit`] blocks while there are this many
    /// unfinished tasks more than workers. ([`Pool::try_submit`] does not block, and
    /// [`Pool::submit_timeout`] not for ever.) Tasks of maps, loops and matrix products count, but
    /// do not wait. Default: no limit.
    pub fn queue_limit(mut self, tasks: usize) -> PoolBuilder {
        self.queue_limit = Some(tasks);
        self
    }

    /// Starts the workers.
    ///
    /// Pools may be nested: a task may build a pool of its own, whose tasks may build pools, four
    /// in all. Everything that a worker has started ends with it.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for a setting outside its range, or one that
    /// [`Start::InProcess`] cannot keep; [`Error::TooDeep`] for a fifth pool in a pool;
    /// [`Error::Spawn`], [`Error::MultiThreaded`], [`Error::NoSpace`] or [`Error::Os`] if the
    /// workers cannot be started. Whatever was started by then is gone again.
    pub fn build(self) -> Result<Pool> {
        Ok(Pool::from_core(Core::start(self.config()?)?))
    }

    fn config(self) -> Result<Config> {
        let workers = self.workers.unwrap_or_else(limits::processors);
        if !(1..=WORKERS_MAX).contains(&workers) {
            return Err(Error::invalid("the number of workers", workers, "1 to 1024"));
        }
        if self.timeout == Some(Duration::ZERO) {
            return Err(Error::invalid("the timeout of a task", "0 s", "longer"));
        }
        if self.idle_timeout == Some(Duration::ZERO) {
            return Err(Error::invalid("idle_timeout", "0 s", "longer"));
        }
        if self.queue_limit == Some(0) {
            return Err(Error::invalid("queue_limit", 0, "at least 1"));
        }
        if self.max_tasks_per_worker == Some(0) {
            return Err(Error::invalid("max_tasks_per_worker", 0, "at least 1"));
        }
        if self.start == Start::InProcess
            && let Some(what) = self.needs_processes()
        {
            return Err(Error::invalid(what, "set", "left out where tasks have no processes"));
        }
        self.settings.check()?;
        let pin = if self.pin { Some(sched::affinity_of_process()?) } else { None };
        sched::try_wishes(self.settings.nice, pin.as_deref())?;
        if let Some(reason) = self.initializer_error {
            let (what, action) = ("initializer's argument", "encoded");
            return Err(Error::Codec { what, action, reason });
        }
        let snapshot = self.snapshot()?;
        let initializer = match self.initializer {
            None => None,
            Some((trampoline, encoded, leases)) => {
                let offset = match self.start {
                    Start::InProcess => FunctionOffset::NONE,
                    Start::ForkServer => FunctionOffset::of(trampoline as *const ())?,
                };
                let (function, word) = (trampoline, offset.to_word());
                Some(Initializer { function, word, encoded, leases })
            }
        };
        Ok(Config {
            start: self.start,
            workers,
            name: self.name,
            grace: self.grace,
            rules: Rules { timeout: self.timeout, retries: self.retries, borrows: false },
            initializer,
            tasks_max: self.max_tasks_per_worker,
            memory_soft_bytes: self.memory_soft_bytes,
            settings: self.settings,
            pin,
            snapshot,
            spin_short: limits::has_processor_quota(),
            idle_timeout: self.idle_timeout,
            queue_limit: self.queue_limit,
        })
    }

    fn snapshot(&self) -> Result<Option<HostSnapshot>> {
        match self.start {
            Start::ForkServer => HostSnapshot::of_host(self.settings.inherits_stdin).map(Some),
            Start::InProcess => Ok(None),
        }
    }

    /// A setting that says something about processes, if there is one.
    fn needs_processes(&self) -> Option<&'static str> {
        let settings = [
            ("the timeout of a task", self.timeout.is_some()),
            ("max_tasks_per_worker", self.max_tasks_per_worker.is_some()),
            ("memory_soft_bytes", self.memory_soft_bytes.is_some()),
            ("memory_hard_bytes", self.settings.memory_hard_bytes.is_some()),
            ("an environment variable", !self.settings.env.is_empty()),
            ("the niceness", self.settings.nice.is_some()),
            ("pin_workers", self.pin),
            ("capture_stderr", self.settings.captures_stderr),
            ("idle_timeout", self.idle_timeout.is_some()),
        ];
        settings.into_iter().find(|(_, is_set)| *is_set).map(|(what, _)| what)
    }
}

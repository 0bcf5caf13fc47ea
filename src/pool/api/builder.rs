//! The settings of a pool.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::pool::Pool;
use crate::pool::driver::core::Core;
use crate::pool::record::config::{Config, Initializer, Start, check_worker_count};
use crate::pool::record::task::FOREVER;
use crate::process::host_snapshot::HostSnapshot;
use crate::sys::{limits, random, sched};

/// Configures a [`Pool`]; made by [`Pool::builder`].
///
/// Nothing is checked before [`build`](PoolBuilder::build), which reports the first setting that is
/// wrong.
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
#[derive(Debug, Clone, Default)]
#[must_use = "a builder does nothing before `build`"]
pub struct PoolBuilder {
    pub(super) config: Config,
    workers: Option<usize>,
    pins_workers: bool,
    /// Why arguments could not be encoded, by what they belong to.
    pub(super) codec_errors: BTreeMap<&'static str, String>,
}

impl Pool {
    /// A pool with one worker for each processor that this process may use.
    ///
    /// # Errors
    ///
    /// As [`PoolBuilder::build`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// let pool = Pool::new()?;
    /// assert!(pool.workers() >= 1);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn new() -> Result<Pool> {
        Pool::builder().build()
    }

    /// Settings for a pool.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(2).name("doc").build()?;
    /// assert_eq!(pool.workers(), 2);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn builder() -> PoolBuilder {
        PoolBuilder::default()
    }
}

impl PoolBuilder {
    /// The number of workers, 1 to 1024. Default: one for each processor that this process may use,
    /// according to its affinity mask and its cgroup's `cpu.max`.
    ///
    /// A worker takes two descriptors of this process, and one more for each captured stream.
    /// If the soft limit (`ulimit -n`) is too low, it is raised as far as needed.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(2).build()?;
    /// assert_eq!(pool.workers(), 2);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn workers(mut self, count: usize) -> PoolBuilder {
        self.workers = Some(count);
        self
    }

    /// The number of workers if [`workers`](PoolBuilder::workers) is not called: for libraries that
    /// choose a default and leave the choice to their callers.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// assert_eq!(Pool::builder().workers_or(1).build()?.workers(), 1);
    /// assert_eq!(Pool::builder().workers(2).workers_or(1).build()?.workers(), 2);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn workers_or(mut self, count: usize) -> PoolBuilder {
        self.workers = self.workers.or(Some(count));
        self
    }

    /// How tasks are run. Default: [`Start::ForkServer`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, Start};
    /// let pool = Pool::builder().start(Start::InProcess).build()?;
    /// let task = pool.submit(|()| std::process::id(), ())?;
    /// assert_eq!(task.join()?, std::process::id());
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn start(mut self, start: Start) -> PoolBuilder {
        self.config.start = start;
        self
    }

    /// The name of a worker in `ps` and `/proc/PID/comm`, followed by its index; 15 bytes in all
    /// are kept. Default: `brigade`.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(1).name("squares").build()?;
    /// let name = pool.submit(|()| std::fs::read_to_string("/proc/self/comm").unwrap(), ())?;
    /// assert_eq!(name.join()?, "squares-0\n");
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> PoolBuilder {
        self.config.name = name.into();
        self
    }

    /// How long dropping the pool waits for running tasks before it kills their workers. Default: 5
    /// s.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use brigade::Pool;
    /// let hang = |()| -> () { loop { std::thread::park() } };
    /// let pool = Pool::builder().workers(1).grace(Duration::ZERO).build()?;
    /// let task = pool.submit(hang, ())?;
    /// drop(pool);
    /// assert!(task.is_finished());
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn grace(mut self, grace: Duration) -> PoolBuilder {
        self.config.grace = grace;
        self
    }

    /// How long a task may run, more than zero. After that its worker is killed, and the task ends
    /// as [`TimedOut`](crate::TaskError::TimedOut). Default: no limit.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use brigade::{Error, Pool, TaskError};
    /// let hang = |()| -> () { loop { std::thread::park() } };
    /// let pool = Pool::builder().workers(1).timeout(Duration::from_millis(5)).build()?;
    /// let outcome = pool.submit(hang, ())?.join();
    /// assert!(matches!(outcome, Err(Error::Task(TaskError::TimedOut { .. }))));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn timeout(mut self, timeout: Duration) -> PoolBuilder {
        self.config.task_options.timeout = Some(timeout.min(FOREVER));
        self
    }

    /// Declares every task idempotent: if its worker dies it is run again, up to `retries` times.
    /// Default: 0, because a task that had started may have had effects.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(1).retries(3).build()?;
    /// // Dies on its first run, and returns on its second.
    /// fn task(path: std::path::PathBuf) -> bool {
    ///     match std::fs::File::create_new(&path) {
    ///         Ok(_) => std::process::abort(),
    ///         Err(_) => std::fs::remove_file(path).is_ok(),
    ///     }
    /// }
    /// let path = std::env::temp_dir().join(format!("brigade-retries-{}", std::process::id()));
    /// assert!(pool.submit(task, path)?.join()?);
    /// assert_eq!(pool.stats().retried, 1);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn retries(mut self, retries: u32) -> PoolBuilder {
        self.config.task_options.retries = retries;
        self
    }

    /// Replaces a worker after this many tasks, at least 1. Default: never.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(1).max_tasks_per_worker(1).build()?;
    /// let first = pool.submit(|()| std::process::id(), ())?.join()?;
    /// assert_ne!(pool.submit(|()| std::process::id(), ())?.join()?, first);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn max_tasks_per_worker(mut self, count: u64) -> PoolBuilder {
        self.config.max_tasks_per_worker = Some(count);
        self
    }

    /// Replaces a worker after a task that leaves more than this many bytes of private memory
    /// resident; the task's result is kept. Shared arrays do not count. Default: no limit.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// // Every process has more resident than one byte.
    /// let pool = Pool::builder().workers(1).memory_soft_bytes(1).build()?;
    /// let first = pool.submit(|()| std::process::id(), ())?.join()?;
    /// assert_ne!(pool.submit(|()| std::process::id(), ())?.join()?, first);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn memory_soft_bytes(mut self, bytes: u64) -> PoolBuilder {
        self.config.memory_soft_bytes = Some(bytes);
        self
    }

    /// Limits the private writable memory of each worker to this many bytes (`RLIMIT_DATA`): an
    /// allocation beyond that fails, which usually aborts the worker. Shared arrays do not count.
    /// Default: no limit.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(1).memory_hard_bytes(256 << 20).build()?;
    /// let is_refused = |()| Vec::<u8>::new().try_reserve_exact(1 << 30).is_err();
    /// assert!(pool.submit(is_refused, ())?.join()?);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn memory_hard_bytes(mut self, bytes: u64) -> PoolBuilder {
        self.config.settings.memory_hard_bytes = Some(bytes);
        self
    }

    /// The niceness of every worker, -20 to 19. Default: the host's.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Error, Pool};
    /// let refused = Pool::builder().nice(20).build().unwrap_err();
    /// assert!(matches!(refused, Error::InvalidArgument { .. }));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn nice(mut self, nice: i32) -> PoolBuilder {
        self.config.settings.nice = Some(nice);
        self
    }

    /// Binds each worker to one of the host's processors, in turn. Default: the kernel chooses.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(1).pin_workers().build()?;
    /// let count = |()| std::thread::available_parallelism().unwrap().get();
    /// assert_eq!(pool.submit(count, ())?.join()?, 1);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn pin_workers(mut self) -> PoolBuilder {
        self.pins_workers = true;
        self
    }

    /// Sends the standard error of each worker through a pipe. The last 8 KiB of each are kept for
    /// the [error](crate::Death::stderr_tail) of a task in which the worker dies. Writers do not
    /// wait for long for room in the pipe. Default: the workers have this program's standard error.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// fn fail(_: ()) {
    ///     eprintln!("no disk");
    ///     std::process::exit(1);
    /// }
    /// let pool = Pool::builder().workers(1).capture_stderr().build()?;
    /// let error = pool.submit(fail, ())?.join().unwrap_err();
    /// assert_eq!(error.death().unwrap().stderr_tail.as_deref(), Some("no disk\n"));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn capture_stderr(mut self) -> PoolBuilder {
        self.config.settings.captures.stderr = true;
        self
    }

    /// As [`capture_stderr`](PoolBuilder::capture_stderr), for the standard output and
    /// [`Death::stdout_tail`](crate::Death::stdout_tail).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// fn fail(_: ()) {
    ///     println!("at step 3");
    ///     std::process::exit(1);
    /// }
    /// let pool = Pool::builder().workers(1).capture_stdout().build()?;
    /// let error = pool.submit(fail, ())?.join().unwrap_err();
    /// assert_eq!(error.death().unwrap().stdout_tail.as_deref(), Some("at step 3\n"));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn capture_stdout(mut self) -> PoolBuilder {
        self.config.settings.captures.stdout = true;
        self
    }

    /// Gives the workers this program's standard input. This program does not get the bytes that
    /// tasks read. Default: `/dev/null`.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// let stdin = |()| std::fs::read_link("/proc/self/fd/0").unwrap_or_default();
    /// let pool = Pool::builder().workers(1).inherit_stdin().build()?;
    /// assert_eq!(pool.submit(stdin, ())?.join()?, stdin(()));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn inherit_stdin(mut self) -> PoolBuilder {
        self.config.settings.inherits_stdin = true;
        self
    }

    /// Ends workers that have had no work for this long, more than zero; a worker may stay up to
    /// twice as long. All may end. New ones are started, one by one, when tasks find no idle
    /// worker. Default: workers stay.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(1).idle_timeout(Duration::from_secs(1)).build()?;
    /// assert_eq!(pool.submit(|n: u8| n, 1)?.join()?, 1);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn idle_timeout(mut self, timeout: Duration) -> PoolBuilder {
        self.config.idle_timeout = Some(timeout.min(FOREVER));
        self
    }

    /// How many tasks may wait, at least 1: [`Pool::submit`] blocks while there are this many more
    /// unfinished tasks than workers. ([`Pool::try_submit`] does not block, and
    /// [`Pool::submit_timeout`] blocks for a limited time.) Tasks of maps, loops and matrix
    /// products count, but do not wait. Default: no limit.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Error, Pool};
    /// let refused = Pool::builder().queue_limit(0).build().unwrap_err();
    /// assert!(matches!(refused, Error::InvalidArgument { .. }));
    /// let pool = Pool::builder().workers(1).queue_limit(1).build()?;
    /// assert_eq!(pool.submit(|n: u8| n, 1)?.join()?, 1);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn queue_limit(mut self, tasks: usize) -> PoolBuilder {
        self.config.queue_limit = Some(tasks);
        self
    }

    /// Starts the workers.
    ///
    /// Pools may be nested: a task may build a pool, whose tasks may build pools, up to four
    /// levels. Everything that a worker has started ends with it.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for a setting outside its range, or one that [`Start::InProcess`]
    /// cannot apply; [`Error::Codec`] if the argument of an initializer, a state or a preload
    /// cannot be encoded; [`Error::TooDeep`] for a fifth level of pools; [`Error::TimedOut`] after
    /// [`preload_timeout`](PoolBuilder::preload_timeout); [`Error::Spawn`],
    /// [`Error::MultiThreaded`], [`Error::NoSpace`] or [`Error::Os`] if the workers cannot be
    /// started. Workers that were already started are ended again.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Error, Pool};
    /// assert!(matches!(Pool::builder().workers(0).build(), Err(Error::InvalidArgument { .. })));
    /// ```
    pub fn build(self) -> Result<Pool> {
        Ok(Pool::from_core(Core::start(self.checked()?)?))
    }

    /// Checks the settings, and adds what is taken from this process now.
    fn checked(self) -> Result<Config> {
        let needs_processes = self.needs_processes();
        let PoolBuilder { mut config, workers, pins_workers, codec_errors } = self;
        config.workers = workers.unwrap_or_else(limits::processors);
        check_worker_count(config.workers)?;
        if config.task_options.timeout == Some(Duration::ZERO) {
            return Err(Error::invalid("the timeout of a task", "0 s", "longer"));
        }
        if config.idle_timeout == Some(Duration::ZERO) {
            return Err(Error::invalid("idle_timeout", "0 s", "longer"));
        }
        if config.queue_limit == Some(0) {
            return Err(Error::invalid("queue_limit", 0, "at least 1"));
        }
        if config.max_tasks_per_worker == Some(0) {
            return Err(Error::invalid("max_tasks_per_worker", 0, "at least 1"));
        }
        let has_processes = config.start == Start::ForkServer;
        if let Some(what) = needs_processes.filter(|_| !has_processes) {
            return Err(Error::invalid(what, "set", "left out if tasks have no processes"));
        }
        config.settings.check()?;
        if config.seed.is_none() {
            config.seed = Some(random::random_u64()?);
        }
        config.spin_short = limits::has_processor_quota();
        config.pin = pins_workers.then(sched::affinity_of_process).transpose()?;
        sched::probe_scheduling(config.settings.nice, config.pin.as_deref())?;
        if let Some((what, reason)) = codec_errors.into_iter().next() {
            return Err(Error::Codec { what, action: "encoded", reason });
        }
        if has_processes {
            let snapshot = HostSnapshot::of_host(config.settings.inherits_stdin)?;
            config.snapshot = Some(Arc::new(snapshot));
            let functions = config.initializer.iter_mut().chain(&mut config.state_maker);
            let functions = functions.chain(&mut config.preload);
            functions.into_iter().try_for_each(Initializer::locate)?;
        }
        Ok(config)
    }

    /// A setting that has no meaning without processes, if one is set.
    fn needs_processes(&self) -> Option<&'static str> {
        let PoolBuilder { config, pins_workers, .. } = self;
        let settings = &config.settings;
        let all = [
            ("the timeout of a task", config.task_options.timeout.is_some()),
            ("max_tasks_per_worker", config.max_tasks_per_worker.is_some()),
            ("memory_soft_bytes", config.memory_soft_bytes.is_some()),
            ("memory_hard_bytes", settings.memory_hard_bytes.is_some()),
            ("an environment variable", !settings.env.is_empty()),
            ("the niceness", settings.nice.is_some()),
            ("pin_workers", *pins_workers),
            ("capture_stdout", settings.captures.stdout),
            ("capture_stderr", settings.captures.stderr),
            ("the state", config.state.is_some()),
            ("idle_timeout", config.idle_timeout.is_some()),
            ("preload_timeout", config.preload_timeout.is_some()),
        ];
        all.into_iter().find(|(_, is_set)| *is_set).map(|(what, _)| what)
    }
}

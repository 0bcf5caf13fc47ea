//! How a one-off process is configured and started.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result, TaskError};
use crate::object::transfer;
use crate::process::fork_server::ForkServer;
use crate::process::function::FunctionOffset;
use crate::process::host_snapshot::HostSnapshot;
use crate::process::supervisor::Supervisor;
use crate::region::arena::Arena;
use crate::spawn::listing;
use crate::spawn::process::Process;
use crate::spawn::record::{ONLY_NUMBER, ProcessRecord};
use crate::sys::oom;
use crate::worker::call::{Call, Encoded};
use crate::worker::invocation::{self, Encode, Trampoline};
use crate::worker::logs::level::LogLevel;
use crate::worker::logs::task_names;
use crate::worker::settings::Settings;

/// Configures a [`Process`]; made by [`Process::builder`].
///
/// # Examples
///
/// ```
/// use brigade::Process;
/// let home = Process::builder()
///     .name("asks")
///     .env("HOME", "/nowhere")
///     .spawn(|()| std::env::var("HOME").unwrap(), ())?;
/// assert_eq!(home.name(), "asks");
/// assert_eq!(home.join()?, "/nowhere");
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing before `spawn`"]
pub struct ProcessBuilder {
    name: Option<String>,
    settings: Settings,
    grace: Duration,
}

impl Default for ProcessBuilder {
    fn default() -> ProcessBuilder {
        ProcessBuilder { name: None, settings: Settings::default(), grace: Duration::from_secs(5) }
    }
}

impl Process<()> {
    /// Returns settings for a process.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Process;
    /// let process = Process::builder().name("adds").spawn(|n: u32| n + 1, 1)?;
    /// assert_eq!(process.join()?, 2);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn builder() -> ProcessBuilder {
        ProcessBuilder::default()
    }
}

impl<R> Process<R> {
    /// Runs `function(argument)` in a separate process. Returns when the process exists.
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Errors
    ///
    /// As [`ProcessBuilder::spawn`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Process;
    /// let process = Process::spawn(|n: u32| n + 1, 1)?;
    /// assert_eq!(process.join()?, 2);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn spawn<F, A>(function: F, argument: A) -> Result<Process<R>>
    where
        F: Fn(A) -> R + Copy + Send + 'static,
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        Process::builder().spawn(function, argument)
    }
}

impl ProcessBuilder {
    /// Sets the name that `ps` and `/proc/PID/comm` show, of which the kernel keeps 15 bytes.
    /// Default: `process-N`, counted from 1.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Process;
    /// let process = Process::builder().name("counts").spawn(|n: u8| n, 1)?;
    /// assert_eq!(process.name(), "counts");
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> ProcessBuilder {
        self.name = Some(name.into());
        self
    }

    /// Sets an environment variable of the process. Default: this program's environment at the time
    /// of the spawn, with `OMP_NUM_THREADS` and similar variables set to 1.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Process;
    /// let process = Process::builder().env("GREETING", "hello");
    /// let greeting = process.spawn(|()| std::env::var("GREETING").unwrap(), ())?;
    /// assert_eq!(greeting.join()?, "hello");
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> ProcessBuilder {
        self.settings.env.insert(name.into(), value.into());
        self
    }

    /// Sets the niceness, -20 to 19. Default: this program's.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Error, Process};
    /// let refused = Process::builder().nice(20).spawn(|n: u8| n, 1).unwrap_err();
    /// assert!(matches!(refused, Error::InvalidArgument { .. }));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn nice(mut self, nice: i32) -> ProcessBuilder {
        self.settings.nice = Some(nice);
        self
    }

    /// Sets the processors that the process may run on, by number, at least one. Default: this
    /// program's.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Error, Process};
    /// let refused = Process::builder().affinity([]).spawn(|n: u8| n, 1).unwrap_err();
    /// assert!(matches!(refused, Error::InvalidArgument { .. }));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn affinity(mut self, cpus: impl IntoIterator<Item = usize>) -> ProcessBuilder {
        self.settings.affinity = Some(cpus.into_iter().collect());
        self
    }

    /// Limits the process to this many bytes of private writable memory (`RLIMIT_DATA`). An
    /// allocation beyond that fails, which usually aborts the process. Shared arrays do not count.
    /// Default: no limit.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Process;
    /// let is_refused = |()| Vec::<u8>::new().try_reserve_exact(1 << 30).is_err();
    /// let process = Process::builder().memory_hard_bytes(256 << 20).spawn(is_refused, ())?;
    /// assert!(process.join()?);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn memory_hard_bytes(mut self, bytes: u64) -> ProcessBuilder {
        self.settings.memory_hard_bytes = Some(bytes);
        self
    }

    /// Sets how long dropping the [`Process`] waits after SIGTERM before it sends SIGKILL; with
    /// zero it sends SIGKILL at once. Default: 5 s.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use brigade::{Process, active_processes};
    /// let builder = Process::builder().name("waits").grace(Duration::ZERO);
    /// drop(builder.spawn(|()| std::thread::park(), ())?);
    /// assert!(active_processes().is_empty());
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn grace(mut self, grace: Duration) -> ProcessBuilder {
        self.grace = grace;
        self
    }

    /// Sends the standard error of the process through a pipe. The last 8 KiB are kept for
    /// [`Process::stderr_tail`], and for the error if the process dies. The pipe is emptied
    /// continuously, so the process hardly waits for it. Default: this program's standard error.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Process;
    /// let process = Process::builder().capture_stderr().spawn(|()| eprintln!("hello"), ())?;
    /// process.wait()?;
    /// assert_eq!(process.stderr_tail().as_deref(), Some("hello\n"));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn capture_stderr(mut self) -> ProcessBuilder {
        self.settings.captures.stderr = true;
        self
    }

    /// As [`capture_stderr`](ProcessBuilder::capture_stderr), for the standard output:
    /// [`Process::stdout_tail`] and [`Death::stdout_tail`](crate::Death::stdout_tail). Default:
    /// this program's standard output.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Process;
    /// let process = Process::builder().capture_stdout().spawn(|()| println!("hello"), ())?;
    /// process.wait()?;
    /// assert_eq!(process.stdout_tail().as_deref(), Some("hello\n"));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn capture_stdout(mut self) -> ProcessBuilder {
        self.settings.captures.stdout = true;
        self
    }

    /// The least severe log records (`tracing`, `log`) that the process sends to this program's
    /// subscriber or logger, as [`PoolBuilder::logs`](crate::PoolBuilder::logs). Default:
    /// [`LogLevel::Trace`]: those that this program wants.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{LogLevel, Process};
    /// let warn = |code: u8| {
    ///     tracing::warn!(code, "arrives");
    ///     code
    /// };
    /// assert_eq!(Process::builder().logs(LogLevel::Warn).spawn(warn, 7)?.join()?, 7);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn logs(mut self, level: LogLevel) -> ProcessBuilder {
        self.settings.logs = level;
        self
    }

    /// Gives the process this program's standard input. Input that the process reads is missing in
    /// this program. Default: `/dev/null`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::fs::read_link;
    /// use std::path::PathBuf;
    /// use brigade::Process;
    ///
    /// let stdin = |()| read_link("/proc/self/fd/0").unwrap_or_default();
    /// let process = Process::builder().inherit_stdin().spawn(stdin, ())?;
    /// assert_eq!(process.join()?, stdin(()));
    /// let process = Process::spawn(stdin, ())?;
    /// assert_eq!(process.join()?, PathBuf::from("/dev/null"));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn inherit_stdin(mut self) -> ProcessBuilder {
        self.settings.inherits_stdin = true;
        self
    }

    /// Runs `function(argument)` in a separate process. Returns when the process exists.
    ///
    /// The function is an item or a closure that captures nothing, not even a value [of size
    /// zero](crate#functions): pass everything that it needs as its argument.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for a setting outside its range; [`TaskError::Codec`] if the
    /// argument cannot be encoded; [`Error::Spawn`], [`Error::MultiThreaded`], [`Error::NoSpace`]
    /// or [`Error::Os`] if the process could not be started; its function has not begun then.
    /// [`Error::TooDeep`] in a process that is nested four deep. [`TaskError::Died`] if the fork
    /// server was killed during the call, and with it the process, whose function had begun.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Process;
    /// let process = Process::builder().nice(10).spawn(|n: u32| n + 1, 1)?;
    /// assert_eq!(process.join()?, 2);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn spawn<F, A, R>(self, function: F, argument: A) -> Result<Process<R>>
    where
        F: Fn(A) -> R + Copy + Send + 'static,
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        // Only its type is needed: a function item or a closure that captures nothing.
        let _ = function;
        let task = std::any::type_name::<F>();
        let encode = &mut |out: &mut Vec<u8>| invocation::encode_onto(out, &argument);
        let process = self.start(invocation::call::<F, A, R>, task, encode)?;
        // Dropped here, not on return: if its `Drop` panics, the process would be leaked.
        drop(argument);
        Ok(process)
    }

    /// As [`spawn`](ProcessBuilder::spawn), for a function that is known only at run time.
    ///
    /// # Errors
    ///
    /// As `spawn`, and [`Error::InvalidArgument`] for a function that is not part of the program's
    /// executable.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Process;
    /// let function: fn(f64) -> f64 = if cfg!(debug_assertions) { f64::sqrt } else { f64::abs };
    /// assert!(Process::builder().spawn_fn(function, 4.0)?.join()? > 1.0);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn spawn_fn<A, R>(self, function: fn(A) -> R, argument: A) -> Result<Process<R>>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        let word = FunctionOffset::of(function as *const ())?.to_word();
        let task = std::any::type_name::<fn(A) -> R>();
        let encode = &mut |out: &mut Vec<u8>| invocation::encode_onto(out, &(word, &argument));
        let process = self.start(invocation::call_pointer::<A, R>, task, encode)?;
        // As in `spawn`.
        drop(argument);
        Ok(process)
    }

    fn start<R>(
        mut self,
        trampoline: Trampoline,
        task: &'static str,
        encode: Encode<'_>,
    ) -> Result<Process<R>> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        if let Some(name) = self.name.as_ref().filter(|name| name.is_empty()) {
            return Err(Error::invalid("the process's name", format!("{name:?}"), "not empty"));
        }
        self.settings.check()?;
        // Relaxed: only distinctness matters.
        let count = || COUNT.fetch_add(1, Ordering::Relaxed) + 1;
        let name = self.name.take().unwrap_or_else(|| format!("process-{}", count()));
        let mut argument = Vec::new();
        let encoded = transfer::encode(|| encode(&mut argument));
        let ((), leases) = encoded.map_err(|reason| {
            Error::Task(TaskError::Codec { what: "argument", action: "encoded", reason })
        })?;
        let function = FunctionOffset::of(trampoline as *const ())?;
        let arena = Arena::host()?;
        let payload = Encoded::payload(&leases, &argument, &arena)?;
        let shared_input = None;
        let number = ONLY_NUMBER;
        let mut call = Call { function, name: task, number, payload, leases, shared_input };
        task_names::note(function.to_word(), task);
        oom::update();
        for _ in 0..ATTEMPTS_MAX {
            match self.attempt(&name, &arena, call)? {
                Attempt::Runs(record) => {
                    listing::enter(&record);
                    return Ok(Process::new(record, self.grace));
                }
                Attempt::HasNotBegun(back) => call = back,
            }
        }
        let reason = format!("{ATTEMPTS_MAX} fork servers in a row ended before they could");
        Err(Error::Spawn { what: "the process", reason })
    }

    /// Requests the process from the fork server, and waits until it is known whether it runs.
    fn attempt(&self, name: &str, arena: &Arc<Arena>, call: Call) -> Result<Attempt> {
        let supervisor = Supervisor::current()?;
        let server = ForkServer::current(&self.settings.env_removed)?;
        let snapshot = HostSnapshot::of_host(self.settings.inherits_stdin)?;
        let record = ProcessRecord::new(name, arena, supervisor, Arc::clone(&server), call)?;
        if let Err(error) = record.launch(&self.settings, &snapshot) {
            // A server that has ended meanwhile takes no requests; the next attempt uses another.
            return match server.is_alive() {
                true => Err(error),
                false => Ok(Attempt::HasNotBegun(record.reclaim()?)),
            };
        }
        let Err(error) = record.wait_started() else { return Ok(Attempt::Runs(record)) };
        record.stop();
        match error.kind() {
            // The server was killed before it could answer. If it has forked a process, that gets
            // no permit to begin.
            io::ErrorKind::BrokenPipe => Ok(Attempt::HasNotBegun(record.reclaim()?)),
            _ => Err(Error::os("fork", format!("the process {}", record.name), error)),
        }
    }
}

/// The outcome of a request.
enum Attempt {
    Runs(Arc<ProcessRecord>),
    /// There is no process that has looked at its argument.
    HasNotBegun(Call),
}

/// The most servers that may be killed over one request.
const ATTEMPTS_MAX: u32 = 3;

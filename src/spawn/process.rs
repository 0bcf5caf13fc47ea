//! The handle of a one-off process.

use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use crate::array::{SendError, codec};
use crate::error::{Error, Result, TaskError};
use crate::exit::ExitReason;
use crate::object::transfer;
use crate::process::panic;
use crate::spawn::record::{ProcessRecord, ProcessResult, SIGINT, SIGKILL, SIGTERM};

/// A function that runs in a separate process, and the handle for its result.
///
/// The process is forked by the fork server that pools share, not by this program: it has none of
/// this program's threads, locks, memory or descriptors. Arguments and results are
/// [serde](https://docs.rs/serde) values; [`Frozen`](crate::Frozen) arrays and
/// [`OwnedChunk`](crate::OwnedChunk)s in them are not copied.
///
/// | property | value |
/// |---|---|
/// | standard input | `/dev/null`, unless [`inherit_stdin`](crate::ProcessBuilder::inherit_stdin) |
/// | standard output, error | this program's, unless [`capture_stderr`](crate::ProcessBuilder::capture_stderr) |
/// | arguments, environment, working directory, limits | this program's, as they are when it is spawned |
/// | signals | none blocked; those that this program handles or ignores, Ctrl-C too, end it only if sent to it alone |
/// | a panic | printed as usual; exit code 101 |
/// | `exit(n)` in the function | exit code n, and no value, for every n |
/// | its end | by `_exit`: printed output is flushed, no other code runs |
/// | its own children | killed when it ends; processes and pools nest to a depth of four |
/// | this program's end | ends it, whatever the cause |
///
/// **Dropping** a `Process` ends it: SIGTERM, then SIGKILL after a
/// [grace](crate::ProcessBuilder::grace) of 5 s. The drop returns when the process has ended.
/// [`detach`](Process::detach) lets it continue.
///
/// # Examples
///
/// ```
/// use brigade::{ExitReason, Process};
///
/// let sum = Process::spawn(|numbers: Vec<u64>| numbers.iter().sum::<u64>(), vec![1, 2, 3])?;
/// assert_eq!(sum.join()?, 6);
///
/// let crashes = Process::spawn(|()| -> () { std::process::abort() }, ())?;
/// assert_eq!(crashes.wait()?, ExitReason::Signal(6));
/// # Ok::<(), brigade::Error>(())
/// ```
#[must_use = "dropping a process ends it; `join` waits for its value, `detach` lets it run on"]
pub struct Process<R> {
    record: Arc<ProcessRecord>,
    grace: Duration,
    is_detached: bool,
    result: PhantomData<fn() -> R>,
}

impl<R> Process<R> {
    pub(super) fn new(record: Arc<ProcessRecord>, grace: Duration) -> Process<R> {
        Process { record, grace, is_detached: false, result: PhantomData }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.record.pid().unwrap_or_default()
    }

    /// Its name; `ps` and `/proc/PID/comm` show the first 15 bytes.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.record.name
    }

    /// Whether the process runs.
    ///
    /// True may be outdated at once; false is final. In a process that was forked from the one that
    /// spawned it, it is false.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Process;
    /// let process = Process::spawn(|()| std::thread::park(), ())?;
    /// assert!(process.is_alive());
    /// process.kill()?;
    /// process.wait()?;
    /// assert!(!process.is_alive());
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.record.is_alive()
    }

    /// How the process ended; `None` while it runs.
    ///
    /// Code 0 if its function returned, 101 if that panicked, 125 if argument or result could not
    /// be passed or a setting could not be applied; the code passed to `exit`; or the signal.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{ExitReason, Process};
    /// let process = Process::spawn(|code: i32| -> () { std::process::exit(code) }, 8)?;
    /// process.wait()?;
    /// assert_eq!(process.exit_reason(), Some(ExitReason::Code(8)));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[must_use]
    pub fn exit_reason(&self) -> Option<ExitReason> {
        self.record.end()
    }

    /// Waits for the process to end, and returns how it ended. Its value can still be joined.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] in a process that was forked from the one that spawned it.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{ExitReason, Process};
    /// let process = Process::spawn(|n: u32| n + 1, 1)?;
    /// assert_eq!(process.wait()?, ExitReason::Code(0));
    /// assert_eq!(process.join()?, 2);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn wait(&self) -> Result<ExitReason> {
        self.check_ours()?;
        self.record.wait_until(None).ok_or(Error::Closed { what: "the process" })
    }

    /// As [`wait`](Process::wait), at most for `timeout`. Zero does not wait.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] if it has not ended by then; [`Error::Closed`] as `wait`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use brigade::Process;
    /// let process = Process::spawn(|()| std::thread::park(), ())?;
    /// assert!(process.wait_timeout(Duration::ZERO).is_err(), "it still runs");
    /// process.kill()?;
    /// process.wait_timeout(Duration::from_secs(60))?;
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn wait_timeout(&self, timeout: Duration) -> Result<ExitReason> {
        self.check_ours()?;
        let late = || Error::TimedOut { what: "the process", after: timeout };
        if timeout.is_zero() {
            return self.record.end().ok_or_else(late);
        }
        let deadline = Instant::now().checked_add(timeout);
        self.record.wait_until(deadline).ok_or_else(late)
    }

    /// Sends SIGTERM, which ends the process unless its function handles the signal. Has no effect
    /// after its end.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] in a process that was forked from the one that spawned it.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{ExitReason, Process};
    /// let process = Process::spawn(|()| std::thread::park(), ())?;
    /// process.terminate()?;
    /// assert_eq!(process.wait()?, ExitReason::Signal(15));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn terminate(&self) -> Result<()> {
        self.record.signal(SIGTERM)
    }

    /// Sends SIGINT, as Ctrl-C does, which ends the process unless its function handles the signal.
    /// Has no effect after its end.
    ///
    /// # Errors
    ///
    /// As [`terminate`](Process::terminate).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{ExitReason, Process};
    /// let process = Process::spawn(|()| std::thread::park(), ())?;
    /// process.interrupt()?;
    /// assert_eq!(process.wait()?, ExitReason::Signal(2));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn interrupt(&self) -> Result<()> {
        self.record.signal(SIGINT)
    }

    /// Sends SIGKILL, which ends the process. Has no effect after its end.
    ///
    /// # Errors
    ///
    /// As [`terminate`](Process::terminate).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{ExitReason, Process};
    /// let process = Process::spawn(|()| std::thread::park(), ())?;
    /// process.kill()?;
    /// assert_eq!(process.wait()?, ExitReason::Signal(9));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn kill(&self) -> Result<()> {
        self.record.signal(SIGKILL)
    }

    /// Lets the process continue without this handle, to its own end or this program's. Its value
    /// is lost.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Process, Queue};
    /// let queue = Queue::<u32>::new(1)?;
    /// let process = Process::spawn(|queue: Queue<u32>| queue.put(7).is_ok(), queue.clone())?;
    /// process.detach();
    /// assert_eq!(queue.get()?, 7);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn detach(mut self) {
        self.is_detached = true;
    }

    /// Drops the handle of a process that has ended, and its value. (Joining does the same.)
    ///
    /// # Errors
    ///
    /// The handle, with [`Error::InvalidArgument`], if the process still runs.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Process;
    /// let process = Process::spawn(|()| std::thread::park(), ())?;
    /// let process = process.close().unwrap_err().value;
    /// process.kill()?;
    /// process.wait()?;
    /// assert!(process.close().is_ok());
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn close(self) -> std::result::Result<(), SendError<Process<R>>> {
        if self.is_alive() {
            let expected = "one that has ended: join it, kill it, or detach it";
            let error = Error::invalid("the process to close", "still running", expected);
            return Err(SendError::new(self, error));
        }
        Ok(())
    }

    /// The last 8 KiB that the process has written to its standard error so far, if that is
    /// [captured](crate::ProcessBuilder::capture_stderr).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Process;
    /// let process = Process::builder().capture_stderr().spawn(|()| eprint!("done"), ())?;
    /// process.wait()?;
    /// assert_eq!(process.stderr_tail().as_deref(), Some("done"));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[must_use]
    pub fn stderr_tail(&self) -> Option<String> {
        self.record.stderr_tail()
    }

    /// The last 8 KiB that the process has written to its standard output so far, if that is
    /// [captured](crate::ProcessBuilder::capture_stdout).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Process;
    /// let process = Process::builder().capture_stdout().spawn(|()| print!("done"), ())?;
    /// process.wait()?;
    /// assert_eq!(process.stdout_tail().as_deref(), Some("done"));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[must_use]
    pub fn stdout_tail(&self) -> Option<String> {
        self.record.stdout_tail()
    }

    fn check_ours(&self) -> Result<()> {
        match self.record.is_ours() {
            true => Ok(()),
            false => Err(Error::Closed { what: "a process that the parent of this one spawned" }),
        }
    }
}

impl<R: DeserializeOwned> Process<R> {
    /// Waits for the process to end, and returns its function's value.
    ///
    /// A value that was returned is delivered, however the process ended after that.
    ///
    /// # Errors
    ///
    /// [`TaskError::Panicked`] with message and location; [`TaskError::Died`] if the process
    /// exited or was killed before its function returned; [`TaskError::Codec`] if argument or
    /// result could not be passed. [`Error::Closed`] if the value was taken before, and in a
    /// process that was forked from the one that spawned it.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Process;
    /// let words = vec!["a".to_owned(), "b".to_owned()];
    /// let process = Process::spawn(|words: Vec<String>| words.concat(), words)?;
    /// assert_eq!(process.join()?, "ab");
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn join(self) -> Result<R> {
        self.wait()?;
        self.take()
    }

    /// As [`join`](Process::join), at most for `timeout`; zero does not wait. The value can be
    /// taken once: every later call is [`Error::Closed`].
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] if it has not ended by then; it continues, and can be joined later.
    /// Otherwise as `join`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use brigade::{Error, Process};
    /// let mut process = Process::spawn(|()| std::thread::park(), ())?;
    /// let late = process.join_timeout(Duration::ZERO).unwrap_err();
    /// assert!(matches!(late, Error::TimedOut { .. }));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn join_timeout(&mut self, timeout: Duration) -> Result<R> {
        self.wait_timeout(timeout)?;
        self.take()
    }

    fn take(&self) -> Result<R> {
        let outcome: Option<ProcessResult> = self.record.take_outcome();
        let (bytes, leases) = outcome.ok_or(Error::Closed { what: "the process's value" })??;
        let decoded = panic::to_error(|| {
            let _scope = transfer::redeeming(leases);
            bytes.with(codec::decode)
        });
        decoded.map_err(|reason| {
            Error::Task(TaskError::Codec { what: "result", action: "decoded", reason })
        })
    }
}

/// A descriptor that is readable once the process has ended, and not before. It may be polled with
/// other descriptors, but must not be read from.
///
/// # Examples
///
/// ```
/// use std::os::fd::{AsFd, AsRawFd};
/// use brigade::Process;
/// let process = Process::spawn(|()| (), ())?;
/// assert!(process.as_fd().as_raw_fd() > 2);
/// process.join()?;
/// # Ok::<(), brigade::Error>(())
/// ```
impl<R> AsFd for Process<R> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.record.pidfd().expect("a process has a pidfd from when it was spawned")
    }
}

impl<R> Drop for Process<R> {
    fn drop(&mut self) {
        if !self.is_detached {
            self.record.finish(self.grace);
        }
    }
}

impl<R> std::fmt::Debug for Process<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Process")
            .field("name", &self.name())
            .field("pid", &self.pid())
            .field("exit_reason", &self.record.known_end())
            .finish_non_exhaustive()
    }
}

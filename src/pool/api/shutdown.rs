//! Shutdown of a pool.

use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::pool::Pool;
use crate::pool::driver::stop::LEAVE_TIMEOUT;
use crate::sys::thread;

/// What [`Pool::shutdown_with`] does with the remaining tasks.
///
/// # Examples
///
/// ```
/// use brigade::{Pool, Shutdown};
/// let pool = Pool::builder().workers(1).build()?;
/// let task = pool.submit(|n: u8| n, 1)?;
/// pool.shutdown_with(Shutdown::Background)?;
/// assert_eq!(task.join()?, 1);
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Shutdown {
    /// Runs them all, and waits for them.
    #[default]
    Wait,
    /// Cancels those that have not started, requests that the others end early
    /// ([`is_cancelled`](crate::is_cancelled)), and waits for them.
    Cancel,
    /// Runs them all in the background, and returns at once. The handles stay valid. If the program
    /// ends first, the tasks end with it.
    Background,
}

impl Pool {
    /// Runs every task that was submitted, then ends the workers. It returns when that is done and
    /// all callbacks have run.
    ///
    /// The time is not bounded: a task without a timeout that hangs, or a callback that hangs,
    /// makes this call hang. (Within a callback it does not wait for callbacks.)
    ///
    /// # Errors
    ///
    /// [`Error::Broken`] if the pool broke; [`Error::Closed`] in a process that was forked from the
    /// pool's, where it has no effect.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(1).build()?;
    /// let task = pool.submit(|n: u8| n, 1)?;
    /// pool.shutdown()?;
    /// assert!(task.is_finished());
    /// assert_eq!(task.join()?, 1);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn shutdown(self) -> Result<()> {
        self.core.check_ours()?;
        self.core.close(false)
    }

    /// Ends the pool in the given way.
    ///
    /// # Errors
    ///
    /// As [`shutdown`](Pool::shutdown). [`Error::Os`] if no thread can be started for
    /// [`Shutdown::Background`]; the pool is then dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, Shutdown};
    /// let pool = Pool::builder().workers(1).build()?;
    /// let tasks: Vec<_> = (0..50u8).map(|n| pool.submit(|n: u8| n, n)).collect::<Result<_, _>>()?;
    /// pool.shutdown_with(Shutdown::Cancel)?;
    /// assert!(tasks.iter().all(|task| task.is_finished()));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn shutdown_with(self, mode: Shutdown) -> Result<()> {
        self.core.check_ours()?;
        match mode {
            Shutdown::Wait => self.core.close(false),
            Shutdown::Cancel => self.core.close(true),
            Shutdown::Background => {
                let closes = move || drop(self.core.close(false));
                let started = thread::start("brigade-close", thread::STACK_BYTES, closes);
                started.map(drop).map_err(|e| Error::os("clone", "a thread that shuts down", e))
            }
        }
    }

    /// Ends the pool now: cancels tasks that have not started, requests that running tasks end
    /// early, waits for them up to the pool's grace, and kills the rest. From then on the pool is
    /// closed.
    ///
    /// Tasks that are ended in this way are [`TaskError::Cancelled`](crate::TaskError::Cancelled).
    /// A pool that has already ended is not an error.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] in a process that was forked from the pool's, where it has no effect.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Error, Pool};
    /// let pool = Pool::builder().workers(1).build()?;
    /// let endless = pool.submit(|()| while !brigade::is_cancelled() {}, ())?;
    /// pool.terminate()?;
    /// assert!(endless.is_finished());
    /// assert!(matches!(pool.submit(|n: u8| n, 7), Err(Error::Closed { .. })));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn terminate(&self) -> Result<()> {
        self.core.check_ours()?;
        self.core.end(self.core.config.grace, LEAVE_TIMEOUT);
        Ok(())
    }

    /// As [`terminate`](Pool::terminate), without any grace.
    ///
    /// # Errors
    ///
    /// As [`terminate`](Pool::terminate).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(1).build()?;
    /// let endless = pool.submit(|()| loop { std::thread::park() }, ())?;
    /// pool.kill()?;
    /// assert!(endless.join().map(|()| ()).is_err());
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn kill(&self) -> Result<()> {
        self.core.check_ours()?;
        self.core.end(Duration::ZERO, Duration::ZERO);
        Ok(())
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if self.core.is_ours() {
            let deadline = Instant::now().checked_add(self.core.config.grace);
            self.core.end(self.core.config.grace, LEAVE_TIMEOUT);
            self.core.await_callbacks(deadline);
        }
    }
}

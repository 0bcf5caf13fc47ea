//! Several handles at once: `wait` and `as_completed`.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::pool::api::handle::Handle;
use crate::pool::driver::wait_set::WaitSet;
use crate::pool::record::outcome::Completion;

/// What [`wait`] waits for.
///
/// # Examples
///
/// ```
/// use brigade::{Pool, ReturnWhen, wait};
/// let pool = Pool::builder().workers(1).build()?;
/// let tasks = [pool.submit(|n: u8| n, 1)?, pool.submit(|n: u8| n, 2)?];
/// assert!(!wait(&tasks, ReturnWhen::FirstCompleted, None)?.done.is_empty());
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum ReturnWhen {
    /// Any task to be over.
    FirstCompleted,
    /// Any task to fail, or all to be over. A cancelled task has not failed, nor has one that
    /// returned a `Result` of its own.
    FirstError,
    /// All tasks to be over.
    #[default]
    All,
}

/// Which tasks are over, as ascending positions among the handles given to [`wait`]. A handle that
/// was given twice counts once, at its first position.
///
/// # Examples
///
/// ```
/// use brigade::{Pool, ReturnWhen, wait};
/// let pool = Pool::builder().workers(1).build()?;
/// let tasks = [pool.submit(|n: u8| n, 1)?, pool.submit(|n: u8| n, 2)?];
/// let waited = wait(&tasks, ReturnWhen::All, None)?;
/// assert_eq!((waited.done, waited.pending), (vec![0, 1], vec![]));
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Waited {
    /// Tasks that are over: with a value, with an error, cancelled, or with an outcome that was
    /// taken.
    pub done: Vec<usize>,
    /// The other tasks.
    pub pending: Vec<usize>,
}

/// The timeout of [`wait`] or [`as_completed`] expired before the tasks were over.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use brigade::{Pool, ReturnWhen, wait};
/// let pool = Pool::builder().workers(1).build()?;
/// let endless = [pool.submit(|()| while !brigade::is_cancelled() {}, ())?];
/// let unfinished = wait(&endless, ReturnWhen::All, Some(Duration::from_millis(5))).unwrap_err();
/// assert_eq!(unfinished.sets.pending, [0]);
/// pool.terminate()?;
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    /// Which tasks were over by then, and which were not.
    pub sets: Waited,
    /// The timeout.
    pub after: Duration,
}

impl fmt::Display for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Error::from(self.clone()), f)
    }
}

impl std::error::Error for Unfinished {}

impl From<Unfinished> for Error {
    fn from(Unfinished { sets, after }: Unfinished) -> Error {
        let unfinished = sets.pending.len();
        Error::Unfinished { unfinished, total: sets.done.len() + unfinished, after }
    }
}

/// Waits until the tasks of some handles, of any pools, are over. `timeout` limits the wait; `None`
/// means no limit.
///
/// The handles keep their outcomes: [`join`](Handle::join) those that are done. Without handles it
/// returns at once.
///
/// # Errors
///
/// [`Unfinished`], with the same two sets, if the timeout expires first.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use brigade::{Pool, ReturnWhen, wait};
/// let pool = Pool::builder().workers(2).build()?;
/// let hangs = pool.submit(|_: u8| loop { std::thread::park() }, 0)?;
/// let works = pool.submit(|n: u8| n, 1)?;
/// let both = [hangs, works];
/// assert_eq!(wait(&both, ReturnWhen::FirstCompleted, None)?.done, [1]);
/// let late = wait(&both, ReturnWhen::All, Some(Duration::from_millis(1))).unwrap_err();
/// assert_eq!(late.sets.pending, [0]);
/// assert!(late.to_string().starts_with("1 of 2 tasks unfinished after 1ms"));
/// let [hangs, works] = both;
/// hangs.kill(Duration::ZERO)?;
/// # works.join()?;
/// # Ok::<(), brigade::Error>(())
/// ```
pub fn wait<'a, R: 'a>(
    handles: impl IntoIterator<Item = &'a Handle<R>>,
    when: ReturnWhen,
    timeout: Option<Duration>,
) -> std::result::Result<Waited, Unfinished> {
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let mut seen = HashSet::new();
    // By position: `Some(true)` done, `Some(false)` pending, `None` given before.
    let mut is_done = Vec::new();
    let mut tasks = Vec::new();
    for (position, handle) in handles.into_iter().enumerate() {
        let place = handle.place();
        is_done.push(match place {
            None => Some(true),
            Some((core, id)) if seen.insert((Arc::as_ptr(core), id)) => {
                tasks.push((position, core, id));
                Some(false)
            }
            Some(_) => None,
        });
    }
    let mut pending = tasks.len();
    let is_any_done = is_done.contains(&Some(true));
    let wait_set = WaitSet::new(tasks.into_iter());
    let mut is_over = pending == 0 || is_any_done && when == ReturnWhen::FirstCompleted;
    loop {
        // Tasks that are over by now are still taken, so that the sets are exact.
        let until = if is_over { Some(Instant::now()) } else { deadline };
        let next = if pending == 0 { None } else { wait_set.next(until) };
        let Some((position, ending)) = next else { break };
        is_done[position] = Some(true);
        pending -= 1;
        is_over |= match when {
            ReturnWhen::FirstCompleted => true,
            ReturnWhen::FirstError => ending == Completion::Failed || pending == 0,
            ReturnWhen::All => pending == 0,
        };
    }
    let among = |which| {
        let positions = (0..).zip(&is_done).filter(|&(_, &done)| done == Some(which));
        positions.map(|(position, _)| position).collect()
    };
    let sets = Waited { done: among(true), pending: among(false) };
    match timeout {
        Some(after) if !is_over => Err(Unfinished { sets, after }),
        _ => Ok(sets),
    }
}

/// The outcomes of some tasks, of any pools, in the order in which the tasks end. `timeout` limits
/// the total time from now; `None` means no limit.
///
/// Yields each outcome once, with the position of its handle. The pool then forgets the task, so
/// its memory is free again. Tasks that were already over come first.
///
/// If the timeout expires, [`Unfinished`] is yielded once, and nothing after it;
/// [`AsCompleted::into_pending`] returns the remaining handles. Dropping the iterator detaches
/// them.
///
/// # Examples
///
/// ```
/// use brigade::{Pool, as_completed};
/// let pool = Pool::builder().workers(2).build()?;
/// let handles: Vec<_> =
///     (0..9u64).map(|n| pool.submit(|n: u64| n * n, n)).collect::<Result<_, _>>()?;
/// let mut sum = 0;
/// for completed in as_completed(handles, None) {
///     let (position, outcome) = completed?;
///     assert_eq!(outcome?, (position * position) as u64);
///     sum += position;
/// }
/// assert_eq!(sum, 36);
/// # Ok::<(), brigade::Error>(())
/// ```
pub fn as_completed<R: DeserializeOwned>(
    handles: impl IntoIterator<Item = Handle<R>>,
    timeout: Option<Duration>,
) -> AsCompleted<R> {
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let handles: Vec<Option<Handle<R>>> = handles.into_iter().map(Some).collect();
    let places = handles.iter().enumerate().filter_map(|(position, handle)| {
        let (core, id) = handle.as_ref()?.place()?;
        Some((position, core, id))
    });
    let wait_set = WaitSet::new(places);
    // Handles whose tasks are already over come first.
    let mut ready: Vec<usize> = (0..handles.len())
        .filter(|&at| handles[at].as_ref().is_some_and(|handle| handle.place().is_none()))
        .collect();
    ready.reverse();
    let left = handles.len();
    AsCompleted { handles, wait_set, ready, left, timeout, deadline, is_late: false }
}

/// Outcomes in the order in which tasks end; from [`as_completed`].
///
/// # Examples
///
/// ```
/// use brigade::{Pool, as_completed};
/// let pool = Pool::builder().workers(2).build()?;
/// let tasks = (1..=3u64).map(|n| pool.submit(|n: u64| n * n, n)).collect::<Result<Vec<_>, _>>()?;
/// let mut sum = 0;
/// for ended in as_completed(tasks, None) {
///     let (_, result) = ended?;
///     sum += result?;
/// }
/// assert_eq!(sum, 14);
/// # Ok::<(), brigade::Error>(())
/// ```
#[must_use = "dropping it detaches the tasks"]
pub struct AsCompleted<R> {
    /// By position; `None` once yielded.
    handles: Vec<Option<Handle<R>>>,
    wait_set: WaitSet,
    /// Positions that can be yielded without waiting, the next one last.
    ready: Vec<usize>,
    left: usize,
    timeout: Option<Duration>,
    deadline: Option<Instant>,
    is_late: bool,
}

impl<R> AsCompleted<R> {
    /// The handles that were not yielded, with their positions.
    #[must_use]
    pub fn into_pending(self) -> Vec<(usize, Handle<R>)> {
        let handles = self.handles.into_iter().enumerate();
        handles.filter_map(|(position, handle)| Some((position, handle?))).collect()
    }

    /// The sets at this moment.
    fn sets(&self) -> Waited {
        let (pending, done) = (0..self.handles.len()).partition(|&at| self.handles[at].is_some());
        Waited { done, pending }
    }
}

impl<R: DeserializeOwned> Iterator for AsCompleted<R> {
    type Item = std::result::Result<(usize, Result<R>), Unfinished>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 || self.is_late {
            return None;
        }
        let next = self.ready.pop().or_else(|| Some(self.wait_set.next(self.deadline)?.0));
        let Some(position) = next else {
            self.is_late = true;
            let after = self.timeout.unwrap_or_default();
            return Some(Err(Unfinished { sets: self.sets(), after }));
        };
        self.left -= 1;
        let handle = self.handles[position].take()?;
        Some(Ok((position, handle.join())))
    }
}

impl<R> fmt::Debug for AsCompleted<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsCompleted").field("left", &self.left).finish_non_exhaustive()
    }
}

//! Teams for users: one function on all workers that join.
//!
//! A team is that of `team.rs`, whose members meet once before the user's function begins. So the
//! members and their ranks are fixed in the function.
//!
//! **A member that returns leaves**: it breaks the barrier; otherwise the others would wait for it
//! for ever. A completed barrier stays completed, even if a member then leaves (`sync/team.rs`), so
//! members that return after the same last barrier do not disturb each other.
//!
//! **Exchange.** Each member has two buffers. Barrier 1 fixes the members. Later barriers count
//! from 2, for `barrier` and `exchange` alike, so members at the same barrier agree on its number.
//!
//! 1. A member writes the numbers 0 and 1 into its buffers before barrier 2, because they have the
//!    contents of earlier allocations or attempts, whose tasks are over (`team.rs`).
//! 2. An exchange that reaches barrier `k` first writes `k`, the length and the contents into the
//!    member's buffer `k % 2`.
//! 3. After barrier `k`, and before barrier `k + 1`, it reads buffers `k % 2` of others.
//! 4. A member writes buffer `k % 2` again only after barrier `k + 1`. The others have then
//!    finished reading it, because they reached that barrier after they had read. So no buffer is
//!    written while it is read, whichever calls the members make.
//! 5. If a buffer has another number than `k`, its owner reached barrier `k` by `barrier`, not by
//!    `exchange`. An exchange that reads it panics.
//!
//! A member that has seen a broken barrier writes nothing from then on, because 4 no longer holds.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::fmt;
use std::time::Duration;

use bytemuck::Pod;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::kernel::{PeerDied, Team};
use crate::pool::Pool;
use crate::pool::record::task::{FOREVER, TaskOptions};
use crate::pool::team::{Member, TeamDescriptor, TeamJob, take_part};
use crate::region::arena::Contents;
use crate::region::windows::Windows;
use crate::worker::invocation::{CodecError, Invocation, function_value};

/// The default room for one exchange, in bytes.
const EXCHANGE_BYTES: usize = 64 << 10;
/// The counter that [`TeamMember::take`] uses.
const COUNTER: usize = 0;
/// Bytes before the contents of a buffer: the number of the barrier, and the length.
const HEADER_BYTES: usize = 16;

/// A barrier of a team cannot be complete: a member died, failed, timed out or has returned.
///
/// A member returns it: see [`TeamMember::barrier`].
///
/// # Examples
///
/// ```
/// use brigade::{Pool, TeamBroken, TeamMember};
/// fn step(member: &TeamMember<'_>, _: ()) -> Result<usize, TeamBroken> {
///     member.barrier()?;
///     Ok(member.rank())
/// }
/// let pool = Pool::builder().workers(2).build()?;
/// let ranks = pool.team(step, ())?;
/// assert!(ranks.iter().enumerate().all(|(at, &rank)| at == rank));
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TeamBroken(());

impl fmt::Display for TeamBroken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the team is broken: a member died, failed, or has returned")
    }
}

impl std::error::Error for TeamBroken {}

/// The buffers for exchanges, in the arena.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct ExchangeBuffers {
    offset: u64,
    /// The most bytes of one exchange of one member.
    capacity: usize,
    /// The number of members that have buffers.
    members_max: usize,
}

impl ExchangeBuffers {
    fn slot_bytes(capacity: usize) -> Option<usize> {
        capacity.checked_add(HEADER_BYTES)?.checked_next_multiple_of(64)
    }

    /// The offset of a member's buffer for barriers of this parity.
    fn slot(self, rank: usize, parity: u64) -> u64 {
        let bytes = ExchangeBuffers::slot_bytes(self.capacity).unwrap_or(0) as u64;
        self.offset + bytes * (2 * rank as u64 + parity)
    }
}

/// A member of a team, in its function; see [`Pool::team`].
///
/// # Examples
///
/// ```
/// let pool = brigade::Pool::builder().workers(2).build()?;
/// let places = pool.team(|member, ()| Ok((member.rank(), member.size())), ())?;
/// assert!(places.iter().enumerate().all(|(at, &place)| place == (at, places.len())));
/// # Ok::<(), brigade::Error>(())
/// ```
pub struct TeamMember<'a> {
    member: &'a Member,
    windows: &'a Windows,
    buffers: ExchangeBuffers,
    /// The number of the barrier that it has reached; 1 is the one that has fixed the members.
    barriers: Cell<u64>,
    is_broken: Cell<bool>,
}

impl<'a> TeamMember<'a> {
    /// The member in its function: the members are fixed.
    fn new(
        member: &'a Member,
        windows: &'a Windows,
        buffers: ExchangeBuffers,
    ) -> std::result::Result<TeamMember<'a>, CodecError> {
        let size = member.members();
        if size > buffers.members_max {
            let text = format!("a team of {size} with buffers for {}", buffers.members_max);
            return Err(CodecError::Argument(text));
        }
        let (barriers, is_broken) = (Cell::new(1), Cell::new(false));
        let own = TeamMember { member, windows, buffers, barriers, is_broken };
        own.write(0, &[]);
        own.write(1, &[]);
        Ok(own)
    }

    /// This member's number: 0 to `size() - 1`.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.member.rank()
    }

    /// The number of members: 1 to 63.
    #[must_use]
    pub fn size(&self) -> usize {
        self.member.members()
    }

    /// Waits until every member has reached this barrier. What members wrote before it is visible
    /// after it.
    ///
    /// # Errors
    ///
    /// [`TeamBroken`] if a member died, failed, timed out or has returned; also at every later
    /// barrier. Return it: the call then fails with the cause.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = brigade::Pool::builder().workers(2).build()?;
    /// assert_eq!(pool.team(|member, ()| member.barrier().map(|()| member.rank()), ())?[0], 0);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn barrier(&self) -> std::result::Result<(), TeamBroken> {
        self.barriers.set(self.barriers.get() + 1);
        self.member.barrier().map_err(|PeerDied| {
            self.is_broken.set(true);
            TeamBroken(())
        })
    }

    /// Adds `count` to the team's counter, which begins at 0, and returns its value before: the
    /// first of `count` units of work that no other member gets.
    ///
    /// A team has one counter, which cannot be reset: it divides one round of work. Divide the work
    /// of further rounds by [`rank`](TeamMember::rank) and [`size`](TeamMember::size).
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = brigade::Pool::builder().workers(1).build()?;
    /// assert_eq!(pool.team(|member, ()| Ok((member.take(2), member.take(1))), ())?, [(0, 2)]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[must_use]
    pub fn take(&self, count: usize) -> usize {
        self.member.take(COUNTER, count)
    }

    /// Gives `own` to the others, and returns what the members of these ranks gave, in order. All
    /// members call it, each with any ranks: it is a barrier.
    ///
    /// # Errors
    ///
    /// As [`barrier`](TeamMember::barrier).
    ///
    /// # Panics
    ///
    /// If `own` has more bytes than [`TeamOptions::exchange_bytes`], a rank is too large, a member
    /// of these ranks gave a list that is no whole number of `T`, or it called
    /// [`barrier`](TeamMember::barrier) instead. A panic ends the call with an error.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, TeamBroken, TeamMember};
    /// fn sum_of_all(member: &TeamMember<'_>, _: ()) -> Result<u64, TeamBroken> {
    ///     let own = [10 + member.rank() as u64];
    ///     let all: Vec<usize> = (0..member.size()).collect();
    ///     Ok(member.exchange(&own, &all)?.iter().map(|given| given[0]).sum())
    /// }
    /// let pool = Pool::builder().workers(2).build()?;
    /// let sums = pool.team(sum_of_all, ())?;
    /// assert!(sums.iter().all(|&sum| sum == if sums.len() == 2 { 21 } else { 10 }));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn exchange<T: Pod>(
        &self,
        own: &[T],
        ranks: &[usize],
    ) -> std::result::Result<Vec<Vec<T>>, TeamBroken> {
        let bytes: &[u8] = bytemuck::cast_slice(own);
        let (capacity, size) = (self.buffers.capacity, self.size());
        assert!(bytes.len() <= capacity, "{} bytes exceed exchange_bytes, {capacity}", bytes.len());
        assert!(ranks.iter().all(|&rank| rank < size), "a rank of {ranks:?} in a team of {size}");
        if self.is_broken.get() {
            return Err(TeamBroken(()));
        }
        let number = self.barriers.get() + 1;
        self.write(number, bytes);
        self.barrier()?;
        Ok(ranks.iter().map(|&rank| self.read(rank, number)).collect())
    }

    /// Writes what this member gives at barrier `number`; 0 and 1 with nothing at the start.
    fn write(&self, number: u64, bytes: &[u8]) {
        let slot = self.buffers.slot(self.rank(), number % 2);
        let mut header = [0; HEADER_BYTES];
        header[..8].copy_from_slice(&number.to_le_bytes());
        header[8..].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
        // SAFETY: the buffer is this member's, because there are at least as many as the team
        // has members, and ranks differ; nobody reads it now, by steps 1 and 4 of the module.
        let written = unsafe { self.windows.copy_in(slot, &header) };
        written.expect("the host reserved the buffers");
        // SAFETY: as above; the caller has compared the length with the capacity.
        let written = unsafe { self.windows.copy_in(slot + HEADER_BYTES as u64, bytes) };
        written.expect("the host reserved the buffers");
    }

    /// What member `rank` gave at barrier `number`, which this member has just passed.
    fn read<T: Pod>(&self, rank: usize, number: u64) -> Vec<T> {
        let slot = self.buffers.slot(rank, number % 2);
        let read = |offset, len| {
            // SAFETY: the owner does not write this buffer now, by step 4 of the module; the caller
            // has compared the rank with the size of the team.
            let bytes = unsafe { self.windows.copy_out(offset, len) };
            bytes.expect("the host reserved the buffers")
        };
        let header = read(slot, HEADER_BYTES);
        let word = |at: usize| {
            header
                .get(at..)
                .and_then(<[u8]>::first_chunk)
                .map_or(0, |word| u64::from_le_bytes(*word))
        };
        let own = self.rank();
        assert!(
            word(0) == number,
            "member {rank} called barrier where member {own} called exchange: barrier {}",
            number - 1
        );
        let len = usize::try_from(word(8)).unwrap_or(usize::MAX);
        assert!(len <= self.buffers.capacity, "member {rank} gave {len} bytes");
        let each = size_of::<T>().max(1);
        assert!(len % each == 0, "member {rank} gave {len} bytes, for elements of {each}");
        let bytes = read(slot + HEADER_BYTES as u64, len);
        bytes.chunks_exact(each).map(bytemuck::pod_read_unaligned).collect()
    }
}

impl fmt::Debug for TeamMember<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rank, size) = (self.rank(), self.size());
        f.debug_struct("TeamMember").field("rank", &rank).field("size", &size).finish()
    }
}

/// How a team runs; made by [`Pool::team_options`].
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use brigade::Pool;
/// let pool = Pool::builder().workers(2).build()?;
/// let options = pool.team_options().retries(1).timeout(Duration::from_secs(60));
/// let sizes = options.run(|member, add: usize| Ok(member.size() + add), 1)?;
/// assert_eq!(sizes, vec![sizes.len() + 1; sizes.len()]);
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a team runs by `run`"]
pub struct TeamOptions<'p> {
    pool: &'p Pool,
    options: TaskOptions,
    exchange_bytes: usize,
}

impl Pool {
    /// Runs `function(member, argument)` on all workers that join, at the same time, and returns
    /// the values by rank.
    ///
    /// Members wait for each other at [barriers](TeamMember::barrier), share a
    /// [counter](TeamMember::take), and [exchange](TeamMember::exchange) data. A worker that is
    /// busy with other tasks, or wakes up late, does not join: so a team has 1 to
    /// [`workers`](Pool::workers) members (63 at most), and `function` divides the work by
    /// [`size`](TeamMember::size). Teams never wait for other workers, so several can run at once.
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions). Each member
    /// gets a copy of `argument`, which may hold any handle except an
    /// [`OwnedChunk`](crate::OwnedChunk).
    ///
    /// When a member has returned, [`is_cancelled`](crate::is_cancelled) becomes true in the
    /// others: the tasks of workers that have not joined are taken back. So it does not tell a
    /// member that the call was cancelled.
    ///
    /// # Errors
    ///
    /// [`Error::Task`] if a member died, panicked or timed out: all others see [`TeamBroken`] at
    /// their barrier, so none waits for ever. Of several failures it is a death, or else a timeout,
    /// or else the first panic. [`Error::Broken`] if a member returned while others waited for it
    /// at a barrier, also if these ignored [`TeamBroken`]. As [`Pool::submit`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, TeamBroken, TeamMember};
    /// /// The square of `n`, taken from the counter and added up by all members.
    /// fn squares(member: &TeamMember<'_>, n: usize) -> Result<usize, TeamBroken> {
    ///     let own = std::iter::repeat_with(|| member.take(1)).take_while(|&at| at < n);
    ///     let own: usize = own.map(|at| 2 * at + 1).sum();
    ///     let all: Vec<usize> = (0..member.size()).collect();
    ///     Ok(member.exchange(&[own], &all)?.concat().iter().sum())
    /// }
    /// let pool = Pool::builder().workers(2).build()?;
    /// assert!(pool.team(squares, 100)?.iter().all(|&sum| sum == 10_000));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn team<F, A, R>(&self, function: F, argument: A) -> Result<Vec<R>>
    where
        F: Fn(&TeamMember<'_>, A) -> std::result::Result<R, TeamBroken> + Copy + Send + 'static,
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        self.team_options().run(function, argument)
    }

    /// Settings for a team.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(1).build()?;
    /// let ranks = pool.team_options().retries(2).run(|member, ()| Ok(member.rank()), ())?;
    /// assert_eq!(ranks, [0]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn team_options(&self) -> TeamOptions<'_> {
        TeamOptions { pool: self, options: self.task_options(), exchange_bytes: EXCHANGE_BYTES }
    }
}

impl TeamOptions<'_> {
    /// Runs the team again, up to `retries` times, if a member dies. Default: the pool's.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(1).build()?;
    /// assert_eq!(pool.team_options().retries(1).run(|_, n: u8| Ok(n), 7)?, [7]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn retries(mut self, retries: u32) -> Self {
        self.options.retries = retries;
        self
    }

    /// How long a member may run, more than zero. Then it is killed, and the call fails: so a
    /// member that never reaches a barrier does not hold up the call. The others wait for it at
    /// the barrier, and that time counts: members that began together may all be killed. The pool
    /// replaces them. Default: the pool's.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use brigade::{Error, Pool, TaskError};
    /// let pool = Pool::builder().workers(1).build()?;
    /// let options = pool.team_options().timeout(Duration::from_millis(5));
    /// let error = options.run(|_, ()| -> Result<(), _> { loop { std::thread::park() } }, ());
    /// assert!(matches!(error, Err(Error::Task(TaskError::TimedOut { .. }))));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = Some(timeout.min(FOREVER));
        self
    }

    /// The most bytes that a member may give in one [exchange](TeamMember::exchange), up to 1 GiB.
    /// The team takes twice as much memory for each worker. Default: 64 KiB.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(1).build()?;
    /// let options = pool.team_options().exchange_bytes(1 << 20);
    /// let given = options.run(|member, ()| member.exchange(&[7u8; 1 << 20], &[0]), ())?;
    /// assert_eq!(given[0][0].len(), 1 << 20);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn exchange_bytes(mut self, bytes: usize) -> Self {
        self.exchange_bytes = bytes;
        self
    }

    /// Runs the team; see [`Pool::team`].
    ///
    /// # Errors
    ///
    /// As [`Pool::team`]; [`Error::InvalidArgument`] for a setting outside its range;
    /// [`Error::NoSpace`] if there is no memory for the exchanges.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(2).build()?;
    /// let sizes = pool.team_options().run(|member, ()| Ok(member.size()), ())?;
    /// assert!(sizes.iter().all(|&size| size == sizes.len()));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn run<F, A, R>(&self, function: F, argument: A) -> Result<Vec<R>>
    where
        F: Fn(&TeamMember<'_>, A) -> std::result::Result<R, TeamBroken> + Copy + Send + 'static,
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        // Only its type matters: a function item or a closure that captures nothing.
        let _ = function;
        let core = self.pool.core();
        core.check_ours()?;
        core.check(self.options)?;
        let capacity = self.exchange_bytes;
        let job = TeamJob::new(core, std::any::type_name::<F>(), self.options);
        let slot_bytes = ExchangeBuffers::slot_bytes(capacity).filter(|_| capacity <= 1 << 30);
        let Some(slot_bytes) = slot_bytes else {
            return Err(Error::invalid("exchange_bytes", capacity, "at most 1073741824 bytes"));
        };
        let members_max = job.members_max();
        let span = core.arena.reserve(2 * slot_bytes * members_max, Contents::Stale)?;
        let buffers = ExchangeBuffers { offset: span.offset(), capacity, members_max };
        let mut values: Vec<(usize, R)> =
            job.run_all(run_member::<F, A, R>, &(buffers, &argument))?;
        values.sort_by_key(|&(rank, _)| rank);
        Ok(values.into_iter().map(|(_, value)| value).collect())
    }
}

/// A member's part, in a worker.
fn run_member<F, A, R>(invocation: &mut Invocation<'_>) -> std::result::Result<(), CodecError>
where
    F: Fn(&TeamMember<'_>, A) -> std::result::Result<R, TeamBroken> + Copy + Send + 'static,
    A: Serialize + DeserializeOwned,
    R: Serialize + DeserializeOwned,
{
    let (team, (buffers, argument)) =
        invocation.argument::<(TeamDescriptor, (ExchangeBuffers, A))>()?;
    take_part(invocation, team, |invocation, member| {
        // From here on members and ranks are fixed.
        if let Err(died) = member.barrier() {
            return Ok(Err(died));
        }
        let own = TeamMember::new(member, invocation.windows, buffers)?;
        // SAFETY: this trampoline is named only where a value of the type `F` was given.
        let function = unsafe { function_value::<F>() };
        let value = function(&own, argument);
        let rank = member.rank();
        member.leave();
        // A member that has seen a broken barrier returns no value, even if its function ignored
        // the error.
        let value = value.ok().filter(|_| !own.is_broken.get());
        Ok(value.map(|value| (rank, value)).ok_or(PeerDied))
    })
}

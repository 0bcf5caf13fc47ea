//! A barrier between processes.
#![allow(unsafe_code)]

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::guard::Held;
use crate::error::{Error, Result};
use crate::object::{Kind, Memory, ObjectHandle, Primitive, named_object};
use crate::sync::Timeout;
use crate::sync::raw::{PARTIES_MAX, RawBarrier, RawMember};

/// A barrier: each party waits until all parties wait.
///
/// Each party [waits](Barrier::wait) until as many wait as the barrier has parties. Then all
/// continue, one of them as the leader, and the next round begins.
///
/// If a process is killed while it waits, the barrier breaks: every wait returns
/// [`Error::Broken`](crate::Error::Broken), until a [`reset`](Barrier::reset). A timeout and
/// [`abort`](Barrier::abort) break it as well. The death of a process between two rounds is noticed
/// only if it has [joined](Barrier::join). Join where a task waits more than once; otherwise the
/// others wait for a dead process.
///
/// # Examples
///
/// ```
/// use brigade::shared::Barrier;
///
/// let barrier = Barrier::new(2)?;
/// let leaders: usize = std::thread::scope(|scope| {
///     let both = [0, 1].map(|_| scope.spawn(|| barrier.wait().unwrap()));
///     both.into_iter().map(|thread| usize::from(thread.join().unwrap())).sum()
/// });
/// assert_eq!(leaders, 1);
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Barrier(ObjectHandle<RawBarrier>);

impl Primitive for RawBarrier {
    type Init = u32;
    const KIND: Kind = Kind::Barrier;

    fn size(&parties: &u32) -> Result<(u32, usize)> {
        // A number that is too large is refused by `make`, and needs no space.
        Ok((2, RawBarrier::size_bytes(parties.min(PARTIES_MAX))))
    }

    fn make(memory: &Memory, &parties: &u32) -> Result<Self> {
        // SAFETY: aligned, as large as `size` returned unless `parties` is refused, without another
        // user; the owner, which it keeps, keeps the memory.
        unsafe { RawBarrier::create(memory.body().0, parties, memory.owner()) }
    }

    fn attach(memory: &Memory) -> Result<Self> {
        let (body, body_bytes) = memory.body();
        // SAFETY: aligned and of that size; the owner, which it keeps, keeps the memory, and is
        // one of its table.
        unsafe { RawBarrier::attach(body, body_bytes, memory.owner()) }
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier").field("parties", &self.parties()).finish_non_exhaustive()
    }
}

impl Barrier {
    /// Makes a barrier for `parties` parties: 1 to 16 383.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) out of that range;
    /// [`Error::NoSpace`](crate::Error::NoSpace) without memory for it.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::shared::Barrier;
    /// assert_eq!(Barrier::new(3)?.parties(), 3);
    /// assert!(Barrier::new(0).is_err());
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn new(parties: u32) -> Result<Barrier> {
        ObjectHandle::new(&parties).map(Barrier)
    }

    /// Waits until all parties wait, without a limit. What each party wrote before is visible to
    /// all afterwards. Returns whether the caller was the last, the leader, which is true for one
    /// party of a round.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`](crate::Error::Broken) if a waiter died or timed out, or by
    /// [`abort`](Barrier::abort) or [`reset`](Barrier::reset);
    /// [`Error::Closed`](crate::Error::Closed) in a child that was forked by hand.
    ///
    /// # Examples
    ///
    /// ```
    /// let barrier = brigade::shared::Barrier::new(1)?;
    /// assert!(barrier.wait()?, "the only party is the leader");
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn wait(&self) -> Result<bool> {
        in_time(self.0.get()?.wait(Timeout::Never), Duration::MAX)
    }

    /// As [`wait`](Barrier::wait), at most for `timeout`; then the barrier breaks for all.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`](crate::Error::TimedOut), and as for [`wait`](Barrier::wait).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use brigade::{Error, shared::Barrier};
    /// let barrier = Barrier::new(2)?;
    /// let alone = barrier.wait_timeout(Duration::from_millis(1));
    /// assert!(matches!(alone, Err(Error::TimedOut { .. })));
    /// assert!(barrier.is_broken());
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn wait_timeout(&self, timeout: Duration) -> Result<bool> {
        in_time(self.0.get()?.wait(Timeout::after(timeout)), timeout)
    }

    /// Becomes a member until the result is dropped. The death of a member is noticed at any time.
    /// Members and others may wait at the same barrier.
    ///
    /// # Errors
    ///
    /// [`Error::Full`](crate::Error::Full) if there are as many members as parties, including dead
    /// members and waiters; [`Error::Closed`](crate::Error::Closed) in a child that was forked by
    /// hand.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::shared::Barrier;
    /// let barrier = Barrier::new(1)?;
    /// let mut member = barrier.join()?;
    /// assert!(member.wait()? && member.wait()?);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn join(&self) -> Result<Member<'_>> {
        Ok(Member(Held::new(self.0.get()?.join()?, self.0.memory())))
    }

    /// Breaks the barrier: every wait returns [`Error::Broken`](crate::Error::Broken).
    ///
    /// # Errors
    ///
    /// [`Error::Closed`](crate::Error::Closed) in a child that was forked by hand.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Error, shared::Barrier};
    /// let barrier = Barrier::new(2)?;
    /// barrier.abort()?;
    /// assert!(matches!(barrier.wait(), Err(Error::Broken { .. })));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn abort(&self) -> Result<()> {
        self.0.get()?.abort();
        Ok(())
    }

    /// Repairs the barrier: it is no longer broken, and has no dead members. Present waits return
    /// [`Error::Broken`](crate::Error::Broken).
    ///
    /// # Errors
    ///
    /// As for [`abort`](Barrier::abort).
    ///
    /// # Examples
    ///
    /// ```
    /// let barrier = brigade::shared::Barrier::new(1)?;
    /// barrier.abort()?;
    /// barrier.reset()?;
    /// assert!(barrier.wait()?);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn reset(&self) -> Result<()> {
        self.0.get()?.reset();
        Ok(())
    }

    /// The number of parties.
    #[must_use]
    pub fn parties(&self) -> usize {
        self.0.get().map_or(0, RawBarrier::parties)
    }

    /// How many parties wait in this round. The number may be outdated at once.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.get().map_or(0, RawBarrier::waiting)
    }

    /// Whether it is broken. The answer may be outdated at once.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.0.get().is_ok_and(RawBarrier::is_broken)
    }
}

named_object! {
    impl [] Barrier {
        create(parties: u32) = parties;
        example "brigade::shared" "Barrier" "" ", 2";
    }
}

/// A member of a barrier. Dropping it leaves the barrier.
///
/// # Examples
///
/// ```
/// use brigade::shared::Barrier;
/// let barrier = Barrier::new(1)?;
/// let member = barrier.join()?;
/// assert!(barrier.join().is_err(), "it takes one member");
/// drop(member);
/// assert!(barrier.join().is_ok());
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug)]
pub struct Member<'a>(Held<'a, RawMember<'a>>);

impl Member<'_> {
    /// As [`Barrier::wait`].
    ///
    /// # Errors
    ///
    /// As for [`Barrier::wait`]; and [`Error::Broken`](crate::Error::Broken) if any member died.
    ///
    /// # Examples
    ///
    /// ```
    /// let barrier = brigade::shared::Barrier::new(1)?;
    /// assert!(barrier.join()?.wait()?);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn wait(&mut self) -> Result<bool> {
        self.0.memory().check()?;
        in_time(self.0.wait(Timeout::Never), Duration::MAX)
    }

    /// As [`Barrier::wait_timeout`].
    ///
    /// # Errors
    ///
    /// As for [`Barrier::wait_timeout`].
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// let barrier = brigade::shared::Barrier::new(2)?;
    /// assert!(barrier.join()?.wait_timeout(Duration::from_millis(1)).is_err());
    /// assert!(barrier.is_broken());
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn wait_timeout(&mut self, timeout: Duration) -> Result<bool> {
        self.0.memory().check()?;
        in_time(self.0.wait(Timeout::after(timeout)), timeout)
    }
}

fn in_time(outcome: Result<Option<bool>>, after: Duration) -> Result<bool> {
    outcome?.ok_or(Error::TimedOut { what: "the barrier", after })
}

//! Waits for several channels at once.

use std::time::Duration;

use crate::channel::connection::Connection;
use crate::channel::joinable::JoinableQueue;
use crate::channel::queue::Queue;
use crate::error::Result;
use crate::sync::{Backoff, CHECK_INTERVAL, Ring, Timeout, Watch};
use crate::sys::futex;

mod sealed {
    use crate::error::Result;
    use crate::sync::Ring;

    #[expect(unnameable_types, reason = "what cannot be named cannot be implemented elsewhere")]
    pub trait Sealed {
        /// The ring to wait for.
        fn watched(&self) -> Result<&Ring>;

        /// Closes the ring if all processes that could send are dead.
        fn look_after(&self) {}
    }
}
use sealed::Sealed;

/// Channels that [`wait_any`] can wait for: receiving connections, and queues. Implemented only by
/// this crate.
///
/// # Examples
///
/// ```
/// use brigade::{Pipe, Queue, Waitable, wait_any};
/// let queue = Queue::<u32>::new(8)?;
/// let (receiver, sender) = Pipe::simplex()?;
/// sender.send(&1u8)?;
/// let channels: [&dyn Waitable; 2] = [&queue, &receiver];
/// assert_eq!(wait_any(&channels, None)?, [1]);
/// # Ok::<(), brigade::Error>(())
/// ```
pub trait Waitable: Sealed {}

impl<T> Waitable for Queue<T> {}
impl<T> Waitable for JoinableQueue<T> {}
impl Waitable for Connection {}

impl<T> Sealed for Queue<T> {
    fn watched(&self) -> Result<&Ring> {
        self.message_ring().ring()
    }
}

impl<T> Sealed for JoinableQueue<T> {
    fn watched(&self) -> Result<&Ring> {
        self.message_ring().ring()
    }
}

impl Sealed for Connection {
    fn watched(&self) -> Result<&Ring> {
        self.end().incoming()
    }

    fn look_after(&self) {
        self.end().is_peer_gone();
    }
}

/// Waits until any of `many` is ready, or until `timeout` if there is one. Returns the indices of
/// all that are ready, in order; none at the timeout, or if `many` is empty.
///
/// A channel is ready if it has a message or is closed: `get` or `recv` then returns at once.
/// Another consumer may take the message first, so use `try_get` or `try_recv` if there are
/// several.
///
/// # Errors
///
/// [`Error::InvalidArgument`](crate::Error::InvalidArgument) for a connection that only sends;
/// [`Error::Closed`](crate::Error::Closed) for a handle in a child that was forked from the process
/// that made it.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use brigade::{Pipe, Queue, wait_any};
/// let (orders, (bell, waiter)) = (Queue::<u32>::new(4)?, Pipe::duplex()?);
/// assert_eq!(wait_any(&[&orders, &bell], Some(Duration::ZERO))?, []);
/// waiter.send("table six")?;
/// assert_eq!(wait_any(&[&orders, &bell], None)?, [1]);
/// orders.put(7)?;
/// assert_eq!(wait_any(&[&orders, &bell], None)?, [0, 1]);
/// # Ok::<(), brigade::Error>(())
/// ```
pub fn wait_any(many: &[&dyn Waitable], timeout: Option<Duration>) -> Result<Vec<usize>> {
    let rings = many.iter().map(|one| one.watched()).collect::<Result<Vec<&Ring>>>()?;
    if rings.is_empty() {
        return Ok(Vec::new());
    }
    let ready = || -> Vec<usize> {
        (0..).zip(&rings).filter(|(_, ring)| ring.is_ready()).map(|(index, _)| index).collect()
    };
    let mut timeout = timeout.map_or(Timeout::Never, Timeout::after);
    let mut backoff = Backoff::default();
    loop {
        let found = ready();
        if !found.is_empty() {
            return Ok(found);
        }
        if !matches!(timeout, Timeout::Now) && backoff.pass() {
            continue;
        }
        for one in many {
            one.look_after();
        }
        let seen: Vec<u32> = rings.iter().map(|ring| ring.filled().announce()).collect();
        let found = ready();
        if !found.is_empty() {
            return Ok(found);
        }
        let Some(sleep) = timeout.next_sleep(Watch::Waiters) else { return Ok(found) };
        let words: Vec<_> =
            rings.iter().map(|ring| ring.filled().word()).zip(seen.iter().copied()).collect();
        futex::wait_any(&words, sleep.unwrap_or(CHECK_INTERVAL));
    }
}

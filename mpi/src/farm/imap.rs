//! Rank 0 of a farm: it gives out items.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::backoff::Backoff;
use crate::cluster::Cluster;
use crate::encoded::Encoded;
use crate::error::Result;
use crate::farm::batches::{BYTES_MAX, Batches};
use crate::farm::failure::Failure;
use crate::farm::message::{Item, LONG_BYTES, Order, Outcome, Report};
use crate::farm::pace::Pace;
use crate::farm::station::{Parcel, Station};
use crate::link::{Kind, Link};
use crate::outgoing::Outbox;

/// Items that were taken from the iterator wait at most about this long until they are sent.
const PULL: Duration = Duration::from_millis(20);

/// While the caller takes results that are there, rank 0 looks after the ranks as often.
const LOOK: Duration = Duration::from_millis(1);

/// While more results wait for the caller than this, or more bytes of them, no items are given out.
const READY_MAX: usize = 1024;
const READY_BYTES_MAX: usize = 64 << 20;

/// One result of [`Cluster::imap_unordered`].
///
/// # Examples
///
/// ```
/// # use brigade::Pool;
/// let cluster = brigade_mpi::Cluster::new(Pool::builder().workers(1))?;
/// for done in cluster.imap_unordered([5u32], |n| n + 1)? {
///     assert_eq!((done.position, done.result), (0, Ok(6)));
/// }
/// # Ok::<(), brigade_mpi::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Done<R> {
    /// The item's position among the items, from 0.
    pub position: usize,
    /// The rank that ran it.
    pub rank: usize,
    /// What the function returned, or why it did not.
    pub result: std::result::Result<R, Failure>,
}

/// The results of [`Cluster::imap_unordered`], as they come; empty on ranks other than 0.
///
/// # Examples
///
/// ```
/// # use brigade::Pool;
/// let cluster = brigade_mpi::Cluster::new(Pool::builder().workers(1))?;
/// let first = cluster.imap_unordered(0.., |n: u64| n)?.next();
/// assert_eq!(first.unwrap().result, Ok(0));
/// # Ok::<(), brigade_mpi::Error>(())
/// ```
pub struct Imap<'c, I, R> {
    /// `None` on ranks other than 0.
    rank0: Option<(I, Dispatcher<'c>)>,
    results: PhantomData<fn() -> R>,
}

/// The ranks, with their items under way.
pub(super) struct Dispatcher<'c> {
    cluster: &'c Cluster,
    station: Station<'c>,
    ranks: Vec<Batches>,
    /// The position of the next item.
    next: usize,
    has_items: bool,
    /// Whether the other ranks have been released.
    is_over: bool,
    /// Results that wait for the caller: rank, position and outcome.
    ready: VecDeque<(usize, usize, Outcome)>,
    /// Their bytes.
    ready_bytes: usize,
    outbox: Outbox,
    backoff: Backoff,
    /// Of the results that the caller takes.
    pace: Pace,
    /// When it last looked after the ranks.
    looked: Instant,
}

impl<'c, I, R> Imap<'c, I, R> {
    pub(super) fn empty() -> Imap<'c, I, R> {
        Imap { rank0: None, results: PhantomData }
    }

    pub(super) fn new(items: I, dispatcher: Dispatcher<'c>) -> Imap<'c, I, R> {
        Imap { rank0: Some((items, dispatcher)), results: PhantomData }
    }
}

impl<I, R> Iterator for Imap<'_, I, R>
where
    I: Iterator,
    I::Item: Serialize,
    R: DeserializeOwned,
{
    type Item = Done<R>;

    fn next(&mut self) -> Option<Done<R>> {
        let (items, dispatcher) = self.rank0.as_mut()?;
        let Some((rank, position, result)) = dispatcher.next_result(items) else {
            dispatcher.finish();
            return None;
        };
        let result = result.and_then(|encoded| {
            postcard::from_bytes(&encoded.0).map_err(|error| {
                let host = dispatcher.link().host(rank).to_owned();
                let message = format!("the result could not be decoded: {error}");
                Failure { position, rank, host, message, death: None }
            })
        });
        Some(Done { position, rank, result })
    }
}

impl<'c> Dispatcher<'c> {
    pub(super) fn new(cluster: &'c Cluster, station: Station<'c>) -> Dispatcher<'c> {
        Dispatcher {
            cluster,
            station,
            ranks: cluster.workers().iter().map(|&workers| Batches::new(workers)).collect(),
            next: 0,
            has_items: true,
            is_over: false,
            ready: VecDeque::new(),
            ready_bytes: 0,
            outbox: Outbox::default(),
            backoff: Backoff::default(),
            pace: Pace::new(),
            looked: Instant::now(),
        }
    }

    fn link(&self) -> &'c Link {
        &self.cluster.link
    }

    /// The next result, with its rank and position; `None` after the last.
    fn next_result<I>(&mut self, items: &mut I) -> Option<(usize, usize, Outcome)>
    where
        I: Iterator<Item: Serialize>,
    {
        let mut has_looked = false;
        loop {
            if let Some(result) = self.ready.pop_front() {
                self.ready_bytes -= bytes(&result.2);
                let now = self.pace.step();
                let is_due = |now: Instant| now.saturating_duration_since(self.looked) >= LOOK;
                if !has_looked && now.is_some_and(is_due) {
                    self.poll();
                    self.feed(items);
                }
                return Some(result);
            }
            if self.is_over {
                return None;
            }
            if self.feed(items) {
                self.backoff.reset();
            }
            if !self.has_items && self.ready.is_empty() && self.items_under_way() == 0 {
                return None;
            }
            has_looked = true;
            if self.poll() {
                self.backoff.reset();
            } else if self.backoff.pause() {
                let is_awaited = |rank: &usize| self.ranks[*rank].items() > 0;
                let awaited = (1..self.ranks.len()).filter(is_awaited);
                awaited.for_each(|rank| self.link().expect_present(rank));
            }
        }
    }

    fn items_under_way(&self) -> usize {
        self.ranks.iter().map(Batches::items).sum()
    }

    /// Gives batches to the ranks that want one, in turn; returns whether it gave any. It stops
    /// after some time of pulling items, at one that cannot be encoded, and when many results wait
    /// for the caller.
    fn feed<I: Iterator<Item: Serialize>>(&mut self, items: &mut I) -> bool {
        let deadline = Instant::now() + PULL;
        let (mut is_fed, mut has_fed) = (true, false);
        while is_fed {
            is_fed = false;
            // The others first: theirs have a way to go.
            for rank in (0..self.ranks.len()).rev() {
                if !self.has_items || self.is_full() || !self.ranks[rank].is_wanting() {
                    continue;
                }
                if Instant::now() >= deadline || !self.feed_rank(rank, items, deadline) {
                    return has_fed;
                }
                (is_fed, has_fed) = (true, true);
            }
        }
        has_fed
    }

    /// Whether many results wait for the caller.
    fn is_full(&self) -> bool {
        self.ready.len() >= READY_MAX || self.ready_bytes >= READY_BYTES_MAX
    }

    /// Gives a batch to a rank. Returns false if an item could not be encoded.
    fn feed_rank<I: Iterator<Item: Serialize>>(
        &mut self,
        rank: usize,
        items: &mut I,
        deadline: Instant,
    ) -> bool {
        let (mut pace, mut is_good) = (Pace::new(), true);
        let size = self.ranks[rank].next_size(items.size_hint().1, self.ranks.len());
        let first = self.next;
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < size && bytes < BYTES_MAX {
            if !batch.is_empty() && pace.step().is_some_and(|now| now >= deadline) {
                break;
            }
            let Some(item) = items.next() else {
                self.has_items = false;
                break;
            };
            let position = self.next;
            match postcard::to_stdvec(&item) {
                Ok(item) => {
                    bytes += item.len();
                    batch.push(item);
                }
                Err(error) => {
                    // It ends a batch, whose positions follow each other.
                    let message = format!("the item could not be encoded: {error}");
                    let failure = Failure { message, ..self.station.plain_failure(position) };
                    self.ready.push_back((0, position, Err(failure)));
                    self.next += 1;
                    is_good = false;
                    break;
                }
            }
            self.next += 1;
        }
        if batch.is_empty() {
            return is_good;
        }
        self.ranks[rank].send(first..first + batch.len(), Instant::now());
        if rank > 0 {
            self.send_items(rank, first, batch);
            return is_good;
        }
        for (position, item) in (first..).zip(batch) {
            self.station.submit(position, Parcel::new(item));
        }
        is_good
    }

    /// Sends items; long ones behind the others, without a copy.
    fn send_items(&mut self, rank: usize, first: usize, batch: Vec<Vec<u8>>) {
        let mut long = Vec::new();
        let item = |item: Vec<u8>| {
            if item.len() < LONG_BYTES {
                return Item::Short(Encoded(item));
            }
            long.push(item);
            Item::Long(long.last().map_or(0, Vec::len))
        };
        let items = batch.into_iter().map(item).collect();
        self.send(rank, &Order::Run(first, items));
        let link = self.link();
        self.outbox.extend(long.into_iter().map(|item| link.send_bytes(rank, item)));
    }

    fn send(&mut self, rank: usize, order: &Order) {
        let message = self.expect(self.link().send(rank, Kind::Farm, order));
        self.outbox.extend([message]);
    }

    /// What a message gave. A rank that cannot read or write messages of this crate ends the job.
    fn expect<T>(&self, outcome: Result<T>) -> T {
        outcome.unwrap_or_else(|error| self.link().end_job(&format!("failed: {error}")))
    }

    /// Looks after the ranks: takes the results that are there; returns whether any wait for the
    /// caller.
    fn poll(&mut self) -> bool {
        let now = Instant::now();
        let ended = self.station.poll();
        self.take(0, ended, now);
        while let Some((rank, report)) = self.expect(self.link().try_receive(None, Kind::Farm)) {
            if let Report::Done(results) = report {
                self.take(rank, results, now);
            }
        }
        if self.outbox.advance() {
            self.backoff.shorten();
        }
        self.looked = now;
        !self.ready.is_empty()
    }

    fn take(&mut self, rank: usize, results: Vec<(usize, Outcome)>, now: Instant) {
        self.ready.reserve(results.len());
        for (position, result) in results {
            let bytes = bytes(&result);
            self.ranks[rank].end(position, bytes, now);
            self.ready_bytes += bytes;
            self.ready.push_back((rank, position, result));
        }
    }
}

/// The bytes of a result.
fn bytes(result: &Outcome) -> usize {
    result.as_ref().map_or(0, |result| result.0.len())
}

impl Dispatcher<'_> {
    /// Releases the other ranks, and receives what they have sent. Does nothing the second time.
    fn finish(&mut self) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        for rank in 1..self.ranks.len() {
            self.send(rank, &Order::Stop);
        }
        let mut backoff = Backoff::default();
        for rank in 1..self.ranks.len() {
            loop {
                match self.expect(self.link().try_receive(Some(rank), Kind::Farm)) {
                    Some((_, Report::Stopped)) => break,
                    Some((_, Report::Done(_))) => backoff.reset(),
                    None => {
                        self.outbox.advance();
                        if backoff.pause() {
                            self.link().expect_present(rank);
                        }
                    }
                }
            }
        }
        self.outbox.take().into_iter().for_each(|outgoing| self.cluster.link.finish(outgoing));
        self.link().set_farming(false);
    }
}

impl Drop for Dispatcher<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.is_over && self.ranks.len() > 1 {
            // Whoever catches the panic would leave the other ranks in this farm.
            self.link().end_job("has panicked in a call of map or imap_unordered");
        }
        self.finish();
    }
}

impl<I, R> std::fmt::Debug for Imap<'_, I, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let under_way = self.rank0.as_ref().map(|(_, dispatcher)| dispatcher.items_under_way());
        f.debug_struct("Imap").field("items_under_way", &under_way).finish_non_exhaustive()
    }
}

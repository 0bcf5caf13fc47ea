//! A function over many items, on all ranks.
//!
//! Rank 0 has the items and gets the results; every rank runs items, rank 0 as well. No function
//! travels: each rank has its own, from the same call in the same executable. The steps:
//!
//! 1. Rank 0 encodes items and sends them in batches (`batches`), two of them ahead of each rank.
//! 2. A rank submits each item of a batch as a task of its own to its pool (`station`), so a death
//!    belongs to one item.
//! 3. It sends the results of tasks that have ended (`serve`), and rank 0 decodes them.
//! 4. When rank 0 needs no more, it sends `Stop` to each rank and receives all its messages, up to
//!    its `Stopped`. So no message of a farm is left when the next one begins.

mod batches;
pub(crate) mod failure;
mod imap;
mod message;
mod pace;
mod serve;
mod station;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cluster::Cluster;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::farm::failure::Failure;
use crate::farm::imap::Dispatcher;
pub use crate::farm::imap::{Done, Imap};
use crate::farm::station::Station;

impl Cluster {
    /// `function` of each item, on the workers of all ranks; the results in the order of the items.
    ///
    /// All ranks call it. The items of rank 0 count, and rank 0 gets the results; on the other
    /// ranks the items are ignored and the result is empty. `function` captures nothing
    /// (this is checked at compile time): what a call needs is in its item.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if a call of `imap_unordered` is not at its end. What fails for
    /// one item is an error of that item only.
    ///
    /// # Examples
    ///
    /// ```
    /// # use brigade::Pool;
    /// let cluster = brigade_mpi::Cluster::new(Pool::builder().workers(2))?;
    /// let lengths = cluster.map(["a", "bcd"].map(String::from), |text: String| text.len())?;
    /// if cluster.rank() == 0 {
    ///     assert_eq!(lengths.into_iter().collect::<Result<Vec<_>, _>>()?, [1, 3]);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn map<I, F, R>(
        &self,
        items: I,
        function: F,
    ) -> Result<Vec<std::result::Result<R, Failure>>>
    where
        I: IntoIterator,
        I::Item: Serialize + DeserializeOwned,
        F: Fn(I::Item) -> R + Copy + Send + 'static,
        R: Serialize + DeserializeOwned,
    {
        let mut all = Vec::new();
        for done in self.imap_unordered(items, function)? {
            if all.len() <= done.position {
                all.resize_with(done.position + 1, || None);
            }
            all[done.position] = Some(done.result);
        }
        // Every position has a result.
        Ok(all.into_iter().flatten().collect())
    }

    /// As [`map`](Cluster::map), but each result as soon as it is there, and items are taken from
    /// the iterator as they are needed.
    ///
    /// On rank 0, what runs elsewhere goes on while the caller works between two results, but no
    /// rank gets new items then; each rank has work for about 40 ms. Ranks get items when a result
    /// is asked for, also while others are there; not while 1024 results or 64 MiB of them wait.
    /// While `items` computes or waits for its next item, no rank gets items: what it gave is sent
    /// after about 20 ms of it, but an item that blocks for ever blocks the call for ever.
    ///
    /// The call is at its end when the iterator has returned `None`, or is dropped. If it is
    /// dropped early, items that have not started are cancelled. On the other ranks this returns
    /// at that moment. Until then rank 0 can make no other call that all ranks make.
    ///
    /// # Panics
    ///
    /// If `items` panics on rank 0, the job ends, even if the caller would catch the panic.
    ///
    /// # Errors
    ///
    /// As [`map`](Cluster::map).
    ///
    /// # Examples
    ///
    /// ```
    /// # use brigade::Pool;
    /// let cluster = brigade_mpi::Cluster::new(Pool::builder().workers(2))?;
    /// let mut sum = 0;
    /// for done in cluster.imap_unordered(1..=100u64, |n| n)? {
    ///     assert!(done.rank < cluster.size());
    ///     sum += done.result?;
    /// }
    /// assert!(cluster.rank() > 0 || sum == 5050);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn imap_unordered<I, F, R>(&self, items: I, function: F) -> Result<Imap<'_, I::IntoIter, R>>
    where
        I: IntoIterator,
        I::Item: Serialize + DeserializeOwned,
        F: Fn(I::Item) -> R + Copy + Send + 'static,
        R: Serialize + DeserializeOwned,
    {
        let station = Station::new::<I::Item, F, R>(self.pool(), &self.link, function);
        if self.rank() > 0 {
            serve::serve(&self.link, station)?;
            return Ok(Imap::empty());
        }
        self.link.expect_idle()?;
        self.link.set_farming(true);
        Ok(Imap::new(items.into_iter(), Dispatcher::new(self, station)))
    }
}

//! Elements that travel between ranks, straight from array to array.

use std::ops::Range;

use brigade::SharedArray;
use bytemuck::Pod;
use mpi::request::{LocalScope, scope};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cluster::Cluster;
use crate::error::Result;
use crate::link::{Link, Pending};

impl Link {
    /// Sends bytes to some ranks and receives others from some, all at once. A rank may occur
    /// several times; its slices arrive in their order. This rank must not be among them.
    pub(crate) fn exchange(&self, sends: &[(usize, &[u8])], receives: Vec<(usize, &mut [u8])>) {
        scope(|scope| self.complete(self.start_exchange(scope, sends, receives)));
    }

    /// Starts an exchange, which `complete` finishes.
    pub(crate) fn start_exchange<'a, 's>(
        &self,
        scope: &'s LocalScope<'a>,
        sends: &[(usize, &'a [u8])],
        receives: Vec<(usize, &'a mut [u8])>,
    ) -> Vec<Pending<'a, 's>> {
        let mut pending = Vec::new();
        for (from, into) in receives {
            self.start_receive(scope, from, into, &mut pending);
        }
        for &(to, bytes) in sends {
            self.start_send(scope, to, bytes, &mut pending);
        }
        pending
    }

    /// Receives what `send_bytes` sends, into memory of the pools of this process.
    ///
    /// # Errors
    ///
    /// There is no such memory; then the bytes have been received and are gone.
    pub(crate) fn receive_bytes(
        &self,
        from: usize,
        bytes: usize,
    ) -> brigade::Result<SharedArray<u8>> {
        let piece_bytes = self.item_piece_bytes();
        match SharedArray::for_overwrite([bytes]) {
            Ok(mut array) => {
                let pieces = array.as_mut_slice().chunks_mut(piece_bytes);
                self.exchange(&[], pieces.map(|piece| (from, piece)).collect());
                Ok(array)
            }
            Err(error) => {
                let mut piece = vec![0; piece_bytes.min(bytes)];
                for at in (0..bytes).step_by(piece_bytes) {
                    let len = piece_bytes.min(bytes - at);
                    self.exchange(&[], vec![(from, &mut piece[..len])]);
                }
                Err(error)
            }
        }
    }
}

/// Fills `into[i]` with the rows `wanted[rank][i]` of a distributed array, on every rank.
///
/// `starts` are the first rows of the ranks' blocks, and one more: the number of rows. `own` is
/// this rank's block, of which a row has `row_len` elements. All ranks call it with the same
/// `starts` and `wanted`, so each knows what the others want of it.
pub(crate) fn fetch_rows<T: Pod, const N: usize>(
    link: &Link,
    starts: &[usize],
    (own, row_len): (&[T], usize),
    wanted: &[[Range<usize>; N]],
    into: [&mut [T]; N],
) {
    let block = |rank: usize| starts[rank]..starts[rank + 1];
    let here = block(link.rank());
    let of_own = |rows: &Range<usize>| {
        &own[(rows.start - here.start) * row_len..(rows.end - here.start) * row_len]
    };
    let mut sends = Vec::new();
    for (to, ranges) in wanted.iter().enumerate().filter(|(to, _)| *to != link.rank()) {
        let parts = ranges.iter().map(|range| common(range, &here)).filter(|part| !part.is_empty());
        sends.extend(parts.map(|part| (to, bytemuck::cast_slice(of_own(&part)))));
    }
    let mut receives = Vec::new();
    for (range, mut rest) in wanted[link.rank()].iter().zip(into) {
        // Blocks are in the order of their ranks, so the parts follow each other.
        for from in 0..link.size() {
            let part = common(range, &block(from));
            let (into, after) = rest.split_at_mut(part.len() * row_len);
            rest = after;
            if part.is_empty() {
                continue;
            }
            if from == link.rank() {
                into.copy_from_slice(of_own(&part));
            } else {
                receives.push((from, bytemuck::cast_slice_mut(into)));
            }
        }
    }
    link.exchange(&sends, receives);
}

/// What two ranges have in common.
pub(crate) fn common(a: &Range<usize>, b: &Range<usize>) -> Range<usize> {
    let start = a.start.max(b.start);
    start..a.end.min(b.end).max(start)
}

impl Cluster {
    /// A value of every rank, on every rank, in their order. All ranks call it.
    ///
    /// # Errors
    ///
    /// [`Error::Codec`](crate::Error::Codec) if this rank's value cannot be encoded, and
    /// [`Error::RankFailed`](crate::Error) on the others then; [`Error::Codec`](crate::Error)
    /// on every rank if a value cannot be decoded. The next call works in any case.
    /// [`Error::InvalidArgument`](crate::Error) on rank 0 in a call of
    /// [`imap_unordered`](Cluster::imap_unordered) that is not at its end.
    ///
    /// # Examples
    ///
    /// ```
    /// # use brigade::Pool;
    /// let cluster = brigade_mpi::Cluster::new(Pool::builder().workers(1))?;
    /// let ranks = cluster.all_gather(cluster.rank())?;
    /// assert_eq!(ranks, (0..cluster.size()).collect::<Vec<_>>());
    /// # Ok::<(), brigade_mpi::Error>(())
    /// ```
    pub fn all_gather<R: Serialize + DeserializeOwned>(&self, value: R) -> Result<Vec<R>> {
        self.link.all_gather(value)
    }
}

//! What the ranks other than 0 do in a farm.

use crate::backoff::Backoff;
use crate::error::Result;
use crate::farm::batches::BYTES_MAX;
use crate::farm::message::{Item, Order, Outcome, Report};
use crate::farm::station::{Parcel, Station};
use crate::link::{Kind, Link};
use crate::outgoing::Outbox;

/// Results that travel together at most. They also have at most `BYTES_MAX` bytes, or one result.
const RESULTS_MAX: usize = 1024;

/// Results that will travel together.
#[derive(Debug, Default)]
struct Results {
    all: Vec<(usize, Outcome)>,
    bytes: usize,
}

impl Results {
    /// Adds a result. Those that do not travel with it are returned.
    fn add(&mut self, position: usize, result: Outcome) -> Vec<(usize, Outcome)> {
        let bytes = result.as_ref().map_or(0, |result| result.0.len());
        let is_full = self.all.len() == RESULTS_MAX || self.bytes + bytes > BYTES_MAX;
        let before = if is_full { self.take() } else { Vec::new() };
        self.all.push((position, result));
        self.bytes += bytes;
        before
    }

    fn take(&mut self) -> Vec<(usize, Outcome)> {
        self.bytes = 0;
        std::mem::take(&mut self.all)
    }
}

/// Runs the items that rank 0 sends, until it sends no more.
///
/// # Errors
///
/// [`Error::Codec`](crate::Error::Codec).
pub(crate) fn serve(link: &Link, mut station: Station<'_>) -> Result<()> {
    let mut outbox = Outbox::default();
    let mut results = Results::default();
    let mut backoff = Backoff::default();
    loop {
        let order = link.try_receive(Some(0), Kind::Farm)?.map(|(_, order)| order);
        let is_ordered = order.is_some();
        match order {
            Some(Order::Run(first, items)) => {
                for (position, item) in (first..).zip(items) {
                    let parcel = match item {
                        Item::Short(item) => Parcel::Short(item),
                        Item::Long(bytes) => Parcel::Long(link.receive_bytes(0, bytes)),
                    };
                    station.submit(position, parcel);
                }
            }
            Some(Order::Stop) => break,
            None => {}
        }
        let ended = station.poll();
        // While items end, their results are collected.
        let is_quiet = ended.is_empty();
        for (position, result) in ended {
            report(link, results.add(position, result), &mut outbox)?;
        }
        if is_quiet {
            report(link, results.take(), &mut outbox)?;
        }
        if outbox.advance() {
            backoff.shorten();
        }
        if is_ordered || !is_quiet {
            backoff.reset();
        } else if backoff.pause() {
            link.expect_present(0);
        }
    }
    drop(station);
    outbox.extend([link.send(0, Kind::Farm, &Report::Stopped)?]);
    outbox.take().into_iter().for_each(|outgoing| link.finish(outgoing));
    Ok(())
}

/// Starts to send results, if there are any.
fn report(link: &Link, results: Vec<(usize, Outcome)>, outbox: &mut Outbox) -> Result<()> {
    if !results.is_empty() {
        outbox.extend([link.send(0, Kind::Farm, &Report::Done(results))?]);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoded::Encoded;

    #[test]
    fn results_travel_in_messages_of_bounded_count_and_bytes() {
        let mut results = Results::default();
        let mut add = |at, bytes| results.add(at, Ok(Encoded(vec![0; bytes]))).len();
        assert_eq!([add(0, 3 << 20), add(1, 1 << 20)], [0, 0]);
        assert_eq!(add(2, 1), 2, "4 MiB travel, and the next byte with what follows");
        assert_eq!([add(3, 9 << 20), add(4, 9 << 20)], [1, 1], "large ones alone");
        assert_eq!([add(5, 7), results.take().len()], [1, 1]);
        let mut add = |at| results.add(at, Ok(Encoded(Vec::new()))).len();
        assert!((0..RESULTS_MAX).all(|at| add(at) == 0));
        assert_eq!(add(RESULTS_MAX), RESULTS_MAX);
    }
}

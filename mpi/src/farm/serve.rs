//! What the ranks other than 0 do in a farm.

use crate::backoff::Backoff;
use crate::error::Result;
use crate::farm::message::{Item, Order, Report};
use crate::farm::station::{Parcel, Station};
use crate::link::{Kind, Link};

/// Results that travel together at most.
const RESULTS_MAX: usize = 1024;

/// Runs the items that rank 0 sends, until it sends no more.
///
/// # Errors
///
/// [`Error::Codec`](crate::Error::Codec).
pub(crate) fn serve(link: &Link, mut station: Station<'_>) -> Result<()> {
    let mut outbox = Vec::new();
    let mut results = Vec::new();
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
        results.extend(ended);
        if !results.is_empty() && (is_quiet || results.len() >= RESULTS_MAX) {
            let report = Report::Done(std::mem::take(&mut results));
            outbox.push(link.send(0, Kind::Farm, &report)?);
        }
        outbox.retain_mut(|message| !message.is_sent());
        if !outbox.is_empty() {
            backoff.shorten();
        }
        if is_ordered || !is_quiet {
            backoff.reset();
        } else if backoff.pause() {
            link.expect_present(0);
        }
    }
    drop(station);
    outbox.push(link.send(0, Kind::Farm, &Report::Stopped)?);
    outbox.into_iter().for_each(|outgoing| link.finish(outgoing));
    Ok(())
}

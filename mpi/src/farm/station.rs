//! The items that run in this rank's pool.

use std::collections::VecDeque;

use brigade::{Frozen, Handle, Pool, SharedArray};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::encoded::Encoded;
use crate::farm::failure::{DeathReport, Failure};
use crate::farm::message::{LONG_BYTES, Outcome};
use crate::link::Link;

/// What a worker answers: the encoded result, or why it could not decode or encode.
type Answer = Result<Encoded, String>;

/// An encoded item that is to run here.
pub(crate) enum Parcel {
    Short(Encoded),
    /// In memory of the pool, where a worker reads it; an error if there is none.
    Long(brigade::Result<SharedArray<u8>>),
}

impl Parcel {
    pub(crate) fn new(item: Vec<u8>) -> Parcel {
        match item.len() {
            LONG_BYTES.. => Parcel::Long(SharedArray::from_slice(&item)),
            _ => Parcel::Short(Encoded(item)),
        }
    }
}

/// Starts one item.
type Start<'c> = Box<dyn Fn(Parcel) -> brigade::Result<Handle<Answer>> + 'c>;

/// The items that run in this rank's pool.
pub(crate) struct Station<'c> {
    link: &'c Link,
    start: Start<'c>,
    /// The type name of the user's function.
    task: &'static str,
    running: VecDeque<(usize, Handle<Answer>)>,
    /// Items that could not be started.
    refused: Vec<(usize, Failure)>,
    /// How many of `running` that have not ended a poll passes over: the pool starts items in their
    /// order, so behind so many there are none that have.
    passed_max: usize,
}

impl<'c> Station<'c> {
    pub(crate) fn new<A, F, R>(pool: &'c Pool, link: &'c Link, function: F) -> Station<'c>
    where
        A: DeserializeOwned,
        F: Fn(A) -> R + Copy + Send + 'static,
        R: Serialize,
    {
        // User code runs in the worker: also the code of its types that decodes and encodes.
        let call = move |item: &[u8]| -> Answer {
            let item = postcard::from_bytes(item)
                .map_err(|error| format!("the item could not be decoded: {error}"))?;
            let result = postcard::to_stdvec(&function(item));
            result.map(Encoded).map_err(|error| format!("the result could not be encoded: {error}"))
        };
        let short = move |item: Encoded| call(&item.0);
        let long = move |item: Frozen<u8>| call(item.as_slice());
        Station {
            link,
            start: Box::new(move |item| match item {
                Parcel::Short(item) => pool.submit(short, item),
                Parcel::Long(item) => pool.submit(long, item?.freeze()),
            }),
            task: std::any::type_name::<F>(),
            running: VecDeque::new(),
            refused: Vec::new(),
            passed_max: 64 + 16 * pool.workers(),
        }
    }

    /// Starts an item.
    pub(crate) fn submit(&mut self, position: usize, item: Parcel) {
        match (self.start)(item) {
            Ok(handle) => self.running.push_back((position, handle)),
            Err(error) => self.refused.push((position, self.failure(position, &error))),
        }
    }

    /// The items that have ended since the last poll.
    pub(crate) fn poll(&mut self) -> Vec<(usize, Outcome)> {
        let ended = Handle::take_ended(&mut self.running, self.passed_max);
        let results = ended.into_iter().map(|(at, answer)| (at, self.result(at, answer)));
        let mut all: Vec<_> = results.collect();
        all.extend(self.refused.drain(..).map(|(position, failure)| (position, Err(failure))));
        all
    }

    fn result(&self, position: usize, answer: brigade::Result<Answer>) -> Outcome {
        match answer {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(message)) => Err(Failure { message, ..self.plain_failure(position) }),
            Err(error) => Err(self.failure(position, &error)),
        }
    }

    fn failure(&self, position: usize, error: &brigade::Error) -> Failure {
        let death = error.death().map(|death| Box::new(DeathReport::new(death, self.task)));
        Failure { message: error.to_string(), death, ..self.plain_failure(position) }
    }

    /// The failure of an item on this rank, without a cause.
    pub(crate) fn plain_failure(&self, position: usize) -> Failure {
        let rank = self.link.rank();
        let host = self.link.host(rank).to_owned();
        Failure { position, rank, host, message: String::new(), death: None }
    }
}

impl Drop for Station<'_> {
    fn drop(&mut self) {
        for (_, handle) in &self.running {
            handle.cancel();
        }
    }
}

impl std::fmt::Debug for Station<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Station { task, running, .. } = self;
        f.debug_struct("Station")
            .field("task", task)
            .field("running", &running.len())
            .finish_non_exhaustive()
    }
}

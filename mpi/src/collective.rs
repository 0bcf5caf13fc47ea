//! Values that all ranks give and take.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::encoded::Encoded;
use crate::error::{Error, Result};
use crate::link::{Kind, Link, encode};

impl Link {
    /// One value of every rank, for every rank, in their order.
    ///
    /// The values travel as bytes, and each rank decodes all of them at the end. So one that does
    /// not encode or decode fails on every rank, when all messages of this call are received.
    ///
    /// # Errors
    ///
    /// [`Error::Codec`] if this rank's value does not encode, or if one does not decode;
    /// [`Error::RankFailed`] if that of another does not encode.
    pub(crate) fn all_gather<T: Serialize + DeserializeOwned>(&self, value: T) -> Result<Vec<T>> {
        let own = postcard::to_stdvec(&value).map(Encoded).map_err(|error| error.to_string());
        let all: Vec<std::result::Result<Encoded, String>> = match self.gather(own)? {
            Some(all) => self.broadcast(all)?,
            None => self.receive(0, Kind::Call)?,
        };
        let what = "a value of all_gather";
        let decode = |(rank, value): (usize, std::result::Result<Encoded, String>)| match value {
            Ok(bytes) => {
                postcard::from_bytes(&bytes.0).map_err(|error| Error::decode(what, &error))
            }
            Err(reason) if rank == self.rank() => Err(Error::encode(what, &reason)),
            Err(reason) => {
                let message = Error::encode(what, &reason).to_string();
                Err(Error::RankFailed { rank, host: self.host(rank).to_owned(), message })
            }
        };
        all.into_iter().enumerate().map(decode).collect()
    }

    /// One value of every rank, in their order, on rank 0. It must be of a type whose values always
    /// encode and decode: an error leaves messages behind.
    fn gather<T: Serialize + DeserializeOwned>(&self, value: T) -> Result<Option<Vec<T>>> {
        self.expect_idle()?;
        if self.rank() > 0 {
            self.send_whole(0, Kind::Call, &value)?;
            return Ok(None);
        }
        let mut all = vec![value];
        for rank in 1..self.size() {
            all.push(self.receive(rank, Kind::Call)?);
        }
        Ok(Some(all))
    }

    /// The value of rank 0, for every rank; of a type as for `gather`.
    ///
    /// # Errors
    ///
    /// [`Error::Codec`].
    pub(crate) fn broadcast<T: Serialize + DeserializeOwned>(&self, value: T) -> Result<T> {
        self.expect_idle()?;
        if self.rank() > 0 {
            return self.receive(0, Kind::Call);
        }
        let body = encode(&value)?;
        let sends = (1..self.size()).map(|rank| self.start(rank, Kind::Call, Arc::clone(&body)));
        // All are started before the first is waited for.
        let sends: Vec<_> = sends.collect();
        sends.into_iter().for_each(|outgoing| self.finish(outgoing));
        Ok(value)
    }

    /// This rank's result if every rank has one; else the error of the first that failed.
    ///
    /// # Errors
    ///
    /// This rank's own error, or [`Error::RankFailed`].
    pub(crate) fn agree<T>(&self, outcome: Result<T>) -> Result<T> {
        let message = outcome.as_ref().err().map(ToString::to_string);
        let all = self.all_gather(message)?;
        let value = outcome?;
        match all.into_iter().enumerate().find_map(|(rank, text)| Some((rank, text?))) {
            None => Ok(value),
            Some((rank, message)) => {
                Err(Error::RankFailed { rank, host: self.host(rank).to_owned(), message })
            }
        }
    }

    /// As [`agree`](Link::agree), for a result that is made from arguments which all ranks must
    /// give alike. `arguments` of a result gives their names and values, as many on every rank.
    ///
    /// # Errors
    ///
    /// As [`agree`](Link::agree), and [`Error::Disagreement`] for the first argument that differs
    /// from that of rank 0.
    pub(crate) fn agree_on<T, const N: usize>(
        &self,
        outcome: Result<T>,
        arguments: impl Fn(&T) -> [(&'static str, String); N],
    ) -> Result<T> {
        let own = outcome.as_ref().ok().map(&arguments);
        let texts = own.iter().flatten().map(|(_, text)| text.clone()).collect();
        let all: Option<Vec<Vec<String>>> = self.gather(texts)?;
        // The first rank that has a result with another argument, and both values.
        let differs = all.and_then(|all| {
            let mut others = all.iter().enumerate().filter(|(_, texts)| !texts.is_empty());
            let (_, first) = others.next()?;
            others.find_map(|(rank, texts)| {
                let at = (0..N).find(|&at| texts[at] != first[at])?;
                Some((at, rank, texts[at].clone(), first[at].clone()))
            })
        });
        let differs = self.broadcast(differs)?;
        let value = self.agree(outcome)?;
        match (differs, own) {
            (Some((at, rank, theirs, ours)), Some(own)) => {
                Err(Error::Disagreement { what: own[at].0, rank, theirs, ours })
            }
            _ => Ok(value),
        }
    }
}

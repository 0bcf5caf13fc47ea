//! One run of a call: decodes, runs, encodes, catches panics.
#![allow(unsafe_code)]

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::array::codec::{Encoder, decode_all};
use crate::error::{Error, Phase, Result};
use crate::kernel::FloatMode;
use crate::object::source::{Resolved, Resolver, Source};
use crate::object::transfer::{self, LeaseList, Scope, WireLease};
use crate::process::function::FunctionOffset;
use crate::process::panic;
use crate::region::windows::Windows;
use crate::sys::mmap::Access;
use crate::worker::queue_pair::Status;

pub(crate) use crate::array::codec::{Encode, decode, decode_first, encode_onto};
pub(crate) use crate::process::function::function_value;

/// The input and output of a trampoline.
pub(crate) struct Invocation<'a> {
    /// The encoded argument.
    pub(crate) payload: &'a [u8],
    /// The leases of its handles.
    pub(crate) leases: Leases<'a>,
    pub(crate) windows: &'a Windows,
    /// Receives the encoded result.
    pub(crate) out: &'a mut Vec<u8>,
    /// The worker's values that are kept between tasks.
    pub(crate) cache: &'a mut WorkerCache,
    /// Called at each phase of the task.
    pub(crate) progress: &'a dyn Fn(Phase),
}

/// The leases of a task's argument, by slot.
pub(crate) enum Leases<'a> {
    /// In a worker: the wire form in the host's table.
    Wire(&'a [WireLease]),
    /// In the host: the rights, which the argument takes and the result returns.
    Host(&'a mut LeaseList),
}

/// Values that a worker keeps between tasks.
#[derive(Default)]
pub(crate) struct WorkerCache {
    /// The worker's index in its pool.
    pub(crate) worker: usize,
    /// The initializer is running: the worker may keep the initializer's argument for its whole
    /// life.
    pub(crate) is_starting: bool,
    /// The worker's own value, if its pool has such values; `None` while a task has it.
    pub(crate) state: Option<Box<dyn Any>>,
    /// The shared value of the latest call.
    shared: Option<(u64, Box<dyn Any>)>,
    /// Files and named regions that this worker has mapped.
    pub(crate) resolver: Resolver,
}

impl WorkerCache {
    /// The empty cache of the worker with this index.
    pub(crate) fn new(worker: usize) -> WorkerCache {
        WorkerCache { worker, ..WorkerCache::default() }
    }

    /// The value that all tasks of `call` share, decoded on first use and kept until this worker
    /// runs a task of another call.
    ///
    /// # Errors
    ///
    /// Those of `decode`.
    pub(crate) fn shared<W: 'static>(
        &mut self,
        call: u64,
        decode: impl FnOnce() -> std::result::Result<W, CodecError>,
    ) -> std::result::Result<&W, CodecError> {
        let is_kept =
            self.shared.as_ref().is_some_and(|(id, value)| *id == call && value.is::<W>());
        if !is_kept {
            self.drop_shared();
            self.shared = Some((call, Box::new(decode()?)));
        }
        match self.shared.as_ref().and_then(|(_, value)| value.downcast_ref()) {
            Some(value) => Ok(value),
            None => Err(CodecError::Argument("the shared value has another type".into())),
        }
    }

    /// Frees what need not be kept while the worker sleeps. Returns when to call again.
    pub(crate) fn release_idle(&mut self) -> Option<Duration> {
        self.drop_shared();
        self.resolver.rest()
    }

    /// Drops the worker's own value, and catches its panic: the worker leaves. Returns whether
    /// there was one.
    pub(crate) fn drop_state(&mut self) -> bool {
        let state = self.state.take();
        let had_one = state.is_some();
        panic::ignore(|| drop(state));
        had_one
    }

    /// Drops the shared value. A panic of its `Drop` is caught: it must not fail the next task.
    fn drop_shared(&mut self) {
        if let Some(shared) = self.shared.take() {
            panic::ignore(|| drop(shared));
        }
    }
}

/// Why a trampoline has no result.
#[derive(Debug)]
pub(crate) enum CodecError {
    /// The argument could not be decoded.
    Argument(String),
    /// The result could not be encoded.
    Result(String),
}

/// What an argument names does not exist, or is not as it must be.
impl From<Error> for CodecError {
    fn from(error: Error) -> CodecError {
        CodecError::Argument(error.to_string())
    }
}

/// The code of a task in the worker: one instance for each function and its types.
pub(crate) type Trampoline = fn(&mut Invocation<'_>) -> std::result::Result<(), CodecError>;

impl Invocation<'_> {
    /// Decodes the argument. Call it once: it takes the leases.
    pub(crate) fn argument<A: DeserializeOwned>(&mut self) -> std::result::Result<A, CodecError> {
        self.decoded(decode)
    }

    /// Finds an operand. Keep the result for as long as its address is used: it keeps the operand
    /// mapped.
    ///
    /// # Errors
    ///
    /// As [`Resolver::resolve`].
    pub(crate) fn resolve(&self, source: &Source, access: Access) -> Result<Resolved> {
        self.cache.resolver.resolve(self.windows, source, access)
    }

    /// Decodes a [`Batch`] of arguments. Call it once, as `argument`.
    pub(crate) fn arguments<A: DeserializeOwned>(
        &mut self,
    ) -> std::result::Result<Vec<A>, CodecError> {
        self.decoded(Batch::decode)
    }

    /// As `arguments`, with a value that is encoded in `shared` and uses leases of this task.
    pub(crate) fn arguments_beside<W: DeserializeOwned, A: DeserializeOwned>(
        &mut self,
        shared: &[u8],
    ) -> std::result::Result<(W, Vec<A>), CodecError> {
        self.decoded(|payload| Ok((decode(shared)?, Batch::decode(payload)?)))
    }

    /// Runs `decoder` on the payload, with the task's leases.
    fn decoded<A>(
        &mut self,
        decoder: impl FnOnce(&[u8]) -> std::result::Result<A, String>,
    ) -> std::result::Result<A, CodecError> {
        let _scope = self.scope();
        decoder(self.payload).map_err(CodecError::Argument)
    }

    /// The task's leases, for what is decoded.
    fn scope(&mut self) -> Option<Scope> {
        Some(match &mut self.leases {
            Leases::Wire([]) => return None,
            Leases::Wire(leases) if self.cache.is_starting => {
                transfer::decoding_kept(self.windows, leases)
            }
            Leases::Wire(leases) => transfer::decoding(self.windows, leases),
            Leases::Host(leases) => transfer::redeeming(std::mem::take(*leases)),
        })
    }

    /// Decodes a value without handles before the arguments, and skips it.
    pub(crate) fn leading<A: DeserializeOwned>(&mut self) -> std::result::Result<A, CodecError> {
        let (value, rest) = decode_first(self.payload).map_err(CodecError::Argument)?;
        self.payload = rest;
        Ok(value)
    }

    /// Encodes the result.
    pub(crate) fn finish<R: Serialize>(
        &mut self,
        value: &R,
    ) -> std::result::Result<(), CodecError> {
        self.publish(&mut |out| encode_onto(out, value))
    }

    /// Encodes the results of a batch, as [`decode_batch`] reads them.
    pub(crate) fn finish_all<R: Serialize>(
        &mut self,
        values: &[R],
    ) -> std::result::Result<(), CodecError> {
        self.finish_behind(&(), values)
    }

    /// As `finish_all`, after another value.
    pub(crate) fn finish_behind<H: Serialize, R: Serialize>(
        &mut self,
        head: &H,
        values: &[R],
    ) -> std::result::Result<(), CodecError> {
        self.publish(&mut |out| {
            encode_onto(out, head)?;
            encode_batch(out, values)
        })
    }

    fn publish(&mut self, encode: Encode<'_>) -> std::result::Result<(), CodecError> {
        (self.progress)(Phase::Publishing);
        // A panic from here on is not one of the function.
        BEGUN.set(0);
        let out = &mut *self.out;
        match &mut self.leases {
            Leases::Wire(_) => {
                let _scope = transfer::encoding_back();
                encode(out)
            }
            Leases::Host(leases) => {
                transfer::encode_result(|| encode(out)).map(|((), back)| **leases = back)
            }
        }
        .map_err(CodecError::Result)
    }

    /// Reports that the user's function begins.
    pub(crate) fn begin(&self) {
        (self.progress)(Phase::Running);
    }
}

/// Message and location of a panic, and the position in its batch of the item that panicked.
pub(crate) type PanicReport = (String, String, Option<u64>);

thread_local! {
    /// How many items of its batch the function was called for.
    static BEGUN: Cell<u64> = const { Cell::new(0) };
}

/// Items for a user's function. The floating-point mode is reset before each item, because which
/// items run before it in the same task depends on timing.
pub(crate) fn each<A>(items: Vec<A>) -> impl Iterator<Item = A> {
    items.into_iter().inspect(|_| {
        FloatMode::reset();
        BEGUN.set(BEGUN.get() + 1);
    })
}

/// Writes values into a payload, preceded by their count.
pub(crate) struct Batch<'a> {
    encoder: Encoder<'a>,
    /// The position of the count.
    start: usize,
    count: u64,
}

impl<'a> Batch<'a> {
    /// A batch at the end of `out`; [`finish`](Batch::finish) completes it.
    pub(crate) fn new(out: &'a mut Vec<u8>) -> Batch<'a> {
        let start = out.len();
        out.extend_from_slice(&[0; 8]);
        Batch { encoder: Encoder::new(out), start, count: 0 }
    }

    /// Adds a value.
    pub(crate) fn push<A: Serialize>(&mut self, value: &A) -> std::result::Result<(), String> {
        self.encoder.encode(value)?;
        self.count += 1;
        Ok(())
    }

    /// The number of bytes so far.
    pub(crate) fn len(&mut self) -> usize {
        self.encoder.buffer().len() - self.start
    }

    /// Writes the count.
    pub(crate) fn finish(mut self) {
        let place = self.start..self.start + 8;
        self.encoder.buffer()[place].copy_from_slice(&self.count.to_le_bytes());
    }

    /// The values of a batch, which must fill `bytes`.
    fn decode<A: DeserializeOwned>(bytes: &[u8]) -> std::result::Result<Vec<A>, String> {
        let (count, bytes) = Batch::split(bytes)?;
        let mut items = Vec::new();
        decode_all(bytes, count, &mut items).map(|()| items)
    }

    /// The count of a batch, and the bytes after it.
    fn split(bytes: &[u8]) -> std::result::Result<(u64, &[u8]), String> {
        let (count, rest) =
            bytes.split_first_chunk().ok_or_else(|| "a batch without its count".to_owned())?;
        Ok((u64::from_le_bytes(*count), rest))
    }
}

/// Encodes `values` as a batch at the end of `out`.
pub(crate) fn encode_batch<R: Serialize>(
    out: &mut Vec<u8>,
    values: &[R],
) -> std::result::Result<(), String> {
    let mut batch = Batch::new(out);
    for value in values {
        batch.push(value)?;
    }
    batch.finish();
    Ok(())
}

/// Decodes the batch of `count` values that must fill `bytes`, and appends them to `values`.
pub(crate) fn decode_batch<T: DeserializeOwned>(
    bytes: &[u8],
    count: usize,
    values: &mut Vec<T>,
) -> std::result::Result<(), String> {
    let (found, bytes) = Batch::split(bytes)?;
    // Values may take no bytes, so a wrong count would not be noticed.
    if found != count as u64 {
        return Err(format!("{found} results for {count} items"));
    }
    decode_all(bytes, found, values)
}

/// The trampoline of `submit`: calls `F` with the decoded argument.
pub(crate) fn call<F, A, R>(invocation: &mut Invocation<'_>) -> std::result::Result<(), CodecError>
where
    F: Fn(A) -> R + Copy + Send + 'static,
    A: DeserializeOwned,
    R: Serialize,
{
    let argument = invocation.argument::<A>()?;
    invocation.begin();
    // SAFETY: this trampoline is named only where a value of the type `F` was given.
    let function = unsafe { function_value::<F>() };
    let value = function(argument);
    invocation.finish(&value)
}

/// The trampoline of a broadcast in a worker that starts: as [`call`], and drops the value.
pub(crate) fn call_first<F, A, R>(
    invocation: &mut Invocation<'_>,
) -> std::result::Result<(), CodecError>
where
    F: Fn(A) -> R + Copy + Send + 'static,
    A: DeserializeOwned,
{
    let argument = invocation.argument::<A>()?;
    invocation.begin();
    // SAFETY: as in `call`.
    let function = unsafe { function_value::<F>() };
    drop(function(argument));
    invocation.finish(&Ok::<(), String>(()))
}

/// The trampoline of `submit_fn`: the function pointer precedes the argument.
pub(crate) fn call_pointer<A, R>(
    invocation: &mut Invocation<'_>,
) -> std::result::Result<(), CodecError>
where
    A: DeserializeOwned,
    R: Serialize,
{
    let is_here = matches!(invocation.leases, Leases::Host(_));
    let (word, argument) = invocation.argument::<(u64, A)>()?;
    let address = match usize::try_from(word) {
        Ok(address) if is_here => address as *const (),
        _ => FunctionOffset::address(word)?,
    };
    // SAFETY: `Pool::submit_fn` sends the offset of a `fn(A) -> R` of this image, or its address if
    // the task runs in the same process, together with the trampoline for these very types.
    let function = unsafe { std::mem::transmute::<*const (), fn(A) -> R>(address) };
    invocation.begin();
    let value = function(argument);
    invocation.finish(&value)
}

/// Runs a trampoline and catches its panics. `out` holds the payload of the returned status.
pub(crate) fn run(trampoline: Trampoline, invocation: &mut Invocation<'_>) -> Status {
    // A task in this process may run in another one.
    let outer = BEGUN.replace(0);
    let mode = FloatMode::standard();
    let ended = catch_unwind(AssertUnwindSafe(|| trampoline(invocation)));
    drop(mode);
    let begun = BEGUN.replace(outer);
    let out = &mut *invocation.out;
    match ended {
        Ok(Ok(())) => Status::Value,
        Ok(Err(error)) => {
            out.clear();
            let (status, text) = match error {
                CodecError::Argument(text) => (Status::ArgumentCodec, text),
                CodecError::Result(text) => (Status::ResultCodec, text),
            };
            out.extend_from_slice(text.as_bytes());
            status
        }
        Err(payload) => {
            out.clear();
            let (message, location) = panic::take_message(payload);
            let report: PanicReport = (message, location, begun.checked_sub(1));
            // Strings and a number always encode.
            let _ = encode_onto(out, &report);
            Status::Panicked
        }
    }
}

/// The report that [`run`] wrote for [`Status::Panicked`]. If a broken worker has overwritten it,
/// the message says so.
pub(crate) fn panic_report(out: &[u8]) -> PanicReport {
    decode(out).unwrap_or_else(|reason| {
        let message = format!("the message of its panic cannot be decoded: {reason}");
        (message, "an unknown place".to_owned(), None)
    })
}

/// The outcome of a function that returns `Result<(), String>`, as one that runs first does, from
/// the status and the payload of [`run`].
pub(crate) fn completed(status: Status, out: &[u8]) -> std::result::Result<(), String> {
    match status {
        Status::Value => decode::<std::result::Result<(), String>>(out).and_then(|value| value),
        Status::Panicked => {
            let (message, location, _) = panic_report(out);
            Err(format!("it panicked at {location}: {message}"))
        }
        _ => Err(String::from_utf8_lossy(out).into_owned()),
    }
}

/// The trampoline whose offset the host sent.
pub(crate) fn trampoline(word: u64) -> Result<Trampoline> {
    let address = FunctionOffset::address(word)?;
    // SAFETY: the host sends offsets of trampolines only, and runs the same image.
    Ok(unsafe { std::mem::transmute::<*const (), Trampoline>(address) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_reported_with_its_message_or_with_why_that_is_lost() {
        let report: PanicReport = ("no disk".into(), "a.rs:1:2".into(), Some(3));
        let mut out = Vec::new();
        encode_onto(&mut out, &report).unwrap();
        let text = completed(Status::Panicked, &out).unwrap_err();
        assert_eq!(text, "it panicked at a.rs:1:2: no disk");
        out.pop();
        let text = completed(Status::Panicked, &out).unwrap_err();
        assert!(text.contains("cannot be decoded"), "{text}");
    }
}

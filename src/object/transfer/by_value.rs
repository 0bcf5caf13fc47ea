//! Elements that cross by value, in spans.
//!
//! An argument's elements are copied into a span that the task is lent. A result's elements are
//! copied into a span that the host grants the worker for this task, and the host takes that span.
//! So neither passes through the payload, which is copied several times.

use std::cell::Cell;

use bytemuck::Pod;
use serde::{Deserialize, Serialize};

use crate::object::transfer::context::{
    Context, Refusal, from_another_task, in_context, outside, push,
};
use crate::object::transfer::lease::{Lease, Right};
use crate::region::arena::{Arena, Contents, Span};

/// Bytes up to this number stay in the payload. Copying them takes less time than a worker's
/// request for a span.
const INLINE_BYTES_MAX: usize = 32 << 10;

/// The most spans that a result may have for elements; further elements stay in the payload.
pub(crate) const RESULT_SPANS_MAX: u32 = 1023;

/// Copies bytes of the running task's result into a span that the host grants. Returns its offset,
/// or `None` without a span.
pub(crate) type StoreResult = fn(&[u8]) -> Option<u64>;

thread_local! {
    /// Set on the thread of a worker that runs tasks.
    static STORE_RESULT: Cell<Option<StoreResult>> = const { Cell::new(None) };
}

/// Worker: sets how this thread, which runs tasks, requests spans for results.
pub(crate) fn set_store_result(store: StoreResult) {
    STORE_RESULT.set(Some(store));
}

/// Where the elements of a value are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Place {
    /// In the payload.
    Inline,
    /// In the lease with this slot.
    Argument(u32),
    /// In the span at this offset, which the worker was granted.
    Result(u64),
}

/// The call that this thread encodes for.
enum Direction {
    Argument,
    /// A value that workers decode once and keep.
    SharedArgument,
    /// Of a task in this process.
    ResultHere,
    ResultOfWorker,
    None,
}

fn direction() -> Direction {
    in_context(|context| match context {
        Some(Context::Encode(_)) => Direction::Argument,
        Some(Context::EncodeShared(_)) => Direction::SharedArgument,
        Some(Context::EncodeResult(_)) => Direction::ResultHere,
        Some(Context::EncodeBack { .. }) => Direction::ResultOfWorker,
        Some(Context::Decode(_) | Context::Redeem(_)) | None => Direction::None,
    })
}

/// Refuses unless this thread encodes the result of a task.
pub(crate) fn check_is_result() -> Result<(), Refusal> {
    match direction() {
        Direction::ResultHere | Direction::ResultOfWorker => Ok(()),
        Direction::Argument | Direction::SharedArgument => Err(as_argument()),
        Direction::None => Err(outside()),
    }
}

fn as_argument() -> Refusal {
    "a SharedArray is not sent to a task: lend it to a loop, `freeze` it for tasks that read it, \
     or cut it by `into_chunks` for tasks that write it"
        .to_owned()
}

/// Copies the bytes of elements to where the receiver of the value that this thread encodes finds
/// them. For [`Place::Inline`] the caller adds them to the payload.
pub(crate) fn send_elements<T: Pod>(bytes: &[u8]) -> Result<Place, Refusal> {
    if bytes.len() <= INLINE_BYTES_MAX {
        return Ok(Place::Inline);
    }
    match direction() {
        Direction::Argument => {
            let span = copied(bytes)?;
            lend(Right::Frozen(span.into()), size_of::<T>()).map(Place::Argument)
        }
        Direction::ResultHere => {
            let span = copied(bytes)?;
            let offset = span.offset();
            lend(Right::Returned(span), size_of::<T>())?;
            Ok(Place::Result(offset))
        }
        Direction::ResultOfWorker => {
            let store = STORE_RESULT.get().filter(|_| take_span());
            let stored = store.and_then(|store| store(bytes));
            Ok(stored.map_or(Place::Inline, Place::Result))
        }
        Direction::SharedArgument | Direction::None => Ok(Place::Inline),
    }
}

/// Counts one more span of the result; false if the result has as many as are allowed.
fn take_span() -> bool {
    in_context(|context| match context {
        Some(Context::EncodeBack { spans, .. }) if *spans < RESULT_SPANS_MAX => {
            *spans += 1;
            true
        }
        _ => false,
    })
}

fn copied(bytes: &[u8]) -> Result<Span, Refusal> {
    let arena = Arena::host().map_err(|error| error.to_string())?;
    let span = arena.reserve(bytes.len(), Contents::Stale).map_err(|error| error.to_string())?;
    span.populate().map_err(|error| error.to_string())?;
    span.store(bytes);
    Ok(span)
}

fn lend(right: Right, element_bytes: usize) -> Result<u32, Refusal> {
    in_context(|context| match context {
        Some(
            Context::Encode(leases) | Context::EncodeResult(leases) | Context::EncodeShared(leases),
        ) => push(leases, right, element_bytes),
        _ => Err(outside()),
    })
}

/// Host: takes the span at `offset`, which a task filled for its result with `len` elements.
pub(crate) fn take_returned<T: Pod>(offset: u64, len: usize) -> Result<Span, Refusal> {
    in_context(|context| {
        let Some(Context::Redeem(leases)) = context else { return Err(outside()) };
        let is_it = |lease: &&mut Lease| match &lease.right {
            Some(Right::Returned(span)) => span.offset() == offset,
            _ => false,
        };
        let lease = leases.iter_mut().find(is_it).ok_or_else(from_another_task)?;
        match lease.right.take() {
            Some(Right::Returned(span))
                if len.checked_mul(size_of::<T>()) == Some(span.len_bytes()) =>
            {
                Ok(span)
            }
            Some(Right::Returned(span)) => Err(format!(
                "{len} elements of {} bytes are not the {} returned",
                size_of::<T>(),
                span.len_bytes()
            )),
            _ => unreachable!("`is_it` found a returned span"),
        }
    })
}

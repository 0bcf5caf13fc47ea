//! A batch of items, run in a worker.
#![allow(unsafe_code)]

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Phase;
use crate::object::transfer;
use crate::pool::items::shared_value::SharedPlace;
use crate::pool::items::tuple_fn::TupleFn;
use crate::worker::invocation::{self, CodecError, Invocation};

type Ran = std::result::Result<(), CodecError>;

/// Calls `function` for each item of the argument.
fn call_each<A, R>(invocation: &mut Invocation<'_>, function: impl Fn(A) -> R) -> Ran
where
    A: DeserializeOwned,
    R: Serialize,
{
    let items = invocation.arguments::<A>()?;
    invocation.begin();
    let results: Vec<R> = invocation::each(items).map(function).collect();
    invocation.finish_all(&results)
}

/// The trampoline of `map`.
pub(super) fn plain<F, A, R>(invocation: &mut Invocation<'_>) -> Ran
where
    F: Fn(A) -> R + Copy + Send + 'static,
    A: DeserializeOwned,
    R: Serialize,
{
    // SAFETY: named by `Options` alone, for a function that it was given.
    let function = unsafe { invocation::function_value::<F>() };
    call_each(invocation, function)
}

/// The trampoline of `starmap`.
pub(super) fn tuples<F, A>(invocation: &mut Invocation<'_>) -> Ran
where
    F: TupleFn<A>,
    A: DeserializeOwned,
    F::Output: Serialize,
{
    // SAFETY: named by `Options::starmap` alone, for a function that it was given.
    let function = unsafe { invocation::function_value::<F>() };
    call_each(invocation, |item| function.call(item))
}

/// The trampoline of `map` with a shared value, whose place precedes the items.
pub(super) fn sharing<F, W, A, R>(invocation: &mut Invocation<'_>) -> Ran
where
    F: Fn(&W, A) -> R + Copy + Send + 'static,
    W: DeserializeOwned + 'static,
    A: DeserializeOwned,
    R: Serialize,
{
    let place = invocation.leading::<SharedPlace>()?;
    let windows = invocation.windows;
    // SAFETY: named by `Options` alone, for a function that it was given.
    let function = unsafe { invocation::function_value::<F>() };
    let results: Vec<R> = if place.is_given {
        let (value, items) =
            place.read(windows, |_, encoded| invocation.arguments_beside::<W, A>(encoded))??;
        invocation.begin();
        invocation::each(items).map(|item| function(&value, item)).collect()
    } else {
        let items = invocation.arguments::<A>()?;
        let value = invocation.cache.shared::<W>(place.call, || {
            let decoded = place.read(windows, |leases, encoded| {
                let _scope = transfer::decoding_kept(windows, leases);
                invocation::decode(encoded)
            })?;
            decoded.map_err(CodecError::Argument)
        })?;
        (invocation.progress)(Phase::Running);
        invocation::each(items).map(|item| function(value, item)).collect()
    };
    invocation.finish_all(&results)
}

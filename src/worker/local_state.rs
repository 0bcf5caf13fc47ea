//! A worker's own value, which tasks get as `&mut S`.
//!
//! It never leaves the worker, so its type needs no encoding. A task takes it out of the worker's
//! cache and puts it back when its function has returned. So a panic drops it, and the worker makes
//! a new one.
#![allow(unsafe_code)]

use std::any::type_name;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::worker::invocation::{CodecError, Invocation, function_value};

type Ran = std::result::Result<(), CodecError>;

/// The trampoline of the function that makes the state.
pub(crate) fn make<F, A, S>(invocation: &mut Invocation<'_>) -> Ran
where
    F: Fn(A) -> std::result::Result<S, String> + Copy + Send + 'static,
    A: DeserializeOwned,
    S: 'static,
{
    let argument = invocation.argument::<A>()?;
    invocation.begin();
    // SAFETY: named by `PoolBuilder::state` alone, for a function that it was given.
    let function = unsafe { function_value::<F>() };
    let made = function(argument).map(|state| invocation.cache.state = Some(Box::new(state)));
    invocation.finish(&made)
}

/// The trampoline of a task that uses the state.
pub(crate) fn call<F, S, A, R>(invocation: &mut Invocation<'_>) -> Ran
where
    F: Fn(&mut S, A) -> R + Copy + Send + 'static,
    S: 'static,
    A: DeserializeOwned,
    R: Serialize,
{
    let argument = invocation.argument::<A>()?;
    let state = invocation.cache.state.take().map(|state| state.downcast::<S>());
    let Some(Ok(mut state)) = state else {
        // The host has compared the types.
        let text = format!("this worker has no state of the type {}", type_name::<S>());
        return Err(CodecError::Argument(text));
    };
    invocation.begin();
    // SAFETY: named by `Pool::submit_with_state` alone, for a function that it was given.
    let function = unsafe { function_value::<F>() };
    let value = function(&mut state, argument);
    invocation.cache.state = Some(state);
    invocation.finish(&value)
}

//! The one run of a function in a one-off process.
#![allow(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::array::codec;
use crate::error::Result;
use crate::kernel::FloatMode;
use crate::object::transfer::{self, WireLease};
use crate::process::child;
use crate::process::function::{self, FunctionOffset};
use crate::process::panic;
use crate::region::windows::Windows;
use crate::spawn::result_block::{ChildResultBlock, Stage, Status};
use crate::sys::fork::Instance;

/// What a trampoline works on.
pub(super) struct Errand<'a> {
    /// The encoded argument.
    pub(super) payload: &'a [u8],
    /// The arrays that it refers to.
    pub(super) leases: &'a [WireLease],
    pub(super) windows: &'a Windows,
    /// The process that is to run it.
    pub(super) made_in: Instance,
    /// Told how far the process has come.
    pub(super) result_block: &'a ChildResultBlock,
    /// Where the encoded result goes.
    pub(super) out: &'a mut Vec<u8>,
}

/// What was wrong with a value on its way in or out.
pub(super) struct CodecError(Status, String);

/// The code that a process runs: one instance for each function and its types.
pub(super) type Trampoline = fn(&mut Errand<'_>) -> std::result::Result<(), CodecError>;

impl Errand<'_> {
    fn argument<A: DeserializeOwned>(&mut self) -> std::result::Result<A, CodecError> {
        let payload = self.payload;
        let decoded = transfer::decode(self.windows, self.leases, || codec::decode(payload));
        let argument = decoded.map_err(|text| CodecError(Status::ArgumentCodec, text))?;
        self.result_block.set_stage(Stage::Running);
        Ok(argument)
    }

    fn finish<R: Serialize>(&mut self, value: &R) -> std::result::Result<(), CodecError> {
        child::end_if_forked(self.made_in);
        self.result_block.set_stage(Stage::Publishing);
        let out = &mut *self.out;
        transfer::encode_back(|| codec::encode_onto(out, value))
            .map_err(|text| CodecError(Status::ResultCodec, text))
    }
}

/// Calls `F` with the decoded argument.
pub(super) fn call<F, A, R>(errand: &mut Errand<'_>) -> std::result::Result<(), CodecError>
where
    F: Fn(A) -> R + Copy + Send + 'static,
    A: DeserializeOwned,
    R: Serialize,
{
    let argument = errand.argument::<A>()?;
    // SAFETY: this trampoline is named by `ProcessBuilder::spawn` alone, for a function that it
    // was given.
    let function = unsafe { function::conjure::<F>() };
    let value = function(argument);
    errand.finish(&value)
}

/// Calls a function whose offset travels in front of the argument.
pub(super) fn call_pointer<A, R>(errand: &mut Errand<'_>) -> std::result::Result<(), CodecError>
where
    A: DeserializeOwned,
    R: Serialize,
{
    let (word, argument) = errand.argument::<(u64, A)>()?;
    let address = FunctionOffset::address(word)
        .map_err(|error| CodecError(Status::ArgumentCodec, error.to_string()))?;
    // SAFETY: `ProcessBuilder::spawn_fn` sends the offset of a `fn(A) -> R` of this image
    // together with the trampoline for these very types.
    let function = unsafe { std::mem::transmute::<*const (), fn(A) -> R>(address) };
    let value = function(argument);
    errand.finish(&value)
}

/// Runs a trampoline; whatever it does short of ending the process, `out` holds what belongs to
/// the status returned.
pub(super) fn run(trampoline: Trampoline, errand: &mut Errand<'_>) -> Status {
    let mode = FloatMode::standard();
    let ended = catch_unwind(AssertUnwindSafe(|| trampoline(errand)));
    drop(mode);
    child::end_if_forked(errand.made_in);
    let out = &mut *errand.out;
    match ended {
        Ok(Ok(())) => Status::Value,
        Ok(Err(CodecError(status, text))) => {
            *out = text.into_bytes();
            status
        }
        Err(payload) => {
            out.clear();
            // Two strings always encode.
            let _ = codec::encode_onto(out, &panic::take_message(payload));
            Status::Panicked
        }
    }
}

/// The trampoline whose offset the host sent.
pub(super) fn trampoline(word: u64) -> Result<Trampoline> {
    let address = FunctionOffset::address(word)?;
    // SAFETY: the host sends offsets of trampolines only, and runs the same image.
    Ok(unsafe { std::mem::transmute::<*const (), Trampoline>(address) })
}

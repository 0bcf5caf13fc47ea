//! Running tasks in the calling thread, for debugging.

use crate::error::{Error, Result};
use crate::object::transfer::LeaseList;
use crate::pool::driver::core::Core;
use crate::pool::record::config::Initializer;
use crate::pool::record::outcome::{EncodedResult, Outcome};
use crate::pool::record::task::TaskOptions;
use crate::process::panic;
use crate::region::windows::Windows;
use crate::worker::call::{Call, Encoded, TaskId};
use crate::worker::current_task;
use crate::worker::death;
use crate::worker::invocation::{self, Invocation, Leases, Trampoline, WorkerCache};

/// Runs a call in this thread. The handle takes its outcome like any other.
pub(crate) fn submit(
    core: &Core,
    trampoline: Trampoline,
    mut call: Call,
    encoded: &[u8],
    is_part: bool,
) -> Result<TaskId> {
    core.check_open(&core.lock())?;
    let leases = std::mem::take(&mut call.leases);
    let number = core.lock().numbers.next(is_part);
    let seed = core.config.seed.unwrap_or(0);
    let run = || run(core, trampoline, leases, encoded);
    let outcome = current_task::in_process(number, seed, run);
    let mut state = core.lock();
    let id = state.tasks.insert(call, TaskOptions::default())?;
    state.unfinished += 1;
    state.counters.submitted += 1;
    state.complete(id, outcome);
    Ok(id)
}

/// Runs the function of the preload and the initializer in this thread.
pub(crate) fn initialize(core: &Core) -> Result<()> {
    if let Some(preload) = &core.config.preload {
        initialize_by(core, "preload", preload)?;
    }
    let initializer = core.lock().initializers.pop();
    initializer.map_or(Ok(()), |function| initialize_by(core, "initializer", &function))
}

fn initialize_by(core: &Core, what: &str, function: &Initializer) -> Result<()> {
    let outcome = run(core, function.function, function.leases_again(), &function.encoded);
    let cause = match outcome.map(|value| value.bytes.with(invocation::decode)) {
        Ok(Ok(Ok(()))) => return Ok(()),
        Ok(Ok(Err(text)) | Err(text)) => text,
        Err(error) => error.to_string(),
    };
    Err(Error::Broken { what: "the pool", cause: format!("the {what} failed: {cause}") })
}

fn run(core: &Core, trampoline: Trampoline, mut leases: LeaseList, encoded: &[u8]) -> Outcome {
    let windows = Windows::of_host(&core.arena);
    let mut out = Vec::new();
    let mut invocation = Invocation {
        payload: encoded,
        leases: Leases::Host(&mut leases),
        windows: &windows,
        out: &mut out,
        cache: &mut WorkerCache::default(),
        progress: &|_| {},
    };
    let status = panic::recording(|| invocation::run(trampoline, &mut invocation));
    let bytes = death::value(status, Encoded::copied(out))?;
    Ok(EncodedResult { bytes, leases, elapsed_ns: 0 })
}

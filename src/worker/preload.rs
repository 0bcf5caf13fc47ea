//! The server of one pool, in which a function has run.
//!
//! Its children are copies of it, so they have what the function left in statics. It is a fork
//! server below another (`process/server_below.rs`).
#![allow(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::process::child::{self, Child, EntryPoint};
use crate::process::fork_server::{ForkServer, SpawnRequest};
use crate::process::host_snapshot::{HostSnapshot, ProcessAttributes};
use crate::process::panic;
use crate::process::server_below;
use crate::region::arena::{Arena, Contents};
use crate::region::windows::Windows;
use crate::sys::fork::Instance;
use crate::sys::socket::Socket;
use crate::sys::{limits, process, stdio_buffers};
use crate::worker::child::words;
use crate::worker::invocation::{self, Invocation, Leases, WorkerCache};
use crate::worker::settings::Settings;

/// What the server does first.
#[derive(Debug, Serialize, Deserialize)]
struct PreloadConfig {
    /// The offset of the function's trampoline.
    function: u64,
    /// The encoded argument, which has no handles.
    argument: Vec<u8>,
    settings: Settings,
    /// The attributes of the host.
    inherited: ProcessAttributes,
}

static ENTRY: EntryPoint = EntryPoint::new(main);

/// Starts the server for a pool below `above`. It has not answered yet. It is killed if it has not
/// answered within `answer_within`.
///
/// # Errors
///
/// [`Error::Spawn`], [`Error::NoSpace`] or [`Error::Os`].
pub(crate) fn start(
    arena: &Arc<Arena>,
    above: &Arc<ForkServer>,
    (function, argument): (u64, &[u8]),
    settings: &Settings,
    host: &HostSnapshot,
    answer_within: Option<Duration>,
) -> Result<ForkServer> {
    let config = PreloadConfig {
        function,
        argument: argument.to_vec(),
        settings: settings.clone(),
        inherited: settings.inherited(&host.attributes),
    };
    let mut bytes = Vec::new();
    invocation::encode_onto(&mut bytes, &config).map_err(|reason| {
        Error::invalid("a preload's configuration", reason, "values that can be encoded")
    })?;
    let span = arena.reserve(bytes.len(), Contents::Stale)?;
    span.store(&bytes);
    let request = SpawnRequest {
        entry: &ENTRY,
        words: words((span.offset(), bytes.len()), (arena.id(), arena.size_bytes())),
        fds: &[arena.fd()],
        name: server_below::NAME,
        attributes: host.of_worker(),
    };
    above.start_below(&request, answer_within, span)
}

fn main(child: Child) {
    let [config_at, config_len, arena_id, arena_size, token] = child.words;
    let mut fds = child.fds.into_iter();
    let (Some(arena), Some(permit), Some(socket)) = (fds.next(), fds.next(), fds.next()) else {
        child::end_unready(&"it lacks descriptors");
    };
    child::await_permit(&Socket::from(permit));
    let size = |word: u64| usize::try_from(word).unwrap_or(usize::MAX);
    let ran = Windows::attach(arena, arena_id, size(arena_size)).and_then(|windows| {
        // SAFETY: the host wrote the configuration before it requested this process. It has a pidfd
        // of this process, since it sent the permit, and keeps the configuration unchanged until
        // the process has ended.
        let bytes = unsafe { windows.copy_out(config_at, size(config_len)) }?;
        let config = invocation::decode::<PreloadConfig>(&bytes);
        let corrupt = |found| Error::Corrupt { what: "a preload's configuration", found };
        Ok(run(&config.map_err(corrupt)?, &windows))
    });
    // What is buffered here would be printed by each worker. A thread that was left may hold a
    // stream; then no worker is forked.
    if process::settled_thread_count().is_ok_and(|threads| threads == 1) {
        stdio_buffers::flush_all();
    }
    // This process needs a descriptor for each worker. Workers set the limits of the host.
    limits::raise_descriptors();
    match ran.map_err(|error| error.to_string()).and_then(|ran| ran) {
        Ok(()) => server_below::serve(socket, token),
        Err(reason) => server_below::refuse(socket, &format!("its function failed: {reason}")),
    }
}

/// Runs the function. Returns why it failed.
fn run(config: &PreloadConfig, windows: &Windows) -> std::result::Result<(), String> {
    // SAFETY: the process was just forked from one with one thread, and has started none.
    unsafe { config.inherited.apply() };
    // SAFETY: as above.
    unsafe { config.settings.apply_env() };
    let trampoline = invocation::trampoline(config.function).map_err(|e| e.to_string())?;
    let mut out = Vec::new();
    let made_in = Instance::current();
    let mut invocation = Invocation {
        payload: &config.argument,
        leases: Leases::Wire(&[]),
        windows,
        out: &mut out,
        cache: &mut WorkerCache::default(),
        progress: &|_| child::end_if_forked(made_in),
    };
    let status = panic::recording(|| invocation::run(trampoline, &mut invocation));
    child::end_if_forked(made_in);
    invocation::completed(status, &out)
}

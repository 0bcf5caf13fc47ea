//! A one-off process's life: set up, run one function, leave.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::array::codec;
use crate::error::{Error, Result};
use crate::object::transfer::WireLease;
use crate::process::child::{self, Child, EXIT_SETUP, Entry};
use crate::process::host_snapshot::ProcessAttributes;
use crate::process::panic;
use crate::process::stdio_flush::StdioFlusher;
use crate::region::windows::Windows;
use crate::spawn::errand::{self, Errand};
use crate::spawn::result_block::{ChildResultBlock, INLINE_BYTES, Place, Stage, Status};
use crate::sys::fork::Instance;
use crate::sys::signal::{self, Fault, FaultText};
use crate::sys::socket::{Received, Socket};
use crate::sys::{process, sched};

/// What a process is told when it starts. The table of leases and the encoded argument follow it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Charter {
    /// Where its result block is in the arena.
    pub(super) result_block: u64,
    /// The trampoline.
    pub(super) function: u64,
    /// How many leases the argument has.
    pub(super) leases: usize,
    pub(super) snapshot: ProcessAttributes,
    pub(super) env: BTreeMap<String, String>,
    pub(super) nice: Option<i32>,
    /// Processors to run on.
    pub(super) affinity: Option<Vec<usize>>,
    /// Never get more data memory than this, in bytes.
    pub(super) memory_hard_bytes: Option<u64>,
}

/// What a process tells its host: it has copied its argument (no length), or needs a span. The
/// host answers the latter.
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(super) struct SpanMessage {
    /// Asked for, in bytes; in the answer, what was granted, or 0.
    pub(super) len: u64,
    /// Where it was granted.
    pub(super) offset: u64,
}

/// Words of a process's order: where charter and argument are, and what arena this is.
pub(super) fn words(at: u64, charter: usize, rest: usize, arena: (u64, usize)) -> [u64; 5] {
    [at, charter as u64, rest as u64, arena.0, arena.1 as u64]
}

/// Exit code of a process whose function panicked: that of a program whose `main` does.
const EXIT_PANIC: i32 = 101;

static RESULT_BLOCK: OnceLock<(Instance, ChildResultBlock)> = OnceLock::new();
/// Where inputs are mapped in this process.
static INPUTS: OnceLock<std::ops::Range<usize>> = OnceLock::new();

/// Where this process leaves words; nowhere in a child that its function forked.
fn result_block() -> Option<&'static ChildResultBlock> {
    let (made_in, result_block) = RESULT_BLOCK.get()?;
    made_in.is_current().then_some(result_block)
}

/// A process's entry.
pub(super) static ENTRY: Entry = Entry::new(main);

fn main(child: Child) {
    let code = match OneOff::set_up(child).and_then(OneOff::run) {
        Ok(Status::Value) => 0,
        Ok(Status::Panicked) => EXIT_PANIC,
        Ok(Status::ArgumentCodec | Status::ResultCodec) => EXIT_SETUP,
        Err(error) if result_block().is_none() => child::end_unready(&error),
        Err(error) => {
            leave_words(&error.to_string());
            EXIT_SETUP
        }
    };
    StdioFlusher::default().flush();
    process::exit_now(code)
}

struct OneOff {
    windows: Windows,
    result_block: ChildResultBlock,
    socket: Socket,
    charter: Charter,
    /// The table of leases, then the argument.
    rest: Vec<u8>,
}

impl OneOff {
    fn set_up(child: Child) -> Result<OneOff> {
        let [at, charter_len, rest_len, arena_id, arena_size] = child.words;
        let Ok([arena, socket]) = <[OwnedFd; 2]>::try_from(child.fds) else {
            process::exit_now(EXIT_SETUP);
        };
        let size = |word: u64| usize::try_from(word).unwrap_or(usize::MAX);
        let socket = Socket::from(socket);
        let windows = Windows::attach(arena, arena_id, size(arena_size))?;
        child::await_permit(&socket);
        let charter: Charter = windows
            .copy_out(at, size(charter_len))
            .map(|bytes| codec::decode(&bytes))?
            .map_err(|found| Error::Corrupt { what: "a process's charter", found })?;
        let result_block = ChildResultBlock::attach(&windows, charter.result_block)?;
        let _ = RESULT_BLOCK.set((Instance::current(), result_block.clone()));
        let _ = INPUTS.set(windows.read_only_range());
        install_panic_hook();
        signal::catch_faults(on_fault)
            .map_err(|e| Error::os("sigaction", "the fault handler", e))?;
        let rest = windows.copy_out(at.saturating_add(charter_len), size(rest_len))?;
        let begun = SpanMessage { len: 0, offset: 0 };
        let told = socket.send(bytemuck::bytes_of(&begun), &[]);
        told.map_err(|e| Error::os("sendmsg", "the process's host", e))?;
        let process = OneOff { windows, result_block, socket, charter, rest };
        process.apply_options()?;
        Ok(process)
    }

    fn apply_options(&self) -> Result<()> {
        let Charter { snapshot, env, nice, affinity, memory_hard_bytes, .. } = &self.charter;
        // SAFETY: called while the process starts, before its function: it has one thread.
        unsafe { snapshot.apply() };
        for (name, value) in env {
            // SAFETY: called while the process starts, before its function: it has one thread.
            unsafe { process::set_env(name, value) };
        }
        if let Some(nice) = nice {
            sched::set_nice(*nice)?;
        }
        if let Some(cpus) = affinity {
            sched::set_affinity(cpus)?;
        }
        if let Some(bytes) = memory_hard_bytes {
            sched::set_data_bytes_max(*bytes)?;
        }
        Ok(())
    }

    /// Runs the function and leaves its outcome on the result block.
    fn run(self) -> Result<Status> {
        let trampoline = errand::trampoline(self.charter.function)?;
        let table_bytes = self.charter.leases.saturating_mul(size_of::<WireLease>());
        let Some((table, payload)) = self.rest.split_at_checked(table_bytes) else {
            let found = format!("{} leases in {} bytes", self.charter.leases, self.rest.len());
            return Err(Error::Corrupt { what: "a process's argument", found });
        };
        let rows = table.chunks_exact(size_of::<WireLease>());
        let leases: Vec<WireLease> = rows.map(bytemuck::pod_read_unaligned).collect();
        let mut out = Vec::new();
        self.result_block.set_stage(Stage::Decoding);
        let mut errand = Errand {
            payload,
            leases: &leases,
            windows: &self.windows,
            made_in: Instance::current(),
            result_block: &self.result_block,
            out: &mut out,
        };
        let status = errand::run(trampoline, &mut errand);
        self.leave(status, &out)
    }

    fn leave(&self, status: Status, bytes: &[u8]) -> Result<Status> {
        if bytes.len() <= INLINE_BYTES {
            self.result_block.commit_inline(status, bytes)?;
            return Ok(status);
        }
        match self.write_to_span(bytes) {
            Ok(at) => {
                self.result_block.commit(status, Place::Span(at), bytes.len() as u64);
                Ok(status)
            }
            Err(text) => {
                self.result_block.commit_inline(Status::ResultCodec, text.as_bytes())?;
                Ok(Status::ResultCodec)
            }
        }
    }

    /// Asks the host for a span and writes a result there; returns its offset.
    fn write_to_span(&self, bytes: &[u8]) -> std::result::Result<u64, String> {
        let len = bytes.len() as u64;
        let ask = SpanMessage { len, offset: 0 };
        self.socket.send(bytemuck::bytes_of(&ask), &[]).map_err(|error| error.to_string())?;
        let mut answer = SpanMessage { len: 0, offset: 0 };
        match self.socket.receive(bytemuck::bytes_of_mut(&mut answer)) {
            Ok(Received::Message(..)) if answer.len == len => {
                self.windows.copy_in(answer.offset, bytes).map_err(|error| error.to_string())?;
                Ok(answer.offset)
            }
            Ok(Received::Message(..)) => Err(format!("no memory for a result of {len} bytes")),
            Ok(Received::Nothing | Received::Closed) => Err("the host does not listen".into()),
            Err(error) => Err(error.to_string()),
        }
    }
}

fn leave_words(text: &str) {
    if let Some(result_block) = result_block() {
        result_block.leave_words(text.as_bytes());
    }
}

/// Has panics noted for the report, and printed as usual: somebody may be watching.
fn install_panic_hook() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let (message, location) = panic::record(info);
        leave_words(&format!("panicked at {location}: {message}"));
        usual(info);
    }));
}

/// Says what kind of fault ends this process. Async-signal-safe: writes to the result block, no
/// more.
fn on_fault(fault: Fault) {
    let Some(result_block) = result_block() else { return };
    let is_input = |address| INPUTS.get().is_some_and(|inputs| inputs.contains(&address));
    result_block.leave_words(FaultText::new(fault, is_input).bytes());
}

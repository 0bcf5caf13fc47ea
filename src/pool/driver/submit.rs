//! Submission of a task: encode, admit, then offer or queue.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::Level;

use crate::error::{Error, Result, TaskError};
use crate::object::transfer;
use crate::pool::driver::core::Core;
use crate::pool::driver::in_process;
use crate::pool::record::config::Start;
use crate::pool::record::outcome::broken;
use crate::pool::record::state::{Lifecycle, State};
use crate::pool::record::task::TaskOptions;
use crate::process::function::FunctionOffset;
use crate::worker::call::{Call, Encoded, SharedInput, TaskId};
use crate::worker::invocation::{Encode, Trampoline};
use crate::worker::logs::task_names;
use crate::worker::queue_pair::RING_PAYLOAD_BYTES_MAX;

/// Submits to a busy pool between two checks for finished tasks.
const SUBMITS_PER_LOOK: usize = 16;
/// Bytes of encoding buffer that a submitting thread keeps.
const SCRATCH_BYTES_MAX: usize = 64 << 10;

thread_local! {
    /// The buffer in which arguments are encoded before they are stored.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl Core {
    /// Checks that this pool can apply the options.
    pub(crate) fn check(&self, task_options: TaskOptions) -> Result<()> {
        match task_options.timeout {
            Some(Duration::ZERO) => Err(Error::invalid("the timeout of a task", "0 s", "longer")),
            Some(_) if self.config.start == Start::InProcess => {
                let expected = "left out where tasks have no process that could be killed";
                Err(Error::invalid("the timeout of a task", "set", expected))
            }
            _ => Ok(()),
        }
    }

    /// Submits a call of `trampoline`, whose argument `encode` appends to a buffer.
    pub(crate) fn submit(
        &self,
        trampoline: Trampoline,
        name: &'static str,
        task_options: TaskOptions,
        encode: Encode<'_>,
    ) -> Result<TaskId> {
        self.submit_with(trampoline, name, task_options, None, encode)
    }

    /// The same for an argument that refers to more, which is kept until the task is over.
    pub(crate) fn submit_with(
        &self,
        trampoline: Trampoline,
        name: &'static str,
        task_options: TaskOptions,
        shared_input: Option<Arc<SharedInput>>,
        encode: Encode<'_>,
    ) -> Result<TaskId> {
        // Before the mutex, which another thread may have held when this process was forked.
        self.check_ours()?;
        // A task in the calling thread needs no function offset, and in a library it has none.
        let function = match self.config.start {
            Start::InProcess => FunctionOffset::NONE,
            Start::ForkServer => FunctionOffset::of(trampoline as *const ())?,
        };
        // Not available in late destructors of this thread, or in an exit handler.
        let mut bytes = SCRATCH.try_with(Cell::take).unwrap_or_default();
        bytes.clear();
        let given = shared_input.as_ref().map(|kept| kept.given()).unwrap_or_default();
        let encoded = transfer::encode_after(given, || encode(&mut bytes));
        let ((), leases) = encoded.map_err(|reason| TaskError::Codec {
            what: "argument",
            action: "encoded",
            reason,
        })?;
        // Not through a `Result`, which would move it once more.
        let payload = if leases.is_empty() && bytes.len() <= RING_PAYLOAD_BYTES_MAX {
            Encoded::small(&bytes)
        } else {
            Encoded::payload(&leases, &bytes, &self.arena)?
        };
        let call = Call { function, name, number: 0, payload, leases, shared_input };
        if self.config.start == Start::InProcess {
            return in_process::submit(self, trampoline, call, &bytes, task_options.is_part());
        }
        if bytes.capacity() <= SCRATCH_BYTES_MAX {
            let _ = SCRATCH.try_with(|scratch| scratch.set(bytes));
        }
        self.admit(call, task_options)
    }

    #[inline]
    fn admit(&self, mut call: Call, task_options: TaskOptions) -> Result<TaskId> {
        let name = call.name;
        let mut state = self.lock();
        self.check_open(&state)?;
        call.number = state.numbers.next(task_options.is_part());
        state.update_log_levels(self.config.settings.logs);
        if state.wants_logs() {
            task_names::note(call.function.to_word(), name);
        }
        let id = state.tasks.insert(call, task_options)?;
        state.unfinished += 1;
        state.counters.submitted += 1;
        state.events.defer(Level::TRACE, move || {
            tracing::trace!(task = id.number(), name, "task submitted");
        });
        if let Some(timeout) = task_options.timeout {
            self.schedule_timeout(&mut state, Instant::now() + timeout);
        }
        if state.dormant > 0 {
            self.restart_dormant(&mut state);
        }
        if state.queue.is_empty()
            && let Some(index) = state.pick()
            && state.offer(index, id)
        {
            state.workers[index].host_side.wake();
            if state.workers[index].host_side.live() > 1 {
                state.control.set_has_surplus(true);
            }
            return Ok(id);
        }
        let had_queue = !state.queue.is_empty();
        state.queue.push_back(id);
        // Workers with few tasks left ring. Checking more often would cost more than it gains.
        if !had_queue || state.queue.len().is_multiple_of(SUBMITS_PER_LOOK) {
            state.drive();
            if !state.queue.is_empty() {
                self.rearm(&mut state);
            }
        }
        Ok(id)
    }

    /// An error in a process that was forked from the pool's.
    #[inline]
    pub(crate) fn check_ours(&self) -> Result<()> {
        if self.is_ours() {
            return Ok(());
        }
        Err(Error::Closed { what: "a pool that was made before this process forked" })
    }

    /// An error unless the pool takes tasks.
    #[inline]
    pub(crate) fn check_open(&self, state: &State) -> Result<()> {
        match &state.life {
            Lifecycle::Open => Ok(()),
            Lifecycle::Draining | Lifecycle::Stopping | Lifecycle::Closed => {
                Err(Error::Closed { what: "the pool" })
            }
            Lifecycle::Broken(cause) => Err(broken(cause)),
        }
    }

    /// Makes the supervisor check for timed out tasks at `at`, or earlier.
    pub(crate) fn schedule_timeout(&self, state: &mut State, at: Instant) {
        state.late_at = Some(state.late_at.map_or(at, |earlier| earlier.min(at)));
        self.schedule_check(state, at);
    }

    /// Makes the supervisor check this pool at `at`, or earlier.
    pub(crate) fn schedule_check(&self, state: &mut State, at: Instant) {
        if state.deadline.is_none_or(|deadline| at < deadline) {
            state.deadline = Some(at);
            self.supervisor.set_deadline(self.doorbell_handler, at);
        }
    }
}

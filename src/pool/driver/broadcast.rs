//! Submits a call to each worker.

use std::time::Instant;

use crate::error::{Error, Result};
use crate::pool::driver::core::Core;
use crate::pool::driver::in_process;
use crate::pool::record::config::{Initializer, Start};
use crate::pool::record::state::State;
use crate::pool::record::task::{Pin, TaskOptions};
use crate::process::function::FunctionOffset;
use crate::worker::call::{Call, Encoded, TaskId};
use crate::worker::invocation::Trampoline;
use crate::worker::logs::task_names;

/// A call for each worker.
pub(crate) struct Broadcast {
    pub(crate) function: Initializer,
    /// The type name of the function, for messages.
    pub(crate) name: &'static str,
    pub(crate) task_options: TaskOptions,
    /// What workers that start later run first instead, if they run it at all.
    pub(crate) first: Option<Trampoline>,
}

impl Core {
    /// Submits one task for each worker, which only that worker runs. Returns their workers'
    /// indices with them.
    ///
    /// # Errors
    ///
    /// As [`Core::submit`]; then none was submitted.
    pub(crate) fn broadcast(&self, broadcast: Broadcast) -> Result<Vec<(usize, TaskId)>> {
        self.check_ours()?;
        let Broadcast { mut function, name, task_options, first } = broadcast;
        if self.config.start == Start::InProcess {
            let call = self.call_of(&function, FunctionOffset::NONE, name)?;
            let trampoline = function.function;
            let id = in_process::submit(self, trampoline, call, &function.encoded, false)?;
            return Ok(vec![(0, id)]);
        }
        let offset = FunctionOffset::of(function.function as *const ())?;
        if let Some(trampoline) = first {
            function.function = trampoline;
            function.locate()?;
        }
        // Payloads are made, and what is left of them dropped, without the mutex, except those of
        // workers that were added meanwhile.
        let calls = (0..self.workers()).map(|_| self.call_of(&function, offset, name));
        let mut calls = calls.collect::<Result<Vec<Call>>>()?;
        let mut state = self.lock();
        self.check_open(&state)?;
        let workers = state.present_workers();
        while calls.len() < workers.len() {
            calls.push(self.call_of(&function, offset, name)?);
        }
        state.update_log_levels(self.config.settings.logs);
        if state.wants_logs() {
            task_names::note(offset.to_word(), name);
        }
        state.broadcasts += 1;
        let broadcast = state.broadcasts;
        let count = workers.len();
        let mut ids = Vec::with_capacity(count);
        for (worker, mut call) in workers.into_iter().zip(calls.drain(..count)) {
            call.number = state.numbers.next(true);
            match state.pin(call, task_options, Pin { worker, broadcast }) {
                Ok(id) => ids.push((worker, id)),
                Err(error) => return Err(self.withdraw_all(&mut state, ids, error)),
            }
        }
        if first.is_some() {
            state.note_missed(&ids);
            function.broadcast = Some(broadcast);
            state.initializers.push(function);
        }
        if let Some(timeout) = task_options.timeout {
            self.schedule_timeout(&mut state, Instant::now() + timeout);
        }
        for &(worker, _) in &ids {
            self.restart(&mut state, worker);
        }
        state.drive();
        self.arm_supervisor(&mut state);
        Ok(ids)
    }

    /// The function as a call for one worker.
    fn call_of(
        &self,
        function: &Initializer,
        offset: FunctionOffset,
        name: &'static str,
    ) -> Result<Call> {
        let leases = function.leases_again();
        let payload = Encoded::payload(&leases, &function.encoded, &self.arena)?;
        Ok(Call { function: offset, name, number: 0, payload, leases, shared_input: None })
    }

    /// Removes the tasks of a broadcast that cannot be submitted whole.
    #[cold]
    fn withdraw_all(&self, state: &mut State, ids: Vec<(usize, TaskId)>, error: Error) -> Error {
        for (_, id) in ids {
            state.cancel(id);
            state.tasks.remove(id);
        }
        error
    }
}

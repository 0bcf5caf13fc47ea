//! Tasks that use the same borrowed memory.
//!
//! The call that submits them borrows that memory, so it must not return or unwind while a worker
//! has one of the tasks. A call that returns waits in [`Group::wait_all`]. If something unwinds
//! before (an allocation, code of the user, a subscriber of `tracing`, a bug of this crate),
//! dropping the group waits as well.
//!
//! The group finds its tasks by the argument that they share, not by the ids that `submit`
//! returned: a `submit` that unwound has returned none, but a worker may have its task.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use crate::error::{Error, Result, TaskError};
use crate::object::transfer;
use crate::pool::driver::core::Core;
use crate::pool::driver::progress::ProgressReporter;
use crate::pool::record::outcome::Outcome;
use crate::pool::record::state::{State, WaitTarget};
use crate::pool::record::task::{TaskOptions, TaskRecord};
use crate::process::panic;
use crate::worker::call::{SharedInput, TaskId};
use crate::worker::invocation::{self, Encode, Trampoline};

/// A value that every task of a call gets. It is encoded once, before the first task is submitted,
/// so that no code of the user runs while workers use what the call borrows.
pub(crate) struct SharedArgument {
    bytes: Vec<u8>,
    kept: Arc<SharedInput>,
}

impl SharedArgument {
    /// The value that `encode` writes.
    ///
    /// # Errors
    ///
    /// [`TaskError::Codec`] if it cannot be encoded.
    pub(crate) fn new(encode: Encode<'_>) -> Result<SharedArgument> {
        let mut bytes = Vec::new();
        let encoded = transfer::encode_shared(|| encode(&mut bytes));
        let ((), leases) = encoded.map_err(|reason| {
            Error::Task(TaskError::Codec { what: "shared value", action: "encoded", reason })
        })?;
        Ok(SharedArgument {
            bytes,
            kept: Arc::new(SharedInput { _span: None, leases, is_given: true }),
        })
    }
}

/// The tasks of one call; see the module.
pub(crate) struct Group<'a> {
    core: &'a Core,
    argument: &'a SharedArgument,
    /// Called if the call unwinds: makes running tasks end soon.
    on_unwind: &'a dyn Fn(),
    /// The tasks that were submitted, in order.
    ids: Vec<TaskId>,
    is_over: bool,
}

impl<'a> Group<'a> {
    pub(crate) fn new(
        core: &'a Core,
        argument: &'a SharedArgument,
        on_unwind: &'a dyn Fn(),
    ) -> Group<'a> {
        Group { core, argument, on_unwind, ids: Vec::new(), is_over: false }
    }

    /// Submits up to `count` tasks, which are not run again after a death. Each gets what
    /// `descriptor` returns for its ordinal, in front of the shared argument. If a task other than
    /// the first is refused, no more are submitted: the earlier ones can do all the work.
    ///
    /// # Errors
    ///
    /// As [`Core::submit`], for the first task.
    pub(crate) fn submit_each<D: Serialize>(
        &mut self,
        count: usize,
        trampoline: Trampoline,
        name: &'static str,
        task_options: TaskOptions,
        mut descriptor: impl FnMut(usize) -> D,
    ) -> Result<()> {
        let task_options = TaskOptions { retries: 0, borrows: true, ..task_options };
        for ordinal in 0..count {
            match self.submit(trampoline, name, task_options, &descriptor(ordinal)) {
                Ok(()) => {}
                Err(error) if self.ids.is_empty() => return Err(error),
                Err(_) => break,
            }
        }
        Ok(())
    }

    fn submit<D: Serialize>(
        &mut self,
        trampoline: Trampoline,
        name: &'static str,
        task_options: TaskOptions,
        descriptor: &D,
    ) -> Result<()> {
        let SharedArgument { bytes, kept } = self.argument;
        let shared_input = Some(Arc::clone(kept));
        // Reserved before the task exists: nothing may fail afterwards.
        self.ids.reserve(1);
        let id =
            self.core.submit_with(trampoline, name, task_options, shared_input, &mut |out| {
                invocation::encode_onto(out, descriptor)?;
                out.extend_from_slice(bytes);
                Ok(())
            })?;
        self.ids.push(id);
        Ok(())
    }

    /// Waits until no worker has any of the tasks, and returns their outcomes, in order. `look` is
    /// called under the mutex whenever something may have changed.
    pub(crate) fn wait_all(mut self, look: impl FnMut(&State, &[TaskId])) -> Vec<Outcome> {
        let outcomes = self.wait_until(None, look).unwrap_or_default();
        self.is_over = true;
        outcomes
    }

    /// As [`wait_all`](Group::wait_all); reports what `done` returns meanwhile.
    pub(crate) fn wait_all_reporting(
        mut self,
        reporter: &mut ProgressReporter,
        done: impl Fn() -> usize,
    ) -> Vec<Outcome> {
        loop {
            if let Some(outcomes) = self.wait_until(Some(reporter.due()), |_, _| {}) {
                self.is_over = true;
                return outcomes;
            }
            reporter.report(done());
        }
    }

    /// The outcomes, when no worker has any of the tasks; `None` after `deadline`.
    fn wait_until(
        &self,
        deadline: Option<Instant>,
        mut look: impl FnMut(&State, &[TaskId]),
    ) -> Option<Vec<Outcome>> {
        let ids = &self.ids;
        let poll = |state: &mut State| {
            look(state, ids);
            let done = ids.iter().filter(|&&id| state.tasks.is_done(id)).count();
            if done > 0 && done < ids.len() {
                for &id in ids {
                    state.cancel(id);
                }
            }
            if !ids.iter().all(|&id| state.tasks.is_done(id)) {
                return None;
            }
            state.emit_due_logs();
            Some(ids.iter().filter_map(|&id| Core::take(state, id)).collect())
        };
        self.core.wait(deadline, WaitTarget::Tasks(ids), poll)
    }

    /// Cancels the tasks that have not started, and waits until no worker has any of the others.
    fn cancel_and_wait(&self) {
        let kept = &self.argument.kept;
        let is_ours = |entry: &TaskRecord| {
            let shared_input = entry.call().and_then(|call| call.shared_input.as_ref());
            shared_input.is_some_and(|shared_input| Arc::ptr_eq(shared_input, kept))
        };
        let mut ids;
        {
            let state = self.core.lock();
            ids = state.tasks.unfinished();
            ids.retain(|&id| state.tasks.get(id).is_some_and(is_ours));
        }
        self.core.wait(None, WaitTarget::Tasks(&ids), |state| {
            for &id in &ids {
                state.cancel(id);
            }
            ids.iter().all(|&id| state.tasks.is_done(id)).then_some(())
        });
        for &id in self.ids.iter().chain(&ids) {
            self.core.detach(id);
        }
    }
}

impl Drop for Group<'_> {
    fn drop(&mut self) {
        while !self.is_over {
            (self.on_unwind)();
            // The wait can panic too, for the same reason as the call. It is repeated until it
            // ends.
            match catch_unwind(AssertUnwindSafe(|| self.cancel_and_wait())) {
                Ok(()) => self.is_over = true,
                Err(payload) => drop(panic::take_message(payload)),
            }
        }
    }
}

//! Tasks that use the same borrowed memory.
//!
//! The call that submits them borrows that memory, so it must not end, by whatever way, before no
//! worker has any of the tasks. [`Group::settle`] is the way of a call that returns. If something
//! unwinds before (an allocation, code of the user, a subscriber of `tracing`, a fault of ours),
//! dropping the group does the same.
//!
//! The tasks are known by what they keep, not by the ids that `submit` returned: one that unwound
//! has returned none, and a worker may have its task all the same.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use serde::Serialize;

use crate::error::{Error, Result, TaskError};
use crate::object::transfer;
use crate::pool::driver::core::Core;
use crate::pool::record::outcome::Outcome;
use crate::pool::record::state::{State, WaitTarget};
use crate::pool::record::task::{Entry, Rules};
use crate::process::panic;
use crate::worker::call::{SharedInput, TaskId};
use crate::worker::invocation::{self, Trampoline};

/// A value that all tasks of a call are given. It is encoded once, before the first of them is
/// submitted, so that no code of the user runs while workers use what the call borrows.
pub(crate) struct SharedArgument {
    bytes: Vec<u8>,
    kept: Arc<SharedInput>,
}

impl SharedArgument {
    /// Encodes `value`.
    ///
    /// # Errors
    ///
    /// [`TaskError::Codec`] if it cannot be encoded.
    pub(crate) fn new<W: Serialize>(value: &W) -> Result<SharedArgument> {
        let mut bytes = Vec::new();
        let encoded = transfer::encode_shared(|| invocation::encode_onto(&mut bytes, value));
        let ((), leases) = encoded.map_err(|reason| {
            Error::Task(TaskError::Codec { what: "shared value", action: "encoded", reason })
        })?;
        Ok(SharedArgument {
            bytes,
            kept: Arc::new(SharedInput { _span: None, leases, is_given: true }),
        })
    }
}

/// Tasks of one call; see the module's text.
pub(crate) struct Group<'a> {
    core: &'a Core,
    argument: &'a SharedArgument,
    /// Has members that run end soon; called if the call unwinds.
    on_unwind: &'a dyn Fn(),
    /// Those that were submitted, in order.
    ids: Vec<TaskId>,
    is_settled: bool,
}

impl<'a> Group<'a> {
    pub(crate) fn new(
        core: &'a Core,
        argument: &'a SharedArgument,
        on_unwind: &'a dyn Fn(),
    ) -> Group<'a> {
        Group { core, argument, on_unwind, ids: Vec::new(), is_settled: false }
    }

    /// Submits up to `count` tasks, which are not run again after a death. Each gets what
    /// `descriptor` returns for its ordinal, in front of the shared argument. If a task other than
    /// the first is refused, no more are submitted: those before can do all the work.
    ///
    /// # Errors
    ///
    /// As [`Core::submit`], for the first task.
    pub(crate) fn submit_each<D: Serialize>(
        &mut self,
        count: usize,
        trampoline: Trampoline,
        name: &'static str,
        rules: Rules,
        mut descriptor: impl FnMut(usize) -> D,
    ) -> Result<()> {
        let rules = Rules { retries: 0, borrows: true, ..rules };
        for ordinal in 0..count {
            match self.submit(trampoline, name, rules, &descriptor(ordinal)) {
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
        rules: Rules,
        descriptor: &D,
    ) -> Result<()> {
        let SharedArgument { bytes, kept } = self.argument;
        let shared_input = Some(Arc::clone(kept));
        // Before the task exists: afterwards nothing may fail.
        self.ids.reserve(1);
        let id = self.core.submit_with(trampoline, name, rules, shared_input, |out| {
            invocation::encode_onto(out, descriptor)?;
            out.extend_from_slice(bytes);
            Ok(())
        })?;
        self.ids.push(id);
        Ok(())
    }

    /// Waits until no worker has any of the tasks, and returns what came of them, in order.
    /// `look` is called under the mutex whenever something may have changed.
    pub(crate) fn settle(mut self, mut look: impl FnMut(&State, &[TaskId])) -> Vec<Outcome> {
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
            Some(ids.iter().filter_map(|&id| Core::take(state, id)).collect())
        };
        let outcomes = self.core.wait(None, WaitTarget::Tasks(ids), poll).unwrap_or_default();
        self.is_settled = true;
        outcomes
    }

    /// Ends what of the tasks has not started, and waits until no worker has any of the rest.
    fn cancel_and_wait(&self) {
        let kept = &self.argument.kept;
        let is_ours = |entry: &Entry| {
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
        while !self.is_settled {
            (self.on_unwind)();
            // What has unwound the call may unwind this as well: it is begun again.
            match catch_unwind(AssertUnwindSafe(|| self.cancel_and_wait())) {
                Ok(()) => self.is_settled = true,
                Err(payload) => drop(panic::take_message(payload)),
            }
        }
    }
}

//! A loop's task in a worker: function and chunks.
#![allow(unsafe_code)]

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::object::source::Source;
use crate::pool::loops::loop_worker::{LoopTask, LoopWorker};
use crate::pool::loops::operand::{Operand, Sealed, WorkerOperand};
use crate::pool::with::With;
use crate::worker::invocation::{self, CodecError, Invocation};

impl Sealed for () {}
impl<W> Sealed for With<W> {}

/// What is public for the compiler alone: it stands in bounds of public methods.
#[expect(unnameable_types, reason = "what cannot be named cannot be implemented elsewhere")]
mod private {
    use serde::Serialize;
    use serde::de::DeserializeOwned;

    use crate::pool::loops::operand::{Operand, Sealed};

    /// How a loop calls its function: with the chunk, or with the value of `with` and the chunk.
    pub trait Call<P: Operand, F, R>: Sealed {
        /// The value, `()` without one.
        type Value: Serialize + DeserializeOwned;

        fn value(self) -> Self::Value;

        fn call(function: F, value: &Self::Value, item: P::Item<'_>) -> R;
    }
}
pub(super) use private::Call;

impl<P, F, R> Call<P, F, R> for ()
where
    P: Operand,
    F: for<'a> Fn(P::Item<'a>) -> R,
{
    type Value = ();

    fn value(self) {}

    fn call(function: F, (): &(), item: P::Item<'_>) -> R {
        function(item)
    }
}

impl<P, F, R, W> Call<P, F, R> for With<W>
where
    P: Operand,
    F: for<'w, 'a> Fn(&'w W, P::Item<'a>) -> R,
    W: Serialize + DeserializeOwned,
{
    type Value = W;

    fn value(self) -> W {
        self.0
    }

    fn call(function: F, value: &W, item: P::Item<'_>) -> R {
        function(value, item)
    }
}

pub(super) type Ran = std::result::Result<(), CodecError>;

/// A loop's task in a worker: where its chunks are, and what to run for each.
pub(super) struct Body<P: Operand, S: Call<P, F, R>, F, R> {
    worker: LoopWorker,
    operands: Vec<WorkerOperand>,
    value: S::Value,
    function: F,
}

impl<P, S, F, R> Body<P, S, F, R>
where
    P: Operand,
    S: Call<P, F, R>,
    F: Copy + Send + 'static,
{
    pub(super) fn attach(invocation: &mut Invocation<'_>) -> std::result::Result<Self, CodecError> {
        let (task, (operands, value)) =
            invocation.argument::<(LoopTask, (Vec<(Source, bool)>, S::Value))>()?;
        let worker = LoopWorker::new(invocation, task)?;
        let (resolver, windows) = (&invocation.cache.resolver, invocation.windows);
        let map = |(source, is_written): &(Source, bool)| {
            WorkerOperand::map(resolver, windows, source, *is_written)
                .map_err(|error| CodecError::Argument(error.to_string()))
        };
        let operands = operands.iter().map(map).collect::<std::result::Result<_, _>>()?;
        invocation.begin();
        // SAFETY: trampolines are named by `ParChunks` and `ParMap` alone, for a function that
        // they were given.
        let function = unsafe { invocation::function_value::<F>() };
        Ok(Body { worker, operands, value, function })
    }

    /// Runs the function for chunks, block by block. `each` gets the number of a block and what
    /// the function returns for its chunks; if it returns false, no task takes another block.
    pub(super) fn run(&self, mut each: impl FnMut(usize, &mut dyn Iterator<Item = R>) -> bool) {
        self.worker.run(|block, chunks| {
            let mut results = chunks.map(|chunk| {
                let mut operands = self.operands.iter();
                // SAFETY: the chunk was claimed by this task alone, and the host's borrows of the
                // operands last until the loop has ended.
                let item = unsafe { P::item(&mut operands, chunk.index, &chunk.range) };
                S::call(self.function, &self.value, item)
            });
            each(block, &mut results)
        });
    }
}

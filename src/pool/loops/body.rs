//! A loop's task in a worker: function, state and chunks.
#![allow(unsafe_code)]

use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::kernel::FloatMode;
use crate::pool::loops::loop_worker::{ClaimedChunks, LoopTask, LoopWorker};
use crate::pool::loops::operand::{
    ClaimedChunk, Operand, Sealed, Unit, WireOperand, WorkerOperand,
};
use crate::pool::with::With;
use crate::worker::invocation::{self, CodecError, Invocation};

/// A value that each worker makes for itself, as a type argument of [`ParLoop`](crate::ParLoop)
/// and [`ParMap`](crate::ParMap); see [`ParLoop::scratch`](crate::ParLoop::scratch).
///
/// `V` is `()`, or [`With`] of the value that is passed to `make`.
///
/// # Examples
///
/// ```
/// use brigade::{ParLoop, Pool, Scratch, SharedArray};
/// let pool = Pool::builder().workers(1).build()?;
/// let x = SharedArray::from_slice(&[3, 1, 2, 9, 7, 8])?;
/// let threes: ParLoop<'_, _, Scratch<(), _, Vec<i32>>> = pool.par_chunks(&x, 3).scratch(Vec::new);
/// let middle = threes.map(|sorted, x| {
///     sorted.clear();
///     sorted.extend_from_slice(x);
///     sorted.sort_unstable();
///     sorted[1]
/// });
/// assert_eq!(middle.collect()?, [2, 8]);
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug)]
pub struct Scratch<V, M, T> {
    value: V,
    make: PhantomData<fn(M) -> T>,
}

impl<V, M, T> Scratch<V, M, T> {
    pub(super) fn new(value: V) -> Scratch<V, M, T> {
        Scratch { value, make: PhantomData }
    }
}

impl Sealed for () {}
impl<W> Sealed for With<W> {}
impl<V, M, T> Sealed for Scratch<V, M, T> {}

/// Public only because bounds of public methods name it.
#[expect(unnameable_types, reason = "what cannot be named cannot be implemented elsewhere")]
mod private {
    use serde::Serialize;
    use serde::de::DeserializeOwned;

    use crate::pool::loops::operand::{Operand, Sealed, Unit};

    /// What the function of a loop gets besides the item: nothing, a shared value, or scratch.
    pub trait ExtraArgument: Sealed {
        /// The value that is sent to the workers.
        type Value: Serialize + DeserializeOwned;

        /// What a task keeps for its calls.
        type Local;

        fn value(&self) -> &Self::Value;

        /// Makes what a task keeps for its calls. Runs in a worker, at the task's first call.
        fn local(value: Self::Value) -> Self::Local;
    }

    /// How a loop calls a function of type `F`.
    pub trait Call<P: Operand<U>, U: Unit, F, R>: ExtraArgument {
        fn call(function: F, local: &mut Self::Local, item: P::Item<'_>) -> R;
    }
}
pub(super) use private::{Call, ExtraArgument};

impl ExtraArgument for () {
    type Value = ();
    type Local = ();

    fn value(&self) -> &() {
        &()
    }

    fn local((): ()) {}
}

impl<P, U, F, R> Call<P, U, F, R> for ()
where
    P: Operand<U>,
    U: Unit,
    F: for<'a> Fn(P::Item<'a>) -> R,
{
    #[inline]
    fn call(function: F, (): &mut (), item: P::Item<'_>) -> R {
        function(item)
    }
}

impl<W: Serialize + DeserializeOwned> ExtraArgument for With<W> {
    type Value = W;
    type Local = W;

    fn value(&self) -> &W {
        &self.0
    }

    fn local(value: W) -> W {
        value
    }
}

impl<P, U, F, R, W> Call<P, U, F, R> for With<W>
where
    P: Operand<U>,
    U: Unit,
    F: for<'w, 'a> Fn(&'w W, P::Item<'a>) -> R,
    W: Serialize + DeserializeOwned,
{
    #[inline]
    fn call(function: F, value: &mut W, item: P::Item<'_>) -> R {
        function(value, item)
    }
}

impl<M, T> ExtraArgument for Scratch<(), M, T>
where
    M: Fn() -> T + Copy + Send + 'static,
{
    type Value = ();
    type Local = T;

    fn value(&self) -> &() {
        &()
    }

    fn local((): ()) -> T {
        // SAFETY: `ParLoop::scratch` makes this type, for a function that it was given.
        let make = unsafe { invocation::function_value::<M>() };
        make()
    }
}

impl<M, T, W> ExtraArgument for Scratch<With<W>, M, T>
where
    M: Fn(W) -> T + Copy + Send + 'static,
    W: Serialize + DeserializeOwned,
{
    type Value = W;
    type Local = T;

    fn value(&self) -> &W {
        &self.value.0
    }

    fn local(value: W) -> T {
        // SAFETY: as above.
        let make = unsafe { invocation::function_value::<M>() };
        make(value)
    }
}

impl<P, U, F, R, V, M, T> Call<P, U, F, R> for Scratch<V, M, T>
where
    Self: ExtraArgument<Local = T>,
    P: Operand<U>,
    U: Unit,
    F: for<'s, 'a> Fn(&'s mut T, P::Item<'a>) -> R,
{
    #[inline]
    fn call(function: F, scratch: &mut T, item: P::Item<'_>) -> R {
        function(scratch, item)
    }
}

/// What a task keeps for its calls, made at the first of them.
pub(super) enum Local<S: ExtraArgument> {
    Value(Option<S::Value>),
    Made(S::Local),
}

impl<S: ExtraArgument> Local<S> {
    pub(super) fn new(value: S::Value) -> Local<S> {
        Local::Value(Some(value))
    }

    #[inline]
    pub(super) fn get(&mut self) -> &mut S::Local {
        if let Local::Value(value) = self {
            let value = value.take().expect("a call panicked, and another followed");
            *self = Local::Made(S::local(value));
            // The function that makes it may have left another mode for the first call.
            FloatMode::reset();
        }
        match self {
            Local::Made(local) => local,
            Local::Value(_) => unreachable!("made above"),
        }
    }
}

/// The blocks and the operands of the loop that a task is part of.
struct Attached<'a> {
    worker: LoopWorker<'a>,
    operands: Vec<WorkerOperand>,
}

fn attach<'a>(invocation: &mut Invocation<'a>) -> std::result::Result<Attached<'a>, CodecError> {
    let (task, operands) = invocation.leading::<(LoopTask, Vec<WireOperand>)>()?;
    let worker = LoopWorker::new(invocation, task)?;
    let (resolver, windows) = (&invocation.cache.resolver, invocation.windows);
    let map = |operand| WorkerOperand::map(resolver, windows, operand).map_err(CodecError::from);
    let operands = operands.iter().map(map).collect::<std::result::Result<_, _>>()?;
    Ok(Attached { worker, operands })
}

pub(super) type Ran = std::result::Result<(), CodecError>;

/// A loop's task in a worker: where its chunks are, and what its calls get.
pub(super) struct Body<'a, P, U, S: ExtraArgument, F> {
    attached: Attached<'a>,
    value: Option<S::Value>,
    pub(super) function: F,
    units: PhantomData<(P, U)>,
}

impl<'a, P, U, S, F> Body<'a, P, U, S, F>
where
    P: Operand<U>,
    U: Unit,
    S: ExtraArgument,
    F: Copy + Send + 'static,
{
    pub(super) fn attach(invocation: &mut Invocation<'a>) -> std::result::Result<Self, CodecError> {
        let attached = attach(invocation)?;
        let value = invocation.argument()?;
        invocation.begin();
        // SAFETY: trampolines are named by the methods of `ParLoop`, `ParMap`, `Fold` and
        // `FoldArray` alone, for a function that the loop was given.
        let function = unsafe { invocation::function_value::<F>() };
        Ok(Body { attached, value: Some(value), function, units: PhantomData })
    }

    /// Calls the function for chunks, block by block, and passes to `each` the number of each block
    /// and what returns the result of its next chunk. `each` returns how many blocks from the front
    /// are still needed; `None` means all.
    pub(super) fn run<R>(
        mut self,
        mut each: impl FnMut(usize, &mut dyn FnMut() -> Option<R>) -> Option<usize>,
    ) where
        S: Call<P, U, F, R>,
    {
        let mut local = Local::<S>::new(self.take_value());
        self.run_blocks(&mut |block, mut chunks| {
            let mut next = || {
                let chunk = chunks.next()?;
                Some(S::call(self.function, local.get(), self.item(chunk)))
            };
            each(block, &mut next)
        });
    }

    /// Takes the value of `with`, for a task that does not use [`run`](Body::run). Call it once.
    pub(super) fn take_value(&mut self) -> S::Value {
        self.value.take().expect("the value is used once")
    }

    /// Claims blocks and passes them to `each`, as [`run`](Body::run) does.
    pub(super) fn run_blocks(&self, each: &mut dyn FnMut(usize, ClaimedChunks) -> Option<usize>) {
        self.attached.worker.run(each);
    }

    /// The item of a chunk.
    #[inline]
    pub(super) fn item(&self, chunk: ClaimedChunk) -> P::Item<'_> {
        // SAFETY: a `ClaimedChunk` is made once for each chunk, by the task that claimed it, and
        // used up here; the host's borrows of the operands last until the loop has ended.
        unsafe { P::item(&mut self.attached.operands.iter(), &chunk) }
    }
}

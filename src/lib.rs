//! Shared-memory parallel compute: forked workers on zero-copy slices of big arrays.
//!
//! A [`Pool`] runs functions in worker processes. Arrays lie in memory that all of them see, so
//! nothing is copied. If a worker crashes, hangs or is killed, only the task that it was running
//! fails, with an error that names the cause.
//!
//! # Tasks
//!
//! A task is a function and its argument. The function is an item or a closure that captures
//! nothing; argument and result are [serde](https://docs.rs/serde) values.
//!
//! ```
//! use brigade::Pool;
//!
//! let pool = Pool::builder().workers(2).build()?;
//! let task = pool.submit(|words: Vec<String>| words.concat(), vec!["mise".into(), "en".into()])?;
//! assert_eq!(task.join()?, "miseen");
//!
//! let squares: Vec<u64> = pool.map(1..=4u64, |n| n * n)?.collect();
//! assert_eq!(squares, [1, 4, 9, 16]);
//! # Ok::<(), brigade::Error>(())
//! ```
//!
//! A [`Process`] runs one function in a separate process, without a pool.
//!
//! # Functions
//!
//! Only the position of a function's code is sent to a worker. So a function is an item, or a
//! closure that captures nothing. Further values are passed as its argument, or to every call by
//! [`with`](Pool::with). A closure that captures a value with a size does not compile.
//!
//! A closure that captures a value *of size zero* does compile, and the value is made anew in the
//! worker. **If such a value is a proof, the proof may be false there**: a token which proves that
//! a static or a library is initialised, that a lock is held, or that this is the main thread. The
//! worker is another process, and code that relies on the token may cause undefined behaviour.
//! Rust has no way to reject such a closure. Make the token inside the task, or call
//! [`Pool::submit_fn`] and [`ProcessBuilder::spawn_fn`]: a closure that captures anything does not
//! convert to a `fn` pointer.
//!
//! `docs/compiler-errors.md` explains the compiler's errors about functions that capture, and about
//! other values that cannot be sent.
//!
//! # Arrays
//!
//! A [`SharedArray`] has any number of dimensions and one owner. Loops lend it to the workers,
//! chunk by chunk, for reading or writing. [`with`](ParLoop::with) passes further values to a
//! loop's function.
//!
//! ```
//! use brigade::{Pool, SharedArray};
//!
//! let pool = Pool::builder().workers(2).build()?;
//! let x = SharedArray::from_fn([1000], |[i]| i as f64)?;
//! let mut y = SharedArray::<f64>::zeroed([1000])?;
//! pool.par_chunks_mut(&mut y, 100)
//!     .zip(&x)
//!     .with(0.5)
//!     .for_each(|a, (y, x)| y.iter_mut().zip(x).for_each(|(y, x)| *y = a * x))?;
//! let sum = pool.par_chunks(&y, 100).map(|y| y.iter().sum()).reduce(0.0, |a, b| a + b)?;
//! assert_eq!(sum, 249_750.0);
//! # Ok::<(), brigade::Error>(())
//! ```
//!
//! Any number of tasks can read a [`Frozen`] array, as a part of their arguments. An
//! [`OwnedChunk`] moves into a task and back. Neither copies an element.
//!
//! ```
//! use brigade::{OwnedChunk, Pool, SharedArray};
//!
//! let pool = Pool::builder().workers(2).build()?;
//! let parts = SharedArray::from_slice(&[5u32, 6, 7, 8])?.into_chunks(2)?;
//! let tasks: Vec<_> = parts
//!     .into_iter()
//!     .map(|part| {
//!         pool.submit(
//!             |mut part: OwnedChunk<u32>| {
//!                 part.as_mut_slice().reverse();
//!                 part
//!             },
//!             part,
//!         )
//!     })
//!     .collect::<Result<_, _>>()?;
//! let parts: Vec<_> = tasks.into_iter().map(|task| task.join()).collect::<Result<_, _>>()?;
//! assert_eq!(SharedArray::from_chunks(parts)?.as_slice(), [6, 5, 8, 7]);
//! # Ok::<(), brigade::Error>(())
//! ```
//!
//! [`SharedArray::named`] shares an array with other programs, including NumPy, and
//! [`SharedArray::from_npy`] reads one from a file.
//!
//! # Matrices
//!
#![cfg_attr(feature = "linalg", doc = "```")]
#![cfg_attr(not(feature = "linalg"), doc = "```ignore")]
//! use brigade::{Matrix, Pool, SharedArray};
//!
//! let pool = Pool::builder().workers(2).build()?;
//! let a = SharedArray::from_fn([2, 3], |[i, j]| (i * 3 + j) as f32)?;
//! let gram = pool.matmul(&a, Matrix::from(&a).transposed())?;
//! assert_eq!(gram.as_slice(), [5.0, 14.0, 14.0, 50.0]);
//! # Ok::<(), brigade::Error>(())
//! ```
//!
//! # Files
//!
//! A [`batch`] runs a function over many keys, such as paths, and writes a journal: after a kill it
//! is run again, and does the rest.
//!
//! # Errors
//!
//! Every fallible call returns an [`Error`], with a variant for each remedy. If a task did not
//! return a value, the error is a [`TaskError`]; if its worker died, a [`Death`] has the details.
//!
//! ```
//! use brigade::{Error, ExitReason, Pool, TaskError};
//!
//! let pool = Pool::builder().workers(1).build()?;
//! let task = pool.submit(|code: i32| std::process::exit(code), 3)?;
//! match task.join().map(|()| "no value") {
//!     Err(Error::Task(TaskError::Died(death))) => assert_eq!(death.reason, ExitReason::Code(3)),
//!     other => panic!("{other:?}"),
//! }
//! assert_eq!(pool.submit(|n: u8| n + 1, 1)?.join()?, 2);
//! # Ok::<(), brigade::Error>(())
//! ```
//!
//! # Lower levels
//!
//! [`kernel`] has the arithmetic on slices, for one thread or a team. [`sync`] has locks, events
//! and rings over any shared memory, for programs that set up the memory themselves.

// docs.rs sets this name, and shows which feature an item needs.
#![cfg_attr(docsrs, feature(doc_cfg))]
// Under loom only the modules that have models are built, so much of their code is unused.
#![cfg_attr(loom, allow(dead_code, unused_imports))]
// Without a computation, the parts of the engine that only it uses are unused.
#![cfg_attr(
    not(all(feature = "bigint", feature = "fft", feature = "linalg")),
    allow(dead_code, unused_imports)
)]
// Items that are public for modules that are not built are unused as well.
#![cfg_attr(loom, allow(unreachable_pub, unfulfilled_lint_expectations))]

#[cfg(not(target_os = "linux"))]
compile_error!(
    "brigade runs on Linux only: it needs memfd, futexes and /proc (try a Linux container)"
);

mod atomics;
mod error;
mod exit;
mod json_text;
mod shape;

#[cfg(not(loom))]
mod array;
#[cfg(not(loom))]
pub mod batch;
#[cfg(not(loom))]
mod channel;
#[cfg(not(loom))]
mod compute;
/// Fuzz targets, for `fuzz/`; not part of the public interface.
#[cfg(all(any(test, fuzzing), not(loom)))]
#[doc(hidden)]
pub mod fuzz_entry;
pub mod kernel;
#[cfg(not(loom))]
mod object;
#[cfg(not(loom))]
mod pool;
mod process;
mod region;
#[cfg(not(loom))]
pub mod shared;
#[cfg(not(loom))]
mod spawn;
pub mod sync;
mod sys;
mod worker;

/// Points at which fault tests stop or kill a process; not part of the public interface.
#[cfg(feature = "failpoints")]
#[doc(hidden)]
pub mod failpoint {
    pub use crate::sys::failpoint::{
        Action, FILE_BYTES, POINTS, Point, VARIABLE, clear, hits, set, wait_held,
    };
}

#[cfg(not(loom))]
pub use array::{
    ArrayRef, ArrayView, AsArrayView, ChunkRecovery, Element, Frozen, LentNamed, MappedArray,
    MappedArrayMut, NamedArray, OwnedChunk, Packed, SendError, SharedArray, npy_header,
};
/// The crate of [`Pod`](bytemuck::Pod), the trait of the elements of arrays.
///
/// # Examples
///
/// ```
/// use brigade::SharedArray;
/// use brigade::bytemuck::{Pod, Zeroable};
///
/// #[derive(Clone, Copy, Pod, Zeroable)]
/// #[bytemuck(crate = "brigade::bytemuck")]
/// #[repr(C)]
/// struct Point { x: f32, y: f32 }
///
/// let points = SharedArray::from_fn([2], |[i]| Point { x: i as f32, y: 0.5 })?;
/// assert_eq!(points[[1]].x + points[[1]].y, 1.5);
/// # Ok::<(), brigade::Error>(())
/// ```
pub use bytemuck;
#[cfg(not(loom))]
pub use channel::{
    Connection, JoinableQueue, Pipe, PipeBuilder, Queue, QueueBuilder, SimpleQueue, Waitable,
    wait_any,
};
#[cfg(all(feature = "bigint", not(loom)))]
pub use compute::SharedBigUint;
#[cfg(not(loom))]
pub use compute::{
    Axes, ByteGroups, FilterFloat, FilterInteger, Group, Groups, Neighbours, RandomFloat, RowIndex,
    Side, SortKey,
};
#[cfg(all(feature = "linalg", not(loom)))]
pub use compute::{
    Cholesky, Eigh, Lu, Matrix, MatrixBase, MatrixMut, Norm, Product, Qr, Scalar, Svd, System,
};
#[cfg(all(feature = "fft", not(loom)))]
pub use compute::{ConvolveMode, Fft, FftNorm};
pub use error::{Death, Error, Limit, Phase, Result, TaskError};
pub use exit::ExitReason;
#[cfg(all(feature = "fft", not(loom)))]
pub use kernel::fft::FftFloat;
#[cfg(all(feature = "linalg", not(loom)))]
pub use kernel::linalg::Triangle;
pub use kernel::number::{Integer, Number};
#[cfg(not(loom))]
pub use kernel::stencil::Boundary;
/// A complex number, also as an element of arrays: `complex64` and `complex128` in NumPy.
///
/// # Examples
///
/// ```
/// use brigade::{Complex, Element, SharedArray};
/// let z = SharedArray::from_slice(&[Complex::new(3.0, 4.0)])?;
/// assert_eq!(z[[0]].norm(), 5.0);
/// assert_eq!(Complex::<f64>::DTYPE.to_string(), "<c16");
/// # Ok::<(), brigade::Error>(())
/// ```
pub use num_complex::Complex;
#[cfg(not(loom))]
pub use object::{Holder, LockState, Participant, RegionInfo, RegionKind, RegionState, regions};
#[cfg(not(loom))]
pub use pool::{
    AsCompleted, BroadcastOptions, ByRows, ByTiles, Elements, Fold, FoldArray, Halo, HaloRows,
    HaloTile, Handle, Imap, Indexed, LogLevel, Operand, Options, ParLoop, ParMap, Pool,
    PoolBuilder, PoolInfo, Progress, Records, Restarts, ReturnWhen, Rows, RowsMut, RunTimes,
    Scratch, Shutdown, Start, Stats, Subsampled, TeamBroken, TeamMember, TeamOptions, Tile,
    TileMut, TimelineSummary, Unfinished, Unit, Waited, Whole, With, WorkerInfo, WorkerResult,
    WorkerStats, WorkerStatus, as_completed, is_cancelled, pools, seed_of, task_number, task_seed,
    wait, worker_index,
};
pub use region::{
    Dtype, reclaim, set_arena_size, set_available_memory, set_memory_cache, set_memory_limit,
};
pub use shape::{DIMENSIONS_MAX, Shape};
#[cfg(not(loom))]
pub use spawn::{ActiveProcess, Process, ProcessBuilder, active_processes};

/// The code of the pages of the documentation, as tests. They use all computations.
#[cfg(all(doctest, feature = "bigint", feature = "fft", feature = "linalg"))]
mod guide;

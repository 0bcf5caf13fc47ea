//! Locks and values between tasks, processes and threads: handles that travel.
//!
//! The host makes a handle, clones it, and passes it to tasks: as an argument, in an initializer,
//! or by `with`. Each process that receives it may use it from many threads. The object lives in
//! shared memory as long as any handle exists.
//!
//! | primitive | similar to | if a process dies that holds, waits for or changes it |
//! |---|---|---|
//! | [`Lock`] | `Mutex<T>` | free; the next holder gets [`LockError::OwnerDied`] with the guard |
//! | [`RwLock`] | `RwLock<T>` | the same for a writer; a reader's share is released |
//! | [`ReentrantLock`] | Python's `RLock` | free at any depth; the next guard is `recovered` |
//! | [`Semaphore`] | counted permits | its permits are returned, marked `recovered` |
//! | [`Condvar`] | `Condvar` | all waiters wake and test their condition again |
//! | [`Event`] | Python's `Event` | it is set and all waiters wake, or it is not set |
//! | [`Barrier`] | `Barrier` | it is broken for all processes until it is reset |
//! | [`Once`] | `Once` | the next caller runs the function again, and gets `true` |
//! | [`Value`] | an atomic of any `Pod` type | it has its old value or its new one |
//! | [`SharedList`] | Python's `Manager().list()` | each change is complete, or not made |
//!
//! A process may die at any instruction. The host sweeps a worker's locks as soon as it dies, and
//! each waiter also checks for deaths every 50 ms. A process that is only stopped is not dead: it
//! keeps its locks, so use timeouts where that can happen.
//!
//! Timeouts are measured by CLOCK_MONOTONIC. A timeout that the clock cannot represent never ends;
//! a timeout of zero makes one attempt. In a child that was forked by hand all handles of the
//! parent are inert: operations return [`Error::Closed`](crate::Error::Closed), and dropping guards
//! changes nothing.
//!
//! # Names
//!
//! Each primitive can be created under a name in `/dev/shm`. Any program of this user can open it,
//! and overwrite its memory. No bytes there make a safe call unsound: all words are atomics that
//! are checked when they are read; values are copied in and out, and any bytes are a valid
//! [`Pod`](bytemuck::Pod) value; items of a list are decoded. Overwritten memory causes an error or
//! a wrong value. (If a program truncates the file, processes that use it end by SIGBUS.)
//!
//! Such a program can also block others: it can take a lock or a permit and keep it, or write the
//! token of a live process into it. A wait without a timeout then never ends. Where this matters,
//! use the functions with a timeout. [`Once::call`], a [`Value`] of more than eight bytes, a
//! [`SharedList`], and a [`Condvar`] that takes its lock again wait for a lock without a timeout.
//!
//! # Examples
//!
//! Two tasks in two processes add to one total:
//!
//! ```
//! use brigade::Pool;
//! use brigade::shared::{Barrier, Lock};
//!
//! fn count((total, start, n): (Lock<u64>, Barrier, u64)) {
//!     start.wait().unwrap();
//!     for _ in 0..n {
//!         *total.lock().unwrap() += 1;
//!     }
//! }
//!
//! let pool = Pool::builder().workers(2).build()?;
//! let (total, start) = (Lock::new(0)?, Barrier::new(2)?);
//! let tasks = [100, 200].map(|n| pool.submit(count, (total.clone(), start.clone(), n)));
//! for task in tasks {
//!     task?.join()?;
//! }
//! assert_eq!(*total.lock()?, 300);
//! # Ok::<(), brigade::Error>(())
//! ```

mod barrier;
mod cells;
mod condvar;
mod data;
mod event;
mod guard;
mod list;
mod lock;
mod once;
mod reentrant;
mod rwlock;
mod semaphore;
mod value;

pub use barrier::{Barrier, Member};
pub use condvar::Condvar;
pub use event::Event;
pub use guard::{LockError, Poisoned, Repair};
pub use list::SharedList;
pub use lock::{Lock, LockGuard};
pub use once::Once;
pub use reentrant::{ReentrantGuard, ReentrantLock};
pub use rwlock::{ReadGuard, RwLock, WriteGuard};
pub use semaphore::{Permit, Semaphore};
pub use value::Value;

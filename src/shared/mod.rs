//! Locks and values between tasks, processes and threads: handles that travel.
//!
//! A handle is made in the host, cloned, and given to tasks: as an argument, in an initializer, or
//! by `with`. Each process that gets it may use it from many threads. What it stands for lives in
//! shared memory as long as any handle does.
//!
//! | primitive | is like | if a process dies that holds, waits for or changes it |
//! |---|---|---|
//! | [`Lock`] | `Mutex<T>` | free; the next gets [`LockError::OwnerDied`] with the guard |
//! | [`RwLock`] | `RwLock<T>` | the same for a writer; a reader's share just comes free |
//! | [`ReentrantLock`] | Python's `RLock` | free, however often it was taken; the next guard says so |
//! | [`Semaphore`] | counted permits | its permits come free and say so |
//! | [`Condvar`] | `Condvar` | all who wait wake and test their condition again |
//! | [`Event`] | Python's `Event` | it is set and all wake, or it is not set |
//! | [`Barrier`] | `Barrier` | it breaks for all until it is reset |
//! | [`Once`] | `Once` | the next caller runs the function again, and is told |
//! | [`Value`] | an atomic of any `Pod` type | it has its old value or its new one |
//! | [`SharedList`] | Python's `Manager().list()` | each change is made whole, or not at all |
//!
//! Deaths are noticed at any instruction. The host's sweep after a worker's death makes it prompt;
//! a waiter also looks for itself, every 50 ms. A process that is only stopped is not dead: it
//! keeps what it has, so bound your waits where that can happen.
//!
//! Waits that take a timeout measure it by CLOCK_MONOTONIC; one longer than the clock can say has
//! no end, and one of zero is an attempt. In a child that somebody forked by hand every handle of
//! its parent's is inert: operations are [`Error::Closed`](crate::Error::Closed), and dropping
//! guards changes nothing.
//!
//! # Names
//!
//! Each primitive can be made under a name in `/dev/shm`, and then be opened, and written over, by
//! any program of this user. No bytes that one writes there make a safe call do what it must not:
//! all words are atomics, checked when they are read; values are copied out and in, and any bytes
//! are a [`Pod`](bytemuck::Pod) value; items of a list are decoded. What was written over is an
//! error, or a wrong value. (A program that shortens the file ends those that use it by SIGBUS.)
//!
//! Such a program can also keep others waiting: by taking a lock or a permit and not giving it
//! back, or by writing into it that a living process has it. A wait without a bound then has no
//! end. So in doubt take locks and permits, wait for events and come to barriers with a timeout;
//! [`Once::call`], a [`Value`] of more than eight bytes, a [`SharedList`], and a [`Condvar`] on
//! its way back to its lock wait for a lock without a bound.
//!
//! # Examples
//!
//! Two tasks count together, in two processes:
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

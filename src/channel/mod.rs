//! Queues and pipes between processes, over rings in shared memory.
//!
//! | type | is for | ends with |
//! |---|---|---|
//! | [`Queue`] | any number of producers and consumers | [`close`](Queue::close) |
//! | [`JoinableQueue`] | the same, and to wait until all are processed | the same |
//! | [`SimpleQueue`] | a queue without settings | the same |
//! | [`Pipe`] | two [`Connection`]s, each the other's peer | the peer's last handle, or its death |
//!
//! Handles are clones of one another. They cross into tasks in their argument, as a shared value,
//! and through the pool's initializer; a worker may keep one in a `static`. Messages are serde
//! values, or bytes. The sending call copies them into shared memory, without a background thread:
//! a process that exits never waits for a reader, and its messages stay.
//!
//! # What a death leaves
//!
//! | death of | what is left |
//! |---|---|
//! | a producer, in the middle of a `put` | the message is whole, or absent |
//! | a consumer, in the middle of a `get` | the message is taken, or still there |
//! | a consumer, after a `get` | the message is gone; see [`JoinableQueue::join`] |
//! | the holder of a lock | the lock is free as soon as the death is noticed |
//! | a process about to wake a sleeper | the sleeper is woken, or wakes within 50 ms |
//! | the last holder of a pipe's end | the peer reads what is there, and then the end of file |
//!
//! The host notices a death when the worker is reaped; every waiter checks for deaths in slices of
//! 50 ms. `sync/ring/mod.rs` explains why no repair is needed: a message is committed by one store,
//! and so is its removal.

mod codec;
mod connection;
mod deliveries;
mod held_end;
mod joinable;
mod message_ring;
mod pipe;
mod queue;
mod queue_builder;
mod wait;

pub use connection::Connection;
pub use joinable::JoinableQueue;
pub use pipe::{Pipe, PipeBuilder};
pub use queue::Queue;
pub use queue_builder::{QueueBuilder, SimpleQueue};
pub use wait::{Waitable, wait_any};

//! Queues and pipes between processes, over rings in shared memory.
//!
//! | type | is for | ends with |
//! |---|---|---|
//! | [`Queue`] | any number of producers and consumers | [`close`](Queue::close) |
//! | [`JoinableQueue`] | the same, and to wait until all was dealt with | the same |
//! | [`SimpleQueue`] | the least that a queue can be | the same |
//! | [`Pipe`] | two [`Connection`]s, each the other's peer | the peer's last handle, or its death |
//!
//! Handles are clones of one another, and cross into tasks as part of their argument, as a shared
//! value, and through the pool's initializer; a worker may keep one in a `static`. Messages are
//! serde values, or bytes. They are copied into shared memory by the call that sends them: there is
//! no thread behind a channel, a process that exits never waits for a reader, and what it has sent
//! is there.
//!
//! # What a death leaves
//!
//! | who dies | what is left |
//! |---|---|
//! | a producer, in the middle of a `put` | the message is there whole, or it never was |
//! | a consumer, in the middle of a `get` | the message is taken, or still there |
//! | a consumer, after a `get` | the message is gone; see [`JoinableQueue::join`] |
//! | whoever holds a lock | the lock is free as soon as the death is noticed |
//! | whoever was to wake a sleeper | the sleeper is woken, or wakes within 50 ms |
//! | the last holder of a pipe's end | the peer reads what is there, and then the end of file |
//!
//! A death is noticed by the host as soon as the worker is reaped, and by every waiter in slices
//! of 50 ms. What it takes to have no repair at all stands in `sync/ring/mod.rs`: a message is
//! committed by one store, and so is its removal.

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

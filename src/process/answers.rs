//! Answers to a child, kept until they are sent.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::sys::socket::{self, Socket};

/// Answers that were not sent yet, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Answers(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    answers: VecDeque<Vec<u8>>,
    /// How often the first of them could not be sent.
    tries: u32,
}

/// What became of the answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// None waits; those to a child that is gone are dropped.
    All,
    /// Try again after [`AGAIN`].
    Some,
    /// The kernel has had no memory for them for five seconds.
    GivenUp,
}

/// When to try again.
pub(crate) const AGAIN: Duration = Duration::from_millis(10);
/// How often an answer is tried.
const TRIES_MAX: u32 = 500;

impl Answers {
    /// Adds an answer; the next [`send`](Answers::send) sends it.
    pub(crate) fn add(&self, answer: &[u8]) {
        self.lock().answers.push_back(answer.to_vec());
    }

    /// Sends what there is room for, without waiting.
    pub(crate) fn send(&self, socket: &Socket) -> Sent {
        let mut waiting = self.lock();
        while let Some(answer) = waiting.answers.front() {
            let is_short = match socket.try_send(answer, &[]) {
                Ok(is_sent) => !is_sent,
                // Another error: the child is gone, and its end will be heard of.
                Err(error) => socket::is_shortage(&error),
            };
            if !is_short {
                waiting.answers.pop_front();
                waiting.tries = 0;
                continue;
            }
            waiting.tries += 1;
            return if waiting.tries < TRIES_MAX { Sent::Some } else { Sent::GivenUp };
        }
        Sent::All
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        // Nothing under this lock panics half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! The names of tasks' functions, by the offsets of their trampolines.
//!
//! A worker knows a task by its trampoline. The host knows the name when it submits the task, and
//! keeps one for each function of the program.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::sys::per_process::PerProcess;

const SEEN: usize = 64;

struct Names {
    /// Functions that are certainly kept: a check of one word for most submissions.
    seen: [AtomicU64; SEEN],
    kept: Mutex<HashMap<u64, &'static str>>,
}

static NAMES: PerProcess<Names> =
    PerProcess::new(|| Names { seen: [const { AtomicU64::new(0) }; SEEN], kept: Mutex::default() });

/// Keeps the name of a function.
#[inline]
pub(crate) fn note(function: u64, name: &'static str) {
    let names = NAMES.get();
    let seen = &names.seen[usize::try_from(function >> 4).unwrap_or(0) % SEEN];
    // Relaxed: a hint; otherwise the name is noted again.
    if seen.load(Ordering::Relaxed) != function {
        names.note_slow(function, name);
        seen.store(function, Ordering::Relaxed);
    }
}

impl Names {
    #[cold]
    fn note_slow(&self, function: u64, name: &'static str) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.entry(function).or_insert(name);
    }
}

/// The name of a function that was submitted.
pub(super) fn name(function: u64) -> Option<&'static str> {
    let kept = NAMES.get().kept.lock().unwrap_or_else(PoisonError::into_inner);
    kept.get(&function).copied()
}

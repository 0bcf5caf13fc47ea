//! A number for each thread of a process.
//!
//! Tokens distinguish processes. A word that must also distinguish the threads of a process holds
//! both. A number is never used twice in a process.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};

static LAST: AtomicU32 = AtomicU32::new(0);

#[cfg(not(loom))]
thread_local! {
    static NUMBER: Cell<u32> = const { Cell::new(0) };
}

#[cfg(loom)]
loom::thread_local! {
    static NUMBER: Cell<u32> = Cell::new(0);
}

/// The calling thread's number, at least 1.
#[inline]
pub(super) fn number() -> u32 {
    NUMBER.with(|number| {
        if number.get() == 0 {
            // Relaxed: only the number itself must be unique.
            number.set(LAST.fetch_add(1, Ordering::Relaxed) + 1);
        }
        number.get()
    })
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_thread_keeps_its_number_and_shares_it_with_none() {
        let mine = number();
        let theirs = std::thread::spawn(number).join().unwrap();
        assert_eq!(mine, number());
        assert_ne!(mine, theirs);
    }
}

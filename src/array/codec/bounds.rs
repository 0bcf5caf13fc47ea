//! How deep and how large a value may be.
//!
//! A value is encoded and decoded by functions that call each other once a level, so that bytes
//! which say "one level more" a million times would overflow the stack; and an element that takes
//! no bytes can be announced 2^64 times in ten. Both directions have the same bounds: what can be
//! encoded can be decoded.

use crate::object::transfer;
use crate::sys::thread;

/// Options, newtypes, enums, structs, tuples, sequences and maps that may lie in one another.
pub(crate) const LEVELS_MAX: u32 = 512;

/// Elements of sequences and maps that take no bytes, for one value. Fewer where many values are
/// tried.
pub(crate) const EMPTY_MAX: usize = 1 << if cfg!(any(test, fuzzing)) { 12 } else { 20 };

/// Levels that no stack is too small for: so far nobody asks how much of it is left.
const LEVELS_FREE: u32 = 16;

/// Where a value has got to within its bounds.
#[derive(Default)]
pub(super) struct Bounds {
    level: u32,
    empty: usize,
}

impl Bounds {
    /// One level deeper, until [`leave`](Bounds::leave).
    #[inline]
    pub(super) fn enter(&mut self) -> postcard::Result<()> {
        if self.level >= LEVELS_FREE && (self.level >= LEVELS_MAX || thread::is_stack_low()) {
            return Err(too_deep(self.level));
        }
        self.level += 1;
        Ok(())
    }

    #[inline]
    pub(super) fn leave(&mut self) {
        self.level -= 1;
    }

    /// Whether a sequence may have so many elements in so many bytes, if all that take any take
    /// one.
    #[inline]
    pub(super) fn check(&self, elements: usize, bytes: usize) -> postcard::Result<()> {
        if elements.saturating_sub(bytes) > EMPTY_MAX - self.empty {
            return Err(too_many(elements, bytes));
        }
        Ok(())
    }

    /// Counts the elements of a sequence that took no bytes.
    #[inline]
    pub(super) fn count(&mut self, elements: usize, bytes: usize) -> postcard::Result<()> {
        self.check(elements, bytes)?;
        self.empty += elements.saturating_sub(bytes);
        Ok(())
    }
}

#[cold]
fn too_deep(level: u32) -> postcard::Error {
    let reason = if level >= LEVELS_MAX {
        format!("it nests more than {LEVELS_MAX} levels deep; send its parts as a flat list")
    } else {
        format!(
            "more than three quarters of this thread's stack are in use at level {level} of it; \
             use a thread with a larger stack, or send its parts as a flat list"
        )
    };
    refuse(reason)
}

#[cold]
fn too_many(elements: usize, bytes: usize) -> postcard::Error {
    refuse(format!(
        "it has {elements} elements in {bytes} bytes, and at most {EMPTY_MAX} of a value may take \
         no bytes; send their number"
    ))
}

fn refuse(reason: String) -> postcard::Error {
    serde::ser::Error::custom(transfer::noted(reason))
}

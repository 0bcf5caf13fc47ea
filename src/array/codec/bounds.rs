//! Limits on the depth and the size of a value.
//!
//! A value is encoded and decoded by functions that call each other once for each level. So bytes
//! that announce another level a million times would overflow the stack. And ten bytes can announce
//! 2^64 elements that take no bytes. Encoding and decoding have the same limits: every value that
//! can be encoded can be decoded.

use crate::object::transfer;
use crate::sys::thread;

/// The greatest nesting of options, newtypes, enums, structs, tuples, sequences and maps.
pub(crate) const LEVELS_MAX: u32 = 512;

/// The most elements without bytes in the sequences and maps of one value. Fewer in tests that try
/// many values.
pub(crate) const EMPTY_MAX: usize = 1 << if cfg!(any(test, fuzzing)) { 12 } else { 20 };

/// Up to this level every stack is large enough, and the remaining stack is not measured.
const LEVELS_FREE: u32 = 16;

/// How much of its bounds a value has used.
#[derive(Default)]
pub(super) struct Bounds {
    level: u32,
    empty: usize,
}

impl Bounds {
    /// Enters a level, until [`leave`](Bounds::leave).
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

    /// Checks that a sequence may have this many elements in this many bytes. Elements that take
    /// bytes are assumed to take one.
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
            "more than three quarters of this thread's stack are in use at its level {level}; \
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

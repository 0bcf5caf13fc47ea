//! The processor's floating-point mode: rounding, subnormals, precision, exceptions.
//!
//! A thread's mode is state that any code may change and that calls inherit. Compiled arithmetic
//! assumes the standard mode, and the kernels need it: residues as `f64` are wrong in another
//! rounding mode. So code that computes, or calls a user's function, sets the standard mode first.
#![allow(unsafe_code)]

#[cfg(all(target_arch = "x86_64", not(miri)))]
use x86_64 as processor;

#[cfg(all(target_arch = "aarch64", not(miri)))]
use aarch64 as processor;

#[cfg(any(not(any(target_arch = "x86_64", target_arch = "aarch64")), miri))]
use unknown as processor;

use processor::Control;

/// While this lives, the calling thread computes in the standard mode: rounding to nearest,
/// subnormal numbers kept, no exception raised. Dropping it restores the thread's own mode.
#[must_use = "the standard mode ends with the guard"]
pub(crate) struct FloatMode {
    before: Control,
}

impl FloatMode {
    pub(crate) fn standard() -> FloatMode {
        let before = Control::current();
        if !before.is_standard() {
            Control::STANDARD.load();
        }
        FloatMode { before }
    }

    /// Sets the standard mode without restoring another: between two user functions, within a
    /// guard's life.
    #[inline]
    pub(crate) fn reset() {
        if !Control::current().is_standard() {
            Control::STANDARD.load();
        }
    }
}

impl Drop for FloatMode {
    fn drop(&mut self) {
        if !Control::current().is_mode_of(self.before) {
            self.before.load();
        }
    }
}

/// The control registers of a processor.
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod x86_64 {
    use std::arch::asm;

    /// MXCSR: the exceptions that have occurred. The other bits are the mode.
    const MXCSR_FLAGS: u32 = 0x3f;
    /// The x87 control word: masks of exceptions, precision, rounding. The other bits have no
    /// meaning.
    const X87_MODE: u16 = 0x0f3f;

    #[derive(Debug, Clone, Copy)]
    pub(super) struct Control {
        pub(super) mxcsr: u32,
        pub(super) x87: u16,
    }

    impl Control {
        pub(super) const STANDARD: Control = Control { mxcsr: 0x1f80, x87: 0x037f };

        #[inline]
        pub(super) fn current() -> Control {
            let (mut mxcsr, mut x87) = (0u32, 0u16);
            // SAFETY: every x86-64 processor has the instruction; it writes four bytes, to a local.
            unsafe {
                asm!("stmxcsr [{}]", in(reg) &raw mut mxcsr, options(nostack, preserves_flags));
            }
            // SAFETY: as above, with two bytes.
            unsafe {
                asm!("fnstcw [{}]", in(reg) &raw mut x87, options(nostack, preserves_flags));
            }
            Control { mxcsr, x87 }
        }

        #[inline]
        pub(super) fn is_standard(self) -> bool {
            self.is_mode_of(Control::STANDARD)
        }

        #[inline]
        pub(super) fn is_mode_of(self, other: Control) -> bool {
            (self.mxcsr ^ other.mxcsr) & !MXCSR_FLAGS == 0 && (self.x87 ^ other.x87) & X87_MODE == 0
        }

        #[cold]
        pub(super) fn load(self) {
            let Control { mxcsr, x87 } = self;
            // SAFETY: the value is the standard one, or was read from the register, so no reserved
            // bit is set; the instruction reads four bytes of a local.
            unsafe { asm!("ldmxcsr [{}]", in(reg) &raw const mxcsr, options(nostack)) };
            // SAFETY: the instructions read two bytes of a local, and change no register but the
            // control word and the flags. A pending exception is cleared first: otherwise it would
            // be raised here, by code that did not cause it.
            unsafe { asm!("fnclex", "fldcw [{}]", in(reg) &raw const x87, options(nostack)) };
        }
    }
}

/// The control register of a processor.
#[cfg(all(target_arch = "aarch64", not(miri)))]
mod aarch64 {
    use std::arch::asm;

    #[derive(Debug, Clone, Copy)]
    pub(super) struct Control(u64);

    impl Control {
        pub(super) const STANDARD: Control = Control(0);

        #[inline]
        pub(super) fn current() -> Control {
            let fpcr: u64;
            // SAFETY: user code may read the register.
            unsafe { asm!("mrs {}, fpcr", out(reg) fpcr, options(nostack, preserves_flags)) };
            Control(fpcr)
        }

        #[inline]
        pub(super) fn is_standard(self) -> bool {
            self.is_mode_of(Control::STANDARD)
        }

        #[inline]
        pub(super) fn is_mode_of(self, other: Control) -> bool {
            self.0 == other.0
        }

        #[cold]
        pub(super) fn load(self) {
            // SAFETY: user code may write the register; the value is the standard one, or was
            // read from it.
            unsafe { asm!("msr fpcr, {}", in(reg) self.0, options(nostack)) };
        }
    }
}

/// A processor whose mode is not changed.
#[cfg(any(not(any(target_arch = "x86_64", target_arch = "aarch64")), miri))]
mod unknown {
    #[derive(Debug, Clone, Copy)]
    pub(super) struct Control;

    impl Control {
        pub(super) const STANDARD: Control = Control;

        pub(super) fn current() -> Control {
            Control
        }

        pub(super) fn is_standard(self) -> bool {
            true
        }

        pub(super) fn is_mode_of(self, _: Control) -> bool {
            true
        }

        pub(super) fn load(self) {}
    }
}

#[cfg(all(test, target_arch = "x86_64", not(miri)))]
mod tests {
    use super::*;

    /// Rounding upwards in both units, subnormals as zeros; x87 with 24 bits.
    const OTHER: Control = Control { mxcsr: 0xdfc0, x87: 0x087f };

    #[test]
    fn a_mode_is_standard_while_the_guard_lives_and_back_afterwards() {
        OTHER.load();
        let guard = FloatMode::standard();
        let inside = Control::current();
        drop(guard);
        let after = Control::current();
        Control::STANDARD.load();
        assert!(inside.is_standard(), "{inside:x?}");
        assert!(after.is_mode_of(OTHER), "{after:x?}");
    }

    #[test]
    fn what_was_changed_under_a_guard_ends_with_it() {
        let guard = FloatMode::standard();
        OTHER.load();
        FloatMode::reset();
        let reset = Control::current();
        OTHER.load();
        drop(guard);
        let after = Control::current();
        Control::STANDARD.load();
        assert!(reset.is_standard(), "{reset:x?}");
        assert!(after.is_standard(), "{after:x?}");
    }

    #[test]
    fn flags_of_exceptions_are_no_mode() {
        let mxcsr = Control::STANDARD.mxcsr | 0x3f;
        assert!(Control { mxcsr, ..Control::STANDARD }.is_standard());
    }
}

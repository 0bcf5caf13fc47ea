//! Floating-point modes that a task or a host may have set.
#![allow(unsafe_code)]

/// Sets the mode of the calling thread: rounding and subnormals, as in x86's MXCSR. On other
/// processors nothing happens.
pub(crate) fn set_mode(mode: u32) {
    #[cfg(target_arch = "x86_64")]
    {
        let mxcsr = STANDARD | mode;
        // SAFETY: the instruction reads four bytes of a local; no reserved bit is set.
        unsafe { std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const mxcsr, options(nostack)) };
    }
    let _ = mode;
}

/// Runs `work` in this mode of the calling thread.
pub(crate) fn under<R>(mode: u32, work: impl FnOnce() -> R) -> R {
    set_mode(mode);
    let result = work();
    set_mode(0);
    result
}

/// The mode of the calling thread, as `set_mode` takes it.
pub(crate) fn mode() -> u32 {
    let mut mxcsr = STANDARD;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the instruction writes four bytes of a local.
    unsafe {
        std::arch::asm!("stmxcsr [{}]", in(reg) &raw mut mxcsr, options(nostack, preserves_flags));
    }
    std::hint::black_box(&mut mxcsr);
    mxcsr & !STANDARD & !FLAGS
}

const STANDARD: u32 = 0x1f80;
const FLAGS: u32 = 0x3f;

/// Rounding downwards.
pub(crate) const DOWN: u32 = 0x2000;
/// Rounding upwards.
pub(crate) const UP: u32 = 0x4000;
/// Rounding toward zero.
pub(crate) const TO_ZERO: u32 = 0x6000;
/// Subnormal results and operands count as zeros.
pub(crate) const FLUSH: u32 = 0x8040;

/// All of them.
pub(crate) const MODES: [u32; 5] = [DOWN, UP, TO_ZERO, FLUSH, TO_ZERO | FLUSH];

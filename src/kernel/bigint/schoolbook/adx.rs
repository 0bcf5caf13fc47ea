//! One row of a schoolbook product with two carry chains.
#![allow(unsafe_code)]

use std::arch::asm;

/// Limbs that one round of the loop takes.
const ROUND: usize = 4;

/// `out += a b` for `out` as long as `a`, a multiple of four limbs; returns the carry.
///
/// `mulx` does not change the flags. `adcx` carries products into one another in CF, and `adox`
/// carries their sums with `out` in OF, so neither chain waits for the other.
///
/// # Safety
///
/// - The processor has BMI2 and ADX.
#[inline(always)]
pub(super) unsafe fn add_rounds(out: &mut [u64], a: &[u64], b: u64) -> u64 {
    assert!(out.len() == a.len() && a.len().is_multiple_of(ROUND), "whole rounds");
    let mut carry = 0u64;
    if a.is_empty() {
        return carry;
    }
    // SAFETY: the loop reads `a` and reads and writes `out` for `rcx * 4` limbs, the length of both
    // as asserted, and is skipped for zero limbs; the processor has the instructions, by this
    // function's contract.
    unsafe {
        asm!(
            "xor {low:e}, {low:e}",
            "2:",
            "mulx {h0}, {low}, [{a}]",
            "adcx {low}, {carry}",
            "adox {low}, [{out}]",
            "mov [{out}], {low}",
            "mulx {h1}, {low}, [{a} + 8]",
            "adcx {low}, {h0}",
            "adox {low}, [{out} + 8]",
            "mov [{out} + 8], {low}",
            "mulx {h0}, {low}, [{a} + 16]",
            "adcx {low}, {h1}",
            "adox {low}, [{out} + 16]",
            "mov [{out} + 16], {low}",
            "mulx {carry}, {low}, [{a} + 24]",
            "adcx {low}, {h0}",
            "adox {low}, [{out} + 24]",
            "mov [{out} + 24], {low}",
            "lea {a}, [{a} + 32]",
            "lea {out}, [{out} + 32]",
            "lea rcx, [rcx - 1]",
            "jrcxz 3f",
            "jmp 2b",
            "3:",
            "mov {low:e}, 0",
            "adcx {carry}, {low}",
            "adox {carry}, {low}",
            a = inout(reg) a.as_ptr() => _,
            out = inout(reg) out.as_mut_ptr() => _,
            low = out(reg) _,
            h0 = out(reg) _,
            h1 = out(reg) _,
            carry = inout(reg) carry,
            inout("rcx") a.len() / ROUND => _,
            in("rdx") b,
            options(nostack),
        );
    }
    carry
}

//! Carries and borrows: sums and differences of limb slices.

/// Adds `limb` to `number`; returns the carry out, 0 or 1 unless `number` is empty.
pub fn add_limb(number: &mut [u64], limb: u64) -> u64 {
    let mut carry = limb;
    for limb in number {
        if carry == 0 {
            return 0;
        }
        let (sum, overflow) = limb.overflowing_add(carry);
        *limb = sum;
        carry = u64::from(overflow);
    }
    carry
}

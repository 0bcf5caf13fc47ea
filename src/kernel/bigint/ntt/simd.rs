//! The vector operations that an instruction set must offer.
#![allow(unsafe_code)]

/// Lanes in a vector, coefficients in a leaf of the transform.
pub(super) const LANES: usize = 8;

/// Lanes of 64 bits in registers, for arithmetic without data movement between lanes.
///
/// The existence of a value proves that the processor can compute with it, because every value
/// derives from one of the three unsafe constructors.
pub(super) trait Arithmetic: Copy {
    /// The number of lanes, a divisor of [`LANES`].
    const WIDTH: usize;

    /// All lanes with the bits `x`.
    ///
    /// # Safety
    ///
    /// - The processor has what this type needs.
    unsafe fn splat(x: u64) -> Self;

    /// Lanes from memory, aligned to 8 bytes or less.
    ///
    /// # Safety
    ///
    /// - The processor has what this type needs.
    /// - As many words as there are lanes are readable at `source`.
    unsafe fn load(source: *const u64) -> Self;

    /// All lanes with the bits that `source` points to.
    ///
    /// # Safety
    ///
    /// - The processor has what this type needs.
    /// - `source` is readable and aligned.
    #[inline(always)]
    unsafe fn splat_from(source: *const u64) -> Self {
        // SAFETY: readable and aligned, by this function's contract.
        let bits = unsafe { source.read() };
        // SAFETY: the processor has what this type needs, by this function's contract.
        unsafe { Self::splat(bits) }
    }

    /// Writes the lanes to memory, aligned to 8 bytes or less.
    ///
    /// # Safety
    ///
    /// - As many words as there are lanes are writable at `target`.
    unsafe fn store(self, target: *mut u64);

    /// `self + other`; of integers modulo 2^64.
    fn add(self, other: Self) -> Self;

    /// `self - other`; of integers modulo 2^64.
    fn sub(self, other: Self) -> Self;
}

/// Lanes that are integers, with products of 52 bits.
pub(super) trait Integers: Arithmetic {
    /// `self + x * y` modulo 2^52; the bits above are undefined.
    fn add_product(self, x: Self, y: Self) -> Self;

    /// `self + floor(x * y / 2^52)` of the low 52 bits of `x` and `y`, modulo 2^64.
    fn add_high(self, x: Self, y: Self) -> Self;
}

/// A vector of eight lanes, with operations that move bits between them.
pub(super) trait Lanes: Integers {
    /// Bitwise and.
    fn and(self, other: Self) -> Self;

    /// Bitwise or.
    fn or(self, other: Self) -> Self;

    /// The smaller of two lanes, unsigned.
    fn min(self, other: Self) -> Self;

    /// Logical shift to the right by `N < 64` bits.
    fn shift_right<const N: u32>(self) -> Self;

    /// Shift to the left by `N < 64` bits.
    fn shift_left<const N: u32>(self) -> Self;

    /// `self + (x * y mod 2^52)` of the low 52 bits of `x` and `y`, modulo 2^64.
    fn add_low(self, x: Self, y: Self) -> Self;

    /// Lanes `N..N+8` of the sixteen lanes `low`, `self`.
    fn align<const N: i32>(self, low: Self) -> Self;

    /// Lane `i` of a 512-bit number shifted left by lane `i < 64` of `counts`; the bits that leave
    /// a lane enter the next.
    fn shift_apart(self, counts: Self) -> Self;

    /// The number, of `8 D` bits, whose digits are the lanes, each below 2^D.
    fn pack<const D: u32>(self) -> Self;

    /// Adds `carry` (0 or 1) to the number whose digits are the lanes, each at most
    /// `max + 2^32` where `max = 2^D - 1`; returns digits of at most `max`, and the carry out.
    fn ripple<const D: u32>(self, carry: u32) -> (Self, u32);

    /// The highest lane.
    fn last(self) -> u64;
}

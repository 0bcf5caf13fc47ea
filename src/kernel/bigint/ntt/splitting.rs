//! Splitting of limbs into digits, and of digits into residues.
#![allow(unsafe_code)]

use super::butterflies::{IntegerField, ResidueField};
use super::simd::{LANES, Lanes};

/// `0, step, 2 step, ...`
pub(super) const fn multiples(step: u32) -> [u64; LANES] {
    let mut lanes = [0; LANES];
    let mut i = 1;
    while i < LANES {
        lanes[i] = lanes[i - 1] + step as u64;
        i += 1;
    }
    lanes
}

/// How eight digits are extracted from as many bytes as a digit has bits: digit `i` is the upper
/// half of limbs `i` and `i - 1` shifted left by `i (64 - bits)`, and masked.
#[derive(Clone, Copy)]
pub(super) struct Split<L> {
    counts: L,
    mask: L,
}

impl<L: Lanes> Split<L> {
    #[inline(always)]
    pub(super) fn new(field: &IntegerField<L>, digit_bits: u32) -> Self {
        let counts = multiples(64 - digit_bits);
        // SAFETY: the array is 64 bytes; the caller of `IntegerField::new` guaranteed the
        // processor.
        let counts = unsafe { L::load(counts.as_ptr()) };
        Self { counts, mask: field.splat((1 << digit_bits) - 1) }
    }

    #[inline(always)]
    fn digits(&self, limbs: L) -> L {
        limbs.shift_apart(self.counts).and(self.mask)
    }
}

/// An operand: limbs, least significant first.
#[derive(Clone, Copy)]
pub(super) struct Digits<'a> {
    limbs: &'a [u64],
    line_bytes: usize,
    /// Lines that can be read by one load of 64 bytes.
    whole: usize,
    /// Lines that have a nonzero digit.
    lines: usize,
}

impl<'a> Digits<'a> {
    /// The digits of `limbs`, each of `digit_bits`. A line is `digit_bits` bytes.
    pub(super) fn new(limbs: &'a [u64], digit_bits: u32) -> Self {
        let bytes = size_of_val(limbs);
        let line_bytes = digit_bits as usize;
        let whole = if bytes < 64 { 0 } else { (bytes - 64) / line_bytes + 1 };
        Self { limbs, line_bytes, whole, lines: bytes.div_ceil(line_bytes) }
    }

    /// The eight digits of line `line`; zeros past the end.
    #[inline(always)]
    pub(super) fn line<L: Lanes>(&self, split: &Split<L>, line: usize) -> L {
        if line < self.whole {
            let bytes = self.limbs.as_ptr().cast::<u8>().wrapping_add(line * self.line_bytes);
            // SAFETY: `line < whole`, so `line * line_bytes + 64` bytes are within the limbs
            // (`new`); the caller of `IntegerField::new` guaranteed the processor.
            split.digits(unsafe { L::load(bytes.cast()) })
        } else {
            let limbs = self.last_lines(line * self.line_bytes);
            // SAFETY: the array is 64 bytes; the processor as above.
            split.digits(unsafe { L::load(limbs.as_ptr()) })
        }
    }

    /// The address of the eight limbs from the first byte of line `line` on: in the operand or,
    /// near and past its end, in `rest`.
    #[inline(always)]
    pub(super) fn limbs_of_line(&self, line: usize, rest: &mut [u64; LANES]) -> *const u64 {
        if line < self.whole {
            return self.limbs.as_ptr().wrapping_byte_add(line * self.line_bytes);
        }
        *rest = self.last_lines(line * self.line_bytes);
        rest.as_ptr()
    }

    /// The lines up to the last that has a nonzero digit.
    #[inline(always)]
    pub(super) fn lines(&self) -> usize {
        self.lines
    }

    /// The bytes from `first_byte` on, and zeros after them.
    #[cold]
    fn last_lines(&self, first_byte: usize) -> [u64; LANES] {
        let mut lanes = [0; LANES];
        let (skip, shift) = (first_byte / 8, first_byte % 8 * 8);
        let rest = &self.limbs[skip.min(self.limbs.len())..];
        for (i, lane) in lanes.iter_mut().enumerate() {
            let low = rest.get(i).map_or(0, |limb| limb >> shift);
            let high = rest.get(i + 1).map_or(0, |limb| limb << 1 << (63 - shift));
            *lane = low | high;
        }
        lanes
    }
}

/// The residues of an operand's digits, for the first pass.
pub(super) trait DigitResidues: ResidueField {
    /// How digits are extracted from limbs.
    type Split: Copy;

    /// The extraction of digits of `digit_bits`.
    fn split(&self, digit_bits: u32) -> Self::Split;

    /// The residues of the digits of vector `vector` of the operand; zeros past its end. A line has
    /// `LANES / WIDTH` vectors.
    fn residues(&self, operand: &Digits<'_>, split: &Self::Split, vector: usize) -> Self::Lane;
}

impl<L: Lanes> DigitResidues for IntegerField<L> {
    type Split = Split<L>;

    #[inline(always)]
    fn split(&self, digit_bits: u32) -> Split<L> {
        Split::new(self, digit_bits)
    }

    #[inline(always)]
    fn residues(&self, operand: &Digits<'_>, split: &Split<L>, vector: usize) -> L {
        const { assert!(L::WIDTH == LANES) };
        residue(self, operand.line(split, vector))
    }
}

/// A residue of a digit `x < 2^63`, in `[0, 5p)`: `x mod 2^49 + floor(x / 2^49) * gap`, where the
/// second term is below `2^14 * 2^36.7 < 3.3 * 2^49`.
#[inline(always)]
fn residue<L: Lanes>(field: &IntegerField<L>, digits: L) -> L {
    let low = digits.and(field.splat((1 << 49) - 1));
    low.add_low(digits.shift_right::<49>(), field.splat(field.prime.gap()))
}

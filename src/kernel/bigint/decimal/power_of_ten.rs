//! Powers of ten, and fractions of them.

use std::borrow::Cow;

use crate::kernel::bigint::limbs::{add_assign, low_limb, mul_limb, shift_left, sub_assign, trim};

/// The digits that are taken from a limb at once.
pub(super) const BLOCK_DIGITS: usize = 19;

/// `10^19`.
pub(super) const BLOCK: u64 = 10_000_000_000_000_000_000;

/// A power of ten, `10^digits`.
#[derive(Debug)]
pub(super) struct Power<'a> {
    pub(super) digits: usize,
    /// The factor for fractions: `5^digits` if `2^digits` is a whole number of limbs, by which the
    /// point is moved, otherwise `10^digits`.
    pub(super) factor: Cow<'a, [u64]>,
    /// Limbs by which the point of a product with `factor` is moved.
    point_limbs: usize,
    /// Limbs of `10^digits`.
    limbs: usize,
    /// `floor(2^127 / t)`, where `t` is the 64 highest bits of `10^digits`.
    quotient: u64,
    /// With `10^digits` a little above `t * 2^k`: `k` minus all whole limbs but the highest two.
    shift: u32,
}

impl<'a> Power<'a> {
    /// `10^digits`, from `five = 5^digits`.
    pub(super) fn new(digits: usize, five: Cow<'a, [u64]>) -> Self {
        let high = five[five.len() - 1];
        let below = if five.len() > 1 { five[five.len() - 2] } else { 0 };
        let zeros = high.leading_zeros();
        let t = if zeros == 0 { high } else { high << zeros | below >> (64 - zeros) };
        // Below 2^64, except for t = 2^63, where one less is close enough.
        let quotient = u64::try_from((1u128 << 127) / u128::from(t)).unwrap_or(u64::MAX);
        let bits = 64 * five.len() - zeros as usize + digits;
        let limbs = bits.div_ceil(64);
        let top_bits = bits - 64 * (limbs - 1);
        let aligned = digits.is_multiple_of(64);
        Self {
            digits,
            point_limbs: if aligned { digits / 64 } else { 0 },
            factor: if aligned { five } else { shifted_left(&five, digits).into() },
            limbs,
            quotient,
            shift: u32::try_from(top_bits).expect("at most 64"),
        }
    }

    /// Limbs of a fraction of `10^digits`.
    pub(super) fn fraction_limbs(&self) -> usize {
        self.limbs + 1
    }

    /// `part / 2^64 / 10^digits` in units of the lowest limb of a fraction: `2^(64 (limbs + 1))`
    /// of them are 1, so this is `part 2^(64 limbs) / 10^digits`, and with `10^digits = t 2^(64
    /// (limbs - 2) + shift)` it is `part (2^127 / t) 2^(1 - shift)`.
    pub(super) fn portion(&self, part: u64) -> [u64; 2] {
        let product = u128::from(part) * u128::from(self.quotient);
        let units = product >> (self.shift - 1);
        [low_limb(units), low_limb(units >> 64)]
    }

    /// Computes the fractions of the upper and the lower half of the digits of `y`, from the
    /// product of `y` and this power's factor. This is the power of one half.
    pub(super) fn halves(&self, y: &[u64], product: &[u64], upper: &mut [u64], lower: &mut [u64]) {
        let limbs = self.fraction_limbs();
        let point = y.len() - self.point_limbs;
        lower.copy_from_slice(&product[point - limbs..point]);
        upper.copy_from_slice(&y[y.len() - limbs..]);
        // Move by 1/2 - f, from the highest limb of f.
        let f = product[point - 1];
        if f < 1 << 63 {
            add_assign(upper, &self.portion((1 << 63) - f));
        } else {
            sub_assign(upper, &self.portion(f - (1 << 63)));
        }
    }

    /// Writes all digits of the leaf `y`, which is overwritten.
    pub(super) fn leaf(&self, y: &mut [u64], out: &mut [u8]) {
        assert_eq!(out.len(), self.digits, "a byte for each digit");
        let limbs = y.len();
        let blocks = self.digits / BLOCK_DIGITS;
        for (i, out) in out.chunks_exact_mut(BLOCK_DIGITS).enumerate() {
            // 19 digits are less than a limb: `left` blocks fit into as many limbs, plus one.
            let left = blocks - i;
            let low = limbs.saturating_sub(left + 1);
            write_block(out, mul_limb(&mut y[low..], BLOCK, 0));
        }
    }
}

/// `number * 2^bits`, without zero limbs at the end.
fn shifted_left(number: &[u64], bits: usize) -> Vec<u64> {
    let mut out = number.to_vec();
    out.resize(number.len() + bits / 64 + 1, 0);
    shift_left(&mut out, bits as u64);
    out.truncate(trim(&out).len());
    out
}

/// Writes the 19 digits of `block`.
pub(super) fn write_block(out: &mut [u8], block: u64) {
    const PAIRS: [[u8; 2]; 100] = {
        let mut pairs = [[b'0'; 2]; 100];
        let mut i = 0u8;
        while i < 100 {
            pairs[i as usize] = [b'0' + i / 10, b'0' + i % 10];
            i += 1;
        }
        pairs
    };
    let mut rest = block;
    let (first, pairs) = out.split_at_mut(1);
    for pair in pairs.chunks_exact_mut(2).rev() {
        pair.copy_from_slice(&PAIRS[usize::try_from(rest % 100).unwrap_or(0)]);
        rest /= 100;
    }
    first[0] = b'0' + rest.to_le_bytes()[0];
}

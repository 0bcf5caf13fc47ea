//! Decimal digits by products alone: a tree of fractions.
//!
//! A number `x` of at most `N` digits is held as the fraction `y = (x + h) / 10^N`, where `h` stays
//! near 1/2. With `N = 2 M`, `x = u 10^M + v`:
//!
//! - `y 10^M = u + (v + h) / 10^M`: the part after the point is the fraction of `v`;
//! - `y = (u + f) / 10^M` with `f = (v + h) / 10^M` known from there; `y + (1/2 - f) / 10^M` is the
//!   fraction of `u`.
//!
//! So a node gives its two halves by one product and an addition, and no remainder is taken.
//! Fractions have one limb more than `10^N`; cutting one to that length, or taking `1 / 10^M` from
//! a quotient of 64 bits, moves its `h` by less than `2^-58`. So `h` stays within 1/4 of 1/2
//! through any number of levels, no digit is ever in doubt, and the numbers at the leaves, whose
//! digits are shifted out by products with `10^19`, are exact. The root's fraction is one product
//! with a [`reciprocal`]. (After Bernstein, "Scaled remainder trees"; Brent and Zimmermann, "Modern
//! Computer Arithmetic", 1.7.)

use super::limbs::{add_assign, mul_limb, sub_assign, trim};
use super::mul::{mul, mul_scratch_limbs, square, square_scratch_limbs};
use super::params::{DECIMAL_BLOCKS_MIN, DECIMAL_TREE_MIN};
use super::reciprocal::{multiply, reciprocal};

/// Digits that are made from a limb at once.
const BLOCK_DIGITS: usize = 19;

/// `10^19`.
const BLOCK: u64 = 10_000_000_000_000_000_000;

/// The powers of ten for numbers of up to some length: leaves of `leaf_digits`, and for each level
/// nodes of twice as many digits as those of the level below.
///
/// # Examples
///
/// ```
/// use brigade::kernel::bigint::{DecimalPlan, factorial};
/// let x = factorial(1000);
/// let plan = DecimalPlan::new(x.len());
/// let mut fractions = vec![plan.root(&x)];
/// for level in (1..=plan.levels()).rev() {
///     let limbs = plan.fraction_limbs(level - 1);
///     let mut scratch = vec![0; plan.split_scratch_limbs(level)];
///     let mut halves = Vec::new();
///     for y in &fractions {
///         let (mut upper, mut lower) = (vec![0; limbs], vec![0; limbs]);
///         plan.split(level, y, &mut upper, &mut lower, &mut scratch);
///         halves.extend([upper, lower]);
///     }
///     fractions = halves;
/// }
/// let mut digits = vec![0; fractions.len() * plan.leaf_digits()];
/// for (y, digits) in fractions.iter_mut().zip(digits.chunks_mut(plan.leaf_digits())) {
///     plan.leaf(y, digits);
/// }
/// let digits = String::from_utf8(digits).unwrap();
/// assert!(digits.trim_start_matches('0').starts_with("402387260077093773543702433923"));
/// ```
#[derive(Debug, Clone)]
pub struct DecimalPlan {
    leaf_blocks: usize,
    /// `10^N` for the digits of a node of each level, from the leaves to below the root.
    powers: Vec<Power>,
    root: Power,
}

/// A power of ten, `10^digits`.
#[derive(Debug, Clone)]
struct Power {
    digits: usize,
    /// `5^digits`.
    five: Vec<u64>,
    /// What a fraction is multiplied by: `5^digits` where `2^digits` is a whole number of limbs,
    /// by which the point is moved, and `10^digits` where it is not.
    factor: Vec<u64>,
    /// Limbs by which the point of a product with `factor` is moved.
    point_limbs: usize,
    /// Limbs of `10^digits`.
    limbs: usize,
    /// `floor(2^127 / t)`, where `t` is the 64 highest bits of `10^digits`...
    quotient: u64,
    /// ... that is, `10^digits` is `t * 2^k`, and a little more; and this is `k` less all whole
    /// limbs but the highest two.
    shift: u32,
}

impl Power {
    fn new(digits: usize, five: Vec<u64>) -> Self {
        let ten = shifted_left(&five, digits);
        let limbs = ten.len();
        let (high, low) = (ten[limbs - 1], if limbs > 1 { ten[limbs - 2] } else { 0 });
        let zeros = high.leading_zeros();
        let t = if zeros == 0 { high } else { high << zeros | low >> (64 - zeros) };
        // Below 2^64, except for t = 2^63, where one less does as well.
        let quotient = u64::try_from((1u128 << 127) / u128::from(t)).unwrap_or(u64::MAX);
        let aligned = digits.is_multiple_of(64);
        let factor = if aligned { five.clone() } else { ten };
        let point_limbs = if aligned { digits / 64 } else { 0 };
        Self { digits, five, factor, point_limbs, limbs, quotient, shift: 64 - zeros }
    }

    /// Limbs of a fraction of `10^digits`.
    fn fraction_limbs(&self) -> usize {
        self.limbs + 1
    }

    /// `part / 2^64 / 10^digits` in units of the lowest limb of a fraction: `2^(64 (limbs + 1))`
    /// of them are 1, so this is `part 2^(64 limbs) / 10^digits`, and with `10^digits = t 2^(64
    /// (limbs - 2) + shift)` it is `part (2^127 / t) 2^(1 - shift)`.
    fn portion(&self, part: u64) -> [u64; 2] {
        let product = u128::from(part) * u128::from(self.quotient);
        let units = product >> (self.shift - 1);
        [low_limb(units), low_limb(units >> 64)]
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the low limb is what is asked for")]
const fn low_limb(x: u128) -> u64 {
    x as u64
}

/// `number * 2^bits`, without zero limbs at the end.
fn shifted_left(number: &[u64], bits: usize) -> Vec<u64> {
    let mut out = number.to_vec();
    out.resize(number.len() + bits / 64 + 1, 0);
    super::limbs::shift_left(&mut out, bits as u64);
    out.truncate(trim(&out).len());
    out
}

impl DecimalPlan {
    /// The plan for numbers of `limbs` limbs.
    #[must_use]
    pub fn new(limbs: usize) -> Self {
        // 64 log10(2) < 19.27 digits a limb.
        let blocks = (limbs * 1927).div_ceil(1900).max(1);
        let mut levels = 0;
        while blocks.div_ceil(1 << levels) >= 2 * DECIMAL_BLOCKS_MIN {
            levels += 1;
        }
        let leaf_blocks = blocks.div_ceil(1 << levels);
        let digits = leaf_blocks * BLOCK_DIGITS;
        let mut five = vec![1];
        for _ in 0..leaf_blocks {
            let carry = mul_limb(&mut five, BLOCK >> BLOCK_DIGITS, 0);
            if carry > 0 {
                five.push(carry);
            }
        }
        let mut powers = vec![Power::new(digits, five)];
        for level in 1..=levels {
            let five = &powers[level - 1].five;
            let mut next = vec![0; 2 * five.len()];
            square(&mut next, five, &mut vec![0; square_scratch_limbs(five.len())]);
            next.truncate(trim(&next).len());
            powers.push(Power::new(digits << level, next));
        }
        let root = powers.pop().unwrap_or_else(|| Power::new(digits, vec![1]));
        Self { leaf_blocks, powers, root }
    }

    /// Levels above the leaves.
    #[must_use]
    pub fn levels(&self) -> usize {
        self.powers.len()
    }

    /// Digits of a leaf; a node of level `l` has `2^l` times as many.
    #[must_use]
    pub fn leaf_digits(&self) -> usize {
        self.leaf_blocks * BLOCK_DIGITS
    }

    fn power(&self, level: usize) -> &Power {
        self.powers.get(level).unwrap_or(&self.root)
    }

    /// Limbs of a fraction of level `level`: 0 for leaves, [`levels`](Self::levels) for the root.
    #[must_use]
    pub fn fraction_limbs(&self, level: usize) -> usize {
        self.power(level).fraction_limbs()
    }

    /// The fraction of `x`, for the root.
    ///
    /// # Panics
    ///
    /// If `x` has more limbs than the plan is for.
    #[must_use]
    pub fn root(&self, x: &[u64]) -> Vec<u64> {
        let (power, x) = (&self.root, trim(x));
        let limbs = power.fraction_limbs();
        // 1 / 5^digits = 2^zeros B^-five / v, with v in [1/2, 1).
        let five = power.five.len();
        let zeros = power.five[five - 1].leading_zeros() as usize;
        let mut divisor = shifted_left(&power.five, zeros);
        divisor.resize(five, 0);
        let inverse = reciprocal(&divisor, limbs);
        let mut scratch = Vec::new();
        let product = multiply(x, &inverse, &mut scratch);
        // x / 10^digits = product 2^(zeros - digits) B^-(five + limbs), in units of B^-limbs.
        let down = 64 * five + power.digits - zeros;
        let mut y = shifted_right(&product, down);
        assert!(y.len() <= limbs, "the number is longer than the plan is for");
        y.resize(limbs, 0);
        add_assign(&mut y, &power.portion(1 << 63));
        y
    }

    /// Limbs of scratch memory for [`split`](Self::split) at `level`.
    #[must_use]
    pub fn split_scratch_limbs(&self, level: usize) -> usize {
        let (y, factor) = (self.fraction_limbs(level), self.power(level - 1).factor.len());
        y + factor + mul_scratch_limbs(y, factor)
    }

    /// The fractions of the upper and the lower half of the digits of `y`, a node of level `level`.
    ///
    /// # Panics
    ///
    /// If a slice has not the [`fraction_limbs`](Self::fraction_limbs) of its level, `scratch` is
    /// short, or `level` is 0.
    pub fn split(
        &self,
        level: usize,
        y: &[u64],
        upper: &mut [u64],
        lower: &mut [u64],
        scratch: &mut [u64],
    ) {
        assert_eq!(y.len(), self.fraction_limbs(level), "a fraction of level {level}");
        let power = self.power(level - 1);
        let limbs = power.fraction_limbs();
        let (product, scratch) = scratch.split_at_mut(y.len() + power.factor.len());
        mul(product, y, &power.factor, scratch);
        let point = y.len() - power.point_limbs;
        lower.copy_from_slice(&product[point - limbs..point]);
        upper.copy_from_slice(&y[y.len() - limbs..]);
        // Move by 1/2 - f, from the highest limb of f.
        let f = product[point - 1];
        if f < 1 << 63 {
            add_assign(upper, &power.portion((1 << 63) - f));
        } else {
            sub_assign(upper, &power.portion(f - (1 << 63)));
        }
    }

    /// Writes the digits of the leaf `y`, all [`leaf_digits`](Self::leaf_digits) of them, in
    /// ASCII; `y` is used up.
    ///
    /// # Panics
    ///
    /// If `y` has not the limbs of a leaf, or `out` not a byte for each digit.
    pub fn leaf(&self, y: &mut [u64], out: &mut [u8]) {
        assert_eq!(y.len(), self.fraction_limbs(0), "the fraction of a leaf");
        assert_eq!(out.len(), self.leaf_digits(), "a byte for each digit");
        let limbs = y.len();
        for (i, out) in out.chunks_exact_mut(BLOCK_DIGITS).enumerate() {
            // 19 digits are less than a limb: `left` blocks fit into as many limbs, plus one.
            let left = self.leaf_blocks - i;
            let low = limbs.saturating_sub(left + 1);
            write_block(out, mul_limb(&mut y[low..], BLOCK, 0));
        }
    }
}

/// Writes the 19 digits of `block`.
fn write_block(out: &mut [u8], block: u64) {
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

/// `number / 2^bits`, rounded down, without zero limbs at the end.
fn shifted_right(number: &[u64], bits: usize) -> Vec<u64> {
    let (skip, shift) = (bits / 64, bits % 64);
    let kept = number.get(skip..).unwrap_or(&[]);
    let above = |i: usize| kept.get(i + 1).map_or(0, |limb| limb << 1 << (63 - shift));
    let mut out: Vec<u64> =
        kept.iter().enumerate().map(|(i, limb)| limb >> shift | above(i)).collect();
    out.truncate(trim(&out).len());
    out
}

/// The decimal digits of `x`, in one process.
///
/// # Examples
///
/// ```
/// use brigade::kernel::bigint::to_decimal;
/// assert_eq!(to_decimal(&[]), "0");
/// assert_eq!(to_decimal(&[0, 1]), "18446744073709551616");
/// ```
#[must_use]
pub fn to_decimal(x: &[u64]) -> String {
    let x = trim(x);
    let digits = if x.len() < DECIMAL_TREE_MIN { by_division(x) } else { by_tree(x) };
    let zeros = digits.iter().take_while(|&&digit| digit == b'0').count();
    let digits = &digits[zeros.min(digits.len().saturating_sub(1))..];
    digits.iter().map(|&digit| char::from(digit)).collect()
}

/// Digits, with zeros before them, by repeated division by `10^19`.
fn by_division(x: &[u64]) -> Vec<u8> {
    let mut x = x.to_vec();
    let mut blocks = Vec::new();
    while !x.is_empty() {
        let mut rest = 0;
        for limb in x.iter_mut().rev() {
            let dividend = u128::from(rest) << 64 | u128::from(*limb);
            (*limb, rest) =
                (low_limb(dividend / u128::from(BLOCK)), low_limb(dividend % u128::from(BLOCK)));
        }
        blocks.push(rest);
        x.truncate(trim(&x).len());
    }
    let mut out = vec![b'0'; blocks.len().max(1) * BLOCK_DIGITS];
    for (out, &block) in out.chunks_exact_mut(BLOCK_DIGITS).zip(blocks.iter().rev()) {
        write_block(out, block);
    }
    out
}

/// Digits, with zeros before them, by [`DecimalPlan`], depth first.
fn by_tree(x: &[u64]) -> Vec<u8> {
    fn write(plan: &DecimalPlan, level: usize, y: &mut [u64], out: &mut [u8], memory: &mut [u64]) {
        if level == 0 {
            return plan.leaf(y, out);
        }
        let limbs = plan.fraction_limbs(level - 1);
        let (upper, memory) = memory.split_at_mut(limbs);
        let (lower, memory) = memory.split_at_mut(limbs);
        plan.split(level, y, upper, lower, memory);
        let (first, second) = out.split_at_mut(out.len() / 2);
        write(plan, level - 1, upper, first, memory);
        write(plan, level - 1, lower, second, memory);
    }
    let plan = DecimalPlan::new(x.len());
    let mut y = plan.root(x);
    let mut out = vec![0; plan.leaf_digits() << plan.levels()];
    // Below a level both halves, and below the lowest of them the scratch of its split: a level's
    // halves are about as long as its node, so twice the root's fraction is enough for all.
    let halves: usize = (0..plan.levels()).map(|level| 2 * plan.fraction_limbs(level)).sum();
    let scratch = (1..=plan.levels()).map(|level| plan.split_scratch_limbs(level)).max();
    let mut memory = vec![0; halves + scratch.unwrap_or(0)];
    write(&plan, plan.levels(), &mut y, &mut out, &mut memory);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::bigint::tests::awkward;
    use dashu_int::UBig;

    fn naive(x: &[u64]) -> String {
        let digits = String::from_utf8(by_division(x)).unwrap();
        let digits = digits.trim_start_matches('0');
        if digits.is_empty() { "0".into() } else { digits.into() }
    }

    #[test]
    fn decimals_agree_with_repeated_division_at_every_small_size() {
        for limbs in 0..70 {
            for seed in 0..5 {
                let x = if limbs == 0 { vec![] } else { awkward(limbs, seed) };
                assert_eq!(to_decimal(&x), naive(&x), "{limbs} {seed}");
                let tree = String::from_utf8(by_tree(&x)).unwrap();
                assert_eq!(tree.trim_start_matches('0'), naive(&x).trim_start_matches('0'));
            }
        }
    }

    #[test]
    fn long_decimals_agree_with_repeated_division_and_another_library() {
        for limbs in [100, 127, 128, 129, 300, 1000, 2500] {
            for seed in 0..5 {
                let x = awkward(limbs, seed);
                assert!(to_decimal(&x) == naive(&x), "{limbs} {seed}");
            }
        }
        let x = awkward(8000, 4);
        assert!(to_decimal(&x) == UBig::from_words(&x).to_string());
    }

    #[test]
    fn powers_of_ten_and_their_neighbours_have_the_right_digits() {
        for digits in [1, 18, 19, 20, 500, 607, 608, 609, 4000, 20_000] {
            let mut power = vec![1];
            for _ in 0..digits {
                let carry = mul_limb(&mut power, 10, 0);
                if carry > 0 {
                    power.push(carry);
                }
            }
            let expected = format!("1{}", "0".repeat(digits));
            assert_eq!(to_decimal(&power), expected);
            sub_assign(&mut power, &[1]);
            assert_eq!(to_decimal(&power), "9".repeat(digits));
            add_assign(&mut power, &[2]);
            assert_eq!(to_decimal(&power), expected[..digits].to_owned() + "1");
        }
    }
}

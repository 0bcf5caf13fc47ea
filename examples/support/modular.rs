//! Properties of n! that are known without computing it.

/// A prime of 61 bits.
const P: u64 = (1 << 61) - 1;

/// The product of two residues.
fn mul(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    #[expect(clippy::cast_possible_truncation, reason = "a mask, and a quotient below 2^61")]
    let (low, high) = ((product & u128::from(P)) as u64, (product >> 61) as u64);
    reduce(low + high)
}

/// Reduces a residue to the least one.
fn reduce(a: u64) -> u64 {
    let a = (a & P) + (a >> 61);
    if a >= P { a - P } else { a }
}

/// n! modulo 2^61 - 1, by n multiplications.
pub(crate) fn factorial_residue(n: u64) -> u64 {
    (1..=n).fold(1, |product, factor| mul(product, reduce(factor)))
}

/// A natural number modulo 2^61 - 1, from its limbs, lowest first.
pub(crate) fn residue(limbs: &[u64]) -> u64 {
    // 2^64 is 8 modulo P.
    limbs.iter().rev().fold(0, |high, &limb| reduce(mul(high, 8) + reduce(limb)))
}

/// A natural number modulo 2^61 - 1, from its decimal digits.
pub(crate) fn residue_of_decimal(digits: &str) -> u64 {
    // Seventeen digits are below the modulus.
    digits.as_bytes().chunks(17).fold(0, |high, digits| {
        let (mut low, mut power) = (0, 1);
        for digit in digits {
            low = low * 10 + u64::from(digit - b'0');
            power *= 10;
        }
        reduce(mul(high, power) + low)
    })
}

/// How often 2 divides n!, by Legendre's formula.
pub(crate) fn factorial_twos(n: u64) -> u64 {
    n - u64::from(n.count_ones())
}

/// How often 2 divides a nonzero natural number.
pub(crate) fn twos(limbs: &[u64]) -> u64 {
    let zeros = limbs.iter().take_while(|&&limb| limb == 0).count();
    zeros as u64 * 64 + limbs.get(zeros).map_or(0, |limb| u64::from(limb.trailing_zeros()))
}

/// The number of decimal digits of a natural number.
///
/// Exact below 2^128. Above, by a logarithm with an error below 10^-6 for every number that fits
/// into memory, so only a number that close to a power of ten could be wrong.
pub(crate) fn decimal_digits(limbs: &[u64]) -> u64 {
    let [rest @ .., low, high] = limbs else {
        let value = limbs.first().map_or(0, |&limb| limb);
        return value.checked_ilog10().map_or(1, |log| u64::from(log) + 1);
    };
    if rest.is_empty() {
        let value = u128::from(*low) | u128::from(*high) << 64;
        return value.checked_ilog10().map_or(1, |log| u64::from(log) + 1);
    }
    // log10(2), times 2^64.
    let shifted = rest.len() as u128 * 64 * 0x4d10_4d42_7de7_fbcc;
    let top = *high as f64 * 2f64.powi(64) + *low as f64;
    let fraction = (shifted % (1 << 64)) as f64 / 2f64.powi(64);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive and small; a quotient by 2^64 of what is below 2^128"
    )]
    let digits = (shifted >> 64) as u64 + (fraction + top.log10()) as u64;
    digits + 1
}

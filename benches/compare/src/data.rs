//! Operands that all contenders share, and checks of their results.
//!
//! A contender that computes something else is not faster, so each product is checked once.

/// Prime modulus of the residues: 2^61 - 1.
pub const MODULUS: u64 = (1 << 61) - 1;

/// `f32` or `f64`.
pub trait Real: Copy + Default + Send + Sync + 'static {
    /// Nearest value of this type.
    fn from_f64(value: f64) -> Self;
    /// The same value.
    fn to_f64(self) -> f64;
    /// Relative rounding error of one operation.
    const EPSILON: f64;
}

impl Real for f32 {
    const EPSILON: f64 = f32::EPSILON as f64;

    fn from_f64(value: f64) -> f32 {
        value as f32
    }

    fn to_f64(self) -> f64 {
        self.into()
    }
}

impl Real for f64 {
    const EPSILON: f64 = f64::EPSILON;

    fn from_f64(value: f64) -> f64 {
        value
    }

    fn to_f64(self) -> f64 {
        self
    }
}

/// Fills `values` from `[-1, 1)`, pseudo-randomly.
pub fn fill<T: Real>(values: &mut [T], seed: u64) {
    for (value, word) in values.iter_mut().zip(words(seed)) {
        *value = T::from_f64((word >> 11) as f64 * (2.0 / (1u64 << 53) as f64) - 1.0);
    }
}

/// Checks elements along the diagonal of a row-major product C = A*B, A being m by k, B k by n.
///
/// # Panics
///
/// If one of them is further from a plain dot product than rounding explains.
pub fn check_product<T: Real>(a: &[T], b: &[T], c: &[T], [m, k, n]: [usize; 3]) {
    for step in 0..8 {
        let (i, j) = ((m - 1) * step / 7, (n - 1) * step / 7);
        let terms = || (0..k).map(|p| a[i * k + p].to_f64() * b[p * n + j].to_f64());
        let (exact, size): (f64, f64) = (terms().sum(), terms().map(f64::abs).sum());
        let error = (c[i * n + j].to_f64() - exact).abs();
        assert!(error <= T::EPSILON * (k + 4) as f64 * size, "C[{i}][{j}] is off by {error}");
    }
}

/// This many GiB of private memory in small pages, all of them touched: a fork must copy their page
/// tables.
#[must_use]
pub fn private_memory(gib: usize) -> Vec<u8> {
    let mut memory = vec![0u8; gib << 30];
    memory.chunks_mut(4096).for_each(|page| page[0] = 1);
    memory
}

/// A pseudo-random big number of exactly `count` limbs, least significant first.
#[must_use]
pub fn limbs(count: usize, seed: u64) -> Vec<u64> {
    let mut limbs: Vec<u64> = words(seed).take(count).collect();
    if let Some(top) = limbs.last_mut() {
        *top |= 1 << 63;
    }
    limbs
}

/// A big number modulo [`MODULUS`].
#[must_use]
pub fn residue(limbs: &[u64]) -> u64 {
    limbs.iter().rev().fold(0, |high, &limb| {
        let value = (u128::from(high) << 64 | u128::from(limb)) % u128::from(MODULUS);
        value as u64
    })
}

/// Checks a product of big numbers by its residue.
///
/// # Panics
///
/// If it is wrong.
pub fn check_limbs(a: &[u64], b: &[u64], product: &[u64]) {
    assert_eq!(residue(product), times(residue(a), residue(b)), "the product is wrong");
}

/// n! modulo [`MODULUS`].
#[must_use]
pub fn factorial_residue(n: u64) -> u64 {
    (2..=n).fold(1, times)
}

fn times(a: u64, b: u64) -> u64 {
    (u128::from(a) * u128::from(b) % u128::from(MODULUS)) as u64
}

/// The words of the SplitMix64 generator.
pub fn words(seed: u64) -> impl Iterator<Item = u64> {
    (1u64..).map(move |step| {
        let mut word = seed.wrapping_add(step).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    })
}

//! Measured cut-offs: which method at which size.
//!
//! Sizes are limbs of the shorter operand unless said otherwise. Measured on an AMD EPYC (Zen 5,
//! AVX-512 IFMA), one core.

/// Cost of a line of the transform for each odd part 1, 3, 5, 7, 9, 15, relative to 100.
pub(super) const LENGTH_COSTS: [usize; 6] = [100, 106, 106, 115, 115, 125];

/// Below: schoolbook; from here: Karatsuba.
pub(super) const KARATSUBA_MIN: usize = 32;

/// The same, for squares.
pub(super) const KARATSUBA_SQUARE_MIN: usize = 48;

/// From here: the transform.
pub(super) const TRANSFORM_MIN: usize = 118;

/// From here on, too, if both factors together have at least [`TRANSFORM_TOTAL_MIN`] limbs.
pub(super) const TRANSFORM_UNBALANCED_MIN: usize = 40;

/// See [`TRANSFORM_UNBALANCED_MIN`].
pub(super) const TRANSFORM_TOTAL_MIN: usize = 400;

/// The same as [`TRANSFORM_MIN`], for squares.
pub(super) const TRANSFORM_SQUARE_MIN: usize = 120;

/// The same, for products and squares where the transform computes with `f64`.
pub(super) const TRANSFORM_FMA_MIN: usize = 270;

/// Where the transform has no vectors to compute with, it begins at this many limbs instead.
pub(super) const TRANSFORM_PORTABLE_MIN: usize = 1600;

/// From here: factorials by the steps of a team, even for one thread.
pub(super) const FACTORIAL_STEPS_MIN: u64 = 8000;

/// The fewest numbers in a segment of primes.
pub(super) const FACTORIAL_SEGMENT_MIN: u64 = 1 << 16;

/// The most segments of primes.
pub(super) const FACTORIAL_SEGMENTS_MAX: u64 = 1024;

/// The limbs from which decimal digits are computed by a tree.
pub(super) const DECIMAL_TREE_MIN: usize = 30;

/// The fewest blocks of 19 digits in a leaf of that tree; a leaf has less than twice as many.
pub(super) const DECIMAL_BLOCKS_MIN: usize = 16;

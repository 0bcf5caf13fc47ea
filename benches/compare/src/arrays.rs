//! Sizes of the calls on arrays.
//!
//! The same for all contenders; `array_rivals.py` repeats them.

/// Row length of the two-dimensional arrays.
pub const AXIS_LEN: usize = 4096;
/// Bins of a histogram, values of a count.
pub const BINS: usize = 1000;
/// Rows and columns of the image that is filtered.
pub const IMAGE_SIDE: usize = 5000;
/// Standard deviation of the Gaussian, in pixels.
pub const SIGMA: f64 = 2.0;
/// One element in so many is taken.
pub const PICKED: usize = 4;
/// Which quantiles are asked for.
pub const QUANTILES: [f64; 3] = [0.25, 0.5, 0.75];
/// How many of the greatest elements.
pub const TOP: usize = 100;
/// Seed of all random operands.
pub const SEED: u64 = 1;

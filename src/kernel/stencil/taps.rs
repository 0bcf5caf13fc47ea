//! The weights of a filter along one axis.

use super::weighted::{Real, sum_rows, sum_rows_folded, sum_shifted, sum_shifted_folded};

/// The weights of a filter along one axis, in the order of the elements to which they apply.
///
/// `out[i]` is the sum over `k` of `weights[k] x[i + k - before]`. The order of addition is
/// ascending in `k`. Weights that are symmetric about the middle are added from the middle
/// outwards, the two neighbours of a weight first (see [`weighted`](super::weighted)).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Taps<T> {
    weights: Vec<T>,
    before: usize,
    /// The weights from the middle outwards, if they are symmetric.
    folded: Option<Vec<T>>,
}

impl<T: Real> Taps<T> {
    /// Correlation, as in `scipy.ndimage.correlate1d`: the middle is weight `len / 2`.
    ///
    /// # Panics
    ///
    /// If there are no weights.
    pub(crate) fn correlate(weights: &[T]) -> Self {
        Self::new(weights.to_vec(), weights.len() / 2)
    }

    fn new(weights: Vec<T>, before: usize) -> Self {
        assert!(!weights.is_empty(), "a filter has at least one weight");
        let middle = weights.len() / 2;
        let symmetric = weights.len() % 2 == 1 && weights.iter().eq(weights.iter().rev());
        let folded = symmetric.then(|| weights[middle..].to_vec());
        Self { weights, before, folded }
    }

    /// The weights of a Gaussian, as in `scipy.ndimage.gaussian_filter1d` of order 0:
    /// [`gaussian_weights`] rounded to `T`.
    #[cfg(test)]
    pub(crate) fn gaussian(sigma: f64, truncate: f64) -> Self {
        let weights: Vec<T> = gaussian_weights(sigma, truncate).map(T::from_f64).collect();
        Self::correlate(&weights)
    }

    /// The number of weights.
    pub(crate) fn len(&self) -> usize {
        self.weights.len()
    }

    /// The number of elements before and after its own place that an output reads.
    pub(crate) fn reach(&self) -> [usize; 2] {
        [self.before, self.after()]
    }

    /// The number of elements before its own place that an output reads.
    pub(crate) fn before(&self) -> usize {
        self.before
    }

    /// The number of elements after its own place that an output reads.
    pub(crate) fn after(&self) -> usize {
        self.len() - 1 - self.before
    }

    /// `out[i] = sum of weights[k] rows[k][at + i]`.
    pub(super) fn sum_rows(&self, out: &mut [T], rows: &[&[T]], at: usize) {
        assert_eq!(rows.len(), self.len());
        match &self.folded {
            Some(weights) => sum_rows_folded(out, rows, at, weights),
            None => sum_rows(out, rows, at, &self.weights),
        }
    }

    /// `out[i] = sum of weights[k] source[i + k]`.
    pub(super) fn sum_shifted(&self, out: &mut [T], source: &[T]) {
        match &self.folded {
            Some(weights) => sum_shifted_folded(out, source, weights),
            None => sum_shifted(out, source, &self.weights),
        }
    }
}

/// The weights of a Gaussian: `exp(-i^2 / (2 sigma^2))` for `i` from `-r` to `r`, divided by their
/// sum, with `r = int(truncate sigma + 0.5)`. SciPy's `truncate` is 4 by default. A `sigma` that is
/// 0, negative or NaN gives the identity filter.
pub(crate) fn gaussian_weights(sigma: f64, truncate: f64) -> impl Iterator<Item = f64> {
    let sigma = sigma.max(0.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the cast saturates; a negative or NaN radius is 0"
    )]
    let radius = (truncate * sigma + 0.5) as usize;
    let weight = move |i: usize| {
        let x = i as f64;
        // The middle has weight 1 for every sigma, including 0.
        if i == 0 { 1.0 } else { (-0.5 / (sigma * sigma) * (x * x)).exp() }
    };
    let places = move || (0..=2 * radius).map(move |i| i.abs_diff(radius));
    let sum: f64 = places().map(weight).sum();
    places().map(move |i| weight(i) / sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weights_of_a_gaussian_are_those_of_scipy() {
        // `scipy.ndimage._filters._gaussian_kernel1d(1.0, 0, 4)`, SciPy 1.17.
        let scipy = [
            0.000_133_830_624_614_741_75,
            0.004_431_861_620_031_265_5,
            0.053_991_127_420_704_41,
            0.241_971_445_656_600_73,
            0.398_943_469_356_097_76,
        ];
        let weights: Vec<f64> = gaussian_weights(1.0, 4.0).collect();
        assert_eq!(weights.len(), 9);
        for i in 0..9 {
            assert!((weights[i] - scipy[i.min(8 - i)]).abs() < 1e-16, "{i}");
        }
    }

    #[test]
    fn a_gaussian_without_width_changes_nothing() {
        for sigma in [0.0, -1.0, f64::NAN, 1e-9] {
            assert_eq!(gaussian_weights(sigma, 4.0).collect::<Vec<_>>(), [1.0], "{sigma}");
        }
        assert_eq!(Taps::<f32>::gaussian(2.0, 4.0).reach(), [8, 8]);
        assert_eq!(Taps::<f32>::gaussian(0.6, 3.0).reach(), [2, 2]);
    }

    #[test]
    fn only_weights_of_odd_length_are_folded() {
        assert!(Taps::correlate(&[1.0, 2.0, 1.0]).folded.is_some());
        assert!(Taps::correlate(&[1.0, 1.0]).folded.is_none());
        assert!(Taps::correlate(&[1.0, f64::NAN, 1.0]).folded.is_none());
        assert_eq!(Taps::correlate(&[1.0, 2.0]).reach(), [1, 0]);
    }
}

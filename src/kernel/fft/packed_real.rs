//! A long lane of reals by a complex transform.
//!
//! Of `n` reals, `n` even, the transform has `m = n / 2` elements. The reals are seen as
//! `z[j] = x[2 j] + i x[2 j + 1]`, whose transform `Z` gives, for `k` from 0 to `m`, with
//! `Z[m] = Z[0]` and `W = exp(-2 pi i / n)`,
//!
//! ```text
//! X[k] = (Z[k] + conj(Z[m - k])) / 2  -  i W^k (Z[k] - conj(Z[m - k])) / 2
//! Z[k] = (X[k] + conj(X[m - k]))      +  i W^-k (X[k] - conj(X[m - k]))     (twice, to scale)
//! ```

use rustfft::num_complex::Complex;

use crate::kernel::fft::float::FftFloat;
use crate::kernel::fft::four_step::FourStepTwiddles;

/// The step between the transforms of `m` complex numbers and of `2 m` reals.
pub(crate) struct PackedReal {
    m: usize,
    /// Elements of a lane of `X`, if that is the input.
    in_len: usize,
    twiddles: FourStepTwiddles,
}

impl PackedReal {
    /// The step for `m` complex numbers, and lanes of `in_len` elements of `X` if that is the
    /// input: missing elements are zeros, others are ignored.
    pub(crate) fn new((m, in_len): (usize, usize)) -> PackedReal {
        PackedReal { m, in_len, twiddles: FourStepTwiddles::new(2 * m, false) }
    }

    /// Computes elements of `X`, which is lanes of `m + 1` elements, from element `first` on.
    pub(crate) fn split<T: FftFloat>(
        &self,
        z: &[Complex<T>],
        first: usize,
        out: &mut [Complex<T>],
    ) {
        let half = T::of_f64(0.5);
        self.for_each(first, self.m + 1, out, |lane, k| {
            let z = &z[lane * self.m..][..self.m];
            let (near, far) = (z[k % self.m], z[(self.m - k) % self.m].conj());
            let turned = self.power::<T>(k) * (near - far);
            (near + far + Complex::new(turned.im, -turned.re)) * half
        });
    }

    /// Computes elements of `Z`, which is lanes of `m` elements, from element `first` on.
    pub(crate) fn merge<T: FftFloat>(
        &self,
        x: &[Complex<T>],
        first: usize,
        out: &mut [Complex<T>],
    ) {
        let given = self.in_len.min(self.m + 1);
        self.for_each(first, self.m, out, |lane, k| {
            let x = &x[lane * self.in_len..][..given];
            let at = |k: usize| match x.get(k) {
                None => Complex::new(T::ZERO, T::ZERO),
                // Reals have no imaginary part at these frequencies.
                Some(x) if k == 0 || k == self.m => Complex::new(x.re, T::ZERO),
                Some(&x) => x,
            };
            let (near, far) = (at(k), at(self.m - k).conj());
            let turned = self.power::<T>(k).conj() * (near - far);
            near + far + Complex::new(-turned.im, turned.re)
        });
    }

    /// Writes `element(lane, k)` to each place of `out`, of lanes of `len` elements.
    fn for_each<T>(
        &self,
        first: usize,
        len: usize,
        out: &mut [T],
        element: impl Fn(usize, usize) -> T,
    ) {
        let (mut lane, mut k) = (first / len, first % len);
        for place in out {
            *place = element(lane, k);
            k += 1;
            if k == len {
                (lane, k) = (lane + 1, 0);
            }
        }
    }

    fn power<T: FftFloat>(&self, k: usize) -> Complex<T> {
        let power = self.twiddles.power(k);
        Complex::new(T::of_f64(power.re), T::of_f64(power.im))
    }
}

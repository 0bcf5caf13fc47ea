//! Fourier transforms, compared with their definition.
#![cfg(feature = "fft")]

mod deaths;
mod long;

use brigade::{Complex, Error, FftFloat, FftNorm, Pool, SharedArray};
use bytemuck::Pod;

use crate::common::alone::alone;

type C = Complex<f64>;

fn pool(workers: usize) -> Pool {
    Pool::builder().workers(workers).build().unwrap()
}

/// Numbers between -0.5 and 0.5.
fn noise(seed: usize) -> f64 {
    let mixed = (seed as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 11) as f64 / 2f64.powi(53) - 0.5
}

/// The types of elements, as doubles.
trait Float: FftFloat {
    const EPSILON: f64;
    fn rounded(x: f64) -> Self;
}

impl Float for f32 {
    const EPSILON: f64 = f32::EPSILON as f64;
    #[expect(clippy::cast_possible_truncation, reason = "the nearest")]
    fn rounded(x: f64) -> f32 {
        x as f32
    }
}

impl Float for f64 {
    const EPSILON: f64 = f64::EPSILON;
    fn rounded(x: f64) -> f64 {
        x
    }
}

fn array<T: Pod>(shape: &[usize], element: impl Fn(usize) -> T) -> SharedArray<T> {
    let mut array = SharedArray::for_overwrite(shape).unwrap();
    (0..).zip(array.as_mut_slice()).for_each(|(i, place)| *place = element(i));
    array
}

fn complex_noise<T: Float>(shape: &[usize]) -> SharedArray<Complex<T>> {
    let part = |i| T::rounded(noise(i));
    array(shape, |i| Complex::new(part(2 * i), part(2 * i + 1)))
}

fn real_noise<T: Float>(shape: &[usize]) -> SharedArray<T> {
    array(shape, |i| T::rounded(noise(i)))
}

fn doubles<T: Float>(x: &[Complex<T>]) -> Vec<C> {
    x.iter().map(|z| C::new(z.re.to_f64(), z.im.to_f64())).collect()
}

fn with_zeros<T: Float>(x: &[T]) -> Vec<C> {
    x.iter().map(|x| C::new(x.to_f64(), 0.0)).collect()
}

/// The transform along one axis, by its definition.
fn naive(x: &[C], shape: &[usize], axis: usize, is_inverse: bool) -> Vec<C> {
    let n = shape[axis];
    let inner: usize = shape[axis + 1..].iter().product();
    let turn = if is_inverse { std::f64::consts::TAU } else { -std::f64::consts::TAU };
    let units: Vec<C> = (0..n).map(|m| C::from_polar(1.0, turn * m as f64 / n as f64)).collect();
    let at = |place: usize| {
        let k = place / inner % n;
        let first = place - k * inner;
        (0..n).map(|j| x[first + j * inner] * units[j * k % n]).sum()
    };
    (0..x.len()).map(at).collect()
}

fn naive_along(x: &[C], shape: &[usize], axes: &[usize], is_inverse: bool) -> Vec<C> {
    axes.iter().fold(x.to_vec(), |x, &axis| naive(&x, shape, axis, is_inverse))
}

fn len_along(shape: &[usize], axes: &[usize]) -> f64 {
    axes.iter().map(|&axis| shape[axis] as f64).product()
}

/// Checks the relative error, in the Euclidean norm, that `Pool::fft` states for `n` elements.
fn assert_close<T: Float>(found: &[C], expected: &[C], n: f64, case: &str) {
    assert_eq!(found.len(), expected.len(), "{case}");
    let norm = |x: &mut dyn Iterator<Item = C>| x.map(|z| z.norm_sqr()).sum::<f64>().sqrt();
    let error = norm(&mut found.iter().zip(expected).map(|(a, b)| a - b));
    let size = norm(&mut expected.iter().copied());
    let bound = 4.0 * T::EPSILON * n.log2().max(1.0);
    assert!(error <= bound * size, "{case}: {error:e} of {size:e}, bound {bound:e}");
}

fn check_complex<T: Float>(pool: &Pool, shape: &[usize], axes: &[usize]) {
    let x = complex_noise::<T>(shape);
    let (before, n) = (doubles(x.as_slice()), len_along(shape, axes));
    for is_inverse in [false, true] {
        let expected = naive_along(&before, shape, axes, is_inverse);
        for (norm, scale) in [
            (FftNorm::Backward, if is_inverse { 1.0 / n } else { 1.0 }),
            (FftNorm::Ortho, 1.0 / n.sqrt()),
            (FftNorm::Forward, if is_inverse { 1.0 } else { 1.0 / n }),
        ] {
            let expected: Vec<C> = expected.iter().map(|z| z * scale).collect();
            let call = if is_inverse { pool.ifft(&x) } else { pool.fft(&x) };
            let found = call.axes(axes).norm(norm).run().unwrap();
            let case = format!("{shape:?} along {axes:?}, inverse {is_inverse}, {norm:?}");
            assert_eq!(found.shape(), x.shape());
            assert_close::<T>(&doubles(found.as_slice()), &expected, n, &case);
            let mut in_place = x.try_clone().unwrap();
            let call = match is_inverse {
                true => pool.ifft_in_place(&mut in_place),
                false => pool.fft_in_place(&mut in_place),
            };
            call.axes(axes).norm(norm).run().unwrap();
            assert!(in_place == found, "{case}: in place");
        }
    }
}

fn check_real<T: Float>(pool: &Pool, shape: &[usize], axes: &[usize]) {
    let x = real_noise::<T>(shape);
    let (n, last) = (len_along(shape, axes), axes[axes.len() - 1]);
    let expected = naive_along(&with_zeros(x.as_slice()), shape, axes, false);
    let half = shape[last] / 2 + 1;
    let inner: usize = shape[last + 1..].iter().product();
    let kept = |place: &usize| place / inner % shape[last] < half;
    let expected: Vec<C> = (0..x.len()).filter(kept).map(|place| expected[place]).collect();
    let found = pool.rfft(&x).axes(axes).run().unwrap();
    let case = format!("reals {shape:?} along {axes:?}");
    assert_eq!(found.shape()[last], half, "{case}");
    assert_close::<T>(&doubles(found.as_slice()), &expected, n, &case);
    let back = pool.irfft(&found).axes(axes).n(shape[last]).run().unwrap();
    assert_eq!(back.shape(), x.shape(), "{case}");
    // The error of the way there and back.
    assert_close::<T>(&with_zeros(back.as_slice()), &with_zeros(x.as_slice()), n * n, &case);
}

fn check<T: Float>(pool: &Pool, shape: &[usize], axes: &[usize]) {
    check_complex::<T>(pool, shape, axes);
    check_real::<T>(pool, shape, axes);
}

#[test]
fn transforms_along_every_axis_equal_the_definition() {
    alone(|| {
        for workers in [1, 2, 3] {
            let pool = pool(workers);
            for len in [1, 2, 3, 4, 5, 8, 13, 64, 83, 97, 120, 149, 251, 256, 4099] {
                check::<f64>(&pool, &[len], &[0]);
                check::<f32>(&pool, &[len], &[0]);
            }
            for axes in [&[0][..], &[1], &[0, 1], &[1, 0]] {
                for shape in [[1, 1], [3, 40], [40, 3], [61, 64], [128, 130]] {
                    check::<f64>(&pool, &shape, axes);
                }
                check::<f32>(&pool, &[61, 64], axes);
            }
            for axes in [&[0][..], &[1], &[2], &[0, 2], &[2, 0], &[2, 1, 0]] {
                check::<f64>(&pool, &[6, 10, 9], axes);
                check::<f32>(&pool, &[20, 16, 2], axes);
            }
        }
    });
}

#[test]
fn views_of_rows_are_transformed_where_they_lie() {
    alone(|| {
        use brigade::AsArrayView;
        let (pool, x) = (pool(2), real_noise::<f64>(&[9, 30]));
        let rows = x.as_array_view().rows(2..7).unwrap();
        let copy = SharedArray::from_slice(rows.as_slice()).unwrap();
        let mut copy = copy;
        copy.reshape([5, 30]).unwrap();
        assert_eq!(pool.rfft(&rows).run().unwrap(), pool.rfft(&copy).run().unwrap());
    });
}

#[test]
fn transforms_have_their_known_properties() {
    alone(|| {
        let pool = pool(2);
        for shape in [&[1000][..], &[37, 50], &[8, 9, 10]] {
            let n = shape.iter().product::<usize>();
            let (x, y) = (complex_noise::<f64>(shape), array(shape, |i| C::new(noise(3 * i), 0.5)));
            let transform = |x: &SharedArray<C>| pool.fft(x).run().unwrap();
            let (of_x, of_y) = (transform(&x), transform(&y));
            let close = |a: &SharedArray<C>, b: &[C], what: &str| {
                assert_close::<f64>(a.as_slice(), b, (n * n) as f64, what);
            };
            let back = pool.ifft(&of_x).run().unwrap();
            close(&back, x.as_slice(), "there and back");

            let energy = |x: &SharedArray<C>| x.as_slice().iter().map(C::norm_sqr).sum::<f64>();
            let (before, after) = (energy(&x), energy(&of_x) / n as f64);
            assert!((before - after).abs() <= 1e-13 * before, "Parseval: {before} {after}");

            let sum = array(shape, |i| x.as_slice()[i] * 2.0 - y.as_slice()[i] * C::i());
            let of_sum = array(shape, |i| of_x.as_slice()[i] * 2.0 - of_y.as_slice()[i] * C::i());
            close(&transform(&sum), of_sum.as_slice(), "linear");

            // Shifted by 3 along the last axis.
            let last = shape[shape.len() - 1];
            let place = |i: usize| i / last * last + (i + last - 3) % last;
            let shifted = array(shape, |i| x.as_slice()[place(i)]);
            let turned = array(shape, |i| {
                let turns = (i % last * 3 % last) as f64 / last as f64;
                of_x.as_slice()[i] * C::from_polar(1.0, -std::f64::consts::TAU * turns)
            });
            close(&transform(&shifted), turned.as_slice(), "shift");
        }
    });
}

#[test]
fn the_bits_are_the_same_for_any_number_of_workers() {
    alone(|| {
        let x = complex_noise::<f64>(&[90, 77]);
        let long = real_noise::<f32>(&[1 << 18]);
        let results = |workers: usize| {
            let pool = pool(workers);
            let spectrum = pool.rfft(&long).run().unwrap();
            let back = pool.irfft(&spectrum).run().unwrap();
            (pool.fft(&x).run().unwrap(), pool.ifft(&x).axes(0).run().unwrap(), spectrum, back)
        };
        let expected = results(1);
        for workers in 2..8 {
            assert!(results(workers) == expected, "{workers} workers");
        }
    });
}

#[test]
fn the_bits_do_not_depend_on_earlier_calls() {
    alone(|| {
        let (x, longer) = (complex_noise::<f64>(&[4, 288]), complex_noise::<f64>(&[4, 1152]));
        let expected = pool(1).fft(&x).axes(1).run().unwrap();
        let used = pool(1);
        used.fft(&longer).axes(1).run().unwrap();
        assert!(used.fft(&x).axes(1).run().unwrap() == expected);
    });
}

#[test]
fn not_a_number_spreads_along_the_axes_alone() {
    alone(|| {
        let pool = pool(2);
        let x = array(&[4, 8], |i| C::new(if i == 10 { f64::NAN } else { 1.0 }, 0.0));
        let lanes = pool.fft(&x).axes(1).run().unwrap();
        for (i, lane) in lanes.as_slice().chunks(8).enumerate() {
            assert!(lane.iter().all(|z| z.is_nan() == (i == 1)), "{i}: {lane:?}");
        }
        let all = pool.fft(&x).run().unwrap();
        assert!(all.as_slice().iter().all(|z| z.is_nan()));
    });
}

#[test]
fn arrays_without_elements_have_transforms_along_other_axes() {
    alone(|| {
        let pool = pool(2);
        let mut x = SharedArray::<C>::zeroed([0, 6]).unwrap();
        assert_eq!(pool.fft(&x).axes(1).run().unwrap().shape().dims(), [0, 6]);
        pool.fft_in_place(&mut x).axes(1).run().unwrap();
        assert_eq!(pool.irfft(&x).axes(1).n(5).run().unwrap().shape().dims(), [0, 5]);
        let x = SharedArray::<f32>::zeroed([0, 6]).unwrap();
        assert_eq!(pool.rfft(&x).axes(1).run().unwrap().shape().dims(), [0, 4]);
        let shape = [4, 1 << 20, 1 << 20, 0];
        let x = SharedArray::<f64>::zeroed(shape).unwrap();
        let spectrum = pool.rfft(&x).axes(0).run().unwrap();
        assert_eq!(spectrum.shape().dims(), [3, 1 << 20, 1 << 20, 0]);
        assert_eq!(pool.irfft(&spectrum).axes(0).run().unwrap().shape().dims(), shape);
    });
}

#[test]
fn impossible_transforms_are_refused_with_their_values() {
    alone(|| {
        let pool = pool(1);
        let refused = |result: Result<SharedArray<C>, Error>, values: &str| {
            let error = result.unwrap_err();
            assert!(matches!(error, Error::InvalidArgument { .. }), "{error:?}");
            assert!(error.to_string().contains(values), "{error}");
        };
        let x = complex_noise::<f64>(&[2, 3]);
        refused(pool.fft(&x).axes(2).run(), "[2] of [2, 3]");
        refused(pool.fft(&x).axes([1, 1]).run(), "[1, 1]");
        refused(pool.fft(&x).axes([0; 0]).run(), "[]");
        let empty = SharedArray::<C>::zeroed([3, 0]).unwrap();
        refused(pool.fft(&empty).run(), "[3, 0]");
        refused(pool.ifft(&SharedArray::zeroed([]).unwrap()).run(), "[]");
        let one = complex_noise::<f64>(&[4, 1]);
        let error = pool.irfft(&one).run().unwrap_err();
        assert!(error.to_string().contains("is 0"), "{error}");
        assert!(pool.irfft(&one).n(0).run().is_err());
        assert!(pool.irfft(&one).axes(1).n(1 << 62).run().is_err());
        assert_eq!(pool.irfft(&one).axes(1).n(1).run().unwrap().len(), 4);
    });
}

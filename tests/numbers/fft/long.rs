//! Long lanes, which are split, and convolutions.

use brigade::{Complex, ConvolveMode, Error, SharedArray};

use super::{C, Float, array, assert_close, doubles, noise, pool, with_zeros};
use crate::common::alone::alone;

/// The places and values of a few elements; the others are zeros.
fn few(len: usize, seed: usize) -> Vec<(usize, C)> {
    let place = |i: usize| (i + seed) * 7919 * 104_729 % len;
    (0..5).map(|i| (place(i), C::new(noise(i + seed), noise(9 * i + seed)))).collect()
}

fn lane(len: usize, few: &[(usize, C)]) -> Vec<C> {
    let mut lane = vec![C::default(); len];
    few.iter().for_each(|&(place, x)| lane[place] += x);
    lane
}

/// The transform of a few elements, by its definition.
fn sums(len: usize, few: &[(usize, C)], is_inverse: bool) -> Vec<C> {
    let turn = if is_inverse { std::f64::consts::TAU } else { -std::f64::consts::TAU };
    let unit = |m: usize| C::from_polar(1.0, turn * m as f64 / len as f64);
    (0..len).map(|k| few.iter().map(|&(j, x)| x * unit(j * k % len)).sum()).collect()
}

fn check_long<T: Float>(len: usize) {
    let pool = pool(3);
    let lanes = [few(len, 1), few(len, 50)];
    let narrow = |z: C| Complex::new(T::rounded(z.re), T::rounded(z.im));
    let all: Vec<C> = lanes.iter().flat_map(|few| lane(len, few)).collect();
    let x = array(&[2, len], |i| narrow(all[i]));
    for is_inverse in [false, true] {
        let expected: Vec<C> = lanes.iter().flat_map(|few| sums(len, few, is_inverse)).collect();
        let call = if is_inverse { pool.ifft(&x) } else { pool.fft(&x) };
        let found = call.axes(1).norm(brigade::FftNorm::Ortho).run().unwrap();
        let scale = 1.0 / (len as f64).sqrt();
        let expected: Vec<C> = expected.iter().map(|z| z * scale).collect();
        let case = format!("{len}, inverse {is_inverse}");
        assert_close::<T>(&doubles(found.as_slice()), &expected, len as f64, &case);
        if !is_inverse {
            let mut in_place = x.try_clone().unwrap();
            let call = pool.fft_in_place(&mut in_place).axes(1);
            call.norm(brigade::FftNorm::Ortho).run().unwrap();
            assert!(in_place == found, "{case}: in place");
        }
    }
    let real = |few: &[(usize, C)]| -> Vec<(usize, C)> {
        few.iter().map(|&(place, x)| (place, C::new(x.re, 0.0))).collect()
    };
    let lanes = lanes.map(|few| real(&few));
    let all: Vec<C> = lanes.iter().flat_map(|few| lane(len, few)).collect();
    let x = array(&[2, len], |i| T::rounded(all[i].re));
    let spectrum = pool.rfft(&x).axes(1).run().unwrap();
    for (few, found) in lanes.iter().zip(spectrum.as_slice().chunks(len / 2 + 1)) {
        let expected = &sums(len, few, false)[..=len / 2];
        assert_close::<T>(&doubles(found), expected, len as f64, &format!("{len} reals"));
    }
    let back = pool.irfft(&spectrum).axes(1).n(len).run().unwrap();
    assert_eq!(back.shape(), x.shape());
    let (back, x) = (with_zeros(back.as_slice()), with_zeros(x.as_slice()));
    assert_close::<T>(&back, &x, (len * len) as f64, &format!("{len} reals and back"));
}

#[test]
fn long_lanes_equal_the_definition() {
    alone(|| {
        // Split as complex numbers, and as pairs of reals; with a greatest divisor that is not near
        // the root; not split: a prime, and twice one.
        for len in [1 << 16, 1 << 17, 3 << 16, 16 * 4099, 65_537, 2 * 65_537] {
            check_long::<f64>(len);
        }
        check_long::<f32>(1 << 18);
        // A prime whose predecessor has a large prime factor.
        check_long::<f32>(65_543);
    });
}

#[test]
fn many_long_lanes_are_transformed_whole() {
    alone(|| {
        // As many as are not split, by complex numbers and by pairs of reals.
        let (pool, count, len) = (pool(3), 16, 1 << 17);
        let few = few(len, 1);
        let one = lane(len, &few);
        let x = array(&[count, len], |i| one[i % len]);
        let mut found = pool.fft(&x).axes(1).run().unwrap();
        let expected = sums(len, &few, false);
        for lane in found.as_slice().chunks(len) {
            assert_close::<f64>(lane, &expected, len as f64, "many lanes");
        }
        pool.ifft_in_place(&mut found).axes(1).run().unwrap();
        assert_close::<f64>(found.as_slice(), x.as_slice(), (len * len) as f64, "and back");
        let reals = array(&[count, len], |i| one[i % len].re);
        let back = pool.irfft(&pool.rfft(&reals).axes(1).run().unwrap()).axes(1).run().unwrap();
        let (back, reals) = (with_zeros(back.as_slice()), with_zeros(reals.as_slice()));
        assert_close::<f64>(&back, &reals, (len * len) as f64, "many lanes of reals");
    });
}

/// The inverse transform to `n` reals of a spectrum of `given` elements, along `axis`.
fn check_inverse<T: Float>(given: usize, n: usize, axis: usize) {
    let lanes = [1, 50].map(|seed| {
        let edges = [given - 1, 0, (n / 2).min(given - 1)].map(|k| (k, C::new(0.5, 0.25)));
        few(given, seed).into_iter().chain(edges).collect::<Vec<_>>()
    });
    let dense = lanes.each_ref().map(|few| lane(given, few));
    let shape = if axis == 0 { [given, 2] } else { [2, given] };
    let place = |i: usize, len: usize| if axis == 0 { (i % 2, i / 2) } else { (i / len, i % len) };
    let x = array(&shape, |i| {
        let (lane, k) = place(i, given);
        Complex::new(T::rounded(dense[lane][k].re), T::rounded(dense[lane][k].im))
    });
    let found = pool(3).irfft(&x).axes(axis).n(n).run().unwrap();
    // Elements are the halves of pairs of conjugates, but for those that have no partner.
    let pair = |&(k, x): &(usize, C)| match k {
        k if k > n / 2 => None,
        k if k == 0 || 2 * k == n => Some((k, C::new(x.re, 0.0))),
        k => Some((k, x * 2.0)),
    };
    for (index, few) in lanes.iter().enumerate() {
        let used: Vec<_> = few.iter().filter_map(pair).collect();
        let expected: Vec<C> =
            sums(n, &used, true).iter().map(|z| C::new(z.re / n as f64, 0.0)).collect();
        let of_lane = |i: &usize| place(*i, n).0 == index;
        let found: Vec<C> = with_zeros(found.as_slice())
            .into_iter()
            .enumerate()
            .filter_map(|(i, x)| of_lane(&i).then_some(x))
            .collect();
        assert_close::<T>(&found, &expected, n as f64, &format!("{given} to {n} along {axis}"));
    }
}

#[test]
fn spectra_are_cut_or_filled_with_zeros() {
    alone(|| {
        let half = (1 << 16) + 1;
        // Split, along the last axis; not split, along the first and the last; and odd.
        for (given, n) in
            [(half + 3, 1 << 17), (half - 3, 1 << 17), (20, 30), (10, 30), (20, 31), (10, 31)]
        {
            for axis in [0, 1] {
                check_inverse::<f64>(given, n, axis);
                check_inverse::<f32>(given, n, axis);
            }
        }
    });
}

fn check_convolution<T: Float>(n: usize, m: usize) {
    let pool = pool(2);
    let (a, b) = (array(&[n], |i| T::rounded(noise(i))), array(&[m], |i| T::rounded(noise(5 * i))));
    let mut expected = vec![C::default(); n + m - 1];
    for (i, a) in a.as_slice().iter().enumerate() {
        for (j, b) in b.as_slice().iter().enumerate() {
            expected[i + j].re += a.to_f64() * b.to_f64();
        }
    }
    let (long, short) = (n.max(m), n.min(m));
    for (mode, part) in [
        (ConvolveMode::Full, 0..n + m - 1),
        (ConvolveMode::Same, (short - 1) / 2..(short - 1) / 2 + long),
        (ConvolveMode::Valid, short - 1..long),
    ] {
        let found = pool.fft_convolve(&a, &b, mode).unwrap();
        let case = format!("{n} by {m}, {mode:?}");
        // Two transforms and one back.
        let steps = ((n + m) as f64).powi(3);
        assert_close::<T>(&with_zeros(found.as_slice()), &expected[part], steps, &case);
    }
}

#[test]
fn convolutions_equal_the_direct_sums() {
    alone(|| {
        for (n, m) in [(1, 1), (2, 1), (1, 5), (7, 4), (300, 299), (1000, 20), (20, 3000)] {
            check_convolution::<f64>(n, m);
            check_convolution::<f32>(n, m);
        }
        check_convolution::<f64>(140_000, 30);
        let (empty, x) = (SharedArray::<f64>::zeroed([0]).unwrap(), array(&[3], |_| 1.0));
        for (a, b) in [(&empty, &x), (&x, &empty)] {
            let error = pool(1).fft_convolve(a, b, ConvolveMode::Full).unwrap_err();
            assert!(matches!(error, Error::InvalidArgument { .. }), "{error:?}");
        }
    });
}

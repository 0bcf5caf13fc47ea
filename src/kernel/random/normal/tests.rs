//! Accuracy, distribution, tails, and chunks of normally distributed numbers.

use proptest::prelude::*;

use super::*;

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 4.0 * f64::EPSILON * b.abs()
}

/// The error function by its series, or by its continued fraction where that is faster.
fn distribution(x: f64) -> f64 {
    let t = x.abs();
    let density = (-t * t / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let tail = if t < 3.0 {
        // 1/2 - density * (t + t^3/3 + t^5/15 + ...).
        let (mut term, mut sum) = (t, t);
        for k in 1..100 {
            term *= t * t / f64::from(2 * k + 1);
            sum += term;
        }
        0.5 - density * sum
    } else {
        // density / (t + 1/(t + 2/(t + ...))).
        density / (1..200).rev().fold(t, |fraction, k| t + f64::from(k) / fraction)
    };
    if x < 0.0 { tail } else { 1.0 - tail }
}

#[test]
fn the_largest_and_least_radius_are_finite() {
    assert!((pair(0, 0)[0].hypot(pair(0, 0)[1]) - 8.5718).abs() < 1e-3);
    let least = pair(u64::MAX, 1 << 63);
    assert!(least[0].hypot(least[1]) > 0.0 && least[0].hypot(least[1]) < 1e-7);
}

#[test]
fn the_four_quadrants_are_met() {
    let signs: Vec<[bool; 2]> =
        (0..4u64).map(|q| pair(1 << 40, q << 62 | 3 << 60).map(|x| x > 0.0)).collect();
    assert_eq!(signs, [[true, true], [false, true], [false, false], [true, false]]);
}

#[test]
fn moments_and_kolmogorov_smirnov() {
    let n = 1 << 19;
    let mut data = vec![0.0; n];
    fill_normal(Stream::new([11, 12]), 0, 0.0, 1.0, &mut data);
    let moment = |k: i32| data.iter().map(|x| x.powi(k)).sum::<f64>() / n as f64;
    // Five standard errors: sqrt(var(z^k) / n) with variances 1, 2, 15, 96, 945, 10170.
    for (k, mean, variance) in [
        (1, 0.0, 1.0),
        (2, 1.0, 2.0),
        (3, 0.0, 15.0),
        (4, 3.0, 96.0),
        (5, 0.0, 945.0),
        (6, 15.0, 10_170.0),
    ] {
        let error = (moment(k) - mean).abs();
        assert!(error < 5.0 * (variance / n as f64).sqrt(), "moment {k}: {error}");
    }
    // Neighbours, which are computed from the same words, are independent.
    let both = data.chunks_exact(2).map(|pair| pair[0] * pair[1]).sum::<f64>();
    assert!(both.abs() < 5.0 * (n as f64 / 2.0).sqrt());
    let squares = data.chunks_exact(2).map(|p| (p[0] * p[0] - 1.0) * (p[1] * p[1] - 1.0));
    assert!(squares.sum::<f64>().abs() < 5.0 * 2.0 * (n as f64 / 2.0).sqrt());
    // Tails: counts beyond 4 of a Poisson distribution of mean 33.2.
    let far = data.iter().filter(|x| x.abs() > 4.0).count();
    assert!((10..65).contains(&far), "{far}");
    data.sort_by(f64::total_cmp);
    let statistic = data.iter().enumerate().fold(0.0f64, |largest, (i, &x)| {
        let expected = distribution(x);
        let (below, above) = (i as f64 / n as f64, (i + 1) as f64 / n as f64);
        largest.max((expected - below).abs()).max((above - expected).abs())
    });
    // Exceeded by a true normal sample with probability 0.0007.
    assert!(statistic * (n as f64).sqrt() < 2.0, "{statistic}");
}

proptest! {
    #[test]
    fn series_are_as_good_as_the_library(word in any::<u64>(), shift in 0u32..50) {
        let x = fraction(word >> shift) - (1.0 - f64::EPSILON / 2.0);
        let expected = -2.0 * x.ln();
        prop_assert!(near(minus_two_ln(x), expected), "{} {} {}", x, minus_two_ln(x), expected);
        let angle = (fraction(word) - 1.5) * (2.0 * FRAC_PI_4);
        let (cos, sin) = cos_sin(angle);
        prop_assert!(near(cos, angle.cos()) && near(sin, angle.sin()), "{angle}");
    }

    #[test]
    fn every_chunk_is_the_same_alone(start in 0u64..1500, len in 0usize..1500) {
        let stream = Stream::new([3, 4]);
        let (mut all, mut some) = (vec![0.0; 3000], vec![0.0; len]);
        fill_normal(stream, 0, 1.0, 2.0, &mut all);
        fill_normal(stream, start, 1.0, 2.0, &mut some);
        prop_assert_eq!(&all[start as usize..][..len], &some[..]);
        let mut floats = vec![0.0; len];
        fill_normal_f32(stream, start, 1.0, 2.0, &mut floats);
        prop_assert!(floats.iter().zip(&some).all(|(&a, &b)| a == b as f32));
    }
}

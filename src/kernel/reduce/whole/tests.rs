//! Reductions of slices, compared with the definitions.

use proptest::prelude::*;

use super::{all, dot, partial};
use crate::kernel::number::Number;
use crate::kernel::reduce::{Deviations, Max, MeanSum, Min, MinMax, Sum, mean, variance};

/// Lengths around the sizes of lanes and blocks.
fn length() -> impl Strategy<Value = usize> {
    prop_oneof![0usize..70, 500usize..530, 4090usize..4100, 0usize..20_000]
}

macro_rules! integer_sums {
    ($($name:ident: $type:ty, $total:ty);* $(;)?) => {$(
        proptest! {
            #[test]
            fn $name(data in length().prop_flat_map(|n| prop::collection::vec(any::<$type>(), n))) {
                let add = |sum: $total, &x: &$type| sum.wrapping_add(<$total>::from(x));
                let sum = data.iter().fold(0, add);
                prop_assert_eq!(partial(Sum, &data, ()), sum);
                let dot = data.iter().fold(0, |sum: $total, &x| {
                    sum.wrapping_add(<$total>::from(x).wrapping_mul(<$total>::from(x)))
                });
                prop_assert_eq!(super::dot(&data, &data), dot);
                let [least, greatest] = partial(MinMax, &data, ());
                prop_assert_eq!(least, data.iter().copied().min().unwrap_or(<$type>::MAX));
                prop_assert_eq!(greatest, data.iter().copied().max().unwrap_or(<$type>::MIN));
                prop_assert_eq!(partial(Min, &data, ()), least);
                prop_assert_eq!(partial(Max, &data, ()), greatest);
                let few: Vec<$type> = data.iter().map(|x| x & 1).collect();
                let count = few.iter().filter(|&&x| x != 0).count();
                prop_assert_eq!(super::any(&few), count > 0);
                prop_assert_eq!(super::all(&few), count == few.len());
            }
        }
    )*};
}
integer_sums! {
    sums_of_u8_are_exact: u8, u64;
    sums_of_u64_wrap: u64, u64;
    sums_of_i8_are_exact: i8, i64;
    sums_of_i64_wrap: i64, i64;
}

#[test]
fn the_narrowest_lanes_hold_the_largest_elements() {
    assert_eq!(partial(Sum, &[255u8; 8195], ()), 255 * 8195);
    assert_eq!(partial(Sum, &[-128i8; 8195], ()), -128 * 8195);
    assert_eq!(dot(&[-128i8; 8195], &[-128; 8195]), 128 * 128 * 8195);
}

#[test]
fn bits_of_a_sum_are_fixed() {
    let data: Vec<f64> = (0..100_003u32).map(|i| (f64::from(i) * 0.37 + 0.1).recip()).collect();
    let mut blocks: Vec<f64> = Vec::new();
    for block in data.chunks(512) {
        let mut lanes = [0.0f64; 32];
        block.iter().enumerate().for_each(|(i, x)| lanes[i % 32] += x);
        for width in [16, 8, 4, 2, 1] {
            (0..width).for_each(|k| lanes[k] += lanes[k + width]);
        }
        blocks.push(lanes[0]);
    }
    /// A tree of blocks: the left part is the largest power of two below the length.
    fn tree(blocks: &[f64]) -> f64 {
        match blocks.len() {
            1 => blocks[0],
            n => {
                let (left, right) = blocks.split_at(n.next_power_of_two() / 2);
                tree(left) + tree(right)
            }
        }
    }
    assert_eq!(partial(Sum, &data, ()).to_bits(), tree(&blocks).to_bits());
}

#[test]
fn a_sum_of_f32_is_rounded_once() {
    // Added in f32, one after the other, this sum stops at 2^24.
    let data = vec![1.0f32; (1 << 24) + 3];
    assert_eq!(partial(Sum, &data, ()), 16_777_219.0);
    let tenths = vec![0.1f32; 1_000_000];
    let sum = f32::sum_of(partial(Sum, &tenths, ()));
    assert_eq!(sum, (f64::from(0.1f32) * 1e6) as f32);
}

#[test]
fn nan_and_infinities_go_through() {
    for n in [1usize, 2, 31, 33, 513, 5000] {
        for at in [0, n / 2, n - 1] {
            let mut data = vec![1.5f32; n];
            data[at] = f32::NAN;
            assert!(partial(Min, &data, ()).is_nan(), "{n} {at}");
            assert!(partial(Max, &data, ()).is_nan());
            assert!(partial(MinMax, &data, ()).iter().all(|x| x.is_nan()));
            assert!(partial(Sum, &data, ()).is_nan());
            assert!(super::any(&data) && all(&data));
            data[at] = f32::NEG_INFINITY;
            assert_eq!(partial(Min, &data, ()), f32::NEG_INFINITY);
            assert_eq!(partial(Sum, &data, ()), f64::NEG_INFINITY);
            data[at] = -0.0;
            assert!(!all(&data));
        }
    }
    assert!(!super::any::<f64>(&[]) && all::<f64>(&[]));
    assert!(partial(Sum, &[-0.0f64], ()).is_sign_positive());
}

proptest! {
    #[test]
    fn sums_of_doubles_are_close(
        data in length().prop_flat_map(|n| prop::collection::vec(-1e3f64..1e3, n)),
    ) {
        // Both orders differ from the exact sum by at most n roundings of the sum of magnitudes.
        let magnitude: f64 = data.iter().map(|x| x.abs()).sum();
        let near = |a: f64, b: f64, scale: f64| (a - b).abs() <= scale * 1e-12;
        prop_assert!(near(partial(Sum, &data, ()), data.iter().sum(), magnitude));
        let squares: f64 = data.iter().map(|x| x * x).sum();
        prop_assert!(near(dot(&data, &data), squares, squares));
        prop_assert!(near(partial(Deviations, &data, 0.0), squares, squares));
        if data.len() > 1 {
            let m = mean(partial(MeanSum, &data, ()), data.len());
            let expected: f64 = data.iter().map(|x| (x - m) * (x - m)).sum::<f64>()
                / (data.len() - 1) as f64;
            let v = variance(partial(Deviations, &data, m), data.len(), 1);
            prop_assert!(near(v, expected, expected));
        }
    }

    #[test]
    fn means_of_large_integers_are_not_wrapped(n in 1usize..3000) {
        let data = vec![u64::MAX; n];
        prop_assert_eq!(mean(partial(MeanSum, &data, ()), n), u64::MAX as f64);
        prop_assert_eq!(variance(3.0, 2, 2), f64::INFINITY);
    }
}

//! Random numbers and orders.

use super::{LENGTHS, pool};
use crate::common::alone::alone;
use brigade::{Error, SharedArray};

#[test]
fn uniform_numbers_are_those_of_numpy() {
    alone(|| {
        for workers in [1, 2, 3] {
            let pool = pool(workers);
            let mut x = SharedArray::<f64>::zeroed([200_003]).unwrap();
            pool.fill_uniform(&mut x, 42).unwrap();
            let found = [0, 1, 65_536, 200_002].map(|i| x[[i]]);
            let numpy = [
                0.820_198_147_860_887_6,
                0.189_245_624_086_454_96,
                0.673_516_099_850_391_8,
                0.902_247_000_857_000_3,
            ];
            assert_eq!(found, numpy);
            let mut x = SharedArray::<f32>::zeroed([200_003]).unwrap();
            pool.fill_uniform(&mut x, 42).unwrap();
            let found = [0, 1, 65_537, 200_002].map(|i| f64::from(x[[i]]));
            let numpy = [
                0.302_284_717_559_814_45,
                0.820_198_118_686_676,
                0.674_748_539_924_621_6,
                0.238_354_921_340_942_38,
            ];
            assert_eq!(found, numpy);
        }
    });
}

#[test]
fn numbers_do_not_depend_on_workers() {
    alone(|| {
        let pools = [1, 2, 3].map(pool);
        for len in LENGTHS {
            let [a, b, c] = pools.each_ref().map(|pool| {
                let mut normal = SharedArray::<f32>::zeroed([len]).unwrap();
                pool.fill_normal(&mut normal, 7, 10.0, 2.0).unwrap();
                let mut integers = SharedArray::<i16>::zeroed([len]).unwrap();
                pool.fill_integers(&mut integers, 7, -300..=200).unwrap();
                let order = pool.permutation(len, 7).unwrap();
                assert!(integers.as_slice().iter().all(|x| (-300..=200).contains(x)));
                let mut sorted = order.as_slice().to_vec();
                sorted.sort_unstable();
                assert!(sorted.into_iter().eq(0..len as u64));
                (normal, integers, order)
            });
            assert!(a == b && b == c, "{len}");
        }
        let mut x = SharedArray::<f64>::zeroed([200_003]).unwrap();
        pools[1].fill_normal(&mut x, 1, 10.0, 2.0).unwrap();
        // Four and more times the standard error of each.
        assert!((pools[1].mean(&x).unwrap() - 10.0).abs() < 0.02);
        assert!((pools[1].std(&x, 0).unwrap() - 2.0).abs() < 0.02);
    });
}

#[test]
fn integers_reach_both_ends_of_their_range() {
    alone(|| {
        let pool = pool(2);
        let mut x = SharedArray::<i8>::zeroed([20_000]).unwrap();
        pool.fill_integers(&mut x, 3, i8::MIN..=i8::MAX).unwrap();
        assert_eq!((pool.min(&x).unwrap(), pool.max(&x).unwrap()), (i8::MIN, i8::MAX));
        pool.fill_integers(&mut x, 3, -1..=1).unwrap();
        assert_eq!((pool.min(&x).unwrap(), pool.max(&x).unwrap()), (-1, 1));
        pool.fill_integers(&mut x, 3, 5..=5).unwrap();
        assert_eq!((pool.min(&x).unwrap(), pool.max(&x).unwrap()), (5, 5));
        let mut words = SharedArray::<u64>::zeroed([1000]).unwrap();
        pool.fill_integers(&mut words, 3, 0..=u64::MAX).unwrap();
        assert!(pool.max(&words).unwrap() > u64::MAX / 100 * 95);
        #[expect(clippy::reversed_empty_ranges, reason = "it is what is tested")]
        let refused = pool.fill_integers(&mut x, 3, 2..=1);
        assert!(matches!(refused, Err(Error::InvalidArgument { value, .. }) if value == "2..=1"));
    });
}

#[test]
fn shuffles_keep_all_elements_and_differ_by_seed() {
    alone(|| {
        let pool = pool(2);
        // More than one chunk of the shuffle.
        let mut x =
            SharedArray::from_fn([700, 1001], |[i, j]| u32::try_from(1001 * i + j).unwrap())
                .unwrap();
        pool.shuffle(&mut x, 1).unwrap();
        assert_eq!(x.shape().dims(), [700, 1001]);
        let first = x.as_slice().to_vec();
        let mut sorted = first.clone();
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..700_700));
        let moved = first.iter().zip(0..).filter(|&(&x, i)| x != i).count();
        assert!(moved > 700_000);
        let other = pool.permutation(700_700, 2).unwrap();
        assert!(other.as_slice().iter().zip(&first).any(|(&a, &b)| a != u64::from(b)));
    });
}

//! Histograms, and counts of small integers.

use super::{LENGTHS, bytes, pool, tenths};
use crate::common::alone::alone;
use brigade::{Error, SharedArray};

#[test]
fn histograms_are_those_of_numpy() {
    alone(|| {
        let mut x = tenths(200_003);
        for workers in [1, 2, 3] {
            let pool = pool(workers);
            let (counts, edges) = pool.histogram(&x, 7, -40.3..=30.1).unwrap();
            let numpy = [20_019, 20_021, 19_821, 20_019, 19_822, 20_021, 19_822];
            assert_eq!(counts.as_slice(), numpy);
            assert_eq!(edges.len(), 8);
            assert_eq!((edges[1], edges[4]), (-30.242_857_142_857_14, -0.071_428_571_428_562_29));
            for bins in [1, 5000] {
                let (counts, _) = pool.histogram(&x, bins, -50.0..=60.0).unwrap();
                assert_eq!(counts.as_slice().iter().sum::<u64>(), 200_003);
            }
        }
        let pool = pool(2);
        x.as_mut_slice().fill(f64::NAN);
        assert_eq!(pool.histogram(&x, 2, 0.0..=0.0).unwrap().0.as_slice(), [0, 0]);
        let empty = SharedArray::<u8>::zeroed([0]).unwrap();
        assert_eq!(pool.histogram(&empty, 2, 0.0..=1.0).unwrap().0.as_slice(), [0, 0]);
        for (bins, range) in [(0, 0.0..=1.0), (2, 1.0..=0.0), (2, 0.0..=f64::NAN)] {
            let refused = pool.histogram(&x, bins, range);
            assert!(matches!(refused, Err(Error::InvalidArgument { .. })));
        }
        // Edges that are no different numbers, and a width that is not finite.
        let close = SharedArray::from_slice(&[1e8f32, 1e8 + 8.0]).unwrap();
        let refused = [
            pool.histogram(&close, 10, 1e8..=1e8 + 8.0).unwrap_err(),
            pool.histogram(&x, 2, -1.7e308..=1.7e308).unwrap_err(),
            pool.histogram(&x, 1, 1e300..=1e300).unwrap_err(),
        ];
        for error in refused {
            assert!(error.to_string().contains("edges ascend"), "{error}");
        }
        assert_eq!(pool.histogram(&close, 1, 1e8..=1e8 + 8.0).unwrap().0.as_slice(), [2]);
    });
}

#[test]
fn integers_are_counted() {
    alone(|| {
        for workers in [1, 2, 3] {
            let pool = pool(workers);
            for len in LENGTHS {
                let x = bytes(len);
                let mut expected = vec![0u64; 251.min(len.max(3))];
                x.as_slice().iter().for_each(|&x| {
                    let x = usize::from(x);
                    expected.resize(expected.len().max(x + 1), 0);
                    expected[x] += 1;
                });
                let counts = pool.bincount(&x, expected.len().min(3)).unwrap();
                assert_eq!(counts.as_slice(), &expected[..counts.len()]);
                assert!(expected[counts.len()..].iter().all(|&count| count == 0));
            }
        }
        let pool = pool(2);
        let negative = SharedArray::from_slice(&[3i32, -1]).unwrap();
        assert!(matches!(pool.bincount(&negative, 0), Err(Error::InvalidArgument { .. })));
        let large = SharedArray::from_slice(&[u64::MAX]).unwrap();
        assert!(matches!(pool.bincount(&large, 0), Err(Error::InvalidArgument { .. })));
    });
}

//! Reductions of whole arrays.

use super::{LENGTHS, bytes, is_close, pool, tenths};
use crate::common::alone::alone;
use brigade::{Error, SharedArray};

#[test]
fn whole_arrays_are_reduced_to_what_numpy_says() {
    alone(|| {
        let x = tenths(200_003);
        let mut bits = Vec::new();
        for workers in [1, 2, 3] {
            let pool = pool(workers);
            let results = [
                (pool.sum(&x).unwrap(), 80_037.100_000_000_56),
                (pool.mean(&x).unwrap(), 0.400_179_497_307_543_2),
                (pool.var(&x, 1).unwrap(), 848.410_169_316_087_3),
                (pool.std(&x, 0).unwrap(), 29.127_408_524_083_815),
                (pool.norm(&x).unwrap(), 13_027.500_139_704_47),
                (pool.dot(&x, &x).unwrap(), 169_715_759.890_000_02),
            ];
            for (found, numpy) in results {
                assert!(is_close(found, numpy), "{found} {numpy}");
            }
            bits.push(results.map(|(found, _)| found.to_bits()));
            assert_eq!((pool.argmin(&x).unwrap(), pool.argmax(&x).unwrap()), (0, 765));
            let u = bytes(200_003);
            assert_eq!(pool.sum(&u).unwrap(), 25_000_429);
            assert!(is_close(pool.mean(&u).unwrap(), 125.000_269_995_950_06));
            assert!(is_close(pool.var(&u, 0).unwrap(), 5_250.015_009_701_956));
        }
        assert!(bits.iter().all(|results| *results == bits[0]));
    });
}

#[test]
fn integers_are_reduced_exactly_for_any_length() {
    alone(|| {
        for workers in [1, 2, 3] {
            let pool = pool(workers);
            for len in LENGTHS {
                let element = |[i]: [usize; 1]| i16::try_from(i * 31 % 4001).unwrap() - 2000;
                let x = SharedArray::from_fn([len], element).unwrap();
                let sum =
                    |f: fn(i64) -> i64| x.as_slice().iter().map(|&x| f(x.into())).sum::<i64>();
                assert_eq!(pool.sum(&x).unwrap(), sum(|x| x));
                assert_eq!(pool.dot(&x, &x).unwrap(), sum(|x| x * x));
                assert_eq!(pool.any(&x).unwrap(), x.as_slice().iter().any(|&x| x != 0));
                assert_eq!(pool.all(&x).unwrap(), x.as_slice().iter().all(|&x| x != 0));
                let min = x.as_slice().iter().enumerate().min_by_key(|(i, x)| (**x, *i));
                let Some((argmin, &min)) = min else {
                    assert!(pool.mean(&x).unwrap().is_nan() && pool.var(&x, 0).unwrap().is_nan());
                    continue;
                };
                assert_eq!((pool.min(&x).unwrap(), pool.argmin(&x).unwrap()), (min, argmin));
                let max = x.as_slice().iter().enumerate().rev().max_by_key(|(_, x)| **x);
                let (argmax, &max) = max.unwrap();
                assert_eq!((pool.max(&x).unwrap(), pool.argmax(&x).unwrap()), (max, argmax));
            }
        }
    });
}

#[test]
fn nan_is_found_and_is_true() {
    alone(|| {
        let pool = pool(2);
        let mut x = tenths(200_003);
        x[[150_000]] = f64::NAN;
        x[[160_000]] = f64::NAN;
        assert!(pool.sum(&x).unwrap().is_nan());
        assert!(pool.min(&x).unwrap().is_nan() && pool.max(&x).unwrap().is_nan());
        assert_eq!((pool.argmin(&x).unwrap(), pool.argmax(&x).unwrap()), (150_000, 150_000));
        let nan = SharedArray::from_slice(&[f32::NAN]).unwrap();
        assert!(pool.any(&nan).unwrap() && pool.all(&nan).unwrap());
        // One element, and as many degrees of freedom: NaN, and infinity with two of one.
        assert!(pool.var(&SharedArray::from_slice(&[1.0f64]).unwrap(), 1).unwrap().is_nan());
        let two = SharedArray::from_slice(&[1.0f64, 2.0]).unwrap();
        assert_eq!(pool.var(&two, 3).unwrap(), f64::INFINITY);
    });
}

#[test]
fn arrays_without_elements_and_unequal_ones_are_refused() {
    alone(|| {
        let pool = pool(1);
        let empty = SharedArray::<f32>::zeroed([3, 0]).unwrap();
        assert_eq!((pool.sum(&empty).unwrap(), pool.norm(&empty).unwrap()), (0.0, 0.0));
        assert_eq!((pool.any(&empty).unwrap(), pool.all(&empty).unwrap()), (false, true));
        for error in [
            pool.min(&empty).unwrap_err(),
            pool.max(&empty).unwrap_err(),
            pool.argmin(&empty).unwrap_err(),
            pool.argmax(&empty).unwrap_err(),
        ] {
            assert!(matches!(&error, Error::InvalidArgument { value, .. } if value == "[3, 0]"));
        }
        let other = SharedArray::<f32>::zeroed([0, 3]).unwrap();
        assert!(matches!(pool.dot(&empty, &other), Err(Error::ShapeMismatch { .. })));
    });
}

//! Prefix sums and scans.

use super::{LENGTHS, bytes, is_close, pool, tenths};
use crate::common::alone::alone;
use brigade::SharedArray;

#[test]
fn prefix_sums_are_those_of_numpy() {
    alone(|| {
        let mut bits = Vec::new();
        for workers in [1, 2, 3] {
            let pool = pool(workers);
            for len in LENGTHS {
                let x = bytes(len);
                let (sums, before) = (pool.cumsum(&x).unwrap(), pool.cumsum_exclusive(&x).unwrap());
                let mut sum = 0;
                for (i, &x) in x.as_slice().iter().enumerate() {
                    assert_eq!(before[[i]], sum);
                    sum += u64::from(x);
                    assert_eq!(sums[[i]], sum);
                }
            }
            let sums = pool.cumsum(&tenths(200_003)).unwrap();
            assert!(is_close(sums[[70_000]], 28_094.399_999_999_972));
            assert!(is_close(sums[[200_002]], 80_037.100_000_000_06));
            bits.push(sums.as_slice().iter().map(|x| x.to_bits()).collect::<Vec<_>>());
        }
        assert!(bits.iter().all(|sums| *sums == bits[0]));
    });
}

#[test]
fn any_associative_function_is_scanned() {
    alone(|| {
        for workers in [1, 2, 3] {
            let pool = pool(workers);
            for len in LENGTHS {
                // Composition of affine maps: associative, not commutative.
                let element = |[i]: [usize; 1]| [i | 1, 7 * i].map(|i| u32::try_from(i).unwrap());
                let x = SharedArray::from_fn([len], element).unwrap();
                let op = |a: [u32; 2], b: [u32; 2]| {
                    [a[0].wrapping_mul(b[0]), a[1].wrapping_mul(b[0]).wrapping_add(b[1])]
                };
                let out = pool.scan(&x, [1, 0], op).unwrap();
                let mut joined = [1, 0];
                for (i, &x) in x.as_slice().iter().enumerate() {
                    joined = op(joined, x);
                    assert_eq!(out[[i]], joined, "{i} of {len}");
                }
            }
        }
    });
}

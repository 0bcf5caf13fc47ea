//! Rows by index, mask and condition, compared with plain loops.

use crate::common::alone::alone;
use brigade::{Error, Pool, Shape, SharedArray};

fn pool(workers: usize) -> Pool {
    Pool::builder().workers(workers).build().unwrap()
}

fn numbered(shape: &[usize]) -> SharedArray<u32> {
    let mut array = SharedArray::zeroed(shape).unwrap();
    (0u32..).zip(array.as_mut_slice()).for_each(|(i, x)| *x = i);
    array
}

/// Shapes of arrays of a few and of many rows, with rows of none and of several elements.
const SHAPES: [&[usize]; 8] =
    [&[0], &[1], &[200_003], &[0, 3], &[5, 0], &[40_001, 3], &[300, 5, 67], &[2, 70_001]];

#[test]
fn rows_by_index_equal_a_loop() {
    alone(|| {
        for workers in [1, 2, 3] {
            let pool = pool(workers);
            for shape in SHAPES {
                let a = numbered(shape);
                let (n, row) = (shape[0], &shape[1..]);
                let row_len = row.iter().product::<usize>();
                for count in [0, 1, 1001, if row_len == 1 { 150_001 } else { 7 }] {
                    if n == 0 && count > 0 {
                        continue;
                    }
                    let indices = SharedArray::from_fn([count], |[i]| i * 7919 % n).unwrap();
                    let from_end = |[i]: [usize; 1]| {
                        (i * 7919 % n) as i64 - if i % 2 == 0 { n as i64 } else { 0 }
                    };
                    let from_end = SharedArray::from_fn([count], from_end).unwrap();
                    let rows = indices.as_slice().iter();
                    let expected: Vec<u32> = rows
                        .flat_map(|&i| a.as_slice()[i * row_len..][..row_len].to_vec())
                        .collect();
                    let found = pool.take(&a, &indices).unwrap();
                    assert_eq!(found.shape().dims(), [&[count], row].concat());
                    assert!(found.as_slice() == expected, "{shape:?} {count}");
                    assert!(pool.take(&a, &from_end).unwrap().as_slice() == expected);
                }
            }
            let square = SharedArray::from_fn([2, 2], |[i, j]| (i + j) as u64).unwrap();
            let found = pool.take(&numbered(&[3, 2]), &square).unwrap();
            assert_eq!(found.shape().dims(), [2, 2, 2]);
            assert_eq!(found.as_slice(), [0, 1, 2, 3, 2, 3, 4, 5]);
            let mut one = SharedArray::<u64>::zeroed(Shape::from([])).unwrap();
            one.as_mut_slice()[0] = 2;
            assert_eq!(pool.take(&numbered(&[3, 2]), &one).unwrap().as_slice(), [4, 5]);
        }
    });
}

#[test]
fn the_first_index_out_of_bounds_is_named() {
    alone(|| {
        let pool = pool(3);
        let a = numbered(&[10, 2]);
        let mut indices = SharedArray::<i64>::zeroed([300_000]).unwrap();
        (indices[[250_000]], indices[[123_456]]) = (10, -11);
        let error = pool.take(&a, &indices).unwrap_err();
        assert!(matches!(error, Error::InvalidArgument { .. }), "{error:?}");
        assert!(error.to_string().contains("-11 at position 123456"), "{error}");
        assert!(pool.take(&numbered(&[0, 2]), &SharedArray::from_slice(&[0u64]).unwrap()).is_err());
        let none = SharedArray::<u8>::zeroed(Shape::from([])).unwrap();
        assert!(pool.take(&none, &SharedArray::from_slice(&[0u64]).unwrap()).is_err());
    });
}

#[test]
fn rows_by_mask_equal_a_loop() {
    alone(|| {
        for workers in [1, 2, 3] {
            let pool = pool(workers);
            for shape in SHAPES {
                let a = numbered(shape);
                let row = &shape[1..];
                let row_len = row.iter().product::<usize>();
                for every in [1, 2, 3, 50_000, usize::MAX] {
                    let byte = |[i]: [usize; 1]| if i % every == every / 2 { 3u8 } else { 0 };
                    let mask = SharedArray::from_fn([shape[0]], byte).unwrap();
                    let rows = (0..shape[0]).filter(|&i| mask[[i]] != 0);
                    let expected: Vec<u32> = rows
                        .flat_map(|i| a.as_slice()[i * row_len..][..row_len].to_vec())
                        .collect();
                    let found = pool.compress(&a, &mask).unwrap();
                    assert!(found.as_slice() == expected, "{shape:?} {every}");
                    let count = mask.as_slice().iter().filter(|&&byte| byte != 0).count();
                    assert_eq!(found.shape().dims(), [&[count], row].concat());
                }
            }
            let error = pool.compress(&numbered(&[3, 2]), &SharedArray::zeroed([2]).unwrap());
            assert!(matches!(error, Err(Error::ShapeMismatch { .. })), "{error:?}");
            let error = pool.compress(&numbered(&[3, 2]), &SharedArray::zeroed([3, 2]).unwrap());
            assert!(error.unwrap_err().to_string().contains("[3, 2]"));
        }
    });
}

#[test]
fn a_selection_copies_the_bits_of_either() {
    alone(|| {
        for workers in [1, 2, 3] {
            let pool = pool(workers);
            for len in [0, 1, 200_003] {
                let mask = SharedArray::from_fn([len], |[i]| (i % 3).to_le_bytes()[0]).unwrap();
                let x = SharedArray::from_fn([len], |[i]| i as f64).unwrap();
                let y = SharedArray::from_fn([len], |_| f64::NAN).unwrap();
                let found = pool.select(&mask, &x, &y).unwrap();
                for i in 0..len {
                    let expected = if i % 3 == 0 { y[[i]] } else { x[[i]] };
                    assert_eq!(found[[i]].to_bits(), expected.to_bits());
                }
            }
            let (mask, x) = (SharedArray::zeroed([2, 3]).unwrap(), numbered(&[2, 3]));
            assert_eq!(pool.select(&mask, &x, &x).unwrap().shape().dims(), [2, 3]);
            for error in [
                pool.select(&mask, &x, &numbered(&[3, 2])),
                pool.select(&SharedArray::zeroed([6]).unwrap(), &x, &x),
            ] {
                assert!(matches!(error, Err(Error::ShapeMismatch { .. })), "{error:?}");
            }
        }
    });
}

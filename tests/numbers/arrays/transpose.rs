//! Permutations of axes, compared with a loop over places.

use crate::common::alone::alone;
use brigade::{Error, Pool, SharedArray};
use bytemuck::Pod;

fn naive<T: Pod>(array: &SharedArray<T>, axes: &[usize]) -> Vec<T> {
    let dims = array.shape().dims();
    let strides = array.shape().strides();
    let at = |mut i: usize| {
        let mut from = 0;
        for &axis in axes.iter().rev() {
            from += i % dims[axis] * strides[axis];
            i /= dims[axis];
        }
        array.as_slice()[from]
    };
    (0..array.as_slice().len()).map(at).collect()
}

/// Every byte different from its neighbours.
fn array<T: Pod>(shape: &[usize]) -> SharedArray<T> {
    let mut array = SharedArray::<T>::zeroed(shape).unwrap();
    let bytes: &mut [u8] = bytemuck::cast_slice_mut(array.as_mut_slice());
    for (i, byte) in (0u64..).zip(bytes) {
        *byte = i.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()[7];
    }
    array
}

fn check<T: Pod + PartialEq>(pool: &Pool, shape: &[usize], axes: &[usize]) {
    let a = array::<T>(shape);
    let found = pool.permute_axes(&a, axes).unwrap();
    let permuted: Vec<usize> = axes.iter().map(|&axis| shape[axis]).collect();
    assert_eq!(found.shape().dims(), permuted);
    assert!(found.as_slice() == naive(&a, axes), "{shape:?} by {axes:?}: {} bytes", size_of::<T>());
    if shape.len() == 2 && axes == [1, 0] {
        assert!(pool.transpose(&a).unwrap().as_slice() == found.as_slice());
    }
}

#[test]
fn permuted_arrays_equal_the_naive_oracle() {
    alone(|| {
        for workers in [1, 2, 3] {
            let pool = Pool::builder().workers(workers).build().unwrap();
            for shape in [[0, 3], [3, 0], [1, 1], [700, 901], [3, 300_001], [300_001, 3], [33, 40]]
            {
                check::<u8>(&pool, &shape, &[1, 0]);
                check::<u16>(&pool, &shape, &[1, 0]);
                check::<u32>(&pool, &shape, &[1, 0]);
                check::<u64>(&pool, &shape, &[1, 0]);
                check::<[u64; 2]>(&pool, &shape, &[1, 0]);
                check::<[u8; 3]>(&pool, &shape, &[1, 0]);
            }
            check::<[u32; 3]>(&pool, &[200, 300], &[1, 0]);
            check::<[u8; 16]>(&pool, &[200, 300], &[1, 0]);
            check::<[u64; 3]>(&pool, &[200, 30], &[0, 1]);
            check::<u8>(&pool, &[], &[]);
            check::<u8>(&pool, &[1001], &[0]);
            for axes in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
                check::<u8>(&pool, &[480, 641, 3], &axes);
                check::<u32>(&pool, &[2, 300, 401], &axes);
            }
            check::<u16>(&pool, &[5, 1, 41, 37, 23], &[4, 1, 0, 3, 2]);
        }
    });
}

#[test]
fn axes_that_are_no_permutation_are_refused() {
    alone(|| {
        let pool = Pool::builder().workers(1).build().unwrap();
        let a = array::<u8>(&[2, 3, 4]);
        for axes in [&[0, 1][..], &[0, 1, 1], &[0, 1, 3], &[0, 1, 2, 3]] {
            let error = pool.permute_axes(&a, axes).unwrap_err();
            assert!(matches!(error, Error::InvalidArgument { .. }), "{error:?}");
            assert!(error.to_string().contains(&format!("{axes:?}")), "{error}");
        }
        let error = pool.transpose(&a).unwrap_err();
        assert!(error.to_string().contains("[2, 3, 4]"), "{error}");
    });
}

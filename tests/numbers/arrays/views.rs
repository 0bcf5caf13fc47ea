//! Calls on other kinds of arrays, rows, several axes.
#![allow(unsafe_code)]

use super::pool;
use crate::common::alone::alone;
use crate::common::unique;
use brigade::{ArrayView, AsArrayView, Boundary, Error, Neighbours, Pool, SharedArray, Side};

/// An array with a different element everywhere.
fn numbered(shape: [usize; 3]) -> SharedArray<i64> {
    SharedArray::from_fn(shape, |[i, j, k]| ((i * shape[1] + j) * shape[2] + k) as i64 * 3 % 1009)
        .unwrap()
}

#[test]
fn every_kind_of_array_is_read() {
    alone(|| {
        let pool = pool(2);
        let x = numbered([7, 5, 3]);
        let total: i64 = x.as_slice().iter().sum();
        let path = std::env::temp_dir().join(format!("{}.npy", unique("views")));
        x.to_npy(&path).unwrap();
        let mut named = SharedArray::<i64>::named(&unique("views"), [7, 5, 3]).unwrap();
        named.copy_from_slice(x.as_slice()).unwrap();
        // SAFETY: the test wrote the file, and nobody else knows it.
        let mapped = unsafe { SharedArray::<i64>::map_npy(&path) }.unwrap();
        // SAFETY: nobody else knows the name.
        let lent = unsafe { named.lend() };
        assert_eq!(pool.sum(&mapped).unwrap(), total);
        assert_eq!(pool.sum(&lent).unwrap(), total);
        assert_eq!(pool.sum_axis(&mapped, 2).unwrap().len(), 35);
        drop(mapped);
        std::fs::remove_file(path).unwrap();
        let frozen = x.freeze();
        assert_eq!(pool.sum(&frozen).unwrap(), total);
        assert_eq!(pool.sum(&frozen.as_array_view()).unwrap(), total);
        let argsort = pool.argsort(&pool.cast::<_, f32>(&frozen).unwrap());
        assert!(argsort.is_err(), "three dimensions");
    });
}

#[test]
fn rows_of_an_array_are_an_array() {
    alone(|| {
        let pool = pool(3);
        let x = numbered([200, 40, 3]);
        let view = x.as_array_view();
        for rows in [0..200, 3..4, 5..5, 199..200, 17..160] {
            let part = view.rows(rows.clone()).unwrap();
            let elements = &x.as_slice()[rows.start * 120..rows.end * 120];
            let mut copy = SharedArray::from_slice(elements).unwrap();
            copy.reshape([rows.len(), 40, 3]).unwrap();
            assert_eq!((part.shape(), part.as_slice()), (copy.shape(), elements));
            same(&pool, &part, &copy);
            // Rows of rows.
            if rows.len() > 2 {
                let inner = part.rows(1..rows.len() - 1).unwrap();
                assert_eq!(inner.as_slice(), &elements[120..elements.len() - 120]);
            }
            let mut sums = SharedArray::<i64>::zeroed([rows.len()]).unwrap();
            let loops = pool.par_rows(&part, 2).zip(&mut sums);
            loops
                .for_each(|(rows, sums)| {
                    let rows = rows.iter().zip(sums.into_slice());
                    rows.for_each(|(row, sum)| *sum = row.iter().sum());
                })
                .unwrap();
            assert_eq!(sums.as_slice(), pool.sum_axis(&copy, [1, 2]).unwrap().as_slice());
        }
        for rows in [(0, 201), (5, 4), (201, 201)] {
            let refused = view.rows(rows.0..rows.1).unwrap_err();
            assert!(refused.to_string().contains("200"), "{refused}");
        }
        let scalar = SharedArray::from_fn([], |[]| 1.0).unwrap();
        assert!(matches!(scalar.as_array_view().rows(0..1), Err(Error::InvalidArgument { .. })));
    });
}

/// The calls of each kind say the same of a view and of a copy.
fn same(pool: &Pool, part: &ArrayView<'_, i64>, copy: &SharedArray<i64>) {
    let equal = |a: &SharedArray<i64>, b: &SharedArray<i64>| {
        assert_eq!((a.shape(), a.as_slice()), (b.shape(), b.as_slice()));
    };
    assert_eq!(pool.sum(part).unwrap(), pool.sum(copy).unwrap());
    assert_eq!(pool.max(part).ok(), pool.max(copy).ok());
    assert_eq!(pool.dot(part, copy).unwrap(), pool.dot(copy, copy).unwrap());
    equal(&pool.sum_axis(part, 1).unwrap(), &pool.sum_axis(copy, 1).unwrap());
    equal(&pool.cumsum(part).unwrap(), &pool.cumsum(copy).unwrap());
    equal(
        &pool.permute_axes(part, &[2, 0, 1]).unwrap(),
        &pool.permute_axes(copy, &[2, 0, 1]).unwrap(),
    );
    equal(&pool.unique(part).unwrap().0, &pool.unique(copy).unwrap().0);
    let bounds = SharedArray::from_slice(&[100i64, 500]).unwrap();
    let places = |x| pool.searchsorted(&bounds, x, Side::Left).unwrap();
    assert_eq!(
        places(part).as_slice(),
        pool.searchsorted(&bounds, copy, Side::Left).unwrap().as_slice()
    );
    let stencil = |x: Neighbours<'_, i64, 3>| x.value([0, 1, 0]) - x.value([0, 0, 0]);
    let clamp = Boundary::Clamp;
    equal(
        &pool.stencil(part, [0, 1, 0], clamp, stencil).unwrap(),
        &pool.stencil(copy, [0, 1, 0], clamp, stencil).unwrap(),
    );
}

#[test]
fn several_axes_are_reduced() {
    alone(|| {
        let shape = [6, 5, 4, 3];
        let x = SharedArray::from_fn(shape, |i: [usize; 4]| {
            (i[0] * 100 + i[1] * 31 + i[2] * 17 + i[3] * 7) as f64 % 57.0
        })
        .unwrap();
        for workers in [1, 3] {
            let pool = pool(workers);
            for set in 1..16usize {
                let axes: Vec<usize> = (0..4).filter(|axis| set >> axis & 1 == 1).collect();
                let reversed: Vec<usize> = axes.iter().rev().copied().collect();
                let sums = pool.sum_axis(&x, &reversed[..]).unwrap();
                let stds = pool.std_axis(&x, &axes[..], 0).unwrap();
                let most = pool.max_axis(&x, &axes[..]).unwrap();
                let kept: Vec<usize> = (0..4).filter(|axis| !axes.contains(axis)).collect();
                let dims: Vec<usize> = kept.iter().map(|&axis| shape[axis]).collect();
                assert_eq!((sums.shape().dims(), stds.shape().dims()), (&dims[..], &dims[..]));
                let mut groups = vec![Vec::new(); dims.iter().product()];
                for (place, &value) in x.as_slice().iter().enumerate() {
                    let index = [place / 60, place / 12 % 5, place / 3 % 4, place % 3];
                    let group = kept.iter().fold(0, |at, &axis| at * shape[axis] + index[axis]);
                    groups[group].push(value);
                }
                for (i, group) in groups.iter().enumerate() {
                    let (count, sum) = (group.len() as f64, group.iter().sum::<f64>());
                    let squares = group.iter().map(|x| (x - sum / count).powi(2)).sum::<f64>();
                    assert_eq!(sums.as_slice()[i], sum, "{axes:?}");
                    assert!((stds.as_slice()[i] - (squares / count).sqrt()).abs() < 1e-12);
                    assert!(group.contains(&most.as_slice()[i]));
                    assert!(group.iter().all(|x| *x <= most.as_slice()[i]));
                }
            }
            let refused = [
                pool.sum_axis(&x, [0, 0]).unwrap_err(),
                pool.sum_axis(&x, [1, 4]).unwrap_err(),
                pool.sum_axis(&x, [0; 0]).unwrap_err(),
                pool.argmax_axis(&x, 4).unwrap_err(),
            ];
            for error in refused {
                assert!(error.to_string().contains("[6, 5, 4, 3]"), "{error}");
            }
        }
    });
}

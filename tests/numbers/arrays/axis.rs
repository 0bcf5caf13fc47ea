//! Reductions along one axis.

use super::{is_close, pool, tenths};
use crate::common::alone::alone;
use brigade::{Error, SharedArray};

/// Shapes that are divided by columns, by rows of results, by parts of the axis, or not at all.
const SHAPES: [&[usize]; 9] = [
    &[200_003],
    &[3, 70_001],
    &[70_001, 3],
    &[5, 9_001],
    &[2, 3, 10_007],
    &[300, 20, 7],
    &[1, 1],
    &[4, 1, 6],
    &[130, 1_000],
];

fn array(shape: &[usize]) -> SharedArray<i16> {
    let len = shape.iter().product();
    let element = |[i]: [usize; 1]| i16::try_from(i * 7919 % 601).unwrap() - 300;
    let mut x = SharedArray::from_fn([len], element).unwrap();
    x.reshape(shape).unwrap();
    x
}

/// The elements along the axis for each result, in order.
fn columns(x: &SharedArray<i16>, axis: usize) -> Vec<Vec<i16>> {
    let dims = x.shape().dims();
    let inner: usize = dims[axis + 1..].iter().product();
    let (n, outer) = (dims[axis], dims[..axis].iter().product::<usize>());
    let element = |o: usize, i: usize, c: usize| x.as_slice()[(o * n + i) * inner + c];
    (0..outer * inner)
        .map(|at| (0..n).map(|i| element(at / inner, i, at % inner)).collect())
        .collect()
}

#[test]
fn each_result_is_the_reduction_of_its_column() {
    alone(|| {
        let pools = [1, 2, 3].map(pool);
        for (pool, &shape) in SHAPES.iter().flat_map(|s| pools.iter().map(move |p| (p, s))) {
            let x = array(shape);
            for axis in 0..shape.len() {
                let columns = columns(&x, axis);
                let sums = pool.sum_axis(&x, axis).unwrap();
                let mut dims = shape.to_vec();
                dims.remove(axis);
                assert_eq!(sums.shape().dims(), dims);
                let means = pool.mean_axis(&x, axis).unwrap();
                let vars = pool.var_axis(&x, axis, 0).unwrap();
                let min = pool.min_axis(&x, axis).unwrap();
                let max = pool.max_axis(&x, axis).unwrap();
                let argmin = pool.argmin_axis(&x, axis).unwrap();
                let argmax = pool.argmax_axis(&x, axis).unwrap();
                let all = pool.all_axis(&x, axis).unwrap();
                for (i, column) in columns.iter().enumerate() {
                    let sum: i64 = column.iter().map(|&x| i64::from(x)).sum();
                    assert_eq!(sums.as_slice()[i], sum, "{shape:?} {axis} {i}");
                    let mean = sum as f64 / column.len() as f64;
                    assert_eq!(means.as_slice()[i], mean);
                    let squares = column.iter().map(|&x| (f64::from(x) - mean).powi(2));
                    let var = squares.sum::<f64>() / column.len() as f64;
                    let found = vars.as_slice()[i];
                    assert!(if var == 0.0 { found == 0.0 } else { is_close(found, var) });
                    let least = column.iter().min().unwrap();
                    let greatest = column.iter().max().unwrap();
                    assert_eq!((min.as_slice()[i], max.as_slice()[i]), (*least, *greatest));
                    let place = |x| column.iter().position(|y| y == x).unwrap() as u64;
                    assert_eq!(argmin.as_slice()[i], place(least), "{shape:?} {axis} {i}");
                    assert_eq!(argmax.as_slice()[i], place(greatest));
                    assert_eq!(all.as_slice()[i], u8::from(!column.contains(&0)));
                }
            }
        }
    });
}

#[test]
fn axes_are_reduced_to_what_numpy_says() {
    // The first, the eighth and the last result.
    let numpy = [
        (
            [-0.248_749_999_999_996_3, 0.614_250_000_000_003_4, 0.658_750_000_000_002_7],
            [29.161_979_546_408_755, 29.144_483_598_926_91, 29.171_083_348_013_358],
            [329, 280, 53],
        ),
        (
            [0.477_000_000_000_003_1, 0.385_000_000_000_002_84, -0.066_999_999_999_997_62],
            [29.540_517_817_555_14, 29.260_696_481_557_96, 29.279_917_118_472_97],
            [62, 17, 20],
        ),
        (
            [0.120_000_000_000_001_7, -10.699_999_999_999_998, -9.8],
            [32.827_077_238_158_14, 24.191_424_100_288_106, 24.191_424_100_288_1],
            [1, 0, 0],
        ),
    ];
    alone(move || {
        let pool = pool(2);
        let mut x = tenths(200_000);
        x.reshape([400, 100, 5]).unwrap();
        for (axis, (means, deviations, greatest)) in numpy.into_iter().enumerate() {
            let mean = pool.mean_axis(&x, axis).unwrap();
            let deviation = pool.std_axis(&x, axis, 1).unwrap();
            let argmax = pool.argmax_axis(&x, axis).unwrap();
            for (k, at) in [0, 7, mean.len() - 1].into_iter().enumerate() {
                assert!((mean.as_slice()[at] - means[k]).abs() < 1e-13 * 50.0);
                assert!(is_close(deviation.as_slice()[at], deviations[k]));
                assert_eq!(argmax.as_slice()[at], greatest[k]);
            }
        }
    });
}

#[test]
fn floats_have_the_same_bits_for_any_number_of_workers() {
    alone(|| {
        let pools = [1, 2, 3].map(pool);
        for shape in SHAPES {
            let mut x = tenths(shape.iter().product());
            x.reshape(shape).unwrap();
            for axis in 0..shape.len() {
                let [a, b, c] = pools.each_ref().map(|pool| {
                    let sums = pool.sum_axis(&x, axis).unwrap();
                    let vars = pool.var_axis(&x, axis, 0).unwrap();
                    [sums, vars]
                        .map(|x| x.as_slice().iter().map(|x| x.to_bits()).collect::<Vec<_>>())
                });
                assert!(a == b && b == c, "{shape:?} {axis}");
            }
        }
    });
}

#[test]
fn empty_axes_are_reduced_as_by_numpy() {
    alone(|| {
        let pool = pool(2);
        for shape in [[0, 3], [3, 0], [0, 0]] {
            let x = SharedArray::<f32>::zeroed(shape).unwrap();
            for axis in [0, 1] {
                let left = shape[1 - axis];
                assert_eq!(pool.sum_axis(&x, axis).unwrap().as_slice(), vec![0.0; left]);
                let means = pool.mean_axis(&x, axis).unwrap();
                assert!(means.len() == left && means.as_slice().iter().all(|x| x.is_nan()));
                assert_eq!(pool.all_axis(&x, axis).unwrap().as_slice(), vec![1; left]);
                let (min, argmax) = (pool.min_axis(&x, axis), pool.argmax_axis(&x, axis));
                if shape[axis] == 0 {
                    assert!(matches!(min, Err(Error::InvalidArgument { .. })));
                    assert!(matches!(argmax, Err(Error::InvalidArgument { .. })));
                } else {
                    assert_eq!((min.unwrap().len(), argmax.unwrap().len()), (left, left));
                }
            }
        }
        let x = SharedArray::<f32>::zeroed([2, 3]).unwrap();
        let error = pool.sum_axis(&x, 2).unwrap_err();
        assert!(matches!(error, Error::InvalidArgument { value, .. } if value == "2 of [2, 3]"));
        let scalar = SharedArray::<f32>::zeroed([]).unwrap();
        assert!(matches!(pool.max_axis(&scalar, 0), Err(Error::InvalidArgument { .. })));
    });
}

#[test]
fn the_first_nan_of_a_column_is_found() {
    alone(|| {
        let pool = pool(2);
        let mut x = SharedArray::<f32>::zeroed([70_001, 3]).unwrap();
        x[[40_000, 1]] = f32::NAN;
        x[[60_000, 1]] = f32::NAN;
        assert!(pool.min_axis(&x, 0).unwrap()[[1]].is_nan());
        assert_eq!(pool.argmin_axis(&x, 0).unwrap().as_slice(), [0, 40_000, 0]);
        assert_eq!(pool.any_axis(&x, 0).unwrap().as_slice(), [0, 1, 0]);
    });
}

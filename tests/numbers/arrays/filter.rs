//! Filters and stencils, compared with plain sums.
#![expect(clippy::cast_possible_truncation, reason = "small numbers")]

use crate::common::alone::alone;
use crate::common::unique;
use brigade::{Boundary, Error, Pool, Shape, SharedArray};

const BOUNDARIES: [Boundary<f64>; 6] = [
    Boundary::Clamp,
    Boundary::Reflect,
    Boundary::Mirror,
    Boundary::Wrap,
    Boundary::Constant(3.0),
    Boundary::Shrink,
];

/// Shapes with no elements, of one, and cut into several chunks.
const SHAPES: [&[usize]; 11] = [
    &[0],
    &[1],
    &[70_001],
    &[0, 5],
    &[5, 0],
    &[1, 1],
    &[1, 33_000],
    &[701, 101],
    &[1, 2, 0],
    &[3, 5, 7],
    &[19, 61, 67],
];

fn pool(workers: usize) -> Pool {
    Pool::builder().workers(workers).build().unwrap()
}

/// Small integers: sums of a few of them do not depend on the order of addition.
fn array(shape: &[usize]) -> SharedArray<f64> {
    let len = shape.iter().product();
    let elements: Vec<f64> = (0..len).map(|i: usize| (i * 7919 % 23) as f64 - 11.0).collect();
    shaped(&elements, shape)
}

fn shaped<T: bytemuck::Pod>(elements: &[T], shape: &[usize]) -> SharedArray<T> {
    let mut array = SharedArray::zeroed(shape).unwrap();
    array.as_mut_slice().copy_from_slice(elements);
    array
}

fn three(shape: &[usize]) -> [usize; 3] {
    let mut dims = [1; 3];
    dims[3 - shape.len()..].copy_from_slice(shape);
    dims
}

/// The sum of `weight input[place + offset]` over `taps`, at each place.
fn naive(
    array: &SharedArray<f64>,
    taps: &[([isize; 3], f64)],
    boundary: Boundary<f64>,
) -> Vec<f64> {
    let [p, m, n] = three(array.shape().dims());
    let input = array.as_slice();
    let outside = if let Boundary::Constant(value) = boundary { value } else { 0.0 };
    let place = |x: usize, offset: isize, n| boundary.index(x.cast_signed() + offset, n);
    let at = |i: usize| {
        let read = |offset: &[isize; 3]| {
            let plane = place(i / (m * n), offset[0], p)?;
            let row = place(i / n % m, offset[1], m)?;
            Some(input[(plane * m + row) * n + place(i % n, offset[2], n)?])
        };
        taps.iter().map(|(offset, weight)| weight * read(offset).unwrap_or(outside)).sum()
    };
    (0..input.len()).map(at).collect()
}

/// Offsets and weights of a full array of weights.
fn taps(weights: &SharedArray<f64>, reversed: bool) -> Vec<([isize; 3], f64)> {
    let dims = three(weights.shape().dims());
    let [_, l, k] = dims;
    let tap = |(i, &weight): (usize, &f64)| {
        let index = [i / (l * k), i / k % l, i % k];
        let offset = [0, 1, 2].map(|axis| {
            let from_centre = index[axis].cast_signed() - (dims[axis] / 2).cast_signed();
            if reversed { -from_centre } else { from_centre }
        });
        (offset, weight)
    };
    weights.as_slice().iter().enumerate().map(tap).collect()
}

#[test]
fn correlations_and_convolutions_equal_the_naive_oracle() {
    alone(|| {
        for workers in [1, 2, 3] {
            let pool = pool(workers);
            for (s, shape) in SHAPES.iter().enumerate() {
                let a = array(shape);
                for window in [[1, 2, 3], [3, 3, 3], [2, 1, 4]] {
                    let weights = array(&window[3 - shape.len()..]);
                    let boundary = BOUNDARIES[(s + workers) % BOUNDARIES.len()];
                    let found = pool.correlate(&a, &weights, boundary).unwrap();
                    assert_eq!(found.as_slice(), naive(&a, &taps(&weights, false), boundary));
                    assert_eq!(found.shape(), a.shape());
                    let found = pool.convolve(&a, &weights, boundary).unwrap();
                    assert_eq!(found.as_slice(), naive(&a, &taps(&weights, true), boundary));
                }
            }
        }
    });
}

/// Passes along each axis, computed from the formula.
fn naive_gaussian(a: &SharedArray<f64>, sigma: f64, boundary: Boundary<f64>) -> Vec<f64> {
    let radius = (4.0 * sigma + 0.5) as isize;
    let weight = |x: isize| if x == 0 { 1.0 } else { (-0.5 * (x as f64 / sigma).powi(2)).exp() };
    let total: f64 = (-radius..=radius).map(weight).sum();
    let shape = a.shape().dims();
    let mut blurred = shaped(a.as_slice(), shape);
    for axis in 3 - shape.len()..3 {
        let tap = |x: isize| {
            let mut offset = [0; 3];
            offset[axis] = x;
            (offset, weight(x) / total)
        };
        let taps: Vec<_> = (-radius..=radius).map(tap).collect();
        blurred = shaped(&naive(&blurred, &taps, boundary), shape);
    }
    blurred.as_slice().to_vec()
}

#[test]
fn gaussians_are_near_the_naive_oracle_and_have_the_same_bits_for_any_workers() {
    alone(|| {
        for (s, shape) in SHAPES.iter().enumerate() {
            let a = array(shape);
            let boundary = BOUNDARIES[s % BOUNDARIES.len()];
            let sigma = [0.0, 0.4, 1.7][s % 3];
            let expected = naive_gaussian(&a, sigma, boundary);
            let mut bits: Option<Vec<u64>> = None;
            for workers in [1, 2, 3] {
                let pool = pool(workers);
                let found = pool.gaussian(&a, sigma, boundary).unwrap();
                for (x, y) in found.as_slice().iter().zip(&expected) {
                    assert!((x - y).abs() < 1e-12, "{x} is not {y}: {shape:?} {boundary:?}");
                }
                let mut again = array(shape);
                pool.gaussian_into(&a, &mut again, sigma, boundary).unwrap();
                assert_eq!(again.as_slice(), found.as_slice());
                let found: Vec<u64> = found.as_slice().iter().map(|x| x.to_bits()).collect();
                assert_eq!(*bits.get_or_insert_with(|| found.clone()), found);
            }
        }
    });
}

#[test]
fn not_a_number_reaches_its_window_and_no_further() {
    alone(|| {
        let pool = pool(2);
        let mut a = SharedArray::<f32>::zeroed([300, 200]).unwrap();
        a[[150, 100]] = f32::NAN;
        let blurred = pool.gaussian(&a, 1.0, Boundary::Reflect).unwrap();
        let slope = pool.sobel_magnitude(&a, Boundary::Reflect).unwrap();
        for i in 0..300_usize {
            for j in 0..200_usize {
                let distance = i.abs_diff(150).max(j.abs_diff(100));
                assert_eq!(blurred[[i, j]].is_nan(), distance <= 4, "{i} {j}");
                assert!(slope[[i, j]].is_nan() || distance > 0, "{i} {j}");
                assert!(!slope[[i, j]].is_nan() || distance <= 1, "{i} {j}");
            }
        }
    });
}

#[test]
fn derivatives_and_boxes_of_images_equal_the_naive_oracle() {
    alone(|| {
        for workers in [1, 2, 3] {
            let pool = pool(workers);
            for (s, shape) in SHAPES.iter().filter(|shape| shape.len() == 2).enumerate() {
                let a = array(shape);
                let boundary = [Boundary::Reflect, Boundary::Wrap, Boundary::Shrink][s % 3];
                let mut axes = Vec::new();
                for axis in [0, 1] {
                    let weights = SharedArray::from_fn([3, 3], |place| {
                        [1.0, 2.0, 1.0][place[1 - axis]] * [-1.0, 0.0, 1.0][place[axis]]
                    });
                    let expected = naive(&a, &taps(&weights.unwrap(), false), boundary);
                    let found = pool.sobel(&a, axis, boundary).unwrap();
                    assert_eq!(found.as_slice(), expected);
                    axes.push(expected);
                }
                let lengths: Vec<f64> =
                    axes[0].iter().zip(&axes[1]).map(|(x, y)| (x * x + y * y).sqrt()).collect();
                assert_eq!(pool.sobel_magnitude(&a, boundary).unwrap().as_slice(), lengths);
                for size in [[1, 1], [3, 5], [4, 2]] {
                    let bytes: Vec<i8> = a.as_slice().iter().map(|&x| x as i8).collect();
                    let bytes = shaped(&bytes, shape);
                    let ones = SharedArray::from_fn(size, |_| 1.0).unwrap();
                    let area = (size[0] * size[1]) as f64;
                    let sums = naive(&a, &taps(&ones, false), boundary);
                    let means = sums.iter().map(|sum| (sum / area + 0.5).floor() as i8);
                    let found = pool.uniform_filter(&bytes, size, boundary.map(|x| x as i8));
                    assert!(found.unwrap().as_slice().iter().copied().eq(means), "{size:?}");
                }
            }
        }
    });
}

#[test]
fn a_stencil_equals_the_naive_oracle_in_one_to_three_dimensions() {
    alone(|| {
        for workers in [1, 2, 3] {
            let pool = pool(workers);
            for (s, shape) in SHAPES.iter().enumerate() {
                let a = array(shape);
                let boundary = BOUNDARIES[(s + workers) % BOUNDARIES.len()];
                let (offset, found) = match shape.len() {
                    1 => (
                        [0, 0, -3],
                        pool.stencil(&a, [3], boundary, |x| x.value([-3]) + 2.0 * x.centre()),
                    ),
                    2 => (
                        [0, 2, -1],
                        pool.stencil(&a, [2, 1], boundary, |x| {
                            x.value([2, -1]) + 2.0 * x.value([0, 0])
                        }),
                    ),
                    _ => (
                        [1, -1, 2],
                        pool.stencil(&a, [1, 1, 2], boundary, |x| {
                            x.value([1, -1, 2]) + 2.0 * x.centre()
                        }),
                    ),
                };
                let expected = naive(&a, &[(offset, 1.0), ([0; 3], 2.0)], boundary);
                assert_eq!(found.unwrap().as_slice(), expected);
            }
            let a = SharedArray::from_fn([301, 203], |[i, j]| (i * 203 + j) as f64).unwrap();
            let seen = pool.stencil(&a, [1, 1], Boundary::Shrink, |x| {
                let [i, j] = x.index();
                assert_eq!(x.centre(), (i * 203 + j) as f64);
                u8::from(x.get([0, 1]).is_some()) + u8::from(x.get([-1, 0]).is_some())
            });
            let seen = seen.unwrap();
            assert_eq!((seen[[0, 202]], seen[[0, 0]], seen[[7, 202]], seen[[9, 9]]), (0, 1, 1, 2));
        }
    });
}

#[test]
fn a_stencil_whose_worker_died_is_repeated_if_the_pool_allows_it() {
    alone(|| {
        let mark = std::env::temp_dir().join(unique("stencil"));
        let pool = Pool::builder().workers(2).retries(1).env("DIES_ONCE", mark.to_str().unwrap());
        let pool = pool.build().unwrap();
        let a = array(&[701, 101]);
        let sums = pool.stencil(&a, [1, 1], Boundary::Wrap, |x| {
            if x.index() == [400, 50]
                && std::fs::File::create_new(std::env::var("DIES_ONCE").unwrap()).is_ok()
            {
                std::process::abort();
            }
            x.value([1, 0]) + x.value([0, 1])
        });
        std::fs::remove_file(&mark).unwrap();
        let expected = naive(&a, &[([0, 1, 0], 1.0), ([0, 0, 1], 1.0)], Boundary::Wrap);
        assert_eq!(sums.unwrap().as_slice(), expected);
        let panics = pool.stencil(&a, [1, 1], Boundary::Wrap, |x| x.value([2, 0]));
        assert!(matches!(panics, Err(Error::Task(_))), "{panics:?}");
    });
}

/// The message of an invalid-argument error.
fn refused<T: std::fmt::Debug>(result: brigade::Result<T>) -> String {
    match result {
        Err(error @ (Error::InvalidArgument { .. } | Error::ShapeMismatch { .. })) => {
            error.to_string()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn filters_refuse_wrong_shapes_and_arguments() {
    alone(|| {
        let pool = pool(1);
        let image = array(&[4, 5]);
        let (line, point) = (array(&[4]), SharedArray::<f64>::zeroed(Shape::from([])).unwrap());
        let deep = array(&[1, 2, 3, 4]);
        let how = Boundary::Clamp;
        for sigma in [-1.0, f64::NAN, f64::INFINITY, 70_000.0] {
            assert!(refused(pool.gaussian(&image, sigma, how)).contains(&format!("{sigma}")));
        }
        assert!(refused(pool.gaussian(&deep, 1.0, how)).contains("[1, 2, 3, 4]"));
        refused(pool.gaussian(&point, 1.0, how));
        let mut small = array(&[4, 4]);
        let message = refused(pool.gaussian_into(&image, &mut small, 1.0, how));
        assert!(message.contains("[4, 5]") && message.contains("[4, 4]"), "{message}");
        assert!(refused(pool.correlate(&image, &line, how)).contains("[4]"));
        assert!(refused(pool.convolve(&image, &array(&[0, 3]), how)).contains("[0, 3]"));
        assert!(refused(pool.sobel(&image, 2, how)).contains('2'));
        assert!(refused(pool.sobel_magnitude(&line, how)).contains("[4]"));
        let bytes = SharedArray::<u8>::zeroed([4, 5]).unwrap();
        for size in [[0, 3], [3, 0], [1, 65_537], [usize::MAX, 2]] {
            let message = refused(pool.uniform_filter(&bytes, size, Boundary::Clamp));
            assert!(message.contains(&size[0].to_string()), "{message}");
        }
        refused(pool.stencil(&image, [1], how, |x| x.centre()));
        refused(pool.stencil(&deep, [1; 3], how, |x| x.centre()));
        refused(pool.stencil_into(&image, &mut small, [1, 1], how, |x| x.centre()));
    });
}

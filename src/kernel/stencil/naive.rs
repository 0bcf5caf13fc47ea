//! Naive oracles of the filters.

use super::{Boundary, Real};

pub(super) const BOUNDARIES: [Boundary<f64>; 6] = [
    Boundary::Clamp,
    Boundary::Reflect,
    Boundary::Mirror,
    Boundary::Wrap,
    Boundary::Constant(5.0),
    Boundary::Shrink,
];

/// `gaussian_filter((arange(12.).reshape(3, 4)) ** 2, 1.5)`, SciPy 1.17.
pub(super) const SCIPY_GAUSSIAN: [f64; 12] = [
    23.141_689_759_972_408,
    26.716_840_005_836_204,
    31.942_084_483_210_618,
    35.766_427_807_106_14,
    34.143_710_325_993_67,
    38.712_972_590_280_52,
    45.342_226_216_439_315,
    50.160_681_558_758_89,
    45.376_037_873_411_4,
    50.939_412_156_121_31,
    58.972_674_931_064_47,
    64.785_242_291_806_11,
];

/// The element at place `i` under a boundary.
pub(super) fn read<T: Copy + Default>(input: &[T], i: isize, boundary: Boundary<T>) -> T {
    boundary.index(i, input.len()).map_or(boundary.outside(), |i| input[i])
}

/// The formulas in the documentation of `Taps`, term by term.
pub(super) fn naive_1d(input: &[f64], weights: &[f64], boundary: Boundary<f64>) -> Vec<f64> {
    let middle = (weights.len() / 2).cast_signed();
    let at = |i: usize| {
        let term = |(k, w): (usize, &f64)| {
            w * read(input, i.cast_signed() + k.cast_signed() - middle, boundary)
        };
        weights.iter().enumerate().map(term).sum()
    };
    (0..input.len()).map(at).collect()
}

/// Correlation along the middle axis of an [outer, n, inner] array.
pub(super) fn along_axis(
    input: &[f64],
    [outer, n, inner]: [usize; 3],
    weights: &[f64],
    boundary: Boundary<f64>,
) -> Vec<f64> {
    let mut out = input.to_vec();
    for o in 0..outer {
        for i in 0..inner {
            let place = |j| (o * n + j) * inner + i;
            let line: Vec<f64> = (0..n).map(|j| input[place(j)]).collect();
            for (j, x) in naive_1d(&line, weights, boundary).into_iter().enumerate() {
                out[place(j)] = x;
            }
        }
    }
    out
}

/// Asserts equality, including the signs of zeros; any NaN equals any NaN.
pub(super) fn assert_same<T: Real>(left: &[T], right: &[T]) {
    assert_eq!(left.len(), right.len());
    for (i, (x, y)) in left.iter().zip(right).enumerate() {
        assert_eq!(format!("{x:?}"), format!("{y:?}"), "at {i}");
    }
}

/// Shape of the kernel 1 2 0 -1 3 5; `correlate` and `convolve` with it, SciPy 1.17.
pub(super) const SCIPY_FULL: [([usize; 3], [f64; 12], [f64; 12]); 3] = [
    (
        [1, 2, 3],
        [5.0, 25.0, 65.0, 90.0, 157.0, 241.0, 337.0, 378.0, 581.0, 745.0, 921.0, 1002.0],
        [56.0, 85.0, 129.0, 185.0, 312.0, 381.0, 505.0, 641.0, 640.0, 725.0, 905.0, 1105.0],
    ),
    (
        [1, 3, 2],
        [128.0, 174.0, 260.0, 366.0, 496.0, 574.0, 716.0, 878.0, 496.0, 582.0, 740.0, 918.0],
        [60.0, 102.0, 164.0, 210.0, 196.0, 254.0, 332.0, 386.0, 300.0, 414.0, 548.0, 634.0],
    ),
    (
        [1, 1, 6],
        [29.0, 57.0, 68.0, 40.0, 325.0, 385.0, 404.0, 344.0, 941.0, 1033.0, 1060.0, 968.0],
        [22.0, 26.0, 21.0, 17.0, 278.0, 250.0, 253.0, 281.0, 854.0, 794.0, 805.0, 865.0],
    ),
];

//! Matrix products computed by teams of workers.

use crate::common::alone::alone;
use crate::common::float::{MODES, set_mode, under};
use brigade::kernel::matmul::{Kernel, MatMut, MatRef, naive};
use brigade::{Error, Matrix, Pool, SharedArray, Start};

pub(crate) mod faults;
mod shapes;

fn matrix(m: usize, n: usize, seed: usize) -> SharedArray<f64> {
    // Small integers: every product and sum is exact, so results must be equal.
    SharedArray::from_fn([m, n], |[i, j]| ((i * 7 + j * 13 + seed) % 17) as f64 - 8.0).unwrap()
}

fn expected(a: &SharedArray<f64>, b: &SharedArray<f64>) -> Vec<f64> {
    let [m, k] = *a.shape().dims() else { panic!() };
    let n = b.shape().dims()[1];
    let mut c = vec![0.0; m * n];
    naive(
        1.0,
        MatRef::row_major(a.as_slice(), m, k).unwrap(),
        MatRef::row_major(b.as_slice(), k, n).unwrap(),
        0.0,
        MatMut::row_major(&mut c, m, n).unwrap(),
    )
    .unwrap();
    c
}

#[test]
fn products_equal_the_naive_oracle_for_any_number_of_workers() {
    alone(|| {
        for workers in [1, 2, 3, 5] {
            let pool = Pool::builder().workers(workers).build().unwrap();
            for (m, k, n) in
                [(300, 200, 310), (1, 900, 900), (900, 900, 1), (257, 513, 129), (3, 4, 5)]
            {
                let (a, b) = (matrix(m, k, 1), matrix(k, n, 2));
                assert_eq!(
                    pool.matmul(&a, &b).unwrap().as_slice(),
                    expected(&a, &b),
                    "{m} {k} {n}"
                );
            }
        }
    });
}

#[test]
fn products_of_empty_matrices_are_empty_or_zero() {
    alone(|| {
        let pool = Pool::builder().workers(2).build().unwrap();
        for (m, k, n) in [(0, 3, 3), (3, 0, 3), (3, 3, 0), (0, 0, 0)] {
            let c = pool.matmul(&matrix(m, k, 0), &matrix(k, n, 0)).unwrap();
            assert_eq!(c.shape().dims(), [m, n]);
            assert!(c.as_slice().iter().all(|&x| x == 0.0));
        }
    });
}

#[test]
fn the_bits_do_not_depend_on_the_number_of_workers() {
    alone(|| {
        let a =
            SharedArray::from_fn([500, 700], |[i, j]| 1.0 / (1.0 + (i + 2 * j) as f64)).unwrap();
        let b =
            SharedArray::from_fn([700, 600], |[i, j]| 1.0 / (3.0 + (5 * i + j) as f64)).unwrap();
        let product = |workers| {
            let pool = Pool::builder().workers(workers).build().unwrap();
            pool.matmul(&a, &b).unwrap()
        };
        let one = product(1);
        for workers in [2, 3, 5] {
            assert!(product(workers) == one, "{workers} workers");
        }
        let own = Pool::builder().start(Start::InProcess).build().unwrap();
        assert!(own.matmul(&a, &b).unwrap() == one, "in process");
    });
}

#[test]
fn transposed_operands_are_read_in_place() {
    alone(|| {
        let pool = Pool::builder().workers(2).build().unwrap();
        let (a, b) = (matrix(400, 300, 3), matrix(400, 350, 4));
        let flipped = SharedArray::from_fn([300, 400], |[i, j]| a[[j, i]]).unwrap();
        let c = pool.matmul(Matrix::from(&a).transposed(), &b).unwrap();
        assert_eq!(c.as_slice(), expected(&flipped, &b));
    });
}

#[test]
fn shapes_that_do_not_fit_are_named() {
    alone(|| {
        let pool = Pool::builder().workers(1).build().unwrap();
        let error = pool.matmul(&matrix(3, 4, 0), &matrix(3, 4, 0)).unwrap_err();
        assert!(matches!(error, Error::ShapeMismatch { .. }), "{error}");
        assert!(error.to_string().contains("[3, 4]"), "{error}");
        let flat = SharedArray::<f64>::zeroed([4]).unwrap();
        assert!(matches!(pool.matmul(&flat, &flat), Err(Error::InvalidArgument { .. })));
        let mut wrong = SharedArray::<f64>::zeroed([2, 2]).unwrap();
        let error =
            pool.product(&matrix(3, 4, 0), &matrix(4, 3, 0)).run_into(&mut wrong).unwrap_err();
        assert!(matches!(error, Error::ShapeMismatch { .. }), "{error}");
    });
}

/// The result was allocated before the shapes were checked: these results need at least 32 TiB.
#[test]
fn shapes_that_do_not_fit_are_named_though_there_is_no_memory_for_the_result() {
    alone(|| {
        let pool = Pool::builder().workers(1).build().unwrap();
        let one = SharedArray::from_slice(&[1.0]).unwrap();
        let repeated = |rows, cols| Matrix::strided(&one, 0, [rows, cols], [0, 0]).unwrap();
        let stack = SharedArray::<f64>::zeroed([64, 64, 2]).unwrap();
        let outcomes = [
            pool.matmul(repeated(1 << 21, 2), repeated(3, 1 << 21)),
            pool.matvec(repeated(1 << 42, 2), repeated(3, 1)),
            pool.matmul_batch(&stack, repeated(3, 1 << 30)),
        ];
        for outcome in outcomes {
            assert!(matches!(outcome, Err(Error::ShapeMismatch { .. })), "{outcome:?}");
        }
    });
}

#[test]
fn two_products_at_once_do_not_wait_for_each_other_for_ever() {
    alone(|| {
        let pool = Pool::builder().workers(3).build().unwrap();
        let (a, b) = (matrix(400, 400, 5), matrix(400, 400, 6));
        let expected = expected(&a, &b);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..5 {
                        assert_eq!(pool.matmul(&a, &b).unwrap().as_slice(), expected);
                    }
                });
            }
        });
    });
}

#[test]
fn every_kernel_that_is_here_can_be_forced_and_agrees_with_the_oracle() {
    alone(|| {
        let pool = Pool::builder().workers(2).build().unwrap();
        let (a, b) = (matrix(310, 290, 1), matrix(290, 330, 2));
        let expected = expected(&a, &b);
        for kernel in Kernel::all() {
            let c = pool.product(&a, &b).kernel(kernel).run().unwrap();
            assert_eq!(c.as_slice(), expected, "{kernel}");
        }
        if let Ok(name) = std::env::var("BRIGADE_KERNEL") {
            assert_eq!(Kernel::best().to_string(), name, "the kernel that the environment names");
        }
    });
}

/// Numbers in [-1, 1) that are not integers.
fn noise(m: usize, n: usize, seed: u64) -> SharedArray<f32> {
    let mut state = seed;
    SharedArray::from_fn([m, n], |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        f32::from(u16::try_from(state >> 48).unwrap()) / 32768.0 - 1.0
    })
    .unwrap()
}

#[test]
fn the_error_is_within_the_bound_that_is_promised() {
    alone(|| {
        let pool = Pool::builder().workers(2).build().unwrap();
        // In f64 products of f32 are exact and sums nearly exact.
        for (m, k, n) in [(300, 700, 200), (64, 5000, 64), (500, 30, 600)] {
            let (a, b) = (noise(m, k, 1), noise(k, n, 2));
            let c = pool.matmul(&a, &b).unwrap();
            for i in (0..m).step_by(7) {
                for j in (0..n).step_by(11) {
                    let terms = (0..k).map(|p| f64::from(a[[i, p]]) * f64::from(b[[p, j]]));
                    let (exact, size) =
                        terms.fold((0.0, 0.0), |(sum, size), x| (sum + x, size + f64::abs(x)));
                    let bound = f64::from(f32::EPSILON) * (k + 4) as f64 * size;
                    let error = (f64::from(c[[i, j]]) - exact).abs();
                    assert!(error <= bound, "{m} {k} {n} at {i}, {j}: {error} > {bound}");
                }
            }
        }
    });
}

#[test]
fn factors_are_applied_as_the_formula_says() {
    alone(|| {
        let pool = Pool::builder().workers(2).build().unwrap();
        // Computed by the caller, and shared.
        for (m, k, n) in [(5, 7, 6), (301, 303, 299)] {
            let (a, b, before) = (matrix(m, k, 1), matrix(k, n, 2), matrix(m, n, 3));
            let product = expected(&a, &b);
            for alpha in [0.0, 1.0, -1.0, 2.5] {
                for beta in [0.0, 1.0, -1.0, 2.5] {
                    let mut c = SharedArray::from_slice(before.as_slice()).unwrap();
                    c.reshape([m, n]).unwrap();
                    pool.product(&a, &b).alpha(alpha).beta(beta).run_into(&mut c).unwrap();
                    let right = product.iter().zip(before.as_slice());
                    let right: Vec<f64> = right.map(|(x, y)| alpha * x + beta * y).collect();
                    assert_eq!(c.as_slice(), right, "{alpha} {beta} {m}");
                }
            }
        }
    });
}

#[test]
fn nan_and_infinity_go_where_the_formula_takes_them() {
    alone(|| {
        let pool = Pool::builder().workers(2).build().unwrap();
        for size in [9, 310] {
            let mut a = matrix(size, size, 1);
            a[[3, 4]] = f64::NAN;
            a[[5, 6]] = f64::INFINITY;
            let b = SharedArray::from_fn([size, size], |_| 1.0).unwrap();
            // A beta of 0 overwrites NaN, which a multiplication by 0 would keep.
            let mut c = SharedArray::from_fn([size, size], |_| f64::NAN).unwrap();
            pool.product(&a, &b).run_into(&mut c).unwrap();
            for (i, row) in c.as_slice().chunks(size).enumerate() {
                let is_right = |x: &f64| match i {
                    3 => x.is_nan(),
                    5 => *x == f64::INFINITY,
                    _ => x.is_finite(),
                };
                assert!(row.iter().all(is_right), "row {i} of {size}");
            }
            // With any other beta NaN stays, and an alpha of 0 reads neither A nor B.
            let mut c = SharedArray::from_fn([size, size], |_| f64::NAN).unwrap();
            pool.product(&a, &b).beta(1.0).run_into(&mut c).unwrap();
            assert!(c.as_slice().iter().all(|x| x.is_nan()));
            let mut c = SharedArray::from_fn([size, size], |_| 2.0).unwrap();
            pool.product(&a, &b).alpha(0.0).beta(3.0).run_into(&mut c).unwrap();
            assert!(c.as_slice().iter().all(|&x| x == 6.0));
        }
    });
}

#[test]
fn products_have_the_same_bits_in_every_floating_point_mode() {
    alone(|| {
        let inexact = |m, n| SharedArray::from_fn([m, n], |[i, j]| 1.0 / (1 + 3 * i + j) as f64);
        let small = SharedArray::from_fn([30, 30], |[i, j]| 1e-310 * (i + j) as f64).unwrap();
        let bits =
            |c: &SharedArray<f64>| c.as_slice().iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        let (a, b) = (inexact(300, 400).unwrap(), inexact(400, 300).unwrap());
        let (row, ones) =
            (inexact(1, 40).unwrap(), SharedArray::from_fn([30, 30], |_| 1.0).unwrap());
        let work = |pool: &Pool| {
            let products = [(&a, &b), (&row, &inexact(40, 1).unwrap()), (&small, &ones)];
            let mut found = products.map(|(x, y)| bits(&pool.matmul(x, y).unwrap())).concat();
            let mut oracle = [0.0f64];
            let (x, y) =
                (MatRef::row_major(&[0.1, 0.2], 1, 2), MatRef::row_major(&[0.3, 0.7], 2, 1));
            let c = MatMut::row_major(&mut oracle, 1, 1).unwrap();
            naive(1.1, x.unwrap(), y.unwrap(), 0.0, c).unwrap();
            found.push(oracle[0].to_bits());
            found
        };
        let pool = Pool::builder().workers(1).build().unwrap();
        let here = Pool::builder().start(Start::InProcess).build().unwrap();
        let right = work(&pool);
        for mode in MODES {
            pool.submit(set_mode, mode).unwrap().join().unwrap();
            assert!(work(&pool) == right, "a task has set {mode:#x}");
            assert!(under(mode, || work(&pool)) == right, "the host has set {mode:#x}");
            assert!(under(mode, || work(&here)) == right, "in a process that has set {mode:#x}");
        }
    });
}

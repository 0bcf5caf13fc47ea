//! Matrices near the limits of the range of their type.

use crate::common::alone::alone;

use brigade::{Error, Norm, Pool, Scalar, SharedArray};

fn matrix<T: Scalar>(n: usize, element: impl Fn(usize, usize) -> f64) -> SharedArray<T> {
    SharedArray::from_fn([n, n], |[i, j]| T::from_f64(element(i, j))).unwrap()
}

fn diagonal(pivots: &[f64]) -> SharedArray<f64> {
    matrix(pivots.len(), |i, j| if i == j { pivots[i] } else { 0.0 })
}

#[test]
fn an_elimination_that_overflows_is_an_error() {
    alone(|| {
        let pool = Pool::builder().workers(1).build().unwrap();
        let mut a = matrix::<f64>(2, |i, j| if (i, j) == (1, 0) { -1e308 } else { 1e308 });
        let b = SharedArray::from_slice(&[1.0, 1.0]).unwrap();
        let outcomes = [
            ("solve", pool.solve(&a, &b).map(|_| ())),
            ("solve", pool.system(&a, &b).refine(1).run().map(|_| ())),
            ("lu", pool.lu(&a).map(|_| ())),
            ("det", pool.det(&a).map(|_| ())),
            ("cond", pool.cond(&a).map(|_| ())),
            ("inverse", pool.inverse(&a).map(|_| ())),
            ("lu_in_place", pool.lu_in_place(&mut a.try_clone().unwrap()).map(|_| ())),
        ];
        for (call, outcome) in outcomes {
            let error = outcome.unwrap_err();
            let Error::NotFinite { operation, what, position } = &error else { panic!("{error}") };
            assert_eq!((*operation, *what, &position[..]), (call, "the factors", &[1, 1][..]));
        }
        a.reshape([1, 2, 2]).unwrap();
        let mut b = b;
        b.reshape([1, 2]).unwrap();
        let error = pool.solve_batch(&a, &b).unwrap_err();
        let Error::NotFinite { what, position, .. } = &error else { panic!("{error}") };
        assert_eq!((*what, &position[..]), ("the solutions", &[0, 0][..]));
        b[[0, 1]] = f64::NAN;
        let error = pool.solve_batch(&a, &b).unwrap_err();
        let Error::NotFinite { what, position, .. } = &error else { panic!("{error}") };
        assert_eq!((*what, &position[..]), ("the right-hand sides", &[0, 1][..]));
    });
}

#[test]
fn condition_numbers_do_not_depend_on_the_scale() {
    alone(|| {
        let pool = Pool::builder().workers(1).build().unwrap();
        let ones = matrix::<f64>(2, |i, j| if j <= i { 1.0 } else { 0.0 });
        for scale in [1e-310, 1e-300, 1.0, 1e300, 1e308] {
            assert_eq!(pool.lu(&diagonal(&[scale])).unwrap().rcond().unwrap(), 1.0, "{scale}");
            let lower = matrix::<f64>(2, |i, j| if j <= i { scale } else { 0.0 });
            let found = pool.lu(&lower).unwrap().rcond().unwrap();
            let expected = pool.lu(&ones).unwrap().rcond().unwrap();
            assert!((found / expected - 1.0).abs() < 1e-9, "{scale}: {found}, {expected}");
        }
        let lower = |scale: f64| matrix::<f32>(4, |i, j| if j <= i { scale } else { 0.0 });
        for scale in [1e-38, 1e38] {
            let found = pool.lu(&lower(scale)).unwrap().rcond().unwrap();
            let expected = pool.lu(&lower(1.0)).unwrap().rcond().unwrap();
            assert!((found / expected - 1.0).abs() < 1e-6, "{scale}: {found}, {expected}");
        }
        let norm = pool.matrix_norm(&lower(1e38), Norm::One).unwrap();
        assert!((norm / 4e38 - 1.0).abs() < 1e-6, "{norm}");
    });
}

#[test]
fn a_determinant_overflows_only_if_its_value_does() {
    alone(|| {
        let pool = Pool::builder().workers(1).build().unwrap();
        let det = |pivots: &[f64]| pool.det(&diagonal(pivots)).unwrap();
        assert_eq!(det(&[1e200, 1e200, 0.0]), 0.0);
        let expected = 1e200;
        assert!((det(&[1e200, 1e200, -1e-200]) / -expected - 1.0).abs() < 1e-14);
        assert!((det(&[1e-200, 1e-200, 1e200]) / 1e-200 - 1.0).abs() < 1e-14);
        assert_eq!(det(&[1e-310, -2.0]), -2e-310);
        assert_eq!(det(&[1e200, -1e200]), f64::NEG_INFINITY);
        assert_eq!(det(&[1e-200, 1e-200]), 0.0);
        assert_eq!(det(&vec![1e300; 300]), f64::INFINITY);
    });
}

#[test]
fn errors_name_the_call_and_come_before_the_work() {
    alone(|| {
        let pool = Pool::builder().workers(1).build().unwrap();
        let wide = SharedArray::from_fn([2, 3], |_| f64::NAN).unwrap();
        let bad = matrix::<f64>(2, |_, _| f64::NAN);
        let b = SharedArray::from_slice(&[1.0, 1.0]).unwrap();
        let flat = SharedArray::from_slice(&[1.0]).unwrap();
        for a in [&wide, &bad, &flat] {
            let errors = [
                ("solve", pool.solve(a, &b).map(|_| ()).unwrap_err()),
                ("det", pool.det(a).map(|_| ()).unwrap_err()),
                ("cond", pool.cond(a).map(|_| ()).unwrap_err()),
                ("inverse", pool.inverse(a).map(|_| ()).unwrap_err()),
            ];
            for (call, error) in errors {
                match (&error, a.shape().dims()) {
                    (Error::ShapeMismatch { operation, .. }, [2, 3])
                    | (Error::NotFinite { operation, .. }, [2, 2]) => assert_eq!(*operation, call),
                    (Error::InvalidArgument { .. }, [1]) => {}
                    _ => panic!("{call}: {error}"),
                }
                assert!(!error.to_string().contains("matmul"), "{error}");
            }
        }
        let names = [
            ("solve_spd", pool.solve_spd(&bad, &b).map(|_| ()).unwrap_err()),
            (
                "cholesky_in_place",
                pool.cholesky_in_place(&mut bad.try_clone().unwrap()).unwrap_err(),
            ),
            ("eigvalsh", pool.eigvalsh(&bad).map(|_| ()).unwrap_err()),
            ("singular_values", pool.singular_values(&bad).map(|_| ()).unwrap_err()),
        ];
        for (call, error) in names {
            assert!(error.to_string().starts_with(call), "{call}: {error}");
        }
        let stack = SharedArray::from_fn([2, 3, 4], |_| 1.0).unwrap();
        let error = pool.lstsq(&stack, &b).unwrap_err();
        assert!(matches!(error, Error::InvalidArgument { .. }), "{error}");
        let rectangular = SharedArray::from_fn([2, 3], |_| 1.0).unwrap();
        let error = pool.lu(&rectangular).unwrap().sign_ln_det().unwrap_err();
        assert!(matches!(error, Error::ShapeMismatch { operation: "sign_ln_det", .. }), "{error}");
    });
}

#[test]
fn a_refinement_that_overflows_keeps_the_solution() {
    alone(|| {
        let pool = Pool::builder().workers(1).build().unwrap();
        // x = [1, 1, -1]; the first two terms of the last row's product overflow. With two columns
        // the terms are summed in order.
        let a = matrix::<f64>(3, |i, j| if i == j || i == 2 { 1e308 } else { 0.0 });
        let b = SharedArray::from_fn([3, 2], |_| 1e308).unwrap();
        let refined = pool.system(&a, &b).refine(3).run().unwrap();
        assert_eq!(refined.as_slice(), [1.0, 1.0, 1.0, 1.0, -1.0, -1.0]);
    });
}

#[test]
fn matrices_of_huge_extent_without_elements_take_no_time() {
    alone(|| {
        let pool = Pool::builder().workers(1).build().unwrap();
        let huge = 1 << 59;
        let tall = SharedArray::<f64>::zeroed([huge, 0]).unwrap();
        let wide = SharedArray::<f64>::zeroed([0, huge]).unwrap();
        for a in [&tall, &wide] {
            for norm in [Norm::One, Norm::Inf, Norm::Max, Norm::Frobenius] {
                assert_eq!(pool.matrix_norm(a, norm).unwrap(), 0.0);
            }
            assert!(pool.lu(a).unwrap().pivots().is_empty());
            assert!(pool.lu_in_place(&mut a.try_clone().unwrap()).unwrap().is_empty());
            assert!(pool.qr(a).unwrap().r().unwrap().is_empty());
        }
        let stack = SharedArray::<f64>::zeroed([huge, 0, 0]).unwrap();
        assert!(pool.solve_batch(&stack, &tall).unwrap().is_empty());
    });
}

#[test]
fn workers_share_the_decomposition_of_a_tall_matrix() {
    alone(|| {
        let pool = Pool::builder().workers(2).build().unwrap();
        let a = super::random(20_000, 16, 1);
        let before = pool.stats().submitted;
        pool.svd(&a).unwrap();
        assert!(pool.stats().submitted > before);
    });
}

#[test]
fn the_caller_solves_for_few_columns_and_workers_share_many() {
    alone(|| {
        let pool = Pool::builder().workers(2).build().unwrap();
        let a = diagonal(&[4.0; 700]);
        let factors = pool.cholesky(&a).unwrap();
        for (columns, are_shared) in [(1, false), (48, false), (200, true)] {
            let b = SharedArray::from_fn([700, columns], |[i, j]| (4 * i + 4 * j) as f64).unwrap();
            let before = pool.stats().submitted;
            let x = factors.solve(&pool, &b).unwrap();
            assert_eq!(pool.stats().submitted > before, are_shared, "{columns} columns");
            assert!((0..700).all(|i| (0..columns).all(|j| x[[i, j]] == (i + j) as f64)));
        }
    });
}

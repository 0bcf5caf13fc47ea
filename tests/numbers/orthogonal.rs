//! QR, eigenvalues and singular values computed by teams of workers.

use std::time::Instant;

use crate::common::alone::alone;
use crate::matmul::faults::{with_a_worker_killed, with_deaths_in_it};
use brigade::{Error, Matrix, MatrixMut, Pool, Result, Scalar, SharedArray, Start};

/// LAPACK's bound for its test ratios (LAPACK Working Note 41).
const RATIO_MAX: f64 = 30.0;

fn pool(workers: usize) -> Pool {
    Pool::builder().workers(workers).build().unwrap()
}

/// A number in -1..1 that looks random.
fn noise(i: usize, j: usize) -> f64 {
    let mixed = ((i * 65_537 + j + 1) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31);
    let mixed = mixed.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

fn random(rows: usize, cols: usize) -> SharedArray<f64> {
    SharedArray::from_fn([rows, cols], |[i, j]| noise(i, j)).unwrap()
}

fn symmetric(n: usize) -> SharedArray<f64> {
    SharedArray::from_fn([n, n], |[i, j]| noise(i.max(j), i.min(j))).unwrap()
}

fn dims<T: Scalar>(a: &SharedArray<T>) -> [usize; 2] {
    a.shape().dims().try_into().unwrap()
}

/// The largest magnitude.
fn largest(a: &SharedArray<f64>) -> f64 {
    a.as_slice().iter().fold(0.0, |most, x| x.abs().max(most))
}

/// `A` with column j times `factors[j]`.
fn scaled(a: &SharedArray<f64>, factors: &SharedArray<f64>) -> SharedArray<f64> {
    SharedArray::from_fn(dims(a), |[i, j]| a[[i, j]] * factors[[j]]).unwrap()
}

/// `|A - B C| / (size |A| eps)`, by the largest elements.
fn residual(pool: &Pool, a: &SharedArray<f64>, b: &SharedArray<f64>, c: Matrix<'_, f64>) -> f64 {
    let mut error = SharedArray::from_slice(a.as_slice()).unwrap();
    error.reshape(dims(a)).unwrap();
    pool.product(b, c).alpha(-1.0).beta(1.0).run_into(MatrixMut::from(&mut error)).unwrap();
    let size = dims(a)[0].max(dims(a)[1]) as f64;
    largest(&error) / (size * largest(a) * f64::EPSILON)
}

/// `|I - Q^T Q| / (rows eps)`, by the largest elements.
fn orthogonality(pool: &Pool, q: &SharedArray<f64>) -> f64 {
    let mut gram = pool.gram(Matrix::from(q).transposed()).unwrap();
    let [rows, cols] = dims(q);
    for j in 0..cols {
        gram[[j, j]] -= 1.0;
    }
    largest(&gram) / (rows as f64 * f64::EPSILON)
}

#[test]
fn factors_of_a_pool_meet_the_ratios_of_lapack() {
    alone(|| {
        let pool = pool(2);
        for (m, n) in [(200, 200), (230, 101), (101, 230), (1, 1), (1, 5), (5, 1)] {
            let a = random(m, n);
            let qr = pool.qr(&a).unwrap();
            let (q, r) = (qr.q(&pool).unwrap(), qr.r().unwrap());
            assert_eq!((dims(&q), dims(&r)), ([m, m.min(n)], [m.min(n), n]));
            let ratio = residual(&pool, &a, &q, Matrix::from(&r));
            assert!(
                ratio < RATIO_MAX && orthogonality(&pool, &q) < RATIO_MAX,
                "qr {m} {n} {ratio}"
            );

            let svd = pool.svd(&a).unwrap();
            let k = m.min(n);
            assert_eq!((dims(svd.u()), dims(svd.v()), svd.values().len()), ([m, k], [n, k], k));
            let left = scaled(svd.u(), svd.values());
            let ratio = residual(&pool, &a, &left, Matrix::from(svd.v()).transposed());
            assert!(ratio < RATIO_MAX, "svd {m} {n}: {ratio}");
            let ratio = orthogonality(&pool, svd.u()).max(orthogonality(&pool, svd.v()));
            assert!(ratio < RATIO_MAX, "svd {m} {n}: {ratio}");
            assert!(svd.values() == &pool.singular_values(&a).unwrap());
        }
        let a = symmetric(190);
        let eigh = pool.eigh(&a).unwrap();
        let left = scaled(eigh.vectors(), eigh.values());
        let ratio = residual(&pool, &a, &left, Matrix::from(eigh.vectors()).transposed());
        assert!(ratio < RATIO_MAX && orthogonality(&pool, eigh.vectors()) < RATIO_MAX, "{ratio}");
        assert!(eigh.values() == &pool.eigvalsh(&a).unwrap());
    });
}

#[test]
fn huge_and_tiny_matrices_neither_overflow_nor_vanish() {
    alone(|| {
        let pool = pool(1);
        let plain = pool.eigh(&symmetric(40)).unwrap();
        for exponent in [1000, -1000] {
            let factor = 2f64.powi(exponent);
            let a = symmetric(40);
            let a = SharedArray::from_fn([40, 40], |[i, j]| a[[i, j]] * factor).unwrap();
            let values = pool.eigvalsh(&a).unwrap();
            for (value, expected) in values.as_slice().iter().zip(plain.values().as_slice()) {
                assert!((value / factor - expected).abs() < 1e-12, "{value} {expected}");
            }
            let svd = pool.svd(&a).unwrap();
            let most = svd.values()[[0]] / factor;
            let expected =
                plain.values().as_slice().iter().fold(0.0f64, |most, x| most.max(x.abs()));
            assert!((most - expected).abs() < 1e-12, "{most} {expected}");
            assert!(orthogonality(&pool, svd.u()) < RATIO_MAX);
            let q = pool.qr(&a).unwrap().q(&pool).unwrap();
            assert!(orthogonality(&pool, &q) < RATIO_MAX);
        }
        // Results that are finite, though squares and sums of elements are not.
        let huge = SharedArray::from_fn([2, 2], |_| 1e308).unwrap();
        let r = pool.qr(&huge).unwrap().r().unwrap();
        assert!((r[[0, 1]] / 2f64.sqrt() + 1e308).abs() < 1e294, "{:?}", r.as_slice());
        for (unit, size) in [(1f64, 1.5e308), (1e-300, 1.5e8), (1e300, 1.5e308), (1e-300, 1e-300)] {
            let b = SharedArray::from_slice(&[size; 2]).unwrap();
            let ones = SharedArray::from_fn([2, 1], |_| unit).unwrap();
            let x: SharedArray<f64> = pool.lstsq(&ones, &b).unwrap();
            assert!((x[[0]] / (size / unit) - 1.0).abs() < 1e-14, "{unit} {size}: {}", x[[0]]);
            let qr = pool.qr(&ones).unwrap();
            match qr.apply_qt(&pool, &b) {
                Ok(product) => {
                    let length = -product[[0]] / 2f64.sqrt();
                    assert!((length / size - 1.0).abs() < 1e-14, "{length}");
                }
                Err(error) => assert!(size == 1.5e308, "{error}"),
            }
        }
        // The least normal number, and elements that are not normal.
        let a = SharedArray::from_fn([3, 3], |[i, j]| if i == j { 5e-324 } else { 0.0 }).unwrap();
        assert_eq!(pool.eigvalsh(&a).unwrap().as_slice(), [5e-324; 3]);
    });
}

#[test]
fn factors_have_the_same_bits_for_any_number_of_workers() {
    alone(|| {
        let (a, tall, b) = (symmetric(200), random(400, 170), random(400, 3));
        let all = |pool: Pool| {
            let (eigh, svd, qr) =
                (pool.eigh(&a).unwrap(), pool.svd(&tall).unwrap(), pool.qr(&tall).unwrap());
            let arrays = [
                eigh.values(),
                eigh.vectors(),
                svd.u(),
                svd.v(),
                &qr.r().unwrap(),
                &qr.q(&pool).unwrap(),
                &qr.apply_qt(&pool, &b).unwrap(),
                &pool.lstsq(&tall, &b).unwrap(),
            ];
            arrays.map(|x| x.as_slice().iter().map(|x| x.to_bits()).collect::<Vec<_>>())
        };
        let own = all(Pool::builder().start(Start::InProcess).build().unwrap());
        for workers in 1..8 {
            assert!(all(pool(workers)) == own, "{workers} workers");
        }
    });
}

#[test]
fn parts_and_transposes_are_decomposed_in_place_and_in_f32() {
    alone(|| {
        let pool = pool(2);
        let table = random(90, 80);
        let part = Matrix::from(&table).rows(5..70).unwrap().columns(10..60).unwrap();
        let copy = SharedArray::from_fn([65, 50], |[i, j]| table[[i + 5, j + 10]]).unwrap();
        assert!(
            pool.qr(part.clone()).unwrap().r().unwrap() == pool.qr(&copy).unwrap().r().unwrap()
        );
        let values = pool.singular_values(part.clone()).unwrap();
        assert!(values == pool.singular_values(part.clone().transposed()).unwrap());
        let reversed = Matrix::strided(&table, 90 * 80 - 1, [80, 80], [-80, -1]).unwrap();
        let eigh = pool.eigvalsh(reversed).unwrap();
        assert!(eigh.as_slice().is_sorted());

        let small = pool.cast::<_, f32>(&copy).unwrap();
        let narrow = pool.svd(&small).unwrap();
        let most = values[[0]];
        for (x, y) in narrow.values().as_slice().iter().zip(values.as_slice()) {
            assert!((f64::from(*x) - y).abs() < 65.0 * f64::from(f32::EPSILON) * most, "{x} {y}");
        }
    });
}

#[test]
fn least_squares_leave_an_error_that_is_orthogonal_to_the_columns() {
    alone(|| {
        let pool = pool(2);
        let (a, b) = (random(260, 150), random(260, 2));
        let x = pool.lstsq(&a, &b).unwrap();
        assert_eq!(dims(&x), [150, 2]);
        let mut error = SharedArray::from_slice(b.as_slice()).unwrap();
        error.reshape([260, 2]).unwrap();
        pool.product(&a, &x).alpha(-1.0).beta(1.0).run_into(&mut error).unwrap();
        let along = pool.matmul(Matrix::from(&a).transposed(), &error).unwrap();
        assert!(largest(&along) < 1e-12, "{}", largest(&along));
        // One column as a vector, and Q applied back and forth.
        let qr = pool.qr(&a).unwrap();
        let column = SharedArray::from_fn([260], |[i]| b[[i, 1]]).unwrap();
        let one = qr.solve(&pool, &column).unwrap();
        assert_eq!(one.shape().dims(), [150]);
        for i in 0..150 {
            assert!((one[[i]] - x[[i, 1]]).abs() < 1e-12);
        }
        let back = qr.apply_q(&pool, &qr.apply_qt(&pool, &b).unwrap()).unwrap();
        for (x, y) in back.as_slice().iter().zip(b.as_slice()) {
            assert!((x - y).abs() < 1e-13, "{x} {y}");
        }
    });
}

#[test]
fn empty_matrices_have_empty_factors() {
    alone(|| {
        let pool = pool(1);
        for (m, n) in [(0, 0), (0, 3), (3, 0)] {
            let a = random(m, n);
            let qr = pool.qr(&a).unwrap();
            assert_eq!(dims(&qr.q(&pool).unwrap()), [m, 0]);
            assert_eq!(dims(&qr.r().unwrap()), [0, n]);
            let svd = pool.svd(&a).unwrap();
            assert_eq!((dims(svd.u()), dims(svd.v()), svd.values().len()), ([m, 0], [n, 0], 0));
        }
        assert_eq!(pool.eigh(&random(0, 0)).unwrap().values().len(), 0);
        assert_eq!(pool.eigvalsh(&random(1, 1)).unwrap().as_slice(), [noise(0, 0)]);
        assert_eq!(pool.lstsq(&random(3, 0), &random(3, 2)).unwrap().len(), 0);
    });
}

#[test]
fn bad_input_is_refused_with_its_values() {
    alone(|| {
        let pool = pool(1);
        let with = |position: [usize; 2], x: f64| {
            let mut a = symmetric(4);
            a[position] = x;
            a
        };
        let assert_position = |outcome: Result<()>, expected: Vec<usize>| match outcome {
            Err(Error::NotFinite { position, .. }) => assert_eq!(position, expected),
            other => panic!("{other:?}"),
        };
        let nan = with([2, 1], f64::NAN);
        assert_position(pool.qr(&nan).map(drop), vec![2, 1]);
        assert_position(pool.svd(&nan).map(drop), vec![2, 1]);
        assert_position(pool.eigh(&nan).map(drop), vec![2, 1]);
        assert_position(pool.lstsq(&symmetric(4), &nan).map(drop), vec![2, 1]);
        assert_position(pool.svd(&with([3, 3], f64::NEG_INFINITY)).map(drop), vec![3, 3]);
        // The length of each column is more than the largest number.
        let huge = SharedArray::from_fn([2, 2], |_| f64::MAX).unwrap();
        assert_position(pool.qr(&huge).unwrap().r().map(drop), vec![0, 0]);
        assert_position(pool.svd(&huge).map(drop), vec![0]);
        // What lies above the diagonal is not read.
        let above = pool.eigvalsh(&with([1, 2], f64::NAN)).unwrap();
        assert!(above == pool.eigvalsh(&symmetric(4)).unwrap());

        assert!(matches!(pool.eigh(&random(3, 4)), Err(Error::ShapeMismatch { .. })));
        assert!(matches!(
            pool.lstsq(&random(4, 2), &random(3, 1)),
            Err(Error::ShapeMismatch { .. })
        ));
        let wide = pool.lstsq(&random(2, 4), &random(2, 1)).unwrap_err().to_string();
        assert!(wide.contains("2 rows and 4 columns"), "{wide}");
        let mut dependent = random(9, 5);
        for i in 0..9 {
            dependent[[i, 3]] = dependent[[i, 0]] - 2.0 * dependent[[i, 2]];
        }
        let error = pool.lstsq(&dependent, &random(9, 1)).unwrap_err();
        assert!(matches!(error, Error::RankDeficient { column: 3, .. }), "{error}");
        // No column depends on those before it alone by more than rounding.
        let powers = |[i, j]: [usize; 2]| [1.0, 1.0 + 1e-8 * i as f64, i as f64][j];
        let near = SharedArray::from_fn([50, 3], powers).unwrap();
        let error = pool.lstsq(&near, &random(50, 1)).unwrap_err();
        assert!(matches!(error, Error::RankDeficient { .. }), "{error}");
        // Long columns of few bits, and columns of different sizes, are independent.
        let long = |[i, j]: [usize; 2]| if j == 0 { 1.0 } else { 1.0 + 0.1 * (i % 2) as f32 };
        let long = SharedArray::from_fn([1_000_000, 2], long).unwrap();
        let b = SharedArray::from_fn([1_000_000], |[i]| (i % 2) as f32).unwrap();
        let x = pool.lstsq(&long, &b).unwrap();
        assert!((x[[1]] - 10.0).abs() < 0.1, "{:?}", x.as_slice());
        let sizes = SharedArray::from_fn([9, 2], |[i, j]| noise(i, j) * [1.0, 1e-30][j]).unwrap();
        assert!(pool.lstsq(&sizes, &random(9, 1)).is_ok());
    });
}

#[test]
fn singular_values_solve_what_has_no_full_rank() {
    alone(|| {
        let pool = pool(2);
        for (m, n) in [(60, 40), (40, 60)] {
            let a = pool.matmul(&random(m, 7), &random(7, n)).unwrap();
            let svd = pool.svd(&a).unwrap();
            let (rank, b) = (svd.rank(1e-12), random(m, 3));
            assert_eq!((rank, svd.rank(1.0)), (7, 0));
            let inverse = svd.pinv(&pool, 1e-12).unwrap();
            assert_eq!(dims(&inverse), [n, m]);
            // Two conditions of Moore and Penrose: A P A = A and P A P = P.
            let both = pool.matmul(&a, &inverse).unwrap();
            assert!(residual(&pool, &a, &both, Matrix::from(&a)) < RATIO_MAX);
            let both = pool.matmul(&inverse, &a).unwrap();
            assert!(residual(&pool, &inverse, &both, Matrix::from(&inverse)) < RATIO_MAX);
            let x = svd.solve(&pool, &b, 1e-12).unwrap();
            assert!(residual(&pool, &x, &inverse, Matrix::from(&b)) < RATIO_MAX);
            let column = SharedArray::from_fn([m], |[i]| b[[i, 2]]).unwrap();
            let one = svd.solve(&pool, &column, 1e-12).unwrap();
            for i in 0..n {
                assert!((one[[i]] - x[[i, 2]]).abs() < 1e-12 * largest(&x));
            }
            assert!(matches!(
                svd.solve(&pool, &random(m + 1, 1), 0.0),
                Err(Error::ShapeMismatch { .. })
            ));
        }
        let zero = SharedArray::from_fn([3, 2], |_| 0.0).unwrap();
        let svd = pool.svd(&zero).unwrap();
        assert_eq!((svd.values().as_slice(), svd.rank(0.0)), (&[0.0; 2][..], 0));
        assert_eq!(svd.solve(&pool, &random(3, 1), 0.0).unwrap().as_slice(), [0.0; 2]);
        assert_eq!(svd.pinv(&pool, 0.0).unwrap().as_slice(), [0.0; 6]);
    });
}

fn decomposition(pool: &Pool, a: &SharedArray<f64>, kind: usize) -> Result<SharedArray<f64>> {
    match kind {
        0 => pool.qr(a)?.r(),
        1 => pool.eigvalsh(a),
        _ => pool.singular_values(a),
    }
}

#[test]
fn a_worker_killed_in_a_decomposition_is_named_or_comes_too_late() {
    alone(|| {
        let pool = pool(3);
        let a = symmetric(220);
        let repeating = Pool::builder().workers(3).retries(3).build().unwrap();
        let call = |kind| decomposition(&pool, &a, kind);
        for kind in 0..3 {
            let begin = Instant::now();
            let right = call(kind).unwrap();
            let whole = begin.elapsed();
            let mut named = 0;
            for attempt in 0..40u32 {
                let delay = whole * (attempt % 4) / 5;
                match with_a_worker_killed(&pool, delay, || call(kind)) {
                    (Ok(values), _) => assert!(values == right, "{kind}: wrong values"),
                    (Err(error), victim) => {
                        assert_eq!(error.death().expect("a death").pid, victim, "{error}");
                        named += 1;
                    }
                }
                if named >= 3 {
                    break;
                }
            }
            assert!(named > 0, "no kill hit a decomposition of kind {kind}");
            assert!(call(kind).unwrap() == right);
            with_deaths_in_it(&repeating, || {
                let values = decomposition(&repeating, &a, kind).unwrap();
                assert!(values == right, "{kind}: wrong values of a second attempt");
            });
        }
    });
}

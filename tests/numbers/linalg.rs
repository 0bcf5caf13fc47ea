//! Linear systems solved by teams of workers.

use crate::common::alone::alone;
use brigade::kernel::matmul::Float;
use brigade::{Error, Matrix, MatrixMut, Norm, Pool, Scalar, SharedArray, Start, Triangle};

mod extremes;
mod faults;
mod modes;

/// A number in -1..1 that looks random (SplitMix64).
fn noise(i: usize) -> f64 {
    let mut mixed = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((mixed ^ mixed >> 31) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

fn random(rows: usize, cols: usize, seed: usize) -> SharedArray<f64> {
    SharedArray::from_fn([rows, cols], |[i, j]| noise(seed + i * cols + j)).unwrap()
}

/// Symmetric, with a diagonal that dominates.
fn definite(n: usize) -> SharedArray<f64> {
    let element =
        |[i, j]: [usize; 2]| if i == j { n as f64 } else { noise(i.max(j) * n + i.min(j)) };
    SharedArray::from_fn([n, n], element).unwrap()
}

/// `||A X - B|| / (||A|| ||X|| eps)`: below 30 in LAPACK's tests (LAPACK Working Note 41).
fn residual<T: Scalar>(
    pool: &Pool,
    a: &SharedArray<T>,
    x: &SharedArray<T>,
    b: &SharedArray<T>,
) -> f64 {
    let (rows, cols) = (x.shape().dims()[0], x.len() / x.shape().dims()[0]);
    let column = |array| Matrix::strided(array, 0, [rows, cols], [cols.cast_signed(), 1]).unwrap();
    let product = pool.product(a, column(x)).run().unwrap();
    let b = b.as_slice();
    let difference = SharedArray::from_fn([rows, cols], |[i, j]| {
        product[[i, j]].to_f64() - b[i * cols + j].to_f64()
    });
    let norm = |m: Matrix<'_, T>| pool.matrix_norm(m, Norm::One).unwrap();
    let scale = norm(a.into()) * norm(column(x)) * T::EPSILON.to_f64();
    pool.matrix_norm(&difference.unwrap(), Norm::One).unwrap() / scale
}

/// Matrices that are hard for an elimination, each with its name.
fn hard(n: usize) -> Vec<(&'static str, SharedArray<f64>)> {
    let matrix = |element: &dyn Fn(usize, usize) -> f64| {
        SharedArray::from_fn([n, n], |[i, j]| element(i, j)).unwrap()
    };
    let v: Vec<f64> = (0..n).map(noise).collect();
    let square: f64 = v.iter().map(|x| x * x).sum();
    let identity = |i, j| if i == j { 1.0 } else { 0.0 };
    let (sine, cosine) = 1.2f64.sin_cos();
    let kahan = |i: usize, j: usize| {
        let entry = if j == i { 1.0 } else { -cosine };
        if j < i { 0.0 } else { sine.powi(i32::try_from(i).unwrap()) * entry }
    };
    vec![
        ("Hilbert", matrix(&|i, j| 1.0 / (i + j + 1) as f64)),
        ("Kahan", matrix(&kahan)),
        ("graded", matrix(&|i, j| noise(i * n + j) * 0.1f64.powf(i.max(j) as f64))),
        ("orthogonal", matrix(&|i, j| identity(i, j) - 2.0 * v[i] * v[j] / square)),
        ("tiny", matrix(&|i, j| noise(i * n + j) * 1e-300)),
        ("huge", matrix(&|i, j| noise(i * n + j) * 1e300)),
    ]
}

#[test]
fn systems_with_hard_matrices_are_solved_with_a_small_backward_error() {
    alone(|| {
        let pool = Pool::builder().workers(2).build().unwrap();
        for n in [12, 130] {
            for (name, a) in hard(n) {
                let b = random(n, 3, 4);
                let outcome = pool.solve(&a, &b);
                if matches!(outcome, Err(Error::NotFinite { .. } | Error::Singular { .. })) {
                    // 1e-130 of the scale: beyond what doubles resolve.
                    assert!(n == 130 && name == "graded", "{n} {name}");
                    continue;
                }
                let x = outcome.unwrap();
                let found = residual(&pool, &a, &x, &b);
                assert!(found < 30.0, "{n} {name}: {found}");
                let refined = pool.system(&a, &b).refine(1).run().unwrap();
                let found = residual(&pool, &a, &refined, &b);
                assert!(found < 30.0, "{n} {name}, refined: {found}");
            }
        }
        let single =
            SharedArray::from_fn([200, 200], |[i, j]| f32::from_f64(noise(i * 200 + j))).unwrap();
        let b = SharedArray::from_fn([200], |[i]| f32::from_f64(noise(i))).unwrap();
        let x = pool.solve(&single, &b).unwrap();
        assert_eq!(x.shape().dims(), [200]);
        assert!(residual(&pool, &single, &x, &b) < 30.0);
    });
}

#[test]
fn the_bits_do_not_depend_on_the_number_of_workers() {
    alone(|| {
        let (a, spd, b) = (random(400, 400, 1), definite(400), random(400, 300, 2));
        let all = |pool: &Pool| {
            let lu = pool.lu(&a).unwrap();
            let (x, inverse) = (lu.solve(pool, &b).unwrap(), lu.inverse(pool).unwrap());
            let factor = pool.cholesky(&spd).unwrap().factor().as_slice().to_vec();
            (lu.pivots().to_vec(), lu.factors().as_slice().to_vec(), x, inverse, factor)
        };
        let alone = all(&Pool::builder().start(Start::InProcess).build().unwrap());
        for workers in 1..=7 {
            let pool = Pool::builder().workers(workers).build().unwrap();
            assert!(all(&pool) == alone, "{workers} workers");
        }
    });
}

#[test]
fn empty_and_single_matrices_have_factors_solutions_and_inverses() {
    alone(|| {
        let pool = Pool::builder().workers(2).build().unwrap();
        let empty = SharedArray::<f64>::zeroed([0, 0]).unwrap();
        let nothing = SharedArray::<f64>::zeroed([0]).unwrap();
        assert_eq!(pool.solve(&empty, &nothing).unwrap().shape().dims(), [0]);
        assert_eq!(pool.inverse(&empty).unwrap().shape().dims(), [0, 0]);
        assert_eq!(pool.solve_spd(&empty, &empty).unwrap().shape().dims(), [0, 0]);
        assert_eq!((pool.det(&empty).unwrap(), pool.cond(&empty).unwrap()), (1.0, 1.0));
        assert_eq!(pool.matrix_norm(&empty, Norm::Frobenius).unwrap(), 0.0);
        let wide = SharedArray::<f64>::zeroed([0, 3]).unwrap();
        assert_eq!(pool.lu(&wide).unwrap().factors().shape().dims(), [0, 3]);
        let one = SharedArray::from_fn([1, 1], |_| 4.0).unwrap();
        assert_eq!(pool.solve(&one, &one).unwrap().as_slice(), [1.0]);
        assert_eq!(pool.inverse(&one).unwrap().as_slice(), [0.25]);
        let none = SharedArray::<f64>::zeroed([1, 0]).unwrap();
        assert_eq!(pool.solve(&one, &none).unwrap().shape().dims(), [1, 0]);
        let stack = SharedArray::<f64>::zeroed([0, 3, 3]).unwrap();
        let sides = SharedArray::<f64>::zeroed([0, 3]).unwrap();
        assert_eq!(pool.solve_batch(&stack, &sides).unwrap().shape().dims(), [0, 3]);
    });
}

#[test]
fn rectangular_factors_and_parts_of_arrays_are_those_of_the_part() {
    alone(|| {
        let pool = Pool::builder().workers(3).build().unwrap();
        for (m, n) in [(200, 500), (500, 200)] {
            let a = random(m, n, 3);
            let lu = pool.lu(&a).unwrap();
            let f = lu.factors();
            let mut swapped: Vec<Vec<f64>> =
                (0..m).map(|i| a.as_slice()[i * n..][..n].to_vec()).collect();
            lu.pivots()
                .iter()
                .enumerate()
                .for_each(|(i, &pivot)| swapped.swap(i, usize::try_from(pivot).unwrap()));
            for (i, row) in swapped.iter().enumerate().step_by(7) {
                for (j, &element) in row.iter().enumerate().step_by(11) {
                    let of_l = |k: usize| if k == i { 1.0 } else { f[[i, k]] };
                    let terms = (0..=i.min(j).min(m.min(n) - 1)).map(|k| of_l(k) * f[[k, j]]);
                    let error = (terms.sum::<f64>() - element).abs();
                    assert!(error < 1e-12, "{m} x {n} at {i}, {j}: {error}");
                }
            }
        }
        let whole = random(300, 310, 8);
        let part = || Matrix::from(&whole).rows(20..270).unwrap().columns(5..255).unwrap();
        let copy = SharedArray::from_fn([250, 250], |[i, j]| whole[[i + 20, j + 5]]).unwrap();
        let b = random(250, 2, 9);
        assert_eq!(pool.solve(part(), &b).unwrap(), pool.solve(&copy, &b).unwrap());
        let turned = SharedArray::from_fn([250, 250], |[i, j]| copy[[j, i]]).unwrap();
        assert_eq!(pool.solve(part().transposed(), &b).unwrap(), pool.solve(&turned, &b).unwrap());
        let x = pool.lu(part()).unwrap().solve_transposed(&pool, &b).unwrap();
        assert!(residual(&pool, &turned, &x, &b) < 30.0);
    });
}

#[test]
fn factors_in_place_are_those_of_a_copy_and_leave_the_rest_alone() {
    alone(|| {
        let pool = Pool::builder().workers(2).build().unwrap();
        let (a, spd) = (random(300, 300, 1), definite(300));
        let mut table = SharedArray::from_fn([310, 305], |_| 7.0).unwrap();
        for (i, row) in table.as_mut_slice().chunks_mut(305).skip(5).take(300).enumerate() {
            row[2..302].copy_from_slice(&a.as_slice()[i * 300..][..300]);
        }
        let part = MatrixMut::from(&mut table).rows(5..305).unwrap().columns(2..302).unwrap();
        let pivots = pool.lu_in_place(part).unwrap();
        let lu = pool.lu(&a).unwrap();
        assert_eq!(pivots.as_slice(), lu.pivots());
        let f = lu.factors();
        for i in 0..310 {
            for j in 0..305 {
                let inside = (5..305).contains(&i) && (2..302).contains(&j);
                let expected = if inside { f[[i - 5, j - 2]] } else { 7.0 };
                assert_eq!(table[[i, j]], expected, "{i}, {j}");
            }
        }
        let mut own = spd.try_clone().unwrap();
        pool.cholesky_in_place(&mut own).unwrap();
        assert!(own == *pool.cholesky(&spd).unwrap().factor());
    });
}

#[test]
fn matrices_without_a_solution_are_named_with_the_place() {
    alone(|| {
        let pool = Pool::builder().workers(2).build().unwrap();
        let n = 200;
        for at in [0, 1, 63, 64, 199] {
            let element = |[i, j]: [usize; 2]| if i == j && i != at { 2.0 } else { 0.0 };
            let a = SharedArray::from_fn([n, n], element).unwrap();
            let b = random(n, 1, 0);
            let errors = [
                pool.solve(&a, &b).unwrap_err(),
                pool.inverse(&a).unwrap_err(),
                pool.triangular_solve(Triangle::Upper, &a, &b).unwrap_err(),
            ];
            for error in errors {
                assert!(matches!(error, Error::Singular { pivot, .. } if pivot == at), "{error}");
            }
            let error = pool.solve_spd(&a, &b).unwrap_err();
            let is_named = matches!(error, Error::NotPositiveDefinite { pivot, .. } if pivot == at);
            assert!(is_named, "{error}");
            assert_eq!((pool.det(&a).unwrap(), pool.cond(&a).unwrap()), (0.0, f64::INFINITY));
            for bad in [f64::NAN, f64::NEG_INFINITY] {
                let mut a = definite(n);
                a[[at, at / 2]] = bad;
                let errors = [
                    pool.solve(&a, &b).unwrap_err(),
                    pool.cholesky(&a).unwrap_err(),
                    pool.lu_in_place(&mut a.try_clone().unwrap()).map(|_| ()).unwrap_err(),
                    pool.triangular_solve(Triangle::Lower, &a, &b).unwrap_err(),
                ];
                for error in errors {
                    let Error::NotFinite { position, .. } = &error else { panic!("{error}") };
                    assert_eq!(*position, [at, at / 2], "{error}");
                }
            }
            let (a, mut b) = (definite(n), SharedArray::<f64>::zeroed([n]).unwrap());
            b[[at]] = f64::NAN;
            let error = pool.solve(&a, &b).unwrap_err();
            assert!(
                matches!(&error, Error::NotFinite { position, .. } if *position == [at]),
                "{error}"
            );
        }
        // A solution that no double can hold.
        let a = SharedArray::from_fn([1, 1], |_| 1e-300).unwrap();
        let b = SharedArray::from_slice(&[1e300]).unwrap();
        let error = pool.solve(&a, &b).unwrap_err();
        assert!(error.to_string().contains("the solution"), "{error}");
    });
}

#[test]
fn operands_of_wrong_shapes_are_refused() {
    alone(|| {
        let pool = Pool::builder().workers(1).build().unwrap();
        let (a, wide) = (random(3, 3, 0), random(3, 4, 0));
        let errors = [
            pool.solve(&wide, &a).unwrap_err(),
            pool.solve(&a, &random(4, 1, 0)).unwrap_err(),
            pool.cholesky(&wide).unwrap_err(),
            pool.inverse(&wide).unwrap_err(),
            pool.det(&wide).unwrap_err(),
            pool.lu(&wide).unwrap().solve(&pool, &a).unwrap_err(),
            pool.solve_batch(&SharedArray::<f64>::zeroed([2, 3, 3]).unwrap(), &a).unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(error, Error::ShapeMismatch { .. }), "{error}");
        }
        let flat = SharedArray::<f64>::zeroed([4]).unwrap();
        let stack = SharedArray::<f64>::zeroed([2, 3, 3]).unwrap();
        let errors = [
            pool.lu(&flat).map(|_| ()).unwrap_err(),
            pool.solve(&a, &stack).map(|_| ()).unwrap_err(),
            pool.solve_batch(&a, &a).map(|_| ()).unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(error, Error::InvalidArgument { .. }), "{error}");
        }
    });
}

#[test]
fn stacks_of_small_systems_are_solved_one_by_one() {
    alone(|| {
        let pool = Pool::builder().workers(2).build().unwrap();
        for (count, n, cols) in [(3000, 8, 1), (500, 5, 2), (9, 50, 1)] {
            let mut a = SharedArray::from_fn([count, n, n], |[m, i, j]| noise((m * n + i) * n + j))
                .unwrap();
            let mut b =
                SharedArray::from_fn([count, n, cols], |[m, i, j]| noise(m + i + j)).unwrap();
            let x = pool.solve_batch(&a, &b).unwrap();
            for member in (0..count).step_by(count / 7) {
                let part = |of: &SharedArray<f64>, width: usize| {
                    let slice = &of.as_slice()[member * n * width..][..n * width];
                    SharedArray::from_fn([n, width], |[i, j]| slice[i * width + j]).unwrap()
                };
                let found = residual(&pool, &part(&a, n), &part(&x, cols), &part(&b, cols));
                assert!(found < 30.0, "{count} x {n}, {member}: {found}");
            }
            let mut flat = b.try_clone().unwrap();
            flat.reshape([count, n * cols]).unwrap();
            if cols == 1 {
                assert_eq!(pool.solve_batch(&a, &flat).unwrap().as_slice(), x.as_slice());
            }
            b[[count - 1, 1, 0]] = f64::NAN;
            let error = pool.solve_batch(&a, &b).unwrap_err();
            let Error::NotFinite { position, .. } = &error else { panic!("{error}") };
            assert_eq!(*position, [count - 1, 1, 0]);
            a.as_mut_slice()[2 * n * n..3 * n * n].fill(0.0);
            let error = pool.solve_batch(&a, &b).unwrap_err();
            assert!(matches!(error, Error::Singular { member: Some(2), pivot: 0, .. }), "{error}");
            a[[1, 0, 1]] = f64::INFINITY;
            let error = pool.solve_batch(&a, &b).unwrap_err();
            let Error::NotFinite { position, .. } = &error else { panic!("{error}") };
            assert_eq!(*position, [1, 0, 1]);
        }
    });
}

#[test]
fn determinants_and_condition_numbers_are_those_of_known_matrices() {
    alone(|| {
        let pool = Pool::builder().workers(2).build().unwrap();
        // A cyclic permutation of three rows is even, an exchange of two is odd.
        let cycle = SharedArray::from_fn([3, 3], |[i, j]| if j == (i + 1) % 3 { 1.0 } else { 0.0 });
        let exchange =
            SharedArray::from_fn([3, 3], |[i, j]| if j == [1, 0, 2][i] { 2.0 } else { 0.0 });
        assert_eq!(pool.det(&cycle.unwrap()).unwrap(), 1.0);
        assert_eq!(pool.det(&exchange.unwrap()).unwrap(), -8.0);
        let scaled =
            SharedArray::from_fn([400, 400], |[i, j]| if i == j { 1e-3 } else { 0.0 }).unwrap();
        let (sign, ln) = pool.lu(&scaled).unwrap().sign_ln_det().unwrap();
        assert!(sign == 1.0 && (ln - 400.0 * 1e-3f64.ln()).abs() < 1e-9);
        let spd = definite(300);
        let (_, ln) = pool.lu(&spd).unwrap().sign_ln_det().unwrap();
        assert!((pool.cholesky(&spd).unwrap().ln_det() - ln).abs() < 1e-9 * ln.abs());
        assert_eq!(pool.det(&scaled).unwrap(), 0.0);
        let a = random(300, 300, 6);
        let inverse = pool.inverse(&a).unwrap();
        let norm = |m: &SharedArray<f64>| pool.matrix_norm(m, Norm::One).unwrap();
        let (exact, estimate) = (norm(&a) * norm(&inverse), pool.cond(&a).unwrap());
        assert!(estimate > exact / 3.0 && estimate < exact * 1.001, "{estimate}, exact {exact}");
    });
}

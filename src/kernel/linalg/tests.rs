//! Tests of linear systems, by teams of threads.
#![allow(unsafe_code)]

use super::{
    MatrixFactors, Pivots, Stack, Triangle, cholesky, copy_with_norm, frobenius, inverse_norm_1,
    invert, largest, lu, norm_1, solve, solve_batch,
};
use crate::kernel::matmul::{Float, Strided};
use crate::kernel::thread_team::{Shared, with_threads};
use crate::kernel::{PeerDied, SingleThread, Team};

/// A number in -1..1 that looks random (SplitMix64).
fn noise(i: usize) -> f64 {
    let mut mixed = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((mixed ^ mixed >> 31) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

/// A matrix with contiguous rows.
#[derive(Debug, Clone, PartialEq)]
struct Dense<T> {
    data: Vec<T>,
    rows: usize,
    cols: usize,
}

impl<T: Float> Dense<T> {
    fn from_fn(rows: usize, cols: usize, element: impl Fn(usize, usize) -> f64) -> Dense<T> {
        let places = (0..rows).flat_map(|i| (0..cols).map(move |j| (i, j)));
        let data = places.map(|(i, j)| T::from_f64(element(i, j))).collect();
        Dense { data, rows, cols }
    }

    fn random(rows: usize, cols: usize, seed: usize) -> Dense<T> {
        Dense::from_fn(rows, cols, |i, j| noise(seed + i * cols + j))
    }

    /// Symmetric, with a diagonal that dominates.
    fn definite(n: usize) -> Dense<T> {
        Dense::from_fn(n, n, |i, j| if i == j { n as f64 } else { noise(i.max(j) * n + i.min(j)) })
    }

    fn place(&mut self) -> Strided<*mut T> {
        Strided::row_major(self.data.as_mut_ptr(), self.rows, self.cols)
    }

    fn at(&self, i: usize, j: usize) -> f64 {
        self.data[i * self.cols + j].to_f64()
    }

    fn norm(&mut self) -> f64 {
        // SAFETY: the place is the matrix, which this borrows.
        unsafe { norm_1(self.place()) }
    }

    /// A - B C in f64.
    fn minus_product(&self, b: &Dense<T>, c: &Dense<T>) -> Dense<f64> {
        Dense::from_fn(self.rows, self.cols, |i, j| {
            let product: f64 = (0..b.cols).map(|k| b.at(i, k) * c.at(k, j)).sum();
            self.at(i, j) - product
        })
    }
}

/// Runs a step by a team of threads; every member must succeed.
fn by_team<T>(
    members: usize,
    matrices: T,
    step: impl Fn(&T, &dyn Team) -> Result<(), PeerDied> + Sync,
) {
    let matrices = Shared(matrices);
    let outcomes = with_threads(members, usize::MAX, |member| {
        let matrices = &matrices;
        step(&matrices.0, member)
    });
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
}

fn factored<T: Float>(a: &Dense<T>, members: usize) -> (Dense<T>, Vec<u64>) {
    let (mut f, mut pivots) = (a.clone(), vec![u64::MAX; a.rows.min(a.cols)]);
    let operands = (f.place(), Pivots(pivots.as_mut_ptr()));
    // SAFETY: both live on until the team has ended, and only the team uses them.
    by_team(members, operands, |&(f, pivots), team| unsafe { lu(f, pivots, team) });
    (f, pivots)
}

fn place(pivot: u64) -> usize {
    usize::try_from(pivot).expect("the number of a row")
}

/// `||P A - L U|| / (n ||A|| eps)` as in LAPACK's tests (LAPACK Working Note 41).
fn lu_residual<T: Float>(a: &Dense<T>, f: &Dense<T>, pivots: &[u64]) -> f64 {
    let size = pivots.len();
    let mut swapped = a.clone();
    for (row, &pivot) in pivots.iter().enumerate() {
        for j in 0..a.cols {
            swapped.data.swap(row * a.cols + j, place(pivot) * a.cols + j);
        }
    }
    let of_l = |i: usize, j: usize| match i.cmp(&j) {
        std::cmp::Ordering::Less => 0.0,
        std::cmp::Ordering::Equal => 1.0,
        std::cmp::Ordering::Greater => f.at(i, j),
    };
    let l = Dense::from_fn(a.rows, size, of_l);
    let u = Dense::from_fn(size, a.cols, |i, j| if j < i { 0.0 } else { f.at(i, j) });
    let scale = a.clone().norm() * a.cols as f64 * T::EPSILON.to_f64();
    swapped.minus_product(&l, &u).norm() / scale
}

#[test]
fn factors_times_each_other_are_the_permuted_matrix_for_any_shape() {
    for m in [1, 2, 7, 8, 9, 17, 33, 70, 150] {
        for n in [1, 3, 8, 20, 65, 131] {
            let a = Dense::<f64>::random(m, n, m + n);
            let (f, pivots) = factored(&a, 1);
            let residual = lu_residual(&a, &f, &pivots);
            assert!(residual < 30.0, "{m} x {n}: {residual}");
            for (i, &pivot) in pivots.iter().enumerate() {
                assert!((i..m).contains(&place(pivot)), "{m} x {n}: row {i}, pivot {pivot}");
            }
        }
    }
    let a = Dense::<f32>::random(140, 140, 1);
    let (f, pivots) = factored(&a, 2);
    assert!(lu_residual(&a, &f, &pivots) < 30.0);
}

#[test]
fn multipliers_are_at_most_one_and_ties_take_the_first_row() {
    let a = Dense::<f64>::random(100, 100, 3);
    let (f, _) = factored(&a, 1);
    assert!((0..100).all(|i| (0..i).all(|j| f.at(i, j).abs() <= 1.0)));
    for n in [5, 40, 100] {
        // All of one column have the same magnitude: no row is swapped.
        let signs = Dense::<f64>::from_fn(n, 1, |i, _| if i % 2 == 0 { -1.0 } else { 1.0 });
        assert_eq!(factored(&signs, 1).1, [0]);
    }
}

#[test]
fn the_bits_of_the_factors_do_not_depend_on_the_number_of_members() {
    for (m, n) in [(300, 300), (150, 331), (331, 150)] {
        let a = Dense::<f64>::random(m, n, 5);
        let one = factored(&a, 1);
        for members in 2..=7 {
            assert!(factored(&a, members) == one, "{m} x {n} by {members}");
        }
    }
    let a = Dense::<f64>::definite(300);
    let factor = |members| {
        let mut f = a.clone();
        let place = f.place();
        by_team(members, place, |&f, team| {
            // SAFETY: the matrix lives on until the team has ended, and only the team uses it.
            let failed = unsafe { cholesky(f, f, team)? };
            assert_eq!(failed, None);
            Ok(())
        });
        f
    };
    let one = factor(1);
    for members in 2..=7 {
        assert!(factor(members) == one, "{members} members");
    }
}

#[test]
fn the_layout_of_a_matrix_does_not_change_the_bits() {
    let a = Dense::<f64>::random(130, 130, 8);
    let (f, pivots) = factored(&a, 1);
    let mut turned = Dense::<f64>::from_fn(130, 130, |i, j| a.at(j, i));
    let mut found = vec![0; 130];
    let (place, at) = (turned.place().transposed(), Pivots(found.as_mut_ptr()));
    // SAFETY: both live on, and only this call uses them.
    unsafe { lu(place, at, &SingleThread::default()) }.unwrap();
    assert_eq!(found, pivots);
    assert!((0..130).all(|i| (0..130).all(|j| turned.at(j, i) == f.at(i, j))));
    // L by rows of a copy, and by columns in place.
    let (mut a, mut l) = (Dense::<f64>::definite(130), Dense::<f64>::random(130, 130, 8));
    let mut turned =
        Dense::<f64>::from_fn(130, 130, |i, j| if i > j { f64::NAN } else { a.at(j, i) });
    let place = turned.place().transposed();
    for (from, to) in [(a.place(), l.place()), (place, place)] {
        // SAFETY: all live on, and only this call uses them.
        assert_eq!(unsafe { cholesky(from, to, &SingleThread::default()) }.unwrap(), None);
    }
    assert!((0..130).all(|i| (0..130).all(|j| turned.at(j, i) == l.at(i, j))));
    assert!((0..130).all(|i| (i + 1..130).all(|j| l.at(i, j) == 0.0)));
}

#[test]
fn a_singular_matrix_has_a_zero_pivot_where_its_columns_depend_on_others() {
    let n = 70;
    for at in [0, 1, 7, 8, 31, 32, 33, 64, 69] {
        // Column `at` is the sum of those to its left; integers, so that the zero is exact.
        let small = |i: usize, j: usize| if i == j { 1.0 } else { 0.0 };
        let a = Dense::<f64>::from_fn(n, n, |i, j| {
            if j == at { (0..at).map(|k| small(i, k)).sum() } else { small(i, j) }
        });
        let (f, pivots) = factored(&a, 2);
        let zero = (0..n).find(|&i| f.at(i, i) == 0.0);
        assert_eq!(zero, Some(at));
        assert!(lu_residual(&a, &f, &pivots) < 30.0);
    }
}

#[test]
fn nan_and_infinity_end_every_factorisation() {
    for bad in [f64::NAN, f64::INFINITY] {
        for at in [0, 50, 99] {
            let mut a = Dense::<f64>::random(100, 100, 9);
            a.data[at * 100 + (at * 7) % 100] = bad;
            let (f, pivots) = factored(&a, 3);
            assert!(pivots.iter().enumerate().all(|(i, &pivot)| (i..100).contains(&place(pivot))));
            assert!(f.data.iter().any(|x| !x.is_finite()));
            let mut a = Dense::<f64>::definite(100);
            a.data[at * 100 + at / 2] = bad;
            // SAFETY: the matrix is borrowed by this call alone.
            let failed =
                unsafe { cholesky(a.place(), a.place(), &SingleThread::default()) }.unwrap();
            assert!(failed.is_some_and(|failed| failed <= at), "{bad} in row {at}: {failed:?}");
        }
    }
}

#[test]
fn a_cholesky_factor_times_its_transpose_is_the_matrix() {
    for n in [0, 1, 2, 8, 9, 17, 33, 70, 131] {
        let a = Dense::<f64>::definite(n);
        let mut f = a.clone();
        // What lies above the diagonal is not used.
        (0..n).for_each(|i| f.data[i * n + i + 1..(i + 1) * n].fill(f64::NAN));
        // SAFETY: the matrix is borrowed by this call alone.
        let failed = unsafe { cholesky(f.place(), f.place(), &SingleThread::default()) }.unwrap();
        assert_eq!(failed, None);
        assert!((0..n).all(|i| (i + 1..n).all(|j| f.at(i, j) == 0.0)));
        let turned = Dense::<f64>::from_fn(n, n, |i, j| f.at(j, i));
        let bound = 30.0 * n as f64 * f64::EPSILON * a.clone().norm();
        assert!(a.minus_product(&f, &turned).norm() <= bound, "{n}");
    }
}

#[test]
fn the_first_pivot_that_is_not_positive_is_named() {
    let n = 100;
    for at in [0, 1, 7, 8, 31, 32, 63, 64, 99] {
        for members in [1, 3] {
            let mut a = Dense::<f64>::definite(n);
            a.data[at * (n + 1)] = -1.0;
            let place = a.place();
            by_team(members, place, |&a, team| {
                // SAFETY: the matrix lives on until the team has ended, and only the team uses it.
                assert_eq!(unsafe { cholesky(a, a, team)? }, Some(at));
                Ok(())
            });
        }
    }
}

#[test]
fn a_member_that_is_missed_at_any_barrier_ends_the_factorisation_for_all() {
    for barriers in 0..3 {
        let (mut a, mut pivots) = (Dense::<f64>::random(150, 150, 2), vec![0; 150]);
        let shared = Shared((a.place(), Pivots(pivots.as_mut_ptr())));
        let outcomes = with_threads(3, barriers, |member| {
            let shared = &shared;
            // SAFETY: both live on until the team has ended, and only the team uses them.
            unsafe { lu(shared.0.0, shared.0.1, member) }
        });
        assert!(outcomes.iter().all(Result::is_err), "after {barriers}");
    }
}

/// `||A X - B|| / (||A|| ||X|| eps)`, LAPACK Working Note 41.
fn solution_residual<T: Float>(a: &Dense<T>, x: &Dense<T>, b: &Dense<T>) -> f64 {
    let scale = a.clone().norm() * x.clone().norm() * T::EPSILON.to_f64();
    b.minus_product(a, x).norm() / scale
}

#[test]
fn factored_systems_are_solved_for_any_number_of_right_hand_sides() {
    for n in [1, 5, 16, 17, 33, 100] {
        let a = Dense::<f64>::random(n, n, n);
        let turned = Dense::<f64>::from_fn(n, n, |i, j| a.at(j, i));
        let (mut f, mut pivots) = factored(&a, 1);
        for cols in [1, 2, 31, 130] {
            let mut b = Dense::<f64>::random(n, cols, 77);
            for (matrix, is_turned) in [(&a, false), (&turned, true)] {
                let mut x = Dense::<f64>::from_fn(n, cols, |_, _| f64::NAN);
                let (f, pivots) = (f.place(), Pivots(pivots.as_mut_ptr()));
                let factors = if is_turned {
                    MatrixFactors::LuTransposed(f, pivots)
                } else {
                    MatrixFactors::Lu(f, pivots)
                };
                by_team(2, (factors, b.place(), x.place()), |&(factors, b, x), team| {
                    // SAFETY: all live on until the team has ended, which alone uses them.
                    unsafe { solve(factors, b, x, team) };
                    Ok(())
                });
                let residual = solution_residual(matrix, &x, &b);
                assert!(residual < 30.0, "{n}, {cols}, {is_turned}: {residual}");
            }
        }
    }
}

#[test]
fn each_triangle_reads_its_own_part_only() {
    let n = 50;
    let whole =
        Dense::<f64>::from_fn(n, n, |i, j| if i == j { 4.0 } else { noise(i * n + j) / 8.0 });
    let kinds = [Triangle::Lower, Triangle::Upper, Triangle::UnitLower, Triangle::UnitUpper];
    for triangle in kinds {
        let is_lower = matches!(triangle, Triangle::Lower | Triangle::UnitLower);
        let read =
            |i: usize, j: usize| (i > j) == is_lower && i != j || i == j && !triangle.is_unit();
        let mut t =
            Dense::<f64>::from_fn(n, n, |i, j| if read(i, j) { whole.at(i, j) } else { f64::NAN });
        let mut b = Dense::<f64>::random(n, 40, 4);
        let mut x = b.clone();
        let factors = MatrixFactors::Triangular(t.place(), triangle);
        // SAFETY: all are borrowed by this call alone.
        unsafe { solve(factors, b.place(), x.place(), &SingleThread::default()) };
        let exact = Dense::<f64>::from_fn(n, n, |i, j| match (read(i, j), i == j) {
            (true, _) => whole.at(i, j),
            (false, true) => 1.0,
            (false, false) => 0.0,
        });
        assert!(solution_residual(&exact, &x, &b) < 30.0, "{triangle:?}");
    }
}

#[test]
fn an_inverse_times_its_matrix_is_the_identity() {
    for n in [1, 8, 60, 131] {
        for members in [1, 3] {
            let a = Dense::<f64>::random(n, n, n + 1);
            let (mut f, mut pivots) = factored(&a, 1);
            let mut x = Dense::<f64>::from_fn(n, n, |_, _| f64::NAN);
            let operands = (f.place(), Pivots(pivots.as_mut_ptr()), x.place());
            by_team(members, operands, |&(f, pivots, x), team| {
                // SAFETY: all live on until the team has ended, which alone uses them.
                unsafe { invert(f, pivots, x, team) }
            });
            let identity = Dense::<f64>::from_fn(n, n, |i, j| if i == j { 1.0 } else { 0.0 });
            let scale = n as f64 * a.clone().norm() * x.norm() * f64::EPSILON;
            let residual = identity.minus_product(&x, &a).norm() / scale;
            assert!(residual < 30.0, "{n}: {residual}");
            let mut exact = 0.0;
            let estimate = inverse_norm_1::<f64>(n, 1.0, |y, is_turned| {
                let (f, pivots) = (f.place(), Pivots(pivots.as_mut_ptr()));
                let y = Strided::row_major(y.as_mut_ptr(), n, 1);
                let factors = if is_turned {
                    MatrixFactors::LuTransposed(f, pivots)
                } else {
                    MatrixFactors::Lu(f, pivots)
                };
                // SAFETY: the factors and the vector are borrowed by this call alone.
                unsafe { solve(factors, y, y, &SingleThread::default()) };
                exact = x.norm();
            });
            assert!(
                estimate <= exact * (1.0 + 1e-10) && estimate >= exact / 3.0,
                "{estimate} {exact}"
            );
        }
    }
}

#[test]
fn elements_are_divided_by_large_and_small_divisors_without_loss() {
    for divisor in [f32::MAX, f32::MIN_POSITIVE / 3.0] {
        let x: Vec<f32> = (0..99).map(|i| (divisor / 2.0) * (i as f32 / 99.0)).collect();
        let mut quotients = x.clone();
        super::columns::divide(&mut quotients, divisor);
        assert!(quotients.iter().zip(&x).all(|(q, x)| *q == x / divisor), "by {divisor}");
    }
}

#[test]
fn the_norm_of_singles_is_summed_in_doubles() {
    let elements = [16_777_216.0, 1.0, 1.0, 1.0];
    let mut a = Dense::<f32>::from_fn(4, 1, |i, _| elements[i]);
    assert_eq!(a.norm(), 16_777_219.0);
    let mut a = Dense::<f32>::from_fn(4, 1, |_, _| 1e38);
    assert!((a.norm() / 4e38 - 1.0).abs() < 1e-7);
}

#[test]
fn a_batch_without_right_hand_sides_is_eliminated() {
    let mut a = Dense::<f64>::from_fn(4, 2, |i, j| [[3.0, 5.0], [1.0, 0.0]][i % 2][j]);
    let mut b = Dense::<f64>::random(4, 0, 1);
    let mut solve_both = |a: &mut Dense<f64>| {
        let first = Strided { rows: 2, ..a.place() };
        let sides = Stack { first: Strided { rows: 2, ..b.place() }, step: 0 };
        let stacks = [Stack { first, step: 4 }, sides, sides];
        // SAFETY: the stacks lie in matrices that this borrows.
        unsafe { solve_batch(2, stacks, &SingleThread::default()) }
    };
    assert_eq!(solve_both(&mut a).singular, None);
    a.data[6] = 3.0;
    a.data[7] = 5.0;
    assert_eq!(solve_both(&mut a).singular, Some((1, 1)));
}

#[test]
fn a_batch_whose_elimination_overflows_has_no_solution() {
    for n in [2, 40] {
        // [1e308, 1e308; -1e308, 1e308] and ones.
        let corner = |i: usize, j: usize| if (i, j) == (1, 0) { -1e308 } else { 1e308 };
        let identity = |i: usize, j: usize| if i == j { 1.0 } else { 0.0 };
        let element = |i, j| if i < 2 && j < 2 { corner(i, j) } else { identity(i, j) };
        let mut a = Dense::<f64>::from_fn(n, n, element);
        let (mut b, mut x) = (Dense::<f64>::from_fn(n, 1, |_, _| 1.0), Dense::random(n, 1, 0));
        let stacks = [&mut a, &mut b, &mut x].map(|m| Stack { first: m.place(), step: 0 });
        // SAFETY: all are borrowed by this call alone.
        let report = unsafe { solve_batch(1, stacks, &SingleThread::default()) };
        assert!(report.singular.is_none() && !report.has_nonfinite);
        assert!(x.data.iter().all(|x| x.is_nan()), "{n}: {x:?}");
    }
}

type NormOf = unsafe fn(Strided<*mut f64>) -> f64;

fn norm_of(norm: NormOf, place: Strided<*mut f64>) -> f64 {
    // SAFETY: the callers pass the place of a matrix that lives on, and that nothing writes.
    unsafe { norm(place) }
}

fn copied(from: &mut Dense<f64>, to: &mut Dense<f64>) -> f64 {
    // SAFETY: both matrices are borrowed by this call alone.
    unsafe { copy_with_norm(from.place(), to.place(), &SingleThread::default()) }
}

#[test]
fn norms_follow_their_definitions_and_do_not_overflow() {
    let mut a = Dense::<f64>::from_fn(2, 3, |i, j| [[3.0, -1.0, 0.0], [-4.0, 2.0, 0.5]][i][j]);
    let mut copy = Dense::<f64>::random(2, 3, 0);
    assert_eq!(norm_of(norm_1, a.place()), 7.0);
    assert_eq!(norm_of(norm_1, a.place().transposed()), 6.5);
    assert_eq!(norm_of(largest, a.place()), 4.0);
    assert_eq!(norm_of(frobenius, a.place()), 30.25f64.sqrt());
    assert_eq!(copied(&mut a, &mut copy), 7.0);
    assert_eq!(copy, a);
    for scale in [1e300, 1e-300, 1e-320] {
        let mut a = Dense::<f64>::from_fn(2, 2, |_, _| scale);
        assert_eq!(norm_of(frobenius, a.place()), 2.0 * scale);
    }
    a.data[4] = f64::NAN;
    for norm in [norm_1, largest, frobenius] as [NormOf; 3] {
        assert!(norm_of(norm, a.place()).is_nan());
    }
    assert_eq!(copied(&mut a, &mut copy), f64::INFINITY);
}

#[test]
fn each_system_of_a_batch_is_solved_once_and_the_first_singular_one_is_named() {
    for (n, cols, count) in [(1, 1, 9), (8, 1, 300), (8, 3, 40), (31, 2, 5), (40, 2, 5), (0, 1, 3)]
    {
        let mut a = Dense::<f64>::random(count * n, n, 1);
        let mut b = Dense::<f64>::random(count * n, cols, 2);
        for singular in [None, Some(2)] {
            if let Some(member) = singular {
                a.data[member * n * n..(member + 1) * n * n].fill(0.0);
            }
            let mut x = Dense::<f64>::from_fn(count * n, cols, |_, _| f64::NAN);
            let stack = |matrix: &mut Dense<f64>| {
                let (first, cols) = (matrix.place(), matrix.cols);
                Stack { first: Strided { rows: n, ..first }, step: (n * cols).cast_signed() }
            };
            let stacks = [stack(&mut a), stack(&mut b), stack(&mut x)];
            let found = std::sync::Mutex::new(Vec::new());
            by_team(3, stacks, |&stacks, team| {
                // SAFETY: all live on until the team has ended, which alone uses them.
                let report = unsafe { solve_batch(count, stacks, team) };
                assert!(!report.has_nonfinite);
                found.lock().unwrap().extend(report.singular);
                Ok(())
            });
            let expected = singular.filter(|_| n > 0).map(|member| (member, 0));
            assert_eq!(found.into_inner().unwrap().into_iter().min(), expected);
            for member in (0..count).filter(|&member| Some(member) != singular && n > 0) {
                let part = |m: &Dense<f64>| {
                    Dense::<f64>::from_fn(n, m.cols, |i, j| m.at(member * n + i, j))
                };
                let residual = solution_residual(&part(&a), &part(&x), &part(&b));
                assert!(residual < 30.0, "{n}, {member}: {residual}");
            }
        }
    }
}

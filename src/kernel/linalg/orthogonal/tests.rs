//! Tests of the orthogonal factorisations, by LAPACK's test ratios.
//!
//! Errors are in units of the size, the norm and the rounding unit (Anderson et al., LAPACK Working
//! Note 41).
#![allow(unsafe_code)]

use std::ptr::null_mut;

use super::merge::{Coupling, MergePlan};
use super::{Carver, EighMemory, Operand, QrMemory, SvdMemory, Transpose, apply_q, eigh, qr, svd};
use crate::kernel::matmul::{Float, Strided};
use crate::kernel::thread_team::{Shared, with_threads};
use crate::kernel::{PeerDied, Team};

/// LAPACK's bound for its test ratios.
const RATIO_MAX: f64 = 30.0;

/// Runs `work` in every member of a team of threads.
fn by_threads(members: usize, work: impl Fn(&dyn Team) -> Result<(), PeerDied> + Sync) {
    let outcomes = with_threads(members, usize::MAX, |team| work(team));
    assert!(outcomes.iter().all(Result::is_ok));
}

/// A matrix in its own memory, column after column.
#[derive(Debug, Clone, PartialEq)]
struct Dense<T> {
    rows: usize,
    cols: usize,
    data: Vec<T>,
}

impl<T: Float> Dense<T> {
    fn from_fn(rows: usize, cols: usize, f: impl Fn(usize, usize) -> f64) -> Dense<T> {
        let places = (0..cols).flat_map(|j| (0..rows).map(move |i| (i, j)));
        Dense { rows, cols, data: places.map(|(i, j)| T::from_f64(f(i, j))).collect() }
    }

    fn zeros(rows: usize, cols: usize) -> Dense<T> {
        Dense::from_fn(rows, cols, |_, _| 0.0)
    }

    fn at(&self, i: usize, j: usize) -> f64 {
        self.data[j * self.rows + i].to_f64()
    }

    fn strided(&mut self) -> Strided<*mut T> {
        let (first, rows, cols) = (self.data.as_mut_ptr(), self.rows, self.cols);
        Strided { first, rows, cols, row_stride: 1, col_stride: rows.cast_signed() }
    }

    /// A B, by the definition.
    fn times(&self, other: &Dense<T>) -> Dense<f64> {
        let mut out = Dense::<f64>::zeros(self.rows, other.cols);
        for j in 0..other.cols {
            for p in 0..self.cols {
                let factor = other.at(p, j);
                for i in 0..self.rows {
                    out.data[j * self.rows + i] += self.at(i, p) * factor;
                }
            }
        }
        out
    }

    fn transposed(&self) -> Dense<T> {
        Dense::from_fn(self.cols, self.rows, |i, j| self.at(j, i))
    }

    /// The largest sum of magnitudes in a column.
    fn norm(&self) -> f64 {
        let sum = |j| (0..self.rows).map(|i| self.at(i, j).abs()).sum::<f64>();
        (0..self.cols).map(sum).fold(0.0, f64::max)
    }

    /// `|| A - B || / (size ||A|| eps)`
    fn ratio_to(&self, other: &Dense<f64>) -> f64 {
        let error =
            Dense::<f64>::from_fn(self.rows, self.cols, |i, j| self.at(i, j) - other.at(i, j));
        let scale = if self.norm() > 0.0 { self.norm() } else { 1.0 };
        error.norm() / (self.rows.max(self.cols).max(1) as f64 * scale * T::EPSILON.to_f64())
    }

    /// `|| I - Q^T Q || / (rows eps)`
    fn orthogonality(&self) -> f64 {
        let product = self.transposed().times(self);
        let unit = |i, j| if i == j { 1.0 } else { 0.0 };
        let error =
            Dense::<f64>::from_fn(self.cols, self.cols, |i, j| product.at(i, j) - unit(i, j));
        error.norm() / (self.rows.max(1) as f64 * T::EPSILON.to_f64())
    }
}

/// A number in -1..1 that looks random.
fn noise(i: usize, j: usize) -> f64 {
    let mixed = ((i * 65_537 + j + 1) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31);
    let mixed = mixed.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

/// Matrices that are hard in different ways, by name.
fn hard(rows: usize, cols: usize) -> Vec<(&'static str, Dense<f64>)> {
    let n = rows.max(cols) as f64;
    let make = |f: &dyn Fn(usize, usize) -> f64| Dense::from_fn(rows, cols, f);
    let kahan = |i: usize, j: usize| {
        let (s, c) = (0.9f64, 0.19f64.sqrt());
        if i == j {
            s.powf(i as f64)
        } else if i < j {
            -c * s.powf(i as f64)
        } else {
            0.0
        }
    };
    let graded = |i: usize, j: usize| noise(i, j) * 10f64.powf(-12.0 * (i + j) as f64 / n);
    vec![
        ("random", make(&noise)),
        ("hilbert", make(&|i, j| 1.0 / (i + j + 1) as f64)),
        ("kahan", make(&kahan)),
        ("graded", make(&graded)),
        ("rank one", make(&|i, j| (1.0 + i as f64) * noise(7, j))),
        ("zero", make(&|_, _| 0.0)),
        ("identity", make(&|i, j| if i == j { 1.0 } else { 0.0 })),
        ("huge", make(&|i, j| 1e300 * noise(i, j))),
        ("tiny", make(&|i, j| 1e-290 * noise(i, j))),
    ]
}

/// Memory of a layout that `carve` states, filled with something that is not zero.
fn carved<T: Float, M>(
    carve: impl Fn(&mut Carver<T>, &mut Carver<f64>) -> M,
) -> (Vec<T>, Vec<f64>, M) {
    let mut counts = (Carver::new(null_mut()), Carver::new(null_mut()));
    carve(&mut counts.0, &mut counts.1);
    let mut memory = vec![T::from_f64(7.0); counts.0.used()];
    let mut wide = vec![7.0; counts.1.used()];
    let mut carvers = (Carver::new(memory.as_mut_ptr()), Carver::new(wide.as_mut_ptr()));
    let cut = carve(&mut carvers.0, &mut carvers.1);
    (memory, wide, cut)
}

/// Q and R by a team of threads.
fn factor<T: Float>(a: &Dense<T>, members: usize) -> (Dense<T>, Dense<T>) {
    let (mut a, m, n) = (a.clone(), a.rows, a.cols);
    let k = m.min(n);
    let (elements, _wide, memory) = carved(|memory, _| QrMemory::<T>::carve(memory, m, n));
    let mut q = Dense::zeros(m, k);
    let places = Shared((a.strided(), memory, q.strided()));
    by_threads(members, |team| {
        let (a, memory, _) = { places }.0;
        // SAFETY: the memory has the layout that it needs, and only this team uses it.
        unsafe { qr(&a, T::ONE, &memory, team) }
    });
    by_threads(members, |team| {
        let (_, memory, q) = { places }.0;
        // SAFETY: as above.
        unsafe { apply_q(&memory.q, Transpose::No, &Operand::Identity, &q, team) }
    });
    let stride = memory.r.stride();
    let r = Dense::from_fn(k, n, |i, j| elements[j * stride + i].to_f64());
    (q, r)
}

#[test]
fn q_is_orthogonal_and_q_times_r_is_the_matrix() {
    let shapes =
        [(1, 1), (2, 1), (1, 3), (7, 7), (40, 17), (17, 40), (90, 90), (150, 97), (0, 3), (3, 0)];
    for (rows, cols) in shapes {
        for (name, a) in hard(rows, cols) {
            let (q, r) = factor(&a, 1);
            let (residual, orthogonality) = (a.ratio_to(&q.times(&r)), q.orthogonality());
            assert!(residual < RATIO_MAX, "{name} {rows} x {cols}: residual {residual}");
            assert!(orthogonality < RATIO_MAX, "{name} {rows} x {cols}: {orthogonality}");
            let below = (0..cols).any(|j| (j + 1..r.rows).any(|i| r.at(i, j) != 0.0));
            assert!(!below, "{name}: R is not triangular");
        }
    }
    let a = Dense::<f32>::from_fn(130, 70, noise);
    let (q, r) = factor(&a, 2);
    assert!(a.ratio_to(&q.times(&r)) < RATIO_MAX && q.orthogonality() < RATIO_MAX);
}

/// Values and vectors of a symmetric matrix by a team of threads.
fn eigen<T: Float>(a: &Dense<T>, factor: f64, members: usize) -> [Dense<T>; 2] {
    let (mut a, n) = (a.clone(), a.rows);
    let (elements, _wide, memory) = carved(|x, wide| EighMemory::<T>::carve(x, wide, n));
    let mut vectors = Dense::zeros(n, n);
    let places = Shared((a.strided(), memory, vectors.strided()));
    by_threads(members, |team| {
        let (a, memory, vectors) = { places }.0;
        // SAFETY: the memory has the layout that it needs, and only this team uses it.
        unsafe { eigh(&a, T::from_f64(factor), &memory, Some(&vectors), team) }
    });
    // The values are the first matrix that is cut.
    [Dense { rows: n, cols: 1, data: elements[..n].to_vec() }, vectors]
}

/// U, the values and V by a team of threads.
fn singular<T: Float>(a: &Dense<T>, factor: f64, members: usize) -> [Dense<T>; 3] {
    let (mut a, m, n) = (a.clone(), a.rows, a.cols);
    let (elements, _wide, memory) = carved(|x, wide| SvdMemory::<T>::carve(x, wide, [m, n]));
    let [mut u, mut v] = [[m, n], [n, n]].map(|[m, n]| Dense::zeros(m, n));
    let places = Shared((a.strided(), memory, u.strided(), v.strided()));
    by_threads(members, |team| {
        let (a, memory, u, v) = { places }.0;
        // SAFETY: the memory has the layout that it needs, and only this team uses it.
        unsafe { svd(&a, T::from_f64(factor), &memory, Some([&u, &v]), team) }
    });
    // The values are the first matrix that is cut.
    [u, Dense { rows: n, cols: 1, data: elements[..n].to_vec() }, v]
}

/// A power of two that makes the largest element about 1.
fn factor_of(a: &Dense<f64>) -> f64 {
    let most = a.data.iter().fold(0.0f64, |most, x| most.max(x.abs()));
    if most > 0.0 { (-most.log2().trunc()).exp2() } else { 1.0 }
}

/// Symmetric matrices that are hard in different ways, by name.
fn hard_symmetric(n: usize) -> Vec<(&'static str, Dense<f64>)> {
    let lower = |a: &Dense<f64>| Dense::from_fn(n, n, |i, j| a.at(i.max(j), i.min(j)));
    let mut all: Vec<_> = hard(n, n).iter().map(|(name, a)| (*name, lower(a))).collect();
    let with_values = |values: &dyn Fn(usize) -> f64| {
        let (q, _) = factor(&Dense::<f64>::from_fn(n, n, noise), 1);
        let scaled = Dense::<f64>::from_fn(n, n, |i, j| q.at(i, j) * values(j));
        lower(&scaled.times(&q.transposed()))
    };
    let band = |beside: f64, diagonal: &dyn Fn(usize) -> f64| {
        Dense::from_fn(n, n, |i, j| match i.abs_diff(j) {
            0 => diagonal(i),
            1 => beside,
            _ => 0.0,
        })
    };
    all.push(("repeated", with_values(&|j| if j % 2 == 0 { 3.0 } else { -1.0 })));
    all.push(("clustered", with_values(&|j| 1.0 + 1e-13 * j as f64 + (j % 3) as f64)));
    all.push(("wilkinson", band(1.0, &|i| (i as f64 - (n as f64 - 1.0) / 2.0).abs())));
    all.push(("laplace", band(-1.0, &|_| 2.0)));
    all.push(("weakly coupled", band(1e-9, &|i| (i / 10) as f64)));
    all
}

#[test]
fn eigenvectors_are_orthogonal_and_values_ascend() {
    for n in [0, 1, 2, 3, 10, 63, 65, 130, 200] {
        for (name, a) in hard_symmetric(n) {
            let [values, vectors] = eigen(&a, factor_of(&a), 2);
            let scaled = Dense::<f64>::from_fn(n, n, |i, j| vectors.at(i, j) * values.at(j, 0));
            let residual = a.ratio_to(&scaled.times(&vectors.transposed()));
            let orthogonality = vectors.orthogonality();
            assert!(residual < RATIO_MAX, "{name} {n}: residual {residual}");
            assert!(orthogonality < RATIO_MAX, "{name} {n}: orthogonality {orthogonality}");
            assert!(values.data.is_sorted(), "{name} {n}");
        }
    }
}

#[test]
fn singular_vectors_are_orthogonal_and_values_descend() {
    for (m, n) in [(0, 0), (1, 1), (2, 1), (2, 2), (3, 3), (10, 7), (64, 64), (70, 65), (130, 130)]
    {
        let mut all = hard(m, n);
        if m == n {
            all.extend(hard_symmetric(n));
        }
        for (name, a) in all {
            let [u, s, v] = singular(&a, factor_of(&a), 2);
            let scaled = Dense::<f64>::from_fn(m, n, |i, j| u.at(i, j) * s.at(j, 0));
            let residual = a.ratio_to(&scaled.times(&v.transposed()));
            let (left, right) = (u.orthogonality(), v.orthogonality());
            assert!(residual < RATIO_MAX, "{name} {m} x {n}: residual {residual}");
            assert!(left < RATIO_MAX && right < RATIO_MAX, "{name} {m} x {n}: {left} {right}");
            assert!(s.data.is_sorted_by(|x, y| x >= y) && s.data.iter().all(|&x| x >= 0.0));
        }
    }
}

#[test]
fn factors_of_f32_have_errors_of_f32() {
    let a = Dense::<f32>::from_fn(140, 140, |i, j| noise(i.max(j), i.min(j)));
    let (q, r) = factor(&a, 2);
    assert!(a.ratio_to(&q.times(&r)) < RATIO_MAX && q.orthogonality() < RATIO_MAX);
    let [values, vectors] = eigen(&a, 1.0, 2);
    let scaled = Dense::<f32>::from_fn(140, 140, |i, j| vectors.at(i, j) * values.at(j, 0));
    assert!(a.ratio_to(&scaled.times(&vectors.transposed())) < RATIO_MAX);
    assert!(vectors.orthogonality() < RATIO_MAX);
    let [u, s, v] = singular(&a, 1.0, 2);
    let scaled = Dense::<f32>::from_fn(140, 140, |i, j| u.at(i, j) * s.at(j, 0));
    assert!(a.ratio_to(&scaled.times(&v.transposed())) < RATIO_MAX);
    assert!(u.orthogonality() < RATIO_MAX && v.orthogonality() < RATIO_MAX);
}

#[test]
fn bits_do_not_depend_on_the_number_of_members() {
    let (tall, square) = (Dense::<f64>::from_fn(140, 111, noise), &hard_symmetric(150)[0].1);
    let all = |members| {
        (factor(&tall, members), eigen(square, 1.0, members), singular(&tall, 1.0, members))
    };
    let alone = all(1);
    for members in 2..8 {
        assert!(all(members) == alone, "{members} members");
    }
}

#[test]
fn poles_stay_apart_if_a_part_has_a_singular_value_of_zero() {
    let values = [0.0, 0.0, 1.0, 2.0];
    let (z, tolerance) = (vec![0.5; 4], 1e-15);
    let plan = MergePlan::new(Coupling {
        values: &values,
        z,
        rho: 1.0,
        row: Some(1),
        middle: 2,
        tolerance,
    });
    let poles = &plan.secular.poles;
    assert_eq!(poles.len(), 4);
    assert!(poles.is_sorted_by(|a, b| a < b) && poles[1] < 1e-14, "{poles:?}");
    let mut gaps = Vec::new();
    let roots: Vec<_> = (0..4).map(|j| plan.secular.root(j, &mut gaps)).collect();
    let mut weights = [0.0; 4];
    plan.secular.weights(&roots, 0, &mut weights);
    for (weight, z) in weights.iter().zip(&plan.secular.z) {
        assert!((weight / plan.secular.rho.sqrt() - z).abs() < 1e-12, "{weights:?}");
    }
}

#[test]
fn reflectors_of_subnormal_columns_are_orthogonal() {
    for unit in [1e-320, 1e-310, 1e-300] {
        for column in [[1.0, 1.0, 0.0], [0.0, 3.0, -4.0], [-2.0, 1.0, 2.0]] {
            let a = Dense::<f64>::from_fn(3, 1, |i, _| column[i] * unit);
            let (q, r) = factor(&a, 1);
            assert!(q.orthogonality() < RATIO_MAX, "{unit} {column:?}: {}", q.orthogonality());
            let length = column.iter().fold(0.0f64, |length, x| length.hypot(*x));
            let error = (r.at(0, 0).abs() - length * unit).abs();
            assert!(error <= 4.0 * f64::EPSILON * unit + 1e-323, "{unit} {column:?}: {error}");
        }
    }
}

#[test]
fn singular_values_of_a_zero_matrix_are_exactly_zero() {
    for n in [1, 2, 30, 100] {
        let [u, values, _] = singular(&Dense::<f64>::zeros(n + 3, n), 1.0, 2);
        assert!(values.data.iter().all(|&x| x == 0.0), "{n}: {:?}", values.data);
        assert!(u.orthogonality() < RATIO_MAX);
    }
}

#[test]
fn all_members_return_if_one_dies_at_any_barrier() {
    let n = 70;
    let mut a = hard_symmetric(n)[0].1.clone();
    let (_qr, _qr_wide, for_qr) = carved(|x: &mut Carver<f64>, _| QrMemory::carve(x, n, n));
    let (_eigh, _eigh_wide, for_eigh) =
        carved(|x: &mut Carver<f64>, wide| EighMemory::carve(x, wide, n));
    let (_svd, _svd_wide, for_svd) =
        carved(|x: &mut Carver<f64>, wide| SvdMemory::carve(x, wide, [n, n]));
    let [mut u, mut v] = [0; 2].map(|_| Dense::zeros(n, n));
    let places = Shared((a.strided(), for_qr, for_eigh, for_svd, u.strided(), v.strided()));
    let run = |kind, members, barriers_max| {
        with_threads(members, barriers_max, |team| {
            let (a, for_qr, for_eigh, for_svd, u, v) = { places }.0;
            match kind {
                // SAFETY: the memory has the layout that it needs, and only this team uses it.
                0 => unsafe { qr(&a, 1.0, &for_qr, team) },
                1 => {
                    // SAFETY: as above.
                    unsafe { apply_q(&for_qr.q, Transpose::No, &Operand::Identity, &u, team) }
                }
                // SAFETY: as above.
                2 => unsafe { eigh(&a, 1.0, &for_eigh, Some(&u), team) },
                // SAFETY: as above.
                _ => unsafe { svd(&a, 1.0, &for_svd, Some([&u, &v]), team) },
            }
        })
    };
    for (kind, least) in [5, 1, 2 * n, 2 * n].into_iter().enumerate() {
        for (members, step) in [(2, 1), (3, 5)] {
            let mut barriers = 0;
            while run(kind, members, barriers).iter().all(|outcome| *outcome == Err(PeerDied)) {
                barriers += step;
            }
            let outcomes = run(kind, members, barriers);
            assert!(outcomes.iter().all(Result::is_ok), "{kind}: {outcomes:?}");
            assert!(barriers >= least, "{kind}: {barriers} barriers");
        }
    }
}

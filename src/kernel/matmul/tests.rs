//! Tests of the matrix product, against oracles.
#![allow(unsafe_code)]

use std::ptr::null_mut;

use proptest::prelude::*;

use super::gemm_packed::{self, BlockSizes};
use super::multiply::{Algorithm, run};
use super::{
    Float, Gemm, Kernel, MatMut, MatRef, SCRATCH_ALIGN_BYTES, SHARED_NS, Strided, alone_ns, gemm,
    gemm_with, multiply, multiply_batch, multiply_gram, naive, scratch_bytes,
};
use crate::error::Error;
use crate::kernel::thread_team::{Shared, ThreadMember, with_threads};
use crate::kernel::{PeerDied, SingleThread, Team};

/// What the tests need from a type besides `Float`.
trait Real: Float {
    fn of(x: f64) -> Self;
    fn wide(self) -> f64;
    fn bits(self) -> u64;
}

impl Real for f32 {
    #[expect(clippy::cast_possible_truncation, reason = "rounding to f32 is what is wanted")]
    fn of(x: f64) -> f32 {
        x as f32
    }
    fn wide(self) -> f64 {
        f64::from(self)
    }
    fn bits(self) -> u64 {
        u64::from(self.to_bits())
    }
}

impl Real for f64 {
    fn of(x: f64) -> f64 {
        x
    }
    fn wide(self) -> f64 {
        self
    }
    fn bits(self) -> u64 {
        self.to_bits()
    }
}

/// The layout of a matrix in its slice.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Layout {
    Rows { padding: usize },
    Columns { padding: usize },
    Scattered,
}

impl Layout {
    /// Row stride, column stride and length of the slice.
    fn of(self, rows: usize, cols: usize) -> (usize, usize, usize) {
        match self {
            Layout::Rows { padding } => (cols + padding, 1, rows * (cols + padding)),
            Layout::Columns { padding } => (1, rows + padding, cols * (rows + padding)),
            Layout::Scattered => (2 * cols + 3, 2, rows * (2 * cols + 3)),
        }
    }
}

/// A matrix with its slice.
#[derive(Debug, Clone)]
struct Matrix<T> {
    data: Vec<T>,
    rows: usize,
    cols: usize,
    strides: (usize, usize),
}

impl<T: Real> Matrix<T> {
    fn new(rows: usize, cols: usize, layout: Layout, seed: usize) -> Matrix<T> {
        let (row, col, len) = layout.of(rows, cols);
        let data = (0..len).map(|i| T::of(noise(seed + i))).collect();
        Matrix { data, rows, cols, strides: (row, col) }
    }

    fn view(&self) -> MatRef<'_, T> {
        MatRef::new(&self.data, self.rows, self.cols, self.strides.0, self.strides.1).unwrap()
    }

    fn view_mut(&mut self) -> MatMut<'_, T> {
        let (row, col) = self.strides;
        MatMut::new(&mut self.data, self.rows, self.cols, row, col).unwrap()
    }

    fn bits(&self) -> Vec<u64> {
        let view = self.view();
        let places = (0..self.rows).flat_map(|i| (0..self.cols).map(move |j| (i, j)));
        places.map(|(i, j)| view.get(i, j).unwrap().bits()).collect()
    }
}

/// A number in -1..1 that looks random.
fn noise(i: usize) -> f64 {
    let mixed = (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31);
    let mixed = mixed.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

/// The dot product in twice the working precision, and the sum of the magnitudes.
fn exact_dot(pairs: impl Iterator<Item = (f64, f64)>) -> (f64, f64) {
    let (mut high, mut low, mut magnitude) = (0.0f64, 0.0f64, 0.0);
    for (x, y) in pairs {
        let product = x * y;
        let error = x.mul_add(y, -product);
        let sum = high + product;
        let part = sum - high;
        low += (high - (sum - part)) + (product - part) + error;
        high = sum;
        magnitude += product.abs();
    }
    (high + low, magnitude)
}

/// Asserts `after = alpha * a * b + beta * before` within the documented bound, and that the memory
/// between the elements of C is unchanged.
fn assert_product<T: Real>(
    alpha: T,
    a: &Matrix<T>,
    b: &Matrix<T>,
    beta: T,
    before: &Matrix<T>,
    after: &Matrix<T>,
) {
    let (av, bv, cv) = (a.view(), b.view(), before.view());
    let mut expected = before.data.clone();
    for i in 0..before.rows {
        for j in 0..before.cols {
            let pairs =
                (0..a.cols).map(|p| (av.get(i, p).unwrap().wide(), bv.get(p, j).unwrap().wide()));
            let (dot, magnitude) = exact_dot(pairs);
            let old =
                if beta == T::ZERO { 0.0 } else { cv.get(i, j).unwrap().wide() * beta.wide() };
            let value = alpha.wide().mul_add(dot, old);
            let got = after.view().get(i, j).unwrap();
            let bound = T::EPSILON.wide()
                * (a.cols + 4) as f64
                * (alpha.wide().abs() * magnitude + old.abs());
            assert!(
                (got.wide() - value).abs() <= bound,
                "({i}, {j}): {got:?}, but {value} within {bound}"
            );
            expected[i * before.strides.0 + j * before.strides.1] = got;
        }
    }
    let bits = |data: &[T]| data.iter().map(|x| x.bits()).collect::<Vec<_>>();
    assert_eq!(bits(&expected), bits(&after.data), "something between the elements changed");
}

/// The product of three matrices as the internal functions take it.
fn inner<T: Real>(
    kernel: Kernel,
    alpha: T,
    a: &Matrix<T>,
    b: &Matrix<T>,
    beta: T,
    c: &mut Matrix<T>,
) -> Gemm<T> {
    let (a, b) = (a.view().as_strided(), b.view().as_strided());
    let c = c.view_mut().as_strided();
    Gemm { kernel, alpha, a, b, beta, c }.oriented()
}

/// Memory with the alignment of scratch memory.
fn scratch(bytes: usize) -> (Vec<u8>, *mut u8) {
    let mut memory = vec![0xa5u8; bytes + SCRATCH_ALIGN_BYTES];
    let offset = memory.as_ptr().align_offset(SCRATCH_ALIGN_BYTES);
    let start = memory.as_mut_ptr().wrapping_add(offset);
    (memory, start)
}

/// Runs `work` in every member of a team of threads, with the product and scratch memory.
fn by_threads<T: Real>(
    gemm: Gemm<T>,
    bytes: usize,
    (members, barriers_max): (usize, usize),
    work: impl Fn(&Gemm<T>, *mut u8, &ThreadMember<'_>) -> Result<(), PeerDied> + Sync,
) -> Vec<Result<(), PeerDied>> {
    let (_memory, scratch) = scratch(bytes);
    let shared = Shared((gemm, scratch));
    with_threads(members, barriers_max, |hand| {
        let Shared((gemm, scratch)) = { &shared };
        work(gemm, *scratch, hand)
    })
}

fn layout() -> impl Strategy<Value = Layout> {
    prop_oneof![
        (0usize..9).prop_map(|padding| Layout::Rows { padding }),
        (0usize..9).prop_map(|padding| Layout::Columns { padding }),
        Just(Layout::Scattered),
    ]
}

fn factor() -> impl Strategy<Value = f64> {
    prop_oneof![Just(0.0), Just(1.0), Just(-1.0), Just(2.5)]
}

/// Sizes around the edges of tiles and vectors, including zero and one.
fn size() -> impl Strategy<Value = usize> {
    prop_oneof![0usize..5, 5usize..70, Just(24usize), Just(48usize), Just(49usize)]
}

/// All parameters of a product.
#[derive(Debug, Clone)]
struct Case {
    sizes: (usize, usize, usize),
    layouts: (Layout, Layout, Layout),
    alpha: f64,
    beta: f64,
}

fn case() -> impl Strategy<Value = Case> {
    let layouts = (layout(), layout(), layout());
    ((size(), size(), size()), layouts, factor(), factor())
        .prop_map(|(sizes, layouts, alpha, beta)| Case { sizes, layouts, alpha, beta })
}

impl Case {
    fn matrices<T: Real>(&self) -> (Matrix<T>, Matrix<T>, Matrix<T>) {
        let (m, n, k) = self.sizes;
        let a = Matrix::new(m, k, self.layouts.0, 1);
        let b = Matrix::new(k, n, self.layouts.1, 100_000);
        (a, b, Matrix::new(m, n, self.layouts.2, 200_000))
    }

    fn check_public<T: Real>(&self, kernel: Kernel) {
        let (a, b, before) = self.matrices::<T>();
        let (alpha, beta) = (T::of(self.alpha), T::of(self.beta));
        let mut c = before.clone();
        gemm_with(kernel, alpha, a.view(), b.view(), beta, c.view_mut()).unwrap();
        assert_product(alpha, &a, &b, beta, &before, &c);
    }

    /// The packed loops with blocks so small that every loop has several iterations.
    fn check_small_blocks<T: Real>(&self, kernel: Kernel, members: usize) {
        let (a, b, before) = self.matrices::<T>();
        let (alpha, beta) = (T::of(self.alpha), T::of(self.beta));
        let mut c = before.clone();
        let gemm = inner(kernel, alpha, &a, &b, beta, &mut c);
        let (m, n, k) = gemm.sizes();
        if m == 0 || n == 0 || k == 0 {
            return;
        }
        let tiles = m.div_ceil(T::table(kernel).rows());
        // One tile each, or two and one.
        let blocks = if k % 2 == 0 { tiles } else { (2 * tiles).div_ceil(3) };
        let block_sizes = BlockSizes { tiles, blocks, nc: 2 * T::table(kernel).columns, kc: 24 };
        let bytes = 2 * SCRATCH_ALIGN_BYTES;
        let outcomes = by_threads(gemm, bytes, (members, usize::MAX), |gemm, scratch, hand| {
            // SAFETY: the matrices outlive the threads, only this team writes C, and a panel
            // takes at most 16 * 24 * 8 bytes of the page that it has.
            unsafe { gemm_packed::multiply(gemm, &block_sizes, scratch, members, hand) }
        });
        assert_eq!(outcomes, vec![Ok(()); members]);
        assert_product(alpha, &a, &b, beta, &before, &c);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn every_kernel_agrees_with_the_exact_product(case in case()) {
        for kernel in Kernel::all() {
            case.check_public::<f64>(kernel);
            case.check_public::<f32>(kernel);
        }
    }

    #[test]
    fn packed_loops_agree_with_the_exact_product(case in case(), members in 1usize..4) {
        for kernel in Kernel::all() {
            case.check_small_blocks::<f64>(kernel, members);
            case.check_small_blocks::<f32>(kernel, members);
        }
    }
}

/// The bits of C computed by `members` threads with `algorithm`.
fn bits_by<T: Real>(kernel: Kernel, algorithm: Algorithm, case: &Case, members: usize) -> Vec<u64> {
    let (a, b, mut c) = case.matrices::<T>();
    let gemm = inner(kernel, T::of(case.alpha), &a, &b, T::of(case.beta), &mut c);
    let (m, n, k) = gemm.sizes();
    let bytes = scratch_bytes::<T>(m, n, k, members);
    let outcomes = by_threads(gemm, bytes, (members, usize::MAX), |gemm, scratch, hand| {
        // SAFETY: the matrices outlive the threads, only this team writes C, and the scratch memory
        // has the required size.
        unsafe { run(algorithm, gemm, scratch, members, hand) }
    });
    assert_eq!(outcomes, vec![Ok(()); members]);
    c.bits()
}

fn assert_same_bits<T: Real>() {
    let rows = Layout::Rows { padding: 0 };
    let case = Case { sizes: (131, 77, 530), layouts: (rows, rows, rows), alpha: 2.5, beta: -1.0 };
    for kernel in Kernel::all() {
        let alone = bits_by::<T>(kernel, Algorithm::Packed, &case, 1);
        for members in [1, 2, 3, 5] {
            for algorithm in [Algorithm::Packed, Algorithm::Strips, Algorithm::Unpacked] {
                let bits = bits_by::<T>(kernel, algorithm, &case, members);
                assert!(bits == alone, "{kernel}, {algorithm:?}, {members} members");
            }
        }
    }
}

#[test]
fn the_bits_do_not_depend_on_members_or_path() {
    assert_same_bits::<f64>();
    assert_same_bits::<f32>();
}

#[test]
fn the_bits_do_not_depend_on_the_layout() {
    let layouts = [Layout::Rows { padding: 1 }, Layout::Columns { padding: 0 }, Layout::Scattered];
    for kernel in Kernel::all() {
        let mut seen = Vec::new();
        for of_a in layouts {
            for of_c in layouts {
                let (m, n, k) = (53, 41, 530);
                let fill = |rows, cols, layout, seed| {
                    let mut matrix = Matrix::<f64>::new(rows, cols, layout, 0);
                    for i in 0..rows {
                        for j in 0..cols {
                            *matrix.view_mut().get_mut(i, j).unwrap() = noise(seed + i * cols + j);
                        }
                    }
                    matrix
                };
                let (a, b) = (fill(m, k, of_a, 1), fill(k, n, of_c, 50_000));
                let mut c = fill(m, n, of_c, 90_000);
                gemm_with(kernel, 1.5, a.view(), b.view(), 0.5, c.view_mut()).unwrap();
                seen.push(c.bits());
            }
        }
        assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "{kernel}");
    }
}

#[test]
fn instruction_sets_with_fused_multiply_add_give_the_same_bits() {
    let fused: Vec<_> = ["avx512", "avx2"].into_iter().filter_map(Kernel::named).collect();
    let columns = Layout::Columns { padding: 0 };
    for sizes in [(61, 45, 600), (300, 1, 333), (1, 200, 77)] {
        for of_a in [Layout::Rows { padding: 0 }, columns, Layout::Scattered] {
            let case = Case { sizes, layouts: (of_a, columns, columns), alpha: 3.0, beta: 0.1 };
            let bits: Vec<_> = fused
                .iter()
                .map(|&kernel| {
                    let (a, b, mut c) = case.matrices::<f32>();
                    gemm_with(kernel, 3.0, a.view(), b.view(), 0.1, c.view_mut()).unwrap();
                    c.bits()
                })
                .collect();
            assert!(bits.windows(2).all(|pair| pair[0] == pair[1]), "{case:?}");
        }
    }
}

#[test]
fn matrix_times_vector_is_shared_without_changing_a_bit() {
    let rows = Layout::Rows { padding: 0 };
    for layout in [rows, Layout::Columns { padding: 0 }, Layout::Scattered] {
        let case =
            Case { sizes: (700, 1, 45), layouts: (layout, rows, rows), alpha: 1.0, beta: 2.0 };
        for kernel in Kernel::all() {
            let alone = bits_by::<f64>(kernel, Algorithm::Gemv, &case, 1);
            for members in [2, 3] {
                assert_eq!(bits_by::<f64>(kernel, Algorithm::Gemv, &case, members), alone);
            }
        }
    }
}

#[test]
fn a_member_that_is_missed_at_any_barrier_ends_the_product_for_all() {
    let rows = Layout::Rows { padding: 0 };
    let case = Case { sizes: (60, 20, 1100), layouts: (rows, rows, rows), alpha: 1.0, beta: 0.0 };
    for barriers_max in 0..3 {
        let (a, b, mut c) = case.matrices::<f64>();
        let gemm = inner(Kernel::best(), 1.0, &a, &b, 0.0, &mut c);
        let bytes = scratch_bytes::<f64>(60, 20, 1100, 2);
        let outcomes = by_threads(gemm, bytes, (2, barriers_max), |gemm, scratch, hand| {
            // SAFETY: as in `bits_by`.
            unsafe { run(Algorithm::Packed, gemm, scratch, 2, hand) }
        });
        assert_eq!(outcomes, [Err(PeerDied); 2]);
    }
}

#[test]
fn members_that_find_no_block_of_rows_still_help_to_pack() {
    let rows = Layout::Rows { padding: 0 };
    let case = Case { sizes: (30, 5, 40), layouts: (rows, rows, rows), alpha: 1.0, beta: 0.0 };
    for kernel in Kernel::all() {
        let alone = bits_by::<f32>(kernel, Algorithm::Packed, &case, 1);
        assert_eq!(bits_by::<f32>(kernel, Algorithm::Packed, &case, 7), alone);
    }
}

#[test]
fn a_beta_of_zero_overwrites_nan() {
    for kernel in Kernel::all() {
        for n in [1, 9] {
            for alpha in [0.0, 2.0] {
                let (a, b) = (vec![1.0f32; 9 * 4], vec![1.0f32; 4 * n]);
                let mut c = vec![f32::NAN; 9 * n];
                let (a, b) = (MatRef::row_major(&a, 9, 4).unwrap(), MatRef::row_major(&b, 4, n));
                let view = MatMut::row_major(&mut c, 9, n).unwrap();
                gemm_with(kernel, alpha, a, b.unwrap(), 0.0, view).unwrap();
                assert_eq!(c, vec![4.0 * alpha; 9 * n]);
            }
        }
    }
}

#[test]
fn nan_and_infinity_reach_exactly_the_elements_that_depend_on_them() {
    for kernel in Kernel::all() {
        let (m, n, k) = (27, 11, 13);
        let mut a = vec![1.0f64; m * k];
        let b = vec![1.0f64; k * n];
        a[3 * k + 12] = f64::NAN;
        a[5 * k] = f64::INFINITY;
        a[6 * k] = f64::INFINITY;
        a[6 * k + 1] = f64::NEG_INFINITY;
        let mut c = vec![0.5; m * n];
        gemm_with(
            kernel,
            1.0,
            MatRef::row_major(&a, m, k).unwrap(),
            MatRef::row_major(&b, k, n).unwrap(),
            1.0,
            MatMut::row_major(&mut c, m, n).unwrap(),
        )
        .unwrap();
        for (i, row) in c.chunks(n).enumerate() {
            match i {
                3 | 6 => assert!(row.iter().all(|x| x.is_nan()), "{kernel}, row {i}"),
                5 => assert!(row.iter().all(|&x| x == f64::INFINITY), "{kernel}"),
                _ => assert!(row.iter().all(|&x| x == 13.5), "{kernel}, row {i}"),
            }
        }
    }
}

#[test]
fn an_alpha_of_zero_does_not_read_the_operands() {
    let nan = [f64::NAN; 4];
    let mut c = [1.0, 2.0, 3.0, 4.0];
    let a = MatRef::row_major(&nan, 2, 2).unwrap();
    gemm(0.0, a, a, 2.0, MatMut::row_major(&mut c, 2, 2).unwrap()).unwrap();
    assert_eq!(c, [2.0, 4.0, 6.0, 8.0]);
}

#[test]
fn negative_and_zero_strides_are_read_as_they_say() {
    let data: Vec<f64> = (0..15).map(f64::from).collect();
    let last_first: Vec<f64> = data.chunks(3).rev().flatten().copied().collect();
    let forwards = MatRef::row_major(&data, 5, 3).unwrap().as_strided();
    let backwards = Strided { first: forwards.at(4, 0), row_stride: -3, ..forwards };
    let same_row = MatRef::new(&data, 3, 4, 0, 1).unwrap();
    let mut expected = [0.0; 20];
    let view = MatMut::row_major(&mut expected, 5, 4).unwrap();
    naive(1.0, MatRef::row_major(&last_first, 5, 3).unwrap(), same_row, 0.0, view).unwrap();
    for kernel in Kernel::all() {
        let (b, mut c) = (same_row.as_strided(), [0.0; 20]);
        let view = MatMut::row_major(&mut c, 5, 4).unwrap().as_strided();
        let product = Gemm { kernel, ..Gemm::new(backwards, b, view) };
        // SAFETY: the elements of the three lie in `data` and `c`; a team of one needs no memory.
        unsafe { multiply(&product, null_mut(), 1, &SingleThread::default()) }.unwrap();
        // Small integers: no rounding anywhere.
        assert_eq!(c, expected);
        let mut c = [0.0; 20];
        let view = MatMut::new(&mut c, 4, 5, 1, 4).unwrap().as_strided();
        let (a, b) = (b.transposed(), backwards.transposed());
        let product = Gemm { kernel, ..Gemm::new(a, b, view) };
        // SAFETY: as above.
        unsafe { multiply(&product, null_mut(), 1, &SingleThread::default()) }.unwrap();
        assert_eq!(c, expected);
    }
}

#[test]
fn a_long_skinny_product_is_exact_on_integers() {
    let (m, n, k) = (3, 2, 5000);
    let a: Vec<f64> = (0..m * k).map(|i| (i % 7) as f64 - 3.0).collect();
    let b: Vec<f64> = (0..k * n).map(|i| (i % 5) as f64 - 2.0).collect();
    let (a, b) = (MatRef::row_major(&a, m, k).unwrap(), MatRef::row_major(&b, k, n).unwrap());
    let mut expected = vec![1.0; m * n];
    naive(2.0, a, b, -1.0, MatMut::row_major(&mut expected, m, n).unwrap()).unwrap();
    for kernel in Kernel::all() {
        let mut c = vec![1.0; m * n];
        gemm_with(kernel, 2.0, a, b, -1.0, MatMut::row_major(&mut c, m, n).unwrap()).unwrap();
        assert_eq!(c, expected);
    }
}

#[test]
fn a_product_over_nothing_scales_what_was_there() {
    let mut c = [1.0f32, 2.0];
    let (a, b) = (MatRef::row_major(&[], 2, 0).unwrap(), MatRef::row_major(&[], 0, 1).unwrap());
    gemm(1.0, a, b, 3.0, MatMut::row_major(&mut c, 2, 1).unwrap()).unwrap();
    assert_eq!(c, [3.0, 6.0]);
    let mut nothing: [f32; 0] = [];
    gemm(1.0, b, a, 3.0, MatMut::row_major(&mut nothing, 0, 0).unwrap()).unwrap_err();
    let row = MatRef::row_major(&c, 1, 2).unwrap();
    gemm(1.0, row, a, 3.0, MatMut::row_major(&mut nothing, 1, 0).unwrap()).unwrap();
}

#[test]
fn shapes_that_do_not_fit_are_named() {
    let data = [0.0f64; 6];
    let a = MatRef::row_major(&data, 2, 3).unwrap();
    let mut c = [0.0; 4];
    let wrong = gemm(1.0, a, a, 0.0, MatMut::row_major(&mut c, 2, 2).unwrap()).unwrap_err();
    assert!(wrong.to_string().contains("[2, 3] and [2, 3]"), "{wrong}");
    let wrong = gemm(1.0, a, a.transposed(), 0.0, MatMut::row_major(&mut c, 1, 2).unwrap());
    assert!(matches!(wrong, Err(Error::ShapeMismatch { .. })));
}

#[test]
fn views_refuse_what_lies_outside_or_twice() {
    let mut data = [0.0f64; 12];
    assert!(MatRef::new(&data, 3, 4, 4, 1).is_ok());
    assert!(MatRef::new(&data, 3, 4, 5, 1).is_err());
    assert!(MatRef::new(&data, 2, 2, usize::MAX, usize::MAX).is_err());
    assert!(MatRef::new(&data, 0, 9, 4, 1).is_ok());
    assert!(MatRef::row_major(&data, 3, 4).unwrap().block(1..4, 0..2).is_err());
    assert!(MatMut::new(&mut data, 3, 4, 3, 1).is_err());
    assert!(MatMut::new(&mut data, 3, 3, 1, 2).is_err());
    assert!(MatMut::new(&mut data, 2, 4, 1, 3).is_ok());
    assert!(MatMut::new(&mut data, 12, 1, 1, 0).is_ok());
}

#[test]
fn a_matrix_times_its_transpose_is_symmetric_and_right_for_any_crew() {
    for (layout, members) in [
        (Layout::Rows { padding: 2 }, 1),
        (Layout::Columns { padding: 0 }, 2),
        (Layout::Scattered, 3),
    ] {
        for size in [1, 70, 200] {
            let a = Matrix::<f64>::new(size, 37, layout, 5);
            let mut c = Matrix::<f64>::new(size, size, layout, 7);
            let mut expected = c.clone();
            for i in 0..size {
                for j in 0..i {
                    let below = expected.view().get(i, j).unwrap();
                    *expected.view_mut().get_mut(j, i).unwrap() = below;
                }
            }
            let (raw_a, raw_c) = (a.view().as_strided(), c.view_mut().as_strided());
            let product = Gemm::new(raw_a, raw_a.transposed(), raw_c);
            let product = Gemm { alpha: 2.0, beta: -1.0, ..product };
            by_threads(product, 0, (members, usize::MAX), |product, _, hand| {
                // SAFETY: the matrices outlive the threads, and only this team writes C.
                unsafe { multiply_gram(product, members, hand) }
            });
            let b = a.view().transposed();
            gemm(2.0, a.view(), b, -1.0, expected.view_mut()).unwrap();
            assert_eq!(c.bits(), expected.bits());
        }
    }
}

#[test]
fn every_product_of_a_batch_is_computed_once() {
    let (count, n) = (23, 6);
    let a: Vec<f64> = (0..count * n * n).map(|i| (i % 11) as f64 - 5.0).collect();
    let mut c = vec![1.0; count * n * n];
    let mut expected = c.clone();
    for i in 0..count {
        let block = i * n * n..(i + 1) * n * n;
        let a = MatRef::row_major(&a[block.clone()], n, n).unwrap();
        naive(1.0, a, a, 1.0, MatMut::row_major(&mut expected[block], n, n).unwrap()).unwrap();
    }
    let whole_a = MatRef::row_major(&a, count * n, n).unwrap().as_strided();
    let whole_c = MatMut::row_major(&mut c, count * n, n).unwrap().as_strided();
    let shared = Shared((whole_a, whole_c));
    with_threads(3, usize::MAX, |hand| {
        let Shared((a, c)) = { &shared };
        let product = |i: usize| {
            let (a, c) = (a.part(i * n..(i + 1) * n, 0..n), c.part(i * n..(i + 1) * n, 0..n));
            Gemm { beta: 1.0, ..Gemm::new(a, a, c) }
        };
        // SAFETY: the matrices outlive the threads, and the blocks of C are disjoint.
        unsafe { multiply_batch(count, product, hand) };
        Ok(())
    });
    assert_eq!(c, expected);
}

#[test]
fn each_shape_takes_the_path_made_for_it() {
    let rows = Layout::Rows { padding: 0 };
    let algorithm = |sizes, alpha, members| {
        let case = Case { sizes, layouts: (rows, rows, rows), alpha, beta: 0.0 };
        let (a, b, mut c) = case.matrices::<f64>();
        Algorithm::of(&inner(Kernel::best(), alpha, &a, &b, 0.0, &mut c), members)
    };
    assert_eq!(algorithm((5, 9, 7), 0.0, 1), Algorithm::Scale);
    assert_eq!(algorithm((5, 9, 0), 1.0, 1), Algorithm::Scale);
    assert_eq!(algorithm((1, 9, 7), 1.0, 1), Algorithm::Gemv);
    assert_eq!(algorithm((9, 1, 7), 1.0, 1), Algorithm::Gemv);
    assert_eq!(algorithm((256, 256, 256), 1.0, 1), Algorithm::Unpacked);
    assert_eq!(algorithm((400, 400, 400), 1.0, 1), Algorithm::Packed);
    assert_eq!(algorithm((900, 400, 400), 1.0, 1), Algorithm::Packed);
    // The rows of C are contiguous, so its rows are the columns of the micro-kernel.
    assert_eq!(algorithm((900, 400, 400), 1.0, 2), Algorithm::Strips);
}

#[test]
fn only_a_product_that_takes_longer_than_a_wake_up_is_worth_sharing() {
    assert!(alone_ns::<f64>(100, 100, 100) < SHARED_NS);
    assert!(alone_ns::<f64>(200, 200, 200) >= SHARED_NS);
    assert!(alone_ns::<f32>(100, 100, 100) < SHARED_NS);
    assert!(alone_ns::<f32>(1, 4096, 4096) >= SHARED_NS);
    assert!(alone_ns::<f32>(1, 64, 4096) < SHARED_NS);
    assert!(alone_ns::<f64>(0, 0, 0) < SHARED_NS);
}

#[test]
fn a_block_of_a_matrix_is_multiplied_in_place() {
    let data: Vec<f64> = (0..100).map(f64::from).collect();
    let whole = MatRef::row_major(&data, 10, 10).unwrap();
    let (a, b) = (whole.block(2..5, 1..8).unwrap(), whole.block(3..10, 4..9).unwrap());
    let (mut c, mut expected) = (data.clone(), data.clone());
    let part = MatMut::row_major(&mut c, 10, 10).unwrap().block(6..9, 5..10).unwrap();
    gemm(1.0, a, b, 1.0, part).unwrap();
    let part = MatMut::row_major(&mut expected, 10, 10).unwrap().block(6..9, 5..10).unwrap();
    naive(1.0, a, b, 1.0, part).unwrap();
    assert_eq!(c, expected);
}

#[test]
fn the_public_entry_for_teams_shares_a_product() {
    let rows = Layout::Rows { padding: 0 };
    let case = Case { sizes: (333, 301, 128), layouts: (rows, rows, rows), alpha: 1.0, beta: 0.0 };
    let (a, b, mut c) = case.matrices::<f64>();
    let mut alone = c.clone();
    gemm(1.0, a.view(), b.view(), 0.0, alone.view_mut()).unwrap();
    let product =
        Gemm::new(a.view().as_strided(), b.view().as_strided(), c.view_mut().as_strided());
    let bytes = scratch_bytes::<f64>(333, 301, 128, 2);
    by_threads(product, bytes, (2, usize::MAX), |product, scratch, hand| {
        // SAFETY: the matrices outlive the threads, only this team writes C, and the scratch memory
        // has the required size.
        unsafe { multiply(product, scratch, 2, hand) }
    });
    assert_eq!(c.bits(), alone.bits());
}

#[test]
fn memory_beyond_the_matrices_is_less_than_a_tenth_of_them() {
    fn check<T: Real>() {
        let n = 4096;
        let (a, b) = (vec![T::of(0.0); 1], vec![T::of(0.0); 1]);
        let a = MatRef::new(&a, n, n, 0, 0).unwrap().as_strided();
        let b = MatRef::new(&b, n, n, 0, 0).unwrap().as_strided();
        let matrices = 3 * n * n * size_of::<T>();
        for kernel in Kernel::all() {
            let gemm = Gemm { kernel, ..Gemm::new(a, b, a) };
            // A block of A for each: 0.3 percent of three f32 matrices.
            for members in 1..=4 {
                let block_sizes = BlockSizes::new(&gemm, members);
                let panels = if members == 1 { block_sizes.panel_bytes::<T>() } else { 0 };
                let blocks = members * block_sizes.block_bytes::<T>(T::table(kernel).rows());
                let extra = scratch_bytes::<T>(n, n, n, members) + panels + blocks;
                assert!(10 * extra <= matrices, "{kernel} {members}: {extra} of {matrices}");
            }
        }
    }
    check::<f32>();
    check::<f64>();
}

#[test]
fn scratch_memory_is_enough_for_every_kernel_and_orientation() {
    for (m, n, k) in [(1, 1, 1), (4097, 10, 513), (10, 4100, 1000), (777, 333, 511)] {
        let bytes = scratch_bytes::<f64>(m, n, k, 2);
        for kernel in Kernel::all() {
            for (m, n) in [(m, n), (n, m)] {
                let view = |rows, cols| Strided::row_major(null_mut::<f64>(), rows, cols);
                let gemm = Gemm { kernel, ..Gemm::new(view(m, k), view(k, n), view(m, n)) };
                let block_sizes = BlockSizes::new(&gemm, 2);
                assert!(2 * block_sizes.panel_bytes::<f64>() <= bytes);
            }
        }
    }
    assert_eq!(SingleThread::default().members(), 1);
}

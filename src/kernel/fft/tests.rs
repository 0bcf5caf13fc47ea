//! Kernels of transforms, compared with the definition.

use rustfft::num_complex::Complex;

use super::float::Planned;
use super::four_step::{FirstStep, FourStepSplit};
use super::pass::{BLOCK_BYTES, LINE_BYTES};
use super::plan::{KEPT_LEN_MAX, KEPT_MAX};
use super::{FftFloat, Lanes, PackedReal, Pass, TransformKind};

type C = Complex<f64>;

/// Numbers between -0.5 and 0.5.
fn noise(seed: usize) -> f64 {
    let mixed = (seed as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 11) as f64 / 2f64.powi(53) - 0.5
}

fn complex_noise(len: usize) -> Vec<C> {
    (0..len).map(|i| C::new(noise(2 * i), noise(2 * i + 1))).collect()
}

/// The transform by its definition.
fn naive(x: &[C], is_inverse: bool) -> Vec<C> {
    let n = x.len();
    let sign = if is_inverse { 1.0 } else { -1.0 };
    let unit = |m: usize| C::from_polar(1.0, sign * std::f64::consts::TAU * m as f64 / n as f64);
    let units: Vec<C> = (0..n).map(unit).collect();
    (0..n).map(|k| (0..n).map(|j| x[j] * units[j * k % n]).sum()).collect()
}

/// Checks a relative error, in the Euclidean norm, of `4 epsilon log2(n)`.
fn assert_close(found: &[C], expected: &[C], epsilon: f64, case: &str) {
    assert_eq!(found.len(), expected.len(), "{case}");
    let norm = |x: &mut dyn Iterator<Item = C>| x.map(|z| z.norm_sqr()).sum::<f64>().sqrt();
    let error = norm(&mut found.iter().zip(expected).map(|(a, b)| a - b));
    let size = norm(&mut expected.iter().copied());
    let bound = 4.0 * epsilon * (expected.len() as f64).log2().max(1.0);
    assert!(error <= bound * size, "{case}: {error:e} of {size:e}, bound {bound:e}");
}

fn reals(x: &[f64]) -> Vec<C> {
    x.iter().map(|&re| C::new(re, 0.0)).collect()
}

/// The transforms of the columns of a matrix of `n` rows, by a block of lanes.
fn by_columns<T: FftFloat, I: bytemuck::Pod, O: bytemuck::Pod>(
    pass: Pass,
    input: &[I],
    out: &mut [O],
) {
    let mut lanes = Lanes::<T>::new(pass);
    lanes.reserve(pass.inner);
    for (i, row) in input.chunks_exact(pass.inner).take(pass.used_len()).enumerate() {
        lanes.load_row(i, row);
    }
    lanes.transform(pass.inner);
    for (i, row) in out.chunks_exact_mut(pass.inner).enumerate() {
        lanes.store_row(i, row);
    }
}

fn column<E: Copy>(matrix: &[E], width: usize, c: usize) -> Vec<E> {
    matrix.iter().skip(c).step_by(width).copied().collect()
}

/// Of these, 83, 149 and 4099 are primes whose predecessors have large prime factors.
const LENGTHS: [usize; 20] =
    [1, 2, 3, 4, 5, 7, 8, 9, 12, 16, 31, 60, 64, 83, 97, 128, 149, 210, 251, 4099];

#[test]
fn columns_and_lanes_equal_the_definition() {
    for len in LENGTHS {
        for kind in [TransformKind::Forward, TransformKind::Inverse] {
            let inner = 3;
            let pass = Pass { kind, len, scale: 0.25, outer: 1, in_len: len, inner };
            let x = complex_noise(len * inner);
            let mut out = vec![C::default(); x.len()];
            by_columns::<f64, _, _>(pass, &x, &mut out);
            for c in 0..inner {
                let lane = column(&x, inner, c);
                let expected: Vec<C> =
                    naive(&lane, kind == TransformKind::Inverse).iter().map(|z| z * 0.25).collect();
                let case = format!("{kind:?} of {len}");
                assert_close(&column(&out, inner, c), &expected, f64::EPSILON, &case);

                let mut lanes = Lanes::<f64>::new(Pass { inner: 1, ..pass });
                let (mut copied, mut in_place) = (vec![C::default(); len], lane.clone());
                lanes.transform_lane(&lane, &mut copied);
                lanes.transform_in_place(&mut in_place);
                assert_close(&copied, &expected, f64::EPSILON, &case);
                assert_close(&in_place, &expected, f64::EPSILON, &case);
            }
        }
    }
}

#[test]
fn transforms_of_reals_equal_the_definition() {
    for len in LENGTHS {
        let x: Vec<f64> = (0..3 * len).map(noise).collect();
        let half = len / 2 + 1;
        let pass =
            Pass { kind: TransformKind::Real, len, scale: 1.0, outer: 1, in_len: len, inner: 3 };
        let mut spectrum = vec![C::default(); 3 * half];
        by_columns::<f64, _, _>(pass, &x, &mut spectrum);
        for c in 0..3 {
            let expected = naive(&reals(&column(&x, 3, c)), false);
            let case = format!("reals of {len}");
            assert_close(&column(&spectrum, 3, c), &expected[..half], f64::EPSILON, &case);
        }
        // Parts that a transform of reals does not have are ignored.
        for z in &mut spectrum[..3] {
            z.im = 7.0;
        }
        if len.is_multiple_of(2) {
            spectrum[3 * (half - 1)..].iter_mut().for_each(|z| z.im = 7.0);
        }
        let pass = Pass {
            kind: TransformKind::RealInverse,
            in_len: half,
            scale: 1.0 / len as f64,
            ..pass
        };
        let mut back = vec![0.0; 3 * len];
        by_columns::<f64, _, _>(pass, &spectrum, &mut back);
        assert_close(&reals(&back), &reals(&x), 2.0 * f64::EPSILON, &format!("back to {len}"));
    }
}

#[test]
fn missing_elements_of_a_spectrum_are_zeros_and_more_are_ignored() {
    for (given, len) in [(2, 9), (2, 8), (9, 5), (9, 6), (1, 1), (3, 1)] {
        let spectrum = complex_noise(given);
        let lane = |i: usize| spectrum.get(i).copied().unwrap_or_default();
        let full = |k: usize| match k {
            0 => C::new(lane(0).re, 0.0),
            k if 2 * k == len => C::new(lane(k).re, 0.0),
            k if k <= len / 2 => lane(k),
            k => lane(len - k).conj(),
        };
        let expected = naive(&(0..len).map(full).collect::<Vec<_>>(), true);
        let kind = TransformKind::RealInverse;
        let pass = Pass { kind, len, scale: 1.0, outer: 1, in_len: given, inner: 1 };
        let mut out = vec![0.0; len];
        // Old contents of the scratch memory do not matter.
        let mut lanes = Lanes::<f64>::new(pass);
        for _ in 0..2 {
            lanes.transform_lane(&spectrum, &mut out);
            assert_close(&reals(&out), &expected, f64::EPSILON, &format!("{given} for {len}"));
        }
    }
}

#[test]
fn four_steps_equal_the_definition() {
    for (len, outer) in [(256, 1), (17 * 16, 2), (16 * 33, 3), (1024, 1)] {
        let split = FourStepSplit::nearly_square(len).unwrap();
        assert_eq!(split.a * split.b, len);
        for kind in [TransformKind::Forward, TransformKind::Inverse] {
            let x = complex_noise(len * outer);
            let mut step = vec![C::default(); x.len()];
            // In parts that begin and end within a lane.
            let mut first_step = FirstStep::<f64>::new((split, kind));
            for (part, rows) in step.chunks_mut(5 * split.a).enumerate() {
                first_step.run(&x, 5 * part, rows);
            }
            let second = split.second_pass(kind, 1, 1.0);
            for (lane, x) in step.chunks(len).zip(x.chunks(len)) {
                let mut out = vec![C::default(); len];
                by_columns::<f64, _, _>(second, lane, &mut out);
                let expected = naive(x, kind == TransformKind::Inverse);
                assert_close(&out, &expected, f64::EPSILON, &format!("{split:?} {kind:?}"));
            }
        }
    }
    assert_eq!(FourStepSplit::nearly_square(2 * 1009), None);
    assert_eq!(FourStepSplit::of(1 << 10), None);
    assert_eq!(FourStepSplit::of(1 << 20), Some(FourStepSplit { a: 1 << 10, b: 1 << 10 }));
}

#[test]
fn packed_reals_equal_the_definition() {
    for m in [1, 2, 3, 8, 30, 101] {
        let x: Vec<f64> = (0..4 * m).map(noise).collect();
        let z: Vec<C> = x
            .chunks(2 * m)
            .flat_map(|lane| {
                let pairs: Vec<C> = lane.chunks(2).map(|pair| C::new(pair[0], pair[1])).collect();
                naive(&pairs, false)
            })
            .collect();
        let mut spectrum = vec![C::default(); 2 * (m + 1)];
        let (packed, mut first) = (PackedReal::new((m, m + 1)), 0);
        for part in spectrum.chunks_mut(3) {
            packed.split(&z, first, part);
            first += 3;
        }
        for (found, x) in spectrum.chunks(m + 1).zip(x.chunks(2 * m)) {
            let expected = naive(&reals(x), false);
            assert_close(found, &expected[..=m], f64::EPSILON, &format!("{m} pairs"));
        }
        let mut merged = vec![C::default(); 2 * m];
        packed.merge(&spectrum, 0, &mut merged);
        let doubled: Vec<C> = z.iter().map(|z| z * 2.0).collect();
        assert_close(&merged, &doubled, 2.0 * f64::EPSILON, &format!("{m} merged"));
    }
}

#[test]
fn tiles_are_whole_lanes_and_as_many_for_any_team() {
    let bytes = size_of::<C>();
    for (outer, len, inner) in
        [(1, 4096, 4096), (1, 65536, 99), (100_000, 8, 8), (64, 64, 64), (1, 7, 1), (9, 3, 2)]
    {
        let pass =
            Pass { kind: TransformKind::Forward, len, scale: 1.0, outer, in_len: len, inner };
        let ([rows, columns], [height, width]) = (pass.matrix(), pass.tile(bytes));
        assert_eq!(rows * columns, outer * len * inner);
        let lane_rows = if inner == 1 { 1 } else { len };
        assert!(height.is_multiple_of(lane_rows) && (1..=columns).contains(&width), "{pass:?}");
        let is_one_line = height == lane_rows && width * bytes <= LINE_BYTES;
        assert!(height * width <= BLOCK_BYTES / bytes || is_one_line, "{pass:?}");
    }
}

#[test]
fn more_lengths_than_a_planner_keeps_are_planned_again() {
    for _ in 0..2 {
        for len in 1..80 {
            let kind = TransformKind::Forward;
            let pass = Pass { kind, len, scale: 1.0, outer: 1, in_len: len, inner: 1 };
            let mut out = vec![Complex::<f32>::default(); len];
            Lanes::<f32>::new(pass).transform_lane(&vec![Complex::new(1.0f32, 0.0); len], &mut out);
            assert!((out[0].re - len as f32).abs() <= 1e-4, "{len}");
        }
    }
    let kept = || f32::planner().with_borrow(|planner| planner.kept.len());
    assert_eq!(kept(), KEPT_MAX);
    let plan =
        |len| f32::planner().with_borrow_mut(|planner| planner.plan(TransformKind::Forward, len));
    plan(79);
    let is_kept =
        |len| f32::planner().with_borrow(|planner| planner.kept.iter().any(|k| k.1 == len));
    plan(KEPT_LEN_MAX + 1);
    assert!(is_kept(79) && !is_kept(KEPT_LEN_MAX + 1));
}

#[test]
fn the_bits_do_not_depend_on_the_lengths_that_were_planned_before() {
    for (before, len) in [(1152, 288), (4608, 1152), (1 << 12, 1 << 10), (1 << 14, 3 << 8)] {
        let lane = complex_noise(len);
        // Each thread has a planner.
        let transform = |lens: &[usize]| {
            let run = || {
                let planned = lens.iter().map(|&len| {
                    let (kind, outer, inner) = (TransformKind::Forward, 1, 1);
                    Lanes::<f64>::new(Pass { kind, len, scale: 1.0, outer, in_len: len, inner })
                });
                // One after the other: the last is used.
                let mut planned: Vec<_> = planned.collect();
                let lanes = planned.last_mut().unwrap();
                let mut out = lane.clone();
                lanes.transform_in_place(&mut out);
                out
            };
            std::thread::scope(|scope| scope.spawn(run).join().unwrap())
        };
        assert!(transform(&[len]) == transform(&[before, len]), "{len} after {before}");
    }
}

#[test]
fn blocks_of_columns_are_bounded_by_one_long_lane() {
    let pass = |len, inner| Pass {
        kind: TransformKind::Forward,
        len,
        scale: 1.0,
        outer: 1,
        in_len: len,
        inner,
    };
    assert_eq!(pass(1 << 26, 4).tile(16), [1 << 26, 1]);
    assert_eq!(pass(1 << 26, 40).tile(8), [1 << 26, 1]);
    assert_eq!(pass(1 << 14, 40).tile(16), [1 << 14, 4]);
}

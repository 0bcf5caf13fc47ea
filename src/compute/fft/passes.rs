//! The passes of a transform: loops over blocks of lanes.
//!
//! A block and its place depend on the shape alone, so the bits are the same for any number of
//! workers. No pass is repeated by its loop: a call repeats all of them, from its input.

use bytemuck::Pod;
use num_complex::Complex;

use crate::array::{ArrayView, AsArrayView, SharedArray};
use crate::error::{Error, Result};
use crate::kernel::fft::{
    BLOCKS_MIN, FftFloat, FirstStep, FourStepSplit, Lanes, PackedReal, Pass, TransformKind,
};
use crate::pool::{Pool, Whole};
use crate::shape::Shape;

/// The elements that a call computes at once where lanes do not matter.
pub(super) const CHUNK: usize = 1 << 15;

/// The transform from complex to complex along `axes`, which are not empty, each with elements.
pub(super) fn complex<T: FftFloat>(
    pool: &Pool,
    input: &ArrayView<'_, Complex<T>>,
    axes: &[usize],
    kind: TransformKind,
    scale: f64,
) -> Result<SharedArray<Complex<T>>> {
    let mut out = pool.for_overwrite(input.shape())?;
    if out.is_empty() {
        return Ok(out);
    }
    let (&first, rest) = axes.split_first().expect("a transform has axes");
    let pass = along(input.shape().dims(), first, kind, if rest.is_empty() { scale } else { 1.0 });
    match split(&pass) {
        Some(split) => four_steps(pool, input, &mut out, &pass, split)?,
        None => run::<_, _, T>(pool, input, &mut out, pass)?,
    }
    complex_in_place(pool, &mut out, rest, kind, scale)?;
    Ok(out)
}

/// The same in place, along any number of axes.
pub(super) fn complex_in_place<T: FftFloat>(
    pool: &Pool,
    array: &mut SharedArray<Complex<T>>,
    axes: &[usize],
    kind: TransformKind,
    scale: f64,
) -> Result<()> {
    if array.is_empty() {
        return Ok(());
    }
    for (index, &axis) in axes.iter().enumerate() {
        let scale = if index + 1 == axes.len() { scale } else { 1.0 };
        let pass = along(array.shape().dims(), axis, kind, scale);
        match split(&pass) {
            None => run_in_place(pool, array, pass)?,
            Some(split) => {
                let mut step = pool.for_overwrite::<Complex<T>>(array.shape())?;
                first_step(pool, &array.as_array_view(), &mut step, split, kind)?;
                let second = split.second_pass(kind, pass.outer, scale);
                run::<_, _, T>(pool, &step.as_array_view(), array, second)?;
            }
        }
    }
    Ok(())
}

/// The transform of reals: along the first of `axes` from `n` reals to `n / 2 + 1` complex numbers,
/// then along the others.
pub(super) fn real<T: FftFloat>(
    pool: &Pool,
    input: &ArrayView<'_, T>,
    axes: &[usize],
    scale: f64,
) -> Result<SharedArray<Complex<T>>> {
    let (&first, rest) = axes.split_first().expect("a transform has axes");
    let mut dims = input.shape().dims().to_vec();
    dims[first] = dims[first] / 2 + 1;
    let mut out = pool.for_overwrite(dims)?;
    if out.is_empty() {
        return Ok(out);
    }
    let scale_now = if rest.is_empty() { scale } else { 1.0 };
    let pass = along(input.shape().dims(), first, TransformKind::Real, scale_now);
    match half_split(&pass) {
        None => run::<_, _, T>(pool, input, &mut out, pass)?,
        Some(split) => {
            let m = pass.len / 2;
            let mut halves: SharedArray<Complex<T>> = pool.for_overwrite([pass.outer, m])?;
            let pass = Pass { kind: TransformKind::Forward, len: m, ..pass };
            four_steps(pool, input, &mut halves, &pass, split)?;
            let chunks = pool.par_chunks_mut(&mut out, CHUNK).retries(0).enumerate();
            chunks
                .zip(Whole(&halves))
                .with((m, m + 1))
                .scratch(PackedReal::new)
                .for_each(|packed, ((chunk, out), z)| packed.split(z, chunk * CHUNK, out))
                .map_err(Error::without_torn)?;
        }
    }
    complex_in_place(pool, &mut out, rest, TransformKind::Forward, scale)?;
    Ok(out)
}

/// The inverse of [`real`], with `len` reals along the last of `axes`.
pub(super) fn real_inverse<T: FftFloat>(
    pool: &Pool,
    input: &ArrayView<'_, Complex<T>>,
    axes: &[usize],
    len: usize,
    scale: f64,
) -> Result<SharedArray<T>> {
    let (&last, others) = axes.split_last().expect("a transform has axes");
    let mut dims = input.shape().dims().to_vec();
    dims[last] = len;
    // First, because any `len` is possible until there is memory for it.
    let mut out: SharedArray<T> = pool.for_overwrite(&dims[..])?;
    if out.is_empty() {
        return Ok(out);
    }
    let step;
    let (step, input) = if others.is_empty() {
        (None, input)
    } else {
        step = complex(pool, input, others, TransformKind::Inverse, 1.0)?;
        (Some(&step), input)
    };
    let view = step.map(AsArrayView::as_array_view);
    let input = view.as_ref().unwrap_or(input);
    let pass = Pass { len, ..along(input.shape().dims(), last, TransformKind::RealInverse, scale) };
    let Some(split) = half_split(&pass) else {
        run::<_, _, T>(pool, input, &mut out, pass)?;
        return Ok(out);
    };
    let m = len / 2;
    let mut halves: SharedArray<Complex<T>> = pool.for_overwrite([pass.outer, m])?;
    pool.par_chunks_mut(&mut halves, CHUNK)
        .retries(0)
        .enumerate()
        .zip(Whole(input))
        .with((m, pass.in_len))
        .scratch(PackedReal::new)
        .for_each(|packed, ((chunk, out), x)| packed.merge(x, chunk * CHUNK, out))
        .map_err(Error::without_torn)?;
    let mut out = out.cast::<Complex<T>>([pass.outer, m].into());
    let pass = Pass { kind: TransformKind::Inverse, len: m, ..pass };
    four_steps(pool, &halves.as_array_view(), &mut out, &pass, split)?;
    Ok(out.cast::<T>(dims.into()))
}

/// The transforms along `axis` of an array of this shape, which has elements.
fn along(dims: &[usize], axis: usize, kind: TransformKind, scale: f64) -> Pass {
    let (outer, inner) = (dims[..axis].iter().product(), dims[axis + 1..].iter().product());
    Pass { kind, len: dims[axis], scale, outer, in_len: dims[axis], inner }
}

/// How lanes from complex to complex are split, if they are long, contiguous and few. Many lanes
/// are enough blocks as they are.
fn split(pass: &Pass) -> Option<FourStepSplit> {
    let is_divided = pass.inner == 1 && pass.outer < BLOCKS_MIN;
    if is_divided { FourStepSplit::of(pass.len) } else { None }
}

/// The same for lanes of reals, whose halves are split.
fn half_split(pass: &Pass) -> Option<FourStepSplit> {
    let is_packed = pass.inner == 1 && pass.outer < BLOCKS_MIN && pass.len.is_multiple_of(2);
    if is_packed { FourStepSplit::of(pass.len / 2) } else { None }
}

/// Long lanes by four steps. The input is of complex numbers or of pairs of reals.
fn four_steps<I: Pod, T: FftFloat>(
    pool: &Pool,
    input: &ArrayView<'_, I>,
    out: &mut SharedArray<Complex<T>>,
    pass: &Pass,
    split: FourStepSplit,
) -> Result<()> {
    first_step(pool, input, out, split, pass.kind)?;
    run_in_place(pool, out, split.second_pass(pass.kind, pass.outer, pass.scale))
}

fn first_step<I: Pod, T: FftFloat>(
    pool: &Pool,
    input: &ArrayView<'_, I>,
    out: &mut SharedArray<Complex<T>>,
    split: FourStepSplit,
    kind: TransformKind,
) -> Result<()> {
    pool.par_chunks_mut(out, split.rows::<T>() * split.a)
        .retries(0)
        .enumerate()
        .zip(Whole(input))
        .with((split, kind))
        .scratch(FirstStep::<T>::new)
        .for_each(|step, ((chunk, out), input)| {
            step.run(bytemuck::cast_slice(input), chunk * step.rows(), out);
        })
        .map_err(Error::without_torn)
}

/// One pass from an array to another.
fn run<I: Pod, O: Pod, T: FftFloat>(
    pool: &Pool,
    input: &ArrayView<'_, I>,
    out: &mut SharedArray<O>,
    pass: Pass,
) -> Result<()> {
    as_matrix(out, &pass, |out, tile| {
        let tiles = pool.par_tiles(out, tile).retries(0).zip(Whole(input));
        tiles.with(pass).scratch(Lanes::<T>::new).for_each(|lanes, (mut tile, input)| {
            let pass = *lanes.pass();
            let (rows, columns) = (tile.rows(), tile.columns());
            if pass.inner == 1 {
                for (lane, out) in rows.zip(tile.iter_mut()) {
                    lanes.transform_lane(&input[lane * pass.in_len..][..pass.in_len], out);
                }
                return;
            }
            lanes.reserve(columns.len());
            let mut out_rows = tile.iter_mut();
            for outer in rows.start / pass.out_len()..rows.end / pass.out_len() {
                for i in 0..pass.used_len() {
                    let row = &input[(outer * pass.in_len + i) * pass.inner..][columns.clone()];
                    lanes.load_row(i, row);
                }
                lanes.transform(columns.len());
                for (i, row) in out_rows.by_ref().take(pass.out_len()).enumerate() {
                    lanes.store_row(i, row);
                }
            }
        })
    })
}

/// One pass in place.
fn run_in_place<T: FftFloat>(
    pool: &Pool,
    array: &mut SharedArray<Complex<T>>,
    pass: Pass,
) -> Result<()> {
    as_matrix(array, &pass, |array, tile| {
        let tiles = pool.par_tiles(array, tile).retries(0);
        tiles.with(pass).scratch(Lanes::<T>::new).for_each(|lanes, mut tile| {
            let pass = *lanes.pass();
            let width = tile.columns().len();
            if pass.inner == 1 {
                return tile.iter_mut().for_each(|lane| lanes.transform_in_place(lane));
            }
            lanes.reserve(width);
            for first in (0..tile.rows().len()).step_by(pass.len) {
                for i in 0..pass.len {
                    lanes.load_row(i, tile.row(first + i));
                }
                lanes.transform(width);
                for i in 0..pass.len {
                    lanes.store_row(i, tile.row_mut(first + i));
                }
            }
        })
    })
}

/// An array that gets this shape, of as many elements, when this is dropped.
struct Reshaped<'a, O: Pod> {
    array: &'a mut SharedArray<O>,
    shape: Shape,
}

impl<O: Pod> Drop for Reshaped<'_, O> {
    fn drop(&mut self) {
        let reshaped = self.array.reshape(self.shape.clone());
        debug_assert!(reshaped.is_ok(), "{reshaped:?}");
    }
}

/// Calls `run` with the array as the matrix of a pass, and the shape of its tiles. The array has
/// its own shape again afterwards, also if `run` unwinds.
fn as_matrix<O: Pod>(
    array: &mut SharedArray<O>,
    pass: &Pass,
    run: impl FnOnce(&mut SharedArray<O>, [usize; 2]) -> Result<()>,
) -> Result<()> {
    let shape = array.shape().clone();
    array.reshape(pass.matrix())?;
    let reshaped = Reshaped { array, shape };
    run(reshaped.array, pass.tile(size_of::<O>())).map_err(Error::without_torn)
}

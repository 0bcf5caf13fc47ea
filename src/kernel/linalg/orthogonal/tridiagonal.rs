//! Reduction of a symmetric matrix to tridiagonal form.
//!
//! `A = Q T Q^T`, with reflectors for Q.
#![allow(unsafe_code)]

use super::householder::{add_multiple, dot, reflector, scale};
use super::phases::{Phases, part_of};
use super::reduction::{LinearCombination, Reduction, ReductionSide, tile_width};
use super::reflectors::{Reflectors, form_all_t};
use super::shared_columns::SharedColumns;
use crate::kernel::PeerDied;
use crate::kernel::matmul::Float;
use crate::kernel::vectorized::vectorized;

/// The diagonal of T and what lies beside it.
pub(super) struct Tridiagonal<T> {
    pub(super) diagonal: Vec<T>,
    pub(super) beside: Vec<T>,
}

/// One member's part of the reduction of A, of which only the diagonal and the elements below it
/// are read, and which is destroyed. Q has a reflector fewer than A has columns, and shift 1.
///
/// # Errors
///
/// [`PeerDied`] if a member died.
///
/// # Safety
///
/// - A is square, `work` has the shape [`Reduction::work_shape`], and all memory is valid; until
///   all members have returned, nothing else accesses it.
pub(super) unsafe fn tridiagonalize<T: Float>(
    a: SharedColumns<T>,
    work: SharedColumns<T>,
    q: &Reflectors<T>,
    phases: &mut Phases<'_>,
) -> Result<Tridiagonal<T>, PeerDied> {
    let n = a.rows();
    let mut reduction = Reduction::new(a, work);
    let mut result = Tridiagonal { diagonal: Vec::with_capacity(n), beside: Vec::new() };
    let mut taus = Vec::with_capacity(n);
    let [mut column, mut v, mut w] = [(); 3].map(|()| vec![T::ZERO; n]);
    // SAFETY: the caller's conditions; A is complete, and nothing writes to it in this phase.
    column.copy_from_slice(unsafe { a.read_part(0..n, 0) });
    for i in 0..n {
        result.diagonal.push(column[i]);
        let next = i + 1;
        if next == n {
            break;
        }
        v[i] = T::ZERO;
        v[next..].copy_from_slice(&column[next..]);
        let (beta, tau) = reflector(&mut v[next..]);
        result.beside.push(beta);
        taus.push(tau);
        if phases.is_first() {
            // SAFETY: the caller's conditions; only member 0 accesses the vectors in this loop.
            unsafe { q.v.write_part(0..n, i) }.copy_from_slice(&v);
        }
        // SAFETY: the caller's conditions.
        unsafe { multiply(&reduction, next, &v, [&mut w, &mut column], phases)? };
        w[i] = T::ZERO;
        scale(&mut w[next..], tau);
        let shift = -tau * dot(&w[next..], &v[next..]) / (T::ONE + T::ONE);
        add_multiple(&mut w[next..], shift, &v[next..]);
        reduction.push(&v, &w);
        reduction.push(&w, &v);
        let (v_first, w_first) = (v[next], w[next]);
        add_multiple(&mut column[next..], -w_first, &v[next..]);
        add_multiple(&mut column[next..], -v_first, &w[next..]);
        // SAFETY: the caller's conditions; `multiply` has ended the phase that reads A.
        unsafe { reduction.update_if_full(next + 1, true, phases)? };
    }
    phases.end()?;
    // SAFETY: the caller's conditions; the vectors are complete.
    unsafe { form_all_t(q, &taus, phases)? };
    Ok(result)
}

/// The current matrix times `v`, from row `first`, and the current column `first`.
///
/// # Errors
///
/// [`PeerDied`] if a member died.
///
/// # Safety
///
/// - As [`tridiagonalize`].
unsafe fn multiply<T: Float>(
    reduction: &Reduction<T>,
    first: usize,
    v: &[T],
    [w, column]: [&mut [T]; 2],
    phases: &mut Phases<'_>,
) -> Result<(), PeerDied> {
    let (a, n) = (reduction.a, v.len());
    let width = tile_width(n);
    let strips = (n - first).div_ceil(width);
    while let Some(unit) = phases.unit(1 + strips) {
        let Some(cols) = unit.checked_sub(1).and_then(|index| part_of(&(first..n), width, index))
        else {
            // SAFETY: the caller's conditions; the phase gives each unit to one member.
            unsafe { reduction.dots(ReductionSide::R, first, v) };
            continue;
        };
        // SAFETY: the caller's conditions; nothing writes to A in this phase.
        let strip = unsafe { a.read(cols.clone()) };
        // SAFETY: the caller's conditions; the phase gives each unit to one member.
        let sums = unsafe { reduction.partial(unit - 1, cols.start..n) };
        let strip = Strip { columns: strip, stride: a.stride(), first: cols.start };
        multiply_strip(&strip, cols.len(), v, sums);
    }
    phases.end()?;
    let starts: Vec<usize> = (0..strips).map(|index| first + index * width).collect();
    let load = |rows: std::ops::Range<usize>, to: &mut [T]| {
        // SAFETY: the caller's conditions; nothing writes to A in this phase.
        to.copy_from_slice(unsafe { a.read_part(rows, first) });
    };
    let combination = LinearCombination { first, starts: &starts, pivot: first };
    // SAFETY: the caller's conditions; the phase above has written the partial products.
    unsafe { reduction.combine(ReductionSide::L, combination, load, [w, column], phases) }
}

/// Columns of a symmetric matrix, from column `first`.
struct Strip<'a, T> {
    columns: &'a [T],
    stride: usize,
    first: usize,
}

/// The products of the elements on and below the diagonal in `cols` columns, and of their mirror
/// images, with x: `sums` begins at the strip's first row.
fn multiply_strip<T: Float>(strip: &Strip<'_, T>, cols: usize, x: &[T], sums: &mut [T]) {
    let (first, n) = (strip.first, x.len());
    sums.fill(T::ZERO);
    let column = |j: usize| &strip.columns[j * strip.stride..][..n];
    let mut j = 0;
    while j < cols {
        let count = if cols - j >= 4 { 4 } else { 1 };
        let below = first + j + count;
        for p in j..j + count {
            let column = column(p);
            sums[p] = sums[p] + column[first + p] * x[first + p];
            for i in first + p + 1..below {
                sums[i - first] = sums[i - first] + column[i] * x[first + p];
                sums[p] = sums[p] + column[i] * x[i];
            }
        }
        if count == 4 {
            let four = [j, j + 1, j + 2, j + 3];
            let columns = four.map(|p| &column(p)[below..]);
            let factors = four.map(|p| x[first + p]);
            let dots = four_columns(columns, &x[below..], factors, &mut sums[below - first..]);
            for (p, dot) in four.into_iter().zip(dots) {
                sums[p] = sums[p] + dot;
            }
        } else {
            let column = &column(j)[below..];
            add_multiple(&mut sums[below - first..], x[first + j], column);
            sums[j] = sums[j] + dot(column, &x[below..]);
        }
        j += count;
    }
}

/// Rows that are taken together.
const LANES: usize = 8;

vectorized! {
    /// `y = y + factors[0] c[0] + ...`, and the dot products of the columns with x: each element is
    /// read once.
    fn four_columns<T: Float>(c: [&[T]; 4], x: &[T], factors: [T; 4], y: &mut [T]) -> [T; 4] {
        let chunks = c.map(|column| column.as_chunks::<LANES>().0);
        let (x_chunks, x_rest) = x.as_chunks::<LANES>();
        let (y_chunks, y_rest) = y.as_chunks_mut::<LANES>();
        let mut dots = [[T::ZERO; LANES]; 4];
        let both = y_chunks.iter_mut().zip(x_chunks);
        let columns = chunks[0].iter().zip(chunks[1]).zip(chunks[2].iter().zip(chunks[3]));
        for ((y, x), ((c0, c1), (c2, c3))) in both.zip(columns) {
            for lane in 0..LANES {
                let sum = y[lane] + factors[0] * c0[lane] + factors[1] * c1[lane];
                y[lane] = sum + factors[2] * c2[lane] + factors[3] * c3[lane];
                dots[0][lane] = dots[0][lane] + c0[lane] * x[lane];
                dots[1][lane] = dots[1][lane] + c1[lane] * x[lane];
                dots[2][lane] = dots[2][lane] + c2[lane] * x[lane];
                dots[3][lane] = dots[3][lane] + c3[lane] * x[lane];
            }
        }
        let whole = x.len() - x_rest.len();
        for (lane, (y, &x)) in y_rest.iter_mut().zip(x_rest).enumerate() {
            for p in 0..4 {
                *y = *y + factors[p] * c[p][whole + lane];
                dots[p][lane] = dots[p][lane] + c[p][whole + lane] * x;
            }
        }
        dots.map(|mut lanes| {
            let mut half = LANES / 2;
            while half > 0 {
                for lane in 0..half {
                    lanes[lane] = lanes[lane] + lanes[lane + half];
                }
                half /= 2;
            }
            lanes[0]
        })
    }
}

//! Reduction of a square matrix to upper bidiagonal form.
//!
//! `A = Q B P^T`, with reflectors for Q and P.
#![allow(unsafe_code)]

use std::ops::Range;

use super::householder::{add_multiple, reflector, scale};
use super::phases::{Phases, part_of};
use super::reduction::{LinearCombination, Reduction, ReductionSide, tile_width};
use super::reflectors::{Reflectors, form_all_t, matrix, matrix_mut, product};
use super::shared_columns::SharedColumns;
use crate::kernel::PeerDied;
use crate::kernel::matmul::Float;

/// The diagonal of B and what lies above it.
pub(super) struct Bidiagonal<T> {
    pub(super) diagonal: Vec<T>,
    pub(super) above: Vec<T>,
}

/// One member's part of the reduction of A, which is destroyed. Q has as many reflectors as A has
/// columns, and shift 0; P has one fewer, and shift 1.
///
/// # Errors
///
/// [`PeerDied`] if a member died.
///
/// # Safety
///
/// - A is square, `work` has the shape [`Reduction::work_shape`], and all memory is valid; until
///   all members have returned, nothing else accesses it.
pub(super) unsafe fn bidiagonalize<T: Float>(
    a: SharedColumns<T>,
    work: SharedColumns<T>,
    [q, p]: [&Reflectors<T>; 2],
    phases: &mut Phases<'_>,
) -> Result<Bidiagonal<T>, PeerDied> {
    let n = a.rows();
    let mut reduction = Reduction::new(a, work);
    let mut result = Bidiagonal { diagonal: Vec::with_capacity(n), above: Vec::new() };
    let [mut q_taus, mut p_taus] = [(); 2].map(|()| Vec::with_capacity(n));
    let [mut column, mut row, mut v, mut u, mut x] = [(); 5].map(|()| vec![T::ZERO; n]);
    // SAFETY: the caller's conditions; A is complete, and nothing writes to it in this phase.
    column.copy_from_slice(unsafe { a.read_part(0..n, 0) });
    let publish = |vectors: &SharedColumns<T>, index, vector: &[T], phases: &Phases<'_>| {
        if phases.is_first() {
            // SAFETY: the caller's conditions; only member 0 accesses the vectors in this loop.
            unsafe { vectors.write_part(0..n, index) }.copy_from_slice(vector);
        }
    };
    for i in 0..n {
        let next = i + 1;
        v[..i].fill(T::ZERO);
        v[i..].copy_from_slice(&column[i..]);
        let (beta, tau) = reflector(&mut v[i..]);
        result.diagonal.push(beta);
        q_taus.push(tau);
        publish(&q.v, i, &v, phases);
        if next == n {
            break;
        }
        // SAFETY: the caller's conditions.
        unsafe { multiply_transposed(&reduction, i, &v, [&mut x, &mut row], phases)? };
        scale(&mut x[next..], tau);
        x[..next].fill(T::ZERO);
        reduction.push(&v, &x);
        add_multiple(&mut row[next..], -v[i], &x[next..]);

        u[..next].fill(T::ZERO);
        u[next..].copy_from_slice(&row[next..]);
        let (beta, tau) = reflector(&mut u[next..]);
        result.above.push(beta);
        p_taus.push(tau);
        publish(&p.v, i, &u, phases);
        // SAFETY: the caller's conditions.
        unsafe { multiply(&reduction, next, &u, [&mut x, &mut column], phases)? };
        scale(&mut x[next..], tau);
        x[..next].fill(T::ZERO);
        reduction.push(&x, &u);
        add_multiple(&mut column[next..], -u[next], &x[next..]);
        // SAFETY: the caller's conditions; `multiply` has ended the phase that reads A.
        unsafe { reduction.update_if_full(next, false, phases)? };
    }
    phases.end()?;
    // SAFETY: the caller's conditions; the vectors are complete.
    unsafe { form_all_t(q, &q_taus, phases)? };
    // SAFETY: as above.
    unsafe { form_all_t(p, &p_taus, phases)? };
    Ok(result)
}

/// The columns of unit `unit` of a phase in which unit 0 computes the dots.
fn tile_of_unit(whole: &Range<usize>, width: usize, unit: usize) -> Option<Range<usize>> {
    part_of(whole, width, unit.checked_sub(1)?)
}

/// The current matrix transposed times `v`, from column `i + 1`, and the current row `i`.
///
/// # Errors
///
/// [`PeerDied`] if a member died.
///
/// # Safety
///
/// - As [`bidiagonalize`].
unsafe fn multiply_transposed<T: Float>(
    reduction: &Reduction<T>,
    i: usize,
    v: &[T],
    [x, row]: [&mut [T]; 2],
    phases: &mut Phases<'_>,
) -> Result<(), PeerDied> {
    let (a, n, first) = (reduction.a, v.len(), i + 1);
    let width = tile_width(n);
    while let Some(unit) = phases.unit(1 + (n - first).div_ceil(width)) {
        let Some(cols) = tile_of_unit(&(first..n), width, unit) else {
            // SAFETY: the caller's conditions; the phase gives each unit to one member.
            unsafe { reduction.dots(ReductionSide::L, i, v) };
            continue;
        };
        // SAFETY: the caller's conditions; nothing writes to A in this phase.
        let tile = unsafe { a.read(cols.clone()) };
        // SAFETY: the caller's conditions; the phase gives each unit to one member.
        let sums = unsafe { reduction.partial(0, cols.clone()) };
        let tile = matrix(&tile[i..], n - i, cols.len(), a.stride()).transposed();
        let v = matrix(&v[i..], n - i, 1, n);
        product(T::ONE, tile, v, T::ZERO, matrix_mut(sums, cols.len(), 1, cols.len()));
    }
    phases.end()?;
    let load = |cols: Range<usize>, to: &mut [T]| {
        for (to, j) in to.iter_mut().zip(cols) {
            // SAFETY: the caller's conditions; nothing writes to A in this phase.
            *to = unsafe { a.read_part(i..first, j) }[0];
        }
    };
    let combination = LinearCombination { first, starts: &[first], pivot: i };
    // SAFETY: the caller's conditions; the phase above has written the product.
    unsafe { reduction.combine(ReductionSide::R, combination, load, [x, row], phases) }
}

/// The current matrix times `u`, from row `first`, and the current column `first`.
///
/// # Errors
///
/// [`PeerDied`] if a member died.
///
/// # Safety
///
/// - As [`bidiagonalize`].
unsafe fn multiply<T: Float>(
    reduction: &Reduction<T>,
    first: usize,
    u: &[T],
    [x, column]: [&mut [T]; 2],
    phases: &mut Phases<'_>,
) -> Result<(), PeerDied> {
    let (a, n) = (reduction.a, u.len());
    let width = tile_width(n);
    let tiles = (n - first).div_ceil(width);
    while let Some(unit) = phases.unit(1 + tiles) {
        let Some(cols) = tile_of_unit(&(first..n), width, unit) else {
            // SAFETY: the caller's conditions; the phase gives each unit to one member.
            unsafe { reduction.dots(ReductionSide::R, first, u) };
            continue;
        };
        // SAFETY: the caller's conditions; nothing writes to A in this phase.
        let tile = unsafe { a.read(cols.clone()) };
        // SAFETY: the caller's conditions; the phase gives each unit to one member.
        let sums = unsafe { reduction.partial(unit - 1, first..n) };
        let tile = matrix(&tile[first..], n - first, cols.len(), a.stride());
        let u = matrix(&u[cols.clone()], cols.len(), 1, cols.len());
        product(T::ONE, tile, u, T::ZERO, matrix_mut(sums, n - first, 1, n));
    }
    phases.end()?;
    let load = |rows: Range<usize>, to: &mut [T]| {
        // SAFETY: the caller's conditions; nothing writes to A in this phase.
        to.copy_from_slice(unsafe { a.read_part(rows, first) });
    };
    let starts = vec![first; tiles];
    let combination = LinearCombination { first, starts: &starts, pivot: first };
    // SAFETY: the caller's conditions; the phase above has written the partial products.
    unsafe { reduction.combine(ReductionSide::L, combination, load, [x, column], phases) }
}

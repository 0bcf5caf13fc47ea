//! A matrix times its own transpose: half the work.
#![allow(unsafe_code)]

use super::element::Element;
use super::params;
use super::table::Kernel;
use super::view::{MatMut, MatRef, Strided};
use super::{Product, check_shapes, multiply};
use crate::error::Result;
use crate::kernel::{PeerDied, SingleThread, Team};

/// Counter of strips of columns.
const STRIPS: usize = 6;
/// Counter of strips to mirror.
const MIRRORED: usize = 7;

/// `C = alpha * A * A^T + beta * C`, exactly symmetric, in the calling thread.
///
/// Of C before, only the diagonal and what lies below it is read; beta = 0 reads nothing.
///
/// # Shapes
///
/// A is m x k, C is m x m.
///
/// # Errors
///
/// [`Error::ShapeMismatch`](crate::Error::ShapeMismatch) if the shapes do not fit.
///
/// # Examples
///
/// ```
/// use brigade::kernel::matmul::{MatMut, MatRef, gram};
/// let a = [1.0, 2.0, 3.0, 4.0];
/// let mut c = [0.0; 4];
/// gram(1.0, MatRef::row_major(&a, 2, 2)?, 0.0, MatMut::row_major(&mut c, 2, 2)?)?;
/// assert_eq!(c, [5.0, 11.0, 11.0, 25.0]);
/// # Ok::<(), brigade::Error>(())
/// ```
pub fn gram<T: Element>(alpha: T, a: MatRef<'_, T>, beta: T, mut c: MatMut<'_, T>) -> Result<()> {
    check_shapes("matrix times its transpose", a.shape(), a.transposed().shape(), c.shape())?;
    let a = a.as_strided();
    let product =
        Product { kernel: Kernel::best(), alpha, a, b: a.transposed(), beta, c: c.as_strided() };
    // SAFETY: the shapes fit, checked above; the views are valid for their lifetimes, and `c` is
    // borrowed exclusively.
    let outcome = unsafe { multiply_gram(&product, 1, &SingleThread::default()) };
    debug_assert!(outcome.is_ok(), "a team of one has no peer that dies");
    Ok(())
}

/// One member's part of [`gram`] by a team of at most `members`; the product's B is A transposed.
///
/// Uses the team's counters 6 and 7, which must be zero at the start, one barrier, and no scratch
/// memory.
///
/// # Errors
///
/// [`PeerDied`] if a member died; C is then unspecified.
///
/// # Safety
///
/// - As [`multiply`], the scratch memory aside.
pub unsafe fn multiply_gram<T: Element, W: Team>(
    product: &Product<T>,
    members: usize,
    team: &W,
) -> std::result::Result<(), PeerDied> {
    let (size, k) = (product.c.rows, product.a.cols);
    let most = (size / (8 * members)).clamp(params::GRAM_COLUMNS, 4 * params::GRAM_COLUMNS);
    let width = params::balanced(size, most, 1);
    // The longest strips come first, so that the team ends together.
    while let Some(first) = strip(size, width, team, STRIPS) {
        let columns = first..size.min(first + width);
        let part = Product {
            a: product.a.part(first..size, 0..k),
            b: product.b.part(0..k, columns.clone()),
            c: product.c.part(first..size, columns),
            ..*product
        };
        // SAFETY: the caller's conditions; the counter gives each strip to one member.
        unsafe { multiply(&part, std::ptr::null_mut(), 1, &SingleThread::default())? };
    }
    team.barrier()?;
    while let Some(first) = strip(size, width, team, MIRRORED) {
        for j in first..size.min(first + width) {
            // SAFETY: the caller's conditions; the barrier has shown that everything below the
            // diagonal is complete, and the counter gives each strip to one member.
            unsafe { mirror_column(&product.c, j) };
        }
    }
    Ok(())
}

/// The first column of the next strip, if there is one.
fn strip<W: Team>(size: usize, width: usize, team: &W, counter: usize) -> Option<usize> {
    let first = team.take(counter, 1).checked_mul(width)?;
    (first < size).then_some(first)
}

/// Copies what lies below the diagonal in column `j` to its mirror image.
///
/// # Safety
///
/// - C is square and valid, column `j` below the diagonal is written by nobody, its mirror image
///   neither read nor written.
unsafe fn mirror_column<T: Copy>(c: &Strided<T>, j: usize) {
    for i in j + 1..c.rows {
        // SAFETY: i and j are below the size, and the caller vouches for C.
        let x = unsafe { c.at(i, j).read() };
        // SAFETY: as above.
        unsafe { c.at(j, i).write(x) };
    }
}

//! A matrix times its own transpose: half the work.
#![allow(unsafe_code)]

use super::blocking;
use super::gemm::Gemm;
use super::kernel::Float;
use super::multiply::multiply;
use super::shares::shares;
use super::strided::Strided;
use super::views::{MatMut, MatRef};
use crate::error::Result;
use crate::kernel::{PeerDied, SingleThread, Team};

/// The counter of strips of columns.
const STRIPS: usize = 6;
/// The counter of strips to mirror.
const MIRRORED: usize = 7;

/// `C = alpha * A * A^T + beta * C`, exactly symmetric, in the calling thread.
///
/// Only the diagonal of C and the elements below it are read; with beta = 0 none of them.
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
pub fn gram<T: Float>(alpha: T, a: MatRef<'_, T>, beta: T, mut c: MatMut<'_, T>) -> Result<()> {
    let a = a.as_strided();
    let gemm = Gemm { alpha, beta, ..Gemm::new(a, a.transposed(), c.as_strided()) };
    gemm.check_shapes("matrix times its transpose")?;
    // SAFETY: the shapes fit, checked above; the views are valid for their lifetimes, and `c` is
    // borrowed exclusively.
    let outcome = unsafe { multiply_gram(&gemm, 1, &SingleThread::default()) };
    debug_assert!(outcome.is_ok(), "a team of one has no peer that dies");
    Ok(())
}

/// One member's part of [`gram`] by a team of at most `members`.
///
/// It uses the team's counters 6 and 7, which must be zero at the start, one barrier, and no
/// scratch memory.
///
/// # Errors
///
/// [`PeerDied`] if a member died; C is then unspecified.
///
/// # Safety
///
/// - As [`multiply`], except for the scratch memory. B is A transposed.
///
/// # Examples
///
/// ```
/// use brigade::kernel::SingleThread;
/// use brigade::kernel::matmul::{Gemm, MatMut, MatRef, multiply_gram};
/// let a = [1.0, 2.0, 3.0, 4.0];
/// let mut c = [0.0; 4];
/// let operand = MatRef::row_major(&a, 2, 2)?.as_strided();
/// let result = MatMut::row_major(&mut c, 2, 2)?.as_strided();
/// let product = Gemm::new(operand, operand.transposed(), result);
/// // SAFETY: the shapes fit, B is A transposed, and the slices live on.
/// unsafe { multiply_gram(&product, 1, &SingleThread::default()) }.expect("no peer can die");
/// assert_eq!(c, [5.0, 11.0, 11.0, 25.0]);
/// # Ok::<(), brigade::Error>(())
/// ```
pub unsafe fn multiply_gram<T: Float, W: Team>(
    gemm: &Gemm<T>,
    members: usize,
    team: &W,
) -> std::result::Result<(), PeerDied> {
    let (size, k) = (gemm.c.rows, gemm.a.cols);
    let most = (size / (8 * members)).clamp(blocking::GRAM_COLUMNS, 4 * blocking::GRAM_COLUMNS);
    let width = blocking::balanced(size, most, 1);
    // The longest strips come first, so that the members end at about the same time.
    for columns in shares(team, STRIPS, size, width) {
        let first = columns.start;
        let part = Gemm {
            a: gemm.a.part(first..size, 0..k),
            b: gemm.b.part(0..k, columns.clone()),
            c: gemm.c.part(first..size, columns),
            ..*gemm
        };
        // SAFETY: the caller's conditions; the counter gives each strip to one member.
        unsafe { multiply(&part, std::ptr::null_mut(), 1, &SingleThread::default())? };
    }
    team.barrier()?;
    for columns in shares(team, MIRRORED, size, width) {
        for j in columns {
            // SAFETY: the caller's conditions; the barrier proves that everything below the
            // diagonal is complete, and the counter gives each strip to one member.
            unsafe { mirror_column(&gemm.c, j) };
        }
    }
    Ok(())
}

/// Copies the elements of column `j` below the diagonal to their mirror images.
///
/// # Safety
///
/// - C is square and valid. Until it returns, nothing else writes column `j` below the diagonal,
///   and nothing else reads or writes its mirror image.
unsafe fn mirror_column<T: Copy>(c: &Strided<*mut T>, j: usize) {
    for i in j + 1..c.rows {
        // SAFETY: i and j are below the size, and the caller guarantees C.
        let x = unsafe { c.at(i, j).read() };
        // SAFETY: as above.
        unsafe { c.at(j, i).write(x) };
    }
}

//! The entry points, and the choice among algorithms.
#![allow(unsafe_code)]

use super::blocking;
use super::gemm::Gemm;
use super::gemm_packed::{self, BlockSizes};
use super::gemm_unpacked;
use super::gemv;
use super::kernel::{Float, Kernel};
use super::shares::shares;
use super::views::{MatMut, MatRef};
use crate::error::Result;
use crate::kernel::{FloatMode, PeerDied, SingleThread, Team};

/// The counter of strips, for members that share a product but pack nothing together.
const STRIPS: usize = 0;

/// The alignment of the scratch memory of [`multiply`], in bytes.
pub const SCRATCH_ALIGN_BYTES: usize = blocking::ALIGN_BYTES;

/// `C = alpha * A * B + beta * C`, in the calling thread.
///
/// beta = 0 overwrites C without reading it.
///
/// # Shapes
///
/// A is m x k, B is k x n, C is m x n; any may be empty.
///
/// # Errors
///
/// [`Error::ShapeMismatch`](crate::Error::ShapeMismatch) if the shapes do not fit.
///
/// # Examples
///
/// ```
/// use brigade::kernel::matmul::{MatMut, MatRef, gemm};
/// let a = [1.0, 2.0, 3.0, 4.0];
/// let b = [5.0, 6.0, 7.0, 8.0];
/// let mut c = [0.0; 4];
/// gemm(
///     1.0,
///     MatRef::row_major(&a, 2, 2)?,
///     MatRef::row_major(&b, 2, 2)?,
///     0.0,
///     MatMut::row_major(&mut c, 2, 2)?,
/// )?;
/// assert_eq!(c, [19.0, 22.0, 43.0, 50.0]);
/// # Ok::<(), brigade::Error>(())
/// ```
pub fn gemm<T: Float>(
    alpha: T,
    a: MatRef<'_, T>,
    b: MatRef<'_, T>,
    beta: T,
    c: MatMut<'_, T>,
) -> Result<()> {
    gemm_with(Kernel::best(), alpha, a, b, beta, c)
}

/// [`gemm`] with a given micro-kernel.
///
/// # Errors
///
/// As [`gemm`].
///
/// # Examples
///
/// ```
/// use brigade::kernel::matmul::{Kernel, MatMut, MatRef, gemm_with};
/// for kernel in Kernel::all() {
///     let mut c = [1.0f32];
///     let three = MatRef::row_major(&[3.0], 1, 1)?;
///     gemm_with(kernel, 2.0, three, three, 0.5, MatMut::row_major(&mut c, 1, 1)?)?;
///     assert_eq!(c, [18.5]);
/// }
/// # Ok::<(), brigade::Error>(())
/// ```
pub fn gemm_with<T: Float>(
    kernel: Kernel,
    alpha: T,
    a: MatRef<'_, T>,
    b: MatRef<'_, T>,
    beta: T,
    mut c: MatMut<'_, T>,
) -> Result<()> {
    let gemm =
        Gemm { kernel, alpha, a: a.as_strided(), b: b.as_strided(), beta, c: c.as_strided() };
    gemm.check_shapes("matrix product")?;
    // SAFETY: the shapes fit, checked above; the views are valid for their lifetimes, and `c` is
    // borrowed exclusively; a team of one needs no scratch memory.
    let outcome = unsafe { multiply(&gemm, std::ptr::null_mut(), 1, &SingleThread::default()) };
    debug_assert!(outcome.is_ok(), "a team of one has no peer that dies");
    Ok(())
}

/// Bytes of scratch memory that [`multiply`] needs for a team of at most `members`.
///
/// Zero for a team of one, and otherwise at most 32 MiB, two packed panels of B.
///
/// # Examples
///
/// ```
/// use brigade::kernel::matmul::scratch_bytes;
/// assert_eq!(scratch_bytes::<f64>(4096, 4096, 4096, 1), 0);
/// assert_eq!(scratch_bytes::<f64>(4096, 4096, 4096, 2), 32 << 20);
/// ```
#[must_use]
pub fn scratch_bytes<T: Float>(m: usize, n: usize, k: usize, members: usize) -> usize {
    if members <= 1 { 0 } else { gemm_packed::scratch_bytes::<T>(m, n, k) }
}

/// The estimated time of a product in one process, in nanoseconds: from its operations, and from
/// the bytes that it must read and write.
pub(crate) fn alone_ns<T: Float>(m: usize, n: usize, k: usize) -> f64 {
    let (m, n, k, size) = (m as f64, n as f64, k as f64, size_of::<T>() as f64);
    let arithmetic_ns = 2.0 * m * n * k * size * blocking::NS_A_FLOP_BYTE;
    let memory_ns = (m * k + k * n + m * n) * size * blocking::NS_A_BYTE;
    arithmetic_ns.max(memory_ns)
}

/// How a product is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// Nothing to multiply: `C = beta * C`.
    Scale,
    /// One column: blocks of rows are shared.
    Gemv,
    /// Small: strips of the longer side are shared, and operands are read in place.
    Unpacked,
    /// Wide: strips of columns are shared, and each member packs its own operands.
    Strips,
    /// Panels of B are packed by all members together, and blocks of A are shared.
    Packed,
}

impl Algorithm {
    /// The fastest algorithm for this product.
    pub(super) fn of<T: Float>(gemm: &Gemm<T>, members: usize) -> Algorithm {
        let (m, n, k) = gemm.sizes();
        if k == 0 || gemm.alpha == T::ZERO {
            Algorithm::Scale
        } else if n == 1 {
            Algorithm::Gemv
        } else if gemm_unpacked::reads_well(gemm) {
            Algorithm::Unpacked
        } else if members > 1 && n >= blocking::WIDE * m {
            Algorithm::Strips
        } else {
            Algorithm::Packed
        }
    }
}

/// One member's part of a product that a team computes together.
///
/// When every member has returned `Ok`, C is complete. Members take work from the team's counters 0
/// to 5, which must be zero at the start, and use its barriers. The bits do not depend on the
/// number of members.
///
/// # Errors
///
/// [`PeerDied`] if a member died; C is then unspecified.
///
/// # Safety
///
/// - The shapes fit: see [`Gemm::check_shapes`].
/// - A, B and C are valid at their strides, for reading and C for writing; no two elements of C
///   coincide, and none is one of A or B; until all members have returned, only this team writes
///   any of them or reads C.
/// - `members` is at least the number of members that the team will have.
/// - `scratch` is [`scratch_bytes`] long for this product and `members`, aligned to
///   [`SCRATCH_ALIGN_BYTES`], the same memory for all members, and used for nothing else until
///   all have returned. It may be null if `members` is 1.
/// - All members pass the same product and `members`; addresses may differ from process to process.
///
/// # Examples
///
/// ```
/// use brigade::kernel::SingleThread;
/// use brigade::kernel::matmul::{Gemm, MatMut, MatRef, multiply};
/// let a = [1.0, 2.0, 3.0, 4.0];
/// let mut c = [1.0; 4];
/// let operand = MatRef::row_major(&a, 2, 2)?.as_strided();
/// let result = MatMut::row_major(&mut c, 2, 2)?.as_strided();
/// let product = Gemm { beta: -1.0, ..Gemm::new(operand, operand, result) };
/// let alone = SingleThread::default();
/// // SAFETY: the shapes fit, the slices live on, and a team of one needs no scratch memory.
/// unsafe { multiply(&product, std::ptr::null_mut(), 1, &alone) }.expect("no peer can die");
/// assert_eq!(c, [6.0, 9.0, 14.0, 21.0]);
/// # Ok::<(), brigade::Error>(())
/// ```
pub unsafe fn multiply<T: Float, W: Team>(
    gemm: &Gemm<T>,
    scratch: *mut u8,
    members: usize,
    team: &W,
) -> std::result::Result<(), PeerDied> {
    debug_assert!(gemm.check_shapes("matrix product").is_ok());
    if gemm.c.rows == 0 || gemm.c.cols == 0 {
        return Ok(());
    }
    let _mode = FloatMode::standard();
    let gemm = gemm.oriented();
    let algorithm = Algorithm::of(&gemm, members);
    // SAFETY: the caller's conditions are those of the callee.
    unsafe { run(algorithm, &gemm, scratch, members, team) }
}

/// One member's part of a product by `algorithm`.
///
/// # Safety
///
/// - As [`multiply`]; [`Algorithm::Gemv`] only for one column.
pub(super) unsafe fn run<T: Float, W: Team>(
    algorithm: Algorithm,
    gemm: &Gemm<T>,
    scratch: *mut u8,
    members: usize,
    team: &W,
) -> std::result::Result<(), PeerDied> {
    match algorithm {
        Algorithm::Scale => {
            // SAFETY: the caller's conditions.
            strips(gemm, 1, team, |strip| unsafe { scale(strip) });
        }
        Algorithm::Gemv => {
            // SAFETY: the caller's conditions; C has one column.
            unsafe { gemv::multiply(gemm, members, team) };
        }
        Algorithm::Unpacked => {
            // SAFETY: the caller's conditions; the counter gives each strip to one member.
            strips(gemm, members, team, |strip| unsafe { gemm_unpacked::multiply(strip) });
        }
        Algorithm::Strips => {
            strips(gemm, members, team, |strip| {
                let (block_sizes, alone) = (BlockSizes::new(strip, 1), SingleThread::default());
                // SAFETY: the caller's conditions; the counter gives each strip to one member,
                // which computes it alone and needs no scratch memory.
                let outcome = unsafe {
                    gemm_packed::multiply(strip, &block_sizes, std::ptr::null_mut(), 1, &alone)
                };
                debug_assert!(outcome.is_ok(), "a team of one has no peer that dies");
            });
        }
        Algorithm::Packed => {
            let block_sizes = BlockSizes::new(gemm, members);
            // SAFETY: the caller's conditions; the plan fits the scratch memory.
            unsafe { gemm_packed::multiply(gemm, &block_sizes, scratch, members, team)? };
        }
    }
    Ok(())
}

/// Calls `work` with strips of the longer side of C, which the team's counter gives out.
fn strips<T: Float, W: Team>(gemm: &Gemm<T>, members: usize, team: &W, work: impl Fn(&Gemm<T>)) {
    let (m, n, k) = gemm.sizes();
    let by_rows = m > n;
    let table = T::table(gemm.kernel);
    let (length, unit) = if by_rows { (m, table.rows()) } else { (n, table.columns) };
    let pieces = if members == 1 { 1 } else { blocking::STRIPS_A_MEMBER * members };
    let width = length.div_ceil(pieces).next_multiple_of(unit);
    for part in shares(team, STRIPS, length, width) {
        let (rows, columns) = if by_rows { (part, 0..n) } else { (0..m, part) };
        work(&Gemm {
            a: gemm.a.part(rows.clone(), 0..k),
            b: gemm.b.part(0..k, columns.clone()),
            c: gemm.c.part(rows, columns),
            ..*gemm
        });
    }
}

/// `C = beta * C`
///
/// # Safety
///
/// - C is valid, and only the caller writes it.
unsafe fn scale<T: Float>(gemm: &Gemm<T>) {
    for j in 0..gemm.c.cols {
        for i in 0..gemm.c.rows {
            let at = gemm.c.at(i, j);
            let value = if gemm.beta == T::ZERO {
                T::ZERO
            } else {
                // SAFETY: the element exists, and the caller guarantees C.
                gemm.beta * unsafe { at.read() }
            };
            // SAFETY: the element exists, and the caller guarantees C.
            unsafe { at.write(value) };
        }
    }
}

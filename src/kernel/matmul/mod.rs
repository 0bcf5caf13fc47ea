//! Matrix product of strided slices.
//!
//! `C = alpha * A * B + beta * C` for `f32` and `f64`, any strides, no hidden copies of a matrix:
//! [`gemm`] alone, [`multiply`] by a team that shares one product. The design is that of BLIS (Van
//! Zee and van de Geijn, "BLIS: A Framework for Rapidly Instantiating BLAS Functionality") and of
//! Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication".
//!
//! # Guarantees
//!
//! - beta = 0 overwrites C, whatever it held; alpha = 0 or k = 0 does not read A and B.
//! - Infinities and NaN follow IEEE 754 through every product and sum.
//! - With u = EPSILON, `|error of C| <= u * (k + 4) * (|alpha| * |A| * |B| + |beta| * |C|)`,
//!   elementwise.
//! - The bits do not depend on the number of members, on the layout of the matrices (unless one
//!   is a vector), or on the processor, as long as it has fused multiply-add: AVX-512, AVX2 and
//!   NEON agree. The portable code on x86-64 rounds every product, so it differs.
//!
//! # Map
//!
//! | file | what |
//! |---|---|
//! | `loops` | the five loops over packed operands, by one or several members |
//! | `direct` | small products without packing |
//! | `matvec` | one row or one column |
//! | `gram`, `batch` | A times its transpose; many small products |
//! | `tiles`, `buffer` | one tile of C in any layout; memory for packed blocks |
//! | `micro`, `micro_vector` | what the loops call, generic over the instruction set |
//! | `simd`, `avx512`, `avx2`, `portable` | instruction sets |
//! | `table` | the choice among them |
//! | `params` | block sizes, with reasons and measurements |
//! | `view` | strided matrices, safe and raw |
//! | `naive` | the oracle |
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod batch;
mod buffer;
mod direct;
mod element;
mod gram;
mod loops;
mod matvec;
mod micro;
mod micro_vector;

mod naive;
mod params;
mod portable;
mod simd;
mod table;
mod tiles;
mod view;

#[cfg(test)]
mod tests;

use std::ops::Range;

pub use batch::multiply_batch;
pub use element::Element;
pub use gram::{gram, multiply_gram};
pub use naive::naive;

pub(crate) use params::SHARED_NS;
pub use table::{KERNEL_VARIABLE, Kernel};
pub use view::{MatMut, MatRef, Strided};

use crate::error::{Error, Result};
use crate::kernel::{FloatMode, PeerDied, SingleThread, Team};
use crate::shape::Shape;
use loops::Plan;
use tiles::Gemm;

/// Counter of strips, where a product is shared without packing together.
const STRIPS: usize = 0;

/// The alignment of the scratch memory of [`multiply`], in bytes.
pub const SCRATCH_ALIGN_BYTES: usize = params::ALIGN_BYTES;

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
/// [`Error::ShapeMismatch`] if the shapes do not fit.
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
pub fn gemm<T: Element>(
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
pub fn gemm_with<T: Element>(
    kernel: Kernel,
    alpha: T,
    a: MatRef<'_, T>,
    b: MatRef<'_, T>,
    beta: T,
    mut c: MatMut<'_, T>,
) -> Result<()> {
    check_shapes("matrix product", a.shape(), b.shape(), c.shape())?;
    let product =
        Product { kernel, alpha, a: a.as_strided(), b: b.as_strided(), beta, c: c.as_strided() };
    // SAFETY: the shapes fit, checked above; the views are valid for their lifetimes, and `c` is
    // borrowed exclusively; a team of one needs no scratch memory.
    let outcome = unsafe { multiply(&product, std::ptr::null_mut(), 1, &SingleThread::default()) };
    debug_assert!(outcome.is_ok(), "a team of one has no peer that dies");
    Ok(())
}

/// Checks that A is m x k, B is k x n and C is m x n.
///
/// # Errors
///
/// [`Error::ShapeMismatch`] that names the pair that does not fit.
pub fn check_shapes(
    operation: &'static str,
    a: [usize; 2],
    b: [usize; 2],
    c: [usize; 2],
) -> Result<()> {
    let mismatch = |left: [usize; 2], right: [usize; 2], rule| Error::ShapeMismatch {
        operation,
        left: Shape::from(left),
        right: Shape::from(right),
        rule,
    };
    if a[1] != b[0] {
        return Err(mismatch(a, b, "columns of the left must be rows of the right"));
    }
    if [a[0], b[1]] != c {
        let rule = "the result has the rows of the left and the columns of the right operand";
        return Err(mismatch([a[0], b[1]], c, rule));
    }
    Ok(())
}

/// One product `C = alpha * A * B + beta * C`, as every member of a team is told it.
#[derive(Debug, Clone, Copy)]
pub struct Product<T> {
    /// The micro-kernel, the same for all members.
    pub kernel: Kernel,
    /// Factor of the product.
    pub alpha: T,
    /// The left operand, m x k.
    pub a: Strided<T>,
    /// The right operand, k x n.
    pub b: Strided<T>,
    /// Factor of C before; zero means that it is not read.
    pub beta: T,
    /// The result, m x n.
    pub c: Strided<T>,
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
pub fn scratch_bytes<T: Element>(m: usize, n: usize, k: usize, members: usize) -> usize {
    if members <= 1 { 0 } else { loops::scratch_bytes::<T>(m, n, k) }
}

/// What a product takes one process, in nanoseconds: an estimate from the operations and the
/// bytes that it takes at least.
pub(crate) fn alone_ns<T: Element>(m: usize, n: usize, k: usize) -> f64 {
    let (m, n, k, size) = (m as f64, n as f64, k as f64, size_of::<T>() as f64);
    let arithmetic_ns = 2.0 * m * n * k * size * params::NS_A_FLOP_BYTE;
    let memory_ns = (m * k + k * n + m * n) * size * params::NS_A_BYTE;
    arithmetic_ns.max(memory_ns)
}

/// Whether a team of two at hand finishes a product sooner than its caller alone.
///
/// # Examples
///
/// ```
/// use brigade::kernel::matmul::worth_sharing;
/// assert!(!worth_sharing::<f64>(64, 64, 64));
/// assert!(worth_sharing::<f64>(512, 512, 512));
/// assert!(worth_sharing::<f32>(4096, 1, 4096));
/// ```
#[must_use]
pub fn worth_sharing<T: Element>(m: usize, n: usize, k: usize) -> bool {
    alone_ns::<T>(m, n, k) >= SHARED_NS
}

/// How a product is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Path {
    /// Nothing to multiply: `C = beta * C`.
    Scale,
    /// One column: rows are shared.
    Matvec,
    /// Small: strips of the longer side are shared, nothing is packed together.
    Direct,
    /// Wide: strips of columns are shared, nothing is packed together.
    Strips,
    /// Panels of B are packed together, blocks of A shared.
    Panels,
}

impl Path {
    fn of<T: Element>(gemm: &Gemm<T>, members: usize) -> Path {
        let (m, n, k) = gemm.sizes();
        if k == 0 || gemm.alpha == T::ZERO {
            Path::Scale
        } else if n == 1 {
            Path::Matvec
        } else if direct::reads_well(gemm) {
            Path::Direct
        } else if members > 1 && n >= params::WIDE * m {
            Path::Strips
        } else {
            Path::Panels
        }
    }
}

/// One member's part of a product that a team computes together.
///
/// When every member has returned `Ok`, C is complete. Members take work from the team's
/// counters 0 to 5, which must be zero at the start, and meet at its barriers; the bits do not
/// depend on how many there are.
///
/// # Errors
///
/// [`PeerDied`] if a member died; C is then unspecified.
///
/// # Safety
///
/// - The shapes fit: see [`check_shapes`].
/// - A, B and C are valid at their strides, for reading and C for writing; no two elements of C
///   coincide, and none is one of A or B; nobody but this team writes any of them or reads C
///   meanwhile.
/// - `members` is at least the number of members that the team will have.
/// - `scratch` is [`scratch_bytes`] long for this product and `members`, aligned to
///   [`SCRATCH_ALIGN_BYTES`], the same memory for all members, and used for nothing else until
///   all have returned. It may be null if `members` is 1.
/// - All members pass the same product and `members`; addresses may differ from process to process.
pub unsafe fn multiply<T: Element, W: Team>(
    product: &Product<T>,
    scratch: *mut u8,
    members: usize,
    team: &W,
) -> std::result::Result<(), PeerDied> {
    let Product { kernel, alpha, a, b, beta, c } = *product;
    if c.rows == 0 || c.cols == 0 {
        return Ok(());
    }
    let _mode = FloatMode::standard();
    let gemm = Gemm { table: T::table(kernel), alpha, a, b, beta, c }.oriented();
    let path = Path::of(&gemm, members);
    // SAFETY: the caller's conditions are those of the callee.
    unsafe { follow(path, &gemm, scratch, members, team) }
}

/// One member's part of a product along `path`.
///
/// # Safety
///
/// - As [`multiply`]; [`Path::Matvec`] only for one column.
unsafe fn follow<T: Element, W: Team>(
    path: Path,
    gemm: &Gemm<T>,
    scratch: *mut u8,
    members: usize,
    team: &W,
) -> std::result::Result<(), PeerDied> {
    match path {
        Path::Scale => {
            // SAFETY: the caller's conditions.
            strips(gemm, 1, team, |strip| unsafe { scale(strip) });
        }
        Path::Matvec => {
            // SAFETY: the caller's conditions; C has one column.
            unsafe { matvec::multiply(gemm, members, team) };
        }
        Path::Direct => {
            // SAFETY: the caller's conditions; the counter gives each strip to one member.
            strips(gemm, members, team, |strip| unsafe { direct::multiply(strip) });
        }
        Path::Strips => {
            strips(gemm, members, team, |strip| {
                let (plan, alone) = (Plan::new(strip, 1), SingleThread::default());
                // SAFETY: the caller's conditions; the counter gives each strip to one member,
                // who computes it alone and needs no scratch memory.
                let outcome =
                    unsafe { loops::multiply(strip, &plan, std::ptr::null_mut(), 1, &alone) };
                debug_assert!(outcome.is_ok(), "a team of one has no peer that dies");
            });
        }
        Path::Panels => {
            let plan = Plan::new(gemm, members);
            // SAFETY: the caller's conditions; the plan fits the scratch memory.
            unsafe { loops::multiply(gemm, &plan, scratch, members, team)? };
        }
    }
    Ok(())
}

/// Calls `work` with strips of the longer side of C, as the team's counter gives them out.
fn strips<T: Element, W: Team>(gemm: &Gemm<T>, members: usize, team: &W, work: impl Fn(&Gemm<T>)) {
    let (m, n, k) = gemm.sizes();
    let by_rows = m > n;
    let (length, unit) = if by_rows { (m, gemm.table.rows()) } else { (n, gemm.table.columns) };
    let pieces = if members == 1 { 1 } else { params::STRIPS_A_MEMBER * members };
    let width = length.div_ceil(pieces).next_multiple_of(unit);
    loop {
        let first = team.take(STRIPS, 1) * width;
        if first >= length {
            return;
        }
        let part: Range<usize> = first..length.min(first + width);
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
/// - C is valid, and nobody else writes it.
unsafe fn scale<T: Element>(gemm: &Gemm<T>) {
    for j in 0..gemm.c.cols {
        for i in 0..gemm.c.rows {
            let at = gemm.c.at(i, j);
            let value = if gemm.beta == T::ZERO {
                T::ZERO
            } else {
                // SAFETY: the element exists, and the caller vouches for C.
                gemm.beta * unsafe { at.read() }
            };
            // SAFETY: the element exists, and the caller vouches for C.
            unsafe { at.write(value) };
        }
    }
}

//! The operations that a micro-kernel needs from an instruction set.
#![allow(unsafe_code)]

use std::ops::{Add, Mul};

/// Vectors of one instruction set.
///
/// # Safety
///
/// Every `unsafe` method here has these conditions:
/// - the processor has the instruction set;
/// - pointers are valid for the lanes that are read or written (no alignment is needed).
///
/// The methods are `inline(always)` without a target feature. The compiler inlines them into the
/// generic bodies in `microkernel.rs`, `packing.rs` and `gemv_kernel.rs`, and those into the
/// functions of [`MicroKernels`](super::microkernel_table::MicroKernels), which have the feature.
pub(super) trait Simd: Copy + 'static {
    /// The element type, `f32` or `f64`; its default is zero.
    type Elem: Copy
        + Default
        + PartialEq
        + Add<Output = Self::Elem>
        + Mul<Output = Self::Elem>
        + 'static;
    /// A vector of `LANES` elements.
    type Vector: Copy;
    /// The lanes that take part in a masked load or store.
    type Mask: Copy;

    /// The number of elements of a vector.
    const LANES: usize;

    /// The mask of the first `count` lanes, all of them from `LANES` on.
    unsafe fn mask(count: usize) -> Self::Mask;
    /// All lanes zero.
    unsafe fn zero() -> Self::Vector;
    /// All lanes `x`.
    unsafe fn splat(x: Self::Elem) -> Self::Vector;
    /// Reads `LANES` elements.
    unsafe fn load(from: *const Self::Elem) -> Self::Vector;
    /// Writes `LANES` elements.
    unsafe fn store(to: *mut Self::Elem, v: Self::Vector);
    /// Reads the lanes of the mask, zero in the others.
    unsafe fn load_masked(from: *const Self::Elem, mask: Self::Mask) -> Self::Vector;
    /// Writes the lanes of the mask.
    unsafe fn store_masked(to: *mut Self::Elem, mask: Self::Mask, v: Self::Vector);
    /// `a * b`
    unsafe fn mul(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a * b + c`, rounded once if the instruction set can do that.
    unsafe fn fma(a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// Prefetches the cache line at `at`, which need not be valid.
    fn prefetch(at: *const Self::Elem);

    /// Transposes 8 rows, `from_step` elements apart, of `LANES` elements each into `LANES` rows
    /// of 8 elements, `to_step` elements apart.
    #[inline(always)]
    unsafe fn transpose8(
        from: *const Self::Elem,
        from_step: isize,
        to: *mut Self::Elem,
        to_step: usize,
    ) {
        for row in 0..8 {
            let source = from.wrapping_offset(row as isize * from_step);
            for lane in 0..Self::LANES {
                // SAFETY: row < 8 and lane < LANES, which the caller guarantees.
                let x = unsafe { source.wrapping_add(lane).read() };
                // SAFETY: `to` is valid for LANES rows of 8 elements, to_step apart.
                unsafe { to.wrapping_add(lane * to_step + row).write(x) };
            }
        }
    }
}

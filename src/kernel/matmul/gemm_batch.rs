//! Many products by one team.
#![allow(unsafe_code)]

use super::gemm::Gemm;
use super::kernel::Float;
use super::multiply::multiply;
use super::shares::shares;
use crate::kernel::{SingleThread, Team};

/// The counter of products.
const PRODUCTS: usize = 8;

/// One member's part of `count` products: each is computed by one member alone.
///
/// It is for products that are too small to share; [`multiply`] shares a large one. It uses the
/// team's counter 8, which must be zero at the start, and no barrier or scratch memory. When every
/// member has returned, all products are complete.
///
/// # Safety
///
/// `product` returns the same products in all members. For each index below `count`:
///
/// - The shapes fit: see [`Gemm::check_shapes`].
/// - A, B and C are valid at their strides, for reading and C for writing; no two elements of the
///   Cs coincide, and none is one of an A or B; until all members have returned, only this team
///   writes any of them or reads a C.
///
/// # Examples
///
/// ```
/// use brigade::kernel::SingleThread;
/// use brigade::kernel::matmul::{Gemm, MatMut, MatRef, multiply_batch};
/// // Three products of a 1 x 2 by a 2 x 1 matrix.
/// let a = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
/// let mut c = [0.0; 3];
/// let (left, to) = (MatRef::row_major(&a, 3, 2)?, MatMut::row_major(&mut c, 3, 1)?.as_strided());
/// let product = |i: usize| {
///     let row = left.block(i..=i, ..).expect("it exists");
///     let element = to.block(i..=i, ..).expect("it exists");
///     Gemm::new(row.as_strided(), row.transposed().as_strided(), element)
/// };
/// // SAFETY: the operands live on, fit, and the results are three different elements.
/// unsafe { multiply_batch(3, product, &SingleThread::default()) };
/// assert_eq!(c, [5.0, 25.0, 61.0]);
/// # Ok::<(), brigade::Error>(())
/// ```
pub unsafe fn multiply_batch<T: Float, W: Team>(
    count: usize,
    product: impl Fn(usize) -> Gemm<T>,
    team: &W,
) {
    for index in shares(team, PRODUCTS, count, 1).flatten() {
        // SAFETY: the caller's conditions; the counter gives each product to one member, which
        // computes it alone without scratch memory.
        let outcome =
            unsafe { multiply(&product(index), std::ptr::null_mut(), 1, &SingleThread::default()) };
        debug_assert!(outcome.is_ok(), "a team of one has no peer that dies");
    }
}

//! Many products by one team.
#![allow(unsafe_code)]

use super::element::Element;
use super::{Product, multiply};
use crate::kernel::{SingleThread, Team};

/// Counter of products.
const PRODUCTS: usize = 8;

/// One member's part of `count` products: each is computed by one member alone.
///
/// For products that are too small to share; a large one is better shared by
/// [`multiply`]. Uses the team's counter 8, which must be zero at the start, no
/// barrier and no scratch memory. When every member has returned, all products are complete.
///
/// # Safety
///
/// For the product of every index below `count`, which `product` gives alike to all members:
///
/// - The shapes fit: see [`check_shapes`](super::check_shapes).
/// - A, B and C are valid at their strides, for reading and C for writing; no two elements of the
///   Cs coincide, and none is one of an A or B; nobody but this team writes any of them or reads
///   a C meanwhile.
///
/// # Examples
///
/// ```
/// use brigade::kernel::SingleThread;
/// use brigade::kernel::matmul::{Kernel, MatMut, MatRef, Product, multiply_batch};
/// // Three products of a 1 x 2 by a 2 x 1 matrix.
/// let a = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
/// let mut c = [0.0; 3];
/// let to = MatMut::row_major(&mut c, 3, 1)?.as_strided();
/// let product = |i: usize| {
///     let row = MatRef::row_major(&a[2 * i..2 * i + 2], 1, 2).expect("two elements");
///     let mut c = to;
///     c.data = c.data.wrapping_add(i);
///     c.rows = 1;
///     let (a, b) = (row.as_strided(), row.transposed().as_strided());
///     Product { kernel: Kernel::best(), alpha: 1.0, a, b, beta: 0.0, c }
/// };
/// // SAFETY: the operands live on, fit, and the results are three different elements.
/// unsafe { multiply_batch(3, product, &SingleThread::default()) };
/// assert_eq!(c, [5.0, 25.0, 61.0]);
/// # Ok::<(), brigade::Error>(())
/// ```
pub unsafe fn multiply_batch<T: Element, W: Team>(
    count: usize,
    product: impl Fn(usize) -> Product<T>,
    team: &W,
) {
    loop {
        let index = team.take(PRODUCTS, 1);
        if index >= count {
            return;
        }
        // SAFETY: the caller's conditions; the counter gives each product to one member, who
        // computes it alone and needs no scratch memory.
        let outcome =
            unsafe { multiply(&product(index), std::ptr::null_mut(), 1, &SingleThread::default()) };
        debug_assert!(outcome.is_ok(), "a team of one has no peer that dies");
    }
}

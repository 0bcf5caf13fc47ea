//! The product that updates a part of a matrix.
#![allow(unsafe_code)]

use crate::kernel::SingleThread;
use crate::kernel::matmul::{Float, Gemm, Kernel, Strided, multiply};

/// `C = C - A B`
///
/// # Safety
///
/// - The shapes fit: A has the rows of C, B its columns, and A as many columns as B rows.
/// - A, B and C are valid at their strides. No element of C is one of A or B, and until it returns
///   nothing else accesses C or writes A or B.
pub(super) unsafe fn subtract_product<T: Float>(
    a: Strided<*mut T>,
    b: Strided<*mut T>,
    c: Strided<*mut T>,
) {
    let kernel = Kernel::chosen();
    let gemm = Gemm { kernel, alpha: -T::ONE, beta: T::ONE, ..Gemm::new(a, b, c) };
    // SAFETY: the caller's conditions; a team of one needs no scratch memory.
    let outcome = unsafe { multiply(&gemm, std::ptr::null_mut(), 1, &SingleThread::default()) };
    debug_assert!(outcome.is_ok(), "a team of one has no peer that dies");
}

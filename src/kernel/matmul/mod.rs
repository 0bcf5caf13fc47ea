//! Matrix product of strided slices.
//!
//! `C = alpha * A * B + beta * C` for `f32` and `f64`, any strides, no hidden copies of a matrix:
//! [`gemm`] in one thread, [`multiply`] by a team that shares one product. The design is that of
//! BLIS (Van Zee and van de Geijn, "BLIS: A Framework for Rapidly Instantiating BLAS
//! Functionality") and of Goto and van de Geijn, "Anatomy of High-Performance Matrix
//! Multiplication".
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
//! Each file uses only files in the rows below it.
//!
//! | file | what |
//! |---|---|
//! | `gram`, `gemm_batch` | A times its transpose; many small products |
//! | `multiply` | the entry points, and the choice among the ways to compute a product |
//! | `gemm_packed` | the five loops over packed operands, by one or several members |
//! | `gemm_unpacked` | small products, without packing |
//! | `gemv` | matrix times vector |
//! | `reference` | the product by its definition, the oracle of the tests |
//! | `tile`, `pack_buffer`, `shares` | one tile of C in any layout; memory for packed blocks; shares of a team |
//! | `gemm` | what is to be computed: factors, operands, the shape check |
//! | `views`, `strided` | matrices within slices; shape and strides of any matrix |
//! | `kernel` | the choice of instruction set; element types |
//! | `arch` | vectors of AVX-512, AVX2 and portable code, and micro-kernels compiled for each |
//! | `microkernel`, `packing`, `gemv_kernel` | the generic micro-kernels, which `arch` compiles |
//! | `microkernel_table` | the micro-kernels of an instruction set, as function pointers |
//! | `simd` | the operations that an instruction set must offer |
//! | `blocking` | block sizes, with reasons and measurements |

mod arch;
mod blocking;
mod gemm;
mod gemm_batch;
mod gemm_packed;
mod gemm_unpacked;
mod gemv;
mod gemv_kernel;
mod gram;
mod kernel;
mod microkernel;
mod microkernel_table;
mod multiply;
mod pack_buffer;
mod packing;
mod reference;
mod shares;
mod simd;
mod strided;
mod tile;
mod views;

#[cfg(test)]
mod tests;

pub(crate) use blocking::SHARED_NS;
pub use gemm::Gemm;
pub(crate) use gemm::check_operands;
pub use gemm_batch::multiply_batch;
pub use gram::{gram, multiply_gram};
pub use kernel::{Float, KERNEL_VARIABLE, Kernel};
pub(crate) use multiply::alone_ns;
pub use multiply::{SCRATCH_ALIGN_BYTES, gemm, gemm_with, multiply, scratch_bytes};
pub use reference::naive;
pub(in crate::kernel) use shares::shares;
pub use strided::{Position, Strided};
pub use views::{MatBase, MatMut, MatRef};

//! Vector types and compiled micro-kernels of each instruction set.

#[macro_use]
mod macros;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

#[cfg(target_arch = "x86_64")]
pub(super) use avx2::{F32x8, F64x4};
#[cfg(target_arch = "x86_64")]
pub(super) use avx512::{F32x16, F64x8};
pub(super) use portable::Portable;

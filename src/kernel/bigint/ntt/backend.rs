//! The passes compiled for each kind of processor.
#![allow(unsafe_code)]

use std::ops::Range;
use std::sync::OnceLock;

#[cfg(target_arch = "x86_64")]
use super::arch::avx2::{self, F64Crt, F64Field};
#[cfg(target_arch = "x86_64")]
use super::arch::avx512::U64x8;
use super::arch::portable::{Portable, Scalar};
use super::butterflies::Field;
use super::crt::IntegerCrt;
use super::dispatch;
use super::passes;
use super::plan::{Line, Node, Plan};
use super::splitting::Digits;
use super::twiddles::{Form, Table};

/// Which instructions the transform uses. The product has the same limbs with each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backend {
    /// 64-bit integer multiplications; any processor.
    Portable,
    /// AVX2 and FMA: doubles in four lanes.
    Fma,
    /// AVX-512 F, BW, DQ, VL, IFMA and VBMI2: 52-bit multiplications in eight lanes.
    Ifma,
}

impl Backend {
    /// Every backend that this processor has, fastest last.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::kernel::bigint::Backend;
    /// assert_eq!(Backend::all()[0], Backend::Portable);
    /// ```
    #[must_use]
    pub fn all() -> &'static [Self] {
        match (has_fma(), has_ifma()) {
            (true, true) => &[Self::Portable, Self::Fma, Self::Ifma],
            (true, false) => &[Self::Portable, Self::Fma],
            _ => &[Self::Portable],
        }
    }

    /// The fastest that this processor has, or the one that the environment variable
    /// `BRIGADE_BIGINT` (`portable`, `fma` or `ifma`) names, if the processor has it. Read once.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::kernel::bigint::Backend;
    /// assert!(Backend::all().contains(&Backend::detect()));
    /// ```
    #[must_use]
    pub fn detect() -> Self {
        static BACKEND: OnceLock<Backend> = OnceLock::new();
        *BACKEND.get_or_init(|| match std::env::var("BRIGADE_BIGINT") {
            Ok(name) if name == "portable" => Self::Portable,
            Ok(name) if name == "fma" && has_fma() => Self::Fma,
            _ => Self::all().last().copied().unwrap_or(Self::Portable),
        })
    }

    /// Whether this processor has what the backend needs.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::kernel::bigint::Backend;
    /// assert!(Backend::Portable.is_available());
    /// ```
    #[must_use]
    pub fn is_available(self) -> bool {
        Self::all().contains(&self)
    }
}

#[cfg(target_arch = "x86_64")]
fn has_fma() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
}

#[cfg(not(target_arch = "x86_64"))]
const fn has_fma() -> bool {
    false
}

#[cfg(target_arch = "x86_64")]
fn has_ifma() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512ifma")
        && is_x86_feature_detected!("avx512vbmi2")
}

#[cfg(not(target_arch = "x86_64"))]
const fn has_ifma() -> bool {
    false
}

/// Whole passes, each compiled with the instructions of one backend.
///
/// # Safety
///
/// Every function: the processor has what the backend needs, and what the function of the same
/// name in [`passes`] or [`super::crt`] asks of its memory.
pub(super) trait Kernel {
    /// How its tables hold factors.
    const FORM: Form;

    /// See [`passes::first`].
    unsafe fn first(data: *mut Line, operand: Digits<'_>, plan: Plan, chunk: usize, table: &Table);
    /// See [`passes::forward`]; `layers` is 1 to 4.
    unsafe fn forward(
        data: *mut Line,
        node: Node,
        nodes: usize,
        layers: u32,
        phase: usize,
        table: &Table,
    );
    /// See [`passes::leaves`].
    unsafe fn leaves(a: *mut Line, b: *const Line, leaf: Node, leaves: usize, table: &Table);
    /// See [`passes::inverse`]; `layers` is 1 to 4.
    unsafe fn inverse(data: *mut Line, node: Node, nodes: usize, layers: u32, table: &Table);
    /// See [`passes::last`].
    unsafe fn last(data: *mut Line, plan: Plan, chunk: usize, table: &Table);
    /// See [`super::crt::reconstruct`].
    unsafe fn reconstruct(
        residues: [*const Line; 3],
        plan: &Plan,
        lines: Range<usize>,
        out: *mut u8,
        out_bytes: usize,
    ) -> u64;
}

/// Defines a kernel: the arithmetic of its first pass and of the others, its leaf products and its
/// joining of residues. The attributes stand before each function, so that it is compiled for an
/// instruction set: a generic function cannot choose its instructions by a parameter.
macro_rules! kernel {
    (
        $(#[$documentation:meta])* $kernel:ident, $form:expr, $first:ty, $other:ty, $leaves:path,
        $crt:ty, $(#[$attribute:meta])*
    ) => {
        $(#[$documentation])*
        pub(super) struct $kernel;

        impl Kernel for $kernel {
            const FORM: Form = $form;

            $(#[$attribute])*
            unsafe fn first(
                data: *mut Line,
                operand: Digits<'_>,
                plan: Plan,
                chunk: usize,
                table: &Table,
            ) {
                // SAFETY: by this function's contract.
                unsafe { dispatch::first::<$first>(data, operand, plan, chunk, table) }
            }

            $(#[$attribute])*
            unsafe fn forward(
                data: *mut Line,
                node: Node,
                nodes: usize,
                layers: u32,
                phase: usize,
                table: &Table,
            ) {
                // SAFETY: by this function's contract.
                unsafe { dispatch::forward::<$other>(data, node, nodes, layers, phase, table) }
            }

            $(#[$attribute])*
            unsafe fn leaves(
                a: *mut Line,
                b: *const Line,
                leaf: Node,
                leaves: usize,
                table: &Table,
            ) {
                // SAFETY: by this function's contract.
                unsafe { $leaves(a, b, leaf, leaves, table) }
            }

            $(#[$attribute])*
            unsafe fn inverse(
                data: *mut Line,
                node: Node,
                nodes: usize,
                layers: u32,
                table: &Table,
            ) {
                // SAFETY: by this function's contract.
                unsafe { dispatch::inverse::<$other>(data, node, nodes, layers, table) }
            }

            $(#[$attribute])*
            unsafe fn last(data: *mut Line, plan: Plan, chunk: usize, table: &Table) {
                // SAFETY: by this function's contract.
                unsafe { dispatch::last::<$other>(data, plan, chunk, table) }
            }

            $(#[$attribute])*
            unsafe fn reconstruct(
                residues: [*const Line; 3],
                plan: &Plan,
                lines: Range<usize>,
                out: *mut u8,
                out_bytes: usize,
            ) -> u64 {
                // SAFETY: by this function's contract.
                unsafe { dispatch::reconstruct::<$crt>(residues, plan, lines, out, out_bytes) }
            }
        }
    };
}

kernel!(
    /// The kernel of [`Backend::Portable`].
    PortableKernel, Form::Integers, Field<Portable>, Field<Scalar>, passes::leaves::<Portable>,
    IntegerCrt<Portable>,
);

#[cfg(target_arch = "x86_64")]
kernel!(
    /// The kernel of [`Backend::Fma`].
    FmaKernel, Form::Doubles, F64Field, F64Field, avx2::leaves, F64Crt,
    #[target_feature(enable = "avx2,fma")]
);

#[cfg(target_arch = "x86_64")]
kernel!(
    /// The kernel of [`Backend::Ifma`].
    IfmaKernel, Form::Integers, Field<U64x8>, Field<U64x8>, passes::leaves::<U64x8>,
    IntegerCrt<U64x8>,
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512ifma,avx512vbmi2,bmi2")]
);

//! The passes compiled for each kind of processor.
#![allow(unsafe_code)]

use std::ops::Range;
use std::sync::OnceLock;

#[cfg(target_arch = "x86_64")]
use super::arch::avx2::{self, F64Crt, F64Field};
#[cfg(target_arch = "x86_64")]
use super::arch::avx512::U64x8;
use super::arch::portable::{PortableLanes, SingleLane};
use super::butterflies::IntegerField;
use super::crt::{self, IntegerCrt};
use super::passes::{self, Forward, Inverse, layers};
use super::plan::{Line, Node, TransformPlan};
use super::splitting::Digits;
use super::twiddles::{ResidueKind, TwiddleTable};

/// Which instructions the transform uses. The product has the same limbs with each.
///
/// # Examples
///
/// ```
/// use brigade::kernel::bigint::{Backend, mul_by, mul_scratch_limbs};
/// for &backend in Backend::all() {
///     let mut out = [0; 4];
///     let mut scratch = vec![0; mul_scratch_limbs(2, 2)];
///     mul_by(backend, &mut out, &[1, 1], &[2, 3], &mut scratch);
///     assert_eq!(out, [2, 5, 3, 0], "{backend:?}");
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backend {
    /// 64-bit integer multiplications; any processor.
    Portable,
    /// AVX2 and FMA: `f64` in four lanes.
    Fma,
    /// AVX-512 F, BW, DQ, VL, IFMA and VBMI2: 52-bit multiplications in eight lanes.
    Ifma,
}

impl Backend {
    /// Every backend that this processor supports, the fastest last.
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

    /// The fastest backend that this processor supports, or the one that the environment variable
    /// `BRIGADE_BIGINT` (`portable`, `fma` or `ifma`) names, if the processor supports it. The
    /// variable is read once.
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
/// Every function: the processor has what the backend needs, and the memory is as the function of
/// the same name in [`passes`] or [`super::crt`] requires.
pub(super) trait TransformKernel {
    /// The kind of residues.
    const KIND: ResidueKind;

    /// See [`passes::first`].
    unsafe fn first(
        data: *mut Line,
        operand: Digits<'_>,
        plan: TransformPlan,
        chunk: usize,
        table: &TwiddleTable,
    );
    /// See [`passes::layers`]: `log` forward layers, 1 to 4, the first `phase` after a reduction.
    unsafe fn forward(
        data: *mut Line,
        node: Node,
        nodes: usize,
        log: u32,
        phase: usize,
        table: &TwiddleTable,
    );
    /// See [`passes::leaves`].
    unsafe fn leaves(a: *mut Line, b: *const Line, leaf: Node, leaves: usize, table: &TwiddleTable);
    /// See [`passes::layers`]: `log` inverse layers, 1 to 4.
    unsafe fn inverse(data: *mut Line, node: Node, nodes: usize, log: u32, table: &TwiddleTable);
    /// See [`passes::last`].
    unsafe fn last(data: *mut Line, plan: TransformPlan, chunk: usize, table: &TwiddleTable);
    /// See [`super::crt::reconstruct`].
    unsafe fn reconstruct(
        residues: [*const Line; 3],
        plan: &TransformPlan,
        lines: Range<usize>,
        out: *mut u8,
        out_bytes: usize,
    ) -> u64;
}

/// Defines a kernel: the arithmetic of its first pass and of the others, its leaf products and its
/// reconstruction. The attributes stand before each function and make it compile for an instruction
/// set: a generic function cannot choose its instructions by a parameter.
macro_rules! kernel {
    (
        $(#[$documentation:meta])* $kernel:ident, $kind:expr, $first:ty, $other:ty, $leaves:path,
        $crt:ty, $(#[$attribute:meta])*
    ) => {
        $(#[$documentation])*
        pub(super) struct $kernel;

        impl TransformKernel for $kernel {
            const KIND: ResidueKind = $kind;

            $(#[$attribute])*
            unsafe fn first(
                data: *mut Line,
                operand: Digits<'_>,
                plan: TransformPlan,
                chunk: usize,
                table: &TwiddleTable,
            ) {
                // SAFETY: by this function's contract.
                unsafe {
                    match plan.odd {
                        3 => passes::first::<$first, 3, 12>(data, operand, plan, chunk, table),
                        5 => passes::first::<$first, 5, 10>(data, operand, plan, chunk, table),
                        7 => passes::first::<$first, 7, 14>(data, operand, plan, chunk, table),
                        9 => passes::first::<$first, 9, 9>(data, operand, plan, chunk, table),
                        15 => passes::first::<$first, 15, 15>(data, operand, plan, chunk, table),
                        _ => passes::first::<$first, 1, 16>(data, operand, plan, chunk, table),
                    }
                }
            }

            $(#[$attribute])*
            unsafe fn forward(
                data: *mut Line,
                node: Node,
                nodes: usize,
                log: u32,
                phase: usize,
                table: &TwiddleTable,
            ) {
                // SAFETY: by this function's contract.
                unsafe {
                    match (log, phase) {
                        (1, 0) => layers::<$other, Forward<'_, 0>, 2>(data, node, nodes, table),
                        (1, 1) => layers::<$other, Forward<'_, 1>, 2>(data, node, nodes, table),
                        (1, _) => layers::<$other, Forward<'_, 2>, 2>(data, node, nodes, table),
                        (2, 0) => layers::<$other, Forward<'_, 0>, 4>(data, node, nodes, table),
                        (2, 1) => layers::<$other, Forward<'_, 1>, 4>(data, node, nodes, table),
                        (2, _) => layers::<$other, Forward<'_, 2>, 4>(data, node, nodes, table),
                        (3, 0) => layers::<$other, Forward<'_, 0>, 8>(data, node, nodes, table),
                        (3, 1) => layers::<$other, Forward<'_, 1>, 8>(data, node, nodes, table),
                        (3, _) => layers::<$other, Forward<'_, 2>, 8>(data, node, nodes, table),
                        (_, 0) => layers::<$other, Forward<'_, 0>, 16>(data, node, nodes, table),
                        (_, 1) => layers::<$other, Forward<'_, 1>, 16>(data, node, nodes, table),
                        _ => layers::<$other, Forward<'_, 2>, 16>(data, node, nodes, table),
                    }
                }
            }

            $(#[$attribute])*
            unsafe fn leaves(
                a: *mut Line,
                b: *const Line,
                leaf: Node,
                leaves: usize,
                table: &TwiddleTable,
            ) {
                // SAFETY: by this function's contract.
                unsafe { $leaves(a, b, leaf, leaves, table) }
            }

            $(#[$attribute])*
            unsafe fn inverse(
                data: *mut Line,
                node: Node,
                nodes: usize,
                log: u32,
                table: &TwiddleTable,
            ) {
                // SAFETY: by this function's contract.
                unsafe {
                    match log {
                        1 => layers::<$other, Inverse<'_>, 2>(data, node, nodes, table),
                        2 => layers::<$other, Inverse<'_>, 4>(data, node, nodes, table),
                        3 => layers::<$other, Inverse<'_>, 8>(data, node, nodes, table),
                        _ => layers::<$other, Inverse<'_>, 16>(data, node, nodes, table),
                    }
                }
            }

            $(#[$attribute])*
            unsafe fn last(
                data: *mut Line,
                plan: TransformPlan,
                chunk: usize,
                table: &TwiddleTable,
            ) {
                // SAFETY: by this function's contract.
                unsafe {
                    match plan.odd {
                        3 => passes::last::<$other, 3, 12>(data, plan, chunk, table),
                        5 => passes::last::<$other, 5, 10>(data, plan, chunk, table),
                        7 => passes::last::<$other, 7, 14>(data, plan, chunk, table),
                        9 => passes::last::<$other, 9, 9>(data, plan, chunk, table),
                        15 => passes::last::<$other, 15, 15>(data, plan, chunk, table),
                        _ => passes::last::<$other, 1, 16>(data, plan, chunk, table),
                    }
                }
            }

            $(#[$attribute])*
            unsafe fn reconstruct(
                residues: [*const Line; 3],
                plan: &TransformPlan,
                lines: Range<usize>,
                out: *mut u8,
                out_bytes: usize,
            ) -> u64 {
                // SAFETY: by this function's contract.
                unsafe {
                    match plan.digit_bits {
                        63 => crt::reconstruct::<$crt, 63>(residues, plan, lines, out, out_bytes),
                        62 => crt::reconstruct::<$crt, 62>(residues, plan, lines, out, out_bytes),
                        _ => crt::reconstruct::<$crt, 60>(residues, plan, lines, out, out_bytes),
                    }
                }
            }
        }
    };
}

kernel!(
    /// The kernel of [`Backend::Portable`].
    PortableKernel, ResidueKind::Integer, IntegerField<PortableLanes>, IntegerField<SingleLane>,
    passes::leaves::<PortableLanes>, IntegerCrt<PortableLanes>,
);

#[cfg(target_arch = "x86_64")]
kernel!(
    /// The kernel of [`Backend::Fma`].
    FmaKernel, ResidueKind::F64, F64Field, F64Field, avx2::leaves, F64Crt,
    #[target_feature(enable = "avx2,fma")]
);

#[cfg(target_arch = "x86_64")]
kernel!(
    /// The kernel of [`Backend::Ifma`].
    IfmaKernel, ResidueKind::Integer, IntegerField<U64x8>, IntegerField<U64x8>,
    passes::leaves::<U64x8>, IntegerCrt<U64x8>,
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512ifma,avx512vbmi2,bmi2")]
);

//! Macros that write the vector types and their micro-kernels.
//!
//! Tried instead: a generic vector type over a trait of intrinsics. It needs one method for each
//! intrinsic and type, which is what the macro writes. A trait cannot pass on a target feature
//! either, because `#[target_feature]` takes a literal and a default method has none.
#![allow(unsafe_code)]

/// A vector type of x86-64, by the intrinsics for its operations.
///
/// The vector type's name, element type, register type, mask type and number of lanes come first.
/// `mask`, `load_masked` and the part after the braces differ between instruction sets and are
/// given as code.
#[cfg(target_arch = "x86_64")]
macro_rules! x86_simd {
    (
        $(#[$doc:meta])*
        $name:ident: $lanes:literal x $elem:ty, $vector:ty, $mask:ty {
            zero: $zero:ident,
            splat: $splat:ident,
            load: $load:ident,
            store: $store:ident,
            mul: $mul:ident,
            fma: $fma:ident,
            store_masked: $store_masked:ident,
            load_masked($from:ident, $chosen:ident): $load_masked:expr,
            mask($count:ident): $first_lanes:expr,
        }
        $($more:tt)*
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub(in super::super) struct $name;

        impl Simd for $name {
            type Elem = $elem;
            type Vector = $vector;
            type Mask = $mask;

            const LANES: usize = $lanes;

            #[inline(always)]
            unsafe fn mask($count: usize) -> $mask {
                $first_lanes
            }

            #[inline(always)]
            unsafe fn zero() -> $vector {
                // SAFETY: the caller has checked for the instruction set.
                unsafe { $zero() }
            }

            #[inline(always)]
            unsafe fn splat(x: $elem) -> $vector {
                // SAFETY: the caller has checked for the instruction set.
                unsafe { $splat(x) }
            }

            #[inline(always)]
            unsafe fn load(from: *const $elem) -> $vector {
                // SAFETY: the caller guarantees the instruction set and LANES elements.
                unsafe { $load(from) }
            }

            #[inline(always)]
            unsafe fn store(to: *mut $elem, v: $vector) {
                // SAFETY: the caller guarantees the instruction set and LANES elements.
                unsafe { $store(to, v) }
            }

            #[inline(always)]
            unsafe fn load_masked($from: *const $elem, $chosen: $mask) -> $vector {
                // SAFETY: the caller guarantees the instruction set and the lanes of the mask.
                unsafe { $load_masked }
            }

            #[inline(always)]
            unsafe fn store_masked(to: *mut $elem, mask: $mask, v: $vector) {
                // SAFETY: the caller guarantees the instruction set and the lanes of the mask.
                unsafe { $store_masked(to, mask, v) }
            }

            #[inline(always)]
            unsafe fn mul(a: $vector, b: $vector) -> $vector {
                // SAFETY: the caller has checked for the instruction set.
                unsafe { $mul(a, b) }
            }

            #[inline(always)]
            unsafe fn fma(a: $vector, b: $vector, c: $vector) -> $vector {
                // SAFETY: the caller has checked for the instruction set.
                unsafe { $fma(a, b, c) }
            }

            #[inline(always)]
            fn prefetch(at: *const $elem) {
                // SAFETY: prefetching is in SSE, which x86-64 has, and never faults.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
            }

            $($more)*
        }
    };
}

/// Compiles the micro-kernels for a vector type: the generic bodies, each in a function that has
/// the target feature.
///
/// `tile` is the size of the tile in vectors and columns. `dots` is, for matrix times vector, the
/// number of vectors in [`DOT_BYTES`](super::super::gemv_kernel::DOT_BYTES), and the number of
/// rows taken together.
macro_rules! micro_kernels {
    (
        [$($generics:tt)*] $simd:ty, tile: $tile:expr, dots: ($vectors:literal, $rows:literal)
        $(, feature: $feature:literal)?
    ) => {
        impl<$($generics)*> MicroKernels for $simd {
            const VECTORS: usize = $tile.0;
            const COLUMNS: usize = $tile.1;

            $(#[target_feature(enable = $feature)])?
            unsafe fn tile<
                const MV: usize,
                const NR: usize,
                const PACKED: bool,
                const MASKED: bool,
            >(tile: &Tile<Self::Elem>) {
                let (a_step, b_step, b_next) = if PACKED {
                    ((MV * Self::LANES) as isize, Self::COLUMNS as isize, 1)
                } else {
                    (tile.a_step, tile.b_step, tile.b_next)
                };
                // SAFETY: the caller's conditions; packed operands have these steps.
                unsafe { microkernel::tile::<Self, MV, NR, MASKED>(tile, a_step, b_step, b_next) }
            }

            $(#[target_feature(enable = $feature)])?
            unsafe fn pack(micropanel: &Micropanel<Self::Elem>) {
                // SAFETY: the caller's conditions.
                unsafe { packing::pack::<Self>(micropanel) }
            }

            $(#[target_feature(enable = $feature)])?
            unsafe fn gemv_columns(
                sums: &mut [Self::Elem],
                a: *const Self::Elem,
                a_step: isize,
                x: &[Self::Elem],
            ) {
                // SAFETY: the caller's conditions.
                unsafe { gemv_kernel::columns::<Self>(sums, a, a_step, x) }
            }

            $(#[target_feature(enable = $feature)])?
            unsafe fn gemv_dots(
                sums: &mut [Self::Elem],
                a: *const Self::Elem,
                a_step: isize,
                x: &[Self::Elem],
            ) {
                // SAFETY: the caller's conditions.
                unsafe { gemv_kernel::dots::<Self, $vectors, $rows>(sums, a, a_step, x) }
            }
        }
    };
}

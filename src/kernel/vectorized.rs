//! One function body, compiled for several instruction sets.
#![allow(unsafe_code)]

/// Defines a function whose body is compiled for the target's baseline, for AVX2 and for AVX-512. A
/// call runs the widest version that the processor supports. All versions give the same bits: the
/// compiler neither reassociates nor contracts floating-point operations.
///
/// The body should be a plain loop over slices. Call the function for thousands of elements at a
/// time: each call checks the processor's features, which are cached in an atomic word.
macro_rules! vectorized {
    (
        $(#[$meta:meta])*
        $vis:vis fn $name:ident $(<$($generic:ident: $bound:path),+>)? (
            $($arg:ident: $type:ty),* $(,)?
        ) $(-> $ret:ty)? $body:block
    ) => {
        $(#[$meta])*
        #[allow(unsafe_code, reason = "the calls below, of functions for a set of instructions")]
        $vis fn $name $(<$($generic: $bound),+>)? ($($arg: $type),*) $(-> $ret)? {
            #[inline(always)]
            fn body $(<$($generic: $bound),+>)? ($($arg: $type),*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,popcnt")]
            fn avx512 $(<$($generic: $bound),+>)? ($($arg: $type),*) $(-> $ret)? {
                body($($arg),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,bmi1,bmi2,popcnt")]
            fn avx2 $(<$($generic: $bound),+>)? ($($arg: $type),*) $(-> $ret)? {
                body($($arg),*)
            }

            #[cfg(target_arch = "x86_64")]
            {
                use std::arch::is_x86_feature_detected as has;
                let has_avx2 = has!("avx2") && has!("bmi1") && has!("bmi2") && has!("popcnt");
                let has_avx512 =
                    has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl");
                if has_avx2 && has_avx512 {
                    // SAFETY: the processor has the features, checked above.
                    return unsafe { avx512($($arg),*) };
                }
                if has_avx2 {
                    // SAFETY: as above.
                    return unsafe { avx2($($arg),*) };
                }
            }
            body($($arg),*)
        }
    };
}
pub(crate) use vectorized;

//! Claims about the transform, against the naive oracle.
#![allow(unsafe_code)]

use super::*;
use crate::kernel::bigint::tests::{awkward, is_product};
use crate::kernel::crew::Solo;
use plan::ODD_PARTS;

/// The product by a stated plan, if the backend is there.
fn multiply_by(plan: Plan, backend: Backend, a: &[u64], b: &[u64]) -> Vec<u64> {
    let mut scratch = vec![Line([u64::MAX; 8]); product::scratch_lines(plan, false)];
    let out_limbs = a.len() + b.len();
    let mut out = vec![u64::MAX; out_limbs];
    let scratch = scratch.as_mut_ptr();
    let product = Product { plan, a, b: Some(b), out: out.as_mut_ptr(), out_limbs, scratch };
    let crew = Solo::default();
    let done = match backend {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the vectors are as long as is asked for, and the backend is one of `all`.
        Backend::Ifma => unsafe { product.run::<IfmaKernel>(&crew) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Backend::Fma => unsafe { product.run::<FmaKernel>(&crew) },
        // SAFETY: the vectors are as long as is asked for.
        _ => unsafe { product.run::<PortableKernel>(&crew) },
    };
    done.unwrap();
    out
}

#[test]
fn every_shape_of_transform_gives_the_product() {
    for (odd, head) in ODD_PARTS {
        for log in head.max(1)..9 {
            for digit_bits in [60, 62, 63] {
                let plan = Plan { odd, log, digit_bits };
                // As many digits as the length takes, divided evenly and unevenly.
                let digits = plan.lines() * 8 + 1;
                for part in [digits / 2, digits / 7 + 1] {
                    let limbs = |digits: usize| digits * digit_bits as usize / 64;
                    let (n, m) = (limbs(part), limbs(digits - part));
                    let seed = (log + digit_bits) as u64;
                    let (a, b) = (awkward(n.max(1), seed), awkward(m.max(1), seed / 2));
                    for &backend in Backend::all() {
                        let product = multiply_by(plan, backend, &a, &b);
                        assert!(is_product(&product, &a, &b), "{plan:?} {backend:?} {n} {m}");
                    }
                }
            }
        }
    }
}

#[test]
fn digits_are_narrower_for_longer_operands() {
    let width = |limbs| Plan::new(limbs, limbs).map(|plan| plan.digit_bits);
    assert_eq!(width(1000), Some(63));
    assert_eq!(width(2_060_000), Some(63));
    assert_eq!(width(2_100_000), Some(62));
    assert_eq!(width(8_120_000), Some(62));
    assert_eq!(width(8_130_000), Some(60));
    assert_eq!(width(SHORTER_LIMBS_MAX), Some(60));
    assert_eq!(width(SHORTER_LIMBS_MAX * 11 / 10), None);
}

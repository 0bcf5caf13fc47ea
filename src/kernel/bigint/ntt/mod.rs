//! Products by a number-theoretic transform modulo three primes.
#![allow(unsafe_code)]

mod compose;
mod digits;
mod dispatch;
mod field;
mod kernel;
mod lanes;
mod net;
mod pass;
mod plan;
mod product;
mod table;
#[cfg(target_arch = "x86_64")]
mod zmm;

pub use kernel::Backend;
pub(in crate::kernel::bigint) use plan::SHORTER_LIMBS_MAX;

use crate::kernel::crew::{Crew, Deserted};

#[cfg(target_arch = "x86_64")]
use kernel::IfmaKernel;
use kernel::PortableKernel;
use plan::{Line, Plan};
use product::Product;

/// Limbs of a line.
const LINE_LIMBS: usize = size_of::<Line>() / size_of::<u64>();

/// Limbs of scratch memory for a product of `a_limbs` by `b_limbs`, or the square of `a_limbs`
/// when `b_limbs` is `None`.
///
/// # Panics
///
/// If the operands are too long for the transform.
pub(in crate::kernel::bigint) fn scratch_limbs(a_limbs: usize, b_limbs: Option<usize>) -> usize {
    let plan = plan(a_limbs, b_limbs);
    // The scratch is aligned to a limb: the first line may begin almost a line later.
    (product::scratch_lines(plan, b_limbs.is_none()) + 1) * LINE_LIMBS
}

fn plan(a_limbs: usize, b_limbs: Option<usize>) -> Plan {
    Plan::new(a_limbs, b_limbs.unwrap_or(a_limbs))
        .unwrap_or_else(|| panic!("{a_limbs} by {b_limbs:?} limbs are too many for one product"))
}

/// `a b`, or `a^2` when `b` is `None`, into `out`, by the members of a crew.
///
/// # Errors
///
/// [`Deserted`] if another member died; `out` then holds anything.
///
/// # Panics
///
/// If the processor lacks `backend`, or an operand is empty or too long.
///
/// # Safety
///
/// - `out` is valid for reads and writes of the limbs of `a` and `b` together, `scratch` of
///   [`scratch_limbs`]; both are for the crew alone until all its members have returned, and
///   neither overlaps the other or an operand.
/// - All members call with the same operands, memory and backend.
pub(in crate::kernel::bigint) unsafe fn multiply(
    crew: &impl Crew,
    out: *mut u64,
    a: &[u64],
    b: Option<&[u64]>,
    scratch: *mut u64,
    backend: Backend,
) -> Result<(), Deserted> {
    assert!(backend.is_available(), "this processor lacks {backend:?}");
    let b_limbs = b.map_or(a.len(), <[u64]>::len);
    let plan = plan(a.len(), b.map(<[u64]>::len));
    let skip = scratch.align_offset(align_of::<Line>());
    let scratch = scratch.wrapping_add(skip).cast();
    let product = Product { plan, a, b, out, out_limbs: a.len() + b_limbs, scratch };
    match backend {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the backend is available, as asserted; the rest by this function's contract.
        Backend::Ifma => unsafe { product.run::<IfmaKernel>(crew) },
        // SAFETY: any processor will do; the rest by this function's contract.
        _ => unsafe { product.run::<PortableKernel>(crew) },
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod windows;

//! Big natural numbers: limb slices in, limb slices out.

mod karatsuba;
mod limbs;
mod mul;
mod ntt;
mod params;
mod school;

pub use limbs::{add_assign, add_limb, mul_limb, sub_assign, sub_limb, trim};
pub use mul::{
    SHORTER_LIMBS_MAX, mul, mul_by, mul_crew, mul_scratch_limbs, square, square_by, square_crew,
    square_scratch_limbs,
};
pub use ntt::Backend;

#[cfg(test)]
mod tests;

//! Big natural numbers: limb slices in, limb slices out.

#[cfg(target_arch = "x86_64")]
mod adx;
mod decimal;
mod factorial;
mod karatsuba;
mod limbs;
mod mul;
mod ntt;
mod params;
mod primes;
mod product;
mod reciprocal;
mod school;

pub use decimal::{DecimalPlan, to_decimal};
pub use factorial::{FACTORIAL_LEVELS_MAX, FactorialPlan, factorial};
pub use limbs::{add_assign, add_limb, mul_limb, shift_left, sub_assign, sub_limb, trim};
pub use mul::{
    SHORTER_LIMBS_MAX, mul, mul_by, mul_crew, mul_scratch_limbs, square, square_by, square_crew,
    square_scratch_limbs,
};
pub use ntt::Backend;
pub use primes::{Sieve, factorial_exponent};
pub use product::{product, product_scratch_limbs};

#[cfg(test)]
mod tests;

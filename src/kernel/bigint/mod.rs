//! Big natural numbers: limb slices in, limb slices out.
//!
//! A number is a slice of 64-bit limbs, the lowest first; zeros at its end are allowed. Functions
//! write into slices that are handed in, and take their scratch memory from the caller, who learns
//! how much from `.._scratch_limbs`. What returns a `Vec` is for callers that have one process.
//!
//! # Products
//!
//! [`mul`] and [`square`] choose by size: rows, Karatsuba's method, or a number-theoretic transform
//! modulo three primes. [`mul_crew`] and [`square_crew`] are the same for several processes that
//! share the memory: the passes of the transform are divided among the members of a
//! [`Crew`](crate::kernel::Crew). The limbs do not depend on the crew or on the [`Backend`].
//!
//! # Factorials and digits
//!
//! [`FactorialPlan`] divides its work into parts that the caller may spread: leaves, levels, and
//! products at the top for a crew. [`to_decimal_crew`] makes digits by a crew. [`factorial`] and
//! [`to_decimal`] do the same in one process.
//!
//! # What it does not do
//!
//! No signs, no general division. Running times depend on the values: this is not for secrets.
//!
//! # Examples
//!
//! ```
//! use brigade::kernel::bigint::{factorial, mul, mul_scratch_limbs, to_decimal};
//! let (a, b) = (factorial(30), factorial(40));
//! let mut product = vec![0; a.len() + b.len()];
//! mul(&mut product, &a, &b, &mut vec![0; mul_scratch_limbs(a.len(), b.len())]);
//! assert!(to_decimal(&product).starts_with("216423"));
//! ```
//!
//! # Design
//!
//! | module       | what                                                                  |
//! |--------------|-----------------------------------------------------------------------|
//! | `limbs`      | sums, differences, shifts, carries                                    |
//! | `school`     | rows, by `adx` where the processor has it                             |
//! | `karatsuba`  | three products for four, between rows and the transform               |
//! | `ntt`        | the transform: fields, nets, passes, kernels for processors           |
//! | `split`      | products too long for one transform, by pieces                        |
//! | `mul`        | which of them, for one process or a crew                              |
//! | `product`    | products of many limbs                                                |
//! | `primes`     | the sieve; `factorial`, n! by the exponents of its primes             |
//! | `combination`| primorials and binomial coefficients, by primes                       |
//! | `ground`     | numbers in memory that a crew shares                                  |
//! | `reciprocal` | Newton's iteration; `decimal`, digits by a tree of fractions          |
//! | `params`     | all measured cut-offs                                                 |

#[cfg(target_arch = "x86_64")]
mod adx;
mod combination;
mod decimal;
mod factorial;
pub(crate) mod ground;
mod karatsuba;
mod limbs;
mod mul;
mod ntt;
mod params;
mod primes;
mod product;
mod reciprocal;
mod school;
mod split;

pub use combination::Combination;
pub use decimal::{
    decimal_digits, decimal_memory_limbs, to_decimal, to_decimal_crew, without_zeros,
};
pub use factorial::{FACTORIAL_LEVELS_MAX, FactorialPlan, factorial};
pub use limbs::{add_assign, add_limb, mul_limb, shift_left, sub_assign, sub_limb, trim};
pub use mul::{
    LIMBS_MAX, SHORTER_LIMBS_MAX, mul, mul_by, mul_crew, mul_scratch_limbs, mul_table_limbs,
    square, square_by, square_crew, square_scratch_limbs,
};
pub use ntt::Backend;
pub use primes::{Sieve, factorial_exponent};
pub use product::{product, product_scratch_limbs};

#[cfg(test)]
mod tests;

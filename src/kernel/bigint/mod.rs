//! Big natural numbers: limb slices in, limb slices out.
//!
//! A number is a slice of 64-bit limbs, the lowest first; zeros at its end are allowed. Functions
//! write into slices that the caller passes. The caller also passes scratch memory; the functions
//! `.._scratch_limbs` return how much is needed. Functions that return a `Vec` compute in one
//! process.
//!
//! # Products
//!
//! [`mul`] and [`square`] choose by size: rows, Karatsuba's method, or a number-theoretic transform
//! modulo three primes. [`mul_team`] and [`square_team`] are the same for several processes that
//! share the memory: the passes of the transform are divided among the members of a
//! [`Team`](crate::kernel::Team). The limbs do not depend on the team or on the [`Backend`].
//!
//! # Factorials and digits
//!
//! [`factorial`], [`Combination`] and [`to_decimal`] run on one thread, with the same code as a
//! team. [`to_decimal_team`] computes digits by a team.
//!
//! # What it does not do
//!
//! There are no signs and no general division. Running times depend on the values, so this is not
//! for secrets.
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
//! | module            | what it does                                                  |
//! |-------------------|---------------------------------------------------------------|
//! | `limbs`           | sums, differences, shifts, carries                            |
//! | `schoolbook`      | products row by row; by `adx` where the processor has it      |
//! | `karatsuba`       | three products instead of four, for medium sizes              |
//! | `ntt`             | products by a number-theoretic transform                      |
//! | `piecewise`       | products too long for one transform                           |
//! | `mul`             | the choice among these methods                                |
//! | `product_tree`    | products of many limbs                                        |
//! | `sieve`           | primes of an interval                                         |
//! | `factorial`       | n! from the exponents of its primes                           |
//! | `combination`     | primorials and binomial coefficients                          |
//! | `team_arithmetic` | what members of a team do together in memory that they share  |
//! | `team_product`    | the product of many numbers by a team                         |
//! | `reciprocal`      | `1 / v` by Newton's iteration                                 |
//! | `decimal`         | decimal digits by a tree of fractions                         |
//! | `thresholds`      | all measured cut-offs                                         |

mod combination;
pub(crate) mod decimal;
pub(crate) mod factorial;
mod karatsuba;
pub(crate) mod limbs;
mod mul;
mod ntt;
mod piecewise;
pub(crate) mod product_tree;
mod reciprocal;
mod schoolbook;
mod sieve;
pub(crate) mod team_arithmetic;
pub(crate) mod team_product;
mod thresholds;

pub use combination::Combination;
pub use decimal::{
    decimal_digits, decimal_memory_limbs, to_decimal, to_decimal_team, without_zeros,
};
pub use factorial::factorial;
pub use limbs::{add_assign, add_limb, mul_limb, shift_left, sub_assign, sub_limb, trim};
pub use mul::{
    LIMBS_MAX, SHORTER_LIMBS_MAX, mul, mul_by, mul_scratch_limbs, mul_table_limbs, mul_team,
    square, square_by, square_scratch_limbs, square_team,
};
pub use ntt::Backend;
pub use product_tree::{product, product_scratch_limbs};
pub use sieve::{Sieve, factorial_exponent};

#[cfg(test)]
mod tests;

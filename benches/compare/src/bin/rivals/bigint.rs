//! Big integers of Rust crates.

use std::hint::black_box;

use brigade_compare::data::{MODULUS, check_limbs, factorial_residue, limbs};
use brigade_compare::protocol::{Arguments, Repetition};
use brigade_compare::stopwatch::seconds_a_call;
use dashu_int::UBig;
use malachite_base::num::arithmetic::traits::Factorial;
use malachite_nz::natural::Natural;
use num_bigint::BigUint;

/// How long does dashu-int take for one product?
pub(crate) fn dashu_product(arguments: &Arguments) -> Repetition {
    product(arguments, UBig::from_words, |a, b| a * b, |c| c.as_words().to_vec())
}

/// How long does num-bigint take for one product?
pub(crate) fn num_product(arguments: &Arguments) -> Repetition {
    let from_limbs = |limbs: &[u64]| {
        BigUint::new(limbs.iter().flat_map(|&limb| [limb as u32, (limb >> 32) as u32]).collect())
    };
    product(arguments, from_limbs, |a, b| a * b, BigUint::to_u64_digits)
}

/// How long does malachite take for one product?
pub(crate) fn malachite_product(arguments: &Arguments) -> Repetition {
    product(arguments, Natural::from_limbs_asc, |a, b| a * b, Natural::to_limbs_asc)
}

/// How long does malachite take for n!?
pub(crate) fn malachite_factorial(arguments: &Arguments) -> Repetition {
    let (n, budget) = (arguments.number::<u64>("n"), arguments.budget());
    let remainder = Natural::factorial(n) % Natural::from(MODULUS);
    assert_eq!(remainder, Natural::from(factorial_residue(n)), "{n}! is wrong");
    Box::new(move || {
        let seconds = seconds_a_call(budget, || {
            black_box(Natural::factorial(n));
        });
        vec![("factorial_ms", seconds * 1e3)]
    })
}

/// Measures `multiply`, whose first product is checked.
fn product<N: 'static>(
    arguments: &Arguments,
    from_limbs: impl Fn(&[u64]) -> N,
    multiply: impl Fn(&N, &N) -> N + 'static,
    to_limbs: impl Fn(&N) -> Vec<u64>,
) -> Repetition {
    let budget = arguments.budget();
    let (a, b) = (limbs(arguments.number("a"), 1), limbs(arguments.number("b"), 2));
    let (left, right) = (from_limbs(&a), from_limbs(&b));
    check_limbs(&a, &b, &to_limbs(&multiply(&left, &right)));
    Box::new(move || {
        let seconds = seconds_a_call(budget, || {
            black_box(multiply(&left, &right));
        });
        vec![("product_ms", seconds * 1e3)]
    })
}

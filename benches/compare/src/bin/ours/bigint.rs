//! Brigade's big integers.

use std::hint::black_box;

use brigade::SharedBigUint;
use brigade_compare::data::{MODULUS, check_limbs, factorial_residue, limbs, residue};
use brigade_compare::protocol::{Arguments, Repetition};
use brigade_compare::stopwatch::seconds_a_call;

use crate::tasks::build;

/// How long does a pool take for one product?
pub(crate) fn product(arguments: &Arguments) -> Repetition {
    let (pool, budget) = (build(arguments.number("workers")), arguments.budget());
    let (a, b) = (limbs(arguments.number("a"), 1), limbs(arguments.number("b"), 2));
    let shared = |limbs: &[u64]| SharedBigUint::from_limbs(limbs).expect("there is memory");
    let (left, right) = (shared(&a), shared(&b));
    let product = pool.multiply(&left, &right).expect("the product is made");
    check_limbs(&a, &b, product.limbs());
    Box::new(move || {
        let seconds = seconds_a_call(budget, || {
            black_box(pool.multiply(&left, &right).expect("the product is made"));
        });
        vec![("product_ms", seconds * 1e3)]
    })
}

/// How long does a pool take for n!?
pub(crate) fn factorial(arguments: &Arguments) -> Repetition {
    let (pool, budget) = (build(arguments.number("workers")), arguments.budget());
    let n: u64 = arguments.number("n");
    let first = pool.factorial(n).expect("the factorial is made");
    assert_eq!(residue(first.limbs()), factorial_residue(n), "{n}! is wrong");
    drop(first);
    Box::new(move || {
        let seconds = seconds_a_call(budget, || {
            black_box(pool.factorial(n).expect("the factorial is made"));
        });
        vec![("factorial_ms", seconds * 1e3)]
    })
}

/// How long does a pool take for the decimal digits of n!?
pub(crate) fn decimal(arguments: &Arguments) -> Repetition {
    let (pool, budget) = (build(arguments.number("workers")), arguments.budget());
    let n: u64 = arguments.number("n");
    let number = pool.factorial(n).expect("the factorial is made");
    let first = pool.to_decimal(&number).expect("the digits are made");
    let step =
        |r: u64, digit: u8| (u128::from(r) * 10 + u128::from(digit - b'0')) % u128::from(MODULUS);
    let found = first.bytes().fold(0, |r, digit| step(r, digit) as u64);
    assert_eq!(found, factorial_residue(n), "the digits of {n}! are wrong");
    drop(first);
    Box::new(move || {
        let seconds = seconds_a_call(budget, || {
            black_box(pool.to_decimal(&number).expect("the digits are made"));
        });
        vec![("decimal_ms", seconds * 1e3)]
    })
}

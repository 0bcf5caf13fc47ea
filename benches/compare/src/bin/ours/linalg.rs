//! Brigade's factorisations, and its small systems.

use std::hint::black_box;

use brigade::SharedArray;
use brigade_compare::data::fill;
use brigade_compare::protocol::{Arguments, Repetition};
use brigade_compare::stopwatch::seconds_a_call;

use crate::tasks::build;

/// How long does a pool take to factor a copy of a matrix of doubles?
pub(crate) fn factor(arguments: &Arguments) -> Repetition {
    let (pool, budget) = (build(arguments.number("workers")), arguments.budget());
    let n: usize = arguments.number("n");
    let call = arguments.text("call").to_owned();
    let mut a = filled(&[n, n]);
    if call == "cholesky" {
        let element = |[i, j]: [usize; 2]| if i == j { n as f64 } else { a[[i.max(j), i.min(j)]] };
        a = SharedArray::from_fn([n, n], element).expect("there is memory");
    }
    Box::new(move || {
        let seconds = seconds_a_call(budget, || match call.as_str() {
            "lu" => drop(black_box(pool.lu(&a).expect("the factors are made"))),
            "cholesky" => drop(black_box(pool.cholesky(&a).expect("the factor is made"))),
            "qr" => drop(black_box(pool.qr(&a).expect("the factors are made"))),
            "eigh" => drop(black_box(pool.eigh(&a).expect("the vectors are made"))),
            "svd" => drop(black_box(pool.svd(&a).expect("the vectors are made"))),
            other => panic!("call={other} is none of lu, cholesky, qr, eigh, svd"),
        });
        vec![("call_ms", seconds * 1e3)]
    })
}

/// How long do many small systems take?
pub(crate) fn batch(arguments: &Arguments) -> Repetition {
    let (pool, budget) = (build(arguments.number("workers")), arguments.budget());
    let (count, n): (usize, usize) = (arguments.number("count"), arguments.number("n"));
    let (a, b) = (filled(&[count, n, n]), filled(&[count, n]));
    Box::new(move || {
        let solve = || drop(black_box(pool.solve_batch(&a, &b).expect("the systems are solved")));
        vec![("call_ms", seconds_a_call(budget, solve) * 1e3)]
    })
}

fn filled(shape: &[usize]) -> SharedArray<f64> {
    let mut array = SharedArray::zeroed(shape).expect("there is memory");
    fill(array.as_mut_slice(), 1);
    array
}

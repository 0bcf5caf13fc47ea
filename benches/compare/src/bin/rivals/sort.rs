//! Sorts by rayon's threads.

use brigade_compare::data::words;
use brigade_compare::protocol::{Arguments, Repetition};
use brigade_compare::stopwatch::seconds_a_new_call;
use rayon::prelude::*;

use crate::tasks::build;

/// How long does an unstable sort of random elements take? Floats in the total order.
pub(crate) fn sort(arguments: &Arguments) -> Repetition {
    match arguments.text("dtype") {
        "u32" => sorts(arguments, |word| word as u32, |a| a.par_sort_unstable()),
        "u64" => sorts(arguments, |word| word, |a| a.par_sort_unstable()),
        "i32" => sorts(arguments, |word| word as i32, |a| a.par_sort_unstable()),
        "i64" => sorts(arguments, |word| word as i64, |a| a.par_sort_unstable()),
        "f32" => {
            let number = |word| (word >> 40) as f32 / (1u32 << 24) as f32;
            sorts(arguments, number, |a| a.par_sort_unstable_by(f32::total_cmp))
        }
        "f64" => {
            let number = |word| (word >> 11) as f64 / (1u64 << 53) as f64;
            sorts(arguments, number, |a| a.par_sort_unstable_by(f64::total_cmp))
        }
        other => panic!("dtype={other} is unknown"),
    }
}

fn sorts<T: Copy + Send + Sync + 'static>(
    arguments: &Arguments,
    element: fn(u64) -> T,
    sort: fn(&mut [T]),
) -> Repetition {
    let (pool, budget) = (build(arguments.number("workers")), arguments.budget());
    let a: Vec<T> = words(1).take(arguments.number("elements")).map(element).collect();
    Box::new(move || {
        let seconds = seconds_a_new_call(budget, || a.clone(), |a| pool.install(|| sort(a)));
        vec![("call_ms", seconds * 1e3)]
    })
}

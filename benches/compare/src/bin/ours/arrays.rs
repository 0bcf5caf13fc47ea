//! Calls of the array library.

use std::hint::black_box;

use brigade::{Boundary, Pool, Result, SharedArray, SortKey};
use brigade_compare::arrays::{
    AXIS_LEN, BINS, IMAGE_SIDE, PICKED, QUANTILES, SIGMA, SEED, TOP,
};
use brigade_compare::protocol::{Arguments, Repetition};
use brigade_compare::stopwatch::{seconds_a_call, seconds_a_new_call};

use crate::tasks::build;

/// A call, repeated; what it returns is dropped within the time, as by all contenders.
pub(crate) fn repeat<R>(
    arguments: &Arguments,
    mut call: impl FnMut() -> Result<R> + 'static,
) -> Repetition {
    let budget = arguments.budget();
    Box::new(move || {
        let seconds = seconds_a_call(budget, || {
            black_box(call().expect("the call succeeds"));
        });
        vec![("call_ms", seconds * 1e3)]
    })
}

/// How fast is the library's own sum?
pub(crate) fn sum(arguments: &Arguments) -> Repetition {
    let (pool, budget) = (build(arguments.number("workers")), arguments.budget());
    let bytes: usize = arguments.size_bytes();
    let mut a = SharedArray::<f64>::zeroed([bytes / 8]).expect("memory");
    pool.par_chunks_mut(&mut a, 1 << 16).for_each(|a| a.fill(1.0)).expect("it is filled");
    Box::new(move || {
        let seconds = seconds_a_call(budget, || {
            assert_eq!(pool.sum(&a).expect("it is summed"), a.len() as f64, "the sum is wrong");
        });
        vec![("sum_gbps", bytes as f64 / seconds / 1e9)]
    })
}

/// Reductions of a whole array of f64, or along an axis.
pub(crate) fn reduce(arguments: &Arguments) -> Repetition {
    let pool = build(arguments.number("workers"));
    let n: usize = arguments.number("elements");
    let mut a = SharedArray::<f64>::zeroed([n / AXIS_LEN, AXIS_LEN]).expect("memory");
    pool.fill_uniform(&mut a, SEED).expect("it is filled");
    let mut b = SharedArray::from_slice(a.as_slice()).expect("memory");
    b.reshape(a.shape().clone()).expect("as many elements");
    match arguments.text("call") {
        "mean" => repeat(arguments, move || pool.mean(&a)),
        "var" => repeat(arguments, move || pool.var(&a, 0)),
        "min" => repeat(arguments, move || pool.min(&a)),
        "argmax" => repeat(arguments, move || pool.argmax(&a)),
        "dot" => repeat(arguments, move || pool.dot(&a, &b)),
        "norm" => repeat(arguments, move || pool.norm(&a)),
        "sum_axis0" => repeat(arguments, move || pool.sum_axis(&a, 0)),
        "sum_axis1" => repeat(arguments, move || pool.sum_axis(&a, 1)),
        "var_axis0" => repeat(arguments, move || pool.var_axis(&a, 0, 0)),
        "max_axis1" => repeat(arguments, move || pool.max_axis(&a, 1)),
        "argmax_axis0" => repeat(arguments, move || pool.argmax_axis(&a, 0)),
        other => panic!("call={other} is unknown"),
    }
}

/// Element by element, and what counts, scans and moves elements.
pub(crate) fn map(arguments: &Arguments) -> Repetition {
    let pool = build(arguments.number("workers"));
    let n: usize = arguments.number("elements");
    let (rows, columns) = (n / AXIS_LEN, AXIS_LEN);
    let mut a = SharedArray::<f64>::zeroed([rows, columns]).expect("memory");
    pool.fill_uniform(&mut a, SEED).expect("it is filled");
    let mut out = SharedArray::<f64>::zeroed([rows, columns]).expect("memory");
    match arguments.text("call") {
        "cast" => {
            let mut out = SharedArray::<f32>::zeroed([rows, columns]).expect("memory");
            repeat(arguments, move || pool.cast_into(&a, &mut out))
        }
        "map" => repeat(arguments, move || pool.map_into(&a, &mut out, |x| x * x + 1.0)),
        "zip_rows" => {
            let row = pool.mean_axis(&a, 0).expect("means");
            repeat(arguments, move || pool.zip_into(&a, &row, &mut out, |x, m| x - m))
        }
        "histogram" => repeat(arguments, move || pool.histogram(&a, BINS, 0.0..=1.0)),
        "bincount" => {
            let mut counted = SharedArray::<i64>::zeroed([n]).expect("memory");
            pool.fill_integers(&mut counted, SEED, 0..=BINS as i64 - 1).expect("filled");
            repeat(arguments, move || pool.bincount(&counted, 0))
        }
        "quantiles" => repeat(arguments, move || pool.quantiles(&a, &QUANTILES)),
        "cumsum" => repeat(arguments, move || pool.cumsum(&a)),
        "transpose" => repeat(arguments, move || pool.transpose(&a)),
        "take" => {
            let mut picked = SharedArray::<u64>::zeroed([n / PICKED]).expect("memory");
            let last = n as u64 - 1;
            pool.fill_integers(&mut picked, SEED, 0..=last).expect("it is filled");
            a.reshape([n]).expect("as many elements");
            repeat(arguments, move || pool.take(&a, &picked))
        }
        "compress" => {
            let mut mask = SharedArray::<u8>::zeroed([n]).expect("memory");
            pool.fill_integers(&mut mask, SEED, 0..=1).expect("it is filled");
            a.reshape([n]).expect("as many elements");
            repeat(arguments, move || pool.compress(&a, &mask))
        }
        "where" => {
            let mut mask = SharedArray::<u8>::zeroed([rows, columns]).expect("memory");
            pool.fill_integers(&mut mask, SEED, 0..=1).expect("it is filled");
            repeat(arguments, move || pool.select(&mask, &a, &out))
        }
        other => panic!("call={other} is unknown"),
    }
}

/// Random numbers.
pub(crate) fn random(arguments: &Arguments) -> Repetition {
    let pool = build(arguments.number("workers"));
    let n: usize = arguments.number("elements");
    let mut a = SharedArray::<f64>::zeroed([n]).expect("memory");
    match arguments.text("call") {
        "uniform" => repeat(arguments, move || pool.fill_uniform(&mut a, SEED)),
        "normal" => repeat(arguments, move || pool.fill_normal(&mut a, SEED, 0.0, 1.0)),
        "integers" => {
            let mut a = SharedArray::<i64>::zeroed([n]).expect("memory");
            repeat(arguments, move || pool.fill_integers(&mut a, SEED, 0..=999))
        }
        "shuffle" => repeat(arguments, move || pool.shuffle(&mut a, SEED)),
        "permutation" => repeat(arguments, move || pool.permutation(n, SEED)),
        other => panic!("call={other} is unknown"),
    }
}

/// Filters of an image of f32.
pub(crate) fn filter(arguments: &Arguments) -> Repetition {
    let pool = build(arguments.number("workers"));
    let mut image = SharedArray::<f32>::zeroed([IMAGE_SIDE, IMAGE_SIDE]).expect("memory");
    pool.fill_uniform(&mut image, SEED).expect("it is filled");
    let mut out = SharedArray::<f32>::zeroed([IMAGE_SIDE, IMAGE_SIDE]).expect("memory");
    match arguments.text("call") {
        "gaussian" => repeat(arguments, move || {
            pool.gaussian_into(&image, &mut out, SIGMA, Boundary::Reflect)
        }),
        "sobel" => repeat(arguments, move || pool.sobel(&image, 1, Boundary::Reflect)),
        "correlate" => {
            let weights = SharedArray::from_fn([5, 5], |[i, j]| (i * 5 + j) as f32 / 300.0);
            let weights = weights.expect("memory");
            repeat(arguments, move || pool.correlate(&image, &weights, Boundary::Reflect))
        }
        "stencil" => repeat(arguments, move || {
            pool.stencil_into(&image, &mut out, [1, 1], Boundary::Clamp, |x| {
                let sides = x.value([-1, 0]) + x.value([1, 0]) + x.value([0, -1]) + x.value([0, 1]);
                0.25 * sides
            })
        }),
        other => panic!("call={other} is unknown"),
    }
}

/// Sorting and searching.
pub(crate) fn sort(arguments: &Arguments) -> Repetition {
    match arguments.text("dtype") {
        "u32" => order::<u32>(arguments, |pool, a| pool.fill_integers(a, SEED, 0..=u32::MAX)),
        "u64" => order::<u64>(arguments, |pool, a| pool.fill_integers(a, SEED, 0..=u64::MAX)),
        "i32" => order::<i32>(arguments, |pool, a| {
            pool.fill_integers(a, SEED, i32::MIN..=i32::MAX)
        }),
        "i64" => order::<i64>(arguments, |pool, a| {
            pool.fill_integers(a, SEED, i64::MIN..=i64::MAX)
        }),
        "f32" => order::<f32>(arguments, |pool, a| pool.fill_uniform(a, SEED)),
        "f64" => order::<f64>(arguments, |pool, a| pool.fill_uniform(a, SEED)),
        other => panic!("dtype={other} is unknown"),
    }
}

fn order<T: SortKey>(
    arguments: &Arguments,
    fill: fn(&Pool, &mut SharedArray<T>) -> Result<()>,
) -> Repetition {
    let (pool, budget) = (build(arguments.number("workers")), arguments.budget());
    let n: usize = arguments.number("elements");
    let mut a = SharedArray::<T>::for_overwrite([n]).expect("memory");
    fill(&pool, &mut a).expect("it is filled");
    match arguments.text("call") {
        "sort" => {
            let unsorted = move || SharedArray::from_slice(a.as_slice()).expect("memory");
            let sort = move |a: &mut SharedArray<T>| pool.sort(a).expect("it is sorted");
            Box::new(move || {
                let seconds = seconds_a_new_call(budget, &unsorted, &sort);
                vec![("call_ms", seconds * 1e3)]
            })
        }
        "argsort" => repeat(arguments, move || pool.argsort(&a)),
        "unique" => repeat(arguments, move || pool.unique(&a)),
        "top_k" => repeat(arguments, move || pool.top_k(&a, TOP)),
        "searchsorted" => {
            let needles = SharedArray::from_slice(a.as_slice()).expect("memory");
            pool.sort(&mut a).expect("it is sorted");
            repeat(arguments, move || pool.searchsorted(&a, &needles, brigade::Side::Left))
        }
        other => panic!("call={other} is unknown"),
    }
}

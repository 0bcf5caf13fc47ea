//! The host's floating-point mode changes no result.

use super::pool;
use crate::common::alone::alone;
use crate::common::float::{MODES, under};
use brigade::{Boundary, Pool, SharedArray, Side};
use bytemuck::Pod;

/// The bytes of an array.
fn bytes<T: Pod>(x: &SharedArray<T>) -> Vec<u8> {
    bytemuck::cast_slice(x.as_slice()).to_vec()
}

/// Numbers whose sums and quotients are rounded, with a few subnormal ones among them.
fn numbers(len: usize) -> SharedArray<f64> {
    let tiny = [1e-310, 0.0, -1e-310, 5e-324, -5e-324, 2e-310];
    SharedArray::from_fn([len], |[i]| match i % 7 {
        0 => 1.0 / (1 + i) as f64 - 1e-4,
        place => tiny[place - 1],
    })
    .unwrap()
}

/// What the calls read, made in the standard mode.
struct Inputs {
    short: SharedArray<f64>,
    long: SharedArray<f64>,
    image: SharedArray<f64>,
    weights: SharedArray<f64>,
}

fn results(pool: &Pool, inputs: &Inputs) -> Vec<(&'static str, Vec<u8>)> {
    let Inputs { short, long, image, weights } = inputs;
    let single = pool.cast::<f64, f32>(long).unwrap();
    let bits = |x: f64| x.to_le_bytes().to_vec();
    let (counts, edges) = pool.histogram(long, 7, -0.1..=0.7).unwrap();
    let (top, places) = pool.top_k(short, 900).unwrap();
    let mut keys = SharedArray::from_slice(short.as_slice()).unwrap();
    let mut values = SharedArray::from_fn([1000], |[i]| i).unwrap();
    pool.sort_by_key(&mut keys, &mut values).unwrap();
    let (distinct, _) = pool.unique(short).unwrap();
    let least = SharedArray::from_slice(&[pool.argmin(long).unwrap()]).unwrap();
    vec![
        ("sum of f32", pool.sum(&single).unwrap().to_le_bytes().to_vec()),
        ("mean of f32", pool.mean(&single).unwrap().to_le_bytes().to_vec()),
        ("sum", bits(pool.sum(long).unwrap())),
        ("mean", bits(pool.mean(long).unwrap())),
        ("var", bits(pool.var(long, 1).unwrap())),
        ("std", bits(pool.std(long, 0).unwrap())),
        ("norm", bits(pool.norm(long).unwrap())),
        ("dot", bits(pool.dot(long, long).unwrap())),
        ("argmin", bytes(&least)),
        ("std_axis", bytes(&pool.std_axis(image, 0, 1).unwrap())),
        ("quantiles", bytemuck::cast_slice(&pool.quantiles(long, &[0.1, 0.37]).unwrap()).to_vec()),
        ("histogram", [bytes(&counts), bytemuck::cast_slice(&edges).to_vec()].concat()),
        ("argsort", bytes(&pool.argsort(short).unwrap())),
        ("top_k", [bytes(&top), bytes(&places)].concat()),
        ("sort_by_key", [bytes(&keys), bytes(&values)].concat()),
        ("unique", bytes(&distinct)),
        ("searchsorted", bytes(&pool.searchsorted(&keys, short, Side::Left).unwrap())),
        ("cumsum", bytes(&pool.cumsum(long).unwrap())),
        ("gaussian", bytes(&pool.gaussian(image, 1.3, Boundary::Reflect).unwrap())),
        ("correlate", bytes(&pool.correlate(image, weights, Boundary::Wrap).unwrap())),
    ]
}

#[test]
fn the_mode_of_the_host_changes_no_result() {
    alone(|| {
        let pool = pool(2);
        let mut image = numbers(900);
        image.reshape([30, 30]).unwrap();
        let weights = SharedArray::from_fn([3, 3], |[i, j]| 0.1 * (i + 2 * j) as f64).unwrap();
        let inputs = Inputs { short: numbers(1000), long: numbers(140_000), image, weights };
        let right = results(&pool, &inputs);
        for mode in MODES {
            let found = under(mode, || results(&pool, &inputs));
            for ((name, found), (_, right)) in found.iter().zip(&right) {
                assert!(found == right, "{name} under {mode:#x}");
            }
        }
    });
}

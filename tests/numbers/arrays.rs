//! Computations on arrays, compared with naive oracles.

mod axis;
mod elementwise;
mod faults;
mod filter;
mod gather;
mod group_by;
mod histogram;
mod modes;
mod random;
mod reduce;
mod scan;
mod select;
mod sort;
mod transpose;
mod views;

use brigade::{Pool, SharedArray};

/// Lengths around the size of a chunk, 65,536 elements.
const LENGTHS: [usize; 6] = [0, 1, 7, 65_536, 65_537, 200_003];

fn pool(workers: usize) -> Pool {
    Pool::builder().workers(workers).build().unwrap()
}

/// Tenths from -50 on, as in the constants that NumPy 2.4.6 computed.
fn tenths(len: usize) -> SharedArray<f64> {
    SharedArray::from_fn([len], |[i]| (i * 7919 % 1009) as f64 * 0.1 - 50.0).unwrap()
}

/// Bytes up to 250, in a pseudorandom order.
fn bytes(len: usize) -> SharedArray<u8> {
    SharedArray::from_fn([len], |[i]| u8::try_from(i * 7919 % 251).unwrap()).unwrap()
}

fn is_close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-12 * b.abs()
}

//! A product of square matrices on all ranks, timed and checked.
//!
//! ```text
//! mpirun -np 2 --bind-to none target/release/examples/matmul_cluster --size 2000 --workers 1
//! ```

use std::error::Error;
use std::time::Instant;

use brigade::Pool;
use brigade_mpi::{Cluster, DistArray};
use clap::Parser;

/// C = A * B with SIZE rows and columns, whose rows lie on all ranks. Prints the seconds of each
/// product after a first one, and a check of C.
#[derive(Debug, Parser)]
struct Arguments {
    /// Rows and columns of each matrix.
    #[arg(long, default_value_t = 1000)]
    size: usize,
    /// Products that are timed.
    #[arg(long, default_value_t = 2)]
    repeat: usize,
    /// Worker processes of each rank.
    #[arg(long, default_value_t = 1)]
    workers: usize,
}

fn main() -> Result<(), Box<dyn Error>> {
    let Arguments { size, repeat, workers } = Arguments::parse();
    let cluster = Cluster::new(Pool::builder().workers(workers))?;
    let a = matrix(&cluster, size, |i, j| (i * 131 + j * 71) % 17, 8.0)?;
    let b = matrix(&cluster, size, |i, j| (i * 37 + j * 113) % 19, 9.0)?;
    let mut c = cluster.matmul(&a, &b)?;
    for _ in 0..repeat {
        cluster.all_gather(())?;
        let since = Instant::now();
        c = cluster.matmul(&a, &b)?;
        cluster.all_gather(())?;
        if cluster.rank() == 0 {
            println!("seconds {:.6}", since.elapsed().as_secs_f64());
        }
    }
    let checks = cluster.all_gather(check(&c, size))?;
    if cluster.rank() == 0 {
        println!("check {}", checks.into_iter().fold(0, u64::wrapping_add));
    }
    Ok(())
}

/// Small integers, so that sums of their products are exact in any order.
fn matrix(
    cluster: &Cluster,
    size: usize,
    number: impl Fn(usize, usize) -> usize,
    middle: f64,
) -> Result<DistArray<f64>, brigade_mpi::Error> {
    let mut matrix = DistArray::<f64>::zeroed(cluster, &[size, size], 0)?;
    let first = matrix.rows().start;
    for (at, element) in matrix.as_mut_slice().iter_mut().enumerate() {
        *element = number(first + at / size, at % size) as f64 - middle;
    }
    Ok(matrix)
}

/// The sum of this rank's elements, each with a weight of its position, modulo 2^64.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "exact integers")]
fn check(c: &DistArray<f64>, size: usize) -> u64 {
    let first = (c.rows().start * size) as u64;
    let weighted = (first..).zip(c.as_slice()).map(|(at, &element)| {
        let weight = at.wrapping_mul(2_654_435_761).wrapping_add(1);
        (element as i64 as u64).wrapping_mul(weight)
    });
    weighted.fold(0, u64::wrapping_add)
}

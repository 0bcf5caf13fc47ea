//! The temperature of a plate on several ranks, by Jacobi steps.
//!
//! Each rank's pool computes its rows; after each step the ranks exchange the rows at the borders
//! of their blocks. The result has the same bits on any number of ranks and workers:
//!
//! ```text
//! mpirun -np 3 --oversubscribe --bind-to none target/release/examples/heat_cluster --size 200
//! ```

use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use brigade::{Boundary, Pool, SharedArray};
use brigade_mpi::{Cluster, DistArray};
use clap::Parser;

/// The temperature of a square plate whose border is held, by Jacobi steps on all ranks.
#[derive(Debug, Parser)]
struct Arguments {
    /// The plate is SIZE by SIZE.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(3..))]
    size: u16,
    /// Steps to make.
    #[arg(long, default_value_t = 1000)]
    steps: u32,
    /// Worker processes of each rank [default: its share of the processors].
    #[arg(long)]
    workers: Option<usize>,
    /// Write the temperatures to this .npy file, on a file system of all nodes.
    #[arg(long)]
    out: Option<PathBuf>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let builder = Pool::builder();
    let builder = match arguments.workers {
        Some(count) => builder.workers(count),
        None => builder,
    };
    let cluster = Cluster::new(builder)?;
    let size = usize::from(arguments.size);
    let mut now = plate(&cluster, size)?;
    let mut next = plate(&cluster, size)?;
    let since = Instant::now();
    for _ in 0..arguments.steps {
        step(cluster.pool(), now.local(), next.local_mut())?;
        next.exchange_halo(&cluster)?;
        std::mem::swap(&mut now, &mut next);
    }
    let seconds = since.elapsed().as_secs_f64();
    let sum = now.map_reduce(
        &cluster,
        8,
        |rows| rows.iter().map(|x| x * x).sum::<f64>(),
        0.0,
        |a, b| a + b,
    )?;
    if let Some(path) = &arguments.out {
        now.write_npy(&cluster, path)?;
    }
    if cluster.rank() == 0 {
        println!("{size} by {size}, {} steps: sum of squares {sum:?}", arguments.steps);
        eprintln!("{} ranks: {seconds:.3} s", cluster.size());
    }
    Ok(())
}

/// A plate whose border is held at x^2 - y^2; cold inside.
fn plate(cluster: &Cluster, size: usize) -> Result<DistArray<f64>, brigade_mpi::Error> {
    let mut plate = DistArray::<f64>::zeroed(cluster, &[size, size], 1)?;
    let first = plate.rows().start;
    let at = |i: usize| i as f64 / (size - 1) as f64;
    for (index, element) in plate.as_mut_slice().iter_mut().enumerate() {
        let (i, j) = (first + index / size, index % size);
        if [i, j].iter().any(|&i| i == 0 || i == size - 1) {
            *element = at(i) * at(i) - at(j) * at(j);
        }
    }
    plate.exchange_halo(cluster)?;
    Ok(plate)
}

/// Each element except those of the border becomes the mean of its four neighbours. The halo's
/// outer rows have no neighbours here; the exchange after the step replaces them.
fn step(pool: &Pool, now: &SharedArray<f64>, next: &mut SharedArray<f64>) -> brigade::Result<()> {
    pool.stencil_into(now, next, [1, 1], Boundary::Shrink, |x| {
        match (x.get([-1, 0]), x.get([1, 0]), x.get([0, -1]), x.get([0, 1])) {
            (Some(up), Some(down), Some(left), Some(right)) => 0.25 * (up + down + left + right),
            _ => x.centre(),
        }
    })
}

//! What calls, tasks, messages and products on a cluster cost.
//!
//! Prints medians of some repetitions.
//!
//! ```text
//! mpirun -np 2 --bind-to none target/release/examples/cost_cluster --workers 1
//! ```

use std::error::Error;
use std::process::Command;
use std::time::{Duration, Instant};

use brigade::{Pool, SharedArray};
use brigade_mpi::{Cluster, DistArray};
use clap::Parser;

/// Measures what calls on a cluster cost; prints one line for each, from rank 0.
#[derive(Debug, Parser)]
struct Arguments {
    /// Worker processes of each rank.
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// Rows and columns of the matrices.
    #[arg(long, default_value_t = 2048)]
    size: usize,
    /// Empty tasks of the farm.
    #[arg(long, default_value_t = 200_000)]
    tasks: usize,
    /// MiB of the argument and of the array that travel.
    #[arg(long, default_value_t = 64)]
    mib: usize,
}

type Outcome<T> = Result<T, Box<dyn Error>>;

/// The median of some repetitions.
fn median<T>(repeat: usize, mut run: impl FnMut() -> Outcome<T>) -> Outcome<Duration> {
    let time = |_| {
        let since = Instant::now();
        drop(run()?);
        Ok(since.elapsed())
    };
    let mut times = (0..repeat).map(time).collect::<Outcome<Vec<_>>>()?;
    times.sort_unstable();
    Ok(times[repeat / 2])
}

fn main() -> Result<(), Box<dyn Error>> {
    let Arguments { workers, size, tasks, mib } = Arguments::parse();
    let cluster = Cluster::new(Pool::builder().workers(workers))?;
    let say = |text: String| {
        if cluster.rank() == 0 {
            println!("{text}");
        }
    };
    say(format!("{} ranks with {workers} workers", cluster.size()));

    let took = median(3, || values(cluster.map(0..tasks, |n| n)?))?;
    say(format!("{:.0} empty tasks a second", tasks as f64 / took.as_secs_f64()));
    let took = median(200, || values(cluster.map(0..cluster.size(), |n| n)?))?;
    say(format!("{took:.1?} for a task on every rank, there and back"));
    // Made before the clock starts.
    let text = (cluster.rank() == 0).then(|| "7".repeat(mib << 20));
    let mut texts: Vec<_> = (0..5).map(|_| text.clone()).collect();
    let took =
        median(5, || values(cluster.map(texts.pop().flatten(), |text: String| text.len())?))?;
    say(format!("{took:.1?} for a task with an argument of {mib} MiB"));

    let took = median(1000, || Ok(cluster.all_gather(())?))?;
    say(format!("{took:.1?} for all_gather of nothing"));
    let mut rows = DistArray::<f64>::zeroed(&cluster, &[64, 1024], 1)?;
    let took = median(1000, || Ok(rows.exchange_halo(&cluster)?))?;
    say(format!("{took:.1?} to exchange a halo of 8 KiB"));
    let whole = SharedArray::<f64>::zeroed([1024, mib << 7])?;
    let whole = (cluster.rank() == 0).then_some(&whole);
    let took = median(3, || Ok(DistArray::scatter(&cluster, whole)?))?;
    let moved = (mib << 20) as f64 * (1.0 - 1.0 / cluster.size() as f64);
    say(format!("{:.2} GB/s scattered", moved / took.as_secs_f64() / 1e9));

    let matrix = DistArray::<f64>::zeroed(&cluster, &[size, size], 0)?;
    let took = median(3, || Ok(cluster.matmul(&matrix, &matrix)?))?;
    let operations = 2.0 * (size as f64).powi(3);
    say(format!(
        "{:.1} GFLOP/s: {size} x {size} in {took:.1?}",
        operations / took.as_secs_f64() / 1e9
    ));
    for failure in cluster.map([false, true, false], kill_if)?.into_iter().filter_map(Result::err) {
        say(format!("{failure}"));
    }
    say(format!("{} ranks go on", cluster.all_gather(())?.len()));
    Ok(())
}

/// The pid of the worker, which kills itself if it is told to.
fn kill_if(is_told: bool) -> u32 {
    let pid = std::process::id();
    if is_told {
        let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
    }
    pid
}

/// The values, or the first failure.
fn values(results: Vec<Result<usize, brigade_mpi::Failure>>) -> Outcome<Vec<usize>> {
    Ok(results.into_iter().collect::<Result<_, _>>()?)
}

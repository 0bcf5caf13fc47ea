//! How costs grow with workers, tasks and the size of arrays.

mod support;

use std::process::ExitCode;
use std::time::Instant;

use brigade::{Handle, Pool, Result};
use support::arguments::{Arguments, Stop, run};
use support::kernels;

const USAGE: &str = "\
scaling: measures costs by number of workers and tasks, size of arrays and chunks, as CSV

  --only KIND         all, workers, tasks, bytes or chunk [all]
  --workers-max N     up to so many workers, doubling from 1 [64]
  --tasks-max N       up to so many tasks at once, by factors of ten from 100 [10000000]
  --size-max-mib N    arrays up to this size, by factors of four from 4 KiB [8192]
  --repeat N          repetitions, of which the median counts [9]";

/// Elements of a chunk: 256 KiB.
const CHUNK: usize = 1 << 16;
/// The size of the array that is divided into chunks of all sizes.
const CHUNKED_BYTES: usize = 256 << 20;

fn main() -> ExitCode {
    run(USAGE, measure)
}

fn measure(arguments: Arguments) -> std::result::Result<(), Stop> {
    let workers_max = arguments.number("workers-max", 1usize)?.unwrap_or(64);
    let tasks_max = arguments.number("tasks-max", 1usize)?.unwrap_or(10_000_000);
    let size_max = arguments.number("size-max-mib", 1usize)?.unwrap_or(8192);
    let repeat = arguments.number("repeat", 1usize)?.unwrap_or(9);
    let Some(size_max) = size_max.checked_mul(1 << 20) else {
        return Err(Stop::usage("--size-max-mib is more than there are addresses"));
    };
    let only = arguments.choice("only", &["all", "workers", "tasks", "bytes", "chunk"])?;
    let is_wanted = |kind| only == "all" || only == kind;
    println!("series,x,y");
    for workers in powers(1, 2, workers_max).filter(|_| is_wanted("workers")) {
        by_workers(workers, repeat)?;
    }
    let pool = Pool::new()?;
    for tasks in powers(100, 10, tasks_max).filter(|_| is_wanted("tasks")) {
        by_tasks(&pool, tasks, repeat)?;
    }
    for bytes in powers(4096, 4, size_max).filter(|_| is_wanted("bytes")) {
        by_size(&pool, bytes, repeat)?;
    }
    if is_wanted("chunk") {
        by_chunk(&pool, size_max.min(CHUNKED_BYTES), repeat)?;
    }
    Ok(())
}

/// `first`, and its products by `factor`, up to `last`.
fn powers(first: usize, factor: usize, last: usize) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(first), move |x| x.checked_mul(factor))
        .take_while(move |&x| x <= last)
}

fn same(n: u64) -> u64 {
    n
}

/// The median time of `repeat` runs after a warm-up run, in seconds.
fn median_s(repeat: usize, mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    work()?;
    let mut times = Vec::with_capacity(repeat);
    for _ in 0..repeat {
        let start = Instant::now();
        work()?;
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

/// Submits this many empty tasks, then joins them all.
fn burst(pool: &Pool, tasks: usize) -> Result<()> {
    let tasks = tasks as u64;
    let handles: Vec<Handle<u64>> =
        (0..tasks).map(|n| pool.submit(same, n)).collect::<Result<_>>()?;
    let sum = handles.into_iter().map(Handle::join).sum::<Result<u64>>()?;
    assert_eq!(sum, tasks * (tasks - 1) / 2);
    Ok(())
}

/// A task, a loop and a reduction, by the number of workers.
fn by_workers(workers: usize, repeat: usize) -> Result<()> {
    const TASKS: usize = 20_000;
    const CALLS: usize = 200;
    let pool = Pool::builder().workers(workers).build()?;
    let burst_s = median_s(repeat, || burst(&pool, TASKS))?;
    println!("task_ns by workers,{workers},{:.1}", burst_s / TASKS as f64 * 1e9);
    let mut array = pool.zeroed::<f32>([workers * 64])?;
    let loop_s = median_s(repeat, || {
        (0..CALLS).try_for_each(|_| pool.par_chunks_mut(&mut array, 64).for_each(|_| ()))
    })?;
    println!("loop_us by workers,{workers},{:.2}", loop_s / CALLS as f64 * 1e6);
    let reduce_s = median_s(repeat, || {
        (0..CALLS).try_for_each(|_| {
            let sum = pool.par_chunks(&array, 64).map(kernels::sum).reduce(0.0, |a, b| a + b)?;
            assert_eq!(sum, 0.0);
            Ok(())
        })
    })?;
    println!("reduction_us by workers,{workers},{:.2}", reduce_s / CALLS as f64 * 1e6);
    drop(pool);
    let pinned = Pool::builder().workers(workers).pin_workers().build()?;
    let pinned_s = median_s(repeat, || {
        (0..CALLS).try_for_each(|_| pinned.par_chunks_mut(&mut array, 64).for_each(|_| ()))
    })?;
    println!("pinned_loop_us by workers,{workers},{:.2}", pinned_s / CALLS as f64 * 1e6);
    Ok(())
}

/// The time and memory of a task, by the number of tasks in flight.
fn by_tasks(pool: &Pool, tasks: usize, repeat: usize) -> Result<()> {
    let repeat = if tasks > 1_000_000 { 1 } else { repeat };
    let task_s = median_s(repeat, || burst(pool, tasks))? / tasks as f64;
    println!("task_ns by tasks,{tasks},{:.1}", task_s * 1e9);
    // The memory of the queue stays with the process, for later tasks.
    println!("host_mib by tasks,{tasks},{:.1}", private_mib());
    Ok(())
}

/// Private memory of this process, in MiB.
fn private_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<f64>().ok());
    kib.unwrap_or(f64::NAN) / 1024.0
}

/// A sum and a scaled addition, by the size of the arrays.
fn by_size(pool: &Pool, bytes: usize, repeat: usize) -> Result<()> {
    let len = bytes / 4;
    let x = pool.zeroed::<f32>([len])?;
    let sum_s = median_s(repeat, || {
        let sum = pool.par_chunks(&x, CHUNK).map(kernels::sum).reduce(0.0, |a, b| a + b)?;
        assert_eq!(sum, 0.0);
        Ok(())
    })?;
    println!("sum_gbps by bytes,{bytes},{:.3}", bytes as f64 / sum_s / 1e9);
    let mut y = pool.zeroed::<f32>([len])?;
    let axpy_s = median_s(repeat, || {
        pool.par_chunks_mut(&mut y, CHUNK)
            .zip(&x)
            .with(2.5f32)
            .for_each(|a, (y, x)| y.iter_mut().zip(x).for_each(|(y, x)| *y += a * x))
    })?;
    println!("axpy_gbps by bytes,{bytes},{:.3}", 3.0 * bytes as f64 / axpy_s / 1e9);
    Ok(())
}

/// A sum, and 64 multiply-adds for each element, by the elements of a chunk.
fn by_chunk(pool: &Pool, bytes: usize, repeat: usize) -> Result<()> {
    let len = bytes / 4;
    let mut x = pool.zeroed::<f32>([len])?;
    for chunk in powers(64, 4, len) {
        let sum_s = median_s(repeat, || {
            let sum = pool.par_chunks(&x, chunk).map(kernels::sum).reduce(0.0, |a, b| a + b)?;
            assert_eq!(sum, 0.0);
            Ok(())
        })?;
        println!("sum_gbps by chunk,{chunk},{:.3}", bytes as f64 / sum_s / 1e9);
        let steps_s = median_s(repeat.min(3), || {
            pool.par_chunks_mut(&mut x, chunk)
                .for_each(|x| x.iter_mut().for_each(|x| *x = (0..64).fold(*x, |y, _| 0.5 * y + *x)))
        })?;
        println!("steps_gbps by chunk,{chunk},{:.3}", bytes as f64 / steps_s / 1e9);
    }
    Ok(())
}

//! What the engine itself costs: dispatch, loops, start-up, memory.

mod support;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use brigade::{Handle, Pool, Result, SharedArray};
use support::arguments::{Arguments, Stop, run};
use support::report;

const USAGE: &str = "\
overhead: measures the engine's own cost, with empty tasks and simple kernels

  --workers N         worker processes [one for each processor]
  --size-mib N        size of the arrays to sum and to allocate [256]
  --json              one line of JSON instead of a table";

/// Elements a worker takes at once in `sum` and `axpy`: 256 KiB.
const CHUNK: usize = 1 << 16;

type Figures = BTreeMap<&'static str, f64>;

fn main() -> ExitCode {
    run(USAGE, measure)
}

fn measure(arguments: Arguments) -> std::result::Result<(), Stop> {
    let workers = arguments.number("workers", 1usize)?;
    let size_mib = arguments.number("size-mib", 1usize)?.unwrap_or(256);
    let Some(len) = size_mib.checked_mul(1 << 18) else {
        return Err(Stop::usage(format!(
            "--size-mib is {size_mib}, more than there are addresses"
        )));
    };
    let mut figures = Figures::new();
    let (pool, start) = start_up(workers)?;
    figures.insert("start_ms", start.as_secs_f64() * 1e3);
    figures.insert("workers", pool.workers() as f64);
    dispatch(&pool, &mut figures)?;
    idle(&pool, &mut figures)?;
    burst(&pool, &mut figures)?;
    loops(&pool, &mut figures)?;
    memory(&pool, len, &mut figures)?;
    restart(&mut figures)?;
    if arguments.has("json") {
        return report::json(&figures);
    }
    for (key, value) in &figures {
        println!("{key:<28} {value:>16.3}");
    }
    Ok(())
}

fn same(n: u64) -> u64 {
    n
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// The quantile `q` of measured times, in microseconds.
fn quantile(times: &mut [f64], q: f64) -> f64 {
    times.sort_by(f64::total_cmp);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 <= q <= 1")]
    let index = ((times.len() - 1) as f64 * q) as usize;
    times[index]
}

/// Times `work` `count` times, in microseconds each.
fn times(count: usize, mut work: impl FnMut() -> Result<()>) -> Result<Vec<f64>> {
    (0..count)
        .map(|_| {
            let start = Instant::now();
            work().map(|()| micros(start.elapsed()))
        })
        .collect()
}

/// A pool, and how long it took to its first result.
fn start_up(workers: Option<usize>) -> Result<(Pool, Duration)> {
    let builder = Pool::builder();
    let builder = workers.map_or(builder.clone(), |count| builder.workers(count));
    let start = Instant::now();
    let pool = builder.build()?;
    pool.submit(same, 1)?.join()?;
    Ok((pool, start.elapsed()))
}

/// One task at a time on a warm pool.
fn dispatch(pool: &Pool, figures: &mut Figures) -> Result<()> {
    let one = || pool.submit(same, 7)?.join().map(drop);
    times(20_000, one)?;
    let mut measured = times(100_000, one)?;
    figures.insert("submit_join_p50_us", quantile(&mut measured, 0.5));
    figures.insert("submit_join_p99_us", quantile(&mut measured, 0.99));
    Ok(())
}

/// One task after the workers have gone to sleep.
fn idle(pool: &Pool, figures: &mut Figures) -> Result<()> {
    let mut measured = Vec::new();
    for _ in 0..50 {
        std::thread::park_timeout(Duration::from_millis(10));
        let start = Instant::now();
        pool.submit(same, 7)?.join()?;
        measured.push(micros(start.elapsed()));
    }
    figures.insert("submit_join_idle_p50_us", quantile(&mut measured, 0.5));
    Ok(())
}

/// A million tasks, then all joined; ten million items of a map.
fn burst(pool: &Pool, figures: &mut Figures) -> Result<()> {
    const TASKS: u64 = 1_000_000;
    const ITEMS: u64 = 10_000_000;
    let mut rates = Vec::new();
    for _ in 0..5 {
        let start = Instant::now();
        let handles: Vec<Handle<u64>> =
            (0..TASKS).map(|n| pool.submit(same, n)).collect::<Result<_>>()?;
        let sum = handles.into_iter().map(Handle::join).sum::<Result<u64>>()?;
        rates.push(TASKS as f64 / start.elapsed().as_secs_f64());
        assert_eq!(sum, TASKS * (TASKS - 1) / 2);
    }
    figures.insert("tasks_per_s", quantile(&mut rates, 0.5));
    let start = Instant::now();
    let sum: u64 = pool.map(0..ITEMS, same)?.sum();
    figures.insert("map_items_per_s", ITEMS as f64 / start.elapsed().as_secs_f64());
    assert_eq!(sum, ITEMS * (ITEMS - 1) / 2);
    Ok(())
}

/// Loops whose chunks are empty of work.
fn loops(pool: &Pool, figures: &mut Figures) -> Result<()> {
    const CHUNKS: usize = 1 << 15;
    let mut x = SharedArray::<u8>::zeroed([CHUNKS])?;
    let half = CHUNKS.div_ceil(pool.workers());
    let mut calls = times(5000, || pool.par_chunks_mut(&mut x, half).for_each(|_| ()))?;
    figures.insert("loop_call_us", quantile(&mut calls, 0.5));
    let mut calls = times(200, || pool.par_chunks_mut(&mut x, 1).for_each(|_| ()))?;
    let chunk_ns = quantile(&mut calls, 0.5) * 1e3 / CHUNKS as f64;
    figures.insert("loop_overhead_ns_per_chunk", chunk_ns);
    Ok(())
}

/// Sums, scaled additions, fresh and reused memory, of arrays of `len` f32.
fn memory(pool: &Pool, len: usize, figures: &mut Figures) -> Result<()> {
    let bytes = len as f64 * 4.0;
    let start = Instant::now();
    let mut y = pool.zeroed::<f32>([len])?;
    let gib = bytes / f64::from(1 << 30);
    figures.insert("alloc_gib_s", gib / start.elapsed().as_secs_f64());
    let x = pool.zeroed::<f32>([len])?;
    let mut sums = times(9, || {
        let sum = pool.par_chunks(&x, CHUNK).map(unrolled_sum).reduce(0.0, |a, b| a + b)?;
        assert_eq!(sum, 0.0);
        Ok(())
    })?;
    figures.insert("sum_gbps", bytes / quantile(&mut sums, 0.5) / 1e3);
    let mut axpys = times(9, || {
        pool.par_chunks_mut(&mut y, CHUNK)
            .zip(&x)
            .with(2.5f32)
            .for_each(|a, (y, x)| y.iter_mut().zip(x).for_each(|(y, x)| *y += a * x))
    })?;
    // Two arrays are read and one is written.
    figures.insert("axpy_gbps", 3.0 * bytes / quantile(&mut axpys, 0.5) / 1e3);
    drop((x, y));
    let mut again = times(9, || SharedArray::<f32>::for_overwrite([len]).map(drop))?;
    figures.insert("realloc_gib_s", gib / (quantile(&mut again, 0.5) * 1e-6));
    Ok(())
}

/// A sum in sixteen lanes, so that additions do not wait for each other.
fn unrolled_sum(x: &[f32]) -> f64 {
    let (lanes, rest) = x.as_chunks::<16>();
    let mut sums = [0.0f32; 16];
    for lane in lanes {
        for (sum, x) in sums.iter_mut().zip(lane) {
            *sum += x;
        }
    }
    f64::from(sums.iter().sum::<f32>() + rest.iter().sum::<f32>())
}

fn crash((): ()) {
    std::process::abort()
}

/// From a task that kills its worker to the result of the next one, by the replacement.
fn restart(figures: &mut Figures) -> Result<()> {
    let single = Pool::builder().workers(1).build()?;
    let mut measured = Vec::new();
    for _ in 0..30 {
        let start = Instant::now();
        let crash = single.submit(crash, ())?;
        let next = single.submit(same, 1)?;
        next.join()?;
        measured.push(micros(start.elapsed()));
        assert!(crash.join().is_err());
    }
    figures.insert("restart_us", quantile(&mut measured, 0.5));
    Ok(())
}

//! The costs of the engine itself: dispatch, loops, start-up, memory.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use brigade::{Frozen, Handle, Pool, Result, SharedArray};
use support::arguments::{Arguments, Stop, run};
use support::kernels;
use support::report;

const USAGE: &str = "\
overhead: measures the engine's own cost, with empty tasks and simple kernels

  --workers N         worker processes [one for each processor]
  --size-mib N        size of the arrays to sum and to allocate [1024]
  --host-gib N        private memory of the host for start_4gib_ms [4]
  --quick             few repetitions, to see that it works; figures mean little
  --json              one line of JSON instead of a table";

/// Elements of a chunk in `sum` and `axpy`: 256 KiB.
const CHUNK: usize = 1 << 16;

type Figures = BTreeMap<&'static str, f64>;

fn main() -> ExitCode {
    run(USAGE, measure)
}

fn measure(arguments: Arguments) -> std::result::Result<(), Stop> {
    let workers = arguments.number("workers", 1usize)?;
    let size_mib = arguments.number("size-mib", 1usize)?.unwrap_or(1024);
    let host_gib = arguments.number("host-gib", 0usize)?.unwrap_or(4);
    let too_large = |name: &str, value: usize| {
        Stop::usage(format!("--{name} is {value}, more than there are addresses"))
    };
    let len = size_mib.checked_mul(1 << 18).ok_or_else(|| too_large("size-mib", size_mib))?;
    let host_bytes =
        host_gib.checked_mul(1 << 30).ok_or_else(|| too_large("host-gib", host_gib))?;
    let effort = if arguments.has("quick") { Effort::QUICK } else { Effort::FULL };
    let mut figures = Figures::new();
    start_up(workers, effort, "start_ms", &mut figures)?;
    with_private_memory(host_bytes, || start_up(workers, effort, "start_4gib_ms", &mut figures))?;
    fresh(workers, len, effort, &mut figures)?;
    let builder = Pool::builder();
    let pool = workers.map_or(builder.clone(), |count| builder.workers(count)).build()?;
    figures.insert("workers", pool.workers() as f64);
    dispatch(&pool, effort, &mut figures)?;
    idle(&pool, effort, &mut figures)?;
    burst(&pool, effort, &mut figures)?;
    timeline(&pool, effort, &mut figures)?;
    fork_join(effort, &mut figures)?;
    loops(&pool, effort, &mut figures)?;
    memory(&pool, len, effort, &mut figures)?;
    handoff(&pool, effort, &mut figures)?;
    rest(&pool, effort, &mut figures)?;
    restart(effort, &mut figures)?;
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

/// Sleeps for this long; the passing of time is what is measured here.
fn wait_for(time: Duration) {
    let start = Instant::now();
    while let Some(left) = time.checked_sub(start.elapsed()).filter(|left| !left.is_zero()) {
        std::thread::park_timeout(left);
    }
}

/// The quantile `q` of measured times, in microseconds.
fn quantile(times: &mut [f64], q: f64) -> f64 {
    times.sort_by(f64::total_cmp);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 <= q <= 1")]
    let index = ((times.len() - 1) as f64 * q) as usize;
    times[index]
}

/// Runs `work` `count` times; returns each duration in microseconds.
fn times(count: usize, mut work: impl FnMut() -> Result<()>) -> Result<Vec<f64>> {
    (0..count)
        .map(|_| {
            let start = Instant::now();
            work().map(|()| micros(start.elapsed()))
        })
        .collect()
}

/// The number of repetitions of each measurement.
#[derive(Debug, Clone, Copy)]
struct Effort {
    /// For work that takes microseconds.
    many: usize,
    /// For work that takes milliseconds.
    few: usize,
    /// Tasks and items that are submitted at once.
    tasks: u64,
    items: u64,
}

impl Effort {
    const FULL: Effort = Effort { many: 100_000, few: 20, tasks: 1_000_000, items: 10_000_000 };
    const QUICK: Effort = Effort { many: 200, few: 2, tasks: 2000, items: 20_000 };
}

/// Pools, from their construction to their first result.
fn start_up(
    workers: Option<usize>,
    effort: Effort,
    key: &'static str,
    figures: &mut Figures,
) -> Result<()> {
    let builder = Pool::builder();
    let builder = workers.map_or(builder.clone(), |count| builder.workers(count));
    let mut measured = Vec::new();
    for _ in 0..effort.few {
        let start = Instant::now();
        let pool = builder.clone().build()?;
        pool.submit(same, 1)?.join()?;
        measured.push(micros(start.elapsed()));
    }
    figures.insert(key, quantile(&mut measured, 0.5) / 1e3);
    Ok(())
}

/// Calls `work` while this process has this many bytes of private memory in use.
fn with_private_memory<R>(bytes: usize, work: impl FnOnce() -> R) -> R {
    let mut private = vec![0u8; bytes];
    for page in private.chunks_mut(4096) {
        page[0] = 1;
    }
    let result = work();
    std::hint::black_box(private);
    result
}

/// One task at a time on a warm pool.
fn dispatch(pool: &Pool, effort: Effort, figures: &mut Figures) -> Result<()> {
    let one = || pool.submit(same, 7)?.join().map(drop);
    times(effort.many / 5, one)?;
    let mut measured = times(effort.many, one)?;
    figures.insert("submit_join_p50_us", quantile(&mut measured, 0.5));
    figures.insert("submit_join_p99_us", quantile(&mut measured, 0.99));
    Ok(())
}

/// One task after a pause, when the workers sleep.
fn idle(pool: &Pool, effort: Effort, figures: &mut Figures) -> Result<()> {
    let rests = [
        ("submit_join_idle_p50_us", Duration::from_millis(10), 5 * effort.few),
        ("submit_join_idle_1s_p50_us", Duration::from_secs(1), effort.few / 2),
    ];
    for (key, rest, count) in rests {
        let mut measured = Vec::new();
        for _ in 0..count {
            wait_for(rest);
            let start = Instant::now();
            pool.submit(same, 7)?.join()?;
            measured.push(micros(start.elapsed()));
        }
        figures.insert(key, quantile(&mut measured, 0.5));
    }
    Ok(())
}

/// A million tasks, all joined afterwards; ten million items of a map.
fn burst(pool: &Pool, effort: Effort, figures: &mut Figures) -> Result<()> {
    let Effort { tasks, items, .. } = effort;
    let mut submits = times(5, || submit_and_join(pool, tasks))?;
    figures.insert("tasks_per_s", tasks as f64 / quantile(&mut submits, 0.5) * 1e6);
    let mut maps = times(5, || {
        let sum: u64 = pool.map(0..items, same)?.sum();
        assert_eq!(sum, items * (items - 1) / 2);
        Ok(())
    })?;
    figures.insert("map_items_per_s", items as f64 / quantile(&mut maps, 0.5) * 1e6);
    Ok(())
}

fn submit_and_join(pool: &Pool, tasks: u64) -> Result<()> {
    let handles: Vec<Handle<u64>> =
        (0..tasks).map(|n| pool.submit(same, n)).collect::<Result<_>>()?;
    let sum = handles.into_iter().map(Handle::join).sum::<Result<u64>>()?;
    assert_eq!(sum, tasks * (tasks - 1) / 2);
    Ok(())
}

/// The processor time that the host takes for an empty task, without and with a timeline, by turns.
fn timeline(pool: &Pool, effort: Effort, figures: &mut Figures) -> Result<()> {
    let me = std::process::id();
    let path = std::env::temp_dir().join(format!("brigade-overhead-{me}.json"));
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..2 * effort.few {
        for (is_recorded, measured) in [(false, &mut without), (true, &mut with)] {
            if is_recorded {
                pool.timeline(&path)?;
            }
            let before_ns = busy_ns(me);
            submit_and_join(pool, effort.tasks)?;
            measured.push(busy_ns(me).saturating_sub(before_ns) as f64 / effort.tasks as f64);
            if is_recorded {
                pool.finish_timeline()?;
            }
        }
    }
    // Another program may have removed it.
    let _ = std::fs::remove_file(path);
    figures.insert("host_ns_per_task", quantile(&mut without, 0.5));
    figures.insert("host_ns_per_task_timeline", quantile(&mut with, 0.5));
    Ok(())
}

/// A task of 20 us on each of several workers at the same time.
fn fork_join(effort: Effort, figures: &mut Figures) -> Result<()> {
    let spin = |us: u64| {
        let start = Instant::now();
        while start.elapsed() < Duration::from_micros(us) {
            std::hint::spin_loop();
        }
    };
    let keys = [
        (2, "fork_join_2_us"),
        (4, "fork_join_4_us"),
        (8, "fork_join_8_us"),
        (16, "fork_join_16_us"),
    ];
    for (workers, key) in keys {
        let pool = Pool::builder().workers(workers).build()?;
        let mut measured = times(effort.many / 50, || {
            let tasks: Vec<Handle<()>> =
                (0..workers).map(|_| pool.submit(spin, 20)).collect::<Result<_>>()?;
            tasks.into_iter().try_for_each(Handle::join)
        })?;
        figures.insert(key, quantile(&mut measured, 0.5));
    }
    Ok(())
}

/// Loops with empty chunks.
fn loops(pool: &Pool, effort: Effort, figures: &mut Figures) -> Result<()> {
    const CHUNKS: usize = 1 << 15;
    let mut x = SharedArray::<u8>::zeroed([CHUNKS])?;
    let half = CHUNKS.div_ceil(pool.workers());
    let mut calls = times(effort.many / 20, || pool.par_chunks_mut(&mut x, half).for_each(|_| ()))?;
    figures.insert("loop_call_us", quantile(&mut calls, 0.5));
    let mut calls = times(10 * effort.few, || pool.par_chunks_mut(&mut x, 1).for_each(|_| ()))?;
    let chunk_ns = quantile(&mut calls, 0.5) * 1e3 / CHUNKS as f64;
    figures.insert("loop_overhead_ns_per_chunk", chunk_ns);
    Ok(())
}

/// An array of `len` f32 in a new arena, touched by all workers: first in memory that a hypervisor
/// may not have provided yet, then in memory that was just returned to the kernel.
fn fresh(workers: Option<usize>, len: usize, effort: Effort, figures: &mut Figures) -> Result<()> {
    let builder = Pool::builder();
    let builder = workers.map_or(builder.clone(), |count| builder.workers(count));
    let mut measured = Vec::new();
    for _ in 0..=effort.few / 4 {
        // The arena is freed with the last pool and the last array.
        let pool = builder.clone().build()?;
        let start = Instant::now();
        let array = pool.zeroed::<f32>([len])?;
        measured.push(micros(start.elapsed()));
        drop(array);
    }
    let gib = len as f64 * 4.0 / f64::from(1 << 30);
    figures.insert("alloc_first_gib_s", gib / (measured.remove(0) * 1e-6));
    if !measured.is_empty() {
        figures.insert("alloc_gib_s", gib / (quantile(&mut measured, 0.5) * 1e-6));
    }
    Ok(())
}

/// Sums, scaled additions and reused memory, of arrays of `len` f32.
fn memory(pool: &Pool, len: usize, effort: Effort, figures: &mut Figures) -> Result<()> {
    let bytes = len as f64 * 4.0;
    let gib = bytes / f64::from(1 << 30);
    let mut y = pool.zeroed::<f32>([len])?;
    let x = pool.zeroed::<f32>([len])?;
    let mut sums = times(effort.few / 2, || {
        let sum = pool.par_chunks(&x, CHUNK).map(kernels::sum).reduce(0.0, |a, b| a + b)?;
        assert_eq!(sum, 0.0);
        Ok(())
    })?;
    figures.insert("sum_gbps", bytes / quantile(&mut sums, 0.5) / 1e3);
    let mut axpys = times(effort.few / 2, || {
        pool.par_chunks_mut(&mut y, CHUNK)
            .zip(&x)
            .with(2.5f32)
            .for_each(|a, (y, x)| y.iter_mut().zip(x).for_each(|(y, x)| *y += a * x))
    })?;
    // Two arrays are read and one is written.
    figures.insert("axpy_gbps", 3.0 * bytes / quantile(&mut axpys, 0.5) / 1e3);
    let mut squares = times(effort.few / 2, || {
        pool.par_chunks_mut(&mut y, CHUNK).for_each(|y| y.iter_mut().for_each(|y| *y *= *y))
    })?;
    figures.insert("chunk_items_per_s", len as f64 / quantile(&mut squares, 0.5) * 1e6);
    drop((x, y));
    let mut again = times(effort.few / 2, || SharedArray::<f32>::for_overwrite([len]).map(drop))?;
    figures.insert("realloc_gib_s", gib / (quantile(&mut again, 0.5) * 1e-6));
    Ok(())
}

/// Passes a frozen array of 64 MiB to a worker that returns its sum; compared with the sum alone.
fn handoff(pool: &Pool, effort: Effort, figures: &mut Figures) -> Result<()> {
    let array = SharedArray::<f32>::from_fn([16 << 20], |[i]| (i % 7) as f32)?.freeze();
    let timed = |array: Frozen<f32>| {
        let start = Instant::now();
        let sum = kernels::sum(array.as_slice());
        (sum, micros(start.elapsed()))
    };
    let (mut whole, mut alone) = (Vec::new(), Vec::new());
    for _ in 0..=effort.few {
        let start = Instant::now();
        let (sum, sum_us) = pool.submit(timed, array.clone())?.join()?;
        whole.push(micros(start.elapsed()));
        alone.push(sum_us);
        assert!(sum > 0.0);
    }
    // The first access of the worker to the pages.
    figures.insert("array_handoff_first_us", whole.remove(0));
    alone.remove(0);
    figures.insert("array_handoff_us", quantile(&mut whole, 0.5));
    figures.insert("array_sum_us", quantile(&mut alone, 0.5));
    Ok(())
}

/// The processor time of the host, the server and the workers while there is nothing to do.
fn rest(pool: &Pool, effort: Effort, figures: &mut Figures) -> Result<()> {
    let me = std::process::id();
    let family = |(): ()| (std::process::id(), std::os::unix::process::parent_id());
    let mut processes = BTreeSet::from([me]);
    while processes.len() < pool.workers() + 2 {
        let tasks: Vec<_> = (0..64).map(|_| pool.submit(family, ())).collect::<Result<_>>()?;
        for task in tasks {
            let (worker, server) = task.join()?;
            processes.extend([worker, server]);
        }
    }
    let rest = Duration::from_millis(100 * effort.few as u64);
    // Wait until spinning has ended.
    wait_for(Duration::from_millis(100));
    let before: u64 = processes.iter().map(|&pid| busy_ns(pid)).sum();
    let start = Instant::now();
    wait_for(rest);
    let elapsed = start.elapsed();
    let after: u64 = processes.iter().map(|&pid| busy_ns(pid)).sum();
    let busy_s = after.saturating_sub(before) as f64 * 1e-9;
    figures.insert("idle_cpu_percent", 100.0 * busy_s / elapsed.as_secs_f64());
    Ok(())
}

/// The processor time of all threads of a process, in nanoseconds.
fn busy_ns(pid: u32) -> u64 {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    let times = threads.flatten().filter_map(|thread| {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_ascii_whitespace().next()?.parse::<u64>().ok()
    });
    times.sum()
}

fn crash((): ()) {
    std::process::abort()
}

/// From a task that kills its worker to the first result of the replacement.
fn restart(effort: Effort, figures: &mut Figures) -> Result<()> {
    let single = Pool::builder().workers(1).build()?;
    let mut measured = Vec::new();
    for _ in 0..2 * effort.few {
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

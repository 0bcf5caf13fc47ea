//! What a large state costs: in initializers, and in a preload.

mod support;

use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use brigade::Pool;
use support::arguments::{Arguments, Stop, run};

const USAGE: &str = "\
preload: times the start of workers that need a large state, and measures its memory

  --workers N         worker processes [4]
  --mib N             size of the state [64]
  --start-ms N        how long it takes to make, beside filling its memory [100]
  --initializer       make it in each worker, instead of once for all";

fn main() -> ExitCode {
    run(USAGE, measure)
}

/// How long the workers may take to be ready.
const PATIENCE: Duration = Duration::from_secs(600);

/// What tasks use. Workers have it from their beginning, or make it.
static STATE: OnceLock<Vec<u64>> = OnceLock::new();

fn make((mib, start): (usize, Duration)) -> Result<(), String> {
    let began = Instant::now();
    while began.elapsed() < start {
        std::hint::spin_loop();
    }
    let count = mib.checked_mul((1 << 20) / size_of::<u64>()).ok_or("the state is too large")?;
    STATE.set((0..count as u64).collect()).map_err(|_| "made twice".to_owned())
}

/// Reads all of the state.
fn total(_: ()) -> Option<u64> {
    Some(STATE.get()?.iter().sum())
}

/// The resident memory of a process in bytes, where shared pages count in parts.
fn pss_bytes(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? << 10)
}

fn parent(_: ()) -> u32 {
    std::os::unix::process::parent_id()
}

fn measure(arguments: Arguments) -> Result<(), Stop> {
    let workers = arguments.number("workers", 1)?.unwrap_or(4);
    let mib = arguments.number("mib", 1)?.unwrap_or(64);
    let start = Duration::from_millis(arguments.number("start-ms", 0)?.unwrap_or(100));
    let in_each = arguments.has("initializer");
    let builder = Pool::builder().workers(workers);
    let builder = match in_each {
        true => builder.initializer(make, (mib, start)),
        false => builder.preload(make, (mib, start)),
    };
    let began = Instant::now();
    let pool = builder.build()?;
    pool.wait_ready(PATIENCE)?;
    let started = began.elapsed();

    let totals = pool.broadcast(total, ())?;
    assert!(totals.iter().all(|one| one.result == totals[0].result && one.result.is_ok()));

    let pids = pool.stats().per_worker.into_iter().filter_map(|worker| worker.pid);
    let server = (!in_each).then(|| pool.submit(parent, ())?.join()).transpose()?;
    let memory: u64 = pids.chain(server).filter_map(pss_bytes).sum();

    let crash = pool.submit(|()| -> () { std::process::abort() }, ())?;
    let worker = crash.join().map_err(|error| error.death().map(|death| death.worker));
    let began = Instant::now();
    pool.wait_ready(PATIENCE)?;
    let replaced = began.elapsed();
    let dead = worker.err().flatten().ok_or_else(|| Stop::Failure("no worker died".into()))?;
    let again = pool.broadcast(total, ())?;
    assert!(again[dead].result == totals[0].result, "the replacement has the state");

    let how = if in_each { "initializer" } else { "preload" };
    println!(
        "{how}: {workers} workers of {mib} MiB ready after {started:.2?}; \
         a replacement after {replaced:.2?}; {} MiB in all",
        memory >> 20
    );
    Ok(())
}

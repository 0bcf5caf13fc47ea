//! What the engine itself costs: dispatch, loops, start-up, memory.

mod support;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use brigade::{Pool, SharedArray};

fn nothing(n: u64) -> u64 {
    n
}

fn percentile(sorted: &[f64], p: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * p) as usize]
}

fn micros(d: Duration) -> f64 {
    d.as_secs_f64() * 1e6
}

fn main() -> ExitCode {
    let mut report: Vec<(&str, f64)> = Vec::new();
    let start = Instant::now();
    let pool = Pool::builder().workers(2).build().unwrap();
    pool.submit(nothing, 1).unwrap().join().unwrap();
    report.push(("start_ms", micros(start.elapsed()) / 1e3));
    for _ in 0..20_000 {
        pool.submit(nothing, 1).unwrap().join().unwrap();
    }
    let mut times: Vec<f64> = (0..100_000)
        .map(|n| {
            let start = Instant::now();
            pool.submit(nothing, n).unwrap().join().unwrap();
            micros(start.elapsed())
        })
        .collect();
    times.sort_by(f64::total_cmp);
    report.push(("submit_join_p50_us", percentile(&times, 0.5)));
    report.push(("submit_join_p99_us", percentile(&times, 0.99)));
    for _ in 0..5 {
        let count = 1_000_000u64;
        let start = Instant::now();
        let handles: Vec<_> = (0..count).map(|n| pool.submit(nothing, n).unwrap()).collect();
        let submitted = start.elapsed();
        for handle in handles {
            handle.join().unwrap();
        }
        let all = start.elapsed();
        report.push(("submit_per_s", count as f64 / submitted.as_secs_f64()));
        report.push(("tasks_per_s", count as f64 / all.as_secs_f64()));
    }
    let start = Instant::now();
    let mapped = pool.map(0..10_000_000u64, nothing).unwrap();
    report.push(("map_items_per_s", mapped.len() as f64 / start.elapsed().as_secs_f64()));
    let mut x = SharedArray::<u8>::zeroed([1 << 20]).unwrap();
    let mut calls: Vec<f64> = (0..2000)
        .map(|_| {
            let start = Instant::now();
            pool.par_chunks_mut(&mut x, 1 << 19).for_each(|_| ()).unwrap();
            micros(start.elapsed())
        })
        .collect();
    calls.sort_by(f64::total_cmp);
    report.push(("loop_call_us", percentile(&calls, 0.5)));
    let mut calls: Vec<f64> = (0..200)
        .map(|_| {
            let start = Instant::now();
            pool.par_chunks_mut(&mut x, 1 << 5).for_each(|_| ()).unwrap();
            micros(start.elapsed())
        })
        .collect();
    calls.sort_by(f64::total_cmp);
    report.push(("loop_overhead_ns_per_chunk", percentile(&calls, 0.5) * 1e3 / 32768.0));
    for (key, value) in report {
        println!("{key} {value:.3}");
    }
    ExitCode::SUCCESS
}

//! Prints pools: once, or as a view that refreshes.
//!
//! The view is plain ANSI: one erased screen for each frame, with the wrapping of lines off. It
//! needs no raw mode, so nothing has to be restored when it is interrupted, and no dependency.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use brigade::{PoolInfo, WorkerInfo, WorkerStatus};

use crate::error::CommandError;
use crate::json::Json;
use crate::table::{columns, printable, size};

/// How often a pool publishes its state.
const INTERVAL: Duration = Duration::from_secs(1);
/// A pool that has published nothing for this long is stopped, or its machine is overloaded.
const STALE: Duration = Duration::from_secs(5);
/// The most idle workers that are listed.
const IDLE_MAX: usize = 4;

/// Prints the pools once, or again and again until the output is closed.
pub(crate) fn run(json: bool, once: bool, out: &mut impl Write) -> Result<(), CommandError> {
    let is_view = !json && !once && io::stdout().is_terminal();
    loop {
        let pools = brigade::pools()?;
        let text = match json {
            true => format!("{}\n", Json::List(pools.iter().map(in_json).collect())),
            false => frame(&pools),
        };
        match is_view {
            // Erase the screen, go to its first place, wrap no lines.
            true => write!(out, "\x1b[2J\x1b[H\x1b[?7l{text}\x1b[?7h")?,
            false => write!(out, "{text}")?,
        }
        out.flush()?;
        if once {
            return Ok(());
        }
        if !is_view && !json {
            writeln!(out)?;
        }
        #[expect(clippy::disallowed_methods, reason = "the passing of time is what is shown")]
        std::thread::sleep(INTERVAL);
    }
}

/// A table of pools, without their workers.
pub(crate) fn table(pools: &[PoolInfo]) -> String {
    let heading = [
        "POOL", "PID", "PROGRAM", "UP", "WORKERS", "RUNNING", "QUEUED", "DONE", "FAILED",
        "TASKS/S", "ARRAYS",
    ];
    let row = |pool: &PoolInfo| {
        let stats = &pool.stats;
        [
            printable(&pool.name),
            pool.pid.to_string(),
            pool.command.as_deref().map_or_else(|| "-".to_owned(), printable),
            time(pool.uptime),
            format!("{}/{}", stats.workers, pool.target),
            stats.running.to_string(),
            stats.queued.to_string(),
            stats.done().to_string(),
            stats.failed.to_string(),
            format!("{:.0}", pool.tasks_per_second),
            size(pool.arrays_bytes),
        ]
    };
    let rows: Vec<_> =
        [heading.map(str::to_owned)].into_iter().chain(pools.iter().map(row)).collect();
    columns(&rows)
}

/// Everything about the pools.
fn frame(pools: &[PoolInfo]) -> String {
    if pools.is_empty() {
        return "no pool of this user\n".to_owned();
    }
    let mut text = table(pools);
    for pool in pools {
        // Writing to a string never fails.
        let _ = writeln!(text, "\n{} of process {}", printable(&pool.name), pool.pid);
        if pool.age > STALE {
            let _ = writeln!(text, "  no report for {}: the process is stopped?", time(pool.age));
        }
        if let Some(cause) = &pool.broken {
            let _ = writeln!(text, "  broken: {}", printable(cause));
        }
        let causes = pool.stats.restarts_by.causes();
        let causes: Vec<String> = causes
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(cause, count)| format!("{cause} {count}"))
            .collect();
        if !causes.is_empty() {
            let _ = writeln!(text, "  replaced workers: {}", causes.join(", "));
        }
        let quantile = |q| pool.stats.run_times.quantile(q).map(time);
        if let [Some(half), Some(most), Some(all)] = [0.5, 0.99, 1.0].map(quantile) {
            let _ = writeln!(text, "  run times: half {half}, 99 % {most}, all {all} or less");
        }
        text += &workers(pool);
    }
    text
}

fn workers(pool: &PoolInfo) -> String {
    let heading = ["  WORKER", "PID", "STATUS", "FOR", "TASKS", "BUSY", "MEMORY", "FUNCTION"];
    let mut rows = vec![heading.map(str::to_owned)];
    let mut idle = 0;
    for worker in &pool.workers {
        let is_quiet = matches!(worker.status, WorkerStatus::Idle | WorkerStatus::Absent);
        idle += usize::from(is_quiet);
        if !is_quiet || idle <= IDLE_MAX {
            rows.push(row(worker));
        }
    }
    let mut text = columns(&rows);
    if idle > IDLE_MAX {
        let _ = writeln!(text, "  and {} more that are idle or absent", idle - IDLE_MAX);
    }
    text
}

fn row(worker: &WorkerInfo) -> [String; 8] {
    let none = || "-".to_owned();
    [
        format!("  {}", worker.index),
        worker.pid.map_or_else(none, |pid| pid.to_string()),
        status(worker.status).to_owned(),
        worker.running_for.map_or_else(none, time),
        worker.tasks.to_string(),
        time(worker.busy),
        worker.memory_bytes.map_or_else(none, size),
        worker.task.as_deref().map_or_else(none, printable),
    ]
}

fn status(status: WorkerStatus) -> &'static str {
    match status {
        WorkerStatus::Starting => "starting",
        WorkerStatus::Idle => "idle",
        WorkerStatus::Running => "running",
        WorkerStatus::Leaving => "leaving",
        _ => "absent",
    }
}

/// A time with two or three digits.
fn time(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        0.0..1e-3 => format!("{:.0} us", seconds * 1e6),
        1e-3..1.0 => format!("{:.0} ms", seconds * 1e3),
        1.0..60.0 => format!("{seconds:.1} s"),
        60.0..3600.0 => format!("{:.0} min", seconds / 60.0),
        _ => format!("{:.1} h", seconds / 3600.0),
    }
}

fn in_json(pool: &PoolInfo) -> Json {
    let stats = &pool.stats;
    let number = |count: usize| Json::Number(count as u64);
    let optional = |text: Option<&String>| text.map_or(Json::Null, Json::text);
    let quantile = |q| stats.run_times.quantile(q).map_or(Json::Null, nanos);
    let causes = stats.restarts_by.causes();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
    let rate = pool.tasks_per_second.round() as u64;
    Json::Object(vec![
        ("pool", Json::text(&pool.name)),
        ("pid", Json::Number(u64::from(pool.pid))),
        ("program", optional(pool.command.as_ref())),
        ("age_ns", nanos(pool.age)),
        ("uptime_ns", nanos(pool.uptime)),
        ("broken", optional(pool.broken.as_ref())),
        ("target", number(pool.target)),
        ("submitted", Json::Number(stats.submitted)),
        ("queued", number(stats.queued)),
        ("running", number(stats.running)),
        ("succeeded", Json::Number(stats.succeeded)),
        ("failed", Json::Number(stats.failed)),
        ("cancelled", Json::Number(stats.cancelled)),
        ("retried", Json::Number(stats.retried)),
        ("tasks_per_second", Json::Number(rate)),
        ("busy_ns", nanos(stats.busy)),
        ("run_time_p50_ns", quantile(0.5)),
        ("run_time_p99_ns", quantile(0.99)),
        ("arrays_bytes", Json::Number(pool.arrays_bytes)),
        (
            "restarts",
            Json::Object(causes.iter().map(|&(name, count)| (name, Json::Number(count))).collect()),
        ),
        ("workers", Json::List(pool.workers.iter().map(worker_in_json).collect())),
    ])
}

fn worker_in_json(worker: &WorkerInfo) -> Json {
    Json::Object(vec![
        ("index", Json::Number(worker.index as u64)),
        ("pid", worker.pid.map_or(Json::Null, |pid| Json::Number(u64::from(pid)))),
        ("status", Json::text(status(worker.status))),
        ("function", worker.task.as_ref().map_or(Json::Null, Json::text)),
        ("running_for_ns", worker.running_for.map_or(Json::Null, nanos)),
        ("offered", Json::Number(worker.offered as u64)),
        ("tasks", Json::Number(worker.tasks)),
        ("busy_ns", nanos(worker.busy)),
        ("memory_bytes", worker.memory_bytes.map_or(Json::Null, Json::Number)),
    ])
}

fn nanos(time: Duration) -> Json {
    Json::Number(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        let times = [0, 1_500, 2_000_000, 1_500_000_000, 120_000_000_000, 7_200_000_000_000];
        let texts = ["0 us", "2 us", "2 ms", "1.5 s", "2 min", "2.0 h"];
        assert_eq!(times.map(|ns| time(Duration::from_nanos(ns))), texts);
    }
}

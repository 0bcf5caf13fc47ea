//! A service whose workers have a state, a setting, logs, seeds.

mod support;

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use brigade::{LogLevel, Pool};
use serde::Serialize;
use support::arguments::{Arguments, Stop, run};
use support::report;

const USAGE: &str = "\
equipped: workers with a model each, whose tasks log; one of them crashes

  --workers N         worker processes [2]
  --requests N        requests [12]
  --model-mib N       size of each worker's model [50]
  --difficult N       every Nth request is difficult [5]
  --json              print one line of JSON; the logs go to standard error";

/// The line that `--json` prints.
#[derive(Serialize)]
struct Line {
    op: &'static str,
    workers: usize,
    requests: u64,
    answered: u64,
    replaced_workers: u64,
}

fn main() -> ExitCode {
    run(USAGE, serve)
}

/// What each worker has: made once, and never sent.
struct Model {
    weights: Vec<f64>,
    answered: u64,
}

/// Which requests are difficult: a setting of each worker, which may change while they run.
static DIFFICULT: AtomicU64 = AtomicU64::new(u64::MAX);

fn set_difficult(every: u64) -> u64 {
    DIFFICULT.swap(every, Ordering::Relaxed)
}

fn load(mib: usize) -> Result<Model, String> {
    let count = mib.checked_mul((1 << 20) / size_of::<f64>()).ok_or("the model is too large")?;
    let weights = (0..count).map(|n| (n % 7) as f64).collect();
    tracing::info!(mib, "model loaded");
    Ok(Model { weights, answered: 0 })
}

/// Answers one request, and logs on four levels.
fn answer(model: &mut Model, request: u64) -> f64 {
    tracing::debug!(request, answered = model.answered, "begins");
    let seed = brigade::task_seed().unwrap_or_default();
    if model.weights.is_empty() {
        tracing::error!(request, "the model is empty");
        return 0.0;
    }
    let at = usize::try_from(seed % model.weights.len() as u64).unwrap_or(0);
    if request.is_multiple_of(DIFFICULT.load(Ordering::Relaxed)) {
        tracing::warn!(request, at, "a difficult request");
    }
    if request == 7 {
        std::process::abort();
    }
    model.answered += 1;
    log::info!("request {request} answered by worker {:?}", brigade::worker_index());
    model.weights[at]
}

fn serve(arguments: Arguments) -> Result<(), Stop> {
    let workers = arguments.number("workers", 1)?.unwrap_or(2);
    let requests = arguments.number("requests", 1)?.unwrap_or(12);
    let mib = arguments.number("model-mib", 1)?.unwrap_or(50);
    let difficult = arguments.number("difficult", 1)?.unwrap_or(5);
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .without_time()
        .with_writer(std::io::stderr)
        .init();
    let pool = Pool::builder()
        .workers(workers)
        .name("equipped")
        .logs(LogLevel::Debug)
        .state(load, mib)
        .seed(2026)
        .build()?;
    // Also in the worker that replaces the one that crashes.
    let options = pool.broadcast_options().cover_replacements();
    for before in options.run(set_difficult, difficult)? {
        assert_eq!(before.result, Ok(u64::MAX), "worker {} has it once", before.worker);
    }
    let tasks = (0..requests)
        .map(|request| pool.submit_with_state(answer, request))
        .collect::<Result<Vec<_>, _>>()?;
    let mut answered = 0;
    for (request, task) in (0..).zip(tasks) {
        match task.join() {
            Ok(value) => {
                answered += 1;
                arguments.say(format_args!("request {request}: {value}"));
            }
            Err(error) if request == 7 => {
                arguments.say(format_args!("request {request}: {error}"));
                let death = error.death().ok_or_else(|| Stop::Failure("no death".into()))?;
                for record in &death.log_tail {
                    arguments.say(format_args!("    it had logged: {record}"));
                }
                // The crash was between two records.
                assert!(death.log_tail.iter().any(|record| record.contains("begins request=7")));
            }
            Err(error) => return Err(error.into()),
        }
    }
    if arguments.has("json") {
        let replaced_workers = pool.stats().restarts;
        let op = "equipped";
        return report::json(&Line { op, workers, requests, answered, replaced_workers });
    }
    Ok(())
}

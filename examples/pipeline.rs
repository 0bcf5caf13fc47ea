//! Producers and consumers over a queue; one is killed on purpose.

mod support;

use std::process::ExitCode;

use brigade::{Error, JoinableQueue, Pool, Queue, TaskError};
use serde::{Deserialize, Serialize};
use support::arguments::{Arguments, Stop, run};
use support::report;

const USAGE: &str = "\
pipeline: producers and consumers over queues in shared memory

  --items N           items of each producer [1000]
  --workers N         producers, and consumers, of each so many [2]
  --json              print one line of JSON";

/// The line that `--json` prints.
#[derive(Serialize)]
struct Line {
    op: &'static str,
    workers: u32,
    items: u64,
    arrived: u64,
    taken: u64,
}

fn main() -> ExitCode {
    run(USAGE, pipeline)
}

/// One item in the queue: its producer and its number.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Item {
    producer: u32,
    number: u64,
}

/// A consumer's result for an item.
#[derive(Debug, Serialize, Deserialize)]
struct Found {
    item: Item,
    steps: u32,
}

fn produce((items, producer, count): (JoinableQueue<Item>, u32, u64)) {
    for number in 1..=count {
        if items.put(Item { producer, number }).is_err() {
            return;
        }
    }
}

/// Takes items until there are no more. One consumer dies on purpose with an item that it has
/// taken.
fn consume((items, found, dies_at): (JoinableQueue<Item>, Queue<Found>, Option<u64>)) -> u64 {
    let mut count = 0;
    while let Ok(item) = items.get() {
        count += 1;
        if Some(count) == dies_at {
            std::process::abort();
        }
        let put = found.put(Found { item, steps: collatz(item.number) });
        if put.is_err() || items.task_done().is_err() {
            break;
        }
    }
    count
}

/// The number of steps from `n` to 1.
fn collatz(n: u64) -> u32 {
    let next = |n: &u64| match n {
        0 | 1 => None,
        n if n % 2 == 0 => Some(n / 2),
        n => Some(3 * n + 1),
    };
    let steps = std::iter::successors(Some(n), next).count();
    u32::try_from(steps).map_or(u32::MAX, |steps| steps - 1)
}

fn pipeline(arguments: Arguments) -> Result<(), Stop> {
    let count = arguments.number("items", 1)?.unwrap_or(1000u64);
    let workers = arguments.number("workers", 1)?.unwrap_or(2u32);
    let pool = Pool::builder().workers(2 * workers as usize + 1).build()?;
    let items = JoinableQueue::<Item>::new(64)?;
    let found = Queue::<Found>::new(64)?;

    let producers = (0..workers)
        .map(|producer| pool.submit(produce, (items.clone(), producer, count)))
        .collect::<Result<Vec<_>, _>>()?;
    let expected = u64::from(workers) * count;
    let dies_at = Some(expected.min(10));
    let doomed = pool.submit(consume, (items.clone(), found.clone(), dies_at))?;
    match doomed.join() {
        Err(Error::Task(TaskError::Died(death))) => {
            arguments.say(format_args!("as intended: {death}"));
        }
        other => return Err(Stop::Failure(format!("the doomed consumer: {other:?}"))),
    }
    let consumers = (0..workers)
        .map(|_| pool.submit(consume, (items.clone(), found.clone(), None)))
        .collect::<Result<Vec<_>, _>>()?;

    // Every item except the one that the dead consumer had taken.
    let mut longest: Option<Found> = None;
    let mut arrived = 0;
    while arrived + 1 < expected {
        let next = found.get()?;
        assert_eq!(next.steps, collatz(next.item.number));
        arrived += 1;
        if longest.as_ref().is_none_or(|longest| next.steps > longest.steps) {
            longest = Some(next);
        }
    }
    for producer in producers {
        producer.join()?;
    }
    match items.join() {
        Err(Error::Broken { cause, .. }) => arguments.say(format_args!("joined: {cause}")),
        other => return Err(Stop::Failure(format!("a lost item was not reported: {other:?}"))),
    }
    items.close()?;
    let mut taken = 0;
    for consumer in consumers {
        taken += consumer.join()?;
    }
    if arguments.has("json") {
        let op = "pipeline";
        return report::json(&Line { op, workers, items: expected, arrived, taken });
    }
    println!("{arrived} of {expected} items arrived, {taken} through those who lived");
    if let Some(Found { item, steps }) = longest {
        println!("the longest way was that of {} in {steps} steps", item.number);
    }
    Ok(())
}

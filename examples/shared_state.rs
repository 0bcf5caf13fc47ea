//! Tasks that share a counter, a lock and a barrier.

mod support;

use std::process::ExitCode;

use brigade::Pool;
use brigade::shared::{Barrier, Lock, LockError, Value};
use serde::Serialize;
use support::arguments::{Arguments, Stop, run};
use support::report;

const USAGE: &str = "\
shared_state: tasks that count together, in step, and outlive one that is killed

  --workers N         worker processes, each with one task [2]
  --rounds N          how often each of them counts [1000]
  --json              print one line of JSON";

/// The line that `--json` prints.
#[derive(Serialize)]
struct Line {
    op: &'static str,
    workers: u32,
    rounds: u64,
    total: u64,
}

fn main() -> ExitCode {
    run(USAGE, share)
}

/// The smallest and largest count seen by any worker; both must be changed together.
type Seen = [u64; 2];

/// Counts in step with the others; returns in how many rounds it was the leader.
fn count((counter, seen, barrier, rounds): (Value<u64>, Lock<Seen>, Barrier, u64)) -> u64 {
    // As a member, so that its death would be noticed even between two rounds.
    let mut member = barrier.join().expect("there is room for every task");
    let mut led = 0;
    for _ in 0..rounds {
        let now = counter.fetch_add(1).expect("a handle in its own process") + 1;
        {
            let mut seen = seen.lock().expect("no holder died");
            *seen = [seen[0].min(now), seen[1].max(now)];
        }
        led += u64::from(member.wait().expect("no member died"));
    }
    led
}

/// Is killed while it holds the lock, with its change half done.
fn crash(seen: Lock<Seen>) {
    let mut seen = seen.lock().expect("no holder died yet");
    seen[0] = 0;
    std::process::abort();
}

fn share(arguments: Arguments) -> Result<(), Stop> {
    let workers: u32 = arguments.number("workers", 1)?.unwrap_or(2);
    let rounds = arguments.number("rounds", 1)?.unwrap_or(1000u64);
    let barrier = Barrier::new(workers)?;
    let pool = Pool::builder().workers(workers as usize).build()?;
    let (counter, seen) = (Value::new(0)?, Lock::new([u64::MAX, 0])?);

    let shared = || (counter.clone(), seen.clone(), barrier.clone(), rounds);
    let tasks = (0..workers).map(|_| pool.submit(count, shared()));
    let tasks = tasks.collect::<Result<Vec<_>, _>>()?;
    let led = tasks.into_iter().map(|task| task.join()).collect::<Result<Vec<u64>, _>>()?;
    let total = counter.get()?;
    arguments.say(format_args!(
        "{workers} tasks counted to {total} in {rounds} rounds; they led {led:?} of them"
    ));
    assert_eq!(total, rounds * u64::from(workers), "a count was lost");
    assert_eq!(led.iter().sum::<u64>(), rounds, "one leads each round");

    let error = pool.submit(crash, seen.clone())?.join().expect_err("it aborts");
    arguments.say(&error);
    let guard = match seen.lock() {
        Err(LockError::OwnerDied(mut torn)) => {
            arguments.say(format_args!("the lock is free, its content torn: {:?}", **torn));
            torn[0] = 1;
            torn.into_guard()
        }
        Ok(_) => return Err(Stop::Failure("the lock did not say that its holder died".into())),
        Err(LockError::Failed(error)) => return Err(error.into()),
    };
    assert_eq!(*guard, [1, total], "the smallest and the largest count");
    drop(guard);
    let repaired = *seen.lock().map_err(brigade::Error::from)?;
    arguments.say(format_args!("repaired: {repaired:?}"));
    if arguments.has("json") {
        return report::json(&Line { op: "shared_state", workers, rounds, total });
    }
    Ok(())
}

//! Hosts whose processes are killed at random, from outside.
//!
//! Each round starts a host that works without end, and for a while kills and stops its fork
//! servers, workers and one-off processes. After that everything must work again. At the end the
//! host is killed at a random moment, and leftovers are counted. `BRIGADE_ATTACK_SECONDS=N` sets
//! the duration; `BRIGADE_SEED=N` replays the choices, but not their timing.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::common::Random;
use crate::common::alone::{Runner, against_host_with, progress, say};
use crate::common::processes::send;
use crate::common::time::spend;
use brigade::{Error, Pool, Process, TaskError};
use nix::sys::signal::Signal;

/// Names a file whose existence means that the attack is over.
const CALM: &str = "BRIGADE_CALM";

/// Whether an outcome is right: the value, or an error that an attack explains.
fn judge(outcome: Result<u64, Error>, expected: u64) -> bool {
    match outcome {
        Ok(value) => {
            assert_eq!(value, expected);
            true
        }
        Err(
            Error::Task(TaskError::Died(_) | TaskError::TimedOut { .. })
            | Error::Spawn { .. }
            | Error::Broken { .. }
            | Error::Os { .. },
        ) => false,
        Err(error) => panic!("no attack explains this: {error}"),
    }
}

fn square(n: u64) -> u64 {
    n * n
}

/// A result larger than a slot or a result block holds.
fn squares(n: u64) -> Vec<u64> {
    vec![n * n; 20_000]
}

/// One round of work; returns whether all of it succeeded.
fn work(pool: &Pool, round: u64) -> bool {
    let tasks: Vec<_> = (0..30).map(|n| pool.submit(square, round + n)).collect();
    let large = pool.submit(squares, round);
    let processes: Vec<_> = (0..2).map(|n| Process::spawn(square, round + n)).collect();
    let endless = Process::spawn(|()| crate::common::tasks::forever(), ());
    let large_process = Process::spawn(squares, round);
    let mut all = true;
    for (n, task) in (round..).zip(tasks) {
        all &= judge(task.and_then(brigade::Handle::join), n * n);
    }
    for (n, process) in (round..).zip(processes) {
        all &= judge(process.and_then(Process::join), n * n);
    }
    all &= judge(large.and_then(brigade::Handle::join).map(|all| all[19_999]), round * round);
    let large = large_process.and_then(Process::join);
    all &= judge(large.map(|all| all[19_999]), round * round);
    match endless {
        Ok(process) => all & process.is_alive(),
        Err(error) => all & judge(Err(error), 0),
    }
}

fn build() -> Option<Pool> {
    let pool = Pool::builder().workers(3).timeout(Duration::from_secs(3)).build();
    match pool {
        Ok(pool) => Some(pool),
        Err(error) => {
            judge(Err(error), 0);
            None
        }
    }
}

/// Works without end, and reports after each round how it went.
fn host() {
    let calm = PathBuf::from(std::env::var_os(CALM).unwrap());
    let mut pool = build();
    for round in 0.. {
        let was_calm = calm.exists();
        let all = match &pool {
            Some(pool) => work(pool, round),
            None => false,
        };
        if pool
            .as_ref()
            .is_none_or(|pool| matches!(pool.submit(square, 1), Err(Error::Broken { .. })))
        {
            pool = build();
        }
        progress();
        say(match (was_calm, all) {
            (true, true) => "well",
            (true, false) => "recovering",
            (false, _) => "attacked",
        });
    }
}

/// Kills and stops processes of the host until the deadline; returns how many.
fn attack(runner: &Runner, random: &mut Random, until: Instant) -> u32 {
    let mut stopped = Vec::new();
    let mut kills = 0;
    while Instant::now() < until {
        let mut victims = runner.processes();
        victims.retain(|process| process.pid != runner.pid());
        if victims.is_empty() {
            continue;
        }
        let victim = &victims[random.below(victims.len())];
        // One that is about to become a server has the name of the thread that starts it.
        let is_known = victim.is_server() || victim.is_worker() || victim.name.contains("process-");
        match random.below(10) {
            0 if is_known => {
                send(victim.pid, Signal::SIGSTOP);
                stopped.push(victim.pid);
            }
            1 if is_known && !victim.is_server() => send(victim.pid, Signal::SIGTERM),
            _ => send(victim.pid, Signal::SIGKILL),
        }
        kills += 1;
        if stopped.len() > 2 {
            send(stopped.remove(0), Signal::SIGCONT);
        }
        spend(Duration::from_micros(random.below(20_000) as u64));
    }
    stopped.into_iter().for_each(|pid| send(pid, Signal::SIGCONT));
    kills
}

fn attack_a_host(runner: &mut Runner, calm: &Path, random: &mut Random) {
    runner.expect("attacked");
    let length = Duration::from_millis(300 + random.below(700) as u64);
    let kills = attack(runner, random, Instant::now() + length);
    std::fs::write(calm, "").unwrap();
    let mut rounds = 0;
    loop {
        let word = runner.hear().expect("the host outlives the attack");
        rounds += 1;
        if word == "well" {
            break;
        }
    }
    println!("{kills} attacks, recovered after {rounds} rounds");
    if random.below(2) == 0 {
        spend(Duration::from_micros(random.below(30_000) as u64));
    }
    runner.send(Signal::SIGKILL);
    runner.end();
}

#[test]
fn a_host_whose_processes_are_killed_at_random_recovers_and_leaves_nothing() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seconds = number("BRIGADE_ATTACK_SECONDS").unwrap_or(6);
    let seed = number("BRIGADE_SEED").unwrap_or_else(|| u64::from(std::process::id()) | 1 << 40);
    println!("BRIGADE_SEED={seed}");
    let mut random = Random(seed);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(seconds) {
        let calm = std::env::temp_dir().join(crate::common::unique("calm"));
        let env = [(CALM, calm.to_str().unwrap())];
        against_host_with(&env, host, |runner| attack_a_host(runner, &calm, &mut random));
        let _ = std::fs::remove_file(calm);
    }
}

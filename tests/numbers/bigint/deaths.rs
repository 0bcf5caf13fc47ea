//! Workers that die while they compute a big number.

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use brigade::kernel::bigint;
use brigade::{Error, Pool};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{number, pool};
use crate::common::alone::{alone, progress};
use crate::common::time::wait_for;

/// The workers of a pool.
fn pids(pool: &Pool) -> Vec<Pid> {
    let mut found = BTreeSet::new();
    while found.len() < pool.workers() {
        let handles: Vec<_> =
            (0..8).map(|_| pool.submit(|()| std::process::id(), ()).unwrap()).collect();
        // A worker that was just killed may have failed one of them.
        found.extend(handles.into_iter().filter_map(|handle| handle.join().ok()));
    }
    found.into_iter().map(|pid| Pid::from_raw(pid.cast_signed())).collect()
}

/// The processor time that a process has used, in ticks; `None` if it has ended.
fn ticks(pid: Pid) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat[stat.rfind(')')? + 1..].split_whitespace().collect();
    Some(fields[11].parse::<u64>().ok()? + fields[12].parse::<u64>().ok()?)
}

/// Runs `job` repeatedly and kills a worker after it has worked on that for `work` ticks. Returns
/// the error of the job that was affected, or `None` if the worker died between two jobs.
fn killed_meanwhile(
    pool: &Pool,
    work: u64,
    job: impl Fn() -> Result<(), Error> + Sync,
) -> (Pid, Option<Error>) {
    let victim = pids(pool)[0];
    let start = ticks(victim).unwrap();
    let is_dead = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let jobs = scope.spawn(|| {
            let mut outcome = Ok(());
            while outcome.is_ok() && !is_dead.load(Ordering::Acquire) {
                outcome = job();
            }
            outcome.err()
        });
        wait_for(|| ticks(victim).is_none_or(|now| now >= start + work));
        kill(victim, Signal::SIGKILL).unwrap();
        is_dead.store(true, Ordering::Release);
        (victim, jobs.join().unwrap())
    })
}

/// Kills workers after more and more work; each time the job must name the worker.
fn assert_deaths_are_named(name: &str, job: impl Fn(&Pool) -> Result<(), Error> + Sync) {
    let pool = pool(2);
    let (mut hits, mut kills) = (0, 0);
    while hits < 5 {
        kills += 1;
        progress();
        assert!(kills < 500, "{kills} workers died, {hits} of them in the middle");
        let (victim, error) = killed_meanwhile(&pool, 1 + hits, || job(&pool));
        // On a busy machine a worker may be late for several jobs, and take part in none of them.
        let Some(error) = error else { continue };
        let death = error.death().unwrap_or_else(|| panic!("{error}"));
        assert_eq!(death.pid, victim.as_raw().cast_unsigned(), "{error}");
        assert!(error.to_string().contains(name), "{error}");
        hits += 1;
    }
    assert!(pool.factorial(30_000).unwrap().limbs() == bigint::factorial(30_000));
}

#[test]
fn a_worker_killed_in_the_middle_of_a_factorial_is_named() {
    alone(|| {
        assert_deaths_are_named("factorial", |pool| pool.factorial(700_000).map(drop));
    });
}

#[test]
fn a_worker_killed_in_the_middle_of_products_is_named() {
    alone(|| {
        let a = number(200_000, 5);
        assert_deaths_are_named("multiply", |pool| pool.square(&a).map(drop));
        let many: Vec<_> = (0..30).map(|seed| number(10_000, seed)).collect();
        assert_deaths_are_named("multiply_all", |pool| pool.multiply_all(&many).map(drop));
    });
}

#[test]
fn a_worker_killed_in_the_middle_of_a_decimal_is_named() {
    alone(|| {
        let a = number(60_000, 5);
        assert_deaths_are_named("to_decimal", |pool| pool.to_decimal(&a).map(drop));
    });
}

#[test]
fn a_factorial_is_repeated_after_a_death_if_the_pool_may() {
    alone(|| {
        let (n, expected) = (700_000, bigint::factorial(700_000));
        let pool = Pool::builder().workers(2).retries(3).build().unwrap();
        for work in 1..5 {
            let job = || {
                assert!(pool.factorial(n)?.limbs() == expected);
                Ok(())
            };
            let (_, error) = killed_meanwhile(&pool, work, job);
            assert!(error.is_none(), "{error:?}");
        }
    });
}

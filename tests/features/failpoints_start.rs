//! Fork servers disturbed while they start; hosts that fork meanwhile.
//!
//! `cargo test --all-features --test features failpoints_start::`
#![allow(unsafe_code)]

use std::thread;

use crate::common::alone::{own_processes, progress};
use crate::common::forks::in_a_fork;
use crate::common::time::wait_for;
use crate::points::alone;
use brigade::failpoint::{Action, Point, clear, set, wait_held};
use brigade::{Error, Pool, Process};

fn pool() -> Pool {
    Pool::builder().workers(1).build().unwrap()
}

fn works(pool: &Pool) {
    assert_eq!(pool.submit(|n: u8| n, 7).unwrap().join().unwrap(), 7);
}

// The child waited for a lock that a thread of its parent held.
#[test]
fn a_child_that_is_forked_while_the_fork_server_starts_has_one_of_its_own() {
    alone(|| {
        for point in [Point::HostStartsServer, Point::HostIntermediate] {
            set(point, Action::Pause, 0);
            thread::scope(|scope| {
                let starts = scope.spawn(pool);
                wait_held(point);
                in_a_fork(|| {
                    // This clears it for the parent as well, but the parent has already used it.
                    clear(point);
                    works(&pool());
                    assert_eq!(Process::spawn(|n: u8| n, 8).unwrap().join().unwrap(), 8);
                    assert!(brigade::active_processes().is_empty());
                });
                works(&starts.join().unwrap());
            });
            progress();
        }
    });
}

// The thread that had created it was suspended until it received SIGCONT.
#[test]
fn a_fork_server_that_is_stopped_before_it_is_executed_is_continued() {
    alone(|| {
        set(Point::HostIntermediate, Action::Stop, 0);
        works(&pool());
        wait_for(|| own_processes().is_empty());
        set(Point::HostIntermediate, Action::Stop, 0);
        assert_eq!(Process::spawn(|n: u8| n, 7).unwrap().join().unwrap(), 7);
    });
}

#[test]
fn a_fork_server_that_is_killed_before_it_is_executed_is_an_error_that_says_so() {
    alone(|| {
        for _ in 0..3 {
            set(Point::HostIntermediate, Action::Kill, 0);
            let error = Process::spawn(|n: u8| n, 7).map(drop).unwrap_err();
            assert!(matches!(error, Error::Spawn { .. }), "{error}");
            assert!(error.to_string().contains("was killed"), "{error}");
            wait_for(|| own_processes().is_empty());
            assert_eq!(Process::spawn(|n: u8| n, 7).unwrap().join().unwrap(), 7);
            // The supervisor may hold the last reference to the server.
            wait_for(|| own_processes().is_empty());
        }
    });
}

// It is sent SIGCONT for twenty seconds.
#[test]
fn a_fork_server_that_never_comes_to_be_executed_is_given_up() {
    alone(|| {
        if std::env::var_os("BRIGADE_LONG").is_none() {
            return crate::common::skipped("takes 20 s: BRIGADE_LONG=1");
        }
        set(Point::HostIntermediate, Action::Pause, 0);
        thread::scope(|scope| {
            let spawns = scope.spawn(|| Process::spawn(|n: u8| n, 7).map(drop).unwrap_err());
            wait_for(|| {
                progress();
                spawns.is_finished()
            });
            let error = spawns.join().unwrap();
            assert!(matches!(error, Error::Spawn { .. }), "{error}");
        });
        wait_for(|| own_processes().is_empty());
        clear(Point::HostIntermediate);
        works(&pool());
    });
}

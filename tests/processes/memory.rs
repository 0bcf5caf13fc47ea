//! One-off processes that run out of memory.

use std::process::Command;

use brigade::{Error, ExitReason, Phase, Process, TaskError};
use nix::sys::signal::Signal;

use crate::common::alone::alone;
use crate::common::cgroup::Cgroup;
use crate::common::skipped;
use crate::common::tasks::raise;
use crate::{death, sleeps};

/// Takes far more memory than the cgroup of the test has.
fn eat(_: u32) -> usize {
    (0..100u8).map(|n| vec![n | 1; 8 << 20]).collect::<Vec<_>>().len()
}

// Of several at once only the first was reported, and a worker's death counted as a process's.
#[test]
fn each_process_killed_for_lack_of_memory_is_reported_as_that_and_one_killed_by_hand_is_not() {
    alone(|| {
        let group = match Cgroup::enter(200 << 20) {
            Ok(group) => group,
            Err(error) => return skipped(&format!("no cgroup to limit: {error}")),
        };
        let killed_by_memory = |process: Process<usize>| {
            let died = death(process.join().unwrap_err());
            assert_eq!((died.reason, died.phase), (ExitReason::Signal(9), Phase::Running));
            assert!(died.out_of_memory, "{died}");
            assert!(died.peak_rss_bytes.unwrap() > 16 << 20, "{died:?}");
            assert!(died.to_string().contains("memory"), "{died}");
        };
        let by_hand = || {
            let died =
                death(Process::spawn(|()| raise(Signal::SIGKILL), ()).unwrap().join().unwrap_err());
            assert_eq!((died.reason, died.out_of_memory), (ExitReason::Signal(9), false));
        };
        by_hand();
        killed_by_memory(Process::spawn(eat, 0).unwrap());
        by_hand();
        // All are dead before the first result is requested.
        let several: Vec<_> = (0..3).map(|n| Process::spawn(eat, n).unwrap()).collect();
        for process in &several {
            assert_eq!(process.wait().unwrap(), ExitReason::Signal(9));
        }
        several.into_iter().for_each(killed_by_memory);
        by_hand();
        // The end of a worker does not count as a process's.
        let pool = crate::common::tasks::with(1).build().unwrap();
        assert!(crate::common::tasks::death(pool.submit(eat, 0).unwrap()).out_of_memory);
        by_hand();
        pool.shutdown().unwrap();
        // Of another program: it is not taken for one that this program has killed.
        let greedy = Command::new("tail").arg("/dev/zero").status().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&greedy), Some(9));
        let killed = sleeps();
        killed.kill().unwrap();
        assert!(!death(killed.join().unwrap_err()).out_of_memory);
        drop(group);
    });
}

#[test]
fn a_process_beyond_its_hard_limit_aborts_and_one_below_does_not() {
    alone(|| {
        let takes = |mib: usize| vec![1u8; mib << 20].len();
        let limited = || Process::builder().memory_hard_bytes(128 << 20);
        assert_eq!(limited().spawn(takes, 16).unwrap().join().unwrap(), 16 << 20);
        let died = death(limited().spawn(takes, 256).unwrap().join().unwrap_err());
        assert_eq!((died.reason, died.out_of_memory), (ExitReason::Signal(6), false));
        assert_eq!(Process::spawn(takes, 256).unwrap().join().unwrap(), 256 << 20);
    });
}

#[test]
fn a_result_that_there_is_no_memory_for_is_an_error_that_says_so() {
    alone(|| {
        brigade::set_memory_limit(32 << 20);
        let large = |n: usize| vec![1u8; n];
        let error = Process::spawn(large, 64 << 20).unwrap().join().map(drop).unwrap_err();
        assert!(matches!(error, Error::Task(TaskError::Codec { what: "result", .. })), "{error}");
        assert!(error.to_string().contains("no memory for a result of 67108"), "{error}");
        assert_eq!(Process::spawn(large, 1 << 20).unwrap().join().unwrap().len(), 1 << 20);
    });
}

// Otherwise a long-lived process would keep an argument that it has copied.
#[test]
fn the_memory_of_an_argument_is_free_again_when_the_process_has_copied_it() {
    alone(|| {
        brigade::set_memory_limit(64 << 20);
        let waits = |_: Vec<u8>| crate::common::tasks::forever();
        let running: Vec<_> = (0..3)
            .map(|_| {
                loop {
                    match Process::spawn(waits, vec![1; 40 << 20]) {
                        Ok(process) => break process,
                        Err(Error::NoSpace { .. }) => std::thread::yield_now(),
                        Err(other) => panic!("{other}"),
                    }
                }
            })
            .collect();
        assert!(running.iter().all(Process::is_alive));
    });
}

//! One-off processes that run out of memory.

use brigade::{ExitReason, Phase, Process};
use nix::sys::signal::Signal;

use crate::common::alone::alone;
use crate::common::cgroup::Cgroup;
use crate::common::skipped;
use crate::common::tasks::raise;
use crate::{death, sleeps};

/// Takes far more memory than the group of the test has.
fn eat(_: u32) -> usize {
    (0..100u8).map(|n| vec![n | 1; 8 << 20]).collect::<Vec<_>>().len()
}

// Of several at once only the first was, and a worker's death counted for a process.
#[test]
fn each_process_killed_for_want_of_memory_is_reported_as_that_and_one_killed_by_hand_is_not() {
    alone(|| {
        let group = match Cgroup::enter(200 << 20) {
            Ok(group) => group,
            Err(error) => return skipped(&format!("no cgroup to limit: {error}")),
        };
        let killed_by_memory = |process: Process<usize>| {
            let died = death(process.join().unwrap_err());
            assert_eq!((died.reason, died.phase), (ExitReason::Signal(9), Phase::Running));
            assert!(died.out_of_memory, "{died}");
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
        // All are dead before the first is asked about.
        let several: Vec<_> = (0..3).map(|n| Process::spawn(eat, n).unwrap()).collect();
        for process in &several {
            assert_eq!(process.wait().unwrap(), ExitReason::Signal(9));
        }
        several.into_iter().for_each(killed_by_memory);
        by_hand();
        let killed = sleeps();
        killed.kill().unwrap();
        assert!(!death(killed.join().unwrap_err()).out_of_memory);
        // A worker's end is no process's.
        let pool = crate::common::tasks::with(1).build().unwrap();
        assert!(crate::common::tasks::death(pool.submit(eat, 0).unwrap()).out_of_memory);
        by_hand();
        pool.shutdown().unwrap();
        drop(group);
    });
}

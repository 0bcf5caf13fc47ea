//! What a worker's death costs: its own task, and nothing else.

mod common;

use std::time::{Duration, Instant};

use brigade::Pool;
use common::alone::alone;

/// Longer than a joining thread spins: whoever waits for the caller is asleep by now.
fn long_enough_to_sleep() {
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(30) {
        std::hint::spin_loop();
    }
}

// The death completed the task under the mutex and unparked the joiner, which slept on the
// board's word instead.
#[test]
fn a_joiner_that_sleeps_hears_of_its_tasks_death() {
    alone(|| {
        let pool = Pool::builder().workers(1).build().unwrap();
        let dies = |()| {
            long_enough_to_sleep();
            std::process::abort()
        };
        let error = pool.submit(dies, ()).unwrap().join().map(|()| ()).unwrap_err();
        assert!(error.death().is_some(), "{error}");
    });
}

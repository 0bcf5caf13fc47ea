//! The cost of brigade's lock.

use std::hint::black_box;

use brigade::shared::Lock;
use brigade_compare::protocol::{Arguments, Repetition};
use brigade_compare::stopwatch::seconds_a_call;

/// What does an uncontended lock and unlock cost?
pub(crate) fn lock(arguments: &Arguments) -> Repetition {
    const LOCKS: u32 = 1000;
    let budget = arguments.budget();
    let lock = Lock::new(0u64).expect("there is memory");
    Box::new(move || {
        let seconds = seconds_a_call(budget, || {
            for _ in 0..LOCKS {
                *black_box(&lock).lock().expect("nobody dies") += 1;
            }
        });
        vec![("lock_unlock_ns", seconds * 1e9 / f64::from(LOCKS))]
    })
}

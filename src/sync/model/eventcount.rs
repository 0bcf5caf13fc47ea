//! Models of the event count alone.

use std::sync::Arc;

use loom::thread::JoinHandle;

use super::{ModelMemory, check, check_deaths, spawn, spawn_victim};
use crate::atomics::{AtomicU32, Ordering};
use crate::sync::eventcount::EventCount;
use crate::sync::timeout::{Timeout, Watch};

/// A condition that is not in the event count.
struct Condition {
    count: EventCount,
    is_true: AtomicU32,
}

impl Condition {
    fn new() -> Arc<ModelMemory<Condition>> {
        let words = Condition { count: EventCount::new(), is_true: AtomicU32::new(0) };
        let shared = ModelMemory::with_table(1, 1, words);
        shared.count.register(shared.table().directory()).unwrap();
        shared
    }

    /// Makes the condition true, then notifies.
    fn commit(&self) {
        // Relaxed: the fences of the event count must suffice.
        self.is_true.store(1, Ordering::Relaxed);
        self.count.notify();
    }
}

/// A thread that sleeps until the condition is true. If nothing wakes it, loom finds a deadlock.
fn sleeper(condition: &Arc<ModelMemory<Condition>>) -> JoinHandle<()> {
    spawn(condition, |condition| {
        let test = |_| (condition.is_true.load(Ordering::Relaxed) == 1).then_some(());
        condition.count.wait_for(Timeout::Never, Watch::Supervisor, test).unwrap();
    })
}

#[test]
fn loom_every_sleeper_sees_the_condition_that_was_committed_before_the_notification() {
    check(|| {
        let condition = Condition::new();
        let sleepers = [sleeper(&condition), sleeper(&condition)];
        condition.commit();
        for sleeper in sleepers {
            sleeper.join().unwrap();
        }
    });
}

#[test]
fn loom_a_sweep_wakes_the_sleeper_of_a_notifier_that_dies_at_any_operation() {
    check_deaths(|operations| {
        let condition = Condition::new();
        let doomed = condition.owner();
        let sleeper = sleeper(&condition);
        let victim = spawn_victim(&condition, operations, |condition| condition.commit());
        let died = victim.join().unwrap();
        condition.sweep(&doomed);
        if condition.is_true.load(Ordering::Relaxed) == 0 {
            // The victim died before it made the condition true: another process does.
            condition.commit();
        }
        sleeper.join().unwrap();
        died
    });
}

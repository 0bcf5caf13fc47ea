//! How many tasks may run at once: by free memory.

use std::time::{Duration, Instant};

use crate::error::Result;

/// How long a measurement of free memory is used.
const MEASURED_FOR: Duration = Duration::from_millis(100);
/// The least that a task is taken to need, in bytes.
const TASK_BYTES_MIN: u64 = 1 << 20;

/// What is known of the memory that a task needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MemoryRule {
    /// Memory limits nothing.
    Unlimited,
    /// A fixed number of bytes for each task.
    PerTask(u64),
    /// The largest peak of a task so far.
    Measured,
}

/// Limits how many tasks run at once.
pub(super) struct Admission {
    rule: MemoryRule,
    /// What a task needs, in bytes; `None` before the first measured task has ended.
    task_bytes: Option<u64>,
    /// How many tasks were measured.
    measured: usize,
    /// Measures free memory, in bytes.
    free_bytes: fn() -> Result<u64>,
    /// Free memory when no task ran, in bytes.
    idle_bytes: u64,
    /// What all tasks together may use, in bytes, and when that was measured.
    capacity: Option<(u64, Instant)>,
}

impl Admission {
    pub(super) fn new(rule: MemoryRule, free_bytes: fn() -> Result<u64>) -> Admission {
        let task_bytes = match rule {
            MemoryRule::PerTask(bytes) => Some(bytes.max(TASK_BYTES_MIN)),
            MemoryRule::Unlimited | MemoryRule::Measured => None,
        };
        Admission { rule, task_bytes, measured: 0, free_bytes, idle_bytes: 0, capacity: None }
    }

    /// Whether the memory of tasks is to be measured.
    pub(super) fn measures(&self) -> bool {
        self.rule == MemoryRule::Measured
    }

    /// Records the memory that a task has needed.
    pub(super) fn note(&mut self, bytes: u64) {
        if self.measures() {
            self.task_bytes = self.task_bytes.max(Some(bytes.max(TASK_BYTES_MIN)));
            self.measured = self.measured.saturating_add(1);
        }
    }

    /// How many tasks may run at once, at least 1; `running` run now.
    ///
    /// # Errors
    ///
    /// Those of measuring.
    pub(super) fn limit(&mut self, running: usize, now: Instant) -> Result<usize> {
        if self.rule == MemoryRule::Unlimited {
            return Ok(usize::MAX);
        }
        // The first task is measured by itself.
        let Some(task_bytes) = self.task_bytes else { return Ok(1) };
        let capacity = match self.capacity {
            Some((bytes, at)) if now.saturating_duration_since(at) < MEASURED_FOR => bytes,
            _ => {
                let bytes = self.measure(running as u64, task_bytes)?;
                self.capacity = Some((bytes, now));
                bytes
            }
        };
        // The first task may be unusually small: the limit rises as more tasks are measured.
        let trusted = if self.measures() { self.measured.saturating_mul(2) } else { usize::MAX };
        let fitting = usize::try_from(capacity / task_bytes).unwrap_or(usize::MAX);
        Ok(fitting.min(trusted).max(1))
    }

    /// What all tasks together may use, in bytes.
    ///
    /// Tasks that run have taken part of what they need, and it is not known how much. It cannot
    /// be more than free memory has lost since no task ran, nor more than they need: the lesser of
    /// the two is counted as theirs.
    fn measure(&mut self, running: u64, task_bytes: u64) -> Result<u64> {
        let free = (self.free_bytes)()?;
        if running == 0 || self.capacity.is_none() {
            self.idle_bytes = free;
        }
        let lost = self.idle_bytes.saturating_sub(free);
        Ok(free + lost.min(running.saturating_mul(task_bytes)))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const GIB: u64 = 1 << 30;

    thread_local! {
        static FREE: Cell<u64> = const { Cell::new(0) };
    }

    /// Steps of a batch, each long after the last.
    struct Steps {
        admission: Admission,
        now: Instant,
    }

    impl Steps {
        fn new(rule: MemoryRule) -> Steps {
            Steps { admission: Admission::new(rule, || Ok(FREE.get())), now: Instant::now() }
        }

        fn limit(&mut self, free: u64, running: usize) -> usize {
            FREE.set(free);
            self.now += MEASURED_FOR;
            self.admission.limit(running, self.now).unwrap()
        }
    }

    #[test]
    fn no_more_tasks_run_than_memory_is_free_for_and_one_runs_in_any_case() {
        let mut steps = Steps::new(MemoryRule::PerTask(GIB));
        assert_eq!(steps.limit(8 * GIB, 0), 8);
        assert_eq!(steps.limit(8 * GIB, 8), 8, "they have not touched it yet");
        assert_eq!(steps.limit(0, 8), 8, "they have it");
        assert_eq!(steps.limit(GIB, 5), 6, "another program has 2 GiB");
        assert_eq!(steps.limit(GIB / 2, 0), 1);
        assert_eq!(steps.limit(3 * GIB, 0), 3, "it has ended");
        assert_eq!(Steps::new(MemoryRule::Unlimited).limit(0, 5), usize::MAX);
    }

    #[test]
    fn the_largest_task_so_far_is_the_measure() {
        let mut steps = Steps::new(MemoryRule::Measured);
        assert!(steps.admission.measures());
        assert_eq!(steps.limit(8 * GIB, 0), 1);
        steps.admission.note(1);
        assert_eq!(steps.limit(8 * GIB, 0), 2, "twice as many as were measured");
        for _ in 0..4 {
            steps.admission.note(GIB);
        }
        assert_eq!(steps.limit(8 * GIB, 0), 8);
        steps.admission.note(4 * GIB);
        steps.admission.note(0);
        assert_eq!(steps.limit(8 * GIB, 0), 2);
    }

    #[test]
    fn a_measurement_is_used_for_a_while() {
        let mut steps = Steps::new(MemoryRule::PerTask(GIB));
        assert_eq!(steps.limit(4 * GIB, 0), 4);
        FREE.set(2 * GIB);
        assert_eq!(steps.admission.limit(0, steps.now).unwrap(), 4);
        assert_eq!(steps.limit(2 * GIB, 0), 2);
    }
}

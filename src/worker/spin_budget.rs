//! How long a worker yields before it sleeps.

use std::time::Duration;

/// How long a worker yields before it sleeps: the most, and the least.
pub(super) const SPIN_MAX: Duration = Duration::from_millis(1);
pub(super) const SPIN_MIN: Duration = Duration::from_micros(50);
/// The most for the first worker of a pool, if tasks come at such intervals. Waking a halted
/// processor takes 50 us, and a yielding worker gives way to any thread with work.
pub(super) const SPIN_HOT: Duration = Duration::from_millis(20);

/// How long to yield after a wait that lasted `waited`: twice that if the task came within
/// `longest`, else half the last budget.
pub(super) fn next_budget(budget: Duration, waited: Duration, longest: Duration) -> Duration {
    if waited < longest {
        return (waited * 2).max(SPIN_MAX).min(longest);
    }
    (budget / 2).max(SPIN_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn a_worker_yields_long_only_while_tasks_come_at_long_intervals() {
        assert_eq!(next_budget(SPIN_MAX, ms(10), SPIN_HOT), ms(20));
        assert_eq!(next_budget(ms(20), ms(3), SPIN_HOT), ms(6));
        assert_eq!(next_budget(ms(20), Duration::ZERO, SPIN_HOT), SPIN_MAX);
        let mut budget = ms(20);
        for _ in 0..9 {
            budget = next_budget(budget, ms(1000), SPIN_HOT);
        }
        assert_eq!(budget, SPIN_MIN);
    }

    #[test]
    fn the_others_yield_for_a_millisecond_and_under_a_quota_hardly() {
        assert_eq!(next_budget(SPIN_MIN, ms(0), SPIN_MAX), SPIN_MAX);
        assert_eq!(next_budget(SPIN_MAX, ms(10), SPIN_MAX), SPIN_MAX / 2);
        assert_eq!(next_budget(SPIN_MIN, ms(0), SPIN_MIN), SPIN_MIN);
    }
}

//! Which deaths the kernel's out-of-memory killer caused.
//!
//! Its victims end by SIGKILL, like any other killed process. But the kernel counts these kills,
//! and counts before it kills. So a death by SIGKILL is attributed to it if the counter has
//! advanced by a kill that was not yet attributed to another death.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::sys::cgroup;
use crate::sys::per_process::PerProcess;

/// How long a counted kill waits to be matched with a death. Its victim may be a process that is
/// not brigade's.
const ATTRIBUTION_TIME: Duration = Duration::from_secs(10);

/// The kernel's counter, and the kills not yet matched with a death.
#[derive(Debug, Default)]
struct KillCount {
    /// The count when it was last read; `None` before the first time.
    seen: Option<u64>,
    /// Kills that were not matched with a death.
    unattributed: u64,
    /// When the latest of them was seen.
    noticed: Option<Instant>,
}

impl KillCount {
    fn update(&mut self, count: Option<u64>, now: Instant) {
        if self.noticed.is_some_and(|noticed| now.duration_since(noticed) > ATTRIBUTION_TIME) {
            (self.unattributed, self.noticed) = (0, None);
        }
        let Some(count) = count else { return };
        let more = self.seen.map_or(0, |seen| count.saturating_sub(seen));
        self.seen = Some(count);
        if more > 0 {
            self.unattributed += more;
            self.noticed = Some(now);
        }
    }

    fn attribute(&mut self, count: Option<u64>, now: Instant) -> bool {
        self.update(count, now);
        let is_one = self.unattributed > 0;
        self.unattributed = self.unattributed.saturating_sub(1);
        is_one
    }
}

static KILLS: PerProcess<Mutex<KillCount>> = PerProcess::new(Mutex::default);

fn kill_count() -> MutexGuard<'static, KillCount> {
    // No code under this lock panics in the middle of a change.
    KILLS.get().lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes the current count. Called before the start of each process whose death may be reported
/// later.
pub(crate) fn update() {
    kill_count().update(cgroup::oom_kills(), Instant::now());
}

/// Whether a death by SIGKILL that was just reported, and that brigade did not cause, was an
/// out-of-memory kill. Each kill is matched with one death.
pub(crate) fn attribute() -> bool {
    kill_count().attribute(cgroup::oom_kills(), Instant::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_counted_kill_is_attributed_to_one_death_however_late_it_is_reported() {
        let now = Instant::now();
        let mut kills = KillCount::default();
        kills.update(Some(5), now);
        assert!(!kills.attribute(Some(5), now), "what was before is none of ours");
        // Two at once, and a process that is started before their deaths are reported.
        kills.update(Some(7), now);
        kills.update(Some(7), now + ATTRIBUTION_TIME);
        assert!(kills.attribute(Some(7), now + ATTRIBUTION_TIME));
        assert!(kills.attribute(Some(7), now + ATTRIBUTION_TIME));
        assert!(!kills.attribute(Some(7), now + ATTRIBUTION_TIME));
        assert!(kills.attribute(Some(8), now + ATTRIBUTION_TIME));
        assert!(!kills.attribute(Some(8), now + ATTRIBUTION_TIME));
    }

    #[test]
    fn a_kill_of_another_program_is_forgotten() {
        let now = Instant::now();
        let mut kills = KillCount::default();
        kills.update(Some(0), now);
        kills.update(Some(3), now);
        let later = now + ATTRIBUTION_TIME + Duration::from_nanos(1);
        assert!(!kills.attribute(Some(3), later));
        assert!(kills.attribute(Some(4), later));
        assert!(!kills.attribute(Some(4), later));
    }

    #[test]
    fn without_a_count_nothing_is_attributed_and_a_lower_count_is_a_new_start() {
        let now = Instant::now();
        let mut kills = KillCount::default();
        assert!(!kills.attribute(None, now));
        assert!(!kills.attribute(Some(9), now), "the first count is where it begins");
        assert!(!kills.attribute(None, now));
        assert!(!kills.attribute(Some(2), now), "another group's");
        assert!(kills.attribute(Some(3), now));
    }
}

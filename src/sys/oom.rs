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
const KEPT: Duration = Duration::from_secs(10);

/// The kernel's counter, and the kills not yet matched with a death.
#[derive(Debug, Default)]
struct KillCount {
    /// The count when it was last read; `None` before the first time.
    seen: Option<u64>,
    /// Kills that were not matched with a death.
    unclaimed: u64,
    /// When the latest of them was seen.
    noticed: Option<Instant>,
}

impl KillCount {
    fn look(&mut self, count: Option<u64>, now: Instant) {
        if self.noticed.is_some_and(|noticed| now.duration_since(noticed) > KEPT) {
            (self.unclaimed, self.noticed) = (0, None);
        }
        let Some(count) = count else { return };
        let more = self.seen.map_or(0, |seen| count.saturating_sub(seen));
        self.seen = Some(count);
        if more > 0 {
            self.unclaimed += more;
            self.noticed = Some(now);
        }
    }

    fn claim(&mut self, count: Option<u64>, now: Instant) -> bool {
        self.look(count, now);
        let is_one = self.unclaimed > 0;
        self.unclaimed = self.unclaimed.saturating_sub(1);
        is_one
    }
}

static ACCOUNT: PerProcess<Mutex<KillCount>> = PerProcess::new(Mutex::default);

fn account() -> MutexGuard<'static, KillCount> {
    // No code under this lock panics in the middle of a change.
    ACCOUNT.get().lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes the current count. Called before the start of each process whose death may be reported
/// later.
pub(crate) fn note() {
    account().look(cgroup::oom_kills(), Instant::now());
}

/// Whether a death by SIGKILL that was just reported, and that brigade did not cause, was an
/// out-of-memory kill. Each kill is matched with one death.
pub(crate) fn claim() -> bool {
    account().claim(cgroup::oom_kills(), Instant::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_deaths_as_kills_were_for_want_of_memory_however_late_they_are_heard_of() {
        let now = Instant::now();
        let mut account = KillCount::default();
        account.look(Some(5), now);
        assert!(!account.claim(Some(5), now), "what was before is none of ours");
        // Two at once, and a process that is started before their deaths are reported.
        account.look(Some(7), now);
        account.look(Some(7), now + KEPT);
        assert!(account.claim(Some(7), now + KEPT));
        assert!(account.claim(Some(7), now + KEPT));
        assert!(!account.claim(Some(7), now + KEPT));
        assert!(account.claim(Some(8), now + KEPT));
        assert!(!account.claim(Some(8), now + KEPT));
    }

    #[test]
    fn a_kill_of_a_stranger_is_forgotten() {
        let now = Instant::now();
        let mut account = KillCount::default();
        account.look(Some(0), now);
        account.look(Some(3), now);
        let later = now + KEPT + Duration::from_nanos(1);
        assert!(!account.claim(Some(3), later));
        assert!(account.claim(Some(4), later));
        assert!(!account.claim(Some(4), later));
    }

    #[test]
    fn without_a_count_nothing_is_claimed_and_one_that_falls_is_a_new_beginning() {
        let now = Instant::now();
        let mut account = KillCount::default();
        assert!(!account.claim(None, now));
        assert!(!account.claim(Some(9), now), "the first count is where it begins");
        assert!(!account.claim(None, now));
        assert!(!account.claim(Some(2), now), "another group's");
        assert!(account.claim(Some(3), now));
    }
}

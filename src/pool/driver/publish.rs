//! Publishing what a pool does, for `brigade top`.
//!
//! The supervisor publishes once a second. It wakes up as often for any pool, so this costs a
//! few microseconds a second. Other processes read the latest report, whatever the host does.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use crate::pool::driver::core::Core;
use crate::pool::record::report::{PUBLISH_INTERVAL, PoolReport};
use crate::pool::record::state::State;
use crate::sys::{clock, process};
use crate::worker::invocation;

impl Core {
    /// Publishes the state if that is due, and returns when it is due again.
    pub(crate) fn publish(&self, state: &mut State) -> Option<Instant> {
        let mut guard = self.publisher.lock().unwrap_or_else(PoisonError::into_inner);
        let publisher = guard.as_mut()?;
        let (last_ns, last_done) = publisher.last.unwrap_or((publisher.started_ns, 0));
        let passed = Duration::from_nanos(clock::now_ns().saturating_sub(last_ns));
        // The supervisor may be called much more often, for other reasons.
        if publisher.last.is_some() && passed < PUBLISH_INTERVAL / 2 {
            return Some(Instant::now() + (PUBLISH_INTERVAL - passed));
        }
        let mut report = PoolReport::of(state, process::pid(), &self.config.name);
        if !passed.is_zero() {
            let count = report.done().saturating_sub(last_done);
            report.tasks_per_second = count as f64 / passed.as_secs_f64();
        }
        publisher.last = Some((report.published_ns, report.done()));
        report.started_ns = publisher.started_ns;
        report.arrays_bytes = self.arena.reserved_bytes();
        let mut bytes = Vec::new();
        // Plain data always encodes. If the report is too long, workers are dropped from its end.
        while invocation::encode_onto(&mut bytes, &report).is_ok()
            && !publisher.file.publish(&bytes)
            && !report.workers.is_empty()
        {
            bytes.clear();
            // About an eighth fewer each time; the totals are those of all.
            report.workers.truncate(report.workers.len() * 7 / 8);
        }
        Some(Instant::now() + PUBLISH_INTERVAL)
    }
}

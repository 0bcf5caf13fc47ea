//! Medians and percentiles of repeated calls.

use std::time::{Duration, Instant};

/// The shortest time that is measured as one sample if only throughput matters.
const SAMPLE_MIN: Duration = Duration::from_micros(200);

/// Calls `work` repeatedly for about `budget`; returns the median of its seconds a call.
///
/// The first call only warms caches and wakes workers, unless it uses up the budget.
pub fn seconds_a_call(budget: Duration, mut work: impl FnMut()) -> f64 {
    let first = time(&mut work);
    if first >= budget {
        return first.as_secs_f64();
    }
    let second = time(&mut work).max(Duration::from_nanos(20));
    let batch = (SAMPLE_MIN.as_nanos() / second.as_nanos()).clamp(1, 1 << 20) as u32;
    let start = Instant::now();
    let mut samples = Vec::new();
    while samples.is_empty() || start.elapsed() < budget {
        let sample = time(|| (0..batch).for_each(|_| work()));
        samples.push(sample.as_secs_f64() / f64::from(batch));
    }
    percentile(&mut samples, 50)
}

/// Calls `work` repeatedly for about `budget`, each time with a new value of `before`; returns the
/// median of its seconds. The values are dropped untimed. The first call is a warm-up: it may get
/// memory that a hypervisor has not provided yet, and the next call gets the memory of the first.
pub fn seconds_a_new_call<S, R>(
    budget: Duration,
    mut before: impl FnMut() -> S,
    mut work: impl FnMut(&mut S) -> R,
) -> f64 {
    let start = Instant::now();
    let mut samples = Vec::new();
    while samples.len() < 2 || start.elapsed() < budget {
        let mut given = before();
        let begin = Instant::now();
        let made = work(&mut given);
        samples.push(begin.elapsed().as_secs_f64());
        drop((made, given));
    }
    percentile(&mut samples[1..], 50)
}

/// Calls `work` repeatedly for about `budget`, with `before` untimed before each call; returns the
/// microseconds of each call. The first tenth of the budget is discarded.
pub fn latencies_us(
    budget: Duration,
    mut before: impl FnMut(),
    mut work: impl FnMut(),
) -> Vec<f64> {
    let start = Instant::now();
    let mut samples = Vec::new();
    while samples.is_empty() || start.elapsed() < budget {
        before();
        let sample = time(&mut work);
        if start.elapsed() > budget / 10 {
            samples.push(sample.as_secs_f64() * 1e6);
        }
    }
    samples
}

/// The value below which `percent` of the samples lie.
///
/// # Panics
///
/// If there are no samples.
pub fn percentile(samples: &mut [f64], percent: usize) -> f64 {
    samples.sort_unstable_by(f64::total_cmp);
    samples[(samples.len() * percent / 100).min(samples.len() - 1)]
}

/// Leaves the processor idle for `span`.
pub fn idle(span: Duration) {
    let end = Instant::now() + span;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        std::thread::park_timeout(left);
    }
}

/// Keeps the processor busy for `span`.
pub fn spin(span: Duration) {
    let end = Instant::now() + span;
    while Instant::now() < end {
        std::hint::spin_loop();
    }
}

/// The duration of one call.
pub fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

//! How long tasks ran: a histogram with a bounded relative error.

use std::time::Duration;

/// The number of buckets: four for each power of two, up to 2^63 ns.
const BUCKETS: usize = 64 * 4;

/// The run times of tasks, as counts of intervals.
///
/// The intervals are four for each power of two, so a quantile is too large by a quarter at most.
///
/// # Examples
///
/// ```
/// use brigade::Pool;
/// let pool = Pool::builder().workers(1).build()?;
/// pool.map(0..100u64, |n| n)?.sum::<u64>();
/// let times = pool.stats().run_times;
/// assert!(times.count() > 0 && times.quantile(0.5) <= times.quantile(0.99));
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunTimes {
    /// Empty, or [`BUCKETS`] counts.
    counts: Vec<u64>,
}

impl RunTimes {
    /// Histogram of these counts; `None` unless their number is right.
    pub(crate) fn from_counts(counts: Vec<u64>) -> Option<RunTimes> {
        (counts.is_empty() || counts.len() == BUCKETS).then_some(RunTimes { counts })
    }

    pub(crate) fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// Counts a time.
    #[inline]
    pub(crate) fn add(&mut self, ns: u64) {
        if self.counts.is_empty() {
            self.counts = vec![0; BUCKETS];
        }
        self.counts[bucket(ns)] += 1;
    }

    /// The number of tasks.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().fold(0, |sum, &count| sum.saturating_add(count))
    }

    /// A time that the fraction `q` of the tasks did not exceed, for example 0.99. `q` is limited
    /// to 0 to 1. `None` if there was no task.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(1).build()?;
    /// assert_eq!(pool.stats().run_times.quantile(0.5), None);
    /// pool.submit(|()| std::thread::sleep(Duration::from_millis(2)), ())?.join()?;
    /// assert!(pool.stats().run_times.quantile(1.0) >= Some(Duration::from_millis(2)));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        let count = self.count();
        // At least one task, so that the fraction 0 is the shortest time.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative")]
        let rank = ((q.clamp(0.0, 1.0) * count as f64).ceil() as u64).clamp(1, count.max(1));
        let mut below = 0u64;
        let found = self.counts.iter().position(|&count| {
            below = below.saturating_add(count);
            below >= rank
        });
        found.map(|bucket| Duration::from_nanos(end_ns(bucket)))
    }

    /// The number of tasks that took less than 2^`exponent` ns.
    pub(crate) fn count_below(&self, exponent: usize) -> u64 {
        let end = bucket(1 << exponent).min(self.counts.len());
        self.counts[..end].iter().fold(0, |sum, &count| sum.saturating_add(count))
    }
}

/// The bucket of a time: the power of two, and two bits after the leading one.
#[inline]
fn bucket(ns: u64) -> usize {
    if ns < 4 {
        return usize::try_from(ns).unwrap_or(0);
    }
    let exponent = ns.ilog2() as usize;
    let bits = usize::try_from(ns >> (exponent - 2) & 3).unwrap_or(0);
    (exponent - 1) * 4 + bits
}

/// The end of a bucket, exclusive, in nanoseconds.
fn end_ns(bucket: usize) -> u64 {
    if bucket < 4 {
        return bucket as u64 + 1;
    }
    let (exponent, bits) = (bucket / 4 + 1, bucket as u64 % 4);
    u64::try_from(u128::from(5 + bits) << (exponent - 2)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_lies_in_its_bucket_and_no_quantile_is_too_large_by_more_than_a_quarter() {
        for ns in (0..2000).chain((11..63).flat_map(|e| [(1 << e) - 1, 1 << e, 3 << (e - 1)])) {
            let found = bucket(ns);
            assert!(ns < end_ns(found), "{ns}");
            assert!(found == 0 || ns >= end_ns(found - 1), "{ns}");
            assert!(u128::from(end_ns(found)) <= u128::from(ns) * 5 / 4 + 1, "{ns}");
        }
        assert!(bucket(u64::MAX) < BUCKETS);
    }

    #[test]
    fn quantiles_and_counts_are_those_of_the_times() {
        let mut times = RunTimes::default();
        (0..100).for_each(|n| times.add(if n < 90 { 1000 } else { 1 << 20 }));
        assert_eq!(times.quantile(0.9), Some(Duration::from_nanos(1024)));
        assert_eq!(times.quantile(0.91), Some(Duration::from_nanos((1 << 20) * 5 / 4)));
        assert_eq!(times.quantile(0.0), times.quantile(0.5));
        assert_eq!((times.count(), times.count_below(10), times.count_below(20)), (100, 90, 90));
        assert_eq!(times.count_below(21), 100);
    }
}

//! The statistics of pools as OpenMetrics text.

use std::fmt::{Display, Write};

use crate::pool::api::stats::Stats;

/// The first and the last power of two, in nanoseconds, that ends a bucket, and the step.
const EXPONENTS: (usize, usize, usize) = (10, 42, 2);

/// One value of a metric: its suffix, its labels besides the pool, and the number.
type Sample = (&'static str, Vec<(&'static str, String)>, String);

impl Stats {
    /// These statistics in the text format of
    /// [OpenMetrics 1.0](https://prometheus.io/docs/specs/om/open_metrics_spec/), which Prometheus
    /// reads. Each metric has the label `pool`, with this name.
    ///
    /// Serve it as `application/openmetrics-text; version=1.0.0; charset=utf-8`. For several pools,
    /// use [`openmetrics`](Stats::openmetrics).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(1).build()?;
    /// pool.submit(|n: u8| n, 1)?.join()?;
    /// let text = pool.stats().to_openmetrics("thumbnails");
    /// assert!(text.contains("brigade_tasks_submitted_total{pool=\"thumbnails\"} 1\n"));
    /// assert!(text.ends_with("# EOF\n"));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[must_use]
    pub fn to_openmetrics(&self, pool: &str) -> String {
        Stats::openmetrics(&[(pool, self)])
    }

    /// The statistics of several pools as one text; see [`to_openmetrics`](Stats::to_openmetrics).
    /// The names should differ.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, Stats};
    /// let pools = [Pool::builder().workers(1).build()?, Pool::builder().workers(1).build()?];
    /// let stats = pools.map(|pool| pool.stats());
    /// let text = Stats::openmetrics(&[("a", &stats[0]), ("b", &stats[1])]);
    /// assert_eq!(text.matches("# TYPE brigade_workers gauge\n").count(), 1);
    /// assert!(text.contains("brigade_workers{pool=\"b\"} 1\n"));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[must_use]
    pub fn openmetrics(pools: &[(&str, &Stats)]) -> String {
        let mut text = String::new();
        for (name, kind, unit, help, samples) in FAMILIES {
            // Writing to a string never fails.
            let _ = writeln!(text, "# TYPE {name} {kind}");
            if !unit.is_empty() {
                let _ = writeln!(text, "# UNIT {name} {unit}");
            }
            let _ = writeln!(text, "# HELP {name} {help}");
            for (pool, stats) in pools {
                for (suffix, labels, value) in samples(stats) {
                    let _ = write!(text, "{name}{suffix}{{pool=\"{}\"", escaped(pool));
                    for (label, value) in labels {
                        let _ = write!(text, ",{label}=\"{value}\"");
                    }
                    let _ = writeln!(text, "}} {value}");
                }
            }
        }
        text.push_str("# EOF\n");
        text
    }
}

/// A metric: its name, type, unit, description, and samples.
type Family = (&'static str, &'static str, &'static str, &'static str, fn(&Stats) -> Vec<Sample>);

const FAMILIES: [Family; 11] = [
    ("brigade_tasks_submitted", "counter", "", "Tasks that were submitted.", |stats| {
        one("_total", stats.submitted)
    }),
    ("brigade_tasks_ended", "counter", "", "Tasks that are over, by outcome.", |stats| {
        let Stats { succeeded, failed, cancelled, .. } = *stats;
        let all = [("succeeded", succeeded), ("failed", failed), ("cancelled", cancelled)];
        labelled("_total", "outcome", all)
    }),
    ("brigade_tasks_retried", "counter", "", "Runs repeated after a death.", |stats| {
        one("_total", stats.retried)
    }),
    ("brigade_tasks_queued", "gauge", "", "Tasks that no worker has.", |stats| {
        one("", stats.queued)
    }),
    ("brigade_tasks_offered", "gauge", "", "Tasks that workers have.", |stats| {
        one("", stats.offered)
    }),
    ("brigade_tasks_running", "gauge", "", "Tasks that run.", |stats| one("", stats.running)),
    ("brigade_workers", "gauge", "", "Workers that have a process.", |stats| {
        one("", stats.workers)
    }),
    ("brigade_worker_restarts", "counter", "", "Replaced workers, by cause.", |stats| {
        labelled("_total", "cause", stats.restarts_by.causes())
    }),
    ("brigade_worker_tasks", "counter", "", "Tasks that each worker has ended.", |stats| {
        let workers = stats.per_worker.iter();
        labelled("_total", "worker", workers.map(|worker| (worker.index, worker.tasks)))
    }),
    ("brigade_worker_busy_seconds", "counter", "seconds", "Time in tasks.", |stats| {
        let workers = stats.per_worker.iter();
        labelled("_total", "worker", workers.map(|one| (one.index, one.busy.as_secs_f64())))
    }),
    ("brigade_task_run_seconds", "histogram", "seconds", "Run times of tasks.", run_times),
];

fn one(suffix: &'static str, value: impl Display) -> Vec<Sample> {
    vec![(suffix, Vec::new(), value.to_string())]
}

fn labelled<L: Display, V: Display>(
    suffix: &'static str,
    label: &'static str,
    values: impl IntoIterator<Item = (L, V)>,
) -> Vec<Sample> {
    let sample =
        |(name, value): (L, V)| (suffix, vec![(label, name.to_string())], value.to_string());
    values.into_iter().map(sample).collect()
}

fn run_times(stats: &Stats) -> Vec<Sample> {
    let (first, last, step) = EXPONENTS;
    let buckets = (first..=last).step_by(step).map(|exponent| {
        let end = (1u64 << exponent) as f64 * 1e-9;
        (end.to_string(), stats.run_times.count_below(exponent))
    });
    let all = stats.run_times.count();
    let mut samples = labelled("_bucket", "le", buckets.chain([("+Inf".to_owned(), all)]));
    samples.extend(one("_count", all));
    samples.extend(one("_sum", stats.busy.as_secs_f64()));
    samples
}

/// The text of a label.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use super::*;
    use crate::pool::api::stats::WorkerStats;

    // Rules of OpenMetrics 1.0: each family once and together, its suffixes by type, EOF last.
    #[test]
    fn the_text_obeys_the_rules_of_the_format() {
        let worker = |index| WorkerStats { index, ..WorkerStats::default() };
        let per_worker = vec![worker(0), worker(1)];
        let stats = Stats { submitted: 3, per_worker, ..Stats::default() };
        let text = Stats::openmetrics(&[("a\"\\\nb", &stats), ("c", &stats)]);
        let lines: Vec<&str> = text.split('\n').collect();
        assert_eq!(lines[lines.len() - 2..], ["# EOF", ""]);
        let (mut families, mut kind, mut family) = (HashSet::new(), "", "");
        let mut series = HashSet::new();
        for line in &lines[..lines.len() - 2] {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                (family, kind) = rest.split_once(' ').unwrap();
                assert!(families.insert(family), "{line}");
                continue;
            }
            if let Some(rest) = line.strip_prefix("# UNIT ") {
                let unit = rest.strip_prefix(family).unwrap().trim();
                assert!(family.ends_with(&format!("_{unit}")), "{line}");
                continue;
            }
            if line.starts_with("# HELP ") {
                continue;
            }
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok_and(|value| value >= 0.0), "{line}");
            assert!(series.insert(name), "{line}");
            let (name, labels) = name.split_once('{').unwrap();
            assert!(labels.starts_with("pool=\"") && labels.ends_with("\"}"), "{line}");
            let suffix = name.strip_prefix(family).unwrap();
            let allowed: &[&str] = match kind {
                "counter" => &["_total"],
                "gauge" => &[""],
                _ => &["_bucket", "_count", "_sum"],
            };
            assert!(allowed.contains(&suffix), "{line}");
        }
        assert_eq!(families.len(), FAMILIES.len());
        assert!(text.contains("{pool=\"a\\\"\\\\\\nb\"} 3\n"), "{text}");
    }

    // Rules of histograms: `le` grows and ends with +Inf, the counts cumulate, +Inf has all.
    #[test]
    fn the_buckets_of_a_histogram_are_in_order_and_cumulate_up_to_the_count() {
        let mut stats = Stats { busy: Duration::from_millis(1500), ..Stats::default() };
        for ns in [1, 1023, 1024, 5000, 1 << 20, u64::MAX] {
            stats.run_times.add(ns);
        }
        let text = stats.to_openmetrics("a");
        let samples = text.lines().filter_map(|line| line.strip_prefix("brigade_task_run_seconds"));
        let buckets: Vec<(f64, u64)> = samples
            .clone()
            .filter_map(|line| line.strip_prefix("_bucket{pool=\"a\",le=\""))
            .map(|line| line.split_once("\"} ").unwrap())
            .map(|(end, count)| {
                (end.replace("+Inf", "inf").parse().unwrap(), count.parse().unwrap())
            })
            .collect();
        assert!(buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{buckets:?}");
        assert_eq!((buckets[0], buckets[1].1), ((1.024e-6, 2), 3), "{buckets:?}");
        let last = buckets.len() - 1;
        assert_eq!((buckets[last], buckets[last - 1].1), ((f64::INFINITY, 6), 5), "{buckets:?}");
        let others: Vec<&str> = samples.filter(|line| !line.starts_with("_bucket")).collect();
        assert_eq!(others, ["_count{pool=\"a\"} 6", "_sum{pool=\"a\"} 1.5"]);
    }
}

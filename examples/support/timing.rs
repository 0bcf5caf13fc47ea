//! The best and the median of repeated runs.

use std::time::Instant;

/// Seconds that runs of the same work took, at least one.
#[derive(Debug, Clone)]
pub(crate) struct Timing {
    sorted_s: Vec<f64>,
}

impl Timing {
    /// Runs `work` `repeat` times, at least once, and keeps the result of the last run.
    pub(crate) fn of<R, E>(
        repeat: usize,
        mut work: impl FnMut() -> Result<R, E>,
    ) -> Result<(R, Timing), E> {
        let mut sorted_s = Vec::with_capacity(repeat.max(1));
        loop {
            let start = Instant::now();
            let result = work()?;
            sorted_s.push(start.elapsed().as_secs_f64());
            if sorted_s.len() >= repeat {
                sorted_s.sort_by(f64::total_cmp);
                return Ok((result, Timing { sorted_s }));
            }
        }
    }

    pub(crate) fn best_s(&self) -> f64 {
        self.sorted_s[0]
    }

    pub(crate) fn median_s(&self) -> f64 {
        let middle = self.sorted_s.len() / 2;
        if self.sorted_s.len() % 2 == 1 {
            self.sorted_s[middle]
        } else {
            f64::midpoint(self.sorted_s[middle - 1], self.sorted_s[middle])
        }
    }
}

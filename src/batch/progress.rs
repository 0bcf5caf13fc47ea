//! The progress of a batch, and a printer of it.

use std::fmt;
use std::io::Write;
use std::time::Duration;

/// The time between two lines where there is no terminal.
const LINES_APART: Duration = Duration::from_secs(10);

/// The progress of a batch.
///
/// # Examples
///
/// ```
/// use brigade::Pool;
/// use brigade::batch::{Batch, Key};
/// let pool = Pool::builder().workers(2).build()?;
/// let mut last = None;
/// let summary = Batch::new(&pool)
///     .on_progress(|progress| last = Some(*progress))
///     .run(["a", "b", "c"], |_: &Key| Ok::<u64, String>(1))?;
/// let last = last.unwrap();
/// assert_eq!(last.done, summary.done);
/// assert_eq!((last.done, last.total, last.is_over), (3, Some(3), true));
/// assert!(last.rate() > 0.0 && last.time_left().unwrap().is_zero());
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[non_exhaustive]
pub struct BatchProgress {
    /// How many keys there are, if the iterator of the keys says so.
    pub total: Option<usize>,
    /// Keys that this run has done.
    pub done: usize,
    /// Keys that earlier runs have done, and keys that were given twice.
    pub skipped: usize,
    /// Keys that have failed permanently, in this run or in an earlier one.
    pub failed: usize,
    /// Of these, how many failed in this run.
    pub failed_now: usize,
    /// Tasks that run, or that the pool has queued.
    pub running: usize,
    /// Since the batch began.
    pub elapsed: Duration,
    /// The batch has ended.
    pub is_over: bool,
}

impl BatchProgress {
    /// Keys that this run has done, or that failed, a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        let ended = (self.done + self.failed_now) as f64;
        if self.elapsed.is_zero() { 0.0 } else { ended / self.elapsed.as_secs_f64() }
    }

    /// How long the keys that are left take at this rate; `None` while that cannot be known.
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        let left = self.total?.saturating_sub(self.done + self.failed + self.skipped);
        if left == 0 {
            return Some(Duration::ZERO);
        }
        Duration::try_from_secs_f64(left as f64 / self.rate()).ok()
    }
}

impl fmt::Display for BatchProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.done + self.skipped)?;
        if let Some(total) = self.total {
            write!(f, " of {total}")?;
        }
        write!(f, " done, {} failed, {:.1}/s", self.failed, self.rate())?;
        match self.time_left() {
            Some(left) if !self.is_over => write!(f, ", {} s left", left.as_secs_f64().ceil()),
            _ => Ok(()),
        }
    }
}

/// What a batch calls with its progress.
pub(super) type OnProgress<'b> = Box<dyn FnMut(&BatchProgress) + 'b>;

/// Prints progress to `out`: on a terminal one line that is written over, elsewhere a line every
/// ten seconds; in both cases one at the end.
pub(super) fn printer(mut out: impl Write, is_terminal: bool) -> impl FnMut(&BatchProgress) {
    let mut printed_at = Duration::ZERO;
    move |progress: &BatchProgress| {
        let is_due = progress.is_over || progress.elapsed >= printed_at + LINES_APART;
        // The batch does not depend on its printer.
        let _ = match is_terminal {
            true if progress.is_over => writeln!(out, "\r\x1b[K{progress}"),
            true => write!(out, "\r\x1b[K{progress}"),
            false if is_due => {
                printed_at = progress.elapsed;
                writeln!(out, "{progress}")
            }
            false => Ok(()),
        };
        let _ = out.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(seconds: u64, done: usize, is_over: bool) -> BatchProgress {
        let (total, elapsed) = (Some(100), Duration::from_secs(seconds));
        let progress = BatchProgress::default();
        BatchProgress { total, done, failed: 1, failed_now: 1, elapsed, is_over, ..progress }
    }

    fn printed(is_terminal: bool) -> String {
        let mut out = Vec::new();
        let mut print = printer(&mut out, is_terminal);
        for progress in [after(1, 9, false), after(10, 49, false), after(19, 60, false)] {
            print(&progress);
        }
        print(&after(20, 99, true));
        drop(print);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn without_a_terminal_a_line_is_printed_every_ten_seconds_and_at_the_end() {
        let expected = "49 of 100 done, 1 failed, 5.0/s, 10 s left\n\
                        99 of 100 done, 1 failed, 5.0/s\n";
        assert_eq!(printed(false), expected);
    }

    #[test]
    fn on_a_terminal_one_line_is_written_over() {
        let text = printed(true);
        assert_eq!(text.matches("\r\x1b[K").count(), 4);
        assert!(text.ends_with("99 of 100 done, 1 failed, 5.0/s\n"), "{text}");
        assert_eq!(text.matches('\n').count(), 1);
    }

    #[test]
    fn the_time_left_is_known_once_there_is_a_rate() {
        assert_eq!(after(0, 0, false).time_left(), None);
        assert_eq!(after(10, 48, false).time_left(), Some(Duration::from_secs_f64(51.0 / 4.9)));
        assert_eq!(BatchProgress { total: None, ..after(1, 5, false) }.time_left(), None);
    }
}

//! The outcome of a run of a batch.

use std::fmt;
use std::time::Duration;

use crate::batch::report::KeyReport;

/// The outcome of a run of a batch. Its `Display` names each key that failed, with the cause.
///
/// # Examples
///
/// ```
/// use brigade::Pool;
/// use brigade::batch::{Batch, Key};
/// let pool = Pool::builder().workers(1).build()?;
/// let summary = Batch::new(&pool).run(["12", "x"], |key: &Key| {
///     key.as_str().unwrap_or_default().parse::<u64>()
/// })?;
/// assert_eq!((summary.done, summary.failed.len(), summary.exit_code()), (1, 1, 1));
/// let text = summary.to_string();
/// assert!(text.contains("x: failed at attempt 1: invalid digit"), "{text}");
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
#[must_use = "it says which keys have failed"]
pub struct Summary {
    /// Keys that this run has done.
    pub done: usize,
    /// Keys that earlier runs have done.
    pub skipped: usize,
    /// Keys that were given twice; each ran once.
    pub repeated: usize,
    /// The last attempt at each key that has failed permanently, in this run or in an earlier one.
    pub failed: Vec<KeyReport>,
    /// The sum of what the function returned for the keys that this run has done, in bytes.
    pub bytes: u64,
    /// How long the run took.
    pub elapsed: Duration,
    /// It was [interrupted](crate::batch::Interrupt): keys may be left.
    pub is_interrupted: bool,
    /// Lines of the journal that could not be read, because they were damaged or written by a newer
    /// version. They count as not written.
    pub unread_lines: usize,
}

impl Summary {
    /// The exit code that a program should end with: 130 if it was interrupted, as a shell reports
    /// it, 1 if a key has failed, otherwise 0.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.is_interrupted {
            true => 130,
            false => u8::from(!self.failed.is_empty()),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary { done, skipped, repeated, failed, bytes, elapsed, .. } = self;
        write!(f, "{done} done ({bytes} bytes), {skipped} done before, {} failed", failed.len())?;
        write!(f, " in {:.1} s", elapsed.as_secs_f64())?;
        if *repeated > 0 {
            write!(f, "; {repeated} keys were given twice")?;
        }
        if self.unread_lines > 0 {
            write!(f, "; {} lines of the journal could not be read", self.unread_lines)?;
        }
        if self.is_interrupted {
            f.write_str("; interrupted, run it again for what is left")?;
        }
        failed.iter().try_for_each(|report| write!(f, "\n  {report}"))
    }
}

//! The commands that compute.

mod factorial;
mod matmul;
mod sort;
mod stats;

use std::path::Path;
use std::time::Duration;

use brigade::{Dtype, Pool};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::arguments::Workers;
use crate::error::CommandError;

pub(crate) use factorial::factorial;
pub(crate) use matmul::matmul;
pub(crate) use sort::sort;
pub(crate) use stats::stats;

/// How often a spinner moves.
const TICK: Duration = Duration::from_millis(100);

impl Workers {
    /// A pool of these workers.
    pub(crate) fn pool(&self) -> Result<Pool, CommandError> {
        let builder = Pool::builder().name("brigade");
        let builder = match self.workers {
            Some(workers) => builder.workers(workers.into()),
            None => builder,
        };
        Ok(builder.build()?)
    }
}

/// The error for elements that a command does not take.
fn unsupported(path: &Path, dtype: Dtype, expected: &str) -> CommandError {
    let text = format!("{}: found dtype {dtype}, but expected {expected}", path.display());
    CommandError::Failure(text)
}

/// A line on standard error that shows what is being done, if that is a terminal.
fn spinner(json: bool, message: &'static str) -> ProgressBar {
    let bar = bar(json, "{spinner} {msg} {elapsed}");
    bar.set_message(message);
    bar.enable_steady_tick(TICK);
    bar
}

/// A bar of `template`, which hides itself where standard error is no terminal.
fn bar(json: bool, template: &str) -> ProgressBar {
    let target = if json { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(Some(100), target);
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

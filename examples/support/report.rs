//! The progress bar and the table of times.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use serde::Serialize;

use super::arguments::Stop;
use super::timing::Timing;

/// Prints one line of JSON.
pub(crate) fn json(line: &impl Serialize) -> Result<(), Stop> {
    let text = serde_json::to_string(line).map_err(|error| Stop::Failure(error.to_string()))?;
    println!("{text}");
    Ok(())
}

/// A bar over `steps` on standard error, if that is a terminal and a bar is wanted.
pub(crate) fn bar(steps: usize, wanted: bool) -> ProgressBar {
    // The bar hides itself if standard error is not a terminal.
    let target = if wanted { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(steps as u64), target);
    bar.set_style(ProgressStyle::default_bar());
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}") {
        bar.set_style(style);
    }
    bar
}

/// One row of the table of times: what ran, how long, and its rate.
pub(crate) fn row(what: &str, timing: &Timing, rate: impl Fn(f64) -> String) -> String {
    let (best, median) = (timing.best_s(), timing.median_s());
    format!("{what:<22} {best:>10.4} {median:>10.4}   {}", rate(best))
}

/// The heading of the table of times.
pub(crate) fn heading(rate: &str) -> String {
    format!("{:<22} {:>10} {:>10}   {rate}", "", "best [s]", "median [s]")
}

/// "1 worker", "2 workers".
pub(crate) fn counted(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

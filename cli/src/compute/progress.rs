//! What a command shows while it computes.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often a spinner moves.
const TICK: Duration = Duration::from_millis(100);

/// A line on standard error that shows what is being done, if that is a terminal.
pub(super) fn spinner(json: bool, message: &'static str) -> ProgressBar {
    let bar = bar(json, "{spinner} {msg} {elapsed}");
    bar.set_message(message);
    bar.enable_steady_tick(TICK);
    bar
}

/// A bar of `template`, which hides itself where standard error is no terminal.
pub(super) fn bar(json: bool, template: &str) -> ProgressBar {
    let target = if json { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(Some(100), target);
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

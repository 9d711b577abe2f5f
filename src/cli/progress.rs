//! A progress bar on a terminal; off it, nothing.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Makes a spinner on standard error that names what is being looked at. Off a terminal it stays invisible.
pub(crate) fn spinner(what: &str) -> ProgressBar {
    let spinner = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    spinner.set_message(format!("looking at {what}"));
    spinner.enable_steady_tick(Duration::from_millis(100));
    spinner
}

/// Makes a bar on standard error that counts to `total`. Off a terminal it stays invisible.
pub(crate) fn bar(total: u64, what: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
    let template = "{msg:12} {bar:32} {pos:>7}/{len}  {per_sec:>10}  {elapsed_precise}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message(what.to_owned());
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

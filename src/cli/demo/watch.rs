//! Live progress: bars on a terminal, plain lines elsewhere. Everything goes to stderr; stdout belongs to `--json`.

use std::io::{IsTerminal, Write as _};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// One line a submission.
pub struct Watch {
    bars: Vec<ProgressBar>,
    last: Vec<String>,
    labels: Vec<String>,
    plain: bool,
}

impl Watch {
    /// A line for each label.
    #[must_use]
    pub fn of(labels: Vec<String>) -> Self {
        let plain = !std::io::stderr().is_terminal();
        let target = if plain { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let all = MultiProgress::with_draw_target(target);
        let style =
            ProgressStyle::with_template("{spinner} {prefix:34} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
        let bars = labels
            .iter()
            .map(|label| {
                let bar = all.add(ProgressBar::new_spinner().with_style(style.clone()));
                bar.set_prefix(label.clone());
                bar
            })
            .collect();
        Self { bars, last: vec![String::new(); labels.len()], labels, plain }
    }

    /// Shows where one stands; a plain line only when it changed.
    pub fn show(&mut self, index: usize, stands: &str, ended: bool) {
        let (Some(bar), Some(last), Some(label)) = (self.bars.get(index), self.last.get_mut(index), self.labels.get(index))
        else {
            return;
        };
        bar.set_message(stands.to_owned());
        bar.tick();
        if ended {
            bar.finish();
        }
        if last != stands {
            stands.clone_into(last);
            if self.plain {
                // Nobody to tell when stderr is closed.
                let _ = writeln!(std::io::stderr(), "{label:34} {stands}");
            }
        }
    }
}

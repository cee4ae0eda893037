//! Live progress on standard error: bars on a terminal, plain lines elsewhere, nothing where it is not wanted. Standard output belongs
//! to what a command answers.

use std::{
    io::{IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

use clap::ValueEnum;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Between two plain lines of a bar: a log is read later, not watched.
const PLAIN_EVERY: Duration = Duration::from_secs(30);

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Bars on a terminal, lines elsewhere.
    Auto,
    /// Bars, even where no terminal is seen.
    Bar,
    /// Lines, also on a terminal (some logs pretend to be one).
    Plain,
    /// Nothing.
    None,
}

impl Mode {
    fn settled(self) -> Self {
        match self {
            Self::Auto if std::io::stderr().is_terminal() => Self::Bar,
            Self::Auto => Self::Plain,
            Self::Bar | Self::Plain | Self::None => self,
        }
    }

    fn target(self) -> ProgressDrawTarget {
        match self {
            Self::Bar => ProgressDrawTarget::stderr(),
            Self::Auto | Self::Plain | Self::None => ProgressDrawTarget::hidden(),
        }
    }
}

fn say(line: &str) {
    // Nobody to tell when stderr is closed.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// One line a generation.
#[derive(Debug)]
pub struct Lines {
    bars: Vec<ProgressBar>,
    last: Vec<String>,
    labels: Vec<String>,
    mode: Mode,
}

impl Lines {
    /// A line for each label.
    #[must_use]
    pub fn of(labels: Vec<String>, mode: Mode) -> Self {
        let mode = mode.settled();
        let all = MultiProgress::with_draw_target(mode.target());
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
        Self { bars, last: vec![String::new(); labels.len()], labels, mode }
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
            if self.mode == Mode::Plain {
                say(&format!("{label:34} {stands}"));
            }
        }
    }
}

/// One bar for many.
#[derive(Debug)]
pub struct Bar {
    bar: ProgressBar,
    mode: Mode,
    said: Option<(Instant, String)>,
}

impl Bar {
    /// A bar towards `total`.
    #[must_use]
    pub fn of(total: u64, mode: Mode) -> Self {
        let mode = mode.settled();
        let bar = ProgressBar::with_draw_target(Some(total), mode.target());
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { bar, mode, said: None }
    }

    /// Shows how many have ended, and what else there is to say.
    pub fn show(&mut self, ended: u64, total: u64, stands: &str) {
        self.bar.set_length(total);
        self.bar.set_position(ended);
        self.bar.set_message(stands.to_owned());
        if self.mode != Mode::Plain {
            return;
        }
        let line = format!("{ended}/{total} {stands}");
        let due = self.said.as_ref().is_none_or(|(at, last)| *last != line && (at.elapsed() >= PLAIN_EVERY || ended == total));
        if due {
            say(&line);
            self.said = Some((Instant::now(), line));
        }
    }

    /// Says something beside the bar, where that has not just been said.
    pub fn say(&mut self, words: &str) {
        self.bar.set_message(words.to_owned());
        let new = self.said.as_ref().is_none_or(|(_, last)| last != words);
        if self.mode == Mode::Plain && new {
            say(words);
            self.said = Some((Instant::now(), words.to_owned()));
        }
    }

    /// Leaves the last state on the screen.
    pub fn finish(&self) {
        self.bar.abandon();
    }
}

/// A sentence for people, beside any bar.
pub fn note(line: &str, mode: Mode) {
    if mode != Mode::None {
        say(line);
    }
}

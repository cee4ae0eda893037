//! Keeps one trouble from flooding the log: a database that is away for a minute made hundreds of equal warnings, and what mattered was
//! lost among them. Of the warnings that one line of code makes, a few in a while are written, and how many were left out. Errors are
//! always written: each is about something else.

use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use tracing::{Event, Level, Subscriber, callsite::Identifier};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

/// Warnings of one place that are written in one window: enough to see whom it concerns.
const MOST: u32 = 5;

/// How long a window is: whoever watches a log sees within it that a trouble lasts.
const WINDOW: Duration = Duration::from_secs(10);

/// What one place has said.
#[derive(Debug, Clone, Copy, Default)]
struct Site {
    /// When its window began, since the process did.
    since: Duration,
    written: u32,
    left_out: u64,
}

impl Site {
    /// Whether a warning at this instant is written, and how many were left out before it; none: it is left out itself.
    fn meets(&mut self, now: Duration) -> Option<u64> {
        let left_out = if now.saturating_sub(self.since) >= WINDOW {
            let before = self.left_out;
            *self = Self { since: now, ..Self::default() };
            before
        } else {
            0
        };
        if self.written < MOST {
            self.written += 1;
            return Some(left_out);
        }
        self.left_out += 1;
        None
    }
}

/// An event format that leaves out what repeats.
pub struct Dampened<F> {
    inner: F,
    json: bool,
    began: Instant,
    sites: Mutex<HashMap<Identifier, Site>>,
}

impl<F> Dampened<F> {
    /// Around a format; `json` says in which form the others are.
    pub fn new(inner: F, json: bool) -> Self {
        Self { inner, json, began: Instant::now(), sites: Mutex::default() }
    }

    fn meets(&self, event: &Event<'_>) -> Option<u64> {
        let metadata = event.metadata();
        if *metadata.level() != Level::WARN {
            return Some(0);
        }
        let mut sites = self.sites.lock().unwrap_or_else(PoisonError::into_inner);
        sites.entry(metadata.callsite()).or_default().meets(self.began.elapsed())
    }

    fn tell(&self, left_out: u64, event: &Event<'_>, out: &mut Writer<'_>) -> fmt::Result {
        let (now, target) = (crate::clock::Clock::System.now().rfc3339(), event.metadata().target());
        if self.json {
            let message = "warnings like the next were left out";
            return writeln!(
                out,
                r#"{{"timestamp":"{now}","level":"WARN","message":"{message}","left_out":{left_out},"target":"{target}"}}"#
            );
        }
        writeln!(out, "{now}  WARN {target}: {left_out} warnings like the next were left out")
    }
}

impl<S, N, F> FormatEvent<S, N> for Dampened<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        match self.meets(event) {
            None => return Ok(()),
            Some(0) => {}
            Some(left_out) => self.tell(left_out, event, &mut out)?,
        }
        self.inner.format_event(context, out, event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_says_a_few_things_in_a_window_and_then_how_many_it_left_out() {
        let mut site = Site::default();
        let at = Duration::from_millis;
        let said: Vec<_> = (0..12).map(|n| site.meets(at(n))).collect();
        assert_eq!(said.iter().filter(|said| said.is_some()).count(), 5);
        assert_eq!(site.meets(at(9_999)), None);
        assert_eq!(site.meets(at(10_000)), Some(8));
        assert_eq!(site.meets(at(10_001)), Some(0));
        assert_eq!(site.meets(at(60_000)), Some(0), "nothing was left out meanwhile");
    }
}

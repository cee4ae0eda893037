//! The log subscriber.

use std::{
    io::{self, Write},
    sync::Arc,
};

use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter,
    fmt::{self, MakeWriter},
    layer::SubscriberExt,
    registry::Registry,
    util::SubscriberInitExt,
};

use super::{dampen::Dampened, redact::Secrets};
use crate::config::telemetry::{LogFormat, TelemetryConfig};

/// Starts logging for the whole process, to standard error.
///
/// # Errors
/// A filter that cannot be read, or logging was started before.
pub fn init(config: &TelemetryConfig, secrets: Secrets) -> Result<(), String> {
    let subscriber = subscriber(config, secrets, io::stderr)?;
    subscriber.try_init().map_err(|error| error.to_string())
}

/// A subscriber that writes to `out`.
///
/// # Errors
/// A filter that cannot be read.
pub fn subscriber<W>(config: &TelemetryConfig, secrets: Secrets, out: W) -> Result<Box<dyn Subscriber + Send + Sync>, String>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(&config.filter).map_err(|error| error.to_string())?;
    let out = Scrubbed { out, secrets: Arc::new(secrets) };
    let lines = fmt::layer().with_timer(Millis).with_writer(out);
    let registry = Registry::default().with(filter);
    Ok(match config.format {
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_span_list(false);
            Box::new(registry.with(lines.map_event_format(|format| Dampened::new(format, true))))
        }
        LogFormat::Pretty => {
            Box::new(registry.with(lines.with_ansi(false).map_event_format(|format| Dampened::new(format, false))))
        }
    })
}

/// RFC 3339 in UTC with milliseconds.
struct Millis;

impl fmt::time::FormatTime for Millis {
    fn format_time(&self, out: &mut fmt::format::Writer<'_>) -> std::fmt::Result {
        write!(out, "{}", crate::clock::Clock::System.now().rfc3339())
    }
}

/// Cuts secrets out of whole lines: the formatter hands over one event at a time.
struct Scrubbed<W> {
    out: W,
    secrets: Arc<Secrets>,
}

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for Scrubbed<W> {
    type Writer = ScrubbedLine<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        ScrubbedLine { out: self.out.make_writer(), secrets: Arc::clone(&self.secrets) }
    }
}

/// One line on its way out.
struct ScrubbedLine<W> {
    out: W,
    secrets: Arc<Secrets>,
}

impl<W: Write> Write for ScrubbedLine<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let line_text = String::from_utf8_lossy(line);
        let scrubbed = self.secrets.scrub(&line_text);
        self.out.write_all(scrubbed.as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

//! Logs and metrics. Logs go to standard error, one event a line; a last layer cuts out what must never be in one.

mod dampen;
pub mod logs;
pub mod redact;

use std::sync::OnceLock;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

pub use logs::init;

/// Bounds of every duration, in seconds: from an answer of the database to a video of an hour. The usual sets end at 82 s.
const DURATIONS: [f64; 22] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 90.0, 120.0, 180.0, 300.0, 600.0, 1200.0,
    1800.0, 3600.0,
];

/// The one recorder of the process, installed at the first call. Somebody must call `run_upkeep` on the handle from time to
/// time: histograms grow until they are rendered or tended.
pub fn metrics() -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE
        .get_or_init(|| {
            let matcher = Matcher::Suffix("_seconds".to_owned());
            // The list is not empty, which is all that it may refuse.
            let builder = PrometheusBuilder::new().set_buckets_for_metric(matcher, &DURATIONS).unwrap_or_default();
            let recorder = builder.build_recorder();
            let handle = recorder.handle();
            if metrics::set_global_recorder(recorder).is_err() {
                tracing::warn!("another metrics recorder is installed; /api/metrics stays empty");
            }
            handle
        })
        .clone()
}

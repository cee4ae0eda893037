//! `[simulator]`: settings of the sandbox providers that `longtake simulate` runs.
//!
//! Everything here is for tests on one machine: the keys and secrets are invented, so they are plain strings and may
//! appear in logs. Throughout, a limit of 0 means "no limit" and times are milliseconds or seconds as the name says.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Holds all settings of one simulator. Environment: `LONGTAKE__SIMULATOR__KEY`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SimulatorConfig {
    /// Address to listen on; port 0 takes a free one. Loopback by default, since the sandbox is open to any key.
    pub bind: String,
    /// Base of the URLs put into answers (polling, outputs); the bound address when absent.
    pub public_url: Option<String>,
    /// HTTP worker threads, at least 1. Two keep a small machine's other cores for the service under test.
    pub workers: usize,
    /// Milliseconds an image takes from acceptance to its end. Short, so that tests are quick.
    pub image_ms: u64,
    /// Milliseconds a video takes from acceptance to its end.
    pub video_ms: u64,
    /// Makes every output at most 4 KiB whatever size was asked; for load tests.
    pub tiny_outputs: bool,
    /// Most pixels made for one image; a larger request is scaled down in proportion. 4 million: the largest any provider allows.
    pub max_pixels: u64,
    /// Most tasks kept; beyond it the oldest finished ones are forgotten with their outputs (the ledger keeps its entries).
    pub max_tasks: usize,
    /// Most ledger entries kept in full; older ones remain in the totals only.
    pub max_ledger_entries: usize,
    /// File to which every accepted submit is appended (fsynced) before its answer; read back at start. None keeps all in memory.
    pub ledger_path: Option<PathBuf>,
    /// Seed of the failure and throttle rates, so that a run can be repeated.
    pub seed: u64,
    /// Share of accepted tasks that end as failed, 0.0 to 1.0.
    pub failure_rate: f64,
    /// Share of submits answered by the provider's rate limit, 0.0 to 1.0.
    pub throttle_rate: f64,
    /// Milliseconds before each further delivery of an unanswered webhook; the length is the number of retries.
    pub webhook_retry_ms: Vec<u64>,
    /// Milliseconds after which an unanswered webhook delivery counts as failed. BFL documents 30 s.
    pub webhook_timeout_ms: u64,
    /// Faults in force from the start; the same as `POST /faults`.
    pub faults: Vec<FaultRule>,
    /// The sandbox of Kling.
    pub kling: KlingSandbox,
    /// The sandbox of Pollo.
    pub pollo: PolloSandbox,
    /// The sandbox of Replicate.
    pub replicate: ReplicateSandbox,
    /// The sandbox of Black Forest Labs.
    pub flux: FluxSandbox,
    /// The sandbox of the Tuzi relay.
    pub tuzi: TuziSandbox,
}

impl Default for SimulatorConfig {
    fn default() -> Self {
        Self {
            bind: "127.0.0.1:0".into(),
            public_url: None,
            workers: 2,
            image_ms: 400,
            video_ms: 1_500,
            tiny_outputs: false,
            max_pixels: 4_200_000,
            max_tasks: 200_000,
            max_ledger_entries: 1_000_000,
            ledger_path: None,
            seed: 1,
            failure_rate: 0.0,
            throttle_rate: 0.0,
            webhook_retry_ms: vec![1_000, 5_000, 30_000],
            webhook_timeout_ms: 30_000,
            faults: Vec::new(),
            kling: KlingSandbox::default(),
            pollo: PolloSandbox::default(),
            replicate: ReplicateSandbox::default(),
            flux: FluxSandbox::default(),
            tuzi: TuziSandbox::default(),
        }
    }
}

/// Puts directives in force for the next submits of one provider.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct FaultRule {
    /// Provider name; empty means all five.
    pub provider: String,
    /// Number of submits it applies to; 0 means until it is deleted.
    pub times: u32,
    /// The directives, e.g. `drop = "after"`; the same keys as in `[[sim …]]`.
    #[serde(flatten)]
    pub directives: BTreeMap<String, serde_json::Value>,
}

/// Settings of the Kling sandbox.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KlingSandbox {
    /// API keys accepted; empty accepts any that does not start with `bad`.
    pub keys: Vec<String>,
    /// Access and secret key pairs for the JWT of the legacy paths.
    pub pairs: Vec<KlingPair>,
    /// Tasks that may run at once per account (an image of n takes n); beyond it 429/1303.
    pub slots: u32,
    /// Submits a second per account; beyond it 429/1302.
    pub submits_per_second: u32,
    /// Seconds an output URL lives after the end of its task: 30 days.
    pub output_ttl_secs: u64,
    /// Signs callbacks when set (`whsec_` and base64); the real console makes one on request.
    pub webhook_secret: Option<String>,
}

impl Default for KlingSandbox {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            pairs: vec![KlingPair { access_key: "sandbox-access".into(), secret_key: "sandbox-secret".into() }],
            slots: 100,
            submits_per_second: 0,
            output_ttl_secs: 30 * 86_400,
            webhook_secret: Some("whsec_c2FuZGJveC1rbGluZy13ZWJob29rLWtleQ==".into()),
        }
    }
}

/// One Kling access key with the secret that signs its JWTs.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KlingPair {
    /// The `iss` claim.
    pub access_key: String,
    /// The HS256 key, used as its UTF-8 bytes.
    pub secret_key: String,
}

/// Settings of the Pollo sandbox.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolloSandbox {
    /// Keys accepted; empty accepts any that does not start with `bad`.
    pub keys: Vec<String>,
    /// Wraps answers as `{"code":"SUCCESS","data":{…}}`; clients of the live service see this, the documents show them bare.
    pub wrapped: bool,
    /// Submits a minute per account; the real limit is not documented, hence none.
    pub submits_per_minute: u32,
    /// Answers the limit with a Cloudflare-like HTML page instead of JSON.
    pub html_throttle: bool,
    /// Seconds an output URL lives after the end of its task: 14 days.
    pub output_ttl_secs: u64,
    /// Base64 secret that signs webhooks.
    pub webhook_secret: String,
    /// Credits of the balance call at the start; each submit takes its own.
    pub credits: u64,
}

impl Default for PolloSandbox {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            wrapped: true,
            submits_per_minute: 0,
            html_throttle: false,
            output_ttl_secs: 14 * 86_400,
            webhook_secret: "c2FuZGJveC1wb2xsby13ZWJob29rLWtleQ==".into(),
            credits: 1_000_000,
        }
    }
}

/// Settings of the Replicate sandbox.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReplicateSandbox {
    /// Keys accepted; empty accepts any that does not start with `bad`.
    pub keys: Vec<String>,
    /// Creates a minute per account: 600 documented.
    pub creates_per_minute: u32,
    /// Other calls a minute per account: 3000 documented.
    pub others_per_minute: u32,
    /// Version ids that exist; empty accepts any well-formed one except 64 zeros.
    pub versions: Vec<String>,
    /// `owner/name` of models and deployments that answer 404.
    pub missing_models: Vec<String>,
    /// Seconds after the end when input, output and files are removed: 1 hour.
    pub output_ttl_secs: u64,
    /// Secret that signs webhooks, given by `/webhooks/default/secret`.
    pub webhook_secret: String,
}

impl Default for ReplicateSandbox {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            creates_per_minute: 600,
            others_per_minute: 3_000,
            versions: Vec::new(),
            missing_models: vec!["unknown/unknown".into()],
            output_ttl_secs: 3_600,
            webhook_secret: "whsec_c2FuZGJveC1yZXBsaWNhdGUtd2ViaG9vaw==".into(),
        }
    }
}

/// Settings of the Black Forest Labs sandbox.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FluxSandbox {
    /// Keys accepted; empty accepts any that does not start with `bad`.
    pub keys: Vec<String>,
    /// Active tasks per account: 24 documented; beyond it 429.
    pub active_tasks: u32,
    /// Active tasks of `flux-kontext-max` per account: 6 documented.
    pub active_kontext_max: u32,
    /// Seconds an output URL lives after the end of its task: 10 minutes.
    pub output_ttl_secs: u64,
    /// Credits of the credits call at the start; each submit takes its own.
    pub credits: u64,
}

impl Default for FluxSandbox {
    fn default() -> Self {
        Self { keys: Vec::new(), active_tasks: 24, active_kontext_max: 6, output_ttl_secs: 600, credits: 1_000_000 }
    }
}

/// Settings of the Tuzi relay sandbox.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TuziSandbox {
    /// Keys accepted; empty accepts any that does not start with `bad`.
    pub keys: Vec<String>,
    /// Submits a minute per account; the real limit is not established, hence none.
    pub submits_per_minute: u32,
    /// Answers Kling paths in new-api's own shape (OpenAI-video object) instead of Kling's envelope.
    pub new_api_answers: bool,
    /// Seconds an output URL lives after the end of its task; not established, one day assumed.
    pub output_ttl_secs: u64,
    /// Failures of its own styles cost as much as successes. Not established: clients report only that a broken answer is not refunded,
    /// hence the worse of both. What it relays of Kling bills as Kling does.
    pub bills_failures: bool,
}

impl Default for TuziSandbox {
    fn default() -> Self {
        Self { keys: Vec::new(), submits_per_minute: 0, new_api_answers: false, output_ttl_secs: 86_400, bills_failures: true }
    }
}

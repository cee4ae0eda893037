//! Configuration: one struct a section, defaults in code and in `config/default.toml` (a test keeps them equal), unknown keys
//! are errors. Files, then environment (`LONGTAKE__SECTION__KEY`), then flags.

pub mod assets;
pub mod batches;
pub mod dispatch;
pub mod load;
pub mod models;
pub mod notify;
pub mod openai;
pub mod polling;
pub mod providers;
pub mod server;
pub mod simulator;
pub mod spend;
pub mod storage;
pub mod store;
pub mod supervision;
pub mod telemetry;

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

/// The whole configuration.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the embedded database, the disk storage, the lock and the server secret live. Default `data`.
    pub data_dir: PathBuf,
    /// HTTP server.
    pub server: server::ServerConfig,
    /// Database.
    pub store: store::StoreConfig,
    /// Object storage.
    pub storage: storage::StorageConfig,
    /// Downloads.
    pub assets: assets::AssetsConfig,
    /// Batches.
    pub batches: batches::BatchesConfig,
    /// Who goes next.
    pub dispatch: dispatch::DispatchConfig,
    /// Waiting.
    pub polling: polling::PollingConfig,
    /// Telling clients.
    pub notify: notify::NotifyConfig,
    /// OpenAI's shapes.
    pub openai: openai::OpenAiConfig,
    /// Balances.
    pub spend: spend::SpendConfig,
    /// Actors.
    pub supervision: supervision::SupervisionConfig,
    /// Logs and metrics.
    pub telemetry: telemetry::TelemetryConfig,
    /// Provider sections by name.
    pub providers: BTreeMap<String, providers::ProviderConfig>,
    /// The catalogue: models by `modelIdentifier`.
    pub models: BTreeMap<String, models::ModelConfig>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("data"),
            server: server::ServerConfig::default(),
            store: store::StoreConfig::default(),
            storage: storage::StorageConfig::default(),
            assets: assets::AssetsConfig::default(),
            batches: batches::BatchesConfig::default(),
            dispatch: dispatch::DispatchConfig::default(),
            polling: polling::PollingConfig::default(),
            notify: notify::NotifyConfig::default(),
            openai: openai::OpenAiConfig::default(),
            spend: spend::SpendConfig::default(),
            supervision: supervision::SupervisionConfig::default(),
            telemetry: telemetry::TelemetryConfig::default(),
            providers: BTreeMap::new(),
            models: BTreeMap::new(),
        }
    }
}

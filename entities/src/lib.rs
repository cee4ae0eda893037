//! The tables as sea-orm entities: columns only, no logic. Identifiers are UUIDs, instants are milliseconds since the epoch,
//! small structured values are JSON text.

pub mod generations;
pub mod generation_payloads;
pub mod attempts;
pub mod attempt_payloads;
pub mod assets;
pub mod history;
pub mod ledger;
pub mod spend_days;
pub mod events;
pub mod outbox_marks;
pub mod webhook_endpoints;
pub mod webhook_secrets;
pub mod generation_webhooks;
pub mod webhook_deliveries;
pub mod batches;
pub mod dependencies;
pub mod submit_evidence;
pub mod provider_tasks;
pub mod nodes;
pub mod shards;
pub mod projects;
pub mod api_keys;
pub mod operator_decisions;
pub mod idempotency;
pub mod balances;
pub mod hidden_videos;

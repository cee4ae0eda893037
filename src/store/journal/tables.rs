//! Which columns the journal writes of which table, and the statements made of them.

use super::{
    connection::Dialect,
    sql::{Columns, Sql, Type, insert, update},
};

/// What a row of the locking reads is: they answer one shape, so that they can go together. 0 is the node's own row.
pub const GENERATION: i32 = 1;
/// As above.
pub const ATTEMPT: i32 = 2;
/// As above.
pub const ASSET: i32 = 3;

/// The parameter is the node's id. A taker's update waits for this share lock, or we wait for it and then find nothing.
pub const FENCE: (&str, &str) = (
    "SELECT 0, id, 0, 0, 0, 0 FROM nodes WHERE id = unhex(?1) AND dead_at IS NULL",
    "SELECT 0, id, 0, 0::int2, false, 0 FROM nodes WHERE id = $1::uuid AND dead_at IS NULL FOR SHARE",
);

/// Reads and locks generations, with the end of their history; the parameter is a list of ids.
pub const LOCK_GENERATIONS: (&str, &str) = (
    "SELECT 1, g.id, g.version, g.shard, g.cancel_requested_at IS NOT NULL,
        coalesce((SELECT max(h.seq) FROM history h WHERE h.generation_id = g.id), 0)
     FROM json_each(?1) AS j CROSS JOIN generations g ON g.id = unhex(j.value)",
    "SELECT 1, g.id, g.version, g.shard, g.cancel_requested_at IS NOT NULL,
        coalesce((SELECT max(h.seq) FROM history h WHERE h.generation_id = g.id), 0)
     FROM generations g WHERE g.id = ANY (ARRAY(SELECT json_array_elements_text($1::json)::uuid)) ORDER BY g.id FOR UPDATE",
);

/// Reads and locks attempts.
pub const LOCK_ATTEMPTS: (&str, &str) = (
    "SELECT 2, a.id, a.version, 0, 0, 0 FROM json_each(?1) AS j CROSS JOIN attempts a ON a.id = unhex(j.value)",
    "SELECT 2, a.id, a.version, 0::int2, false, 0 FROM attempts a
     WHERE a.id = ANY (ARRAY(SELECT json_array_elements_text($1::json)::uuid)) ORDER BY a.id FOR UPDATE",
);

/// Reads and locks assets.
pub const LOCK_ASSETS: (&str, &str) = (
    "SELECT 3, a.id, a.version, 0, 0, 0 FROM json_each(?1) AS j CROSS JOIN assets a ON a.id = unhex(j.value)",
    "SELECT 3, a.id, a.version, 0::int2, false, 0 FROM assets a
     WHERE a.id = ANY (ARRAY(SELECT json_array_elements_text($1::json)::uuid)) ORDER BY a.id FOR UPDATE",
);

/// What a transition may change of a generation; never `cancel_requested_at`, never what it was born with.
const GENERATION_CHANGE: Columns = &[
    ("id", Type::Id),
    ("state", Type::Small),
    ("slots", Type::Text),
    ("not_before", Type::Big),
    ("tries", Type::Int),
    ("updated_at", Type::Big),
    ("ended_at", Type::Big),
    ("failure", Type::Text),
];

/// What a transition may change of an attempt; never what was sent, except its deadline when the same is sent again.
const ATTEMPT_CHANGE: Columns = &[
    ("id", Type::Id),
    ("state", Type::Small),
    ("not_after", Type::Big),
    ("handle", Type::Text),
    ("submitted_at", Type::Big),
    ("unconfirmed_since", Type::Big),
    ("updated_at", Type::Big),
    ("ended_at", Type::Big),
    ("cost", Type::Big),
    ("charged", Type::Flag),
    ("failure", Type::Text),
    ("lost_at", Type::Big),
];

/// What a transition may change of an asset.
const ASSET_CHANGE: Columns = &[
    ("id", Type::Id),
    ("state", Type::Small),
    ("kind", Type::Small),
    ("source_url", Type::Text),
    ("staged_key", Type::Text),
    ("expires_at", Type::Big),
    ("storage_key", Type::Text),
    ("content_type", Type::Text),
    ("width", Type::Int),
    ("height", Type::Int),
    ("duration_ms", Type::Big),
    ("bytes", Type::Big),
    ("sha256", Type::Text),
    ("failure", Type::Text),
];

const ATTEMPT_ROW: Columns = &[
    ("id", Type::Id),
    ("generation_id", Type::Id),
    ("n", Type::Int),
    ("shard", Type::Small),
    ("version", Type::Int),
    ("state", Type::Small),
    ("slot", Type::Int),
    ("first_output", Type::Int),
    ("output_count", Type::Int),
    ("provider", Type::Text),
    ("account", Type::Text),
    ("kind", Type::Small),
    ("model", Type::Text),
    ("endpoint", Type::Text),
    ("tag", Type::Text),
    ("request_digest", Type::Text),
    ("not_after", Type::Big),
    ("handle", Type::Text),
    ("created_at", Type::Big),
    ("submitted_at", Type::Big),
    ("unconfirmed_since", Type::Big),
    ("updated_at", Type::Big),
    ("ended_at", Type::Big),
    ("price", Type::Big),
    ("cost", Type::Big),
    ("charged", Type::Flag),
    ("failure", Type::Text),
];

const ASSET_ROW: Columns = &[
    ("id", Type::Id),
    ("generation_id", Type::Id),
    ("attempt_id", Type::Id),
    ("idx", Type::Int),
    ("shard", Type::Small),
    ("version", Type::Int),
    ("state", Type::Small),
    ("kind", Type::Small),
    ("source_url", Type::Text),
    ("staged_key", Type::Text),
    ("expires_at", Type::Big),
    ("storage_key", Type::Text),
    ("content_type", Type::Text),
    ("width", Type::Int),
    ("height", Type::Int),
    ("duration_ms", Type::Big),
    ("bytes", Type::Big),
    ("sha256", Type::Text),
    ("failure", Type::Text),
];

const HISTORY: Columns = &[
    ("generation_id", Type::Id),
    ("seq", Type::Int),
    ("attempt", Type::Int),
    ("from_state", Type::Text),
    ("to_state", Type::Text),
    ("reason", Type::Text),
    ("at", Type::Big),
];

const EVENT: Columns = &[("generation_id", Type::Id), ("project_id", Type::Id), ("kind", Type::Text), ("at", Type::Big)];

const ATTEMPT_PAYLOAD: Columns = &[("attempt_id", Type::Id), ("request", Type::Text)];

/// Changes generations.
pub static UPDATE_GENERATIONS: Sql = Sql::new(
    || update(Dialect::Sqlite, "generations", GENERATION_CHANGE),
    || update(Dialect::Postgres, "generations", GENERATION_CHANGE),
);
/// Changes attempts.
pub static UPDATE_ATTEMPTS: Sql =
    Sql::new(|| update(Dialect::Sqlite, "attempts", ATTEMPT_CHANGE), || update(Dialect::Postgres, "attempts", ATTEMPT_CHANGE));
/// Changes assets.
pub static UPDATE_ASSETS: Sql =
    Sql::new(|| update(Dialect::Sqlite, "assets", ASSET_CHANGE), || update(Dialect::Postgres, "assets", ASSET_CHANGE));
/// New attempts.
pub static INSERT_ATTEMPTS: Sql =
    Sql::new(|| insert(Dialect::Sqlite, "attempts", ATTEMPT_ROW, ""), || insert(Dialect::Postgres, "attempts", ATTEMPT_ROW, ""));
/// Their requests.
pub static INSERT_ATTEMPT_PAYLOADS: Sql = Sql::new(
    || insert(Dialect::Sqlite, "attempt_payloads", ATTEMPT_PAYLOAD, ""),
    || insert(Dialect::Postgres, "attempt_payloads", ATTEMPT_PAYLOAD, ""),
);
/// New assets.
pub static INSERT_ASSETS: Sql =
    Sql::new(|| insert(Dialect::Sqlite, "assets", ASSET_ROW, ""), || insert(Dialect::Postgres, "assets", ASSET_ROW, ""));
/// History.
pub static INSERT_HISTORY: Sql =
    Sql::new(|| insert(Dialect::Sqlite, "history", HISTORY, ""), || insert(Dialect::Postgres, "history", HISTORY, ""));
/// Events.
pub static INSERT_EVENTS: Sql =
    Sql::new(|| insert(Dialect::Sqlite, "events", EVENT, ""), || insert(Dialect::Postgres, "events", EVENT, ""));

const GENERATION_ROW: Columns = &[
    ("id", Type::Id),
    ("shard", Type::Small),
    ("project_id", Type::Id),
    ("key_id", Type::Id),
    ("version", Type::Int),
    ("state", Type::Small),
    ("slots", Type::Text),
    ("not_before", Type::Big),
    ("tries", Type::Int),
    ("born_state", Type::Small),
    ("outputs", Type::Int),
    ("per_call", Type::Int),
    ("provider", Type::Text),
    ("model", Type::Text),
    ("kind", Type::Small),
    ("priority", Type::Small),
    ("call_price", Type::Big),
    ("queue_deadline", Type::Big),
    ("created_at", Type::Big),
    ("updated_at", Type::Big),
    ("ended_at", Type::Big),
    ("cancel_requested_at", Type::Big),
    ("failure", Type::Text),
    ("request_id", Type::Text),
    ("on_unconfirmed", Type::Small),
];

const PAYLOAD: Columns = &[("generation_id", Type::Id), ("request", Type::Text)];

/// New generations.
pub static INSERT_GENERATIONS: Sql = Sql::new(
    || insert(Dialect::Sqlite, "generations", GENERATION_ROW, ""),
    || insert(Dialect::Postgres, "generations", GENERATION_ROW, ""),
);
/// Their requests.
pub static INSERT_PAYLOADS: Sql = Sql::new(
    || insert(Dialect::Sqlite, "generation_payloads", PAYLOAD, ""),
    || insert(Dialect::Postgres, "generation_payloads", PAYLOAD, ""),
);

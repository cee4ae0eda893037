//! Which columns the journal writes of which table, and the statements made of them.

use super::{
    connection::Dialect,
    sql::{Columns, Rows, Type, insert, insert_values, update, update_values, values},
};

/// What a row of the locking reads is: they answer one shape, so that they can go together. 0 is the node's own row.
pub const GENERATION: i32 = 1;
/// As above.
pub const ATTEMPT: i32 = 2;
/// As above.
pub const ASSET: i32 = 3;
/// As above.
pub const BATCH: i32 = 4;

/// The parameter is the node's id; on SQLite it answers the newest history row of all, too. A taker's update waits for this share lock, or we wait for it and then find nothing.
pub const FENCE: (&str, &str) = (
    "SELECT 0, id, 0, 0, 0, (SELECT coalesce(max(seq), 0) FROM history), NULL
     FROM nodes WHERE id = unhex(?1) AND dead_at IS NULL",
    "SELECT 0, id, 0, 0::int2, false, 0::int8, NULL::text FROM nodes WHERE id = $1::uuid AND dead_at IS NULL FOR SHARE",
);

/// Reads and locks generations, with the end of their history; the parameter is a list of ids.
pub const LOCK_GENERATIONS: (&str, &str) = (
    "SELECT 1, g.id, g.version, g.shard, g.cancel_requested_at IS NOT NULL, coalesce(g.history_head, 0), NULL
     FROM json_each(?1) AS j CROSS JOIN generations g ON g.id = unhex(j.value)",
    "SELECT 1, g.id, g.version, g.shard, g.cancel_requested_at IS NOT NULL,
        coalesce((SELECT max(h.seq) FROM history h WHERE h.generation_id = g.id), 0), NULL::text
     FROM generations g WHERE g.id = ANY (ARRAY(SELECT json_array_elements_text($1::json)::uuid)) ORDER BY g.id FOR UPDATE",
);

/// Reads and locks attempts.
pub const LOCK_ATTEMPTS: (&str, &str) = (
    "SELECT 2, a.id, a.version, 0, 0, 0, NULL FROM json_each(?1) AS j CROSS JOIN attempts a ON a.id = unhex(j.value)",
    "SELECT 2, a.id, a.version, 0::int2, false, 0::int8, NULL::text FROM attempts a
     WHERE a.id = ANY (ARRAY(SELECT json_array_elements_text($1::json)::uuid)) ORDER BY a.id FOR UPDATE",
);

/// Reads and locks assets.
pub const LOCK_ASSETS: (&str, &str) = (
    "SELECT 3, a.id, a.version, 0, 0, 0, NULL FROM json_each(?1) AS j CROSS JOIN assets a ON a.id = unhex(j.value)",
    "SELECT 3, a.id, a.version, 0::int2, false, 0::int8, NULL::text FROM assets a
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
    ("failure", Type::Text),
    // Last: see below.
    ("history_head", Type::Big),
];

/// The same where it ends. A column that is set costs SQLite every index that names it, whether it changes or not.
const GENERATION_END: Columns = &[
    ("id", Type::Id),
    ("state", Type::Small),
    ("slots", Type::Text),
    ("not_before", Type::Big),
    ("tries", Type::Int),
    ("updated_at", Type::Big),
    ("failure", Type::Text),
    ("ended_at", Type::Big),
    // Given by the writer where a line of a batch ends, and null otherwise: what has ended never changes again.
    ("batch_seq", Type::Int),
    // Last: see below.
    ("history_head", Type::Big),
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
    ("released_at", Type::Big),
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
    // Last: see below.
    ("prev", Type::Big),
];

/// On SQLite history is a chain, which begins at its generation; PostgreSQL finds it by its key.
const fn unchained(columns: Columns) -> Columns {
    match columns.split_last() {
        Some((_, others)) => others,
        None => columns,
    }
}

const EVENT: Columns =
    &[("project_id", Type::Id), ("generation_id", Type::Id), ("batch_id", Type::Id), ("kind", Type::Text), ("at", Type::Big)];

const HEAD: Columns = &[("id", Type::Id), ("history_head", Type::Big)];

const ATTEMPT_PAYLOAD: Columns = &[("attempt_id", Type::Id), ("request", Type::Text)];

/// Changes generations that do not end.
pub static UPDATE_GENERATIONS: Rows = Rows::new(
    GENERATION_CHANGE,
    |rows| update_values("generations", GENERATION_CHANGE, rows),
    || update("generations", unchained(GENERATION_CHANGE)),
);
/// Changes generations that end, or have ended.
pub static END_GENERATIONS: Rows = Rows::new(
    GENERATION_END,
    |rows| update_values("generations", GENERATION_END, rows),
    || update("generations", unchained(GENERATION_END)),
);
/// SQLite: where the history of generations ends whose rows do not change otherwise.
pub static UPDATE_HEADS: Rows = Rows::new(
    HEAD,
    |rows| {
        let rows = values(HEAD, rows);
        format!("UPDATE OR ROLLBACK generations SET history_head = j.column2 FROM (VALUES {rows}) AS j WHERE id = j.column1")
    },
    String::new,
);
/// Changes attempts.
pub static UPDATE_ATTEMPTS: Rows =
    Rows::new(ATTEMPT_CHANGE, |rows| update_values("attempts", ATTEMPT_CHANGE, rows), || update("attempts", ATTEMPT_CHANGE));
/// Changes assets.
pub static UPDATE_ASSETS: Rows =
    Rows::new(ASSET_CHANGE, |rows| update_values("assets", ASSET_CHANGE, rows), || update("assets", ASSET_CHANGE));
/// New attempts.
pub static INSERT_ATTEMPTS: Rows = Rows::new(
    ATTEMPT_ROW,
    |rows| insert_values("attempts", ATTEMPT_ROW, "", rows),
    || insert(Dialect::Postgres, "attempts", ATTEMPT_ROW, ""),
);
/// Their requests.
pub static INSERT_ATTEMPT_PAYLOADS: Rows = Rows::new(
    ATTEMPT_PAYLOAD,
    |rows| insert_values("attempt_payloads", ATTEMPT_PAYLOAD, "", rows),
    || insert(Dialect::Postgres, "attempt_payloads", ATTEMPT_PAYLOAD, ""),
);
/// New assets.
pub static INSERT_ASSETS: Rows = Rows::new(
    ASSET_ROW,
    |rows| insert_values("assets", ASSET_ROW, "", rows),
    || insert(Dialect::Postgres, "assets", ASSET_ROW, ""),
);
/// History.
pub static INSERT_HISTORY: Rows = Rows::new(
    HISTORY,
    |rows| insert_values("history", HISTORY, "", rows),
    || insert(Dialect::Postgres, "history", unchained(HISTORY), ""),
);
/// Events.
pub static INSERT_EVENTS: Rows =
    Rows::new(EVENT, |rows| insert_values("events", EVENT, "", rows), || insert(Dialect::Postgres, "events", EVENT, ""));

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
    ("batch_id", Type::Id),
    ("batch_index", Type::Int),
    ("custom_id", Type::Text),
    ("retry_of", Type::Id),
];

const DEPENDENCY: Columns = &[("generation_id", Type::Id), ("on_id", Type::Id), ("shard", Type::Small)];

const GENERATION_WEBHOOK: Columns = &[("generation_id", Type::Id), ("url", Type::Text)];

/// Where clients want to be told of single generations.
pub static INSERT_GENERATION_WEBHOOKS: Rows = Rows::new(
    GENERATION_WEBHOOK,
    |rows| insert_values("generation_webhooks", GENERATION_WEBHOOK, "", rows),
    || insert(Dialect::Postgres, "generation_webhooks", GENERATION_WEBHOOK, ""),
);

const PAYLOAD: Columns = &[("generation_id", Type::Id), ("request", Type::Text)];

/// New generations.
pub static INSERT_GENERATIONS: Rows = Rows::new(
    GENERATION_ROW,
    |rows| insert_values("generations", GENERATION_ROW, "", rows),
    || insert(Dialect::Postgres, "generations", GENERATION_ROW, ""),
);
/// Their requests.
pub static INSERT_PAYLOADS: Rows = Rows::new(
    PAYLOAD,
    |rows| insert_values("generation_payloads", PAYLOAD, "", rows),
    || insert(Dialect::Postgres, "generation_payloads", PAYLOAD, ""),
);
/// What they wait for.
pub static INSERT_DEPENDENCIES: Rows = Rows::new(
    DEPENDENCY,
    |rows| insert_values("dependencies", DEPENDENCY, "", rows),
    || insert(Dialect::Postgres, "dependencies", DEPENDENCY, ""),
);

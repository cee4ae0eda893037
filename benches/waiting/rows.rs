//! Rows of generations in flight, put into the database directly: a template made by the product's own mapping, copied by one
//! statement a table.

use std::{error::Error, path::Path, sync::Arc};

use longtake::{
    config::Config,
    domain::{
        attempt::AttemptState,
        generation::{GenerationState, Progress},
        id::{AttemptId, GenerationId, KeyId, ProjectId},
        money::Micros,
        record::{Attempt, Generation, Handle, Kind},
        slots::{Slot, Slots},
        time::Timestamp,
        unconfirmed::OnUnconfirmed,
    },
    providers::{catalogue::Catalogue, registry::Registry},
    store::map,
};
use sea_orm::{ActiveModelTrait as _, IntoActiveModel as _, SqlxSqliteConnector};
use sqlx::{SqlitePool, sqlite::SqliteConnectOptions};

use crate::provider::FIRST_TASK;

const MODEL: &str = "kling-2.6";

/// Fills an empty database with so many running attempts that were submitted evenly over the last `span_ms`.
pub async fn fill(file: &Path, config: &Config, count: u32, span_ms: i64, now: Timestamp) -> Result<(), Box<dyn Error>> {
    let pool = SqlitePool::connect_with(SqliteConnectOptions::new().filename(file).pragma("synchronous", "off")).await?;
    let database = SqlxSqliteConnector::from_sqlx_sqlite_pool(pool.clone());
    let generation = generation(now);
    let attempt = attempt(&generation, config, now)?;
    map::generation_model(&generation)?.into_active_model().insert(&database).await?;
    map::attempt_model(&attempt)?.into_active_model().insert(&database).await?;
    let age = format!("{} - {span_ms} * c.n / {count}", now.0);
    // The newest bits of a UUIDv7 are its end; the table is filled in the order of its key.
    let id = |kind: u8| format!("unhex(printf('019a0000%08x7000800000000{kind:03x}', c.n))");
    let task = format!("json_object('task_id', CAST({FIRST_TASK} + c.n AS TEXT))");
    let generations =
        [("id", id(1)), ("created_at", age.clone()), ("updated_at", age.clone()), ("shard", "c.n % 256".to_owned())];
    copy(&pool, "generations", count, &generations).await?;
    let attempts = [
        ("id", id(2)),
        ("generation_id", id(1)),
        ("created_at", age.clone()),
        ("updated_at", age.clone()),
        ("submitted_at", age),
        ("shard", "c.n % 256".to_owned()),
        ("handle", task),
    ];
    copy(&pool, "attempts", count, &attempts).await?;
    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&pool).await?;
    pool.close().await;
    Ok(())
}

/// Copies the only row of a table, with some columns computed from `c.n`, and removes the template.
async fn copy(pool: &SqlitePool, table: &str, count: u32, computed: &[(&str, String)]) -> Result<(), Box<dyn Error>> {
    let columns: Vec<String> =
        sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT name FROM pragma_table_info('{table}')"))).fetch_all(pool).await?;
    let value = |column: &String| {
        let own = computed.iter().find(|(name, _)| name == column);
        own.map_or_else(|| format!("t.{column}"), |(_, value)| value.clone())
    };
    let values: Vec<String> = columns.iter().map(value).collect();
    let statement = format!(
        "WITH RECURSIVE c(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM c WHERE n + 1 < {count})
         INSERT INTO {table} ({}) SELECT {} FROM c CROSS JOIN (SELECT * FROM {table} LIMIT 1) t",
        columns.join(", "),
        values.join(", ")
    );
    let template: Vec<u8> = sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT id FROM {table}"))).fetch_one(pool).await?;
    sqlx::query(sqlx::AssertSqlSafe(statement)).execute(pool).await?;
    sqlx::query(sqlx::AssertSqlSafe(format!("DELETE FROM {table} WHERE id = ?"))).bind(template).execute(pool).await?;
    Ok(())
}

fn generation(now: Timestamp) -> Generation {
    Generation {
        id: GenerationId::fresh(),
        shard: 0,
        project: ProjectId::fresh(),
        key: KeyId::fresh(),
        version: 2,
        progress: Progress {
            state: GenerationState::Active,
            slots: Slots::owed(1, 1).with(0, Slot::Open),
            not_before: now,
            tries: 1,
        },
        born_state: GenerationState::Queued,
        outputs: 1,
        per_call: 1,
        provider: "kling".into(),
        model: MODEL.into(),
        kind: Kind::Video,
        priority: 5,
        call_price: Micros(350_000),
        queue_deadline: now.plus(std::time::Duration::from_secs(86_400)),
        created_at: now,
        updated_at: now,
        ended_at: None,
        cancel_requested_at: None,
        failure: None,
        on_unconfirmed: OnUnconfirmed::Fail,
        batch: None,
        retry_of: None,
        replaced_by: None,
        request_id: Arc::from("0123456789abcdef"),
    }
}

fn attempt(of: &Generation, config: &Config, now: Timestamp) -> Result<Attempt, Box<dyn Error>> {
    let registry = Registry::new(config).map_err(|problems| problems.join("; "))?;
    let catalogue = Catalogue::new(config).map_err(|problems| problems.join("; "))?;
    let provider = registry.provider("kling").ok_or("no provider kling")?;
    let model = catalogue.model(MODEL).ok_or("no such model")?;
    Ok(Attempt {
        id: AttemptId::fresh(),
        generation: of.id,
        n: 1,
        shard: 0,
        version: 1,
        state: AttemptState::Running,
        slot: 0,
        first_output: 0,
        output_count: 1,
        provider: "kling".into(),
        account: "default".into(),
        kind: Kind::Video,
        model: MODEL.into(),
        endpoint: provider.endpoint(model, false),
        tag: "0123456789abcdef0123456789abcdef".to_owned(),
        request_digest: "0".repeat(64),
        not_after: now,
        handle: Some(Handle { task_id: FIRST_TASK.to_string(), poll_url: None }),
        created_at: now,
        submitted_at: Some(now),
        unconfirmed_since: None,
        updated_at: now,
        ended_at: None,
        price: Micros(350_000),
        cost: None,
        charged: true,
        failure: None,
        lost_at: None,
        released_at: None,
    })
}

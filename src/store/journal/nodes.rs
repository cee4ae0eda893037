//! A server's first transaction: every other node is dead from now on, this one lives, all shards are its own. Only the holder
//! of the lock may do this.

use sqlx::Error;

use super::connection::Connection;
use crate::{
    domain::{id::NodeId, time::Timestamp},
    store::{StoreError, connect::Target, shards::Held},
};

/// Takes over all shards for `node`.
pub async fn take_over(target: &Target, node: NodeId, now: Timestamp) -> Result<Held, StoreError> {
    let mut connection = target.writer().await.map_err(StoreError::unavailable)?;
    let claimed = claim(&mut connection, node, now).await;
    connection.close().await;
    let held = Held::none();
    for (shard,) in claimed? {
        if let Ok(shard) = u8::try_from(shard) {
            held.add(shard);
        }
    }
    Ok(held)
}

async fn claim(connection: &mut Connection, node: NodeId, now: Timestamp) -> Result<Vec<(i16,)>, Error> {
    let parameters = format!(r#"{{"id":"{}","at":{}}}"#, node.0.simple(), now.0);
    connection.begin().await?;
    for (sqlite, postgres) in [DECLARE_DEAD, INSERT_NODE, CLAIM] {
        connection.execute(connection.pick(sqlite, postgres), &parameters).await?;
    }
    let claimed = connection.rows(connection.pick(OWN.0, OWN.1), &parameters).await?;
    connection.commit().await?;
    Ok(claimed)
}

/// Dead is for ever: a node that was declared dead once stays so.
const DECLARE_DEAD: (&str, &str) = (
    "UPDATE nodes SET dead_at = ?1->>'at' WHERE dead_at IS NULL AND id <> unhex(?1->>'id')",
    "UPDATE nodes SET dead_at = ($1::json->>'at')::int8 WHERE dead_at IS NULL AND id <> ($1::json->>'id')::uuid",
);

const INSERT_NODE: (&str, &str) = (
    "INSERT INTO nodes (id, started_at) VALUES (unhex(?1->>'id'), ?1->>'at')",
    "INSERT INTO nodes (id, started_at) VALUES (($1::json->>'id')::uuid, ($1::json->>'at')::int8)",
);

const CLAIM: (&str, &str) = (
    "WITH RECURSIVE n(id) AS (SELECT 0 UNION ALL SELECT id + 1 FROM n WHERE id < 255)
     INSERT INTO shards (id, owner) SELECT n.id, unhex(?1->>'id') FROM n WHERE true
     ON CONFLICT (id) DO UPDATE SET owner = excluded.owner",
    "INSERT INTO shards (id, owner) SELECT n, ($1::json->>'id')::uuid FROM generate_series(0, 255) AS n
     ON CONFLICT (id) DO UPDATE SET owner = excluded.owner",
);

const OWN: (&str, &str) = (
    "SELECT id FROM shards WHERE owner = unhex(?1->>'id') ORDER BY id",
    "SELECT id FROM shards WHERE owner = ($1::json->>'id')::uuid ORDER BY id",
);

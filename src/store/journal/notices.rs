//! The lane of what is told to clients by webhook: deliveries that are made of the outbox, what came of each try, and what is kept no
//! longer. Deliveries and the mark up to which they were made are one commit: after a crash the outbox is read on from there, so that
//! none is lost and none made twice.

use serde::Serialize;
use serde_json::json;
use sqlx::Error;
use uuid::Uuid;

use super::{
    Scope,
    connection::{Connection, Dialect},
    lane::{Lane, Written},
    sql::{Columns, Rows, Type, insert, insert_values, update, update_values},
    transitions::write,
};
use crate::{
    domain::{event::EventId, id::EndpointId, time::Timestamp, webhook},
    store::{
        StoreError,
        map::{self, DeliveryChange},
        notices::{Made, Tried},
    },
};

/// The lane.
pub struct Notices;

/// What is handed in.
#[derive(Debug)]
pub enum Notice {
    /// Deliveries were made.
    Made {
        /// So far they were made before.
        from: EventId,
        /// So far they are made now.
        to: EventId,
        /// Their rows.
        rows: Vec<String>,
    },
    /// One was tried, or given up.
    Tried {
        /// The delivery.
        id: Uuid,
        /// Its changed columns.
        row: String,
        /// What it means for its endpoint.
        endpoint: Option<EndpointChange>,
    },
    /// Events are kept no longer.
    Gone {
        /// The last of them.
        last: EventId,
        /// When that happened of which it told.
        at: i64,
    },
}

/// What a try changes of an endpoint.
#[derive(Debug, Clone)]
pub enum EndpointChange {
    /// Since when it fails.
    Failing(String),
    /// It is disabled.
    Disabled(String),
}

#[derive(Serialize)]
struct Failing {
    id: Uuid,
    failing_since: Option<i64>,
}

#[derive(Serialize)]
struct Disabled<'a> {
    id: Uuid,
    disabled_at: i64,
    disabled_reason: &'a str,
}

impl EndpointChange {
    fn of(id: EndpointId, verdict: &webhook::Verdict, now: Timestamp) -> Result<Option<Self>, StoreError> {
        Ok(match verdict {
            webhook::Verdict::Same => None,
            webhook::Verdict::FailingSince(since) => {
                Some(Self::Failing(map::json(&Failing { id: id.0, failing_since: since.map(|at| at.0) })?))
            }
            webhook::Verdict::Disabled(reason) => {
                Some(Self::Disabled(map::json(&Disabled { id: id.0, disabled_at: now.0, disabled_reason: reason })?))
            }
        })
    }
}

impl Notice {
    /// Deliveries as rows.
    pub fn made(made: &Made) -> Result<Self, StoreError> {
        let rows = made.deliveries.iter().map(|delivery| map::json(&map::delivery_model(delivery)));
        Ok(Self::Made { from: made.from, to: made.to, rows: rows.collect::<Result<_, _>>()? })
    }

    /// A try as rows.
    pub fn tried(tried: &Tried) -> Result<Self, StoreError> {
        let change: DeliveryChange = map::delivery_change(&tried.delivery);
        let endpoint = match &tried.endpoint {
            Some((id, verdict)) => EndpointChange::of(*id, verdict, tried.at)?,
            None => None,
        };
        Ok(Self::Tried { id: tried.delivery.id.0, row: map::json(&change)?, endpoint })
    }
}

impl Lane for Notices {
    type Entry = Notice;
    /// Whether it was written; of deliveries that were made from another place than the mark's, nothing is.
    type Answer = bool;

    const NAME: &'static str = "notices";
    const MARK: i16 = 6;

    fn key(entry: &Notice) -> Option<Uuid> {
        match entry {
            Notice::Made { .. } | Notice::Gone { .. } => Some(Uuid::nil()),
            Notice::Tried { id, .. } => Some(*id),
        }
    }

    async fn write(connection: &mut Connection, _scope: &Scope, entries: &[&Notice]) -> Result<Written<bool>, Error> {
        let mut written = Written { answers: Vec::new(), rows: 0 };
        let (mut tried, mut failing, mut disabled) = (Vec::new(), Vec::new(), Vec::new());
        for entry in entries {
            let (answer, rows) = match entry {
                Notice::Made { from, to, rows } => made(connection, (*from, *to), rows).await?,
                Notice::Gone { last, at } => gone(connection, *last, *at),
                Notice::Tried { row, endpoint, .. } => {
                    tried.push(row.as_str());
                    match endpoint {
                        Some(EndpointChange::Failing(row)) => failing.push(row.as_str()),
                        Some(EndpointChange::Disabled(row)) => disabled.push(row.as_str()),
                        None => {}
                    }
                    (true, 1)
                }
            };
            written.answers.push(answer);
            written.rows += rows;
        }
        // Rows of what was deleted meanwhile are not there.
        for (sql, rows) in [(&UPDATE_DELIVERIES, tried), (&UPDATE_FAILING, failing), (&UPDATE_DISABLED, disabled)] {
            if !rows.is_empty() {
                connection.flush().await?;
                connection.write_rows(sql, &rows, false);
            }
        }
        Ok(written)
    }
}

async fn made(connection: &mut Connection, (from, to): (EventId, EventId), rows: &[String]) -> Result<(bool, usize), Error> {
    let mark: Vec<(i64, i64)> = connection.rows(connection.pick(LOCK_MARK.0, LOCK_MARK.1), "read").await?;
    if mark.first() != Some(&(from.txid, from.seq)) {
        return Ok((false, 0));
    }
    move_mark(connection, "read", to, 0);
    write(connection, &INSERT_DELIVERIES, rows);
    Ok((true, rows.len() + 1))
}

fn gone(connection: &mut Connection, last: EventId, at: i64) -> (bool, usize) {
    move_mark(connection, "gone", last, at);
    let last = json!({"txid": last.txid.to_string(), "seq": last.seq}).to_string();
    connection.write_some(connection.pick(DELETE_EVENTS.0, DELETE_EVENTS.1), last);
    (true, 1)
}

fn move_mark(connection: &mut Connection, name: &str, to: EventId, at: i64) {
    let mark = json!({"name": name, "txid": to.txid, "seq": to.seq, "at": at}).to_string();
    connection.write(connection.pick(MOVE_MARK.0, MOVE_MARK.1), mark, 1);
}

/// The parameter is the mark's name.
const LOCK_MARK: (&str, &str) =
    ("SELECT txid, seq FROM outbox_marks WHERE name = ?1", "SELECT txid, seq FROM outbox_marks WHERE name = $1 FOR UPDATE");

const MOVE_MARK: (&str, &str) = (
    "UPDATE outbox_marks SET txid = mark->>'txid', seq = mark->>'seq', at = mark->>'at'
     FROM (SELECT ?1 AS mark) WHERE name = mark->>'name'",
    "UPDATE outbox_marks SET txid = ($1::json->>'txid')::int8, seq = ($1::json->>'seq')::int8, at = ($1::json->>'at')::int8
     WHERE name = $1::json->>'name'",
);

const DELETE_EVENTS: (&str, &str) = (
    "DELETE FROM events WHERE id <= ?1->>'seq'",
    "DELETE FROM events WHERE (txid, id) <= (($1::json->>'txid')::xid8, ($1::json->>'seq')::int8)",
);

const DELIVERY: Columns = &[
    ("id", Type::Id),
    ("project_id", Type::Id),
    ("target", Type::Id),
    ("endpoint_id", Type::Id),
    ("url", Type::Text),
    ("txid", Type::Big),
    ("seq", Type::Big),
    ("kind", Type::Text),
    ("generation_id", Type::Id),
    ("batch_id", Type::Id),
    ("event_at", Type::Big),
    ("version", Type::Int),
    ("state", Type::Small),
    ("tries", Type::Int),
    ("next_at", Type::Big),
    ("created_at", Type::Big),
];

const DELIVERY_CHANGE: Columns = &[
    ("id", Type::Id),
    ("state", Type::Small),
    ("tries", Type::Int),
    ("next_at", Type::Big),
    ("tried_at", Type::Big),
    ("ended_at", Type::Big),
    ("status", Type::Int),
    ("error", Type::Text),
    ("answer", Type::Text),
];

const FAILING: Columns = &[("id", Type::Id), ("failing_since", Type::Big)];
const DISABLED: Columns = &[("id", Type::Id), ("disabled_at", Type::Big), ("disabled_reason", Type::Text)];

static INSERT_DELIVERIES: Rows = Rows::new(
    DELIVERY,
    |rows| insert_values("webhook_deliveries", DELIVERY, "", rows),
    || insert(Dialect::Postgres, "webhook_deliveries", DELIVERY, ""),
);
static UPDATE_DELIVERIES: Rows = Rows::new(
    DELIVERY_CHANGE,
    |rows| update_values("webhook_deliveries", DELIVERY_CHANGE, rows),
    || update("webhook_deliveries", DELIVERY_CHANGE),
);
static UPDATE_FAILING: Rows =
    Rows::new(FAILING, |rows| update_values("webhook_endpoints", FAILING, rows), || update("webhook_endpoints", FAILING));
static UPDATE_DISABLED: Rows =
    Rows::new(DISABLED, |rows| update_values("webhook_endpoints", DISABLED, rows), || update("webhook_endpoints", DISABLED));

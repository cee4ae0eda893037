//! The books: ledger rows of the winners, and the sums of each day. Many entries of a batch count for the same sum, so their
//! differences are added up first and each sum is written once.

use std::collections::BTreeMap;

use sqlx::Error;

use super::{
    connection::{Connection, Dialect},
    sql::{Columns, Rows, Type, insert, insert_values},
    transitions,
};
use crate::{
    domain::{
        effects::{Booking, LedgerEntry, Position, SpendKey},
        id::GenerationId,
    },
    store::{StoreError, map, shards::Held},
};

/// What an entry writes into the books, ready to write.
#[derive(Debug, Clone)]
pub struct Booked {
    /// Rows of the ledger.
    pub rows: Vec<String>,
    /// What they add to which sum; none when there are no rows.
    pub sum: Option<(SpendKey, Sum)>,
}

impl Booked {
    /// Nothing.
    pub const NOTHING: Self = Self { rows: Vec::new(), sum: None };

    /// Turns a booking into rows.
    pub fn of(generation: GenerationId, booking: Option<&Booking>) -> Result<Self, StoreError> {
        let Some(booking) = booking else { return Ok(Self::NOTHING) };
        let rows = booking.entries.iter().map(|entry| map::json(&ledger_row(generation, entry))).collect::<Result<_, _>>()?;
        let sum = booking.entries.iter().fold(Sum::default(), |sum, entry| sum.plus(Sum::of(entry.delta)));
        Ok(Self { rows, sum: Some((booking.key.clone(), sum)) })
    }
}

fn ledger_row(generation: GenerationId, entry: &LedgerEntry) -> entities::ledger::Model {
    entities::ledger::Model {
        generation_id: generation.0,
        attempt: i32::from(entry.attempt),
        kind: entry.kind.number(),
        seq: entry.seq,
        held: entry.delta.held.0,
        charged: entry.delta.charged.0,
        at_risk: entry.delta.at_risk.0,
        at: entry.at.0,
    }
}

/// What is added to a day's sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sum {
    position: Position,
    /// Given back.
    released: i64,
}

impl Sum {
    fn of(delta: Position) -> Self {
        Self { position: delta, released: delta.released().0 }
    }

    fn plus(self, other: Self) -> Self {
        Self { position: self.position.plus(other.position), released: self.released.saturating_add(other.released) }
    }
}

/// Which lane writes. Each adds to sums of its own, so that no lane and no node waits for another's commit; readers add them up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writing {
    /// Holds at the accept.
    Births,
    /// Everything after it.
    Transitions,
}

impl Writing {
    /// The part of a sum that this lane of this node adds to: named after the lowest shard it holds, which no other node holds.
    /// (A part per shard would be as free of waits, and turn each batch of 64 entries into 64 sums instead of one.)
    pub fn stripe(self, held: &Held) -> i16 {
        let lowest = held.lowest().map_or(256, i16::from);
        match self {
            Self::Transitions => lowest,
            Self::Births => 257 + lowest,
        }
    }
}

/// Writes what the winners booked; nothing when they booked nothing.
pub fn write(connection: &mut Connection, winners: &[&Booked], stripe: i16) -> Result<(), Error> {
    write_rows(connection, winners);
    let mut sums: BTreeMap<&SpendKey, Sum> = BTreeMap::new();
    for (key, sum) in winners.iter().filter(|booked| !booked.rows.is_empty()).filter_map(|booked| booked.sum.as_ref()) {
        let known = sums.entry(key).or_default();
        *known = known.plus(*sum);
    }
    add(connection, sums, stripe)
}

/// Writes their rows alone: a load's sums come with the commit that makes it visible.
pub fn write_rows(connection: &mut Connection, winners: &[&Booked]) {
    let rows: Vec<&str> = winners.iter().flat_map(|booked| &booked.rows).map(String::as_str).collect();
    transitions::write(connection, &INSERT_LEDGER, &rows);
}

/// Adds what a load holds to the sums.
pub fn write_sums(connection: &mut Connection, held: &BTreeMap<SpendKey, Position>, stripe: i16) -> Result<(), Error> {
    let held = held.iter().filter(|(_, position)| **position != Position::ZERO);
    add(connection, held.map(|(key, position)| (key, Sum::of(*position))).collect(), stripe)
}

/// One row a sum, sorted by its key: two writers that do meet never wait for each other in a circle.
fn add(connection: &mut Connection, sums: BTreeMap<&SpendKey, Sum>, stripe: i16) -> Result<(), Error> {
    let rows = sums.into_iter().map(|(key, sum)| sum_row(key, sum, stripe));
    let rows = rows.map(|row| serde_json::to_string(&row).map_err(|error| Error::Encode(Box::new(error))));
    transitions::write(connection, &ADD_SPEND, &rows.collect::<Result<Vec<_>, _>>()?);
    Ok(())
}

fn sum_row(key: &SpendKey, sum: Sum, stripe: i16) -> entities::spend_days::Model {
    entities::spend_days::Model {
        day: key.day,
        project_id: key.project.0,
        key_id: key.key.0,
        provider: map::text(&key.provider),
        model: map::text(&key.model),
        stripe,
        held: sum.position.held.0,
        charged: sum.position.charged.0,
        at_risk: sum.position.at_risk.0,
        released: sum.released,
    }
}

const LEDGER: Columns = &[
    ("generation_id", Type::Id),
    ("attempt", Type::Int),
    ("kind", Type::Small),
    ("seq", Type::Int),
    ("held", Type::Big),
    ("charged", Type::Big),
    ("at_risk", Type::Big),
    ("at", Type::Big),
];

const SPEND: Columns = &[
    ("day", Type::Int),
    ("project_id", Type::Id),
    ("key_id", Type::Id),
    ("provider", Type::Text),
    ("model", Type::Text),
    ("stripe", Type::Small),
    ("held", Type::Big),
    ("charged", Type::Big),
    ("at_risk", Type::Big),
    ("released", Type::Big),
];

const ADD: &str = "ON CONFLICT (day, project_id, key_id, provider, model, stripe) DO UPDATE SET
    held = spend_days.held + excluded.held, charged = spend_days.charged + excluded.charged,
    at_risk = spend_days.at_risk + excluded.at_risk, released = spend_days.released + excluded.released";

static INSERT_LEDGER: Rows =
    Rows::new(LEDGER, |rows| insert_values("ledger", LEDGER, "", rows), || insert(Dialect::Postgres, "ledger", LEDGER, ""));
static ADD_SPEND: Rows = Rows::new(
    SPEND,
    |rows| insert_values("spend_days", SPEND, ADD, rows),
    || insert(Dialect::Postgres, "spend_days", SPEND, ADD),
);

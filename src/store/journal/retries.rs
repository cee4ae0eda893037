//! Retries within the lane of births: they promise money as births do, and they change a batch as its owner's transitions do, under
//! the fence and with the same order of locks. All of a step is written, or nothing.

use serde_json::json;
use sqlx::Error;
use uuid::Uuid;

use super::{
    Scope,
    batches::write_batches,
    books::{self, Booked, Writing},
    connection::Connection,
    rows::{dependency, generation_event},
    sql::{Columns, Rows, Sql, Type, array, update, update_values},
    tables::{INSERT_ASSETS, INSERT_DEPENDENCIES, INSERT_EVENTS, INSERT_GENERATIONS},
    transitions::{Named, lock, write},
};
use crate::{
    domain::{
        batch::{Batch, Category, RetryWish},
        effects::{self, Booking},
        id::GenerationId,
        limits::Promise,
        money::Micros,
        record::Generation,
        time::Timestamp,
    },
    store::{
        StoreError, map,
        retries::{RetriedLine, Retry},
        watch::Ring,
    },
};

/// Lines to retry, ready to write.
#[derive(Debug)]
pub struct Retried {
    batch: Uuid,
    shard: u8,
    wish: RetryWish,
    at: Timestamp,
    /// What all lines hold together, to be judged by the limits.
    pub promise: Promise,
    lines: Vec<Line>,
}

#[derive(Debug)]
struct Line {
    old: (Uuid, i32),
    new: Uuid,
    from: Category,
    to: Category,
    replaced: String,
    row: String,
    payload: String,
    dependencies: Vec<String>,
    assets: Vec<String>,
    booked: Booked,
    /// Told when it is born ended.
    event: Option<String>,
}

impl Retried {
    /// Turns a retry into rows.
    pub fn of(retry: &Retry) -> Result<Self, StoreError> {
        let batch = &retry.batch;
        let held = |line: &RetriedLine| effects::of_generation(&line.new).total();
        let amount = retry.lines.iter().map(held).fold(Micros(0), Micros::plus);
        let promise = Promise { day: retry.at.day(), project: batch.project, key: retry.wish.key, amount, limits: retry.limits };
        let lines = retry.lines.iter().map(|line| Line::of(line, batch)).collect::<Result<_, _>>()?;
        Ok(Self { batch: batch.id.0, shard: batch.shard, wish: retry.wish, at: retry.at, promise, lines })
    }

    /// Tells of what was, or may have been, committed: to the memory, to who waits for the batch, to the reader of the outbox.
    pub fn committed(&self, scope: &Scope) {
        self.lines.iter().for_each(|line| scope.recent.forget(GenerationId(line.old.0)));
        // Late results may have ended it once more.
        scope.watch.ring(self.batch, Ring::Ended);
        scope.watch.wrote();
    }

    /// Rows written; none: something moved meanwhile.
    pub async fn write(&self, connection: &mut Connection, scope: &Scope) -> Result<Option<usize>, Error> {
        let named = Named {
            batches: vec![self.batch],
            generations: self.lines.iter().map(|line| line.old.0).collect(),
            ..Named::default()
        };
        let present = lock(connection, scope, &named).await?;
        let same = |line: &Line| present.generations.get(&line.old.0).is_some_and(|now| now.version == line.old.1);
        let batch = present.batches.get(self.batch).filter(|batch| batch.visible_at.is_some());
        let Some(mut batch) = batch.filter(|batch| batch.retry == Some(self.wish) && batch.cancel.is_none()).cloned() else {
            return Ok(None);
        };
        if !present.alive || !scope.held.has(self.shard) || !self.lines.iter().all(same) {
            return Ok(None);
        }
        self.replace(connection, &mut batch).await?;
        let booked: Vec<_> = self.lines.iter().map(|line| &line.booked).collect();
        books::write(connection, &booked, Writing::Births.stripe(&scope.held))?;
        Ok(Some(self.lines.len() * 2 + 1))
    }

    async fn replace(&self, connection: &mut Connection, batch: &mut Batch) -> Result<(), Error> {
        let rows = |of: fn(&Line) -> &[String]| -> Vec<&str> { self.lines.iter().flat_map(of).map(String::as_str).collect() };
        write(connection, &REPLACE, &rows(|line| std::slice::from_ref(&line.replaced)));
        // A line has one newest generation: the old ones must be out of the index before the new ones come in.
        connection.flush().await?;
        write(connection, &INSERT_GENERATIONS, &rows(|line| std::slice::from_ref(&line.row)));
        let copied = array(&rows(|line| std::slice::from_ref(&line.payload)));
        connection.write(COPY_PAYLOADS.text(connection), copied.clone(), self.lines.len());
        // Of those lines that named one.
        connection.write_some(connection.pick(COPY_WEBHOOKS.0, COPY_WEBHOOKS.1), copied);
        write(connection, &INSERT_DEPENDENCIES, &rows(|line| &line.dependencies));
        write(connection, &INSERT_ASSETS, &rows(|line| &line.assets));
        let ends: Vec<String> = self.lines.iter().filter_map(|line| ended(line, batch)).collect();
        if !ends.is_empty() {
            connection.flush().await?;
            write(connection, &NUMBER_ENDS, &ends);
        }
        batch.retried(self.at);
        let events: Vec<&str> = self.lines.iter().filter_map(|line| line.event.as_deref()).collect();
        write(connection, &INSERT_EVENTS, &events);
        write_batches(connection, std::iter::once(&*batch))
    }
}

/// Takes a line's change in; the number of its end, where the new one is born ended.
fn ended(line: &Line, batch: &mut Batch) -> Option<String> {
    let end = batch.replace(line.from, line.to)?;
    Some(json!({"id": line.new, "batch_seq": end}).to_string())
}

impl Line {
    fn of(line: &RetriedLine, batch: &Batch) -> Result<Self, StoreError> {
        let RetriedLine { old, new, assets, depends_on } = line;
        let here = |row: &Generation| row.batch.as_ref().is_some_and(|place| place.id == batch.id);
        if !here(old) || new.batch != old.batch || new.shard != batch.shard || new.retry_of != Some(old.id) {
            return Err(StoreError::Unstorable { what: format!("{} is no retry of a line of {}", new.id, batch.id) });
        }
        let hold = Booking::of(new, effects::birth(new).into_iter().collect());
        let completed = new.state().terminal().then(|| generation_event(new, "generation.completed"));
        Ok(Self {
            old: (old.id.0, old.version),
            new: new.id.0,
            from: Category::of(old),
            to: Category::of(new),
            replaced: map::json(&json!({"id": old.id.0, "replaced_by": new.id.0}))?,
            row: map::json(&map::generation_model(new)?)?,
            payload: map::json(&json!({"old_id": old.id.0, "new_id": new.id.0}))?,
            dependencies: depends_on.iter().map(|on| dependency(new, *on)).collect::<Result<_, _>>()?,
            assets: assets.iter().map(|row| map::json(&map::asset_model(row)?)).collect::<Result<_, _>>()?,
            booked: Booked::of(new.id, hold.as_ref())?,
            event: completed.transpose()?,
        })
    }
}

const REPLACED: Columns = &[("id", Type::Id), ("replaced_by", Type::Id)];
const NUMBERED: Columns = &[("id", Type::Id), ("batch_seq", Type::Int)];

static REPLACE: Rows =
    Rows::new(REPLACED, |rows| update_values("generations", REPLACED, rows), || update("generations", REPLACED));

/// The version moves with it: nobody has seen the row before.
static NUMBER_ENDS: Rows =
    Rows::new(NUMBERED, |rows| update_values("generations", NUMBERED, rows), || update("generations", NUMBERED));

/// The same request: it need not leave the database.
static COPY_PAYLOADS: Sql = Sql::new(
    || {
        "INSERT INTO generation_payloads (generation_id, request) SELECT unhex(j.value->>'new_id', '-'), p.request
         FROM json_each(?1) AS j CROSS JOIN generation_payloads p ON p.generation_id = unhex(j.value->>'old_id', '-')"
            .to_owned()
    },
    || {
        "INSERT INTO generation_payloads (generation_id, request) SELECT j.new_id, p.request
         FROM json_to_recordset($1::json) AS j (old_id uuid, new_id uuid) JOIN generation_payloads p ON p.generation_id = j.old_id"
            .to_owned()
    },
);

/// The client that wanted to be told of the old one is told of the new one.
const COPY_WEBHOOKS: (&str, &str) = (
    "INSERT INTO generation_webhooks (generation_id, url) SELECT unhex(j.value->>'new_id', '-'), w.url
     FROM json_each(?1) AS j CROSS JOIN generation_webhooks w ON w.generation_id = unhex(j.value->>'old_id', '-')",
    "INSERT INTO generation_webhooks (generation_id, url) SELECT j.new_id, w.url
     FROM json_to_recordset($1::json) AS j (old_id uuid, new_id uuid) JOIN generation_webhooks w ON w.generation_id = j.old_id",
);

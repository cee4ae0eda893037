//! SQLite's connection with a queue before it. The database runs on a thread of its own, and a trip there and back costs more
//! than most statements do; so statements whose answer nobody needs at once wait here and go together, in order.

use std::borrow::Cow;

use futures_util::TryStreamExt as _;
use sqlx::{
    AssertSqlSafe, Either, Error, Executor as _, FromRow,
    sqlite::{SqliteConnection, SqliteRow},
};

use super::{
    cells::{Cell, cells},
    sql::Rows,
};

/// The connection.
#[derive(Debug)]
pub struct Pipeline {
    connection: SqliteConnection,
    waiting: Vec<Statement>,
    /// What could not even be made a statement of.
    broken: Option<Error>,
}

#[derive(Debug)]
struct Statement {
    sql: &'static str,
    values: Vec<Cell>,
    /// How many rows it must change; none where that is not asked.
    rows: Option<usize>,
    /// One that takes several rows goes by itself: the text of a trip is prepared once, and few different ones may exist.
    alone: bool,
}

impl Pipeline {
    /// Nothing waits yet.
    pub const fn new(connection: SqliteConnection) -> Self {
        Self { connection, waiting: Vec::new(), broken: None }
    }

    /// The connection itself; nothing may be waiting.
    pub const fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }

    /// The connection, to close it.
    pub fn into_connection(self) -> SqliteConnection {
        self.connection
    }

    /// Lets a statement without parameter wait.
    pub fn later(&mut self, sql: &'static str) {
        self.waiting.push(Statement { sql, values: Vec::new(), rows: None, alone: false });
    }

    /// Lets a statement wait that must change so many rows; none: however many. Its parameter `?1` must occur once.
    pub fn write(&mut self, sql: &'static str, parameter: String, rows: Option<usize>) {
        self.waiting.push(Statement { sql, values: vec![Cell::Text(parameter)], rows, alone: false });
    }

    /// Lets rows wait to be written, each of which must be there, where `all` says so.
    pub fn write_rows<T: AsRef<str>>(&mut self, sql: &'static Rows, mut rows: &[T], all: bool) {
        while !rows.is_empty() {
            let (text, size) = sql.for_some_of(rows.len());
            let (some, more) = rows.split_at(size.min(rows.len()));
            match some.iter().map(|row| cells(sql.columns(), row.as_ref())).collect::<Result<Vec<_>, _>>() {
                Ok(values) => {
                    let mut values: Vec<_> = values.into_iter().flatten().collect();
                    values.resize(size * sql.columns().len(), Cell::Null);
                    self.waiting.push(Statement { sql: text, values, rows: all.then_some(some.len()), alone: size > 1 });
                }
                Err(error) => self.broken = Some(error),
            }
            rows = more;
        }
    }

    /// Forgets what waits.
    pub fn forget(&mut self) {
        self.waiting.clear();
        self.broken = None;
    }

    /// Runs what waits, then this; answers how many rows it changed.
    pub async fn execute(&mut self, sql: &'static str, parameter: &str) -> Result<u64, Error> {
        self.write(sql, parameter.to_owned(), None);
        Ok(self.run().await?.0)
    }

    /// Runs what waits, then these, whose rows are alike; answers all of theirs.
    pub async fn rows<T: for<'r> FromRow<'r, SqliteRow>>(&mut self, queries: &[(&'static str, &str)]) -> Result<Vec<T>, Error> {
        for (sql, parameter) in queries {
            self.write(sql, (*parameter).to_owned(), None);
        }
        self.run().await?.1.iter().map(T::from_row).collect()
    }

    /// Runs what waits; answers what the last one changed, and all rows. After an error nothing waits any more.
    pub async fn run(&mut self) -> Result<(u64, Vec<SqliteRow>), Error> {
        let mut waiting = std::mem::take(&mut self.waiting).into_iter().peekable();
        if let Some(error) = self.broken.take() {
            return Err(error);
        }
        let (mut changed, mut rows) = (0, Vec::new());
        while let Some(first) = waiting.next() {
            let mut together = vec![first];
            while let Some(next) = waiting.next_if(|next| !next.alone && together.iter().all(|one| !one.alone)) {
                together.push(next);
            }
            changed = self.trip(together, &mut rows).await?;
        }
        Ok((changed, rows))
    }

    /// Runs these as one; answers what the last one changed.
    async fn trip(&mut self, statements: Vec<Statement>, rows: &mut Vec<SqliteRow>) -> Result<u64, Error> {
        let values = statements.iter().map(|statement| statement.values.len()).sum();
        let (mut text, mut expected) = (String::new(), Vec::with_capacity(statements.len()));
        for statement in &statements {
            if !text.is_empty() {
                text.push_str(";\n");
            }
            text.push_str(&bare(statement, values)?);
            expected.push(statement.rows);
        }
        let values = statements.into_iter().flat_map(|statement| statement.values);
        let query = values.fold(sqlx::query(AssertSqlSafe(text)), |query, value| value.bind(query));
        let (mut expected, mut changed) = (expected.into_iter(), 0);
        let mut answers = (&mut self.connection).fetch_many(query);
        while let Some(answer) = answers.try_next().await? {
            match answer {
                Either::Right(row) => rows.push(row),
                Either::Left(done) => {
                    changed = done.rows_affected();
                    match expected.next().flatten() {
                        Some(rows) if usize::try_from(changed) != Ok(rows) => return Err(short(changed, rows)),
                        Some(_) | None => {}
                    }
                }
            }
        }
        // Its thread may end without a word: what it did not answer it did not do, a COMMIT least of all.
        if expected.next().is_some() {
            return Err(Error::WorkerCrashed);
        }
        Ok(changed)
    }
}

/// The statement's text among so many values. Counted parameters would be counted over all statements; a bare one takes the next.
fn bare(statement: &Statement, values: usize) -> Result<Cow<'static, str>, Error> {
    if values < 2 || !statement.sql.contains("?1") {
        return Ok(Cow::Borrowed(statement.sql));
    }
    match statement.sql.matches("?1").count() {
        1 => Ok(Cow::Owned(statement.sql.replacen("?1", "?", 1))),
        _ => Err(Error::Encode(format!("its parameter must occur once: {}", statement.sql).into())),
    }
}

/// Every row must arrive: fewer would be a lost write.
pub fn short(changed: u64, rows: usize) -> Error {
    Error::Encode(format!("{changed} of {rows} rows were written").into())
}

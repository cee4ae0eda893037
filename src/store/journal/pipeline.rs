//! SQLite's connection with a queue before it. The database runs on a thread of its own, and a trip there and back costs more
//! than most statements do; so statements whose answer nobody needs at once wait here and go together, in order.

use std::borrow::Cow;

use futures_util::TryStreamExt as _;
use sqlx::{
    AssertSqlSafe, Either, Error, Executor as _, FromRow,
    sqlite::{SqliteConnection, SqliteRow},
};

/// The connection.
#[derive(Debug)]
pub struct Pipeline {
    connection: SqliteConnection,
    waiting: Vec<Statement>,
}

#[derive(Debug)]
struct Statement {
    sql: &'static str,
    parameter: Option<String>,
    /// How many rows it must change; none where that is not asked.
    rows: Option<usize>,
}

impl Pipeline {
    /// Nothing waits yet.
    pub const fn new(connection: SqliteConnection) -> Self {
        Self { connection, waiting: Vec::new() }
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
        self.waiting.push(Statement { sql, parameter: None, rows: None });
    }

    /// Lets a statement wait that must change so many rows; none: however many. Its parameter `?1` must occur once.
    pub fn write(&mut self, sql: &'static str, parameter: String, rows: Option<usize>) {
        self.waiting.push(Statement { sql, parameter: Some(parameter), rows });
    }

    /// Forgets what waits.
    pub fn forget(&mut self) {
        self.waiting.clear();
    }

    /// Runs what waits, then this; answers how many rows it changed.
    pub async fn execute(&mut self, sql: &'static str, parameter: &str) -> Result<u64, Error> {
        self.waiting.push(Statement { sql, parameter: Some(parameter.to_owned()), rows: None });
        Ok(self.run().await?.0)
    }

    /// Runs what waits, then these, whose rows are alike; answers all of theirs.
    pub async fn rows<T: for<'r> FromRow<'r, SqliteRow>>(&mut self, queries: &[(&'static str, &str)]) -> Result<Vec<T>, Error> {
        for (sql, parameter) in queries {
            self.waiting.push(Statement { sql, parameter: Some((*parameter).to_owned()), rows: None });
        }
        self.run().await?.1.iter().map(T::from_row).collect()
    }

    /// Runs what waits; answers what the last one changed, and all rows.
    pub async fn run(&mut self) -> Result<(u64, Vec<SqliteRow>), Error> {
        let statements = std::mem::take(&mut self.waiting);
        let values = statements.iter().filter(|statement| statement.parameter.is_some()).count();
        let (mut text, mut expected) = (String::new(), Vec::with_capacity(statements.len()));
        for statement in &statements {
            if !text.is_empty() {
                text.push_str(";\n");
            }
            text.push_str(&bare(statement, values)?);
            expected.push(statement.rows);
        }
        if expected.is_empty() {
            return Ok((0, Vec::new()));
        }
        let values = statements.into_iter().filter_map(|statement| statement.parameter);
        let query = values.fold(sqlx::query(AssertSqlSafe(text)), |query, value| query.bind(value));
        let (mut expected, mut changed, mut rows) = (expected.into_iter(), 0, Vec::new());
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
        Ok((changed, rows))
    }
}

/// The statement's text among so many parameters. Counted ones would be counted over all statements; a bare one takes the next.
fn bare(statement: &Statement, values: usize) -> Result<Cow<'static, str>, Error> {
    if values < 2 || statement.parameter.is_none() {
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

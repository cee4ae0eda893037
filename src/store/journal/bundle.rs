//! PostgreSQL's session with a queue before it: each statement is a trip to the server, so those whose answer nobody needs at once
//! wait here and go as one, each a part of a WITH. The parts see one snapshot and not each other's rows: they write different
//! tables, or different rows.

use std::fmt::Write as _;

use sqlx::{
    AssertSqlSafe, Error, FromRow, Row as _,
    postgres::{PgConnection, PgRow},
};

use super::pipeline::short;

/// The session.
#[derive(Debug)]
pub struct Bundle {
    session: PgConnection,
    waiting: Vec<Statement>,
}

#[derive(Debug)]
struct Statement {
    sql: &'static str,
    parameter: String,
    rows: Option<usize>,
}

impl Bundle {
    /// Nothing waits yet.
    pub const fn new(session: PgConnection) -> Self {
        Self { session, waiting: Vec::new() }
    }

    /// The session itself; nothing may be waiting.
    pub const fn session(&mut self) -> &mut PgConnection {
        &mut self.session
    }

    /// The session, to close it.
    pub fn into_session(self) -> PgConnection {
        self.session
    }

    /// Lets a statement without RETURNING wait that must change so many rows; none: however many.
    pub fn write(&mut self, sql: &'static str, parameter: String, rows: Option<usize>) {
        self.waiting.push(Statement { sql, parameter, rows });
    }

    /// Forgets what waits.
    pub fn forget(&mut self) {
        self.waiting.clear();
    }

    /// Runs what waits, then this; answers how many rows it changed.
    pub async fn execute(&mut self, sql: &'static str, parameter: &str) -> Result<u64, Error> {
        self.run().await?;
        sqlx::query(sql).bind(parameter).execute(&mut self.session).await.map(|done| done.rows_affected())
    }

    /// Runs what waits, then these, in their order, whose rows are alike; answers all of theirs.
    pub async fn rows<T: for<'r> FromRow<'r, PgRow> + Send + Unpin>(
        &mut self,
        queries: &[(&'static str, &str)],
    ) -> Result<Vec<T>, Error> {
        self.run().await?;
        if let [(sql, parameter)] = queries {
            return sqlx::query_as(*sql).bind(*parameter).fetch_all(&mut self.session).await;
        }
        // Locks are taken in the order in which an Append asks its children, which is that of the text.
        let all = (1..=queries.len()).map(|n| format!("SELECT * FROM q{n}")).collect::<Vec<_>>().join(" UNION ALL ");
        let text = with(queries.iter().map(|(sql, _)| *sql), ("q", " AS MATERIALIZED (", ")"), &all);
        let query = sqlx::query_as(AssertSqlSafe(text));
        queries.iter().fold(query, |query, (_, parameter)| query.bind(*parameter)).fetch_all(&mut self.session).await
    }

    /// Runs what waits.
    pub async fn run(&mut self) -> Result<(), Error> {
        let statements = std::mem::take(&mut self.waiting);
        if statements.is_empty() {
            return Ok(());
        }
        let counts = (1..=statements.len()).map(|n| format!("(SELECT count(*) FROM w{n})")).collect::<Vec<_>>().join(", ");
        let text = with(statements.iter().map(|one| one.sql), ("w", " AS (", " RETURNING 1)"), &format!("SELECT {counts}"));
        let query = sqlx::query(AssertSqlSafe(text));
        let query = statements.iter().fold(query, |query, one| query.bind(&*one.parameter));
        let counted = query.fetch_one(&mut self.session).await?;
        for (n, one) in statements.iter().enumerate() {
            let changed = u64::try_from(counted.try_get::<i64, _>(n)?).unwrap_or(0);
            match one.rows {
                Some(rows) if usize::try_from(changed) != Ok(rows) => return Err(short(changed, rows)),
                Some(_) | None => {}
            }
        }
        Ok(())
    }
}

/// `WITH name1 … , name2 … rest`, each statement with a parameter of its own.
fn with(statements: impl Iterator<Item = &'static str>, (name, open, close): (&str, &str, &str), rest: &str) -> String {
    let mut text = String::from("WITH ");
    for (n, sql) in (1..).zip(statements) {
        let comma = if n == 1 { "" } else { ",\n" };
        let _infallible = write!(text, "{comma}{name}{n}{open}{}{close}", sql.replace("$1", &format!("${n}")));
    }
    text.push('\n');
    text.push_str(rest);
    text
}

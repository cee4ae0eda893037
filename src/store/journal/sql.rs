//! Multi-row statements from column lists, one text a table and database for the life of the process. The only parameter is a
//! JSON array of objects whose fields are named as the columns.

use std::{fmt::Write as _, sync::LazyLock};

use super::connection::{Connection, Dialect};

/// The type of a column.
#[derive(Debug, Clone, Copy)]
pub enum Type {
    /// 16 bytes; hex in JSON.
    Id,
    /// Two bytes.
    Small,
    /// Four bytes.
    Int,
    /// Eight bytes.
    Big,
    /// Text.
    Text,
    /// Boolean.
    Flag,
}

/// Columns of a table, as far as a statement writes them.
pub type Columns = &'static [(&'static str, Type)];

/// One statement for both databases.
pub struct Sql {
    sqlite: LazyLock<String, fn() -> String>,
    postgres: LazyLock<String, fn() -> String>,
}

impl Sql {
    /// A statement from one text builder a database.
    pub const fn new(sqlite: fn() -> String, postgres: fn() -> String) -> Self {
        Self { sqlite: LazyLock::new(sqlite), postgres: LazyLock::new(postgres) }
    }

    /// The text for this connection.
    pub fn text(&'static self, connection: &Connection) -> &'static str {
        match connection.dialect() {
            Dialect::Sqlite => &self.sqlite,
            Dialect::Postgres => &self.postgres,
        }
    }
}

/// `INSERT INTO table (…) SELECT … FROM parameter`, with `tail` behind it.
pub fn insert(dialect: Dialect, table: &str, columns: Columns, tail: &str) -> String {
    let names = names(columns, "");
    match dialect {
        // jsonb_each (SQLite 3.51): with json_each every `->>` of every column would parse the row's text again.
        // Without a WHERE, `ON CONFLICT` would be read as the `ON` of a join (sqlite.org/lang_upsert.html, "Parsing Ambiguity").
        Dialect::Sqlite => {
            format!("INSERT INTO {table} ({names}) SELECT {} FROM jsonb_each(?1) WHERE true {tail}", extracts(columns))
        }
        Dialect::Postgres => format!(
            "INSERT INTO {table} ({names}) SELECT {names} FROM json_to_recordset($1::json) AS j ({}) {tail}",
            definitions(columns)
        ),
    }
}

/// `UPDATE table SET version = version + 1, …` for the rows of the parameter; the first column is the key.
pub fn update(dialect: Dialect, table: &str, columns: Columns) -> String {
    let mut set = format!("version = {table}.version + 1");
    for (name, _) in columns.iter().skip(1) {
        let _infallible = write!(set, ", {name} = j.{name}");
    }
    match dialect {
        Dialect::Sqlite => format!(
            "UPDATE {table} SET {set} FROM (SELECT {} FROM jsonb_each(?1)) AS j WHERE {table}.id = j.id",
            named_extracts(columns)
        ),
        Dialect::Postgres => format!(
            "UPDATE {table} SET {set} FROM json_to_recordset($1::json) AS j ({}) WHERE {table}.id = j.id",
            definitions(columns)
        ),
    }
}

fn names(columns: Columns, prefix: &str) -> String {
    columns.iter().map(|(name, _)| format!("{prefix}{name}")).collect::<Vec<_>>().join(", ")
}

fn extract((name, kind): &(&str, Type)) -> String {
    match kind {
        // A blob never equals a text: without unhex every comparison would fail.
        Type::Id => format!("unhex(value->>'{name}', '-')"),
        Type::Small | Type::Int | Type::Big | Type::Text | Type::Flag => format!("value->>'{name}'"),
    }
}

fn extracts(columns: Columns) -> String {
    columns.iter().map(extract).collect::<Vec<_>>().join(", ")
}

fn named_extracts(columns: Columns) -> String {
    columns.iter().map(|column| format!("{} AS {}", extract(column), column.0)).collect::<Vec<_>>().join(", ")
}

fn definitions(columns: Columns) -> String {
    let definition = |(name, kind): &(&str, Type)| {
        let kind = match kind {
            Type::Id => "uuid",
            Type::Small => "int2",
            Type::Int => "int4",
            Type::Big => "int8",
            Type::Text => "text",
            Type::Flag => "boolean",
        };
        format!("{name} {kind}")
    };
    columns.iter().map(definition).collect::<Vec<_>>().join(", ")
}

/// A JSON array from rows that are JSON already.
pub fn array<T: AsRef<str>>(rows: &[T]) -> String {
    let length = rows.iter().map(|row| row.as_ref().len() + 1).sum::<usize>();
    let mut text = String::with_capacity(length + 2);
    text.push('[');
    for (at, row) in rows.iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        text.push_str(row.as_ref());
    }
    text.push(']');
    text
}

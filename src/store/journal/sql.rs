//! Multi-row statements from column lists, their texts made once in the life of the process. PostgreSQL takes a JSON array of
//! objects whose fields are named as the columns, and SQLite the values themselves; a statement that answers rows takes JSON on both.

use std::{
    fmt::Write as _,
    sync::{LazyLock, OnceLock},
};

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

/// One statement that writes rows of a table, on SQLite for some numbers of rows.
pub struct Rows {
    columns: Columns,
    sqlite: fn(usize) -> String,
    texts: [OnceLock<String>; SIZES.len()],
    postgres: LazyLock<String, fn() -> String>,
}

/// SQLite: how many rows a statement takes. Each stays prepared. A trip to the database's thread costs more than some rows of nulls, so
/// each group goes as one statement of the next size.
const SIZES: [usize; 14] = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, LARGEST];
const LARGEST: usize = 128;

impl Rows {
    /// A statement from one text builder a database.
    pub const fn new(columns: Columns, sqlite: fn(usize) -> String, postgres: fn() -> String) -> Self {
        let texts = [const { OnceLock::new() }; SIZES.len()];
        Self { columns, sqlite, texts, postgres: LazyLock::new(postgres) }
    }

    /// Its columns, in the order of SQLite's parameters.
    pub const fn columns(&self) -> Columns {
        self.columns
    }

    /// SQLite: the statement for these rows, or for as many of them as one takes, and how many rows it takes. One that is all null is
    /// none.
    pub fn for_some_of(&'static self, rows: usize) -> (&'static str, usize) {
        let [.., largest] = &self.texts;
        let fitting = SIZES.iter().zip(&self.texts).find(|(size, _)| rows <= **size);
        let (size, text) = fitting.unwrap_or((&LARGEST, largest));
        (text.get_or_init(|| (self.sqlite)(*size)), *size)
    }

    /// PostgreSQL: the statement for any number of rows.
    pub fn for_all(&'static self) -> &'static str {
        &self.postgres
    }
}

/// SQLite: `INSERT INTO table (…) SELECT … FROM (VALUES …)`, with `tail` behind it; the first column is never null. A row that does not
/// fit takes the transaction back, as the writer would do anyway: so SQLite need not keep what would undo this statement alone
/// (sqlite.org/lang_conflict.html).
pub fn insert_values(table: &str, columns: Columns, tail: &str, rows: usize) -> String {
    let (names, values) = (names(columns, ""), values(columns, rows));
    format!("INSERT OR ROLLBACK INTO {table} ({names}) SELECT * FROM (VALUES {values}) WHERE column1 IS NOT NULL {tail}")
}

/// SQLite: `UPDATE table SET version = version + 1, …` for the rows; the first column is the key. As [`insert_values`].
pub fn update_values(table: &str, columns: Columns, rows: usize) -> String {
    let mut set = format!("version = {table}.version + 1");
    for (at, (name, _)) in (1..).zip(columns).skip(1) {
        let _infallible = write!(set, ", {name} = j.column{at}");
    }
    format!("UPDATE OR ROLLBACK {table} SET {set} FROM (VALUES {}) AS j WHERE {table}.id = j.column1", values(columns, rows))
}

/// SQLite: so many rows of parameters.
pub fn values(columns: Columns, rows: usize) -> String {
    let row = format!("({})", vec!["?"; columns.len()].join(","));
    vec![row; rows].join(",")
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

/// PostgreSQL: `UPDATE table SET version = version + 1, …` for the rows of the parameter; the first column is the key.
pub fn update(table: &str, columns: Columns) -> String {
    let mut set = format!("version = {table}.version + 1");
    for (name, _) in columns.iter().skip(1) {
        let _infallible = write!(set, ", {name} = j.{name}");
    }
    format!("UPDATE {table} SET {set} FROM json_to_recordset($1::json) AS j ({}) WHERE {table}.id = j.id", definitions(columns))
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

#[cfg(test)]
mod tests {
    use super::*;

    static NUMBERS: Rows =
        Rows::new(&[("id", Type::Id), ("n", Type::Int)], |rows| insert_values("t", NUMBERS.columns, "", rows), String::new);

    #[test]
    fn a_group_goes_as_one_statement_of_the_next_size_and_a_large_one_in_parts() {
        let sizes = [1, 2, 5, 7, 64, 65, 127, 128, 129, 1_000].map(|rows| NUMBERS.for_some_of(rows));
        assert_eq!(sizes.map(|(_, size)| size), [1, 2, 6, 8, 64, 96, 128, 128, 128, 128]);
        for (text, size) in sizes {
            assert_eq!(text.matches("(?,?)").count(), size, "{text}");
        }
    }
}

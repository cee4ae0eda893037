//! A row as SQLite takes it: one value a column. Rows come as JSON, as PostgreSQL takes them; taking JSON apart in SQLite would cost
//! more than writing the row, and would make it keep a copy of each page, in case that fails halfway.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, Visitor},
};
use sqlx::{Error, Sqlite, query::Query, sqlite::SqliteArguments};
use uuid::Uuid;

use super::sql::{Columns, Type};

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    /// NULL.
    Null,
    /// A number, or a flag.
    Number(i64),
    /// A text.
    Text(String),
    /// An id.
    Id(Uuid),
}

/// The values of a row in the order of these columns; a column that it does not name is NULL.
///
/// # Errors
/// The row is no flat object of such values.
pub fn cells(columns: Columns, row: &str) -> Result<Vec<Cell>, Error> {
    let mut json = serde_json::Deserializer::from_str(row);
    Row(columns).deserialize(&mut json).map_err(|error| Error::Encode(Box::new(error)))
}

impl Cell {
    /// Hands it to a statement.
    pub fn bind<'q>(self, query: Query<'q, Sqlite, SqliteArguments>) -> Query<'q, Sqlite, SqliteArguments> {
        match self {
            Self::Null => query.bind(None::<i64>),
            Self::Number(number) => query.bind(number),
            Self::Text(text) => query.bind(text),
            Self::Id(id) => query.bind(id),
        }
    }

    /// Ids are texts in JSON.
    fn of_type(self, kind: Type) -> Result<Self, uuid::Error> {
        match (kind, self) {
            (Type::Id, Self::Text(text)) => Uuid::parse_str(&text).map(Self::Id),
            (_, cell) => Ok(cell),
        }
    }
}

struct Row(Columns);

impl<'de> DeserializeSeed<'de> for Row {
    type Value = Vec<Cell>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<Cell>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Row {
    type Value = Vec<Cell>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a row")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vec<Cell>, A::Error> {
        let mut cells = vec![Cell::Null; self.0.len()];
        while let Some(name) = map.next_key::<&str>()? {
            let mut places = self.0.iter().zip(&mut cells);
            match places.find(|((column, _), _)| *column == name) {
                Some(((_, kind), place)) => *place = map.next_value::<Cell>()?.of_type(*kind).map_err(A::Error::custom)?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(cells)
    }
}

impl<'de> Deserialize<'de> for Cell {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Value)
    }
}

struct Value;

impl Visitor<'_> for Value {
    type Value = Cell;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("null, a flag, a whole number or a text")
    }

    fn visit_unit<E>(self) -> Result<Cell, E> {
        Ok(Cell::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Cell, E> {
        Ok(Cell::Number(flag.into()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Cell, E> {
        Ok(Cell::Number(number))
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Cell, E> {
        i64::try_from(number).map(Cell::Number).map_err(E::custom)
    }

    fn visit_str<E>(self, text: &str) -> Result<Cell, E> {
        Ok(Cell::Text(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: Columns = &[("id", Type::Id), ("state", Type::Small), ("done", Type::Flag), ("url", Type::Text)];

    #[test]
    fn a_row_is_ordered_as_its_columns_and_what_it_does_not_name_is_null() {
        let id = Uuid::from_u128(7);
        let row = format!(r#"{{"url":"a\"b","other":[1],"done":true,"state":-3,"id":"{id}"}}"#);
        let wanted = [Cell::Id(id), Cell::Number(-3), Cell::Number(1), Cell::Text("a\"b".to_owned())];
        assert_eq!(cells(COLUMNS, &row).unwrap(), wanted);
        assert_eq!(cells(COLUMNS, r#"{"url":null}"#).unwrap(), [const { Cell::Null }; 4]);
    }

    #[test]
    fn what_is_no_row_is_an_error() {
        for row in ["", "[]", r#"{"id":"7"}"#, r#"{"state":1.5}"#, r#"{"url":{}}"#, r#"{"state":18446744073709551615}"#] {
            assert!(cells(COLUMNS, row).is_err(), "{row}");
        }
    }
}

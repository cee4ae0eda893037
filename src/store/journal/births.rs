//! The lane of births: facts, so any node may write them and no fence applies.

use sqlx::Error;
use uuid::Uuid;

use super::{
    Scope,
    books::{self, Writing},
    connection::Connection,
    lane::{Lane, Written},
    limits,
    rows::Born,
    tables::{INSERT_GENERATIONS, INSERT_PAYLOADS},
    transitions::write,
};
use crate::domain::limits::OverLimit;

/// The lane.
pub struct Births;

impl Lane for Births {
    type Entry = Box<Born>;
    /// Refused by a limit; nothing was written then.
    type Answer = Result<(), OverLimit>;

    const NAME: &'static str = "births";
    const MARK: i16 = 2;

    fn key(entry: &Box<Born>) -> Option<Uuid> {
        Some(entry.id)
    }

    async fn write(connection: &mut Connection, scope: &Scope, entries: &[&Box<Born>]) -> Result<Written<Self::Answer>, Error> {
        let promises: Vec<_> = entries.iter().map(|born| born.promise).collect();
        let answers = limits::check(connection, &promises).await?;
        let entries: Vec<_> = entries.iter().zip(&answers).filter(|(_, answer)| answer.is_ok()).map(|(born, _)| *born).collect();
        let rows: Vec<&str> = entries.iter().map(|born| born.row.as_str()).collect();
        let payloads: Vec<&str> = entries.iter().map(|born| born.payload.as_str()).collect();
        write(connection, &INSERT_GENERATIONS, &rows);
        write(connection, &INSERT_PAYLOADS, &payloads);
        let booked: Vec<_> = entries.iter().map(|born| &born.booked).collect();
        books::write(connection, &booked, Writing::Births.stripe(&scope.held))?;
        Ok(Written { answers, rows: rows.len() })
    }

    fn committed(scope: &Scope, entries: &[&Box<Born>], answers: &[Self::Answer]) {
        for (born, _) in entries.iter().zip(answers).filter(|(_, answer)| answer.is_ok()) {
            scope.recent.born(&born.generation, &born.request, born.payload.len());
        }
    }
}

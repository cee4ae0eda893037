//! What clients are told: the place of an event in the outbox, what it means, and its thin body. The same on a stream and in a webhook:
//! ids and status only, so that nothing of a customer's leaves unasked and a late one misleads nobody. Pure.

use std::{fmt, str::FromStr, sync::Arc};

use serde::Serialize;

use crate::domain::{
    id::{BatchId, GenerationId, ProjectId},
    time::Timestamp,
};

/// The place of an event in the order of commits: the transaction (0 on SQLite, which has one writer) and the number within. No
/// reader sees one that is smaller than one it has seen. `evt_` and 32 hexadecimal digits outside, which sort alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EventId {
    /// PostgreSQL's transaction id.
    pub txid: i64,
    /// Rowid or serial.
    pub seq: i64,
}

impl EventId {
    /// Before all events.
    pub const START: Self = Self { txid: 0, seq: 0 };
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "evt_{:016x}{:016x}", self.txid, self.seq)
    }
}

impl FromStr for EventId {
    type Err = NotAnEvent;

    fn from_str(text: &str) -> Result<Self, NotAnEvent> {
        let digits = text.strip_prefix("evt_").filter(|digits| digits.len() == 32 && digits.is_ascii()).ok_or(NotAnEvent)?;
        let (txid, seq) = digits.split_at(16);
        let number = |digits: &str| match i64::from_str_radix(digits, 16) {
            Ok(number) if number >= 0 && !digits.starts_with('+') => Ok(number),
            Ok(_) | Err(_) => Err(NotAnEvent),
        };
        Ok(Self { txid: number(txid)?, seq: number(seq)? })
    }
}

/// A text that is no id of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an id of the form evt_ and 32 hex digits")]
pub struct NotAnEvent;

/// An event as it stands in the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Its place.
    pub id: EventId,
    /// Whose it is.
    pub project: ProjectId,
    /// Of what it tells; none where a batch as a whole is meant.
    pub generation: Option<GenerationId>,
    /// The batch, also that of the generation.
    pub batch: Option<BatchId>,
    /// Such as `generation.completed`.
    pub kind: Arc<str>,
    /// When.
    pub at: Timestamp,
}

/// What a kind of event means.
struct Meaning {
    kind: &'static str,
    /// The public status from then on; none where it stays as it was.
    status: Option<&'static str>,
    /// Nothing further is expected of what it tells of.
    ends: bool,
}

const fn means(kind: &'static str, status: &'static str) -> Meaning {
    Meaning { kind, status: Some(status), ends: false }
}

const fn ends(kind: &'static str, status: &'static str) -> Meaning {
    Meaning { kind, status: Some(status), ends: true }
}

/// Every kind that is written.
const MEANINGS: &[Meaning] = &[
    means("generation.waiting", "PENDING"),
    means("generation.preparing", "PENDING"),
    means("generation.queued", "PENDING"),
    means("generation.processing", "PROCESSING"),
    means("generation.retrying", "PROCESSING"),
    ends("generation.completed", "SUCCESS"),
    ends("generation.failed", "FAILED"),
    ends("generation.cancelled", "CANCELLED"),
    Meaning { kind: "generation.late_result", status: None, ends: false },
    means("batch.created", "PROCESSING"),
    means("batch.processing", "PROCESSING"),
    means("batch.paused", "PAUSED"),
    means("batch.cancelling", "CANCELLING"),
    Meaning { kind: "batch.stopped", status: None, ends: false },
    ends("batch.completed", "COMPLETED"),
    ends("batch.partial_failed", "PARTIAL_FAILED"),
    ends("batch.failed", "FAILED"),
    ends("batch.cancelled", "CANCELLED"),
];

impl Told {
    fn meaning(&self) -> Option<&'static Meaning> {
        MEANINGS.iter().find(|meaning| meaning.kind == &*self.kind)
    }

    /// The public status from then on; none where it stays as it was.
    #[must_use]
    pub fn status(&self) -> Option<&'static str> {
        self.meaning()?.status
    }

    /// Whether nothing further is expected of what it tells of (a late result may still come).
    #[must_use]
    pub fn ends(&self) -> bool {
        self.meaning().is_some_and(|meaning| meaning.ends)
    }

    /// Every kind that is written.
    pub fn kinds() -> impl Iterator<Item = &'static str> {
        MEANINGS.iter().map(|meaning| meaning.kind)
    }

    /// What clients get, as JSON on one line.
    #[must_use]
    pub fn body(&self) -> String {
        let batch = self.batch.map(|id| id.to_string());
        let data = match self.generation {
            Some(id) => Data { id: Some(id.to_string()), batch_id: batch, status: self.status() },
            None => Data { id: batch, batch_id: None, status: self.status() },
        };
        serde_json::to_string(&Body { kind: &self.kind, timestamp: self.at, data }).unwrap_or_default()
    }
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    timestamp: Timestamp,
    data: Data,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    batch_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_back_and_sort_as_their_texts_do() {
        let ids = [(0, 1), (0, 17), (1, 0), (1, i64::MAX), (1 << 40, 3)].map(|(txid, seq)| EventId { txid, seq });
        let texts = ids.map(|id| id.to_string());
        assert!(ids.is_sorted() && texts.is_sorted(), "{texts:?}");
        for (id, text) in ids.iter().zip(&texts) {
            assert_eq!(text.parse(), Ok(*id));
        }
        let short = format!("evt_{}", "0".repeat(31));
        let signed = format!("evt_+{}", "0".repeat(31));
        let negative = format!("evt_{}{}", "f".repeat(16), "0".repeat(16));
        for wrong in ["", "17", "gen_00000000000000000000000000000001", &short, &signed, &negative] {
            assert_eq!(wrong.parse::<EventId>(), Err(NotAnEvent), "{wrong}");
        }
    }

    #[test]
    fn the_body_is_thin_and_stands_on_one_line() {
        let generation = "gen_0190163d8694739ba0f0a2d0f5a3e111".parse().unwrap();
        let told = |kind: &str| Told {
            id: EventId::START,
            project: ProjectId::fresh(),
            generation: Some(generation),
            batch: None,
            kind: kind.into(),
            at: Timestamp(1_780_000_000_000),
        };
        assert_eq!(
            told("generation.completed").body(),
            r#"{"type":"generation.completed","timestamp":"2026-05-28T20:26:40.000Z","data":{"id":"gen_0190163d8694739ba0f0a2d0f5a3e111","status":"SUCCESS"}}"#
        );
        let late = told("generation.late_result");
        assert!(!late.body().contains("status") && !late.ends() && told("generation.failed").ends());
        assert_eq!(told("generation.of_a_later_version").status(), None);
        let batch: BatchId = "batch_0190163d8694739ba0f0a2d0f5a3e111".parse().unwrap();
        let line = Told { batch: Some(batch), ..told("generation.failed") };
        assert!(
            line.body().contains(r#""batchId":"batch_0190163d8694739ba0f0a2d0f5a3e111","status":"FAILED""#),
            "{}",
            line.body()
        );
        let whole = Told { generation: None, batch: Some(batch), ..told("batch.paused") };
        assert!(whole.body().ends_with(r#""data":{"id":"batch_0190163d8694739ba0f0a2d0f5a3e111","status":"PAUSED"}}"#));
    }

    #[test]
    fn every_status_of_a_batch_has_its_event() {
        use crate::domain::batch::BatchStatus;
        for status in BatchStatus::ALL {
            let meaning = MEANINGS.iter().find(|meaning| meaning.kind == status.event()).unwrap();
            assert_eq!(meaning.status, Some(status.as_str()));
        }
    }
}

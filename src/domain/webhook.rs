//! Webhooks to clients (Standard Webhooks 1.0.0): endpoints, their secrets, and what a try means for them. Pure.

mod delivery;

use std::time::Duration;

pub use delivery::{Delivery, DeliveryState, Destination, Reply, TEST, WAITS_MS};

use crate::domain::{
    event::Told,
    id::{EndpointId, ProjectId},
    time::Timestamp,
};

/// An endpoint that fails for this long without a success between is disabled.
const PATIENCE: Duration = Duration::from_secs(5 * 86_400);

/// For how long a rotated secret signs along: a client has a day to take the new one.
pub const OVERLAP: Duration = Duration::from_secs(86_400);

/// Kinds that are told where nobody chose: the ends, and what comes after them.
const CHOSEN_FOR_YOU: [&str; 8] = [
    "generation.completed",
    "generation.failed",
    "generation.cancelled",
    "generation.late_result",
    "batch.completed",
    "batch.partial_failed",
    "batch.failed",
    "batch.cancelled",
];

/// How often a secret was rotated, and when last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SecretAge {
    /// The secret's number.
    pub number: i32,
    /// When it took over.
    pub rotated_at: Option<Timestamp>,
}

impl SecretAge {
    /// The next one.
    #[must_use]
    pub const fn rotated(self, now: Timestamp) -> Self {
        Self { number: self.number.saturating_add(1), rotated_at: Some(now) }
    }

    /// Until when the one before signs along.
    #[must_use]
    pub fn previous_until(self, now: Timestamp) -> Option<Timestamp> {
        self.rotated_at.map(|at| at.plus(OVERLAP)).filter(|until| *until > now)
    }

    /// The numbers that sign now, the newest first.
    #[must_use]
    pub fn signing(self, now: Timestamp) -> Vec<i32> {
        let before = self.previous_until(now).map(|_| self.number.saturating_sub(1));
        std::iter::once(self.number).chain(before).collect()
    }
}

/// Where a project wants to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Id.
    pub id: EndpointId,
    /// Whose.
    pub project: ProjectId,
    /// Where.
    pub url: String,
    /// For people.
    pub description: String,
    /// Which kinds; none: the ends, and what comes after them.
    pub kinds: Option<Vec<String>>,
    /// Its secret.
    pub secret: SecretAge,
    /// When it was made.
    pub created_at: Timestamp,
    /// Last change by its owner.
    pub updated_at: Timestamp,
    /// Since when nothing is sent to it.
    pub disabled_at: Option<Timestamp>,
    /// Why not.
    pub disabled_reason: Option<String>,
    /// Since when every try has failed.
    pub failing_since: Option<Timestamp>,
}

impl Endpoint {
    /// Whether it is to be told of this.
    #[must_use]
    pub fn wants(&self, event: &Told) -> bool {
        let kind = &*event.kind;
        let chosen = match &self.kinds {
            Some(kinds) => kinds.iter().any(|chosen| matches(chosen, kind)),
            None => CHOSEN_FOR_YOU.contains(&kind),
        };
        self.project == event.project && self.disabled_at.is_none() && event.at >= self.created_at && chosen
    }
}

/// Whether a URL that was named with a generation or a batch is to be told of this.
#[must_use]
pub fn ends_for(event: &Told) -> bool {
    CHOSEN_FOR_YOU.contains(&&*event.kind)
}

/// `generation.*` means all of them.
fn matches(chosen: &str, kind: &str) -> bool {
    chosen.strip_suffix('*').map_or(chosen == kind, |start| kind.starts_with(start))
}

/// Whether a kind may be chosen: one that is written, or all of a sort.
#[must_use]
pub fn choosable(chosen: &str) -> bool {
    Told::kinds().any(|kind| matches(chosen, kind))
        && (!chosen.contains('*') || ["*", "generation.*", "batch.*"].contains(&chosen))
}

/// What a try means for its endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing new.
    Same,
    /// It works (again), or began to fail.
    FailingSince(Option<Timestamp>),
    /// Nothing is sent to it any more.
    Disabled(String),
}

impl Endpoint {
    /// Judges the endpoint by a try.
    #[must_use]
    pub fn after(&self, reply: &Reply, now: Timestamp) -> Verdict {
        match (reply.success(), self.failing_since) {
            (true, Some(_)) => Verdict::FailingSince(None),
            (true, None) => Verdict::Same,
            (false, _) if reply.gone() => Verdict::Disabled("it answered 410 Gone".to_owned()),
            (false, None) => Verdict::FailingSince(Some(now)),
            (false, Some(since)) if since.plus(PATIENCE) <= now => {
                Verdict::Disabled(format!("every try has failed since {}", since.rfc3339()))
            }
            (false, Some(_)) => Verdict::Same,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{event::EventId, id::GenerationId};

    pub(super) const NOW: Timestamp = Timestamp(1_780_000_000_000);

    pub(super) fn endpoint() -> Endpoint {
        Endpoint {
            id: EndpointId::fresh(),
            project: ProjectId::fresh(),
            url: "https://hooks.example".to_owned(),
            description: String::new(),
            kinds: None,
            secret: SecretAge::default(),
            created_at: NOW,
            updated_at: NOW,
            disabled_at: None,
            disabled_reason: None,
            failing_since: None,
        }
    }

    pub(super) fn told(project: ProjectId, kind: &str) -> Told {
        let id = EventId { txid: 0, seq: 7 };
        Told { id, project, generation: Some(GenerationId::fresh()), batch: None, kind: kind.into(), at: NOW }
    }

    pub(super) fn answered(status: u16) -> Reply {
        Reply::Answered { status, asked: None, body: "x".repeat(900) }
    }

    #[test]
    fn an_endpoint_is_disabled_by_410_and_after_five_days_of_failures() {
        let mut endpoint = endpoint();
        assert_eq!(endpoint.after(&answered(200), NOW), Verdict::Same);
        assert_eq!(endpoint.after(&answered(500), NOW), Verdict::FailingSince(Some(NOW)));
        assert!(matches!(endpoint.after(&answered(410), NOW), Verdict::Disabled(_)));
        endpoint.failing_since = Some(NOW);
        assert_eq!(endpoint.after(&answered(500), NOW.plus(PATIENCE / 2)), Verdict::Same);
        assert_eq!(endpoint.after(&answered(200), NOW.plus(PATIENCE)), Verdict::FailingSince(None));
        assert!(matches!(endpoint.after(&answered(500), NOW.plus(PATIENCE)), Verdict::Disabled(_)));
    }

    #[test]
    fn an_endpoint_is_told_what_it_wants_of_its_own_project_and_time() {
        let mut endpoint = endpoint();
        let event = |kind| told(endpoint.project, kind);
        let (end, step) = (event("generation.completed"), event("generation.processing"));
        assert!(endpoint.wants(&end) && !endpoint.wants(&step));
        assert!(!endpoint.wants(&told(ProjectId::fresh(), "generation.completed")));
        assert!(!endpoint.wants(&Told { at: NOW.minus(Duration::from_secs(1)), ..end.clone() }), "from before it was made");
        endpoint.kinds = Some(vec!["generation.*".to_owned()]);
        assert!(endpoint.wants(&step));
        endpoint.disabled_at = Some(NOW);
        assert!(!endpoint.wants(&step));
        assert!(choosable("batch.paused") && choosable("*") && choosable("batch.*"));
        assert!(!choosable("generation.") && !choosable("gen*") && !choosable("batch.exploded"));
    }

    #[test]
    fn a_rotated_secret_signs_along_for_a_day() {
        let first = SecretAge::default();
        assert_eq!(first.signing(NOW), [0]);
        let second = first.rotated(NOW);
        assert_eq!(second.signing(NOW.plus(OVERLAP / 2)), [1, 0]);
        assert_eq!(second.signing(NOW.plus(OVERLAP)), [1]);
    }
}

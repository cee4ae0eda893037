//! What came of a submit, and what it makes of the rows. Pure.

use crate::{
    config::providers::RetryConfig,
    domain::{
        attempt::{AttemptEvent, AttemptState},
        id::AttemptId,
        money::Micros,
        output::Output,
        record::Handle,
        retry::RetryPolicy,
        settle::Ending,
        time::Timestamp,
    },
    providers::{
        adapter::{Bills, Fault},
        fault,
    },
    store::{
        Loaded, Transition,
        change::{Change, End, Illegal},
        finish::Finished,
    },
};

/// What is known after a submit.
#[derive(Debug, Clone, PartialEq)]
pub enum Learned {
    /// No byte left.
    NeverSent(Fault),
    /// Bytes left; whether the provider has it is unknown.
    Unknown(Fault),
    /// The provider refused it.
    Refused(Fault),
    /// The provider has it; the evidence is recorded.
    Accepted {
        /// How to find it.
        handle: Handle,
        /// What it costs, where the answer says so.
        cost: Option<Micros>,
        /// How it was learned.
        reason: &'static str,
    },
    /// A synchronous provider made it; inline bytes are staged.
    Done {
        /// The files with the keys of staged ones.
        outputs: Vec<(Output, Option<String>)>,
        /// What it cost, where the answer says so.
        cost: Option<Micros>,
        /// Hand out links.
        link: bool,
    },
    /// Nobody could say within the deadline.
    GivenUp,
}

/// The surroundings of a decision.
#[derive(Debug, Clone)]
pub struct Around<'a> {
    /// The provider's retry configuration.
    pub retry: &'a RetryConfig,
    /// The same as rules.
    pub policy: &'a RetryPolicy,
    /// When the provider bills.
    pub bills: Bills,
    /// A draw in 0..1.
    pub unit: f64,
    /// Now.
    pub now: Timestamp,
}

/// The transition for what was learned; none when the attempt moved on already.
#[must_use]
pub fn decide(loaded: &Loaded, id: AttemptId, learned: &Learned, around: &Around<'_>) -> Option<Transition> {
    let mut attempt = loaded.attempts.iter().find(|attempt| attempt.id == id)?.clone();
    let open = matches!(attempt.state, AttemptState::Submitting | AttemptState::Unconfirmed);
    if !open {
        return None;
    }
    let mut change = Change::of(&loaded.generation, around.now);
    let end = |event, ending, failure, reason| End {
        event,
        ending,
        failure,
        shown: None,
        policy: around.policy,
        unit: around.unit,
        reason,
    };
    let done: Result<(), Illegal> = match learned {
        Learned::NeverSent(fault) => {
            let failure = Some(fault::failure(fault, around.now));
            change.end(loaded, &mut attempt, &end(AttemptEvent::NeverSent, Ending::NeverSent, failure, "no byte left us"))
        }
        Learned::Refused(fault) => {
            let failure = Some(fault::failure(fault, around.now));
            let ending = fault::refused(fault, around.retry);
            change.end(loaded, &mut attempt, &end(AttemptEvent::Refused, ending, failure, "the provider refused it"))
        }
        Learned::Unknown(fault) => {
            attempt.failure = Some(fault::failure(fault, around.now));
            change.attempt(&mut attempt, AttemptEvent::OutcomeUnknown, "sent, but no clear answer came")
        }
        Learned::Accepted { handle, cost, reason } => {
            attempt.handle = Some(handle.clone());
            attempt.cost = *cost;
            attempt.charged = around.bills == Bills::AtAccept;
            attempt.failure = None;
            attempt.submitted_at = Some(attempt.submitted_at.unwrap_or(around.now));
            change.attempt(&mut attempt, AttemptEvent::Accepted, reason)
        }
        Learned::Done { outputs, cost, link } => {
            attempt.cost = *cost;
            attempt.failure = None;
            attempt.submitted_at = Some(around.now);
            let delivered = end(AttemptEvent::Stored, Ending::Delivered, None, "handed out as the provider's own URLs");
            change.finish(loaded, &mut attempt, &Finished { outputs, link: *link, delivered })
        }
        Learned::GivenUp => {
            let shown = Some(fault::unconfirmed(attempt.failure.as_ref()));
            let end =
                End { shown, ..end(AttemptEvent::GivenUp, Ending::Final, None, "nobody could say whether the provider has it") };
            change.end(loaded, &mut attempt, &end)
        }
    };
    done.ok().map(|()| change.entry())
}

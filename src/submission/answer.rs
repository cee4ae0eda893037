//! What came of a submit, and what it makes of the rows. Pure.

use crate::{
    config::providers::RetryConfig,
    domain::{
        attempt::{AttemptEvent, AttemptState, Outcome},
        id::AttemptId,
        money::Micros,
        output::Output,
        record::{Attempt, Handle},
        retry::RetryPolicy,
        settle::Ending,
        time::Timestamp,
        unconfirmed::OnUnconfirmed,
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
    /// An operator declared that the provider never had it.
    Lost,
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
    /// Submits that `resubmit` may add for one output.
    pub max_resubmits: u16,
    /// A draw in 0..1.
    pub unit: f64,
    /// Now.
    pub now: Timestamp,
}

/// The transition for what was learned; none when the attempt moved on already.
#[must_use]
pub fn decide(loaded: &Loaded, id: AttemptId, learned: &Learned, around: &Around<'_>) -> Option<Transition> {
    let mut attempt = loaded.attempts.iter().find(|attempt| attempt.id == id)?.clone();
    if !takes(&attempt, learned) {
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
            change.accepted(&mut attempt, reason)
        }
        Learned::Done { outputs, cost, link } => {
            attempt.cost = *cost;
            attempt.failure = None;
            attempt.submitted_at = Some(around.now);
            let delivered = end(AttemptEvent::Stored, Ending::Delivered, None, "handed out as the provider's own URLs");
            change.finish(loaded, &mut attempt, &Finished { outputs, link: *link, delivered })
        }
        Learned::GivenUp => {
            let end = end(AttemptEvent::GivenUp, Ending::Final, None, "nobody could say whether the provider has it");
            give_up(&mut change, loaded, &mut attempt, (around.max_resubmits, end))
        }
        Learned::Lost => {
            attempt.lost_at = Some(around.now);
            let end = end(AttemptEvent::Lost, Ending::Final, None, "an operator declared it lost");
            give_up(&mut change, loaded, &mut attempt, (around.max_resubmits, end))
        }
    };
    done.ok().map(|()| change.entry())
}

/// Whether the attempt still waits for such news; late evidence also finds one that was given up or timed out.
fn takes(attempt: &Attempt, learned: &Learned) -> bool {
    match attempt.state {
        AttemptState::Submitting | AttemptState::Unconfirmed => true,
        AttemptState::Ended(Outcome::GivenUp) => match learned {
            Learned::Accepted { .. } => true,
            Learned::Lost => attempt.lost_at.is_none(),
            Learned::NeverSent(_) | Learned::Unknown(_) | Learned::Refused(_) | Learned::Done { .. } | Learned::GivenUp => false,
        },
        AttemptState::Ended(Outcome::TimedOut) => matches!(learned, Learned::Accepted { .. }),
        AttemptState::Running | AttemptState::Storing | AttemptState::Ended(_) => false,
    }
}

/// Ends what nobody knows of; its generation fails, unless its client asked for another submit and may have one.
fn give_up(change: &mut Change, loaded: &Loaded, attempt: &mut Attempt, (most, end): (u16, End<'_>)) -> Result<(), Illegal> {
    let again = match loaded.generation.on_unconfirmed {
        OnUnconfirmed::Resubmit => resubmits(loaded, attempt) < usize::from(most),
        OnUnconfirmed::Fail | OnUnconfirmed::Hold => false,
    };
    let ending = if again { Ending::Resubmit } else { end.ending };
    let shown = Some(fault::unconfirmed(attempt.failure.as_ref()));
    change.end(loaded, attempt, &End { ending, shown, ..end })
}

/// How many submits of this slot were unconfirmed besides this one: each may have brought about another.
fn resubmits(loaded: &Loaded, attempt: &Attempt) -> usize {
    let of_slot = loaded.attempts.iter().filter(|other| other.slot == attempt.slot && other.id != attempt.id);
    of_slot.filter(|other| other.unconfirmed_since.is_some()).count()
}

/// What the answer to a resend is worth. Only an acceptance is clear: a refusal may mean that the first submit arrived after all (the
/// provider refuses duplicates), and what did not leave the second time may have left the first time.
#[must_use]
pub fn of_resend(learned: Learned) -> Learned {
    match learned {
        Learned::NeverSent(fault) | Learned::Refused(fault) => Learned::Unknown(fault),
        known @ (Learned::Unknown(_) | Learned::Accepted { .. } | Learned::Done { .. } | Learned::GivenUp | Learned::Lost) => {
            known
        }
    }
}

/// The same attempt once more, until `not_after`; none when it moved on, or when the client wants it no more.
#[must_use]
pub fn resend(loaded: &Loaded, id: AttemptId, not_after: Timestamp, now: Timestamp) -> Option<Transition> {
    let mut attempt = loaded.attempts.iter().find(|attempt| attempt.id == id)?.clone();
    if attempt.state != AttemptState::Unconfirmed || loaded.generation.cancel_requested_at.is_some() {
        return None;
    }
    let mut change = Change::of(&loaded.generation, now);
    let reason = "the provider does not know it and refuses duplicates: the same submit is sent again";
    change.resend(&mut attempt, not_after, reason).ok()?;
    Some(change.entry())
}

#[cfg(test)]
mod tests;

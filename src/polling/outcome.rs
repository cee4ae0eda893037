//! What a poll's answer makes of the rows. Pure.

use crate::{
    domain::{
        attempt::{AttemptEvent, AttemptState},
        error::{ErrorCode, Failure},
        id::AttemptId,
        money::Micros,
        output::Output,
        record::Attempt,
        retry::RetryPolicy,
        settle::Ending,
        time::Timestamp,
    },
    providers::{
        adapter::{Bills, Fault, Then},
        fault,
    },
    store::{
        Loaded, Transition,
        change::{Change, End},
        finish::Finished,
    },
};

/// What a poll established.
#[derive(Debug, Clone, PartialEq)]
pub enum Finding {
    /// Finished with these files; inline ones are staged already, under the key beside them.
    Finished {
        /// The files.
        outputs: Vec<(Output, Option<String>)>,
        /// What it cost, where the provider says so.
        cost: Option<Micros>,
        /// Hand out the provider's URLs instead of storing.
        link: bool,
    },
    /// The provider says it failed.
    Failed(Fault),
    /// Its outputs are gone.
    Gone(Failure),
    /// The late window closed.
    TimedOut,
}

/// The surroundings of a decision.
#[derive(Debug, Clone)]
pub struct Around<'a> {
    /// The provider's retry rules.
    pub policy: &'a RetryPolicy,
    /// When the provider bills.
    pub bills: Bills,
    /// A draw in 0..1.
    pub unit: f64,
    /// Now.
    pub now: Timestamp,
}

/// The transition for a finding; none when the attempt is not running any more.
#[must_use]
pub fn decide(loaded: &Loaded, id: AttemptId, finding: &Finding, around: &Around<'_>) -> Option<Transition> {
    let mut attempt = loaded.attempts.iter().find(|attempt| attempt.id == id)?.clone();
    if attempt.state != AttemptState::Running {
        return None;
    }
    let mut change = Change::of(&loaded.generation, around.now);
    let done = match finding {
        Finding::Finished { outputs, cost, link } => {
            attempt.cost = cost.or(attempt.cost);
            let delivered = End {
                event: AttemptEvent::Stored,
                ending: Ending::Delivered,
                failure: None,
                shown: None,
                policy: around.policy,
                unit: around.unit,
                reason: "handed out as the provider's own URLs",
            };
            change.finish(loaded, &mut attempt, &Finished { outputs, link: *link, delivered })
        }
        Finding::Failed(fault) => {
            let end = failed(loaded, &mut attempt, fault, around);
            change.end(loaded, &mut attempt, &end)
        }
        Finding::Gone(failure) => change.end(
            loaded,
            &mut attempt,
            &plain_end(AttemptEvent::OutputsExpired, Some(failure.clone()), "the provider no longer has it", around),
        ),
        Finding::TimedOut => {
            let failure = Failure::new(ErrorCode::TaskTimeout, "the provider did not finish within the late window");
            let end = plain_end(AttemptEvent::TimedOut, Some(failure), "the late window closed", around);
            change.end(loaded, &mut attempt, &end)
        }
    };
    done.ok().map(|()| change.entry())
}

fn plain_end<'a>(event: AttemptEvent, failure: Option<Failure>, reason: &'a str, around: &Around<'a>) -> End<'a> {
    End { event, ending: Ending::Final, failure, shown: None, policy: around.policy, unit: around.unit, reason }
}

fn failed<'a>(loaded: &Loaded, attempt: &mut Attempt, fault: &Fault, around: &Around<'a>) -> End<'a> {
    let cancelled = fault.code == ErrorCode::TaskCancelled;
    let asked_for = loaded.generation.cancel_requested_at.is_some();
    let ending = match fault.then {
        _ if cancelled && asked_for => Ending::Cancelled,
        Then::RetryUnbilled => Ending::Unbilled { asked: fault.retry_after },
        Then::Throttled | Then::Final | Then::Unclear => Ending::Final,
    };
    // A cancelled run is billed for the time used; a failure only where the provider bills at the start.
    attempt.charged = match around.bills {
        Bills::AtAccept => fault.then != Then::RetryUnbilled,
        Bills::AtCompletion => false,
    };
    let (event, reason) = if cancelled {
        (AttemptEvent::Cancelled, "the provider cancelled it")
    } else {
        (AttemptEvent::Failed, "the provider says it failed")
    };
    let failure = Some(fault::failure(fault, around.now));
    End { event, ending, failure, shown: None, policy: around.policy, unit: around.unit, reason }
}

//! The reconciler's decisions: when to ask for an unconfirmed attempt, what an answer is worth, when to give up. Pure.

use std::{collections::HashMap, time::Duration};

use crate::{
    config::dispatch::DispatchConfig,
    domain::{
        id::AttemptId,
        record::{Attempt, Handle, Kind},
        time::Timestamp,
        unconfirmed::OnUnconfirmed,
    },
};

/// Longest gap between two lookups of an unconfirmed attempt.
const LONGEST_GAP: Duration = Duration::from_secs(30);

/// How lookups of one attempt follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Wait before the first.
    pub delay: Duration,
    /// The gap after the first; each is twice the one before.
    pub gap: Duration,
    /// The longest gap.
    pub longest: Duration,
}

impl Pace {
    /// Of an unconfirmed attempt: at once, then ever more rarely.
    #[must_use]
    pub fn searching(config: &DispatchConfig) -> Self {
        let gap = Duration::from_millis(config.reconcile_ms);
        Self { delay: Duration::ZERO, gap, longest: LONGEST_GAP.max(gap) }
    }

    /// Of one that has ended: steadily and slowly. `spread` in 0..1 keeps those that a start finds from being asked in one burst.
    #[must_use]
    pub fn watching(config: &DispatchConfig, spread: f64) -> Self {
        let gap = Duration::from_millis(config.watch_every_ms);
        Self { delay: gap.mul_f64(spread.clamp(0.0, 1.0)), gap, longest: gap }
    }
}

/// When each attempt is looked up next.
#[derive(Debug, Default)]
pub struct Agenda {
    next: HashMap<AttemptId, (Timestamp, Duration)>,
}

impl Agenda {
    /// Whether it is due; if so, plans the lookup after this one, no later than the next of the `marks`: instants at which an answer
    /// means more than before.
    pub fn due(&mut self, id: AttemptId, pace: Pace, marks: &[Timestamp], now: Timestamp) -> bool {
        let (at, gap) = *self.next.entry(id).or_insert((now.plus(pace.delay), pace.gap));
        if now < at {
            return false;
        }
        let mark = marks.iter().copied().filter(|mark| *mark > now).min();
        let next = now.plus(gap);
        self.next.insert(id, (mark.map_or(next, |mark| mark.min(next)), (gap * 2).min(pace.longest)));
        true
    }

    /// Makes it due at once: something new is known.
    pub fn pull(&mut self, id: AttemptId, pace: Pace, now: Timestamp) {
        self.next.insert(id, (now, pace.gap));
    }

    /// Keeps only attempts that are still looked for.
    pub fn keep(&mut self, open: impl Fn(AttemptId) -> bool) {
        self.next.retain(|id, _| open(*id));
    }
}

/// The deadlines of one provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Longest wait for a submit's answer.
    pub submit_timeout: Duration,
    /// For how long a lost node may still act.
    pub lease_ttl: Duration,
    /// The reconciler gives up on an image after this.
    pub image: Duration,
    /// And on a video after this.
    pub video: Duration,
    /// A held one is given up after this.
    pub hold: Duration,
}

impl Rules {
    /// By configuration.
    #[must_use]
    pub fn of(config: &DispatchConfig, submit_timeout_ms: u64) -> Self {
        Self {
            submit_timeout: Duration::from_millis(submit_timeout_ms),
            lease_ttl: Duration::from_millis(config.lease_ttl_ms),
            image: Duration::from_secs(config.reconcile_image_s),
            video: Duration::from_secs(config.reconcile_video_s),
            hold: Duration::from_secs(config.hold_s),
        }
    }

    /// The earliest instant at which "the provider does not have it" may be believed: before it, the submit may still be on its way.
    #[must_use]
    pub fn believable(&self, attempt: &Attempt) -> Timestamp {
        attempt.not_after.plus(self.submit_timeout).plus(self.lease_ttl)
    }

    /// When the attempt is given up.
    #[must_use]
    pub fn give_up_at(&self, attempt: &Attempt, policy: OnUnconfirmed) -> Timestamp {
        let patience = match attempt.kind {
            Kind::Image => self.image,
            Kind::Video => self.video,
        };
        let patience = match policy {
            OnUnconfirmed::Fail | OnUnconfirmed::Resubmit => patience,
            OnUnconfirmed::Hold => patience.max(self.hold),
        };
        attempt.unconfirmed_since.unwrap_or(attempt.updated_at).plus(patience).max(self.believable(attempt))
    }
}

/// What asking the provider brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// It has exactly this one of ours.
    Task(Handle),
    /// It says that it has none; worth something only from [`Rules::believable`] on.
    Nothing,
    /// It cannot be asked, did not answer, or more than one may be meant.
    Unclear,
}

/// Everything that is known of an unconfirmed attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The recorded ids that no other attempt has claimed, oldest first.
    pub recorded: Vec<Handle>,
    /// What the provider said.
    pub heard: Heard,
    /// When it was asked: the question's instant, not the answer's.
    pub asked_at: Timestamp,
    /// The provider refuses a second submit with the same tag, and the client still wants it.
    pub may_resend: bool,
}

/// What to do with an unconfirmed attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The provider has it under this id, by recorded evidence.
    Recorded(Handle),
    /// The provider has it under this id, as it just said; to be recorded first.
    Found(Handle),
    /// Send the same once more.
    Resend,
    /// Nobody could say within the deadline.
    GiveUp,
    /// Ask again later.
    Wait,
}

/// Judges what is known at `now`. Recorded evidence goes first; an attempt is given up only when nothing speaks for it.
#[must_use]
pub fn judge(attempt: &Attempt, policy: OnUnconfirmed, rules: &Rules, known: &Known, now: Timestamp) -> Verdict {
    if let Some(handle) = known.recorded.first() {
        return Verdict::Recorded(handle.clone());
    }
    if let Heard::Task(handle) = &known.heard {
        return Verdict::Found(handle.clone());
    }
    if now >= rules.give_up_at(attempt, policy) {
        return Verdict::GiveUp;
    }
    let gone = known.heard == Heard::Nothing && known.asked_at >= rules.believable(attempt);
    if gone && known.may_resend { Verdict::Resend } else { Verdict::Wait }
}

#[cfg(test)]
pub(in crate::submission) mod tests;

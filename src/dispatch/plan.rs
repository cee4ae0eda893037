//! Who goes next at a provider. Pure: time and what waits are arguments.
//!
//! What waits stands in **lines**: one for each project and priority, first come first served. Two rules choose among them, and both
//! mean the same by waiting: the time since a head could have gone or since its line (its project) last went, whichever is later.
//! 1. **Between projects** the one whose head has waited longest goes first, and each step of priority counts as a head start.
//! 2. **Within the project** the same, between its lines.
//!
//! So urgent work goes ahead, yet nothing starves. With `s` the head start of one priority, `n` projects and `l` lines of the project:
//! - Once a project's head of priority `p` has waited `(p - 1) * s`, every other project goes at most once before it: within `n` submits
//!   of then it is its turn. Between heads of equal priority there is no head start at all, so that a project of which nothing waited
//!   goes within the next `n` submits, however long the line of another is.
//! - Once a line of priority `p` has waited `(p - 1) * s`, each other line of its project goes at most once before it: within `l` turns of
//!   its project, of which there are ten at most.
//! - Therefore what has `k` before it in its line goes within `(k + 1) * ((l + 1) * (p - 1) * s)` of time and `(k + 1) * l * n` submits.

use std::{collections::HashMap, time::Duration};

use crate::domain::{
    id::{GenerationId, ProjectId},
    time::Timestamp,
};

/// What of a line could go next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The project.
    pub project: ProjectId,
    /// 1 (most urgent) to 10.
    pub priority: u8,
    /// The generation; ids sort by birth.
    pub id: GenerationId,
    /// Since when it could have gone.
    pub since: Timestamp,
}

/// When a line or a project went; the number tells turns of one instant apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    at: Timestamp,
    n: u64,
}

/// Who went when, at one provider. Memory only: what is forgotten counts from the head's own waiting.
#[derive(Debug, Default)]
pub struct Turns {
    taken: u64,
    projects: HashMap<ProjectId, Turn>,
    lines: HashMap<(ProjectId, u8), Turn>,
}

impl Turns {
    /// Which of the heads goes next; none when there is none. `step` is the head start of one priority before the next.
    #[must_use]
    pub fn next(&self, heads: &[Head], step: Duration, now: Timestamp) -> Option<usize> {
        let project =
            heads.iter().min_by_key(|head| (waits(self.projects.get(&head.project), head, step, now), head.id))?.project;
        let of_it = || heads.iter().enumerate().filter(|(_, head)| head.project == project);
        let line = |head: &Head| (waits(self.lines.get(&(project, head.priority)), head, step, now), head.id);
        let (_, chosen) = of_it().min_by_key(|(_, head)| line(head))?;
        // A line may have several heads (a batch has one of its own): the one that came first goes.
        of_it().filter(|(_, head)| head.priority == chosen.priority).min_by_key(|(_, head)| head.id).map(|(at, _)| at)
    }

    /// That line went.
    pub fn went(&mut self, project: ProjectId, priority: u8, now: Timestamp) {
        self.taken = self.taken.saturating_add(1);
        let turn = Turn { at: now, n: self.taken };
        self.projects.insert(project, turn);
        self.lines.insert((project, priority), turn);
    }

    /// Forgets who went longer ago than any head start lasts and has nothing waiting: it would have to wait for nobody.
    pub fn forget_idle(&mut self, heads: &[Head], step: Duration, now: Timestamp) {
        let recent = |turn: &Turn| now.since(turn.at) < step.saturating_mul(u32::from(LEAST_URGENT));
        self.projects.retain(|project, turn| recent(turn) || heads.iter().any(|head| head.project == *project));
        self.lines.retain(|(project, _), turn| recent(turn) || heads.iter().any(|head| head.project == *project));
    }
}

/// The last priority.
const LEAST_URGENT: u8 = 10;

/// From when a head counts as waiting; the earliest goes first. An instant in the future (a clock that was set back) counts as now.
fn waits(went: Option<&Turn>, head: &Head, step: Duration, now: Timestamp) -> Turn {
    let since = Turn { at: head.since.min(now), n: 0 };
    let went = went.map_or(since, |turn| Turn { at: turn.at.min(now), n: turn.n });
    let from = since.max(went);
    Turn { at: from.at.plus(step.saturating_mul(u32::from(head.priority.saturating_sub(1)))), n: from.n }
}

#[cfg(test)]
mod tests;

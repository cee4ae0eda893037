//! Daily limits of spending: what a project and a key may promise a UTC day. Checked at the accept, before anything is spent. Pure.

use std::collections::BTreeMap;

use crate::domain::{
    id::{KeyId, ProjectId},
    money::Micros,
    time::Timestamp,
};

/// What may be promised a UTC day; none is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// By all keys of the project together.
    pub project: Option<Micros>,
    /// By the key.
    pub key: Option<Micros>,
}

/// Whose spending of a day a limit is about; no key means the whole project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// UTC day, counted from the epoch's.
    pub day: i32,
    /// The project.
    pub project: ProjectId,
    /// The key.
    pub key: Option<KeyId>,
}

/// What a new generation would promise, and within which limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promise {
    /// UTC day of the accept.
    pub day: i32,
    /// Project.
    pub project: ProjectId,
    /// Key.
    pub key: KeyId,
    /// How much.
    pub amount: Micros,
    /// The limits.
    pub limits: Limits,
}

impl Promise {
    /// The targets that it counts for, each with its limit, where there is one.
    fn targets(&self) -> [(Target, Option<Micros>); 2] {
        let Self { day, project, key, .. } = *self;
        [(Target { day, project, key: None }, self.limits.project), (Target { day, project, key: Some(key) }, self.limits.key)]
    }

    /// Those whose spending must be known before it is accepted. What costs nothing, as far as the catalogue knows, needs none.
    pub fn limited(&self) -> impl Iterator<Item = Target> + use<> {
        let counts = self.amount.0 > 0;
        self.targets().into_iter().filter(move |(_, limit)| counts && limit.is_some()).map(|(target, _)| target)
    }
}

/// A daily limit would be passed: nothing was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the daily limit of this {} is {} USD; {} are spent or promised today, and this would add {}",
    if self.target.key.is_some() { "key" } else { "project" },
    .limit.decimal(), .spent.decimal(), .asked.decimal()
)]
pub struct OverLimit {
    /// Whose limit.
    pub target: Target,
    /// The limit.
    pub limit: Micros,
    /// Spent or promised today.
    pub spent: Micros,
    /// What was asked for.
    pub asked: Micros,
}

impl OverLimit {
    /// When the next UTC day begins.
    #[must_use]
    pub fn resets_at(&self) -> Timestamp {
        Timestamp::of_day(self.target.day.saturating_add(1))
    }
}

/// Decides promise by promise, in order; each accepted one counts for those after it. `spent` holds every target that a promise is
/// limited by.
#[must_use]
pub fn judge(promises: &[Promise], mut spent: BTreeMap<Target, Micros>) -> Vec<Result<(), OverLimit>> {
    promises.iter().map(|promise| judge_one(promise, &mut spent)).collect()
}

fn judge_one(promise: &Promise, spent: &mut BTreeMap<Target, Micros>) -> Result<(), OverLimit> {
    let asked = promise.amount;
    for (target, limit) in promise.targets() {
        let known = spent.get(&target).copied().unwrap_or_default();
        if let Some(limit) = limit.filter(|limit| asked.0 > 0 && known.plus(asked) > *limit) {
            return Err(OverLimit { target, limit, spent: known, asked });
        }
    }
    for (target, _) in promise.targets() {
        if let Some(known) = spent.get_mut(&target) {
            *known = known.plus(asked);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn promise(key: KeyId, project: ProjectId, limits: (Option<i64>, Option<i64>)) -> Promise {
        let limits = Limits { project: limits.0.map(Micros), key: limits.1.map(Micros) };
        Promise { day: 1, project, key, amount: Micros(10), limits }
    }

    #[test]
    fn promises_are_accepted_up_to_the_limit_and_what_is_refused_counts_for_nothing() {
        let (key, project) = (KeyId::fresh(), ProjectId::fresh());
        let all = [promise(key, project, (None, Some(25))); 4];
        let target = Target { day: 1, project, key: Some(key) };
        let judged = judge(&all, BTreeMap::from([(target, Micros(4))]));
        assert_eq!(judged.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, true, false, false]);
        assert_eq!(judged[3], Err(OverLimit { target, limit: Micros(25), spent: Micros(24), asked: Micros(10) }));
    }

    #[test]
    fn a_projects_limit_counts_all_keys_also_those_without_one() {
        let (one, other, project) = (KeyId::fresh(), KeyId::fresh(), ProjectId::fresh());
        let all = [
            promise(one, project, (None, None)),
            promise(other, project, (Some(20), None)),
            promise(other, project, (Some(20), None)),
        ];
        let target = Target { day: 1, project, key: None };
        assert_eq!(all[1].limited().collect::<Vec<_>>(), [target]);
        assert_eq!(all[0].limited().count(), 0);
        let judged = judge(&all, BTreeMap::from([(target, Micros(0))]));
        assert_eq!(judged.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, true, false]);
    }

    #[test]
    fn what_costs_nothing_is_never_refused() {
        let free = Promise { amount: Micros(0), ..promise(KeyId::fresh(), ProjectId::fresh(), (Some(0), Some(0))) };
        assert_eq!((free.limited().count(), judge(&[free], BTreeMap::new())), (0, vec![Ok(())]));
    }
}

//! List and match: which of a provider's tasks with our input is ours. Pure. It never guesses: one that could be another attempt's is
//! nobody's.

use std::time::Duration;

use crate::{
    domain::{
        record::{Attempt, Handle},
        time::Timestamp,
    },
    submission::reconcile::{Heard, Rules},
};

/// How far a provider's clock may differ from ours.
pub const SKEW: Duration = Duration::from_secs(60);

/// The time within which the provider accepted an attempt, if it did.
#[must_use]
pub fn window(attempt: &Attempt, rules: &Rules) -> (Timestamp, Timestamp) {
    (attempt.created_at.minus(SKEW), rules.believable(attempt).plus(SKEW))
}

/// Whether a task of ours could be one of `other`'s: both sent the same, and their times touch.
#[must_use]
pub fn rival(attempt: &Attempt, other: &Attempt, rules: &Rules) -> bool {
    let (ours, theirs) = (window(attempt, rules), window(other, rules));
    let together = (&attempt.provider, &attempt.account) == (&other.provider, &other.account);
    together && other.request_digest == attempt.request_digest && ours.0 <= theirs.1 && theirs.0 <= ours.1
}

/// The one task that fits and nobody has claimed. `complete` tells that the whole time was listed: behind a cut there may be another.
#[must_use]
pub fn only(fits: Vec<Handle>, claimed: &[String], rivals: usize, complete: bool) -> Heard {
    let mut free: Vec<Handle> = Vec::new();
    for handle in fits {
        if !claimed.contains(&handle.task_id) && !free.iter().any(|known| known.task_id == handle.task_id) {
            free.push(handle);
        }
    }
    match <[Handle; 1]>::try_from(free) {
        Ok([one]) if rivals == 0 && complete => Heard::Task(one),
        // An empty list proves nothing either: it may lag behind.
        Ok(_) | Err(_) => Heard::Unclear,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{domain::record::Kind, submission::reconcile::tests::attempt};

    const RULES: Rules = Rules {
        submit_timeout: Duration::from_secs(30),
        lease_ttl: Duration::from_secs(15),
        image: Duration::from_secs(600),
        video: Duration::from_secs(1_800),
        hold: Duration::from_secs(604_800),
    };

    fn handles(ids: &[&str]) -> Vec<Handle> {
        ids.iter().map(|id| Handle { task_id: (*id).to_owned(), poll_url: None }).collect()
    }

    #[test]
    fn a_match_counts_only_when_it_is_the_only_one() {
        let claimed = ["b".to_owned()];
        let one = |ids: &[&str]| only(handles(ids), &claimed, 0, true);
        assert_eq!(one(&["a"]), Heard::Task(handles(&["a"]).remove(0)));
        assert_eq!(one(&["b", "a"]), Heard::Task(handles(&["a"]).remove(0)), "claimed ones are skipped");
        assert_eq!(one(&["a", "a"]), Heard::Task(handles(&["a"]).remove(0)), "two pages may overlap");
        assert_eq!(one(&["a", "c"]), Heard::Unclear);
        assert_eq!(one(&["b"]), Heard::Unclear);
        assert_eq!(one(&[]), Heard::Unclear, "an empty list is no verdict");
    }

    #[test]
    fn rivals_are_equal_submits_of_the_same_account_at_the_same_time() {
        let ours = attempt(Kind::Image);
        let other = Attempt { id: crate::domain::id::AttemptId::fresh(), ..ours.clone() };
        assert!(rival(&ours, &other, &RULES));
        assert!(!rival(&ours, &Attempt { request_digest: "e".to_owned(), ..other.clone() }, &RULES));
        assert!(!rival(&ours, &Attempt { account: "second".into(), ..other.clone() }, &RULES));
        let later = |seconds: u64| {
            let (created_at, not_after) = (ours.created_at, ours.not_after);
            let span = Duration::from_secs(seconds);
            Attempt { created_at: created_at.plus(span), not_after: not_after.plus(span), ..other.clone() }
        };
        assert!(rival(&ours, &later(100), &RULES));
        assert!(!rival(&ours, &later(86_400), &RULES), "yesterday's is no rival");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_096))]

        #[test]
        fn what_is_ambiguous_or_claimed_is_never_adopted(
            fits in proptest::collection::vec("[a-d]", 0..5),
            claimed in proptest::collection::vec("[a-d]", 0..4),
            rivals in 0usize..3,
            complete in any::<bool>(),
        ) {
            let ids: Vec<&str> = fits.iter().map(String::as_str).collect();
            match only(handles(&ids), &claimed, rivals, complete) {
                Heard::Task(handle) => {
                    prop_assert!(complete && rivals == 0 && !claimed.contains(&handle.task_id));
                    prop_assert!(fits.iter().all(|id| *id == handle.task_id || claimed.contains(id)));
                }
                Heard::Unclear => {}
                Heard::Nothing => prop_assert!(false, "a list proves no absence"),
            }
        }
    }
}

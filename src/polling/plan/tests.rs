use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::domain::{
    record::{Endpoint, Kind},
    schedule::Strategy,
};

const ALL: Room = Room { free: 100, each: 100 };

fn open(_: &Route) -> Result<(), Timestamp> {
    Ok(())
}

fn route(account: &str) -> Route {
    Route {
        provider: "kling".into(),
        account: account.into(),
        endpoint: Endpoint {
            base_url: "https://provider.example".to_owned(),
            path_family: String::new(),
            upstream: String::new(),
            options: std::collections::BTreeMap::new(),
        },
        kind: Kind::Video,
        model: "kling-2.6".into(),
        strategy: Strategy::Fixed { every: Duration::from_secs(10) },
        max_duration: None,
    }
}

fn insert(plan: &mut Plan, id: AttemptId, account: &str, now: Timestamp) {
    let number = plan.routes.number(account, || Some(route(account))).unwrap();
    let handle = Handle { task_id: id.to_string(), poll_url: None };
    let waiting = Waiting { id, generation: GenerationId::fresh(), handle, submitted_at: Timestamp(0) };
    plan.insert(waiting, number, None, now);
}

fn one() -> (Plan, AttemptId) {
    let (mut plan, id) = (Plan::default(), AttemptId::fresh());
    insert(&mut plan, id, "default", Timestamp(0));
    (plan, id)
}

#[test]
fn an_attempt_in_hand_is_not_taken_again_until_it_is_put_back() {
    let (mut plan, id) = one();
    assert!(plan.take_due(Timestamp(9_999), ALL, open).is_empty());
    assert_eq!(plan.take_due(Timestamp(10_000), ALL, open).len(), 1);
    plan.pull(id, Timestamp(11_000));
    assert!(plan.take_due(Timestamp(60_000), ALL, open).is_empty());
    plan.put_back(id, Some(Duration::from_secs(3)), None, Timestamp(60_000));
    assert_eq!(plan.next_due(1), Some(Timestamp(63_000)));
}

#[test]
fn a_pulled_attempt_is_due_at_once_and_only_once() {
    let (mut plan, id) = one();
    plan.pull(id, Timestamp(5));
    assert_eq!(plan.take_due(Timestamp(5), ALL, open).len(), 1);
    assert!(plan.take_due(Timestamp(100_000), ALL, open).is_empty());
}

#[test]
fn what_is_learned_of_a_poll_lies_between_it_and_the_one_before() {
    let (mut plan, id) = one();
    let seconds = |from, to| Some((Duration::from_secs(from), Duration::from_secs(to)));
    assert_eq!(plan.ran(id, Timestamp(10_000)), seconds(0, 10));
    assert_eq!(plan.ended(id, Timestamp(30_000)), seconds(10, 30));
    // Somebody's word pulled the poll: the end is as fresh as the word.
    plan.pull(id, Timestamp(30_000));
    assert_eq!(plan.ended(id, Timestamp(30_000)), seconds(29, 30));
}

#[test]
fn an_account_that_is_held_back_holds_no_other() {
    let mut plan = Plan::default();
    for account in ["slow", "fast"] {
        (0..3).for_each(|_| insert(&mut plan, AttemptId::fresh(), account, Timestamp(0)));
    }
    let now = Timestamp(20_000);
    let held = |route: &Route| if &*route.account == "slow" { Err(Timestamp(25_000)) } else { Ok(()) };
    let taken = plan.take_due(now, ALL, held);
    assert!(taken.len() == 3 && taken.iter().all(|task| &*task.route.account == "fast"));
    assert_eq!(plan.next_due(100), Some(Timestamp(25_000)));
    assert!(plan.take_due(Timestamp(24_999), ALL, open).is_empty(), "the budget is not asked before its instant");
    assert_eq!(plan.take_due(Timestamp(25_000), ALL, open).len(), 3);
}

#[test]
fn an_account_that_hangs_leaves_room_for_the_others() {
    let mut plan = Plan::default();
    (0..5).for_each(|_| insert(&mut plan, AttemptId::fresh(), "hangs", Timestamp(0)));
    let room = Room { free: 10, each: 2 };
    assert_eq!(plan.take_due(Timestamp(20_000), room, open).len(), 2);
    assert_eq!(plan.next_due(2), None, "it has to land first");
    insert(&mut plan, AttemptId::fresh(), "works", Timestamp(0));
    assert_eq!(plan.take_due(Timestamp(20_000), room, open).len(), 1);
}

#[test]
fn the_row_is_looked_at_every_sixteenth_poll() {
    let (mut plan, id) = one();
    let mut looks = Vec::new();
    for n in 1..=48u32 {
        let now = Timestamp(i64::from(n) * 20_000);
        looks.extend(plan.take_due(now, ALL, open).into_iter().filter(|task| task.look).map(|_| n));
        plan.put_back(id, None, None, now);
    }
    assert_eq!(looks, [16, 32, 48]);
}

#[test]
fn an_entry_is_small() {
    assert!(size_of::<Option<Entry>>() <= 96, "{}", size_of::<Option<Entry>>());
}

proptest! {
    #[test]
    fn no_planned_attempt_is_ever_forgotten(steps in proptest::collection::vec((0u8..6, 0usize..8), 1..200)) {
        let ids: Vec<_> = (0..8).map(|_| AttemptId::fresh()).collect();
        let mut plan = Plan::default();
        let mut known = HashSet::new();
        let mut now = Timestamp(0);
        for (action, which) in steps {
            let id = ids[which];
            now = now.plus(Duration::from_secs(3));
            match action {
                0 => { insert(&mut plan, id, ["a", "b", "c"][which % 3], now); known.insert(id); }
                1 => { plan.remove(id); known.remove(&id); }
                2 => plan.pull(id, now),
                3 => plan.put_back(id, None, None, now),
                4 => { plan.take_due(now, Room { free: 1, each: 1 }, |_| Err(now.plus(Duration::from_secs(5)))); }
                _ => for task in plan.take_due(now, Room { free: 3, each: 2 }, open) {
                    prop_assert_eq!(&task.handle.task_id, &task.id.to_string());
                    plan.put_back(task.id, None, None, now);
                },
            }
            prop_assert_eq!(plan.len(), known.len());
        }
        let later = now.plus(Duration::from_secs(1_000));
        let due: HashSet<_> = plan.take_due(later, ALL, open).into_iter().map(|task| task.id).collect();
        prop_assert_eq!(due, known);
    }
}

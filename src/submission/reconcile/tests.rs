//! What must hold whatever the times and answers are.

use proptest::prelude::*;

use super::*;
use crate::domain::{attempt::AttemptState, id::GenerationId, money::Micros, record::Endpoint};

const RULES: Rules = Rules {
    submit_timeout: Duration::from_secs(30),
    lease_ttl: Duration::from_secs(15),
    image: Duration::from_secs(600),
    video: Duration::from_secs(1_800),
    hold: Duration::from_secs(604_800),
};

pub(in crate::submission) fn attempt(kind: Kind) -> Attempt {
    Attempt {
        id: AttemptId::fresh(),
        generation: GenerationId::fresh(),
        n: 1,
        shard: 0,
        version: 0,
        state: AttemptState::Unconfirmed,
        slot: 0,
        first_output: 0,
        output_count: 1,
        provider: "kling".into(),
        account: "default".into(),
        kind,
        model: "m".into(),
        endpoint: Endpoint {
            base_url: "http://127.0.0.1".to_owned(),
            path_family: String::new(),
            upstream: String::new(),
            options: std::collections::BTreeMap::new(),
        },
        tag: "lt-1".to_owned(),
        request_digest: "d".to_owned(),
        not_after: Timestamp(5_000),
        handle: None,
        created_at: Timestamp(0),
        submitted_at: None,
        unconfirmed_since: Some(Timestamp(1_000)),
        updated_at: Timestamp(1_000),
        ended_at: None,
        price: Micros(1),
        cost: None,
        charged: false,
        failure: None,
        lost_at: None,
        released_at: None,
    }
}

fn handle(id: &str) -> Handle {
    Handle { task_id: id.to_owned(), poll_url: None }
}

#[test]
fn lookups_come_at_once_and_then_ever_more_rarely() {
    let (mut agenda, id) = (Agenda::default(), AttemptId::fresh());
    let pace = Pace { delay: Duration::ZERO, gap: Duration::from_secs(2), longest: LONGEST_GAP };
    let asked: Vec<i64> = (0..130).filter(|second| agenda.due(id, pace, &[], Timestamp(second * 1_000))).collect();
    assert_eq!(asked, [0, 2, 6, 14, 30, 60, 90, 120]);
    agenda.pull(id, pace, Timestamp(130_000));
    assert!(agenda.due(id, pace, &[], Timestamp(130_000)), "something new is known");
    let marked = [Timestamp(131_000), Timestamp(140_500)];
    let asked: Vec<i64> = (131..150).filter(|second| agenda.due(id, pace, &marked, Timestamp(second * 1_000))).collect();
    assert_eq!(asked, [132, 136, 141], "no later than an instant at which an answer means more");
}

#[test]
fn what_is_watched_is_asked_steadily_and_not_all_at_once() {
    let config = DispatchConfig::default();
    let (mut agenda, id) = (Agenda::default(), AttemptId::fresh());
    let asked: Vec<i64> =
        (0..1_000).filter(|second| agenda.due(id, Pace::watching(&config, 0.5), &[], Timestamp(second * 1_000))).collect();
    assert_eq!(asked, [150, 450, 750]);
}

#[test]
fn a_held_attempt_waits_for_days_and_the_others_for_minutes() {
    let at = |kind, policy| RULES.give_up_at(&attempt(kind), policy).0;
    assert_eq!(at(Kind::Image, OnUnconfirmed::Fail), 601_000);
    assert_eq!(at(Kind::Video, OnUnconfirmed::Resubmit), 1_801_000);
    assert_eq!(at(Kind::Image, OnUnconfirmed::Hold), 604_801_000);
    let hasty = Rules { image: Duration::from_secs(1), ..RULES };
    assert_eq!(hasty.give_up_at(&attempt(Kind::Image), OnUnconfirmed::Fail), Timestamp(50_000), "never before it is believable");
}

fn policy() -> impl Strategy<Value = OnUnconfirmed> {
    proptest::sample::select(&OnUnconfirmed::ALL[..])
}

fn heard() -> impl Strategy<Value = Heard> {
    prop_oneof!["[a-c]".prop_map(|id| Heard::Task(handle(&id))), Just(Heard::Nothing), Just(Heard::Unclear)]
}

fn known() -> impl Strategy<Value = Known> {
    let recorded = proptest::collection::vec("[a-c]".prop_map(|id| handle(&id)), 0..3);
    (recorded, heard(), 0i64..3_000_000, any::<bool>()).prop_map(|(recorded, heard, asked_at, may_resend)| Known {
        recorded,
        heard,
        asked_at: Timestamp(asked_at),
        may_resend,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_096))]

    #[test]
    fn no_negative_verdict_comes_before_the_submit_can_no_longer_be_on_its_way(
        policy in policy(), known in known(), not_after in 0i64..2_000_000, since in 0i64..2_000_000, later in 0i64..1_000_000,
    ) {
        let attempt = Attempt {
            not_after: Timestamp(not_after),
            unconfirmed_since: Some(Timestamp(since)),
            ..attempt(Kind::Image)
        };
        let now = known.asked_at.plus(Duration::from_millis(later.unsigned_abs()));
        let verdict = judge(&attempt, policy, &RULES, &known, now);
        if matches!(verdict, Verdict::Resend | Verdict::GiveUp) {
            prop_assert!(now.0 >= not_after + 45_000, "{verdict:?} at {now:?}");
        }
        if verdict == Verdict::Resend {
            prop_assert!(known.asked_at.0 >= not_after + 45_000, "an old answer proves nothing");
            prop_assert!(known.may_resend && known.heard == Heard::Nothing);
        }
        if verdict == Verdict::GiveUp {
            prop_assert!(now.0 >= since + 600_000);
        }
    }

    #[test]
    fn what_speaks_for_an_attempt_always_wins_and_nothing_else_adopts(
        policy in policy(), known in known(), later in 0i64..1_000_000_000,
    ) {
        let now = known.asked_at.plus(Duration::from_millis(later.unsigned_abs()));
        match judge(&attempt(Kind::Video), policy, &RULES, &known, now) {
            Verdict::Recorded(handle) => prop_assert_eq!(Some(&handle), known.recorded.first()),
            Verdict::Found(handle) => {
                prop_assert!(known.recorded.is_empty());
                prop_assert_eq!(Heard::Task(handle), known.heard);
            }
            Verdict::Resend | Verdict::GiveUp | Verdict::Wait => {
                prop_assert!(known.recorded.is_empty() && !matches!(known.heard, Heard::Task(_)));
            }
        }
    }
}

//! Attempts in doubt: who is found by which question, and what operators decided.

use std::time::Duration;

use longtake::{
    domain::{
        attempt::{AttemptState, Outcome},
        generation::GenerationState,
        record::Attempt,
        time::Timestamp,
    },
    store::{Decision, DecisionOutcome, Journal, NewAttempt, NewDecision, Transition, Verdict},
};

use super::bed::{Bed, NOW, attempt, born, journal, learned};

super::on_both! {
    attempts_in_doubt_are_found_by_what_became_of_them;
    evidence_belongs_to_who_claimed_its_task;
    a_decision_is_open_until_it_came_to_something_and_works_beside_a_server;
    what_fails_at_its_commit_is_not_acknowledged;
}

/// A generation of its own whose first attempt is in that state.
async fn doubtful(journal: &Journal, change: impl FnOnce(&mut Attempt)) -> Attempt {
    let generation = born(journal).await;
    let mut row = attempt(&generation, 1);
    row.unconfirmed_since = Some(NOW);
    let new = NewAttempt { attempt: row.clone(), request: serde_json::json!({ "body": { "input": {} } }) };
    let intent = Transition { new_attempts: vec![new], ..Transition::of(&generation) };
    assert_eq!(journal.transition(intent).await.unwrap(), Verdict::Won);
    change(&mut row);
    row.ended_at = row.state.ended().then_some(row.ended_at.unwrap_or(NOW));
    let changed = Transition { attempts: vec![row.clone()], ..Transition::of(&generation) };
    assert_eq!(journal.transition(changed).await.unwrap(), Verdict::Won);
    assert_eq!(generation.state(), GenerationState::Queued);
    row
}

async fn attempts_in_doubt_are_found_by_what_became_of_them(bed: &Bed) {
    let store = bed.open().await;
    let (journal, reads) = (journal(&store), store.reads());
    let given_up = AttemptState::Ended(Outcome::GivenUp);
    let earlier = Timestamp(NOW.0 - 10_000);
    let unconfirmed = doubtful(&journal, |row| row.state = AttemptState::Unconfirmed).await;
    let fresh = doubtful(&journal, |row| row.state = given_up).await;
    let old = doubtful(&journal, |row| (row.state, row.ended_at) = (given_up, Some(earlier))).await;
    let lost = doubtful(&journal, |row| (row.state, row.lost_at) = (given_up, Some(NOW))).await;
    let timed_out = doubtful(&journal, |row| row.state = AttemptState::Ended(Outcome::TimedOut)).await;
    let delivered = doubtful(&journal, |row| row.state = AttemptState::Ended(Outcome::Delivered)).await;
    let ids = |rows: Vec<Attempt>| rows.into_iter().map(|row| row.id).collect::<Vec<_>>();

    assert_eq!(ids(reads.unconfirmed(None, 10).await.unwrap()), [old.id, fresh.id, unconfirmed.id], "newest first");
    assert_eq!(ids(reads.unconfirmed(Some(fresh.id), 10).await.unwrap()), [unconfirmed.id]);
    let since = NOW.minus(Duration::from_secs(5));
    assert_eq!(ids(reads.given_up(since, None, 10).await.unwrap()), [fresh.id]);
    assert_eq!(ids(reads.timed_out(since, None, 10).await.unwrap()), [timed_out.id]);
    assert!(reads.timed_out(NOW, None, 10).await.unwrap().is_empty());
    let equals = ids(reads.unsettled_equals(&fresh).await.unwrap());
    assert_eq!(equals, [unconfirmed.id, old.id], "all sent the same; what is lost or settled is no rival");

    assert!(reads.given_up_with_evidence(10).await.unwrap().is_empty());
    for row in [&old, &lost, &delivered] {
        journal.evidence(learned(row, &format!("t-{}", row.id))).await.unwrap();
    }
    assert_eq!(ids(reads.given_up_with_evidence(10).await.unwrap()), [old.id, lost.id], "evidence counts however old");
    assert_eq!(reads.attempt(lost.id).await.unwrap().unwrap().lost_at, Some(NOW));
    store.close().await;
}

async fn evidence_belongs_to_who_claimed_its_task(bed: &Bed) {
    let store = bed.open().await;
    let (journal, reads) = (journal(&store), store.reads());
    let generation = born(&journal).await;
    let (one, two) = (attempt(&generation, 1), attempt(&generation, 2));
    for (row, task) in [(&one, "a"), (&two, "a"), (&two, "b"), (&two, "")] {
        journal.evidence(learned(row, task)).await.unwrap();
    }
    let account = learned(&one, "a").account;
    let owned = reads.owned_evidence(two.id).await.unwrap();
    assert_eq!(owned.iter().map(|handle| handle.task_id.as_str()).collect::<Vec<_>>(), ["b"]);
    assert_eq!(reads.task_owner(&account, "a").await.unwrap(), Some(one.id));
    assert_eq!(reads.task_owner(&account, "c").await.unwrap(), None);
    let asked = ["b", "c"].map(str::to_owned);
    assert_eq!(reads.claimed(&account, &asked).await.unwrap(), ["b"]);
    assert!(reads.claimed("kling/other", &asked).await.unwrap().is_empty());
    // What did not come with an answer is read on from where one was.
    let mut found = learned(&one, "d");
    found.source = "webhook";
    journal.evidence(found).await.unwrap();
    let rows = reads.found_evidence(0, 10).await.unwrap();
    let last = rows.last().map(|(id, row)| (*id, row.handle.task_id.clone())).unwrap();
    assert_eq!(last.1, "d");
    assert!(reads.found_evidence(last.0, 10).await.unwrap().is_empty());
    assert_eq!(reads.found_evidence_start(0).await.unwrap(), last.0);
    assert_eq!(reads.found_evidence_start(1_000).await.unwrap(), 0);
    store.close().await;
}

async fn a_decision_is_open_until_it_came_to_something_and_works_beside_a_server(bed: &Bed) {
    let store = bed.open().await;
    let generation = born(&journal(&store)).await;
    let row = attempt(&generation, 1);
    let beside = bed.open_beside().await;
    let say = |decision| NewDecision { attempt: row.id, generation: generation.id, decision, by: "cli".to_owned(), at: NOW };
    let adopt = Decision::Adopt { provider_task: "t-1".to_owned() };
    let first = beside.decisions().insert(say(adopt.clone())).await.unwrap();
    let second = beside.decisions().insert(say(Decision::Lost)).await.unwrap();
    beside.close().await;
    let decisions = store.decisions();
    assert_eq!(decisions.open(10).await.unwrap(), [first.clone(), second.clone()]);
    let refused = DecisionOutcome::Refused("it does not know it".to_owned());
    decisions.settle(first.id, &refused, NOW).await.unwrap();
    decisions.settle(first.id, &DecisionOutcome::Done("too late".to_owned()), NOW).await.unwrap();
    assert_eq!(decisions.open(10).await.unwrap().as_slice(), std::slice::from_ref(&second));
    assert_eq!(decisions.newest(row.id).await.unwrap(), Some(second.clone()));
    decisions.settle(second.id, &DecisionOutcome::Done("lost".to_owned()), NOW).await.unwrap();
    assert!(decisions.open(10).await.unwrap().is_empty());
    let newest = decisions.newest(row.id).await.unwrap().unwrap();
    assert_eq!((newest.what.decision, newest.outcome), (Decision::Lost, Some(DecisionOutcome::Done("lost".to_owned()))));
    assert_eq!(bed.number("SELECT count(*) FROM operator_decisions WHERE outcome = 'refused'").await, 1);
    store.close().await;
}

/// Lets every insert into a table fail when it commits, and not before: as on a full disk.
async fn doom(bed: &Bed, table: &str) {
    bed.meddle("CREATE TABLE nobody (id int PRIMARY KEY)").await;
    bed.meddle("CREATE TABLE clings (id int REFERENCES nobody (id) DEFERRABLE INITIALLY DEFERRED)").await;
    let clinging = "INSERT INTO clings VALUES (1);";
    if bed.is_postgres() {
        let body = format!("BEGIN {clinging} RETURN NEW; END");
        bed.meddle(&format!("CREATE FUNCTION cling() RETURNS trigger LANGUAGE plpgsql AS '{body}'")).await;
        bed.meddle(&format!("CREATE TRIGGER cling AFTER INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION cling()")).await;
    } else {
        bed.meddle(&format!("CREATE TRIGGER cling AFTER INSERT ON {table} BEGIN {clinging} END")).await;
    }
}

async fn what_fails_at_its_commit_is_not_acknowledged(bed: &Bed) {
    let store = bed.open().await;
    let doubt = doubtful(&journal(&store), |row| row.state = AttemptState::Unconfirmed).await;
    doom(bed, "operator_decisions").await;
    let new =
        NewDecision { attempt: doubt.id, generation: doubt.generation, decision: Decision::Lost, by: "cli".to_owned(), at: NOW };
    assert!(store.decisions().insert(new).await.is_err());
    assert_eq!(bed.number("SELECT count(*) FROM operator_decisions").await, 0);
    bed.meddle(if bed.is_postgres() { "DROP TRIGGER cling ON operator_decisions" } else { "DROP TRIGGER cling" }).await;
    if !bed.is_postgres() {
        bed.meddle("CREATE TRIGGER cling AFTER INSERT ON projects BEGIN INSERT INTO clings VALUES (1); END").await;
        assert!(store.keys().create_project("films").await.is_err());
        assert_eq!(store.keys().project_by_name("films").await.unwrap(), None);
    }
    store.close().await;
}

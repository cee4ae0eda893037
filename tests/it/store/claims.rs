//! Claims: of all births with one claim exactly one is written, through two doors, and with its claim or not at all.

use std::time::Duration;

use futures_util::future::join_all;
use longtake::{
    domain::{
        claim::{Claim, ClaimId, Claimed, Fingerprint, Rule},
        id::{GenerationId, ProjectId},
        limits::Limits,
        money::Micros,
    },
    store::{Birth, StoreError},
};
use sqlx::{Connection as _, PgConnection};

use super::bed::{Bed, NOW, birth, generation, intent, journal};

super::on_both! {
    of_two_hundred_births_with_one_claim_one_is_written_and_all_others_name_it;
    births_with_claims_share_a_commit_with_those_without;
    a_birth_that_a_limit_refuses_leaves_its_claim_free;
    a_claim_that_is_taken_is_answered_past_any_limit;
    a_claim_is_written_with_its_birth_or_not_at_all;
    a_claim_under_way_elsewhere_is_waited_for_two_seconds;
    old_claims_are_removed_a_thousand_at_a_time;
    a_row_is_known_again_as_it_was_born;
    a_claim_that_replaces_names_the_newest;
}

fn claimed(project: ProjectId, key: &str) -> Birth {
    let mut birth = birth(&generation(project));
    birth.claim = Some(Claim {
        id: ClaimId::of(project, "generation", key),
        project,
        fingerprint: Fingerprint::of_json(&serde_json::json!({"key": key})),
        subject: birth.generation.id.to_string(),
        at: NOW,
        rule: Rule::First,
    });
    birth
}

fn named(answer: Result<(), StoreError>) -> Result<(), String> {
    match answer {
        Ok(()) => Ok(()),
        Err(StoreError::Claimed(Claimed { subject, .. })) => Err(subject),
        Err(other) => panic!("{other:?}"),
    }
}

async fn of_two_hundred_births_with_one_claim_one_is_written_and_all_others_name_it(bed: &Bed) {
    let (store, beside) = (bed.open().await, bed.open_beside().await);
    let doors = [journal(&store), journal(&beside)];
    let project = ProjectId::fresh();
    let births: Vec<_> = (0..200).map(|_| claimed(project, "k")).collect();
    let answers =
        join_all(births.iter().zip([0, 1].into_iter().cycle()).map(|(birth, door)| doors[door].birth(birth.clone()))).await;
    let written: Vec<_> = births.iter().zip(&answers).filter(|(_, answer)| answer.is_ok()).map(|(birth, _)| birth).collect();
    let [first] = written.as_slice() else { panic!("{} were written", written.len()) };
    for answer in answers.into_iter().map(named).filter_map(Result::err) {
        assert_eq!(answer, first.generation.id.to_string());
    }
    assert_eq!(bed.number("SELECT count(*) FROM generations").await, 1);
    assert_eq!(bed.number("SELECT count(*) FROM generation_payloads").await, 1);
    let claim = first.claim.clone().unwrap();
    let found = beside.reads().claim(claim.id).await.unwrap().unwrap();
    assert_eq!((found.subject, found.fingerprint, found.at), (claim.subject, claim.fingerprint, NOW));
    beside.close().await;
    store.close().await;
}

async fn births_with_claims_share_a_commit_with_those_without(bed: &Bed) {
    let store = bed.open().await;
    let shared = journal(&store);
    let project = ProjectId::fresh();
    shared.birth(claimed(project, "0")).await.unwrap();
    let births = (0..200).map(|n| if n % 2 == 0 { claimed(project, &(n / 2).to_string()) } else { birth(&generation(project)) });
    let answers = join_all(births.map(|birth| shared.birth(birth))).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_err()).count(), 1, "the one that was there before");
    assert_eq!(bed.number("SELECT count(*) FROM generations").await, 200);
    assert_eq!(bed.number("SELECT count(*) FROM idempotency").await, 100);
    assert!(shared.counts().commits < 100, "{:?}", shared.counts());
    store.close().await;
}

async fn a_birth_that_a_limit_refuses_leaves_its_claim_free(bed: &Bed) {
    let store = bed.open().await;
    let journal = journal(&store);
    let project = ProjectId::fresh();
    let poor = Birth { limits: Limits { project: Some(Micros(1)), key: None }, ..claimed(project, "k") };
    assert!(matches!(journal.birth(poor).await, Err(StoreError::OverLimit(_))));
    assert_eq!(bed.number("SELECT count(*) FROM idempotency").await, 0);
    journal.birth(claimed(project, "k")).await.unwrap();
    store.close().await;
}

async fn a_claim_that_is_taken_is_answered_past_any_limit(bed: &Bed) {
    let store = bed.open().await;
    let journal = journal(&store);
    let first = claimed(ProjectId::fresh(), "k");
    journal.birth(first.clone()).await.unwrap();
    let limits = Limits { project: Some(Micros(1)), key: None };
    let again = Birth { limits, ..claimed(first.generation.project, "k") };
    assert_eq!(named(journal.birth(again).await), Err(first.generation.id.to_string()));
    store.close().await;
}

async fn a_claim_is_written_with_its_birth_or_not_at_all(bed: &Bed) {
    let store = bed.open().await;
    let journal = journal(&store);
    let project = ProjectId::fresh();
    let first = claimed(project, "a");
    journal.birth(first.clone()).await.unwrap();
    // Its row contradicts what is stored: the id exists.
    let mut second = claimed(project, "b");
    second.generation.id = first.generation.id;
    assert!(matches!(journal.birth(second).await, Err(StoreError::Conflict { .. })));
    assert_eq!(bed.number("SELECT count(*) FROM idempotency").await, 1);
    journal.birth(claimed(project, "b")).await.unwrap();
    store.close().await;
}

async fn a_claim_under_way_elsewhere_is_waited_for_two_seconds(bed: &Bed) {
    if !bed.is_postgres() {
        // One writer: nothing is under way beside it.
        return;
    }
    let store = bed.open().await;
    let journal = journal(&store);
    let project = ProjectId::fresh();
    let (held, free) = (claimed(project, "held"), claimed(project, "free"));
    let mut other = PgConnection::connect(&bed.config.url).await.unwrap();
    let id = held.claim.as_ref().unwrap().id.0.simple().to_string();
    let project_id = project.0.simple();
    let text = format!("BEGIN; INSERT INTO idempotency VALUES ('{id}', '{project_id}', 'f', 'gen_other', 0)");
    sqlx::raw_sql(sqlx::AssertSqlSafe(text)).execute(&mut other).await.unwrap();
    let (stuck, passed) = tokio::join!(journal.birth(held.clone()), journal.birth(free));
    assert!(matches!(stuck, Err(StoreError::Timeout)), "{stuck:?}");
    passed.unwrap();
    // Once it is committed it is what everybody is told; had it been rolled back, the next would win.
    sqlx::raw_sql("COMMIT").execute(&mut other).await.unwrap();
    assert_eq!(named(journal.birth(held).await), Err("gen_other".to_owned()));
    store.close().await;
}

async fn old_claims_are_removed_a_thousand_at_a_time(bed: &Bed) {
    let store = bed.open().await;
    let journal = journal(&store);
    let project = ProjectId::fresh();
    join_all((0..1_200).map(|n| {
        let mut old = claimed(project, &n.to_string());
        old.claim.as_mut().unwrap().at = NOW.minus(Duration::from_secs(n));
        journal.birth(old)
    }))
    .await;
    let before = NOW.minus(Duration::from_secs(99));
    assert!(store.retention().claims(before).await.unwrap(), "there is more");
    assert_eq!(bed.number("SELECT count(*) FROM idempotency").await, 200);
    assert!(!store.retention().claims(before).await.unwrap());
    assert_eq!(bed.number("SELECT count(*) FROM idempotency").await, 100);
    assert_eq!(bed.number("SELECT min(at) FROM idempotency").await, before.0);
    assert_eq!(bed.number("SELECT count(*) FROM generations").await, 1_200, "what was made stays");
    store.close().await;
}

async fn a_row_is_known_again_as_it_was_born(bed: &Bed) {
    let store = bed.open().await;
    let journal = journal(&store);
    let row = generation(ProjectId::fresh());
    journal.birth(birth(&row)).await.unwrap();
    journal.transition(intent(&row, 1).0).await.unwrap();
    journal.request_cancel(row.id, row.project, NOW).await.unwrap();
    let id: GenerationId = row.id;
    let now = store.reads().generation(id).await.unwrap().unwrap();
    assert_ne!(now, row);
    assert_eq!(now.as_born(), row);
    store.close().await;
}

async fn a_claim_that_replaces_names_the_newest(bed: &Bed) {
    let store = bed.open().await;
    let journal = journal(&store);
    let project = ProjectId::fresh();
    for n in 0..3 {
        let mut newest = claimed(project, "k");
        let claim = newest.claim.as_mut().unwrap();
        (claim.rule, claim.at) = (Rule::Newest, NOW.plus(Duration::from_secs(n)));
        let (id, subject, at) = (claim.id, claim.subject.clone(), claim.at);
        journal.birth(newest).await.unwrap();
        let found = store.reads().claim(id).await.unwrap().unwrap();
        assert_eq!((found.subject, found.at), (subject, at));
    }
    assert_eq!(bed.number("SELECT count(*) FROM generations").await, 3);
    let limits = Limits { project: Some(Micros(1)), key: None };
    let mut refused = Birth { limits, ..claimed(project, "other") };
    refused.claim.as_mut().unwrap().rule = Rule::Newest;
    assert!(matches!(journal.birth(refused).await, Err(StoreError::OverLimit(_))));
    assert_eq!(bed.number("SELECT count(*) FROM idempotency").await, 1, "what was refused is not remembered");
    store.close().await;
}

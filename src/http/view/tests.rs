//! What clients see of every state, without a server.

use std::sync::Arc;

use serde_json::{Map, json};

use super::*;
use crate::domain::{
    generation::Progress,
    id::{AttemptId, KeyId, ProjectId},
    money::Micros,
    record::{Endpoint, Handle, Kind},
    schedule::histogram::Histogram,
    slots::Slots,
    unconfirmed::OnUnconfirmed,
};

const NOW: Timestamp = Timestamp(1_000_000);
const LIMIT: Duration = Duration::from_secs(300);

fn generation(state: GenerationState, slots: &str) -> Generation {
    Generation {
        id: GenerationId::fresh(),
        shard: 0,
        project: ProjectId::fresh(),
        key: KeyId::fresh(),
        version: 0,
        progress: Progress { state, slots: Slots::parse(slots).unwrap(), not_before: NOW, tries: 0 },
        born_state: GenerationState::Queued,
        outputs: u16::try_from(slots.len()).unwrap(),
        per_call: 1,
        provider: "flux".into(),
        model: "m".into(),
        kind: Kind::Image,
        priority: 5,
        call_price: Micros(40_000),
        queue_deadline: NOW,
        created_at: NOW,
        updated_at: NOW,
        ended_at: state.terminal().then_some(NOW),
        cancel_requested_at: None,
        failure: None,
        request_id: Arc::from("r"),
        on_unconfirmed: OnUnconfirmed::Fail,
        batch: None,
        retry_of: None,
        replaced_by: None,
    }
}

fn attempt(of: &Generation, n: u16, state: AttemptState) -> Attempt {
    Attempt {
        id: AttemptId::fresh(),
        generation: of.id,
        n,
        shard: 0,
        version: 0,
        state,
        slot: n - 1,
        first_output: n - 1,
        output_count: 1,
        provider: "flux".into(),
        account: "default".into(),
        kind: Kind::Image,
        model: "m".into(),
        endpoint: Endpoint {
            base_url: String::new(),
            path_family: String::new(),
            upstream: String::new(),
            options: BTreeMap::new(),
        },
        tag: String::new(),
        request_digest: String::new(),
        not_after: NOW,
        handle: Some(Handle { task_id: "t1".to_owned(), poll_url: None }),
        created_at: NOW,
        submitted_at: Some(NOW),
        unconfirmed_since: None,
        updated_at: NOW,
        ended_at: state.ended().then_some(NOW),
        price: Micros(40_000),
        cost: None,
        charged: true,
        failure: None,
        lost_at: None,
        released_at: None,
    }
}

fn asset(of: &Attempt, idx: u16, state: AssetState) -> Asset {
    Asset {
        id: AssetId::fresh(),
        generation: of.generation,
        attempt: of.id,
        idx,
        shard: 0,
        version: 0,
        state,
        kind: Kind::Image,
        source_url: Some("https://provider.example/x".to_owned()),
        staged_key: None,
        expires_at: Some(NOW),
        storage_key: Some("k".to_owned()),
        content_type: Some("image/png".to_owned()),
        width: Some(8),
        height: Some(8),
        duration_ms: Some(1_500),
        bytes: Some(3),
        sha256: None,
        failure: None,
    }
}

fn shown(generation: Generation, attempts: Vec<Attempt>, assets: Vec<Asset>) -> GenerationView {
    let stored = assets.iter().filter(|asset| asset.state == AssetState::Stored);
    let urls = stored.map(|asset| (asset.id, (format!("/media/{}", asset.idx), None))).collect();
    let request = GenerationRequest {
        prompt: "p".to_owned(),
        input_images: vec!["data:image/png;base64,AAAA".to_owned(), "https://h/i.png".to_owned()],
        number_of_outputs: generation.outputs,
        parameters: Map::new(),
        user_id: None,
        metadata: None,
        webhook_url: None,
    };
    let loaded = Loaded { generation, attempts, assets };
    full(Shown { loaded, request, live: LiveView::default(), urls, overdue_after: LIMIT, now: NOW }, "http://b")
}

#[test]
fn status_and_stage_of_every_state() {
    use AttemptState as A;
    use GenerationState as G;
    for (state, slots, leading, status, stage) in [
        (G::Waiting, "o", None, Status::Pending, "waiting"),
        (G::Preparing, "o", None, Status::Pending, "preparing"),
        (G::Queued, "o", None, Status::Pending, "queued"),
        (G::Queued, "o", Some(A::Ended(Outcome::NeverSent)), Status::Processing, "queued"),
        (G::Queued, "oa", Some(A::Running), Status::Processing, "running"),
        (G::Active, "a", Some(A::Submitting), Status::Processing, "submitting"),
        (G::Active, "a", Some(A::Unconfirmed), Status::Processing, "unconfirmed"),
        (G::Active, "a", Some(A::Running), Status::Processing, "running"),
        (G::Active, "a", Some(A::Storing), Status::Processing, "storing"),
        (G::Completed, "d", Some(A::Ended(Outcome::Delivered)), Status::Success, "completed"),
        (G::Failed, "f", Some(A::Ended(Outcome::Failed)), Status::Failed, "failed"),
        (G::Cancelled, "c", None, Status::Cancelled, "cancelled"),
    ] {
        let generation = generation(state, slots);
        let attempts: Vec<_> = leading.map(|leading| attempt(&generation, 1, leading)).into_iter().collect();
        let view = shown(generation, attempts, vec![]);
        assert_eq!((view.status, view.stage), (status, stage), "{state:?} {slots} {leading:?}");
        assert_eq!(view.why.is_none(), state.terminal(), "what has not ended says what it waits for");
    }
}

#[test]
fn the_attempt_furthest_along_gives_the_stage() {
    let generation = generation(GenerationState::Active, "aaa");
    let states = [AttemptState::Storing, AttemptState::Submitting, AttemptState::Running];
    let attempts: Vec<_> = (1..).zip(states).map(|(n, state)| attempt(&generation, n, state)).collect();
    assert_eq!(stage(&generation, &attempts, LIMIT, NOW), "storing");
}

#[test]
fn a_running_attempt_past_its_time_is_overdue_and_a_wish_to_cancel_shows() {
    let mut generation = generation(GenerationState::Active, "a");
    let attempts = [attempt(&generation, 1, AttemptState::Running)];
    assert_eq!(stage(&generation, &attempts, LIMIT, NOW.plus(LIMIT).minus(Duration::from_millis(1))), "running");
    assert_eq!(stage(&generation, &attempts, LIMIT, NOW.plus(LIMIT)), "overdue");
    generation.cancel_requested_at = Some(NOW);
    assert_eq!(stage(&generation, &attempts, LIMIT, NOW.plus(LIMIT)), "cancelling");
    let storing = [attempt(&generation, 1, AttemptState::Storing)];
    assert_eq!(stage(&generation, &storing, LIMIT, NOW), "storing", "too late to cancel: it is paid and on its way");
}

#[test]
fn a_partial_success_names_what_is_missing_and_why() {
    let generation = generation(GenerationState::Completed, "df");
    let good = attempt(&generation, 1, AttemptState::Ended(Outcome::Delivered));
    let mut bad = attempt(&generation, 2, AttemptState::Ended(Outcome::Failed));
    bad.failure = Some(Failure::new(ErrorCode::ContentFiltered, "refused"));
    bad.charged = false;
    let assets = vec![asset(&good, 0, AssetState::Stored)];
    let view = shown(generation, vec![good, bad], assets);
    assert_eq!((view.results.len(), view.late_results.len(), view.missing.len()), (1, 0, 1));
    assert_eq!((view.missing[0].index, view.missing[0].error.code), (1, ErrorCode::ContentFiltered));
    assert_eq!((view.cost.estimated, view.cost.charged), (Micros(80_000), Micros(40_000)));
    let result = serde_json::to_value(&view.results[0]).unwrap();
    assert_eq!((&result["type"], &result["url"], &result["durationSeconds"]), (&json!("image"), &json!("/media/0"), &json!(1.5)));
    assert!(result.get("expiresAt").is_none());
}

#[test]
fn results_show_only_once_it_has_ended() {
    let generation = generation(GenerationState::Active, "da");
    let done = attempt(&generation, 1, AttemptState::Ended(Outcome::Delivered));
    let assets = vec![asset(&done, 0, AssetState::Stored)];
    let view = shown(generation, vec![done], assets);
    assert_eq!((view.results.len(), view.missing.len(), view.late_results.len()), (0, 0, 0));
}

#[test]
fn a_providers_own_url_is_shown_with_its_expiry() {
    let generation = generation(GenerationState::Completed, "d");
    let done = attempt(&generation, 1, AttemptState::Ended(Outcome::Delivered));
    let assets = vec![asset(&done, 0, AssetState::Linked)];
    let view = shown(generation, vec![done], assets);
    assert_eq!((view.results[0].url.as_str(), view.results[0].expires_at), ("https://provider.example/x", Some(NOW)));
}

#[test]
fn what_comes_after_the_end_is_late_and_changes_no_status() {
    let generation = generation(GenerationState::Failed, "f");
    let mut late = attempt(&generation, 1, AttemptState::Ended(Outcome::Delivered));
    late.ended_at = Some(NOW.plus(Duration::from_secs(60)));
    let assets = vec![asset(&late, 0, AssetState::Stored)];
    let view = shown(generation, vec![late], assets);
    assert_eq!((view.status, view.results.len(), view.late_results.len()), (Status::Failed, 0, 1));
}

#[test]
fn inline_images_are_named_but_not_repeated() {
    let view = shown(generation(GenerationState::Queued, "o"), vec![], vec![]);
    assert_eq!(view.input_images, ["data:image/png;base64,…", "https://h/i.png"]);
}

#[test]
fn the_wait_is_bounded_and_ends_with_the_generation() {
    let hint = |state, slots: &str, age| {
        let mut generation = generation(state, slots);
        generation.created_at = NOW.minus(Duration::from_secs(age));
        retry_after(&Loaded { generation, attempts: vec![], assets: vec![] }, None, NOW)
    };
    assert_eq!(hint(GenerationState::Active, "a", 0), Some(2));
    assert_eq!(hint(GenerationState::Active, "a", 101), Some(11));
    assert_eq!(hint(GenerationState::Queued, "o", 86_400), Some(60));
    assert_eq!(hint(GenerationState::Failed, "f", 0), None);
}

#[test]
fn who_is_held_back_is_asked_for_no_earlier() {
    let mut generation = generation(GenerationState::Queued, "o");
    generation.progress.not_before = NOW.plus(Duration::from_millis(30_500));
    let queued = Loaded { generation, attempts: vec![], assets: vec![] };
    assert_eq!(retry_after(&queued, None, NOW), Some(31));
}

#[test]
fn a_running_task_is_asked_for_when_its_model_is_likely_to_be_done() {
    let mut known = Histogram::default();
    for _ in 0..60 {
        known.passed(Duration::ZERO, Duration::from_secs(39));
        known.finished(Duration::from_secs(39), Duration::from_secs(40));
    }
    let expected = Expectation::of(&known);
    let after = |seconds, state| {
        let generation = generation(GenerationState::Active, "a");
        let mut attempt = attempt(&generation, 1, state);
        attempt.submitted_at = Some(NOW.minus(Duration::from_secs(seconds)));
        retry_after(&Loaded { generation, attempts: vec![attempt], assets: vec![] }, expected.as_ref(), NOW).unwrap()
    };
    let hints = [0, 20, 35].map(|seconds| after(seconds, AttemptState::Running));
    assert!((36..=46).contains(&hints[0]) && (16..=26).contains(&hints[1]) && (2..=11).contains(&hints[2]), "{hints:?}");
    assert_eq!(after(20, AttemptState::Storing), 2, "its files are on the way");
}

//! Tests of the mapping: whatever the domain can hold reads back as it was written.

use std::collections::BTreeMap;

use entities::generations;
use proptest::{option, prelude::*};
use uuid::Uuid;

use super::*;
use crate::domain::{
    attempt::AttemptState,
    batch::{Batch, BatchOptions, BatchPlace, CancelMode, CancelWish, Counts, RetryWish},
    error::{ErrorCode, Failure, FailureDetails},
    generation::{GenerationState, Progress},
    id::{AssetId, AttemptId, BatchId, GenerationId, KeyId, ProjectId},
    money::Micros,
    record::{Asset, AssetState, Attempt, Endpoint, Generation, Handle},
    slots::Slots,
    time::Timestamp,
    unconfirmed::OnUnconfirmed,
};

fn id() -> impl Strategy<Value = Uuid> {
    any::<u128>().prop_map(Uuid::from_u128)
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::Image), Just(Kind::Video)]
}

fn instant() -> impl Strategy<Value = Timestamp> {
    any::<i64>().prop_map(Timestamp)
}

/// What a calendar holds: details keep instants as RFC 3339.
fn calendar() -> impl Strategy<Value = Timestamp> {
    (0..4_102_444_800_000i64).prop_map(Timestamp)
}

fn failure() -> impl Strategy<Value = Option<Failure>> {
    let details = (option::of(any::<u16>()), option::of(".*"), option::of(".*"), option::of(calendar()), option::of(code()))
        .prop_map(|(http_status, provider_code, provider_message, retry_after, cause)| FailureDetails {
            http_status,
            provider_code,
            provider_message,
            retry_after,
            cause,
        });
    option::of((code(), ".*", option::of(details)).prop_map(|(code, message, details)| Failure { code, message, details }))
}

fn code() -> impl Strategy<Value = ErrorCode> {
    proptest::sample::select(ErrorCode::ALL)
}

fn state() -> impl Strategy<Value = GenerationState> {
    proptest::sample::select(&GenerationState::ALL[..])
}

/// Without NUL, which no database column takes.
fn word() -> impl Strategy<Value = String> {
    "[^\u{0}]{0,20}"
}

fn any_generation() -> impl Strategy<Value = Generation> {
    let ids = (id(), id(), id(), any::<u8>(), any::<i32>());
    let progress =
        (state(), "[oadfc]{1,10}", instant(), any::<u16>(), state(), proptest::sample::select(&OnUnconfirmed::ALL[..]));
    let asked = (any::<u16>(), any::<u16>(), word(), word(), kind(), any::<u8>(), any::<i64>());
    let times = (instant(), instant(), instant(), option::of(instant()), option::of(instant()));
    let line = (option::of(place()), option::of(id()), option::of(id()));
    (ids, progress, asked, times, failure(), word(), line).prop_map(|(ids, progress, asked, times, failure, request_id, line)| {
        Generation {
            id: GenerationId(ids.0),
            project: ProjectId(ids.1),
            key: KeyId(ids.2),
            shard: ids.3,
            version: ids.4,
            progress: Progress {
                state: progress.0,
                slots: Slots::parse(&progress.1).unwrap(),
                not_before: progress.2,
                tries: progress.3,
            },
            born_state: progress.4,
            outputs: asked.0,
            per_call: asked.1,
            provider: asked.2.into(),
            model: asked.3.into(),
            kind: asked.4,
            priority: asked.5,
            call_price: Micros(asked.6),
            queue_deadline: times.0,
            created_at: times.1,
            updated_at: times.2,
            ended_at: times.3,
            cancel_requested_at: times.4,
            failure,
            request_id: request_id.into(),
            on_unconfirmed: progress.5,
            batch: line.0,
            retry_of: line.1.map(GenerationId),
            replaced_by: line.2.map(GenerationId),
        }
    })
}

fn place() -> impl Strategy<Value = BatchPlace> {
    let index = 0..=u32::try_from(i32::MAX).unwrap();
    (id(), index, option::of(word())).prop_map(|(id, index, name)| BatchPlace {
        id: BatchId(id),
        index,
        custom_id: name.map(Into::into),
    })
}

fn any_batch() -> impl Strategy<Value = Batch> {
    let count = || 0..=u32::try_from(i32::MAX).unwrap();
    let ids = (id(), id(), id(), any::<u8>(), any::<i32>(), option::of(word()));
    let policy = option::of(proptest::sample::select(&OnUnconfirmed::ALL[..]));
    let options =
        (any::<bool>(), any::<u16>(), any::<bool>(), any::<u8>(), option::of(instant()), option::of(any::<i64>()), policy);
    let mode = prop_oneof![Just(CancelMode::Queued), Just(CancelMode::All)];
    let wishes = (option::of((instant(), mode)), option::of((instant(), any::<bool>(), id())));
    let times = proptest::collection::vec(instant(), 7);
    let counts = (count(), count(), count(), count(), count(), count(), count(), any::<i64>(), any::<i64>());
    (ids, options, wishes, times, counts).prop_map(|(ids, options, wishes, times, counts)| {
        let (project, key) = (ProjectId(ids.1), KeyId(ids.2));
        let options = BatchOptions {
            parallel: options.0,
            max_concurrency: options.1,
            stop_on_error: options.2,
            priority: options.3,
            deadline: options.4,
            budget: options.5.map(Micros),
            on_unconfirmed: options.6,
            webhook_url: ids.5.clone(),
        };
        let mut batch = Batch::loading(BatchId(ids.0), (project, key), ids.3, options, times[0]);
        (batch.version, batch.name, batch.updated_at) = (ids.4, ids.5, times[1]);
        batch.metadata = batch.name.as_ref().map(|name| [(name.clone(), 1.into())].into_iter().collect());
        (batch.visible_at, batch.paused_at, batch.stopped_at) = (Some(times[2]), Some(times[3]), Some(times[4]));
        (batch.over_budget_at, batch.completed_at) = (Some(times[5]), Some(times[6]));
        batch.cancel = wishes.0.map(|(at, mode)| CancelWish { at, mode });
        batch.retry = wishes.1.map(|(at, forced, key)| RetryWish { at, forced, key: KeyId(key) });
        let (total, completed, failed, cancelled, running) = (counts.0, counts.1, counts.2, counts.3, counts.4);
        batch.counts = Counts { total, completed, failed, cancelled, running };
        (batch.ended, batch.places) = (counts.5, counts.6);
        (batch.spent, batch.charged) = (Micros(counts.7), Micros(counts.8));
        batch
    })
}

fn any_attempt() -> impl Strategy<Value = Attempt> {
    let ids = (id(), id(), any::<u16>(), any::<u8>(), any::<i32>());
    let what = (proptest::sample::select(&AttemptState::ALL[..]), any::<u16>(), any::<u16>(), any::<u16>(), kind());
    let names = (word(), word(), word(), word(), word());
    let endpoint = (".*", ".*", ".*", proptest::collection::btree_map(".*", ".*", 0..3));
    let handle = option::of((".*", option::of(".*")));
    let times = (
        instant(),
        instant(),
        instant(),
        option::of(instant()),
        option::of(instant()),
        option::of(instant()),
        option::of(instant()),
        option::of(instant()),
    );
    let money = (any::<i64>(), option::of(any::<i64>()), any::<bool>());
    (ids, what, names, endpoint, handle, times, money, failure()).prop_map(
        |(ids, what, names, endpoint, handle, times, money, failure)| Attempt {
            id: AttemptId(ids.0),
            generation: GenerationId(ids.1),
            n: ids.2,
            shard: ids.3,
            version: ids.4,
            state: what.0,
            slot: what.1,
            first_output: what.2,
            output_count: what.3,
            kind: what.4,
            provider: names.0.into(),
            account: names.1.into(),
            model: names.2.into(),
            tag: names.3,
            request_digest: names.4,
            endpoint: endpoint_of(endpoint),
            handle: handle.map(|(task_id, poll_url)| Handle { task_id, poll_url }),
            not_after: times.0,
            created_at: times.1,
            updated_at: times.2,
            submitted_at: times.3,
            unconfirmed_since: times.4,
            ended_at: times.5,
            price: Micros(money.0),
            cost: money.1.map(Micros),
            charged: money.2,
            failure,
            lost_at: times.6,
            released_at: times.7,
        },
    )
}

fn endpoint_of((base_url, path_family, upstream, options): (String, String, String, BTreeMap<String, String>)) -> Endpoint {
    Endpoint { base_url, path_family, upstream, options }
}

fn any_asset() -> impl Strategy<Value = Asset> {
    let ids = (id(), id(), id(), any::<u16>(), any::<u8>(), any::<i32>());
    let what = (proptest::sample::select(&AssetState::ALL[..]), kind(), option::of(instant()));
    let texts = (option::of(word()), option::of(word()), option::of(word()), option::of(word()), option::of(word()));
    let sizes = (option::of(any::<i32>()), option::of(any::<i32>()), option::of(any::<i64>()), option::of(any::<i64>()));
    (ids, what, texts, sizes, failure()).prop_map(|(ids, what, texts, sizes, failure)| Asset {
        id: AssetId(ids.0),
        generation: GenerationId(ids.1),
        attempt: AttemptId(ids.2),
        idx: ids.3,
        shard: ids.4,
        version: ids.5,
        state: what.0,
        kind: what.1,
        expires_at: what.2,
        source_url: texts.0,
        staged_key: texts.1,
        storage_key: texts.2,
        content_type: texts.3,
        sha256: texts.4,
        width: sizes.0,
        height: sizes.1,
        duration_ms: sizes.2,
        bytes: sizes.3,
        failure,
    })
}

proptest! {
    #[test]
    fn generations_read_back_as_written(row in any_generation()) {
        prop_assert_eq!(generation(generation_model(&row).unwrap()).unwrap(), row);
    }

    #[test]
    fn attempts_read_back_as_written(row in any_attempt()) {
        prop_assert_eq!(attempt(attempt_model(&row).unwrap()).unwrap(), row);
    }

    #[test]
    fn assets_read_back_as_written(row in any_asset()) {
        prop_assert_eq!(asset(asset_model(&row).unwrap()).unwrap(), row);
    }

    #[test]
    fn batches_read_back_as_written(row in any_batch()) {
        prop_assert_eq!(batch(batch_model(&row).unwrap()).unwrap(), row);
    }

    #[test]
    fn a_change_says_the_same_as_the_whole_row(
        row in any_generation(), other in any_attempt(), file in any_asset(), many in any_batch(),
    ) {
        for (change, whole) in [
            (serde_json::to_value(generation_change(&row).unwrap()), serde_json::to_value(generation_model(&row).unwrap())),
            (serde_json::to_value(attempt_change(&other).unwrap()), serde_json::to_value(attempt_model(&other).unwrap())),
            (serde_json::to_value(asset_change(&file).unwrap()), serde_json::to_value(asset_model(&file).unwrap())),
            (serde_json::to_value(batch_change(&many).unwrap()), serde_json::to_value(batch_model(&many).unwrap())),
        ] {
            let (change, whole) = (change.unwrap(), whole.unwrap());
            for (name, value) in change.as_object().unwrap() {
                prop_assert_eq!(whole.get(name), Some(value));
            }
        }
    }
}

#[test]
fn a_row_with_an_unknown_number_is_corrupt_and_named() {
    let id = GenerationId(Uuid::from_u128(7));
    let mut row = sample();
    row.state = 9;
    let StoreError::Corrupt { what, id: named } = generation(row).unwrap_err() else { panic!("corrupt") };
    assert_eq!((what, named), ("generation", id.to_string()));
    let changes: [fn(&mut generations::Model); 4] =
        [|row| row.slots.clear(), |row| row.shard = 256, |row| row.kind = 2, |row| row.tries = -1];
    for change in changes {
        let mut row = sample();
        change(&mut row);
        assert!(generation(row).is_err());
    }
    let mut row = sample();
    row.failure = Some("{".to_owned());
    assert!(generation(row).is_err());
    assert!(generation(sample()).is_ok());
}

fn sample() -> generations::Model {
    generations::Model {
        id: Uuid::from_u128(7),
        shard: 1,
        project_id: Uuid::nil(),
        key_id: Uuid::nil(),
        version: 0,
        state: 2,
        slots: "o".to_owned(),
        not_before: 0,
        tries: 0,
        born_state: 2,
        outputs: 1,
        per_call: 1,
        provider: "p".to_owned(),
        model: "m".to_owned(),
        kind: 0,
        priority: 5,
        call_price: 0,
        queue_deadline: 0,
        created_at: 0,
        updated_at: 0,
        ended_at: None,
        cancel_requested_at: None,
        failure: None,
        request_id: "r".to_owned(),
        on_unconfirmed: 0,
        batch_id: None,
        batch_index: None,
        custom_id: None,
        retry_of: None,
        replaced_by: None,
        batch_seq: None,
    }
}

#[test]
fn nul_is_taken_out_of_texts() {
    assert_eq!(text("a\0b"), "ab");
}

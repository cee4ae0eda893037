//! Rows for unit tests: the plainest there are.

use std::collections::BTreeMap;

use super::*;

/// A queued image of one call that costs nothing.
pub fn generation() -> Generation {
    let now = Timestamp(1_000);
    Generation {
        id: GenerationId::fresh(),
        shard: 1,
        project: ProjectId::fresh(),
        key: KeyId::fresh(),
        version: 0,
        progress: Progress { state: GenerationState::Queued, slots: Slots::owed(1, 1), not_before: now, tries: 0 },
        born_state: GenerationState::Queued,
        outputs: 1,
        per_call: 1,
        provider: "p".into(),
        model: "m".into(),
        kind: Kind::Image,
        priority: 5,
        call_price: Micros(0),
        queue_deadline: now,
        created_at: now,
        updated_at: now,
        ended_at: None,
        cancel_requested_at: None,
        failure: None,
        request_id: "r".into(),
        on_unconfirmed: OnUnconfirmed::Fail,
        batch: None,
        retry_of: None,
        replaced_by: None,
    }
}

/// Its first attempt, as the intent brings it into being.
pub fn attempt(generation: GenerationId) -> Attempt {
    let now = Timestamp(2_000);
    Attempt {
        id: AttemptId::fresh(),
        generation,
        n: 1,
        shard: 1,
        version: 0,
        state: AttemptState::Submitting,
        slot: 0,
        first_output: 0,
        output_count: 1,
        provider: "p".into(),
        account: "a".into(),
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
        not_after: now,
        handle: None,
        created_at: now,
        submitted_at: None,
        unconfirmed_since: None,
        updated_at: now,
        ended_at: None,
        price: Micros(0),
        cost: None,
        charged: false,
        failure: None,
        lost_at: None,
        released_at: None,
    }
}

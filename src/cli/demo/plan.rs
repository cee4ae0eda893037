//! What the demo submits, and how each of it must end. The directives in the prompts are the simulator's.

use serde_json::{Value, json};

/// How a submission must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// SUCCESS, with so many results.
    Success(usize),
    /// FAILED with this code.
    Failure(&'static str),
    /// CANCELLED, after the demo cancels it while it runs.
    Cancelled,
    /// Refused at once with this status.
    Refused(u16),
}

/// One submission.
#[derive(Debug, Clone)]
pub struct Submission {
    /// What it shows.
    pub label: &'static str,
    /// `modelIdentifier`.
    pub model: &'static str,
    /// The request.
    pub body: Value,
    /// How it must end.
    pub expected: Expected,
}

/// All of them.
#[must_use]
pub fn submissions() -> Vec<Submission> {
    let of = |label, model, body: Value, expected| Submission { label, model, body, expected };
    vec![
        of(
            "a video",
            "kling-2.6",
            json!({ "prompt": "a paper boat on a calm lake", "parameters": { "duration": 5 } }),
            Expected::Success(1),
        ),
        of("a video, new API", "kling-3.0-turbo", json!({ "prompt": "a lighthouse in the fog" }), Expected::Success(1)),
        of(
            "its answer is lost",
            "kling-2.5-turbo",
            json!({ "prompt": "a fox in the snow [[sim drop=after]]" }),
            Expected::Success(1),
        ),
        of("a video", "pollo-2.5", json!({ "prompt": "a kite over the dunes" }), Expected::Success(1)),
        of(
            "fails at the provider",
            "pollo-2.5",
            json!({ "prompt": "a city that never was [[sim fail=gpu_error]]" }),
            Expected::Failure("TASK_FAILED"),
        ),
        of("an image", "flux-schnell", json!({ "prompt": "a bowl of cherries" }), Expected::Success(1)),
        of(
            "cancelled while it runs",
            "flux-schnell",
            json!({ "prompt": "a very long exposure [[sim slow=60000]]" }),
            Expected::Cancelled,
        ),
        of("an image", "flux-2-pro", json!({ "prompt": "a glass teapot" }), Expected::Success(1)),
        of(
            "throttled at first",
            "flux-pro-1.1",
            json!({ "prompt": "a queue of umbrellas [[sim throttle=2]]" }),
            Expected::Success(1),
        ),
        of(
            "moderated",
            "flux-2-pro",
            json!({ "prompt": "something the provider refuses [[sim fail=moderated]]" }),
            Expected::Failure("CONTENT_FILTERED"),
        ),
        of(
            "two outputs",
            "tuzi-flux-kontext-pro",
            json!({ "prompt": "two red chairs", "numberOfOutputs": 2 }),
            Expected::Success(2),
        ),
        of(
            "refused: bad parameters",
            "kling-2.6",
            json!({ "prompt": "a minute of silence", "parameters": { "duration": 60, "durration": 5 } }),
            Expected::Refused(422),
        ),
    ]
}

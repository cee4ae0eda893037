//! `/api/admin/generations…`: submits whose outcome is or stayed unknown, over all projects, and what operators decide about them.

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Json, Path, Payload},
};
use serde::Serialize;
use serde_json::{Map, Value};
use url::form_urlencoded;
use utoipa::{IntoParams, ToSchema};

use crate::{
    config::load::nearest,
    domain::{
        error::ErrorCode,
        id::{AttemptId, GenerationId, ProjectId},
        money::Micros,
        time::Timestamp,
        unconfirmed::OnUnconfirmed,
    },
    http::{
        Api,
        auth::Caller,
        body,
        dto::{FailureView, OnUnconfirmedWord},
        problem::{Problem, ProblemBody},
    },
    intake::unconfirmed::{self, Doubt, Refusal, Subject},
    providers::schema::FieldError,
    store::Decision,
};

/// A page without `limit`.
const PAGE: u64 = 20;
/// A page at most: each row is read with its generation, evidence and decision.
const LARGEST_PAGE: u64 = 100;
/// Longest id of a provider's task that is taken.
const LONGEST_TASK: usize = 1_024;

/// A submit whose outcome is or stayed unknown.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = UnconfirmedSubmit)]
pub struct UnconfirmedView {
    /// Its generation.
    #[schema(value_type = String, example = "gen_01930000000070008000000000000000")]
    pub id: GenerationId,
    /// Which of its attempts.
    pub attempt: u16,
    /// The attempt's own id.
    #[schema(value_type = String, example = "att_01930000000070008000000000000000")]
    pub attempt_id: AttemptId,
    /// Whose it is.
    #[schema(value_type = String)]
    pub project: ProjectId,
    /// `unconfirmed`: still looked for; `given_up`: its generation did not wait for it, it is looked for slowly. New words may be added.
    pub stage: &'static str,
    /// Provider section.
    pub provider: String,
    /// Account at the provider, by its name in the configuration.
    pub account: String,
    /// `modelIdentifier`.
    pub model_identifier: String,
    /// What the provider was given to know it by.
    pub tag: String,
    /// What follows when nobody can say.
    #[schema(value_type = OnUnconfirmedWord)]
    pub on_unconfirmed: OnUnconfirmed,
    /// Since when its outcome is unknown.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// For how long, seconds.
    pub age_seconds: u64,
    /// What it costs if the provider has it: a decimal.
    #[schema(value_type = String, example = "0.350000")]
    pub at_risk: Micros,
    /// Of the amount.
    #[schema(example = "USD")]
    pub currency: &'static str,
    /// What its submit met.
    pub error: Option<FailureView>,
    /// Provider ids that were recorded for it.
    pub evidence: Vec<EvidenceView>,
    /// What was decided last.
    pub decision: Option<DecisionView>,
}

/// A recorded provider id.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Evidence)]
pub struct EvidenceView {
    /// The provider's id.
    pub provider_task: String,
    /// `answer`, `resend`, `lookup`, `webhook`, `operator`. New words may be added.
    pub source: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

/// What an operator decided.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = OperatorDecision)]
pub struct DecisionView {
    /// `adopt` or `lost`.
    pub decision: &'static str,
    /// The provider's id, of an adopt.
    pub provider_task: Option<String>,
    /// `cli`, or the id of the key.
    pub by: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// `open`, `done` or `refused`.
    pub outcome: &'static str,
    /// Why it was refused, or what came of it.
    pub reason: Option<String>,
}

/// A page of them.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = UnconfirmedSubmitList)]
pub struct UnconfirmedList {
    /// Newest first.
    pub data: Vec<UnconfirmedView>,
    /// Where the next page begins.
    pub next_cursor: Option<String>,
    /// Whether there is one.
    pub has_more: bool,
}

/// The query, for the document.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "documents the query; `read` reads it, to report everything wrong at once")]
pub struct Parameters {
    /// Which ones; there is `unconfirmed` only.
    #[param(required, example = "unconfirmed")]
    stage: String,
    /// Submits on a page.
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<u64>,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
}

/// What `POST …/resolve` takes.
#[derive(Debug, ToSchema)]
#[schema(as = Resolution, rename_all = "camelCase")]
#[expect(dead_code, reason = "documents the body; `resolution` reads it, to report everything wrong at once")]
pub struct ResolutionBody {
    /// `adopt`: the provider has it under `providerTask`; `lost`: it never had it.
    decision: DecisionWord,
    /// The provider's id of the task, or the URL at which it is polled where the id alone is not known (BFL); with `adopt` only.
    #[schema(required = false, max_length = 1024)]
    provider_task: String,
    /// The attempt's number, where several are in doubt.
    #[schema(required = false, minimum = 1)]
    attempt: u16,
}

/// What can be decided.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum DecisionWord {
    /// The provider has it.
    Adopt,
    /// The provider never had it.
    Lost,
}

/// Lists submits whose outcome is or stayed unknown.
///
/// Of all projects, newest first: those still looked for, and those whose generation did not wait.
#[utoipa::path(
    get, path = "/api/admin/generations", operation_id = "listUnconfirmed", tag = "operation", params(Parameters),
    responses(
        (status = 200, description = "A page.", body = UnconfirmedList),
        (status = "default", description = "What is wrong.", body = ProblemBody<'static>, content_type = "application/problem+json"),
    ),
    security(("key" = ["admin"]))
)]
pub async fn list(api: Data<Api>, request: HttpRequest) -> Result<Json<UnconfirmedList>, Problem> {
    let query = read(request.query_string()).map_err(Problem::invalid)?;
    let (reads, decisions) = (api.reads.clone(), api.decisions.clone());
    // One more than shown, to know whether there are more.
    let page = api.hop(async move { unconfirmed::page((&reads, &decisions), query.before, query.limit + 1).await }).await?;
    let now = api.clock.now();
    let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
    let next = page.get(limit).and_then(|_| page.get(limit.saturating_sub(1))).map(|doubt| doubt.attempt.id.to_string());
    let data = page.into_iter().take(limit).map(|doubt| view(doubt, now)).collect();
    Ok(Json(UnconfirmedList { data, has_more: next.is_some(), next_cursor: next }))
}

/// Decides about a submit whose outcome is or stayed unknown.
///
/// The decision is noted and carried out within moments: an id is believed only after the provider was asked for it, and what came of it
/// shows in the list.
#[utoipa::path(
    post, path = "/api/admin/generations/{id}/resolve", operation_id = "resolveUnconfirmed", tag = "operation",
    params(("id" = String, Path, description = "Id of the generation, or of the attempt.")), request_body = ResolutionBody,
    responses(
        (status = 202, description = "Noted; this is how it stands.", body = UnconfirmedView),
        (status = "default", description = "What is wrong.", body = ProblemBody<'static>, content_type = "application/problem+json"),
    ),
    security(("key" = ["admin"]))
)]
pub async fn resolve(
    api: Data<Api>,
    caller: Caller,
    id: Path<String>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let subject: Subject = id.parse().map_err(|error| Problem::new(ErrorCode::NotFound, format!("{error}")))?;
    let body = body::json(&request, payload, &api.config.server).await?;
    let (decision, n) = resolution(body).map_err(Problem::invalid)?;
    let subject = match subject {
        Subject::Generation(id, _) => Subject::Generation(id, n),
        attempt @ Subject::Attempt(_) => attempt,
    };
    let (reads, decisions, wake) = (api.reads.clone(), api.decisions.clone(), api.reconcile_wake.clone());
    let said = (caller.key.to_string(), api.clock.now());
    let decided = async move {
        let doubt = unconfirmed::decide((&reads, &decisions), subject, decision, said).await.map_err(refused)?;
        wake.one(doubt.attempt.id);
        Ok::<_, Problem>(doubt)
    };
    let doubt = api.hop(decided).await?;
    Ok(HttpResponse::Accepted().json(view(doubt, api.clock.now())))
}

fn refused(refusal: Refusal) -> Problem {
    match refusal {
        Refusal::Unknown => Problem::new(ErrorCode::NotFound, "there is no such generation or attempt"),
        Refusal::Several(_) | Refusal::Settled(_) => Problem::new(ErrorCode::Conflict, refusal.to_string()),
        Refusal::Store(error) => error.into(),
    }
}

fn view(doubt: Doubt, now: Timestamp) -> UnconfirmedView {
    let since = doubt.since();
    let Doubt { generation, attempt, evidence, decision } = doubt;
    let evidence =
        evidence.into_iter().map(|row| EvidenceView { provider_task: row.handle.task_id, source: row.source, at: row.at });
    let decision = decision.map(|row| DecisionView {
        decision: row.what.decision.as_str(),
        provider_task: row.what.decision.provider_task().map(str::to_owned),
        by: row.what.by,
        at: row.what.at,
        outcome: row.outcome.as_ref().map_or("open", crate::store::DecisionOutcome::as_str),
        reason: row.outcome.map(|outcome| outcome.reason().to_owned()),
    });
    UnconfirmedView {
        id: generation.id,
        attempt: attempt.n,
        attempt_id: attempt.id,
        project: generation.project,
        stage: attempt.state.as_str(),
        provider: attempt.provider.to_string(),
        account: attempt.account.to_string(),
        model_identifier: attempt.model.to_string(),
        on_unconfirmed: generation.on_unconfirmed,
        since,
        age_seconds: now.since(since).as_secs(),
        at_risk: attempt.price,
        currency: "USD",
        error: attempt.failure.as_ref().map(Into::into),
        tag: attempt.tag,
        evidence: evidence.collect(),
        decision,
    }
}

struct Query {
    limit: u64,
    before: Option<AttemptId>,
}

fn read(text: &str) -> Result<Query, Vec<FieldError>> {
    let mut query = Query { limit: PAGE, before: None };
    let (mut errors, mut staged) = (Vec::new(), false);
    let mut wrong = |name: &str, code, detail: String| errors.push(FieldError { pointer: format!("?{name}"), code, detail });
    for (name, value) in form_urlencoded::parse(text.as_bytes()) {
        match &*name {
            "stage" => {
                staged = true;
                if value != "unconfirmed" {
                    wrong("stage", "not_one_of", "must be unconfirmed".to_owned());
                }
            }
            "limit" => match value.parse().ok().filter(|limit| (1..=LARGEST_PAGE).contains(limit)) {
                Some(limit) => query.limit = limit,
                None => wrong("limit", "out_of_range", format!("must be between 1 and {LARGEST_PAGE}")),
            },
            "cursor" => match value.parse() {
                Ok(before) => query.before = Some(before),
                Err(_) => wrong("cursor", "invalid_cursor", "not a cursor of this list".to_owned()),
            },
            other => {
                let hint = nearest(other, ["stage", "limit", "cursor"]).map(|near| format!("; did you mean `{near}`?"));
                let shown: String = other.chars().take(64).collect();
                let detail = format!("not a parameter of this list{}", hint.unwrap_or_default());
                wrong(&shown, "unknown_parameter", detail);
            }
        }
    }
    if !staged {
        wrong("stage", "required", "must be given: unconfirmed".to_owned());
    }
    if errors.is_empty() { Ok(query) } else { Err(errors) }
}

fn resolution(body: Value) -> Result<(Decision, Option<u16>), Vec<FieldError>> {
    let Value::Object(mut given) = body else {
        return Err(vec![field("", "wrong_type", "must be an object".to_owned())]);
    };
    given.retain(|_, value| !value.is_null());
    let mut errors = Vec::new();
    let decision = decision(&given, &mut errors);
    let n = given.get("attempt").map(|value| value.as_u64().and_then(|n| u16::try_from(n).ok()).filter(|n| *n > 0));
    if n == Some(None) {
        errors.push(field("/attempt", "out_of_range", "must be the number of an attempt".to_owned()));
    }
    let known = ["decision", "providerTask", "attempt"];
    for name in given.keys().filter(|name| !known.contains(&name.as_str())) {
        let shown: String = name.chars().filter(|c| c.is_ascii_alphanumeric()).take(64).collect();
        errors.push(field(&format!("/{shown}"), "unknown_member", format!("there are {}", known.join(", "))));
    }
    match decision {
        Some(decision) if errors.is_empty() => Ok((decision, n.flatten())),
        Some(_) | None => Err(errors),
    }
}

fn decision(given: &Map<String, Value>, errors: &mut Vec<FieldError>) -> Option<Decision> {
    let task = given.get("providerTask").map(Value::as_str);
    match (given.get("decision").and_then(Value::as_str), task) {
        (Some("lost"), None) => Some(Decision::Lost),
        (Some("lost"), Some(_)) => {
            errors.push(field("/providerTask", "conflict", "what is lost has no provider task".to_owned()));
            None
        }
        (Some("adopt"), Some(Some(task))) if !task.trim().is_empty() && task.len() <= LONGEST_TASK => {
            Some(Decision::Adopt { provider_task: task.trim().to_owned() })
        }
        (Some("adopt"), _) => {
            errors.push(field(
                "/providerTask",
                "required",
                format!("must be the provider's id, at most {LONGEST_TASK} characters"),
            ));
            None
        }
        (_, _) => {
            errors.push(field("/decision", "not_one_of", "must be adopt or lost".to_owned()));
            None
        }
    }
}

fn field(at: &str, code: &'static str, detail: String) -> FieldError {
    FieldError { pointer: format!("#{at}"), code, detail }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_resolution_says_one_of_two_things_and_everything_wrong_is_said_at_once() {
        let adopt = Decision::Adopt { provider_task: "t-1".to_owned() };
        assert_eq!(resolution(json!({"decision": "adopt", "providerTask": " t-1 "})), Ok((adopt, None)));
        assert_eq!(resolution(json!({"decision": "lost", "attempt": 2, "providerTask": null})), Ok((Decision::Lost, Some(2))));
        let wrong = |body: Value| -> Vec<_> {
            resolution(body).unwrap_err().into_iter().map(|error| (error.pointer, error.code)).collect()
        };
        assert_eq!(wrong(json!({"decision": "adopt"})), [("#/providerTask".to_owned(), "required")]);
        assert_eq!(wrong(json!({"decision": "lost", "providerTask": "t"})), [("#/providerTask".to_owned(), "conflict")]);
        let all = wrong(json!({"decision": "maybe", "attempt": 0, "more": 1}));
        assert_eq!(all.iter().map(|(at, _)| at.as_str()).collect::<Vec<_>>(), ["#/decision", "#/attempt", "#/more"]);
        assert_eq!(wrong(json!([])), [("#".to_owned(), "wrong_type")]);
    }

    #[test]
    fn the_list_needs_its_stage_and_takes_no_other() {
        assert!(read("stage=unconfirmed&limit=100").is_ok());
        let wrong = |text: &str| -> Vec<_> { read(text).err().unwrap().into_iter().map(|error| error.code).collect() };
        assert_eq!(wrong(""), ["required"]);
        assert_eq!(
            wrong("stage=running&limit=0&cursor=x&stag=y"),
            ["not_one_of", "out_of_range", "invalid_cursor", "unknown_parameter"]
        );
    }
}

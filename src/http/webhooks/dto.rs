//! The bodies of webhooks' endpoints and deliveries. Members are only ever added.

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::{
    time::Timestamp,
    webhook::{Delivery, Destination, Endpoint},
};

/// What makes or changes an endpoint.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase", as = NewWebhook)]
#[expect(dead_code, reason = "documents the body; intake::webhooks reads it, to report everything wrong at once")]
pub struct NewEndpoint {
    /// Where to, https.
    url: String,
    /// For people.
    #[schema(required = false)]
    description: String,
    /// Such as `generation.completed` or `batch.*`. Null: the ends of generations and batches, and late results.
    #[schema(required = false)]
    event_types: Option<Vec<String>>,
    /// Whether anything is sent to it.
    #[schema(required = false, default = true)]
    enabled: bool,
}

/// An endpoint.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Webhook)]
pub struct EndpointView {
    /// Id.
    pub id: String,
    /// Where to.
    pub url: String,
    /// For people.
    pub description: String,
    /// Null: the ends of generations and batches, and late results.
    pub event_types: Option<Vec<String>>,
    /// Whether anything is sent to it.
    pub enabled: bool,
    /// Why not: it was switched off, answered 410, or failed for five days.
    pub disabled_reason: Option<String>,
    /// Since when every try has failed.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub failing_since: Option<Timestamp>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Last change.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    /// Its secret; only in the answer that makes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

impl EndpointView {
    /// As its owner sees it.
    pub fn of(endpoint: &Endpoint) -> Self {
        Self {
            id: endpoint.id.to_string(),
            url: endpoint.url.clone(),
            description: endpoint.description.clone(),
            event_types: endpoint.kinds.clone(),
            enabled: endpoint.disabled_at.is_none(),
            disabled_reason: endpoint.disabled_reason.clone(),
            failing_since: endpoint.failing_since,
            created_at: endpoint.created_at,
            updated_at: endpoint.updated_at,
            secret: None,
        }
    }
}

/// The endpoints of a project.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WebhookList)]
pub struct EndpointList {
    /// All of them, by age.
    pub data: Vec<EndpointView>,
}

/// What signs.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = WebhookSecret)]
pub struct SecretView {
    /// For a Standard Webhooks library.
    #[schema(example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]
    pub secret: String,
    /// Until when the one before signs along; null when none does.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub previous_until: Option<Timestamp>,
}

/// One event on its way to one place.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = WebhookDelivery)]
pub struct DeliveryView {
    /// Id.
    pub id: String,
    /// `webhook-id`: the same over all tries.
    pub message_id: String,
    /// Such as `generation.completed`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The endpoint; null for a URL that was named with a generation or a batch.
    pub endpoint_id: Option<String>,
    /// That URL.
    pub url: Option<String>,
    /// The generation.
    pub generation_id: Option<String>,
    /// The batch.
    pub batch_id: Option<String>,
    /// `pending`, `delivered`, `failed` or `dropped`.
    pub status: &'static str,
    /// Tries so far.
    pub tries: u16,
    /// HTTP status of the last answer.
    pub last_status: Option<u16>,
    /// The beginning of the last answer, at most 500 characters.
    pub last_answer: Option<String>,
    /// Why there was none.
    pub last_error: Option<String>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Last try.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub tried_at: Option<Timestamp>,
    /// Next try; null when there is none.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_try_at: Option<Timestamp>,
}

impl DeliveryView {
    /// As its owner sees it.
    pub fn of(delivery: &Delivery) -> Self {
        let (endpoint_id, url) = match &delivery.to {
            Destination::Endpoint(id) => (Some(id.to_string()), None),
            Destination::Url(url) => (None, Some(url.clone())),
        };
        Self {
            id: delivery.id.to_string(),
            message_id: delivery.message(),
            kind: delivery.told.kind.to_string(),
            endpoint_id,
            url,
            generation_id: delivery.told.generation.map(|id| id.to_string()),
            batch_id: delivery.told.batch.map(|id| id.to_string()),
            status: delivery.state.as_str(),
            tries: delivery.tries,
            last_status: delivery.status,
            last_answer: delivery.answer.clone(),
            last_error: delivery.error.clone(),
            created_at: delivery.created_at,
            tried_at: delivery.tried_at,
            next_try_at: delivery.ended_at.is_none().then_some(delivery.next_at),
        }
    }
}

/// A page of deliveries, the newest first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = WebhookDeliveryList)]
pub struct DeliveryList {
    /// The page.
    pub data: Vec<DeliveryView>,
    /// Give it as `before` for the next page; null at the end.
    pub next_cursor: Option<String>,
    /// Whether a next page may hold more.
    pub has_more: bool,
}

/// What is to be sent once more.
#[derive(Debug, ToSchema)]
#[schema(as = WebhookReplay)]
#[expect(dead_code, reason = "documents the body; the handler reads it, to report everything wrong at once")]
pub struct ReplayBody {
    /// What was made since then.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    /// `failed` (default): every try has failed; `dropped`: given up without one, such as while the endpoint was disabled.
    #[schema(required = false, value_type = String, example = "failed")]
    status: String,
}

/// How much is sent once more.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WebhookReplayed)]
pub struct ReplayView {
    /// Deliveries that begin anew.
    pub replayed: u64,
}

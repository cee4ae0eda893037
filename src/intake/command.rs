//! The pure judgement on a request: which model, which values, what it will cost, when it lapses. Time and chance are
//! arguments.

use std::{sync::Arc, time::Duration};

use crate::{
    domain::{
        generation::{GenerationState, Progress},
        id::{GenerationId, KeyId, ProjectId},
        limits::Limits,
        record::{Generation, GenerationRequest, Shard},
        slots::Slots,
        time::Timestamp,
        unconfirmed::OnUnconfirmed,
    },
    intake::ask::{Ask, field, may_be_called},
    net::guard::Allow,
    providers::{
        catalogue::{Catalogue, Model},
        registry::Registry,
        schema::{Asked, FieldError, normalise, wrong_for_any_model},
    },
    store::Birth,
};

/// Where the client says nothing: the middle of 1 (most urgent) to 10.
const PRIORITY: u8 = 5;

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Everything that is wrong with it.
    Invalid(Vec<FieldError>),
    /// It is right, but its provider takes nothing: why.
    Unavailable(String),
}

/// Who asks, and when.
#[derive(Debug, Clone)]
pub struct Standing {
    /// The key's project.
    pub project: ProjectId,
    /// The key.
    pub key: KeyId,
    /// Follows the request through logs.
    pub request_id: Arc<str>,
    /// Now.
    pub now: Timestamp,
    /// How long it may wait unsubmitted.
    pub queue_deadline: Duration,
    /// Drawn by the caller among the shards this node holds.
    pub shard: Shard,
    /// What may be promised a UTC day.
    pub limits: Limits,
    /// What follows an unknown submit where neither the request nor the provider's section says.
    pub on_unconfirmed: OnUnconfirmed,
    /// Where webhooks may be sent.
    pub webhooks: Arc<Allow>,
}

/// Turns a request into the entry that the journal writes. `errors` are those that reading it has found already.
///
/// # Errors
/// Everything that is wrong, at once; or, when nothing is, why the provider takes nothing.
pub fn birth(
    mut ask: Ask,
    errors: Vec<FieldError>,
    catalogue: &Catalogue,
    registry: &Registry,
    standing: Standing,
) -> Result<Birth, Refusal> {
    let mut errors = errors;
    // Of a body that is no object nothing more can be said.
    if errors.iter().any(|error| error.pointer == "#") {
        return Err(Refusal::Invalid(errors));
    }
    if let Some(mut error) =
        ask.webhook_url.as_deref().and_then(|url| may_be_called("/webhookUrl", url, &standing.webhooks).err())
    {
        ask.respell(&mut error);
        errors.push(error);
    }
    let model = model(&ask, catalogue, &mut errors).cloned();
    let request = request(model.as_deref(), &mut ask, &mut errors);
    let (Some(model), Some(request), true) = (model, request, errors.is_empty()) else {
        return Err(Refusal::Invalid(errors));
    };
    available(registry, &model)?;
    let limits = standing.limits;
    let of_section = registry.provider(&model.provider).and_then(|provider| provider.config.on_unconfirmed);
    let on_unconfirmed = ask.on_unconfirmed.or(of_section).unwrap_or(standing.on_unconfirmed);
    let standing = Standing { on_unconfirmed, ..standing };
    let priority = ask.priority.unwrap_or(PRIORITY);
    let generation = Generation { priority, ..generation(&model, &request, standing) };
    Ok(Birth { generation, request, limits, depends_on: Vec::new(), claim: None })
}

fn model<'a>(ask: &Ask, catalogue: &'a Catalogue, errors: &mut Vec<FieldError>) -> Option<&'a Arc<Model>> {
    let at = "/modelIdentifier";
    let Some(wanted) = &ask.model else {
        if !errors.iter().any(|error| error.pointer == format!("#{at}")) {
            errors.push(field(at, "required", "a model must be named; GET /api/external/models lists them"));
        }
        return None;
    };
    let model = catalogue.model(wanted);
    if model.is_none() {
        let shown: String = wanted.chars().take(100).collect();
        let hint = catalogue.nearest(wanted).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        errors.push(field(at, "unknown_model", format!("there is no model `{shown}`{hint}")));
    }
    model
}

fn request(model: Option<&Model>, ask: &mut Ask, errors: &mut Vec<FieldError>) -> Option<GenerationRequest> {
    let asked = Asked {
        prompt: ask.prompt.as_deref(),
        input_images: std::mem::take(&mut ask.input_images),
        number_of_outputs: ask.number_of_outputs,
        parameters: std::mem::take(&mut ask.parameters),
        results: std::mem::take(&mut ask.results),
    };
    let checked = match model {
        Some(model) => normalise(model, asked),
        None => Err(wrong_for_any_model(&asked)),
    };
    match checked {
        Ok(request) => Some(GenerationRequest {
            user_id: ask.user_id.take(),
            metadata: ask.metadata.take(),
            webhook_url: ask.webhook_url.take(),
            ..request
        }),
        Err(found) => {
            for mut error in found {
                ask.respell(&mut error);
                // A member whose type was wrong is not reported once more as missing.
                if !errors.iter().any(|known| known.pointer == error.pointer) {
                    errors.push(error);
                }
            }
            None
        }
    }
}

fn available(registry: &Registry, model: &Model) -> Result<(), Refusal> {
    let why = match registry.provider(&model.provider) {
        None => Some("it is not configured".to_owned()),
        Some(provider) => provider.disabled.clone(),
    };
    match why {
        None => Ok(()),
        Some(why) => Err(Refusal::Unavailable(format!("provider {} is disabled: {why}", model.provider))),
    }
}

fn generation(model: &Model, request: &GenerationRequest, standing: Standing) -> Generation {
    let outputs = request.number_of_outputs.max(1);
    let per_call = model.outputs_per_call.clamp(1, outputs);
    let state = GenerationState::Queued;
    Generation {
        id: GenerationId::fresh(),
        shard: standing.shard,
        project: standing.project,
        key: standing.key,
        version: 0,
        progress: Progress { state, slots: Slots::owed(outputs, per_call), not_before: standing.now, tries: 0 },
        born_state: state,
        outputs,
        per_call,
        provider: Arc::clone(&model.provider),
        model: Arc::clone(&model.id),
        kind: model.kind,
        priority: PRIORITY,
        call_price: model.call_price(&request.parameters, per_call),
        queue_deadline: standing.now.plus(standing.queue_deadline),
        created_at: standing.now,
        updated_at: standing.now,
        ended_at: None,
        cancel_requested_at: None,
        failure: None,
        request_id: standing.request_id,
        on_unconfirmed: standing.on_unconfirmed,
        batch: None,
        retry_of: None,
        replaced_by: None,
    }
}

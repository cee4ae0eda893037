//! The OpenAPI 3.1 document, made from the handlers. `openapi.json` at the root of the repository is this text, committed, so
//! that a change of the API shows in a review; tests hold that both are equal and that nothing is taken away.

use utoipa::{
    Modify, OpenApi,
    openapi::{
        OpenApi as Document,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use crate::http::{
    batches, docs, dto, events, generations, health, hooks, metrics, models, openai, problem, spend, unconfirmed, webhooks,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Longtake",
        description = "Runs AI generation jobs that take minutes. Errors are problem documents (RFC 9457). \
            Enumerations are open: new words may be added, nothing is taken away."
    ),
    paths(
        generations::create, generations::list, generations::show, generations::delete, generations::cancel,
        generations::history, batches::create, batches::list, batches::show, batches::tasks, batches::results, batches::cancel,
        batches::pause, batches::resume, batches::retry_failed, unconfirmed::list, unconfirmed::resolve, models::list, health::brief, health::detailed, metrics::render,
        openai::videos::create, openai::videos::list, openai::videos::show, openai::videos::delete, openai::videos::content,
        openai::images::create, openai::models::list, openai::models::show,
        hooks::receive, events::of_project, events::of_generation, events::of_batch, webhooks::create, webhooks::list, webhooks::show, webhooks::change,
        webhooks::delete, webhooks::secret, webhooks::rotate, webhooks::project_secret, webhooks::rotate_project, webhooks::test,
        webhooks::deliveries::list, webhooks::deliveries::of_endpoint, webhooks::deliveries::replay, webhooks::deliveries::replay_since, spend::spend, spend::ledger,
        docs::document, docs::to_page,
        docs::page, docs::error_page, media
    ),
    components(schemas(
        problem::ProblemBody<'static>, dto::FieldErrorBody, dto::FailureDetailsBody, batches::dto::NewLine, batches::dto::NewBatchOptions,
        batches::dto::SkippedBody, batches::dto::BatchStatusWord
    )),
    modifiers(&Keys),
    tags(
        (name = "generations", description = "What is to be made."),
        (name = "batches", description = "Many at once."),
        (name = "openai", description = "OpenAI's shapes, for programs that exist."),
        (name = "events", description = "What happens, as it happens."),
        (name = "models", description = "What can be asked for."),
        (name = "operation", description = "How the service is."),
        (name = "webhooks", description = "Where providers call back."),
        (name = "documents", description = "What it says about itself."),
    )
)]
struct Api;

struct Keys;

impl Modify for Keys {
    fn modify(&self, document: &mut Document) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("A key of the form `lt_…`; `admin` marks routes that need an admin key."))
            .build();
        document.components.get_or_insert_default().add_security_scheme("key", SecurityScheme::Http(scheme));
    }
}

/// A file of a result.
///
/// Where results are kept on this server's disk. The path itself is unguessable; no key is asked for.
#[utoipa::path(get, path = "/media/{key}", operation_id = "getMedia", tag = "documents",
    params(("key" = String, Path, description = "As given in a result's `url`.")),
    responses((status = 200, description = "The file."), (status = 206, description = "A part of it.")), security(()))]
#[expect(dead_code, reason = "documents the handler of http::media")]
fn media() {}

/// The document.
#[must_use]
pub fn document() -> Document {
    Api::openapi()
}

/// The document as it is committed and served.
#[must_use]
pub fn text() -> String {
    let mut text = document().to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

//! Every path of the service, with who may use it. A route that is not in this table does not exist.

use actix_web::{
    HttpRequest, HttpResponse, Route,
    guard::{self, Guard},
    http::{
        Method,
        header::{ALLOW, HeaderValue},
    },
    middleware::from_fn,
    web::{self, ServiceConfig},
};

use crate::{
    domain::error::ErrorCode,
    http::{
        Api,
        auth::{self, Access},
        batches, docs, edge, events, generations, health, hooks, media, metrics, models,
        openai::{self, images, videos},
        problem::Problem,
        spend, unconfirmed,
        webhooks::{self, deliveries},
    },
    storage::Storage,
};

/// One method of one path.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Method; a GET answers HEAD too.
    pub method: Method,
    /// Path, with `{names}`; `{tail:.*}` takes slashes.
    pub path: &'static str,
    /// Who may use it.
    pub access: Access,
    handler: fn() -> Route,
}

const fn entry(method: Method, path: &'static str, access: Access, handler: fn() -> Route) -> Entry {
    Entry { method, path, access, handler }
}

/// The table.
pub const ROUTES: &[Entry] = {
    use Access::{Admin, Client, Open};
    &[
        entry(Method::POST, "/api/external/generation", Client, || web::to(generations::create)),
        entry(Method::GET, "/api/external/generation", Client, || web::to(generations::list)),
        // Before the paths with an id: what is registered first is matched first, and `batch` would be an id.
        entry(Method::POST, "/api/external/generation/batch", Client, || web::to(batches::create)),
        entry(Method::GET, "/api/external/generation/batch", Client, || web::to(batches::list)),
        entry(Method::GET, "/api/external/generation/batch/{id}", Client, || web::to(batches::show)),
        entry(Method::GET, "/api/external/generation/batch/{id}/tasks", Client, || web::to(batches::tasks)),
        entry(Method::GET, "/api/external/generation/batch/{id}/results", Client, || web::to(batches::results)),
        entry(Method::POST, "/api/external/generation/batch/{id}/cancel", Client, || web::to(batches::cancel)),
        entry(Method::POST, "/api/external/generation/batch/{id}/pause", Client, || web::to(batches::pause)),
        entry(Method::POST, "/api/external/generation/batch/{id}/resume", Client, || web::to(batches::resume)),
        entry(Method::POST, "/api/external/generation/batch/{id}/retry-failed", Client, || web::to(batches::retry_failed)),
        entry(Method::GET, "/api/external/generation/{id}", Client, || web::to(generations::show)),
        entry(Method::DELETE, "/api/external/generation/{id}", Client, || web::to(generations::delete)),
        entry(Method::POST, "/api/external/generation/{id}/cancel", Client, || web::to(generations::cancel)),
        entry(Method::GET, "/api/external/generation/{id}/history", Client, || web::to(generations::history)),
        entry(Method::GET, "/api/external/generation/{id}/events", Client, || web::to(events::of_generation)),
        entry(Method::GET, "/api/external/generation/batch/{id}/events", Client, || web::to(events::of_batch)),
        entry(Method::POST, "/api/external/webhooks", Client, || web::to(webhooks::create)),
        entry(Method::GET, "/api/external/webhooks", Client, || web::to(webhooks::list)),
        entry(Method::GET, "/api/external/webhooks/secret", Client, || web::to(webhooks::project_secret)),
        entry(Method::POST, "/api/external/webhooks/secret/rotate", Client, || web::to(webhooks::rotate_project)),
        entry(Method::GET, "/api/external/webhooks/deliveries", Client, || web::to(deliveries::list)),
        entry(Method::POST, "/api/external/webhooks/deliveries/{id}/replay", Client, || web::to(deliveries::replay)),
        entry(Method::GET, "/api/external/webhooks/{id}", Client, || web::to(webhooks::show)),
        entry(Method::PATCH, "/api/external/webhooks/{id}", Client, || web::to(webhooks::change)),
        entry(Method::DELETE, "/api/external/webhooks/{id}", Client, || web::to(webhooks::delete)),
        entry(Method::GET, "/api/external/webhooks/{id}/secret", Client, || web::to(webhooks::secret)),
        entry(Method::POST, "/api/external/webhooks/{id}/rotate", Client, || web::to(webhooks::rotate)),
        entry(Method::POST, "/api/external/webhooks/{id}/test", Client, || web::to(webhooks::test)),
        entry(Method::GET, "/api/external/webhooks/{id}/deliveries", Client, || web::to(deliveries::of_endpoint)),
        entry(Method::POST, "/api/external/webhooks/{id}/replay", Client, || web::to(deliveries::replay_since)),
        entry(Method::GET, "/api/external/events", Client, || web::to(events::of_project)),
        entry(Method::GET, "/api/admin/generations", Admin, || web::to(unconfirmed::list)),
        entry(Method::POST, "/api/admin/generations/{id}/resolve", Admin, || web::to(unconfirmed::resolve)),
        entry(Method::GET, "/api/external/models", Client, || web::to(models::list)),
        entry(Method::POST, "/v1/videos", Client, || web::to(videos::create)),
        entry(Method::GET, "/v1/videos", Client, || web::to(videos::list)),
        entry(Method::GET, "/v1/videos/{id}", Client, || web::to(videos::show)),
        entry(Method::DELETE, "/v1/videos/{id}", Client, || web::to(videos::delete)),
        entry(Method::GET, "/v1/videos/{id}/content", Client, || web::to(videos::content)),
        entry(Method::POST, "/v1/images/generations", Client, || web::to(images::create)),
        entry(Method::GET, "/v1/models", Client, || web::to(openai::models::list)),
        entry(Method::GET, "/v1/models/{id}", Client, || web::to(openai::models::show)),
        // Providers have no key of ours: the URL is unguessable.
        entry(Method::POST, "/hooks/{provider}/{attempt}/{token}", Open, || web::to(hooks::receive)),
        entry(Method::GET, "/api/health", Open, || web::to(health::brief)),
        entry(Method::GET, "/api/health/detailed", Admin, || web::to(health::detailed)),
        entry(Method::GET, "/api/admin/spend", Admin, || web::to(spend::spend)),
        entry(Method::GET, "/api/admin/generations/{id}/ledger", Admin, || web::to(spend::ledger)),
        entry(Method::GET, "/api/metrics", Admin, || web::to(metrics::render)),
        entry(Method::GET, "/openapi.json", Open, || web::to(docs::document)),
        entry(Method::GET, "/docs", Open, || web::to(docs::to_page)),
        entry(Method::GET, "/docs/{tail:.*}", Open, || web::to(docs::page)),
        entry(Method::GET, "/errors/{slug}", Open, || web::to(docs::error_page)),
        // Unguessable keys stand in for a key: a result's URL is handed to browsers.
        entry(Method::GET, "/media/{key:.*}", Open, || web::to(file)),
    ]
};

/// Registers everything: the table, the answers to unknown paths and methods, and what every answer passes ([`edge`]).
pub fn configure(config: &mut ServiceConfig, api: web::Data<Api>) {
    let storage = web::Data::new(api.storage.clone());
    let mut scope = web::scope("").app_data(api).app_data(storage);
    let mut paths: Vec<&str> = ROUTES.iter().map(|entry| entry.path).collect();
    paths.dedup();
    for path in paths {
        let entries = || ROUTES.iter().filter(move |entry| entry.path == path);
        let mut resource = web::resource(path);
        for entry in entries() {
            resource = resource.route(route(entry));
        }
        let allow = allowed(entries());
        scope = scope.service(resource.default_service(web::to(move || not_allowed(allow.clone()))));
    }
    config.service(scope.default_service(web::to(nothing_here)).wrap(from_fn(edge::edge)));
}

fn route(entry: &Entry) -> Route {
    let access = entry.access;
    // The guard comes after the gate's wrap: a method that does not match must not be asked for a key.
    (entry.handler)().wrap(from_fn(move |request, next| auth::gate(access, request, next))).guard(method(entry))
}

fn method(entry: &Entry) -> impl Guard + use<> {
    let any = guard::Any(guard::Method(entry.method.clone()));
    if entry.method == Method::GET { any.or(guard::Head()) } else { any }
}

fn allowed<'a>(entries: impl Iterator<Item = &'a Entry>) -> HeaderValue {
    let methods: Vec<&str> = entries
        .flat_map(|entry| if entry.method == Method::GET { vec!["GET", "HEAD"] } else { vec![entry.method.as_str()] })
        .collect();
    HeaderValue::from_str(&methods.join(", ")).unwrap_or_else(|_| HeaderValue::from_static("GET"))
}

/// The storage's own handler knows nothing of problem documents.
async fn file(request: HttpRequest, storage: web::Data<Storage>) -> Result<HttpResponse, Problem> {
    Ok(media::media(request, storage).await?)
}

#[expect(clippy::unused_async, reason = "a handler")]
async fn not_allowed(allow: HeaderValue) -> Result<HttpResponse, Problem> {
    let detail = format!("this path takes {}", allow.to_str().unwrap_or_default());
    Err(Problem::new(ErrorCode::MethodNotAllowed, detail).with_header(ALLOW, allow))
}

async fn nothing_here() -> Result<HttpResponse, Problem> {
    Err(Problem::new(ErrorCode::NotFound, "there is no such path; /docs/ shows what there is"))
}

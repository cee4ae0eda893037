//! `/api/admin/spend` and the ledger of one generation: what was held, charged, given back and is at risk, over all projects.

mod query;
mod view;

use std::collections::BTreeMap;

use actix_web::{
    HttpRequest,
    web::{Data, Json, Path},
};

use crate::{
    domain::error::ErrorCode,
    http::{
        Api,
        problem::{Problem, ProblemBody},
    },
};

pub use query::Parameters;
pub use view::{LedgerView, SpendReport};

/// Shows what was spent.
///
/// Sums of the ledger by UTC day of the accept. What is held is promised and not billed; what is at risk may have been billed and nobody
/// could find out.
#[utoipa::path(
    get, path = "/api/admin/spend", operation_id = "getSpend", tag = "operation", params(Parameters),
    responses(
        (status = 200, description = "The report.", body = SpendReport),
        (status = "default", description = "What is wrong.", body = ProblemBody<'static>, content_type = "application/problem+json"),
    ),
    security(("key" = ["admin"]))
)]
pub async fn spend(api: Data<Api>, request: HttpRequest) -> Result<Json<SpendReport>, Problem> {
    let query = query::parse(request.query_string(), api.clock.now()).map_err(Problem::invalid)?;
    let (reads, keys, by) = (api.reads.clone(), api.keys.clone(), query.by.clone());
    let (projects, wanted) = {
        let wanted = query.clone();
        api.hop(async move { Ok::<_, Problem>((keys.projects().await?, wanted)) }).await?
    };
    let names: BTreeMap<_, _> = projects.into_iter().map(|project| (project.id, project.name)).collect();
    let filter = wanted.filter(&names).map_err(Problem::invalid)?;
    let found = api.hop(async move { reads.spend(&filter, &by).await }).await?;
    Ok(Json(view::report(&query, found, &names, &api.balances.all())))
}

/// Shows the ledger of a generation.
///
/// Every row that a commit wrote, and where the money of each attempt stands.
#[utoipa::path(
    get, path = "/api/admin/generations/{id}/ledger", operation_id = "getGenerationLedger", tag = "operation",
    params(("id" = String, Path, description = "Id of the generation, of any project.")),
    responses(
        (status = 200, description = "The ledger.", body = LedgerView),
        (status = "default", description = "What is wrong.", body = ProblemBody<'static>, content_type = "application/problem+json"),
    ),
    security(("key" = ["admin"]))
)]
pub async fn ledger(api: Data<Api>, id: Path<String>) -> Result<Json<LedgerView>, Problem> {
    let unknown = || Problem::new(ErrorCode::NotFound, "there is no such generation");
    let id = id.parse().map_err(|_| unknown())?;
    let reads = api.reads.clone();
    let (loaded, rows) = api.hop(async move { Ok::<_, Problem>((reads.load(id).await?, reads.ledger(id).await?)) }).await?;
    Ok(Json(view::ledger(&loaded.ok_or_else(unknown)?, &rows)))
}

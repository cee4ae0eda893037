//! What every route does that makes a generation: the judgement of intake, then one commit in a task that nobody cancels.

use std::{sync::Arc, time::Duration};

use crate::{
    domain::{error::ErrorCode, id::GenerationId},
    http::{Api, auth::Caller, edge::RequestId, idempotency::Ticket, problem::Problem},
    intake::{
        accept,
        ask::Ask,
        command::{self, Refusal, Standing},
    },
    providers::schema::FieldError,
    store::{Birth, StoreError},
};

/// What became of a request for a generation.
#[derive(Debug)]
pub enum Accepted {
    /// It was made just now.
    Now(Box<Birth>),
    /// An equal request has made it.
    Before(GenerationId),
}

impl Accepted {
    /// Reads the id that a claim holds.
    ///
    /// # Errors
    /// `INTERNAL_ERROR` when it is none.
    pub fn before(subject: &str) -> Result<Self, Problem> {
        let id = subject.parse().map_err(|_| Problem::new(ErrorCode::InternalError, "a stored claim cannot be read"))?;
        Ok(Self::Before(id))
    }
}

/// Judges a request and commits what it asks for.
///
/// # Errors
/// Everything that is wrong with it; `SERVICE_UNAVAILABLE` when nothing is taken; a limit's, an idempotency key's and the store's.
pub async fn accept(
    api: &Api,
    caller: Caller,
    request_id: RequestId,
    (ask, errors): (Ask, Vec<FieldError>),
    ticket: Option<Ticket>,
) -> Result<Accepted, Problem> {
    let standing = Standing {
        project: caller.project,
        key: caller.key,
        request_id: request_id.0,
        now: api.clock.now(),
        queue_deadline: Duration::from_secs(api.config.dispatch.queue_deadline_s),
        shard: rand::random(),
        limits: caller.limits,
        on_unconfirmed: api.config.dispatch.on_unconfirmed,
        webhooks: Arc::clone(&api.clerk.allow),
    };
    let mut birth = command::birth(ask, errors, &api.catalogue, &api.registry, standing).map_err(refused)?;
    birth.claim = ticket.as_ref().map(|ticket| ticket.claim(birth.generation.id.to_string()));
    let accepted = commit(api, birth, ticket).await?;
    if let Accepted::Now(birth) = &accepted {
        tracing::info!(generation.id = %birth.generation.id, model = %birth.generation.model, "generation accepted");
    }
    Ok(accepted)
}

fn refused(refusal: Refusal) -> Problem {
    match refusal {
        Refusal::Invalid(errors) => Problem::invalid(errors),
        Refusal::Unavailable(why) => Problem::new(ErrorCode::ServiceUnavailable, why),
    }
}

/// Committed and hinted at in one task. The ticket goes along: a client that leaves gives back nothing that is still under way.
async fn commit(api: &Api, birth: Birth, ticket: Option<Ticket>) -> Result<Accepted, Problem> {
    if api.draining.is_cancelled() {
        return Err(Problem::unavailable("the service is shutting down; nothing new is taken"));
    }
    let (room, cap, reads) = (api.room.clone(), api.config.server.max_unfinished, api.reads.clone());
    let (journal, wake) = (api.journal.clone(), api.dispatch_wake.clone());
    api.hop(async move {
        match room.below(cap, &reads).await {
            Ok(true) => {}
            Ok(false) => return Err(Problem::unavailable(format!("{cap} generations are unfinished; no more are taken"))),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "unfinished generations cannot be counted");
                return Err(Problem::unavailable("the database does not answer"));
            }
        }
        match (accept::accept(&journal, &wake, birth.clone()).await, ticket) {
            (Ok(()), _) => Ok(Accepted::Now(Box::new(birth))),
            // Another process was faster.
            (Err(StoreError::Claimed(before)), Some(ticket)) => Accepted::before(&ticket.same(before)?),
            (Err(error), _) => Err(error.into()),
        }
    })
    .await
}

//! A batch on its way in: a JSON body, or lines that are judged and stored while they come. Of lines memory holds one, the names of all
//! and two chunks; nothing is visible before the last one is right.

mod answers;
mod key;
mod lines;

use std::{sync::Arc, time::Duration};

use actix_web::{HttpRequest, HttpResponse, web::Payload};
use serde_json::{Map, Value, json};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{
    config::Config,
    domain::{
        batch::{Batch, BatchOptions, BatchPlace},
        claim::Fingerprint,
        error::ErrorCode,
        id::{BatchId, GenerationId},
    },
    http::{
        Api,
        auth::Caller,
        batches::{dto::AcceptedTask, view},
        body::{self, Form as BodyForm},
        edge::RequestId,
        idempotency,
        problem::Problem,
    },
    intake::{
        ask::{self, field},
        batch::{
            LineError, Location, Spot,
            document::{self, Form},
            expansion::Expansion,
            findings::Findings,
            judge::{Judge, Locate, Rejected, Rules},
            load::Loader,
            options::{self, LONGEST, Options},
            template::{self, Origin},
        },
        command::Standing,
    },
    providers::schema::FieldError,
    store::StoreError,
};
use key::Key;

/// What a key of batches is good for.
const ROUTE: &str = "POST /api/external/generation/batch";

/// Tasks, and requests of a dry run, that an answer holds: what one JSON body may bring.
const SHOWN: usize = 1_000;

/// Requests that are judged in one go, some 30 µs each: about a millisecond. Everybody else on this worker waits for so long at each of
/// his own steps; all the lines of a piece of 64 KiB, 20 ms, would cost each of them that several times over.
const STRETCH: usize = 32;

/// Bytes of text that a template may make of its rows: four bodies. Lines that are sent one by one have no such bound.
const MOST_EXPANDED: usize = 64 * 1024 * 1024;

/// Said when too much waits for the end of the batch.
const HELD: &str =
    "with `onInvalid` = `skip`, too many requests come before those they depend on; put them behind, or use `reject`";

/// Room for batches that come as lines.
#[derive(Debug, Clone)]
pub struct Uploads(Arc<Semaphore>);

impl Uploads {
    /// As much as the configuration allows.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        Self(Arc::new(Semaphore::new(config.batches.uploads)))
    }

    fn enter(&self) -> Result<SemaphorePermit<'_>, Problem> {
        self.0.try_acquire().map_err(|_| Problem::unavailable("as many batches as may arrive at a time are arriving"))
    }
}

/// Takes a batch in and answers.
///
/// # Errors
/// Everything that is wrong with it; then nothing was created.
pub async fn answer(
    api: &Api,
    (caller, request_id): (Caller, RequestId),
    request: &HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    if api.draining.is_cancelled() {
        return Err(Problem::unavailable("the service is shutting down; nothing new is taken"));
    }
    room(api).await?;
    let form = body::form(request)?;
    let key = Key::of(idempotency::enter(api, caller, request.headers(), ROUTE).await?);
    let query = options::of_query(request.query_string());
    let mut arrival = Arrival { api, caller, request_id, query, key };
    match form {
        BodyForm::Json => {
            let body = body::json(request, payload, &api.config.server).await?;
            let whole = json!({"query": arrival.query, "body": body});
            arrival.key = arrival.key.decide(Fingerprint::of_json(&whole))?;
            from_json(arrival, member(whole, "body")).await
        }
        BodyForm::Lines => {
            let _place = api.uploads.enter()?;
            let longest = Duration::from_secs(api.config.batches.upload_s);
            tokio::time::timeout(longest, lines::take(arrival, payload)).await.unwrap_or_else(|_| {
                Err(Problem::new(ErrorCode::InvalidRequest, "the lines did not arrive in time; nothing was created"))
            })
        }
    }
}

fn member(mut whole: Value, name: &str) -> Value {
    whole.get_mut(name).map(Value::take).unwrap_or_default()
}

async fn room(api: &Api) -> Result<(), Problem> {
    let (room, cap, reads) = (api.room.clone(), api.config.server.max_unfinished, api.reads.clone());
    let below = api.hop(async move { room.below(cap, &reads).await }).await?;
    if below { Ok(()) } else { Err(Problem::unavailable(format!("{cap} generations are unfinished; no more are taken"))) }
}

async fn from_json(arrival: Arrival<'_>, body: Value) -> Result<HttpResponse, Problem> {
    let document = document::read(body).map_err(Problem::invalid)?;
    let (most, count) = (arrival.api.config.batches.max_requests, document.form.count());
    if count > most {
        let detail =
            format!("a JSON body makes at most {most} requests, this one {count}; send lines (application/x-ndjson) for more");
        return Err(Problem::invalid(vec![field("", "too_many", detail)]));
    }
    let mut upload = arrival.begin(document.options, None);
    match document.form {
        Form::Requests(requests) => {
            let at = |index: u32, pointer: &str| place(format!("#/requests/{index}{}", pointer.trim_start_matches('#')));
            for (index, request) in (0..).zip(requests) {
                upload.take(Spot { index, line: None }, request, &|pointer| at(index, pointer)).await?;
            }
            upload.finish(&|spot| at(spot.index, "#")).await
        }
        Form::Expansion(expansion) => {
            upload.expand(&expansion, None).await?;
            upload.finish(&|spot| place(expansion.at(usize_of(spot.index)))).await
        }
    }
}

const fn place(pointer: String) -> Location {
    Location { pointer, line: None }
}

/// What is wrong with the frame of a batch.
fn refused(errors: Vec<FieldError>, line: Option<u32>) -> Problem {
    let mut findings = Findings::default();
    errors.into_iter().for_each(|error| findings.add(LineError { index: None, line, error }));
    Problem::invalid_batch(findings)
}

fn usize_of(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Who sends a batch, before its options are known.
pub(super) struct Arrival<'a> {
    api: &'a Api,
    caller: Caller,
    request_id: RequestId,
    query: Map<String, Value>,
    key: Key,
}

impl<'a> Arrival<'a> {
    /// Reads the options; `line` is where they stand in a body of lines.
    fn begin(self, given: Map<String, Value>, line: Option<u32>) -> Upload<'a> {
        let Self { api, caller, request_id, query, key } = self;
        let now = api.clock.now();
        let (options, errors) = options::read(query, given, (now, &api.clerk.allow));
        let standing = Standing {
            project: caller.project,
            key: caller.key,
            request_id: request_id.0,
            now,
            queue_deadline: LONGEST,
            shard: rand::random(),
            limits: caller.limits,
            on_unconfirmed: api.config.dispatch.on_unconfirmed,
            webhooks: Arc::clone(&api.clerk.allow),
        };
        let batch = Batch {
            name: options.name.clone(),
            metadata: options.metadata.clone(),
            ..Batch::loading(BatchId::fresh(), (caller.project, caller.key), standing.shard, chosen(&options), now)
        };
        let load = (!options.dry_run && key.stores())
            .then(|| Loader::new(api.journal.clone(), api.runtime.clone(), api.clock.clone(), batch.clone()));
        let max_resubmits = api.config.dispatch.max_resubmits;
        let (catalogue, registry) = (Arc::clone(&api.catalogue), Arc::clone(&api.registry));
        let rules = Rules { catalogue, registry, standing, options, max_resubmits };
        let of_query = |error: &FieldError| error.pointer.starts_with('?');
        let errors = errors.into_iter().map(|error| LineError { index: None, line: line.filter(|_| !of_query(&error)), error });
        let judge = Judge::new(rules, errors.collect());
        Upload { api, caller, batch: batch.id, key, judge, stretch: 0, load, tasks: Vec::new(), requests: Vec::new() }
    }
}

fn chosen(options: &Options) -> BatchOptions {
    BatchOptions {
        parallel: options.parallel,
        max_concurrency: options.at_once(),
        stop_on_error: options.stop_on_error,
        priority: options.priority,
        deadline: options.deadline,
        budget: options.budget,
        on_unconfirmed: options.on_unconfirmed,
        webhook_url: options.webhook_url.clone(),
    }
}

/// A batch that is being judged and, unless it is a dry run, stored.
pub(super) struct Upload<'a> {
    api: &'a Api,
    caller: Caller,
    batch: BatchId,
    key: Key,
    judge: Judge,
    /// Requests since others had their turn.
    stretch: usize,
    load: Option<Loader>,
    /// The first that were taken.
    tasks: Vec<AcceptedTask>,
    /// Of a dry run: the first as they would be taken.
    requests: Vec<(GenerationId, Value)>,
}

impl Upload<'_> {
    /// A line of a body of lines.
    async fn line(&mut self, spot: Spot, value: Result<Value, FieldError>, frame: &lines::Frame) -> Result<(), Problem> {
        let at = |pointer: String| Location { pointer, line: spot.line };
        let errors = match (value, &frame.template) {
            (Err(error), _) => vec![error],
            (Ok(value), None) => return self.take(spot, value, &|pointer| at(pointer.to_owned())).await,
            (Ok(Value::Object(row)), Some(template)) => match template.fill(&row) {
                Err(errors) => errors,
                Ok(request) => {
                    let locate = |pointer: &str| match template.origin(&row, pointer) {
                        Origin::Row(within) => at(format!("#{within}")),
                        Origin::Template => {
                            Location { pointer: format!("#/template{}", pointer.trim_start_matches('#')), line: frame.head }
                        }
                    };
                    return self.take(spot, request, &locate).await;
                }
            },
            (Ok(value), Some(_)) => vec![ask::wrong_type("", "an object", &value)],
        };
        self.unlike(spot, errors);
        Ok(())
    }

    /// A line that is no request, or no row.
    fn unlike(&mut self, spot: Spot, errors: Vec<FieldError>) {
        let located = |error: FieldError| LineError { index: Some(spot.index), line: spot.line, error };
        self.unreadable(spot, errors.into_iter().map(located).collect());
    }

    /// All requests of an expansion.
    async fn expand(&mut self, expansion: &Expansion, line: Option<u32>) -> Result<(), Problem> {
        let mut made = 0_usize;
        for index in 0..u32::try_from(expansion.count()).unwrap_or(u32::MAX) {
            let (spot, place) = (Spot { index, line }, usize_of(index));
            match expansion.request(place) {
                Ok(request) => {
                    made = made.saturating_add(template::weight(&request));
                    if made > MOST_EXPANDED {
                        let detail = format!("expanded, the requests are larger than {MOST_EXPANDED} bytes; give images as URLs");
                        return Err(refused(vec![field("", "too_large", detail)], line));
                    }
                    let locate = |pointer: &str| Location { pointer: expansion.place(place, pointer), line };
                    self.take(spot, request, &locate).await?;
                }
                Err(errors) => {
                    let located = |error| LineError { index: Some(index), line, error };
                    self.unreadable(spot, errors.into_iter().map(located).collect());
                }
            }
        }
        Ok(())
    }

    fn unreadable(&mut self, spot: Spot, errors: Vec<LineError>) {
        self.judge.unreadable(spot, errors);
        self.give_up_when_lost();
    }

    async fn take(&mut self, spot: Spot, request: Value, locate: Locate<'_>) -> Result<(), Problem> {
        self.stretch += 1;
        if self.stretch >= STRETCH {
            self.stretch = 0;
            tokio::task::yield_now().await;
        }
        let Some(mut taken) = self.judge.take(spot, request, locate) else {
            self.give_up_when_lost();
            return Ok(());
        };
        let custom_id = taken.custom_id.as_deref().map(Arc::from);
        taken.birth.generation.batch = Some(BatchPlace { id: self.batch, index: spot.index, custom_id });
        match &mut self.load {
            None if self.judge.options().dry_run && self.requests.len() < SHOWN => {
                self.requests.push((taken.birth.generation.id, answers::expanded(&taken)))
            }
            None => {}
            Some(load) => {
                if self.tasks.len() < SHOWN {
                    self.tasks.push(view::accepted(&taken.birth.generation));
                }
                if taken.certain {
                    load.take(taken.birth).await?;
                } else if load.hold(taken.birth).is_err() {
                    return Err(refused(vec![field("", "too_many_forward", HELD)], spot.line));
                }
            }
        }
        Ok(())
    }

    /// What was stored is of no use any more.
    fn give_up_when_lost(&mut self) {
        if let Some(load) = self.load.as_mut().filter(|_| self.judge.lost()) {
            load.discard();
        }
    }

    async fn finish(self, whole: &dyn Fn(Spot) -> Location) -> Result<HttpResponse, Problem> {
        let Self { api, caller, batch, key, judge, stretch: _, load, mut tasks, mut requests } = self;
        let options = judge.options();
        let (at_once, dry_run) = (options.at_once(), options.dry_run);
        // What was stored goes with the loader when the verdict is no.
        let verdict = judge.finish(whole);
        if let (Key::Before(id), false) = (&key, dry_run) {
            return answers::again(api, caller, *id, verdict.ok()).await;
        }
        let accepted = verdict.map_err(|rejected| match rejected {
            Rejected::Invalid(findings) => Problem::invalid_batch(findings),
            Rejected::Unavailable(why) => Problem::new(ErrorCode::ServiceUnavailable, why),
        })?;
        tasks.retain(|task| !accepted.gone.contains(&task.id));
        requests.retain(|(id, _)| !accepted.gone.contains(id));
        let Some(load) = load else {
            return Ok(answers::dry(api, at_once, accepted, requests.into_iter().map(|(_, request)| request).collect()));
        };
        let ticket = if let Key::New(ticket) = key { Some(ticket) } else { None };
        let claim = ticket.as_ref().map(|ticket| ticket.claim(batch.to_string()));
        let batch = match (load.show(&accepted.gone, caller.limits, claim).await, ticket) {
            (Err(StoreError::Claimed(before)), Some(ticket)) => {
                return answers::again(api, caller, key::overtaken(&ticket, before)?, Some(accepted)).await;
            }
            (shown, _) => shown?,
        };
        api.dispatch_wake.everywhere();
        tracing::info!(batch.id = %batch.id, tasks = accepted.total, skipped = accepted.left_out, "batch accepted");
        Ok(answers::created(api, &batch, accepted, tasks))
    }
}

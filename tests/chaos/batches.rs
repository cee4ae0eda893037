//! The clients' batches: asked for under a key, steered, looked at again and again, and none left behind that waits for its client.

use std::{sync::Arc, time::Duration};

use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::runtime::Handle;

use crate::{
    api::{Api, Keyed},
    bed::Bed,
    drive::Clients,
    fault::Link,
    judge::{Invariant, batches::look, text},
    keyed::{Came, definite, id},
    schedule::batches::{BatchAsk, Kind, Steer},
};

/// Between two tries of what a client does to its batch, and how many there are at most: some minutes.
const BREATH: Duration = Duration::from_millis(300);
const TRIES: u32 = 400;

/// A budget that suffices for everything, millionths.
const PLENTY: u64 = 1_000_000_000;

/// What is known of a batch: what its client wished, noted before it is sent since an answer may be lost, and how it was seen.
#[derive(Debug, Clone, Default)]
pub struct Followed {
    /// Answered with 202.
    pub promised: bool,
    pub cancelled: bool,
    pub paused: bool,
    pub retries: u64,
    /// The largest one ever wished, millionths.
    pub budget: Option<u64>,
    /// The tasks of the first answer.
    tasks: Vec<String>,
    /// As it was when it had ended.
    ended: Option<Value>,
}

impl Clients {
    /// Asks for every batch of the schedule; returns when the last was answered and steered.
    pub async fn ask_batches(&self, bed: &Arc<Bed>, api: &Api) {
        let asks = bed.world.schedule.batches.clone();
        let asking: Vec<_> = asks
            .into_iter()
            .map(|ask| {
                let (clients, bed, api) = (self.clone(), Arc::clone(bed), api.clone());
                Handle::current().spawn(async move { clients.ask_batch(&bed, &api, &ask).await })
            })
            .collect();
        for one in asking {
            // A client that panics has said so.
            drop(one.await);
        }
    }

    async fn ask_batch(&self, bed: &Bed, api: &Api, ask: &BatchAsk) {
        let world = &bed.world;
        tokio::time::sleep(Duration::from_millis(ask.at_ms.saturating_sub(world.now_ms()))).await;
        let seed = world.schedule.recipe.seed;
        let (content_type, body) = ask.body(seed, &bed.receiver.url());
        let key = format!("b{} {:016x}", ask.number, rand::random::<u64>());
        let keyed = Keyed { path: "/api/external/generation/batch", content_type, body, key };
        self.uses(&keyed, &ask.name(seed));
        let answer = match self.insist(bed, api, (&keyed, ask.twice)).await {
            Came::Made(answer) => answer,
            Came::Refused(StatusCode::UNPROCESSABLE_ENTITY, _) if ask.kind == Kind::Reject => return,
            Came::Refused(status, why) => {
                return self.outrage(Invariant::OneForAKey, format!("{} is refused: {status}: {why}", keyed.key));
            }
            Came::Nothing => return,
        };
        self.promise(bed, ask, &answer);
        if ask.again {
            self.repeat(bed, api, &keyed).await;
        }
        for (after, steer) in &ask.steers {
            tokio::time::sleep(Duration::from_millis(*after)).await;
            self.steer(bed, api, (id(&answer), *steer, None)).await;
        }
    }

    fn promise(&self, bed: &Bed, ask: &BatchAsk, answer: &Value) {
        let good = ask.good().count();
        let tasks: Vec<String> =
            answer["tasks"].as_array().into_iter().flatten().map(|task| text(&task["id"]).to_owned()).collect();
        if answer["totalTasks"] != good || tasks.len() != good || answer["skippedTasks"] != ask.lines.len() - good {
            let what =
                format!("{} of {good} good lines is answered as {} with {} tasks", id(answer), answer["totalTasks"], tasks.len());
            self.outrage(Invariant::BatchesAreWhole, what);
        }
        for line in ask.good().map(|index| &ask.lines[index]) {
            bed.world.promised();
            if let Some((fault, words)) = &line.directive {
                bed.world.made(Link::Provider, *fault, words);
            }
        }
        self.memory(|memory| {
            memory.promised.extend(tasks.iter().cloned());
            let followed = memory.batches.entry(id(answer).to_owned()).or_default();
            followed.promised = true;
            followed.budget = followed.budget.max(ask.budget);
            followed.tasks = tasks;
        });
    }

    /// Tells the service until it has heard it. What it means when nobody hears the answer counts as wished.
    async fn steer(&self, bed: &Bed, api: &Api, (id, steer, budget): (&str, Steer, Option<u64>)) {
        self.wish(id, |followed| match steer {
            Steer::CancelQueued | Steer::CancelAll => followed.cancelled = true,
            Steer::Pause => followed.paused = true,
            Steer::Resume => followed.budget = followed.budget.max(budget),
            Steer::Retry { .. } => followed.retries += 1,
        });
        let (verb, body) = match steer {
            Steer::CancelQueued => ("cancel", Some(json!({ "mode": "queued" }))),
            Steer::CancelAll => ("cancel", Some(json!({ "mode": "all" }))),
            Steer::Pause => ("pause", None),
            Steer::Resume => ("resume", budget.map(|budget| json!({ "budget": budget }))),
            Steer::Retry { forced } => ("retry-failed", Some(json!({ "force": forced }))),
        };
        for _ in 0..TRIES {
            let answer = api.steer(id, verb, body.as_ref()).await;
            bed.world.log(format_args!("{verb} {id}: {answer:?}"));
            match answer {
                Some(status) if status.is_success() => return,
                Some(status) if definite(status) => {
                    return self.outrage(Invariant::BatchesAreWhole, format!("{id}: {verb} is answered {status}"));
                }
                Some(_) | None => tokio::time::sleep(BREATH).await,
            }
            // A retry is carried out once for each time it is heard.
            if let Steer::Retry { .. } = steer {
                self.wish(id, |followed| followed.retries += 1);
            }
        }
        self.outrage(Invariant::BatchesAreWhole, format!("{id}: {verb} is never answered"));
    }

    fn wish(&self, id: &str, wish: impl FnOnce(&mut Followed)) {
        self.memory(|memory| wish(memory.batches.entry(id.to_owned()).or_default()));
    }

    /// One look at all batches.
    pub async fn look_at_batches(&self, bed: &Bed, api: &Api) {
        // Before the look: one that is promised meanwhile need not be seen by it.
        let known = self.memory(|memory| memory.batches.clone());
        // What cannot be read now is read the next time.
        let Ok(batches) = api.batches().await else { return };
        for batch in &batches {
            self.saw_batch(bed, batch);
        }
        let seen = |id: &str| batches.iter().any(|batch| text(&batch["batchId"]) == id);
        for (id, _) in known.iter().filter(|(id, followed)| followed.seen() && !seen(id)) {
            self.outrage(Invariant::PromisesEnd, format!("{id} was there, and is in no list any more"));
        }
    }

    /// Keeps a look at a batch: consistent in itself, whole, and once ended for good as it was, unless its client wants a retry.
    fn saw_batch(&self, bed: &Bed, batch: &Value) {
        let id = text(&batch["batchId"]);
        let schedule = &bed.world.schedule;
        let ask = schedule.batches.iter().find(|ask| ask.name(schedule.recipe.seed) == text(&batch["name"]));
        self.memory(|memory| {
            let followed = memory.batches.entry(id.to_owned()).or_default();
            let mut wrong = look(batch, ask, followed);
            let over = batch["progress"] == 100;
            let before = followed.ended.clone().filter(|_| followed.retries == 0);
            let now = over.then(|| batch.clone());
            let ends = |batch: &Value| {
                json!([
                    batch["status"],
                    batch["completedTasks"],
                    batch["failedTasks"],
                    batch["cancelledTasks"],
                    batch["completedAt"]
                ])
            };
            if let Some(before) = before.filter(|before| now.as_ref().map(ends) != Some(ends(before))) {
                wrong.push((Invariant::TerminalStays, format!("{id} had ended as {before} and is {batch}")));
            }
            followed.ended = now.or_else(|| followed.ended.take());
            memory.outrages.extend(wrong);
        });
    }

    /// In the calm: nobody else lets a batch go on that is paused.
    ///
    /// # Errors
    /// When the service cannot be read although nothing is in the way.
    pub async fn close_batches(&self, bed: &Bed, api: &Api) -> anyhow::Result<()> {
        self.look_at_batches(bed, api).await;
        for batch in api.batches().await?.iter().filter(|batch| batch["status"] == "PAUSED") {
            let id = text(&batch["batchId"]);
            // Half of those whose budget is used up stay with it.
            let cancelled = id.ends_with(|last: char| last.is_ascii_digit());
            let limited = !batch["cost"]["budget"].is_null();
            let how = if limited && cancelled { (Steer::CancelQueued, None) } else { (Steer::Resume, limited.then_some(PLENTY)) };
            self.steer(bed, api, (id, how.0, how.1)).await;
        }
        Ok(())
    }
}

impl Followed {
    fn seen(&self) -> bool {
        self.promised || self.ended.is_some()
    }

    /// The tasks of the first answer.
    pub fn first_tasks(&self) -> &[String] {
        &self.tasks
    }
}

//! The clients of a run: they ask, change their minds, and look again and again at what they were promised.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::runtime::Handle;

use crate::{
    api::{Api, Keyed, Looked},
    batches::Followed,
    bed::Bed,
    dice::Dice,
    fault::Link,
    judge::Invariant,
    keyed::{Asked, Came, id},
    schedule::Ask,
};

/// Between two looks at the promises; each looks at a few.
const LOOK: Duration = Duration::from_millis(150);
const LOOKED_AT: usize = 12;

/// What the clients remember.
#[derive(Debug, Default)]
pub struct Memory {
    /// Ids that were answered with 202.
    pub promised: Vec<String>,
    /// The first terminal view of each.
    pub terminal: BTreeMap<String, Value>,
    /// What they saw that must never be seen.
    pub outrages: Vec<(Invariant, String)>,
    /// What was answered to each idempotency key.
    pub asked: BTreeMap<String, Asked>,
    /// Batches that were answered with 202, and what each of all was seen as and wished for.
    pub batches: BTreeMap<String, Followed>,
}

#[derive(Debug, Clone, Default)]
pub struct Clients(Arc<Mutex<Memory>>);

/// What tells a generation from others: a twin has its sibling's.
fn prompt(seed: u64, ask: &Ask) -> String {
    let directive = ask.directive.as_ref().map_or_else(String::new, |(_, words)| format!(" {words}"));
    format!("s{seed} g{} [[sim slow={}{directive}]]", ask.number, ask.slow_ms)
}

/// The request, the same at every try. A twin has a key of its own.
fn keyed(receiver: &str, seed: u64, ask: &Ask) -> Keyed {
    let mut body = json!({ "modelIdentifier": ask.model, "prompt": prompt(seed, ask), "numberOfOutputs": ask.outputs });
    if let Some(policy) = ask.on_unconfirmed {
        body["onUnconfirmed"] = policy.into();
    }
    if ask.told {
        body["webhookUrl"] = format!("{receiver}/g/{}", ask.number).into();
    }
    Keyed {
        path: "/api/external/generation",
        content_type: "application/json",
        body: body.to_string().into_bytes(),
        key: format!("g{} {:016x}", ask.number, rand::random::<u64>()),
    }
}

/// Whether a status is an end.
pub fn terminal(shown: &Value) -> bool {
    matches!(shown["status"].as_str(), Some("SUCCESS" | "FAILED" | "CANCELLED"))
}

/// The part of a view that must not change once it is terminal.
pub fn settled(shown: &Value) -> Value {
    let files: Vec<_> =
        shown["results"].as_array().into_iter().flatten().map(|file| json!([file["index"], file["sha256"]])).collect();
    json!({ "status": shown["status"], "code": shown["error"]["code"], "results": files, "endedAt": shown["endedAt"] })
}

impl Clients {
    pub fn memory<T>(&self, change: impl FnOnce(&mut Memory) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn outrage(&self, invariant: Invariant, what: String) {
        self.memory(|memory| memory.outrages.push((invariant, what)));
    }

    /// What is remembered, at the end.
    pub fn take(&self) -> Memory {
        self.memory(std::mem::take)
    }

    /// Keeps a look; a terminal one must be as every terminal one before.
    pub fn saw(&self, id: &str, shown: &Value) {
        let now = terminal(shown).then(|| settled(shown));
        self.memory(|memory| {
            let what = match (memory.terminal.get(id), now) {
                (None, None) => return,
                (None, Some(now)) => return drop(memory.terminal.insert(id.to_owned(), now)),
                (Some(before), Some(now)) if *before == now => return,
                (Some(before), Some(now)) => format!("{id} changed after its end: {before} became {now}"),
                (Some(before), None) => format!("{id} was {} and is {} again", before["status"], shown["status"]),
            };
            memory.outrages.push((Invariant::TerminalStays, what));
        });
    }

    /// Asks for everything in the schedule; returns when the last was answered.
    pub async fn ask_all(&self, bed: &Arc<Bed>, api: &Api) {
        let asks = bed.world.schedule.asks.clone();
        let asking: Vec<_> = asks
            .into_iter()
            .map(|ask| {
                let (clients, bed, api) = (self.clone(), Arc::clone(bed), api.clone());
                Handle::current().spawn(async move { clients.ask(&bed, &api, ask).await })
            })
            .collect();
        for one in asking {
            // A client that panics has said so.
            drop(one.await);
        }
    }

    async fn ask(&self, bed: &Bed, api: &Api, ask: Ask) {
        let world = &bed.world;
        tokio::time::sleep(Duration::from_millis(ask.at_ms.saturating_sub(world.now_ms()))).await;
        let keyed = keyed(&bed.receiver.url(), world.schedule.recipe.seed, &ask);
        let prompt = prompt(world.schedule.recipe.seed, &ask);
        self.uses(&keyed, &prompt);
        let id = match self.insist(bed, api, (&keyed, ask.twice)).await {
            Came::Made(answer) => id(&answer).to_owned(),
            Came::Refused(status, why) => {
                self.outrage(Invariant::OneForAKey, format!("{} is refused: {status}: {why}", keyed.key));
                return;
            }
            Came::Nothing => return,
        };
        if let Some((fault, _)) = &ask.directive {
            world.made(Link::Provider, *fault, &prompt);
        }
        world.promised();
        self.memory(|memory| memory.promised.push(id.clone()));
        if ask.again {
            self.repeat(bed, api, &keyed).await;
        }
        if ask.other {
            let body = String::from_utf8_lossy(&keyed.body).replace(&prompt, &format!("{prompt} otherwise"));
            self.misuse(bed, api, &Keyed { body: body.into_bytes(), ..keyed }).await;
        }
        if let Some(after) = ask.cancel_after_ms {
            tokio::time::sleep(Duration::from_millis(after)).await;
            let noted = api.cancel(&id).await;
            world.log(format_args!("cancel {id}: {noted}"));
        }
    }

    /// Looks at promises until the storm is over.
    pub async fn watch(&self, bed: &Arc<Bed>, api: &Api) {
        let mut dice = Dice::of(bed.world.schedule.recipe.seed, "watch", 0);
        while bed.world.storm() {
            let promised = self.memory(|memory| memory.promised.clone());
            let chosen: Vec<String> =
                if promised.is_empty() { Vec::new() } else { (0..LOOKED_AT).map(|_| dice.pick(&promised).clone()).collect() };
            for id in chosen {
                self.look(api, &id).await;
            }
            self.look_at_batches(bed, api).await;
            tokio::time::sleep(LOOK).await;
        }
    }

    /// One look at one promise.
    pub async fn look(&self, api: &Api, id: &str) {
        match api.look(id).await {
            Looked::Shown(shown) => self.saw(id, &shown),
            Looked::Gone => self.outrage(Invariant::PromisesEnd, format!("{id} was acknowledged and is not there")),
            Looked::Nothing => {}
        }
    }

    pub fn promised(&self) -> Vec<String> {
        self.memory(|memory| memory.promised.clone())
    }
}

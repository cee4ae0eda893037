//! The clients of a run: they ask, change their minds, and look again and again at what they were promised.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::runtime::Handle;

use crate::{
    api::{Api, Looked, Posted},
    bed::Bed,
    dice::Dice,
    fault::Link,
    schedule::Ask,
};

/// Between two looks at the promises; each looks at a few.
const LOOK: Duration = Duration::from_millis(150);
const LOOKED_AT: usize = 12;

/// A client asks again after no clear answer, with a prompt of its own each time.
const TRIES: u64 = 12;

/// Before it asks again.
const BREATH: Duration = Duration::from_millis(400);

/// What the clients remember.
#[derive(Debug, Default)]
pub struct Memory {
    /// Ids that were answered with 202.
    pub promised: Vec<String>,
    /// The first terminal view of each.
    pub terminal: BTreeMap<String, Value>,
    /// What they saw that must never be seen.
    pub outrages: Vec<String>,
    /// POSTs that got no clear answer.
    pub unanswered: u64,
}

#[derive(Debug, Clone, Default)]
pub struct Clients(Arc<Mutex<Memory>>);

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
    fn memory<T>(&self, change: impl FnOnce(&mut Memory) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What is remembered, at the end.
    pub fn take(&self) -> Memory {
        self.memory(std::mem::take)
    }

    /// Keeps a look; a terminal one must be as every terminal one before.
    pub fn saw(&self, id: &str, shown: &Value) {
        if !terminal(shown) {
            self.memory(|memory| {
                if let Some(before) = memory.terminal.get(id) {
                    memory.outrages.push(format!("{id} was {} and is {} again", before["status"], shown["status"]));
                }
            });
            return;
        }
        let now = settled(shown);
        self.memory(|memory| match memory.terminal.get(id) {
            None => drop(memory.terminal.insert(id.to_owned(), now)),
            Some(before) if *before == now => {}
            Some(before) => memory.outrages.push(format!("{id} changed after its end: {before} became {now}")),
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
        for one_try in 0..TRIES {
            let directive = ask.directive.as_ref().map_or_else(String::new, |(_, words)| format!(" {words}"));
            let number = ask.number;
            let prompt = format!("s{} g{number} t{one_try} [[sim slow={}{directive}]]", world.schedule.recipe.seed, ask.slow_ms);
            let mut body = json!({ "modelIdentifier": ask.model, "prompt": prompt, "numberOfOutputs": ask.outputs });
            if let Some(policy) = ask.on_unconfirmed {
                body["onUnconfirmed"] = policy.into();
            }
            match api.post(&body).await {
                Posted::Accepted(id) => {
                    world.log(format_args!("202 {id} {prompt}"));
                    if let Some((fault, _)) = &ask.directive {
                        world.made(Link::Provider, *fault, &prompt);
                    }
                    world.promised();
                    self.memory(|memory| memory.promised.push(id.clone()));
                    if let Some(after) = ask.cancel_after_ms {
                        tokio::time::sleep(Duration::from_millis(after)).await;
                        let noted = api.cancel(&id).await;
                        world.log(format_args!("cancel {id}: {noted}"));
                    }
                    return;
                }
                Posted::Refused(status) => world.log(format_args!("{status} {prompt}")),
                Posted::Unknown => {
                    self.memory(|memory| memory.unanswered += 1);
                    world.log(format_args!("no answer {prompt}"));
                }
            }
            tokio::time::sleep(BREATH).await;
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
            tokio::time::sleep(LOOK).await;
        }
    }

    /// One look at one promise.
    pub async fn look(&self, api: &Api, id: &str) {
        match api.look(id).await {
            Looked::Shown(shown) => self.saw(id, &shown),
            Looked::Gone => self.memory(|memory| memory.outrages.push(format!("{id} was acknowledged and is not there"))),
            Looked::Nothing => {}
        }
    }

    pub fn promised(&self) -> Vec<String> {
        self.memory(|memory| memory.promised.clone())
    }
}

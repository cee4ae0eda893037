//! The operators of a run: they look at the submits whose outcome is unknown, and decide about them, rightly and wrongly. They know
//! what operators know: our own list, and the provider's ledger.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::{
    api::{Api, Looked},
    bed::Bed,
    dice::Dice,
    drive::Clients,
    fault::{Fault, Link},
    judge::text,
};

/// Between two looks at the list.
const LOOK: Duration = Duration::from_millis(700);

/// A message that is held arrives up to five seconds late: only then is it certain that the provider has no more than its ledger says.
const SETTLED: Duration = Duration::from_millis(6_500);

/// Longest wait until decisions are carried out, once nothing is in the way.
const CARRIED_OUT: Duration = Duration::from_secs(20);

/// So many other generations are looked at to find one of the same provider.
const OTHERS: usize = 6;

/// One decision.
#[derive(Debug, Clone)]
pub struct Decided {
    /// Which kind it is: [`Fault::Adopt`], [`Fault::Misname`] or [`Fault::Forsake`].
    pub fault: Fault,
    pub generation: String,
    /// The attempt's number and its id.
    pub n: u64,
    pub attempt: String,
    /// What was named.
    pub task: String,
    /// It was answered that it is noted.
    pub noted: bool,
}

#[derive(Debug, Clone)]
pub struct Operators {
    admin: Api,
    client: Api,
    clients: Clients,
    decided: Arc<Mutex<Vec<Decided>>>,
}

impl Operators {
    pub fn new(admin: &Api, client: &Api, clients: &Clients) -> Self {
        Self { admin: admin.clone(), client: client.clone(), clients: clients.clone(), decided: Arc::default() }
    }

    /// The same when nothing is in the way any more.
    pub fn patient(&self) -> anyhow::Result<Self> {
        Ok(Self { admin: self.admin.patient()?, client: self.client.patient()?, ..self.clone() })
    }

    pub fn decided(&self) -> Vec<Decided> {
        self.decided.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks and decides until the storm is over.
    pub async fn work(&self, bed: &Bed) {
        while bed.world.storm() {
            tokio::time::sleep(LOOK).await;
            // What cannot be read now is read the next time.
            drop(self.round(bed).await);
        }
    }

    /// In the calm: what is in doubt and not in the ledger never was there. Then waits until every decision is carried out.
    ///
    /// # Errors
    /// When the service cannot be read although nothing is in the way.
    pub async fn close(&self, bed: &Bed) -> anyhow::Result<()> {
        let doubts = self.admin.doubts().await?;
        if !doubts.is_empty() && bed.world.schedule.recipe.chosen.allows(Link::Operator, Fault::Forsake) {
            tokio::time::sleep(SETTLED.saturating_sub(bed.world.calm_for())).await;
            let ledger = self.client.ledger(&bed.sandbox_url()).await?;
            for doubt in &doubts {
                let Looked::Shown(shown) = self.client.look(text(&doubt["id"])).await else { continue };
                if !ledger.iter().any(|entry| entry["prompt"] == shown["prompt"]) {
                    self.decide(bed, doubt, (Fault::Forsake, "")).await;
                }
            }
        }
        let carried_out = async {
            while self.admin.doubts().await?.iter().any(|doubt| doubt["decision"]["outcome"] == "open") {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Ok(())
        };
        // One that stays open is for the judge.
        tokio::time::timeout(CARRIED_OUT, carried_out).await.unwrap_or(Ok(()))
    }

    async fn round(&self, bed: &Bed) -> anyhow::Result<()> {
        let doubts = self.admin.doubts().await?;
        let ledger = self.client.ledger(&bed.sandbox_url()).await?;
        let decided = self.decided();
        for doubt in doubts.iter().filter(|doubt| !decided.iter().any(|before| before.attempt == text(&doubt["attemptId"]))) {
            let number = bed.world.now_ms();
            let mut dice = Dice::of(bed.world.schedule.recipe.seed, text(&doubt["attemptId"]), number);
            // Some are left alone, for some longer than for one look.
            let wanted = match dice.below(100) {
                0..40 => self.right(bed, doubt, &ledger).await.map(|task| (Fault::Adopt, task)),
                40..55 => Some((Fault::Misname, format!("never-made-{number}"))),
                55..70 => self.others(doubt, &mut dice).await.map(|task| (Fault::Misname, task)),
                _ => None,
            };
            if let Some((fault, task)) = wanted {
                self.decide(bed, doubt, (fault, &task)).await;
            }
        }
        Ok(())
    }

    /// The one task that the provider has for it, as an operator finds it in the provider's console. Only where no doubt is left: one
    /// attempt, one task, nobody else who asked for the same.
    async fn right(&self, bed: &Bed, doubt: &Value, ledger: &[Value]) -> Option<String> {
        let Looked::Shown(shown) = self.client.look(text(&doubt["id"])).await else { return None };
        let prompt = text(&shown["prompt"]);
        let twins = bed.world.schedule.asks.iter().filter(|ask| prompt.contains(&format!(" g{} ", ask.number))).count();
        let mut entries = ledger.iter().filter(|entry| entry["prompt"] == shown["prompt"]);
        let (first, second) = (entries.next()?, entries.next());
        // What answers at once has no task to ask for.
        let synchronous = text(&first["path"]).ends_with("images/generations");
        if twins != 1 || second.is_some() || synchronous || shown["attempts"].as_array()?.len() != 1 {
            return None;
        }
        let task = text(&first["taskId"]);
        // BFL knows a task at its polling URL alone.
        let flux = doubt["provider"] == "flux";
        Some(if flux { format!("{}/flux/v1/get_result?id={task}", bed.outbound.url()) } else { task.to_owned() })
    }

    /// A task of the same provider that another generation is known to have.
    async fn others(&self, doubt: &Value, dice: &mut Dice) -> Option<String> {
        let promised = self.clients.promised();
        for _ in 0..OTHERS {
            let id = promised.get(..1).map(|_| dice.pick(&promised))?;
            let Looked::Shown(shown) = self.client.look(id).await else { continue };
            let mut attempts = shown["attempts"].as_array()?.iter();
            let held = attempts.find(|attempt| attempt["provider"] == doubt["provider"] && shown["id"] != doubt["id"]);
            if let Some(task) = held.and_then(|attempt| attempt["providerTaskId"].as_str()) {
                return Some(task.to_owned());
            }
        }
        None
    }

    async fn decide(&self, bed: &Bed, doubt: &Value, (fault, task): (Fault, &str)) {
        if !bed.world.schedule.recipe.chosen.allows(Link::Operator, fault) {
            return;
        }
        let attempt = text(&doubt["attemptId"]);
        let body = match fault {
            Fault::Forsake => json!({ "decision": "lost" }),
            _ => json!({ "decision": "adopt", "providerTask": task }),
        };
        bed.world.made(Link::Operator, fault, format_args!("{attempt} {task}"));
        let noted = self.admin.resolve(attempt, &body).await == Some(StatusCode::ACCEPTED);
        let one = Decided {
            fault,
            generation: text(&doubt["id"]).to_owned(),
            n: doubt["attempt"].as_u64().unwrap_or(0),
            attempt: attempt.to_owned(),
            task: task.to_owned(),
            noted,
        };
        self.decided.lock().unwrap_or_else(PoisonError::into_inner).push(one);
    }
}

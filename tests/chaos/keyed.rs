//! Requests with an idempotency key: sent again and again, also twice at once, until there is an answer. What each answer says of its key
//! is remembered for the judge.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use reqwest::StatusCode;
use serde_json::Value;

use crate::{
    api::{Api, Keyed, Told},
    bed::Bed,
    drive::Clients,
    judge::{Invariant, text},
};

/// Before it is sent again.
const BREATH: Duration = Duration::from_millis(400);

/// A request that is not answered for so long, most of it in the calm, never will be.
const LONGEST: Duration = Duration::from_secs(300);

/// What was answered to a key.
#[derive(Debug, Default)]
pub struct Asked {
    /// Ids of what it made.
    pub ids: BTreeSet<String>,
    /// Answers that did not say that they are those of an earlier request.
    pub fresh: u32,
    /// Answers that did.
    pub replayed: u64,
    /// The prompt, or the name of the batch.
    pub names: String,
}

/// What came of a request in the end.
#[derive(Debug)]
pub enum Came {
    Made(Box<Value>),
    Refused(StatusCode, String),
    Nothing,
}

/// The id in an answer to a generation or a batch.
pub fn id(answer: &Value) -> &str {
    answer["batchId"].as_str().unwrap_or_else(|| text(&answer["id"]))
}

/// Whether sending the same again would be answered the same: not where the request was in flight, or came too slowly through a service
/// that was frozen.
pub fn definite(status: StatusCode) -> bool {
    let passing = [StatusCode::REQUEST_TIMEOUT, StatusCode::CONFLICT, StatusCode::TOO_MANY_REQUESTS];
    status.is_client_error() && !passing.contains(&status)
}

impl Clients {
    /// Sends until there is an answer.
    pub async fn insist(&self, bed: &Bed, api: &Api, (keyed, twice): (&Keyed, bool)) -> Came {
        let until = Instant::now() + LONGEST;
        while Instant::now() < until {
            let answers = if twice {
                let (one, other) = tokio::join!(api.send(keyed), api.send(keyed));
                vec![one, other]
            } else {
                vec![api.send(keyed).await]
            };
            answers.iter().for_each(|answer| self.heard(bed, keyed, answer));
            for answer in answers {
                match answer {
                    Told::Made { answer, .. } => return Came::Made(answer),
                    Told::Refused(status, why) if definite(status) => return Came::Refused(status, why),
                    Told::Refused(..) | Told::Nothing => {}
                }
            }
            tokio::time::sleep(BREATH).await;
        }
        self.outrage(Invariant::OneForAKey, format!("{} is never answered", keyed.key));
        Came::Nothing
    }

    /// Once more what was answered before.
    pub async fn repeat(&self, bed: &Bed, api: &Api, keyed: &Keyed) {
        let answer = api.send(keyed).await;
        self.heard(bed, keyed, &answer);
        if let Told::Refused(status, why) = &answer
            && definite(*status)
        {
            self.outrage(Invariant::OneForAKey, format!("{} was answered before, and now {status}: {why}", keyed.key));
        }
    }

    /// The same key for something else: it must be told from a repetition, and make nothing.
    pub async fn misuse(&self, bed: &Bed, api: &Api, keyed: &Keyed) {
        let answer = api.send(keyed).await;
        bed.world.log(format_args!("another request with the key {}: {answer}", keyed.key));
        match answer {
            Told::Made { answer, .. } => {
                self.outrage(Invariant::OneForAKey, format!("{} took another request for {}", keyed.key, id(&answer)));
            }
            Told::Refused(StatusCode::UNPROCESSABLE_ENTITY, _) | Told::Nothing => {}
            Told::Refused(status, why) if definite(status) => {
                self.outrage(Invariant::OneForAKey, format!("{} for another request: {status}: {why}", keyed.key));
            }
            Told::Refused(..) => {}
        }
    }

    fn heard(&self, bed: &Bed, keyed: &Keyed, answer: &Told) {
        bed.world.log(format_args!("key {}: {answer}", keyed.key));
        let Told::Made { answer, replayed } = answer else { return };
        self.memory(|memory| {
            let asked = memory.asked.entry(keyed.key.clone()).or_default();
            asked.ids.insert(id(answer).to_owned());
            asked.fresh += u32::from(!replayed);
            asked.replayed += u64::from(*replayed);
        });
    }

    /// A key comes into use.
    pub fn uses(&self, keyed: &Keyed, names: &str) {
        let asked = Asked { names: names.to_owned(), ..Asked::default() };
        self.memory(|memory| drop(memory.asked.insert(keyed.key.clone(), asked)));
    }
}

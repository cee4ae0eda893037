//! What a client says about its webhooks: endpoints with their secrets, tests and replays. Another project's endpoint is as unknown as
//! one that does not exist.

use std::sync::Arc;

use secrecy::SecretString;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::{
    domain::{
        id::{DeliveryId, EndpointId, ProjectId},
        time::Timestamp,
        webhook::{Delivery, DeliveryState, Endpoint, SecretAge, choosable},
    },
    intake::ask::may_be_called,
    net::{
        guard::Allow,
        signing::{Owner, Signer},
    },
    providers::schema::FieldError,
    store::{StoreError, Webhooks},
    wake::Wake,
};

/// Endpoints of a project at most: each event is looked up against all of them.
const MOST: usize = 50;
/// Longest description and URL, characters.
const LONGEST: usize = 2_048;

/// Why it was not done.
#[derive(Debug)]
pub enum Refusal {
    /// The project has none of that id.
    Unknown,
    /// As many as a project may have are there.
    Full,
    /// Nothing is sent to the endpoint.
    Disabled,
    /// Values that are wrong.
    Invalid(Vec<FieldError>),
    /// The store did not do it.
    Store(StoreError),
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// A secret as its owner sees it.
#[derive(Debug)]
pub struct Shown {
    /// `whsec_…`.
    pub secret: SecretString,
    /// Until when the one before signs along.
    pub previous_until: Option<Timestamp>,
}

/// Carries out what clients say. Clones share everything.
#[derive(Debug, Clone)]
pub struct Clerk {
    /// The rows.
    pub webhooks: Webhooks,
    /// What secrets are derived by.
    pub signer: Signer,
    /// Where endpoints may be.
    pub allow: Arc<Allow>,
    /// Wakes who delivers.
    pub wake: Wake<Uuid>,
}

impl Clerk {
    /// Makes an endpoint.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn create(&self, project: ProjectId, members: Map<String, Value>, now: Timestamp) -> Result<Endpoint, Refusal> {
        let mut endpoint = Endpoint {
            id: EndpointId::fresh(),
            project,
            url: String::new(),
            description: String::new(),
            kinds: None,
            secret: SecretAge::default(),
            created_at: now,
            updated_at: now,
            disabled_at: None,
            disabled_reason: None,
            failing_since: None,
        };
        self.take(&mut endpoint, members, now)?;
        if self.webhooks.endpoints(project).await?.len() >= MOST {
            return Err(Refusal::Full);
        }
        self.webhooks.insert(&endpoint).await?;
        Ok(endpoint)
    }

    /// Changes what is given of an endpoint.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn change(
        &self,
        (project, id): (ProjectId, EndpointId),
        members: Map<String, Value>,
        now: Timestamp,
    ) -> Result<Endpoint, Refusal> {
        let mut endpoint = self.find(project, id).await?;
        self.take(&mut endpoint, members, now)?;
        self.webhooks.update(&endpoint).await?;
        self.wake.one(id.0);
        Ok(endpoint)
    }

    /// The project's endpoint.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn find(&self, project: ProjectId, id: EndpointId) -> Result<Endpoint, Refusal> {
        let found = self.webhooks.endpoint(id).await?;
        found.filter(|endpoint| endpoint.project == project).ok_or(Refusal::Unknown)
    }

    /// Deletes an endpoint.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn delete(&self, project: ProjectId, id: EndpointId) -> Result<(), Refusal> {
        self.find(project, id).await?;
        self.webhooks.delete(id).await?;
        self.wake.one(id.0);
        Ok(())
    }

    /// The secret of an endpoint, or with none that of the project; a fresh one when it is to be rotated.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn secret(
        &self,
        project: ProjectId,
        endpoint: Option<EndpointId>,
        rotate: Rotate,
        now: Timestamp,
    ) -> Result<Shown, Refusal> {
        let next = |age: SecretAge| if rotate == Rotate::Now { age.rotated(now) } else { age };
        let (owner, age) = match endpoint {
            Some(id) => {
                let mut endpoint = self.find(project, id).await?;
                endpoint.secret = next(endpoint.secret);
                if rotate == Rotate::Now {
                    self.webhooks.update(&endpoint).await?;
                }
                (Owner::Endpoint(id), endpoint.secret)
            }
            None => {
                let age = next(self.webhooks.secret(project).await?);
                if rotate == Rotate::Now {
                    self.webhooks.set_secret(project, age).await?;
                }
                (Owner::Project(project), age)
            }
        };
        Ok(Shown { secret: self.signer.secret(owner, age.number), previous_until: age.previous_until(now) })
    }

    /// Sends an endpoint something to try it.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn test(&self, project: ProjectId, id: EndpointId, now: Timestamp) -> Result<Delivery, Refusal> {
        let delivery = Delivery::test(&self.find(project, id).await?, now);
        self.webhooks.deliver(&delivery).await?;
        self.wake.one(id.0);
        Ok(delivery)
    }

    /// Lets a delivery begin once more.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn replay(&self, project: ProjectId, id: DeliveryId, now: Timestamp) -> Result<Delivery, Refusal> {
        let ours = |found: Option<Delivery>| found.filter(|delivery| delivery.told.project == project).ok_or(Refusal::Unknown);
        ours(self.webhooks.delivery(id).await?)?;
        self.webhooks.replay(id, now).await?;
        self.wake.everywhere();
        ours(self.webhooks.delivery(id).await?)
    }

    /// Lets all deliveries to an endpoint begin once more that ended in this state and were made since then; how many.
    ///
    /// # Errors
    /// [`Refusal`]; `Disabled`, since each of them would be dropped.
    pub async fn replay_since(
        &self,
        (project, id): (ProjectId, EndpointId),
        which: (DeliveryState, Timestamp),
        now: Timestamp,
    ) -> Result<u64, Refusal> {
        if self.find(project, id).await?.disabled_at.is_some() {
            return Err(Refusal::Disabled);
        }
        let mut replayed = 0_u64;
        loop {
            let some = self.webhooks.replay_since(id, which, now).await?;
            replayed = replayed.saturating_add(some);
            // What begins anew has that state no longer.
            if some == 0 {
                self.wake.one(id.0);
                return Ok(replayed);
            }
        }
    }

    fn take(&self, endpoint: &mut Endpoint, members: Map<String, Value>, now: Timestamp) -> Result<(), Refusal> {
        let mut errors = Vec::new();
        for (name, value) in members {
            if let Err((code, detail)) = self.member(endpoint, &name, &value, now) {
                errors.push(FieldError { pointer: format!("#/{name}"), code, detail });
            }
        }
        if errors.is_empty() && endpoint.url.is_empty() {
            errors.push(FieldError { pointer: "#/url".to_owned(), code: "required", detail: "`url` is required".to_owned() });
        }
        endpoint.updated_at = now;
        if errors.is_empty() { Ok(()) } else { Err(Refusal::Invalid(errors)) }
    }

    fn member(&self, endpoint: &mut Endpoint, name: &str, value: &Value, now: Timestamp) -> Result<(), (&'static str, String)> {
        let text = || value.as_str().filter(|text| text.chars().count() <= LONGEST);
        let wrong = |what: &str| ("wrong_type", format!("`{name}` must be {what}"));
        match name {
            "url" => {
                let url = text().ok_or_else(|| wrong("a URL of at most 2,048 characters"))?;
                may_be_called("/url", url, &self.allow).map_err(|error| (error.code, error.detail))?;
                url.clone_into(&mut endpoint.url);
            }
            "description" => {
                text().ok_or_else(|| wrong("a text of at most 2,048 characters"))?.clone_into(&mut endpoint.description);
            }
            "eventTypes" => {
                endpoint.kinds = kinds(value).ok_or_else(|| wrong("null, or a list of event types such as `generation.*`"))?
            }
            "enabled" => match value.as_bool().ok_or_else(|| wrong("true or false"))? {
                true => (endpoint.disabled_at, endpoint.disabled_reason, endpoint.failing_since) = (None, None, None),
                false => {
                    endpoint.disabled_at = endpoint.disabled_at.or(Some(now));
                    endpoint.disabled_reason = endpoint.disabled_reason.take().or_else(|| Some("switched off".to_owned()));
                }
            },
            _ => {
                return Err(("unknown_parameter", "an endpoint has `url`, `description`, `eventTypes` and `enabled`".to_owned()));
            }
        }
        Ok(())
    }
}

/// Whether a secret is to be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotate {
    /// Only shown.
    No,
    /// A fresh one takes over; the one before signs along for a day.
    Now,
}

fn kinds(value: &Value) -> Option<Option<Vec<String>>> {
    match value {
        Value::Null => Some(None),
        Value::Array(chosen) if !chosen.is_empty() => {
            let kind = |chosen: &Value| chosen.as_str().filter(|chosen| choosable(chosen)).map(str::to_owned);
            chosen.iter().map(kind).collect::<Option<Vec<_>>>().map(Some)
        }
        Value::Array(_) | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => None,
    }
}

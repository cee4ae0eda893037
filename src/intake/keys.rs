//! Commands on keys and projects, for the command line (also beside a running server) and the demo.

use std::time::Duration;

use crate::{
    domain::{
        id::{KeyId, ProjectId},
        money::Micros,
        quota::Quotas,
        time::Timestamp,
    },
    intake::key_text::KeyText,
    store::{KeyRecord, Keys, Project, Scope, StoreError},
};

/// Why a command on keys was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum KeyCommandError {
    /// The database.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// No such project.
    #[error("there is no project named `{0}`; `longtake projects list` shows them")]
    NoProject(String),
    /// No such key.
    #[error("there is no key {0}; `longtake keys list` shows them")]
    NoKey(KeyId),
    /// It cannot be rotated any more.
    #[error("key {0} is revoked: create a new one instead")]
    Revoked(KeyId),
    /// A name that is not one.
    #[error("a name has 1 to 100 characters and no control characters")]
    Name,
    /// Taken.
    #[error("there is a project named `{0}` already")]
    ProjectTaken(String),
}

/// A key that was just made: the only moment its text exists outside the client.
#[derive(Debug, Clone)]
pub struct Minted {
    /// What was stored.
    pub record: KeyRecord,
    /// The key itself.
    pub text: KeyText,
}

/// Makes a key; without a project it belongs to the default one.
///
/// # Errors
/// An unknown project, an unusable name, or the store's own.
pub async fn create(
    keys: &Keys,
    name: &str,
    project: Option<&str>,
    scope: Scope,
    now: Timestamp,
) -> Result<Minted, KeyCommandError> {
    let name = checked(name)?;
    let project = match project {
        None => keys.default_project().await?,
        Some(wanted) => keys.project_by_name(wanted).await?.ok_or_else(|| KeyCommandError::NoProject(wanted.to_owned()))?,
    };
    mint(keys, name, (project.id, scope), Allowed::default(), now).await
}

/// Makes a successor of a key; the old one stays valid for `overlap`, so that clients can change over without a gap.
///
/// # Errors
/// An unknown or revoked key, or the store's own.
pub async fn rotate(keys: &Keys, id: KeyId, overlap: Duration, now: Timestamp) -> Result<Minted, KeyCommandError> {
    let old = keys.by_id(id).await?.ok_or(KeyCommandError::NoKey(id))?;
    if old.revoked_at.is_some() {
        return Err(KeyCommandError::Revoked(id));
    }
    let allowed = Allowed { daily_limit: old.daily_limit, quotas: old.quotas };
    let minted = mint(keys, old.name, (old.project, old.scope), allowed, now).await?;
    let end = now.plus(overlap);
    // A key that ends sooner keeps its end.
    if old.expires_at.is_none_or(|set| set > end) {
        keys.set_expiry(id, end).await?;
    }
    Ok(minted)
}

/// Takes a key's validity away for good; true when it had any. A server notices within its key cache's five seconds.
///
/// # Errors
/// An unknown key, or the store's own.
pub async fn revoke(keys: &Keys, id: KeyId, now: Timestamp) -> Result<bool, KeyCommandError> {
    keys.by_id(id).await?.ok_or(KeyCommandError::NoKey(id))?;
    Ok(keys.revoke(id, now).await?)
}

/// Sets what a key may promise a UTC day; none takes the limit away. A server notices within its key cache's five seconds.
///
/// # Errors
/// An unknown key, or the store's own.
pub async fn limit(keys: &Keys, id: KeyId, limit: Option<Micros>) -> Result<(), KeyCommandError> {
    if keys.limit_key(id, limit).await? { Ok(()) } else { Err(KeyCommandError::NoKey(id)) }
}

/// Sets what a key may ask of the service; what is not said here stays as it is. Answers what holds now. A server notices within its key
/// cache's five seconds.
///
/// # Errors
/// An unknown key, or the store's own.
pub async fn set_quotas(keys: &Keys, id: KeyId, change: QuotaChange) -> Result<Quotas, KeyCommandError> {
    let now = keys.by_id(id).await?.ok_or(KeyCommandError::NoKey(id))?.quotas;
    let quotas =
        Quotas { per_minute: change.per_minute.unwrap_or(now.per_minute), at_once: change.at_once.unwrap_or(now.at_once) };
    if keys.set_quotas(id, quotas).await? { Ok(quotas) } else { Err(KeyCommandError::NoKey(id)) }
}

/// What is newly said of a key, part by part; `Some(None)` gives the word back to the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QuotaChange {
    /// Requests a minute.
    pub per_minute: Option<Option<u32>>,
    /// Requests at a time.
    pub at_once: Option<Option<u32>>,
}

impl QuotaChange {
    /// Whether anything is said.
    #[must_use]
    pub fn any(self) -> bool {
        self != Self::default()
    }
}

/// Sets what a project may promise a UTC day; none takes the limit away. A server notices within its key cache's five seconds.
///
/// # Errors
/// An unknown project, or the store's own.
pub async fn limit_project(keys: &Keys, name: &str, limit: Option<Micros>) -> Result<(), KeyCommandError> {
    let unknown = || KeyCommandError::NoProject(name.to_owned());
    let project = keys.project_by_name(name).await?.ok_or_else(unknown)?;
    if keys.limit_project(project.id, limit).await? { Ok(()) } else { Err(unknown()) }
}

/// Makes a project.
///
/// # Errors
/// A taken or unusable name, or the store's own.
pub async fn create_project(keys: &Keys, name: &str) -> Result<Project, KeyCommandError> {
    let name = checked(name)?;
    if keys.project_by_name(&name).await?.is_some() {
        return Err(KeyCommandError::ProjectTaken(name));
    }
    Ok(keys.create_project(&name).await?)
}

/// What a key may spend and ask.
#[derive(Debug, Clone, Copy, Default)]
struct Allowed {
    daily_limit: Option<Micros>,
    quotas: Quotas,
}

async fn mint(
    keys: &Keys,
    name: String,
    (project, scope): (ProjectId, Scope),
    Allowed { daily_limit, quotas }: Allowed,
    now: Timestamp,
) -> Result<Minted, KeyCommandError> {
    let text = KeyText::mint();
    let record = KeyRecord {
        id: KeyId::fresh(),
        project,
        name,
        scope,
        hash: text.hash(),
        last4: text.last4().to_owned(),
        created_at: now,
        revoked_at: None,
        expires_at: None,
        daily_limit,
        quotas,
    };
    keys.insert(record.clone()).await?;
    Ok(Minted { record, text })
}

fn checked(name: &str) -> Result<String, KeyCommandError> {
    let name = name.trim();
    let fits = (1..=100).contains(&name.chars().count()) && !name.chars().any(char::is_control);
    if fits { Ok(name.to_owned()) } else { Err(KeyCommandError::Name) }
}

//! The lane of births: facts, so any node may write them and no fence applies; and what lets many count at once: a load that becomes
//! visible, and retries of batches. What must be limited globally is locked here only, before any row of a batch.

use sqlx::Error;
use uuid::Uuid;

use super::{
    Scope,
    books::{self, Writing},
    claims::{self, ClaimRow},
    connection::Connection,
    lane::{Lane, Written},
    limits, loads,
    retries::Retried,
    rows::Born,
    tables::{INSERT_DEPENDENCIES, INSERT_GENERATION_WEBHOOKS, INSERT_GENERATIONS, INSERT_PAYLOADS},
    transitions::write,
};
use crate::{
    domain::{
        claim::Claimed,
        limits::{OverLimit, Promise},
    },
    store::{StoreError, loads::Publication},
};

/// The lane.
pub struct Births;

/// What is handed in.
#[derive(Debug)]
pub enum BirthStep {
    /// A generation of its own.
    Born(Box<Born>),
    /// A load becomes visible, unless its claim is another one's.
    Shown(Box<Publication>, Option<ClaimRow>),
    /// Lines of a batch are retried.
    Retry(Box<Retried>),
    /// A claim alone: the mistake that the proof must notice.
    Claim(ClaimRow),
}

/// What the lane answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivered {
    /// So many rows were written, or deleted.
    Done(usize),
    /// Refused by a limit; nothing was written.
    OverLimit(OverLimit),
    /// Its claim is another one's; nothing was written.
    Claimed(Claimed),
    /// What it goes on from is not there (any more); nothing was written.
    Gone,
}

impl BirthStep {
    /// What makes a load visible.
    pub fn shown(publication: Publication) -> Result<Self, StoreError> {
        let claim = publication.claim.as_ref().map(ClaimRow::of).transpose()?;
        Ok(Self::Shown(Box::new(publication), claim))
    }

    /// What it promises, to be judged by its limits.
    fn promise(&self) -> Option<Promise> {
        match self {
            Self::Born(born) => Some(born.promise),
            Self::Shown(publication, _) => Some(publication.promise),
            Self::Retry(retried) => Some(retried.promise),
            Self::Claim(_) => None,
        }
    }

    /// The claim that it takes.
    const fn claim(&self) -> Option<&ClaimRow> {
        match self {
            Self::Born(born) => born.claim.as_ref(),
            Self::Shown(_, claim) => claim.as_ref(),
            Self::Claim(claim) => Some(claim),
            Self::Retry(_) => None,
        }
    }

    const fn as_born(&self) -> Option<&Born> {
        match self {
            Self::Born(born) => Some(born),
            Self::Shown(..) | Self::Retry(_) | Self::Claim(_) => None,
        }
    }
}

impl Lane for Births {
    type Entry = BirthStep;
    type Answer = Delivered;

    const NAME: &'static str = "births";
    const MARK: i16 = 2;

    /// Two births with one claim take it one after the other. One load or retry a commit, whichever it is: a retry may write a thousand
    /// rows.
    fn key(entry: &BirthStep) -> Option<Uuid> {
        match entry {
            BirthStep::Born(born) => Some(born.claim.as_ref().map_or(born.id, |claim| claim.id)),
            BirthStep::Claim(claim) => Some(claim.id),
            BirthStep::Shown(..) | BirthStep::Retry(_) => Some(Uuid::nil()),
        }
    }

    async fn write(connection: &mut Connection, scope: &Scope, entries: &[&BirthStep]) -> Result<Written<Delivered>, Error> {
        let mut answers = judge(connection, entries).await?;
        let allowed = |answer: &Delivered| matches!(answer, Delivered::Done(_));
        let born: Vec<&Born> =
            entries.iter().zip(&answers).filter(|(_, answer)| allowed(answer)).filter_map(|(step, _)| step.as_born()).collect();
        insert(connection, scope, &born)?;
        for (step, answer) in entries.iter().zip(&mut answers).filter(|(_, answer)| allowed(answer)) {
            let written = match step {
                BirthStep::Born(_) | BirthStep::Claim(_) => continue,
                BirthStep::Shown(publication, _) => loads::publish(connection, scope, publication).await?,
                BirthStep::Retry(retried) => retried.write(connection, scope).await?,
            };
            if written.is_none() {
                let unused: Vec<Uuid> = step.claim().map(|claim| claim.id).into_iter().collect();
                claims::give_back(connection, &unused).await?;
            }
            *answer = written.map_or(Delivered::Gone, Delivered::Done);
        }
        let done = entries.iter().zip(&answers).filter(|(_, answer)| allowed(answer));
        claims::replace(connection, &done.filter_map(|(step, _)| step.claim()).collect::<Vec<_>>());
        let rows = answers.iter().map(|answer| if let Delivered::Done(rows) = answer { *rows } else { 0 }).sum();
        Ok(Written { answers, rows })
    }

    fn committed(scope: &Scope, entries: &[&BirthStep], answers: &[Delivered]) {
        for (step, answer) in entries.iter().zip(answers) {
            match (step, answer) {
                (BirthStep::Born(born), Delivered::Done(_)) => {
                    scope.recent.born(&born.generation, &born.request, born.payload.len());
                }
                (BirthStep::Retry(retried), _) => retried.committed(scope),
                (BirthStep::Shown(..), Delivered::Done(_)) => scope.watch.wrote(),
                // The lines of a load would drive everything else out of the memory, long before they are submitted.
                (BirthStep::Claim(_), _)
                | (
                    BirthStep::Born(_) | BirthStep::Shown(..),
                    Delivered::OverLimit(_) | Delivered::Claimed(_) | Delivered::Gone,
                ) => {}
            }
        }
    }

    fn unsure(scope: &Scope, entries: &[&BirthStep]) {
        for step in entries {
            if let BirthStep::Retry(retried) = step {
                retried.committed(scope);
            }
            if matches!(step, BirthStep::Shown(..)) {
                scope.watch.wrote();
            }
        }
    }
}

/// Judges what may be repeated and what is limited, in the order in which it came; but a retry last, since it may come to nothing after
/// that. Claims first: what was made before is answered although no limit would allow it any more.
async fn judge(connection: &mut Connection, entries: &[&BirthStep]) -> Result<Vec<Delivered>, Error> {
    let claims: Vec<_> = entries.iter().filter_map(|step| step.claim()).collect();
    let mut taken = claims::take(connection, &claims).await?;
    let mut answers: Vec<Delivered> = Vec::with_capacity(entries.len());
    for step in entries {
        let before = step.claim().and_then(|claim| taken.remove(&claim.id));
        answers.push(before.map_or(Delivered::Done(1), Delivered::Claimed));
    }
    let fresh = entries.iter().zip(&mut answers).filter(|(_, answer)| matches!(answer, Delivered::Done(_)));
    let mut limited: Vec<_> = fresh.filter_map(|(step, answer)| Some((step.promise()?, *step, answer))).collect();
    limited.sort_by_key(|(_, step, _)| matches!(step, BirthStep::Retry(_)));
    let promises: Vec<_> = limited.iter().map(|(promise, ..)| *promise).collect();
    let mut unused = Vec::new();
    for ((_, step, answer), judged) in limited.into_iter().zip(limits::check(connection, &promises).await?) {
        if let Err(over) = judged {
            unused.extend(step.claim().map(|claim| claim.id));
            *answer = Delivered::OverLimit(over);
        }
    }
    claims::give_back(connection, &unused).await?;
    Ok(answers)
}

fn insert(connection: &mut Connection, scope: &Scope, born: &[&Born]) -> Result<(), Error> {
    write_lines(connection, born);
    let booked: Vec<_> = born.iter().map(|born| &born.booked).collect();
    books::write(connection, &booked, Writing::Births.stripe(&scope.held))
}

/// Writes new generations, all but the books.
pub fn write_lines(connection: &mut Connection, born: &[&Born]) {
    let rows: Vec<&str> = born.iter().map(|born| born.row.as_str()).collect();
    write(connection, &INSERT_GENERATIONS, &rows);
    let payloads: Vec<&str> = born.iter().map(|born| born.payload.as_str()).collect();
    write(connection, &INSERT_PAYLOADS, &payloads);
    let dependencies: Vec<&str> = born.iter().flat_map(|born| &born.dependencies).map(String::as_str).collect();
    write(connection, &INSERT_DEPENDENCIES, &dependencies);
    let webhooks: Vec<&str> = born.iter().filter_map(|born| born.webhook.as_deref()).collect();
    write(connection, &INSERT_GENERATION_WEBHOOKS, &webhooks);
}

//! The reconciler. Woken by unknown outcomes, by evidence and by a slow sweep; finds out what became of each submit. It sends nothing of
//! its own, only the same once more where the provider refuses duplicates. If it dies, a new one reads the rows: `submitting` without a
//! flight, `unconfirmed`, and what has ended but may still be alive.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use actix::{Actor, AsyncContext, Context, WrapFuture};

use crate::{
    domain::{attempt::AttemptState, id::AttemptId, record::Attempt, time::Timestamp, unconfirmed::OnUnconfirmed},
    flights::Flights,
    observe::ChildContext,
    store::StoreError,
    submission::{
        flight::Submission,
        late,
        lookup::{self, learn},
        operators,
        reconcile::{Agenda, Pace},
    },
};

/// Rows a page.
const PAGE: u64 = 500;

/// How often the rows are looked through.
const SWEEP: Duration = Duration::from_secs(1);

/// How often ended attempts are looked through for late evidence; each is asked for more rarely.
const WATCH: Duration = Duration::from_secs(5);

/// Rows of evidence that a start looks through again, newest first: what a crash left unseen is among them.
const BACK: u64 = 10_000;

/// Rows of evidence read again at each look: on PostgreSQL a smaller number may become visible after a larger one.
const OVERLAP: i64 = 200;

/// The actor.
pub struct Reconciler {
    submission: Submission,
    submits: Arc<Flights<AttemptId>>,
    lookups: Arc<Flights<AttemptId>>,
    child: ChildContext,
}

impl Reconciler {
    /// A reconciler. `submits` says which attempts have a flight; `lookups` holds its own work in hand.
    #[must_use]
    pub const fn new(
        submission: Submission,
        submits: Arc<Flights<AttemptId>>,
        lookups: Arc<Flights<AttemptId>>,
        child: ChildContext,
    ) -> Self {
        Self { submission, submits, lookups, child }
    }
}

impl Actor for Reconciler {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.child.started();
        let rounds = Rounds {
            submission: self.submission.clone(),
            submits: Arc::clone(&self.submits),
            lookups: Arc::clone(&self.lookups),
            child: self.child.clone(),
            agenda: Mutex::default(),
            watched: Mutex::default(),
            decided: Mutex::default(),
            seen: Mutex::default(),
        };
        ctx.spawn(rounds.run().into_actor(self));
    }
}

struct Rounds {
    submission: Submission,
    submits: Arc<Flights<AttemptId>>,
    lookups: Arc<Flights<AttemptId>>,
    child: ChildContext,
    /// Of unconfirmed attempts.
    agenda: Mutex<Agenda>,
    /// Of ended ones.
    watched: Mutex<Agenda>,
    /// Of attempts about which an operator decided.
    decided: Mutex<Agenda>,
    seen: Mutex<Seen>,
}

/// How far the evidence was looked through.
#[derive(Debug, Default)]
struct Seen {
    cursor: Option<i64>,
    rows: HashSet<i64>,
}

impl Rounds {
    async fn run(self) {
        let mut sweep_at = self.submission.clock.now();
        let mut watch_at = sweep_at;
        loop {
            self.child.beat().await;
            self.child.pulse.works_since(self.lookups.oldest_since());
            let woken = tokio::select! {
                () = self.submission.clock.sleep_until(sweep_at) => HashSet::new(),
                () = self.child.beat_due() => continue,
                woken = self.submission.wakes.reconcile.next() => woken.ids,
            };
            if self.child.lifeline.check().is_err() {
                return;
            }
            let now = self.submission.clock.now();
            if let Err(error) = self.round(woken, now >= watch_at).await {
                tracing::warn!(error = %error, "a round of reconciliation failed; the sweep makes it again");
            }
            sweep_at = self.submission.clock.now().plus(SWEEP);
            if now >= watch_at {
                let pace = Duration::from_millis(self.submission.config.dispatch.watch_every_ms);
                watch_at = self.submission.clock.now().plus(pace.clamp(SWEEP, WATCH));
            }
        }
    }

    async fn round(&self, woken: HashSet<AttemptId>, watch: bool) -> Result<(), StoreError> {
        // Nothing is judged before what was spooled can be read.
        self.submission.store.spool().merge(&self.submission.journal, &self.submission.reads).await?;
        for attempt in self.all_in(AttemptState::Submitting).await? {
            // The flight is in its table before its intent is committed, so a row without one was left behind.
            if !self.submits.contains(&attempt.id) && !self.lookups.contains(&attempt.id) {
                learn(&self.submission, &attempt, lookup::orphaned()).await?;
            }
        }
        self.decisions().await?;
        for id in woken {
            self.news(id).await?;
        }
        self.unconfirmed().await?;
        if watch {
            self.watch().await?;
        }
        Ok(())
    }

    async fn unconfirmed(&self) -> Result<(), StoreError> {
        let open = self.all_in(AttemptState::Unconfirmed).await?;
        let ids: HashSet<_> = open.iter().map(|attempt| attempt.id).collect();
        self.agenda().keep(|id| ids.contains(&id));
        let (pace, now) = (Pace::searching(&self.submission.config.dispatch), self.submission.clock.now());
        for attempt in open {
            let provider = self.submission.registry.provider(&attempt.provider).map(|known| &**known);
            let rules = lookup::rules(&self.submission, provider);
            let marks = [rules.believable(&attempt), rules.give_up_at(&attempt, OnUnconfirmed::Fail)];
            if self.agenda().due(attempt.id, pace, &marks, now) {
                let _ = self.lookups.start(
                    attempt.id,
                    &self.child.sockets,
                    lookup::look_up(self.submission.clone(), attempt.clone()),
                );
            }
        }
        Ok(())
    }

    /// What operators decided goes first: they look at the answer. Of several decisions about one attempt the oldest is carried out first.
    async fn decisions(&self) -> Result<(), StoreError> {
        let open = self.submission.store.decisions().open(PAGE).await?;
        let ids: HashSet<_> = open.iter().map(|row| row.what.attempt).collect();
        self.decided().keep(|id| ids.contains(&id));
        let (pace, now) = (Pace::searching(&self.submission.config.dispatch), self.submission.clock.now());
        for row in open {
            let attempt = row.what.attempt;
            if self.decided().due(attempt, pace, &[], now) {
                let _ = self.lookups.start(attempt, &self.child.sockets, operators::carry_out(self.submission.clone(), row));
            }
        }
        Ok(())
    }

    /// Something new is known of an attempt, whatever state it is in.
    async fn news(&self, id: AttemptId) -> Result<(), StoreError> {
        let Some(attempt) = self.submission.reads.attempt(id).await? else { return Ok(()) };
        match attempt.state {
            AttemptState::Submitting => {}
            AttemptState::Unconfirmed => {
                let pace = Pace::searching(&self.submission.config.dispatch);
                self.agenda().pull(id, pace, self.submission.clock.now());
            }
            AttemptState::Running | AttemptState::Storing | AttemptState::Ended(_) => self.look(attempt),
        }
        Ok(())
    }

    fn look(&self, attempt: Attempt) {
        let _ = self.lookups.start(attempt.id, &self.child.sockets, late::look(self.submission.clone(), attempt));
    }

    /// What has ended is asked for slowly within the window; what was recorded counts however late it is.
    async fn watch(&self) -> Result<(), StoreError> {
        let config = &self.submission.config.dispatch;
        let now = self.submission.clock.now();
        let since = now.minus(Duration::from_secs(config.watch_s));
        let mut all = self.ended(since).await?;
        let ids: HashSet<_> = all.iter().map(|attempt| attempt.id).collect();
        self.watched().keep(|id| ids.contains(&id));
        all.retain(|attempt| self.watched().due(attempt.id, Pace::watching(config, spread(attempt.id)), &[], now));
        all.extend(self.submission.reads.given_up_with_evidence(PAGE).await?);
        all.into_iter().for_each(|attempt| self.look(attempt));
        self.evidence().await
    }

    async fn ended(&self, since: Timestamp) -> Result<Vec<Attempt>, StoreError> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = self.submission.reads.given_up(since, after, PAGE).await?;
            after = page.last().map(|attempt| attempt.id);
            let last = short(&page);
            all.extend(page);
            if last {
                break;
            }
        }
        after = None;
        loop {
            let page = self.submission.reads.timed_out(since, after, PAGE).await?;
            after = page.last().map(|attempt| attempt.id);
            let last = short(&page);
            all.extend(page);
            if last {
                return Ok(all);
            }
        }
    }

    /// Evidence whose wake was lost: an attempt that waits for it, or that has another task already.
    async fn evidence(&self) -> Result<(), StoreError> {
        let cursor = self.seen().cursor;
        let cursor = match cursor {
            Some(cursor) => cursor,
            None => self.submission.reads.found_evidence_start(BACK).await?,
        };
        let rows = self.submission.reads.found_evidence(cursor.saturating_sub(OVERLAP), PAGE).await?;
        let furthest = rows.last().map_or(cursor, |(id, _)| *id).max(cursor);
        for (id, row) in rows {
            if self.seen().rows.insert(id) {
                self.news(row.attempt).await?;
            }
        }
        let mut seen = self.seen();
        seen.cursor = Some(furthest);
        seen.rows.retain(|id| *id > furthest.saturating_sub(OVERLAP));
        Ok(())
    }

    async fn all_in(&self, state: AttemptState) -> Result<Vec<Attempt>, StoreError> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = self.submission.reads.attempts_in(state, after, PAGE).await?;
            after = page.last().map(|attempt| attempt.id);
            let last = short(&page);
            all.extend(page);
            if last {
                return Ok(all);
            }
        }
    }

    fn agenda(&self) -> MutexGuard<'_, Agenda> {
        self.agenda.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watched(&self) -> MutexGuard<'_, Agenda> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn decided(&self) -> MutexGuard<'_, Agenda> {
        self.decided.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether it is the last page. A corrupt row shortens a page, so rows behind it wait for the next sweep.
fn short(page: &[Attempt]) -> bool {
    u64::try_from(page.len()).unwrap_or(PAGE) < PAGE
}

/// 0..1, by the id.
fn spread(id: AttemptId) -> f64 {
    f64::from(id.0.as_fields().3.iter().fold(0_u16, |sum, byte| sum.wrapping_mul(31).wrapping_add(u16::from(*byte))))
        / f64::from(u16::MAX)
}

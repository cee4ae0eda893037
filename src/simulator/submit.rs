//! The one way in which every sandbox accepts a submit: faults, then limits, then the entry in the ledger, then the answer.
//!
//! A sandbox validates and builds an `Order`; its `Wire` puts each turn into the provider's words.

use std::sync::Arc;

use rand::RngExt as _;
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use serde_json::Value;

use super::faults::{Cut, Directives};
use super::files::sha256_hex;
use super::http::{Call, Reply};
use super::ledger::Entry;
use super::limits::{Slots, Window};
use super::media::Media;
use super::state::{Inner, Sim};
use super::tasks::{End, Hook, Task};
use super::{Provider, webhooks};

/// Says when a provider takes its money.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Billing {
    /// With the acceptance, whatever comes after.
    Submit,
    /// At the end, only if it succeeded.
    Success,
    /// At the end, failed or not, by the time it took: `micro_usd` is then the price of a second.
    End,
}

/// Holds a validated submit, before anything is decided about it.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) provider: Provider,
    pub(super) id: String,
    pub(super) family: String,
    pub(super) account: String,
    pub(super) model: String,
    pub(super) prompt: String,
    pub(super) input: Value,
    pub(super) external_id: Option<String>,
    pub(super) hook: Option<Hook>,
    /// What the ledger shows as `tag`, where it is neither the external id nor the webhook.
    pub(super) seed: Option<String>,
    pub(super) media: Media,
    pub(super) outputs: u32,
    pub(super) micro_usd: u64,
    pub(super) billing: Billing,
    pub(super) slots: Option<Slots>,
    /// Submits allowed in a window of seconds: (limit, seconds).
    pub(super) rate: Option<(u32, u64)>,
    /// Failure found only after acceptance, such as an image too small.
    pub(super) doomed: Option<String>,
    /// Time at which it is ended if it still runs (Replicate's `Cancel-After`).
    pub(super) deadline_ms: Option<u64>,
}

impl Order {
    /// Starts an order; the caller fills in what it knows more.
    pub(super) fn new(provider: Provider, account: &str, model: &str, prompt: &str) -> Self {
        Self {
            provider,
            id: String::new(),
            family: String::new(),
            account: account.to_owned(),
            model: model.to_owned(),
            prompt: prompt.to_owned(),
            input: Value::Null,
            external_id: None,
            hook: None,
            seed: None,
            media: Media::image("png", 1024, 1024),
            outputs: 1,
            micro_usd: 0,
            billing: Billing::Submit,
            slots: None,
            rate: None,
            doomed: None,
            deadline_ms: None,
        }
    }

    pub(super) fn tag(&self) -> Option<String> {
        let hook = self.hook.as_ref().map(|hook| hook.url.clone());
        self.external_id.clone().or(hook).or_else(|| self.seed.clone())
    }
}

/// Says why a submit is answered by the provider's rate limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Throttle {
    /// Too many calls in a time; asked for by a directive, or the window is used up.
    Rate { reset_secs: u64 },
    /// Too many tasks at once.
    Slots,
}

/// What a sandbox says in its own words at each turn of a submit.
pub(super) trait Wire {
    /// Answers a documented code named by `refuse=`.
    fn refusal(&self, code: &str) -> Reply;
    /// Answers the provider's limit.
    fn throttled(&self, why: Throttle) -> Reply;
    /// Answers a client id that is taken already.
    fn duplicate(&self) -> Reply;
    /// Answers the acceptance.
    fn accepted(&self, sim: &Sim, task: &Task) -> Reply;
    /// The failure told for `fail=1` and for the failure rate.
    fn usual_failure(&self) -> &'static str;
}

/// How an accepted task goes, decided at once: nothing ticks later.
struct Course {
    started_ms: u64,
    ended_ms: u64,
    end: End,
    bill_at: Option<u64>,
    micro_usd: u64,
}

impl Sim {
    /// Runs a validated submit through faults and limits, and accepts it.
    pub(super) fn submit(self: &Arc<Self>, call: &Call, order: Order, wire: &dyn Wire) -> Reply {
        let (prompt, tag, slots) = (order.prompt.clone(), order.tag(), order.slots.clone());
        let mut inner = self.lock();
        inner.turns += 1;
        let mut faults = inner.rules.apply(order.provider, Directives::from_prompt(&prompt));
        if let Some(times) = faults.times
            && !inner.meets("times", &order, times)
        {
            faults.relent();
        }
        if let Some(reply) = self.turned_away(&mut inner, &order, &faults, (wire, call.now)) {
            return reply.about(prompt, tag);
        }
        let course = self.course(&inner, call.now, &order, (&faults, wire));
        let (entry, task) = self.write_down(call, order, (course, &faults), inner.ledger.next_seq());
        if let Err(error) = inner.record(&entry, &task) {
            tracing::error!(%error, "ledger line not written");
            return Reply::text(500, "the ledger's file cannot be written");
        }
        if let Some(slots) = &slots {
            inner.limits.take(slots, task.ended_ms);
        }
        inner.tasks.insert(task.clone(), self.config.max_tasks, call.now);
        inner.ledger.push(entry, self.config.max_ledger_entries);
        drop(inner);
        webhooks::schedule(self, &task);
        let reply = match (faults.cut, faults.http) {
            (Some(_), _) => Reply::cut(),
            (None, Some(status)) => Reply::odd(status),
            (None, None) => wire.accepted(self, &task),
        };
        reply.accepted_all_the_same().after(faults.hang.unwrap_or(0))
    }

    /// Decides everything that ends a submit before acceptance.
    fn turned_away(&self, inner: &mut Inner, order: &Order, faults: &Directives, (wire, now): (&dyn Wire, u64)) -> Option<Reply> {
        if let Some(code) = &faults.refuse {
            return Some(wire.refusal(code));
        }
        if faults.cut == Some(Cut::Before) {
            return Some(Reply::cut().after(faults.hang.unwrap_or(0)));
        }
        if let Some(status) = faults.http
            && !faults.billed
        {
            return Some(Reply::odd(status).after(faults.hang.unwrap_or(0)));
        }
        if faults.throttle.is_some_and(|times| inner.meets("throttle", order, times))
            || self.chance(inner, self.config.throttle_rate, 1)
        {
            return Some(wire.throttled(Throttle::Rate { reset_secs: 1 }));
        }
        if let Some(external) = &order.external_id
            && inner.tasks.by_external(order.provider, &order.account, external).is_some()
        {
            return Some(wire.duplicate());
        }
        if let Some((limit, secs)) = order.rate {
            let pool = format!("{}/submit/{}", order.provider.name(), order.account);
            let Window { allowed, reset_secs, .. } = inner.limits.count(&pool, limit, secs, now);
            if !allowed {
                return Some(wire.throttled(Throttle::Rate { reset_secs }));
            }
        }
        let full = order.slots.as_ref().is_some_and(|slots| !inner.limits.has_room(slots, now));
        full.then(|| wire.throttled(Throttle::Slots))
    }

    /// Draws a lot that a run with the same seed and order of submits repeats.
    fn chance(&self, inner: &Inner, rate: f64, salt: u64) -> bool {
        if rate <= 0.0 {
            return false;
        }
        let turn = inner.turns.wrapping_mul(4).wrapping_add(salt);
        SmallRng::seed_from_u64(self.config.seed ^ turn.wrapping_mul(0x9E37_79B9_7F4A_7C15)).random_bool(rate.min(1.0))
    }

    /// Decides how an accepted task goes.
    fn course(&self, inner: &Inner, now: u64, order: &Order, (faults, wire): (&Directives, &dyn Wire)) -> Course {
        let usual = || wire.usual_failure().to_owned();
        let failure = match &faults.fail {
            Some(text) if text == "1" => Some(usual()),
            Some(text) => Some(text.clone()),
            None => order.doomed.clone().or_else(|| self.chance(inner, self.config.failure_rate, 2).then(usual)),
        };
        let takes = faults.slow.unwrap_or(if order.media.is_video() { self.config.video_ms } else { self.config.image_ms });
        // A fifth of the time is queueing, so that both waiting words are seen.
        let started_ms = now.saturating_add(takes / 5);
        let natural = (now.saturating_add(takes), failure.map_or(End::Succeeded, End::Failed));
        let (ended_ms, end) = match order.deadline_ms {
            Some(at) if at < started_ms => (at, End::Aborted),
            Some(at) if at < natural.0 => (at, End::Canceled),
            Some(_) | None => natural,
        };
        let bill_at = match (order.billing, &end) {
            (Billing::Submit, _) => Some(now),
            (Billing::End | Billing::Success, End::Succeeded) | (Billing::End, End::Failed(_) | End::Canceled) => Some(ended_ms),
            (Billing::End, End::Aborted) | (Billing::Success, End::Failed(_) | End::Canceled | End::Aborted) => None,
        };
        let micro_usd = match order.billing {
            Billing::Submit | Billing::Success => order.micro_usd,
            // At least a little, so that an instant test task still shows in the sums.
            Billing::End => (ended_ms.saturating_sub(now).saturating_mul(order.micro_usd) / 1_000).max(100),
        };
        Course { started_ms, ended_ms, end, bill_at, micro_usd }
    }

    fn write_down(&self, call: &Call, order: Order, (course, faults): (Course, &Directives), seq: u64) -> (Entry, Task) {
        let tag = order.tag();
        let entry = Entry {
            seq,
            provider: order.provider,
            account: order.account.clone(),
            path: format!("/{}/{}", order.provider.name(), call.path),
            task_id: order.id.clone(),
            tag,
            prompt_sha256: sha256_hex(order.prompt.as_bytes()),
            body_sha256: sha256_hex(&call.body),
            prompt: order.prompt.clone(),
            at_ms: call.now,
            ended_ms: course.ended_ms,
            end: course.end.clone(),
            bill_at: course.bill_at,
            micro_usd: course.micro_usd,
            polls: 0,
            finds: 0,
            cancels: 0,
        };
        let ttl = faults.expire.unwrap_or_else(|| order.provider.output_ttl_secs(&self.config));
        let task = Task {
            id: order.id,
            provider: order.provider,
            family: order.family,
            account: order.account,
            model: order.model,
            prompt: order.prompt,
            input: order.input,
            external_id: order.external_id,
            hook: order.hook.filter(|_| !faults.nowebhook),
            created_ms: call.now,
            started_ms: course.started_ms,
            ended_ms: course.ended_ms,
            end: course.end,
            media: order.media,
            outputs: faults.outputs.unwrap_or(order.outputs),
            micro_usd: course.micro_usd,
            ttl_ms: ttl.saturating_mul(1_000),
            faults: faults.clone(),
            seq,
            downloads: 0,
            signed: 0,
        };
        (entry, task)
    }
}

impl Inner {
    /// Counts a directive that holds for the first `times` submits of a prompt: true while it holds.
    fn meets(&mut self, directive: &'static str, order: &Order, times: u32) -> bool {
        let count = self.met.entry((directive, order.provider, order.prompt.clone())).or_default();
        let more = *count < times;
        *count = count.saturating_add(u32::from(more));
        more
    }
}

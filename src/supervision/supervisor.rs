//! The supervisor actor: root of the tree and, once more, over the providers' adapter actors.
//!
//! Woken when a child ended, when a restart is due, and by its own beat. Writes nothing but its children's seats. If it dies,
//! the seats stay: the next one adopts the children that run and answers for those that do not.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use actix::{Actor, ActorContext, AsyncContext, Context, SpawnHandle, StreamHandler};
use futures_util::stream;

use super::{
    child::{ArbiterRole, ChildContext, ChildSpec, Resignation, child},
    seat::{Seat, Step},
};
use crate::wake::{Wake, Woken};

/// What a supervisor does about a child that failed too often.
pub(super) enum Escalation {
    /// Ends the process.
    Process(Box<dyn Fn(String) + Send + Sync>),
    /// Ends all children and itself, so that its own supervisor starts them afresh or escalates in turn.
    Resign(Resignation),
}

/// The children of one supervisor; outlives it.
pub(super) struct Branch {
    pub(super) seats: Vec<Arc<Seat>>,
    pub(super) wake: Wake<usize>,
    pub(super) escalation: Escalation,
}

/// The supervisor of a branch.
struct Supervisor {
    branch: Arc<Branch>,
    context: ChildContext,
    due: Option<SpawnHandle>,
}

/// Describes the supervisor of a branch as a child itself.
pub(super) fn supervisor(name: &str, branch: Arc<Branch>) -> ChildSpec {
    let resignation = match &branch.escalation {
        Escalation::Resign(resignation) => resignation.clone(),
        Escalation::Process(_) => Resignation::default(),
    };
    let build = move |context| Supervisor { branch: Arc::clone(&branch), context, due: None };
    ChildSpec { resignation, ..child(name, ArbiterRole::Supervisors, build) }
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.context.pulse.beat(self.context.clock.now());
        ctx.run_interval(self.context.beat, |me, ctx| {
            me.context.pulse.beat(me.context.clock.now());
            // The slow sweep: a wake that was taken by a supervisor that died then is not missed.
            me.look(ctx);
        });
        let wakes = stream::unfold(self.branch.wake.clone(), async |wake| Some((wake.next().await, wake)));
        ctx.add_stream(wakes);
        self.look(ctx);
    }
}

impl StreamHandler<Woken<usize>> for Supervisor {
    fn handle(&mut self, _: Woken<usize>, ctx: &mut Self::Context) {
        self.look(ctx);
    }
}

impl Supervisor {
    /// Looks at every child: they are few.
    fn look(&mut self, ctx: &mut Context<Self>) {
        // Abandoned with its thread; its successor looks.
        if self.context.lifeline.check().is_err() {
            return;
        }
        let now = Instant::now();
        let mut soonest: Option<Duration> = None;
        for seat in &self.branch.seats {
            match seat.settle(now) {
                Step::Rest => {}
                Step::LookAgain(after) => soonest = Some(soonest.map_or(after, |other| other.min(after))),
                Step::Escalate(reason) => return self.escalate(reason, ctx),
            }
        }
        if let Some(before) = self.due.take() {
            ctx.cancel_future(before);
        }
        self.due = soonest.map(|after| {
            ctx.run_later(after, |me, ctx| {
                me.due = None;
                me.look(ctx);
            })
        });
    }

    fn escalate(&self, reason: String, ctx: &mut Context<Self>) {
        match &self.branch.escalation {
            Escalation::Process(fail) => fail(reason),
            Escalation::Resign(resignation) => {
                for seat in &self.branch.seats {
                    seat.clear();
                }
                resignation.hand_in(reason);
                ctx.stop();
            }
        }
    }
}

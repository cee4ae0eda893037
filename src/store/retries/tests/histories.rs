//! The counts of a batch are the recount of its lines after every commit of any history: whatever its lines do, in whatever order, also
//! when decisions were made on rows that were not the newest, and when lines are retried again and again.

use proptest::prelude::*;

use super::*;
use crate::{
    domain::{
        attempt::AttemptEvent,
        batch::{BatchOptions, BatchPlace, Category, Counts, holds_place},
        effects::{Position, of_attempt},
        generation::GenerationEvent,
        id::{BatchId, ProjectId},
        money::Micros,
        record::Attempt,
        retry::RetryPolicy,
        settle::Ending,
    },
    store::{
        Guard, NewAttempt, Transition,
        change::{Change, End, after, effect},
        lines::release,
    },
};

const PRICE: Micros = Micros(350_000);

/// What may happen, by numbers that fit whatever there is.
#[derive(Debug, Clone)]
struct Step {
    what: What,
    line: usize,
    /// Which of its generations, counted from the newest.
    generation: usize,
    attempt: usize,
    /// Decided on the rows as they were this many commits ago.
    stale: usize,
}

#[derive(Debug, Clone)]
enum What {
    Intent,
    Move { event: AttemptEvent, cost: Option<i64> },
    End { event: AttemptEvent, ending: Ending },
    Drop { cancel: bool },
    Release,
    Retry { forced: bool },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let event = || proptest::sample::select(AttemptEvent::ALL.to_vec());
    let ending = proptest::sample::select(vec![
        Ending::Delivered,
        Ending::NeverSent,
        Ending::Throttled { asked: None },
        Ending::Final,
        Ending::Cancelled,
    ]);
    let cost = proptest::option::of(0_i64..900_000);
    let what = prop_oneof![
        6 => Just(What::Intent),
        6 => (event(), cost).prop_map(|(event, cost)| What::Move { event, cost }),
        6 => (event(), ending).prop_map(|(event, ending)| What::End { event, ending }),
        1 => any::<bool>().prop_map(|cancel| What::Drop { cancel }),
        1 => Just(What::Release),
        2 => any::<bool>().prop_map(|forced| What::Retry { forced }),
    ];
    let stale = prop_oneof![6 => Just(0_usize), 1 => 1_usize..4];
    let generation = prop_oneof![5 => Just(0_usize), 1 => 1_usize..3];
    let step = (what, 0_usize..6, generation, 0_usize..3, stale);
    let step = step.prop_map(|(what, line, generation, attempt, stale)| Step { what, line, generation, attempt, stale });
    proptest::collection::vec(step, 1..60)
}

fn options() -> impl Strategy<Value = BatchOptions> {
    let budget = proptest::option::of((1_i64..12).prop_map(|calls| Micros(PRICE.0 * calls)));
    (any::<bool>(), 1_u16..4, any::<bool>(), budget).prop_map(|(parallel, max_concurrency, stop_on_error, budget)| BatchOptions {
        parallel,
        max_concurrency,
        stop_on_error,
        budget,
        ..BatchOptions::default()
    })
}

/// A batch with all generations of its lines, as a database would hold them.
struct World {
    batch: Batch,
    /// Each line's generations with everything they were, newest last.
    lines: Vec<Vec<Vec<Loaded>>>,
    clock: i64,
}

impl World {
    fn new(options: BatchOptions, lines: u32) -> Self {
        let (project, key) = (ProjectId::fresh(), KeyId::fresh());
        let mut batch = Batch::loading(BatchId::fresh(), (project, key), 1, options, Timestamp(1_000));
        batch.visible_at = Some(Timestamp(1_000));
        let lines: Vec<_> = (0..lines)
            .map(|index| {
                let mut row = Generation { call_price: PRICE, outputs: 2, ..generation() };
                row.progress.slots = Slots::owed(2, 1);
                row.batch = Some(BatchPlace { id: batch.id, index, custom_id: None });
                batch.counts.add(Category::of(&row));
                vec![vec![Loaded { generation: row, attempts: Vec::new(), assets: Vec::new() }]]
            })
            .collect();
        Self { batch, lines, clock: 2_000 }
    }

    fn run(&mut self, step: &Step) {
        self.clock += 10;
        let at = Timestamp(self.clock);
        if let What::Retry { forced } = step.what {
            return self.retry(forced, at);
        }
        let line = step.line % self.lines.len();
        let chain = &self.lines[line];
        let place = chain.len() - 1 - step.generation.min(chain.len() - 1);
        let known = &chain[place];
        let seen = &known[known.len() - 1 - step.stale.min(known.len() - 1)];
        let Some(mut entry) = decided(step, seen, at) else { return };
        entry.effect = effect(seen, &entry);
        let now = known.last().unwrap();
        if !follows(now, &entry) {
            return;
        }
        let effect = entry.effect.unwrap();
        if entry.guard == Guard::Intent {
            if self.batch.admits_intent(&effect).is_err() {
                return;
            }
            assert!(self.batch.places < self.batch.concurrency() && self.batch.stopped_at.is_none());
            assert!(self.batch.options.budget.is_none_or(|budget| self.batch.spent.plus(effect.spent) <= budget));
        }
        let next = after(now.clone(), &entry);
        self.lines[line][place].push(next);
        let _news = self.batch.take(&effect);
    }

    fn retry(&mut self, forced: bool, at: Timestamp) {
        if self.batch.stopped_at.is_some() && self.batch.counts.waiting() > 0 {
            return;
        }
        let wish = RetryWish { at, forced, key: self.batch.key };
        let mut any = false;
        for chain in &mut self.lines {
            let newest = chain.last().unwrap().last().unwrap();
            let Fate::Retried(line) = decide(newest, &[], wish, at) else { continue };
            let RetriedLine { old, new, assets, .. } = *line;
            let mut replaced = newest.clone();
            replaced.generation.version += 1;
            replaced.generation.replaced_by = Some(new.id);
            let (from, to) = (Category::of(&old), Category::of(&new));
            chain.last_mut().unwrap().push(replaced);
            chain.push(vec![Loaded { generation: new, attempts: Vec::new(), assets }]);
            self.batch.replace(from, to);
            any = true;
        }
        if any {
            self.batch.retried(at);
        }
    }

    fn check(&self) {
        let mut counts = Counts::NONE;
        let (mut places, mut money) = (0, Position::ZERO);
        for chain in &self.lines {
            counts.add(Category::of(&chain.last().unwrap().last().unwrap().generation));
            for attempt in chain.iter().flat_map(|known| &known.last().unwrap().attempts) {
                places += u32::from(holds_place(attempt));
                money = money.plus(of_attempt(attempt));
            }
        }
        let batch = &self.batch;
        assert_eq!((batch.counts, batch.places), (counts, places));
        assert_eq!((batch.spent, batch.charged), (money.total(), money.charged));
        assert_eq!(batch.completed_at.is_some(), counts.open() == 0);
        assert!(batch.ended >= counts.ended());
    }
}

fn decided(step: &Step, seen: &Loaded, at: Timestamp) -> Option<Transition> {
    let mut change = Change::of(&seen.generation, at);
    let attempt = || seen.attempts.get(step.attempt % seen.attempts.len().max(1)).cloned();
    let policy = RetryPolicy {
        max_attempts: 3,
        initial_delay: std::time::Duration::from_secs(1),
        multiplier: 2.0,
        max_delay: std::time::Duration::from_secs(30),
        jitter: false,
    };
    match &step.what {
        What::Intent => {
            let slot = seen.generation.slots().first_owed()?;
            let n = u16::try_from(seen.attempts.len() + 1).unwrap();
            let new = Attempt { n, slot, price: PRICE, ..super::attempt(seen.generation.id) };
            change.advance(&GenerationEvent::Intent { slot }, None, "intent").ok()?;
            change.intent(NewAttempt { attempt: new, request: serde_json::Value::Null }, "intent");
        }
        What::Move { event, cost } => {
            let mut attempt = attempt()?;
            attempt.charged |= *event == AttemptEvent::Accepted;
            attempt.cost = cost.map(Micros).or(attempt.cost);
            if *event == AttemptEvent::Accepted {
                change.accepted(&mut attempt, "accepted").ok()?;
            } else if attempt.state.ended() || !moves_on(*event) {
                return None;
            } else {
                change.attempt(&mut attempt, *event, "moved").ok()?;
            }
        }
        What::End { event, ending } => {
            let mut attempt = attempt()?;
            if moves_on(*event) || (*event == AttemptEvent::Stored) != (*ending == Ending::Delivered) {
                return None;
            }
            let end =
                End { event: *event, ending: *ending, failure: None, shown: None, policy: &policy, unit: 0.5, reason: "end" };
            change.end(seen, &mut attempt, &end).ok()?;
        }
        What::Drop { cancel } => {
            let event = if *cancel { GenerationEvent::Cancel } else { GenerationEvent::Drop };
            change.advance(&event, None, "dropped").ok()?;
        }
        What::Release => return release(seen, attempt()?.id, at),
        What::Retry { .. } => return None,
    }
    Some(change.entry())
}

/// Whether an attempt is still open after such an event.
const fn moves_on(event: AttemptEvent) -> bool {
    matches!(event, AttemptEvent::Accepted | AttemptEvent::Finished | AttemptEvent::OutcomeUnknown | AttemptEvent::Resend)
}

/// The compare-and-set.
fn follows(now: &Loaded, entry: &Transition) -> bool {
    let known = |row: &Attempt| now.attempts.iter().any(|known| (known.id, known.version) == (row.id, row.version));
    let taken = |new: &NewAttempt| now.attempts.iter().any(|known| known.n == new.attempt.n);
    entry.generation.as_ref().is_none_or(|row| row.version == now.generation.version)
        && entry.attempts.iter().all(known)
        && !entry.new_attempts.iter().any(taken)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn counts_are_the_recount_after_every_commit(options in options(), lines in 1_u32..5, steps in steps()) {
        let mut world = World::new(options, lines);
        for step in &steps {
            world.run(step);
            world.check();
        }
    }
}

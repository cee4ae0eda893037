//! Polls a generation costs, and how long its end stays unseen, by strategy and by how long the model takes:
//! `scripts/bench polling [--smoke]`. Simulated time, seeded: equal on every machine.
//!
//! Generations arrive one a second on average. Each strategy polls them by the product's own pure functions with the shipped
//! figures (first gap 5 s, factor 1.5, longest 60 s, jitter 0.1); adaptive learns from what its polls see and from nothing else,
//! beginning cold. For the comparison one parameter each is tuned until the polls per generation equal exponential's: fixed's gap,
//! adaptive's budget. Fails when a goal is missed: with polls equal within 2 %, adaptive's p50 lag at most half of exponential's,
//! its p99 at most 1.1 times.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    error::Error,
    io::Write as _,
    sync::Arc,
    time::{Duration, Instant},
};

use longtake::{
    config::polling::{PollingConfig, StrategyName},
    domain::{
        schedule::{Strategy, next_poll},
        time::Timestamp,
    },
    polling::learner::Learner,
};

type Outcome<T> = Result<T, Box<dyn Error>>;

const FULL: u32 = 20_000;
const SMOKE: u32 = 400;
/// How close the tuning comes to equal polls; the goal allows 2 %.
const CLOSE: f64 = 0.01;
/// Halvings of the tuned parameter's range.
const HALVINGS: u32 = 12;

fn main() -> Outcome<()> {
    let smoke = std::env::args().any(|argument| argument == "--smoke");
    let count = if smoke { SMOKE } else { FULL };
    say(&format!(
        "{count} generations a cell{}; lag: from the end at the provider to the poll that sees it, seconds",
        note(smoke)
    ))?;
    let began = Instant::now();
    let mut missed = Vec::new();
    for kind in Times::ALL {
        missed.extend(compare(kind, count)?);
    }
    say(&format!("\n{:.1} s", began.elapsed().as_secs_f64()))?;
    if smoke || missed.is_empty() {
        return say(if smoke { "smoke: no goal is checked" } else { "every goal is met" });
    }
    Err(format!("missed: {}", missed.join("; ")).into())
}

const fn note(smoke: bool) -> &'static str {
    if smoke { " (smoke: figures mean nothing)" } else { "" }
}

fn say(line: &str) -> Outcome<()> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}

/// How long a model takes.
#[derive(Clone, Copy)]
enum Times {
    LogNormal,
    Bimodal,
    Drifting,
    Straggling,
    Images,
}

impl Times {
    const ALL: [Self; 5] = [Self::LogNormal, Self::Bimodal, Self::Drifting, Self::Straggling, Self::Images];

    const fn name(self) -> &'static str {
        match self {
            Self::LogNormal => "log-normal: median 100 s, sigma 0.5",
            Self::Bimodal => "bimodal: 60 % around 25 s (sigma 0.15), 40 % around 180 s (0.2)",
            Self::Drifting => {
                "drifting: median 60 to 150 s over the first half, a jump to 240 s, at three quarters back to 60 s (0.3)"
            }
            Self::Straggling => "straggling: 94 % around 40 s (sigma 0.25), 6 % from 120 to 800 s",
            Self::Images => "images, beside the four asked for: median 8 s, sigma 0.4",
        }
    }

    /// Seconds that the generation takes which comes when `share` of all have come.
    fn draw(self, share: f64, random: &mut Random) -> f64 {
        match self {
            Self::LogNormal => random.log_normal(100.0, 0.5),
            Self::Bimodal if random.unit() < 0.6 => random.log_normal(25.0, 0.15),
            Self::Bimodal => random.log_normal(180.0, 0.2),
            Self::Drifting => {
                let median = match share {
                    ..0.5 => 180.0f64.mul_add(share, 60.0),
                    0.5..0.75 => 240.0,
                    _ => 60.0,
                };
                random.log_normal(median, 0.3)
            }
            Self::Straggling if random.unit() < 0.94 => random.log_normal(40.0, 0.25),
            Self::Straggling => 120.0 * (20.0f64 / 3.0).powf(random.unit()),
            Self::Images => random.log_normal(8.0, 0.4),
        }
    }
}

/// `SplitMix64`: the same draws on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// In 0..1, without its ends.
    fn unit(&mut self) -> f64 {
        let high = u32::try_from(self.next() >> 32).unwrap_or(0);
        (f64::from(high) + 0.5) / (f64::from(u32::MAX) + 1.0)
    }

    fn log_normal(&mut self, median: f64, sigma: f64) -> f64 {
        let normal = (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos();
        median * (sigma * normal).exp()
    }
}

/// What a run cost and brought.
struct Cell {
    polls: f64,
    lags: Vec<Duration>,
}

impl Cell {
    fn lag(&self, share: usize) -> f64 {
        self.lags.get((self.lags.len().saturating_sub(1)) * share / 100).map_or(0.0, Duration::as_secs_f64)
    }

    fn line(&self, name: &str) -> String {
        format!("{name:<34}  {:>6.3}  {:>6.2}  {:>6.2}  {:>6.2}", self.polls, self.lag(50), self.lag(90), self.lag(99))
    }
}

struct Generation {
    submitted_at: Timestamp,
    ends_at: Timestamp,
    ran_at: Timestamp,
    seed: u64,
}

/// Polls all generations to their ends, in the order of time.
fn run(times: Times, count: u32, strategy: Strategy, learner: Option<&Learner>) -> Outcome<Cell> {
    let (mut random, model): (_, Arc<str>) = (Random(42), "model".into());
    let (mut at, mut due) = (0.0, BinaryHeap::new());
    let mut generations = Vec::new();
    for n in 0..count {
        at -= random.unit().ln();
        let submitted_at = Timestamp(0).plus(Duration::from_secs_f64(at));
        let ends_at = submitted_at.plus(Duration::from_secs_f64(times.draw(f64::from(n) / f64::from(count), &mut random)));
        due.push(Reverse((submitted_at, generations.len())));
        generations.push(Generation { submitted_at, ends_at, ran_at: submitted_at, seed: random.next() });
    }
    let (mut polls, mut lags) = (0u32, Vec::with_capacity(generations.len()));
    while let Some(Reverse((now, index))) = due.pop() {
        let generation = generations.get_mut(index).ok_or("no such generation")?;
        // The first instant is the submit itself.
        if now > generation.submitted_at {
            polls += 1;
            let span = (generation.ran_at.since(generation.submitted_at), now.since(generation.submitted_at));
            if now >= generation.ends_at {
                lags.push(now.since(generation.ends_at));
                learner.inspect(|learner| learner.finished(&model, span.0, span.1));
                continue;
            }
            learner.inspect(|learner| learner.passed(&model, span.0, span.1));
            generation.ran_at = now;
        }
        let course = learner.and_then(|learner| learner.course(&model));
        let next = next_poll(strategy, course.as_deref(), generation.submitted_at, generation.seed, now);
        due.push(Reverse((next, index)));
    }
    lags.sort_unstable();
    Ok(Cell { polls: f64::from(polls) / f64::from(count), lags })
}

/// Finds the parameter at which the run makes so many polls; more of it must make `more` polls, or fewer.
fn tuned(polls: f64, range: (f64, f64), more: bool, run: impl Fn(f64) -> Outcome<Cell>) -> Outcome<(f64, Cell)> {
    let (mut low, mut high) = range;
    let mut best: Option<(f64, Cell)> = None;
    for _ in 0..HALVINGS {
        let value = (low * high).sqrt();
        let cell = run(value)?;
        let (off, above) = ((cell.polls / polls - 1.0).abs(), cell.polls > polls);
        if above == more {
            high = value;
        } else {
            low = value;
        }
        if best.as_ref().is_none_or(|(_, best)| off < (best.polls / polls - 1.0).abs()) {
            best = Some((value, cell));
        }
        if off < CLOSE {
            break;
        }
    }
    best.ok_or_else(|| "nothing was tried".into())
}

/// Prints a distribution's lines; answers the goals it misses.
fn compare(times: Times, count: u32) -> Outcome<Option<String>> {
    let config = PollingConfig::default();
    let strategy = |name| config.strategy(name);
    say(&format!("\n{}\nstrategy                            polls     p50     p90     p99", times.name()))?;
    let usual = run(times, count, strategy(StrategyName::Exponential), None)?;
    say(&usual.line("exponential"))?;
    let (every, fixed) = tuned(usual.polls, (0.5, 600.0), false, |every| {
        run(times, count, Strategy::Fixed { every: Duration::from_secs_f64(every) }, None)
    })?;
    say(&fixed.line(&format!("fixed, every {every:.1} s for equal polls")))?;
    let adaptive = |budget: f64| {
        let learner = Learner::new(config.growth(), budget, longtake::observe::times::Times::default());
        run(times, count, strategy(StrategyName::Adaptive), Some(&learner))
    };
    say(&adaptive(config.adaptive_budget)?.line(&format!("adaptive, budget {} as shipped", config.adaptive_budget)))?;
    let (budget, cell) = tuned(usual.polls, (0.6, 1.6), true, adaptive)?;
    say(&cell.line(&format!("adaptive, budget {budget:.3} for equal")))?;
    let (polls, median, last) = (cell.polls / usual.polls - 1.0, cell.lag(50) / usual.lag(50), cell.lag(99) / usual.lag(99));
    say(&format!("equal polls ({:+.1} %): p50 lag {median:.2} of exponential's, p99 {last:.2}", polls * 100.0))?;
    let met = polls.abs() <= 0.02 && median <= 0.5 && last <= 1.1;
    Ok((!met).then(|| times.name().to_owned()))
}

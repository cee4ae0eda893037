//! How long a model takes, learned from its own polls: the hazard (the share that ends, of those still running) by age, in bins
//! that widen with the age. A poll never sees the end itself, only that it fell between two polls; and a task that still runs tells
//! as much as one that ended. Pure; nothing of it is persisted.

use std::{sync::LazyLock, time::Duration};

/// Width of a bin: this share of its age …
const SHARE: f64 = 0.03;
/// … and this many seconds more.
const LEAST: f64 = 0.05;
/// The last bin ends behind this age, seconds: longer than any overdue task is waited for.
const LONGEST: f64 = 14_400.0;
/// Tasks that a bin remembers: each observation takes 1/WINDOW from all before it. Enough to know a shape (gaps go with the square
/// root of the hazard: 20 % of noise there are 10 % here), few enough to follow a provider that turns slower.
const WINDOW: f64 = 300.0;
/// What is believed of a bin before it was seen: as much as one task tells, and that it takes as long again as it took so far.
const BELIEF: f64 = 1.0;
/// Ended tasks below which nothing is claimed to be known.
const ENOUGH: f64 = 30.0;
/// Of an end known as "between these two polls", this share is spread evenly; the rest follows what is known already, so that the
/// estimate becomes sharper than the gaps (expectation and maximisation, one step an observation; Cappé and Moulines 2009).
const EVENLY: f64 = 0.2;

/// Expected ends over which the surprise is counted …
const SURPRISE_OVER: f64 = 40.0;
/// … in standard deviations. At four a steady model is suspected once in some ten thousand tasks, which costs little.
const SURPRISE: f64 = 4.0;
/// Tasks that a bin still remembers after a surprise: the new times outweigh the old ones within some twenty tasks.
const KEPT: f64 = 20.0;

static EDGES: LazyLock<Box<[f64]>> = LazyLock::new(|| {
    let next = |edge: &f64| (*edge < LONGEST).then_some(edge.mul_add(1.0 + SHARE, LEAST));
    std::iter::successors(Some(0.0), next).collect()
});

/// What is known of one model; about 10 KB.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    version: u64,
    ended: f64,
    /// Ends that were expected and that came, of late.
    expected: f64,
    came: f64,
    bins: Box<[Bin]>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Bin {
    low: f64,
    high: f64,
    /// Tasks that were watched through it, faded.
    seen: f64,
    /// Those that ended in it.
    ended: f64,
}

impl Bin {
    fn hazard(&self) -> f64 {
        SHARE.mul_add(BELIEF, self.ended) / (self.seen + BELIEF)
    }

    /// How much of the bin lies within.
    fn covered(&self, from: f64, to: f64) -> f64 {
        ((self.high.min(to) - self.low.max(from)) / (self.high - self.low)).max(0.0)
    }

    fn add(&mut self, seen: f64, ended: f64) {
        self.seen += seen;
        self.ended += ended;
        self.fade(WINDOW);
    }

    /// Remembers no more than this many tasks.
    fn fade(&mut self, tasks: f64) {
        if self.seen > tasks {
            self.ended *= tasks / self.seen;
            self.seen = tasks;
        }
    }
}

impl Default for Histogram {
    fn default() -> Self {
        let bins = EDGES.windows(2).filter_map(|edges| match edges {
            [low, high] => Some(Bin { low: *low, high: *high, seen: 0.0, ended: 0.0 }),
            _ => None,
        });
        Self { version: 0, ended: 0.0, expected: 0.0, came: 0.0, bins: bins.collect() }
    }
}

impl Histogram {
    /// One more with every observation.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// Whether enough tasks ended to go by it.
    #[must_use]
    pub fn warm(&self) -> bool {
        self.ended >= ENOUGH
    }

    /// A task that ran at age `from` still ran at age `to`.
    pub fn passed(&mut self, from: Duration, to: Duration) {
        let (from, to) = (from.as_secs_f64(), to.as_secs_f64());
        let mut expected = 0.0;
        for bin in within(&mut self.bins, from, to) {
            expected += bin.hazard() * bin.covered(from, to);
            bin.add(bin.covered(from, to), 0.0);
        }
        self.weigh(expected, 0.0);
    }

    /// A task that ran at age `from` was found ended at age `to`.
    pub fn finished(&mut self, from: Duration, to: Duration) {
        let from = from.as_secs_f64();
        let to = to.as_secs_f64().max(from + 1e-3);
        let mut alive = 1.0;
        let likely: Vec<f64> = within(&mut self.bins, from, to)
            .map(|bin| {
                let ends = alive * bin.hazard() * bin.covered(from, to);
                alive -= ends;
                ends
            })
            .collect();
        let all = likely.iter().sum::<f64>().max(f64::MIN_POSITIVE);
        let (mut left, mut expected) = (1.0, 0.0);
        for (bin, likely) in within(&mut self.bins, from, to).zip(likely) {
            let covered = bin.covered(from, to);
            let even = covered * (bin.high - bin.low) / (to - from);
            let ends = EVENLY * even + (1.0 - EVENLY) * likely / all;
            expected += left * bin.hazard() * covered;
            // Who ends within a bin was at risk in all of it that was looked at.
            bin.add(left * covered, ends);
            left = (left - ends).max(0.0);
        }
        self.ended += 1.0;
        self.weigh(expected, 1.0);
    }

    /// Compares what came with what was expected; a model whose times changed is forgotten for the most part, and learned anew.
    fn weigh(&mut self, expected: f64, came: f64) {
        self.version += 1;
        self.expected += expected;
        self.came += came;
        if self.warm() && (self.came - self.expected).abs() > SURPRISE * self.expected.max(SURPRISE_OVER / 4.0).sqrt() {
            self.bins.iter_mut().for_each(|bin| bin.fade(KEPT));
            (self.expected, self.came) = (0.0, 0.0);
        } else if self.expected > SURPRISE_OVER {
            self.came *= SURPRISE_OVER / self.expected;
            self.expected = SURPRISE_OVER;
        }
    }

    /// Share of tasks that still run at each of these ages (ascending, seconds).
    #[must_use]
    pub fn survival(&self, ages: &[f64]) -> Vec<f64> {
        let (mut bins, mut alive) = (self.bins.iter().peekable(), 1.0);
        let at = |age: &f64| {
            while let Some(bin) = bins.next_if(|bin| bin.high <= *age) {
                alive *= 1.0 - bin.hazard().min(1.0);
            }
            bins.peek().map_or(alive, |bin| alive * (1.0 - bin.hazard().min(1.0)).powf(bin.covered(0.0, *age)))
        };
        ages.iter().map(at).collect()
    }
}

fn within(bins: &mut [Bin], from: f64, to: f64) -> impl Iterator<Item = &mut Bin> {
    let first = bins.partition_point(|bin| bin.high <= from);
    bins.iter_mut().skip(first).take_while(move |bin| bin.low < to)
}

//! The course of polls for a model whose times are known: the ages at which its tasks are asked for. Found by dynamic programming
//! over a grid of ages, so that the expected wait between an end and the poll that sees it is the least which that many polls can
//! buy (optimal inspection; Barlow, Hunter and Proschan 1963). Where tasks seldom end a poll is a waste; where many end, gaps are
//! short. Pure.

use std::time::Duration;

use super::{Growth, histogram::Histogram, unit, whole_millis};

/// Ages at which a poll may stand: this share of the age apart …
const STEP: f64 = 0.025;
/// … and this many seconds more …
const LEAST: f64 = 0.05;
/// … but at most this share of the longest gap.
const COARSEST: f64 = 1.0 / 12.0;
/// The course is planned until fewer than this share of the tasks still run; behind it, gaps grow as the exponential ones do.
const TAIL: f64 = 0.004;
/// The course never reaches past this age, seconds, nor past this many longest gaps: the grid has an end.
const LONGEST: f64 = 10_800.0;
const LONGEST_GAPS: f64 = 200.0;
/// Halvings of the interval (of orders of magnitude) in which the price of a poll is sought.
const ROUNDS: u32 = 20;
/// However much it takes, no task was polled more often at any age than this many times what exponential gaps would have.
const AT_MOST: usize = 2;
/// Jitter stays below this: two neighbours could meet.
const JITTER: f64 = 0.45;

/// When tasks of a model are polled, by their age. A kilobyte at most.
#[derive(Debug, Clone, PartialEq)]
pub struct Course {
    version: u64,
    /// Ages, seconds, ascending.
    polls: Box<[f64]>,
    growth: Growth,
    /// The gap behind the last poll, from which gaps grow on.
    last_gap: f64,
}

impl Course {
    /// The course for what is known; none while that is too little. `budget` is what a task may cost on average, in units of the
    /// polls that gaps of this `growth` would spend on the same tasks.
    #[must_use]
    pub fn of(known: &Histogram, growth: Growth, budget: f64) -> Option<Self> {
        if !known.warm() {
            return None;
        }
        let mut grid = Grid::of(known, growth);
        let (end, cap) = (grid.end(), growth.bounds().1.as_secs_f64());
        let usual: Vec<f64> = growth.ages().take_while(|age| *age < end).collect();
        let target = budget * (1.0 + known.survival(&usual).iter().sum::<f64>());
        // What one poll is worth, in seconds of waiting: the dearer, the fewer are made.
        let (mut cheap, mut dear) = (1e-6_f64, 1e6_f64);
        for _ in 0..ROUNDS {
            let price = (cheap * dear).sqrt();
            grid.solve(price, cap);
            if grid.spends() > target {
                cheap = price;
            } else {
                dear = price;
            }
        }
        grid.solve(dear, cap);
        let polls = thinned(grid.polls().map(|node| node.age), growth);
        Some(Self { version: known.version(), polls, growth, last_gap: growth.gap_at(end) })
    }

    /// The histogram's version that it was made of.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// The first poll after `age` of the task with this seed.
    pub(super) fn next(&self, seed: u64, age: Duration) -> Duration {
        // One draw shifts the whole course, so that polls of one task keep their gaps and tasks of one burst fall apart.
        let shift = self.growth.jitter.clamp(0.0, JITTER) * 2.0f64.mul_add(unit(seed, 0), -1.0);
        let near = self.polls.partition_point(|poll| *poll <= age.as_secs_f64()).saturating_sub(1);
        let mut around = (near..near.saturating_add(3)).filter_map(|at| self.shifted(at, shift)).map(whole_millis);
        around.find(|poll| *poll > age).unwrap_or_else(|| self.behind(seed, shift, age))
    }

    fn shifted(&self, at: usize, shift: f64) -> Option<f64> {
        let poll = *self.polls.get(at)?;
        let before = at.checked_sub(1).and_then(|at| self.polls.get(at)).copied().unwrap_or(0.0);
        let after = self.polls.get(at + 1).map_or(self.last_gap, |next| next - poll);
        Some(shift.mul_add(after.min(poll - before), poll))
    }

    fn behind(&self, seed: u64, shift: f64, age: Duration) -> Duration {
        let last = self.polls.len().checked_sub(1).and_then(|last| self.shifted(last, shift)).unwrap_or(0.0);
        self.growth.first_after(last, self.last_gap, seed, age)
    }
}

/// Puts off every poll that would be one too many for its age to the next instant of the exponential gaps.
fn thinned(polls: impl Iterator<Item = f64>, growth: Growth) -> Box<[f64]> {
    let mut usual = growth.ages().peekable();
    let (mut before, mut kept): (usize, Vec<f64>) = (1, Vec::new());
    for poll in polls {
        while usual.next_if(|age| *age <= poll).is_some() {
            before += 1;
        }
        let at = if kept.len() < AT_MOST * before { Some(poll) } else { usual.peek().copied() };
        if let Some(at) = at
            && kept.last().is_none_or(|last| *last < at)
        {
            kept.push(at);
        }
    }
    kept.into()
}

/// The ages at which a poll may stand, and the best way through them.
struct Grid {
    nodes: Vec<Node>,
}

struct Node {
    age: f64,
    /// Share of the tasks that still run.
    alive: f64,
    /// Share that ended so far, and the sum of its ages at the end.
    ended: f64,
    moment: f64,
    /// What lies ahead costs, and the next poll, both by the last solution.
    ahead: f64,
    next: Option<usize>,
}

impl Node {
    /// Expected wait of those that end between the two, when the next poll is at the later one.
    fn wait(&self, later: &Self) -> f64 {
        later.age.mul_add(later.ended - self.ended, self.moment - later.moment)
    }
}

impl Grid {
    fn of(known: &Histogram, growth: Growth) -> Self {
        let cap = growth.bounds().1.as_secs_f64();
        let (coarsest, end) = (cap * COARSEST, LONGEST.min(cap * LONGEST_GAPS));
        let next = |age: &f64| (*age < end).then_some(age + age.mul_add(STEP, LEAST).min(coarsest));
        let ages: Vec<f64> = std::iter::successors(Some(0.0), next).collect();
        let survival = known.survival(&ages);
        let planned = survival.partition_point(|alive| *alive > TAIL).saturating_add(1);
        let (mut nodes, mut ended, mut moment, mut before) = (Vec::with_capacity(planned), 0.0, 0.0, (0.0, 1.0));
        for (age, alive) in ages.into_iter().zip(survival).take(planned) {
            let share: f64 = before.1 - alive;
            ended += share;
            moment += share * 0.5 * (before.0 + age);
            before = (age, alive);
            nodes.push(Node { age, alive, ended, moment, ahead: 0.0, next: None });
        }
        Self { nodes }
    }

    fn end(&self) -> f64 {
        self.nodes.last().map_or(0.0, |node| node.age)
    }

    /// The best next poll from every node on, backwards from the end.
    fn solve(&mut self, price: f64, longest: f64) {
        for at in (0..self.nodes.len().saturating_sub(1)).rev() {
            let (before, after) = self.nodes.split_at_mut(at + 1);
            let Some(node) = before.last_mut() else { continue };
            let reach = after.iter().enumerate().take_while(|(step, later)| *step == 0 || later.age - node.age <= longest);
            let costs = reach.map(|(step, later)| (node.wait(later) + price.mul_add(node.alive, later.ahead), at + 1 + step));
            if let Some((ahead, next)) = costs.min_by(|one, other| one.0.total_cmp(&other.0)) {
                (node.ahead, node.next) = (ahead, Some(next));
            }
        }
    }

    /// Polls a task costs on average: each is made by those that still ran at the one before.
    fn spends(&self) -> f64 {
        let first = self.nodes.first().map_or(0.0, |node| node.alive);
        let all: f64 = self.polls().map(|node| node.alive).sum();
        first + all - self.nodes.last().map_or(0.0, |node| node.alive)
    }

    fn polls(&self) -> impl Iterator<Item = &Node> {
        let next = |node: &Node| node.next.and_then(|next| self.nodes.get(next));
        std::iter::successors(self.nodes.first().and_then(next), move |node| next(node))
    }
}

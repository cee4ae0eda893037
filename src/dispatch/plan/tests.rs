//! The rules hold in examples, and their bounds under any order of arrivals.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use proptest::prelude::*;
use uuid::Uuid;

use super::*;

const STEP: Duration = Duration::from_secs(60);
const A: ProjectId = ProjectId(Uuid::from_u128(1));
const B: ProjectId = ProjectId(Uuid::from_u128(2));

fn at(minute: i64) -> Timestamp {
    Timestamp(minute * 60_000)
}

/// Everything that waits, by line, as the database has it.
#[derive(Debug, Default)]
struct Queue {
    born: u128,
    lines: BTreeMap<(ProjectId, u8), VecDeque<Head>>,
}

impl Queue {
    fn add(&mut self, project: ProjectId, priority: u8, since: Timestamp) -> GenerationId {
        self.born += 1;
        let id = GenerationId(Uuid::from_u128(self.born));
        self.lines.entry((project, priority)).or_default().push_back(Head { project, priority, id, since });
        id
    }

    fn heads(&self) -> Vec<Head> {
        self.lines.values().filter_map(|line| line.front().copied()).collect()
    }

    /// Who goes, and is gone.
    fn go(&mut self, turns: &mut Turns, now: Timestamp) -> Option<Head> {
        let heads = self.heads();
        let head = heads[turns.next(&heads, STEP, now)?];
        turns.went(head.project, head.priority, now);
        let line = self.lines.get_mut(&(head.project, head.priority)).unwrap();
        line.pop_front();
        Some(head)
    }
}

#[test]
fn the_first_of_another_project_is_among_the_next_two_however_long_the_line_and_however_mixed() {
    for priorities in [vec![5], vec![5, 7], (5..=10).collect()] {
        let (mut queue, mut turns) = (Queue::default(), Turns::default());
        for n in 0..50_000_usize {
            queue.add(A, priorities[n % priorities.len()], at(0));
        }
        // The account was full for an hour: all of A's lines have waited.
        queue.go(&mut turns, at(60)).unwrap();
        let wanted = queue.add(B, 5, at(61));
        queue.add(B, 5, at(61));
        let next: Vec<_> = (0..2).map(|_| queue.go(&mut turns, at(61)).unwrap().id).collect();
        assert!(next.contains(&wanted), "{priorities:?}");
    }
}

#[test]
fn projects_of_equal_priority_take_turns_and_each_goes_in_its_own_order() {
    let (mut queue, mut turns) = (Queue::default(), Turns::default());
    let a: Vec<_> = (0..3).map(|_| queue.add(A, 5, at(0))).collect();
    let b: Vec<_> = (0..3).map(|_| queue.add(B, 5, at(0))).collect();
    let went: Vec<_> = std::iter::from_fn(|| queue.go(&mut turns, at(1))).map(|head| head.id).collect();
    assert_eq!(went, [a[0], b[0], a[1], b[1], a[2], b[2]]);
}

#[test]
fn urgent_work_goes_first_until_the_other_has_waited_out_the_head_start() {
    let (mut queue, mut turns) = (Queue::default(), Turns::default());
    for _ in 0..100 {
        queue.add(A, 1, at(0));
    }
    queue.add(B, 5, at(0));
    for minute in 0..4 {
        assert_eq!(queue.go(&mut turns, at(minute)).unwrap().project, A);
    }
    let now = at(4);
    let next: BTreeSet<_> = (0..2).map(|_| queue.go(&mut turns, now).unwrap().project).collect();
    assert_eq!(next, BTreeSet::from([A, B]));
}

#[test]
fn the_earlier_of_two_heads_of_one_line_goes_whichever_could_have_gone_first() {
    let head = |id: u128, since: i64| Head { project: A, priority: 5, id: GenerationId(Uuid::from_u128(id)), since: at(since) };
    let heads = [head(2, 0), head(1, 3)];
    assert_eq!(Turns::default().next(&heads, STEP, at(5)), Some(1));
    assert_eq!(Turns::default().next(&[], STEP, at(5)), None);
}

#[test]
fn a_clock_that_was_set_back_holds_nobody_up() {
    let mut turns = Turns::default();
    turns.went(A, 5, at(600));
    let heads = |since: i64| [A, B].map(|project| Head { project, priority: 5, id: GenerationId(project.0), since: at(since) });
    // B went after A's turn of the future: then it is A's turn again.
    turns.went(B, 5, at(2));
    assert_eq!(turns.next(&heads(0), STEP, at(3)), Some(1), "set back, A counts as having gone now");
    turns.went(B, 5, at(3));
    assert_eq!(turns.next(&heads(0), STEP, at(3)), Some(0));
}

#[test]
fn what_is_idle_is_forgotten_and_what_waits_is_not() {
    let mut turns = Turns::default();
    turns.went(A, 5, at(0));
    turns.went(B, 5, at(0));
    let waiting = [Head { project: B, priority: 1, id: GenerationId(Uuid::from_u128(1)), since: at(0) }];
    turns.forget_idle(&waiting, STEP, at(11));
    assert_eq!(turns.projects.keys().copied().collect::<Vec<_>>(), [B]);
    assert_eq!(turns.lines.keys().copied().collect::<Vec<_>>(), [(B, 5)]);
}

#[derive(Debug, Clone)]
enum Step {
    /// Something comes.
    Arrive { project: u128, priority: u8 },
    /// A place becomes free.
    Go,
    /// Time passes, in seconds.
    Pass(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1u128..5, 1u8..=10).prop_map(|(project, priority)| Step::Arrive { project, priority }),
        1 => Just(Step::Arrive { project: 1, priority: 1 }),
        4 => Just(Step::Go),
        2 => (1i64..200).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 1..400)
}

/// Who went since a line had waited out its head start; the two rules are the same one, for projects and for lines.
#[derive(Debug, Default)]
struct Overtaken<K, O> {
    by: HashMap<K, BTreeSet<O>>,
}

impl<K: std::hash::Hash + Eq + Copy + std::fmt::Debug, O: Ord + std::fmt::Debug> Overtaken<K, O> {
    /// Another went before one that was ripe. Once each is allowed.
    fn went(&mut self, ripe: K, other: O) -> Result<(), TestCaseError> {
        let what = format!("{ripe:?} was overtaken twice by {other:?}");
        prop_assert!(self.by.entry(ripe).or_default().insert(other), "{what}");
        Ok(())
    }
}

fn ripe(head: &Head, went: Option<&Turn>, now: Timestamp) -> bool {
    let from = went.map_or(head.since, |turn| turn.at.max(head.since));
    from.plus(STEP * u32::from(head.priority - 1)) <= now
}

proptest! {
    #[test]
    fn what_has_waited_out_its_head_start_is_overtaken_by_each_other_project_and_by_each_line_of_its_own_at_most_once(
        steps in steps()
    ) {
        let (mut queue, mut turns, mut now) = (Queue::default(), Turns::default(), at(0));
        let mut projects: Overtaken<ProjectId, ProjectId> = Overtaken { by: HashMap::new() };
        let mut lines: Overtaken<(ProjectId, u8), u8> = Overtaken { by: HashMap::new() };
        for step in steps {
            match step {
                Step::Arrive { project, priority } => drop(queue.add(ProjectId(Uuid::from_u128(project)), priority, now)),
                Step::Pass(seconds) => now = now.plus(Duration::from_secs(seconds.unsigned_abs())),
                Step::Go => {
                    let before = queue.heads();
                    let ripe_projects: BTreeSet<_> =
                        before.iter().filter(|head| ripe(head, turns.projects.get(&head.project), now)).map(|head| head.project).collect();
                    let ripe_lines: Vec<_> = before
                        .iter()
                        .filter(|head| ripe(head, turns.lines.get(&(head.project, head.priority)), now))
                        .copied()
                        .collect();
                    let Some(went) = queue.go(&mut turns, now) else { continue };
                    projects.by.remove(&went.project);
                    lines.by.remove(&(went.project, went.priority));
                    for project in ripe_projects.into_iter().filter(|project| *project != went.project) {
                        projects.went(project, went.project)?;
                    }
                    for head in ripe_lines.iter().filter(|head| head.project == went.project && head.priority != went.priority) {
                        lines.went((head.project, head.priority), went.priority)?;
                    }
                }
            }
        }
    }

    #[test]
    fn everything_goes_within_the_time_and_the_submits_that_the_formula_says(
        arrivals in prop::collection::vec((1u128..4, 1u8..=10, 0i64..3_000), 1..120), every in 1i64..30
    ) {
        let (mut queue, mut turns) = (Queue::default(), Turns::default());
        let mut arrivals: Vec<_> = arrivals.into_iter().map(|(project, priority, at)| (at, ProjectId(Uuid::from_u128(project)), priority)).collect();
        arrivals.sort();
        let (n, l) = (3, 10);
        let mut due = HashMap::new();
        let mut now = Timestamp(0);
        let mut left: VecDeque<_> = arrivals.into();
        while !left.is_empty() || !queue.heads().is_empty() {
            while let Some((_, project, priority)) = left.front().copied().filter(|(at, _, _)| *at * 1000 <= now.0) {
                left.pop_front();
                let id = queue.add(project, priority, now);
                let k = u32::try_from(queue.lines[&(project, priority)].len() - 1).unwrap();
                let time = STEP * u32::from(priority - 1) * (l + 1) * (k + 1);
                let submits = Duration::from_secs(every.unsigned_abs()) * l * n * (k + 1);
                due.insert(id, now.plus(time + submits));
            }
            if let Some(head) = queue.go(&mut turns, now) {
                prop_assert!(now <= due[&head.id], "{head:?} went at {now:?}");
            }
            now = now.plus(Duration::from_secs(every.unsigned_abs()));
        }
    }
}

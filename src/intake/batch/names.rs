//! Who is called what within a batch, and who waits for whom. A name may be used before the line that has it: its generation's id is
//! given out at the first mention, so that lines can be stored while later ones are still on their way. What cannot be judged before
//! the end (unknown names, cycles) is judged then.

use std::collections::{HashMap, HashSet};

use super::{Location, Spot};
use crate::domain::{id::GenerationId, record::Kind};

/// Dependencies of a batch at most, some 40 bytes each while it is read: four for each of 50,000 lines.
const MOST_EDGES: usize = 200_000;

/// The names of a batch.
#[derive(Debug, Default)]
pub struct Names {
    by_name: HashMap<Box<str>, Entry>,
    /// Lines that wait for others, in the order they came.
    waiting: Vec<Waiting>,
    /// Mentions of names that had no line yet.
    open: Vec<Open>,
    edges: usize,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    id: GenerationId,
    known: Known,
    /// Whether its line stays whatever the lines are that still come.
    certain: bool,
}

/// What is known of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// Somebody waits for it; no line had it yet.
    Mentioned,
    /// A line has it and is wrong.
    Refused(Spot),
    /// A line has it.
    Taken(Makes),
}

/// What a line makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Makes {
    /// Which line.
    pub spot: Spot,
    /// Images or videos.
    pub kind: Kind,
    /// How many.
    pub outputs: u16,
}

/// What a line waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waits {
    /// Each once.
    pub on: Vec<GenerationId>,
    /// Whether all of that came before and stays, so that this line stays, too.
    pub certain: bool,
}

/// A line that waits.
#[derive(Debug)]
struct Waiting {
    id: GenerationId,
    spot: Spot,
    name: Option<Box<str>>,
    on: Vec<GenerationId>,
}

#[derive(Debug)]
struct Open {
    by: u32,
    want: Want,
}

/// A wish for another line's end, or for one of its outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    /// The other line's name.
    pub name: String,
    /// Which output, where its image is wanted.
    pub index: Option<u16>,
    /// Where the wish was written.
    pub at: Location,
}

/// Why a wish cannot be fulfilled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// No line has this name.
    Unknown,
    /// That line is wrong itself.
    Refused(Spot),
    /// That line makes no image.
    NoImage(Makes),
    /// That line makes fewer outputs.
    TooFew(Makes),
    /// Each waits for the next, the last for the first.
    Cycle(Vec<String>),
    /// The batch has too many dependencies.
    TooMany,
}

/// A wish that cannot be fulfilled, found at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Whose.
    pub id: GenerationId,
    /// Whose.
    pub spot: Spot,
    /// The name of that line.
    pub custom_id: Option<String>,
    /// Where the wish was written; none when it is about the line as a whole.
    pub at: Option<Location>,
    /// The name that it asked for.
    pub name: String,
    /// Why.
    pub fault: Fault,
}

impl Fault {
    /// A stable word.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown_custom_id",
            Self::Refused(_) => "dependency_refused",
            Self::NoImage(_) => "not_an_image",
            Self::TooFew(_) => "out_of_range",
            Self::Cycle(_) => "cycle",
            Self::TooMany => "too_many",
        }
    }

    /// One sentence about a wish for `name`.
    #[must_use]
    pub fn sentence(&self, name: &str) -> String {
        match self {
            Self::Unknown => format!("no request of this batch has the customId `{name}`"),
            Self::Refused(spot) => format!("`{name}` ({}) is wrong itself", spot.name()),
            Self::NoImage(makes) => {
                format!("`{name}` ({}) makes a {}; an image is needed", makes.spot.name(), makes.kind.as_str())
            }
            Self::TooFew(makes) => {
                format!("`{name}` ({}) makes {} outputs; they count from 0", makes.spot.name(), makes.outputs)
            }
            Self::Cycle(names) => format!("these wait for one another: {}", names.join(" → ")),
            Self::TooMany => format!("a batch has at most {MOST_EDGES} dependencies"),
        }
    }
}

impl Names {
    /// The line at `spot` has this name.
    ///
    /// # Errors
    /// Another line has it: which.
    pub fn claim(&mut self, name: &str, spot: Spot) -> Result<GenerationId, Spot> {
        let entry = self.entry(name);
        match entry.known {
            Known::Mentioned => {
                entry.known = Known::Refused(spot);
                Ok(entry.id)
            }
            Known::Refused(first) | Known::Taken(Makes { spot: first, .. }) => Err(first),
        }
    }

    /// The line of this name is right, and stays for certain or as far as is known. Until this is said it counts as wrong.
    pub fn accept(&mut self, name: &str, makes: Makes, certain: bool) {
        let entry = self.entry(name);
        (entry.known, entry.certain) = (Known::Taken(makes), certain);
    }

    /// The id that a name stands for, given out now when it is new.
    pub fn id(&mut self, name: &str) -> GenerationId {
        self.entry(name).id
    }

    fn entry(&mut self, name: &str) -> &mut Entry {
        let fresh = || Entry { id: GenerationId::fresh(), known: Known::Mentioned, certain: false };
        self.by_name.entry(name.into()).or_insert_with(fresh)
    }

    /// Whether a wish of the line called `own` can be fulfilled, as far as is known yet.
    ///
    /// # Errors
    /// It cannot.
    pub fn look(&self, want: &Want, own: Option<&str>) -> Result<(), Fault> {
        if own == Some(want.name.as_str()) {
            return Err(Fault::Cycle(vec![want.name.clone(), want.name.clone()]));
        }
        match self.by_name.get(want.name.as_str()).map(|entry| entry.known) {
            None | Some(Known::Mentioned) => Ok(()),
            Some(known) => fulfilled(known, want),
        }
    }

    /// Notes that a line that is right waits.
    ///
    /// # Errors
    /// The batch has too many dependencies.
    pub fn wait(&mut self, id: GenerationId, (spot, name): (Spot, Option<&str>), wants: Vec<Want>) -> Result<Waits, Fault> {
        let mut on: Vec<GenerationId> = wants.iter().map(|want| self.id(&want.name)).collect();
        on.sort_unstable();
        on.dedup();
        self.edges = self.edges.saturating_add(on.len());
        if self.edges > MOST_EDGES {
            return Err(Fault::TooMany);
        }
        if on.is_empty() {
            return Ok(Waits { on, certain: true });
        }
        let certain = wants.iter().all(|want| self.entry(&want.name).certain);
        let by = u32::try_from(self.waiting.len()).unwrap_or(u32::MAX);
        for want in wants {
            if self.entry(&want.name).known == Known::Mentioned {
                self.open.push(Open { by, want });
            }
        }
        self.waiting.push(Waiting { id, spot, name: name.map(Into::into), on: on.clone() });
        Ok(Waits { on, certain })
    }

    /// Judges what could not be judged before: every wish that was open, then cycles.
    #[must_use]
    pub fn finish(&self) -> Vec<Broken> {
        let mut broken: Vec<Broken> = Vec::new();
        for Open { by, want } in &self.open {
            let known = self.by_name.get(want.name.as_str()).map_or(Known::Mentioned, |entry| entry.known);
            if let (Err(fault), Some(line)) = (fulfilled(known, want), self.line(*by)) {
                broken.push(line.broken(Some(&want.at), &want.name, fault));
            }
        }
        // A cycle needs a name that was used before its line came.
        if !self.open.is_empty() {
            broken.extend(self.cycles());
        }
        broken
    }

    /// Lines that wait for any of `gone`, directly or through others, in an order in which each reason is known before.
    #[must_use]
    pub fn dependents(&self, gone: &[GenerationId]) -> Vec<Broken> {
        let names: HashMap<GenerationId, (&str, Spot)> =
            self.waiting.iter().filter_map(|line| Some((line.id, (line.name.as_deref()?, line.spot)))).collect();
        let mut waiting_on: HashMap<GenerationId, Vec<&Waiting>> = HashMap::new();
        for line in &self.waiting {
            line.on.iter().for_each(|on| waiting_on.entry(*on).or_default().push(line));
        }
        let mut seen: HashSet<GenerationId> = gone.iter().copied().collect();
        let (mut next, mut found) = (gone.to_vec(), Vec::new());
        while let Some(on) = next.pop() {
            for line in waiting_on.get(&on).into_iter().flatten() {
                if seen.insert(line.id) {
                    let (name, spot) = names.get(&on).copied().unwrap_or(("", line.spot));
                    found.push(line.broken(None, name, Fault::Refused(spot)));
                    next.push(line.id);
                }
            }
        }
        found
    }

    fn line(&self, place: u32) -> Option<&Waiting> {
        self.waiting.get(usize::try_from(place).unwrap_or(usize::MAX))
    }

    /// One for each cycle that is found by going from line to line; lines that only wait for a cycle are not named.
    fn cycles(&self) -> Vec<Broken> {
        let places: HashMap<GenerationId, usize> =
            self.waiting.iter().enumerate().map(|(place, line)| (line.id, place)).collect();
        // Of each line, which of its dependencies wait themselves: only those can be part of a cycle.
        let next = |place: usize, nth: usize| {
            let line = self.waiting.get(place)?;
            line.on.iter().filter_map(|on| places.get(on)).nth(nth).copied()
        };
        let (mut marks, mut broken) = (vec![Mark::New; self.waiting.len()], Vec::new());
        for start in 0..self.waiting.len() {
            // A walk in depth with its own stack: a chain may be as long as the batch.
            let mut path = vec![(start, 0_usize)];
            if marks.get(start) != Some(&Mark::New) {
                continue;
            }
            set(&mut marks, start, Mark::OnPath);
            while let Some((place, nth)) = path.last_mut() {
                let (at, step) = (*place, *nth);
                *nth = nth.saturating_add(1);
                match next(at, step).map(|to| (to, marks.get(to).copied())) {
                    None => {
                        set(&mut marks, at, Mark::Done);
                        path.pop();
                    }
                    Some((to, Some(Mark::New))) => {
                        set(&mut marks, to, Mark::OnPath);
                        path.push((to, 0));
                    }
                    Some((to, Some(Mark::OnPath))) => broken.extend(self.cycle(&path, to)),
                    Some((_, Some(Mark::Done) | None)) => {}
                }
            }
        }
        broken
    }

    /// The cycle that closes at `to`, told at the line that closes it.
    fn cycle(&self, path: &[(usize, usize)], to: usize) -> Option<Broken> {
        let within = path.iter().skip_while(|(place, _)| *place != to);
        let name = |place: usize| self.waiting.get(place).and_then(|line| line.name.as_deref()).unwrap_or_default().to_owned();
        let mut names: Vec<String> = within.map(|(place, _)| name(*place)).collect();
        if names.len() > CYCLE_SHOWN {
            names.truncate(CYCLE_SHOWN);
            names.push("…".to_owned());
        }
        names.push(name(to));
        let line = self.waiting.get(path.last()?.0)?;
        Some(line.broken(None, &name(to), Fault::Cycle(names)))
    }
}

/// Names of a cycle that a sentence holds.
const CYCLE_SHOWN: usize = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    New,
    OnPath,
    Done,
}

fn set(marks: &mut [Mark], place: usize, mark: Mark) {
    if let Some(known) = marks.get_mut(place) {
        *known = mark;
    }
}

fn fulfilled(known: Known, want: &Want) -> Result<(), Fault> {
    match (known, want.index) {
        (Known::Mentioned, _) => Err(Fault::Unknown),
        (Known::Refused(spot), _) => Err(Fault::Refused(spot)),
        (Known::Taken(makes), Some(_)) if makes.kind != Kind::Image => Err(Fault::NoImage(makes)),
        (Known::Taken(makes), Some(index)) if index >= makes.outputs => Err(Fault::TooFew(makes)),
        (Known::Taken(_), _) => Ok(()),
    }
}

impl Waiting {
    fn broken(&self, at: Option<&Location>, name: &str, fault: Fault) -> Broken {
        let custom_id = self.name.as_deref().map(str::to_owned);
        Broken { id: self.id, spot: self.spot, custom_id, at: at.cloned(), name: name.to_owned(), fault }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spot(index: u32) -> Spot {
        Spot { index, line: None }
    }

    fn want(name: &str) -> Want {
        Want { name: name.to_owned(), index: None, at: Location::default() }
    }

    fn makes(index: u32, kind: Kind) -> Makes {
        Makes { spot: spot(index), kind, outputs: 2 }
    }

    /// Takes a line as the judge does; answers its id.
    fn line(names: &mut Names, index: u32, name: &str, on: &[&str]) -> GenerationId {
        let id = names.claim(name, spot(index)).unwrap();
        let waits = names.wait(id, (spot(index), Some(name)), on.iter().map(|name| want(name)).collect()).unwrap();
        names.accept(name, makes(index, Kind::Image), waits.certain);
        id
    }

    fn faults(names: &Names) -> Vec<(u32, Fault)> {
        names.finish().into_iter().map(|broken| (broken.spot.index, broken.fault)).collect()
    }

    #[test]
    fn a_name_is_given_once_and_its_second_line_is_told_of_the_first() {
        let mut names = Names::default();
        line(&mut names, 3, "a", &[]);
        assert_eq!(names.claim("a", spot(7)), Err(spot(3)));
        assert!(names.claim("b", spot(8)).is_ok());
        assert_eq!(names.claim("b", spot(9)), Err(spot(8)), "also when the first is wrong itself");
    }

    #[test]
    fn lines_may_be_named_before_they_come() {
        let mut names = Names::default();
        let promised = names.id("image");
        line(&mut names, 0, "video", &["image"]);
        assert_eq!(line(&mut names, 1, "image", &[]), promised);
        assert_eq!(faults(&names), []);
    }

    #[test]
    fn names_that_nobody_has_and_lines_that_are_wrong_are_found_at_the_end() {
        let mut names = Names::default();
        line(&mut names, 0, "a", &["nobody"]);
        line(&mut names, 1, "b", &["wrong"]);
        names.claim("wrong", spot(2)).unwrap();
        assert_eq!(faults(&names), [(0, Fault::Unknown), (1, Fault::Refused(spot(2)))]);
        assert_eq!(names.look(&want("wrong"), None), Err(Fault::Refused(spot(2))), "and at once when it came before");
    }

    #[test]
    fn only_an_image_that_is_made_can_be_taken() {
        let mut names = Names::default();
        for (index, name, kind) in [(0, "image", Kind::Image), (1, "video", Kind::Video)] {
            names.claim(name, spot(index)).unwrap();
            names.accept(name, makes(index, kind), true);
        }
        let output = |name: &str, index| Want { index: Some(index), ..want(name) };
        assert_eq!(names.look(&output("image", 1), None), Ok(()));
        assert_eq!(names.look(&output("image", 2), None), Err(Fault::TooFew(makes(0, Kind::Image))));
        assert_eq!(names.look(&output("video", 0), None), Err(Fault::NoImage(makes(1, Kind::Video))));
        assert_eq!(names.look(&want("video"), None), Ok(()), "to wait for a video is another thing");
    }

    #[test]
    fn cycles_name_their_members_and_those_who_wait_for_one_are_not_blamed() {
        let mut names = Names::default();
        line(&mut names, 0, "before", &["a"]);
        line(&mut names, 1, "a", &["b"]);
        line(&mut names, 2, "b", &["c"]);
        line(&mut names, 3, "c", &["a"]);
        line(&mut names, 4, "after", &["c"]);
        let cycle = |names: [&str; 4]| Fault::Cycle(names.map(str::to_owned).to_vec());
        assert_eq!(faults(&names), [(3, cycle(["a", "b", "c", "a"]))]);
        assert_eq!(names.look(&want("x"), Some("x")), Err(Fault::Cycle(vec!["x".to_owned(), "x".to_owned()])));
        assert!(cycle(["a", "b", "c", "a"]).sentence("a").ends_with("a → b → c → a"));
    }

    #[test]
    fn a_chain_as_long_as_a_batch_is_walked_without_recursion() {
        let mut names = Names::default();
        let called: Vec<String> = (0..50_000).map(|i| format!("n{i}")).collect();
        for (index, name) in (0_u32..).zip(&called) {
            let on: Vec<&str> = called.get(index as usize + 1).map(String::as_str).into_iter().collect();
            line(&mut names, index, name, &on);
        }
        assert_eq!(faults(&names), []);
    }

    #[test]
    fn what_waits_for_a_line_that_goes_goes_too() {
        let mut names = Names::default();
        let gone = line(&mut names, 0, "a", &["nobody"]);
        line(&mut names, 1, "b", &["a"]);
        line(&mut names, 2, "c", &["b", "free"]);
        line(&mut names, 3, "free", &[]);
        let found: Vec<_> = names.dependents(&[gone]).into_iter().map(|broken| (broken.spot.index, broken.name)).collect();
        assert_eq!(found, [(1, "a".to_owned()), (2, "b".to_owned())]);
    }

    #[test]
    fn a_line_stays_for_certain_when_all_it_waits_for_came_before_and_does() {
        let mut names = Names::default();
        let mut certain = |index, name: &str, on: &[&str]| {
            line(&mut names, index, name, on);
            names.by_name.get(name).unwrap().certain
        };
        assert!(certain(0, "a", &[]) && certain(1, "b", &["a"]));
        assert!(!certain(2, "c", &["late"]) && !certain(3, "d", &["a", "c"]));
    }

    #[test]
    fn dependencies_are_bounded() {
        let mut names = Names { edges: MOST_EDGES - 1, ..Names::default() };
        assert!(names.wait(GenerationId::fresh(), (spot(0), None), vec![want("a"), want("a")]).is_ok());
        assert_eq!(names.wait(GenerationId::fresh(), (spot(1), None), vec![want("a")]), Err(Fault::TooMany));
    }

    proptest! {
        /// Whatever the order of the lines: a cycle is found exactly when no order of execution exists.
        #[test]
        fn a_cycle_is_found_exactly_when_there_is_one(edges in proptest::collection::vec((0_usize..8, 0_usize..8), 0..20)) {
            let edges: Vec<_> = edges.into_iter().filter(|(from, to)| from != to).collect();
            let called: Vec<String> = (0..8).map(|i| format!("n{i}")).collect();
            let mut names = Names::default();
            for (index, name) in (0_u32..).zip(&called) {
                let on: Vec<&str> = edges.iter().filter(|(from, _)| *from == index as usize).map(|(_, to)| called[*to].as_str()).collect();
                line(&mut names, index, name, &on);
            }
            let mut left: HashSet<usize> = (0..8).collect();
            while let Some(free) = left.iter().copied().find(|at| !edges.iter().any(|(from, to)| from == at && left.contains(to))) {
                left.remove(&free);
            }
            prop_assert_eq!(names.finish().is_empty(), left.is_empty());
        }
    }
}

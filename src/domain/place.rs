//! Where a generation stands among those that wait for a place at a provider, in a sentence for people. Pure. It tells what the plan
//! would do if nothing came any more and no head start ran out, so the place may change either way.

use crate::domain::id::ProjectId;

/// How many wait in one line of a provider: that of a project and a priority, or what of a batch may go now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The project.
    pub project: ProjectId,
    /// 1 (most urgent) to 10.
    pub priority: u8,
    /// How many.
    pub count: u64,
}

/// A place in line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// From 1.
    pub place: u64,
    /// Of so many.
    pub of: u64,
}

impl Place {
    /// The place of one with `before` others before it in its own line, which is counted among `lines`. More urgent work goes first;
    /// other projects of equal priority take turns with its own.
    #[must_use]
    pub fn of(own: (ProjectId, u8), before: u64, lines: &[Waiting]) -> Self {
        let (project, priority) = own;
        let ahead = |line: &Waiting| {
            if line.priority < priority {
                line.count
            } else if line.priority == priority && line.project != project {
                line.count.min(before.saturating_add(1))
            } else {
                0
            }
        };
        let place = lines.iter().map(ahead).fold(before.saturating_add(1), u64::saturating_add);
        let of = lines.iter().map(|line| line.count).fold(0, u64::saturating_add);
        Self { place, of: of.max(place) }
    }

    /// The sentence; `farthest` is how far counts go, `obstacle` what all of them wait for.
    #[must_use]
    pub fn sentence(self, provider: &str, obstacle: Option<&str>, farthest: u64) -> String {
        let about = |count: u64| if count >= farthest { format!("more than {farthest}") } else { count.to_string() };
        let line = if self.place > farthest {
            format!("more than {farthest} wait before it at {provider}")
        } else {
            format!("place {} of {} at {provider}", self.place, about(self.of))
        };
        let label = format!("{provider}: ");
        match obstacle {
            Some(obstacle) => format!("{line}: {}", obstacle.strip_prefix(&label).unwrap_or(obstacle)),
            None => line,
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const A: ProjectId = ProjectId(Uuid::from_u128(1));
    const B: ProjectId = ProjectId(Uuid::from_u128(2));

    fn line(project: ProjectId, priority: u8, count: u64) -> Waiting {
        Waiting { project, priority, count }
    }

    #[test]
    fn more_urgent_work_is_ahead_and_another_project_takes_turns() {
        let lines = [line(A, 5, 30), line(B, 5, 3), line(A, 1, 2), line(B, 7, 5)];
        assert_eq!(Place::of((A, 5), 6, &lines), Place { place: 7 + 3 + 2, of: 40 });
        assert_eq!(Place::of((A, 5), 0, &lines), Place { place: 1 + 1 + 2, of: 40 });
        assert_eq!(Place::of((B, 7), 4, &lines), Place { place: 5 + 30 + 3 + 2, of: 40 });
    }

    #[test]
    fn the_first_of_a_project_is_the_second_at_the_latest() {
        assert_eq!(Place::of((B, 5), 0, &[line(A, 5, 1_000), line(B, 5, 1)]), Place { place: 2, of: 1_001 });
    }

    #[test]
    fn the_sentence_names_the_place_and_what_all_wait_for() {
        let place = Place { place: 12, of: 40 };
        let full = place.sentence("kling", Some("kling: 20 of 20 slots in use"), 1_000);
        assert_eq!(full, "place 12 of 40 at kling: 20 of 20 slots in use");
        let asked = place.sentence("kling", Some("provider asked to wait until 12:03:10Z"), 1_000);
        assert_eq!(asked, "place 12 of 40 at kling: provider asked to wait until 12:03:10Z");
        assert_eq!(Place { place: 2, of: 1_000 }.sentence("kling", None, 1_000), "place 2 of more than 1000 at kling");
        let far = Place { place: 1_001, of: 1_001 };
        assert_eq!(far.sentence("kling", None, 1_000), "more than 1000 wait before it at kling");
    }
}

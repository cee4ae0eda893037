//! The slots of a generation: one a provider call, since a model makes a limited number of outputs in one.
//!
//! Slot `i` covers the outputs from `i * per_call`. The text form (one letter a slot) is what the store keeps.

use std::fmt;

/// Where one slot stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Slot {
    /// A submit is owed: a first one or a further one.
    Owed,
    /// An attempt is open.
    Open,
    /// Its outputs are delivered.
    Delivered,
    /// It ended without outputs.
    Failed,
    /// It ended because the client cancelled.
    Cancelled,
}

impl Slot {
    const fn letter(self) -> char {
        match self {
            Self::Owed => 'o',
            Self::Open => 'a',
            Self::Delivered => 'd',
            Self::Failed => 'f',
            Self::Cancelled => 'c',
        }
    }

    const fn of(letter: char) -> Option<Self> {
        match letter {
            'o' => Some(Self::Owed),
            'a' => Some(Self::Open),
            'd' => Some(Self::Delivered),
            'f' => Some(Self::Failed),
            'c' => Some(Self::Cancelled),
            _ => None,
        }
    }
}

/// All slots of one generation, at least one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Slots(Vec<Slot>);

impl Slots {
    /// As many owed slots as calls are needed for `outputs` at `per_call` each (both at least 1).
    #[must_use]
    pub fn owed(outputs: u16, per_call: u16) -> Self {
        Self(vec![Slot::Owed; usize::from(outputs.max(1).div_ceil(per_call.max(1)))])
    }

    /// Reads the store's text; none when a letter is unknown or there is no slot.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let slots = text.chars().map(Slot::of).collect::<Option<Vec<_>>>()?;
        (!slots.is_empty()).then_some(Self(slots))
    }

    /// The slot, if there is one of that number.
    #[must_use]
    pub fn at(&self, slot: u16) -> Option<Slot> {
        self.0.get(usize::from(slot)).copied()
    }

    /// The same with one slot changed; unchanged when there is no such slot.
    #[must_use]
    pub fn with(&self, slot: u16, to: Slot) -> Self {
        let mut slots = self.0.clone();
        if let Some(place) = slots.get_mut(usize::from(slot)) {
            *place = to;
        }
        Self(slots)
    }

    /// The same with every owed slot changed.
    #[must_use]
    pub fn with_owed(&self, to: Slot) -> Self {
        Self(self.0.iter().map(|slot| if *slot == Slot::Owed { to } else { *slot }).collect())
    }

    /// The first slot that owes a submit.
    #[must_use]
    pub fn first_owed(&self) -> Option<u16> {
        self.0.iter().position(|slot| *slot == Slot::Owed).and_then(|at| u16::try_from(at).ok())
    }

    /// How many are in that state.
    #[must_use]
    pub fn count(&self, state: Slot) -> usize {
        self.0.iter().filter(|slot| **slot == state).count()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> u16 {
        u16::try_from(self.0.len()).unwrap_or(u16::MAX)
    }

    /// Never: a generation has at least one slot.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|slot| write!(f, "{}", slot.letter()))
    }
}

/// The outputs that one slot covers: the first index and how many.
#[must_use]
pub fn outputs_of(slot: u16, outputs: u16, per_call: u16) -> (u16, u16) {
    let first = slot.saturating_mul(per_call.max(1));
    (first, outputs.saturating_sub(first).min(per_call.max(1)))
}

#[cfg(test)]
mod tests {
    use super::{Slot, Slots, outputs_of};

    #[test]
    fn ten_outputs_at_four_a_call_are_three_slots_and_the_last_is_short() {
        let slots = Slots::owed(10, 4);
        assert_eq!(slots.to_string(), "ooo");
        assert_eq!((0..3).map(|slot| outputs_of(slot, 10, 4)).collect::<Vec<_>>(), [(0, 4), (4, 4), (8, 2)]);
    }

    #[test]
    fn the_text_form_reads_back_and_refuses_unknown_letters() {
        let slots = Slots::owed(3, 1).with(0, Slot::Open).with(2, Slot::Delivered);
        assert_eq!(Slots::parse(&slots.to_string()), Some(slots));
        assert_eq!(Slots::parse("ox"), None);
        assert_eq!(Slots::parse(""), None);
    }
}

//! Who wins: a pure decision, entry by entry, over what was read and locked at the beginning of the transaction.

use std::collections::HashMap;

use uuid::Uuid;

use super::{batches::Batches, rows::Move};
use crate::store::{entry::Guard, shards::Held};

/// What the database says of the rows that a batch names.
#[derive(Debug, Default)]
pub struct Present {
    /// Whether this node's row says that it lives.
    pub alive: bool,
    /// SQLite: the newest history row of all; 0: there is none.
    pub newest: i64,
    /// Generations.
    pub generations: HashMap<Uuid, GenerationNow>,
    /// Versions of attempts.
    pub attempts: HashMap<Uuid, i32>,
    /// Versions of assets.
    pub assets: HashMap<Uuid, i32>,
    /// Batches; changed by those who win.
    pub batches: Batches,
}

/// A generation as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GenerationNow {
    /// Version.
    pub version: i32,
    /// Shard.
    pub shard: i16,
    /// Whether a cancel was requested.
    pub cancel_requested: bool,
    /// The last row of its history; 0: there is none.
    pub head: i64,
}

/// Whether the entry may be written: the node lives, it holds the shard, the generation is there, every version is the one
/// that was loaded, and a submit meets no cancel. What its batch says is judged after that.
pub fn wins(entry: &Move, present: &Present, held: &Held) -> bool {
    let Some(generation) = present.generations.get(&entry.generation) else { return false };
    present.alive
        && held.has(entry.shard)
        && generation.shard == i16::from(entry.shard)
        && entry.version.is_none_or(|version| version == generation.version)
        && !(entry.guard != Guard::None && generation.cancel_requested)
        && entry.attempts.iter().all(|row| present.attempts.get(&row.id) == Some(&row.version))
        && entry.assets.iter().all(|row| present.assets.get(&row.id) == Some(&row.version))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::journal::rows::Changed;

    fn id(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }

    fn entry() -> Move {
        Move {
            version: Some(4),
            row: Some("{}".to_owned()),
            attempts: vec![Changed { id: id(2), version: 1, row: "{}".to_owned() }],
            assets: vec![Changed { id: id(3), version: 0, row: "{}".to_owned() }],
            ..Move::empty(id(1), 7)
        }
    }

    fn present() -> Present {
        Present {
            alive: true,
            newest: 0,
            generations: HashMap::from([(id(1), GenerationNow { version: 4, shard: 7, cancel_requested: false, head: 0 })]),
            attempts: HashMap::from([(id(2), 1)]),
            assets: HashMap::from([(id(3), 0)]),
            batches: Batches::default(),
        }
    }

    fn held() -> Held {
        let held = Held::none();
        held.add(7);
        held
    }

    #[test]
    fn an_entry_whose_versions_all_match_wins() {
        assert!(wins(&entry(), &present(), &held()));
    }

    #[test]
    fn each_single_mismatch_loses() {
        let generation = |change: fn(&mut GenerationNow)| {
            let mut present = present();
            change(present.generations.get_mut(&id(1)).unwrap());
            present
        };
        assert!(!wins(&entry(), &generation(|now| now.version = 5), &held()));
        assert!(!wins(&entry(), &generation(|now| now.shard = 8), &held()));
        assert!(!wins(&entry(), &Present { alive: false, ..present() }, &held()));
        assert!(!wins(&entry(), &Present { attempts: HashMap::from([(id(2), 2)]), ..present() }, &held()));
        assert!(!wins(&entry(), &Present { attempts: HashMap::new(), ..present() }, &held()));
        assert!(!wins(&entry(), &Present { assets: HashMap::from([(id(3), 1)]), ..present() }, &held()));
        assert!(!wins(&entry(), &Present { generations: HashMap::new(), ..present() }, &held()));
        assert!(!wins(&entry(), &present(), &Held::none()));
    }

    #[test]
    fn a_cancel_stops_an_intent_and_nothing_else() {
        let mut cancelled = present();
        cancelled.generations.get_mut(&id(1)).unwrap().cancel_requested = true;
        assert!(wins(&entry(), &cancelled, &held()));
        assert!(!wins(&Move { guard: Guard::Intent, ..entry() }, &cancelled, &held()));
        assert!(wins(&Move { guard: Guard::Intent, ..entry() }, &present(), &held()));
    }

    #[test]
    fn an_entry_that_changes_only_an_attempt_ignores_the_generations_version() {
        let mut moved = present();
        moved.generations.get_mut(&id(1)).unwrap().version = 9;
        assert!(wins(&Move { version: None, row: None, ..entry() }, &moved, &held()));
    }
}

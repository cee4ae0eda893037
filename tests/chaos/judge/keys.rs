//! Idempotency keys: one request makes one thing, however often it is sent and whatever breaks between.

use std::collections::BTreeMap;

use crate::judge::{Facts, Invariant, text};

type Say<'a> = dyn FnMut(Invariant, String) + 'a;

/// Each key answers one id; one answer at most is the first; and there is no more of anything than there were keys for it.
pub fn judge(facts: &Facts, say: &mut Say<'_>) {
    let mut keys: BTreeMap<&str, usize> = BTreeMap::new();
    for (key, asked) in &facts.memory.asked {
        *keys.entry(&asked.names).or_default() += 1;
        if asked.ids.len() > 1 {
            say(Invariant::OneForAKey, format!("the key {key} answers {:?}", asked.ids));
        }
        if asked.fresh > 1 {
            let what = format!("the key {key} has {} answers that do not say they are of an earlier request", asked.fresh);
            say(Invariant::OneForAKey, what);
        }
        for id in asked.ids.iter().filter(|id| !facts.shown.contains_key(*id) && !facts.batches.contains_key(*id)) {
            say(Invariant::PromisesEnd, format!("the key {key} answers {id}, which is not there"));
        }
    }
    let mut made: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (id, shown) in &facts.shown {
        made.entry(text(&shown["prompt"])).or_default().push(id);
    }
    for (names, keys) in keys {
        let made = made.get(names).map(Vec::as_slice).unwrap_or_default();
        if made.len() > keys {
            say(Invariant::OneForAKey, format!("{keys} keys made {}", made.join(" and ")));
        }
    }
}

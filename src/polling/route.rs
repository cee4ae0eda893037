//! What waiting attempts have in common, kept once: where they were sent, and how the URLs at which they are polled begin. Pure.

use std::{collections::HashMap, sync::Arc, time::Duration};

use crate::domain::{
    record::{Endpoint, Handle, Kind, ProviderName},
    schedule::Strategy,
};

/// What attempts of one model, account and endpoint share.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Provider section.
    pub provider: ProviderName,
    /// Account of it.
    pub account: Arc<str>,
    /// Where they were sent.
    pub endpoint: Endpoint,
    /// What they make.
    pub kind: Kind,
    /// `modelIdentifier`.
    pub model: Arc<str>,
    /// How polls follow each other.
    pub strategy: Strategy,
    /// Overdue after this; none means by kind.
    pub max_duration: Option<Duration>,
}

/// All routes. They are as many as models times accounts times path families, so none is ever dropped.
#[derive(Debug, Default)]
pub struct Routes {
    all: Vec<Arc<Route>>,
    by_key: HashMap<String, u32>,
}

impl Routes {
    /// The number of the route with this key; made when new. None when it cannot be made.
    pub fn number(&mut self, key: &str, make: impl FnOnce() -> Option<Route>) -> Option<u32> {
        if let Some(known) = self.by_key.get(key) {
            return Some(*known);
        }
        let number = u32::try_from(self.all.len()).ok()?;
        self.all.push(Arc::new(make()?));
        self.by_key.insert(key.to_owned(), number);
        Some(number)
    }

    /// The route of that number.
    #[must_use]
    pub fn route(&self, number: u32) -> Option<&Arc<Route>> {
        self.all.get(usize::try_from(number).ok()?)
    }
}

/// Beginnings of URLs that are kept; past it a URL is kept whole.
const PREFIXES: u16 = 4_096;

/// How a handle's URL is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Url {
    /// There is none.
    None,
    /// A known beginning, then the task's id.
    Prefix(u16),
    /// As it is, behind the id.
    Whole,
}

/// A provider's handle in few bytes: most URLs are a beginning that all share and the task's id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    url: Url,
    /// The task's id; for [`Url::Whole`] its length, a colon, the id and the URL.
    tail: Box<str>,
}

/// The beginnings.
#[derive(Debug, Default)]
pub struct Prefixes {
    all: Vec<Box<str>>,
    by_text: HashMap<Box<str>, u16>,
}

impl Prefixes {
    /// Packs a handle.
    pub fn pack(&mut self, handle: Handle) -> Packed {
        let Handle { task_id, poll_url } = handle;
        let Some(url) = poll_url else { return Packed { url: Url::None, tail: task_id.into() } };
        let begins = url.strip_suffix(task_id.as_str()).filter(|_| !task_id.is_empty());
        match begins.and_then(|begins| self.number(begins)) {
            Some(number) => Packed { url: Url::Prefix(number), tail: task_id.into() },
            None => Packed { url: Url::Whole, tail: format!("{}:{task_id}{url}", task_id.len()).into() },
        }
    }

    /// The handle as it was.
    #[must_use]
    pub fn unpack(&self, packed: &Packed) -> Handle {
        match packed.url {
            Url::None => Handle { task_id: packed.tail.to_string(), poll_url: None },
            Url::Prefix(number) => {
                let begins = self.all.get(usize::from(number)).map_or("", AsRef::as_ref);
                Handle { task_id: packed.tail.to_string(), poll_url: Some(format!("{begins}{}", packed.tail)) }
            }
            Url::Whole => whole(&packed.tail).unwrap_or_default(),
        }
    }

    fn number(&mut self, begins: &str) -> Option<u16> {
        if let Some(known) = self.by_text.get(begins) {
            return Some(*known);
        }
        let number = u16::try_from(self.all.len()).ok().filter(|number| *number < PREFIXES)?;
        self.all.push(begins.into());
        self.by_text.insert(begins.into(), number);
        Some(number)
    }
}

fn whole(tail: &str) -> Option<Handle> {
    let (length, rest) = tail.split_once(':')?;
    let (task_id, url) = rest.split_at_checked(length.parse().ok()?)?;
    Some(Handle { task_id: task_id.to_owned(), poll_url: Some(url.to_owned()) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Handle, Prefixes, Url};

    #[test]
    fn urls_that_end_with_the_id_share_their_beginning() {
        let mut prefixes = Prefixes::default();
        let url = |id: &str| Some(format!("https://api.us1.bfl.ai/v1/get_result?id={id}"));
        let handles = ["a-1", "b-2"].map(|id| Handle { task_id: id.to_owned(), poll_url: url(id) });
        let packed = handles.clone().map(|handle| prefixes.pack(handle));
        assert!(packed.iter().all(|packed| packed.url == Url::Prefix(0)));
        assert_eq!(packed.map(|packed| prefixes.unpack(&packed)), handles);
    }

    proptest! {
        #[test]
        fn a_handle_comes_out_as_it_went_in(task_id in ".{0,12}", url in proptest::option::of(".{0,30}"), joined: bool) {
            let poll_url = url.map(|url| if joined { format!("{url}{task_id}") } else { url });
            let handle = Handle { task_id, poll_url };
            let mut prefixes = Prefixes::default();
            let packed = prefixes.pack(handle.clone());
            prop_assert_eq!(prefixes.unpack(&packed), handle);
        }
    }
}

//! `Idempotency-Key`: a client that lost an answer sends the same again and gets the same answer, and nothing is made twice.
//!
//! Two things stand behind it. A claim, written in the commit that makes what was asked for, survives every crash; and a set in memory
//! holds the requests that are being carried out, so that the second of two at once is told to come back instead of racing the first.
//! The set is a courtesy: between processes the claim alone decides.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};

use crate::{
    domain::{
        claim::{Claim, ClaimId, Claimed, Fingerprint, Rule},
        error::ErrorCode,
        id::ProjectId,
        time::Timestamp,
    },
    http::{Api, auth::Caller, problem::Problem},
};

/// Names the request (draft-ietf-httpapi-idempotency-key-header-06).
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Says that the answer is that of an earlier request.
pub const REPLAYED: (HeaderName, HeaderValue) =
    (HeaderName::from_static("idempotency-replayed"), HeaderValue::from_static("true"));
/// How often a package of OpenAI's has sent this request again by itself (PyPI `openai` 3.54, `_base_client.py`). The Python package
/// gives no idempotency key with it, others do.
const RETRIES: HeaderName = HeaderName::from_static("x-stainless-retry-count");
/// Longest key, in characters.
const LONGEST_KEY: usize = 255;

/// Requests that are being carried out, and how many of each. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct InFlight(Arc<Mutex<HashMap<ClaimId, usize>>>);

impl InFlight {
    /// Enters a request; none when it is there already.
    fn enter(&self, id: ClaimId) -> Option<Seat> {
        let mut requests = self.lock();
        if requests.contains_key(&id) {
            return None;
        }
        requests.insert(id, 1);
        Some(Seat { requests: self.clone(), id })
    }

    /// Enters a request beside others like it.
    fn join(&self, id: ClaimId) -> Seat {
        let mut requests = self.lock();
        let count = requests.entry(id).or_default();
        *count = count.saturating_add(1);
        Seat { requests: self.clone(), id }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ClaimId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the set; given back when it is dropped, however the request ends.
#[derive(Debug)]
struct Seat {
    requests: InFlight,
    id: ClaimId,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut requests = self.requests.lock();
        match requests.get_mut(&self.id) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) | None => drop(requests.remove(&self.id)),
        }
    }
}

/// A request that may be repeated and has made nothing yet. To be kept until what it makes is committed or refused.
#[derive(Debug)]
pub struct Ticket {
    seat: Seat,
    project: ProjectId,
    fingerprint: Fingerprint,
    at: Timestamp,
    rule: Rule,
}

impl Ticket {
    /// The claim to be written with what is made.
    #[must_use]
    pub fn claim(&self, subject: String) -> Claim {
        let Self { seat, project, fingerprint, at, rule } = self;
        Claim { id: seat.id, project: *project, fingerprint: fingerprint.clone(), subject, at: *at, rule: *rule }
    }

    /// The id of what an earlier request with this key has made.
    ///
    /// # Errors
    /// `IDEMPOTENCY_KEY_REUSED` when that request asked for something else.
    pub fn same(&self, before: Claimed) -> Result<String, Problem> {
        same(before, &self.fingerprint)
    }
}

/// What a request with or without a key has to do.
#[derive(Debug)]
pub enum Begun {
    /// Make what it asks for, under the ticket where the client gave a key.
    New(Option<Ticket>),
    /// Answer with what was made then: its id.
    Before(String),
}

/// A request with a key that nobody else is carrying out, before it is known whether it is the same as the one before.
#[derive(Debug)]
pub struct Entry {
    seat: Seat,
    project: ProjectId,
    before: Option<Claimed>,
    at: Timestamp,
}

impl Entry {
    /// The id of what an earlier request with this key has made: perhaps another one.
    #[must_use]
    pub fn before(&self) -> Option<&str> {
        self.before.as_ref().map(|before| before.subject.as_str())
    }

    /// What to do, now that the request is known.
    ///
    /// # Errors
    /// `IDEMPOTENCY_KEY_REUSED` when the key was used for another request.
    pub fn decide(self, fingerprint: Fingerprint) -> Result<Begun, Problem> {
        let Self { seat, project, before, at } = self;
        match before {
            Some(before) => Ok(Begun::Before(same(before, &fingerprint)?)),
            None => Ok(Begun::New(Some(Ticket { seat, project, fingerprint, at, rule: Rule::First }))),
        }
    }
}

/// Looks whether a key was used before; none when the client gave none. For requests that are only known once all of them has come.
///
/// # Errors
/// As [`begin`].
pub async fn enter(api: &Api, caller: Caller, headers: &HeaderMap, route: &str) -> Result<Option<Entry>, Problem> {
    let Some(key) = key(headers)? else { return Ok(None) };
    let id = ClaimId::of(caller.project, route, &key);
    let seat = api.in_flight.enter(id).ok_or_else(in_flight)?;
    // After the seat: whoever held it before has written its claim by now.
    let reads = api.reads.clone();
    let before = api.hop(async move { reads.claim(id).await }).await?;
    Ok(Some(Entry { seat, project: caller.project, before, at: api.clock.now() }))
}

/// Looks whether a request was carried out before. `route` tells apart what one key may be used for.
///
/// # Errors
/// `INVALID_REQUEST` for a key that is none, `IDEMPOTENCY_KEY_REUSED` when it was used for another request, `REQUEST_IN_FLIGHT` while
/// the same request is being carried out, and the store's.
pub async fn begin(
    api: &Api,
    caller: Caller,
    headers: &HeaderMap,
    (route, fingerprint): (&str, Fingerprint),
) -> Result<Begun, Problem> {
    match enter(api, caller, headers, route).await? {
        None => Ok(Begun::New(None)),
        Some(entry) => entry.decide(fingerprint),
    }
}

/// As [`begin`]; where the client gives no key, a package's own retry is known by its count: it is answered with the newest equal
/// request of the same API key, unless that is older than `patience` for each time it was sent. So a retry makes nothing twice; two
/// equal requests that a program sends on purpose are two, as long as both arrive. (Of two at once one may be told the other's answer
/// when it has to be sent again: who wants that excluded gives a key.)
///
/// # Errors
/// As [`begin`].
pub async fn begin_or_recognise(
    api: &Api,
    caller: Caller,
    headers: &HeaderMap,
    (route, fingerprint): (&str, Fingerprint),
    patience: Duration,
) -> Result<Begun, Problem> {
    let retries = headers.get(RETRIES).and_then(|count| count.to_str().ok()?.parse::<u32>().ok());
    let retries = retries.filter(|_| !headers.contains_key(IDEMPOTENCY_KEY));
    let Some(retries) = retries else { return begin(api, caller, headers, (route, fingerprint)).await };
    let id = ClaimId::of(caller.project, &format!("retries of {route}"), &format!("{} {fingerprint}", caller.key));
    let now = api.clock.now();
    let seat = if retries == 0 { api.in_flight.join(id) } else { api.in_flight.enter(id).ok_or_else(in_flight)? };
    if retries > 0 {
        let reads = api.reads.clone();
        let before = api.hop(async move { reads.claim(id).await }).await?;
        if let Some(before) = before.filter(|before| before.at >= now.minus(patience.saturating_mul(retries))) {
            return Ok(Begun::Before(before.subject));
        }
    }
    Ok(Begun::New(Some(Ticket { seat, project: caller.project, fingerprint, at: now, rule: Rule::Newest })))
}

fn same(before: Claimed, fingerprint: &Fingerprint) -> Result<String, Problem> {
    if before.fingerprint == *fingerprint {
        return Ok(before.subject);
    }
    let detail = "this Idempotency-Key was used for a request with another body; a new request needs a new key";
    Err(Problem::new(ErrorCode::IdempotencyKeyReused, detail))
}

fn in_flight() -> Problem {
    let detail = "the same request is being carried out; send it again for its answer";
    Problem::new(ErrorCode::RequestInFlight, detail).with_header(RETRY_AFTER, HeaderValue::from_static("1"))
}

/// The client's key. The draft makes it a structured string in quotes (RFC 9651 §3.3.3); most clients send it bare: both are the same key.
fn key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let refuse = |detail: &str| Err(Problem::new(ErrorCode::InvalidRequest, detail));
    let mut given = headers.get_all(IDEMPOTENCY_KEY);
    let Some(first) = given.next() else { return Ok(None) };
    if given.next().is_some() {
        return refuse("Idempotency-Key is given more than once");
    }
    let Ok(text) = first.to_str() else { return refuse("an Idempotency-Key holds printable ASCII characters only") };
    let key = match text.trim().strip_prefix('"') {
        Some(rest) => match unquoted(rest) {
            Some(key) => key,
            None => return refuse("the Idempotency-Key opens a quote that it does not close at its end"),
        },
        None => text.trim().to_owned(),
    };
    match key.len() {
        0 => refuse("the Idempotency-Key is empty"),
        1..=LONGEST_KEY => Ok(Some(key)),
        _ => refuse("an Idempotency-Key has at most 255 characters"),
    }
}

/// What stands before the closing quote, which must be the end.
fn unquoted(rest: &str) -> Option<String> {
    let mut key = String::new();
    let mut letters = rest.chars();
    loop {
        match letters.next()? {
            '"' => return letters.next().is_none().then_some(key),
            '\\' => key.push(letters.next().filter(|letter| ['"', '\\'].contains(letter))?),
            letter => key.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(values: &[&[u8]]) -> Result<Option<String>, String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(IDEMPOTENCY_KEY, HeaderValue::from_bytes(value).unwrap());
        }
        key(&headers).map_err(|problem| problem.to_string())
    }

    #[test]
    fn a_key_is_the_same_bare_and_in_quotes() {
        assert_eq!(with(&[]), Ok(None));
        for (given, key) in [
            (&b"abc"[..], "abc"),
            (b"\"abc\"", "abc"),
            (b"  \"a \\\"b\\\\\" ", "a \"b\\"),
            (b"8e03978e-40d5-43dd-bc93-6894a57f9324", "8e03978e-40d5-43dd-bc93-6894a57f9324"),
            (b"a\"b", "a\"b"),
        ] {
            assert_eq!(with(&[given]), Ok(Some(key.to_owned())));
        }
        assert_eq!(with(&[&[b'k'; 255]]).map(|key| key.map(|key| key.len())), Ok(Some(255)));
    }

    #[test]
    fn what_is_no_key_is_refused_and_says_why() {
        for (given, words) in [
            (&[&b""[..]][..], "empty"),
            (&[b"\"\""], "empty"),
            (&[b"\"abc"], "quote"),
            (&[b"\"abc\" x"], "quote"),
            (&[b"\"a\\b\""], "quote"),
            (&[b"\xc3\xbc"], "printable ASCII"),
            (&[&[b'k'; 256]], "255"),
            (&[b"a", b"a"], "more than once"),
        ] {
            let refused = with(given).unwrap_err();
            assert!(refused.starts_with("INVALID_REQUEST") && refused.contains(words), "{refused}");
        }
    }

    #[test]
    fn a_seat_is_free_again_however_its_request_ends() {
        let (requests, id) = (InFlight::default(), ClaimId::of(ProjectId::fresh(), "r", "k"));
        let seat = requests.enter(id).unwrap();
        assert!(requests.enter(id).is_none());
        drop(seat);
        let panicking = requests.clone();
        let lost = std::thread::spawn(move || {
            let _seat = panicking.enter(id).unwrap();
            panic!("in the middle");
        });
        assert!(lost.join().is_err());
        assert!(requests.enter(id).is_some());
    }
}

//! Reads the options of a batch: from `options` of a JSON body or of the first line, and from the query. Everything wrong is said at
//! once, each where the client wrote it.

use std::time::Duration;

use serde_json::{Map, Value};
use url::form_urlencoded;

use crate::{
    domain::{money::Micros, time::Timestamp, unconfirmed::OnUnconfirmed},
    intake::ask::{self, field},
    net::guard::Allow,
    providers::schema::FieldError,
};

const MEMBERS: [&str; 12] = [
    "parallel",
    "maxConcurrency",
    "stopOnError",
    "priority",
    "deadline",
    "budget",
    "onInvalid",
    "onUnconfirmed",
    "webhookUrl",
    "name",
    "metadata",
    "dryRun",
];
/// Second spellings, as for a single generation.
const ALIASES: [(&str, &str); 6] = [
    ("max_concurrency", "maxConcurrency"),
    ("stop_on_error", "stopOnError"),
    ("on_invalid", "onInvalid"),
    ("on_unconfirmed", "onUnconfirmed"),
    ("webhook_url", "webhookUrl"),
    ("dry_run", "dryRun"),
];
/// Attempts of a batch at a time at most: above what any account of a provider allows.
const MOST_AT_ONCE: i64 = 1_000;
/// Longest time until a deadline, and what a line may wait without one: 50,000 videos of two minutes, three at a time, take 23 days.
pub const LONGEST: Duration = Duration::from_secs(30 * 86_400);
/// Longest name, in characters.
const LONGEST_NAME: usize = 200;

/// What becomes of a batch of which some requests are wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnInvalid {
    /// Nothing is created.
    #[default]
    Reject,
    /// The others are created.
    Skip,
}

/// Options that were understood, defaults applied.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Whether several may run at a time; otherwise one after the other, in order.
    pub parallel: bool,
    /// Attempts that may be submitting, unconfirmed or running at a time.
    pub max_concurrency: u16,
    /// Whether the first failure cancels what was not submitted yet.
    pub stop_on_error: bool,
    /// 1 (most urgent) to 10, of requests that name none.
    pub priority: u8,
    /// What is not submitted by then ends cancelled.
    pub deadline: Option<Timestamp>,
    /// What its attempts may cost; holds count.
    pub budget: Option<Micros>,
    /// What becomes of it when some requests are wrong.
    pub on_invalid: OnInvalid,
    /// The policy of requests that name none.
    pub on_unconfirmed: Option<OnUnconfirmed>,
    /// Whom to tell of it.
    pub webhook_url: Option<String>,
    /// The client's name of it.
    pub name: Option<String>,
    /// The client's notes.
    pub metadata: Option<Map<String, Value>>,
    /// Whether everything is checked and nothing created.
    pub dry_run: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            parallel: true,
            max_concurrency: 3,
            stop_on_error: false,
            priority: 5,
            deadline: None,
            budget: None,
            on_invalid: OnInvalid::Reject,
            on_unconfirmed: None,
            webhook_url: None,
            name: None,
            metadata: None,
            dry_run: false,
        }
    }
}

impl Options {
    /// Attempts at a time, after `parallel` has been looked at.
    #[must_use]
    pub const fn at_once(&self) -> u16 {
        if self.parallel { self.max_concurrency } else { 1 }
    }
}

/// Reads the query into options as JSON would hold them: `true`, numbers and words; `metadata` as JSON text. An option without a value
/// is `true`.
#[must_use]
pub fn of_query(text: &str) -> Map<String, Value> {
    form_urlencoded::parse(text.as_bytes()).map(|(name, value)| (name.to_string(), typed(&name, &value))).collect()
}

fn typed(name: &str, value: &str) -> Value {
    let json = || serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
    let flag = ["parallel", "stopOnError", "stop_on_error", "dryRun", "dry_run"].contains(&name);
    match (flag, value) {
        (true, "" | "true" | "1") => Value::Bool(true),
        (true, "false" | "0") => Value::Bool(false),
        (false, _) if ["maxConcurrency", "max_concurrency", "priority", "budget", "metadata"].contains(&name) => json(),
        _ => Value::from(value),
    }
}

/// What options are judged by: the time, and where webhooks may be sent.
pub type Known<'a> = (Timestamp, &'a Allow);

/// Reads options of both places. What is given in both must be equal. An option with an error keeps its default.
#[must_use]
pub fn read(query: Map<String, Value>, body: Map<String, Value>, known: Known<'_>) -> (Options, Vec<FieldError>) {
    let (mut options, mut errors) = (Options::default(), Vec::new());
    let mut members = Source::of(body, "#/options/", &mut errors);
    let query = Source::of(query, "?", &mut errors);
    for (name, value) in &query.given {
        if members.given.remove(name).is_some_and(|other| other != *value) {
            let detail = format!("`{name}` is given in the query and in `options`, and they differ");
            errors.push(FieldError { pointer: format!("?{name}"), code: "conflict", detail });
        }
    }
    for source in [query, members] {
        source.read(&mut options, known, &mut errors);
    }
    (options, errors)
}

/// Options of one place, in the documented spelling.
struct Source {
    given: Map<String, Value>,
    spelled: Vec<(&'static str, &'static str)>,
    prefix: &'static str,
}

impl Source {
    fn of(mut given: Map<String, Value>, prefix: &'static str, errors: &mut Vec<FieldError>) -> Self {
        let before = errors.len();
        let spelled = ask::respell(&mut given, &ALIASES, errors);
        given.retain(|_, value| !value.is_null());
        let source = Self { given, spelled, prefix };
        source.place(errors, before);
        source
    }

    fn read(self, options: &mut Options, known: Known<'_>, errors: &mut Vec<FieldError>) {
        let before = errors.len();
        for (name, value) in &self.given {
            member(options, name, value.clone(), known, errors);
        }
        self.place(errors, before);
    }

    /// Points the errors from `before` on at what the client wrote.
    fn place(&self, errors: &mut [FieldError], before: usize) {
        for error in errors.iter_mut().skip(before) {
            ask::point_at_spelling(&self.spelled, error);
            let path = error.pointer.trim_start_matches("#/");
            error.pointer = format!("{}{path}", self.prefix);
        }
    }
}

fn member(options: &mut Options, name: &str, value: Value, (now, allow): Known<'_>, errors: &mut Vec<FieldError>) {
    let at = format!("/{}", ask::escaped(name));
    let at = at.as_str();
    match name {
        "parallel" => set(&mut options.parallel, flag(at, &value, errors)),
        "stopOnError" => set(&mut options.stop_on_error, flag(at, &value, errors)),
        "dryRun" => set(&mut options.dry_run, flag(at, &value, errors)),
        "maxConcurrency" => set(&mut options.max_concurrency, at_once(at, &value, errors)),
        "priority" => set(&mut options.priority, ask::priority(at, &value, errors)),
        "onInvalid" => set(&mut options.on_invalid, ask::text(at, value, errors).and_then(|word| on_invalid(at, &word, errors))),
        "onUnconfirmed" => {
            options.on_unconfirmed = ask::text(at, value, errors).and_then(|word| ask::policy(at, &word, errors));
        }
        "deadline" => options.deadline = ask::text(at, value, errors).and_then(|text| deadline(at, &text, now, errors)),
        "budget" => options.budget = budget(at, &value, errors),
        "webhookUrl" => options.webhook_url = ask::text(at, value, errors).and_then(|url| receiver(at, url, allow, errors)),
        "name" => options.name = ask::text(at, value, errors).and_then(|name| called(at, name, errors)),
        "metadata" => options.metadata = ask::object(at, value, errors).and_then(|notes| metadata(at, notes, errors)),
        _ => errors.push(ask::unknown_member(at, name, "a batch's options", &MEMBERS)),
    }
}

fn receiver(at: &str, url: String, allow: &Allow, errors: &mut Vec<FieldError>) -> Option<String> {
    let url = ask::webhook_url(at, url, errors)?;
    ask::may_be_called(at, &url, allow).map(|()| url).map_err(|error| errors.push(error)).ok()
}

fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

fn flag(at: &str, value: &Value, errors: &mut Vec<FieldError>) -> Option<bool> {
    if value.as_bool().is_none() {
        errors.push(ask::wrong_type(at, "true or false", value));
    }
    value.as_bool()
}

fn at_once(at: &str, value: &Value, errors: &mut Vec<FieldError>) -> Option<u16> {
    let number = ask::integer(at, value, errors)?;
    let within = u16::try_from(number).ok().filter(|_| (1..=MOST_AT_ONCE).contains(&number));
    if within.is_none() {
        errors.push(field(at, "out_of_range", format!("must be between 1 and {MOST_AT_ONCE}")));
    }
    within
}

fn on_invalid(at: &str, word: &str, errors: &mut Vec<FieldError>) -> Option<OnInvalid> {
    match word {
        "reject" => Some(OnInvalid::Reject),
        "skip" => Some(OnInvalid::Skip),
        _ => {
            errors.push(field(at, "not_one_of", "must be reject or skip"));
            None
        }
    }
}

fn deadline(at: &str, text: &str, now: Timestamp, errors: &mut Vec<FieldError>) -> Option<Timestamp> {
    // A plus sign that nobody encoded arrives in a query as a space.
    let fault = match Timestamp::parse(&text.replace(' ', "+")) {
        None => ("wrong_type", "must be an RFC 3339 instant such as 2026-11-21T12:00:00Z".to_owned()),
        Some(instant) if instant <= now => ("out_of_range", format!("has passed; it is {}", now.rfc3339())),
        Some(instant) if instant > now.plus(LONGEST) => ("out_of_range", "lies more than 30 days ahead".to_owned()),
        Some(instant) => return Some(instant),
    };
    errors.push(field(at, fault.0, format!("a deadline {}", fault.1)));
    None
}

/// Reads a budget. Text is a decimal amount with its currency, a number is millionths of it: either reading of a bare `25` in text would be wrong for
/// somebody.
pub fn budget(at: &str, value: &Value, errors: &mut Vec<FieldError>) -> Option<Micros> {
    let amount = match value {
        Value::Number(number) => number.as_i64().map(Micros),
        Value::String(text) => {
            let text = text.trim();
            let bare = text.strip_suffix("USD").or_else(|| text.strip_prefix("USD"));
            bare.and_then(|amount| Micros::parse(amount.trim()))
        }
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    let found = amount.filter(|amount| amount.0 > 0);
    if found.is_none() {
        let detail = "must be an amount above 0: text such as \"25.00 USD\", or a whole number of micro-units (25000000)";
        errors.push(field(at, "invalid_amount", detail));
    }
    found
}

fn called(at: &str, name: String, errors: &mut Vec<FieldError>) -> Option<String> {
    let name = name.trim().to_owned();
    let fault = match name.chars().count() {
        0 => Some(("empty", "a name holds at least one character".to_owned())),
        count if count > LONGEST_NAME => Some(("too_long", format!("a name has at most {LONGEST_NAME} characters"))),
        _ if name.chars().any(char::is_control) => Some(("invalid_text", "a name is one line of text".to_owned())),
        _ => return Some(name),
    };
    errors.extend(fault.map(|(code, detail)| field(at, code, detail)));
    None
}

fn metadata(at: &str, notes: Map<String, Value>, errors: &mut Vec<FieldError>) -> Option<Map<String, Value>> {
    match ask::metadata_fits(&notes) {
        Ok(()) => Some(notes),
        Err(error) => {
            errors.push(field(at, "too_long", error.message.unwrap_or_default()));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp(1_700_000_000_000);

    fn of(body: Value) -> (Options, Vec<(String, &'static str)>) {
        both("", body)
    }

    fn both(query: &str, body: Value) -> (Options, Vec<(String, &'static str)>) {
        let Value::Object(body) = body else { panic!("an object") };
        let (options, errors) = read(of_query(query), body, (NOW, &Allow::public()));
        (options, errors.into_iter().map(|error| (error.pointer, error.code)).collect())
    }

    #[test]
    fn without_options_the_documented_defaults_hold() {
        let (options, errors) = of(json!({"name": null}));
        assert_eq!((errors, options.clone()), (vec![], Options::default()));
        assert_eq!((options.parallel, options.max_concurrency, options.stop_on_error, options.priority), (true, 3, false, 5));
        assert_eq!((options.on_invalid, options.dry_run, options.at_once()), (OnInvalid::Reject, false, 3));
    }

    #[test]
    fn every_option_is_read_from_the_body_and_from_the_query_in_both_spellings() {
        let deadline = NOW.plus(Duration::from_secs(60));
        let (from_body, errors) = of(json!({
            "parallel": false, "max_concurrency": 7, "stopOnError": true, "priority": "high", "deadline": deadline.rfc3339(),
            "budget": "25.5 USD", "on_invalid": "skip", "onUnconfirmed": "hold", "webhook_url": "https://example.com/h",
            "name": " cats ", "metadata": {"a": 1}, "dryRun": true,
        }));
        assert_eq!(errors, []);
        let query = format!(
            "parallel=false&maxConcurrency=7&stop_on_error=1&priority=high&deadline={}&budget=25500000&onInvalid=skip\
             &on_unconfirmed=hold&webhookUrl=https://example.com/h&name=cats&metadata={{\"a\":1}}&dry_run",
            deadline.rfc3339().replace('Z', "+00:00")
        );
        assert_eq!(both(&query, json!({})), (from_body.clone(), vec![]));
        assert_eq!((from_body.budget, from_body.at_once(), from_body.priority), (Some(Micros(25_500_000)), 1, 3));
        assert_eq!((from_body.deadline, from_body.name.as_deref()), (Some(deadline), Some("cats")));
    }

    #[test]
    fn a_budget_names_its_currency_or_counts_micro_units() {
        for (given, wanted) in
            [(json!("0.000001 USD"), 1), (json!("USD 3"), 3_000_000), (json!(7), 7), (json!("12USD"), 12_000_000)]
        {
            assert_eq!(of(json!({"budget": given})).0.budget, Some(Micros(wanted)));
        }
        for wrong in [json!("25"), json!("25.00 EUR"), json!(2.5), json!(0), json!(-5), json!("0 USD"), json!("USD"), json!([1])]
        {
            assert_eq!(of(json!({"budget": wrong.clone()})).1, [("#/options/budget".to_owned(), "invalid_amount")], "{wrong}");
        }
    }

    #[test]
    fn everything_wrong_is_said_at_once_where_it_was_written() {
        let (options, mut errors) = of(json!({
            "parallel": "yes", "max_concurrency": 0, "stopOnError": 1, "priority": 11, "deadline": "tomorrow", "budget": "x",
            "onInvalid": "ignore", "onUnconfirmed": "retry", "webhookUrl": "x", "name": " ", "metadata": [], "prority": 1,
        }));
        errors.sort();
        let expected = [
            ("#/options/budget", "invalid_amount"),
            ("#/options/deadline", "wrong_type"),
            ("#/options/max_concurrency", "out_of_range"),
            ("#/options/metadata", "wrong_type"),
            ("#/options/name", "empty"),
            ("#/options/onInvalid", "not_one_of"),
            ("#/options/onUnconfirmed", "not_one_of"),
            ("#/options/parallel", "wrong_type"),
            ("#/options/priority", "not_one_of"),
            ("#/options/prority", "unknown_member"),
            ("#/options/stopOnError", "wrong_type"),
            ("#/options/webhookUrl", "invalid_url"),
        ];
        assert_eq!(errors, expected.map(|(pointer, code)| (pointer.to_owned(), code)));
        assert_eq!(options, Options::default());
    }

    #[test]
    fn what_two_places_say_must_be_equal() {
        assert_eq!(both("dryRun=true", json!({"dryRun": true})).1, []);
        let (_, errors) = both("priority=3&nme=x", json!({"priority": 4, "max_concurrency": 2, "maxConcurrency": 3}));
        let expected = [("#/options/max_concurrency", "conflict"), ("?priority", "conflict"), ("?nme", "unknown_member")];
        assert_eq!(errors, expected.map(|(pointer, code)| (pointer.to_owned(), code)));
    }

    #[test]
    fn a_deadline_lies_ahead_but_not_beyond_what_a_line_may_wait() {
        for wrong in [NOW, NOW.minus(Duration::from_secs(1)), NOW.plus(LONGEST + Duration::from_secs(1))] {
            assert_eq!(of(json!({"deadline": wrong.rfc3339()})).1, [("#/options/deadline".to_owned(), "out_of_range")]);
        }
        assert_eq!(of(json!({"deadline": NOW.plus(LONGEST).rfc3339()})).0.deadline, Some(NOW.plus(LONGEST)));
    }
}

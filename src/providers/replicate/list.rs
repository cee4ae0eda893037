//! Finding a prediction whose id was not learned: the account's list within the time, and what in it has our input and model.
//! Input is echoed for predictions made by API until an hour after completion (`replicate.md` §4 and §9).

use serde_json::Value;
use url::Url;

use super::errors::TABLE;
use crate::{
    domain::{
        record::{Endpoint, Handle},
        time::Timestamp,
    },
    providers::adapter::{
        Fault, Found, HttpCall, Reply, Search,
        pick::{id, text},
        place,
        table::Said,
    },
};

/// The first page of the time.
pub fn first(search: &Search<'_>) -> Result<HttpCall, Fault> {
    let mut url = place::url(search.endpoint, "/predictions", &[])?;
    let (from, until) = (search.from.rfc3339(), search.until.rfc3339());
    url.query_pairs_mut().append_pair("created_after", &from).append_pair("created_before", &until);
    Ok(HttpCall::get(url))
}

/// Reads a page.
pub fn read(search: &Search<'_>, reply: &Reply) -> Found {
    let body = reply.json().unwrap_or_default();
    let results = body.get("results").and_then(Value::as_array).filter(|_| reply.status.is_success());
    let Some(results) = results else {
        return Found::Unclear(TABLE.unclear(Said::of(reply), "it answered without a list of predictions"));
    };
    let Ok(next) = next(search.endpoint, &body) else {
        return Found::Unclear(TABLE.unclear(Said::of(reply), "its list goes on at a foreign address"));
    };
    let fits = results.iter().filter(|prediction| fits(search, prediction));
    let handle = |task_id| Handle { task_id, poll_url: None };
    Found::Page { fits: fits.filter_map(|prediction| id(prediction, &["id"])).map(handle).collect(), next }
}

fn next(endpoint: &Endpoint, body: &Value) -> Result<Option<HttpCall>, ()> {
    let Some(next) = text(body, &["next"]).filter(|next| !next.is_empty()) else { return Ok(None) };
    let url = Url::parse(next).map_err(|_| ())?;
    if place::same_origin(&url, &endpoint.base_url) { Ok(Some(HttpCall::get(url))) } else { Err(()) }
}

/// Same model, same input, accepted within the time. The filter of the query is not relied on.
fn fits(search: &Search<'_>, prediction: &Value) -> bool {
    let created = text(prediction, &["created_at"]).and_then(Timestamp::parse);
    let sent = search.sent.get("input").filter(|input| input.is_object());
    let (Some(created), Some(sent), Some(shown)) = (created, sent, prediction.get("input")) else { return false };
    created >= search.from && created <= search.until && same_model(search.endpoint, prediction) && same(sent, shown)
}

fn same_model(endpoint: &Endpoint, prediction: &Value) -> bool {
    let shows = |name: &str, wanted: &str| text(prediction, &[name]) == Some(wanted);
    let upstream = endpoint.upstream.as_str();
    match (endpoint.path_family.as_str(), upstream.split_once(':')) {
        ("deployments", _) => shows("deployment", upstream),
        (_, Some((model, version))) => shows("model", model) && shows("version", version),
        (_, None) if upstream.contains('/') => shows("model", upstream),
        (_, None) => shows("version", upstream),
    }
}

/// Equal as JSON, where `5` and `5.0` are one number.
fn same(sent: &Value, shown: &Value) -> bool {
    match (sent, shown) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64().is_some_and(|a| b.as_f64() == Some(a)),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| same(a, b)))
        }
        (sent, shown) => sent == shown,
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use serde_json::json;

    use super::*;
    use crate::{
        domain::record::Kind,
        providers::{
            adapter::{
                Adapter as _,
                conformance::{SUBMITTED_AT, answer, page},
            },
            replicate::Replicate,
        },
    };

    const BASE: &str = "https://api.replicate.com/v1";

    fn endpoint(family: Option<&str>, upstream: &str) -> Endpoint {
        Replicate.endpoint(BASE, upstream, family, &BTreeMap::new(), false, Kind::Image)
    }

    fn search<'a>(endpoint: &'a Endpoint, sent: &'a Value) -> Search<'a> {
        let minute = Duration::from_secs(60);
        Search { endpoint, tag: "", sent, from: SUBMITTED_AT.minus(minute), until: SUBMITTED_AT.plus(minute) }
    }

    fn prediction(id: &str, more: Value) -> Value {
        let mut all = json!({"id": id, "model": "o/m", "version": "v", "created_at": SUBMITTED_AT.rfc3339(),
            "input": {"prompt": "a fox", "seed": 7}});
        all.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        all
    }

    fn found(endpoint: &Endpoint, results: Vec<Value>) -> Vec<String> {
        let sent = json!({"input": {"seed": 7.0, "prompt": "a fox"}, "webhook": "https://us.test/1"});
        let page = answer(200, json!({"results": results, "next": null}));
        let Found::Page { fits, next: None } = read(&search(endpoint, &sent), &page.reply()) else { panic!("no last page") };
        fits.into_iter().map(|handle| handle.task_id).collect()
    }

    #[test]
    fn only_the_same_model_with_the_same_input_within_the_time_fits() {
        let models = endpoint(None, "o/m");
        let day_before = SUBMITTED_AT.minus(Duration::from_secs(86_400)).rfc3339();
        let results = vec![
            prediction("1", json!({})),
            prediction("2", json!({"model": "o/other"})),
            prediction("3", json!({"input": {"prompt": "a fox", "seed": 8}})),
            prediction("4", json!({"input": {"prompt": "a fox"}})),
            prediction("5", json!({"input": {"prompt": "a fox", "seed": 7, "more": 1}})),
            prediction("6", json!({"input": {}, "data_removed": true})),
            prediction("7", json!({"created_at": day_before})),
            prediction("8", json!({"created_at": null})),
            prediction("9", json!({"output": ["https://replicate.delivery/1.png"], "status": "succeeded"})),
        ];
        assert_eq!(found(&models, results), ["1", "9"]);
    }

    #[test]
    fn versions_and_deployments_are_told_apart() {
        let all = || {
            vec![
                prediction("1", json!({})),
                prediction("2", json!({"version": "w"})),
                prediction("3", json!({"deployment": "o/d"})),
            ]
        };
        assert_eq!(found(&endpoint(None, "o/m:w"), all()), ["2"]);
        assert_eq!(found(&endpoint(None, "v"), all()), ["1", "3"]);
        assert_eq!(found(&endpoint(Some("deployments"), "o/d"), all()), ["3"]);
    }

    #[test]
    fn the_list_is_asked_for_the_time_and_followed_on_the_same_host_only() {
        let (models, sent) = (endpoint(None, "o/m"), json!({"input": {}}));
        let search = search(&models, &sent);
        let url = first(&search).unwrap().url;
        let names: Vec<_> = url.query_pairs().map(|(name, _)| name.into_owned()).collect();
        assert_eq!((url.path(), names), ("/v1/predictions", vec!["created_after".to_owned(), "created_before".to_owned()]));
        let next = |to: &str| read(&search, &answer(200, json!({"results": [], "next": to})).reply());
        let Found::Page { next: Some(call), .. } = next("https://api.replicate.com/v1/predictions?cursor=x") else {
            panic!("there is a further page")
        };
        assert_eq!(call.url.query(), Some("cursor=x"));
        assert!(matches!(next("https://evil.example/v1/predictions?cursor=x"), Found::Unclear(_)));
        assert!(matches!(read(&search, &page(200).reply()), Found::Unclear(_)));
        assert!(matches!(read(&search, &answer(500, json!({"results": []})).reply()), Found::Unclear(_)));
    }
}

//! The query of a spend report.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;
use url::form_urlencoded;
use utoipa::IntoParams;

use crate::{
    config::load::nearest,
    domain::{id::ProjectId, time::Timestamp},
    providers::schema::FieldError,
    store::{SpendBy, SpendFilter},
};

/// Days that are reported when none are named: a month, this day included.
const DAYS: u64 = 30;
const NAMES: [&str; 6] = ["from", "to", "groupBy", "project", "provider", "model"];
/// By what sums are told apart when nothing is said.
const USUAL: [SpendBy; 4] = [SpendBy::Day, SpendBy::Project, SpendBy::Provider, SpendBy::Model];

/// The query, for the document.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "documents the query; `parse` reads it, to report everything wrong at once")]
pub struct Parameters {
    /// First UTC day, such as 2026-11-21; 29 days before `to` when left out.
    #[param(format = Date)]
    from: Option<String>,
    /// Last UTC day; today when left out.
    #[param(format = Date)]
    to: Option<String>,
    /// One or several of `day`, `project`, `key`, `provider`, `model`, with commas between; all but `key` when left out.
    #[param(example = "day,provider")]
    group_by: Option<String>,
    /// A project, by name or id.
    project: Option<String>,
    /// A provider section.
    provider: Option<String>,
    /// A `modelIdentifier`.
    model: Option<String>,
}

/// A query that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// First UTC day.
    pub from: i32,
    /// Last UTC day.
    pub to: i32,
    /// By what sums are told apart, in the order of a report.
    pub by: Vec<SpendBy>,
    project: Option<String>,
    provider: Option<String>,
    model: Option<String>,
}

/// Reads a query string.
///
/// # Errors
/// Everything that is wrong with it, at once.
pub fn parse(text: &str, now: Timestamp) -> Result<Query, Vec<FieldError>> {
    let (mut from, mut to) = (None, None);
    let mut query = Query { from: 0, to: 0, by: USUAL.to_vec(), project: None, provider: None, model: None };
    let mut errors = Vec::new();
    for (name, value) in form_urlencoded::parse(text.as_bytes()) {
        let value = value.into_owned();
        let taken = match &*name {
            "from" => day(&value).map(|day| from = Some(day)),
            "to" => day(&value).map(|day| to = Some(day)),
            "groupBy" => by(&value).map(|by| query.by = by),
            "project" => {
                query.project = Some(value);
                Ok(())
            }
            "provider" => {
                query.provider = Some(value);
                Ok(())
            }
            "model" => {
                query.model = Some(value);
                Ok(())
            }
            other => {
                let hint = nearest(other, NAMES).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
                Err(("unknown_parameter", format!("not a parameter of this report{hint}")))
            }
        };
        if let Err((code, detail)) = taken {
            errors.push(error(&name, code, detail));
        }
    }
    query.to = to.unwrap_or_else(|| now.day());
    let month = Duration::from_secs((DAYS - 1) * 86_400);
    query.from = from.unwrap_or_else(|| Timestamp::of_day(query.to).minus(month).day());
    if errors.is_empty() && query.from > query.to {
        errors.push(error("from", "out_of_range", "lies after `to`".to_owned()));
    }
    if errors.is_empty() { Ok(query) } else { Err(errors) }
}

impl Query {
    /// What is read for it.
    ///
    /// # Errors
    /// When no project has the name or id.
    pub fn filter(self, names: &BTreeMap<ProjectId, String>) -> Result<SpendFilter, Vec<FieldError>> {
        let Self { from, to, project, provider, model, .. } = self;
        let known = |wanted: &str| names.iter().find(|(id, name)| *name == wanted || id.to_string() == wanted).map(|(id, _)| *id);
        let project = match project {
            None => None,
            Some(wanted) => {
                let unknown = || vec![error("project", "unknown_project", "there is no such project".to_owned())];
                Some(known(&wanted).ok_or_else(unknown)?)
            }
        };
        Ok(SpendFilter { from, to, project, provider, model })
    }
}

fn error(name: &str, code: &'static str, detail: String) -> FieldError {
    FieldError { pointer: format!("?{}", name.chars().take(64).collect::<String>()), code, detail }
}

fn day(text: &str) -> Result<i32, (&'static str, String)> {
    Timestamp::parse_day(text).ok_or_else(|| ("wrong_type", "must be a UTC day such as 2026-11-21".to_owned()))
}

fn by(text: &str) -> Result<Vec<SpendBy>, (&'static str, String)> {
    let mut found = Vec::new();
    for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        let known = SpendBy::of_word(word);
        let words = SpendBy::ALL.map(SpendBy::as_str);
        found.push(known.ok_or_else(|| ("not_one_of", format!("must be of {}", words.join(", "))))?);
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_790_000_000_000);

    #[test]
    fn a_report_covers_thirty_days_by_day_project_provider_and_model_unless_it_is_told_otherwise() {
        let query = parse("", NOW).unwrap();
        assert_eq!((query.to, query.from, query.by.len()), (NOW.day(), NOW.day() - 29, 4));
        let query = parse("from=2026-11-20&to=2026-11-21&groupBy=model,day&groupBy=provider,day", NOW).unwrap();
        assert_eq!((query.to - query.from, query.by), (1, vec![SpendBy::Day, SpendBy::Provider]));
        assert_eq!(parse("groupBy=", NOW).unwrap().by, []);
    }

    #[test]
    fn everything_wrong_is_told_at_once() {
        let errors = parse("from=yesterday&to=2026-13-01&groupBy=colour&modell=x", NOW).unwrap_err();
        let pointers: Vec<_> = errors.iter().map(|error| error.pointer.as_str()).collect();
        assert_eq!(pointers, ["?from", "?to", "?groupBy", "?modell"]);
        assert_eq!(parse("from=2026-11-22&to=2026-11-21", NOW).unwrap_err().len(), 1);
    }

    #[test]
    fn a_project_is_named_or_given_by_id() {
        let id = ProjectId::fresh();
        let names = BTreeMap::from([(id, "shop".to_owned())]);
        for wanted in ["shop".to_owned(), id.to_string()] {
            let query = parse(&format!("project={wanted}"), NOW).unwrap();
            assert_eq!(query.filter(&names).unwrap().project, Some(id));
        }
        assert!(parse("project=none", NOW).unwrap().filter(&names).is_err());
    }
}

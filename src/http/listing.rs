//! Lists of generations: the query, the page, the cursor. Pages are read by key (newest id first), so that inserts do not
//! shift them, and never touch the payload columns.

use serde::Deserialize;
use url::form_urlencoded;
use utoipa::IntoParams;
use uuid::Uuid;

use crate::{
    config::load::nearest,
    domain::{
        generation::GenerationState,
        id::{GenerationId, ProjectId},
        record::Generation,
        time::Timestamp,
    },
    http::{
        cursor,
        dto::{GenerationList, Status},
        view,
    },
    providers::schema::FieldError,
    store::{ListFilter, Reads, StoreError},
};

/// A page without `limit`.
const PAGE: usize = 20;
/// A page at most.
const LARGEST_PAGE: usize = 100;
/// Rounds of reading at most for one page. PENDING and PROCESSING share the state `queued`, so a round may be thinned out;
/// a page may then be short, but its cursor goes on.
const ROUNDS: usize = 5;
const NAMES: [&str; 7] = ["limit", "cursor", "status", "provider", "model", "createdAfter", "createdBefore"];

/// The query, for the document.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "documents the query; `parse` reads it, to report everything wrong at once")]
pub struct Parameters {
    /// Generations on a page.
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<u16>,
    /// `nextCursor` of the page before; keep the filters as they were.
    cursor: Option<String>,
    /// One or several, with commas between: `PENDING`, `PROCESSING`, `SUCCESS`, `FAILED`, `CANCELLED`.
    #[param(example = "SUCCESS,FAILED")]
    status: Option<String>,
    /// A provider section.
    provider: Option<String>,
    /// A `modelIdentifier`.
    model: Option<String>,
    /// Accepted at or after this instant (RFC 3339).
    #[param(format = DateTime)]
    created_after: Option<String>,
    /// Accepted before this instant (RFC 3339).
    #[param(format = DateTime)]
    created_before: Option<String>,
}

/// A query that was understood.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    limit: usize,
    before: Option<GenerationId>,
    statuses: Vec<Status>,
    provider: Option<String>,
    model: Option<String>,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
}

/// What was read for one page.
#[derive(Debug, Default)]
pub struct Page {
    rows: Vec<Generation>,
    next: Option<GenerationId>,
}

/// Reads a query string.
///
/// # Errors
/// Everything that is wrong with it, at once.
pub fn parse(text: &str, project: ProjectId) -> Result<Query, Vec<FieldError>> {
    let mut query = Query { limit: PAGE, ..Query::default() };
    let mut errors = Vec::new();
    let mut cursor = None;
    for (name, value) in form_urlencoded::parse(text.as_bytes()) {
        match &*name {
            "cursor" => cursor = Some(value.into_owned()),
            _ => {
                if let Err((code, detail)) = query.take(&name, &value) {
                    errors.push(error(&name, code, detail));
                }
            }
        }
    }
    if let Some(cursor) = cursor {
        let place = cursor::decode(&cursor, project, &query.fingerprint());
        query.before = place.map(|place| GenerationId(Uuid::from_u128(place)));
        if query.before.is_none() {
            errors.push(error("cursor", "invalid_cursor", "not a cursor of this list; filters must stay the same".to_owned()));
        }
    }
    if errors.is_empty() { Ok(query) } else { Err(errors) }
}

pub(super) fn error(name: &str, code: &'static str, detail: String) -> FieldError {
    FieldError { pointer: format!("?{}", name.chars().take(64).collect::<String>()), code, detail }
}

impl Query {
    fn take(&mut self, name: &str, value: &str) -> Result<(), (&'static str, String)> {
        match name {
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=LARGEST_PAGE).contains(limit));
                self.limit = limit.ok_or_else(|| ("out_of_range", format!("must be between 1 and {LARGEST_PAGE}")))?;
            }
            "status" => {
                for word in value.split(',') {
                    self.statuses.push(status(word.trim())?);
                }
            }
            "provider" => self.provider = Some(value.to_owned()),
            "model" => self.model = Some(value.to_owned()),
            "createdAfter" => self.from = Some(instant(value)?),
            "createdBefore" => self.to = Some(instant(value)?),
            _ => {
                let hint = nearest(name, NAMES).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
                return Err(("unknown_parameter", format!("not a parameter of this list{hint}")));
            }
        }
        Ok(())
    }

    /// The filter as text: a cursor is good for one filter only. The page's size may change on the way.
    fn fingerprint(&self) -> String {
        format!("{:?}{:?}{:?}{:?}{:?}", self.statuses, self.provider, self.model, self.from, self.to)
    }

    fn filter(&self) -> ListFilter {
        let mut states: Vec<GenerationState> = self.statuses.iter().flat_map(|status| states(*status)).copied().collect();
        states.sort_by_key(|state| state.number());
        states.dedup();
        ListFilter {
            states,
            provider: self.provider.clone(),
            model: self.model.clone(),
            created_from: self.from,
            created_to: self.to,
        }
    }

    fn shows(&self, generation: &Generation) -> bool {
        self.statuses.is_empty() || self.statuses.contains(&view::status(generation, &[]))
    }
}

/// Reads a status.
pub(super) fn status(word: &str) -> Result<Status, (&'static str, String)> {
    let found = Status::ALL.into_iter().find(|status| status.as_str() == word);
    found.ok_or_else(|| {
        let words = Status::ALL.map(Status::as_str);
        let hint = nearest(word, words).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        ("not_one_of", format!("must be one of {}{hint}", words.join(", ")))
    })
}

/// A plus sign that nobody encoded arrives as a space.
fn instant(value: &str) -> Result<Timestamp, (&'static str, String)> {
    Timestamp::parse(&value.replace(' ', "+"))
        .ok_or_else(|| ("wrong_type", "must be an RFC 3339 instant such as 2026-11-21T12:00:00Z".to_owned()))
}

const fn states(status: Status) -> &'static [GenerationState] {
    use GenerationState as S;
    match status {
        Status::Pending => &[S::Waiting, S::Preparing, S::Queued],
        Status::Processing => &[S::Queued, S::Active],
        Status::Success => &[S::Completed],
        Status::Failed => &[S::Failed],
        Status::Cancelled => &[S::Cancelled],
    }
}

/// Reads a page.
///
/// # Errors
/// The store's.
pub async fn page(reads: &Reads, project: ProjectId, query: &Query) -> Result<Page, StoreError> {
    let filter = query.filter();
    // One more than is shown tells whether there is more.
    let wanted = query.limit.saturating_add(1);
    let mut page = Page { rows: Vec::new(), next: query.before };
    for _ in 0..ROUNDS {
        let limit = u64::try_from(wanted).unwrap_or(u64::MAX);
        let round = reads.list(project, &filter, page.next, limit).await?;
        let last_round = round.len() < wanted;
        page.next = round.last().map(|generation| generation.id).or(page.next);
        page.rows.extend(round.into_iter().filter(|generation| query.shows(generation)));
        if page.rows.len() >= wanted {
            page.rows.truncate(query.limit);
            page.next = page.rows.last().map(|generation| generation.id);
            return Ok(page);
        }
        if last_round {
            page.next = None;
            return Ok(page);
        }
    }
    Ok(page)
}

/// The answer for a page.
#[must_use]
pub fn answer(page: &Page, query: &Query, project: ProjectId, base: &str) -> GenerationList {
    let fingerprint = query.fingerprint();
    let next_cursor = page.next.map(|id| cursor::encode(id.0.as_u128(), project, &fingerprint));
    let data = page.rows.iter().map(|generation| view::item(generation, base)).collect();
    GenerationList { data, has_more: next_cursor.is_some(), next_cursor }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_with_every_filter() {
        let project = ProjectId::fresh();
        let text = "limit=5&status=SUCCESS,FAILED&provider=kling&model=m&createdAfter=2026-01-01T00:00:00+02:00";
        let query = parse(text, project).unwrap();
        assert_eq!((query.limit, query.statuses.len(), query.from), (5, 2, Timestamp::parse("2025-12-31T22:00:00Z")));
        let page = Page { rows: vec![], next: Some(GenerationId::fresh()) };
        let next = answer(&page, &query, project, "").next_cursor.unwrap();
        assert_eq!(parse(&format!("{text}&cursor={next}"), project).unwrap().before, page.next);
        assert!(parse(&format!("cursor={next}"), project).is_err(), "a cursor of another filter");
    }

    #[test]
    fn everything_wrong_with_a_query_is_said_at_once() {
        let errors = parse("limit=0&status=SUCESS&statu=x&createdAfter=now&cursor=x", ProjectId::fresh()).unwrap_err();
        let found: Vec<_> = errors.iter().map(|error| (error.pointer.as_str(), error.code)).collect();
        let expected = [
            ("?limit", "out_of_range"),
            ("?status", "not_one_of"),
            ("?statu", "unknown_parameter"),
            ("?createdAfter", "wrong_type"),
            ("?cursor", "invalid_cursor"),
        ];
        assert_eq!(found, expected);
        assert!(errors[1].detail.contains("did you mean `SUCCESS`?"));
        assert!(errors[2].detail.contains("did you mean `status`?"));
    }
}

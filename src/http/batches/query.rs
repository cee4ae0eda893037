//! The queries of batches: page sizes, cursors, filters, formats. Everything wrong is said at once.

use serde::Deserialize;
use url::form_urlencoded;
use utoipa::IntoParams;

use crate::{
    config::load::nearest,
    domain::{batch::Category, id::ProjectId},
    http::{cursor, dto::Status, listing},
    providers::schema::FieldError,
};

/// A page without `limit`.
const PAGE: u64 = 20;
/// A page at most.
const LARGEST_PAGE: u64 = 100;

/// The query of lists, for the document.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "documents the query; `Query::read` reads it")]
pub struct PageParameters {
    /// How many on a page.
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<u16>,
    /// `nextCursor` of the page before; keep the filters as they were.
    cursor: Option<String>,
}

/// The query of tasks, for the document.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "documents the query; `Query::read` reads it")]
pub struct TaskParameters {
    /// How many on a page.
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<u16>,
    /// `nextCursor` of the page before; keep the filters as they were.
    cursor: Option<String>,
    /// One or several, with commas between: `PENDING`, `PROCESSING`, `SUCCESS`, `FAILED`, `CANCELLED`.
    #[param(example = "FAILED,CANCELLED")]
    status: Option<String>,
}

/// The query of results, for the document.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "documents the query; `Query::read` reads it")]
pub struct ResultParameters {
    /// As JSON: how many on a page (at most 100, 20 by default). As JSONL or CSV: lines at most; without it all that have ended.
    #[param(minimum = 1)]
    limit: Option<u32>,
    /// The `cursor` of the last line you have: goes on behind it, also later, when more have ended.
    cursor: Option<String>,
    /// `json`, `jsonl` or `csv`; without it the Accept header decides.
    format: Option<String>,
    /// Of CSV: begins with a byte order mark, by which Excel knows UTF-8. Programs mostly do without.
    #[param(default = false)]
    bom: Option<bool>,
}

/// In which form results are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// A page of JSON.
    #[default]
    Json,
    /// A JSON object a line.
    Jsonl,
    /// Comma-separated values.
    Csv,
}

/// A query that was understood.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// `limit`.
    pub limit: Option<u64>,
    /// The place behind which the page begins.
    pub after: Option<u128>,
    /// `status`.
    pub categories: Vec<Category>,
    /// `format`.
    pub format: Option<Format>,
    /// `bom`.
    pub bom: bool,
}

impl Query {
    /// Reads a query string that may hold `limit`, `cursor` and these. `of` names the list: a cursor is good for one only.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read(text: &str, more: &[&str], project: ProjectId, of: &str) -> Result<Self, Vec<FieldError>> {
        let (mut query, mut errors, mut cursor) = (Self::default(), Vec::new(), None);
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            let known = ["limit", "cursor"].iter().chain(more).any(|known| *known == name);
            let taken = match &*name {
                "cursor" => {
                    cursor = Some(value.into_owned());
                    Ok(())
                }
                _ if known => query.take(&name, &value),
                _ => {
                    let names = ["limit", "cursor"].into_iter().chain(more.iter().copied());
                    let hint = nearest(&name, names).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
                    Err(("unknown_parameter", format!("not a parameter here{hint}")))
                }
            };
            errors.extend(taken.err().map(|(code, detail)| listing::error(&name, code, detail)));
        }
        if let Some(cursor) = cursor {
            query.after = cursor::decode(&cursor, project, &query.fingerprint(of));
            if query.after.is_none() {
                let detail = "not a cursor of this list; filters must stay the same".to_owned();
                errors.push(listing::error("cursor", "invalid_cursor", detail));
            }
        }
        if errors.is_empty() { Ok(query) } else { Err(errors) }
    }

    fn take(&mut self, name: &str, value: &str) -> Result<(), (&'static str, String)> {
        match name {
            "limit" => {
                let limit = value.parse().ok().filter(|limit| *limit > 0);
                self.limit = Some(limit.ok_or_else(|| ("out_of_range", "must be a whole number from 1 on".to_owned()))?);
            }
            "status" => {
                for word in value.split(',') {
                    self.categories.push(category(listing::status(word.trim())?));
                }
                self.categories.sort_unstable();
                self.categories.dedup();
            }
            "bom" => {
                self.bom = value.parse().map_err(|_| ("wrong_type", "must be true or false".to_owned()))?;
            }
            _ => self.format = Some(format(value)?),
        }
        Ok(())
    }

    /// How many a page holds.
    #[must_use]
    pub fn page(&self) -> u64 {
        self.limit.unwrap_or(PAGE).min(LARGEST_PAGE)
    }

    /// A cursor behind `place`.
    #[must_use]
    pub fn cursor(&self, place: u128, project: ProjectId, of: &str) -> String {
        cursor::encode(place, project, &self.fingerprint(of))
    }

    /// The place as a number of a line.
    #[must_use]
    pub fn after_number(&self) -> Option<u32> {
        self.after.map(|place| u32::try_from(place).unwrap_or(u32::MAX))
    }

    fn fingerprint(&self, of: &str) -> String {
        format!("{of}{:?}", self.categories)
    }
}

const fn category(status: Status) -> Category {
    match status {
        Status::Pending => Category::Waiting,
        Status::Processing => Category::Running,
        Status::Success => Category::Completed,
        Status::Failed => Category::Failed,
        Status::Cancelled => Category::Cancelled,
    }
}

fn format(word: &str) -> Result<Format, (&'static str, String)> {
    match word {
        "json" => Ok(Format::Json),
        "jsonl" | "ndjson" => Ok(Format::Jsonl),
        "csv" => Ok(Format::Csv),
        _ => Err(("not_one_of", "must be json, jsonl or csv".to_owned())),
    }
}

/// The form that an Accept header asks for (RFC 9110 §12.5.1): of those we have the one of highest quality, the first of equals; JSON
/// when it names none, or anything.
#[must_use]
pub fn accepted(header: &str) -> Format {
    let mut best = (Format::Json, 0.0);
    for range in header.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let format = match parts.next().unwrap_or_default().to_ascii_lowercase().as_str() {
            "text/csv" => Format::Csv,
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/x-jsonlines" => Format::Jsonl,
            "application/json" | "application/*" | "*/*" => Format::Json,
            _ => continue,
        };
        let quality = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok()).unwrap_or(1.0);
        if quality > best.1 {
            best = (format, quality);
        }
    }
    best.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_with_its_cursor() {
        let project = ProjectId::fresh();
        let text = "limit=7&status=FAILED,CANCELLED";
        let query = Query::read(text, &["status"], project, "tasks batch_1").unwrap();
        assert_eq!((query.page(), query.categories.as_slice()), (7, &[Category::Failed, Category::Cancelled][..]));
        let cursor = query.cursor(41, project, "tasks batch_1");
        let next = |text: String, of| Query::read(&text, &["status"], project, of);
        assert_eq!(next(format!("cursor={cursor}&{text}"), "tasks batch_1").unwrap().after_number(), Some(41));
        assert!(next(format!("cursor={cursor}&{text}"), "tasks batch_2").is_err(), "a cursor of another batch");
        assert!(next(format!("cursor={cursor}"), "tasks batch_1").is_err(), "a cursor of another filter");
        assert_eq!(Query::read("limit=5000", &[], project, "").unwrap().page(), LARGEST_PAGE);
    }

    #[test]
    fn everything_wrong_with_a_query_is_said_at_once() {
        let errors =
            Query::read("limit=0&status=OK&format=xml&cursor=x&lmit=1", &["format"], ProjectId::fresh(), "").unwrap_err();
        let found: Vec<_> = errors.iter().map(|error| (error.pointer.as_str(), error.code)).collect();
        let expected = [
            ("?limit", "out_of_range"),
            ("?status", "unknown_parameter"),
            ("?format", "not_one_of"),
            ("?lmit", "unknown_parameter"),
            ("?cursor", "invalid_cursor"),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn the_accept_header_chooses_the_form() {
        for (header, wanted) in [
            ("", Format::Json),
            ("*/*", Format::Json),
            ("text/html, */*;q=0.8", Format::Json),
            ("text/csv", Format::Csv),
            ("application/json;q=0.5, text/csv;q=0.9", Format::Csv),
            ("application/x-ndjson, application/json", Format::Jsonl),
            ("TEXT/CSV; header=present", Format::Csv),
            ("image/png", Format::Json),
        ] {
            assert_eq!(accepted(header), wanted, "{header}");
        }
    }
}

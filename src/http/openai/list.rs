//! Pages of videos: the query of OpenAI's clients and their page. Rows only, never the payload tables: prompts are left out.

use serde::{Deserialize, Serialize};
use url::form_urlencoded;
use utoipa::{IntoParams, ToSchema};

use super::video::{self, Video};
use crate::{
    domain::id::{GenerationId, ProjectId},
    providers::schema::FieldError,
    store::{Loaded, Reads, StoreError, VideoPage},
};

/// A page without `limit`.
const PAGE: u64 = 20;
/// A page at most.
const LARGEST_PAGE: u64 = 100;

/// The query, for the document.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "documents the query; `parse` reads it, to report everything wrong at once")]
pub struct Parameters {
    /// The last id of the page before.
    after: Option<String>,
    /// Videos on a page.
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<u16>,
    /// `desc` (newest first) or `asc`.
    order: Option<String>,
}

/// A page (PyPI `openai` 3.54, `pagination.py`).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OpenAiVideoList)]
pub struct VideoList {
    /// Always `list`.
    object: &'static str,
    /// The page.
    data: Vec<Video>,
    #[schema(value_type = Option<String>)]
    first_id: Option<GenerationId>,
    /// Give it as `after` for the next page.
    #[schema(value_type = Option<String>)]
    last_id: Option<GenerationId>,
    /// Whether there is a next page.
    has_more: bool,
}

/// Reads a query string.
///
/// # Errors
/// Everything that is wrong with it, at once.
pub fn parse(text: &str) -> Result<VideoPage, Vec<FieldError>> {
    let mut page = VideoPage { after: None, oldest_first: false, limit: PAGE };
    let mut errors = Vec::new();
    for (name, value) in form_urlencoded::parse(text.as_bytes()) {
        let mut refuse = |code, detail: String| {
            let shown: String = name.chars().take(64).collect();
            errors.push(FieldError { pointer: format!("?{shown}"), code, detail });
        };
        match &*name {
            "limit" => match value.parse().ok().filter(|limit| (1..=LARGEST_PAGE).contains(limit)) {
                Some(limit) => page.limit = limit,
                None => refuse("out_of_range", format!("`limit` must be between 1 and {LARGEST_PAGE}")),
            },
            "after" => match value.parse() {
                Ok(id) => page.after = Some(id),
                Err(_) => refuse("invalid_cursor", "`after` must be the id of a video".to_owned()),
            },
            "order" => match &*value {
                "asc" => page.oldest_first = true,
                "desc" => page.oldest_first = false,
                _ => refuse("not_one_of", "`order` must be asc or desc".to_owned()),
            },
            _ => refuse("unknown_parameter", "the list takes after, limit and order".to_owned()),
        }
    }
    if errors.is_empty() { Ok(page) } else { Err(errors) }
}

/// What the query asks for of a video's content.
#[must_use]
pub fn variant(text: &str) -> Option<String> {
    form_urlencoded::parse(text.as_bytes()).find(|(name, _)| name == "variant").map(|(_, value)| value.into_owned())
}

/// Reads a page, and whether there is another.
///
/// # Errors
/// The store's.
pub async fn page(reads: &Reads, project: ProjectId, page: &VideoPage) -> Result<(Vec<Loaded>, bool), StoreError> {
    // One more than is shown tells whether there is more.
    let wanted = VideoPage { limit: page.limit.saturating_add(1), ..*page };
    let mut ids = reads.videos(project, &wanted).await?;
    let shown = usize::try_from(page.limit).unwrap_or(usize::MAX);
    let more = ids.len() > shown;
    ids.truncate(shown);
    Ok((reads.loads(&ids).await?, more))
}

/// The answer for a page.
#[must_use]
pub fn answer((page, has_more): (Vec<Loaded>, bool), progress: impl Fn(GenerationId) -> Option<u8>) -> VideoList {
    let data: Vec<_> = page.iter().map(|loaded| video::object(loaded, None, progress(loaded.generation.id))).collect();
    let (first_id, last_id) = (data.first().map(|video| video.id), data.last().map(|video| video.id));
    VideoList { object: "list", data, first_id, last_id, has_more }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_and_everything_wrong_with_it_is_said() {
        let id = GenerationId::fresh();
        let page = parse(&format!("after={id}&limit=2&order=asc")).unwrap();
        assert_eq!(page, VideoPage { after: Some(id), oldest_first: true, limit: 2 });
        assert_eq!(parse("").unwrap().limit, PAGE);
        let codes: Vec<_> = parse("limit=0&after=x&order=up&x=1").unwrap_err().iter().map(|error| error.code).collect();
        assert_eq!(codes, ["out_of_range", "invalid_cursor", "not_one_of", "unknown_parameter"]);
        assert_eq!((variant("variant=video").as_deref(), variant("x=1")), (Some("video"), None));
    }
}

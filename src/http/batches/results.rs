//! What has ended, in three forms: a page of JSON, or all of it as lines or as CSV, read from the database while the client takes it, so
//! that memory holds a page whatever the batch's size. Every line carries the cursor behind it: a download that broke off goes on there.

use std::{collections::VecDeque, io};

use actix_web::{
    HttpResponse,
    http::header::CONTENT_DISPOSITION,
    web::{Bytes, Data},
};
use futures_util::stream::{self, Stream};

use crate::{
    domain::id::{BatchId, ProjectId},
    http::{
        Api,
        batches::{
            csv,
            dto::{ResultLine, ResultList},
            pages,
            query::{Format, Query},
            view::{COLUMNS, columns},
        },
        problem::Problem,
    },
};

/// Lines that are read at a time: some 100 KiB of text.
const PIECE: u64 = 200;

/// Answers in the form that was asked for.
///
/// # Errors
/// As every read, of the first page; a later one breaks the answer off.
pub async fn answer(api: Data<Api>, of: (BatchId, ProjectId), query: &Query, format: Format) -> Result<HttpResponse, Problem> {
    let after = query.after_number().unwrap_or(0);
    match format {
        Format::Json => {
            let page = pages::ended(&api, of, after, query.page()).await?;
            // At the present end the last cursor stays good: more may end.
            let last = page.lines.last().map(|line| line.cursor.clone());
            let next_cursor = last.or_else(|| query.after.map(|place| query.cursor(place, of.1, &pages::results_of(of.0))));
            Ok(HttpResponse::Ok().json(ResultList { data: page.lines, next_cursor, has_more: page.more }))
        }
        Format::Jsonl | Format::Csv => {
            let (id, project) = of;
            let mut tap = Tap {
                api,
                of: (id, project),
                after,
                left: query.limit.unwrap_or(u64::MAX),
                format,
                ready: VecDeque::new(),
                dry: false,
            };
            if format == Format::Csv && query.after.is_none() {
                let mut header = String::from(if query.bom { "\u{feff}" } else { "" });
                csv::row(&mut header, COLUMNS);
                tap.ready.push_back(Bytes::from(header));
            }
            // The first page is read before the status is sent.
            tap.fill().await?;
            Ok(streamed(tap))
        }
    }
}

fn streamed(tap: Tap) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    match tap.format {
        Format::Csv => {
            let name = format!("attachment; filename=\"{}.csv\"", tap.of.0);
            response.content_type("text/csv; charset=utf-8").insert_header((CONTENT_DISPOSITION, name));
        }
        Format::Json | Format::Jsonl => drop(response.content_type("application/x-ndjson")),
    }
    response.streaming(Box::pin(pieces(tap)))
}

/// What is still to be sent.
struct Tap {
    api: Data<Api>,
    of: (BatchId, ProjectId),
    after: u32,
    left: u64,
    format: Format,
    ready: VecDeque<Bytes>,
    dry: bool,
}

impl Tap {
    /// Reads the next page.
    async fn fill(&mut self) -> Result<(), Problem> {
        let wanted = self.left.min(PIECE);
        let page = pages::ended(&self.api, self.of, self.after, wanted).await?;
        self.left = self.left.saturating_sub(u64::try_from(page.lines.len()).unwrap_or(u64::MAX));
        self.after = page.last.unwrap_or(self.after);
        self.dry = !page.more || self.left == 0;
        let mut text = String::new();
        for line in &page.lines {
            self.write(&mut text, line);
        }
        if !text.is_empty() {
            self.ready.push_back(Bytes::from(text));
        }
        Ok(())
    }

    fn write(&self, text: &mut String, line: &ResultLine) {
        if self.format == Format::Csv {
            let fields = columns(line);
            csv::row(text, fields.iter().map(String::as_str));
        } else if let Ok(json) = serde_json::to_string(line) {
            text.push_str(&json);
            text.push('\n');
        }
    }
}

/// An error ends the answer without its proper end: the client sees that it is not whole, and goes on from its last cursor.
fn pieces(tap: Tap) -> impl Stream<Item = io::Result<Bytes>> {
    stream::try_unfold(tap, async |mut tap: Tap| {
        if tap.ready.is_empty() && !tap.dry {
            let filled = tap.fill().await.inspect_err(|problem| tracing::warn!(error = %problem, "results broke off"));
            filled.map_err(|problem| io::Error::other(problem.to_string()))?;
        }
        Ok(tap.ready.pop_front().map(|piece| (piece, tap)))
    })
}

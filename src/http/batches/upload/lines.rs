//! A batch that comes as lines: cut, parsed and handed on one by one while they come.

use std::time::Duration;

use actix_web::{HttpResponse, web::Payload};
use futures_util::StreamExt;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::{Arrival, Upload, key::Key, place, refused, usize_of};
use crate::{
    domain::{claim::Fingerprint, error::ErrorCode},
    http::{body, problem::Problem},
    intake::{
        ask::field,
        batch::{
            Location, Spot,
            document::{self, Head},
            expansion::Expansion,
            lines::{Cut, Lines},
            template::Template,
        },
        json,
    },
    providers::schema::FieldError,
};

/// Reads lines to their end and answers.
///
/// # Errors
/// Everything that is wrong with them; then nothing was created.
pub(super) async fn take(arrival: Arrival<'_>, mut payload: Payload) -> Result<HttpResponse, Problem> {
    let server = &arrival.api.config.server;
    let (patience, depth) = (Duration::from_secs(server.body_timeout_s), server.max_json_depth);
    let mut lines = Lines::new(server.max_body_bytes);
    // The query belongs to what was asked; names in the order of the alphabet.
    let mut digest = Sha256::new_with_prefix(Value::from(arrival.query.clone()).to_string());
    let mut reading = Reading::Empty(arrival);
    let mut open = true;
    while open {
        let piece = tokio::time::timeout(patience, payload.next()).await;
        let piece = piece.map_err(|_| Problem::new(ErrorCode::InvalidRequest, "the next line did not arrive in time"))?;
        let cuts = match piece {
            Some(piece) => lines.push(&piece.map_err(|error| body::broken(&error))?),
            None => {
                open = false;
                lines.finish().into_iter().collect()
            }
        };
        for cut in cuts {
            if let Cut::Line { bytes, .. } = &cut {
                digest.update(b"\n");
                digest.update(bytes);
            }
            let (number, value) = read(cut, depth);
            reading = reading.take(number, value).await?;
        }
    }
    let fingerprint = Fingerprint::of_digest(&digest.finalize());
    match reading.known(fingerprint)? {
        Reading::Empty(arrival) => arrival.begin(Map::new(), None).finish(&|_| place("#".to_owned())).await,
        Reading::Lines(upload, Frame { matrix: Some(expansion), .. }) => {
            upload.finish(&|spot| Location { pointer: expansion.at(usize_of(spot.index)), line: spot.line }).await
        }
        Reading::Lines(upload, _) => upload.finish(&|spot| Location { pointer: "#".to_owned(), line: spot.line }).await,
    }
}

/// A line's number, and its value or what is wrong with it.
fn read(cut: Cut, depth: usize) -> (u32, Result<Value, FieldError>) {
    match cut {
        Cut::TooLong { number } => (number, Err(field("", "too_large", "the line is longer than a body may be"))),
        Cut::Line { number, bytes } => {
            let value = json::parse(&bytes, depth);
            (number, value.map_err(|unreadable| field("", "invalid_json", format!("the line {}", unreadable.detail))))
        }
    }
}

/// A body of lines, as far as it has come.
enum Reading<'a> {
    /// Nothing came yet.
    Empty(Arrival<'a>),
    /// The first line has been read.
    Lines(Box<Upload<'a>>, Frame),
}

/// What the first line said of all that follow.
#[derive(Default)]
pub(super) struct Frame {
    /// Its number, when it said anything.
    pub(super) head: Option<u32>,
    /// Then every further line is a row.
    pub(super) template: Option<Template>,
    /// Then no line follows.
    matrix: Option<Expansion>,
    /// The number of the next request.
    next: u32,
}

impl<'a> Reading<'a> {
    /// All of it has come: now it is known whether its key was used for the same.
    fn known(mut self, fingerprint: Fingerprint) -> Result<Self, Problem> {
        let key = match &mut self {
            Self::Empty(arrival) => &mut arrival.key,
            Self::Lines(upload, _) => &mut upload.key,
        };
        *key = std::mem::replace(key, Key::Absent).decide(fingerprint)?;
        Ok(self)
    }

    async fn take(self, number: u32, value: Result<Value, FieldError>) -> Result<Self, Problem> {
        let (mut upload, mut frame) = match self {
            Self::Lines(upload, frame) => (upload, frame),
            Self::Empty(arrival) => match value.as_ref().ok().and_then(document::head) {
                None => (Box::new(arrival.begin(Map::new(), None)), Frame::default()),
                Some(head) => {
                    let head = head.map_err(|errors| refused(errors, Some(number)))?;
                    return begin(arrival, head, number).await;
                }
            },
        };
        let most = upload.api.config.batches.max_lines;
        if frame.matrix.is_some() {
            let error = field("", "unexpected_line", "the first line holds a matrix, which makes all requests");
            return Err(refused(vec![error], Some(number)));
        }
        if usize_of(frame.next) >= most {
            return Err(refused(vec![field("", "too_many", format!("a batch has at most {most} requests"))], Some(number)));
        }
        let spot = Spot { index: frame.next, line: Some(number) };
        frame.next = frame.next.saturating_add(1);
        upload.line(spot, value, &frame).await?;
        Ok(Self::Lines(upload, frame))
    }
}

/// The first line spoke for all.
async fn begin(arrival: Arrival<'_>, head: Head, number: u32) -> Result<Reading<'_>, Problem> {
    let Head { options, template, expansion: matrix } = head;
    let most = arrival.api.config.batches.max_lines;
    let mut upload = Box::new(arrival.begin(options, Some(number)));
    if let Some(expansion) = &matrix {
        if expansion.count() > most {
            let detail = format!("a batch has at most {most} requests, this matrix makes {}", expansion.count());
            return Err(refused(vec![field("/matrix", "too_many", detail)], Some(number)));
        }
        upload.expand(expansion, Some(number)).await?;
    }
    Ok(Reading::Lines(upload, Frame { head: Some(number), template, matrix, next: 0 }))
}

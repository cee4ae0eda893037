//! The closing table: what each submission went through, what it cost and where its bytes lie.

use std::fmt::Write as _;

use serde_json::Value;

use crate::domain::time::Timestamp;

/// One submission as it ended.
#[derive(Debug)]
pub struct Row {
    /// What it shows.
    pub label: &'static str,
    /// The generation as the API shows it; the problem document when it was refused.
    pub generation: Value,
    /// Its history as the API shows it.
    pub history: Value,
    /// Polls that the provider counted.
    pub polls: u64,
    /// Whether it ended as it must.
    pub right: bool,
}

/// Text of the whole table.
#[must_use]
pub fn table(rows: &[Row]) -> String {
    let mut out = String::new();
    for row in rows {
        let text = |pointer: &str| row.generation.pointer(pointer).and_then(Value::as_str).unwrap_or("-").to_owned();
        let mark = if row.right { "ok   " } else { "WRONG" };
        let status = row.generation.pointer("/status").map_or_else(String::new, |status| match status.as_str() {
            Some(word) => word.to_owned(),
            None => format!("refused with {status}"),
        });
        let _ = writeln!(out, "{mark} {:24} {status}", row.label);
        if row.generation.pointer("/id").is_none() {
            for error in row.generation.pointer("/errors").and_then(Value::as_array).into_iter().flatten() {
                let part = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or("");
                let _ = writeln!(out, "      {}: {}", part("pointer"), part("detail"));
            }
            continue;
        }
        let _ = writeln!(
            out,
            "      {}  {}  {}  {} polls  {} USD",
            text("/id"),
            text("/provider"),
            text("/modelIdentifier"),
            row.polls,
            text("/cost/charged")
        );
        let _ = writeln!(out, "      {}", stages(&row.generation, &row.history));
        if let Some(error) = row.generation.pointer("/error/code").and_then(Value::as_str) {
            let _ = writeln!(out, "      {error}: {}", text("/error/message"));
        }
        for result in row.generation.pointer("/results").and_then(Value::as_array).into_iter().flatten() {
            let url = result.get("url").and_then(Value::as_str).unwrap_or("-");
            let bytes = result.get("bytes").and_then(Value::as_u64).unwrap_or(0);
            let _ = writeln!(out, "      {bytes} bytes at {url}");
        }
    }
    out
}

/// `queued → active +0.1s → running +0.2s → …`, seconds since the 202.
fn stages(generation: &Value, history: &Value) -> String {
    let born = generation.pointer("/createdAt").and_then(Value::as_str).and_then(Timestamp::parse).unwrap_or_default();
    let mut text = "accepted".to_owned();
    for step in history.pointer("/data").and_then(Value::as_array).into_iter().flatten() {
        let to = step.get("to").and_then(Value::as_str).unwrap_or("?");
        let at = step.get("at").and_then(Value::as_str).and_then(Timestamp::parse).unwrap_or(born);
        let _ = write!(text, " > {to} +{:.1}s", at.since(born).as_secs_f64());
    }
    text
}

//! The requests of a batch from a file: lines of JSON as they are, rows of CSV as such lines.

use std::{
    fs,
    io::{self, Read as _},
    path::Path,
};

use bytes::Bytes;
use clap::ValueEnum;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::csv;
use crate::client::Failure;

/// In which form the requests are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// By the file's name; standard input is JSONL.
    Auto,
    /// A JSON object a line.
    Jsonl,
    /// Comma-separated values: the first row names the members, `parameters.NAME` those of the model.
    Csv,
}

/// The requests, a line each.
#[derive(Debug)]
pub struct Input {
    /// As they are sent.
    pub lines: Bytes,
    /// How many.
    pub count: usize,
}

impl Input {
    /// Reads a file, or standard input for `-`.
    ///
    /// # Errors
    /// When it cannot be read, is no UTF-8, is empty, or is no CSV.
    pub fn read(path: &Path, form: Form) -> Result<Self, Failure> {
        let stdin = path.as_os_str() == "-";
        let mut bytes = Vec::new();
        let read = if stdin { io::stdin().read_to_end(&mut bytes).map(|_| bytes) } else { fs::read(path) };
        let bytes = read.map_err(|source| Failure::File { path: path.display().to_string(), source })?;
        let named_csv = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("csv"));
        let csv = form == Form::Csv || form == Form::Auto && named_csv;
        let text = String::from_utf8(bytes).map_err(|_| unusable(path, "it is no UTF-8"))?;
        let lines = if csv { of_csv(&text).map_err(|why| unusable(path, &why))? } else { text };
        let count = lines.lines().filter(|line| !line.trim().is_empty()).count();
        if count == 0 {
            return Err(unusable(path, "it holds no requests"));
        }
        Ok(Self { lines: Bytes::from(lines), count })
    }

    /// What makes a second submit of the same lines with the same options the same submit. `run` tells apart what is wanted anew.
    #[must_use]
    pub fn idempotency_key(&self, options: &str, run: &str) -> String {
        let mut digest = Sha256::new();
        for part in [self.lines.as_ref(), options.as_bytes(), run.as_bytes()] {
            digest.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            digest.update(part);
        }
        let hex: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("cli-batch-{hex}")
    }
}

fn unusable(path: &Path, why: &str) -> Failure {
    Failure::Unusable(format!("{}: {why}", path.display()))
}

/// One line of JSON for each row, blank lines kept for the file's others, so that the service's line numbers are the file's.
fn of_csv(text: &str) -> Result<String, String> {
    let rows = csv::rows(text).map_err(|line| format!("the quotation that begins on line {line} does not end"))?;
    let Some(((_, head), rows)) = rows.split_first() else { return Err("it holds no rows".to_owned()) };
    let (mut lines, mut at) = (String::new(), 1);
    for (line, row) in rows {
        if row.len() > head.len() {
            return Err(format!("line {line} has {} fields, the first row names {}", row.len(), head.len()));
        }
        while at < *line {
            lines.push('\n');
            at += 1;
        }
        lines.push_str(&Value::Object(request(head, row)?).to_string());
        lines.push('\n');
        at += 1;
    }
    Ok(lines)
}

fn request(head: &[String], row: &[String]) -> Result<Map<String, Value>, String> {
    let (mut request, mut parameters) = (Map::new(), Map::new());
    for (name, field) in head.iter().zip(row) {
        let (name, field) = (name.trim(), field.trim());
        // An empty cell is no value: the default holds.
        if field.is_empty() {
            continue;
        }
        match name.strip_prefix("parameters.") {
            Some(name) => drop(parameters.insert(name.to_owned(), guessed(field))),
            None => drop(request.insert(name.to_owned(), member(name, field))),
        }
    }
    if !parameters.is_empty() && request.insert("parameters".to_owned(), parameters.into()).is_some() {
        return Err("there are a column `parameters` and columns `parameters.…`".to_owned());
    }
    Ok(request)
}

/// What a member is: text, unless its name says otherwise. A prompt that looks like a number stays text.
fn member(name: &str, field: &str) -> Value {
    match name {
        "numberOfOutputs" | "parameters" | "metadata" => guessed(field),
        "priority" => field.parse::<u64>().map_or_else(|_| field.into(), Value::from),
        // Neither addresses nor names need spaces; who has some writes JSON.
        "inputImages" | "dependsOn" if !field.starts_with('[') => field.split_whitespace().collect(),
        "inputImages" | "dependsOn" => guessed(field),
        _ => field.into(),
    }
}

/// JSON where it is JSON, text elsewhere.
fn guessed(field: &str) -> Value {
    serde_json::from_str(field).unwrap_or_else(|_| field.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lines(text: &str) -> Vec<Value> {
        let lines = of_csv(text).unwrap();
        lines.lines().map(|line| if line.is_empty() { Value::Null } else { serde_json::from_str(line).unwrap() }).collect()
    }

    #[test]
    fn rows_become_requests_and_empty_cells_nothing() {
        let text = "customId,modelIdentifier,prompt,numberOfOutputs,inputImages,parameters.seed,parameters.ratio\n\
                    one,flux-2-pro,12,2,https://x.test/a https://x.test/b,7,16:9\n\
                    two,flux-2-pro,\"a, b\",,,,\n";
        let requests = lines(text);
        let images = ["https://x.test/a", "https://x.test/b"];
        let parameters = json!({ "seed": 7, "ratio": "16:9" });
        assert_eq!(
            requests[1],
            json!({
                "customId": "one", "modelIdentifier": "flux-2-pro", "prompt": "12", "numberOfOutputs": 2, "inputImages": images,
                "parameters": parameters,
            })
        );
        assert_eq!(requests[2], json!({ "customId": "two", "modelIdentifier": "flux-2-pro", "prompt": "a, b" }));
    }

    #[test]
    fn line_numbers_are_those_of_the_file() {
        let requests = lines("prompt,customId\n\n\"two\nlines\",a\nnext,b\n");
        let at = |id: &str| 1 + requests.iter().position(|request| request["customId"] == id).unwrap();
        assert_eq!((at("a"), at("b")), (3, 5));
    }

    #[test]
    fn what_is_no_table_is_refused() {
        assert!(of_csv("prompt\na,b\n").unwrap_err().contains("line 2"));
        assert!(of_csv("prompt\n\"a\n").unwrap_err().contains("line 2"));
        assert!(of_csv("parameters,parameters.seed\n{},7\n").is_err());
    }

    #[test]
    fn the_key_is_of_lines_options_and_run() {
        let input = |text: &str| Input { lines: Bytes::from(text.to_owned()), count: 1 };
        let key = input("{}\n").idempotency_key("?a=b", "");
        assert_eq!(key, input("{}\n").idempotency_key("?a=b", ""));
        for other in [
            input("{} \n").idempotency_key("?a=b", ""),
            input("{}\n").idempotency_key("?a=c", ""),
            input("{}\n").idempotency_key("?a=b", "again"),
            input("{}\n?a=b").idempotency_key("", ""),
        ] {
            assert_ne!(key, other);
        }
        assert!(key.len() <= 255, "longer keys are refused");
    }
}

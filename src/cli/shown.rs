//! Generations as people read them: where it stands, what it cost, where its results are.

use std::io::{self, Write};

use serde_json::Value;

/// A text member of an object; empty where there is none.
#[must_use]
pub fn text<'a>(shown: &'a Value, name: &str) -> &'a str {
    shown.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// The members of a list.
#[must_use]
pub fn list<'a>(shown: &'a Value, name: &str) -> &'a [Value] {
    shown.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// Whether a generation has ended.
#[must_use]
pub fn ended(shown: &Value) -> bool {
    matches!(text(shown, "status"), "SUCCESS" | "FAILED" | "CANCELLED")
}

/// Whether it delivered.
#[must_use]
pub fn succeeded(shown: &Value) -> bool {
    text(shown, "status") == "SUCCESS"
}

/// Where it stands, in one line.
#[must_use]
pub fn stands(shown: &Value) -> String {
    let error = shown.get("error").filter(|error| !error.is_null());
    let words = match error {
        Some(error) => format!("{}: {}", text(error, "code"), text(error, "message")),
        None => text(shown, "why").to_owned(),
    };
    let progress = shown.get("progress").and_then(Value::as_u64).map(|percent| format!("{percent} % ")).unwrap_or_default();
    format!("{:10} {:12} {progress}{words}", text(shown, "status"), text(shown, "stage")).trim_end().to_owned()
}

/// All that matters of it, in some lines.
///
/// # Errors
/// When `out` cannot be written.
pub fn in_full(out: &mut dyn Write, shown: &Value) -> io::Result<()> {
    writeln!(out, "{}  {}", text(shown, "id"), stands(shown))?;
    let cost = shown.get("cost").unwrap_or(&Value::Null);
    let money: Vec<_> = [("charged", "charged"), ("held", "held"), ("atRisk", "at risk")]
        .into_iter()
        .map(|(name, words)| (text(cost, name), words))
        .filter(|(amount, _)| amount.bytes().any(|digit| matches!(digit, b'1'..=b'9')))
        .map(|(amount, words)| format!("{amount} {} {words}", text(cost, "currency")))
        .collect();
    let money = if money.is_empty() { String::new() } else { format!(", {}", money.join(", ")) };
    writeln!(out, "  {} at {}{money}", text(shown, "modelIdentifier"), text(shown, "provider"))?;
    for (name, words) in [("results", ""), ("lateResults", " (late)")] {
        for result in list(shown, name) {
            writeln!(out, "  {}{words}", text(result, "url"))?;
        }
    }
    for missing in list(shown, "missing") {
        let error = missing.get("error").unwrap_or(&Value::Null);
        writeln!(out, "  output {} is missing: {}", missing.get("index").unwrap_or(&Value::Null), text(error, "message"))?;
    }
    Ok(())
}

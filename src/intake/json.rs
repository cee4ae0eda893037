//! Reads JSON texts that come from outside: a body, or a line of one. Depth is judged before anything is parsed.

use serde_json::{Value, json};

/// Why a text cannot be read.
#[derive(Debug, Clone, PartialEq)]
pub struct Unreadable {
    /// What is wrong, continuing a sentence that begins with what the text is, such as `the body`.
    pub detail: String,
    /// Where: `byte`, or `line` and `column`.
    pub place: Value,
}

/// Parses a whole text.
///
/// # Errors
/// Bad UTF-8, nesting above `max_depth`, or broken JSON, each with its position.
pub fn parse(bytes: &[u8], max_depth: usize) -> Result<Value, Unreadable> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        Unreadable { detail: format!("is not UTF-8 from byte {at} on"), place: json!({"byte": at}) }
    })?;
    if let Some(at) = too_deep(text, max_depth) {
        let detail = format!("nests deeper than {max_depth} levels at byte {at}");
        return Err(Unreadable { detail, place: json!({"byte": at, "maxDepth": max_depth}) });
    }
    serde_json::from_str(text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let detail = format!("is not valid JSON at line {line}, column {column}");
        Unreadable { detail, place: json!({"line": line, "column": column}) }
    })
}

/// The byte at which brackets nest deeper than allowed. Counts outside of strings; what is no JSON at all is the parser's.
fn too_deep(text: &str, max_depth: usize) -> Option<usize> {
    let (mut depth, mut within_string, mut escaped) = (0_usize, false, false);
    for (at, byte) in text.bytes().enumerate() {
        if within_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => within_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => within_string = true,
            b'[' | b'{' => depth = depth.saturating_add(1),
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > max_depth {
            return Some(at);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{parse, too_deep};

    #[test]
    fn nesting_is_counted_outside_of_strings_only() {
        assert_eq!(too_deep(r#"{"a":["[[[[","\"[[["]}"#, 2), None);
        assert_eq!(too_deep("[[[]]]", 2), Some(2));
        assert_eq!(too_deep("[][][]", 1), None);
    }

    #[test]
    fn a_text_nested_a_million_times_is_refused_without_recursion() {
        assert!(parse("[".repeat(1_000_000).as_bytes(), 32).is_err());
    }

    #[test]
    fn what_cannot_be_read_says_where() {
        for (bytes, words) in [
            (&b"{\"a\": \xff}"[..], "from byte 6 on"),
            (b"{\"a\": 1,\n }", "line 2, column 2"),
            (b"{} {}", "line 1, column 4"),
            (b"{\"a\": 1e999}", "line 1"),
        ] {
            let unreadable = parse(bytes, 32).unwrap_err();
            assert!(unreadable.detail.contains(words), "{unreadable:?}");
        }
    }
}

//! Rust sources as the layout tests see them: without comments, texts and tests, lines kept.

use std::{fs, path::Path};

/// One file.
pub struct SourceFile {
    /// From the workspace's root, with `/`.
    pub path: String,
    /// As it is.
    pub text: String,
    /// Without comments and texts.
    pub whole: String,
    /// Without its test module, too.
    pub code: String,
}

/// A path that begins at the crate's root.
pub struct Import {
    /// From 1.
    pub line: usize,
    /// Segments without `crate`.
    pub path: Vec<String>,
}

/// Every Rust file below a folder of the workspace; none when there is no such folder.
pub fn read(folder: &str) -> Vec<SourceFile> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    let mut folders = vec![root.join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().map(|entry| entry.expect("a folder entry").path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.extension().is_some_and(|extension| extension == "rs") {
                let path = entry.strip_prefix(root).expect("below the root").to_string_lossy().replace('\\', "/");
                files.push(SourceFile::parse(&path, &fs::read_to_string(&entry).expect("UTF-8")));
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

impl SourceFile {
    pub fn parse(path: &str, text: &str) -> Self {
        let whole = bare(text);
        let code = without_tests(&whole).to_owned();
        Self { path: path.to_owned(), text: text.to_owned(), whole, code }
    }

    /// Its module path within the crate: `src/a/b.rs` is `a`, `b`.
    fn module(&self) -> Vec<&str> {
        let path = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        path.split('/').filter(|part| *part != "lib" && *part != "mod").collect()
    }

    /// Its module at the crate's root.
    pub fn top(&self) -> &str {
        self.module().first().copied().unwrap_or("lib")
    }

    /// A file that holds tests only.
    pub fn is_test_module(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.contains("/tests/") && self.path.starts_with("src/")
    }

    /// Every path that begins with `crate::`, or reaches the crate's root through `super::`.
    pub fn imports(&self) -> Vec<Import> {
        if self.is_test_module() {
            return Vec::new();
        }
        let mut found = Vec::new();
        for (at, word) in places(&self.code) {
            let rest = self.code[at + word.len()..].trim_start();
            let preceded = self.code[..at].trim_end().ends_with("::");
            if preceded || !rest.starts_with("::") {
                continue;
            }
            let prefix = match word {
                "crate" => Vec::new(),
                "super" => self.module().into_iter().rev().skip(1).map(str::to_owned).rev().collect(),
                _ => continue,
            };
            let line = self.code[..at].matches('\n').count() + 1;
            for mut path in expand(rest, &prefix) {
                while let Some(at) = path.iter().position(|segment| segment == "super") {
                    path.drain(at.saturating_sub(1)..=at);
                }
                found.push(Import { line, path });
            }
        }
        found
    }
}

/// Follows `::a::{b, c::d}` to full paths; a lower-case last segment may be a function, which does no harm here.
fn expand(rest: &str, prefix: &[String]) -> Vec<Vec<String>> {
    let Some(rest) = rest.trim_start().strip_prefix("::").map(str::trim_start) else {
        return vec![prefix.to_vec()];
    };
    if let Some(group) = rest.strip_prefix('{') {
        return members(group).into_iter().flat_map(|member| expand(&format!("::{member}"), prefix)).collect();
    }
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    let mut path = prefix.to_vec();
    path.extend((end > 0).then(|| rest[..end].to_owned()));
    if end == 0 { vec![path] } else { expand(&rest[end..], &path) }
}

/// The members of a brace group, up to its closing brace.
fn members(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut found) = (0_usize, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                found.push(group[start..at].trim());
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                found.push(group[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    found.retain(|member| !member.is_empty());
    found
}

/// Words with their places.
pub fn places(code: &str) -> impl Iterator<Item = (usize, &str)> {
    words(code).map(move |word| (word.as_ptr() as usize - code.as_ptr() as usize, word))
}

/// Identifiers and numbers.
pub fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// The part before the first inline test module.
fn without_tests(code: &str) -> &str {
    let mut from = 0;
    while let Some(at) = code[from..].find("#[cfg(test)]").map(|at| at + from) {
        let after = code[at..].trim_start_matches("#[cfg(test)]").trim_start();
        let opens = after.find('{').unwrap_or(usize::MAX) < after.find(';').unwrap_or(usize::MAX);
        if after.starts_with("mod ") && opens {
            return &code[..at];
        }
        from = at + 1;
    }
    code
}

/// Blanks comments, texts and character literals; line breaks stay.
fn bare(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = match c {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            '"' => 1 + text_end(&rest[1..]),
            'r' if !out.ends_with(|c: char| c.is_alphanumeric() || c == '_') => raw_end(rest).unwrap_or(0),
            '\'' => character_end(rest).unwrap_or(0),
            _ => 0,
        };
        if length == 0 {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        } else {
            out.extend(rest[..length].chars().filter(|c| *c == '\n'));
            out.push(' ');
            rest = &rest[length..];
        }
    }
    out
}

/// Just behind the closing quote.
fn text_end(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of a raw text that begins here.
fn raw_end(rest: &str) -> Option<usize> {
    let hashes = rest[1..].bytes().take_while(|byte| *byte == b'#').count();
    let body = rest[1 + hashes..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    Some(2 + hashes + body.find(&close).map_or(body.len(), |end| end + close.len()))
}

/// The length of a character literal that begins here; a lifetime is none.
fn character_end(rest: &str) -> Option<usize> {
    let mut inner = rest[1..].char_indices();
    let (_, first) = inner.next()?;
    if first == '\\' {
        inner.next()?;
        return rest[3..].find('\'').map(|end| end + 4);
    }
    inner.next().filter(|(_, c)| *c == '\'').map(|(at, _)| at + 2)
}

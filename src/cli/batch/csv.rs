//! Reads comma-separated values (RFC 4180), as spreadsheets write them: with `;` or a tab between where their language says so.

/// A row with the line of the file that it begins on.
pub type Row = (usize, Vec<String>);

/// Reads all rows. Blank ones are left out.
///
/// # Errors
/// The line on which a quotation begins that does not end.
pub fn rows(text: &str) -> Result<Vec<Row>, usize> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let separator = separator(text);
    let (mut rows, mut row, mut field) = (Vec::new(), Vec::new(), String::new());
    let (mut line, mut begun, mut quoted_since) = (1, 1, None);
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        line += usize::from(letter == '\n');
        match (letter, quoted_since) {
            ('"', Some(_)) if letters.peek() == Some(&'"') => field.extend(letters.next()),
            ('"', Some(_)) => quoted_since = None,
            (_, Some(_)) => field.push(letter),
            // Only at its beginning does it begin a quotation.
            ('"', None) if field.is_empty() => quoted_since = Some(line),
            ('\r', None) if letters.peek() == Some(&'\n') => {}
            ('\n', None) => {
                row.push(std::mem::take(&mut field));
                rows.push((begun, std::mem::take(&mut row)));
                begun = line;
            }
            (_, None) if letter == separator => row.push(std::mem::take(&mut field)),
            (_, None) => field.push(letter),
        }
    }
    if let Some(line) = quoted_since {
        return Err(line);
    }
    if !field.is_empty() || !row.is_empty() {
        row.push(field);
        rows.push((begun, row));
    }
    rows.retain(|(_, row)| row.iter().any(|field| !field.trim().is_empty()));
    Ok(rows)
}

/// The one that the first line has most of; a comma where it has none.
fn separator(text: &str) -> char {
    let head = text.lines().next().unwrap_or_default();
    [',', ';', '\t'].into_iter().rev().max_by_key(|separator| head.matches(*separator).count()).unwrap_or(',')
}

#[cfg(test)]
mod tests {
    use super::rows;

    fn read(text: &str) -> Vec<(usize, Vec<String>)> {
        rows(text).unwrap()
    }

    fn row(line: usize, fields: &[&str]) -> (usize, Vec<String>) {
        (line, fields.iter().map(|field| (*field).to_owned()).collect())
    }

    #[test]
    fn fields_may_be_quoted_and_hold_what_separates() {
        let text = "\u{feff}a,b\r\n\"x, \"\"y\"\"\",\"two\nlines\"\r\n\r\nlast,";
        assert_eq!(read(text), [row(1, &["a", "b"]), row(2, &["x, \"y\"", "two\nlines"]), row(5, &["last", ""])]);
        assert_eq!(read("a,b\n5\" wide,c"), [row(1, &["a", "b"]), row(2, &["5\" wide", "c"])]);
    }

    #[test]
    fn the_first_line_says_what_separates() {
        assert_eq!(read("a;b\n1,5;x"), [row(1, &["a", "b"]), row(2, &["1,5", "x"])]);
        assert_eq!(read("a\tb\n,;\t"), [row(1, &["a", "b"]), row(2, &[",;", ""])]);
        assert_eq!(read("only\none"), [row(1, &["only"]), row(2, &["one"])]);
    }

    #[test]
    fn a_quotation_without_end_is_named_by_its_line() {
        assert_eq!(rows("a,b\nc,\"d\n\n"), Err(2));
    }
}

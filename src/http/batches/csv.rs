//! Comma-separated values by RFC 4180: rows end with CRLF, fields are quoted where they must be. What a spreadsheet would run as a
//! formula is disarmed: a customId, or the words of a provider, may be anybody's text.

/// Adds a row.
pub fn row<'a>(out: &mut String, fields: impl IntoIterator<Item = &'a str>) {
    let mut first = true;
    for field in fields {
        if !std::mem::take(&mut first) {
            out.push(',');
        }
        push(out, field);
    }
    out.push_str("\r\n");
}

/// What begins a formula, also behind blanks; OWASP, "CSV Injection".
const FORMULA: [char; 8] = ['=', '+', '-', '@', '＝', '＋', '－', '＠'];

/// What a spreadsheet may drop from the front of a cell, so that a formula comes to stand there.
const DROPPED: [char; 3] = ['\t', '\r', '\n'];

/// Where a spreadsheet in another language than English begins a new cell, whatever the quotes say: it separates by semicolons or tabs.
const ELSEWHERE: [char; 4] = [';', '\t', '\r', '\n'];

/// The field with an apostrophe before everything that some spreadsheet would run: it shows the text then. Lines of JSON have it as it is.
fn disarmed(field: &str) -> String {
    let mut out = String::with_capacity(field.len() + 1);
    let mut rest = field;
    if rest.starts_with(DROPPED) || begins_formula(rest) {
        out.push('\'');
    }
    while let Some(at) = rest.find(ELSEWHERE) {
        let (cell, behind) = rest.split_at(at + 1);
        out.push_str(cell);
        if begins_formula(behind) {
            out.push('\'');
        }
        rest = behind;
    }
    out + rest
}

fn begins_formula(text: &str) -> bool {
    text.trim_start_matches(' ').starts_with(FORMULA)
}

fn push(out: &mut String, field: &str) {
    let text = disarmed(field);
    let plain =
        text == field && !field.contains([',', ';', '"', '\t', '\r', '\n']) && !field.starts_with(' ') && !field.ends_with(' ');
    if plain {
        out.push_str(field);
    } else {
        out.push('"');
        out.push_str(&text.replace('"', "\"\""));
        out.push('"');
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{FORMULA, disarmed, row};

    fn text(fields: &[&str]) -> String {
        let mut out = String::new();
        row(&mut out, fields.iter().copied());
        out
    }

    /// Reads rows as RFC 4180 §2 defines them.
    fn read(text: &str) -> Vec<Vec<String>> {
        let (mut rows, mut fields, mut field, mut quoted) = (vec![], vec![], String::new(), false);
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '"' if quoted && chars.peek() == Some(&'"') => field.push(chars.next().unwrap()),
                '"' => quoted = !quoted,
                ',' if !quoted => fields.push(std::mem::take(&mut field)),
                '\r' if !quoted && chars.peek() == Some(&'\n') => {
                    chars.next();
                    fields.push(std::mem::take(&mut field));
                    rows.push(std::mem::take(&mut fields));
                }
                c => field.push(c),
            }
        }
        assert!(!quoted && field.is_empty() && fields.is_empty());
        rows
    }

    #[test]
    fn fields_are_quoted_where_they_must_be() {
        assert_eq!(text(&["a", "", "b c"]), "a,,b c\r\n");
        assert_eq!(text(&["a,b", "say \"x\"", "two\nlines"]), "\"a,b\",\"say \"\"x\"\"\",\"two\nlines\"\r\n");
    }

    #[test]
    fn formulas_are_disarmed() {
        for armed in ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "\nx", "＝1"] {
            assert_eq!(read(&text(&[armed])), [[format!("'{armed}")]], "{armed:?}");
        }
        assert_eq!(text(&["a=1", "1-2", "x@y"]), "a=1,1-2,x@y\r\n");
    }

    #[test]
    fn neither_blanks_nor_another_languages_separator_arm_what_stands_behind() {
        let cases = [
            ("  =1", "'  =1"),
            ("a;=1;b", "a;'=1;b"),
            ("a\n -1", "a\n' -1"),
            ("a\t@b", "a\t'@b"),
            ("a,=1", "a,=1"),
            ("\t=1", "'\t'=1"),
        ];
        for (field, wanted) in cases {
            assert_eq!(disarmed(field), wanted, "{field:?}");
            assert_eq!(read(&text(&[field])), [[wanted]]);
        }
    }

    proptest! {
        #[test]
        fn a_row_reads_back_and_no_cell_of_it_begins_a_formula(fields in proptest::collection::vec("[a-c,;\"\r\n\t =+é-]{0,8}", 1..5)) {
            let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
            let wanted: Vec<String> = fields.iter().map(|field| disarmed(field)).collect();
            prop_assert_eq!(read(&text(&fields)), [wanted.clone()]);
            for cell in wanted.iter().flat_map(|field| field.split([';', '\t', '\r', '\n'])) {
                prop_assert!(!cell.trim_start().starts_with(FORMULA), "{:?}", cell);
            }
        }
    }
}

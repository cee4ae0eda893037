//! Cuts a body that arrives in pieces into its lines. Memory is bounded by the longest line that is taken, whatever the body's length.

/// What a cut brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cut {
    /// A line that is not blank, without its end.
    Line {
        /// Its number, from 1; blank ones are counted.
        number: u32,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// A line longer than is taken; its bytes are dropped as they come.
    TooLong {
        /// Its number, from 1.
        number: u32,
    },
}

/// The cutter.
#[derive(Debug)]
pub struct Lines {
    longest: usize,
    /// Lines that have ended.
    ended: u32,
    /// The line that has not.
    open: Vec<u8>,
    too_long: bool,
}

impl Lines {
    /// Takes lines of at most so many bytes.
    #[must_use]
    pub const fn new(longest: usize) -> Self {
        Self { longest, ended: 0, open: Vec::new(), too_long: false }
    }

    /// Takes the next piece of the body; answers the lines that end in it.
    pub fn push(&mut self, piece: &[u8]) -> Vec<Cut> {
        let mut parts = piece.split(|byte| *byte == b'\n');
        // Whatever follows the last line end belongs to a line that goes on.
        let mut cuts = Vec::new();
        self.extend(parts.next().unwrap_or_default());
        for part in parts {
            cuts.extend(self.end());
            self.extend(part);
        }
        cuts
    }

    /// The last line, when nothing ended it.
    pub fn finish(&mut self) -> Option<Cut> {
        self.end()
    }

    fn extend(&mut self, part: &[u8]) {
        if self.open.len().saturating_add(part.len()) > self.longest {
            self.too_long = true;
            self.open = Vec::new();
        }
        if !self.too_long {
            self.open.extend_from_slice(part);
        }
    }

    fn end(&mut self) -> Option<Cut> {
        self.ended = self.ended.saturating_add(1);
        let (number, bytes) = (self.ended, std::mem::take(&mut self.open));
        if std::mem::take(&mut self.too_long) {
            return Some(Cut::TooLong { number });
        }
        // Files of other systems begin with a byte order mark and end lines with a carriage return.
        let begun = if number == 1 { bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes) } else { &bytes };
        let line = begun.trim_ascii();
        if line.is_empty() {
            return None;
        }
        let bytes = if line.len() == bytes.len() { bytes } else { line.to_vec() };
        Some(Cut::Line { number, bytes })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(body: &[u8], piece: usize, longest: usize) -> Vec<Cut> {
        let mut lines = Lines::new(longest);
        let mut cuts: Vec<Cut> = body.chunks(piece.max(1)).flat_map(|piece| lines.push(piece)).collect();
        cuts.extend(lines.finish());
        cuts
    }

    fn line(number: u32, text: &str) -> Cut {
        Cut::Line { number, bytes: text.as_bytes().to_vec() }
    }

    #[test]
    fn blank_lines_are_counted_and_left_out_and_ends_of_all_systems_are_taken() {
        let body = b"\xef\xbb\xbf{1}\r\n\n  \n{4}\n{5}";
        assert_eq!(all(body, 3, 100), [line(1, "{1}"), line(4, "{4}"), line(5, "{5}")]);
        assert_eq!(all(b"", 1, 100), []);
        assert_eq!(all(b"\n\n", 1, 100), []);
    }

    #[test]
    fn a_line_that_is_too_long_is_named_and_keeps_nothing() {
        let body = format!("a\n{}\nb\n{}", "x".repeat(1_000), "y".repeat(11));
        assert_eq!(
            all(body.as_bytes(), 7, 10),
            [line(1, "a"), Cut::TooLong { number: 2 }, line(3, "b"), Cut::TooLong { number: 4 }]
        );
        let mut lines = Lines::new(10);
        lines.push(&[b'x'; 11]);
        assert_eq!(lines.open.capacity(), 0);
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_the_body_is_cut(body in "[a-c\n\r ]{0,60}", piece in 1_usize..9) {
            prop_assert_eq!(all(body.as_bytes(), piece, 8), all(body.as_bytes(), usize::MAX, 8));
        }
    }
}

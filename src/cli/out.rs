//! Where commands write: results to standard output, so that they can be piped; everything else to standard error.

use std::io::{self, Write};

/// Standard output.
pub fn stdout() -> impl Write {
    io::stdout().lock()
}

/// Prints a table: columns as wide as their widest cell, two spaces between.
///
/// # Errors
/// When `out` cannot be written.
pub fn table<const N: usize>(out: &mut dyn Write, head: [&str; N], rows: &[[String; N]]) -> io::Result<()> {
    let mut widths = head.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let head = head.map(str::to_owned);
    for row in std::iter::once(&head).chain(rows) {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

/// Prints one JSON value on one line.
///
/// # Errors
/// When `out` cannot be written.
pub fn json(out: &mut dyn Write, value: &serde_json::Value) -> io::Result<()> {
    writeln!(out, "{value}")
}

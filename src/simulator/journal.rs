//! The simulator's memory on disk: each accepted submit is a fsynced JSON line before its answer leaves, so that a killed
//! simulator still knows what it billed. The last line may be torn by the kill and is then ignored: it was never answered.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::ledger::Entry;
use super::tasks::{End, Task};

/// Holds one line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Line {
    /// A submit was accepted.
    Accepted { entry: Box<Entry>, task: Box<Task> },
    /// A task was ended early.
    Ended { seq: u64, provider: super::Provider, id: String, at: u64, end: End },
}

fn parse(at: usize, line: &str) -> Option<Line> {
    match serde_json::from_str(line) {
        Ok(line) => Some(line),
        Err(error) => {
            tracing::warn!(line = at + 1, %error, "ledger line skipped");
            None
        }
    }
}

/// Appends lines to a file.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
}

impl Journal {
    /// Opens the file and returns what it holds.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub(super) fn open(path: &Path) -> io::Result<(Self, Vec<Line>)> {
        let text = match std::fs::read(path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        if !text.is_empty() && !text.ends_with('\n') {
            // Ends the torn line, so that the next one starts on its own.
            file.write_all(b"\n")?;
        }
        let lines = text.lines().enumerate().filter_map(|(at, line)| parse(at, line)).collect();
        Ok((Self { file }, lines))
    }

    /// Appends a line and waits for the disk.
    ///
    /// # Errors
    /// Whatever the file system says; the submit must then not be answered as accepted.
    pub(super) fn append(&mut self, line: &Line) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(line)?;
        bytes.push(b'\n');
        self.file.write_all(&bytes)?;
        self.file.sync_data()
    }

    /// Empties the file.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.sync_data()
    }
}

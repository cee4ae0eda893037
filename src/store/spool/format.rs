//! One receipt a line: length and CRC-32 of the JSON in hexadecimal digits, the JSON, a line break. Whatever was torn off or
//! overwritten shows, and takes no other line along.

use std::io;

use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        id::{AttemptId, GenerationId},
        record::Handle,
        time::Timestamp,
    },
    store::Evidence,
};

/// Length and checksum with the spaces behind them.
const HEAD: usize = 18;

/// What a provider told us, as it waits for the database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The attempt.
    pub attempt: AttemptId,
    /// Its generation and its account; a webhook knows neither without the database, and the merge looks them up.
    pub owner: Option<Owner>,
    /// What the provider gave us.
    pub handle: Handle,
    /// How it was learned.
    pub source: String,
    /// When.
    pub at: Timestamp,
}

/// To whom an attempt belongs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Its generation.
    pub generation: GenerationId,
    /// Section and account at the provider.
    pub account: String,
}

impl Receipt {
    /// That of known evidence.
    #[must_use]
    pub fn of(evidence: &Evidence) -> Self {
        Self {
            attempt: evidence.attempt,
            owner: Some(Owner { generation: evidence.generation, account: evidence.account.clone() }),
            handle: evidence.handle.clone(),
            source: evidence.source.to_owned(),
            at: evidence.at,
        }
    }

    /// The evidence, for its owner.
    #[must_use]
    pub fn evidence(self, owner: Owner) -> Evidence {
        const SOURCES: [&str; 5] = ["answer", "resend", "lookup", "webhook", "operator"];
        let source = SOURCES.into_iter().find(|source| *source == self.source).unwrap_or("answer");
        let Owner { generation, account } = owner;
        Evidence { attempt: self.attempt, generation, account, handle: self.handle, source, at: self.at }
    }
}

/// What a file holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// Every whole line.
    pub receipts: Vec<Receipt>,
    /// Numbers of lines that are broken, from 1.
    pub damaged: Vec<usize>,
    /// The last line was not finished: it was never acknowledged.
    pub torn: bool,
}

/// The line of a receipt.
pub fn line(receipt: &Receipt) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(receipt).map_err(io::Error::other)?;
    let mut line = format!("{:08x} {:08x} ", json.len(), crc32fast::hash(&json)).into_bytes();
    line.extend_from_slice(&json);
    line.push(b'\n');
    Ok(line)
}

/// Reads lines. Where one is broken, reading goes on behind the next line break.
#[must_use]
pub fn content(bytes: &[u8]) -> Content {
    let (mut content, mut rest, mut line) = (Content::default(), bytes, 0_usize);
    while !rest.is_empty() {
        line = line.saturating_add(1);
        if let Some((receipt, behind)) = receipt(rest) {
            content.receipts.push(receipt);
            rest = behind;
            continue;
        }
        match rest.iter().position(|byte| *byte == b'\n').and_then(|at| rest.get(at.saturating_add(1)..)) {
            Some(behind) => {
                content.damaged.push(line);
                rest = behind;
            }
            None => {
                content.torn = true;
                rest = &[];
            }
        }
    }
    content
}

/// The receipt that begins here and what follows its line.
fn receipt(bytes: &[u8]) -> Option<(Receipt, &[u8])> {
    let (head, rest) = bytes.split_at_checked(HEAD)?;
    let mut numbers = std::str::from_utf8(head).ok()?.split_terminator(' ').map(|text| u32::from_str_radix(text, 16));
    let (length, checksum) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    let (json, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    if checksum != crc32fast::hash(json) {
        return None;
    }
    // The line break is not covered: whatever stands there takes no receipt along.
    Some((serde_json::from_slice(json).ok()?, rest.get(1..).unwrap_or_default()))
}

//! The text of an API key: `lt_`, 40 random characters, 6 characters of checksum. The checksum tells a typo from a key without
//! asking the database, and lets secret scanners check a finding offline (layout after GitHub's tokens).

use std::fmt;

use rand::RngExt;
use sha2::{Digest, Sha256};

/// Digits and letters; a double click selects a whole key.
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Tells scanners and people what it is.
const PREFIX: &str = "lt_";
/// 62^40 is more than 2^238: nobody guesses one.
const RANDOM: usize = 40;
/// 62^6 is more than 2^32: a CRC-32 fits.
const CHECK: usize = 6;

/// A well-formed key. Its text leaves through [`KeyText::reveal`] only.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyText(String);

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyText(lt_…)")
    }
}

impl KeyText {
    /// A fresh key from the thread's cryptographic generator.
    #[must_use]
    pub fn mint() -> Self {
        let mut rng = rand::rng();
        let body: String = (0..RANDOM).map(|_| letter(rng.random_range(0..62))).collect();
        let head = format!("{PREFIX}{body}");
        let check = checksum(&head);
        Self(head + &check)
    }

    /// Reads what a client sent; none when its form or checksum is wrong.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let body = text.strip_prefix(PREFIX)?;
        if body.len() != RANDOM + CHECK || !body.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return None;
        }
        let (head, check) = text.split_at_checked(PREFIX.len() + RANDOM)?;
        (checksum(head) == check).then(|| Self(text.to_owned()))
    }

    /// SHA-256 of the whole text: all that is stored. A key holds so much chance that a slow hash would add nothing.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0.as_bytes()).into()
    }

    /// The last four characters, by which people tell their keys apart.
    #[must_use]
    pub fn last4(&self) -> &str {
        self.0.get(self.0.len().saturating_sub(4)..).unwrap_or_default()
    }

    /// The text itself, to be shown once.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

fn letter(digit: usize) -> char {
    ALPHABET.get(digit).copied().map_or('0', char::from)
}

fn checksum(head: &str) -> String {
    let mut left = crc32fast::hash(head.as_bytes());
    let mut digits = Vec::with_capacity(CHECK);
    for _ in 0..CHECK {
        digits.push(letter(usize::try_from(left % 62).unwrap_or(0)));
        left /= 62;
    }
    digits.into_iter().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::{CHECK, KeyText, PREFIX, RANDOM};

    #[test]
    fn a_fresh_key_reads_back_and_no_two_are_equal() {
        let (one, other) = (KeyText::mint(), KeyText::mint());
        assert_eq!(KeyText::parse(one.reveal()), Some(one.clone()));
        assert_ne!(one.reveal(), other.reveal());
        assert_ne!(one.hash(), other.hash());
        assert_eq!(one.reveal().len(), PREFIX.len() + RANDOM + CHECK);
        assert!(one.reveal().ends_with(one.last4()));
    }

    #[test]
    fn a_change_of_any_one_character_is_noticed() {
        let key = KeyText::mint();
        for at in 0..key.reveal().len() {
            let mut bytes = key.reveal().as_bytes().to_vec();
            bytes[at] = if bytes[at] == b'x' { b'y' } else { b'x' };
            assert_eq!(KeyText::parse(&String::from_utf8(bytes).unwrap()), None, "position {at}");
        }
    }

    #[test]
    fn other_texts_are_no_keys() {
        let key = KeyText::mint();
        let long = format!("{}0", key.reveal());
        for text in ["", "lt_", "sk-123", &long, &key.reveal()[1..], "lt_ääääääääääääääääääääääääääääääääääääääääääääää"]
        {
            assert_eq!(KeyText::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_known_key_keeps_its_checksum() {
        // The form is a promise to scanners: a change of the algorithm must fail here. CRC-32 (IEEE) of the first 43 bytes.
        let text = "lt_0000000000000000000000000000000000000000";
        let check = crc32fast::hash(text.as_bytes());
        let digits = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        let place = |power: u32| char::from(digits[(check / 62_u32.pow(power) % 62) as usize]);
        let expected: String = [5, 4, 3, 2, 1, 0].map(place).into_iter().collect();
        assert!(KeyText::parse(&format!("{text}{expected}")).is_some());
    }

    #[test]
    fn debug_output_does_not_show_the_key() {
        let key = KeyText::mint();
        assert!(!format!("{key:?}").contains(&key.reveal()[3..]));
    }
}

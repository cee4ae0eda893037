//! Keys: how objects are named, in every storage alike. A key is unguessable, because whoever knows it may read the object,
//! and made of characters that need no escaping in a path, a URL or a signature.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

use crate::{
    domain::id::{AssetId, AttemptId, GenerationId},
    storage::StorageError,
};

/// Longest key in bytes; S3 takes 1,024, of which the bucket's own prefix gets the rest.
pub const MAX_BYTES: usize = 512;

/// Hex digits of a generation's id that name its folder. The id begins with its birth in milliseconds (48 bits), so seven
/// digits span 2^20 of them, 17 minutes: at 1,000 results a second a folder holds a million files, at one a second a
/// thousand. A folder for each generation would cost a third flush at every file (1,400 against 2,000 files a second) and
/// stay behind empty.
const FOLDER_DIGITS: usize = 7;

/// Names objects of results. Clones share the secret.
#[derive(Clone)]
pub struct Names {
    secret: SecretString,
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").finish_non_exhaustive()
    }
}

impl Names {
    /// Names that follow from this secret.
    #[must_use]
    pub const fn new(secret: SecretString) -> Self {
        Self { secret }
    }

    /// Names the object of an asset, without extension: `kling/019c2f1/gen_019c2f1…-0-<32 hex digits>`. The 128 bits that end it are
    /// what keeps others from guessing it; an empty prefix is left out. An asset has one name for as long as the secret is the
    /// same: moved again after a crash, it replaces what that left.
    #[must_use]
    pub fn stem(&self, prefix: &str, generation: GenerationId, (asset, idx): (AssetId, u16)) -> String {
        let prefix = prefix.trim_matches('/');
        let slash = if prefix.is_empty() { "" } else { "/" };
        let folder: String = generation.0.simple().to_string().chars().take(FOLDER_DIGITS).collect();
        format!("{prefix}{slash}{folder}/{generation}-{idx}-{}", self.unguessable(asset))
    }

    /// The first 16 bytes of an HMAC-SHA256, in hexadecimal digits.
    fn unguessable(&self, asset: AssetId) -> String {
        // A key of any length is valid, so an error cannot occur.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(self.secret.expose_secret().as_bytes()) else { return String::new() };
        // Another text than those of webhooks, so that none can stand for another.
        mac.update(format!("object name\n{asset}").as_bytes());
        mac.finalize().into_bytes().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Names the place where a synchronous provider's bytes wait until their answer is committed: the same for the same output, so
/// that staging again replaces and leaves nothing behind. Without extension it is never served.
#[must_use]
pub fn staged(attempt: AttemptId, idx: u16) -> String {
    format!("staged/{attempt}-{idx}")
}

/// Checks that a text can be a key, or the prefix of one: segments of letters, digits, `_`, `-` and `.`, none of them empty
/// or beginning with a dot (so there is no `..`, and nothing reaches the hidden folder of unfinished files).
///
/// # Errors
/// [`StorageError::Invalid`] that says what is wrong with it.
pub fn check(key: &str) -> Result<(), StorageError> {
    let wrong = |what: &str| Err(StorageError::Invalid(format!("a key {what}")));
    if key.is_empty() {
        return wrong("cannot be empty");
    }
    if key.len() > MAX_BYTES {
        return wrong("has at most 512 bytes");
    }
    if key.split('/').any(|segment| segment.is_empty() || segment.starts_with('.')) {
        return wrong("has no empty segment and none that begins with a dot");
    }
    if key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'_' | b'.' | b'-')) {
        Ok(())
    } else {
        wrong("consists of letters, digits and / _ . -")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(secret: &str) -> Names {
        Names::new(secret.to_owned().into())
    }

    #[test]
    fn an_asset_has_one_name_which_others_cannot_guess() {
        let (generation, asset) = (GenerationId::fresh(), AssetId::fresh());
        let folder = &generation.0.simple().to_string()[..7];
        let first = names("one").stem("kling", generation, (asset, 0));
        let secret = first.strip_prefix(&format!("kling/{folder}/{generation}-0-")).unwrap();
        assert_eq!(secret.len(), 32);
        check(&first).unwrap();
        assert_eq!(first, names("one").stem("kling", generation, (asset, 0)));
        assert_ne!(first, names("two").stem("kling", generation, (asset, 0)));
        assert_ne!(first, names("one").stem("kling", generation, (AssetId::fresh(), 0)));
    }

    #[test]
    fn a_staged_output_has_one_place() {
        let attempt = AttemptId::fresh();
        check(&staged(attempt, 2)).unwrap();
        assert_eq!(staged(attempt, 2), format!("staged/{attempt}-2"));
    }

    #[test]
    fn slashes_around_a_prefix_do_not_matter_and_none_is_needed() {
        let stem = |prefix| names("one").stem(prefix, GenerationId::fresh(), (AssetId::fresh(), 3));
        assert!(stem("/a/b/").starts_with("a/b/0"));
        assert!(stem("").starts_with('0'));
        check(&stem("")).unwrap();
    }

    #[test]
    fn what_leaves_its_folder_or_needs_escaping_is_no_key() {
        let long = "a".repeat(MAX_BYTES + 1);
        for bad in
            ["", "/a", "a/", "a//b", "..", "a/../b", "a/..", ".hidden", "a/.b", "a b", "a\\b", "ä", "a%2e", "a?b", "a\0", &long]
        {
            assert!(matches!(check(bad), Err(StorageError::Invalid(_))), "{bad:?}");
        }
        for good in ["a", "a/b.png", "A-b_c/0-ff.tar.gz", "a..b"] {
            check(good).unwrap();
        }
    }
}

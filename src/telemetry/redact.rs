//! The last line before a log line leaves: known secrets, anything of the form of our keys, bearer tokens, the queries of URLs
//! (they carry signatures) and inline data are cut out. Code must not log them in the first place; this catches what a
//! library or a mistake does.

use std::borrow::Cow;

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::config::{Config, server::SECRET_FILE};

/// A shorter text is no secret worth the name, and cutting it out would garble every line.
const SHORTEST: usize = 8;
/// What stands in a secret's place.
const CUT: &str = "[redacted]";

/// The secrets that this process knows.
#[derive(Clone, Default)]
pub struct Secrets(Vec<String>);

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secrets({})", self.0.len())
    }
}

impl Secrets {
    /// Those of a configuration, also the ones that stand in files of their own.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let mut secrets = Self::default();
        let mut both = |value: &Option<SecretString>, file: &Option<std::path::PathBuf>| {
            secrets.add_all(value.as_ref().map(ExposeSecret::expose_secret));
            // Whoever uses the file reports that it cannot be read.
            let text = file.as_ref().and_then(|path| std::fs::read_to_string(path).ok());
            secrets.add_all(text.as_deref());
        };
        both(&config.server.secret, &config.server.secret_file);
        let kept = Some(config.data_dir.join(SECRET_FILE));
        both(&None, &kept);
        both(&config.storage.secret_access_key, &config.storage.secret_access_key_file);
        for provider in config.providers.values() {
            both(&provider.api_key, &provider.api_key_file);
            both(&provider.secret_key, &provider.secret_key_file);
            both(&provider.webhook_secret, &provider.webhook_secret_file);
            for account in provider.accounts.values() {
                both(&account.api_key, &account.api_key_file);
                both(&account.secret_key, &account.secret_key_file);
                both(&account.webhook_secret, &account.webhook_secret_file);
            }
        }
        let database = Url::parse(&config.store.url).ok();
        secrets.add(database.as_ref().and_then(Url::password));
        secrets
    }

    /// Several may stand in one text, to rotate.
    fn add_all(&mut self, secrets: Option<&str>) {
        self.add(secrets);
        secrets.into_iter().flat_map(str::split_whitespace).for_each(|secret| self.add(Some(secret)));
    }

    fn add(&mut self, secret: Option<&str>) {
        let secret = secret.map(str::trim).filter(|secret| secret.len() >= SHORTEST);
        self.0.extend(secret.map(str::to_owned));
    }

    /// The line without what must not leave.
    #[must_use]
    pub fn scrub<'a>(&self, line: &'a str) -> Cow<'a, str> {
        let mut scrubbed = Cow::Borrowed(line);
        for secret in &self.0 {
            if scrubbed.contains(secret.as_str()) {
                scrubbed = Cow::Owned(scrubbed.replace(secret.as_str(), CUT));
            }
        }
        for (mark, keeps) in MARKS {
            if scrubbed.contains(mark) {
                scrubbed = Cow::Owned(cut_behind(&scrubbed, mark, *keeps));
            }
        }
        scrubbed
    }
}

/// What stands behind a mark, up to the end of the word.
#[derive(Clone, Copy)]
enum Behind {
    /// All of it goes.
    Everything,
    /// What follows the first question mark goes.
    Query,
    /// All goes when it is as long as one of our keys.
    Key,
}

const MARKS: &[(&str, Behind)] = &[
    ("lt_", Behind::Key),
    ("Bearer ", Behind::Everything),
    ("bearer ", Behind::Everything),
    (";base64,", Behind::Everything),
    ("://", Behind::Query),
];

fn cut_behind(line: &str, mark: &str, behind: Behind) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once(mark) {
        let end = after.find(|c: char| c.is_whitespace() || "\"'<>\\`,".contains(c)).unwrap_or(after.len());
        let (word, left) = after.split_at_checked(end).unwrap_or((after, ""));
        out.push_str(before);
        out.push_str(mark);
        match behind {
            Behind::Everything if word.is_empty() => {}
            Behind::Everything => out.push_str(CUT),
            Behind::Key => {
                let letters = word.bytes().take_while(u8::is_ascii_alphanumeric).count();
                out.push_str(if letters >= 30 { CUT } else { word });
            }
            Behind::Query => match word.split_once('?') {
                Some((path, _)) => out.extend([path, "?", CUT]),
                None => out.push_str(word),
            },
        }
        rest = left;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::Secrets;
    use crate::{config::Config, intake::key_text::KeyText};

    #[test]
    fn secrets_of_the_configuration_and_its_files_are_cut_out() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        std::fs::write(&file, "canary-in-a-file\n").unwrap();
        let mut config: Config = toml::from_str(
            "[store]\nurl = \"postgres://u:canary-database@h/d\"\n[providers.a]\napi_key = \"canary-provider\"\n\
             [providers.a.accounts.b]\nsecret_key = \"canary-account\"\n[storage]\nsecret_access_key = \"canary-storage\"",
        )
        .unwrap();
        config.providers.get_mut("a").unwrap().secret_key_file = Some(file);
        let secrets = Secrets::of(&config);
        let line = "x canary-database y canary-provider,canary-account (canary-storage) canary-in-a-file.";
        assert_eq!(secrets.scrub(line), "x [redacted] y [redacted],[redacted] ([redacted]) [redacted].");
        assert!(!format!("{secrets:?}").contains("canary"));
    }

    #[test]
    fn keys_tokens_queries_and_inline_data_are_cut_out_wherever_they_stand() {
        let secrets = Secrets::default();
        let key = KeyText::mint();
        for (line, expected) in [
            (format!("key={} end", key.reveal()), "key=lt_[redacted] end"),
            ("{\"h\":\"Bearer abc.def\"}".to_owned(), "{\"h\":\"Bearer [redacted]\"}"),
            ("get https://h/p?X-Amz-Signature=1&a=2 now".to_owned(), "get https://h/p?[redacted] now"),
            ("\"url\":\"https://h/p?sig=1\"".to_owned(), "\"url\":\"https://h/p?[redacted]\""),
            ("data:image/png;base64,iVBOR= x".to_owned(), "data:image/png;base64,[redacted] x"),
            ("https://h/p and result_lt_x stay".to_owned(), "https://h/p and result_lt_x stay"),
        ] {
            assert_eq!(secrets.scrub(&line), expected);
        }
    }
}

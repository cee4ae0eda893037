//! Results as files: fetched whole, checked, and put in their place at once, so that a file with its name is a result.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use futures_util::TryStreamExt as _;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use url::Url;

use super::{Client, Failure};

/// Tries of one download, and the wait before a further one.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_secs(1);

/// Longest part of a file's name that comes from elsewhere: file systems take 255 bytes in all.
const LONGEST_NAME: usize = 120;

/// One result of a generation.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Where it is.
    pub url: String,
    /// The file's name.
    pub name: String,
    sha256: Option<String>,
}

impl Wanted {
    /// Every result that a generation shows, late ones too; `stem` begins the names.
    #[must_use]
    pub fn all(stem: &str, shown: &Value) -> Vec<Self> {
        let list = |name: &str| shown.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let in_time = list("results").iter().filter_map(|result| Self::of(stem, "", result));
        in_time.chain(list("lateResults").iter().filter_map(|result| Self::of(stem, "late-", result))).collect()
    }

    fn of(stem: &str, mark: &str, result: &Value) -> Option<Self> {
        let text = |name: &str| result.get(name).and_then(Value::as_str);
        let url = text("url")?.to_owned();
        let index = result.get("index").and_then(Value::as_u64).unwrap_or(0);
        let name = format!("{}-{mark}{index}.{}", sane(stem), extension(text("contentType"), &url));
        Some(Self { url, name, sha256: text("sha256").map(str::to_owned) })
    }
}

/// What the names of a task's files begin with: your own name of it, with its id where that name cannot be part of a file's.
#[must_use]
pub fn stem(custom: Option<&str>, id: &str) -> String {
    match custom {
        Some(custom) if sane(custom) == custom => custom.to_owned(),
        Some(custom) => format!("{}-{id}", sane(custom).chars().take(LONGEST_NAME / 2).collect::<String>()),
        None => id.to_owned(),
    }
}

/// What can be part of a file's name on every system, and never a path.
fn sane(stem: &str) -> String {
    let kept: String = stem
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.') { letter } else { '_' })
        .take(LONGEST_NAME)
        .collect();
    let kept = kept.trim_start_matches('.');
    if kept.is_empty() { "result".to_owned() } else { kept.to_owned() }
}

fn extension(content_type: Option<&str>, url: &str) -> String {
    let known = match content_type.map(|kind| kind.split(';').next().unwrap_or_default().trim()) {
        Some("image/png") => Some("png"),
        Some("image/jpeg") => Some("jpg"),
        Some("image/webp") => Some("webp"),
        Some("image/gif") => Some("gif"),
        Some("video/mp4") => Some("mp4"),
        Some("video/webm") => Some("webm"),
        Some("video/quicktime") => Some("mov"),
        Some(_) | None => None,
    };
    let named = || {
        let url = Url::parse(url).ok()?;
        let (_, extension) = url.path().rsplit_once('.')?;
        let plain = (1..=5).contains(&extension.len()) && extension.bytes().all(|byte| byte.is_ascii_alphanumeric());
        plain.then(|| extension.to_ascii_lowercase())
    };
    known.map(str::to_owned).or_else(named).unwrap_or_else(|| "bin".to_owned())
}

/// Fetches a result into `folder`, unless it is there already; where it lies then.
///
/// # Errors
/// When it cannot be fetched or written, or is not what was announced.
pub async fn fetch(client: &Client, folder: &Path, wanted: &Wanted) -> Result<PathBuf, Failure> {
    let path = folder.join(&wanted.name);
    if let Some(expected) = &wanted.sha256
        && digest_of(&path).is_ok_and(|found| found == *expected)
    {
        return Ok(path);
    }
    let mut tries = 1;
    loop {
        match once(client, &path, wanted).await {
            Err(failure @ Failure::Download { .. }) if tries >= TRIES => return Err(failure),
            Err(Failure::Download { .. }) => tokio::time::sleep(PAUSE * tries).await,
            Err(other) => return Err(other),
            Ok(()) => return Ok(path),
        }
        tries += 1;
    }
}

async fn once(client: &Client, path: &Path, wanted: &Wanted) -> Result<(), Failure> {
    // Its query proves the right to read it.
    let place = wanted.url.split('?').next().unwrap_or_default().to_owned();
    let failed = |why: String| Failure::Download { url: place.clone(), why };
    let broken = |error: reqwest::Error| failed(error.without_url().to_string());
    let file_failed = |source| Failure::File { path: path.display().to_string(), source };
    let reply = client.result(&wanted.url).await.map_err(broken)?;
    let draft = path.with_added_extension("part");
    let mut file = File::create(&draft).map_err(file_failed)?;
    let (mut bytes, mut digest) = (reply.bytes_stream(), Sha256::new());
    while let Some(part) = bytes.try_next().await.map_err(broken)? {
        digest.update(&part);
        file.write_all(&part).map_err(file_failed)?;
    }
    file.sync_all().map_err(file_failed)?;
    if wanted.sha256.as_ref().is_some_and(|expected| *expected != hex(&digest.finalize())) {
        return Err(failed("it is not what the service announced (its SHA-256 differs)".to_owned()));
    }
    fs::rename(&draft, path).map_err(file_failed)
}

fn digest_of(path: &Path) -> io::Result<String> {
    let (mut file, mut digest, mut buffer) = (File::open(path)?, Sha256::new(), vec![0; 64 * 1024]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&digest.finalize())),
            read => digest.update(buffer.get(..read).unwrap_or_default()),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_come_from_the_stem_and_never_lead_elsewhere() {
        for (stem, expected) in
            [("a b/ä", "a_b__"), ("../../etc/passwd", "_.._etc_passwd"), ("...", "result"), ("", "result"), ("gen_1", "gen_1")]
        {
            assert_eq!(sane(stem), expected, "{stem}");
        }
        assert_eq!(sane(&"x".repeat(500)).len(), LONGEST_NAME);
        assert_eq!((stem(Some("a-1"), "gen_1").as_str(), stem(None, "gen_1").as_str()), ("a-1", "gen_1"));
        assert_eq!(stem(Some("a/1"), "gen_1"), "a_1-gen_1");
        assert_ne!(stem(Some("a/1"), "gen_1"), stem(Some("a_1"), "gen_2"), "two names stay two");
    }

    #[test]
    fn every_result_has_a_name_of_its_own_and_the_ending_of_its_kind() {
        let shown = json!({
            "results": [
                { "index": 0, "url": "https://x.test/a?sig=1", "contentType": "image/png; q=1", "sha256": "00" },
                { "index": 1, "url": "https://x.test/b.MP4?sig=1", "contentType": null },
                { "index": 2, "url": "https://x.test/c", "contentType": "model/unheard-of" },
                { "index": 3 },
            ],
            "lateResults": [{ "index": 0, "url": "https://x.test/late.jpg" }],
        });
        let names: Vec<_> = Wanted::all("one", &shown).into_iter().map(|wanted| wanted.name).collect();
        assert_eq!(names, ["one-0.png", "one-1.mp4", "one-2.bin", "one-late-0.jpg"]);
    }
}

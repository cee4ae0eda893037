//! Waiting for generations: asked for changes, several at a time, through restarts of the service, until all have ended.

use std::{cell::RefCell, collections::BTreeMap, path::Path, time::Duration};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    cli::{
        progress::{Bar, Lines, Mode},
        shown,
    },
    client::{Answer, Client, Failure, download},
};

/// Longest wait for a change that is asked for at once. Between changes only the progress moves, and is seen this often.
const WAIT_S: u64 = 10;

/// An answer without news that comes sooner than this: the service is about to end, and waits for nobody any more.
const SOON: Duration = Duration::from_millis(500);

/// Generations asked for at a time.
const AT_ONCE: usize = 16;

/// Downloads at a time.
const DOWNLOADS: usize = 4;

/// How long the service may be away before waiting is given up: far longer than a restart or a deployment.
const AWAY: Duration = Duration::from_secs(600);

/// Between two questions where the service names no time.
const PAUSE: Duration = Duration::from_secs(2);

/// Generations shown each on a line of its own; more share a bar.
const LINES: usize = 12;

/// Asks for something that changes until `done`; hands every answer to `show`.
///
/// # Errors
/// What the service refuses, or that it is away for ten minutes.
pub async fn until(
    client: &Client,
    path: &str,
    done: impl Fn(&Value) -> bool,
    mut show: impl FnMut(Result<&Value, &Failure>),
) -> Result<Value, Failure> {
    let (mut away, mut seen, mut quiet) = (None::<Instant>, None::<String>, true);
    loop {
        let asked = Instant::now();
        // First, and after a wait without news, one look at all of it: its progress is no news, and moves.
        let (seconds, tag) = if quiet { (0, None) } else { (WAIT_S, seen.as_deref()) };
        match client.await_change(path, seconds, tag).await {
            Ok(Answer { body, retry_after, waits, tag }) => {
                (away, quiet) = (None, body.is_null());
                if !quiet {
                    show(Ok(&body));
                    if done(&body) {
                        return Ok(body);
                    }
                    seen = tag;
                }
                if seconds > 0 && !waits {
                    tokio::time::sleep(retry_after.unwrap_or(PAUSE)).await;
                } else if quiet && asked.elapsed() < SOON {
                    tokio::time::sleep(SOON).await;
                }
            }
            Err(failure) if failure.passes() && away.get_or_insert_with(Instant::now).elapsed() < AWAY => {
                show(Err(&failure));
                tokio::time::sleep(failure.retry_after().unwrap_or(PAUSE)).await;
            }
            Err(failure) => return Err(failure),
        }
    }
}

/// The path of something by its id.
///
/// # Errors
/// When it is no id: it must not become another path.
pub fn path(collection: &str, id: &str) -> Result<String, Failure> {
    let sound = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !sound {
        return Err(Failure::Unusable(format!("`{id}` is no id")));
    }
    Ok(format!("/api/external/{collection}/{id}"))
}

enum Screen {
    Lines(Lines),
    Bar { bar: Bar, stands: BTreeMap<usize, (bool, String)>, total: u64 },
}

impl Screen {
    fn of(ids: &[String], mode: Mode) -> Self {
        if ids.len() <= LINES {
            return Self::Lines(Lines::of(ids.to_vec(), mode));
        }
        let total = u64::try_from(ids.len()).unwrap_or(u64::MAX);
        Self::Bar { bar: Bar::of(total, mode), stands: BTreeMap::new(), total }
    }

    fn show(&mut self, index: usize, told: Result<&Value, &Failure>) {
        let (ended, words, status) = match told {
            Ok(shown) => (shown::ended(shown), shown::stands(shown), shown::text(shown, "status").to_owned()),
            Err(failure) => (false, format!("{failure}; asking again"), "?".to_owned()),
        };
        match self {
            Self::Lines(lines) => lines.show(index, &words, ended),
            Self::Bar { bar, stands, total } => {
                stands.insert(index, (ended, status));
                let mut counts = BTreeMap::<&str, u64>::new();
                stands.values().for_each(|(_, status)| *counts.entry(status).or_default() += 1);
                let words: Vec<_> = counts.iter().map(|(status, count)| format!("{count} {status}")).collect();
                let ended = stands.values().filter(|(ended, _)| *ended).count();
                bar.show(u64::try_from(ended).unwrap_or(u64::MAX), *total, &words.join(", "));
            }
        }
    }
}

/// Waits until all of these have ended; the last views in their order.
///
/// # Errors
/// As [`until`].
pub async fn all(client: &Client, ids: &[String], mode: Mode) -> Result<Vec<Value>, Failure> {
    let paths = ids.iter().map(|id| path("generation", id)).collect::<Result<Vec<_>, _>>()?;
    let screen = RefCell::new(Screen::of(ids, mode));
    let screen = &screen;
    let one = |(index, path): (usize, String)| async move {
        until(client, &path, shown::ended, |told| screen.borrow_mut().show(index, told)).await
    };
    stream::iter(paths.into_iter().enumerate()).map(one).buffered(AT_ONCE.max(ids.len().min(64))).try_collect().await
}

/// Fetches what generations delivered into a folder; the files, in order. Those that lie there already are not fetched again.
///
/// # Errors
/// The first that cannot be fetched, or a folder that cannot be made.
pub async fn download(client: &Client, folder: &Path, shown: &[Value]) -> Result<Vec<String>, Failure> {
    std::fs::create_dir_all(folder).map_err(|source| Failure::File { path: folder.display().to_string(), source })?;
    let wanted = shown.iter().flat_map(|shown| download::Wanted::all(shown::text(shown, "id"), shown));
    let fetched = stream::iter(wanted).map(|wanted| async move {
        let path = download::fetch(client, folder, &wanted).await?;
        Ok(path.display().to_string())
    });
    fetched.buffered(DOWNLOADS).try_collect().await
}

//! The results of a batch in a folder: the files, and `results.jsonl` with a line for each task that has ended. A line is written once
//! its files are there, so that whoever comes back goes on behind the last one.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead as _, BufReader, Write as _},
    path::Path,
};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::Value;
use url::form_urlencoded::Serializer;

use crate::{
    cli::shown,
    client::{Client, Failure, download},
};

/// The list beside the files.
const LIST: &str = "results.jsonl";

/// Results asked for at a time: the service's largest page.
const PAGE: &str = "100";

/// Downloads at a time.
const AT_ONCE: usize = 4;

/// The path of results in a form, behind a cursor.
pub fn query(batch: &str, format: &str, cursor: Option<&str>) -> String {
    let mut query = Serializer::new(String::new());
    query.append_pair("format", format);
    if let Some(cursor) = cursor {
        query.append_pair("cursor", cursor);
    }
    format!("{batch}/results?{}", query.finish())
}

/// Fetches what has ended and is not in the folder yet; how many files came.
///
/// # Errors
/// What the service refuses, a file that cannot be fetched or written.
pub async fn all(client: &Client, batch: &str, folder: &Path) -> Result<usize, Failure> {
    let path = folder.join(LIST);
    let failed = |source| Failure::File { path: path.display().to_string(), source };
    fs::create_dir_all(folder).map_err(failed)?;
    let (mut list, mut cursor) = resumed(&path).map_err(failed)?;
    let mut files = 0;
    loop {
        let page = client.fetch(&format!("{}&limit={PAGE}", query(batch, "json", cursor.as_deref()))).await?.body;
        let lines = shown::list(&page, "data");
        files += fetched(client, folder, lines).await?;
        for line in lines {
            writeln!(list, "{line}").map_err(failed)?;
        }
        list.sync_data().map_err(failed)?;
        if let Some(last) = lines.last() {
            cursor = Some(shown::text(last, "cursor").to_owned());
        }
        if lines.is_empty() || page.get("hasMore") != Some(&Value::Bool(true)) {
            return Ok(files);
        }
    }
}

async fn fetched(client: &Client, folder: &Path, lines: &[Value]) -> Result<usize, Failure> {
    let wanted = lines.iter().flat_map(|line| {
        let stem = download::stem(line.get("customId").and_then(Value::as_str), shown::text(line, "id"));
        download::Wanted::all(&stem, line)
    });
    let fetched = stream::iter(wanted).map(|wanted| async move { download::fetch(client, folder, &wanted).await });
    Ok(fetched.buffered(AT_ONCE).try_collect::<Vec<_>>().await?.len())
}

/// The list, to go on with, and the cursor of its last whole line. What was begun and not finished is cut off.
fn resumed(path: &Path) -> io::Result<(File, Option<String>)> {
    let list = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?;
    let (mut whole, mut cursor) = (0, None);
    let mut lines = BufReader::new(&list);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line)? > 0 {
        let told = serde_json::from_slice::<Value>(&line).ok().filter(|_| line.ends_with(b"\n"));
        let Some(last) = told.as_ref().and_then(|told| told.get("cursor")?.as_str()) else { break };
        cursor = Some(last.to_owned());
        whole += u64::try_from(line.len()).unwrap_or(u64::MAX);
        line.clear();
    }
    list.set_len(whole)?;
    // Opened anew at its end: the reader has moved this one.
    Ok((OpenOptions::new().append(true).open(path)?, cursor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_goes_on_behind_its_last_whole_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(LIST);
        assert_eq!(resumed(&path).unwrap().1, None);
        fs::write(&path, "{\"id\":1,\"cursor\":\"a\"}\n{\"id\":2,\"cursor\":\"b\"}\n{\"id\":3,\"curs").unwrap();
        let (mut list, cursor) = resumed(&path).unwrap();
        assert_eq!(cursor.as_deref(), Some("b"));
        writeln!(list, "next").unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.ends_with("\"b\"}\nnext\n"), "{text}");
    }

    #[test]
    fn a_query_names_form_and_place() {
        assert_eq!(query("/b", "csv", None), "/b/results?format=csv");
        assert_eq!(query("/b", "jsonl", Some("a+b")), "/b/results?format=jsonl&cursor=a%2Bb");
    }
}

//! `longtake list`: generations of the key's project, newest first.

use std::{io::Write, process::ExitCode};

use clap::Args;
use serde_json::Value;
use url::form_urlencoded::Serializer;

use crate::{
    cli::{
        out,
        remote::{self, Remote},
        shown,
    },
    client::{Client, Failure},
};

/// The service's largest page.
const PAGE: usize = 100;

/// `longtake list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only those: `PENDING`, `PROCESSING`, `SUCCESS`, `FAILED`, `CANCELLED`, with commas between.
    #[arg(long, value_name = "WORDS")]
    pub status: Option<String>,
    /// Only this provider section.
    #[arg(long)]
    pub provider: Option<String>,
    /// Only this model.
    #[arg(long)]
    pub model: Option<String>,
    /// So many at most.
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 20)]
    pub limit: usize,
    /// Which service.
    #[command(flatten)]
    pub remote: Remote,
}

/// Carries the command out.
///
/// # Errors
/// With what went wrong, for people.
pub fn run(args: &ListArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let client = args.remote.client()?;
    remote::block_on(async {
        let found = read(&client, args).await?;
        if args.remote.json {
            found.iter().try_for_each(|one| out::json(out, one))?;
        } else {
            let rows: Vec<_> = found.iter().map(row).collect();
            out::table(out, ["ID", "STATUS", "MODEL", "PROVIDER", "CREATED", "ERROR"], &rows)?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

async fn read(client: &Client, args: &ListArgs) -> Result<Vec<Value>, Failure> {
    let (mut found, mut cursor) = (Vec::new(), None::<String>);
    while found.len() < args.limit {
        let mut query = Serializer::new(String::new());
        query.append_pair("limit", &(args.limit - found.len()).min(PAGE).to_string());
        for (name, value) in [("status", &args.status), ("provider", &args.provider), ("model", &args.model), ("cursor", &cursor)]
        {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        let page = client.fetch(&format!("/api/external/generation?{}", query.finish())).await?.body;
        found.extend(shown::list(&page, "data").iter().cloned());
        cursor = page.get("nextCursor").and_then(Value::as_str).map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    Ok(found)
}

fn row(one: &Value) -> [String; 6] {
    let error = one.get("error").unwrap_or(&Value::Null);
    [
        shown::text(one, "id").to_owned(),
        shown::text(one, "status").to_owned(),
        shown::text(one, "modelIdentifier").to_owned(),
        shown::text(one, "provider").to_owned(),
        shown::text(one, "createdAt").to_owned(),
        shown::text(error, "code").to_owned(),
    ]
}

//! `longtake spool merge`: brings evidence that a dead host could not write into the database.

use std::io::Write;

use anyhow::{Context, bail};
use serde_json::json;
use tokio::runtime::Builder;

use crate::{
    cli::{SpoolCommand, out},
    clock::Clock,
    config::load,
    lifeline::Lifeline,
    store::{
        Store,
        spool::{Merged, merge_folder},
    },
};

/// Carries a command out.
///
/// # Errors
/// With what went wrong, for people; what was not merged stays.
pub fn run(command: SpoolCommand, out: &mut dyn Write) -> anyhow::Result<()> {
    let SpoolCommand::Merge { dir, json, file } = command;
    if !dir.is_dir() {
        bail!("{} is no folder", dir.display());
    }
    let config = load::load(file.config.as_deref())?;
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().context("no runtime")?;
    let merged = runtime.block_on(async {
        let opened = Store::open_beside(&config.store, &config.data_dir, Clock::System, runtime.handle()).await;
        let store = opened.context("the database cannot be opened")?;
        let merged = merge_folder(&dir, (&store.journal(&Lifeline::default()), &store.reads())).await;
        store.close().await;
        merged.with_context(|| format!("{} cannot be merged; what is left of it stays", dir.display()))
    })?;
    if json { Ok(out::json(out, &described(&merged))?) } else { Ok(told(out, &merged)?) }
}

fn described(merged: &Merged) -> serde_json::Value {
    json!({
        "files": merged.files,
        "inUse": merged.in_use,
        "recorded": merged.recorded,
        "known": merged.known,
        "conflicts": merged.conflicts,
        "refused": merged.refused,
        "damaged": merged.damaged,
        "torn": merged.torn,
        "attempts": merged.attempts,
    })
}

fn told(out: &mut dyn Write, merged: &Merged) -> std::io::Result<()> {
    writeln!(out, "{} files: {} receipts recorded, {} were known", merged.files, merged.recorded, merged.known)?;
    for (count, what) in [
        (merged.conflicts, "of a provider task that another attempt holds: somebody must look"),
        (merged.refused, "of attempts that this database does not know; their file is set aside (.aside)"),
        (merged.damaged, "damaged lines; their file is set aside (.aside)"),
        (merged.torn, "unfinished last lines, which were never acknowledged"),
        (merged.in_use, "files left alone: their process lives"),
    ] {
        if count > 0 {
            writeln!(out, "{count} {what}")?;
        }
    }
    Ok(())
}

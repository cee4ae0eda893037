//! `longtake projects …`: short commands on the database, also beside a running server.

use std::io::Write;

use serde_json::{Value, json};

use crate::{
    cli::{
        ProjectsCommand,
        keys::{beside, limit_text},
        out,
    },
    intake::keys,
    store::Project,
};

/// Carries a command out.
///
/// # Errors
/// With what went wrong, for people.
pub fn run(command: ProjectsCommand, out: &mut dyn Write) -> anyhow::Result<()> {
    match command {
        ProjectsCommand::Create { name, json, file } => {
            let project = beside(&file, async |store| Ok(keys::create_project(&store.keys(), &name).await?))?;
            if json {
                return Ok(out::json(out, &described(&project))?);
            }
            Ok(writeln!(out, "{}  {}", project.id, project.name)?)
        }
        ProjectsCommand::SetLimit { name, limit, file } => {
            beside(&file, async |store| Ok(keys::limit_project(&store.keys(), &name, limit.0).await?))?;
            Ok(writeln!(out, "{name}: {}", limit_text(limit.0))?)
        }
        ProjectsCommand::List { json, file } => {
            let projects = beside(&file, async |store| Ok(store.keys().projects().await?))?;
            if json {
                return Ok(out::json(out, &Value::Array(projects.iter().map(described).collect()))?);
            }
            let row = |project: &Project| [project.id.to_string(), project.name.clone(), project.created_at.rfc3339()];
            Ok(out::table(out, ["ID", "NAME", "CREATED"], &projects.iter().map(row).collect::<Vec<_>>())?)
        }
    }
}

fn described(project: &Project) -> Value {
    json!({"id": project.id, "name": project.name, "createdAt": project.created_at, "dailyLimit": project.daily_limit})
}

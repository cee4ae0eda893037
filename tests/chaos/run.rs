//! One run: a seed on a database. Faults for a while, then calm until everything has come to rest, then the verdict.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    api::{Api, Looked, Posted},
    bed::Bed,
    drive::{Clients, terminal},
    judge::{Facts, Violation, Wait, judge},
    postgres::Postgres,
    schedule::{Counts, Database, Schedule},
    strikes,
    world::World,
};

/// How long everything may take to come to rest after the faults: the longest deadline of the settings is 8 s, a held message arrives
/// up to 5 s late, and the machine may be busy. Reaching it is a violation, not a flaw of the run.
const REST: Duration = Duration::from_secs(60);

/// How long the quiet wait takes at most before it is given up, and half of it is watched; its generations run for three seconds.
const QUIET: Duration = Duration::from_millis(1_500);

/// Between two looks whether it has.
const LOOK: Duration = Duration::from_millis(300);

/// Fewest acknowledged generations of a run that counts.
const LEAST: usize = 20;

/// What came of a run.
pub struct Outcome {
    pub seed: u64,
    pub database: Database,
    pub violations: Vec<Violation>,
    pub counts: Counts,
    pub promised: usize,
    pub accepted_by_providers: usize,
    pub own_ends: u64,
    pub starts: u64,
    pub at_risk: usize,
    /// Polls seen while nothing else went on; 0: that look did not come about.
    pub quiet_polls: u64,
    pub took: Duration,
    pub folder: PathBuf,
}

impl Outcome {
    /// Too little was accepted for the faults to mean much: a machine too slow, or a service that was hardly up. It proves nothing, and
    /// is not counted.
    pub fn hollow(&self) -> bool {
        self.promised < LEAST
    }

    pub fn faults(&self) -> u64 {
        self.counts.values().sum()
    }
}

/// Runs a schedule. `sabotage` breaks the service on purpose.
///
/// # Errors
/// When the run itself did not work: nothing is then known about the service.
pub async fn run(
    schedule: Schedule,
    postgres: Option<Arc<Postgres>>,
    folder: &Path,
    sabotage: Option<&str>,
) -> anyhow::Result<Outcome> {
    let started = Instant::now();
    let (seed, database) = (schedule.recipe.seed, schedule.recipe.database);
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("schedule.txt"), schedule.to_string())?;
    let world = World::new(schedule, folder)?;
    let bed = Bed::start(&world, postgres.as_deref(), sabotage).await?;
    let facts = storm_and_rest(&bed, postgres).await;
    // Whatever came of it, nothing of it may run beside the next.
    bed.end().await;
    let facts = facts?;
    let violations = judge(&facts);
    for violation in &violations {
        world.log(format_args!("VIOLATION {violation}"));
    }
    let at_risk = facts.shown.values().flat_map(crate::judge::attempts).filter(crate::judge::Attempt::at_risk).count();
    let node = bed.node.lock().await;
    Ok(Outcome {
        seed,
        database,
        violations,
        counts: world.counts(),
        promised: facts.memory.promised.len(),
        accepted_by_providers: facts.ledger.len(),
        own_ends: node.own_ends,
        starts: node.starts,
        at_risk,
        quiet_polls: facts.wait.polls,
        took: started.elapsed(),
        folder: folder.to_owned(),
    })
}

async fn storm_and_rest(bed: &Arc<Bed>, postgres: Option<Arc<Postgres>>) -> anyhow::Result<Facts> {
    let client = Api::new(bed.inbound.url(), bed.client_key.clone())?;
    let admin = Api::new(bed.inbound.url(), bed.admin_key.clone())?;
    let clients = Clients::default();
    let storm = async {
        tokio::join!(clients.ask_all(bed, &client), strikes::all(bed, postgres));
        bed.calm().await
    };
    let (calmed, ()) = tokio::join!(storm, clients.watch(bed, &client));
    calmed?;
    bed.world.log("calm");
    rest(bed, (&client, &admin), &clients).await
}

/// Waits until every generation has ended and no attempt is under way, watches a quiet wait, then collects everything.
async fn rest(bed: &Bed, (client, admin): (&Api, &Api), clients: &Clients) -> anyhow::Result<Facts> {
    quiet(bed, client).await?;
    let wait = wait(bed, (client, admin)).await?;
    let (shown, ledger) = quiet(bed, client).await?;
    let mut facts = Facts { ledger, wait, ..Facts::default() };
    for view in shown {
        let id = view["id"].as_str().context("a view without an id")?.to_owned();
        clients.saw(&id, &view);
        facts.histories.insert(id.clone(), client.history(&id).await?);
        facts.books.insert(id.clone(), admin.books(&id).await?);
        for file in ["results", "lateResults"].iter().flat_map(|list| view[*list].as_array().into_iter().flatten()) {
            let url = file["url"].as_str().unwrap_or_default().to_owned();
            let fetched = client.bytes(&url).await.map(|bytes| digest(&bytes)).map_err(|error| format!("{error:#}"));
            facts.fetched.insert(url, fetched);
        }
        facts.shown.insert(id, view);
    }
    facts.report = admin.spend().await?;
    for id in clients.promised().iter().filter(|id| !facts.shown.contains_key(*id)) {
        clients.look(client, id).await;
    }
    facts.memory = clients.take();
    facts.acknowledged = bed.world.acknowledged();
    facts.forged = bed.world.forged();
    facts.answered = bed.world.answered();
    Ok(facts)
}

/// Waits until nothing moves any more, or the time for that is over.
async fn quiet(bed: &Bed, client: &Api) -> anyhow::Result<(Vec<Value>, Vec<Value>)> {
    let until = Instant::now() + REST;
    loop {
        match (client.all().await, client.ledger(&bed.sandbox_url()).await) {
            (Ok(shown), Ok(ledger)) => {
                let rests = shown.iter().all(at_rest) && ledger.iter().all(|entry| entry["outcome"] != "pending");
                if rests || Instant::now() >= until {
                    return Ok((shown, ledger));
                }
            }
            (Err(error), _) | (_, Err(error)) => {
                anyhow::ensure!(Instant::now() < until, "the service cannot be read in the calm: {error:#}");
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Some more generations, without faults: between the moment when all are running and the end of the first, polls are all that goes on.
async fn wait(bed: &Bed, (client, admin): (&Api, &Api)) -> anyhow::Result<Wait> {
    let mut ids = Vec::new();
    for model in ["kling-2.6", "pollo-2.5", "flux-2-pro"] {
        let prompt = format!("quiet {} [[sim slow=3000]]", bed.world.schedule.recipe.seed);
        let body = json!({ "modelIdentifier": model, "prompt": format!("{prompt} {model}") });
        match client.post(&body).await {
            Posted::Accepted(id) => ids.push(id),
            Posted::Refused(_) | Posted::Unknown => return Ok(Wait::default()),
        }
    }
    for id in &ids {
        let until = Instant::now() + QUIET;
        while !matches!(client.look(id).await, Looked::Shown(shown) if shown["stage"] == "running") {
            if Instant::now() >= until {
                // The machine is too slow for this look today; the rest of the verdict stands.
                return Ok(Wait::default());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let before = counters(&admin.metrics().await?);
    tokio::time::sleep(QUIET / 2).await;
    let after = counters(&admin.metrics().await?);
    let mut still = true;
    for id in &ids {
        still &= matches!(client.look(id).await, Looked::Shown(shown) if shown["stage"] == "running");
    }
    let counted = Wait { commits: after.commits - before.commits, polls: after.polls - before.polls };
    Ok(if still { counted } else { Wait::default() })
}

/// Whether nothing more will happen to it.
fn at_rest(shown: &Value) -> bool {
    let under_way =
        |attempt: &Value| matches!(attempt["state"].as_str(), Some("submitting" | "unconfirmed" | "running" | "storing"));
    terminal(shown) && !shown["attempts"].as_array().into_iter().flatten().any(under_way)
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn counters(metrics: &str) -> Wait {
    let count = |name: &str| {
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.and_then(|value| value.parse().ok()).unwrap_or(0)
    };
    Wait { commits: count("longtake_store_commits_total"), polls: count("longtake_polls_total") }
}

//! One run: a seed on a database. Faults for a while, then calm until everything has come to rest, then the verdict.

use std::{
    collections::BTreeSet,
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
    judge::{Facts, Secrets, Violation, Wait, judge, micros, text, told::ENDPOINT},
    operators::Operators,
    postgres::Postgres,
    schedule::{Counts, Database, Schedule},
    stream::Listener,
    strikes,
    world::World,
};

/// How long everything may take to come to rest after the faults: the longest deadline of the settings is 8 s, a held message arrives
/// up to 5 s late, a batch goes line after line, and the machine may be busy. Reaching it is a violation, not a flaw of the run.
pub const REST: Duration = Duration::from_secs(120);

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
    pub batches: usize,
    /// Answers that repeat an earlier one, by idempotency key.
    pub replayed: u64,
    /// Events of the stream, and webhooks that arrived, each try.
    pub events: usize,
    pub webhooks: usize,
    pub accepted_by_providers: usize,
    pub own_ends: u64,
    pub starts: u64,
    pub at_risk: usize,
    /// Their money, in millionths, and the age of the oldest: as the operators' list says.
    pub risked: u64,
    pub oldest_s: u64,
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
    let node = bed.node.lock().await;
    Ok(Outcome {
        seed,
        database,
        violations,
        counts: world.counts(),
        promised: facts.memory.promised.len(),
        batches: facts.batches.len(),
        replayed: facts.memory.asked.values().map(|asked| asked.replayed).sum(),
        events: facts.streamed.events.len(),
        webhooks: facts.received.len(),
        accepted_by_providers: facts.ledger.len(),
        own_ends: node.own_ends,
        starts: node.starts,
        at_risk: facts.doubts.len(),
        risked: facts.doubts.iter().filter_map(|doubt| micros(text(&doubt["atRisk"]))).sum(),
        oldest_s: facts.doubts.iter().filter_map(|doubt| doubt["ageSeconds"].as_u64()).max().unwrap_or(0),
        quiet_polls: facts.wait.polls,
        took: started.elapsed(),
        folder: folder.to_owned(),
    })
}

/// All who look at a run from outside.
#[derive(Clone)]
struct Outside {
    client: Api,
    admin: Api,
    clients: Clients,
    operators: Operators,
    listener: Listener,
    secrets: Secrets,
}

impl Outside {
    /// The same when nothing is in the way any more.
    fn patient(&self) -> anyhow::Result<Self> {
        let (client, admin, operators) = (self.client.patient()?, self.admin.patient()?, self.operators.patient()?);
        Ok(Self { client, admin, operators, ..self.clone() })
    }
}

async fn storm_and_rest(bed: &Arc<Bed>, postgres: Option<Arc<Postgres>>) -> anyhow::Result<Facts> {
    let client = Api::new(bed.inbound.url(), bed.client_key.clone())?;
    let admin = Api::new(bed.inbound.url(), bed.admin_key.clone())?;
    let clients = Clients::default();
    let operators = Operators::new(&admin, &client, &clients);
    let secrets = secrets(bed).await?;
    let outside = Outside { client, admin, clients, operators, listener: Listener::default(), secrets };
    let run = async {
        let facts = faults(bed, postgres, &outside).await;
        // Whatever came of it: the listener waits for this.
        outside.listener.end();
        facts
    };
    let (facts, listened) = tokio::join!(run, outside.listener.listen(bed));
    listened?;
    facts
}

async fn faults(bed: &Arc<Bed>, postgres: Option<Arc<Postgres>>, outside: &Outside) -> anyhow::Result<Facts> {
    let Outside { client, clients, operators, .. } = outside;
    let storm = async {
        tokio::join!(clients.ask_all(bed, client), clients.ask_batches(bed, client), strikes::all(bed, postgres));
        bed.calm().await
    };
    let (calmed, (), ()) = tokio::join!(storm, clients.watch(bed, client), operators.work(bed));
    calmed?;
    bed.world.log("calm");
    rest(bed, &outside.patient()?).await
}

/// Where the clients want to be told, said past the proxy: nothing of this may be cut.
async fn secrets(bed: &Bed) -> anyhow::Result<Secrets> {
    let (url, until) = (format!("{}{ENDPOINT}", bed.receiver.url()), Instant::now() + REST);
    loop {
        let address = bed.inbound.upstream().context("the service is not there")?;
        let client = Api::new(format!("http://{address}"), bed.client_key.clone())?.patient()?;
        match client.endpoint(&url).await {
            Ok(endpoint) => return Ok(Secrets { endpoint, project: client.secret().await? }),
            Err(error) => anyhow::ensure!(Instant::now() < until, "no endpoint is taken: {error:#}"),
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Waits until every generation and batch has ended and no attempt is under way, lets clients and operators close their books, watches a
/// quiet wait, then collects everything.
async fn rest(bed: &Bed, outside: &Outside) -> anyhow::Result<Facts> {
    let Outside { client, admin, clients, operators, .. } = outside;
    quiet(bed, outside).await?;
    operators.close(bed).await?;
    quiet(bed, outside).await?;
    let wait = if bed.world.schedule.recipe.quiet { wait(bed, (client, admin)).await? } else { Wait::default() };
    quiet(bed, outside).await?;
    clients.look_at_batches(bed, client).await;
    let (shown, ledger) = (client.all().await?, client.ledger(&bed.sandbox_url()).await?);
    let mut facts = Facts { ledger, wait, doubts: admin.doubts().await?, ..Facts::default() };
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
    for batch in client.batches().await? {
        let id = text(&batch["batchId"]).to_owned();
        facts.batches.insert(id.clone(), client.batch(&id).await?);
        facts.tasks.insert(id.clone(), client.tasks(&id).await?);
    }
    facts.stored = bed.stored()?;
    facts.report = admin.spend().await?;
    for id in clients.promised().iter().filter(|id| !facts.shown.contains_key(*id)) {
        clients.look(client, id).await;
    }
    facts.deliveries = client.deliveries().await?;
    told_all(bed, outside, &facts).await;
    facts.streamed = outside.listener.heard();
    facts.received = bed.receiver.received();
    facts.receiver = bed.receiver.url();
    facts.secrets = outside.secrets.clone();
    facts.memory = clients.take();
    facts.acknowledged = bed.world.acknowledged();
    facts.forged = bed.world.forged();
    facts.answered = bed.world.answered();
    facts.decided = operators.decided();
    facts.took_s = bed.world.now_ms() / 1_000;
    facts.seed = bed.world.schedule.recipe.seed;
    facts.asks = bed.world.schedule.batches.clone();
    Ok(facts)
}

/// Waits until the stream has told the end of everything that has ended, or the time for that is over.
async fn told_all(bed: &Bed, outside: &Outside, facts: &Facts) {
    let until = Instant::now() + bed.world.schedule.recipe.rest;
    loop {
        let heard = outside.listener.heard();
        let ended: BTreeSet<&str> = heard.events.iter().map(|event| text(&event.data["data"]["id"])).collect();
        let steps = |id: &String| {
            let history = facts.histories.get(id).and_then(|history| history["data"].as_array());
            history.map_or(0, |steps| steps.iter().filter(|step| step["attempt"] == 0 && !step["from"].is_null()).count())
        };
        let expected: usize = facts.shown.keys().map(steps).sum();
        let all = facts.shown.keys().chain(facts.batches.keys()).all(|id| ended.contains(id.as_str()));
        if all && heard.events.len() >= expected || Instant::now() >= until {
            bed.world.log(format_args!("{} events heard", heard.events.len()));
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Waits until nothing moves any more, or the time for that is over: then the judge finds what does.
async fn quiet(bed: &Bed, outside: &Outside) -> anyhow::Result<()> {
    let until = Instant::now() + bed.world.schedule.recipe.rest;
    loop {
        match rests(bed, &outside.client).await {
            // Its budget may be used up only now.
            Ok(false) if Instant::now() < until => drop(outside.clients.close_batches(bed, &outside.client).await),
            Ok(_) => return Ok(()),
            Err(error) => anyhow::ensure!(Instant::now() < until, "the service cannot be read in the calm: {error:#}"),
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Whether every generation and batch has ended, no attempt is under way, and everybody was told.
async fn rests(bed: &Bed, client: &Api) -> anyhow::Result<bool> {
    // Lists first: single views of everything cost more than the service has to do meanwhile.
    let ended = client.list().await?.iter().all(terminal)
        && client.batches().await?.iter().all(|batch| batch["progress"] == 100 && batch["status"] != "PROCESSING")
        && client.deliveries().await?.iter().all(|delivery| delivery["status"] != "pending");
    let done = ended && client.ledger(&bed.sandbox_url()).await?.iter().all(|entry| entry["outcome"] != "pending");
    Ok(done && client.all().await?.iter().all(at_rest))
}

/// Some more generations, without faults: between the moment when all are running and the end of the first, polls are all that goes on.
async fn wait(bed: &Bed, (client, admin): (&Api, &Api)) -> anyhow::Result<Wait> {
    let mut ids = Vec::new();
    for model in ["kling-2.6", "pollo-2.5", "flux-2-pro"] {
        let prompt = format!("quiet {} [[sim slow=3000]]", bed.world.schedule.recipe.seed);
        let body = json!({ "modelIdentifier": model, "prompt": format!("{prompt} {model}") });
        match client.post(&body).await {
            Posted::Accepted(id) => ids.push(id),
            Posted::Unknown => return Ok(Wait::default()),
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

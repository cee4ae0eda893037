//! What the cases need: a fresh database, rows to write, a second way into the database.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    sync::{Arc, Once},
    time::Duration,
};

use longtake::{
    clock::{Clock, ManualClock},
    config::store::StoreConfig,
    domain::{
        attempt::AttemptState,
        generation::{GenerationState, Progress},
        id::{AssetId, AttemptId, GenerationId, KeyId, NodeId, ProjectId},
        limits::Limits,
        money::Micros,
        record::{Asset, AssetState, Attempt, Endpoint, Event, Generation, GenerationRequest, Handle, History, Kind},
        slots::{Slot, Slots},
        time::Timestamp,
        unconfirmed::OnUnconfirmed,
    },
    lifeline::Lifeline,
    store::{Birth, Evidence, Guard, Journal, NewAttempt, Store, StoreError, Transition},
};
use sqlx::{Connection as _, PgConnection, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::runtime::Handle as Runtime;

pub const NOW: Timestamp = Timestamp(1_780_000_000_000);

/// A fresh database.
pub struct Bed {
    pub config: StoreConfig,
    pub folder: tempfile::TempDir,
    server: Option<(String, String)>,
}

impl Bed {
    pub fn sqlite() -> Self {
        Self { config: limits("sqlite".to_owned()), folder: tempfile::tempdir().unwrap(), server: None }
    }

    /// A fresh database on the server that the environment names; says so when there is none.
    pub async fn postgres() -> Option<Self> {
        let Ok(server) = std::env::var("LONGTAKE_TEST_POSTGRES") else {
            SAY_ONCE.call_once(say_skipped);
            return None;
        };
        let name = format!("longtake_{}", GenerationId::fresh());
        let mut admin = PgConnection::connect(&server).await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut admin).await.unwrap();
        let mut url = url::Url::parse(&server).unwrap();
        url.set_path(&name);
        let config = limits(url.to_string());
        Some(Self { config, folder: tempfile::tempdir().unwrap(), server: Some((server, name)) })
    }

    pub async fn drop_all(self) {
        if let Some((server, name)) = self.server {
            let mut admin = PgConnection::connect(&server).await.unwrap();
            let drop = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
            sqlx::raw_sql(sqlx::AssertSqlSafe(drop)).execute(&mut admin).await.unwrap();
        }
    }

    pub const fn is_postgres(&self) -> bool {
        self.server.is_some()
    }

    pub fn clock() -> Clock {
        Clock::Manual(ManualClock::at(NOW))
    }

    pub async fn try_open(&self) -> Result<Store, StoreError> {
        Store::open(&self.config, self.folder.path(), NodeId::fresh(), Self::clock(), &Runtime::current()).await
    }

    pub async fn open(&self) -> Store {
        self.try_open().await.unwrap()
    }

    /// Opens as soon as the one before has let go of its lock.
    pub async fn open_again(&self) -> Store {
        let opening = async {
            loop {
                match self.try_open().await {
                    Ok(store) => return store,
                    Err(StoreError::Locked { .. }) => tokio::time::sleep(Duration::from_millis(10)).await,
                    Err(error) => panic!("{error:?}"),
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(30), opening).await.expect("the lock is released in the end")
    }

    pub async fn open_beside(&self) -> Store {
        Store::open_beside(&self.config, self.folder.path(), Self::clock(), &Runtime::current()).await.unwrap()
    }

    pub fn file(&self) -> PathBuf {
        self.folder.path().join("longtake.db")
    }

    /// Runs a statement behind the store's back.
    pub async fn meddle(&self, sql: &str) {
        let sql = sqlx::AssertSqlSafe(sql.to_owned());
        if self.is_postgres() {
            let mut connection = PgConnection::connect(&self.config.url).await.unwrap();
            sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
        } else {
            let options = SqliteConnectOptions::new().filename(self.file()).busy_timeout(Duration::from_secs(10));
            let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
            sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
        }
    }

    /// Cuts the database off from writing until [`Away`] ends: another connection holds SQLite's write lock; on PostgreSQL every session
    /// is ended and no new one let in.
    pub async fn cut_off(&self) -> Away {
        if let Some((server, name)) = &self.server {
            let mut admin = PgConnection::connect(server).await.unwrap();
            let text = format!(
                "ALTER DATABASE {name} ALLOW_CONNECTIONS false;
                 SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
            );
            sqlx::raw_sql(sqlx::AssertSqlSafe(text)).execute(&mut admin).await.unwrap();
            Away::Postgres(admin, name.clone())
        } else {
            let options = SqliteConnectOptions::new().filename(self.file()).busy_timeout(Duration::from_secs(10));
            let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
            sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut connection).await.unwrap();
            Away::Sqlite(connection)
        }
    }

    /// One number, read behind the store's back.
    pub async fn number(&self, sql: &str) -> i64 {
        if self.is_postgres() {
            let mut connection = PgConnection::connect(&self.config.url).await.unwrap();
            sqlx::query_scalar(sqlx::AssertSqlSafe(sql.to_owned())).fetch_one(&mut connection).await.unwrap()
        } else {
            number(&self.file(), sql).await
        }
    }

    /// An id as a literal of this database.
    pub fn literal(&self, id: GenerationId) -> String {
        let hex = id.0.simple();
        if self.is_postgres() { format!("'{hex}'") } else { format!("x'{hex}'") }
    }
}

/// A database that is cut off.
pub enum Away {
    Sqlite(SqliteConnection),
    Postgres(PgConnection, String),
}

impl Away {
    /// Lets it come back.
    pub async fn end(self) {
        match self {
            Self::Sqlite(mut connection) => drop(sqlx::raw_sql("ROLLBACK").execute(&mut connection).await.unwrap()),
            Self::Postgres(mut admin, name) => {
                let text = format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true");
                sqlx::raw_sql(sqlx::AssertSqlSafe(text)).execute(&mut admin).await.unwrap();
            }
        }
    }
}

static SAY_ONCE: Once = Once::new();

#[expect(clippy::explicit_write, reason = "past the test harness, which swallows what a passing test prints")]
fn say_skipped() {
    let text = "SKIPPED: the store's tests on PostgreSQL, since LONGTAKE_TEST_POSTGRES is not set (scripts/services start)";
    writeln!(std::io::stderr(), "{text}").unwrap();
}

/// Generous limits: the machine may be busy, and no test is about slowness.
fn limits(url: String) -> StoreConfig {
    // Without a memory: the cases are about what the database holds.
    StoreConfig { url, recent: 0, read_timeout_ms: 20_000, write_timeout_ms: 20_000, ..StoreConfig::default() }
}

/// One number of a SQLite file, read behind the store's back.
pub async fn number(file: &Path, sql: &str) -> i64 {
    let mut connection = SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(file)).await.unwrap();
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql.to_owned())).fetch_one(&mut connection).await.unwrap()
}

pub fn journal(store: &Store) -> Journal {
    store.journal(&Lifeline::default())
}

pub fn generation(project: ProjectId) -> Generation {
    Generation {
        id: GenerationId::fresh(),
        shard: 17,
        project,
        key: KeyId::fresh(),
        version: 0,
        progress: Progress { state: GenerationState::Queued, slots: Slots::owed(2, 1), not_before: NOW, tries: 0 },
        born_state: GenerationState::Queued,
        outputs: 2,
        per_call: 1,
        provider: "kling".into(),
        model: "kling-v2".into(),
        kind: Kind::Video,
        priority: 5,
        call_price: Micros(350_000),
        queue_deadline: NOW.plus(Duration::from_secs(3600)),
        created_at: NOW,
        updated_at: NOW,
        ended_at: None,
        cancel_requested_at: None,
        failure: None,
        request_id: Arc::from("req"),
        on_unconfirmed: OnUnconfirmed::Fail,
        batch: None,
        retry_of: None,
        replaced_by: None,
    }
}

pub fn request() -> GenerationRequest {
    GenerationRequest {
        prompt: "a lighthouse, \"quoted\", with \\ and \u{0} and 🌊".to_owned(),
        input_images: vec!["https://example.com/a.png".to_owned()],
        number_of_outputs: 2,
        parameters: serde_json::from_str(r#"{"duration":5,"nested":{"a":[1,null]}}"#).unwrap(),
        user_id: None,
        metadata: None,
        webhook_url: None,
    }
}

pub fn birth(generation: &Generation) -> Birth {
    Birth { generation: generation.clone(), request: request(), limits: Limits::default(), depends_on: Vec::new(), claim: None }
}

/// Writes a generation and answers it.
pub async fn born(journal: &Journal) -> Generation {
    let generation = generation(ProjectId::fresh());
    journal.birth(birth(&generation)).await.unwrap();
    generation
}

pub fn attempt(generation: &Generation, n: u16) -> Attempt {
    Attempt {
        id: AttemptId::fresh(),
        generation: generation.id,
        n,
        shard: generation.shard,
        version: 0,
        state: AttemptState::Submitting,
        slot: n - 1,
        first_output: n - 1,
        output_count: 1,
        provider: generation.provider.clone(),
        account: "main".into(),
        kind: generation.kind,
        model: generation.model.clone(),
        endpoint: Endpoint {
            base_url: "https://api.example.com".to_owned(),
            path_family: "legacy/text2video".to_owned(),
            upstream: "kling-v2-master".to_owned(),
            options: [("relay".to_owned(), "true".to_owned())].into(),
        },
        tag: format!("tag-{n}"),
        request_digest: "ab".repeat(32),
        not_after: NOW.plus(Duration::from_secs(5)),
        handle: None,
        created_at: NOW,
        submitted_at: None,
        unconfirmed_since: None,
        updated_at: NOW,
        ended_at: None,
        price: Micros(350_000),
        cost: None,
        charged: false,
        failure: None,
        lost_at: None,
        released_at: None,
    }
}

pub fn asset(attempt: &Attempt, idx: u16) -> Asset {
    Asset {
        id: AssetId::fresh(),
        generation: attempt.generation,
        attempt: attempt.id,
        idx,
        shard: attempt.shard,
        version: 0,
        state: AssetState::Pending,
        kind: Kind::Video,
        source_url: Some("https://cdn.example.com/a.mp4?sig=1".to_owned()),
        staged_key: None,
        expires_at: Some(NOW.plus(Duration::from_secs(3600))),
        storage_key: None,
        content_type: None,
        width: None,
        height: None,
        duration_ms: None,
        bytes: None,
        sha256: None,
        failure: None,
    }
}

pub fn said(generation: &Generation, attempt: u16, from: &'static str, to: &'static str) -> History {
    History { generation: generation.id, attempt, from, to, reason: format!("{from} to {to}"), at: NOW }
}

pub fn event(generation: &Generation, kind: &'static str) -> Event {
    Event { generation: generation.id, batch: None, project: generation.project, kind, at: NOW }
}

/// The intent of slot `n - 1`: the slot opens, an attempt is born.
pub fn intent(generation: &Generation, n: u16) -> (Transition, Attempt) {
    let attempt = attempt(generation, n);
    let mut changed = generation.clone();
    changed.progress.slots = changed.progress.slots.with(n - 1, Slot::Open);
    let mut entry = Transition::of(generation);
    entry.history = vec![said(generation, n, "new", "submitting")];
    entry.generation = Some(changed);
    entry.new_attempts = vec![NewAttempt { attempt: attempt.clone(), request: serde_json::json!({"url": "https://x", "n": n}) }];
    entry.guard = Guard::Intent;
    (entry, attempt)
}

/// A transition that only moves `not_before`, with a history row.
pub fn nudge(generation: &Generation, by: u64) -> Transition {
    let mut changed = generation.clone();
    changed.progress.not_before = NOW.plus(Duration::from_millis(by));
    Transition { generation: Some(changed), history: vec![said(generation, 0, "queued", "queued")], ..Transition::of(generation) }
}

pub fn learned(attempt: &Attempt, task: &str) -> Evidence {
    Evidence {
        attempt: attempt.id,
        generation: attempt.generation,
        account: "kling/main".to_owned(),
        handle: Handle { task_id: task.to_owned(), poll_url: Some("https://poll.example.com/1".to_owned()) },
        source: "answer",
        at: NOW,
    }
}

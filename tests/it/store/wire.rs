//! What breaks on the way to the database: lost answers, lost sessions, a lost lock. PostgreSQL only; SQLite has no way that could
//! break. A small proxy between store and server cuts the connection at a COMMIT, before or after the server has seen it.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use longtake::store::{EvidenceVerdict, StoreError, Verdict};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::bed::{Bed, attempt, born, generation, intent, journal, learned, nudge};

const PASS: u8 = 0;
/// The server never sees the COMMIT.
const CUT_BEFORE: u8 = 1;
/// The server commits; its answer is lost.
const CUT_AFTER: u8 = 2;

/// What comes next from a client, whatever it is, goes nowhere, and neither does anything after it on that connection.
const SWALLOW: u8 = 3;

/// What the proxy does at the next COMMIT; then it passes again.
#[derive(Clone, Default)]
struct Proxy {
    next: Arc<AtomicU8>,
}

impl Proxy {
    /// Puts itself between the bed's store and its server.
    async fn before(bed: &mut Bed) -> Self {
        let mut url = url::Url::parse(&bed.config.url).unwrap();
        let server = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        url.set_port(Some(listener.local_addr().unwrap().port())).unwrap();
        bed.config.url = url.into();
        let proxy = Self::default();
        let serving = proxy.clone();
        tokio::runtime::Handle::current().spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&server).await.unwrap();
                tokio::runtime::Handle::current().spawn(serving.clone().carry(client, server));
            }
        });
        proxy
    }

    fn at_the_next_commit(&self, what: u8) {
        self.next.store(what, Ordering::SeqCst);
    }

    fn done(&self) -> bool {
        self.next.load(Ordering::SeqCst) == PASS
    }

    /// Carries until either side ends; returning drops, and so closes, both.
    async fn carry(self, mut client: TcpStream, mut server: TcpStream) {
        let (mut up, mut down) = (vec![0; 65_536], vec![0; 65_536]);
        loop {
            tokio::select! {
                read = client.read(&mut up) => {
                    let Ok(length @ 1..) = read else { return };
                    if self.next.compare_exchange(SWALLOW, PASS, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                        std::future::pending::<()>().await;
                    }
                    let commit = up[..length].windows(7).any(|bytes| bytes == b"COMMIT\0");
                    let what = if commit { self.next.swap(PASS, Ordering::SeqCst) } else { PASS };
                    if what == CUT_BEFORE || server.write_all(&up[..length]).await.is_err() {
                        return;
                    }
                    if what == CUT_AFTER {
                        // The server's answer proves that it has committed.
                        let _answer = server.read(&mut down).await;
                        return;
                    }
                }
                read = server.read(&mut down) => {
                    let Ok(length @ 1..) = read else { return };
                    if client.write_all(&down[..length]).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_is_read_back_and_answered_truly() {
    let Some(mut bed) = Bed::postgres().await else { return };
    let proxy = Proxy::before(&mut bed).await;
    let store = bed.open().await;
    let writes = journal(&store);
    for what in [CUT_AFTER, CUT_BEFORE] {
        proxy.at_the_next_commit(what);
        let row = born(&writes).await;
        assert!(proxy.done(), "the birth went through the proxy");
        proxy.at_the_next_commit(what);
        let (entry, new) = intent(&row, 1);
        assert_eq!(writes.transition(entry).await.unwrap(), Verdict::Won);
        assert!(proxy.done());
        proxy.at_the_next_commit(what);
        assert_eq!(writes.evidence(learned(&new, &format!("task of {}", new.id))).await.unwrap(), EvidenceVerdict::Recorded);
        assert!(proxy.done());
        // Written exactly once, whichever side of the COMMIT was cut.
        let loaded = store.reads().load(row.id).await.unwrap().unwrap();
        assert_eq!((loaded.generation.version, loaded.attempts.len()), (1, 1));
        assert_eq!(store.reads().history(row.id).await.unwrap().len(), 1);
        assert_eq!(store.reads().evidence(new.id).await.unwrap().len(), 1);
    }
    assert_eq!(writes.counts().commits, 6);
    store.close().await;
    bed.drop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_callers_are_all_answered_truly_when_a_commit_is_cut() {
    let Some(mut bed) = Bed::postgres().await else { return };
    let proxy = Proxy::before(&mut bed).await;
    let store = bed.open().await;
    let writes = journal(&store);
    let rows = futures_util::future::join_all((0..100).map(|_| born(&writes))).await;
    for (what, version) in [(CUT_AFTER, 0), (CUT_BEFORE, 1)] {
        proxy.at_the_next_commit(what);
        let calls = rows.iter().map(|row| {
            let mut row = row.clone();
            row.version = version;
            writes.transition(nudge(&row, 1))
        });
        for verdict in futures_util::future::join_all(calls).await {
            assert_eq!(verdict.unwrap(), Verdict::Won);
        }
        assert!(proxy.done());
    }
    assert_eq!(bed.number("SELECT count(*) FROM generations WHERE version = 2").await, 100);
    assert_eq!(bed.number("SELECT count(*) FROM history").await, 200);
    store.close().await;
    bed.drop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_journal_and_the_readers_come_back_after_their_sessions_were_ended() {
    let Some(bed) = Bed::postgres().await else { return };
    let store = bed.open().await;
    let writes = journal(&store);
    let row = born(&writes).await;
    assert_eq!(writes.transition(nudge(&row, 1)).await.unwrap(), Verdict::Won);
    end_sessions(&bed, "application_name = 'longtake'").await;
    let again = generation(row.project);
    writes.birth(super::bed::birth(&again)).await.unwrap();
    assert_eq!(writes.transition(nudge(&again, 1)).await.unwrap(), Verdict::Won);
    assert_eq!(writes.evidence(learned(&attempt(&row, 1), "t")).await.unwrap(), EvidenceVerdict::Recorded);
    assert!(store.reads().generation(again.id).await.unwrap().is_some());
    store.close().await;
    bed.drop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_lock_is_taken_again_unless_another_server_was_faster() {
    let Some(bed) = Bed::postgres().await else { return };
    let store = bed.open().await;
    let held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    assert_eq!(bed.number(held).await, 1);
    let end_lock = "pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory')";
    let within = std::time::Duration::from_secs(30);
    let lost = store.lock_lost();
    tokio::pin!(lost);
    end_sessions(&bed, end_lock).await;
    let noticed = async {
        while store.trust_window() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await
        }
    };
    tokio::select! { () = &mut lost => panic!("nobody has taken over"), done = tokio::time::timeout(within, noticed) => done.unwrap() }
    let again = async {
        while !store.trust_window() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await
        }
    };
    tokio::select! { () = &mut lost => panic!("nobody has taken over"), done = tokio::time::timeout(within, again) => done.unwrap() }
    assert_eq!(bed.number(held).await, 1);
    assert!(matches!(bed.try_open().await, Err(StoreError::Locked { .. })));
    end_sessions(&bed, end_lock).await;
    let other = bed.open_again().await;
    tokio::time::timeout(within, lost).await.expect("the loss is noticed");
    assert!(!store.trust_window());
    other.close().await;
    store.close().await;
    bed.drop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_closes_although_somebody_stopped_waiting_in_the_middle_of_asking_for_its_lock() {
    let Some(mut bed) = Bed::postgres().await else { return };
    let proxy = Proxy::before(&mut bed).await;
    let store = bed.open().await;
    // Nothing else speaks to the server now, so the next bytes are the question.
    proxy.next.store(SWALLOW, Ordering::SeqCst);
    let lost = store.lock_lost();
    tokio::pin!(lost);
    while !proxy.done() {
        tokio::select! {
            () = &mut lost => panic!("an answer that is late is no loss yet"),
            () = tokio::time::sleep(std::time::Duration::from_millis(10)) => {}
        }
    }
    tokio::time::timeout(std::time::Duration::from_secs(30), store.close()).await.expect("it closes, polled or not");
    bed.drop_all().await;
}

async fn end_sessions(bed: &Bed, which: &str) {
    bed.meddle(&format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid() AND {which}"
    ))
    .await;
}

//! The outbox is read in the order of commits, on both databases.

use std::time::Duration;

use longtake::{
    domain::{event::EventId, id::ProjectId, record::Generation},
    store::{Journal, Reads, Topic, Transition, Verdict, reads::OutboxPage},
};
use sqlx::{Connection as _, PgConnection, Row as _};

use super::bed::{Bed, born, event, journal, nudge};

super::on_both! {
    pages_and_topics_tell_every_event_once_in_order;
    what_an_older_transaction_may_still_precede_is_held_back;
}

/// Commits an event of the generation; answers the row as it is then.
async fn tell(journal: &Journal, generation: &Generation, kind: &'static str) -> Generation {
    let entry = Transition { events: vec![event(generation, kind)], ..nudge(generation, 1) };
    assert_eq!(journal.transition(entry).await.unwrap(), Verdict::Won);
    Generation { version: generation.version + 1, ..generation.clone() }
}

/// A page that lacks nothing. On PostgreSQL transactions of other databases, which other tests have open, hold events back, too.
async fn settled(reads: &Reads, after: EventId, limit: u64) -> OutboxPage {
    let settled = async {
        loop {
            let page = reads.outbox(after, limit).await.unwrap();
            if !page.held_back {
                return page;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), settled).await.expect("older transactions end")
}

async fn pages_and_topics_tell_every_event_once_in_order(bed: &Bed) {
    let store = bed.open().await;
    let (journal, reads) = (journal(&store), store.reads());
    let (mut first, mut second) = (born(&journal).await, born(&journal).await);
    for _ in 0..6 {
        first = tell(&journal, &first, "generation.queued").await;
        second = tell(&journal, &second, "generation.processing").await;
    }
    let (mut all, mut after) = (Vec::new(), EventId::START);
    loop {
        let page = settled(&reads, after, 5).await;
        after = page.events.last().map_or(after, |event| event.id);
        all.extend(page.events);
        if !page.more {
            break;
        }
    }
    let order: Vec<_> = all.iter().map(|event| event.generation.unwrap()).collect();
    assert_eq!(order, [first.id, second.id].repeat(6));
    assert!(all.is_sorted_by(|a, b| a.id < b.id));
    let own: Vec<_> = all.iter().filter(|event| event.generation == Some(second.id)).cloned().collect();
    let topic = Topic::Generation(second.id);
    assert_eq!(reads.outbox_of(topic, (EventId::START, after)).await.unwrap().events, own);
    assert_eq!(reads.outbox_of(topic, (own[1].id, own[4].id)).await.unwrap().events, own[2..=4]);
    assert_eq!(reads.outbox_of(Topic::Project(second.project), (own[4].id, after)).await.unwrap().events, own[5..]);
    let nobody = Topic::Project(ProjectId::fresh());
    assert_eq!(reads.outbox_of(nobody, (EventId::START, after)).await.unwrap().events, []);
    store.close().await;
}

async fn what_an_older_transaction_may_still_precede_is_held_back(bed: &Bed) {
    let store = bed.open().await;
    let (journal, reads) = (journal(&store), store.reads());
    let generation = born(&journal).await;
    if !bed.is_postgres() {
        // One writer: whoever is first commits first.
        tell(&journal, &generation, "generation.queued").await;
        assert_eq!(reads.outbox(EventId::START, 10).await.unwrap().events.len(), 1);
        return store.close().await;
    }
    let mut older = PgConnection::connect(&bed.config.url).await.unwrap();
    let begin = "BEGIN; INSERT INTO events (generation_id, project_id, kind, at)
        VALUES ('00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-000000000002', 'generation.failed', 1)";
    sqlx::raw_sql(begin).execute(&mut older).await.unwrap();
    let txid: String = sqlx::query("SELECT pg_current_xact_id()::text").fetch_one(&mut older).await.unwrap().get(0);
    tell(&journal, &generation, "generation.queued").await;
    let page = reads.outbox(EventId::START, 10).await.unwrap();
    assert!(page.events.is_empty() && page.held_back, "the older one may still commit: {page:?}");
    sqlx::raw_sql("COMMIT").execute(&mut older).await.unwrap();
    let page = settled(&reads, EventId::START, 10).await;
    let kinds: Vec<_> = page.events.iter().map(|event| &*event.kind).collect();
    assert_eq!(kinds, ["generation.failed", "generation.queued"]);
    assert_eq!(page.events[0].id.txid.to_string(), txid);
    store.close().await;
}

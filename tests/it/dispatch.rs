//! The real dispatcher over a real store; the test takes the place of the adapter actor. The clock stands still: after its first sweep
//! the dispatcher acts on wakes alone.

mod batches;
mod desk;

use desk::Desk;
use longtake::domain::{generation::GenerationState, id::ProjectId};

use crate::store::bed::{Bed, generation};

/// Makes a test of every case on each database.
macro_rules! on_both {
    ($($name:ident;)+) => {
        mod on_sqlite {
            $(#[test]
            fn $name() {
                actix_rt::System::new().block_on(async {
                    let bed = crate::store::bed::Bed::sqlite();
                    super::$name(&bed).await;
                    bed.drop_all().await;
                });
            })+
        }
        mod on_postgres {
            $(#[test]
            fn $name() {
                actix_rt::System::new().block_on(async {
                    if let Some(bed) = crate::store::bed::Bed::postgres().await {
                        super::$name(&bed).await;
                        bed.drop_all().await;
                    }
                });
            })+
        }
    };
}

use on_both;

on_both! {
    the_first_of_another_project_is_among_the_next_two_submits_with_fifty_thousand_before_it;
    urgent_work_goes_first_and_each_line_in_its_order;
    what_is_remembered_is_offered_without_a_look_at_the_database;
    a_wake_that_comes_late_does_not_offer_the_same_row_twice;
    an_offer_that_came_to_nothing_is_made_again;
    what_a_client_cancelled_ends_and_is_not_offered;
    who_cancels_what_is_queued_does_not_wait_for_the_sweep;
}

async fn the_first_of_another_project_is_among_the_next_two_submits_with_fifty_thousand_before_it(bed: &Bed) {
    let desk = Desk::open(bed, 1, 0).await;
    let (a, b) = (ProjectId::fresh(), ProjectId::fresh());
    let long = desk.born_many(50_000, || generation(a)).await;
    desk.start();
    for row in &long[..3] {
        let offer = desk.offer().await;
        assert_eq!(offer.generation, row.id);
        desk.submitted(&offer).await;
        desk.free(&offer);
    }
    let last = desk.offer().await;
    let first = desk.born(generation(b)).await;
    desk.born(generation(b)).await;
    desk.wake(first.id);
    desk.submitted(&last).await;
    desk.free(&last);
    let mut next = Vec::new();
    for _ in 0..2 {
        let offer = desk.offer().await;
        desk.submitted(&offer).await;
        desk.free(&offer);
        next.push(offer.generation);
    }
    assert!(next.contains(&first.id), "{next:?} without {}", first.id);
    desk.close().await;
}

async fn urgent_work_goes_first_and_each_line_in_its_order(bed: &Bed) {
    let desk = Desk::open(bed, 1, 0).await;
    let project = ProjectId::fresh();
    let row = |priority| longtake::domain::record::Generation { priority, ..generation(project) };
    let mut rows = Vec::new();
    for priority in [5, 7, 5, 1, 7, 1] {
        rows.push(desk.born(row(priority)).await);
    }
    desk.start();
    let mut went = Vec::new();
    for _ in 0..rows.len() {
        let offer = desk.offer().await;
        went.push(rows.iter().position(|row| row.id == offer.generation).unwrap());
        desk.submitted(&offer).await;
        desk.free(&offer);
    }
    assert_eq!(went, [3, 5, 0, 2, 1, 4]);
    desk.close().await;
}

async fn what_is_remembered_is_offered_without_a_look_at_the_database(bed: &Bed) {
    let desk = Desk::open(bed, 2, 100).await;
    desk.start();
    // The first offer shows that the first sweep is over and nobody waits.
    let row = desk.born(generation(ProjectId::fresh())).await;
    desk.wake(row.id);
    desk.offer().await;
    let row = desk.born(generation(ProjectId::fresh())).await;
    bed.meddle("DELETE FROM generations").await;
    desk.wake(row.id);
    assert_eq!(desk.offer().await.generation, row.id);
    desk.close().await;
}

async fn a_wake_that_comes_late_does_not_offer_the_same_row_twice(bed: &Bed) {
    let desk = Desk::open(bed, 0, 100).await;
    let row = desk.born(generation(ProjectId::fresh())).await;
    desk.start();
    assert_eq!(desk.offer().await.generation, row.id, "the first sweep found it");
    desk.wake(row.id);
    let next = desk.born(generation(ProjectId::fresh())).await;
    desk.wake(next.id);
    assert_eq!(desk.offer().await.generation, next.id);
    desk.close().await;
}

async fn an_offer_that_came_to_nothing_is_made_again(bed: &Bed) {
    let desk = Desk::open(bed, 1, 100).await;
    let row = desk.born(generation(ProjectId::fresh())).await;
    desk.start();
    let first = desk.offer().await;
    desk.withdraw(&first);
    let second = desk.offer().await;
    assert_eq!((second.generation, second.attempt == first.attempt), (row.id, false));
    desk.close().await;
}

async fn what_a_client_cancelled_ends_and_is_not_offered(bed: &Bed) {
    let desk = Desk::open(bed, 0, 0).await;
    let project = ProjectId::fresh();
    let rows = desk.born_many(600, || generation(project)).await;
    let kept = desk.born(generation(project)).await;
    for row in &rows {
        desk.journal.request_cancel(row.id, project, crate::store::bed::NOW).await.unwrap();
    }
    desk.start();
    assert_eq!(desk.offer().await.generation, kept.id);
    desk.until("500 are ended in the first round", async || desk.states(12).await == 500).await;
    // The first sweep is over.
    let next = desk.born(generation(project)).await;
    desk.wake(next.id);
    assert_eq!(desk.offer().await.generation, next.id);
    desk.sweep();
    desk.until("the rest in the second", async || desk.states(12).await == 600).await;
    desk.close().await;
}

async fn who_cancels_what_is_queued_does_not_wait_for_the_sweep(bed: &Bed) {
    let desk = Desk::open(bed, 1, 100).await;
    let project = ProjectId::fresh();
    let first = desk.born(generation(project)).await;
    let (waits, stays) = (desk.born(generation(project)).await, desk.born(generation(project)).await);
    desk.start();
    // The first sweep ends nothing: its first offer shows that it is over.
    assert_eq!(desk.offer().await.generation, first.id);
    desk.journal.request_cancel(waits.id, project, crate::store::bed::NOW).await.unwrap();
    desk.wake(waits.id);
    desk.wake(stays.id);
    desk.until("it is cancelled", async || desk.states(12).await == 1).await;
    assert_eq!(desk.row(waits.id).await.state(), GenerationState::Cancelled);
    assert_eq!(desk.row(stays.id).await.state(), GenerationState::Queued);
    desk.close().await;
}

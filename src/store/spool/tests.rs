//! The files alone: torn, overwritten, full, locked. What the database makes of them is tested with both databases.

use std::{fs, io::Write as _};

use proptest::prelude::*;

use super::{
    file::{Writer, find},
    format::{Content, Owner, Receipt, content, line},
    *,
};
use crate::domain::{
    id::{AttemptId, GenerationId},
    record::Handle,
    time::Timestamp,
};

fn receipt(task: &str) -> Receipt {
    Receipt {
        attempt: AttemptId::fresh(),
        owner: Some(Owner { generation: GenerationId::fresh(), account: "kling/default".to_owned() }),
        handle: Handle { task_id: task.to_owned(), poll_url: Some("https://poll.test/\u{2028}\n".to_owned()) },
        source: "answer".to_owned(),
        at: Timestamp(1_780_000_000_000),
    }
}

fn lines(receipts: &[Receipt]) -> Vec<Vec<u8>> {
    receipts.iter().map(|receipt| line(receipt).unwrap()).collect()
}

#[test]
fn what_was_written_is_read_again() {
    let unowned = Receipt { owner: None, ..receipt("") };
    let receipts = vec![receipt("a\nb"), unowned, receipt("ü")];
    let read = content(&lines(&receipts).concat());
    assert_eq!(read, Content { receipts, damaged: vec![], torn: false });
    assert_eq!(content(b""), Content::default());
}

proptest! {
    #[test]
    fn a_file_cut_anywhere_keeps_every_whole_line(count in 1..6_usize, cut in 0.0..1.0_f64) {
        let receipts: Vec<_> = (0..count).map(|n| receipt(&format!("task-{n}"))).collect();
        let lines = lines(&receipts);
        let whole = lines.concat();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a place in the file")]
        let cut = (whole.len() as f64 * cut) as usize;
        let read = content(&whole[..cut]);
        let (mut end, mut kept) = (0, 0);
        // A line is whole without its line break too.
        while kept < count && end + lines[kept].len() - 1 <= cut {
            end += lines[kept].len();
            kept += 1;
        }
        prop_assert_eq!(&read.receipts, &receipts[..kept]);
        prop_assert_eq!(read.torn, cut > end);
        prop_assert!(read.damaged.is_empty());
    }

    #[test]
    fn an_overwritten_byte_costs_its_own_line_at_most(count in 2..6_usize, place in any::<prop::sample::Index>(), bit in 0..8_u32) {
        let receipts: Vec<_> = (0..count).map(|n| receipt(&format!("task-{n}"))).collect();
        let mut bytes = lines(&receipts).concat();
        let place = place.index(bytes.len());
        bytes[place] ^= 1 << bit;
        let read = content(&bytes);
        let lost = receipts.iter().filter(|receipt| !read.receipts.contains(receipt)).count();
        prop_assert!(lost <= 1, "{} lost", lost);
        prop_assert!(read.receipts.iter().all(|read| receipts.contains(read)), "something was made up");
    }

    #[test]
    fn no_bytes_make_it_panic_or_make_up_a_receipt(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(content(&bytes).receipts.is_empty());
    }
}

#[test]
fn a_file_is_there_with_its_first_line_and_seen_by_others_as_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let below = folder.path().join("spool");
    let mut writer = Writer::make(&below, "one").unwrap();
    writer.append(&line(&receipt("t")).unwrap()).unwrap();
    let found = find(&below).unwrap();
    assert_eq!((found.left.len(), found.in_use), (0, 1));
    drop(writer);
    let found = find(&below).unwrap();
    assert_eq!((found.left.len(), found.in_use), (1, 0), "the lock ends with its holder");
    assert_eq!(found.left[0].read().unwrap().receipts.len(), 1);
    assert_eq!(find(&folder.path().join("missing")).unwrap().left.len(), 0);
}

#[test]
fn nothing_is_left_of_a_writer_without_a_line() {
    let folder = tempfile::tempdir().unwrap();
    assert!(Writer::make(folder.path(), "one").unwrap().seal().is_none());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_folder_that_takes_nothing_is_an_error_and_the_next_try_works() {
    let folder = tempfile::tempdir().unwrap();
    let below = folder.path().join("spool");
    fs::File::create(&below).unwrap().write_all(b"in the way").unwrap();
    let spool = Spool::at(folder.path(), NodeId::fresh());
    assert!(spool.put(receipt("a")).await.is_err());
    assert_eq!(spool.waiting(), 0);
    fs::remove_file(&below).unwrap();
    spool.put(receipt("b")).await.unwrap();
    spool.put(receipt("c")).await.unwrap();
    assert_eq!((spool.waiting(), spool.paths().len()), (2, 1));
}

#[tokio::test]
async fn receipts_of_many_at_once_are_all_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::at(folder.path(), NodeId::fresh());
    let receipts: Vec<_> = (0..50).map(|n| receipt(&format!("t-{n}"))).collect();
    let puts = receipts.iter().map(|receipt| spool.put(receipt.clone()));
    assert!(futures_util::future::join_all(puts).await.into_iter().all(|put| put.is_ok()));
    let paths = spool.paths();
    let read = content(&fs::read(&paths[0]).unwrap());
    assert_eq!((paths.len(), read.receipts.len(), read.torn, spool.waiting()), (1, 50, false, 50));
    assert!(receipts.iter().all(|receipt| read.receipts.contains(receipt)));
}

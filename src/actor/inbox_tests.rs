//! How chunks of an inbox become batches of bounded size.

use super::*;
use crate::model::command::Item;
use crate::model::time::WallMs;

const TURN: usize = limits::INBOX_TURN_BYTES;

fn letter(offset: u64, value: Vec<u8>, format: &str) -> Letter {
    let headers = vec![("kwq-fmt".to_owned(), Some(format.as_bytes().to_vec()))];
    Letter { offset, at: WallMs(0), value: Some(value), headers }
}

fn turns(letters: Vec<Letter>, next: u64) -> Vec<(InboxBatch, usize)> {
    let chunk = Chunk { level: Priority::DEFAULT, from: 5, next, letters };
    Turns::of(chunk, Bounds::default()).collect()
}

/// First and last offset, whether the last record goes on, and how many items.
fn shape(turns: &[(InboxBatch, usize)]) -> Vec<(u64, u64, bool, usize)> {
    turns.iter().map(|(b, _)| (b.from, b.next, b.goes_on, b.items.len())).collect()
}

#[test]
fn small_records_and_holes_are_one_batch() {
    assert_eq!(shape(&turns(Vec::new(), 9)), [(5, 9, false, 0)]);
    let letters = (6..9).map(|offset| letter(offset, vec![0], "raw")).collect();
    assert_eq!(shape(&turns(letters, 11)), [(5, 11, false, 3)]);
}

#[test]
fn many_lines_of_small_records_are_several_batches_of_whole_records() {
    let lines = "1\n".repeat(limits::INBOX_BATCH_TASKS).into_bytes();
    let letters = (5..45).map(|offset| letter(offset, lines.clone(), "batch")).collect();
    let turns = turns(letters, 45);
    assert!(turns.len() > 1);
    let (mut at, mut items) = (5, 0);
    for (batch, cost) in &turns {
        assert_eq!((batch.from, batch.goes_on), (at, false));
        assert!(*cost <= TURN, "{cost}");
        let of = |item: &InboxItem| (batch.from..batch.next).contains(&item.source.offset);
        assert!(batch.items.iter().all(of));
        (at, items) = (batch.next, items + batch.items.len());
    }
    assert_eq!((at, items), (45, 40_000));
}

/// What may hold tasks is one batch, so that a task is never there twice.
#[test]
fn a_record_that_may_hold_tasks_is_in_one_batch() {
    let line = format!("{{\"payload\":\"{}\"}}\n", "x".repeat(16_000));
    let lines = line.repeat(1_000).into_bytes();
    let turns = turns(vec![letter(5, vec![0], "raw"), letter(6, lines, "batch")], 7);
    assert_eq!(shape(&turns), [(5, 6, false, 1), (6, 7, false, 1_000)]);
}

#[test]
fn a_record_too_large_for_a_batch_goes_on_in_the_next() {
    let value = vec![7; 5 * TURN / 2];
    let letters =
        vec![letter(5, vec![0], "raw"), letter(6, value.clone(), "raw"), letter(7, vec![1], "raw")];
    let turns = turns(letters, 8);
    let ends: Vec<_> = turns.iter().map(|(b, _)| (b.from, b.next, b.goes_on)).collect();
    let parts = [(6, 7, true), (6, 7, true), (6, 8, false)];
    assert_eq!(ends, [&[(5, 6, false)][..], &parts].concat());
    assert!(turns.iter().all(|(_, cost)| *cost <= TURN + (1 << 20)));
    let items = turns.into_iter().flat_map(|(batch, _)| batch.items);
    let dead = items.filter_map(|item| match item.item {
        Item::Dead(dead) => Some(dead.task.payload.bytes),
        Item::Task(_) | Item::Array(_) | Item::Share(_) => None,
    });
    assert!(dead.collect::<Vec<_>>().concat() == value);
}

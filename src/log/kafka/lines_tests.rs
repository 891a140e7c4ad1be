//! Tests of the lines without a broker; `tests/kafka/inbox.rs` has those with one.

use super::*;
use crate::log::kafka::line::WAITS;
use crate::model::time::WallMs;

const ID: PartitionId = PartitionId(0);

fn cluster() -> Cluster {
    Cluster { brokers: "127.0.0.1:1".into(), client_id: "t".into(), properties: vec![] }
}

/// A reader of three topics that reaches nobody, with these offsets waiting.
fn waiting(all: &[(usize, &[u64])]) -> Lines {
    let topics = ["a", "b", "c"].map(str::to_owned).to_vec();
    let reader = Lines::start(&cluster(), "letters", topics).unwrap();
    let mut lines: Vec<Line> = (0..3).map(|_| Line::default()).collect();
    for (topic, offsets) in all {
        let line = &mut lines[*topic];
        line.from = offsets[0];
        for offset in *offsets {
            let value = Some(vec![b'x'; 10]);
            let letter = Letter { offset: *offset, at: WallMs(0), value, headers: vec![] };
            line.bytes += size(&letter);
            line.letters.push_back(letter);
        }
    }
    lock(&reader.shared.lines).insert(ID, lines);
    reader
}

#[test]
fn the_last_topic_is_pulled_first_and_pieces_follow_each_other() {
    let reader = waiting(&[(0, &[7, 8]), (2, &[3, 4, 6])]);
    let pull = |records| {
        let piece = reader.pull(ID, Head::Nothing, (records, 1 << 20))?;
        Some((piece.topic, piece.from, piece.next, piece.letters.len()))
    };
    assert_eq!(pull(2), Some((2, 3, 5, 2)));
    assert_eq!(pull(2), Some((2, 5, 7, 1)), "offset 5 holds no record");
    assert_eq!(pull(1), Some((0, 7, 8, 1)));
    assert_eq!(pull(9), Some((0, 8, 9, 1)));
    assert_eq!(pull(9), None);
}

/// A backlog is taken in the order of its levels from the first record on, whichever topic the
/// broker answers for first.
#[test]
fn nothing_is_pulled_before_a_higher_topic_whose_records_are_on_their_way() {
    let reader = waiting(&[(0, &[7])]);
    let line = |at: usize, change: &dyn Fn(&mut Line)| {
        change(&mut lock(&reader.shared.lines).get_mut(&ID).unwrap()[at]);
    };
    line(2, &|line| line.known = 2);
    let pulled = || reader.pull(ID, Head::Nothing, (9, 1 << 20)).map(|piece| piece.topic);
    assert_eq!(pulled(), None);
    line(2, &|line| {
        let value = Some(vec![b'x'; 10]);
        line.letters.push_back(Letter { offset: 0, at: WallMs(0), value, headers: vec![] });
    });
    assert_eq!(pulled(), Some(2));
    // Offset 1 never comes: it holds no record.
    for _ in 0..WAITS {
        assert_eq!(pulled(), None);
    }
    assert_eq!(pulled(), Some(0));
}

/// What one partition has must not be taken before what is more urgent of another one.
#[test]
fn nothing_less_urgent_than_the_floor_is_pulled() {
    let reader = waiting(&[(1, &[7])]);
    assert_eq!(reader.head(PartitionId(1)), Head::Unknown);
    assert_eq!(reader.head(ID), Head::Topic(1));
    let pulled = |floor| reader.pull(ID, floor, (9, 1 << 20)).map(|piece| piece.topic);
    assert_eq!((pulled(Head::Unknown), pulled(Head::Topic(2))), (None, None));
    assert_eq!(pulled(Head::Topic(1)), Some(1));
    assert_eq!(reader.head(ID), Head::Nothing);
    lock(&reader.shared.lines).get_mut(&ID).unwrap()[2].known = 1;
    assert_eq!(reader.head(ID), Head::Topic(2), "it is on its way");
}

#[test]
fn one_large_record_is_pulled_alone() {
    let reader = waiting(&[(1, &[0, 1])]);
    assert_eq!(reader.pull(ID, Head::Nothing, (10, 1)).map(|piece| piece.letters.len()), Some(1));
}

/// Kafka may be away just then, and nobody asks twice.
#[test]
fn an_order_that_could_not_be_carried_out_is_kept() {
    let reader = waiting(&[]);
    reader.shared.stopped.store(true, Ordering::Release);
    lock(&reader.thread).take().unwrap().join().unwrap();
    reader.shared.stopped.store(false, Ordering::Release);
    let client = BaseConsumer::from_config_and_context(&cluster().inbox(), Voice).unwrap();
    let bounds = Bounds::start(&cluster()).unwrap();
    let mut serving = Reader::new(client, bounds, Arc::clone(&reader.shared));
    reader.own(ID, vec![3; 3]);
    assert!(!serving.obey());
    assert_eq!(lock(&reader.shared.orders).get(&ID), Some(&Some(vec![3; 3])));
}

/// A piece that was refused is read again from Kafka: what waits behind it must not be pulled
/// before, or the partition would take it for a hole.
#[test]
fn nothing_that_waits_survives_a_new_beginning() {
    let reader = waiting(&[(1, &[0, 1, 2])]);
    assert!(reader.pull(ID, Head::Nothing, (1, 1 << 20)).is_some());
    reader.own(ID, vec![0; 3]);
    assert!(reader.pull(ID, Head::Nothing, (1, 1 << 20)).is_none());
}

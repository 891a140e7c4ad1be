//! What every back end promises (`log::EventLog`, rules 1–6), as checks of any log.

use super::kit::*;
use kwq::log::{Batch, Error, EventLog, Room};
use kwq::model::event::Event;
use kwq::model::id::{Epoch, Position};
use kwq::model::view::ResultAt;

/// A test of each check, run by `$each` on every log it knows.
macro_rules! contract {
    ($each:path) => {
        $crate::log_contract::checks::contract!(@ $each:
            a_batch_is_read_back_in_order_with_rising_positions
            a_scan_sees_only_the_listed_partitions_from_their_positions_and_stops_when_told
            batches_of_an_older_epoch_are_void_after_a_newer_owner
            tasks_and_results_are_read_by_position_in_the_order_asked_for
            a_skim_leaves_the_bytes_out_and_tells_their_sizes
            the_newest_two_images_of_a_partition_are_kept
            tickets_resolve_in_the_order_of_append_from_eight_threads
            a_closed_log_takes_nothing_and_still_reads
            a_log_with_space_has_room
        );
    };
    (@ $each:path: $($check:ident)*) => {
        $(
            #[test]
            fn $check() {
                $each($crate::log_contract::checks::$check);
            }
        )*
    };
}
pub(crate) use contract;

pub(crate) fn a_batch_is_read_back_in_order_with_rising_positions(log: &dyn EventLog) {
    let epoch = own(log, 1);
    let before = log.end(p(1));
    let events = vec![submitted(1, &[b"1", b"22"]), cancelled(1), completed(2, Some(b"ok"))];
    let positions = put(log, 1, epoch, events.clone());
    assert_eq!(positions.len(), 3);
    assert!(positions.is_sorted_by(|a, b| a < b) && positions[0] >= before);
    assert!(log.end(p(1)) > positions[2]);
    let records = all(log).unwrap();
    assert_eq!(records.len(), 4);
    for (record, (event, position)) in records[1..].iter().zip(events.iter().zip(&positions)) {
        assert_eq!((&record.stamped, &record.position), (event, position));
        assert_eq!((record.partition, record.epoch), (p(1), epoch));
    }
    assert_eq!(records[0].epoch.0, records[0].position.0);
}

pub(crate) fn a_scan_sees_only_the_listed_partitions_from_their_positions_and_stops_when_told(
    log: &dyn EventLog,
) {
    let epochs = [own(log, 0), own(log, 1)];
    let mut at = Vec::new();
    for n in 1..=10u64 {
        let partition = u16::try_from(n % 2).unwrap();
        let epoch = epochs[usize::from(partition)];
        at.push(put(log, partition, epoch, vec![cancelled(n)])[0]);
    }
    let mut seen = Vec::new();
    // Partition 0 has the even ones. How records of two partitions lie to each other is not said.
    log.scan(&[(p(0), at[5]), (p(1), Position(at[4].0 + 1))], &mut |record| {
        seen.push((record.partition, record.position));
        true
    })
    .unwrap();
    seen.sort_unstable();
    let even = [at[5], at[7], at[9]].map(|at| (p(0), at));
    assert_eq!(seen, [even.as_slice(), &[(p(1), at[6]), (p(1), at[8])]].concat());
    let mut left = 4;
    log.scan(&[(p(0), at[5]), (p(1), Position(at[4].0 + 1))], &mut |_| {
        left -= 1;
        left > 0
    })
    .unwrap();
    assert_eq!(left, 0, "a scan stops when it is told to");
    let mut seen = Vec::new();
    log.scan(&[(p(1), Position(0))], &mut |record| {
        assert_eq!(record.partition, p(1));
        seen.push(record.position);
        true
    })
    .unwrap();
    assert_eq!(seen.len(), 6);
    log.scan(&[], &mut |_| panic!("nothing was asked for")).unwrap();
}

pub(crate) fn batches_of_an_older_epoch_are_void_after_a_newer_owner(log: &dyn EventLog) {
    let old = own(log, 1);
    put(log, 1, old, vec![cancelled(1)]);
    let new = own(log, 1);
    for (epoch, n) in [(old, 2), (Epoch(new.0 + 1), 3)] {
        // Whether who appends is told or not, nobody may read it.
        let batch = Batch { epoch, events: vec![cancelled(n)].into() };
        drop(log.append(p(1), batch).map(kwq::log::Ticket::wait));
    }
    let kept = put(log, 1, new, vec![cancelled(4)])[0];
    let records = all(log).unwrap();
    let kinds: Vec<_> = records.iter().map(|r| r.stamped.event.kind()).collect();
    assert_eq!(kinds, ["Owner", "Cancelled", "Owner", "Cancelled"]);
    assert_eq!(records[3].position, kept);
    // Also when the reader begins behind the newer owner.
    let late = all_from(log, Position(new.0 + 1)).unwrap();
    assert_eq!(late.iter().map(|r| r.position).collect::<Vec<_>>(), [kept]);
}

pub(crate) fn tasks_and_results_are_read_by_position_in_the_order_asked_for(log: &dyn EventLog) {
    let epoch = own(log, 0);
    let big = vec![b'x'; 20_000];
    let one = put(log, 0, epoch, vec![submitted(1, &[b"a", b"bb", &big])])[0];
    let two = put(log, 0, epoch, vec![submitted(4, &[b"dddd"]), cancelled(1)]);
    let done = put(log, 0, epoch, vec![completed(2, Some(&big)), completed(3, None)]);
    let wanted = [(two[0], 0), (one, 2), (one, 0), (two[0], 0), (one, 1)].map(|at| text(0, at));
    let tasks = log.read_tasks(&wanted).unwrap();
    let sizes: Vec<_> = tasks.iter().map(|t| t.spec.payload.bytes.len()).collect();
    assert_eq!(sizes, [4, 20_000, 1, 4, 2]);
    assert_eq!(tasks[1].spec, task(&big));
    assert_eq!(tasks[1].submitted.0, 1_001);
    let at = |record, index| ResultAt { record, index, bytes: 0 };
    assert_eq!(log.read_result(p(0), at(done[0], 0)).unwrap().bytes, big);
    for bad in [(one, 3), (two[1], 0), (log.end(p(0)), 0), (Position(1 << 50), 0)] {
        assert!(matches!(log.read_tasks(&[text(0, bad)]), Err(Error::NoRecord(_))), "{bad:?}");
    }
    for bad in [at(done[0], 1), at(done[1], 0), at(one, 0), at(log.end(p(0)), 0)] {
        assert!(matches!(log.read_result(p(0), bad), Err(Error::NoRecord(_))), "{bad:?}");
    }
}

pub(crate) fn a_skim_leaves_the_bytes_out_and_tells_their_sizes(log: &dyn EventLog) {
    let epoch = own(log, 0);
    put(log, 0, epoch, vec![submitted(1, &[b"1", b"", b"333"]), completed(1, Some(b"four"))]);
    put(log, 0, epoch, vec![completed(2, None)]);
    let mut sizes = Vec::new();
    log.skim(&[(p(0), Position(0))], &mut |skimmed| {
        let event = &skimmed.record.stamped.event;
        if let Event::Submitted { tasks, .. } = event {
            assert!(tasks.iter().all(|t| t.payload.bytes.is_empty()));
            assert_eq!(tasks[1].job.as_ref(), "nightly");
        } else if let Event::Completed(tasks) = event {
            let empty = |b: &kwq::model::task::Blob| b.bytes.is_empty();
            assert!(tasks[0].result.as_ref().is_none_or(empty));
        }
        sizes.push(skimmed.blob_bytes);
        true
    })
    .unwrap();
    assert_eq!(sizes, [vec![], vec![1, 0, 3], vec![4], vec![0]]);
}

pub(crate) fn the_newest_two_images_of_a_partition_are_kept(log: &dyn EventLog) {
    let epoch = own(log, 0);
    let at: Vec<_> = (1..=3).map(|n| put(log, 0, epoch, vec![cancelled(n)])[0]).collect();
    for (position, byte) in at.iter().zip(1u8..) {
        log.commit_mark(p(0), *position, &[byte; 3]).unwrap();
        log.commit_mark(p(1), *position, &[byte; 1]).unwrap();
    }
    assert_eq!(log.committed_marks(p(0)), [at[2], at[1]]);
    assert_eq!(log.committed_marks(p(2)), []);
    assert_eq!(log.read_mark(p(0), at[2]).unwrap(), [3; 3]);
    assert_eq!(log.read_mark(p(1), at[1]).unwrap(), [2; 1]);
    assert!(log.read_mark(p(0), at[0]).is_err());
}

pub(crate) fn tickets_resolve_in_the_order_of_append_from_eight_threads(log: &dyn EventLog) {
    let epochs: Vec<_> = (0..4).map(|n| own(log, n)).collect();
    let positions: Vec<Vec<Position>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8u16)
            .map(|thread| {
                let epoch = epochs[usize::from(thread % 4)];
                scope.spawn(move || {
                    let mut tickets = Vec::new();
                    for n in 0..200 {
                        let events = vec![cancelled(n), submitted(n, &[b"payload"])];
                        let batch = Batch { epoch, events: events.into() };
                        tickets.push(log.append(p(thread % 4), batch).unwrap());
                    }
                    let done = tickets.into_iter().map(|t| t.wait().unwrap().positions);
                    done.flatten().collect()
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    for mine in &positions {
        assert!(mine.is_sorted_by(|a, b| a < b), "order of append is order of the log");
    }
    let mut seen = 0;
    for (number, epoch) in (0..4).zip(epochs) {
        let of = |thread: usize| thread % 4 == usize::from(number);
        let own = positions.iter().enumerate().filter(|(thread, _)| of(*thread));
        let mut expected: Vec<_> = own.flat_map(|(_, positions)| positions).copied().collect();
        expected.push(Position(epoch.0));
        expected.sort();
        let mut read = Vec::new();
        log.scan(&[(p(number), Position(0))], &mut |record| {
            read.push(record.position);
            true
        })
        .unwrap();
        assert_eq!(read, expected);
        seen += read.len();
    }
    assert_eq!(seen, 8 * 400 + 4);
}

pub(crate) fn a_closed_log_takes_nothing_and_still_reads(log: &dyn EventLog) {
    let epoch = own(log, 0);
    let batch = || Batch { epoch, events: vec![cancelled(1)].into() };
    let ticket = log.append(p(0), batch()).unwrap();
    log.close();
    ticket.wait().unwrap();
    assert!(matches!(log.append(p(0), batch()), Err(Error::Failed(_))));
    assert_eq!(all(log).unwrap().len(), 2);
    log.close();
}

pub(crate) fn a_log_with_space_has_room(log: &dyn EventLog) {
    own(log, 0);
    assert_eq!(log.room(), Room::Plenty);
}

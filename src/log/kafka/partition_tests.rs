//! A partition without a broker: a scripted topic, scripted reports, a real spool.

#[path = "partition_tests/two.rs"]
mod two;

use super::*;
use crate::codec::changelog::{self, encode};
use crate::log::Ticket;
use crate::model::event::{Event, Stamped};
use crate::model::id::TaskSeq;
use crate::model::time::WallMs;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

const ID: PartitionId = PartitionId(3);

/// A directory of its own for each rig, removed at the end.
struct TempDir(PathBuf);

impl TempDir {
    fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(format!("kwq-partition-{process}-{count}"));
        drop(std::fs::remove_dir_all(&path));
        Self(path)
    }

    fn spool(&self) -> Spool {
        Spool::open(&self.0, 4_096).unwrap().0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn owner_batch(node: &str) -> Vec<u8> {
    let event = Event::Owner { node: node.into(), addr: "a:1".into(), token_key: [1, 2] };
    encode(Epoch(0), &[Stamped { at: WallMs(7), event }]).unwrap()
}

/// A batch of two events under the epoch of the `Owner` record at an offset, with this number.
fn batch(owner: u64, number: u64) -> Vec<u8> {
    let event = |seq| Stamped { at: WallMs(8), event: Event::Cancelled(vec![TaskSeq(seq)]) };
    let mut batch = encode(epoch(owner), &[event(number), event(number + 1_000)]).unwrap();
    changelog::set_number(&mut batch, number);
    batch
}

fn epoch(owner: u64) -> Epoch {
    Epoch(place::position(owner, 0).0)
}

/// What has become of a ticket so far.
fn outcome(ticket: &mut Ticket) -> Option<Result<Appended, Error>> {
    match Pin::new(ticket).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => Some(outcome),
        Poll::Pending => None,
    }
}

fn is_fenced(ticket: &mut Ticket) -> bool {
    matches!(outcome(ticket), Some(Err(Error::Fenced(_))))
}

/// Offsets at which a ticket says its events lie.
fn positions(ticket: &mut Ticket) -> Option<Vec<(u64, u16)>> {
    let appended = outcome(ticket)?.unwrap();
    Some(appended.positions.into_iter().map(place::offset).collect())
}

/// A partition and what it has sent.
struct Rig {
    partition: Partition,
    /// Of the newest batch sent.
    life: Cell<u64>,
    dir: TempDir,
    /// The batch that was sent last, with its number.
    sent: RefCell<Vec<u8>>,
}

impl Rig {
    fn new() -> Self {
        Self::over(TempDir::new()).unwrap()
    }

    fn over(dir: TempDir) -> Result<Self, Error> {
        let partition = Partition::new(ID, dir.spool(), Arc::default())?;
        Ok(Self { partition, life: Cell::new(0), sent: RefCell::default(), dir })
    }

    fn take(&self) -> (Option<Order>, Ticket) {
        let (ticket, resolver) = Ticket::pair();
        let sent = Sent::new(resolver, owner_batch("me"), 1, None);
        let (order, begun) = self.partition.take(sent, |_, life| {
            self.life.set(life);
            Ok(())
        });
        begun.unwrap();
        (order, ticket)
    }

    fn try_append(&self, epoch: Epoch, value: Vec<u8>) -> Result<Ticket, Error> {
        let (ticket, resolver) = Ticket::pair();
        self.partition.append(epoch, Sent::new(resolver, value, 2, None), |value, life| {
            self.life.set(life);
            self.sent.replace(value.to_vec());
            Ok(())
        })?;
        Ok(ticket)
    }

    fn append(&self, owner: u64, seq: u64) -> Ticket {
        self.try_append(epoch(owner), batch(owner, seq)).unwrap()
    }

    fn report(&self, offset: impl Into<Option<u64>>) -> Option<Order> {
        self.partition.report(self.life.get(), offset.into()).unwrap()
    }

    /// The reader brings a record, with nothing before it.
    fn read(&self, offset: u64, bytes: &[u8]) -> Option<Order> {
        self.partition.record(offset, offset, bytes).unwrap()
    }

    /// Takes the partition with an `Owner` record at offset 0.
    fn owning() -> Self {
        let rig = Self::new();
        let (_, mut ticket) = rig.take();
        rig.report(0);
        rig.read(0, &owner_batch("me"));
        assert_eq!(positions(&mut ticket), Some(vec![(0, 0)]));
        rig
    }

    fn kept(&self) -> Vec<u64> {
        let mut kept = Vec::new();
        let mut visit = |offset, _: &[u8]| {
            kept.push(offset);
            true
        };
        self.partition.spool.scan(0, &mut visit).unwrap();
        kept
    }
}

const STOP: Option<Order> = Some(Order::Stop(ID));

fn read_on(from: u64) -> Option<Order> {
    Some(Order::Read(ID, from))
}

#[test]
fn ownership_begins_when_the_reader_has_passed_the_reported_owner_record() {
    let rig = Rig::new();
    rig.read(0, &owner_batch("other"));
    rig.read(1, &batch(0, 1));
    let (order, mut ticket) = rig.take();
    assert_eq!((order, rig.partition.in_flight()), (None, 1), "it was reading all the time");
    assert_eq!(rig.report(3), None);
    assert_eq!(rig.read(2, &batch(0, 2)), None);
    assert!(outcome(&mut ticket).is_none());
    assert_eq!(rig.read(3, &owner_batch("me")), STOP);
    assert_eq!(positions(&mut ticket), Some(vec![(3, 0)]));
    let (mut first, mut second) = (rig.append(3, 1), rig.append(3, 2));
    assert_eq!(rig.partition.in_flight(), 2);
    assert_eq!(rig.report(4), None);
    assert!(outcome(&mut second).is_none());
    assert_eq!(positions(&mut first), Some(vec![(4, 0), (4, 1)]));
    assert_eq!(rig.report(5), None);
    assert_eq!(positions(&mut second), Some(vec![(5, 0), (5, 1)]));
    assert_eq!((rig.kept(), rig.partition.read_to()), ((0..=5).collect(), 6));
}

#[test]
fn a_reader_may_be_faster_than_the_report() {
    let rig = Rig::new();
    let (_, mut ticket) = rig.take();
    assert_eq!(rig.read(0, &owner_batch("me")), None);
    assert!(outcome(&mut ticket).is_none(), "the record may be of another");
    assert_eq!(rig.report(0), STOP);
    assert_eq!(positions(&mut ticket), Some(vec![(0, 0)]));
}

#[test]
fn another_owner_before_the_report_has_it() {
    let rig = Rig::new();
    let (_, mut ticket) = rig.take();
    rig.read(0, &owner_batch("me"));
    rig.read(1, &owner_batch("other"));
    assert_eq!(rig.report(0), None, "reading goes on");
    assert!(is_fenced(&mut ticket));
    rig.read(2, &batch(1, 1));
    rig.read(3, &batch(0, 1));
    assert_eq!(rig.kept(), [0, 1, 2], "and what counts is that of the other");
}

#[test]
fn reports_out_of_an_earlier_life_are_nobodys() {
    let rig = Rig::new();
    let (_, mut lost) = rig.take();
    let before = rig.life.get();
    let (_, mut ticket) = rig.take();
    assert!(is_fenced(&mut lost));
    assert_eq!(rig.partition.report(before, None).unwrap(), None);
    assert_eq!(rig.partition.report(before, Some(0)).unwrap(), None);
    rig.read(0, &owner_batch("me"));
    assert!(outcome(&mut ticket).is_none());
    rig.report(1);
    assert_eq!(rig.read(1, &owner_batch("me")), STOP);
    assert_eq!(positions(&mut ticket), Some(vec![(1, 0)]));
}

#[test]
fn an_owner_that_takes_again_reads_on_from_its_last_batch() {
    let rig = Rig::owning();
    let mut lost = rig.append(0, 1);
    let (order, mut ticket) = rig.take();
    assert_eq!(order, read_on(1));
    assert!(is_fenced(&mut lost));
    rig.report(2);
    assert_eq!(rig.read(1, &batch(0, 1)), None, "it counts, though nobody was told");
    assert_eq!(rig.read(2, &owner_batch("me")), STOP);
    assert_eq!(positions(&mut ticket), Some(vec![(2, 0)]));
    assert_eq!(rig.kept(), [0, 1, 2]);
}

#[test]
fn a_partition_that_is_given_up_is_read_on_and_answers_nobody() {
    let rig = Rig::owning();
    let mut ticket = rig.append(0, 1);
    assert_eq!(rig.partition.release(), read_on(1));
    assert!(is_fenced(&mut ticket));
    assert_eq!(rig.report(1), None, "of an earlier life");
    rig.read(1, &batch(0, 1));
    rig.read(2, &owner_batch("other"));
    rig.read(3, &batch(2, 1));
    assert_eq!(rig.kept(), [0, 1, 2, 3]);
    assert_eq!(rig.partition.release(), None, "it is read already");
    rig.partition.fail("no disk");
    assert_eq!(rig.partition.release(), None);
}

/// A producer gives a batch up after a while and still sends the next one.
#[test]
fn a_batch_that_rests_on_a_lost_one_counts_for_nobody() {
    let rig = Rig::owning();
    let mut tickets = [rig.append(0, 1), rig.append(0, 2)];
    assert_eq!(rig.report(None), read_on(1), "it was lost");
    assert!(tickets.iter_mut().all(is_fenced));
    rig.read(1, &batch(0, 2));
    assert_eq!(rig.kept(), [0]);
    rig.read(2, &batch(0, 3));
    rig.read(3, &owner_batch("next"));
    rig.read(4, &batch(3, 1));
    assert_eq!((rig.kept(), rig.partition.read_to()), (vec![0, 3, 4], 5));
    // Whoever opens the copy again goes on where it ends.
    let Rig { partition, dir, .. } = rig;
    drop(partition);
    let again = Rig::over(dir).unwrap();
    again.read(5, &batch(3, 3));
    again.read(6, &batch(3, 2));
    assert_eq!(again.kept(), [0, 3, 4, 6]);
}

#[test]
fn who_does_not_know_the_end_of_a_batch_stands_down() {
    let taking = Rig::new();
    let (_, mut ticket) = taking.take();
    assert_eq!(taking.report(None), None);
    assert!(is_fenced(&mut ticket));
    let rig = Rig::owning();
    let (mut first, mut second, mut third) = (rig.append(0, 1), rig.append(0, 2), rig.append(0, 3));
    rig.report(1);
    assert!(positions(&mut first).is_some());
    assert_eq!(rig.report(None), read_on(2));
    assert_eq!(rig.report(3), None, "a later one was in the log");
    assert!(is_fenced(&mut second) && is_fenced(&mut third));
    assert!(matches!(rig.try_append(epoch(0), batch(0, 4)), Err(Error::Fenced(_))));
    rig.read(2, &batch(0, 2));
    rig.read(3, &batch(0, 3));
    assert_eq!((rig.kept(), rig.partition.read_to()), (vec![0, 1, 2, 3], 4));
}

#[test]
fn a_gap_of_void_records_is_bridged_and_later_reports_wait_for_it() {
    let rig = Rig::owning();
    let mut tickets = [1, 2, 3].map(|seq| rig.append(0, seq));
    assert_eq!(rig.report(3), read_on(1));
    assert_eq!((rig.report(4), rig.report(6)), (None, None));
    assert_eq!(rig.read(1, &batch(9, 1)), None);
    assert_eq!(rig.read(2, b"junk"), None);
    assert!(tickets.iter_mut().all(|ticket| outcome(ticket).is_none()));
    assert_eq!(rig.read(3, &batch(0, 1)), read_on(5), "up to the next gap");
    assert_eq!(positions(&mut tickets[0]), Some(vec![(3, 0), (3, 1)]));
    assert_eq!(positions(&mut tickets[1]), Some(vec![(4, 0), (4, 1)]));
    assert!(outcome(&mut tickets[2]).is_none());
    assert_eq!(rig.read(5, &batch(9, 2)), None);
    assert_eq!(rig.read(6, &batch(0, 3)), STOP);
    assert_eq!(positions(&mut tickets[2]), Some(vec![(6, 0), (6, 1)]));
    assert_eq!((rig.kept(), rig.partition.read_to()), (vec![0, 3, 4, 6], 7));
}

#[test]
fn a_gap_is_read_from_its_beginning_only() {
    let rig = Rig::owning();
    let mut ticket = rig.append(0, 1);
    assert_eq!(rig.report(3), read_on(1));
    for (offset, bytes) in [(2, batch(9, 1)), (3, batch(0, 1)), (4, batch(0, 2))] {
        assert_eq!(rig.read(offset, &bytes), None, "from before the order");
    }
    assert!(outcome(&mut ticket).is_none());
    rig.read(1, &owner_batch("other"));
    rig.read(1, &owner_batch("other"));
    rig.read(2, &batch(1, 1));
    assert_eq!(rig.read(3, &batch(0, 1)), read_on(1));
    assert!(is_fenced(&mut ticket));
}

#[test]
fn an_owner_in_a_gap_ends_it_and_all_is_read_again() {
    let rig = Rig::owning();
    let (mut first, mut second) = (rig.append(0, 1), rig.append(0, 2));
    assert_eq!(rig.report(3), read_on(1));
    assert_eq!(rig.report(4), None);
    rig.read(1, &batch(9, 1));
    rig.read(2, &owner_batch("other"));
    assert_eq!(rig.read(3, &batch(0, 1)), read_on(1));
    assert!(is_fenced(&mut first) && is_fenced(&mut second));
    for (offset, bytes) in [(4, batch(0, 2)), (5, batch(2, 1))] {
        assert_eq!(rig.read(offset, &bytes), None, "the reader has not gone back yet");
    }
    assert_eq!((rig.kept(), rig.partition.read_to()), (vec![0], 1));
    let topic =
        [batch(9, 1), owner_batch("other"), batch(0, 1), batch(0, 2), batch(2, 1), batch(2, 2)];
    for (offset, bytes) in (1..).zip(&topic) {
        rig.read(offset, bytes);
        rig.read(offset, bytes);
    }
    assert_eq!((rig.kept(), rig.partition.read_to()), (vec![0, 2, 5, 6], 7));
}

#[test]
fn an_order_that_is_overtaken_by_an_older_one_is_still_in_force() {
    let rig = Rig::new();
    assert_eq!(rig.partition.order(), Order::Read(ID, 0));
    let (_, _ticket) = rig.take();
    rig.report(0);
    let stop = rig.read(0, &owner_batch("me"));
    assert_eq!((stop, rig.partition.order()), (STOP, Order::Stop(ID)));
    // The reader has not sent `stop` yet when the reports find a gap.
    let mut ticket = rig.append(0, 1);
    let gap = rig.report(2);
    assert_eq!((gap, rig.partition.order()), (read_on(1), Order::Read(ID, 1)));
    rig.read(1, b"junk");
    assert_eq!(rig.partition.order(), Order::Read(ID, 2), "not from its beginning again");
    assert_eq!(rig.read(2, &batch(0, 1)), STOP);
    assert_eq!(rig.partition.order(), Order::Stop(ID));
    assert!(positions(&mut ticket).is_some());
    rig.append(0, 2);
    rig.report(None);
    assert_eq!(rig.partition.order(), Order::Read(ID, 3));
}

#[test]
fn records_that_are_none_of_kwq_are_passed_over() {
    let rig = Rig::new();
    for (offset, bytes) in [(0, &b"junk"[..]), (1, &owner_batch("a")), (2, &[]), (3, &batch(1, 1))]
    {
        assert_eq!(rig.read(offset, bytes), None);
    }
    assert_eq!((rig.kept(), rig.partition.read_to()), (vec![1, 3], 4));
}

#[test]
fn duplicates_and_records_behind_a_hole_change_nothing() {
    let rig = Rig::new();
    rig.read(0, &owner_batch("a"));
    rig.read(0, &owner_batch("b"));
    assert_eq!(rig.read(2, &batch(0, 1)), None, "1 is missing");
    assert_eq!((rig.kept(), rig.partition.read_to()), (vec![0], 1));
    assert_eq!(rig.partition.record(1, 2, &batch(0, 1)).unwrap(), None);
    assert_eq!((rig.kept(), rig.partition.read_to()), (vec![0, 2], 3), "there is no 1");
}

#[test]
fn what_is_kept_names_the_epoch_in_force() {
    let rig = Rig::new();
    rig.read(0, &owner_batch("a"));
    rig.read(1, &batch(0, 1));
    let rig = Rig::over(rig.dir).unwrap();
    assert_eq!(rig.partition.order(), Order::Read(ID, 2));
    rig.read(2, &batch(0, 2));
    assert_eq!(rig.kept(), [0, 1, 2]);
}

#[test]
fn what_comes_after_the_end_of_the_log_is_not_kept() {
    let rig = Rig::new();
    rig.read(0, &owner_batch("a"));
    rig.partition.fail("it is the copy of another changelog");
    assert_eq!(rig.read(1, &batch(0, 1)), None);
    assert_eq!(rig.kept(), [0]);
}

#[test]
fn what_fails_fails_every_ticket_and_nothing_begins_behind_it() {
    let failed = |ticket: &mut Ticket| match outcome(ticket) {
        Some(Err(Error::Failed(reason))) => reason == "no disk",
        _ => false,
    };
    let taking = Rig::new();
    let (_, mut ticket) = taking.take();
    taking.partition.fail("no disk");
    assert!(failed(&mut ticket));
    assert_eq!(taking.report(0), None);
    let rig = Rig::owning();
    let mut tickets = [1, 2].map(|seq| rig.append(0, seq));
    rig.report(2);
    rig.partition.fail("no disk");
    assert!(tickets.iter_mut().all(failed));
    assert_eq!((rig.report(3), rig.partition.in_flight()), (None, 0));
    // Who has looked whether the log is over before it was.
    let none = |_: &[u8], _| -> Result<(), Error> { panic!("nothing may be sent") };
    let sent = || Sent::new(Ticket::pair().1, owner_batch("me"), 1, None);
    let begun = rig.partition.take(sent(), none).1;
    assert!(matches!(begun, Err(Error::Failed(reason)) if reason == "no disk"));
    let begun = rig.partition.append(epoch(0), sent(), none);
    assert!(matches!(begun, Err(Error::Failed(_))), "{begun:?}");
}

#[test]
fn only_the_epoch_of_the_owner_record_may_append() {
    let fenced = |rig: &Rig, epoch| {
        matches!(rig.try_append(epoch, batch(0, 1)), Err(Error::Fenced(_)))
            && rig.partition.in_flight() < 2
    };
    let rig = Rig::new();
    assert!(fenced(&rig, epoch(0)), "following");
    let _ticket = rig.take();
    rig.report(0);
    assert!(fenced(&rig, epoch(0)), "taking");
    rig.read(0, &owner_batch("me"));
    for epoch in [Epoch(0), epoch(1), Epoch(epoch(0).0 + 1), Epoch(1), Epoch(u64::MAX)] {
        assert!(fenced(&rig, epoch), "{epoch}");
    }
    assert!(rig.try_append(epoch(0), batch(0, 1)).is_ok());
}

#[test]
fn a_batch_that_was_not_sent_is_not_in_flight() {
    let rig = Rig::owning();
    let full = |_: &[u8], _| Err(Error::Failed("full".to_owned()));
    let sent = || Sent::new(Ticket::pair().1, batch(0, 1), 2, None);
    assert!(rig.partition.append(epoch(0), sent(), full).is_err());
    assert_eq!(rig.partition.in_flight(), 0);
    let mut ticket = rig.append(0, 2);
    rig.report(1);
    assert!(positions(&mut ticket).is_some(), "it still owns the partition");
    let (order, begun) = rig.partition.take(sent(), full);
    assert!(begun.is_err());
    assert_eq!((order, rig.partition.in_flight()), (read_on(2), 0));
}

//! What a purge gives back in the store, and that the rest is still right after it.

use crate::model::affinity::Fit;
use crate::model::array::{ArraySpec, Span};
use crate::model::event::{Allocation, Event, FailCause, Failure, Next, Stamped};
use crate::model::id::{LeaseNo, PartitionId, Position, TaskSeq};
use crate::model::job::{CancelMode, JobChange};
use crate::model::key::Hash128;
use crate::model::time::WallMs;
use crate::model::view::{Order, TaskQuery, TextAt};
use crate::store::memory::MemoryStore;
use crate::store::test_rig::spec;
use crate::store::{BlockKey, Kind, StoredText, TaskTexts, Tracker};

const P0: PartitionId = PartitionId(0);

/// No list here asks for tags.
struct NoTexts;

impl TaskTexts for NoTexts {
    fn texts(&self, _: &[TextAt]) -> Result<Vec<StoredText>, String> {
        Err("no text is needed".to_owned())
    }
}

/// A tracker over a store, fed record by record.
struct Feed {
    store: MemoryStore,
    tracker: Tracker,
    position: u64,
    next: u64,
}

impl Feed {
    fn new() -> Self {
        let store = MemoryStore::default();
        let tracker = Tracker::open(Box::new(store.clone()), 1, 50, WallMs(0)).expect("it opens");
        Self { store, tracker, position: 0, next: 0 }
    }

    fn push(&mut self, event: Event) {
        self.position += 7;
        let record = Stamped { at: WallMs(1_000 + self.position), event };
        self.tracker.fold(P0, &[(Position(self.position), &record)]);
        assert!(self.tracker.damage().is_none(), "{:?}", self.tracker.damage());
    }

    fn submit(&mut self, job: &str, count: u64) {
        let tasks = (0..count).map(|_| spec(job, 5, None, 0)).collect();
        self.push(Event::Submitted { first: TaskSeq(self.next), tasks });
        self.next += count;
    }

    fn array(&mut self, job: &str, count: u64) {
        let span = Span { from: 0, step: 1, count };
        let array =
            ArraySpec { task: spec(job, 5, None, 0), span, id: None, content: Hash128([0; 2]) };
        self.push(Event::SubmittedArray { first: TaskSeq(self.next), array: Box::new(array) });
        self.next += count;
    }

    fn kill(&mut self, seqs: std::ops::Range<u64>) {
        let allocation = |seq| Allocation {
            seq: TaskSeq(seq),
            attempt: 1,
            lease_ms: 1_000,
            fit: Fit::None,
            served: None,
        };
        let tasks = seqs.clone().map(allocation).collect();
        let (worker, first_lease) = ("w".into(), LeaseNo(0));
        self.push(Event::Allocated { worker, endpoint: None, first_lease, tasks });
        let failure = |seq| Failure {
            seq: TaskSeq(seq),
            attempt: 1,
            lease: LeaseNo(0),
            class: "e".into(),
            message: "m".into(),
            errors: 1,
            crashes: 0,
            next: Next::Error,
            run_ms: 1,
        };
        let tasks = seqs.map(failure).collect();
        self.push(Event::Failed { cause: FailCause::Error, tasks });
    }

    fn purge_job(&mut self, job: &str) {
        let change = JobChange::Cancel(CancelMode::Stop, None);
        self.push(Event::JobChanged { job: job.into(), change });
        self.push(Event::JobChanged { job: job.into(), change: JobChange::Purge });
    }

    /// Writes everything and opens it again.
    fn reopen(&mut self) {
        self.tracker.checkpoint().expect("memory takes everything");
        let store = Box::new(self.store.clone());
        self.tracker = Tracker::open(store, 1, 50, WallMs(0)).expect("it opens");
        assert_eq!(self.tracker.cursors(), [Position(self.position + 1)], "nothing was doubted");
    }

    fn blocks(&self, kind: Kind) -> usize {
        let first = BlockKey::new(kind, 0, 0);
        let last = BlockKey::new(kind, u16::MAX, u64::MAX);
        self.store.blocks().range(first..=last).count()
    }

    /// Tasks that are listed, oldest first.
    fn listed(&mut self) -> Vec<u64> {
        let mut query = TaskQuery { order: Order::Old, limit: 700, ..TaskQuery::default() };
        let mut all = Vec::new();
        loop {
            let page = self.tracker.list(&query, &NoTexts, 1_000).expect("readable");
            all.extend(page.rows.iter().map(|row| row.seq.0));
            query.cursor = page.next;
            if query.cursor.is_none() {
                return all;
            }
        }
    }
}

#[test]
fn a_purged_job_leaves_no_page_and_no_history() {
    let mut feed = Feed::new();
    feed.submit("keep", 10);
    for round in 0..3 {
        feed.submit("gone", 4_000);
        feed.kill(feed.next - 4_000..feed.next - 1_000);
        feed.array("gone", 20_000);
        if round == 1 {
            feed.reopen();
        }
        feed.purge_job("gone");
        assert_eq!(feed.listed(), (0..10).collect::<Vec<_>>());
    }
    feed.submit("keep", 5);
    let kept: Vec<u64> = (0..10).chain(72_010..72_015).collect();
    for _ in 0..2 {
        assert_eq!(feed.listed(), kept);
        assert_eq!(feed.tracker.task(P0, TaskSeq(30_000)), None);
        assert!(feed.tracker.task(P0, TaskSeq(72_012)).is_some());
        feed.reopen();
        assert_eq!(feed.blocks(Kind::Page), 2, "the first and the last");
        assert_eq!((feed.blocks(Kind::Details), feed.blocks(Kind::Arrays)), (0, 0));
    }
    // The open page goes on where it was.
    feed.submit("keep", 2_000);
    assert_eq!(feed.listed().len(), 2_015);
}

#[test]
fn a_page_of_a_living_array_whose_tasks_were_all_purged_is_not_untouched_again() {
    let mut feed = Feed::new();
    feed.array("mc", 5_000);
    feed.kill(1_024..2_048);
    feed.push(Event::Purged((1_024..2_048).map(TaskSeq).collect()));
    for _ in 0..2 {
        let left: Vec<u64> = (0..1_024).chain(2_048..5_000).collect();
        assert_eq!(feed.listed(), left);
        assert_eq!(feed.tracker.task(P0, TaskSeq(1_500)), None);
        feed.reopen();
    }
    feed.purge_job("mc");
    assert_eq!(feed.listed(), Vec::<u64>::new());
    feed.reopen();
    assert!(feed.blocks(Kind::Page) <= 1, "only the open one");
}

//! The tracker over sled: fold rate, bytes a task on disk, resident bytes, start, first page of a
//! list.
//!
//! `cargo bench --bench tracker` (10 M tasks), `cargo bench --bench tracker -- 1000000` for other
//! depths. Plain timing: a fill is the set-up, and one fill serves all rows. Durable: every
//! checkpoint is synced; the time of one sync of the disk decides how much of the rate is left.

use kwq::model::affinity::Fit;
use kwq::model::event::{Allocation, Completion, Event, FailCause, Failure, Next, Stamped, Start};
use kwq::model::id::{LeaseNo, Name, PartitionId, Position, TaskSeq};
use kwq::model::policy::{Backoff, Jitter};
use kwq::model::priority::Priority;
use kwq::model::state::TaskState;
use kwq::model::task::{Blob, Encoding, TaskSpec};
use kwq::model::time::WallMs;
use kwq::model::view::{Order, TaskQuery, TextAt};
use kwq::store::sled::SledStore;
use kwq::store::{StoredText, TaskTexts, Tracker};
use std::path::Path;
use std::time::Instant;

const BATCH: u64 = 100;
const P0: PartitionId = PartitionId(0);

fn main() {
    let asked: Vec<u64> = std::env::args().filter_map(|a| a.parse().ok()).collect();
    let depths = if asked.is_empty() { vec![10_000_000] } else { asked };
    for depth in depths {
        let dir = std::env::temp_dir().join(format!("kwq-bench-tracker-{}", std::process::id()));
        measure(depth, &dir);
        std::fs::remove_dir_all(&dir).ok();
    }
}

fn measure(depth: u64, dir: &Path) {
    let show = |what: &str, value: String| print_row(depth, what, &value);
    let before = resident_bytes();
    let mut rig = Rig::new(dir);
    let started = clock();
    (0..depth / BATCH).for_each(|n| rig.submit(n * BATCH));
    rig.tracker.checkpoint().expect("the disk takes it");
    rate(&show, "submit events (tasks)/s", depth, started);
    per_task(&show, "bytes/task on disk, all pending", disk_bytes(dir), depth);
    let grown = resident_bytes().saturating_sub(before);
    per_task(&show, "resident bytes/task, all pending", grown, depth);
    show("resident growth, MiB", format!("{:.0}", grown as f64 / f64::from(1u32 << 20)));

    let started = clock();
    (0..depth / BATCH).for_each(|n| rig.cycle(n * BATCH));
    rig.tracker.checkpoint().expect("the disk takes it");
    rate(&show, "allocate, start, complete events/s", depth * 3, started);
    per_task(&show, "bytes/task on disk, all completed", disk_bytes(dir), depth);
    let grown = resident_bytes().saturating_sub(before);
    show("resident growth, MiB", format!("{:.0}", grown as f64 / f64::from(1u32 << 20)));
    let (disk, started) = (disk_bytes(dir), clock());
    let failing = depth / 10;
    (0..failing / BATCH).for_each(|n| rig.fail(depth + n * BATCH));
    rig.tracker.checkpoint().expect("the disk takes it");
    rate(&show, "submit, allocate, fail, allocate events/s", failing * 4, started);
    let more = disk_bytes(dir).saturating_sub(disk);
    per_task(&show, "bytes/task on disk, failed once", more, failing);
    let Rig { tracker, .. } = rig;
    drop(tracker);

    let started = clock();
    let mut tracker = open(dir);
    show("start, every block checked, ms", format!("{:.0}", ms(started)));
    let errors = TaskQuery { states: 1 << TaskState::Error.index(), ..query() };
    for (what, query) in [("newest 100", query()), ("100 in ERROR, none there", errors)] {
        let started = clock();
        let page = tracker.list(&query, &NoTexts, 100_000).expect("no texts are needed");
        let text =
            format!("{:.3} ms, {} rows, {} looked at", ms(started), page.rows.len(), page.scanned);
        show(&format!("list: {what}"), text);
    }
    let started = clock();
    let none = TaskQuery { worker: Some("worker-7".into()), since: WallMs(1), ..query() };
    let page = tracker.list(&TaskQuery { limit: 100_000, ..none }, &NoTexts, 100_000);
    let looked = page.expect("no texts are needed").scanned;
    show("list: ns a row looked at", format!("{:.0}", ms(started) * 1e6 / looked as f64));
}

#[expect(clippy::print_stdout, reason = "a benchmark reports on stdout")]
fn print_row(depth: u64, what: &str, value: &str) {
    println!("{depth:>10} {what:<44} {value}");
}

fn query() -> TaskQuery {
    TaskQuery { order: Order::New, limit: 100, ..TaskQuery::default() }
}

struct Rig {
    tracker: Tracker,
    position: u64,
    lease: u64,
    specs: Vec<TaskSpec>,
}

impl Rig {
    fn new(dir: &Path) -> Self {
        let specs = (0..BATCH).map(|n| spec(n % 20)).collect();
        Self { tracker: open(dir), position: 1, lease: 0, specs }
    }

    fn fold(&mut self, at: u64, event: Event) {
        self.position += 9_973;
        let record = Stamped { at: WallMs(1_800_000_000_000 + at), event };
        self.tracker.fold(P0, &[(Position(self.position), &record)]);
    }

    fn submit(&mut self, first: u64) {
        let tasks = self.specs.clone();
        self.fold(first / 300, Event::Submitted { first: TaskSeq(first), tasks });
    }

    /// A batch out and back, near the order of admission but not in it, as priorities make it.
    fn cycle(&mut self, first: u64) {
        let at = 60_000 + first / 100;
        let seqs: Vec<TaskSeq> = (0..BATCH).map(|n| TaskSeq(first + (n * 37) % BATCH)).collect();
        let worker = Name::from(format!("worker-{}", first / BATCH % 500));
        let tasks = seqs.iter().map(|seq| Allocation {
            seq: *seq,
            attempt: 1,
            lease_ms: 30_000,
            fit: Fit::None,
            served: None,
        });
        let tasks = tasks.collect();
        let first_lease = LeaseNo(self.lease);
        self.lease += BATCH;
        self.fold(at, Event::Allocated { worker, endpoint: None, first_lease, tasks });
        let starts = seqs.iter().map(|seq| Start { seq: *seq, attempt: 1 });
        self.fold(at + 3, Event::Started(starts.collect()));
        let done = |seq: &TaskSeq| Completion {
            seq: *seq,
            attempt: 1,
            lease: LeaseNo(0),
            late: false,
            run_ms: 40,
            result: Some(Blob { encoding: Encoding::Text, bytes: vec![b'1'; 16] }),
        };
        self.fold(at + 40 + first % 23, Event::Completed(seqs.iter().map(done).collect()));
    }
}

impl Rig {
    /// A batch that is handed out, fails and is handed out again.
    fn fail(&mut self, first: u64) {
        self.submit(first);
        let seqs = || (first..first + BATCH).map(TaskSeq);
        for attempt in 1..=2 {
            let grant =
                |seq| Allocation { seq, attempt, lease_ms: 30_000, fit: Fit::None, served: None };
            let tasks = seqs().map(grant).collect();
            let (worker, first_lease) = ("worker-1".into(), LeaseNo(self.lease));
            self.fold(first / 100, Event::Allocated { worker, endpoint: None, first_lease, tasks });
            if attempt == 2 {
                return;
            }
            let failure = |seq| Failure {
                seq,
                attempt,
                lease: LeaseNo(0),
                class: "pricer.nan".into(),
                message: "the volatility surface has no point at 25y".into(),
                errors: 1,
                crashes: 0,
                next: Next::Pending,
                run_ms: 40,
            };
            let tasks = seqs().map(failure).collect();
            self.fold(first / 100, Event::Failed { cause: FailCause::Error, tasks });
        }
    }
}

fn spec(job: u64) -> TaskSpec {
    TaskSpec {
        id: None,
        job: Name::from(format!("job-{job}")),
        priority: Priority::new(job % 9 + 1).expect("1 to 9"),
        tag: None,
        payload: Blob { encoding: Encoding::Text, bytes: vec![b'x'; 64] },
        affinity: Vec::new(),
        source: None,
        meta: None,
        timeout_s: 0,
        lease_ms: 0,
        max_attempts: 4,
        max_crashes: 5,
        backoff: Backoff { base_ms: 1_000, cap_ms: 300_000, jitter: Jitter::Full },
        not_before: WallMs(0),
        traceparent: None,
        content: None,
        element: None,
    }
}

struct NoTexts;

impl TaskTexts for NoTexts {
    fn texts(&self, _: &[TextAt]) -> Result<Vec<StoredText>, String> {
        Err("no filter of this bench asks for texts".to_owned())
    }
}

fn open(dir: &Path) -> Tracker {
    let store = SledStore::open(dir).expect("the store opens");
    Tracker::open(Box::new(store), 1, 5_000, WallMs(0)).expect("the tracker opens")
}

fn rate(show: &dyn Fn(&str, String), what: &str, count: u64, started: Instant) {
    show(what, format!("{:.0}", count as f64 / started.elapsed().as_secs_f64()));
}

fn per_task(show: &dyn Fn(&str, String), what: &str, bytes: u64, depth: u64) {
    show(what, format!("{:.1}", bytes as f64 / depth as f64));
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn clock() -> Instant {
    Instant::now()
}

fn ms(started: Instant) -> f64 {
    started.elapsed().as_secs_f64() * 1_000.0
}

fn disk_bytes(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(found) if found.is_dir() => disk_bytes(&entry.path()),
            // Blocks of 512 B that are really allocated: sled's file has holes.
            Ok(found) => std::os::unix::fs::MetadataExt::blocks(&found) * 512,
            Err(_) => 0,
        })
        .sum()
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmRSS")).unwrap_or_default();
    let kib: u64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0);
    kib << 10
}

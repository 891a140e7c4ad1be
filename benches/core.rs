//! ns per operation of the pure partition at 1 k, 1 M and 50 M pending tasks, and bytes per pending
//! task; then the same with 10,000 affinity keys and 64 workers that hold 100 of them each, and
//! bytes per posting.
//!
//! `cargo bench --bench core` (all depths need about 2 GiB), `cargo bench --bench core -- 1000
//! 1000000` for some.
//! Plain timing instead of a statistics harness: filling 50 M tasks is the set-up, and one fill
//! serves all rows.

use kwq::core::partition::Partition;
use kwq::model::affinity::{AffinityKey, AffinityMode};
use kwq::model::command::{ALL_LEVELS, Command, Consume};
use kwq::model::event::{Event, Stamped};
use kwq::model::id::{Name, PartitionId, Position};
use kwq::model::policy::Policy;
use kwq::model::priority::Priority;
use kwq::model::reply::{Grant, Reply};
use kwq::model::report::{Outcome, Report, Verb};
use kwq::model::task::TaskInput;
use kwq::model::time::{Now, Tick, WallMs};
use std::time::Instant;

const BATCH: u64 = 1_000;
const MEASURED: u64 = 200_000;
const KEYS: u64 = 10_000;
const WORKERS: u64 = 64;
/// Keys a worker names; it learns as many more.
const WARM: u64 = 36;

fn main() {
    let asked: Vec<u64> = std::env::args().filter_map(|a| a.parse().ok()).collect();
    let depths = if asked.is_empty() { vec![1_000, 1_000_000, 50_000_000] } else { asked };
    report("depth", &["submit", "consume", "complete", "bytes/task"].map(String::from));
    for depth in &depths {
        let depth = *depth;
        let before = resident_bytes();
        let mut rig = Rig::new();
        let fill = rig.fill(depth, 0);
        let bytes = resident_bytes().saturating_sub(before) as f64 / depth as f64;
        let (consume, complete) = rig.cycle(MEASURED.min(depth * 10));
        let row = [fill, consume, complete].map(|ns| format!("{ns:.0} ns"));
        let mut row = row.to_vec();
        row.push(format!("{bytes:.1}"));
        report(&depth.to_string(), &row);
    }
    let columns = ["submit", "consume", "complete", "bytes/task", "B/posting", "hits %"];
    report("affinity", &columns.map(String::from));
    for depth in depths {
        let before = resident_bytes();
        let mut rig = Rig::new();
        let fill = rig.fill(depth, KEYS);
        let bytes = resident_bytes().saturating_sub(before) as f64 / depth as f64;
        let posting = rig.partition.posting_bytes() as f64 / depth as f64;
        rig.keys = KEYS;
        let (consume, complete) = rig.cycle(MEASURED.min(depth * 10));
        let row = [fill, consume, complete].map(|ns| format!("{ns:.0} ns"));
        let mut row = row.to_vec();
        row.extend([bytes, posting, rig.hit_percent()].map(|n| format!("{n:.1}")));
        report(&depth.to_string(), &row);
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn started() -> Instant {
    Instant::now()
}

struct Rig {
    partition: Partition,
    events: Vec<Stamped>,
    now: Now,
    /// Affinity keys of what is submitted by the cycle; 0 = none.
    keys: u64,
}

impl Rig {
    fn new() -> Self {
        let mut partition = Partition::new(PartitionId(0), Policy::default(), 1);
        let token_key = [1, 2];
        let owner = Event::Owner { node: "bench".into(), addr: "".into(), token_key };
        partition.replay(Position(0), &Stamped { at: WallMs(1), event: owner });
        let now = Now { wall: WallMs(1_800_000_000_000), tick: Tick(0) };
        partition.arm(now);
        Self { partition, events: Vec::new(), now, keys: 0 }
    }

    /// Hits of the hand-outs with keys on both sides.
    fn hit_percent(&self) -> f64 {
        let [_, hits, misses] = self.partition.stats().fits;
        100.0 * hits as f64 / (hits + misses).max(1) as f64
    }

    fn run(&mut self, command: Command) -> Reply {
        self.events.clear();
        self.partition.decide(command, self.now, &mut self.events)
    }

    /// Fills to `depth` over three priorities, with a key of so many by chance; ns per task.
    fn fill(&mut self, depth: u64, keys: u64) -> f64 {
        let mut spent = 0.0;
        let mut left = depth;
        while left > 0 {
            let count = left.min(BATCH);
            let task = |n: u64| TaskInput {
                priority: Priority::new(4 + n / 100 % 3),
                affinity: affinity(left - n, keys),
                ..TaskInput::default()
            };
            let tasks: Vec<TaskInput> = (0..count).map(task).collect();
            let start = started();
            self.run(Command::submit(tasks));
            spent += start.elapsed().as_nanos() as f64;
            left -= count;
        }
        spent / depth as f64
    }

    /// Consumes and completes in batches of 100, refilling what was taken; ns per task of each.
    fn cycle(&mut self, tasks: u64) -> (f64, f64) {
        let (mut consume, mut complete, mut done) = (0.0, 0.0, 0u64);
        while done < tasks {
            let wish = if self.keys == 0 { wish() } else { warm_wish(done / 100 % WORKERS) };
            let start = started();
            let Reply::Granted(grants) = self.run(Command::Consume(wish)) else {
                return (0., 0.);
            };
            consume += start.elapsed().as_nanos() as f64;
            let reports: Vec<Report> = grants.iter().map(finish).collect();
            let start = started();
            let told = self.run(Command::Report(reports));
            complete += start.elapsed().as_nanos() as f64;
            assert!(
                matches!(told, Reply::Reported(all) if all.iter().all(|o| o.outcome == Outcome::Ok))
            );
            done += grants.len() as u64;
            let keys = self.keys;
            let task = |n| TaskInput { affinity: affinity(done + n, keys), ..TaskInput::default() };
            let refill = (0..grants.len() as u64).map(task).collect();
            self.run(Command::submit(refill));
        }
        (consume / done as f64, complete / done as f64)
    }
}

/// One key of `keys`, by chance.
fn affinity(number: u64, keys: u64) -> Option<Vec<AffinityKey>> {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let key = mixed.checked_rem(keys)?;
    Some(vec![AffinityKey { key: name(key), weight: 1 }])
}

fn name(key: u64) -> Name {
    Name::from(format!("curve={key}"))
}

/// A worker that holds neighbouring keys.
fn warm_wish(worker: u64) -> Consume {
    Consume {
        worker: Name::from(format!("w{worker}")),
        warm: (0..WARM).map(|n| name((worker * 151 + n) % KEYS)).collect(),
        mode: AffinityMode::Prefer,
        ..wish()
    }
}

fn wish() -> Consume {
    Consume {
        worker: "bench".into(),
        endpoint: None,
        max: 100,
        target_ms: None,
        peers: 1,
        max_bytes: u64::MAX,
        spent: Default::default(),
        lease_ms: None,
        seed_lease: false,
        levels: ALL_LEVELS,
        jobs: Vec::new(),
        scopes: Default::default(),
        warm: Vec::new(),
        mode: AffinityMode::Any,
    }
}

fn finish(grant: &Grant) -> Report {
    let verb = Verb::Complete { result: None, run_ms: Some(1) };
    Report { token: Some(grant.token), worker: None, verb }
}

/// Resident set without page cache, from the kernel's own table.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("RssAnon:")).unwrap_or_default();
    let kib = line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    kib * 1_024
}

fn report(first: &str, columns: &[String]) {
    use std::io::Write as _;
    let row: String = columns.iter().map(|c| format!("{c:>14}")).collect();
    writeln!(std::io::stdout(), "{first:>10}{row}").expect("standard output is open");
}

//! The snapshot keeps its size.

use super::*;
use crate::actor::request::PartitionView;
use crate::config::Config;
use crate::model::id::{Name, PartitionId, Position};
use crate::model::priority::Priority;
use crate::model::state::{StateCounts, TaskState};
use crate::model::view::QueueView;

/// A job of the longest name with large numbers.
fn large(number: u8) -> JobView {
    let id = format!("{:x<1$}", number, crate::model::limits::NAME_BYTES_MAX);
    let mut job = crate::actor::feed::tests::job(&id, 50_000_000);
    job.numbers.counts = StateCounts([50_000_000; TaskState::COUNT]);
    job.eta = Some(WallMs(1_795_522_051_000));
    job
}

fn level(priority: &Priority) -> QueueView {
    QueueView {
        priority: *priority,
        paused: false,
        counts: StateCounts([50_000_000; TaskState::COUNT]),
        oldest_pending: WallMs(1_795_522_051_000),
        jobs: 10_000,
        in_per_sec: 123_456.789,
        out_per_sec: 123_456.789,
    }
}

#[test]
fn a_snapshot_of_large_numbers_and_long_names_has_at_most_5_kb() {
    let partition = |number| PartitionView {
        partition: PartitionId(number),
        owner: Name::from("kwq-0.kwq.compute.svc"),
        epoch: 1,
        state: "REPLAYING",
        position: Position(1),
        replay: 0.123,
        pending: 1,
    };
    let mut now = StatsNow {
        ts: WallMs(1_795_522_151_000),
        verdict: "warn",
        verdict_text: "50000000 waiting, nobody works on them; oldest 23 h".to_owned(),
        counts: StateCounts([50_000_000; TaskState::COUNT]),
        submitted: 400_000_000,
        purged: 400_000_000,
        queues: Priority::DESCENDING.iter().map(level).collect(),
        rates: [123_456.789; 4],
        wait_ms: [33_554_431; 3],
        workers: [10_000; 4],
        consumers_waiting: 10_000,
        leases: 100_000,
        affinity: (400_000_000, 400_000_000),
        jobs: (0..10).map(large).collect(),
        partitions: (0..Config::default().log.partitions).map(partition).collect(),
    };
    let body = snapshot(&now);
    assert!(body.len() <= 5_000, "{} B: {}", body.len(), String::from_utf8_lossy(&body));
    let jobs = |body: &[u8]| String::from_utf8_lossy(body).matches("\"id\":").count();
    assert_eq!(jobs(&body), 10, "all of them, although their names are long");
    // Each character is two in JSON.
    let quoted = |job: &mut JobView| job.id = Name::from(job.id.replace('x', "\""));
    now.jobs.iter_mut().for_each(quoted);
    let body = snapshot(&now);
    assert!(body.len() <= 5_000 && (1..10).contains(&jobs(&body)), "{} B", body.len());
}

//! The lines of the dump, kind by kind, as the interface document has them.

use super::*;
use crate::codec::dump::References;
use crate::model::affinity::Fit;
use crate::model::event::{Allocation, Completion, FailCause, Failure, Release, ReleaseCause};
use crate::model::id::{Epoch, LeaseNo, PartitionId, Position, TaskSeq};
use crate::model::policy::Backoff;
use crate::model::priority::Priority;
use crate::model::task::{Blob, Encoding};
use crate::model::time::WallMs;

fn task(priority: u64, payload: &[u8], not_before: u64) -> TaskSpec {
    TaskSpec {
        id: (not_before == 0).then(|| "c-1".into()),
        job: "nightly".into(),
        priority: Priority::new(priority).unwrap(),
        tag: Some("urgent, desk:rates".into()),
        payload: Blob { encoding: Encoding::Text, bytes: payload.to_vec() },
        affinity: vec![AffinityKey { key: "k".into(), weight: 3 }],
        source: None,
        meta: None,
        timeout_s: 0,
        lease_ms: 0,
        max_attempts: 4,
        max_crashes: 5,
        backoff: Backoff { base_ms: 1, cap_ms: 2, jitter: Jitter::Full },
        not_before: WallMs(not_before),
        traceparent: None,
        content: None,
        element: None,
    }
}

/// The fields beside the common ones of the line of an event, after tasks 40 (priority 7) and 41
/// (2) were submitted.
fn fields(event: Event) -> Value {
    let partition = PartitionId(3);
    let mut references = References::default();
    let tasks = vec![task(7, b"abc", 0), task(2, b"", 9_000)];
    references.learn(partition, &Event::Submitted { first: TaskSeq(40), tasks });
    let record = DumpRecord {
        position: Position(4_711),
        partition,
        epoch: Epoch(4_602),
        refs: references.of(partition, &event),
        body: DumpBody::Event(Stamped { at: WallMs(1_000), event }),
    };
    let mut line: Value = serde_json::from_str(&dump_json(&record)).unwrap();
    let out = line.as_object_mut().unwrap();
    let common = ["partition", "position", "epoch", "at_ts"].map(|key| out.remove(key).unwrap());
    assert_eq!(json!(common), json!([3, "4711", "4602", 1_000]));
    line
}

#[test]
fn a_seal_says_up_to_where_the_log_was_synced() {
    let record = DumpRecord {
        position: Position(9),
        partition: PartitionId(0),
        epoch: Epoch(5),
        body: DumpBody::Seal { at: WallMs(7), synced_to: Position(8) },
        refs: Vec::new(),
    };
    let expected = json!({"partition": 0, "position": "9", "epoch": "5", "kind": "Seal",
        "at_ts": 7, "syncedTo": "8"});
    assert_eq!(serde_json::from_str::<Value>(&dump_json(&record)).unwrap(), expected);
}

#[test]
fn an_owner_keeps_its_key_secret() {
    let owner = Event::Owner { node: "n".into(), addr: "a".into(), token_key: [77, 78] };
    assert_eq!(fields(owner), json!({"kind": "Owner", "node": "n", "addr": "a"}));
}

#[test]
fn submitted_tasks_show_size_and_hash_instead_of_the_payload() {
    let tasks = vec![task(7, b"abc", 0), task(2, b"", 9_000)];
    let line = fields(Event::Submitted { first: TaskSeq(40), tasks });
    let common = json!([{"key": "k", "weight": 3}]);
    let expected = json!({"kind": "Submitted", "tasks": [
        {"ref": "7-3-40", "id": "c-1", "job": "nightly", "priority": 7,
         "tags": ["urgent", "desk:rates"], "affinity": common, "state": "PENDING",
         "payloadBytes": 3, "payloadSha256":
         "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"ref": "2-3-41", "job": "nightly", "priority": 2,
         "tags": ["urgent", "desk:rates"], "affinity": common, "state": "DELAYED",
         "notBefore_ts": 9_000, "payloadBytes": 0, "payloadSha256":
         "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
    ]});
    assert_eq!(line, expected);
}

#[test]
fn hand_outs_name_reference_attempt_and_lease_number() {
    let grant = |seq, fit| Allocation {
        seq: TaskSeq(seq),
        attempt: 1,
        lease_ms: 30_000,
        fit,
        served: None,
    };
    let (worker, endpoint) = ("w17".into(), Some("h:1".into()));
    let tasks = vec![grant(41, Fit::None), grant(40, Fit::Hit)];
    let line = fields(Event::Allocated { worker, endpoint, first_lease: LeaseNo(981), tasks });
    let expected = json!({"kind": "Allocated", "worker": "w17", "endpoint": "h:1", "tasks": [
        {"ref": "2-3-41", "attempt": 1, "lease": 981, "leaseMs": 30_000},
        {"ref": "7-3-40", "attempt": 1, "lease": 982, "leaseMs": 30_000, "affinity": "hit"},
    ]});
    assert_eq!(line, expected);
}

#[test]
fn reports_name_what_became_of_the_task() {
    let (seq, lease) = (TaskSeq(40), LeaseNo(5));
    let result = Some(Blob { encoding: Encoding::Text, bytes: b"1234".to_vec() });
    let done = Completion { seq, attempt: 2, lease, late: true, run_ms: 9, result };
    let row = json!([{"ref": "7-3-40", "attempt": 2, "late": true, "resultBytes": 4}]);
    assert_eq!(fields(Event::Completed(vec![done])), json!({"kind": "Completed", "tasks": row}));

    let failure = |next| Failure {
        seq,
        attempt: 2,
        lease,
        class: "oom".into(),
        message: "secret".into(),
        errors: 1,
        crashes: 2,
        next,
        run_ms: 3,
    };
    let failed = |cause, next| fields(Event::Failed { cause, tasks: vec![failure(next)] });
    let row = json!([{"ref": "7-3-40", "attempt": 2, "class": "oom", "errors": 1, "crashes": 2,
        "to": "DELAYED", "due_ts": 77}]);
    let expected = json!({"kind": "TimedOut", "tasks": row});
    assert_eq!(failed(FailCause::Timeout, Next::Delayed(WallMs(77))), expected);
    let ends = [Next::Pending, Next::Error, Next::Cancelled];
    let words = ends.map(|next| failed(FailCause::Crash, next)["tasks"][0]["to"].clone());
    assert_eq!(json!(words), json!(["PENDING", "ERROR", "CANCELLED"]));

    let back = Release { seq, attempt: 2, lease, next: Next::Delayed(WallMs(8)) };
    let line = fields(Event::Released { cause: ReleaseCause::Undelivered, tasks: vec![back] });
    let row = json!([{"ref": "7-3-40", "attempt": 2, "cause": "undelivered", "due_ts": 8}]);
    assert_eq!(line, json!({"kind": "Released", "tasks": row}));
}

#[test]
fn verbs_on_jobs_levels_and_tasks_are_complete() {
    let change = |change| fields(Event::JobChanged { job: "j".into(), change });
    let cancel = change(JobChange::Cancel(CancelMode::DropQueued, Some("why".into())));
    let expected = json!({"kind": "JobChanged", "job": "j", "change": "cancel",
        "mode": "drop-queued", "reason": "why"});
    assert_eq!(cancel, expected);
    let moved = change(JobChange::Prioritise(Priority::new(9).unwrap()));
    assert_eq!(json!([moved["change"], moved["priority"]]), json!(["prioritise", 9]));
    let level = Event::LevelChanged { level: None, paused: true };
    let expected = json!({"kind": "LevelChanged", "level": "all", "paused": true});
    assert_eq!(fields(level), expected);
    let redriven = Event::Redriven { tasks: vec![TaskSeq(41)], priority: Priority::new(9) };
    let expected = json!({"kind": "Redriven", "priority": 9, "tasks": [{"ref": "2-3-41"}]});
    assert_eq!(fields(redriven), expected);
    let cancelled = fields(Event::Cancelled(vec![TaskSeq(40)]));
    assert_eq!(cancelled, json!({"kind": "Cancelled", "tasks": [{"ref": "7-3-40"}]}));
}

#[test]
fn an_inbox_says_how_far_it_was_taken_and_what_was_lost() {
    let event = Event::Inbox { level: Priority::DEFAULT, from: 300, next: 1_300, lost: 7 };
    let expected = json!({"kind": "Inbox", "level": 5, "from": 300, "next": 1_300, "lost": 7});
    assert_eq!(fields(event), expected);
}

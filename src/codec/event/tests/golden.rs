//! One event or more of every kind, whose bytes are golden.

use super::*;

pub(super) fn golden() -> Vec<Event> {
    let completion = |seq, result: Option<&[u8]>| Completion {
        seq: TaskSeq(seq),
        attempt: 1,
        lease: LeaseNo(500 + seq),
        late: seq == 42,
        run_ms: 250,
        result: result.map(|b| Blob { encoding: Encoding::Text, bytes: b.to_vec() }),
    };
    let failure = Failure {
        seq: TaskSeq(9),
        attempt: 2,
        lease: LeaseNo(77),
        class: "oom".into(),
        message: "out of memory".into(),
        errors: 1,
        crashes: 0,
        next: Next::Delayed(WallMs(1_760_000_000_000)),
        run_ms: 3,
    };
    let release = Release { seq: TaskSeq(3), attempt: 1, lease: LeaseNo(4), next: Next::Cancelled };
    let allocation = |seq| Allocation {
        seq: TaskSeq(seq),
        attempt: 1,
        lease_ms: 30_000,
        fit: Fit::None,
        served: None,
    };
    let spec = JobSpec {
        name: Some("Nightly".into()),
        priority: Priority::DEFAULT,
        weight: 2,
        tag: None,
        dedup: Dedup::Batch,
        retention_ms: 604_800_000,
        paused: false,
        defaults: JobDefaults { timeout_s: Some(60), ..JobDefaults::default() },
    };
    let mut events = vec![
        Event::Owner { node: "n1".into(), addr: "a:1".into(), token_key: [1, 2] },
        Event::JobDefined { job: "nightly".into(), implicit: false, spec },
        Event::JobChanged {
            job: "nightly".into(),
            change: JobChange::Cancel(CancelMode::DropQueued, Some("late".into())),
        },
        Event::LevelChanged { level: Priority::new(9), paused: true },
        Event::Submitted {
            first: TaskSeq(40),
            tasks: vec![plain_task("a", b"[1]"), plain_task("b", b"{}")],
        },
        Event::Allocated {
            worker: "w17".into(),
            endpoint: None,
            first_lease: LeaseNo(981),
            tasks: vec![allocation(40), allocation(41), allocation(7)],
        },
        Event::Started(vec![Start { seq: TaskSeq(40), attempt: 1 }]),
        Event::Completed(vec![completion(41, Some(b"ok")), completion(42, None)]),
        Event::Failed { cause: FailCause::Error, tasks: vec![failure] },
        Event::Released { cause: ReleaseCause::Worker, tasks: vec![release] },
        Event::Cancelled(vec![TaskSeq(1), TaskSeq(2), TaskSeq(1_000)]),
        Event::Redriven { tasks: vec![TaskSeq(9)], priority: Priority::new(9) },
    ];
    events.extend(golden_identity());
    events.extend(golden_of_later_kinds());
    events.extend(golden_of_bulk_work());
    events
}

fn golden_identity() -> Vec<Event> {
    let ok = Told::Admitted { priority: Priority::DEFAULT, first: TaskSeq(40), count: 2 };
    let array = |duplicate| Told::Array {
        priority: Priority::DEFAULT,
        first: TaskSeq(42),
        count: 16_666_667,
        duplicate,
    };
    let refused = Told::Refused(Box::new(Refusal {
        code: "id_conflict".into(),
        detail: "other".into(),
        field: Some("id".into()),
        hint: None,
        existing: TaskRef::parse("5-0-7"),
    }));
    vec![
        Event::Key { part: key_part(2), answer: KeyAnswer::Tasks(vec![ok, refused]) },
        Event::Key { part: key_part(2), answer: KeyAnswer::Tasks(vec![array(false), array(true)]) },
        Event::Key { part: key_part(KeyPart::DONE), answer: KeyAnswer::Note(b"note".to_vec()) },
        Event::Duplicates(vec![("nightly".into(), 3)]),
    ]
}

fn golden_of_later_kinds() -> Vec<Event> {
    let fits = [(40, Fit::Hit), (41, Fit::Miss), (42, Fit::None), (43, Fit::None), (44, Fit::Hit)];
    let allocation = |(seq, fit)| Allocation {
        seq: TaskSeq(seq),
        attempt: 1,
        lease_ms: 30_000,
        fit,
        served: None,
    };
    vec![
        Event::SubmittedArray {
            first: TaskSeq(42),
            array: Box::new(ArraySpec {
                task: TaskSpec { id: None, ..plain_task("", b"{\"path\":{i}}") },
                span: Span { from: 1, step: 3, count: 16_666_667 },
                id: Some("paths".into()),
                content: Hash128([5, 6]),
            }),
        },
        Event::Allocated {
            worker: "w17".into(),
            endpoint: None,
            first_lease: LeaseNo(981),
            tasks: fits.map(allocation).to_vec(),
        },
    ]
}

fn golden_of_bulk_work() -> Vec<Event> {
    let came_in_dead = Failure {
        seq: TaskSeq(41),
        attempt: 0,
        lease: LeaseNo(0),
        class: "malformed".into(),
        message: "no".into(),
        errors: 0,
        crashes: 0,
        next: Next::Error,
        run_ms: 0,
    };
    vec![
        Event::Operation {
            op: OpNo(12),
            step: OpStep::Started {
                spec: Box::new(OpSpec {
                    kind: OpKind::Redrive,
                    filter: "{\"job\":\"a\"}".into(),
                    job: Some("a".into()),
                    scopes: vec!["eod-".into()],
                    by: "ops-2".into(),
                    priority: Priority::new(8),
                }),
                matched: 3,
                tasks: vec![TaskSeq(3), TaskSeq(4), TaskSeq(900)],
            },
        },
        Event::Operation {
            op: OpNo(12),
            step: OpStep::Progress { upto: TaskSeq(900), done: 2, skipped: 1 },
        },
        Event::Operation { op: OpNo(12), step: OpStep::Stopped },
        Event::Purged(vec![TaskSeq(5), TaskSeq(6)]),
        Event::JobChanged { job: "nightly".into(), change: JobChange::Purge },
        Event::Failed { cause: FailCause::Error, tasks: vec![came_in_dead] },
        Event::Inbox { level: Priority::DEFAULT, from: 300, next: 1_300, lost: 7 },
    ]
}

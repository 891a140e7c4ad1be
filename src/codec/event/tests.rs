//! Round trips, golden bytes, sizes, and bodies that nobody wrote.

use super::*;
use crate::codec::event::arrays::decode_element;
use crate::codec::event::batches::decode_result;
use crate::codec::event::submitted::decode_task;
use crate::model::affinity::{AffinityKey, Fit};
use crate::model::array::{ArraySpec, Span};
use crate::model::event::{
    Allocation, Completion, FailCause, Failure, Next, Release, ReleaseCause, Start,
};
use crate::model::id::{LeaseNo, Name, PartitionId, TaskSeq};
use crate::model::job::{CancelMode, Dedup, JobChange, JobDefaults, JobSpec};
use crate::model::key::{Digest, Hash128, KeyAnswer, KeyPart, Refusal, Told};
use crate::model::operation::{OpKind, OpNo, OpSpec, OpStep};
use crate::model::policy::{Backoff, Jitter};
use crate::model::priority::Priority;
use crate::model::reference::TaskRef;
use crate::model::task::{BackoffInput, Blob, Encoding, TaskSpec};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

mod golden;

use golden::golden;

fn name() -> impl Strategy<Value = Name> {
    "[a-cé]{0,6}".prop_map(Name::from)
}

fn seq() -> impl Strategy<Value = TaskSeq> {
    prop_oneof![0..200u64, any::<u64>()].prop_map(TaskSeq)
}

fn priority() -> impl Strategy<Value = Priority> {
    (1..=9u64).prop_map(|p| Priority::new(p).unwrap())
}

fn blob() -> impl Strategy<Value = Blob> {
    let encodings = [Encoding::Text, Encoding::Json, Encoding::Base64];
    (prop::sample::select(encodings.to_vec()), vec(any::<u8>(), 0..20))
        .prop_map(|(encoding, bytes)| Blob { encoding, bytes })
}

fn keys() -> impl Strategy<Value = Vec<AffinityKey>> {
    vec((name(), any::<u8>()).prop_map(|(key, weight)| AffinityKey { key, weight }), 0..3)
}

fn jitter() -> impl Strategy<Value = Jitter> {
    prop_oneof![Just(Jitter::Full), Just(Jitter::None)]
}

fn task() -> impl Strategy<Value = TaskSpec> {
    let texts = (of(name()), name(), of(name()), of(name()), of(name()), of(name()));
    let numbers = (any::<u32>(), any::<u32>(), any::<u8>(), any::<u8>(), any::<u64>());
    let backoff = (any::<u32>(), any::<u32>(), jitter());
    (texts, numbers, backoff, priority(), blob(), keys()).prop_map(
        |(texts, numbers, backoff, priority, payload, affinity)| TaskSpec {
            element: None,
            id: texts.0,
            job: texts.1,
            priority,
            tag: texts.2,
            payload,
            affinity,
            source: texts.3,
            meta: texts.4,
            timeout_s: numbers.0,
            lease_ms: numbers.1,
            max_attempts: numbers.2,
            max_crashes: numbers.3,
            backoff: Backoff { base_ms: backoff.0, cap_ms: backoff.1, jitter: backoff.2 },
            not_before: WallMs(numbers.4),
            traceparent: texts.5,
            content: (numbers.4 % 3 == 0).then_some(Hash128([numbers.4, 7])),
        },
    )
}

fn defaults() -> impl Strategy<Value = JobDefaults> {
    let texts = (of(name()), of(keys()), of(name()), of(name()));
    let numbers = (of(any::<u32>()), of(any::<u32>()), of(any::<u8>()), of(any::<u8>()));
    let backoff = (of(any::<u32>()), of(any::<u32>()), of(jitter()));
    (texts, numbers, backoff).prop_map(|(texts, numbers, backoff)| JobDefaults {
        tag: texts.0,
        affinity: texts.1,
        source: texts.2,
        meta: texts.3,
        timeout_s: numbers.0,
        lease_ms: numbers.1,
        max_attempts: numbers.2,
        max_crashes: numbers.3,
        backoff: BackoffInput { base_ms: backoff.0, cap_ms: backoff.1, jitter: backoff.2 },
    })
}

fn job_spec() -> impl Strategy<Value = JobSpec> {
    let dedup = prop_oneof![Just(Dedup::Batch), Just(Dedup::Task)];
    let parts = (of(name()), priority(), any::<u16>(), of(name()), dedup);
    (parts, any::<u64>(), any::<bool>(), defaults()).prop_map(
        |(parts, retention_ms, paused, defaults)| JobSpec {
            name: parts.0,
            priority: parts.1,
            weight: parts.2,
            tag: parts.3,
            dedup: parts.4,
            retention_ms,
            paused,
            defaults,
        },
    )
}

fn change() -> impl Strategy<Value = JobChange> {
    let mode = prop_oneof![Just(CancelMode::Stop), Just(CancelMode::DropQueued)];
    prop_oneof![
        Just(JobChange::Close),
        Just(JobChange::Pause),
        Just(JobChange::Resume),
        (mode, of(name())).prop_map(|(mode, reason)| JobChange::Cancel(mode, reason)),
        priority().prop_map(JobChange::Prioritise),
        any::<u16>().prop_map(JobChange::Weight),
        any::<u64>().prop_map(JobChange::Retention),
        Just(JobChange::Purge),
    ]
}

fn next() -> impl Strategy<Value = Next> {
    prop_oneof![
        Just(Next::Pending),
        Just(Next::Error),
        Just(Next::Cancelled),
        any::<u64>().prop_map(|at| Next::Delayed(WallMs(at))),
    ]
}

fn completion() -> impl Strategy<Value = Completion> {
    (seq(), any::<u32>(), any::<u64>(), any::<bool>(), any::<u64>(), of(blob())).prop_map(
        |(seq, attempt, lease, late, run_ms, result)| Completion {
            seq,
            attempt,
            lease: LeaseNo(lease),
            late,
            run_ms,
            result,
        },
    )
}

fn failure() -> impl Strategy<Value = Failure> {
    let numbers = (any::<u32>(), any::<u64>(), any::<u8>(), any::<u8>(), any::<u64>());
    (seq(), numbers, name(), name(), next()).prop_map(|(seq, numbers, class, message, next)| {
        Failure {
            seq,
            attempt: numbers.0,
            lease: LeaseNo(numbers.1),
            class,
            message,
            errors: numbers.2,
            crashes: numbers.3,
            next,
            run_ms: numbers.4,
        }
    })
}

fn release() -> impl Strategy<Value = Release> {
    (seq(), any::<u32>(), any::<u64>(), next()).prop_map(|(seq, attempt, lease, next)| Release {
        seq,
        attempt,
        lease: LeaseNo(lease),
        next,
    })
}

fn allocation() -> impl Strategy<Value = Allocation> {
    (seq(), 0..3u32, 0..2u32, prop::sample::select(Fit::ALL.to_vec()), 0..4u64).prop_map(
        |(seq, attempt, lease_ms, fit, level)| {
            let served = Priority::new(level);
            Allocation { fit, seq, attempt, lease_ms, served }
        },
    )
}

fn step() -> impl Strategy<Value = OpStep> {
    let kinds = [OpKind::Redrive, OpKind::PurgeDlq, OpKind::PurgeJob];
    let spec = (prop::sample::select(kinds.to_vec()), name(), of(name()), vec(name(), 0..3));
    let rest = (name(), of(priority()), any::<u64>(), vec(seq(), 0..6));
    let started = (spec, rest).prop_map(|((kind, filter, job, scopes), rest)| {
        let (by, priority, matched, tasks) = rest;
        let spec = Box::new(OpSpec { kind, filter, job, scopes, by, priority });
        OpStep::Started { spec, matched, tasks }
    });
    prop_oneof![
        started,
        (seq(), any::<u64>(), any::<u64>()).prop_map(|(upto, done, skipped)| OpStep::Progress {
            upto,
            done,
            skipped
        }),
        Just(OpStep::Stopped),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let causes = [FailCause::Error, FailCause::Timeout, FailCause::Crash];
    let releases = [ReleaseCause::Release, ReleaseCause::Worker, ReleaseCause::Undelivered];
    let allocated = (name(), of(name()), any::<u64>(), vec(allocation(), 0..6));
    let failed = (prop::sample::select(causes.to_vec()), vec(failure(), 0..6));
    let released = (prop::sample::select(releases.to_vec()), vec(release(), 0..6));
    let start = (seq(), 0..3u32).prop_map(|(seq, attempt)| Start { seq, attempt });
    prop_oneof![
        (name(), name(), any::<[u64; 2]>()).prop_map(|(node, addr, token_key)| Event::Owner {
            node,
            addr,
            token_key
        }),
        (name(), any::<bool>(), job_spec()).prop_map(|(job, implicit, spec)| Event::JobDefined {
            job,
            implicit,
            spec
        }),
        (name(), change()).prop_map(|(job, change)| Event::JobChanged { job, change }),
        (of(priority()), any::<bool>())
            .prop_map(|(level, paused)| Event::LevelChanged { level, paused }),
        (name(), any::<bool>())
            .prop_map(|(worker, drains)| Event::WorkerDrained { worker, drains }),
        (seq(), vec(task(), 0..6)).prop_map(|(first, tasks)| Event::Submitted { first, tasks }),
        (seq(), task(), of(name()), (any::<u32>(), 1u32.., any::<u32>()), any::<[u64; 2]>())
            .prop_map(|(first, task, id, (from, step, count), content)| {
                let (from, step, count) = (from.into(), step.into(), count.into());
                let span = Span { from, step, count };
                let array = Box::new(ArraySpec { task, span, id, content: Hash128(content) });
                Event::SubmittedArray { first, array }
            }),
        allocated.prop_map(|(worker, endpoint, first, tasks)| Event::Allocated {
            worker,
            endpoint,
            first_lease: LeaseNo(first),
            tasks,
        }),
        vec(start, 0..6).prop_map(Event::Started),
        vec(completion(), 0..6).prop_map(Event::Completed),
        failed.prop_map(|(cause, tasks)| Event::Failed { cause, tasks }),
        released.prop_map(|(cause, tasks)| Event::Released { cause, tasks }),
        vec(seq(), 0..6).prop_map(Event::Cancelled),
        (vec(seq(), 0..6), of(priority()))
            .prop_map(|(tasks, priority)| Event::Redriven { tasks, priority }),
        vec((name(), any::<u64>()), 0..4).prop_map(Event::Duplicates),
        key(),
        vec(seq(), 0..6).prop_map(Event::Purged),
        inbox(),
        (any::<u64>(), step()).prop_map(|(op, step)| Event::Operation { op: OpNo(op), step }),
    ]
}

fn inbox() -> impl Strategy<Value = Event> {
    (priority(), any::<[u32; 3]>()).prop_map(|(level, gaps)| {
        let [lost, from, next] = gaps.map(u64::from);
        let from = lost + from;
        Event::Inbox { level, from, next: from + next, lost }
    })
}

fn encoded(event: &Event) -> (u8, Vec<u8>) {
    let mut body = Vec::new();
    let kind = encode(event, &mut body);
    (kind, body)
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(event in event()) {
        let (kind, body) = encoded(&event);
        let full = decode(kind, WallMs(9), &body, Detail::Full).unwrap();
        prop_assert_eq!(&full.stamped.event, &event);
        prop_assert_eq!(full.stamped.at, WallMs(9));
        prop_assert!(full.blob_bytes.is_empty());
    }

    #[test]
    fn a_skim_differs_in_the_bytes_only(event in event()) {
        let (kind, body) = encoded(&event);
        let skim = decode(kind, WallMs(9), &body, Detail::Skim).unwrap();
        let mut expected = event;
        let mut sizes = Vec::new();
        let mut take = |blob: Option<&mut Blob>| {
            sizes.push(blob.map_or(0, |b| std::mem::take(&mut b.bytes).len()));
        };
        if let Event::Submitted { tasks, .. } = &mut expected {
            tasks.iter_mut().for_each(|t| take(Some(&mut t.payload)));
        } else if let Event::Completed(tasks) = &mut expected {
            tasks.iter_mut().for_each(|t| take(t.result.as_mut()));
        }
        prop_assert_eq!(skim.stamped.event, expected);
        let skimmed: Vec<_> = skim.blob_bytes.iter().map(|n| *n as usize).collect();
        prop_assert_eq!(skimmed, sizes);
    }

    #[test]
    fn one_task_or_result_is_the_one_of_the_whole(event in event()) {
        let (_, body) = encoded(&event);
        if let Event::Submitted { tasks, .. } = &event {
            for (index, task) in (0u32..).zip(tasks) {
                prop_assert_eq!(&decode_task(&body, index).unwrap(), task);
            }
            let count = u32::try_from(tasks.len()).unwrap();
            prop_assert!(decode_task(&body, count).is_err());
        } else if let Event::Completed(tasks) = &event {
            for (index, task) in (0u32..).zip(tasks) {
                prop_assert_eq!(&decode_result(&body, index).unwrap(), &task.result);
            }
            prop_assert!(decode_result(&body, u32::MAX).is_err());
        }
    }

    #[test]
    fn a_changed_or_cut_body_never_panics(event in event(), at in any::<u16>(), by in 1..=255u8) {
        let (kind, mut body) = encoded(&event);
        let at = usize::from(at) % body.len();
        drop(decode(kind, WallMs(0), &body[..at], Detail::Full));
        drop(decode_task(&body[..at], 0));
        body[at] ^= by;
        for kind in 0..=33 {
            drop(decode(kind, WallMs(0), &body, Detail::Full));
            drop(decode(kind, WallMs(0), &body, Detail::Skim));
        }
        drop(decode_task(&body, 1));
        drop(decode_result(&body, 1));
    }

    #[test]
    fn any_bytes_never_panic(kind in 0..40u8, body in vec(any::<u8>(), 0..200)) {
        drop(decode(kind, WallMs(0), &body, Detail::Full));
        drop(decode_task(&body, 0));
        drop(decode_result(&body, 0));
    }
}

fn plain_task(id: &str, payload: &[u8]) -> TaskSpec {
    TaskSpec {
        id: Some(id.into()),
        job: "nightly".into(),
        priority: Priority::new(7).unwrap(),
        tag: Some("desk:rates".into()),
        payload: Blob { encoding: Encoding::Json, bytes: payload.to_vec() },
        affinity: vec![AffinityKey { key: "curve-7".into(), weight: 3 }],
        source: None,
        meta: Some("m".into()),
        timeout_s: 60,
        lease_ms: 30_000,
        max_attempts: 4,
        max_crashes: 5,
        backoff: Backoff { base_ms: 1_000, cap_ms: 300_000, jitter: Jitter::Full },
        not_before: WallMs(0),
        traceparent: None,
        content: None,
        element: None,
    }
}

fn key_part(part: u64) -> KeyPart {
    KeyPart { key: Digest([1; 32]), content: Digest([2; 32]), part }
}

fn key() -> impl Strategy<Value = Event> {
    let known = || (priority(), seq(), any::<u32>());
    let refusal = (name(), name(), of(name()), of(name()), of((priority(), any::<u16>(), seq())));
    let told = prop_oneof![
        known().prop_map(|(priority, first, count)| Told::Admitted { priority, first, count }),
        known().prop_map(|(priority, first, count)| Told::Duplicate { priority, first, count }),
        (known(), any::<u64>(), any::<bool>()).prop_map(|((priority, first, _), count, again)| {
            Told::Array { priority, first, count, duplicate: again }
        }),
        (any::<u16>(), any::<u32>())
            .prop_map(|(p, count)| Told::Elsewhere { partition: PartitionId(p), count }),
        refusal.prop_map(|(code, detail, field, hint, existing)| {
            let existing = existing.map(|(p, n, seq)| TaskRef::of_seq(p, PartitionId(n), seq));
            Told::Refused(Box::new(Refusal { code, detail, field, hint, existing }))
        }),
    ];
    let answer = prop_oneof![
        vec(told, 0..5).prop_map(KeyAnswer::Tasks),
        vec(any::<u8>(), 0..9).prop_map(KeyAnswer::Note),
        Just(KeyAnswer::Free),
    ];
    (any::<u64>(), answer).prop_map(|(part, answer)| Event::Key { part: key_part(part), answer })
}

/// One event of each kind whose bytes are pinned.
#[test]
fn the_bytes_of_every_kind_are_the_golden_ones() {
    let lines: Vec<String> = golden()
        .iter()
        .map(|event| {
            let (kind, body) = encoded(event);
            let hex: String = body.iter().map(|b| format!("{b:02x}")).collect();
            format!("{kind} {hex}")
        })
        .collect();
    let expected = include_str!("golden.txt");
    assert_eq!(lines.join("\n"), expected.trim_end(), "a format change needs a new version");
}

#[test]
fn a_hand_out_of_a_batch_costs_few_bytes_a_task() {
    let allocated = |seqs: &mut dyn Iterator<Item = u64>| {
        let tasks = seqs
            .map(|seq| Allocation {
                seq: TaskSeq(seq),
                attempt: 1,
                lease_ms: 30_000,
                fit: Fit::None,
                served: None,
            })
            .collect();
        let (worker, endpoint, first_lease) = ("w".into(), None, LeaseNo(1_000_000));
        encoded(&Event::Allocated { worker, endpoint, first_lease, tasks }).1.len()
    };
    assert!(allocated(&mut (40_000_000..40_001_000)) < 1_040, "in order: one byte a task");
    let mut scattered = (0..1_000u64).map(|n| 40_000_000 + n * 7_919 % 50_000);
    assert!(allocated(&mut scattered) < 3_100, "picked by affinity: three");
}

#[test]
fn a_task_of_a_batch_costs_few_bytes_beside_its_id_and_payload() {
    let tasks: Vec<_> = (0..1_000).map(|n| plain_task(&format!("{n:04}"), &[b'p'; 50])).collect();
    let (_, body) = encoded(&Event::Submitted { first: TaskSeq(1), tasks });
    let extra = body.len() - 1_000 * (4 + 50);
    assert!(extra < 12_500, "{extra} bytes for 1,000 tasks");
}

#[test]
fn an_element_is_read_alone() {
    let arrays = golden().into_iter().filter(|e| matches!(e, Event::SubmittedArray { .. }));
    let Some(Event::SubmittedArray { first, array }) = arrays.last() else { panic!("one") };
    let (_, body) = encoded(&Event::SubmittedArray { first, array: array.clone() });
    for k in [0, 1, 16_666_666] {
        let element = decode_element(&body, k).expect("it is there");
        assert_eq!(element, array.element(first, u64::from(k)));
        assert_eq!(element.payload.bytes, format!("{{\"path\":{}}}", 1 + 3 * k).into_bytes());
    }
    assert!(decode_element(&body, 16_666_667).is_err(), "behind the last");
}

//! Records of bulk work for the tests of all kinds.

use crate::codec::event::tests::{name, priority, seq};
use crate::model::event::Event;
use crate::model::id::TaskSeq;
use crate::model::job::JobChange;
use crate::model::operation::{OpKind, OpNo, OpSpec, OpStep};
use crate::model::priority::Priority;
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

pub(super) fn step() -> impl Strategy<Value = OpStep> {
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

/// Golden events, one of each shape.
pub(super) fn golden_of_bulk_work() -> Vec<Event> {
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
    ]
}

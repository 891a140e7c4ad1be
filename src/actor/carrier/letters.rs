//! What was found → key and value of a record. The key is the task's reference: it names one task
//! for ever, while a client id may come again.

use super::gather::Found;
use super::texts::Texts;
use crate::actor::handle::{Answer, KwqHandle};
use crate::codec::digest::sha256_hex;
use crate::codec::feed;
use crate::log::{Error, EventLog, StoredTask};
use crate::model::event::Failure;
use crate::model::feed::Feed;
use crate::model::id::PartitionId;
use crate::model::state::TaskState;
use crate::model::task::TaskSpec;
use crate::model::time::WallMs;
use crate::model::view::{Attempt, TaskView, TextAt, TrackedTask};

/// A record to be.
#[derive(Debug)]
pub(super) struct Letter {
    pub(super) key: String,
    pub(super) value: Vec<u8>,
}

/// For each change the row of its task, where it is needed and there.
pub(super) async fn rows(
    handle: &KwqHandle,
    feed: Feed,
    id: PartitionId,
    found: &[Found],
) -> Answer<Vec<Option<TrackedTask>>> {
    let needed = |found: &Found| feed == Feed::Status && found.spec.is_none();
    let seqs: Vec<_> = found.iter().map(|f| needed(f).then_some(f.change.seq)).collect();
    if seqs.iter().all(Option::is_none) {
        return Ok(vec![None; found.len()]);
    }
    let rows = handle.engine.tracker.at_once(move |state, _| {
        let row = |seq: Option<_>| state.tracker.task(id, seq?);
        seqs.into_iter().map(row).collect()
    });
    rows.await
}

/// A change of a task's state; `None` = nobody knows the task.
///
/// # Errors
/// `Damaged`, `Io`.
pub(super) fn status(
    texts: &mut Texts,
    log: &dyn EventLog,
    id: PartitionId,
    found: Found,
    row: Option<TrackedTask>,
) -> Result<Option<Letter>, Error> {
    let Found { at, stamp, change, spec } = found;
    let spec = match spec {
        Some(spec) => spec,
        None => {
            let known = row.as_ref().map(TrackedTask::text);
            match texts.read(log, (id, change.seq), known, at.record)? {
                Some((_, stored)) => stored.spec,
                None => return Ok(unknown(id, at.record)),
            }
        }
    };
    // Only of its latest hand-out the row knows the worker.
    let ended = change.to == TaskState::Cancelled;
    let latest = row.filter(|row| change.attempt.map_or(ended, |number| number == row.attempt));
    let worker = change.worker.clone().or_else(|| latest.as_ref()?.worker.clone());
    let reference = spec.reference(id, change.seq).to_string();
    let value = feed::status(&feed::Status {
        reference: &reference,
        spec: &spec,
        change: &change,
        attempt: change.attempt.or_else(|| latest.as_ref().map(|row| row.attempt)),
        worker: worker.as_deref(),
        at: stamp,
        position: at.record,
    });
    Ok(Some(Letter { key: reference, value }))
}

/// A dead letter; `None` = nobody knows the task. `known`: what the tracker says now.
///
/// # Errors
/// `Damaged`, `Io`.
pub(super) fn dead(
    texts: &mut Texts,
    log: &dyn EventLog,
    id: PartitionId,
    found: Found,
    known: Option<(TrackedTask, Vec<Attempt>)>,
) -> Result<Option<Letter>, Error> {
    let Found { at, stamp, change, .. } = found;
    let Some((cause, failure)) = change.failure else { return Ok(None) };
    let row = known.as_ref().map(|(row, _)| row.text());
    let Some((place, stored)) = texts.read(log, (id, change.seq), row, at.record)? else {
        return Ok(unknown(id, at.record));
    };
    let view = view((place, stored), &failure, stamp, known);
    let key = view.reference().to_string();
    Ok(Some(Letter { key, value: feed::dead(&view, cause, at.record) }))
}

fn unknown(id: PartitionId, position: crate::model::id::Position) -> Option<Letter> {
    tracing::error!(partition = %id, %position, "not told: the log does not have the task");
    None
}

/// The task as it was when it died. If it has moved on, or was purged, the row does not say that
/// any more: then what the log says counts.
fn view(
    (at, stored): (TextAt, StoredTask),
    failure: &Failure,
    stamp: WallMs,
    known: Option<(TrackedTask, Vec<Attempt>)>,
) -> TaskView {
    let StoredTask { submitted, spec } = stored;
    let bare = || (bare(at, &spec, failure, submitted), Vec::new());
    let (mut row, mut attempts) = known.unwrap_or_else(bare);
    attempts.retain(|attempt| attempt.attempt <= failure.attempt);
    let dead = (TaskState::Error, failure.attempt, stamp);
    if (row.state, row.attempt, row.ended) != dead {
        (row.state, row.attempt, row.ended) = dead;
        (row.errors, row.crashes) = (failure.errors, failure.crashes);
        (row.error, row.result) = (Some(failure.error(stamp)), None);
        let last = attempts.last().filter(|last| last.attempt == failure.attempt);
        row.worker = last.map(|last| last.worker.clone());
        row.endpoint = last.and_then(|last| last.endpoint.clone());
        row.allocated = last.map_or(WallMs(0), |last| last.allocated);
        row.running = last.map_or(WallMs(0), |last| last.running);
    }
    let payload_sha256 = Some(sha256_hex(&spec.payload.bytes));
    TaskView { row, spec, attempts, result: None, payload_sha256, with_payload: true }
}

fn bare(at: TextAt, spec: &TaskSpec, failure: &Failure, submitted: WallMs) -> TrackedTask {
    TrackedTask {
        partition: at.partition,
        seq: failure.seq,
        job: spec.job.clone(),
        submit_priority: spec.priority,
        priority: spec.priority,
        state: TaskState::Error,
        worker: None,
        endpoint: None,
        attempt: failure.attempt,
        errors: failure.errors,
        crashes: failure.crashes,
        redriven: 0,
        submitted,
        available: WallMs(0),
        allocated: WallMs(0),
        running: WallMs(0),
        ended: WallMs(0),
        error: None,
        record: at.record,
        index: at.entry,
        payload_bytes: u32::try_from(spec.payload.bytes.len()).unwrap_or(u32::MAX),
        result: None,
    }
}

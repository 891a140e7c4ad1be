//! Records of the topics that are derived from the log: a dead letter, a change of a task's state,
//! and the headers that say where in the log each comes from.
//!
//! A record is small enough for a topic and for clients with the settings they come with; what
//! makes it larger is left out, and the record says so.
//!
//! Must not: decide what is told, or to whom.

use crate::codec::wire::out::Out;
use crate::codec::wire::task_out;
use crate::model::ending::EndPlace;
use crate::model::event::FailCause;
use crate::model::feed::Change;
use crate::model::id::Position;
use crate::model::task::TaskSpec;
use crate::model::time::WallMs;
use crate::model::view::TaskView;

/// Header with the position of the event.
pub const POSITION: &str = "kwq-position";
/// Header with the place in the event: its entry, or in the cancel of a job the task's number.
pub const ENTRY: &str = "kwq-entry";
/// Longest value, B: a topic takes a little more than 1 MiB by default, with key and headers.
pub const VALUE_BYTES_MAX: usize = 1_000_000;

/// A dead letter: the task as `GET /kwq/tasks/{ref}?payload=true` shows it, why it is dead and
/// where in the log that stands. A payload, and then attempts, that make it too long are left out.
#[must_use]
pub fn dead(task: &TaskView, cause: FailCause, position: Position) -> Vec<u8> {
    let whole = dead_within(task, cause, position, &[]);
    if whole.len() <= VALUE_BYTES_MAX {
        return whole;
    }
    let mut short = task.clone();
    short.spec.payload.bytes = Vec::new();
    short.with_payload = false;
    let without = dead_within(&short, cause, position, &["payload"]);
    if without.len() <= VALUE_BYTES_MAX {
        return without;
    }
    short.attempts = Vec::new();
    dead_within(&short, cause, position, &["payload", "attempts"])
}

fn dead_within(
    task: &TaskView,
    cause: FailCause,
    position: Position,
    left_out: &[&str],
) -> Vec<u8> {
    let mut out = Out::with_capacity(1_024 + task.spec.payload.bytes.len() * 5 / 4);
    out.open();
    task_out::members(&mut out, task);
    out.str("reason", reason(cause));
    out.str("position", &position.to_string());
    if !left_out.is_empty() {
        out.list("leftOut");
        left_out.iter().for_each(|part| out.text(part));
        out.close_list();
    }
    out.close();
    out.into_bytes()
}

/// As the label of `kwq_tasks_dead_lettered_total`.
fn reason(cause: FailCause) -> &'static str {
    match cause {
        FailCause::Error => "error",
        FailCause::Timeout => "timeout",
        FailCause::Crash => "crash",
    }
}

/// What a change of a task's state is told of.
#[derive(Clone, Copy, Debug)]
pub struct Status<'a> {
    /// Its reference, as text.
    pub reference: &'a str,
    /// The task.
    pub spec: &'a TaskSpec,
    /// The change.
    pub change: &'a Change,
    /// Number of the hand-out, where it is known.
    pub attempt: Option<u32>,
    /// Worker of that hand-out, where it is known.
    pub worker: Option<&'a str>,
    /// Stamp of the event.
    pub at: WallMs,
    /// Its position.
    pub position: Position,
}

/// A change of a task's state.
#[must_use]
pub fn status(status: &Status<'_>) -> Vec<u8> {
    let mut out = Out::with_capacity(256);
    out.open();
    out.str("ref", status.reference);
    out.str("id", status.spec.id.as_deref().unwrap_or(status.reference));
    out.str("job", &status.spec.job);
    out.opt_str("from", status.change.from.map(|state| state.name()));
    out.str("to", status.change.to.name());
    if let Some(attempt) = status.attempt {
        out.num("attempt", attempt);
    }
    out.opt_str("worker", status.worker);
    out.num("at", status.at.0);
    out.str("position", &status.position.to_string());
    out.close();
    out.into_bytes()
}

/// Texts of the two headers of what stands at a place.
#[must_use]
pub fn headers(at: EndPlace) -> [(&'static str, String); 2] {
    [(POSITION, at.record.0.to_string()), (ENTRY, at.read.to_string())]
}

/// The place behind a record with these headers; `None` = it is not one of ours.
#[must_use]
pub fn behind<'a>(headers: impl Iterator<Item = (&'a str, Option<&'a [u8]>)>) -> Option<EndPlace> {
    let (mut position, mut entry) = (None, None);
    for (name, value) in headers {
        match name {
            POSITION => position = number(value),
            ENTRY => entry = number(value),
            _ => {}
        }
    }
    Some(EndPlace { record: Position(position?), read: entry?.checked_add(1)? })
}

fn number(text: Option<&[u8]>) -> Option<u64> {
    std::str::from_utf8(text?).ok()?.parse().ok()
}

/// A place as text.
#[must_use]
pub fn mark(at: EndPlace) -> String {
    format!("{} {}", at.record, at.read)
}

/// Inverse of [`mark`].
#[must_use]
pub fn read_mark(text: &str) -> Option<EndPlace> {
    let (record, read) = text.split_once(' ')?;
    Some(EndPlace { record: Position(record.parse().ok()?), read: read.parse().ok()? })
}

#[cfg(test)]
mod tests;

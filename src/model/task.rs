//! A task as it is sent ([`TaskInput`]) and as it is stored ([`TaskSpec`]).

use crate::model::affinity::AffinityKey;
use crate::model::array::Element;
use crate::model::id::{Name, PartitionId, TaskSeq};
use crate::model::key::Hash128;
use crate::model::policy::{Backoff, Jitter};
use crate::model::priority::Priority;
use crate::model::reference::TaskRef;
use crate::model::state::TaskState;
use crate::model::time::WallMs;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// How payload or result bytes came in; they go out the same way, byte for byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Encoding {
    /// UTF-8 text of a JSON string.
    #[default]
    Text,
    /// The text of a JSON value exactly as sent.
    Json,
    /// Any bytes, base64 on the wire.
    Base64,
}

/// Payload or result: bytes with their encoding.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blob {
    /// How the bytes are shown.
    pub encoding: Encoding,
    /// Decoded bytes.
    #[serde(serialize_with = "run_out", deserialize_with = "run_in")]
    pub bytes: Vec<u8>,
}

impl Blob {
    /// Bytes of which nothing is known. What is UTF-8 is shown as text, as `kwq work` does with
    /// what a program prints; that it may be JSON too is for the worker to know.
    #[must_use]
    pub fn opaque(bytes: Vec<u8>) -> Self {
        let text = std::str::from_utf8(&bytes).is_ok();
        Self { encoding: if text { Encoding::Text } else { Encoding::Base64 }, bytes }
    }
}

/// Writes bytes as one run; serde would write a list of numbers.
pub(crate) fn run_out<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
    to.serialize_bytes(bytes)
}

/// Reads them back.
pub(crate) fn run_in<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
    from.deserialize_byte_buf(Run)
}

struct Run;

impl Visitor<'_> for Run {
    type Value = Vec<u8>;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("bytes")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        Ok(bytes.to_vec())
    }

    fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
        Ok(bytes)
    }
}

/// Back-off as sent: each part falls back to the job's, then to the policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BackoffInput {
    /// `baseMs`.
    pub base_ms: Option<u32>,
    /// `capMs`.
    pub cap_ms: Option<u32>,
    /// `jitter`.
    pub jitter: Option<Jitter>,
}

/// When a task may first run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Delay {
    /// At once.
    #[default]
    None,
    /// `delayMs`: by the monotonic clock while the owner lives.
    For(u64),
    /// `notBefore_ts`: by the wall clock.
    Until(WallMs),
}

/// A task as sent, syntax checked, defaults not yet applied.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskInput {
    /// Client id.
    pub id: Option<Name>,
    /// Job; `None` = `default`.
    pub job: Option<Name>,
    /// Priority; `None` = the job's.
    pub priority: Option<Priority>,
    /// Tag text as submitted, or canonical text of `tag` and `tags` united.
    pub tag: Option<Name>,
    /// Payload.
    pub payload: Blob,
    /// Affinity keys; `None` = the job's.
    pub affinity: Option<Vec<AffinityKey>>,
    /// `source`.
    pub source: Option<Name>,
    /// `meta`.
    pub meta: Option<Name>,
    /// `timeoutSeconds`.
    pub timeout_s: Option<u32>,
    /// `leaseMs`.
    pub lease_ms: Option<u32>,
    /// `maxAttempts`.
    pub max_attempts: Option<u8>,
    /// `maxCrashes`.
    pub max_crashes: Option<u8>,
    /// `backoff`.
    pub backoff: BackoffInput,
    /// `notBefore_ts` or `delayMs`.
    pub delay: Delay,
    /// `traceparent`.
    pub traceparent: Option<Name>,
}

/// A task as admitted: every default filled in. This is what the log keeps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskSpec {
    /// Client id.
    pub id: Option<Name>,
    /// Job.
    pub job: Name,
    /// Priority at admission; part of the reference.
    pub priority: Priority,
    /// Tag text.
    pub tag: Option<Name>,
    /// Payload.
    pub payload: Blob,
    /// Affinity keys.
    pub affinity: Vec<AffinityKey>,
    /// Source.
    pub source: Option<Name>,
    /// Meta.
    pub meta: Option<Name>,
    /// Longest run, seconds; 0 = none.
    pub timeout_s: u32,
    /// Lease asked for, ms; 0 = the policy's.
    pub lease_ms: u32,
    /// Budget of errors.
    pub max_attempts: u8,
    /// Budget of lost workers.
    pub max_crashes: u8,
    /// Back-off.
    pub backoff: Backoff,
    /// Not handed out before; unset = at once, also if it was over at the submit.
    pub not_before: WallMs,
    /// Trace context, handed to the worker as sent.
    pub traceparent: Option<Name>,
    /// Hash of what was sent, in a job whose ids are unique; there the id is never empty.
    pub content: Option<Hash128>,
    /// Set when it was read as an element of an array; never in a record.
    pub element: Option<Element>,
}

impl TaskSpec {
    /// As its submit leaves it. It is delayed when its time was ahead by the clock of the owner,
    /// whatever the stamp of the record is.
    #[must_use]
    pub fn first_state(&self) -> TaskState {
        self.not_before.known().map_or(TaskState::Pending, |_| TaskState::Delayed)
    }

    /// Its reference.
    #[must_use]
    pub fn reference(&self, partition: PartitionId, seq: TaskSeq) -> TaskRef {
        let own = TaskRef::of_seq(self.priority, partition, seq);
        match self.element {
            None => own,
            Some(Element { first, value }) => {
                TaskRef { offset: first.0, index: Some(value), ..own }
            }
        }
    }
}

/// Latest failure of a task.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TaskError {
    /// Class, `[A-Za-z0-9_.:-]`, ≤ 64 B.
    pub class: Name,
    /// Message, ≤ 4,096 B.
    pub message: Name,
    /// Attempt that failed.
    pub attempt: u32,
    /// When.
    pub ts: WallMs,
}

#[cfg(test)]
impl TaskSpec {
    /// A task with nothing but its payload.
    pub(crate) fn plain(payload: Blob) -> Self {
        Self {
            id: None,
            job: crate::model::job::DEFAULT_JOB.into(),
            priority: Priority::DEFAULT,
            tag: None,
            payload,
            affinity: Vec::new(),
            source: None,
            meta: None,
            timeout_s: 0,
            lease_ms: 0,
            max_attempts: 4,
            max_crashes: 5,
            backoff: crate::model::policy::Policy::default().backoff,
            not_before: WallMs(0),
            traceparent: None,
            content: None,
            element: None,
        }
    }
}

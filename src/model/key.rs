//! Idempotent submit: what names a keyed request, and what is remembered to answer it again.

use crate::model::id::{Name, PartitionId, TaskSeq};
use crate::model::priority::Priority;
use crate::model::reference::TaskRef;
use crate::model::reject::{Code, Reject};
use serde::{Deserialize, Serialize};

/// SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The first half: what is kept in memory and compared. Equal for two different texts about
    /// once in 2^64 of them.
    #[must_use]
    pub fn half(&self) -> Hash128 {
        let word = |at: usize| {
            let bytes = self.0.get(at..at + 8).and_then(|b| b.try_into().ok());
            u64::from_le_bytes(bytes.unwrap_or_default())
        };
        Hash128([word(0), word(8)])
    }
}

/// 128 bits of a hash. Collisions are accepted (`docs/adr/0016-hashes-decide-identity.md`).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Hash128(pub [u64; 2]);

/// One part of a keyed request: what one partition decides of it at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyPart {
    /// SHA-256 of the key.
    pub key: Digest,
    /// SHA-256 of what was asked.
    pub content: Digest,
    /// Number of the part inside its partition, see [`KeyPart::number`] and [`KeyPart::DONE`].
    pub part: u64,
}

impl KeyPart {
    /// The part that holds what is known after all others.
    pub const DONE: u64 = u64::MAX;

    /// Number of a part: NDJSON chunk, and the how-manieth step of that chunk it is (0 = the first
    /// partition asked, 1 = those it points to).
    #[must_use]
    pub fn number(chunk: u64, step: u64) -> u64 {
        chunk << 16 | step.min(0xffff)
    }
}

/// Which refusals leave the key free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Frees {
    /// None: refused items are part of a 200.
    Never,
    /// `job_closed`, when nothing was admitted.
    Closed,
    /// Any, when nothing was admitted.
    Refused,
}

/// What makes a submit one under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keyed {
    /// Which part of which request.
    pub part: KeyPart,
    /// Which refusals leave the key free.
    pub frees: Frees,
}

/// What a remembered part answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyAnswer {
    /// The outcomes of its items, in order.
    Tasks(Vec<Told>),
    /// Bytes of the shell's own.
    Note(Vec<u8>),
    /// Nothing: the request was refused after all, the key is free again.
    Free,
}

/// What became of items of a part, in order; equal neighbours share one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Told {
    /// Admitted with consecutive numbers.
    Admitted {
        /// Priority of their references.
        priority: Priority,
        /// Number of the first.
        first: TaskSeq,
        /// How many.
        count: u32,
    },
    /// Were there already, with consecutive numbers.
    Duplicate {
        /// Priority of their references.
        priority: Priority,
        /// Number of the first.
        first: TaskSeq,
        /// How many.
        count: u32,
    },
    /// The share of an array.
    Array {
        /// Priority of its reference.
        priority: Priority,
        /// Number of its first element here.
        first: TaskSeq,
        /// Elements here.
        count: u64,
        /// It was there already.
        duplicate: bool,
    },
    /// Another partition decides them, or this one later.
    Elsewhere {
        /// Which.
        partition: PartitionId,
        /// How many.
        count: u32,
    },
    /// One was refused.
    Refused(Box<Refusal>),
}

/// A refusal as it is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Word of its code.
    pub code: Name,
    /// What is wrong.
    pub detail: Name,
    /// Offending field.
    pub field: Option<Name>,
    /// What to do instead.
    pub hint: Option<Name>,
    /// The task that has the id.
    pub existing: Option<TaskRef>,
}

impl From<&Reject> for Refusal {
    fn from(reject: &Reject) -> Self {
        Self {
            code: reject.code.word().into(),
            detail: reject.detail.as_ref().into(),
            field: reject.field.as_deref().map(Name::from),
            hint: reject.hint.as_deref().map(Name::from),
            existing: reject.existing.as_deref().copied(),
        }
    }
}

impl From<&Refusal> for Reject {
    fn from(refusal: &Refusal) -> Self {
        let code = Code::parse(&refusal.code).unwrap_or(Code::Internal);
        let mut reject = Self::new(code, refusal.detail.to_string());
        reject.field = refusal.field.as_ref().map(|text| text.to_string().into());
        reject.hint = refusal.hint.as_ref().map(|text| text.to_string().into());
        reject.existing = refusal.existing.map(Box::new);
        reject
    }
}

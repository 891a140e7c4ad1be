//! Calls between instances ↔ bytes: a command or a question for a partition that a peer serves, and
//! what came of it.
//!
//! ```text
//! 0 u8 version | 1 u8 kind (1 call, 2 return) | 2… bincode 2, its standard configuration
//! ```
//! Field order is the format: whoever changes a type that travels raises `VERSION`, unless a
//! variant was only added as the last one. Nothing here is kept, so no older version is ever read.
//!
//! A peer is believed no length: a message has at most `limits::PEER_BYTES_MAX`, and what a decode
//! claims in memory is bounded by the size of the message.

use crate::codec::Malformed;
use crate::model::command::{Class, Command};
use crate::model::id::{PartitionId, Position};
use crate::model::limits;
use crate::model::question::{Answered, Question};
use crate::model::reject::Reject;
use crate::model::reply::{Decided, Offer};
use crate::model::worker::{Whose, WorkerView};
use bincode::config;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

const VERSION: u8 = 2;
/// Bytes of a message that counts as small, and as middling.
const SMALL: usize = 16 << 10;
const MIDDLING: usize = 1 << 20;
/// What decoding claims for a byte of the message at most: a number of eight that is small.
const CLAIM: usize = 8;

/// What one instance wants of a partition that another one serves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Call {
    /// Decide a command; answered when the reply is durable.
    Decide {
        /// Who decides.
        partition: PartitionId,
        /// Its admission class.
        class: Class,
        /// Bytes it counts in front of the partition.
        bytes: usize,
        /// The command.
        command: Command,
    },
    /// Answer a question, once what the answer rests on is durable.
    Ask {
        /// Who is asked.
        partition: PartitionId,
        /// The question.
        question: Question,
    },
    /// Tell what is known of workers.
    Workers(Whose),
    /// The lock of the control verbs, of whoever serves the first partition.
    Lock(Lock),
}

/// What is wanted of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lock {
    /// To hold it; answered once it is.
    Take,
    /// The holder of this number gives it back.
    Free(u64),
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Return {
    /// The command was decided; the reply may be a refusal. And what is left to hand out.
    Decided(Decided, Offer),
    /// The answer, and the position it is valid for.
    Answered(Answered, Position),
    /// The call never came to the partition, or its outcome is not known: what the refusal says.
    Refused(Reject),
    /// What is known of workers.
    Workers(Vec<WorkerView>),
    /// The lock is held, or was freed, under this number.
    Locked(u64),
}

/// A message of its own kind.
pub trait Message: Serialize + DeserializeOwned {
    /// Second byte.
    const KIND: u8;
}

impl Message for Call {
    const KIND: u8 = 1;
}

impl Message for Return {
    const KIND: u8 = 2;
}

/// Why a message cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not a message of this kind.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// From an instance of another release.
    #[error(
        "the peer speaks version {0} of the protocol between instances, this one {VERSION}; \
         all instances must run releases that agree"
    )]
    Version(u8),
    /// Larger than any message may be.
    #[error("a message of {0} B to a peer; at most {most} B", most = limits::PEER_BYTES_MAX)]
    TooLarge(usize),
    /// The body does not fit the type.
    #[error("message of a peer: {0}")]
    Body(String),
}

/// Encodes a message.
///
/// # Errors
/// It is larger than a message may be.
pub fn encode<M: Message>(message: &M) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![VERSION, M::KIND];
    bincode::serde::encode_into_std_write(message, &mut bytes, config::standard())
        .map_err(|e| Error::Body(e.to_string()))?;
    check_size(bytes.len())?;
    Ok(bytes)
}

/// Decodes a message.
///
/// # Errors
/// Another version, a message of another kind, too large, bytes that do not fit or are left over.
pub fn decode<M: Message>(bytes: &[u8]) -> Result<M, Error> {
    check_size(bytes.len())?;
    let body = match bytes {
        [VERSION, kind, body @ ..] if *kind == M::KIND => body,
        [VERSION, ..] | [] => return Err(Malformed("peer: kind of message").into()),
        [version, ..] => return Err(Error::Version(*version)),
    };
    decode_body(body)
}

pub(super) fn check_size(bytes: usize) -> Result<(), Error> {
    if bytes > limits::PEER_BYTES_MAX { Err(Error::TooLarge(bytes)) } else { Ok(()) }
}

/// Decodes all of a body, which claims no more than its size allows.
pub(super) fn decode_body<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    if body.len() <= SMALL {
        decode_within::<T, { SMALL * CLAIM }>(body)
    } else if body.len() <= MIDDLING {
        decode_within::<T, { MIDDLING * CLAIM }>(body)
    } else {
        decode_within::<T, { limits::PEER_BYTES_MAX * CLAIM }>(body)
    }
}

/// Decodes a body that may claim so many bytes.
fn decode_within<T: DeserializeOwned, const CLAIMS: usize>(body: &[u8]) -> Result<T, Error> {
    let settings = config::standard().with_limit::<CLAIMS>();
    let (message, read) = bincode::serde::decode_from_slice(body, settings)
        .map_err(|e| Error::Body(e.to_string()))?;
    if read == body.len() { Ok(message) } else { Err(Malformed("peer: bytes left over").into()) }
}

#[cfg(test)]
#[path = "peer_tests.rs"]
mod tests;

//! `Idempotency-Key`: what a call asks under it, and what its answer is remembered by.
//!
//! A keyed call has parts: one per NDJSON chunk (others have one), each durable with its tasks, and
//! where something is known only at the end, a last one with a note.

use crate::actor::handle::KwqHandle;
use crate::actor::handle_submit::RunningKey;
use crate::actor::request::KeyOf;
use crate::api::answer::Answer;
use crate::api::call::{Call, Media};
use crate::api::context::Shared;
use crate::api::problem::Problem;
use crate::api::query::bad;
use crate::codec::digest::Pieces;
use crate::model::command::Item;
use crate::model::key::{Digest, Frees, KeyPart};
use crate::model::limits;
use crate::model::reject::Reject;

const HEADER: &str = "idempotency-key";

/// The key of a call.
pub(crate) struct Key {
    key: Digest,
    /// Everything of the content but the body.
    head: Digest,
    handle: KwqHandle,
    /// Nobody else runs under the key while this lives.
    running: Option<RunningKey>,
}

impl Call {
    /// The key this call came with. A caller with scopes holds it only once it is known that the
    /// call is about jobs of its own: until then it is not told whether the key is in use.
    ///
    /// # Errors
    /// A key that is none; `idempotency_in_progress`.
    pub(crate) fn key(&self) -> Result<Option<Key>, Problem> {
        let mut values = self.head.headers.get_all(HEADER).iter();
        let Some(value) = values.next() else { return Ok(None) };
        let text = value.as_bytes();
        let printable = text.iter().all(|byte| (b' '..=b'~').contains(byte));
        let fits = (1..=limits::IDEMPOTENCY_KEY_MAX).contains(&text.len());
        if !(printable && fits && values.next().is_none()) {
            let detail = "Idempotency-Key must be one value of 1 to 128 printable ASCII characters";
            return Err(Problem::from(bad("Idempotency-Key", detail)).closing());
        }
        let handle = self.shared.api.handle.clone();
        let key = digest(&[text]);
        let media: &[u8] = match self.media() {
            Media::Ndjson => b"ndjson",
            Media::Json | Media::Absent | Media::Other => b"json",
        };
        let uri = &self.head.uri;
        let (path, query) = (uri.path().as_bytes(), uri.query().unwrap_or_default().as_bytes());
        // Neither holds a line end.
        let head = digest(&[self.head.method.as_str().as_bytes(), path, query, media]);
        let mut key = Key { key, head, handle, running: None };
        if self.caller.scopes.everything() {
            key.hold().map_err(|busy| Problem::from(busy).closing())?;
        }
        Ok(Some(key))
    }
}

impl Key {
    /// Begins under the key.
    ///
    /// # Errors
    /// `idempotency_in_progress`.
    pub(crate) fn hold(&mut self) -> Result<(), Reject> {
        if self.running.is_none() {
            self.running = Some(self.handle.begin_key(self.key)?);
        }
        Ok(())
    }

    /// One part of the call; `body` is the SHA-256 of what it asks.
    pub(crate) fn part(&self, chunk: u64, body: Digest, frees: Frees) -> KeyOf {
        let content = digest(&[&self.head.0, &body.0]);
        KeyOf { key: self.key, content, chunk, frees }
    }

    /// As [`Self::part`], of a body in one piece.
    pub(crate) fn whole(&self, body: &[u8], frees: Frees) -> KeyOf {
        self.part(0, digest(&[body]), frees)
    }

    /// The part known at the end. Its content is that of the call before its body, because it is
    /// asked for before the body is read; the note tells the rest.
    pub(crate) fn done(&self) -> KeyPart {
        KeyPart { key: self.key, content: self.head, part: KeyPart::DONE }
    }

    /// The note of an earlier call.
    pub(crate) async fn recall(&self, part: KeyPart) -> Result<Option<Vec<u8>>, Reject> {
        self.handle.recall(part).await
    }

    /// Keeps a note for later calls; the note in force. The work is done already, so a failure does
    /// not say that nothing was.
    pub(crate) async fn remember(&self, part: KeyPart, note: Vec<u8>) -> Result<Vec<u8>, Reject> {
        self.handle.remember(part, note).await.map_err(Reject::possibly_applied)
    }

    /// Frees the key.
    pub(crate) async fn forget(&self, part: KeyPart) -> Result<(), Reject> {
        self.handle.forget_key(part).await.map_err(Reject::possibly_applied)
    }
}

/// The key of a call that submits these, held; none when all are of jobs the caller may not touch:
/// such a call is answered as if it had come without.
///
/// # Errors
/// `idempotency_in_progress`.
pub(crate) fn held<'a>(
    shared: &Shared,
    key: &'a mut Option<Key>,
    items: &[Item],
) -> Result<Option<&'a Key>, Reject> {
    let own = shared.api.handle.owns_some(items);
    let Some(key) = key.as_mut().filter(|_| own) else { return Ok(None) };
    key.hold()?;
    Ok(Some(key))
}

/// Marks the answer of an earlier call.
pub(crate) fn marked(answer: Answer, replayed: bool) -> Answer {
    if replayed { answer.with("kwq-replayed", "true") } else { answer }
}

fn digest(parts: &[&[u8]]) -> Digest {
    let mut pieces = Pieces::default();
    for (number, part) in parts.iter().enumerate() {
        if number > 0 {
            pieces.add(b"\n");
        }
        pieces.add(part);
    }
    pieces.take()
}

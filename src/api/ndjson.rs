//! NDJSON submits of any length: cut into chunks, each durable before the next is read on. Memory
//! stays within one chunk.
//!
//! ```text
//!   frames ─► lines ─► items of a chunk ─ 10,000 lines or 16 MiB ─► submit, durable ─► next chunk
//! ```

use crate::actor::request::{ItemAdmitted, ItemOutcome, KeyOf, SubmitRequest};
use crate::api::answer::Answer;
use crate::api::batch::{Batch, close_job, closed, count, listing, refuse_closed};
use crate::api::call::{Call, Source, token_over};
use crate::api::context::Shared;
use crate::api::idempotency::{Key, marked};
use crate::api::problem::{Outcome, Problem};
use crate::api::query::bad;
use crate::codec::digest::Pieces;
use crate::codec::json;
use crate::codec::wire::field::Rules;
use crate::codec::wire::submit::{Listing, Place, Summary, Tally};
use crate::model::command::Item;
use crate::model::id::Name;
use crate::model::key::{Digest, Frees};
use crate::model::limits;
use crate::model::reject::{Code, Reject};
use std::pin::Pin;
use std::sync::Arc;

/// Submits a stream of lines, all into `job` if one is given.
pub(crate) async fn submit(mut call: Call, job: Option<Name>, key: Option<Key>) -> Outcome {
    let known: &[&'static str] = match job {
        Some(_) => &["results", "close", "onError"],
        None => &["results", "onError"],
    };
    let query = call.query(known)?;
    let stop = match query.one("onError")? {
        None | Some("skip") => false,
        Some("stop") => true,
        Some(_) => return Err(bad("onError", "onError must be skip or stop").into()),
    };
    let listing = listing(&query, Listing::Errors)?;
    let close = query.flag("close")?;
    let mut stream = Stream {
        shared: call.shared.clone(),
        rules: call.shared.rules(query.flag("lenient")?),
        job,
        stop,
        tally: Tally::new(listing, listed_max(listing)),
        chunk: Batch::default(),
        chunk_lines: 0,
        chunk_bytes: 0,
        lines: 0,
        chunks: 0,
        durable_lines: 0,
        replayed: true,
        chunk_digest: Pieces::default(),
        digest: Pieces::default(),
        key,
        keyed: false,
        done: None,
        ended: Box::pin(call.ended()),
    };
    call.in_time()?;
    if stream.job.is_some() || call.caller.scopes.everything() {
        // Elsewhere only a line tells whether the call may know anything of its key.
        stream.hold_key().await?;
    }
    if let Some(source) = call.stream() {
        stream.run(source).await?;
    }
    let closed = stream.end(close).await?;
    let job = stream.job.clone();
    let lines = Some((stream.lines, stream.chunks));
    let summary = Summary { job: job.as_deref(), lines, closed };
    let again = stream.keyed && stream.replayed;
    let about = job.as_deref().unwrap_or("*").to_owned();
    Ok(marked(Answer::json(stream.tally.finish(summary)).about(about), again))
}

/// What is known of a stream under a key once it has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Done {
    closed: bool,
    chunks: u64,
    /// Of all chunks.
    digest: Digest,
}

impl Done {
    async fn recalled(key: &Key) -> Result<Option<Self>, Reject> {
        let note = key.recall(key.done()).await?;
        // Of another length: not of a stream.
        note.map(|note| Self::read(&note).ok_or_else(reused)).transpose()
    }

    fn note(&self) -> Vec<u8> {
        let mut note = vec![u8::from(self.closed)];
        note.extend_from_slice(&self.chunks.to_le_bytes());
        note.extend_from_slice(&self.digest.0);
        note
    }

    fn read(note: &[u8]) -> Option<Self> {
        let (closed, rest) = note.split_first()?;
        let (chunks, digest) = rest.split_first_chunk()?;
        let digest = Digest(digest.try_into().ok()?);
        Some(Self { closed: *closed == 1, chunks: u64::from_le_bytes(*chunks), digest })
    }
}

fn reused() -> Reject {
    Reject::new(Code::IdempotencyKeyReused, "the key was used for a stream of other lines")
        .hint("use a fresh key for another stream")
}

/// A list of everything must not outgrow memory either; all are counted.
fn listed_max(listing: Listing) -> usize {
    match listing {
        Listing::All => 10 * limits::BATCH_ITEMS,
        Listing::Errors => limits::LISTED_ERRORS_MAX,
    }
}

struct Stream {
    shared: Arc<Shared>,
    rules: Rules,
    job: Option<Name>,
    stop: bool,
    tally: Tally,
    chunk: Batch,
    chunk_lines: usize,
    chunk_bytes: usize,
    /// Lines read.
    lines: u64,
    chunks: u64,
    /// Lines known to be durable or refused for good.
    durable_lines: u64,
    /// Every chunk so far is the answer of an earlier call.
    replayed: bool,
    chunk_digest: Pieces,
    digest: Pieces,
    key: Option<Key>,
    /// The key is in force.
    keyed: bool,
    /// How an earlier call with the key ended.
    done: Option<Done>,
    /// The caller's token is not in force any more.
    ended: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Stream {
    async fn run(&mut self, mut source: Source) -> Result<(), Problem> {
        let line_max = self.shared.api.config.limits.payload + limits::LINE_EXTRA_BYTES;
        // The beginning of a line whose end was not read yet.
        let mut open: Vec<u8> = Vec::new();
        loop {
            let frame = tokio::select! {
                biased;
                () = &mut self.ended => return Err(self.told(token_over().into())),
                frame = source.next() => frame,
            };
            let frame = match frame {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(problem) => return Err(self.told(problem)),
            };
            let mut rest: &[u8] = &frame;
            while let Some(end) = rest.iter().position(|b| *b == b'\n') {
                let (head, tail) = rest.split_at(end);
                rest = tail.get(1..).unwrap_or_default();
                if open.len() + head.len() > line_max + 1 {
                    return Err(self.too_long(line_max).await);
                }
                if open.is_empty() {
                    self.line(head, &mut source).await?;
                } else {
                    open.extend_from_slice(head);
                    self.line(&std::mem::take(&mut open), &mut source).await?;
                }
            }
            if open.len() + rest.len() > line_max + 1 {
                return Err(self.too_long(line_max).await);
            }
            open.extend_from_slice(rest);
        }
        if !open.is_empty() {
            self.line(&open, &mut source).await?;
        }
        self.flush().await
    }

    async fn line(&mut self, line: &[u8], source: &mut Source) -> Result<(), Problem> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let limits = self.shared.api.config.limits;
        let line_max = limits.payload + limits::LINE_EXTRA_BYTES;
        if line.len() > line_max {
            return Err(self.too_long(line_max).await);
        }
        let full = self.chunk_lines == limits.batch_items
            || self.chunk_bytes + line.len() > limits.batch_body;
        if full {
            self.flush().await?;
            source.restart();
        }
        self.lines += 1;
        self.chunk_lines += 1;
        self.chunk_bytes += line.len();
        if self.key.is_some() {
            self.chunk_digest.add(line);
            self.chunk_digest.add(b"\n");
        }
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        let place = Place::Line(self.lines);
        match json::text(line).and_then(json::object) {
            Ok(fields) => {
                self.chunk.read(place, &fields, self.job.as_ref(), &self.rules);
            }
            Err(reject) => self.chunk.items.push((place, None, Some(reject))),
        }
        let refused = self.chunk.items.last().and_then(|(_, _, refused)| refused.clone());
        match refused.filter(|_| self.stop) {
            Some(reject) => Err(self.stopped(reject).await),
            None => Ok(()),
        }
    }

    /// Makes the chunk durable and counts it.
    async fn flush(&mut self) -> Result<(), Problem> {
        let bytes = std::mem::take(&mut self.chunk_bytes);
        let chunk = std::mem::take(&mut self.chunk);
        if std::mem::take(&mut self.chunk_lines) == 0 {
            return Ok(());
        }
        if self.shared.draining() {
            let reject = Reject::new(Code::Draining, "the server is shutting down");
            return Err(self.told(Problem::from(reject.retry_unapplied(1_000)).closing()));
        }
        let done = self.admit(chunk.inputs, bytes).await;
        let outcomes = done.map_err(|reject| self.told(Problem::from(reject).closing()))?;
        if let Some(closed) = closed(&outcomes).filter(|_| self.job.is_some()) {
            return Err(self.told(Problem::from(closed.clone()).closing()));
        }
        self.chunks += 1;
        if let (true, Some(Err(reject))) = (self.stop, outcomes.last()) {
            // The engine stopped there: everything before it is durable, nothing behind it is in.
            let reject = reject.clone();
            let submitted = chunk.items.iter().filter(|(_, _, refused)| refused.is_none());
            let places: Vec<Place> = submitted.map(|(place, _, _)| *place).collect();
            self.tally.accepted += outcomes.iter().flatten().map(tasks).sum::<u64>();
            if let Some(Place::Line(line)) = places.get(outcomes.len().saturating_sub(1)) {
                self.durable_lines = line - 1;
            }
            return Err(self.told(self.shared.refusal(reject).status(422).closing()));
        }
        count(&mut self.tally, chunk.items, outcomes);
        self.durable_lines = self.lines;
        Ok(())
    }

    /// Submits the items of the chunk that is full.
    async fn admit(&mut self, items: Vec<Item>, bytes: usize) -> Result<Vec<ItemOutcome>, Reject> {
        let key = self.part(&items).await?;
        if items.is_empty() && key.is_none() {
            return Ok(Vec::new());
        }
        // The call has begun with its first line.
        let begin_by = None;
        let request = SubmitRequest { items, bytes, until_refused: self.stop, key, begin_by };
        let answer = self.shared.api.handle.submit(request).await?;
        self.replayed &= answer.replayed;
        Ok(answer.outcomes)
    }

    /// The chunk under the call's key. A chunk with nothing of this caller's own leaves the key
    /// alone.
    async fn part(&mut self, items: &[Item]) -> Result<Option<KeyOf>, Reject> {
        let digest = self.chunk_digest.take();
        self.digest.add(&digest.0);
        if self.shared.api.handle.owns_some(items) {
            self.hold_key().await?;
        }
        let Some(key) = self.key.as_ref().filter(|_| self.keyed) else { return Ok(None) };
        // The first call had fewer chunks.
        if self.done.as_ref().is_some_and(|done| self.chunks >= done.chunks.max(1)) {
            return Err(reused());
        }
        let frees = match (self.stop, &self.job) {
            (true, _) => Frees::Refused,
            (false, Some(_)) => Frees::Closed,
            (false, None) => Frees::Never,
        };
        Ok(Some(key.part(self.chunks, digest, frees)))
    }

    /// Begins under the key, if that was not done yet.
    async fn hold_key(&mut self) -> Result<(), Reject> {
        let Some(key) = self.key.as_mut().filter(|_| !self.keyed) else { return Ok(()) };
        key.hold()?;
        self.done = Done::recalled(key).await?;
        self.keyed = true;
        Ok(())
    }

    /// After the last line: closes the job if that is asked for, once under a key.
    async fn end(&mut self, close: bool) -> Result<bool, Problem> {
        if self.chunks == 0 {
            self.hold_key().await?;
            if let Some(job) = self.job.as_ref().filter(|_| self.done.is_none()) {
                refuse_closed(&self.shared, job).await?;
            }
            // Even nothing holds its key.
            self.admit(Vec::new(), 0).await?;
        }
        let digest = self.digest.take();
        if let Some(done) = &self.done {
            let same = done.chunks == self.chunks && done.digest == digest;
            return if same { Ok(done.closed) } else { Err(self.told(reused().into())) };
        }
        self.replayed = false;
        let closed = match &self.job {
            Some(job) if close => close_job(&self.shared, job, self.tally.accepted).await?,
            Some(_) | None => false,
        };
        if let Some(key) = self.key.as_ref().filter(|_| self.keyed) {
            let done = Done { closed, chunks: self.chunks, digest };
            key.remember(key.done(), done.note()).await?;
        }
        Ok(closed)
    }

    /// Ends at a bad line: what stands before it is made durable first.
    async fn stopped(&mut self, reject: Reject) -> Problem {
        self.chunk.items.pop();
        self.lines -= 1;
        self.chunk_lines -= 1;
        if let Err(problem) = self.flush().await {
            return problem;
        }
        self.durable_lines = self.lines;
        self.told(self.shared.refusal(reject).status(422).closing())
    }

    async fn too_long(&mut self, line_max: usize) -> Problem {
        if let Err(problem) = self.flush().await {
            return problem;
        }
        let detail = format!("line {} has more than {line_max} B", self.lines + 1);
        let problem = Problem::new(Code::LineTooLarge, detail).limit(line_max).closing();
        self.durable_lines = self.lines;
        self.told(problem)
    }

    /// Says how far the call came.
    fn told(&self, mut problem: Problem) -> Problem {
        problem.reject.not_applied &= self.tally.accepted == 0;
        problem.number("accepted", self.tally.accepted).number("nextLine", self.durable_lines + 1)
    }
}

fn tasks(admitted: &ItemAdmitted) -> u64 {
    match admitted {
        ItemAdmitted::Task(_) => 1,
        ItemAdmitted::Array { count, .. } => *count,
    }
}

//! NDJSON submits of any length: cut into chunks, each durable before the next is read on. Memory
//! stays within one chunk.
//!
//! ```text
//!   frames ─► lines ─► tasks of a chunk ─ 10,000 lines or 16 MiB ─► submit, durable ─► next chunk
//! ```

use crate::actor::request::{ItemAdmitted, ItemOutcome};
use crate::api::answer::Answer;
use crate::api::batch::{Batch, admit, close_job, closed, count, listing, refuse_closed};
use crate::api::call::{Call, Source};
use crate::api::context::Shared;
use crate::api::problem::{Outcome, Problem};
use crate::api::query::bad;
use crate::codec::json;
use crate::codec::wire::field::Rules;
use crate::codec::wire::submit::{Listing, Place, Summary, Tally};
use crate::model::array::ArrayInput;
use crate::model::command::Item;
use crate::model::id::Name;
use crate::model::limits;
use crate::model::reject::{Code, Reject};
use crate::model::task::TaskInput;
use std::sync::Arc;

/// Submits a stream of lines, all into `job` if one is given.
pub(crate) async fn submit(mut call: Call, job: Option<Name>) -> Outcome {
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
    };
    call.in_time()?;
    if let Some(source) = call.stream() {
        stream.run(source).await?;
    }
    if let Some(job) = stream.job.as_ref().filter(|_| stream.chunks == 0) {
        refuse_closed(&stream.shared, job).await?;
    }
    let job = stream.job.clone();
    let closed = match &job {
        Some(job) if close => close_job(&stream.shared, job, stream.tally.accepted).await?,
        Some(_) | None => false,
    };
    let lines = Some((stream.lines, stream.chunks));
    let summary = Summary { job: job.as_deref(), lines, closed };
    let about = job.as_deref().unwrap_or("*").to_owned();
    Ok(Answer::json(stream.tally.finish(summary)).about(about))
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
}

impl Stream {
    async fn run(&mut self, mut source: Source) -> Result<(), Problem> {
        let line_max = self.shared.api.config.limits.payload + limits::LINE_EXTRA_BYTES;
        // The beginning of a line whose end was not read yet.
        let mut open: Vec<u8> = Vec::new();
        loop {
            let frame = match source.next().await {
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
        let mut outcomes = Vec::new();
        if !chunk.inputs.is_empty() || !chunk.arrays.is_empty() {
            let done = match self.stop {
                true => admit_until(&self.shared, chunk.inputs, chunk.arrays, bytes).await,
                false => admit(&self.shared, chunk.inputs, chunk.arrays, bytes).await,
            };
            outcomes = done.map_err(|reject| self.told(Problem::from(reject).closing()))?;
        }
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

/// As [`admit`], but the first refusal is the last outcome: tasks go in stretches, each array by
/// itself.
async fn admit_until(
    shared: &Shared,
    mut inputs: Vec<TaskInput>,
    arrays: Vec<(usize, ArrayInput)>,
    bytes: usize,
) -> Result<Vec<ItemOutcome>, Reject> {
    let handle = &shared.api.handle;
    let mut outcomes: Vec<ItemOutcome> = Vec::new();
    let mut taken = 0;
    let ends = arrays.into_iter().map(|(before, array)| (before, Some(array)));
    for (before, array) in ends.chain([(taken + inputs.len(), None)]) {
        let rest = inputs.split_off((before - taken).min(inputs.len()));
        let stretch = std::mem::replace(&mut inputs, rest);
        taken = before;
        if !stretch.is_empty() {
            let done = handle.submit_until(stretch, bytes).await?;
            outcomes.extend(done.into_iter().map(|o| o.map(ItemAdmitted::Task)));
        }
        if let Some(array) = array.filter(|_| !matches!(outcomes.last(), Some(Err(_)))) {
            outcomes.extend(handle.submit_items(vec![Item::Array(Box::new(array))], bytes).await?);
        }
        if matches!(outcomes.last(), Some(Err(_))) {
            break;
        }
    }
    Ok(outcomes)
}

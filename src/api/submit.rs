//! Submits: one task, a JSON array, one object on the job route. NDJSON: `ndjson`.

use crate::actor::request::{KeyOf, SubmitRequest};
use crate::api::answer::Answer;
use crate::api::batch::{Batch, close_job, listing};
use crate::api::call::{Bound, Call, Media};
use crate::api::context::Shared;
use crate::api::idempotency::{Key, marked};
use crate::api::ndjson;
use crate::api::problem::{Outcome, Problem};
use crate::codec::json::{self};
use crate::codec::wire::submit::{Listing, Summary, Tally};
use crate::codec::wire::{seed, task};
use crate::model::id::Name;
use crate::model::key::Frees;
use crate::model::reject::{Code, Reject};
use crate::model::task::TaskInput;

/// `POST /kwq/submit`.
pub(crate) async fn submit(mut call: Call) -> Outcome {
    admitted(&call)?;
    let key = call.key()?;
    if call.media() == Media::Ndjson {
        return ndjson::submit(call, None, key).await;
    }
    let bytes = call.json_within(bound(&call.shared)).await?;
    let text = json::text(&bytes)?;
    if json::first_byte(&bytes) == Some(b'[') {
        let query = call.query(&["results"])?;
        let rules = call.shared.rules(query.flag("lenient")?);
        let batch = Batch::parse(text, None, &rules, call.shared.api.config.limits.batch_items)
            .map_err(|reject| call.shared.refusal(reject))?;
        call.in_time()?;
        let tally = Tally::new(listing(&query, Listing::All)?, usize::MAX);
        let key = key.as_ref().map(|key| key.whole(&bytes, Frees::Never));
        let (tally, again) = batch.run(&call.shared, bytes.len(), tally, None, key).await?;
        return Ok(marked(Answer::json(tally.finish(Summary::default())), again));
    }
    let rules = call.shared.rules(call.query(&[])?.flag("lenient")?);
    let fields = json::object(text)?;
    let input = task::parse(&fields, None, &rules).map_err(|r| call.shared.refusal(r))?;
    drop(fields);
    call.in_time()?;
    let key = key.as_ref().map(|key| key.whole(&bytes, Frees::Refused));
    one(&call.shared, input, bytes.len(), key).await
}

/// `POST /kwq/jobs/{job}/tasks`.
pub(crate) async fn job_tasks(mut call: Call) -> Outcome {
    let job = call.name(0, "job")?;
    admitted(&call)?;
    let key = call.key()?;
    if call.media() == Media::Ndjson {
        return ndjson::submit(call, Some(job), key).await;
    }
    let bytes = call.json_within(bound(&call.shared)).await?;
    let query = call.query(&["results", "close"])?;
    let rules = call.shared.rules(query.flag("lenient")?);
    let batch = Batch::parse(
        json::text(&bytes)?,
        Some(&job),
        &rules,
        call.shared.api.config.limits.batch_items,
    )
    .map_err(|reject| call.shared.refusal(reject))?;
    call.in_time()?;
    let tally = Tally::new(listing(&query, Listing::All)?, usize::MAX);
    let close = query.flag("close")?;
    let part = key.as_ref().map(|key| key.whole(&bytes, Frees::Closed));
    let (tally, mut again) = batch.run(&call.shared, bytes.len(), tally, Some(&job), part).await?;
    let closed = match &key {
        Some(key) if close => {
            let (closed, was) = close_once(&call.shared, key, &job, tally.accepted).await?;
            again &= was;
            closed
        }
        Some(_) | None => close && close_job(&call.shared, &job, tally.accepted).await?,
    };
    let summary = Summary { job: Some(&job), lines: None, closed };
    Ok(marked(Answer::json(tally.finish(summary)), again))
}

fn bound(shared: &Shared) -> Bound {
    Bound { one: shared.api.config.limits.body, list: shared.api.config.limits.batch_body }
}

/// Checks before the body is read.
fn admitted(call: &Call) -> Result<(), Problem> {
    if call.shared.draining() {
        let reject = Reject::new(Code::Draining, "the server is shutting down");
        return Err(Problem::from(reject.retry_unapplied(1_000)).closing());
    }
    Ok(())
}

/// Closes a job at the end of a keyed call, unless an earlier call did: by now the job may be one
/// that must stay open. Whether it is closed, and whether that was known.
async fn close_once(
    shared: &Shared,
    key: &Key,
    job: &Name,
    accepted: u64,
) -> Result<(bool, bool), Problem> {
    if let Some(note) = key.recall(key.done()).await? {
        return Ok((note == [1], true));
    }
    let closed = close_job(shared, job, accepted).await?;
    key.remember(key.done(), vec![u8::from(closed)]).await?;
    Ok((closed, false))
}

async fn one(shared: &Shared, input: TaskInput, bytes: usize, key: Option<KeyOf>) -> Outcome {
    let handle = &shared.api.handle;
    let request = SubmitRequest { tasks: vec![input], bytes, until_refused: false, key };
    let answer = handle.submit(request).await?;
    let replayed = answer.replayed;
    let missing = || Err(Reject::new(Code::Internal, "a submit without an outcome"));
    let admitted = answer.outcomes.into_iter().next().unwrap_or_else(missing)?;
    // Its own record: with the defaults of its job, and without waiting for the tracker.
    let stored = handle.admitted_text(&admitted).await?;
    let body = seed::submitted(&stored.spec, admitted.reference, stored.submitted);
    let answer = Answer::json(body).with("kwq-ref", admitted.reference);
    let outcome = if admitted.duplicate { "duplicate" } else { "ok" };
    let answer = answer.with("kwq-outcome", outcome).positions(&handle.positions());
    Ok(marked(answer, replayed))
}

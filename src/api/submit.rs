//! Submits: one task, a JSON array, one object on the job route. NDJSON: `ndjson`.

use crate::actor::request::{ItemAdmitted, KeyOf, SubmitRequest};
use crate::api::answer::Answer;
use crate::api::batch::{Batch, close_job, listing};
use crate::api::call::{Bound, Call, Media};
use crate::api::context::Shared;
use crate::api::idempotency::{Key, held, marked};
use crate::api::ndjson;
use crate::api::problem::{Outcome, Problem};
use crate::codec::json::{self};
use crate::codec::wire::submit::{Listing, Place, Summary, Tally};
use crate::codec::wire::{array, seed, task};
use crate::model::command::Item;
use crate::model::id::Name;
use crate::model::key::Frees;
use crate::model::reject::{Code, Reject};

/// `POST /kwq/submit`.
pub(crate) async fn submit(mut call: Call) -> Outcome {
    admitted(&call)?;
    let mut key = call.key()?;
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
        return several(&call, batch, &bytes, tally, key).await;
    }
    let rules = call.shared.rules(call.query(&[])?.flag("lenient")?);
    let fields = json::object(text)?;
    if let Some(member) = array::member(&fields) {
        let array = array::parse(&fields, member, None, &rules);
        let array = array.map_err(|r| call.shared.refusal(r))?;
        drop(fields);
        // It answers like a batch of one.
        let items = vec![(Place::Item(0), array.id.clone(), None)];
        let batch = Batch { inputs: vec![Item::Array(array)], items };
        call.in_time()?;
        let tally = Tally::new(Listing::All, usize::MAX);
        return several(&call, batch, &bytes, tally, key).await;
    }
    let input = task::parse(&fields, None, &rules).map_err(|r| call.shared.refusal(r))?;
    drop(fields);
    call.in_time()?;
    let items = vec![Item::Task(input)];
    let key = held(&call.shared, &mut key, &items)?;
    let key = key.map(|key| key.whole(&bytes, Frees::Refused));
    one(&call, items, bytes.len(), key).await
}

/// Many tasks of any jobs.
async fn several(
    call: &Call,
    batch: Batch,
    bytes: &[u8],
    tally: Tally,
    mut key: Option<Key>,
) -> Outcome {
    let about = batch.about();
    let part = held(&call.shared, &mut key, &batch.inputs)?;
    let part = part.map(|key| key.whole(bytes, Frees::Never));
    let (tally, again) = batch.run(call, bytes.len(), tally, None, part).await?;
    let answer = Answer::json(tally.finish(Summary::default())).about(&*about);
    Ok(marked(answer, again))
}

/// `POST /kwq/jobs/{job}/tasks`.
pub(crate) async fn job_tasks(mut call: Call) -> Outcome {
    let job = call.name(0, "job")?;
    admitted(&call)?;
    let mut key = call.key()?;
    // The job is the caller's own, so its key is too.
    key.as_mut().map_or(Ok(()), Key::hold)?;
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
    let (tally, mut again) = batch.run(&call, bytes.len(), tally, Some(&job), part).await?;
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
pub(crate) fn admitted(call: &Call) -> Result<(), Problem> {
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

async fn one(call: &Call, items: Vec<Item>, bytes: usize, key: Option<KeyOf>) -> Outcome {
    let handle = &call.shared.api.handle;
    let again = key.and_then(|key| Some((key, items.first()?.task().clone())));
    let begin_by = call.deadline;
    let request = SubmitRequest { items, bytes, until_refused: false, key, begin_by };
    let answer = handle.submit(request).await?;
    let replayed = answer.replayed;
    let first = answer.outcomes.into_iter().next().transpose()?;
    let Some(ItemAdmitted::Task(admitted)) = first else {
        return Err(Reject::new(Code::Internal, "a submit without an outcome").into());
    };
    let stored = match again {
        // The answer of an earlier call, whose task was purged.
        Some((key, input)) if replayed && !admitted.placed() => {
            handle.retold(admitted.reference, key, input).await?
        }
        // Its own record: with the defaults of its job, and without waiting for the tracker.
        Some(_) | None => handle.admitted_text(&admitted).await?,
    };
    let body = seed::submitted(&stored.spec, admitted.reference, stored.submitted);
    let answer = Answer::json(body).about(&*stored.spec.job).with("kwq-ref", admitted.reference);
    let outcome = if admitted.duplicate { "duplicate" } else { "ok" };
    let answer = answer.with("kwq-outcome", outcome).positions(&handle.positions());
    Ok(marked(answer, replayed))
}

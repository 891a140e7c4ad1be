//! Submits: one task, a JSON array, one object on the job route. NDJSON: `ndjson`.

use crate::api::answer::Answer;
use crate::api::batch::{Batch, admit, close_job, count, listing};
use crate::api::call::{Bound, Call, Media};
use crate::api::context::Shared;
use crate::api::ndjson;
use crate::api::problem::{Outcome, Problem};
use crate::codec::json::{self};
use crate::codec::wire::submit::{Listing, Place, Summary, Tally};
use crate::codec::wire::{array, seed, task};
use crate::model::array::ArrayInput;
use crate::model::reject::{Code, Reject};
use crate::model::task::TaskInput;

/// `POST /kwq/submit`.
pub(crate) async fn submit(mut call: Call) -> Outcome {
    admitted(&call)?;
    if call.media() == Media::Ndjson {
        return ndjson::submit(call, None).await;
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
        let about = batch.about();
        let tally = batch.run(&call.shared, bytes.len(), tally, None).await?;
        return Ok(Answer::json(tally.finish(Summary::default())).about(&*about));
    }
    let rules = call.shared.rules(call.query(&[])?.flag("lenient")?);
    let fields = json::object(text)?;
    if let Some(member) = array::member(&fields) {
        let array = array::parse(&fields, member, None, &rules);
        let array = array.map_err(|r| call.shared.refusal(r))?;
        drop(fields);
        call.in_time()?;
        return one_array(&call.shared, array, bytes.len()).await;
    }
    let input = task::parse(&fields, None, &rules).map_err(|r| call.shared.refusal(r))?;
    drop(fields);
    call.in_time()?;
    one(&call.shared, input, bytes.len()).await
}

/// `POST /kwq/jobs/{job}/tasks`.
pub(crate) async fn job_tasks(mut call: Call) -> Outcome {
    let job = call.name(0, "job")?;
    admitted(&call)?;
    if call.media() == Media::Ndjson {
        return ndjson::submit(call, Some(job)).await;
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
    let tally = batch.run(&call.shared, bytes.len(), tally, Some(&job)).await?;
    let closed = close && close_job(&call.shared, &job, tally.accepted).await?;
    let summary = Summary { job: Some(&job), lines: None, closed };
    Ok(Answer::json(tally.finish(summary)))
}

fn bound(shared: &Shared) -> Bound {
    Bound { one: shared.api.config.limits.body, list: shared.api.config.limits.batch_body }
}

/// Checks before the body is read.
fn admitted(call: &Call) -> Result<(), Problem> {
    call.refuse_key()?;
    if call.shared.draining() {
        let reject = Reject::new(Code::Draining, "the server is shutting down");
        return Err(Problem::from(reject.retry_unapplied(1_000)).closing());
    }
    Ok(())
}

/// An array answers like a batch of one.
async fn one_array(shared: &Shared, array: ArrayInput, bytes: usize) -> Outcome {
    let id = array.id.clone();
    let mut tally = Tally::new(Listing::All, usize::MAX);
    let outcomes = admit(shared, Vec::new(), vec![(0, array)], bytes).await?;
    count(&mut tally, vec![(Place::Item(0), id, None)], outcomes);
    Ok(Answer::json(tally.finish(Summary::default())))
}

async fn one(shared: &Shared, input: TaskInput, bytes: usize) -> Outcome {
    let handle = &shared.api.handle;
    let outcomes = handle.submit(vec![input], bytes).await?;
    let missing = || Err(Reject::new(Code::Internal, "a submit without an outcome"));
    let admitted = outcomes.into_iter().next().unwrap_or_else(missing)?;
    // Its own record: with the defaults of its job, and without waiting for the tracker.
    let stored = handle.admitted_text(&admitted).await?;
    let body = seed::submitted(&stored.spec, admitted.reference, stored.submitted);
    let answer = Answer::json(body).about(&*stored.spec.job).with("kwq-ref", admitted.reference);
    Ok(answer.with("kwq-outcome", "ok").positions(&handle.positions()))
}

//! `POST /kwq/jobs`, with and without a key.
//!
//! Under a key: what is about to be created is remembered first, so that a repeat after a crash
//! finds the id the server made up; then it is created, then the answer is remembered.

use crate::actor::handle::no_job;
use crate::api::answer::Answer;
use crate::api::call::Call;
use crate::api::context::Shared;
use crate::api::idempotency::{Key, marked};
use crate::api::jobs::{body, location};
use crate::api::problem::{Outcome, Problem};
use crate::codec::json;
use crate::codec::wire::job as wire;
use crate::model::id::Name;
use crate::model::job::JobSpec;
use crate::model::key::{Frees, KeyPart};
use crate::model::priority::Priority;
use crate::model::reject::{Code, Reject};
use hyper::StatusCode;
use std::sync::Arc;

pub(crate) async fn create(mut call: Call) -> Outcome {
    let mut key = call.key()?;
    let bytes = call.json().await?;
    let shared = &call.shared;
    let rules = shared.rules(call.query(&[])?.flag("lenient")?);
    let base = wire::Base {
        priority: Priority::new(u64::from(shared.api.config.job.priority))
            .unwrap_or(Priority::DEFAULT),
        retention_ms: shared.api.config.policy.retention_ms,
    };
    let (id, spec) = wire::parse(&json::object(json::text(&bytes)?)?, base, &rules)?;
    call.in_time()?;
    let scopes = &call.caller.scopes;
    match &id {
        None if !scopes.everything() => {
            let detail = "a token with scopes must name the job it creates";
            return Err(Reject::field("id", detail).into());
        }
        // Before the key: what it says of a foreign job is not for this caller.
        Some(id) if !scopes.cover(id) => return Err(no_job(id).into()),
        Some(_) | None => {}
    }
    key.as_mut().map_or(Ok(()), Key::hold)?;
    match key {
        Some(key) => keyed(shared, &key, &bytes, id, spec).await,
        None => {
            let id = id.unwrap_or_else(|| fresh_id(shared));
            let (created, body) = define(shared, &id, spec).await?;
            Ok(answer(created, &id, body))
        }
    }
}

fn fresh_id(shared: &Shared) -> Name {
    Arc::from(format!("j-{:016x}", shared.api.handle.random()))
}

fn answer(created: bool, id: &Name, body: Vec<u8>) -> Answer {
    let answer = Answer::json(body).about(&**id);
    match created {
        true => answer.status(StatusCode::CREATED).with("location", location(id)),
        false => answer,
    }
}

/// Defines a job; whether it is new, and the answer's body.
async fn define(shared: &Shared, id: &Name, spec: JobSpec) -> Result<(bool, Vec<u8>), Problem> {
    let defined = shared.api.handle.define_job(id.clone(), spec).await;
    let defined = defined.map_err(|reject| existing(reject, id))?;
    Ok((defined.created, body(shared, &defined.job)))
}

fn existing(reject: Reject, id: &Name) -> Problem {
    let conflict = reject.code == Code::JobConflict;
    let problem = Problem::from(reject);
    if conflict { problem.text("existing", id.as_ref()) } else { problem }
}

async fn keyed(
    shared: &Shared,
    key: &Key,
    bytes: &[u8],
    id: Option<Name>,
    spec: JobSpec,
) -> Outcome {
    let part = key.whole(bytes, Frees::Never).part(KeyPart::number(0, 0));
    let known = match key.recall(part).await? {
        Some(note) => Some(read_intent(&note)?),
        None => None,
    };
    if let Some((_, id)) = &known
        && let Some(note) = key.recall(key.done()).await?
        && let Some((created, body)) = note.split_first()
    {
        return Ok(marked(answer(*created == 1, id, body.to_vec()), true));
    }
    let (intended, id) = match &known {
        Some((created, id)) => (*created, id.clone()),
        None => {
            let id = id.unwrap_or_else(|| fresh_id(shared));
            let check = shared.api.handle.check_job(&id, &spec).await;
            let new = !check.map_err(|reject| existing(reject, &id))?;
            let mut intent = vec![u8::from(new)];
            intent.extend_from_slice(id.as_bytes());
            read_intent(&key.remember(part, intent).await?)?
        }
    };
    let (created, body) = match define(shared, &id, spec).await {
        Ok((created, body)) => (created || (known.is_some() && intended), body),
        // Somebody changed it between the first call, which did not come to its end, and this one.
        Err(problem) if problem.reject.code == Code::JobConflict && known.is_some() => {
            let job = shared.api.handle.job(id.clone()).await?;
            (intended, body(shared, &job))
        }
        Err(problem) => {
            if problem.reject.code == Code::JobConflict {
                key.forget(part).await?;
            }
            return Err(problem);
        }
    };
    let mut note = vec![u8::from(created)];
    note.extend_from_slice(&body);
    key.remember(key.done(), note).await?;
    Ok(answer(created, &id, body))
}

/// Whether the job was to be new, and its id.
fn read_intent(note: &[u8]) -> Result<(bool, Name), Reject> {
    let read = note.split_first().zip(std::str::from_utf8(note.get(1..).unwrap_or_default()).ok());
    // Only a note of another release can be unreadable.
    let unreadable = || Reject::new(Code::Internal, "the note under the key cannot be read");
    let ((created, _), id) = read.ok_or_else(unreadable)?;
    Ok((*created == 1, id.into()))
}

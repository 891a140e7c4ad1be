//! Jobs: list, show, change, wait.

use crate::actor::bodies;
use crate::actor::request::{JobPatch, JobQuery, JobSort};
use crate::api::answer::Answer;
use crate::api::call::{Call, token_over};
use crate::api::context::{Phase, Shared};
use crate::api::create;
use crate::api::operations;
use crate::api::problem::{Outcome, Problem};
use crate::api::query::{Query, bad};
use crate::api::route::{ADMIN, OPERATE, Route, Rule, SUBMIT, VIEW, on};
use crate::codec::json;
use crate::codec::wire::job as wire;
use crate::codec::wire::out::Out;
use crate::model::access::Role;
use crate::model::id::Name;
use crate::model::job::{JobChange, JobState};
use crate::model::limits;
use crate::model::priority::Priority;
use crate::model::view::JobView;
use hyper::{Method, StatusCode};
use std::fmt::Write as _;
use std::sync::Arc;

const CLOSE: Rule = Rule::any_of(&[Role::Submit, Role::Operate]);

pub(crate) fn routes() -> Vec<Route> {
    vec![
        on(Method::POST, "/kwq/jobs", SUBMIT.audited("job.create"), create::create),
        on(Method::GET, "/kwq/jobs", VIEW, list),
        on(Method::GET, "/kwq/jobs/{job}", VIEW, get),
        on(Method::PATCH, "/kwq/jobs/{job}", OPERATE.audited("job.change"), patch),
        on(Method::POST, "/kwq/jobs/{job}/close", CLOSE.audited("job.close"), |call| {
            verb(call, JobChange::Close)
        }),
        on(Method::POST, "/kwq/jobs/{job}/pause", OPERATE.audited("job.pause"), |call| {
            verb(call, JobChange::Pause)
        }),
        on(Method::POST, "/kwq/jobs/{job}/resume", OPERATE.audited("job.resume"), |call| {
            verb(call, JobChange::Resume)
        }),
        on(Method::POST, "/kwq/jobs/{job}/cancel", OPERATE.audited("job.cancel"), cancel),
        on(Method::GET, "/kwq/jobs/{job}/wait", VIEW, wait),
        on(Method::POST, "/kwq/jobs/{job}/retry", OPERATE.audited("job.retry"), retry),
        on(Method::DELETE, "/kwq/jobs/{job}", ADMIN.audited("job.purge"), purge),
    ]
}

pub(crate) fn body(shared: &Shared, job: &JobView) -> Vec<u8> {
    bodies::job(job, &shared.api.config.policy, shared.api.handle.now().wall)
}

/// 202 while a control verb is not in force everywhere.
fn controlled(shared: &Shared, job: &JobView) -> Answer {
    let partly = job.partitions.is_some_and(|(total, applied)| applied < total);
    let status = if partly { StatusCode::ACCEPTED } else { StatusCode::OK };
    let answer = Answer::json(body(shared, job)).status(status);
    if partly { answer.with("location", location(&job.id)) } else { answer }
}

pub(crate) fn location(job: &str) -> String {
    let mut out = String::from("/kwq/jobs/");
    for byte in job.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("a String accepts every write");
        }
    }
    out
}

async fn list(call: Call) -> Outcome {
    let query = call
        .query(&["state", "paused", "tag", "priority", "q", "sort", "limit", "cursor", "fresh"])?;
    query.flag("fresh")?;
    let (sort, kind) = sort(&query)?;
    let shared = &call.shared;
    let now = shared.api.handle.now().wall;
    let after = match query.cursor()? {
        Some(text) => {
            let data = shared.seal().await?.unwrap(kind, text, now)?;
            Some(Arc::from(String::from_utf8_lossy(&data).as_ref()))
        }
        None => None,
    };
    let request = JobQuery {
        states: query.list("state", JobState::parse)?,
        paused: query.boolean("paused")?,
        tag: query.one("tag")?.map(Arc::from),
        priority: query.integer("priority", 1, 9)?.and_then(Priority::new),
        prefix: query.one("q")?.map(Arc::from),
        sort,
        limit: query.limit()?,
        after,
    };
    let page = shared.api.handle.jobs(request).await?;
    let mut out = Out::with_capacity(2 + page.rows.len() * 900);
    out.open_list();
    for row in &page.rows {
        wire::view(&mut out, row, &shared.api.config.policy, now);
    }
    out.close_list();
    let answer = Answer::json(out.into_bytes()).with("kwq-lag-ms", 0);
    Ok(match page.next {
        Some(next) => {
            answer.with("kwq-next", shared.seal().await?.wrap(kind, next.as_bytes(), now))
        }
        None => answer,
    })
}

fn sort(query: &Query) -> Result<(JobSort, &'static str), Problem> {
    match query.one("sort")? {
        None | Some("created") => Ok((JobSort::Created, "jobs-created")),
        Some("eta") => Ok((JobSort::Eta, "jobs-eta")),
        Some("errors") => Ok((JobSort::Errors, "jobs-errors")),
        Some("age") => Ok((JobSort::Age, "jobs-age")),
        Some(_) => Err(bad("sort", "sort must be created, eta, errors or age").into()),
    }
}

async fn get(call: Call) -> Outcome {
    let job = call.name(0, "job")?;
    call.query(&[])?;
    let view = call.shared.api.handle.job(job).await?;
    Ok(Answer::json(body(&call.shared, &view)))
}

async fn patch(mut call: Call) -> Outcome {
    let job = call.name(0, "job")?;
    let bytes = call.json().await?;
    let rules = call.shared.rules(call.query(&[])?.flag("lenient")?);
    let patch = wire::parse_patch(&json::object(json::text(&bytes)?)?, &rules)?;
    let patch = JobPatch {
        priority: patch.priority,
        weight: patch.weight,
        name: patch.name,
        tag: patch.tag,
        retention_ms: patch.retention_ms,
    };
    let view = call.shared.api.handle.patch_job(job, patch).await?;
    Ok(controlled(&call.shared, &view))
}

async fn verb(mut call: Call, change: JobChange) -> Outcome {
    let job = call.name(0, "job")?;
    let bytes = call.optional_json().await?;
    let rules = call.shared.rules(call.query(&[])?.flag("lenient")?);
    // The reason of a pause is checked and not kept: the audit trail holds no free text.
    wire::parse_reason(&json::object(json::text(&bytes)?)?, &rules)?;
    change_job(&call.shared, job, change).await
}

async fn cancel(mut call: Call) -> Outcome {
    let job = call.name(0, "job")?;
    let bytes = call.optional_json().await?;
    let rules = call.shared.rules(call.query(&[])?.flag("lenient")?);
    let (mode, reason) = wire::parse_cancel(&json::object(json::text(&bytes)?)?, &rules)?;
    change_job(&call.shared, job, JobChange::Cancel(mode, reason)).await
}

async fn change_job(shared: &Shared, job: Name, change: JobChange) -> Outcome {
    let view = shared.api.handle.change_job(job, change).await?;
    Ok(controlled(shared, &view))
}

async fn retry(mut call: Call) -> Outcome {
    let job = call.name(0, "job")?;
    let bytes = call.optional_json().await?;
    let rules = call.shared.rules(call.query(&[])?.flag("lenient")?);
    let priority = wire::parse_set(&json::object(json::text(&bytes)?)?, &rules)?;
    let by = operations::by(&call);
    let operation = call.shared.api.handle.retry_job(job, priority, by).await?;
    Ok(operations::accepted(&operation))
}

async fn purge(call: Call) -> Outcome {
    let job = call.name(0, "job")?;
    call.query(&[])?;
    let operation = call.shared.api.handle.purge_job(job, operations::by(&call)).await?;
    Ok(operations::accepted(&operation))
}

async fn wait(call: Call) -> Outcome {
    let job = call.name(0, "job")?;
    let query = call.query(&["for", "waitMs"])?;
    let wait_ms = query.integer("waitMs", 0, limits::WAIT_MS_MAX)?.unwrap_or(limits::WAIT_MS);
    // The end of the job ends every wait.
    let wanted = query.list("for", |word| match word {
        "done" => Some(false),
        "firstError" => Some(true),
        _ => None,
    })?;
    let first_error = wanted.contains(&true);
    let mut phase = call.shared.phase.clone();
    let waited = tokio::select! {
        biased;
        view = call.shared.api.handle.wait_job(job, first_error, wait_ms) => view?,
        _ = phase.wait_for(|phase| *phase >= Phase::Draining) => None,
        () = call.ended() => return Err(token_over().into()),
    };
    Ok(match waited {
        Some(view) => Answer::json(body(&call.shared, &view)),
        None => Answer::empty(StatusCode::NO_CONTENT),
    })
}

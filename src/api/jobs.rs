//! Jobs over HTTP.

use crate::actor::request::{JobPatch, JobQuery, JobSort};
use crate::api::answer::{self, Outcome};
use crate::api::call::{Call, bad_query};
use crate::api::context::ApiContext;
use crate::codec::json;
use crate::codec::wire::job as wire;
use crate::model::id::Name;
use crate::model::job::{JobChange, JobState};
use crate::model::limits;
use crate::model::priority::Priority;
use crate::model::view::JobView;
use warp::reply::Response;

const LIST: &[&str] =
    &["state", "paused", "tag", "priority", "q", "sort", "limit", "cursor", "fresh"];

fn shown(context: &ApiContext, status: u16, job: &JobView) -> Response {
    let now = context.handle.now().wall.0;
    answer::written(status, |out| wire::job(out, job, now))
}

/// `POST /kwq/jobs`.
pub(crate) async fn create(context: &ApiContext, mut call: Call) -> Outcome {
    call.allow_query(&["lenient"])?;
    let text = call.json(context.config.limits.body).await?;
    let fields = json::object(&text)?;
    let retention = context.config.policy.retention_ms;
    let (id, spec) = wire::create(&fields, retention, call.lenient()?)?;
    let id = id.unwrap_or_else(|| Name::from(format!("j-{:016x}", context.handle.random())));
    let made = context.handle.define_job(id, spec).await?;
    let mut response = shown(context, if made.created { 201 } else { 200 }, &made.job);
    if made.created {
        answer::header(&mut response, "location", &format!("/kwq/jobs/{}", escape(&made.job.id)));
    }
    Ok(response)
}

/// A path part, percent-encoded.
fn escape(part: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
    part.bytes()
        .map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

/// `GET /kwq/jobs`.
pub(crate) async fn list(context: &ApiContext, call: &Call) -> Outcome {
    call.allow_query(LIST)?;
    call.query_flag("fresh")?;
    let mut states = Vec::new();
    for word in call.query("state").unwrap_or_default().split(',').filter(|w| !w.is_empty()) {
        states.push(JobState::parse(word).ok_or_else(|| bad_query("state", "a job state"))?);
    }
    let sort = match call.query("sort") {
        None | Some("created") => JobSort::Created,
        Some("eta") => JobSort::Eta,
        Some("errors") => JobSort::Errors,
        Some("age") => JobSort::Age,
        Some(_) => return Err(bad_query("sort", "created, eta, errors or age")),
    };
    let now = context.handle.now().wall;
    let after = match call.query("cursor") {
        None => None,
        Some(cursor) => Some(Name::from(context.signer.open("jobs", cursor, now)?)),
    };
    let query = JobQuery {
        states,
        paused: call.query("paused").map(|_| call.query_flag("paused")).transpose()?,
        tag: call.query_name("tag"),
        priority: call.query_number("priority", 1, 9)?.and_then(Priority::new),
        prefix: call.query_name("q"),
        sort,
        limit: call.limit()?,
        after,
    };
    let page = context.handle.jobs(query).await?;
    let mut response = answer::written(200, |out| {
        out.open_list();
        page.rows.iter().for_each(|job| wire::job(out, job, now.0));
        out.close_list();
    });
    if let Some(next) = page.next {
        answer::header(&mut response, "kwq-next", &context.signer.sign("jobs", &next, now));
    }
    answer::header(&mut response, "kwq-lag-ms", "0");
    answer::positions(&mut response, &context.handle.positions());
    Ok(response)
}

/// `GET /kwq/jobs/{job}`.
pub(crate) async fn get(context: &ApiContext, call: &Call, job: &str) -> Outcome {
    call.allow_query(&[])?;
    let view = context.handle.job(Name::from(job)).await?;
    let mut response = shown(context, 200, &view);
    answer::positions(&mut response, &context.handle.positions());
    Ok(response)
}

/// `PATCH /kwq/jobs/{job}`.
pub(crate) async fn patch(context: &ApiContext, mut call: Call, job: &str) -> Outcome {
    call.allow_query(&["lenient"])?;
    let text = call.json(context.config.limits.body).await?;
    let fields = json::object(&text)?;
    let patch = wire::patch(&fields, call.lenient()?)?;
    let patch = JobPatch {
        priority: patch.priority,
        weight: patch.weight,
        name: patch.name,
        tag: patch.tag,
        retention_ms: patch.retention_ms,
    };
    let view = context.handle.patch_job(Name::from(job), patch).await?;
    Ok(shown(context, 200, &view))
}

/// `POST /kwq/jobs/{job}/close|pause|resume|cancel`.
pub(crate) async fn verb(context: &ApiContext, mut call: Call, job: &str, verb: &str) -> Outcome {
    call.allow_query(&[])?;
    let text = call.optional_json(context.config.limits.body).await?;
    let fields = json::object(&text)?;
    let change = match verb {
        "cancel" => {
            let (mode, reason) = wire::cancel(&fields)?;
            JobChange::Cancel(mode, reason)
        }
        verb => {
            wire::reason(&fields)?;
            match verb {
                "pause" => JobChange::Pause,
                "resume" => JobChange::Resume,
                _ => JobChange::Close,
            }
        }
    };
    let view = context.handle.change_job(Name::from(job), change).await?;
    Ok(shown(context, 200, &view))
}

/// `GET /kwq/jobs/{job}/wait`.
pub(crate) async fn wait(context: &ApiContext, call: &Call, job: &str) -> Outcome {
    call.allow_query(&["for", "waitMs"])?;
    let (mut done, mut first_error) = (false, false);
    for word in call.query("for").unwrap_or("done").split(',') {
        match word {
            "done" => done = true,
            "firstError" => first_error = true,
            _ => return Err(bad_query("for", "done or firstError")),
        }
    }
    let wait_ms = call.query_number("waitMs", 0, limits::WAIT_MS_MAX)?.unwrap_or(limits::WAIT_MS);
    let held = context.handle.wait_job(Name::from(job), done, first_error, wait_ms).await?;
    Ok(held.map_or_else(|| answer::empty(204), |view| shown(context, 200, &view)))
}

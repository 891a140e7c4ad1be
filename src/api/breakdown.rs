//! Tasks counted by state, priority or tag: of one job, and by tag of all jobs.

use crate::actor::request::At;
use crate::api::answer::Answer;
use crate::api::call::Call;
use crate::api::problem::Outcome;
use crate::api::query::bad;
use crate::api::route::{Route, VIEW, on};
use crate::codec::wire::breakdown as wire;
use crate::codec::wire::out::Out;
use crate::model::breakdown::{Breakdown, By, key_of};
use hyper::Method;

pub(crate) fn job_routes() -> Vec<Route> {
    vec![on(Method::GET, "/kwq/jobs/{job}/breakdown", VIEW, of_job)]
}

pub(crate) fn stats_routes() -> Vec<Route> {
    vec![on(Method::GET, "/kwq/stats/tags", VIEW, of_tags)]
}

async fn of_job(call: Call) -> Outcome {
    let job = call.name(0, "job")?;
    let query = call.query(&["by", "limit", "fresh"])?;
    let by = query.one("by")?.unwrap_or_default();
    let asked = By::parse(by);
    let asked = asked.ok_or_else(|| bad("by", "by must be state, priority or tag:KEY"))?;
    let limit = query.limit()?;
    let fresh = query.flag("fresh")?;
    let found = call.shared.api.handle.breakdown(job.clone(), asked, fresh).await?;
    Ok(answer(Some(&job), by, &found, limit))
}

async fn of_tags(call: Call) -> Outcome {
    let query = call.query(&["key", "limit", "fresh"])?;
    let key = key_of(query.one("key")?.unwrap_or_default());
    let key = key.ok_or_else(|| bad("key", "key must be a tag key of 1 to 64 B"))?;
    let limit = query.limit()?;
    let fresh = query.flag("fresh")?;
    let found = call.shared.api.handle.tags(key.clone(), fresh).await?;
    Ok(answer(None, &format!("tag:{key}"), &found, limit))
}

fn answer(job: Option<&str>, by: &str, found: &At<Breakdown>, limit: usize) -> Answer {
    let mut out = Out::with_capacity(200 + limit.min(found.value.rows.len()) * 180);
    wire::view(&mut out, job, by, &found.value, limit);
    Answer::json(out.into_bytes()).positions(&found.positions).with("kwq-lag-ms", found.lag_ms)
}

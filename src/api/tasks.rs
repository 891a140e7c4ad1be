//! Tasks: lists, one task, its bytes, cancel, retry; the dead letter is a list of them.

use crate::actor::request::{TaskAnswer, TaskKey};
use crate::api::answer::Answer;
use crate::api::call::Call;
use crate::api::context::Shared;
use crate::api::cursor::{pack, unpack};
use crate::api::problem::Outcome;
use crate::api::query::{Query, bad, checked_name};
use crate::api::route::{OPERATE, PAYLOAD, Route, VIEW, on};
use crate::codec::json;
use crate::codec::wire::out::Out;
use crate::codec::wire::{explain as wire, job, task_out};
use crate::model::access::Role;
use crate::model::id::Name;
use crate::model::limits;
use crate::model::priority::Priority;
use crate::model::reference::TaskRef;
use crate::model::reject::{Code, Reject};
use crate::model::state::TaskState;
use crate::model::tags::{TagPart, split};
use crate::model::time::WallMs;
use crate::model::view::{Order, TaskCursor, TaskQuery, TaskView};
use hyper::header::HeaderValue;
use hyper::{Method, StatusCode};
use std::sync::Arc;

pub(crate) fn routes() -> Vec<Route> {
    vec![
        on(Method::GET, "/kwq/tasks", VIEW, |call| list(call, false)),
        on(Method::GET, "/kwq/tasks/{task}", VIEW, get),
        on(Method::GET, "/kwq/tasks/{task}/explain", VIEW, explain),
        on(Method::GET, "/kwq/tasks/{task}/payload", PAYLOAD, payload),
        on(Method::GET, "/kwq/tasks/{task}/result", PAYLOAD, result),
        on(Method::POST, "/kwq/tasks/{task}/cancel", OPERATE.audited("task.cancel"), cancel),
        on(Method::POST, "/kwq/tasks/{task}/retry", OPERATE.audited("task.retry"), retry),
    ]
}

pub(crate) fn dead_routes() -> Vec<Route> {
    vec![on(Method::GET, "/kwq/dlq", VIEW, |call| list(call, true))]
}

const FILTERS: &[&str] = &[
    "job", "id", "index", "priority", "worker", "state", "tag", "tagAny", "class", "since",
    "until", "order", "fresh", "limit", "cursor",
];

async fn list(call: Call, dead: bool) -> Outcome {
    let query = call.query(FILTERS)?;
    let shared = &call.shared;
    let now = shared.api.handle.now().wall;
    let mut filter = filter(&query)?;
    if dead {
        let (asked, dead) = (filter.states, 1 << TaskState::Error.index());
        filter.states = dead;
        if asked != 0 && asked & dead == 0 {
            // Both filters hold, and no task is dead and something else.
            return Ok(Answer::json(b"[]".to_vec()).with("kwq-lag-ms", 0));
        }
    }
    filter.order = order(&query, filter != TaskQuery::default())?;
    filter.limit = query.limit()?;
    let kind = cursor_kind(filter.order);
    if let Some(text) = query.cursor()? {
        let data = shared.seal().await?.unwrap(kind, text, now)?;
        let next =
            unpack(&data).ok_or_else(|| Reject::new(Code::BadCursor, "the cursor is broken"))?;
        filter.cursor = Some(TaskCursor { next });
    }
    filter.fresh = query.flag("fresh")?;
    let page = shared.api.handle.tasks(filter).await?;
    let mut out = Out::with_capacity(2 + page.rows.len() * 700);
    out.open_list();
    page.rows.iter().for_each(|row| task_out::view(&mut out, row));
    out.close_list();
    let mut answer =
        Answer::json(out.into_bytes()).positions(&page.positions).with("kwq-lag-ms", page.lag_ms);
    if call.caller.scopes.everything() {
        // Tasks of other jobs are looked at too, and their number is theirs.
        answer = answer.with("kwq-scanned", page.scanned);
    }
    if let Some(next) = &page.next {
        answer = answer.with("kwq-next", shared.seal().await?.wrap(kind, &pack(&next.next), now));
    }
    Ok(answer)
}

fn cursor_kind(order: Order) -> &'static str {
    match order {
        Order::Recent => "tasks-recent",
        Order::New => "tasks-new",
        Order::Old => "tasks-old",
    }
}

fn order(query: &Query, filtered: bool) -> Result<Order, Reject> {
    match query.one("order")? {
        Some("recent") => Ok(Order::Recent),
        Some("new") => Ok(Order::New),
        Some("old") => Ok(Order::Old),
        Some(_) => Err(bad("order", "order must be recent, new or old")),
        None if filtered => Ok(Order::New),
        None => Ok(Order::Recent),
    }
}

fn filter(query: &Query) -> Result<TaskQuery, Reject> {
    let index = query.integer("index", 0, limits::ARRAY_VALUE_MAX)?;
    if index.is_some() && query.one("job")?.is_none() {
        return Err(bad("index", "index is the value of an element: it needs job"));
    }
    let states = query.list("state", TaskState::parse)?;
    let stamp = |name| query.integer(name, 0, u64::MAX).map(|at| WallMs(at.unwrap_or(0)));
    let tags: Vec<Name> = query.all("tag").filter_map(tag).collect();
    let any: Vec<Name> = query.all("tagAny").flat_map(|v| v.split(',')).filter_map(tag).collect();
    if tags.len() > limits::TAGS_MAX || any.len() > limits::TAGS_MAX {
        return Err(bad("tag", "at most 32 tags may be asked for"));
    }
    Ok(TaskQuery {
        job: query.name("job")?,
        id: query.name("id")?,
        index,
        priority: query.integer("priority", 1, 9)?.and_then(Priority::new),
        worker: query.name("worker")?,
        states: states.iter().fold(0, |bits, s| bits | 1 << s.index()),
        tags,
        tags_any: any,
        class: query.one("class")?.map(Arc::from),
        since: stamp("since")?,
        // Nothing was submitted before 1, and 0 would mean without bound.
        until: query.integer("until", 0, u64::MAX)?.map_or(WallMs(0), |at| WallMs(at.max(1))),
        ..TaskQuery::default()
    })
}

/// A tag as it is stored: blanks trimmed, `:x` and `x:` are the bare `x`.
fn tag(text: &str) -> Option<Name> {
    match split(text) {
        TagPart::Bare("") => None,
        TagPart::Bare(bare) => Some(Arc::from(bare)),
        TagPart::Pair(key, value) => Some(Arc::from(format!("{key}:{value}"))),
    }
}

/// `{task}` of a path: a reference, or a client id narrowed by `?job=`.
pub(crate) fn key(text: &str, job: Option<Name>) -> Result<TaskKey, Reject> {
    if let Some(reference) = TaskRef::parse(text) {
        return Ok(TaskKey::Ref(reference));
    }
    if TaskRef::looks_like(text) {
        return Err(Reject::new(Code::TaskNotFound, "no task has such a reference"));
    }
    Ok(TaskKey::Id { id: checked_name("task", text)?, job })
}

fn shown(answer: &TaskAnswer) -> Answer {
    Answer::json(body(&answer.value)).positions(&answer.positions)
}

fn body(view: &TaskView) -> Vec<u8> {
    let mut out = Out::with_capacity(1_024 + view.spec.payload.bytes.len() * 5 / 4);
    task_out::view(&mut out, view);
    out.into_bytes()
}

async fn get(call: Call) -> Outcome {
    let query = call.query(&["job", "payload", "result"])?;
    let key = key(call.param(0), query.name("job")?)?;
    let (payload, result) = (query.flag("payload")?, query.flag("result")?);
    if (payload || result) && !call.caller.roles.has(Role::Payload) {
        let detail = "payload and result need the role payload";
        return Err(Reject::new(Code::Forbidden, detail).into());
    }
    let answer = call.shared.api.handle.task(key, payload, result).await?;
    Ok(shown(&answer))
}

async fn explain(call: Call) -> Outcome {
    let query = call.query(&["job"])?;
    let key = key(call.param(0), query.name("job")?)?;
    let answer = call.shared.api.handle.explain(key).await?;
    let found = &answer.value;
    let subject = wire::Subject {
        id: found.id.as_deref(),
        reference: &found.reference,
        partition: found.partition,
    };
    let mut out = Out::with_capacity(700);
    wire::view(&mut out, subject, &found.why);
    Ok(Answer::json(out.into_bytes()).positions(&answer.positions))
}

async fn payload(call: Call) -> Outcome {
    let (key, shared) = bytes_of(&call)?;
    let answer = shared.api.handle.task(key, true, false).await?;
    Ok(attachment(answer.value.spec.payload.bytes.clone()).positions(&answer.positions))
}

async fn result(call: Call) -> Outcome {
    let (key, shared) = bytes_of(&call)?;
    let answer = shared.api.handle.task(key, false, true).await?;
    let missing = || Reject::new(Code::TaskNotFound, "the task has no result yet");
    let blob = match answer.value.result {
        Some(blob) => blob.bytes,
        // Completed without one: empty, not missing.
        None if answer.value.row.state == TaskState::Completed => Vec::new(),
        None => return Err(missing().into()),
    };
    Ok(attachment(blob).positions(&answer.positions))
}

fn bytes_of(call: &Call) -> Result<(TaskKey, &Shared), Reject> {
    let query = call.query(&["job"])?;
    Ok((key(call.param(0), query.name("job")?)?, &call.shared))
}

fn attachment(bytes: Vec<u8>) -> Answer {
    let kind = HeaderValue::from_static("application/octet-stream");
    Answer::typed(StatusCode::OK, kind, bytes.into())
        .with("content-disposition", "attachment")
        .with("x-content-type-options", "nosniff")
}

async fn cancel(mut call: Call) -> Outcome {
    let bytes = call.optional_json().await?;
    let query = call.query(&["job"])?;
    let rules = call.shared.rules(query.flag("lenient")?);
    job::parse_reason(&json::object(json::text(&bytes)?)?, &rules)?;
    let key = key(call.param(0), query.name("job")?)?;
    let view = call.shared.api.handle.cancel_task(key).await?;
    Ok(Answer::json(body(&view)).of_job(&*view.spec.job))
}

async fn retry(mut call: Call) -> Outcome {
    let bytes = call.optional_json().await?;
    let query = call.query(&["job"])?;
    let rules = call.shared.rules(query.flag("lenient")?);
    let priority = job::parse_set(&json::object(json::text(&bytes)?)?, &rules)?;
    let key = key(call.param(0), query.name("job")?)?;
    let view = call.shared.api.handle.retry_task(key, priority).await?;
    Ok(Answer::json(body(&view)).of_job(&*view.spec.job))
}

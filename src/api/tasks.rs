//! Tasks over HTTP: lists, one by id, its bytes, its verbs.

use crate::actor::request::TaskKey;
use crate::api::answer::{self, Outcome};
use crate::api::call::{Call, bad_query};
use crate::api::context::ApiContext;
use crate::codec::json;
use crate::codec::wire::{field, task_out};
use crate::model::id::Name;
use crate::model::priority::Priority;
use crate::model::reference::TaskRef;
use crate::model::reject::{Code, Reject};
use crate::model::state::TaskState;
use crate::model::time::WallMs;
use crate::model::view::{Order, TaskCursor, TaskQuery};

const FILTERS: &[&str] = &[
    "job", "id", "index", "priority", "worker", "state", "tag", "tagAny", "class", "since",
    "until", "order", "fresh", "limit", "cursor",
];

/// How a path part names a task.
pub(crate) fn key(task: &str, job: Option<Name>) -> TaskKey {
    match TaskRef::parse(task) {
        Some(reference) => TaskKey::Ref(reference),
        None => TaskKey::Id { id: Name::from(task), job },
    }
}

/// `GET /kwq/tasks` and `/kwq/dlq`.
pub(crate) async fn list(context: &ApiContext, call: &Call, dead: bool) -> Outcome {
    call.allow_query(FILTERS)?;
    if call.query("index").is_some() {
        let detail = "arrays are not in this build yet, so there is no index";
        return Err(Reject::new(Code::NotSupported, detail).on("index"));
    }
    let now = context.handle.now().wall;
    let scope = scope(call, dead);
    let cursor = match call.query("cursor") {
        None => None,
        Some(text) => Some(cursor(&context.signer.open(&scope, text, now)?)?),
    };
    let query = query(call, dead, cursor)?;
    let page = context.handle.tasks(query, call.query_flag("fresh")?).await?;
    let mut response = answer::written(200, |out| {
        out.open_list();
        page.rows.iter().for_each(|view| task_out::task(out, view));
        out.close_list();
    });
    if let Some(next) = page.next {
        let parts: Vec<String> = next.next.iter().map(u64::to_string).collect();
        let signed = context.signer.sign(&scope, &parts.join(","), now);
        answer::header(&mut response, "kwq-next", &signed);
    }
    answer::header(&mut response, "kwq-scanned", &page.scanned.to_string());
    answer::header(&mut response, "kwq-lag-ms", &page.lag_ms.to_string());
    answer::positions(&mut response, &page.positions);
    Ok(response)
}

/// A cursor belongs to its filter: all parameters but where and how much.
fn scope(call: &Call, dead: bool) -> String {
    let mut parts: Vec<String> = call
        .query
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "cursor" | "limit" | "fresh"))
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    parts.sort_unstable();
    format!("tasks|{dead}|{}", parts.join("&"))
}

fn cursor(text: &str) -> Result<TaskCursor, Reject> {
    let next: Result<Vec<u64>, _> = text.split(',').map(str::parse).collect();
    let bad = |_| Reject::new(Code::BadCursor, "the cursor is not of this list");
    next.map(|next| TaskCursor { next }).map_err(bad)
}

fn query(call: &Call, dead: bool, cursor: Option<TaskCursor>) -> Result<TaskQuery, Reject> {
    let mut states = 0u16;
    for word in call.query("state").unwrap_or_default().split(',').filter(|w| !w.is_empty()) {
        let state = TaskState::parse(word);
        states |= 1 << state.ok_or_else(|| bad_query("state", "a task state"))?.index();
    }
    if dead {
        let error = 1 << TaskState::Error.index();
        states = if states == 0 { error } else { states & error };
    }
    let filtered = call.query.iter().any(|(name, value)| {
        !value.is_empty() && !matches!(name.as_str(), "order" | "fresh" | "limit" | "cursor")
    });
    let order = match call.query("order") {
        None if dead || filtered => Order::New,
        None | Some("recent") => Order::Recent,
        Some("new") => Order::New,
        Some("old") => Order::Old,
        Some(_) => return Err(bad_query("order", "recent, new or old")),
    };
    let names = |name: &str| -> Vec<Name> {
        call.query_all(name).filter(|v| !v.is_empty()).map(Name::from).collect()
    };
    let any = names("tagAny").iter().flat_map(|v| v.split(',').map(Name::from)).collect();
    Ok(TaskQuery {
        job: call.query_name("job"),
        id: call.query_name("id"),
        priority: call.query_number("priority", 1, 9)?.and_then(Priority::new),
        worker: call.query_name("worker"),
        states,
        tags: names("tag"),
        tags_any: any,
        class: call.query_name("class"),
        since: WallMs(call.query_number("since", 0, u64::MAX)?.unwrap_or(0)),
        until: WallMs(call.query_number("until", 0, u64::MAX)?.unwrap_or(0)),
        order,
        limit: call.limit()?,
        cursor,
    })
}

/// `GET /kwq/tasks/{task}`.
pub(crate) async fn get(context: &ApiContext, call: &Call, task: &str) -> Outcome {
    call.allow_query(&["job", "payload", "result", "fresh"])?;
    let (payload, result) = (call.query_flag("payload")?, call.query_flag("result")?);
    let key = key(task, call.query_name("job"));
    let at = context.handle.task(key, payload, result).await?;
    let mut response = answer::written(200, |out| task_out::task(out, &at.value));
    answer::positions(&mut response, &at.positions);
    Ok(response)
}

/// `GET /kwq/tasks/{task}/payload|result`.
pub(crate) async fn bytes(context: &ApiContext, call: &Call, task: &str, what: &str) -> Outcome {
    call.allow_query(&["job"])?;
    let payload = what == "payload";
    let key = key(task, call.query_name("job"));
    let view = context.handle.task(key, payload, !payload).await?.value;
    if payload {
        return Ok(answer::download(view.spec.payload.bytes));
    }
    let ended = view.row.state == TaskState::Completed;
    match view.result {
        Some(result) => Ok(answer::download(result.bytes)),
        None if ended => Ok(answer::download(Vec::new())),
        None => Err(Reject::new(Code::TaskNotFound, "the task has no result yet")),
    }
}

/// `POST /kwq/tasks/{task}/cancel|retry`.
pub(crate) async fn verb(context: &ApiContext, mut call: Call, task: &str, verb: &str) -> Outcome {
    call.allow_query(&["job"])?;
    let text = call.optional_json(context.config.limits.body).await?;
    let fields = json::object(&text)?;
    let key = key(task, call.query_name("job"));
    let view = if verb == "cancel" {
        crate::codec::wire::job::reason(&fields)?;
        context.handle.cancel_task(key).await?
    } else {
        field::only(&fields, &["set"], &[], false)?;
        let mut priority = None;
        if let Some(set) = field::object(&fields, "set")? {
            field::only(&set, &["priority"], &[], false)?;
            priority = field::int(&set, "priority", 1, 9)?.and_then(Priority::new);
        }
        context.handle.retry_task(key, priority).await?
    };
    Ok(answer::written(200, |out| task_out::task(out, &view)))
}

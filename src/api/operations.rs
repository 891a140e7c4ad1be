//! Operations, and the verbs that begin one: redrive and purge of dead letters.

use crate::actor::bodies;
use crate::actor::request::{BulkAnswer, BulkRequest};
use crate::api::answer::Answer;
use crate::api::call::Call;
use crate::api::problem::Outcome;
use crate::api::route::{ADMIN, OPERATE, Route, VIEW, on};
use crate::codec::json;
use crate::codec::wire::operation as wire;
use crate::codec::wire::out::Out;
use crate::model::id::Name;
use crate::model::operation::{OpKind, OpNo, OpSpec, Operation};
use crate::model::reject::{Code, Reject};
use hyper::{Method, StatusCode};

pub(crate) fn routes() -> Vec<Route> {
    vec![
        on(Method::GET, "/kwq/operations", VIEW, list),
        on(Method::GET, "/kwq/operations/{op}", VIEW, get),
        on(Method::DELETE, "/kwq/operations/{op}", OPERATE.audited("operation.stop"), stop),
    ]
}

pub(crate) fn dead_routes() -> Vec<Route> {
    vec![
        on(Method::POST, "/kwq/dlq/redrive", OPERATE.audited("dlq.redrive"), |call| {
            bulk(call, OpKind::Redrive)
        }),
        on(Method::POST, "/kwq/dlq/purge", ADMIN.audited("dlq.purge"), |call| {
            bulk(call, OpKind::PurgeDlq)
        }),
    ]
}

/// 202: it goes on after the answer.
pub(crate) fn accepted(operation: &Operation) -> Answer {
    let location = format!("/kwq/operations/{}", operation.op);
    let answer = Answer::json(bodies::operation_of(operation)).status(StatusCode::ACCEPTED);
    answer.with("location", location).began(operation.op.to_string())
}

/// Who asks, as operations show it.
pub(crate) fn by(call: &Call) -> Name {
    call.caller.name.clone().unwrap_or_else(|| Name::from("anonymous"))
}

async fn bulk(mut call: Call, kind: OpKind) -> Outcome {
    let bytes = call.json().await?;
    let rules = call.shared.rules(call.query(&[])?.flag("lenient")?);
    let fields = json::object(json::text(&bytes)?)?;
    let bulk = wire::parse(&fields, kind == OpKind::Redrive, &rules)?;
    call.in_time()?;
    let spec = OpSpec {
        kind,
        filter: wire::filter_text(&bulk),
        job: bulk.query.job.clone(),
        scopes: Vec::new(),
        by: by(&call),
        priority: bulk.priority,
    };
    let about = spec.job.as_deref().unwrap_or("*").to_owned();
    let (query, refs, dry_run) = (bulk.query, bulk.refs, bulk.dry_run);
    let request = BulkRequest { spec, query, refs, dry_run };
    Ok(match call.shared.api.handle.operate(request).await? {
        BulkAnswer::Started(operation) => accepted(&operation).about(about),
        BulkAnswer::Counted { matched, skipped } => {
            let mut out = Out::with_capacity(48);
            wire::counted(&mut out, matched, skipped);
            Answer::json(out.into_bytes()).unchanged()
        }
    })
}

async fn list(call: Call) -> Outcome {
    const KIND: &str = "operations";
    let query = call.query(&["limit", "cursor"])?;
    let (shared, limit) = (&call.shared, query.limit()?);
    let now = shared.api.handle.now().wall;
    let below = match query.cursor()? {
        Some(text) => {
            let data = shared.seal().await?.unwrap(KIND, text, now)?;
            let broken = || Reject::new(Code::BadCursor, "the cursor is broken");
            OpNo::parse(&String::from_utf8_lossy(&data)).ok_or_else(broken)?
        }
        None => OpNo(u64::MAX),
    };
    let mut rows = shared.api.handle.operations().await?;
    rows.retain(|operation| operation.op < below);
    let more = rows.len() > limit;
    rows.truncate(limit);
    let mut out = Out::with_capacity(2 + rows.len() * 300);
    out.open_list();
    rows.iter().for_each(|operation| wire::view(&mut out, operation));
    out.close_list();
    let answer = Answer::json(out.into_bytes());
    Ok(match rows.last().filter(|_| more) {
        Some(last) => {
            let text = last.op.to_string();
            answer.with("kwq-next", shared.seal().await?.wrap(KIND, text.as_bytes(), now))
        }
        None => answer,
    })
}

async fn get(call: Call) -> Outcome {
    call.query(&[])?;
    let operation = call.shared.api.handle.operation(number(&call)?).await?;
    Ok(Answer::json(bodies::operation_of(&operation)))
}

async fn stop(call: Call) -> Outcome {
    call.query(&[])?;
    let operation = call.shared.api.handle.stop_operation(number(&call)?).await?;
    Ok(Answer::json(bodies::operation_of(&operation)))
}

fn number(call: &Call) -> Result<OpNo, Reject> {
    let unknown = || {
        let detail = format!("no operation {}", json::shown(call.param(0)));
        Reject::new(Code::OperationNotFound, detail)
    };
    OpNo::parse(call.param(0)).ok_or_else(unknown)
}

//! Workers: register, list, show, drain, delete.

use crate::actor::request::WorkerRegistration;
use crate::api::answer::Answer;
use crate::api::call::Call;
use crate::api::problem::{Outcome, Problem};
use crate::api::route::{OPERATE, Route, Rule, VIEW, WORK, on};
use crate::codec::json;
use crate::codec::wire::out::Out;
use crate::codec::wire::worker as wire;
use crate::model::access::Role;
use crate::model::reject::Code;
use crate::model::worker::{WorkerState, WorkerView};
use hyper::Method;
use std::sync::Arc;

const DELETE: Rule = Rule::any_of(&[Role::Operate, Role::Work]);

pub(crate) fn routes() -> Vec<Route> {
    vec![
        on(Method::POST, "/kwq/workers", WORK.audited("worker.register"), register),
        on(Method::GET, "/kwq/workers", VIEW, list),
        on(Method::GET, "/kwq/workers/{worker}", VIEW, get),
        on(
            Method::POST,
            "/kwq/workers/{worker}/drain",
            OPERATE.audited("worker.drain").whole(),
            drain,
        ),
        on(Method::DELETE, "/kwq/workers/{worker}", DELETE.audited("worker.delete"), delete),
    ]
}

async fn register(mut call: Call) -> Outcome {
    let bytes = call.json().await?;
    let rules = call.shared.rules(call.query(&[])?.flag("lenient")?);
    let body = wire::parse(&json::object(json::text(&bytes)?)?, &rules)?;
    let worker = body.worker.clone();
    let registration = WorkerRegistration {
        worker: body.worker,
        endpoint: body.endpoint,
        slots: body.slots,
        version: body.version,
        warm: body.warm,
    };
    let told = call.shared.api.handle.register_worker(registration).await;
    let (heartbeat_ms, lease_ms) = told;
    let mut out = Out::default();
    out.open();
    out.str("worker", &worker);
    out.num("heartbeatMs", heartbeat_ms);
    out.num("leaseMs", lease_ms);
    out.close();
    Ok(Answer::json(out.into_bytes()).about(&*worker))
}

const CURSOR: &str = "workers";

async fn list(call: Call) -> Outcome {
    let query = call.query(&["state", "limit", "cursor"])?;
    let named = |word: &str| WorkerState::ALL.into_iter().find(|state| state.name() == word);
    let wanted = query.list("state", named)?;
    let state = match wanted.as_slice() {
        [] => None,
        [one] => Some(*one),
        _ => {
            return Err(crate::api::query::bad("state", "one state may be asked for").into());
        }
    };
    let shared = &call.shared;
    let now = shared.api.handle.now().wall;
    let after = match query.cursor()? {
        Some(text) => {
            let data = shared.seal().await?.unwrap(CURSOR, text, now)?;
            Some(Arc::from(String::from_utf8_lossy(&data).as_ref()))
        }
        None => None,
    };
    let (rows, next) = shared.api.handle.workers(state, query.limit()?, after).await;
    let mut out = Out::with_capacity(2 + rows.len() * 300);
    out.open_list();
    rows.iter().for_each(|row| wire::view(&mut out, row, false));
    out.close_list();
    let answer = Answer::json(out.into_bytes());
    Ok(match next {
        Some(next) => {
            answer.with("kwq-next", shared.seal().await?.wrap(CURSOR, next.as_bytes(), now))
        }
        None => answer,
    })
}

fn named(view: &WorkerView) -> Answer {
    let mut out = Out::default();
    wire::view(&mut out, view, true);
    Answer::json(out.into_bytes())
}

async fn get(call: Call) -> Outcome {
    call.query(&[])?;
    let worker = call.name(0, "worker")?;
    Ok(named(&call.shared.api.handle.worker(worker).await?))
}

async fn drain(mut call: Call) -> Outcome {
    let worker = call.name(0, "worker")?;
    let bytes = call.optional_json().await?;
    let rules = call.shared.rules(call.query(&[])?.flag("lenient")?);
    let drain = wire::parse_drain(&json::object(json::text(&bytes)?)?, &rules)?;
    Ok(named(&call.shared.api.handle.drain_worker(worker, drain).await?))
}

async fn delete(call: Call) -> Outcome {
    call.query(&[])?;
    let worker = call.name(0, "worker")?;
    if !call.caller.roles.has(Role::Operate) {
        // A worker may say good-bye; taking its tasks away is for an operator.
        let held = call.shared.api.handle.worker(worker.clone()).await?.leases;
        if held > 0 {
            let detail = format!("worker {worker} holds {held} tasks; this needs the role operate");
            return Err(Problem::new(Code::Forbidden, detail));
        }
    }
    let caller = &call.caller;
    let may_drain = caller.roles.has(Role::Operate) && caller.scopes.everything();
    let released = call.shared.api.handle.delete_worker(worker, may_drain).await?;
    let mut out = Out::default();
    out.open();
    out.count("released", released);
    out.close();
    Ok(Answer::json(out.into_bytes()))
}

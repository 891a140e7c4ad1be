//! Workers over HTTP.

use crate::actor::request::WorkerRegistration;
use crate::api::answer::{self, Outcome};
use crate::api::call::{Call, bad_query};
use crate::api::context::ApiContext;
use crate::codec::json;
use crate::codec::wire::{field, numbers, submit};
use crate::model::id::Name;
use crate::model::limits;
use crate::model::view::WorkerState;

/// `POST /kwq/workers`.
pub(crate) async fn register(context: &ApiContext, mut call: Call) -> Outcome {
    call.allow_query(&["lenient"])?;
    let text = call.json(context.config.limits.body).await?;
    let fields = json::object(&text)?;
    let known = ["worker", "endpoint", "slots", "version", "affinity"];
    field::only(&fields, &known, &["labels"], call.lenient()?)?;
    let warm = submit::affinity(&fields, limits::AFFINITY_WORKER_MAX)?;
    let worker = field::worker(&fields)?;
    let (heartbeat_ms, lease_ms) = context.handle.register_worker(WorkerRegistration {
        worker: worker.clone(),
        endpoint: field::free(&fields, "endpoint", limits::ENDPOINT_BYTES_MAX)?,
        slots: field::int32(&fields, "slots", 1, limits::SLOTS_MAX)?,
        version: field::free(&fields, "version", limits::VERSION_BYTES_MAX)?,
        warm: warm.map(|keys| keys.into_iter().map(|k| k.key).collect()),
    });
    Ok(answer::written(200, |out| {
        out.open();
        out.str("worker", &worker);
        out.num("heartbeatMs", heartbeat_ms);
        out.num("leaseMs", lease_ms);
        out.close();
    }))
}

/// `GET /kwq/workers`.
pub(crate) async fn list(context: &ApiContext, call: &Call) -> Outcome {
    call.allow_query(&["state", "limit", "cursor"])?;
    let state = match call.query("state") {
        None => None,
        Some("ACTIVE") => Some(WorkerState::Active),
        Some("DRAINING") => Some(WorkerState::Draining),
        Some("LOST") => Some(WorkerState::Lost),
        Some(_) => return Err(bad_query("state", "ACTIVE, DRAINING or LOST")),
    };
    let now = context.handle.now().wall;
    let after = match call.query("cursor") {
        None => None,
        Some(cursor) => Some(Name::from(context.signer.open("workers", cursor, now)?)),
    };
    let (rows, next) = context.handle.workers(state, call.limit()?, after).await;
    let mut response = answer::written(200, |out| {
        out.open_list();
        rows.iter().for_each(|worker| numbers::worker(out, worker, false));
        out.close_list();
    });
    if let Some(next) = next {
        answer::header(&mut response, "kwq-next", &context.signer.sign("workers", &next, now));
    }
    Ok(response)
}

/// `GET /kwq/workers/{worker}`.
pub(crate) async fn get(context: &ApiContext, call: &Call, worker: &str) -> Outcome {
    call.allow_query(&[])?;
    let view = context.handle.worker(Name::from(worker)).await?;
    Ok(answer::written(200, |out| numbers::worker(out, &view, true)))
}

/// `POST /kwq/workers/{worker}/drain`.
pub(crate) async fn drain(context: &ApiContext, mut call: Call, worker: &str) -> Outcome {
    call.allow_query(&[])?;
    let text = call.optional_json(context.config.limits.body).await?;
    let fields = json::object(&text)?;
    field::only(&fields, &["drain"], &[], false)?;
    let drain = field::flag(&fields, "drain")?.unwrap_or(true);
    let view = context.handle.drain_worker(Name::from(worker), drain).await?;
    Ok(answer::written(200, |out| numbers::worker(out, &view, true)))
}

/// `DELETE /kwq/workers/{worker}`.
pub(crate) async fn delete(context: &ApiContext, call: &Call, worker: &str) -> Outcome {
    call.allow_query(&[])?;
    let released = context.handle.delete_worker(Name::from(worker)).await?;
    Ok(answer::written(200, |out| {
        out.open();
        out.count("released", released);
        out.close();
    }))
}

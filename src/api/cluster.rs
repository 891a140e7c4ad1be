//! What the node says about itself: health, cluster, me, metrics, images, hashes.

use crate::actor::bodies;
use crate::actor::request::Readiness;
use crate::api::answer::Answer;
use crate::api::call::Call;
use crate::api::problem::Outcome;
use crate::api::route::{ADMIN, ANY, OPEN, Route, VIEW, on};
use crate::codec::wire::cluster as wire;
use crate::codec::wire::out::Out;
use crate::model::access::{Role, Roles};
use crate::model::reject::Code;
use hyper::header::HeaderValue;
use hyper::{Method, StatusCode};

pub(crate) fn routes() -> Vec<Route> {
    vec![
        on(Method::GET, "/kwq/health/live", OPEN, live),
        on(Method::GET, "/kwq/health/ready", OPEN, ready),
        on(Method::GET, "/kwq/cluster", VIEW, cluster),
        on(Method::GET, "/kwq/me", ANY, me),
        on(Method::GET, "/kwq/admin/state-hash", ADMIN, state_hash),
        on(Method::POST, "/kwq/admin/image", ADMIN.audited("admin.image").whole(), image),
    ]
}

/// Routes outside `/kwq`.
pub(crate) fn outer_routes() -> Vec<Route> {
    vec![
        on(Method::GET, "/livez", OPEN, live),
        on(Method::GET, "/readyz", OPEN, ready),
        on(Method::GET, "/metrics", VIEW, metrics),
    ]
}

/// Roles that can change something.
const WRITERS: Roles = Roles::of(&[Role::Submit, Role::Work, Role::Operate, Role::Admin]);

/// What this build can do; a client looks here before it offers more.
const FEATURES: [&str; 11] = [
    "batch",
    "ndjson",
    "longPoll",
    "delay",
    "affinity",
    "deadLetter",
    "jobControl",
    "tokens",
    "audit",
    "events",
    "series",
];

fn status(good: bool) -> StatusCode {
    if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

async fn live(call: Call) -> Outcome {
    call.query(&[])?;
    let live = call.shared.api.handle.live();
    let mut out = Out::default();
    out.open();
    out.flag("live", live);
    out.close();
    Ok(Answer::json(out.into_bytes()).status(status(live)))
}

async fn ready(call: Call) -> Outcome {
    call.query(&[])?;
    let mut ready = call.shared.api.handle.readiness();
    if call.shared.draining() {
        (ready.ready, ready.draining) = (false, true);
        ready.submits_refused = Some(Code::Draining);
        if !ready.reasons.contains(&"draining") {
            ready.reasons.push("draining");
        }
    }
    Ok(Answer::json(readiness(&ready)).status(status(ready.ready)))
}

fn readiness(ready: &Readiness) -> Vec<u8> {
    let (owned, done, failed) = ready.partitions;
    let mut out = Out::with_capacity(300);
    out.open();
    out.flag("ready", ready.ready);
    out.list("reasons");
    ready.reasons.iter().for_each(|reason| out.text(reason));
    out.close_list();
    out.flag("draining", ready.draining);
    if let Some(code) = ready.submits_refused {
        out.str("submitsRefused", code.word());
    }
    wire::durability(&mut out, &ready.durability_reasons);
    out.object("partitions");
    out.count("owned", owned);
    out.count("ready", done);
    out.count("indexing", 0);
    out.count("failed", failed);
    out.close();
    out.object("replay");
    out.float("percent", ready.replay_percent, 1);
    out.num("etaMs", ready.replay_eta_ms);
    out.close();
    out.close();
    out.into_bytes()
}

async fn metrics(call: Call) -> Outcome {
    call.query(&[])?;
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    Ok(Answer::typed(StatusCode::OK, kind, call.shared.api.metrics.render().into()))
}

async fn cluster(call: Call) -> Outcome {
    call.query(&[])?;
    Ok(Answer::json(bodies::cluster(&call.shared.api.handle.cluster().await)))
}

async fn me(call: Call) -> Outcome {
    call.query(&[])?;
    let caller = &call.caller;
    let mut out = Out::default();
    out.open();
    out.str("name", caller.name.as_deref().unwrap_or("anonymous"));
    out.list("roles");
    caller.roles.iter().for_each(|role| out.text(role.word()));
    out.close_list();
    out.list("scopes");
    caller.scopes.iter().for_each(|scope| out.text(scope));
    out.close_list();
    out.flag("readOnly", caller.roles.both(WRITERS) == Roles::default());
    out.list("features");
    FEATURES.iter().for_each(|feature| out.text(feature));
    out.close_list();
    out.close();
    Ok(Answer::json(out.into_bytes()))
}

async fn state_hash(call: Call) -> Outcome {
    call.query(&[])?;
    let rows = call.shared.api.handle.state_hash().await?;
    let mut out = Out::default();
    out.open_list();
    for (partition, position, hash) in &rows {
        out.open();
        out.num("partition", partition.0);
        out.shown("position", position);
        out.str("hash", hash);
        out.close();
    }
    out.close_list();
    Ok(Answer::json(out.into_bytes()))
}

async fn image(mut call: Call) -> Outcome {
    call.query(&[])?;
    let bytes = call.optional_json().await?;
    let body = crate::codec::json::object(crate::codec::json::text(&bytes)?)?;
    if let Some((field, _)) = body.iter().next() {
        return Err(crate::codec::wire::field::unknown(field, &[]).into());
    }
    drop(body);
    let rows = call.shared.api.handle.write_images().await?;
    let mut out = Out::default();
    out.open();
    out.list("partitions");
    for (partition, position) in &rows {
        out.open();
        out.num("partition", partition.0);
        out.shown("position", position);
        out.close();
    }
    out.close_list();
    out.close();
    Ok(Answer::json(out.into_bytes()))
}

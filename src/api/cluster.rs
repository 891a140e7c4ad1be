//! The node itself over HTTP: name, health, partitions, metrics, images, hashes.

use crate::api::answer::{self, Outcome};
use crate::api::call::Call;
use crate::api::context::ApiContext;
use crate::codec::json;
use crate::codec::wire::field;
use crate::codec::wire::out::Out;
use warp::reply::{Reply, Response};

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn durability(out: &mut Out, reasons: &[String]) {
    out.str("durability", if reasons.is_empty() { "full" } else { "reduced" });
    out.list("durabilityReasons");
    reasons.iter().for_each(|reason| out.text(reason));
    out.close_list();
}

/// `GET /kwq`.
pub(crate) fn root(context: &ApiContext, call: &Call) -> Outcome {
    call.allow_query(&[])?;
    let ready = context.handle.readiness();
    if call.header("accept").is_some_and(|a| a.contains("text/plain")) {
        let mut response = format!("kwq {VERSION}\n").into_response();
        answer::header(&mut response, "content-type", "text/plain; charset=utf-8");
        return Ok(response);
    }
    Ok(answer::written(200, |out| {
        out.open();
        out.str("name", "kwq");
        out.str("version", VERSION);
        out.str("backend", context.handle.backend());
        durability(out, &ready.durability_reasons);
        out.count("partitions", context.handle.partition_count());
        out.flag("ready", ready.ready);
        out.close();
    }))
}

/// `GET /kwq/health/live`.
pub(crate) fn live(context: &ApiContext) -> Response {
    let live = context.handle.live();
    answer::written(if live { 200 } else { 503 }, |out| {
        out.open();
        out.flag("live", live);
        out.close();
    })
}

/// `GET /kwq/health/ready`.
pub(crate) fn ready(context: &ApiContext) -> Response {
    let ready = context.handle.readiness();
    answer::written(if ready.ready { 200 } else { 503 }, |out| {
        out.open();
        out.flag("ready", ready.ready);
        out.list("reasons");
        ready.reasons.iter().for_each(|reason| out.text(reason));
        out.close_list();
        out.flag("draining", ready.draining);
        durability(out, &ready.durability_reasons);
        out.object("partitions");
        let (owned, up, failed) = ready.partitions;
        out.count("owned", owned);
        out.count("ready", up);
        out.num("indexing", 0u64);
        out.count("failed", failed);
        out.close();
        out.object("replay");
        out.float("percent", ready.replay_percent, 1);
        out.num("etaMs", ready.replay_eta_ms);
        out.close();
        out.close();
    })
}

/// `GET /kwq/cluster`.
pub(crate) async fn cluster(context: &ApiContext, call: &Call) -> Outcome {
    call.allow_query(&[])?;
    let partitions = context.handle.partitions().await;
    let ready = context.handle.readiness();
    let queues = context.handle.queues().await?;
    let node = partitions.first().map(|p| p.owner.clone());
    let node = node.as_deref().unwrap_or("kwq");
    Ok(answer::written(200, |out| {
        out.open();
        out.str("version", VERSION);
        out.str("backend", context.handle.backend());
        durability(out, &ready.durability_reasons);
        out.list("nodes");
        out.open();
        out.str("node", node);
        out.str("addr", &context.config.http.listen.to_string());
        out.str("version", VERSION);
        out.num("lastSeen_ts", context.handle.now().wall.0);
        out.list("partitions");
        partitions.iter().for_each(|p| out.number(u64::from(p.partition.0)));
        out.close_list();
        out.close();
        out.close_list();
        out.list("partitions");
        for p in &partitions {
            out.open();
            out.num("partition", p.partition.0);
            out.str("owner", &p.owner);
            out.shown("epoch", p.epoch);
            out.str("state", p.state);
            out.shown("position", p.position);
            out.float("replayPercent", p.replay * 100.0, 1);
            out.float("indexPercent", 100.0, 1);
            out.num("pending", p.pending);
            out.close();
        }
        out.close_list();
        out.list("paused");
        queues.iter().filter(|q| q.paused).for_each(|q| out.number(u64::from(q.priority.get())));
        out.close_list();
        out.close();
    }))
}

/// `GET /kwq/me`: without tokens everybody has every role.
pub(crate) fn me(call: &Call) -> Outcome {
    call.allow_query(&[])?;
    Ok(answer::written(200, |out| {
        out.open();
        out.str("name", "anonymous");
        out.list("roles");
        ["submit", "work", "view", "payload", "operate", "admin"].iter().for_each(|r| out.text(r));
        out.close_list();
        out.list("scopes");
        out.close_list();
        out.flag("readOnly", false);
        out.list("features");
        out.close_list();
        out.close();
    }))
}

/// `GET /metrics`.
pub(crate) fn metrics(context: &ApiContext) -> Response {
    let mut response = context.metrics.render().into_response();
    answer::header(&mut response, "content-type", "text/plain; version=0.0.4; charset=utf-8");
    response
}

/// `POST /kwq/admin/image`.
pub(crate) async fn image(context: &ApiContext, mut call: Call) -> Outcome {
    call.allow_query(&[])?;
    let text = call.optional_json(context.config.limits.body).await?;
    field::only(&json::object(&text)?, &[], &[], false)?;
    let images = context.handle.write_images().await?;
    Ok(answer::written(200, |out| {
        out.open();
        out.list("partitions");
        for (partition, position) in images {
            out.open();
            out.num("partition", partition.0);
            out.shown("position", position);
            out.close();
        }
        out.close_list();
        out.close();
    }))
}

/// `GET /kwq/admin/state-hash`.
pub(crate) async fn state_hash(context: &ApiContext, call: &Call) -> Outcome {
    call.allow_query(&[])?;
    let rows = context.handle.state_hash().await?;
    Ok(answer::written(200, |out| {
        out.open_list();
        for (partition, position, hash) in rows {
            out.open();
            out.num("partition", partition.0);
            out.shown("position", position);
            out.str("hash", &hash);
            out.str("from", "live");
            out.close();
        }
        out.close_list();
    }))
}

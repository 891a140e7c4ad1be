//! Numbers over HTTP: levels, the snapshot, the seed's windows.

use crate::actor::request::StatsNow;
use crate::api::answer::{self, Outcome};
use crate::api::call::{Call, bad_query};
use crate::api::context::ApiContext;
use crate::codec::json;
use crate::codec::wire::out::Out;
use crate::codec::wire::{job, numbers};
use crate::model::priority::Priority;
use crate::model::state::TaskState;
use crate::model::view::QueueView;
use warp::reply::Response;

fn rows(context: &ApiContext, queues: &[QueueView]) -> Response {
    let now = context.handle.now().wall.0;
    answer::written(200, |out| {
        out.open_list();
        queues.iter().for_each(|queue| numbers::queue(out, queue, now));
        out.close_list();
    })
}

/// `GET /kwq/queues`.
pub(crate) async fn queues(context: &ApiContext, call: &Call) -> Outcome {
    call.allow_query(&[])?;
    Ok(rows(context, &context.handle.queues().await?))
}

/// `POST /kwq/queues/{p}/pause|resume`.
pub(crate) async fn set_level(
    context: &ApiContext,
    mut call: Call,
    level: &str,
    verb: &str,
) -> Outcome {
    call.allow_query(&[])?;
    let text = call.optional_json(context.config.limits.body).await?;
    job::reason(&json::object(&text)?)?;
    let level = match level {
        "all" => None,
        text => {
            let number = text.parse().ok().and_then(Priority::new);
            Some(number.ok_or_else(|| bad_query("p", "1..9 or all"))?)
        }
    };
    Ok(rows(context, &context.handle.set_level(level, verb == "pause").await?))
}

/// `GET /kwq/stats`, the seed's.
pub(crate) async fn seed(context: &ApiContext, call: &Call) -> Outcome {
    call.allow_query(&["limit"])?;
    let limit = call.query_number("limit", 1, 2_000)?.unwrap_or(100);
    let limit = usize::try_from(limit).unwrap_or(100);
    let windows = context.handle.seed_stats(limit).await?;
    Ok(answer::written(200, |out| {
        out.open_list();
        for window in &windows {
            out.open();
            out.num("total", window.changes.iter().sum::<u64>());
            let names = ["submitted", "allocated", "running", "error", "completed"];
            for (name, count) in names.into_iter().zip(window.changes) {
                out.num(name, count);
            }
            out.num("time", window.time.0);
            out.close();
        }
        out.close_list();
    }))
}

/// `GET /kwq/stats/now`.
pub(crate) async fn now(context: &ApiContext, call: &Call) -> Outcome {
    call.allow_query(&["fresh"])?;
    let snapshot = context.handle.stats_now(call.query_flag("fresh")?).await?;
    let mut response = answer::written(200, |out| body(out, &snapshot));
    answer::header(&mut response, "kwq-lag-ms", "0");
    answer::positions(&mut response, &context.handle.positions());
    Ok(response)
}

fn body(out: &mut Out, now: &StatsNow) {
    out.open();
    out.num("ts", now.ts.0);
    out.object("verdict");
    out.str("level", now.verdict);
    out.str("text", &now.verdict_text);
    out.close();
    job::counts(out, "tasks", &now.counts);
    out.num("submitted", now.submitted);
    out.num("purged", now.purged);
    out.list("queues");
    now.queues.iter().for_each(|queue| numbers::queue(out, queue, now.ts.0));
    out.close_list();
    floats(out, "rates", ["submit", "allocate", "complete", "fail"], now.rates);
    counts(out, "wait", ["p50Ms", "p95Ms", "p99Ms"], now.wait_ms);
    counts(out, "workers", ["idle", "busy", "draining", "lost"], now.workers);
    out.num("consumersWaiting", now.consumers_waiting);
    out.num("leases", now.leases);
    out.object("affinity");
    out.num("hits", now.affinity.0);
    out.num("misses", now.affinity.1);
    out.close();
    out.list("jobs");
    for job in &now.jobs {
        let counts = &job.numbers.counts;
        out.open();
        out.str("id", &job.id);
        out.num("priority", job.spec.priority.get());
        out.num("pending", counts.of(TaskState::Pending));
        out.num("running", counts.of(TaskState::Running));
        out.num("completed", counts.of(TaskState::Completed));
        out.num("error", counts.of(TaskState::Error));
        if let Some(eta) = job.eta {
            out.stamp("eta_ts", eta);
        }
        out.close();
    }
    out.close_list();
    out.list("partitions");
    for partition in &now.partitions {
        out.open();
        out.num("i", partition.partition.0);
        out.str("owner", &partition.owner);
        out.str("state", partition.state);
        out.float("replay", partition.replay, 3);
        out.close();
    }
    out.close_list();
    out.list("alerts");
    out.close_list();
    out.close();
}

fn counts<const N: usize>(out: &mut Out, name: &str, names: [&str; N], values: [u64; N]) {
    out.object(name);
    names.into_iter().zip(values).for_each(|(name, value)| out.num(name, value));
    out.close();
}

fn floats<const N: usize>(out: &mut Out, name: &str, names: [&str; N], values: [f64; N]) {
    out.object(name);
    names.into_iter().zip(values).for_each(|(name, value)| out.float(name, value, 1));
    out.close();
}

//! Levels and the numbers for people.

use crate::actor::bodies;
use crate::api::answer::Answer;
use crate::api::call::Call;
use crate::api::context::Shared;
use crate::api::problem::Outcome;
use crate::api::query::bad;
use crate::api::route::{OPERATE, Route, VIEW, on};
use crate::codec::json;
use crate::codec::wire::out::Out;
use crate::codec::wire::{job, stats};
use crate::model::priority::Priority;
use crate::model::view::QueueView;
use hyper::Method;

/// Begins the names of levels that are no topics.
const LEVELS: &str = "KWQ";
/// Windows the seed's statistics keep.
const WINDOWS_MAX: u64 = 2_000;

pub(crate) fn routes() -> Vec<Route> {
    vec![
        on(Method::GET, "/kwq/queues", VIEW, list),
        on(Method::POST, "/kwq/queues/{p}/pause", OPERATE.audited("queue.pause").whole(), |call| {
            set_level(call, true)
        }),
        on(
            Method::POST,
            "/kwq/queues/{p}/resume",
            OPERATE.audited("queue.resume").whole(),
            |call| set_level(call, false),
        ),
    ]
}

pub(crate) fn stats_routes() -> Vec<Route> {
    vec![
        on(Method::GET, "/kwq/stats", VIEW, seed_stats),
        on(Method::GET, "/kwq/stats/now", VIEW, stats_now),
    ]
}

fn rows(shared: &Shared, rows: &[QueueView]) -> Answer {
    let (now, config) = (shared.api.handle.now().wall, &shared.api.config);
    let prefix = if config.log.backend.is_shared() { &config.kafka.prefix } else { LEVELS };
    let mut out = Out::with_capacity(9 * 220);
    out.open_list();
    rows.iter().for_each(|row| stats::queue(&mut out, row, prefix, now));
    out.close_list();
    Answer::json(out.into_bytes())
}

async fn list(call: Call) -> Outcome {
    call.query(&[])?;
    Ok(rows(&call.shared, &call.shared.api.handle.queues().await?))
}

async fn set_level(mut call: Call, paused: bool) -> Outcome {
    let level = match call.param(0) {
        "all" => None,
        text => {
            let one = text.parse().ok().filter(|_| text.len() == 1).and_then(Priority::new);
            Some(one.ok_or_else(|| bad("p", "the level must be 1..9 or all"))?)
        }
    };
    let bytes = call.optional_json().await?;
    let rules = call.shared.rules(call.query(&[])?.flag("lenient")?);
    job::parse_reason(&json::object(json::text(&bytes)?)?, &rules)?;
    let changed = call.shared.api.handle.set_level(level, paused).await?;
    Ok(rows(&call.shared, &changed))
}

async fn seed_stats(call: Call) -> Outcome {
    let limit = call.query(&["limit"])?.integer("limit", 1, WINDOWS_MAX)?;
    let limit = usize::try_from(limit.unwrap_or(WINDOWS_MAX)).unwrap_or(usize::MAX);
    let answer = call.shared.api.handle.seed_stats(limit).await?;
    let windows = &answer.value;
    let mut out = Out::with_capacity(2 + windows.len() * 110);
    out.open_list();
    windows.iter().for_each(|w| stats::seed_window(&mut out, w.changes, w.time));
    out.close_list();
    let shown = Answer::json(out.into_bytes()).positions(&answer.positions);
    Ok(shown.with("kwq-lag-ms", answer.lag_ms))
}

async fn stats_now(call: Call) -> Outcome {
    // Every snapshot is fresh; the word is checked all the same.
    call.query(&["fresh"])?.flag("fresh")?;
    let now = call.shared.api.handle.stats_now().await?;
    Ok(Answer::json(bodies::snapshot(&now)).with("kwq-lag-ms", 0))
}

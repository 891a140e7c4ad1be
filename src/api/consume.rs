//! The worker's calls: consume, reports, heartbeat.

use crate::actor::handle_work::unknown;
use crate::actor::request::{ConsumeAnswer, ConsumeRequest, HeartbeatAnswer, HeartbeatRequest};
use crate::api::answer::{self, Outcome};
use crate::api::call::Call;
use crate::api::context::ApiContext;
use crate::codec::json::{self, Element, Fields};
use crate::codec::wire::out::Out;
use crate::codec::wire::report::{self as wire, Kind, Sent};
use crate::codec::wire::{field, submit, task_out};
use crate::model::affinity::AffinityMode;
use crate::model::command::ALL_LEVELS;
use crate::model::id::Name;
use crate::model::lease::LeaseToken;
use crate::model::limits;
use crate::model::priority::Priority;
use crate::model::reject::{Code, Reject};
use crate::model::report::{Outcome as Verdict, ReportOutcome};
use futures_util::Stream;
use std::pin::Pin;
use std::task::{Context, Poll};
use warp::reply::{Reply, Response};

const CONSUME: &[&str] = &[
    "worker",
    "endpoint",
    "max",
    "waitMs",
    "targetMs",
    "maxBytes",
    "leaseMs",
    "leases",
    "priorities",
    "jobs",
    "affinity",
    "affinityMode",
    "done",
];

/// `POST /kwq/consume`.
pub(crate) async fn consume(context: &ApiContext, mut call: Call) -> Outcome {
    call.allow_query(&["lenient"])?;
    let text = call.json(context.config.limits.batch_body).await?;
    let fields = json::object(&text)?;
    field::only(&fields, CONSUME, &["labels"], call.lenient()?)?;
    let (request, sent) = request(context, &fields)?;
    let (worker, endpoint) = (request.worker.clone(), request.endpoint.clone());
    let carried = !sent.is_empty() || request.leases.is_some();
    let answer = context.handle.consume(request).await?;
    if answer.tasks.is_empty() && !carried {
        return Ok(nothing(&answer));
    }
    let mut out = Out::with_capacity(256 + answer.tasks.len() * 640);
    body(&mut out, &answer, &sent, (&worker, endpoint.as_deref()));
    Ok(delivered(context, out.into_bytes(), answer))
}

/// 204 with what to do next.
pub(crate) fn nothing(answer: &ConsumeAnswer) -> Response {
    let mut response = answer::empty(204);
    answer::header(&mut response, "kwq-poll-after-ms", &answer.poll_after_ms.to_string());
    if answer.drain {
        answer::header(&mut response, "kwq-drain", "true");
    }
    response
}

fn request(
    context: &ApiContext,
    fields: &Fields<'_>,
) -> Result<(ConsumeRequest, Vec<Sent>), Reject> {
    let worker = field::worker(fields)?;
    let mode = match field::text(fields, "affinityMode", 16, field::Text::Free)?.as_deref() {
        None | Some("prefer") => AffinityMode::Prefer,
        Some("any") => AffinityMode::Any,
        Some(mode @ ("only" | "claim")) => {
            let detail = format!("affinityMode `{mode}` is not in this build yet");
            return Err(Reject::new(Code::NotSupported, detail).on("affinityMode"));
        }
        Some(_) => return Err(Reject::field("affinityMode", "affinityMode must be prefer or any")),
    };
    let sent = done(context, fields, &worker)?;
    let warm = submit::affinity(fields, limits::AFFINITY_WORKER_MAX)?.unwrap_or_default();
    let max = field::int(fields, "max", 1, limits::CONSUME_MAX as u64)?.unwrap_or(1);
    let wait_ms = field::int(fields, "waitMs", 0, limits::WAIT_MS_MAX)?;
    let max_bytes = field::int(fields, "maxBytes", 1, limits::CONSUME_BYTES_MAX)?;
    let request = ConsumeRequest {
        endpoint: field::free(fields, "endpoint", limits::ENDPOINT_BYTES_MAX)?,
        max: usize::try_from(max).unwrap_or(1),
        wait_ms: wait_ms.unwrap_or(context.config.poll.default_wait_ms),
        target_ms: field::int(fields, "targetMs", 1, limits::TARGET_MS_MAX)?,
        max_bytes: max_bytes.unwrap_or(limits::CONSUME_BYTES),
        lease_ms: field::int32(fields, "leaseMs", limits::LEASE_MS_MIN, limits::LEASE_MS_MAX)?,
        seed_lease: false,
        levels: levels(fields)?,
        jobs: field::names(fields, "jobs", limits::CONSUME_JOBS_MAX, limits::NAME_BYTES_MAX)?,
        warm: warm.into_iter().map(|k| k.key).collect(),
        mode,
        done: sent.iter().map(|s| s.report.clone()).collect(),
        leases: leases(fields)?,
        worker,
    };
    Ok((request, sent))
}

fn done(context: &ApiContext, fields: &Fields<'_>, worker: &Name) -> Result<Vec<Sent>, Reject> {
    let items = field::list(fields, "done", limits::CONSUME_MAX)?.unwrap_or_default();
    let one = |element: &Element<'_>| match element {
        Element::Object(fields) => {
            wire::report(fields, None, Some(worker), context.config.limits.result)
        }
        Element::Other(_) => Err(Reject::field("done", "done holds objects")),
    };
    items.iter().map(one).collect()
}

fn levels(fields: &Fields<'_>) -> Result<u16, Reject> {
    let mut mask = 0;
    for element in field::list(fields, "priorities", 9)?.unwrap_or_default() {
        let Element::Other(raw) = element else {
            return Err(Reject::field("priorities", "priorities holds numbers 1..9"));
        };
        let level = field::number(raw, "priorities", 1, 9)?;
        mask |= Priority::new(level).map_or(0, |p| 1 << p.index());
    }
    Ok(if mask == 0 { ALL_LEVELS } else { mask })
}

type Tokens = Option<Vec<Result<LeaseToken, String>>>;

fn leases(fields: &Fields<'_>) -> Result<Tokens, Reject> {
    let Some(items) = field::list(fields, "leases", limits::HEARTBEAT_LEASES_MAX)? else {
        return Ok(None);
    };
    let one = |element: &Element<'_>| {
        let text = wire::token(element, "leases")?;
        Ok(LeaseToken::decode(&text).ok_or(text))
    };
    items.iter().map(one).collect::<Result<_, _>>().map(Some)
}

fn body(
    out: &mut Out,
    answer: &ConsumeAnswer,
    sent: &[Sent],
    (worker, endpoint): (&str, Option<&str>),
) {
    out.open();
    out.list("tasks");
    answer.tasks.iter().for_each(|task| task_out::hand_out(out, task, worker, endpoint));
    out.close_list();
    out.list("done");
    for (sent, verdict) in sent.iter().zip(&answer.done) {
        wire::verdict(out, &sent.lease, verdict);
    }
    out.close_list();
    if let Some(heartbeat) = &answer.heartbeat {
        beat_members(out, heartbeat);
    }
    out.num("heartbeatMs", answer.heartbeat_ms);
    out.flag("drain", answer.drain);
    out.close();
}

/// Gives the hand-outs back when the connection dies before the body was taken.
struct Delivery {
    context: ApiContext,
    answer: Option<ConsumeAnswer>,
    bytes: Option<Vec<u8>>,
}

impl Stream for Delivery {
    type Item = Result<Vec<u8>, std::convert::Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.bytes.take() {
            Some(bytes) => {
                self.answer = None;
                Poll::Ready(Some(Ok(bytes)))
            }
            None => Poll::Ready(None),
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if let Some(answer) = self.answer.take() {
            self.context.handle.undeliver(&answer);
        }
    }
}

/// A body that undoes its hand-outs when it is dropped unsent.
pub(crate) fn delivered(context: &ApiContext, bytes: Vec<u8>, answer: ConsumeAnswer) -> Response {
    let length = bytes.len().to_string();
    let delivery = Delivery { context: context.clone(), answer: Some(answer), bytes: Some(bytes) };
    let mut response = warp::reply::stream(delivery).into_response();
    answer::header(&mut response, "content-type", "application/json");
    answer::header(&mut response, "content-length", &length);
    response
}

/// `POST /kwq/start|complete|fail|release`.
pub(crate) async fn report(context: &ApiContext, mut call: Call, kind: Kind) -> Outcome {
    call.allow_query(&["lenient"])?;
    let text = call.json(context.config.limits.batch_body).await?;
    let fields = json::object(&text)?;
    let result_max = context.config.limits.result;
    if fields.get("items").is_none() {
        let sent = wire::report(&fields, Some(kind), None, result_max)?;
        let verdicts = context.handle.report(vec![sent.report]).await;
        let lost = || ReportOutcome::bare(Verdict::LeaseLost);
        let verdict = verdicts.into_iter().next().unwrap_or_else(lost);
        return single(&sent.lease, &verdict);
    }
    field::only(&fields, &["items"], &[], false)?;
    let items = field::list(&fields, "items", limits::CONSUME_MAX)?.unwrap_or_default();
    let one = |element: &Element<'_>| match element {
        Element::Object(fields) => wire::report(fields, Some(kind), None, result_max),
        Element::Other(_) => Err(Reject::field("items", "items holds objects")),
    };
    let parsed: Vec<Result<Sent, Reject>> = items.iter().map(one).collect();
    let reports = parsed.iter().flatten().map(|s| s.report.clone()).collect();
    let verdicts = context.handle.report(reports).await;
    if let Some(reject) = unknown(&verdicts) {
        return Err(reject);
    }
    let mut verdicts = verdicts.into_iter();
    Ok(answer::written(200, |out| {
        out.open();
        out.list("items");
        for sent in &parsed {
            match sent {
                Ok(sent) => {
                    let lost = || ReportOutcome::bare(Verdict::LeaseLost);
                    let verdict = verdicts.next().unwrap_or_else(lost);
                    wire::verdict(out, &sent.lease, &verdict);
                }
                Err(reject) => {
                    let verdict = ReportOutcome::bare(Verdict::Invalid(reject.clone()));
                    wire::verdict(out, "", &verdict);
                }
            }
        }
        out.close_list();
        out.close();
    }))
}

/// One report: refusals become their status.
pub(crate) fn single(lease: &str, verdict: &ReportOutcome) -> Outcome {
    let refused = match &verdict.outcome {
        Verdict::LeaseLost => Reject::new(Code::LeaseLost, "the lease does not act any more"),
        Verdict::Cancelled => Reject::new(Code::Cancelled, "the task was cancelled"),
        Verdict::Unavailable(reject) | Verdict::Invalid(reject) => return Err(reject.clone()),
        Verdict::Ok | Verdict::Retry | Verdict::Dead | Verdict::Duplicate => {
            return Ok(answer::written(200, |out| wire::verdict(out, lease, verdict)));
        }
    };
    let mut response = answer::written(409, |out| {
        out.open();
        out.shown("type", format_args!("/docs/errors/{}", refused.code.word()));
        out.str("title", &refused.code.word().replace('_', " "));
        out.num("status", 409u16);
        out.str("code", refused.code.word());
        out.str("detail", &refused.detail);
        out.str("hint", "drop the result and report nothing");
        wire::members(out, lease, verdict);
        out.close();
    });
    answer::header(&mut response, "content-type", "application/problem+json");
    Ok(response)
}

/// `POST /kwq/heartbeat`.
pub(crate) async fn heartbeat(context: &ApiContext, mut call: Call) -> Outcome {
    call.allow_query(&["lenient"])?;
    let text = call.json(context.config.limits.batch_body).await?;
    let fields = json::object(&text)?;
    field::only(&fields, &["worker", "leases", "affinity"], &["progress"], call.lenient()?)?;
    let warm = submit::affinity(&fields, limits::AFFINITY_WORKER_MAX)?;
    let request = HeartbeatRequest {
        worker: field::worker(&fields)?,
        leases: leases(&fields)?,
        warm: warm.map(|keys| keys.into_iter().map(|k| k.key).collect()),
    };
    let answer = context.handle.heartbeat(request).await?;
    Ok(answer::written(200, |out| {
        out.open();
        beat_members(out, &answer);
        out.num("heartbeatMs", answer.heartbeat_ms);
        out.num("leaseMs", answer.lease_ms);
        out.flag("drain", answer.drain);
        out.close();
    }))
}

fn beat_members(out: &mut Out, answer: &HeartbeatAnswer) {
    out.count("renewed", answer.renewed);
    out.list("lost");
    answer.lost.iter().for_each(|token| out.text(token));
    out.close_list();
    out.list("cancel");
    for notice in &answer.cancel {
        out.open();
        out.str("lease", &notice.token.encode());
        out.shown("ref", notice.reference);
        out.str("reason", &notice.reason);
        out.close();
    }
    out.close_list();
}

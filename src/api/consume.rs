//! Work: consume, heartbeat and the four reports.

use crate::actor::handle_work::unknown;
use crate::actor::request::{ConsumeAnswer, ConsumeRequest, HeartbeatAnswer, HeartbeatRequest};
use crate::api::answer::Answer;
use crate::api::call::{Call, token_over};
use crate::api::context::{Phase, Shared};
use crate::api::delivery::HandOuts;
use crate::api::problem::{Outcome, Problem};
use crate::codec::json;
use crate::codec::wire::consume::{self as wire, Body, Renewed};
use crate::codec::wire::out::Out;
use crate::codec::wire::report::{self as report_wire, Kind, Sent};
use crate::codec::wire::task_out::Holder;
use crate::model::reject::{Code, Reject};
use crate::model::report::{Outcome as Verdict, Report, ReportOutcome};
use hyper::StatusCode;

type Verdicts = Vec<(Option<String>, ReportOutcome)>;

/// `POST /kwq/consume`.
pub(crate) async fn consume(mut call: Call) -> Outcome {
    let bytes = call.json().await?;
    let lenient = call.query(&[])?.flag("lenient")?;
    let rules = call.shared.rules(lenient);
    let body = wire::parse(&json::object(json::text(&bytes)?)?, &rules)?;
    drop(bytes);
    call.in_time()?;
    let listed = body.done.is_some() || body.leases.is_some();
    let (request, sent) = request(body, &call.shared);
    let holder = (request.worker.clone(), request.endpoint.clone());
    let answer = if call.shared.draining() {
        reports_only(&call.shared, request).await?
    } else if listed && request.wait_ms > 0 {
        reports_first(&call, request).await?
    } else {
        parked(&call, request).await?
    };
    if answer.tasks.is_empty() && !listed {
        return Ok(nothing(&call.shared, &answer));
    }
    let mut answer = answer;
    let done = verdicts(sent, std::mem::take(&mut answer.done));
    let renewed = answer.heartbeat.as_ref().map(renewed);
    let body = wire::answer(
        &wire::Answer {
            tasks: &answer.tasks,
            done: &done,
            renewed,
            heartbeat_ms: answer.heartbeat_ms,
            drain: answer.drain,
        },
        Holder { worker: &holder.0, endpoint: holder.1.as_deref() },
    );
    let mut out = Answer::json(body);
    if answer.tasks.is_empty() && answer.poll_after_ms > 0 {
        out = out.with("kwq-poll-after-ms", answer.poll_after_ms);
    }
    out.hand_outs = HandOuts::of(&call.shared.api.handle, answer);
    Ok(out)
}

fn request(body: Body, shared: &Shared) -> (ConsumeRequest, Vec<Sent>) {
    let mut sent = body.done.unwrap_or_default();
    let request = ConsumeRequest {
        worker: body.worker,
        endpoint: body.endpoint,
        max: body.max,
        wait_ms: body.wait_ms.unwrap_or(shared.api.config.poll.default_wait_ms),
        target_ms: body.target_ms,
        max_bytes: body.max_bytes,
        lease_ms: body.lease_ms,
        seed_lease: false,
        levels: body.levels,
        jobs: body.jobs,
        warm: body.warm,
        mode: body.mode,
        done: valid(&mut sent),
        leases: body.leases,
    };
    (request, sent)
}

/// Takes the reports that break no rule out of the list.
fn valid(sent: &mut [Sent]) -> Vec<Report> {
    let taken = || Err(Reject::new(Code::Internal, "a report without a verdict"));
    let mut out = Vec::with_capacity(sent.len());
    for item in sent.iter_mut().filter(|item| item.report.is_ok()) {
        if let Ok(report) = std::mem::replace(&mut item.report, taken()) {
            item.report = Err(Reject::new(TAKEN, ""));
            out.push(report);
        }
    }
    out
}

/// Marks a report whose verdict comes from the engine; never leaves this file.
const TAKEN: Code = Code::Internal;

/// A verdict that nobody knows refuses the whole call: `unavailable` would promise that nothing was
/// done.
pub(crate) fn known(decided: Vec<ReportOutcome>) -> Result<Vec<ReportOutcome>, Reject> {
    match unknown(&decided) {
        Some(reject) => Err(reject),
        None => Ok(decided),
    }
}

/// Verdicts in the order of what was sent.
fn verdicts(sent: Vec<Sent>, decided: Vec<ReportOutcome>) -> Verdicts {
    let mut decided = decided.into_iter();
    let mut verdict = |item: &Sent| match &item.report {
        Err(reject) if reject.code != TAKEN => {
            ReportOutcome::bare(Verdict::Invalid(reject.clone()))
        }
        Ok(_) | Err(_) => decided.next().unwrap_or_else(|| {
            let away = Reject::new(Code::PartitionUnavailable, "no verdict; repeat the report");
            ReportOutcome::bare(Verdict::Unavailable(away))
        }),
    };
    sent.into_iter()
        .map(|item| {
            let verdict = verdict(&item);
            (item.lease, verdict)
        })
        .collect()
}

/// Asks and waits; a drain of the process ends the wait with nothing, the end of its caller's token
/// with a refusal.
pub(crate) async fn parked(call: &Call, request: ConsumeRequest) -> Result<ConsumeAnswer, Reject> {
    let shared = &call.shared;
    if request.wait_ms == 0 {
        return shared.api.handle.consume(request).await;
    }
    let mut phase = shared.phase.clone();
    tokio::select! {
        biased;
        answer = shared.api.handle.consume(request) => answer,
        _ = phase.wait_for(|phase| *phase >= Phase::Draining) => Ok(ConsumeAnswer::default()),
        () = call.ended() => Err(token_over()),
    }
}

/// Reports and renewals are answered for even when the wait that follows is cut: so they come
/// first, without a wait.
async fn reports_first(call: &Call, request: ConsumeRequest) -> Result<ConsumeAnswer, Reject> {
    let wait_ms = request.wait_ms;
    let mut later = request.clone();
    (later.done, later.leases) = (Vec::new(), None);
    let first = ConsumeRequest { wait_ms: 0, ..request };
    let mut answer = call.shared.api.handle.consume(first).await?;
    if !answer.tasks.is_empty() || answer.drain || answer.poll_after_ms > 0 {
        return Ok(answer);
    }
    later.wait_ms = wait_ms;
    if let Ok(second) = parked(call, later).await {
        if !second.tasks.is_empty() {
            (answer.tasks, answer.heartbeat_ms) = (second.tasks, second.heartbeat_ms);
        }
        answer.drain = second.drain;
        answer.poll_after_ms = second.poll_after_ms;
    }
    Ok(answer)
}

/// While the process drains: reports and renewals, no hand-outs.
async fn reports_only(shared: &Shared, request: ConsumeRequest) -> Result<ConsumeAnswer, Reject> {
    let handle = &shared.api.handle;
    let mut answer = ConsumeAnswer::default();
    if !request.done.is_empty() {
        answer.done = known(handle.report(request.reports()).await)?;
    }
    if let Some(leases) = request.leases {
        let worker = request.worker.clone();
        let beat = HeartbeatRequest { worker, leases: Some(leases), warm: None };
        answer.heartbeat = Some(handle.heartbeat(beat).await?);
    }
    answer.heartbeat_ms = handle.interval(&request.worker, answer.renewed_ms()).await;
    Ok(answer)
}

/// Between two consumes of a worker at a server that drains.
const DRAINING_POLL_MS: u64 = 1_000;

/// 204 with what the worker shall do next.
pub(crate) fn nothing(shared: &Shared, answer: &ConsumeAnswer) -> Answer {
    // Elsewhere or later: a server that goes will not have work again.
    let poll_after_ms = match shared.draining() {
        true => DRAINING_POLL_MS.max(answer.poll_after_ms),
        false => answer.poll_after_ms,
    };
    let mut out = Answer::empty(StatusCode::NO_CONTENT).with("kwq-poll-after-ms", poll_after_ms);
    if answer.drain {
        out = out.with("kwq-drain", "true");
    }
    if shared.draining() {
        out = out.with("connection", "close");
    }
    out
}

fn renewed(beat: &HeartbeatAnswer) -> Renewed<'_> {
    Renewed { renewed: beat.renewed, lost: &beat.lost, cancel: &beat.cancel }
}

/// `POST /kwq/heartbeat`.
pub(crate) async fn heartbeat(mut call: Call) -> Outcome {
    let bytes = call.json().await?;
    let lenient = call.query(&[])?.flag("lenient")?;
    let rules = call.shared.rules(lenient);
    let body = wire::parse_heartbeat(&json::object(json::text(&bytes)?)?, &rules)?;
    let request = HeartbeatRequest { worker: body.worker, leases: body.leases, warm: body.warm };
    let beat = call.shared.api.handle.heartbeat(request).await?;
    let body = wire::heartbeat(renewed(&beat), beat.heartbeat_ms, beat.lease_ms, beat.drain);
    Ok(Answer::json(body))
}

/// `POST /kwq/start`, `complete`, `fail`, `release`.
pub(crate) async fn report(mut call: Call, kind: Kind) -> Outcome {
    let bytes = call.json().await?;
    let lenient = call.query(&[])?.flag("lenient")?;
    let rules = call.shared.rules(lenient);
    let body = report_wire::parse(&json::object(json::text(&bytes)?)?, kind, &rules)?;
    drop(bytes);
    match body {
        report_wire::Body::One(sent) => single(&call.shared, sent).await,
        report_wire::Body::Many(mut sent) => {
            let reports = valid(&mut sent);
            let decided = match reports.is_empty() {
                true => Vec::new(),
                false => known(call.shared.api.handle.report(reports).await)?,
            };
            let verdicts = verdicts(sent, decided);
            let mut out = Out::with_capacity(32 + verdicts.len() * 160);
            out.open();
            out.list("items");
            for (lease, verdict) in &verdicts {
                report_wire::verdict(&mut out, lease.as_deref(), verdict);
            }
            out.close_list();
            out.close();
            Ok(Answer::json(out.into_bytes()))
        }
    }
}

async fn single(shared: &Shared, sent: Sent) -> Outcome {
    let report = sent.report.map_err(|reject| refused(shared, reject, "invalid"))?;
    let decided = known(shared.api.handle.report(vec![report]).await)?.into_iter().next();
    let Some(verdict) = decided else {
        let away = Reject::new(Code::PartitionUnavailable, "no verdict; repeat the report");
        return Err(refused(shared, away, "unavailable"));
    };
    if let Some(problem) = verdict_problem(shared, &verdict) {
        return Err(problem);
    }
    if verdict.outcome == Verdict::Accepted {
        return Ok(later(sent.lease.as_deref(), &verdict));
    }
    Ok(Answer::json(one(sent.lease.as_deref(), &verdict)))
}

fn one(lease: Option<&str>, verdict: &ReportOutcome) -> Vec<u8> {
    let mut out = Out::with_capacity(192);
    report_wire::verdict(&mut out, lease, verdict);
    out.into_bytes()
}

/// 202: durable, and decided when the owner is back.
pub(crate) fn later(lease: Option<&str>, verdict: &ReportOutcome) -> Answer {
    Answer::json(one(lease, verdict)).status(StatusCode::ACCEPTED)
}

/// The refusal a single report answers with; `None` for an accepted one.
pub(crate) fn verdict_problem(shared: &Shared, verdict: &ReportOutcome) -> Option<Problem> {
    let word = report_wire::outcome_word(&verdict.outcome);
    let reject = match &verdict.outcome {
        Verdict::Ok | Verdict::Retry | Verdict::Dead | Verdict::Duplicate | Verdict::Accepted => {
            return None;
        }
        Verdict::LeaseLost => {
            Reject::new(Code::LeaseLost, "the lease does not act any more; drop the result")
        }
        Verdict::Cancelled => Reject::new(Code::Cancelled, "the task was cancelled; drop it"),
        Verdict::Unavailable(reject) | Verdict::Invalid(reject) => reject.clone(),
    };
    Some(refused(shared, reject, word))
}

fn refused(shared: &Shared, reject: Reject, word: &'static str) -> Problem {
    shared.refusal(reject).text("outcome", word)
}

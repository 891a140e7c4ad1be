//! Routes of the original: same paths, same bodies. Each is a thin translation to the modern verb.

use crate::actor::request::{ConsumeRequest, HeartbeatRequest, TaskKey};
use crate::api::answer::Answer;
use crate::api::call::Call;
use crate::api::consume::{known, later, nothing, parked, verdict_problem};
use crate::api::context::Shared;
use crate::api::delivery::HandOuts;
use crate::api::problem::{Outcome, Problem};
use crate::api::query::bad;
use crate::api::route::{ANY, Route, WORK, on};
use crate::api::tasks;
use crate::codec::json;
use crate::codec::wire::cluster;
use crate::codec::wire::out::Out;
use crate::codec::wire::seed::{self as wire, Update, UpdateBody};
use crate::model::affinity::AffinityMode;
use crate::model::command::ALL_LEVELS;
use crate::model::lease::LeaseToken;
use crate::model::limits;
use crate::model::reject::{Code, Reject};
use crate::model::report::{Outcome as Verdict, Report, Verb};
use crate::model::state::TaskState;
use crate::model::view::{AttemptOutcome, TaskView};
use hyper::Method;
use hyper::header::ACCEPT;
use std::sync::Arc;

pub(crate) fn routes() -> Vec<Route> {
    vec![
        on(Method::GET, "/kwq", ANY, about),
        // A report, as every worker sends them: not for the audit trail.
        on(Method::POST, "/kwq/updateTask", WORK, update),
    ]
}

async fn about(call: Call) -> Outcome {
    call.query(&[])?;
    let api = &call.shared.api;
    let accept = call.head.headers.get(ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let backend = api.handle.backend();
    if accept.trim_start().starts_with("text/plain") {
        return Ok(Answer::text(format!("kwq {} ({backend})\n", api.version)));
    }
    let ready = api.handle.readiness();
    let mut out = Out::default();
    out.open();
    out.str("name", "kwq");
    out.str("version", &api.version);
    out.str("backend", backend);
    cluster::durability(&mut out, &ready.durability_reasons);
    out.count("partitions", api.handle.partition_count());
    out.flag("ready", ready.ready);
    if api.config.insecure() {
        out.flag("insecure", true);
    }
    out.close();
    Ok(Answer::json(out.into_bytes()))
}

/// `GET /kwq/consume/{workerAddress}/{workerEndpoint}/{waitSec}`.
pub(crate) async fn consume(call: Call) -> Outcome {
    let shared = &call.shared;
    if !shared.api.config.compat.seed_get {
        return Err(Problem::new(Code::NoRoute, "compat.seed-get is off"));
    }
    call.query(&[])?;
    let worker = call.name(0, "workerAddress")?;
    let endpoint = endpoint(call.param(1))?;
    let seconds = call.param(2);
    let digits = !seconds.is_empty() && seconds.bytes().all(|b| b.is_ascii_digit());
    if !digits {
        return Err(bad("waitSec", "waitSec must be a whole number").into());
    }
    // Digits that do not fit are more than 60, and more counts as 60.
    let wait_ms = seconds.parse::<u64>().unwrap_or(60).min(60) * 1_000;
    let request = ConsumeRequest {
        worker: worker.clone(),
        endpoint: Some(endpoint.clone()),
        max: 1,
        wait_ms,
        target_ms: None,
        max_bytes: limits::CONSUME_BYTES,
        lease_ms: None,
        seed_lease: true,
        levels: ALL_LEVELS,
        jobs: Vec::new(),
        warm: Vec::new(),
        mode: AffinityMode::default(),
        done: Vec::new(),
        leases: None,
    };
    let answer = if shared.draining() {
        crate::actor::request::ConsumeAnswer::default()
    } else {
        parked(&call, request).await?
    };
    let Some(task) = answer.tasks.first() else { return Ok(nothing(shared, &answer)) };
    let grant = &task.grant;
    let mut out = Answer::json(wire::hand_out(task, &worker, Some(&endpoint)))
        .with("kwq-lease", grant.token.encode())
        .with("kwq-lease-ms", grant.lease_ms)
        .with("kwq-attempt", grant.attempt)
        .with("deprecation", "true");
    out.hand_outs = HandOuts::of(&shared.api.handle, answer);
    Ok(out)
}

fn endpoint(text: &str) -> Result<Arc<str>, Reject> {
    if text.len() > limits::ENDPOINT_BYTES_MAX || text.chars().any(char::is_control) {
        let detail = "workerEndpoint must have at most 256 bytes and no control characters";
        return Err(bad("workerEndpoint", detail));
    }
    Ok(Arc::from(text))
}

/// `POST /kwq/updateTask`.
async fn update(mut call: Call) -> Outcome {
    let bytes = call.json().await?;
    let rules = call.shared.rules(call.query(&[])?.flag("lenient")?);
    let body = wire::parse_update(&json::object(json::text(&bytes)?)?, &rules)?;
    let key = tasks::key(&body.id, body.job.clone())?;
    let shared = &call.shared;
    let token = match call.header("kwq-lease")? {
        Some(text) => Some(lease_of_task(shared, &key, text).await?),
        None => match lease_by_worker(shared, &key, &body).await? {
            Some(token) => Some(token),
            None => return shown(shared, key).await,
        },
    };
    match act(shared, token, &body).await? {
        Some(later) => Ok(later),
        None => shown(shared, key).await,
    }
}

/// The token of the header, which must be one of the task that the body names.
async fn lease_of_task(shared: &Shared, key: &TaskKey, text: &str) -> Result<LeaseToken, Reject> {
    let token = LeaseToken::decode(text);
    let granted = shared.api.handle.was_leased(key.clone(), token).await?;
    token.filter(|_| granted).ok_or_else(|| {
        Reject::new(Code::LeaseLost, "the token in Kwq-Lease is not one of this task")
    })
}

/// The live lease of the task; `None` when the update was accepted before and is only repeated.
async fn lease_by_worker(
    shared: &Shared,
    key: &TaskKey,
    body: &UpdateBody,
) -> Result<Option<LeaseToken>, Problem> {
    let lost = || Reject::new(Code::LeaseLost, "this worker holds no lease of the task");
    let Some(worker) = body.worker.clone().filter(|_| shared.api.config.compat.update_by_worker)
    else {
        return Err(lost().hint("send the token in the header Kwq-Lease").into());
    };
    let found = shared.api.handle.lease_of(key.clone(), Some(worker)).await;
    match found {
        Ok(token) => Ok(Some(token)),
        Err(reject) if reject.code == Code::LeaseLost => {
            let answer = shared.api.handle.task(key.clone(), false, false).await?;
            if repeated(&answer.value, body) { Ok(None) } else { Err(reject.into()) }
        }
        Err(reject) => Err(reject.into()),
    }
}

/// The latest attempt ended by this worker the way it asks for again.
fn repeated(view: &TaskView, body: &UpdateBody) -> bool {
    if view.row.worker != body.worker {
        return false;
    }
    let last = view.attempts.last().map(|attempt| attempt.outcome);
    match body.update {
        Update::Running => false,
        Update::Completed => view.row.state == TaskState::Completed,
        Update::Error => last == Some(AttemptOutcome::Failed),
    }
}

/// Reports; an answer at once if its owner decides later, when there is nothing to show yet.
async fn act(
    shared: &Shared,
    token: Option<LeaseToken>,
    body: &UpdateBody,
) -> Result<Option<Answer>, Problem> {
    let verb = match body.update {
        Update::Running => Verb::Start,
        Update::Completed => Verb::Complete { result: None, run_ms: None },
        Update::Error => Verb::Fail {
            class: Arc::from("error"),
            message: Arc::from(""),
            retryable: true,
            retry_after_ms: None,
            run_ms: None,
        },
    };
    let report = Report { token, worker: body.worker.clone(), verb };
    let verdict = known(shared.api.handle.report(vec![report]).await)?.into_iter().next();
    let Some(verdict) = verdict else {
        return Err(Problem::new(Code::PartitionUnavailable, "no verdict; repeat the update"));
    };
    if let Some(problem) = verdict_problem(shared, &verdict) {
        return Err(problem);
    }
    if verdict.outcome == Verdict::Accepted {
        let lease = token.map(|token| token.encode());
        return Ok(Some(later(lease.as_deref(), &verdict)));
    }
    if let (Update::Running, Some(token), Some(worker)) = (body.update, token, verdict.worker) {
        let renew = HeartbeatRequest { worker, leases: Some(vec![Ok(token)]), warm: None };
        shared.api.handle.heartbeat(renew).await?;
    }
    Ok(None)
}

async fn shown(shared: &Shared, key: TaskKey) -> Outcome {
    let answer = shared.api.handle.task(key, true, false).await?;
    Ok(Answer::json(wire::task(&answer.value)).positions(&answer.positions))
}

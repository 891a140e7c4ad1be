//! The routes of the original, with their old shapes.

use crate::actor::request::{ConsumeRequest, TaskKey};
use crate::api::answer::{self, Outcome};
use crate::api::call::{Call, bad_query};
use crate::api::consume::nothing;
use crate::api::context::ApiContext;
use crate::api::tasks::key;
use crate::codec::json;
use crate::codec::wire::field::{self, Text};
use crate::codec::wire::task_out::{self, SeedState};
use crate::model::affinity::AffinityMode;
use crate::model::command::ALL_LEVELS;
use crate::model::id::Name;
use crate::model::lease::LeaseToken;
use crate::model::limits;
use crate::model::reference::TaskRef;
use crate::model::reject::{Code, Reject};
use crate::model::report::{Outcome as Verdict, Report, Verb};
use crate::model::time::WallMs;

/// `GET /kwq/consume/{workerAddress}/{workerEndpoint}/{waitSec}`.
pub(crate) async fn consume(
    context: &ApiContext,
    call: &Call,
    worker: &str,
    endpoint: &str,
    wait: &str,
) -> Outcome {
    call.allow_query(&[])?;
    if !context.config.compat.seed_get {
        return Err(Reject::new(Code::NoRoute, "compat.seed-get is off").hint("POST /kwq/consume"));
    }
    let wait_s: u64 = wait.parse().map_err(|_| bad_query("waitSec", "a number 0..60"))?;
    field::check_text(worker, "worker", limits::NAME_BYTES_MAX, Text::Name)
        .map_err(|r| Reject::new(Code::BadRequest, r.detail))?;
    let request = ConsumeRequest {
        worker: Name::from(worker),
        endpoint: Some(Name::from(endpoint)),
        max: 1,
        wait_ms: wait_s.min(60) * 1_000,
        target_ms: None,
        max_bytes: limits::CONSUME_BYTES,
        lease_ms: None,
        seed_lease: true,
        levels: ALL_LEVELS,
        jobs: Vec::new(),
        warm: Vec::new(),
        mode: AffinityMode::Any,
        done: Vec::new(),
        leases: None,
    };
    let answer = context.handle.consume(request).await?;
    let Some(task) = answer.tasks.first() else {
        let mut response = nothing(&answer);
        answer::header(&mut response, "deprecation", "true");
        return Ok(response);
    };
    let (grant, spec) = (&task.grant, &task.spec);
    let reference = TaskRef::of_seq(spec.priority, grant.token.partition, grant.seq);
    let mut out = crate::codec::wire::out::Out::with_capacity(512);
    let state = SeedState {
        status: "ALLOCATED",
        worker: Some(worker),
        endpoint: Some(endpoint),
        run_count: grant.attempt,
        stamps: [task.submitted, grant.allocated, WallMs(0), WallMs(0)],
    };
    task_out::seed(&mut out, &reference, spec, grant.priority.get(), state);
    let headers = (grant.token.encode(), grant.lease_ms, grant.attempt);
    let mut response = crate::api::consume::delivered(context, out.into_bytes(), answer);
    answer::header(&mut response, "kwq-lease", &headers.0);
    answer::header(&mut response, "kwq-lease-ms", &headers.1.to_string());
    answer::header(&mut response, "kwq-attempt", &headers.2.to_string());
    answer::header(&mut response, "deprecation", "true");
    Ok(response)
}

/// What `updateTask` reads.
struct Update {
    key: TaskKey,
    status: String,
    worker: Option<Name>,
}

fn update(text: &str) -> Result<Update, Reject> {
    let fields = json::object(text)?;
    let id = field::name(&fields, "id", limits::NAME_BYTES_MAX)?;
    let id = id.ok_or_else(|| Reject::field("id", "id is required"))?;
    let job = field::free(&fields, "groupId", limits::NAME_BYTES_MAX)?;
    let status = field::text(&fields, "status", 64, Text::Free)?.unwrap_or_default();
    let worker = field::free(&fields, "worker", limits::NAME_BYTES_MAX)?;
    Ok(Update { key: key(&id, job), status: status.into_owned(), worker })
}

/// `POST /kwq/updateTask`.
pub(crate) async fn update_task(context: &ApiContext, mut call: Call) -> Outcome {
    call.allow_query(&["lenient"])?;
    let text = call.json(context.config.limits.body).await?;
    let update = update(&text)?;
    let verb = match update.status.as_str() {
        "RUNNING" => Verb::Start,
        "COMPLETED" => Verb::Complete { result: None, run_ms: None },
        "ERROR" => Verb::Fail {
            class: Name::from("error"),
            message: Name::from(""),
            retryable: true,
            retry_after_ms: None,
            run_ms: None,
        },
        other => {
            let detail = format!("status `{other}` cannot be set; RUNNING, COMPLETED or ERROR");
            return Err(Reject::new(Code::IllegalTransition, detail).on("status"));
        }
    };
    let sent = call.header("kwq-lease").map(LeaseToken::decode);
    let token = match sent {
        Some(token) => token,
        None => by_worker(context, &update).await?,
    };
    let Some(token) = token else { return repeated(context, &update).await };
    let renew = (verb == Verb::Start).then(|| update.worker.clone()).flatten();
    let report = Report { token: Some(token), worker: update.worker.clone(), verb };
    let verdict = context.handle.report(vec![report]).await.into_iter().next();
    if let Some(worker) = renew {
        let leases = Some(vec![Ok(token)]);
        let beat = crate::actor::request::HeartbeatRequest { worker, leases, warm: None };
        context.handle.heartbeat(beat).await?;
    }
    match verdict.map(|v| v.outcome) {
        Some(Verdict::Ok | Verdict::Retry | Verdict::Dead | Verdict::Duplicate) => {
            shown(context, update.key).await
        }
        Some(Verdict::Cancelled) => Err(Reject::new(Code::Cancelled, "the task was cancelled")),
        Some(Verdict::Unavailable(reject) | Verdict::Invalid(reject)) => Err(reject),
        Some(Verdict::LeaseLost) | None => Err(lost()),
    }
}

async fn by_worker(context: &ApiContext, update: &Update) -> Result<Option<LeaseToken>, Reject> {
    if !context.config.compat.update_by_worker || update.worker.is_none() {
        return Err(lost());
    }
    match context.handle.lease_of(update.key.clone(), update.worker.clone()).await {
        Ok(token) => Ok(Some(token)),
        Err(reject) if reject.code == Code::LeaseLost => Ok(None),
        Err(reject) => Err(reject),
    }
}

/// Without a live lease only the repeat of an accepted call is fine.
async fn repeated(context: &ApiContext, update: &Update) -> Outcome {
    let view = context.handle.task(update.key.clone(), true, false).await?.value;
    let same = view.row.state.seed_status() == update.status
        && view.row.worker.as_ref() == update.worker.as_ref();
    if same { shown(context, update.key.clone()).await } else { Err(lost()) }
}

fn lost() -> Reject {
    Reject::new(Code::LeaseLost, "the task is not leased to this worker any more")
        .hint("send the header Kwq-Lease with the token of the hand-out")
}

async fn shown(context: &ApiContext, key: TaskKey) -> Outcome {
    let view = context.handle.task(key, true, false).await?.value;
    let row = &view.row;
    let completed =
        if row.state == crate::model::state::TaskState::Completed { row.ended } else { WallMs(0) };
    Ok(answer::written(200, |out| {
        let state = SeedState {
            status: row.state.seed_status(),
            worker: row.worker.as_deref(),
            endpoint: row.endpoint.as_deref(),
            run_count: row.attempt,
            stamps: [row.submitted, row.allocated, row.running, completed],
        };
        task_out::seed(out, &view.reference(), &view.spec, row.priority.get(), state);
    }))
}

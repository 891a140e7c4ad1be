//! `kwq job …`

use super::breakdown::BreakdownArgs;
use super::failure::{Failure, Verdict, exit};
use super::out::{View, left, number, right, text};
use super::results::ResultsArgs;
use super::{Context, dry, human, lists, operations};
use crate::client::verbs::{Job, job_path};
use crate::client::{Answer, Call, Client};
use crate::model::tags::TagSet;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// Verbs of jobs. JOB is an id, `last`, `all`, or `tag=k:v`.
#[derive(Debug, Subcommand)]
pub(super) enum JobVerb {
    /// Create a job
    Create(CreateArgs),
    /// List jobs, newest first
    Ls(LsArgs),
    /// Show a job
    Get {
        /// Id or selector
        job: String,
    },
    /// Count a job's tasks by state, priority or tag
    Breakdown(BreakdownArgs),
    /// Print a job's ended tasks with their results, a line each, in completion order
    Results(ResultsArgs),
    /// Close a job: it takes no more tasks and ends with its last one
    Close {
        /// Id or selector
        job: String,
    },
    /// Wait until a job has ended
    Wait(WaitArgs),
    /// Stop handing out a job's tasks
    Pause {
        /// Id or selector
        job: String,
    },
    /// Hand out a paused job's tasks again
    Resume {
        /// Id or selector
        job: String,
    },
    /// Cancel a job
    Cancel(CancelArgs),
    /// Change priority, weight, name or retention
    Set(SetArgs),
    /// Run a job's dead tasks again, with fresh budgets
    Retry(operations::RetryArgs),
    /// Remove an ended job with all its tasks for good
    Rm {
        /// Id or selector
        job: String,
    },
}

/// `job create`
#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// Id; the server chooses one if it is left out
    id: Option<String>,
    /// Name shown
    #[arg(long)]
    name: Option<String>,
    /// Priority of its tasks, 9 first
    #[arg(long, value_name = "1..9")]
    priority: Option<u8>,
    /// Weight in the fair share, 1..1000
    #[arg(long)]
    weight: Option<u16>,
    /// What client ids mean: labels (batch) or identity (task)
    #[arg(long, value_enum)]
    dedup: Option<Dedup>,
    /// Tag of the job (repeatable)
    #[arg(long)]
    tag: Vec<String>,
    /// Create it paused
    #[arg(long)]
    paused: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Dedup {
    Batch,
    Task,
}

/// `job ls`
#[derive(Debug, Args)]
pub(super) struct LsArgs {
    /// States, e.g. OPEN,CLOSED
    #[arg(long)]
    state: Option<String>,
    /// Paused or not
    #[arg(long)]
    paused: Option<bool>,
    /// Tag k:v
    #[arg(long)]
    tag: Option<String>,
    /// Priority
    #[arg(long)]
    priority: Option<u8>,
    /// Ids that begin so
    #[arg(long)]
    prefix: Option<String>,
    /// created, eta, errors or age
    #[arg(long)]
    sort: Option<String>,
    /// Most rows
    #[arg(long, default_value_t = 100)]
    limit: usize,
}

/// `job wait`
#[derive(Debug, Args)]
pub(super) struct WaitArgs {
    /// Id or selector of one job
    job: String,
    /// done, firstError, or done,firstError; the end of the job ends every wait
    #[arg(long = "for", default_value = "done", value_name = "WHAT")]
    what: String,
}

/// `job cancel`
#[derive(Debug, Args)]
pub(super) struct CancelArgs {
    /// Id or selector
    job: String,
    /// stop: running tasks too; drop-queued: let them finish
    #[arg(long, value_enum, default_value = "stop")]
    mode: Mode,
    /// Kept and shown
    #[arg(long)]
    reason: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Mode {
    Stop,
    DropQueued,
}

/// `job set`
#[derive(Debug, Args)]
pub(super) struct SetArgs {
    /// Id or selector
    job: String,
    /// Serve its queued tasks at this priority, 9 first
    #[arg(long, value_name = "1..9")]
    priority: Option<u8>,
    /// Weight in the fair share, 1..1000
    #[arg(long)]
    weight: Option<u16>,
    /// Name shown
    #[arg(long)]
    name: Option<String>,
    /// How long it is kept after its end
    #[arg(long, value_parser = human::duration_flag, value_name = "DURATION")]
    retention: Option<Duration>,
}

const VIEW: View = View {
    id: "id",
    columns: &[
        left("JOB", |job| text(job, "id")),
        right("PRI", |job| text(job, "priority")),
        left("STATE", state),
        left("DONE/TOTAL", done_of_total),
        right("RATE", |job| match job.get("ratePerSec").and_then(Value::as_f64) {
            Some(rate) if rate > 0.0 => format!("{rate:.1}/s"),
            Some(_) | None => "-".to_owned(),
        }),
        right("ETA", |job| match job.get("eta_ts").and_then(Value::as_u64) {
            Some(at) => eta(at),
            None => "-".to_owned(),
        }),
        right("ERR", |job| human::grouped(count(job, "ERROR"))),
        right("WARM", |job| match job.pointer("/affinity/hitRatio").and_then(Value::as_f64) {
            Some(ratio) => format!("{:.0} %", ratio * 100.0),
            None => "-".to_owned(),
        }),
    ],
};

/// Runs a verb.
pub(super) async fn run(verb: JobVerb, context: &Context) -> Verdict {
    let client = context.client()?;
    match verb {
        JobVerb::Create(args) => create(args, context, &client).await,
        JobVerb::Ls(args) => ls(args, context, &client).await,
        JobVerb::Get { job } => {
            for id in select(&client, &job).await? {
                let answer = client.send(Call::get(job_path(&id))).await?;
                context.out.one(&answer.text(), &VIEW);
            }
            Ok(exit::DONE)
        }
        JobVerb::Breakdown(args) => {
            let ids = select(&client, &args.job).await?;
            super::breakdown::run(&args, &ids, context, &client).await
        }
        JobVerb::Results(args) => {
            let id = one(&client, &args.job).await?;
            super::results::run(&args, &id, context, &client).await
        }
        JobVerb::Close { job } => each(context, &client, &job, "close", &json!({})).await,
        JobVerb::Pause { job } => each(context, &client, &job, "pause", &json!({})).await,
        JobVerb::Resume { job } => each(context, &client, &job, "resume", &json!({})).await,
        JobVerb::Wait(args) => {
            // Here --timeout is the wait's, not a request's.
            let client = context.patient_client()?;
            let id = one(&client, &args.job).await?;
            wait(context, &client, &id, &args.what, context.global.timeout).await
        }
        JobVerb::Cancel(args) => cancel(args, context, &client).await,
        JobVerb::Set(args) => set(args, context, &client).await,
        JobVerb::Retry(args) => operations::retry(args, context).await,
        JobVerb::Rm { job } => operations::remove(&job, context).await,
    }
}

async fn create(args: CreateArgs, context: &Context, client: &Client) -> Verdict {
    let mut spec = Map::new();
    put(&mut spec, "id", args.id);
    put(&mut spec, "name", args.name);
    put(&mut spec, "priority", args.priority);
    put(&mut spec, "weight", args.weight);
    put_tags(&mut spec, &args.tag);
    put(&mut spec, "paused", args.paused.then_some(true));
    let dedup = args.dedup.map(|dedup| match dedup {
        Dedup::Batch => "batch",
        Dedup::Task => "task",
    });
    put(&mut spec, "dedup", dedup);
    let answer = client.create_job(&Value::Object(spec)).await?;
    context.out.one(&answer.text(), &VIEW);
    Ok(exit::DONE)
}

async fn ls(args: LsArgs, context: &Context, client: &Client) -> Verdict {
    let mut call = Call::get("/kwq/jobs");
    let paused = args.paused.map(|paused| paused.to_string());
    let priority = args.priority.map(|priority| priority.to_string());
    let filters = [
        ("state", args.state),
        ("paused", paused),
        ("tag", args.tag),
        ("priority", priority),
        ("q", args.prefix),
        ("sort", args.sort),
    ];
    for (name, value) in filters {
        if let Some(value) = value {
            call = call.query(name, value);
        }
    }
    lists::show(context, client, &call, args.limit, &VIEW).await
}

async fn each(
    context: &Context,
    client: &Client,
    selector: &str,
    verb: &str,
    body: &Value,
) -> Verdict {
    let ids = select_live(client, selector).await?;
    // To close what has ended changes nothing, and is no fault.
    let refused: fn(&Job) -> bool = if verb == "close" { |_: &Job| false } else { Job::ended };
    if dry::on_jobs(context, client, &ids, verb, refused).await? {
        return Ok(exit::DONE);
    }
    for id in ids {
        let answer = client.job_verb(&id, verb, body).await?;
        context.out.one(&answer.text(), &VIEW);
        note_partial(context, &id, &answer);
    }
    Ok(exit::DONE)
}

async fn cancel(args: CancelArgs, context: &Context, client: &Client) -> Verdict {
    let ids = select_live(client, &args.job).await?;
    let mut live = 0;
    for id in &ids {
        live += client.job(id).await?.live;
    }
    let act = format!("cancel {} live tasks of", human::grouped(live));
    let refused = |job: &Job| job.ended() && job.state != "CANCELLED";
    if dry::on_jobs(context, client, &ids, &act, refused).await? {
        return Ok(exit::DONE);
    }
    if !context.confirm(&format!("{act} {}", operations::named(&ids)))? {
        return Ok(exit::DONE);
    }
    let mode = match args.mode {
        Mode::Stop => "stop",
        Mode::DropQueued => "drop-queued",
    };
    let mut body = Map::new();
    put(&mut body, "mode", Some(mode));
    put(&mut body, "reason", args.reason);
    let body = Value::Object(body);
    for id in ids {
        let answer = client.job_verb(&id, "cancel", &body).await?;
        context.out.one(&answer.text(), &VIEW);
        note_partial(context, &id, &answer);
    }
    Ok(exit::DONE)
}

async fn set(args: SetArgs, context: &Context, client: &Client) -> Verdict {
    let mut body = Map::new();
    put(&mut body, "priority", args.priority);
    put(&mut body, "weight", args.weight);
    put(&mut body, "name", args.name);
    let retention = args.retention.and_then(|d| u64::try_from(d.as_millis()).ok());
    put(&mut body, "retentionMs", retention);
    if body.is_empty() {
        return Err(Failure::usage("nothing to set")
            .help("give --priority, --weight, --name or --retention"));
    }
    let (body, ids) = (Value::Object(body), select_live(client, &args.job).await?);
    if dry::on_jobs(context, client, &ids, "change", Job::ended).await? {
        return Ok(exit::DONE);
    }
    for id in ids {
        let answer = client.send(Call::patch(job_path(&id)).json(&body)).await?;
        context.out.one(&answer.text(), &VIEW);
        note_partial(context, &id, &answer);
    }
    Ok(exit::DONE)
}

/// Longest wait of one request; the server's own ceiling is higher.
const ROUND: Duration = Duration::from_millis(1_000);

/// Waits for a job with a progress bar. Exit 6 when it ended badly, 124 when the time is over.
pub(super) async fn wait(
    context: &Context,
    client: &Client,
    id: &str,
    what: &str,
    limit: Option<Duration>,
) -> Verdict {
    let mut first: Job = client.job(id).await?;
    let bar = context.out.progress(Some(first.submitted));
    let until = limit.map(|limit| tokio::time::Instant::now() + limit);
    loop {
        bar.set_length(first.submitted);
        bar.set_position(first.over());
        bar.set_message(
            first.eta_ts.map_or_else(String::new, |eta_ts| format!("ETA {}", eta(eta_ts))),
        );
        let left = until.map(|until| until.saturating_duration_since(tokio::time::Instant::now()));
        let round = left.unwrap_or(ROUND).min(ROUND);
        if let Some(answer) = client.wait_job(id, what, round).await? {
            bar.finish_and_clear();
            let job: Job = answer.read()?;
            context.out.one(&answer.text(), &VIEW);
            let bad =
                matches!(job.state.as_str(), "FAILED" | "CANCELLED" | "COMPLETED_WITH_ERRORS");
            return Ok(if bad { exit::JOB_FAILED } else { exit::DONE });
        }
        if left.is_some_and(|left| left <= round) {
            bar.finish_and_clear();
            return Err(Failure::new("wait_timeout", format!("job {id} has not ended in time"))
                .exit(exit::TIMEOUT)
                .help(format!("`{} job get {id}` shows how far it is", super::own_name())));
        }
        first = client.job(id).await?;
    }
}

/// Ids a selector stands for; at least one.
pub(super) async fn select(client: &Client, selector: &str) -> Result<Vec<String>, Failure> {
    chosen(client, selector, false).await
}

/// As [`select`]; where a selector means several, only those that a verb can still change.
async fn select_live(client: &Client, selector: &str) -> Result<Vec<String>, Failure> {
    chosen(client, selector, true).await
}

async fn chosen(client: &Client, selector: &str, live: bool) -> Result<Vec<String>, Failure> {
    let (call, most) = match selector {
        "last" => (Call::get("/kwq/jobs"), 1),
        "all" => (Call::get("/kwq/jobs"), usize::MAX),
        _ => match selector.split_once('=') {
            Some(("tag", tag)) => (Call::get("/kwq/jobs").query("tag", tag), usize::MAX),
            Some(("id", id)) => return Ok(vec![id.to_owned()]),
            Some(_) | None => return Ok(vec![selector.to_owned()]),
        },
    };
    let call = if live { call.query("state", "OPEN,CLOSED") } else { call };
    let mut ids = Vec::new();
    let mut cursor = None;
    loop {
        let (rows, next) = lists::page(client, &call, most.min(1_000), cursor.as_deref()).await?;
        for row in rows {
            let job: Value = serde_json::from_str(row.get()).unwrap_or_default();
            ids.push(text(&job, "id"));
        }
        cursor = next;
        if cursor.is_none() || ids.len() >= most {
            break;
        }
    }
    ids.truncate(most);
    if ids.is_empty() {
        let which = if live { "no job that has not ended" } else { "no job" };
        return Err(Failure::new("job_not_found", format!("{which} fits `{selector}`"))
            .exit(exit::MISSING)
            .help(format!("`{} job ls` lists them", super::own_name())));
    }
    Ok(ids)
}

async fn one(client: &Client, selector: &str) -> Result<String, Failure> {
    let mut ids = select(client, selector).await?;
    match (ids.pop(), ids.len()) {
        (Some(id), 0) => Ok(id),
        _ => Err(Failure::usage(format!("`{selector}` names more than one job"))),
    }
}

fn note_partial(context: &Context, id: &str, answer: &Answer) {
    if answer.status == 202 {
        context.out.note(&format!("job {id}: durable, but not in force in every partition yet"));
    }
}

/// A job as a row of the table.
#[cfg(test)]
pub(super) fn cells(job: &Value) -> Vec<String> {
    VIEW.columns.iter().map(|column| column.show(job)).collect()
}

/// Sets `tag` or `tags` from repeated flags. Each flag is a text of its own: a bare tag of one is
/// no further value of the key of another.
pub(super) fn put_tags(body: &mut Map<String, Value>, flags: &[String]) {
    if let [text] = flags {
        return put(body, "tag", Some(text.clone()));
    }
    let items = flags.iter().flat_map(|text| match TagSet::parse(text) {
        Ok(tags) => tags.iter().map(str::to_owned).collect(),
        // The server says what is wrong with it.
        Err(_) => vec![text.clone()],
    });
    let items: Vec<String> = items.collect();
    put(body, "tags", (!items.is_empty()).then_some(items));
}

/// Sets a member if there is a value.
pub(super) fn put(body: &mut Map<String, Value>, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        body.insert(name.to_owned(), value.into());
    }
}

fn count(job: &Value, state: &str) -> u64 {
    job.get("counts").map_or(0, |counts| number(counts, state))
}

fn state(job: &Value) -> String {
    let state = text(job, "state");
    let active = state == "OPEN" || state == "CLOSED";
    if active && job.get("paused") == Some(&Value::Bool(true)) {
        return "PAUSED".to_owned();
    }
    if active && count(job, "RUNNING") + count(job, "ALLOCATED") > 0 {
        return "RUNNING".to_owned();
    }
    state
}

fn done_of_total(job: &Value) -> String {
    let total = number(job, "submitted");
    let over = total.saturating_sub(number(job, "live"));
    let numbers = format!("{} / {}", human::short(over), human::short(total));
    format!("{numbers:<17} {}", human::bar(over, total, 14))
}

fn eta(at: u64) -> String {
    use crate::clock::SystemClock;
    let now = SystemClock::shared().now().wall.0;
    human::duration(at.saturating_sub(now))
}

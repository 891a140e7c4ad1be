//! `kwq op …`, and the verbs of other resources that begin an operation.

use super::failure::{Failure, Verdict, exit};
use super::out::{View, left, number, right, text};
use super::{Context, dry, human, jobs, lists};
use crate::client::verbs::{Job, job_path};
use crate::client::{Call, Client, call::part};
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

/// Verbs of operations: redrives and purges, running or ended.
#[derive(Debug, Subcommand)]
pub(super) enum OpVerb {
    /// List operations, newest first
    Ls {
        /// Most rows
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Show how far an operation is
    Get {
        /// Operation, e.g. op-12
        op: String,
    },
    /// Stop an operation; what it has done stays
    Stop {
        /// Operation, e.g. op-12
        op: String,
    },
}

/// `job retry`
#[derive(Debug, Args)]
pub(super) struct RetryArgs {
    /// Id or selector
    job: String,
    /// At another priority
    #[arg(long, value_name = "1..9")]
    priority: Option<u8>,
}

/// Which dead letters; all that is given must hold.
#[derive(Debug, Args)]
pub(super) struct DeadArgs {
    /// Job
    #[arg(long)]
    job: Option<String>,
    /// Client id or reference
    #[arg(long)]
    id: Option<String>,
    /// Reference (repeatable: one of them)
    #[arg(long = "ref", value_name = "REF")]
    reference: Vec<String>,
    /// Priority it died at
    #[arg(long, value_name = "1..9")]
    priority: Option<u8>,
    /// Tag k:v or bare tag (repeatable: all)
    #[arg(long)]
    tag: Vec<String>,
    /// Tag (repeatable: one of them)
    #[arg(long)]
    tag_any: Vec<String>,
    /// Class of the latest failure
    #[arg(long)]
    class: Option<String>,
    /// Worker of the latest hand-out
    #[arg(long)]
    worker: Option<String>,
    /// Submitted at or after, epoch ms
    #[arg(long)]
    since: Option<u64>,
    /// Submitted before, epoch ms
    #[arg(long)]
    until: Option<u64>,
    /// Every dead letter, if nothing else is given
    #[arg(long)]
    all: bool,
}

const VIEW: View = View {
    id: "op",
    columns: &[
        left("OPERATION", |row| text(row, "op")),
        left("KIND", |row| text(row, "kind")),
        left("STATE", |row| text(row, "state")),
        right("MATCHED", |row| human::grouped(number(row, "matched"))),
        right("DONE", |row| human::grouped(number(row, "done"))),
        right("SKIPPED", |row| human::grouped(number(row, "skipped"))),
        left("BEGUN", |row| human::stamp(number(row, "created_ts"))),
        left("BY", |row| text(row, "by")),
        left("FILTER", |row| row.get("filter").map_or(String::new(), Value::to_string)),
    ],
};

const COUNT: View = View {
    id: "matched",
    columns: &[
        right("MATCHED", |row| human::grouped(number(row, "matched"))),
        right("SKIPPED", |row| human::grouped(number(row, "skipped"))),
    ],
};

/// Runs a verb.
pub(super) async fn run(verb: OpVerb, context: &Context) -> Verdict {
    let client = context.client()?;
    match verb {
        OpVerb::Ls { limit } => {
            lists::show(context, &client, &Call::get("/kwq/operations"), limit, &VIEW).await
        }
        OpVerb::Get { op } => show(context, &client, Call::get(path(&op))).await,
        OpVerb::Stop { op } => {
            let over: fn(&str) -> bool = |state| state != "RUNNING";
            let (look, act) = (Call::get(path(&op)), format!("stop {op}"));
            if dry::on_one(context, &client, look, &act, ("operation_ended", over)).await? {
                return Ok(exit::DONE);
            }
            show(context, &client, Call::delete(path(&op))).await
        }
    }
}

/// `kwq dlq redrive`
pub(super) async fn redrive(args: DeadArgs, priority: Option<u8>, context: &Context) -> Verdict {
    let client = context.client()?;
    let mut body = args.body();
    if let Some(priority) = priority {
        body.insert("set".to_owned(), json!({ "priority": priority }));
    }
    if context.global.dry_run {
        return count(context, &client, "redrive", body).await;
    }
    show(context, &client, Call::post("/kwq/dlq/redrive").json(&Value::Object(body))).await
}

/// `kwq dlq purge`
pub(super) async fn purge(args: DeadArgs, context: &Context) -> Verdict {
    let client = context.client()?;
    let body = args.body();
    if context.global.dry_run {
        return count(context, &client, "purge", body).await;
    }
    let counted = client.send(dry("purge", body.clone())).await?;
    let matched = number(&counted.read::<Value>()?, "matched");
    let what = format!("remove {} dead tasks for good", human::grouped(matched));
    if !context.confirm(&what)? {
        return Ok(exit::DONE);
    }
    show(context, &client, Call::post("/kwq/dlq/purge").json(&Value::Object(body))).await
}

/// `kwq job retry`
pub(super) async fn retry(args: RetryArgs, context: &Context) -> Verdict {
    let client = context.client()?;
    let set = args.priority.map(|priority| json!({ "priority": priority }));
    for id in jobs::select(&client, &args.job).await? {
        if context.global.dry_run {
            let cancelled = |job: &Job| job.state == "CANCELLED";
            dry::on_jobs(context, &client, std::slice::from_ref(&id), "retry", cancelled).await?;
            let filter = Map::from_iter([("filter".to_owned(), json!({ "job": id }))]);
            count(context, &client, "redrive", filter).await?;
            continue;
        }
        let mut body = Map::new();
        jobs::put(&mut body, "set", set.clone());
        let call = Call::post(format!("{}/retry", job_path(&id))).json(&Value::Object(body));
        show(context, &client, call).await?;
    }
    Ok(exit::DONE)
}

/// `kwq job rm`
pub(super) async fn remove(selector: &str, context: &Context) -> Verdict {
    let client = context.client()?;
    let (mut ended, mut stay, mut tasks) = (Vec::new(), Vec::new(), 0);
    for id in jobs::select(&client, selector).await? {
        let job: Job = client.job(&id).await?;
        if job.ended() {
            tasks += job.over();
            ended.push(id);
        } else {
            stay.push(id);
        }
    }
    if ended.is_empty() {
        let which = named(&stay);
        return Err(Failure::new("not_finished", format!("not ended yet: {which}"))
            .exit(exit::CONFLICT)
            .help(format!("`{} job cancel {selector}` ends it", super::own_name())));
    }
    let tasks = human::grouped(tasks);
    let mut what = format!("remove {} with {tasks} tasks for good", named(&ended));
    if !stay.is_empty() {
        what += &format!(", but not {}, not ended yet", named(&stay));
    }
    if !context.confirm(&what)? {
        return Ok(exit::DONE);
    }
    for id in ended {
        show(context, &client, Call::delete(job_path(&id))).await?;
    }
    Ok(exit::DONE)
}

/// Names shown of many jobs, so that a question stays on the screen.
const NAMED_MAX: usize = 10;

/// Jobs in a sentence.
pub(super) fn named(ids: &[String]) -> String {
    match ids {
        [id] => format!("job {id}"),
        many if many.len() > NAMED_MAX => {
            let first = many[..NAMED_MAX].join(", ");
            format!("{} jobs ({first} and {} more)", many.len(), many.len() - NAMED_MAX)
        }
        many => format!("{} jobs ({})", many.len(), many.join(", ")),
    }
}

async fn show(context: &Context, client: &Client, call: Call) -> Verdict {
    let answer = client.send(call).await?;
    context.out.one(&answer.text(), &VIEW);
    Ok(exit::DONE)
}

async fn count(
    context: &Context,
    client: &Client,
    verb: &str,
    body: Map<String, Value>,
) -> Verdict {
    let answer = client.send(dry(verb, body)).await?;
    context.out.one(&answer.text(), &COUNT);
    Ok(exit::DONE)
}

/// Counts and changes nothing.
fn dry(verb: &str, mut body: Map<String, Value>) -> Call {
    body.insert("dryRun".to_owned(), json!(true));
    Call::post(format!("/kwq/dlq/{verb}")).json(&Value::Object(body)).harmless()
}

fn path(op: &str) -> String {
    format!("/kwq/operations/{}", part(op))
}

impl DeadArgs {
    fn body(self) -> Map<String, Value> {
        let mut filter = Map::new();
        let lists = [("ref", self.reference), ("tag", self.tag), ("tagAny", self.tag_any)];
        for (name, list) in lists {
            jobs::put(&mut filter, name, (!list.is_empty()).then_some(list));
        }
        let texts =
            [("job", self.job), ("id", self.id), ("class", self.class), ("worker", self.worker)];
        for (name, text) in texts {
            jobs::put(&mut filter, name, text);
        }
        jobs::put(&mut filter, "priority", self.priority);
        jobs::put(&mut filter, "since", self.since);
        jobs::put(&mut filter, "until", self.until);
        let mut body = Map::new();
        body.insert("filter".to_owned(), Value::Object(filter));
        jobs::put(&mut body, "all", self.all.then_some(true));
        body
    }
}

//! `kwq task …`

use super::failure::{Verdict, exit};
use super::out::{View, left, right, text};
use super::{Context, dry, human, lists};
use crate::client::call::part;
use crate::client::{Call, Client};
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

/// Verbs of single tasks. TASK is a reference or a client id.
#[derive(Debug, Subcommand)]
pub(super) enum TaskVerb {
    /// List tasks
    Ls(LsArgs),
    /// Show a task with its attempts
    Get(OneArgs),
    /// Say why a task is not running
    Explain(OneArgs),
    /// Print a task's payload, byte for byte
    Payload(OneArgs),
    /// Print a task's result, byte for byte
    Result(OneArgs),
    /// Cancel a task
    Cancel {
        #[command(flatten)]
        task: OneArgs,
        /// Kept and shown
        #[arg(long)]
        reason: Option<String>,
    },
    /// Run a dead task again
    Retry {
        #[command(flatten)]
        task: OneArgs,
        /// At another priority
        #[arg(long, value_name = "1..9")]
        priority: Option<u8>,
    },
}

/// One task.
#[derive(Debug, Args)]
pub(super) struct OneArgs {
    /// Reference or client id
    task: String,
    /// Job of the client id
    #[arg(long)]
    job: Option<String>,
}

/// Filters of a list; all of them must hold.
#[derive(Debug, Args)]
pub(super) struct LsArgs {
    /// Job
    #[arg(long)]
    job: Option<String>,
    /// Client id or reference
    #[arg(long)]
    id: Option<String>,
    /// Value of an array element; needs --job
    #[arg(long)]
    index: Option<u64>,
    /// Current priority
    #[arg(long, value_name = "1..9")]
    priority: Option<u8>,
    /// Worker of the latest hand-out
    #[arg(long)]
    worker: Option<String>,
    /// States, e.g. PENDING,RUNNING
    #[arg(long)]
    state: Option<String>,
    /// Tag k:v or bare tag (repeatable: all)
    #[arg(long)]
    tag: Vec<String>,
    /// One of these tags, comma-separated
    #[arg(long)]
    tag_any: Option<String>,
    /// Class of the latest failure
    #[arg(long)]
    class: Option<String>,
    /// Submitted at or after, epoch ms
    #[arg(long)]
    since: Option<u64>,
    /// Submitted before, epoch ms
    #[arg(long)]
    until: Option<u64>,
    /// recent, new or old
    #[arg(long)]
    order: Option<String>,
    /// Wait until everything acknowledged is shown
    #[arg(long)]
    fresh: bool,
    /// Most rows
    #[arg(long, default_value_t = 100)]
    limit: usize,
}

/// How lists of tasks look.
pub(super) const VIEW: View = View {
    id: "id",
    columns: &[
        left("TASK", |task| text(task, "id")),
        left("JOB", |task| text(task, "groupId")),
        right("PRI", |task| text(task, "priority")),
        left("STATE", |task| text(task, "state")),
        right("TRY", |task| text(task, "attempt")),
        left("WORKER", |task| text(task, "worker")),
        left("SUBMITTED", |task| human::stamp(super::out::number(task, "submitted_ts"))),
        left("TAGS", |task| text(task, "tag")),
        left("ERROR", |task| task.get("error").map_or(String::new(), |e| text(e, "class"))),
    ],
};

/// Runs a verb.
pub(super) async fn run(verb: TaskVerb, context: &Context) -> Verdict {
    let client = context.client()?;
    match verb {
        TaskVerb::Ls(args) => {
            let limit = args.limit();
            let call = args.call("/kwq/tasks");
            lists::show(context, &client, &call, limit, &VIEW).await
        }
        TaskVerb::Get(task) => {
            let answer = client.send(task.get("")).await?;
            context.out.one(&answer.text(), &VIEW);
            Ok(exit::DONE)
        }
        TaskVerb::Explain(task) => {
            let answer = client.send(task.get("/explain")).await?;
            super::explain::show(context, &answer.text());
            Ok(exit::DONE)
        }
        TaskVerb::Payload(task) => bytes(context, &client, task.get("/payload")).await,
        TaskVerb::Result(task) => bytes(context, &client, task.get("/result")).await,
        TaskVerb::Cancel { task, reason } => {
            let what = format!("cancel 1 task ({})", task.task);
            let over: fn(&str) -> bool = |state| matches!(state, "COMPLETED" | "ERROR");
            let over = ("illegal_transition", over);
            if dry::on_one(context, &client, task.get(""), &what, over).await?
                || !context.confirm(&what)?
            {
                return Ok(exit::DONE);
            }
            let mut body = Map::new();
            super::jobs::put(&mut body, "reason", reason);
            act(context, &client, task.post("/cancel", &Value::Object(body))).await
        }
        TaskVerb::Retry { task, priority } => {
            let what = format!("retry 1 task ({})", task.task);
            let alive: fn(&str) -> bool = |state| state != "ERROR";
            let alive = ("illegal_transition", alive);
            if dry::on_one(context, &client, task.get(""), &what, alive).await? {
                return Ok(exit::DONE);
            }
            let body = priority.map_or_else(|| json!({}), |p| json!({"set": {"priority": p}}));
            act(context, &client, task.post("/retry", &body)).await
        }
    }
}

async fn act(context: &Context, client: &Client, call: Call) -> Verdict {
    let answer = client.send(call).await?;
    context.out.one(&answer.text(), &VIEW);
    Ok(exit::DONE)
}

async fn bytes(context: &Context, client: &Client, call: Call) -> Verdict {
    let answer = client.send(call).await?;
    context.out.bytes(&answer.body);
    Ok(exit::DONE)
}

impl OneArgs {
    fn get(&self, tail: &str) -> Call {
        self.narrow(Call::get(self.path(tail)))
    }

    fn post(&self, tail: &str, body: &Value) -> Call {
        self.narrow(Call::post(self.path(tail)).json(body).repeatable())
    }

    fn path(&self, tail: &str) -> String {
        format!("/kwq/tasks/{}{tail}", part(&self.task))
    }

    fn narrow(&self, call: Call) -> Call {
        match &self.job {
            Some(job) => call.query("job", job),
            None => call,
        }
    }
}

impl LsArgs {
    /// Is there a filter on the state?
    pub(super) fn names_state(&self) -> bool {
        self.state.is_some()
    }

    /// Most rows asked for.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// The list of a route under these filters.
    pub(super) fn call(self, route: &str) -> Call {
        let mut call = Call::get(route);
        let numbers = [
            ("index", self.index),
            ("priority", self.priority.map(u64::from)),
            ("since", self.since),
            ("until", self.until),
        ];
        for (name, value) in numbers {
            if let Some(value) = value {
                call = call.query(name, value);
            }
        }
        let texts = [
            ("job", self.job),
            ("id", self.id),
            ("worker", self.worker),
            ("state", self.state),
            ("tagAny", self.tag_any),
            ("class", self.class),
            ("order", self.order),
        ];
        for (name, value) in texts {
            if let Some(value) = value {
                call = call.query(name, value);
            }
        }
        for tag in self.tag {
            call = call.query("tag", tag);
        }
        if self.fresh { call.query("fresh", true) } else { call }
    }
}

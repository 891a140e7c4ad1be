//! `kwq submit`: one task, an array, repeated copies, or a file.

mod input;

use super::failure::{Failure, Verdict, exit};
use super::out::{Format, View, left, text};
use super::{Context, human, jobs};
use crate::client::upload::{Key, Upload, Uploaded};
use crate::client::verbs::job_path;
use crate::client::{Call, Client};
use clap::Args;
use input::Source;
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use std::time::Duration;

/// `submit`
#[derive(Debug, Args)]
pub(super) struct SubmitArgs {
    /// NDJSON or a JSON array; `-` is stdin; without it one task is made of the flags
    file: Option<PathBuf>,
    /// Job [default: default, or the job each line names]
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    job: Option<String>,
    /// Client id of the task or array
    #[arg(long)]
    id: Option<String>,
    /// Priority, 9 first
    #[arg(long, value_name = "1..9")]
    priority: Option<u8>,
    /// Tag k:v or bare tag (repeatable)
    #[arg(long)]
    tag: Vec<String>,
    /// Affinity key (repeatable)
    #[arg(long)]
    affinity: Vec<String>,
    /// Payload; with --array or --count `{i}` becomes the number
    #[arg(long, conflicts_with = "file")]
    payload: Option<String>,
    /// Each line of FILE is a payload, not a task
    #[arg(long, requires = "file")]
    each_line: bool,
    /// One task for each number from A to B, both included; `{i}` in the payload is the number
    #[arg(long, value_name = "A-B[:STEP]", conflicts_with_all = ["file", "count"])]
    array: Option<String>,
    /// That many single tasks, numbered from 0
    #[arg(long, conflicts_with = "file")]
    count: Option<u64>,
    /// Hand out after this time
    #[arg(long, value_parser = human::duration_flag, value_name = "DURATION")]
    delay: Option<Duration>,
    /// Runs that may fail
    #[arg(long)]
    max_attempts: Option<u8>,
    /// Longest run
    #[arg(long)]
    timeout_seconds: Option<u32>,
    /// Idempotency key: the same command with it again does only what is missing
    #[arg(long)]
    key: Option<String>,
    /// Close the job afterwards
    #[arg(long)]
    close: bool,
    /// Wait until the job has ended
    #[arg(long)]
    wait: bool,
}

/// Numbers from `from` to at most `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    from: u64,
    to: u64,
    step: u64,
}

const VIEW: View = View { id: "ref", columns: &[left("REF", |row| text(row, "ref"))] };

/// Submits.
pub(super) async fn run(args: SubmitArgs, context: &Context) -> Verdict {
    let client = context.client_with(8, 0)?;
    let needs_job = args.close || args.wait;
    if needs_job && args.file.is_some() && args.job.is_none() {
        return Err(Failure::usage("--close and --wait need the job").help("add --job ID"));
    }
    let job = args.job.clone().unwrap_or_else(|| "default".to_owned());
    let range = args.array.as_deref().map(Range::read).transpose()?;
    let sum = match (&args.file, args.count, range) {
        (Some(file), _, _) => Some(many(&args, Source::open(file)?, context, &client).await?),
        (None, Some(count), _) => {
            let source = Source::count(Range::first(count), &args);
            Some(many(&args, source, context, &client).await?)
        }
        (None, None, range) => {
            single(&args, range, context, &client, &job).await?;
            None
        }
    };
    if args.close {
        client.job_verb(&job, "close", &json!({})).await?;
    }
    if let Some(sum) = &sum {
        tell(context, &args, sum);
    }
    if args.wait {
        let verdict = jobs::wait(context, &client, &job, "done", None).await?;
        if verdict != exit::DONE {
            return Ok(verdict);
        }
    }
    Ok(if sum.is_some_and(|sum| sum.rejected > 0) { exit::FAILED } else { exit::DONE })
}

/// One task or one array.
async fn single(
    args: &SubmitArgs,
    range: Option<Range>,
    context: &Context,
    client: &Client,
    job: &str,
) -> Result<(), Failure> {
    let mut task = template(args);
    match range {
        Some(range) => {
            task.insert("array".to_owned(), range.array(args));
        }
        None => {
            jobs::put(&mut task, "id", args.id.clone());
            jobs::put(&mut task, "payload", args.payload.clone());
        }
    }
    let (key, own) = match &args.key {
        Some(key) => (key.clone(), false),
        None => (client.fresh_name(), true),
    };
    let body = Value::Object(task);
    let call = Call::post(format!("{}/tasks", job_path(job))).json(&json!([body]));
    let answer = client.send_keyed(call, &key, own).await?;
    let result = answer.read::<Value>()?.pointer("/results/0").cloned().unwrap_or_default();
    let code = result.get("code").and_then(Value::as_str);
    if let Some(code) = code {
        let detail = text(&result, "detail");
        let conflict = matches!(code, "id_conflict" | "job_closed");
        return Err(Failure::new(code, detail)
            .exit(if conflict { exit::CONFLICT } else { exit::FAILED })
            .help(format!("`kwq help {code}` tells more")));
    }
    match (context.out.format(), result.get("refs").and_then(Value::as_array)) {
        (Format::Json | Format::Ndjson, _) => context.out.data(&answer.text()),
        (Format::Quiet, Some(refs)) => {
            refs.iter().filter_map(Value::as_str).for_each(|reference| context.out.data(reference));
        }
        (Format::Quiet | Format::Table, _) => context.out.one(&result.to_string(), &VIEW),
    }
    Ok(())
}

/// Streams tasks. Returns what became of them.
async fn many(
    args: &SubmitArgs,
    mut source: Source,
    context: &Context,
    client: &Client,
) -> Result<Uploaded, Failure> {
    let template = template(args);
    let key = match &args.key {
        Some(key) => Key::Given(key.clone()),
        None => Key::Own(client.fresh_name()),
    };
    let job = args.job.as_deref().or_else(|| args.file.is_none().then_some("default"));
    let mut upload = Upload::new(client.clone(), job, key);
    let ids_only = context.out.format() == Format::Quiet;
    if ids_only {
        upload = upload.with_refs();
    }
    let bar = context.out.progress(source.total());
    while let Some(line) = source.next(args.each_line)? {
        let line = input::merged(line, &template).map_err(|what| {
            Failure::new("bad_json", format!("line {}: {what}", source.line_number()))
                .help("each line must be one JSON object; with --each-line any text")
        })?;
        let sent = upload.line(&line).await;
        sent.map_err(|error| interrupted(args, upload.sum(), error))?;
        upload.refs().iter().for_each(|reference| context.out.data(reference));
        bar.set_position(upload.sum().lines);
    }
    let sent = upload.finish().await.map(|_| ());
    sent.map_err(|error| interrupted(args, upload.sum(), error))?;
    bar.finish_and_clear();
    upload.refs().iter().for_each(|reference| context.out.data(reference));
    Ok(upload.sum().clone())
}

/// An upload that ended before its input: how far it came.
fn interrupted(args: &SubmitArgs, sum: &Uploaded, error: crate::client::Error) -> Failure {
    if sum.lines == 0 {
        return Failure::from(error);
    }
    let (lines, accepted) = (human::grouped(sum.lines), human::grouped(sum.accepted));
    let next = match &args.key {
        Some(_) => "repeat with this --key to go on",
        None => "go on behind them",
    };
    Failure::from(error)
        .help(format!("the first {lines} lines are durable ({accepted} tasks accepted); {next}"))
}

/// The body of the API, summed up over the chunks; `results` are the refusals, as in each of them.
fn tell(context: &Context, args: &SubmitArgs, sum: &Uploaded) {
    for error in sum.errors.iter().take(20) {
        let (line, code) = (text(error, "line"), text(error, "code"));
        context.out.note(&format!("line {line}: {code}: {}", text(error, "detail")));
    }
    if context.out.format() == Format::Quiet {
        return;
    }
    let mut body = Map::new();
    // Lines of a file may each name their job.
    let job = args.job.as_deref().or_else(|| args.file.is_none().then_some("default"));
    jobs::put(&mut body, "job", job);
    let counts = [
        ("accepted", sum.accepted),
        ("duplicates", sum.duplicates),
        ("rejected", sum.rejected),
        ("lines", sum.lines),
        ("chunks", sum.chunks),
    ];
    counts.iter().for_each(|(name, count)| jobs::put(&mut body, name, Some(*count)));
    jobs::put(&mut body, "closed", Some(args.close));
    jobs::put(&mut body, "results", Some(sum.errors.clone()));
    let body = Value::Object(body);
    context.out.one(&body.to_string(), &VIEW);
}

/// Members every task of the call gets unless it has them itself.
fn template(args: &SubmitArgs) -> Map<String, Value> {
    let mut task = Map::new();
    jobs::put(&mut task, "priority", args.priority);
    jobs::put_tags(&mut task, &args.tag);
    jobs::put(&mut task, "affinity", (!args.affinity.is_empty()).then(|| args.affinity.clone()));
    let delay = args.delay.and_then(|delay| u64::try_from(delay.as_millis()).ok());
    jobs::put(&mut task, "delayMs", delay);
    jobs::put(&mut task, "maxAttempts", args.max_attempts);
    jobs::put(&mut task, "timeoutSeconds", args.timeout_seconds);
    task
}

impl Range {
    /// Reads `A-B` or `A-B:STEP`.
    fn read(text: &str) -> Result<Self, Failure> {
        let wrong = || {
            Failure::usage(format!("`{text}` is no range"))
                .help("write --array A-B or A-B:STEP, e.g. 1-1000 or 0-100:5")
        };
        let (ends, step) = text.split_once(':').unwrap_or((text, "1"));
        let (from, to) = ends.split_once('-').ok_or_else(wrong)?;
        let number = |text: &str| text.parse::<u64>().map_err(|_| wrong());
        let range = Self { from: number(from)?, to: number(to)?, step: number(step)? };
        if range.from > range.to || range.step == 0 { Err(wrong()) } else { Ok(range) }
    }

    /// The first `count` numbers.
    fn first(count: u64) -> Self {
        // An empty range has its end before its begin.
        if count == 0 {
            Self { from: 1, to: 0, step: 1 }
        } else {
            Self { from: 0, to: count - 1, step: 1 }
        }
    }

    fn array(self, args: &SubmitArgs) -> Value {
        let mut array = Map::new();
        jobs::put(&mut array, "from", Some(self.from));
        jobs::put(&mut array, "to", Some(self.to));
        jobs::put(&mut array, "step", Some(self.step));
        jobs::put(&mut array, "id", args.id.clone());
        jobs::put(&mut array, "payloadTemplate", args.payload.clone());
        Value::Object(array)
    }
}

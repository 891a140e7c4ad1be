//! Submits: one task, an array, an NDJSON stream in chunks.

use crate::actor::request::SubmitOutcome;
use crate::api::answer::{self, Outcome};
use crate::api::call::{Call, Media, bad_query, too_slow};
use crate::api::context::ApiContext;
use crate::codec::json::{self, Element, Fields};
use crate::codec::wire::out::Out;
use crate::codec::wire::submit::{self as wire, Rules};
use crate::codec::wire::task_out::{self, SeedState};
use crate::model::id::Name;
use crate::model::job::JobChange;
use crate::model::limits;
use crate::model::reject::{Code, Reject};
use crate::model::task::TaskInput;
use crate::model::time::WallMs;
use futures_util::StreamExt;
use std::time::Duration;

const QUERY: &[&str] = &["lenient", "results", "onError"];
const JOB_QUERY: &[&str] = &["lenient", "results", "onError", "close"];

/// `POST /kwq/submit`.
pub(crate) async fn submit(context: &ApiContext, mut call: Call) -> Outcome {
    call.allow_query(QUERY)?;
    match call.media(true)? {
        Some(Media::Ndjson) => ndjson(context, call, None).await,
        Some(Media::Json) | None => {
            let text = call.json(context.config.limits.batch_body).await?;
            if json::first_byte(text.as_bytes()) == Some(b'[') {
                return batch(context, &call, &text, None).await;
            }
            if text.len() > context.config.limits.body {
                return Err(crate::api::call::too_large(context.config.limits.body));
            }
            one(context, &call, &text).await
        }
    }
}

/// `POST /kwq/jobs/{job}/tasks`.
pub(crate) async fn into_job(context: &ApiContext, mut call: Call, job: &str) -> Outcome {
    call.allow_query(JOB_QUERY)?;
    crate::codec::wire::field::check_text(
        job,
        "job",
        limits::NAME_BYTES_MAX,
        crate::codec::wire::field::Text::Name,
    )
    .map_err(|r| Reject::new(Code::BadRequest, r.detail))?;
    let job = Name::from(job);
    refuse_closed(context, &job).await?;
    if call.media(true)? == Some(Media::Ndjson) {
        return ndjson(context, call, Some(job)).await;
    }
    let text = call.json(context.config.limits.batch_body).await?;
    batch(context, &call, &text, Some(job)).await
}

/// A closed job refuses the whole call on the job route.
async fn refuse_closed(context: &ApiContext, job: &Name) -> Result<(), Reject> {
    match context.handle.job(job.clone()).await {
        Ok(view) if view.state != crate::model::job::JobState::Open => {
            let detail = format!("job {job} is closed and takes no more tasks");
            Err(Reject::new(Code::JobClosed, detail).hint("submit into a new job"))
        }
        Ok(_) => Ok(()),
        Err(reject) if reject.code == Code::JobNotFound => Ok(()),
        Err(reject) => Err(reject),
    }
}

fn rules(context: &ApiContext, lenient: bool) -> Rules {
    let payload_max = context.config.limits.payload;
    Rules { payload_max, lenient, now: context.handle.now().wall }
}

async fn one(context: &ApiContext, call: &Call, text: &str) -> Outcome {
    let fields = json::object(text)?;
    let task = wire::task(&fields, rules(context, call.lenient()?))?;
    let outcomes = context.handle.submit(vec![task], text.len()).await?;
    let none = || Err(Reject::new(Code::Internal, "the submit has no outcome"));
    let admitted = outcomes.into_iter().next().unwrap_or_else(none)?;
    let stored = context.handle.admitted_text(&admitted).await?;
    let (reference, spec) = (admitted.reference, stored.spec);
    let mut response = answer::written(200, |out| {
        let unset = WallMs(0);
        let stamps = [stored.submitted, unset, unset, unset];
        let state = SeedState { status: "SUBMITTED", stamps, ..SeedState::default() };
        task_out::seed(out, &reference, &spec, spec.priority.get(), state);
    });
    answer::header(&mut response, "kwq-ref", &reference.to_string());
    answer::header(&mut response, "kwq-outcome", "ok");
    answer::positions(&mut response, &context.handle.positions());
    Ok(response)
}

/// A parsed item: its id for the answer, and the task or what is wrong with it.
struct Item {
    id: Option<Name>,
    task: Result<TaskInput, Reject>,
}

fn item(fields: &Fields<'_>, rules: Rules, job: Option<&Name>) -> Item {
    let task = wire::task(fields, rules).and_then(|mut task| match (job, &task.job) {
        (Some(job), Some(named)) if job != named => {
            let detail = format!("the item names job {named}, the route job {job}");
            Err(Reject::field("groupId", detail))
        }
        _ => {
            if let Some(job) = job {
                task.job = Some(job.clone());
            }
            Ok(task)
        }
    });
    let shown = fields.get("id").and_then(|raw| raw.string().ok().flatten());
    Item { id: shown.map(|id| Name::from(id.as_ref())), task }
}

/// Submits the good items; outcomes in order.
async fn admit(
    context: &ApiContext,
    items: Vec<Item>,
    bytes: usize,
) -> Result<Vec<(Option<Name>, SubmitOutcome)>, Reject> {
    let mut tasks = Vec::with_capacity(items.len());
    let mut slots: Vec<(Option<Name>, Option<Reject>)> = Vec::with_capacity(items.len());
    for item in items {
        match item.task {
            Ok(task) => {
                tasks.push(task);
                slots.push((item.id, None));
            }
            Err(reject) => slots.push((item.id, Some(reject))),
        }
    }
    let mut admitted = context.handle.submit(tasks, bytes).await?.into_iter();
    let outcome = |(id, refused): (Option<Name>, Option<Reject>)| match refused {
        Some(reject) => (id, Err(reject)),
        None => {
            let none = || Err(Reject::new(Code::Internal, "the submit has no outcome"));
            (id, admitted.next().unwrap_or_else(none))
        }
    };
    Ok(slots.into_iter().map(outcome).collect())
}

async fn batch(context: &ApiContext, call: &Call, text: &str, job: Option<Name>) -> Outcome {
    let all = match call.query("results") {
        None | Some("all") => true,
        Some("errors") => false,
        Some(_) => return Err(bad_query("results", "all or errors")),
    };
    let rules = rules(context, call.lenient()?);
    let close = call.query_flag("close")?;
    let max = context.config.limits.batch_items;
    let mut items = Vec::new();
    if json::first_byte(text.as_bytes()) == Some(b'[') {
        for element in json::elements(text)? {
            if items.len() == max {
                let detail = format!("the array has more than {max} items");
                return Err(Reject::new(Code::TooManyItems, detail).hint("send NDJSON instead"));
            }
            items.push(match element? {
                Element::Object(fields) => item(&fields, rules, job.as_ref()),
                Element::Other(raw) => {
                    let detail = format!("an item must be an object, not {}", raw.kind());
                    Item { id: None, task: Err(Reject::new(Code::InvalidField, detail)) }
                }
            });
        }
    } else {
        items.push(item(&json::object(text)?, rules, job.as_ref()));
    }
    let outcomes = admit(context, items, text.len()).await?;
    let closed = close_job(context, job.as_ref(), close).await?;
    let accepted = outcomes.iter().filter(|(_, o)| o.is_ok()).count();
    let mut response = answer::written(200, |out| {
        out.open();
        out.opt_str("job", job.as_deref());
        out.count("accepted", accepted);
        out.count("duplicates", 0);
        out.count("rejected", outcomes.len() - accepted);
        out.flag("closed", closed);
        out.list("results");
        for (i, (id, outcome)) in (0u64..).zip(&outcomes) {
            if all || outcome.is_err() {
                wire::item(out, ("i", i), id.as_deref(), outcome);
            }
        }
        out.close_list();
        out.close();
    });
    answer::positions(&mut response, &context.handle.positions());
    Ok(response)
}

async fn close_job(context: &ApiContext, job: Option<&Name>, close: bool) -> Result<bool, Reject> {
    let (Some(job), true) = (job, close) else { return Ok(false) };
    let closed = context.handle.change_job(job.clone(), JobChange::Close).await;
    // The tasks are in, whatever became of the close.
    closed.map(|_| true).map_err(Reject::possibly_applied)
}

/// Totals of an NDJSON call.
#[derive(Default)]
struct Totals {
    accepted: usize,
    rejected: usize,
    lines: u64,
    chunks: usize,
    results: Vec<(u64, Option<Name>, SubmitOutcome)>,
}

/// One chunk under construction.
#[derive(Default)]
struct Chunk {
    items: Vec<(u64, Item)>,
    bytes: usize,
    lines: usize,
}

/// `onError=stop`, `results=all`.
fn modes(call: &Call) -> Result<(bool, bool), Reject> {
    let stop = match call.query("onError") {
        None | Some("skip") => false,
        Some("stop") => true,
        Some(_) => return Err(bad_query("onError", "skip or stop")),
    };
    match call.query("results") {
        None | Some("errors") => Ok((stop, false)),
        Some("all") => Ok((stop, true)),
        Some(_) => Err(bad_query("results", "all or errors")),
    }
}

async fn ndjson(context: &ApiContext, mut call: Call, job: Option<Name>) -> Outcome {
    let (stop, all) = modes(&call)?;
    let close = call.query_flag("close")?;
    let rules = rules(context, call.lenient()?);
    let line_max = context.config.limits.payload + limits::LINE_EXTRA_BYTES;
    let (mut totals, mut chunk, mut rest) = (Totals::default(), Chunk::default(), Vec::new());
    let limit = Duration::from_millis(call.body_ms);
    loop {
        let piece = tokio::time::timeout(limit, call.body.next()).await;
        let ended = match piece {
            Err(_) => return Ok(broken(&totals, too_slow())),
            Ok(None) => true,
            Ok(Some(Err(reason))) => {
                return Ok(broken(&totals, Reject::new(Code::BadRequest, reason)));
            }
            Ok(Some(Ok(piece))) => {
                rest.extend_from_slice(&piece);
                false
            }
        };
        for line in take_lines(&mut rest, ended) {
            totals.lines += 1;
            let full = chunk.lines == limits::BATCH_ITEMS
                || chunk.bytes + line.len() > limits::BATCH_BODY_BYTES;
            if full && let Err(reject) = flush(context, &mut chunk, &mut totals, all).await {
                return Ok(broken(&totals, reject));
            }
            chunk.lines += 1;
            chunk.bytes += line.len();
            let Some(item) = line_item(&line, line_max, rules, job.as_ref()) else { continue };
            if stop && let Err(reject) = &item.task {
                let reject = reject.clone();
                let at = totals.lines;
                if let Err(reject) = flush(context, &mut chunk, &mut totals, all).await {
                    return Ok(broken(&totals, reject));
                }
                return Ok(stopped(&totals, &reject, 422, at));
            }
            chunk.items.push((totals.lines, item));
        }
        if rest.len() > line_max {
            let detail = format!("a line has more than {line_max} B");
            return Ok(broken(&totals, Reject::new(Code::LineTooLarge, detail)));
        }
        if ended {
            break;
        }
    }
    if let Err(reject) = flush(context, &mut chunk, &mut totals, all).await {
        return Ok(broken(&totals, reject));
    }
    let closed = close_job(context, job.as_ref(), close).await?;
    Ok(answer::written(200, |out| {
        out.open();
        out.opt_str("job", job.as_deref());
        total_members(out, &totals);
        out.flag("closed", closed);
        out.list("results");
        for (line, id, outcome) in &totals.results {
            wire::item(out, ("line", *line), id.as_deref(), outcome);
        }
        out.close_list();
        out.close();
    }))
}

fn total_members(out: &mut Out, totals: &Totals) {
    out.count("accepted", totals.accepted);
    out.count("duplicates", 0);
    out.count("rejected", totals.rejected);
    out.num("lines", totals.lines);
    out.count("chunks", totals.chunks);
}

/// Whole lines of what has arrived; the rest stays.
fn take_lines(rest: &mut Vec<u8>, ended: bool) -> Vec<Vec<u8>> {
    let mut lines = Vec::new();
    let mut from = 0;
    while let Some(at) = rest.iter().skip(from).position(|b| *b == b'\n') {
        lines.push(rest.get(from..from + at).unwrap_or_default().to_vec());
        from += at + 1;
    }
    rest.drain(..from);
    if ended && !rest.is_empty() {
        lines.push(std::mem::take(rest));
    }
    for line in &mut lines {
        if line.last() == Some(&b'\r') {
            line.pop();
        }
    }
    lines
}

/// `None` for an empty line, which is counted and skipped.
fn line_item(line: &[u8], line_max: usize, rules: Rules, job: Option<&Name>) -> Option<Item> {
    if line.iter().all(u8::is_ascii_whitespace) {
        return None;
    }
    let refused = |reject| Some(Item { id: None, task: Err(reject) });
    if line.len() > line_max {
        let detail = format!("the line has more than {line_max} B");
        return refused(Reject::new(Code::LineTooLarge, detail));
    }
    match json::text(line).and_then(json::object) {
        Ok(fields) => Some(item(&fields, rules, job)),
        Err(reject) => refused(reject),
    }
}

/// Makes a chunk durable before it counts.
async fn flush(
    context: &ApiContext,
    chunk: &mut Chunk,
    totals: &mut Totals,
    all: bool,
) -> Result<(), Reject> {
    let chunk = std::mem::take(chunk);
    if chunk.items.is_empty() {
        return Ok(());
    }
    let (lines, items): (Vec<u64>, Vec<Item>) = chunk.items.into_iter().unzip();
    let outcomes = admit(context, items, chunk.bytes).await?;
    totals.chunks += 1;
    for (line, (id, outcome)) in lines.into_iter().zip(outcomes) {
        match &outcome {
            Ok(_) => totals.accepted += 1,
            Err(_) => totals.rejected += 1,
        }
        let listed = totals.results.len() < limits::LISTED_ERRORS_MAX;
        if all || (outcome.is_err() && listed) {
            totals.results.push((line, id, outcome));
        }
    }
    Ok(())
}

/// A failure in mid-stream: what is durable, and where to go on.
fn broken(totals: &Totals, reject: Reject) -> warp::reply::Response {
    let next = totals.accepted as u64 + totals.rejected as u64 + 1;
    let status = reject.code.status();
    stopped(totals, &reject, status, next)
}

fn stopped(totals: &Totals, reject: &Reject, status: u16, next: u64) -> warp::reply::Response {
    let mut response = answer::written(status, |out| {
        out.open();
        out.shown("type", format_args!("/docs/errors/{}", reject.code.word()));
        out.str("title", &reject.code.word().replace('_', " "));
        out.num("status", status);
        out.str("code", reject.code.word());
        out.str("detail", &reject.detail);
        out.opt_str("field", reject.field.as_deref());
        out.count("accepted", totals.accepted);
        out.num("nextLine", next);
        out.close();
    });
    answer::header(&mut response, "content-type", "application/problem+json");
    if let Some(ms) = reject.retry_after_ms {
        answer::header(&mut response, "retry-after", &ms.div_ceil(1_000).max(1).to_string());
    }
    response
}

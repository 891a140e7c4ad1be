//! The route table: hot calls first, then one match over method and path. warp carries the request
//! here; a path that is not
//! in the table is `no_route`, a method that is not is `method_not_allowed` with `Allow`.

use crate::api::answer::{self, Outcome};
use crate::api::call::{Call, path_parts, pieces, query_pairs};
use crate::api::context::ApiContext;
use crate::api::route_name::{method_name, template};
use crate::api::{assets, cluster, consume, jobs, seed, stats, submit, tasks, workers};
use crate::codec::wire::report::Kind;
use crate::model::reject::{Code, Reject};
use hyper::{HeaderMap, Method};
use std::time::Duration;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::Response;

/// Longest URI, bytes.
const URI_BYTES_MAX: usize = 4_096;

/// Path parts and query pairs, decoded.
type Address = (Vec<String>, Vec<(String, String)>);

/// Headers of a request.
const HEADERS_MAX: usize = 64;

/// The whole service.
pub(crate) fn service(context: ApiContext) -> BoxedFilter<(Response,)> {
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    warp::any()
        .and(warp::method())
        .and(warp::path::full())
        .and(query)
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .then(move |method: Method, path: warp::path::FullPath, query: String, headers, body| {
            let context = context.clone();
            let body = pieces(body);
            // Boxed: the futures of all handlers together would be a large frame on every
            // connection.
            Box::pin(async move {
                let path = path.as_str().to_owned();
                let named = (template(&path), method_name(&method));
                let started = context.handle.now().tick;
                let body_ms = context.config.http.body_ms;
                let answered = match check(&path, &query, &method, &headers) {
                    Err(reject) => Err(reject),
                    Ok((parts, query)) => {
                        let call = Call { method, parts, query, headers, body, body_ms };
                        within(&context, call).await
                    }
                };
                let response = finish(&path, answered);
                let took_ms = context.handle.now().tick.since(started);
                let code = response.status().as_u16();
                context.metrics.http_request(named.0, named.1, code, took_ms as f64 / 1_000.0);
                response
            })
        })
        .boxed()
}

fn check(path: &str, query: &str, method: &Method, headers: &HeaderMap) -> Result<Address, Reject> {
    if path.len() + query.len() > URI_BYTES_MAX {
        return Err(Reject::new(Code::UriTooLong, "the address has more than 4,096 B"));
    }
    if headers.len() > HEADERS_MAX {
        return Err(Reject::new(Code::HeadersTooLarge, "the request has more than 64 headers"));
    }
    if headers.get("sec-fetch-site").is_some_and(|v| v == "cross-site") {
        return Err(Reject::new(Code::CrossSite, "calls from other sites are refused"));
    }
    if method != Method::GET && method != Method::HEAD && headers.contains_key("idempotency-key") {
        let detail =
            "Idempotency-Key is not in this build yet; without it a repeat may double work";
        return Err(Reject::new(Code::NotSupported, detail).on("Idempotency-Key"));
    }
    Ok((path_parts(path)?, query_pairs(query)?))
}

/// Holds `Kwq-Timeout-Ms` where it was sent.
async fn within(context: &ApiContext, call: Call) -> Outcome {
    let Some(text) = call.header("kwq-timeout-ms") else { return dispatch(context, call).await };
    let wanted =
        || Reject::new(Code::BadRequest, "Kwq-Timeout-Ms must be 1..60000").on("Kwq-Timeout-Ms");
    let ms = text.parse::<u64>().ok().filter(|n| (1..=60_000).contains(n)).ok_or_else(wanted)?;
    tokio::time::timeout(Duration::from_millis(ms), dispatch(context, call)).await.unwrap_or_else(
        |_| {
            let detail = "the call did not finish within Kwq-Timeout-Ms; its outcome is unknown";
            Err(Reject::new(Code::Overloaded, detail))
        },
    )
}

fn finish(path: &str, answered: Outcome) -> Response {
    let mut response = answered.unwrap_or_else(|reject| answer::problem(&reject));
    if path.starts_with("/kwq") || path == "/metrics" {
        answer::no_store(&mut response);
    }
    response
}

async fn dispatch(context: &ApiContext, mut call: Call) -> Outcome {
    let owned = std::mem::take(&mut call.parts);
    let parts: Vec<&str> = owned.iter().map(String::as_str).collect();
    let post = call.method == Method::POST;
    match parts.as_slice() {
        ["kwq", "consume"] if post => consume::consume(context, call).await,
        ["kwq", "complete"] if post => consume::report(context, call, Kind::Complete).await,
        ["kwq", "submit"] if post => submit::submit(context, call).await,
        ["kwq", "heartbeat"] if post => consume::heartbeat(context, call).await,
        ["kwq", "start"] if post => consume::report(context, call, Kind::Start).await,
        ["kwq", "fail"] if post => consume::report(context, call, Kind::Fail).await,
        ["kwq", "release"] if post => consume::report(context, call, Kind::Release).await,
        ["kwq", "jobs", job, "tasks"] if post => submit::into_job(context, call, job).await,
        ["kwq", rest @ ..] => engine(context, call, rest).await,
        rest => outside(context, call, rest).await,
    }
}

async fn engine(context: &ApiContext, call: Call, parts: &[&str]) -> Outcome {
    let method = call.method.clone();
    let (get, post) = (method == Method::GET, method == Method::POST);
    let patch = method == Method::PATCH;
    let delete = method == Method::DELETE;
    match parts {
        [] | [""] if get => cluster::root(context, &call),
        ["jobs"] if post => jobs::create(context, call).await,
        ["jobs"] if get => jobs::list(context, &call).await,
        ["jobs", job] if get => jobs::get(context, &call, job).await,
        ["jobs", job] if patch => jobs::patch(context, call, job).await,
        ["jobs", job, "wait"] if get => jobs::wait(context, &call, job).await,
        ["jobs", job, verb @ ("close" | "pause" | "resume" | "cancel")] if post => {
            jobs::verb(context, call, job, verb).await
        }
        ["workers"] if post => workers::register(context, call).await,
        ["workers"] if get => workers::list(context, &call).await,
        ["workers", worker] if get => workers::get(context, &call, worker).await,
        ["workers", worker] if delete => workers::delete(context, &call, worker).await,
        ["workers", worker, "drain"] if post => workers::drain(context, call, worker).await,
        ["tasks"] if get => tasks::list(context, &call, false).await,
        ["dlq"] if get => tasks::list(context, &call, true).await,
        ["tasks", task] if get => tasks::get(context, &call, task).await,
        ["tasks", task, what @ ("payload" | "result")] if get => {
            tasks::bytes(context, &call, task, what).await
        }
        ["tasks", task, verb @ ("cancel" | "retry")] if post => {
            tasks::verb(context, call, task, verb).await
        }
        ["queues"] if get => stats::queues(context, &call).await,
        ["queues", level, verb @ ("pause" | "resume")] if post => {
            stats::set_level(context, call, level, verb).await
        }
        ["stats"] if get => stats::seed(context, &call).await,
        ["stats", "now"] if get => stats::now(context, &call).await,
        ["consume", worker, endpoint, wait] if get => {
            seed::consume(context, &call, worker, endpoint, wait).await
        }
        ["updateTask"] if post => seed::update_task(context, call).await,
        ["simulate", _, _, _] if get => {
            Err(Reject::new(Code::SimulatorDisabled, "the simulator is not in this build yet"))
        }
        rest => admin(context, call, rest).await,
    }
}

async fn admin(context: &ApiContext, call: Call, parts: &[&str]) -> Outcome {
    let (get, post) = (call.method == Method::GET, call.method == Method::POST);
    let get_or_head = get || call.method == Method::HEAD;
    match parts {
        ["cluster"] if get => cluster::cluster(context, &call).await,
        ["me"] if get => cluster::me(&call),
        ["health", "live"] if get_or_head => Ok(cluster::live(context)),
        ["health", "ready"] if get_or_head => Ok(cluster::ready(context)),
        ["admin", "image"] if post => cluster::image(context, call).await,
        ["admin", "state-hash"] if get => cluster::state_hash(context, &call).await,
        rest => Err(missing(&call.method, allowed(rest))),
    }
}

async fn outside(context: &ApiContext, call: Call, parts: &[&str]) -> Outcome {
    let get = call.method == Method::GET;
    let get_or_head = get || call.method == Method::HEAD;
    match parts {
        ["livez"] if get_or_head => Ok(cluster::live(context)),
        ["readyz"] if get_or_head => Ok(cluster::ready(context)),
        ["metrics"] if get => Ok(cluster::metrics(context)),
        [""] | ["ui"] | ["ui", ""] if get_or_head => Ok(assets::redirect("/ui/index.html")),
        ["ui", path @ ..] if get_or_head => assets::ui(&call, &path.join("/")),
        ["docs", "errors", code] if get_or_head => assets::error_page(code),
        rest => {
            let known: &'static str = match rest {
                ["livez" | "readyz"] | [""] | ["ui", ..] | ["docs", "errors", _] => "GET, HEAD",
                ["metrics"] => "GET",
                _ => "",
            };
            Err(missing(&call.method, known))
        }
    }
}

/// Methods of a path under `/kwq`, empty when there is no such path.
fn allowed(parts: &[&str]) -> &'static str {
    match parts {
        []
        | [""]
        | ["cluster" | "me" | "stats" | "dlq" | "tasks" | "queues"]
        | ["stats", "now"]
        | ["admin", "state-hash"]
        | ["tasks", _]
        | ["tasks", _, "payload" | "result"]
        | ["jobs", _, "wait"]
        | ["simulate", _, _, _]
        | ["consume", _, _, _] => "GET",
        ["health", "live" | "ready"] => "GET, HEAD",
        ["jobs" | "workers"] => "GET, POST",
        ["jobs", _] => "GET, PATCH",
        ["workers", _] => "GET, DELETE",
        ["submit" | "consume" | "start" | "complete" | "fail" | "release" | "heartbeat"]
        | ["updateTask"]
        | ["admin", "image"]
        | ["workers", _, "drain"]
        | ["jobs", _, "tasks" | "close" | "pause" | "resume" | "cancel"]
        | ["tasks", _, "cancel" | "retry"]
        | ["queues", _, "pause" | "resume"] => "POST",
        _ => "",
    }
}

fn missing(method: &Method, allow: &'static str) -> Reject {
    if allow.is_empty() {
        return Reject::new(Code::NoRoute, "there is no such route")
            .hint("the routes are listed in docs/api.md");
    }
    let detail = format!("{method} is not allowed here; allowed: {allow}");
    Reject::new(Code::MethodNotAllowed, detail).hint(allow)
}

//! Names of routes for metrics: the template of the table, never the path a client chose.

use hyper::Method;

/// The template of a path; `other` for what is not in the table.
pub(crate) fn template(path: &str) -> &'static str {
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    match parts.as_slice() {
        ["kwq"] => "/kwq",
        ["kwq", "consume"] => "/kwq/consume",
        ["kwq", "submit"] => "/kwq/submit",
        ["kwq", "complete"] => "/kwq/complete",
        ["kwq", "start"] => "/kwq/start",
        ["kwq", "fail"] => "/kwq/fail",
        ["kwq", "release"] => "/kwq/release",
        ["kwq", "heartbeat"] => "/kwq/heartbeat",
        ["kwq", "updateTask"] => "/kwq/updateTask",
        ["kwq", "consume", _, _, _] => "/kwq/consume/{worker}/{endpoint}/{wait}",
        ["kwq", "jobs"] => "/kwq/jobs",
        ["kwq", "jobs", _] => "/kwq/jobs/{job}",
        ["kwq", "jobs", _, "tasks"] => "/kwq/jobs/{job}/tasks",
        ["kwq", "jobs", _, "wait"] => "/kwq/jobs/{job}/wait",
        ["kwq", "jobs", _, _] => "/kwq/jobs/{job}/{verb}",
        ["kwq", "tasks"] => "/kwq/tasks",
        ["kwq", "dlq"] => "/kwq/dlq",
        ["kwq", "tasks", _] => "/kwq/tasks/{task}",
        ["kwq", "tasks", _, _] => "/kwq/tasks/{task}/{verb}",
        ["kwq", "workers"] => "/kwq/workers",
        ["kwq", "workers", ..] => "/kwq/workers/{worker}",
        ["kwq", "queues", ..] => "/kwq/queues",
        ["kwq", "stats", ..] => "/kwq/stats",
        ["kwq", "health", _] | ["livez" | "readyz"] => "/kwq/health",
        ["kwq", "cluster"] => "/kwq/cluster",
        ["kwq", "me"] => "/kwq/me",
        ["kwq", "admin", _] => "/kwq/admin",
        ["metrics"] => "/metrics",
        ["ui", ..] => "/ui",
        ["docs", ..] => "/docs/errors",
        _ => "other",
    }
}

/// A method of the table; `other` for the rest.
pub(crate) fn method_name(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "HEAD" => "HEAD",
        _ => "other",
    }
}

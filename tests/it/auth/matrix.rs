//! Every route under every role. The list below is written from the text of the contract; the
//! OpenAPI document, which is made from the table in the code, must say the same, so a route that
//! is in neither place cannot be.

use super::kit::{Guarded, ROLES, Ring};
use crate::support::{Req, shared};

/// Method, path, roles: `api.md` 3.
const CONTRACT: &[(&str, &str, &str)] = &[
    ("POST", "/kwq/submit", "submit"),
    ("POST", "/kwq/jobs", "submit"),
    ("GET", "/kwq/jobs", "view"),
    ("GET", "/kwq/jobs/{job}", "view"),
    ("PATCH", "/kwq/jobs/{job}", "operate"),
    ("POST", "/kwq/jobs/{job}/tasks", "submit"),
    ("POST", "/kwq/jobs/{job}/close", "submit or operate"),
    ("POST", "/kwq/jobs/{job}/pause", "operate"),
    ("POST", "/kwq/jobs/{job}/resume", "operate"),
    ("POST", "/kwq/jobs/{job}/cancel", "operate"),
    ("GET", "/kwq/jobs/{job}/wait", "view"),
    ("GET", "/kwq/jobs/{job}/breakdown", "view"),
    ("GET", "/kwq/jobs/{job}/results", "payload"),
    ("GET", "/kwq/jobs/{job}/events", "view"),
    ("POST", "/kwq/jobs/{job}/retry", "operate"),
    ("DELETE", "/kwq/jobs/{job}", "admin"),
    ("POST", "/kwq/consume", "work"),
    ("POST", "/kwq/start", "work"),
    ("POST", "/kwq/complete", "work"),
    ("POST", "/kwq/fail", "work"),
    ("POST", "/kwq/release", "work"),
    ("POST", "/kwq/heartbeat", "work"),
    ("POST", "/kwq/workers", "work"),
    ("GET", "/kwq/workers", "view"),
    ("GET", "/kwq/workers/{worker}", "view"),
    ("POST", "/kwq/workers/{worker}/drain", "operate"),
    ("DELETE", "/kwq/workers/{worker}", "work or operate"),
    ("GET", "/kwq/tasks", "view"),
    ("GET", "/kwq/tasks/{task}", "view"),
    ("GET", "/kwq/tasks/{task}/explain", "view"),
    ("GET", "/kwq/tasks/{task}/payload", "payload"),
    ("GET", "/kwq/tasks/{task}/result", "payload"),
    ("POST", "/kwq/tasks/{task}/cancel", "operate"),
    ("POST", "/kwq/tasks/{task}/retry", "operate"),
    ("GET", "/kwq/dlq", "view"),
    ("POST", "/kwq/dlq/redrive", "operate"),
    ("POST", "/kwq/dlq/purge", "admin"),
    ("GET", "/kwq/operations", "view"),
    ("GET", "/kwq/operations/{op}", "view"),
    ("DELETE", "/kwq/operations/{op}", "operate"),
    ("GET", "/kwq/queues", "view"),
    ("POST", "/kwq/queues/{p}/pause", "operate"),
    ("POST", "/kwq/queues/{p}/resume", "operate"),
    ("GET", "/kwq/stats", "view"),
    ("GET", "/kwq/stats/now", "view"),
    ("GET", "/kwq/stats/tags", "view"),
    ("GET", "/kwq/stats/series", "view"),
    ("GET", "/kwq/events", "view"),
    ("GET", "/kwq/cluster", "view"),
    ("GET", "/kwq", "any"),
    ("GET", "/kwq/me", "any"),
    ("GET", "/kwq/audit", "admin"),
    ("GET", "/kwq/admin/state-hash", "admin"),
    ("POST", "/kwq/admin/image", "admin"),
    ("GET", "/kwq/consume/{workerAddress}/{workerEndpoint}/{waitSec}", "work"),
    ("POST", "/kwq/updateTask", "work"),
    ("GET", "/kwq/simulate/{numberOfTasks}/{durationSeconds}/{numberOfWorkers}", "admin"),
    ("POST", "/kwq/simulations", "admin"),
    ("GET", "/kwq/simulations/{id}", "admin"),
    ("DELETE", "/kwq/simulations/{id}", "admin"),
    ("GET", "/kwq/health/live", "none"),
    ("GET", "/kwq/health/ready", "none"),
    ("GET", "/livez", "none"),
    ("GET", "/readyz", "none"),
    ("GET", "/metrics", "view"),
    ("GET", "/", "none"),
    ("GET", "/ui", "none"),
    ("GET", "/ui/*", "none"),
    ("GET", "/docs/errors/{code}", "none"),
    ("GET", "/openapi.json", "none"),
    ("GET", "/openapi.yaml", "none"),
    ("GET", "/swagger", "none"),
    ("GET", "/swagger/*", "none"),
];

/// Operations of the OpenAPI document: method, path, roles, whether tokens with scopes may.
fn rows() -> Vec<(String, String, String, bool)> {
    let document = shared().get("/openapi.json").ok();
    let mut rows = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("a path item") {
            let roles = operation["x-kwq-role"].as_str().expect("a role").to_owned();
            let path = path.replace("{path}", "*");
            let scoped = operation["x-kwq-scoped"] != false;
            rows.push((method.to_ascii_uppercase(), path, roles, scoped));
        }
    }
    rows
}

/// A path that fits the template.
fn example(pattern: &str) -> String {
    let part = |part: &str| match part {
        "{p}" => "all".to_owned(),
        "{code}" => "bad_json".to_owned(),
        "{waitSec}" | "{numberOfTasks}" | "{durationSeconds}" | "{numberOfWorkers}" => {
            "1".to_owned()
        }
        "*" => "index.html".to_owned(),
        part if part.starts_with('{') => "x1".to_owned(),
        part => part.to_owned(),
    };
    pattern.split('/').map(part).collect::<Vec<_>>().join("/")
}

fn request(method: &str, pattern: &str) -> Req {
    let req = Req::new(method, &example(pattern));
    // Only a refusal of this one has an end.
    let req = if pattern == "/kwq/events" { req.header("Last-Event-ID", "none") } else { req };
    if method == "GET" { req } else { req.json(&serde_json::json!({})) }
}

/// One token a role, one without any, one of every role for some jobs only.
fn guarded() -> Guarded {
    let ring = ROLES.iter().fold(Ring::new(), |ring, role| ring.add(role, &[role], &[]));
    let ring = ring.add_edited("bare", |line| line["roles"] = serde_json::json!([]));
    Guarded::start(ring.add("scoped", &ROLES, &["--scope", "mine-"]))
}

#[test]
fn the_table_in_the_code_says_what_the_contract_says() {
    let mut code: Vec<_> = rows().into_iter().map(|(m, p, roles, _)| (m, p, roles)).collect();
    let owned = |(m, p, roles): &(&str, &str, &str)| {
        ((*m).to_owned(), (*p).to_owned(), (*roles).to_owned())
    };
    let mut contract: Vec<_> = CONTRACT.iter().map(owned).collect();
    code.sort();
    contract.sort();
    assert_eq!(code, contract);
}

#[test]
fn every_route_lets_in_its_roles_and_no_other() {
    let guarded = guarded();
    for (method, pattern, roles) in CONTRACT {
        for role in ROLES.iter().chain(&["bare"]) {
            let answer = guarded.call(role, request(method, pattern));
            let may = matches!(*roles, "any" | "none") || roles.split(" or ").any(|r| r == *role);
            if may {
                let status = answer.status;
                assert!(![401, 403, 429].contains(&status), "{role} {method} {pattern}: {status}");
                assert!(status < 500, "{role} {method} {pattern}: {status}");
            } else {
                answer.refused(403, "forbidden");
            }
        }
    }
}

#[test]
fn without_a_token_only_open_routes_answer_and_a_wrong_one_opens_nothing() {
    let guarded = guarded();
    for (method, pattern, roles) in CONTRACT {
        let answer = guarded.server.call(&request(method, pattern));
        if *roles == "none" {
            assert!(answer.status < 400, "{method} {pattern}: {}", answer.status);
            continue;
        }
        answer.refused(401, "unauthorized");
        assert_eq!(answer.header("WWW-Authenticate"), Some("Bearer"), "{method} {pattern}");
    }
    // Fewer wrong ones than hold an address.
    for (method, pattern, _) in CONTRACT.iter().filter(|row| row.2 != "none").take(40) {
        let req = super::kit::bearer(request(method, pattern), "kwq_wrong");
        guarded.server.call(&req).refused(401, "unauthorized");
    }
}

#[test]
fn nothing_is_read_of_the_body_of_a_caller_who_may_not() {
    let guarded = guarded();
    // A body that would be refused by itself, and one whose rest never comes.
    let req = Req::new("POST", "/kwq/submit").text("application/json", "{broken");
    guarded.call("view", req).refused(403, "forbidden");
    let head = "POST /kwq/submit HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                Content-Length: 1000\r\n\r\n{";
    let answer = guarded.server.raw(head.as_bytes()).expect("an answer before the body");
    answer.refused(401, "unauthorized");
}

#[test]
fn other_jobs_and_tasks_do_not_exist_for_a_token_with_scopes_and_what_is_for_all_is_forbidden() {
    let guarded = guarded();
    for (method, pattern, _, scoped) in rows() {
        let answer = guarded.call("scoped", request(&method, &pattern));
        if !scoped {
            answer.refused(403, "forbidden");
        } else if pattern.contains("{job}") {
            answer.refused(404, "job_not_found");
        } else if pattern.contains("{task}") {
            answer.refused(404, "task_not_found");
        } else {
            assert!(![401, 403].contains(&answer.status), "{method} {pattern}: {}", answer.status);
        }
    }
}

#[test]
fn payloads_and_results_inside_a_task_need_their_own_role() {
    let ring = Ring::new().add("all", &ROLES, &[]).add("view", &["view"], &[]);
    let guarded = Guarded::start(ring.add("both", &["view", "payload"], &[]));
    let task = serde_json::json!({"id": "secret-1", "groupId": "p", "payload": "positions"});
    guarded.post("all", "/kwq/submit", &task).ok();
    for query in ["payload=true", "result=true", "payload=true&result=true"] {
        let path = format!("/kwq/tasks/secret-1?{query}");
        guarded.get("view", &path).refused(403, "forbidden");
        guarded.get("both", &path).ok();
    }
    let shown = guarded.get("view", "/kwq/tasks/secret-1?payload=false").ok();
    assert!(shown.get("payload").is_none(), "{shown}");
    assert_eq!(
        guarded.get("both", "/kwq/tasks/secret-1?payload=true").ok()["payload"],
        "positions"
    );
}

#[test]
fn a_worker_may_say_good_bye_but_not_take_tasks_away() {
    let guarded = guarded();
    let job = serde_json::json!({"groupId": "w", "payload": "p"});
    guarded.post("submit", "/kwq/submit", &job).ok();
    let ask = serde_json::json!({"worker": "w1", "waitMs": 0});
    let task = guarded.post("work", "/kwq/consume", &ask).ok()["tasks"][0].clone();
    let good_bye = || Req::new("DELETE", "/kwq/workers/w1");
    guarded.call("work", good_bye()).refused(403, "forbidden");
    let done = serde_json::json!({"lease": task["lease"]});
    guarded.post("work", "/kwq/complete", &done).ok();
    assert_eq!(guarded.call("work", good_bye()).ok()["released"], 0);
    let again = serde_json::json!({"groupId": "w", "payload": "p"});
    guarded.post("submit", "/kwq/submit", &again).ok();
    guarded.post("work", "/kwq/consume", &ask).ok();
    assert_eq!(guarded.call("operate", good_bye()).ok()["released"], 1);
}

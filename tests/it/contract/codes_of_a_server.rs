//! `api.md` 1.2, the error codes that need a server of their own: tokens, limits, a full disk, an
//! end. See `codes.rs` for the others.

use serde_json::{Value, json};

use super::codes::{refused, wait};
use crate::support::{Conn, Folder, Req, Server, eventually, kwq_lines, text};

/// A server with one token of these roles and scopes; gives its secret too.
fn guarded(more: &[&str]) -> (Server, Folder, String) {
    let dir = Folder::new("kwq-codes");
    let args = ["token", "create", "--name", "one", "--role", "view", "--role", "submit"];
    let args: Vec<&str> = args.iter().chain(more).copied().collect();
    let made = kwq_lines(dir.path(), &args).remove(0);
    let file = dir.path().join("tokens.jsonl");
    std::fs::write(&file, format!("{}\n", made["line"])).expect("writes");
    let server = Server::start(&[&format!("auth.tokens-file={}", file.display())]);
    (server, dir, text(&made, "token").to_owned())
}

fn with(req: Req, token: &str) -> Req {
    req.header("Authorization", &format!("Bearer {token}"))
}

#[test]
fn unauthorized() {
    let (server, _dir, token) = guarded(&[]);
    refused(&server.get("/kwq/jobs"), 401, "unauthorized");
    // "any" still needs a valid token where tokens are configured (15).
    refused(&server.get("/kwq/me"), 401, "unauthorized");
    let wrong = with(Req::new("GET", "/kwq/jobs"), "wrong");
    refused(&server.call(&wrong), 401, "unauthorized");
    server.call(&with(Req::new("GET", "/kwq/jobs"), &token)).expect(200);
}

#[test]
fn forbidden() {
    let (server, _dir, token) = guarded(&["--scope", "mine-"]);
    let ask = Req::new("POST", "/kwq/consume").json(&json!({"worker": "w", "waitMs": 0}));
    refused(&server.call(&with(ask, &token)), 403, "forbidden");
    let job =
        |id: &str| with(Req::new("POST", "/kwq/submit").json(&json!({"groupId": id})), &token);
    let reference = server.call(&job("mine-1"));
    let reference = reference.expect(200).header("Kwq-Ref").expect("a reference");
    let path = format!("/kwq/tasks/{reference}?payload=true");
    refused(&server.call(&with(Req::new("GET", &path), &token)), 403, "forbidden");
    refused(&server.call(&job("other-1")), 404, "job_not_found");
}

// With it the one share that can be used up from outside: simulations at a time.
#[test]
fn simulation_not_found_and_quota() {
    let server = Server::start(&["simulator.enabled=true"]);
    refused(&server.get("/kwq/simulations/sim-999"), 404, "simulation_not_found");
    refused(&server.delete("/kwq/simulations/sim-999"), 404, "simulation_not_found");
    let plan = json!({"tasks": 1, "durationMs": {"mean": 60_000}});
    let mut answers = (0..100).map(|_| server.post("/kwq/simulations", &plan));
    wait(&answers.find(|answer| answer.status != 202).expect("a share"), 429, "quota");
}

#[test]
fn request_timeout() {
    let server = Server::start(&["http.body=1s"]);
    let mut conn = Conn::open(server.addr()).expect("connects");
    let head = "POST /kwq/complete HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                Content-Length: 9\r\n\r\n{";
    conn.send(head.as_bytes()).expect("sends");
    refused(&conn.answer(false).expect("an answer"), 408, "request_timeout");
}

#[test]
fn auth_rate() {
    let (server, _dir, token) = guarded(&[]);
    let guess = || server.call(&with(Req::new("GET", "/kwq/jobs"), "guess"));
    let refusal = (0..200).map(|_| guess()).find(|answer| answer.status != 401);
    wait(&refusal.expect("50 a minute"), 429, "auth_rate");
    // Valid tokens still pass (15).
    server.call(&with(Req::new("GET", "/kwq/jobs"), &token)).expect(200);
}

// The bound on memory is the one way to it that a test can hold still.
#[test]
fn overloaded() {
    let server = Server::start(&["memory.limit=64MiB"]);
    let items = Value::Array(vec![json!({"payload": "x".repeat(250_000)}); 40]);
    let refusal = eventually("memory is tight", || {
        Some(server.post("/kwq/jobs/g/tasks", &items)).filter(|a| a.status != 200)
    });
    wait(&refusal, 503, "overloaded");
    server.get("/kwq/jobs").expect(200);
}

// promises.md 9. The drain waits for the body that is on its way, so there is a call to refuse.
#[test]
fn draining() {
    let mut server = Server::start(&["drain.timeout=60s"]);
    let mut slow = Conn::open(server.addr()).expect("connects");
    let head = "POST /kwq/submit HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                Content-Length: 2\r\n\r\n{";
    slow.send(head.as_bytes()).expect("sends");
    let submit = Req::new("POST", "/kwq/submit").json(&json!({"groupId": "g"}));
    server.call(&submit).expect(200);
    server.signal_term();
    eventually("it drains", || {
        let served = server.try_call(&submit).is_ok_and(|answer| answer.status == 200);
        (!served).then_some(())
    });
    slow.send(b"}").expect("sends");
    wait(&slow.answer(false).expect("an answer"), 503, "draining");
    server.kill();
}

#[test]
fn disk_full() {
    let server = Server::start(&["log.disk-reserve=1000000GiB", "simulator.enabled=true"]);
    let submit = || server.post("/kwq/submit", &json!({"groupId": "g"}));
    let refusal = eventually("the disk is full", || Some(submit()).filter(|a| a.status != 200));
    wait(&refusal, 507, "disk_full");
    // A simulation is one as well.
    wait(&server.post("/kwq/simulations", &json!({"tasks": 5})), 507, "disk_full");
    wait(&server.get("/kwq/simulate/5/0/1"), 507, "disk_full");
    // Submits only.
    server.post("/kwq/consume", &json!({"worker": "w", "waitMs": 0})).expect(204);
    // Each is counted, and who only asks whether they are taken is none of them.
    let counted = || {
        let page = server.get("/metrics").text();
        let series = "kwq_shed_total{class=\"submit\",reason=\"disk\"} ";
        let line = page.lines().find_map(|line| line.strip_prefix(series)).expect("the series");
        line.parse::<u64>().expect("a count")
    };
    let before = counted();
    assert!(before > 0);
    submit().expect(507);
    server.get("/kwq/health/ready").expect(200);
    assert_eq!(counted(), before + 1);
}

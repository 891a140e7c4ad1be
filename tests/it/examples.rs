//! The workers of `examples/`, as a user would start them: curl and shell, Python alone.

use serde_json::{Value, json};
use std::process::{Child, Command, Stdio};

use crate::support::{Folder, Req, Server, eventually, int, kwq_lines, signal, text, unique};

/// A worker that is not left behind by a test that fails.
struct Worker(Child);

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn started(server: &Server, command: &mut Command) -> Worker {
    let root = env!("CARGO_MANIFEST_DIR");
    let command = command.current_dir(root).env("KWQ", format!("http://{}", server.addr()));
    let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Worker(command.spawn().expect("the interpreter is installed"))
}

/// Gives it tasks, waits for their results, tells it to leave.
fn works(server: &Server, mut worker: Worker, result: impl Fn(i64) -> Value) {
    let job = unique("example");
    let tasks: Vec<Value> = (0..5).map(|n| json!({"payload": format!("task {n}")})).collect();
    let refs = server.add(&job, &Value::Array(tasks));
    eventually("all are completed", || {
        (int(&server.job(&job)["counts"], "COMPLETED") == 5).then_some(())
    });
    for (reference, n) in refs.iter().zip(0..) {
        let task = server.get(&format!("/kwq/tasks/{reference}?result=true")).ok();
        let shown = match text(&task, "resultEncoding") {
            "base64" => json!(server.get(&format!("/kwq/tasks/{reference}/result")).text()),
            _ => task["result"].clone(),
        };
        assert_eq!(shown, result(n), "{task}");
        assert_eq!(int(&task, "attempt"), 1);
    }
    signal(worker.0.id(), "TERM");
    eventually("it has left", || worker.0.try_wait().expect("our own child"));
    let workers = server.get("/kwq/workers").ok();
    assert_eq!(workers.as_array().map(Vec::len), Some(0), "{workers}");
}

fn lines(file: &str) -> usize {
    let path = format!("{}/examples/{file}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).expect("it is there").lines().count()
}

/// The shell worker around a command.
fn shell(command: &str) -> Command {
    let mut worker = Command::new("sh");
    worker.args(["examples/worker.sh", "sh", "-c", command]);
    worker
}

/// The Python worker with this in its `work`.
fn python(server: &Server, work: &str) -> Command {
    let path = format!("{}/examples/worker.py", env!("CARGO_MANIFEST_DIR"));
    let own = "    return {\"length\": len(payload if isinstance(payload, str) else \
               json.dumps(payload))}\n";
    let text = std::fs::read_to_string(path).expect("it is there");
    assert!(text.contains(own), "the place for the own work");
    let file = server.dir().join("worker.py");
    std::fs::write(&file, text.replace(own, &format!("    {work}\n"))).expect("a file");
    let mut worker = Command::new("python3");
    worker.arg(file);
    worker
}

fn leaves(worker: &mut Worker) {
    let left = eventually("it has left", || worker.0.try_wait().expect("our own child"));
    assert!(left.success(), "{left}");
}

/// SIGTERM in the middle of a task that fails: its failure is told all the same.
fn fails_at_sigterm(server: &Server, mut worker: Worker, class: &str) {
    let job = unique("failing");
    let task = server.add(&job, &json!([{"payload": "x", "maxAttempts": 1}])).remove(0);
    eventually("it runs", || (server.state(&task) == "RUNNING").then_some(()));
    signal(worker.0.id(), "TERM");
    leaves(&mut worker);
    let task = server.task(&task);
    assert_eq!((text(&task, "state"), int(&task, "errors")), ("ERROR", 1), "{task}");
    assert_eq!(text(&task["error"], "class"), class, "{task}");
}

/// A drained worker reports what it holds and goes.
fn obeys_drain(server: &Server, mut worker: Worker) {
    let job = unique("drained");
    let task = server.add(&job, &json!([{"payload": "x"}])).remove(0);
    let name = eventually("it works", || {
        let held = server.get("/kwq/workers?state=ACTIVE").ok();
        held.as_array().and_then(|list| list.first().map(|w| text(w, "worker").to_owned()))
    });
    eventually("it runs", || (server.state(&task) != "PENDING").then_some(()));
    server.post(&format!("/kwq/workers/{name}/drain"), &json!({})).ok();
    leaves(&mut worker);
    assert_eq!(server.state(&task), "COMPLETED");
}

/// A server that wants tokens, and one with these roles.
fn guarded(roles: &[&str]) -> (Server, String) {
    let dir = Folder::new("kwq-example-token");
    let mut args = vec!["token", "create", "--name", "w"];
    roles.iter().for_each(|role| args.extend(["--role", role]));
    let made = kwq_lines(dir.path(), &args).remove(0);
    let file = dir.path().join("tokens.jsonl");
    std::fs::write(&file, format!("{}\n", made["line"])).expect("a file");
    let server = Server::start(&[&format!("auth.tokens-file={}", file.display())]);
    (server, text(&made, "token").to_owned())
}

fn works_with_a_token(example: impl Fn(&Server) -> Command) {
    let (server, token) = guarded(&["submit", "work", "payload", "view"]);
    let call = |req: Req| server.call(&req.header("Authorization", &format!("Bearer {token}")));
    call(Req::new("POST", "/kwq/jobs/t/tasks").json(&json!([{"id": "t", "payload": "x"}]))).ok();
    let _worker = started(&server, example(&server).env("KWQ_TOKEN", &token));
    eventually("it is completed", || {
        let task = call(Req::new("GET", "/kwq/tasks/t?job=t")).ok();
        (task["state"] == "COMPLETED").then_some(())
    });
}

/// Nobody who renews a lease outlives the worker it is of.
#[test]
fn a_killed_worker_in_shell_lets_its_task_go() {
    let server = Server::start(&["lease.default=3s"]);
    let mut worker = started(&server, &mut shell("sleep 2; cat"));
    let task = server.add("orphan", &json!([{"payload": "x"}])).remove(0);
    eventually("it runs", || (server.state(&task) == "RUNNING").then_some(()));
    worker.0.kill().expect("our own child");
    worker.0.wait().expect("our own child");
    let held = server.take("other", "orphan");
    assert_eq!((text(&held, "ref"), int(&held, "crashes")), (task.as_str(), 1));
}

#[test]
fn a_result_too_large_of_the_worker_in_shell_is_dead_at_once() {
    let server = Server::start(&[]);
    let _worker = started(&server, &mut shell("head -c 2000000 /dev/zero"));
    let task = server.add("large", &json!([{"payload": "x"}])).remove(0);
    eventually("it is dead", || (server.state(&task) == "ERROR").then_some(()));
    let task = server.task(&task);
    assert_eq!((text(&task["error"], "class"), int(&task, "attempt")), ("result_too_large", 1));
}

#[test]
fn the_worker_in_shell_works_in_fifty_lines() {
    let server = Server::start(&[]);
    let mut command = Command::new("sh");
    let worker = started(&server, command.args(["examples/worker.sh", "tr", "a-z", "A-Z"]));
    works(&server, worker, |n| json!(format!("TASK {n}")));
    assert!(lines("worker.sh") <= 50);
}

#[test]
fn the_worker_in_python_works_in_fifty_lines() {
    let server = Server::start(&[]);
    let worker = started(&server, Command::new("python3").arg("examples/worker.py"));
    works(&server, worker, |_| json!({"length": 6}));
    assert!(lines("worker.py") <= 50);
}

#[test]
fn both_workers_work_with_a_token() {
    works_with_a_token(|_| shell("cat"));
    works_with_a_token(|server| python(server, "return payload"));
}

#[test]
fn both_workers_report_a_failure_that_ends_after_sigterm() {
    let server = Server::start(&[]);
    let worker = started(&server, &mut shell("sleep 2; exit 7"));
    fails_at_sigterm(&server, worker, "exit:7");
    let failing = "time.sleep(2); raise ValueError(\"NaN\")";
    // Its first beat, which makes the task RUNNING, comes within a second.
    let worker = started(&server, &mut python(&server, failing));
    fails_at_sigterm(&server, worker, "ValueError");
}

#[test]
fn both_workers_leave_when_they_are_drained() {
    let server = Server::start(&[]);
    let worker = started(&server, &mut shell("sleep 1; cat"));
    obeys_drain(&server, worker);
    let worker = started(&server, &mut python(&server, "time.sleep(1); return payload"));
    obeys_drain(&server, worker);
}

/// Whatever is answered instead of the payload is no payload.
#[test]
fn the_worker_in_shell_gives_a_task_back_whose_payload_it_may_not_read() {
    let (server, token) = guarded(&["submit", "work", "view"]);
    let call = |req: Req| server.call(&req.header("Authorization", &format!("Bearer {token}")));
    call(Req::new("POST", "/kwq/jobs/t/tasks").json(&json!([{"id": "t", "payload": "x"}]))).ok();
    let _worker = started(&server, shell("cat").env("KWQ_TOKEN", &token));
    let task = eventually("it was given back", || {
        let task = call(Req::new("GET", "/kwq/tasks/t?job=t")).ok();
        let back = task["state"] == "DELAYED" || task["state"] == "COMPLETED";
        back.then_some(task)
    });
    assert_eq!((text(&task, "state"), int(&task, "errors")), ("DELAYED", 0), "{task}");
}

//! The workers of `examples/`, as a user would start them: curl and shell, Python alone.

use serde_json::{Value, json};
use std::process::{Child, Command, Stdio};

use crate::support::{Server, eventually, int, signal, text, unique};

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

//! `kwq work -- CMD` as its users run it: real processes beside a real server (`api.md` 11, 12).

use serde_json::{Value, json};

use crate::support::{Process, Server, eventually, int, merge, shared, signal, text, unique};

fn worker(server: &Server, job: &str, more: &[&str], command: &[&str]) -> Process {
    let url = format!("http://{}", server.addr());
    let args = ["work", "--url", &url, "--job", job, "--worker", job];
    Process::start(server.dir(), &[&args[..], more, &["--"], command].concat())
}

fn ends_idle(server: &Server, job: &str, command: &[&str]) {
    let mut worker = worker(server, job, &["--idle-exit", "500ms"], command);
    assert_eq!(worker.wait().code(), Some(0), "{:?}", worker.lines());
}

fn result(server: &Server, task: &str) -> Vec<u8> {
    server.get(&format!("/kwq/tasks/{task}/result")).expect(200).body.clone()
}

// api.md 12: payload on stdin, facts in the environment, stdout = result.
#[test]
fn a_command_gets_its_task_and_gives_a_result() {
    let (server, job) = (shared(), unique("runs"));
    let id = unique("task");
    let task = json!({"id": id, "groupId": job, "payload": "seven", "priority": 7, "tag": "a:b,c"});
    let reference = server.submit(&task);
    let script = "cat; printf '|%s' $KWQ_TASK_ID $KWQ_TASK_REF $KWQ_JOB $KWQ_ATTEMPT \
                  $KWQ_PRIORITY $KWQ_TAGS $KWQ_WORKER";
    ends_idle(server, &job, &["sh", "-c", script]);
    let said = String::from_utf8(result(server, &reference)).expect("text");
    assert_eq!(said, format!("seven|{id}|{reference}|{job}|1|7|a:b,a:c,c|{job}"));
    let done = server.get(&format!("/kwq/tasks/{reference}?result=true")).ok();
    assert_eq!((text(&done, "state"), text(&done, "resultEncoding")), ("COMPLETED", "text"));
    let bytes = server.submit(&json!({"groupId": job, "payload": "/w==", "encoding": "base64"}));
    ends_idle(server, &job, &["cat"]);
    assert_eq!(result(server, &bytes), [0xff]);
}

// api.md 12: exit 0, 65, 75, other, signal.
#[test]
fn the_exit_code_of_a_command_decides() {
    let (server, job) = (shared(), unique("codes"));
    let short = json!({"groupId": job, "maxAttempts": 1});
    let submit = |script: &str| server.submit(&merge(&short, &json!({"payload": script})));
    let cases = ["exit 0", "exit 65", "exit 75", "echo why >&2; exit 3", "kill -KILL $$"];
    let tasks: Vec<String> = cases.iter().map(|script| submit(script)).collect();
    let again = server.submit(&json!({"groupId": job, "maxAttempts": 2, "payload": "exit 65"}));
    ends_idle(server, &job, &["sh"]);
    let class = |task: &str| {
        let task = server.task(task);
        (text(&task, "state").to_owned(), task["error"]["class"].clone())
    };
    let expected = [
        ("COMPLETED", Value::Null),
        ("ERROR", json!("exit:65")),
        ("ERROR", json!("tempfail")),
        ("ERROR", json!("exit:3")),
        ("ERROR", json!("signal:9")),
    ];
    for ((task, script), (state, name)) in tasks.iter().zip(cases).zip(expected) {
        assert_eq!(class(task), (state.to_owned(), name), "{script}");
    }
    assert_eq!(class(&again).0, "ERROR", "65 is final, whatever attempts are left");
    assert_eq!(int(&server.task(&again), "attempt"), 1);
    assert_eq!(server.task(&tasks[3])["error"]["message"], "why");
}

// api.md 12: `cancel` → SIGTERM; the worker goes on with the next task.
#[test]
fn a_cancelled_task_is_stopped_and_the_worker_goes_on() {
    let (server, job) = (shared(), unique("cancels"));
    let slow = server.submit(&json!({"groupId": job, "payload": "sleep 300", "leaseMs": 1_500}));
    let mut worker = worker(server, &job, &["--idle-exit", "3s"], &["sh"]);
    eventually("it runs", || (server.state(&slow) == "RUNNING").then_some(()));
    server.poke(&format!("/kwq/tasks/{slow}/cancel")).expect(200);
    let next = server.submit(&json!({"groupId": job, "payload": "echo on"}));
    eventually("the next one is done", || (server.state(&next) == "COMPLETED").then_some(()));
    assert_eq!(server.state(&slow), "CANCELLED");
    assert_eq!(worker.wait().code(), Some(0), "{:?}", worker.lines());
}

// api.md 11.7: SIGTERM = finish within the grace time, release the rest, leave.
#[test]
fn a_worker_that_is_asked_to_stop_loses_nothing() {
    let (server, job) = (shared(), unique("stops"));
    let quick = server.submit(&json!({"groupId": job, "payload": "sleep 1; echo done"}));
    let slow = server.submit(&json!({"groupId": job, "payload": "exec sleep 300"}));
    let mut worker = worker(server, &job, &["-j", "2", "--grace", "3s"], &["sh"]);
    let held = |task: &str| (server.state(task) == "ALLOCATED").then_some(());
    eventually("both are held", || held(&quick).and_then(|()| held(&slow)));
    worker.signal("TERM");
    assert_eq!(worker.wait().code(), Some(0), "{:?}", worker.lines());
    assert_eq!(server.state(&quick), "COMPLETED");
    let back = server.task(&slow);
    assert_eq!(
        (text(&back, "state"), int(&back, "errors"), int(&back, "crashes")),
        ("PENDING", 0, 0),
        "released, no budget used: {back}"
    );
    server.get(&format!("/kwq/workers/{job}")).refused(404, "worker_not_found");
}

// P6, P20: a dead worker's task comes back by itself, as a crash.
#[test]
fn a_killed_worker_costs_one_crash_and_no_task() {
    let (server, job) = (shared(), unique("killed"));
    let backoff = json!({"baseMs": 100, "capMs": 100});
    let task = json!({"groupId": job, "payload": "[ $KWQ_ATTEMPT = 2 ] || exec sleep 5",
        "leaseMs": 1_000, "backoff": backoff});
    let task = server.submit(&task);
    let first = worker(server, &job, &[], &["sh"]);
    eventually("it runs", || (server.state(&task) == "RUNNING").then_some(()));
    let children = first.children();
    first.signal("KILL");
    children.into_iter().for_each(|child| signal(child, "KILL"));
    let _second = worker(server, &job, &[], &["sh"]);
    eventually("somebody else did it", || (server.state(&task) == "COMPLETED").then_some(()));
    let done = server.task(&task);
    assert_eq!((int(&done, "attempt"), int(&done, "crashes")), (2, 1), "{done}");
}

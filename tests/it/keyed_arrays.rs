//! Arrays that come again: under an `Idempotency-Key`, in streams, by their own id (S 9, S 10, P4).

use serde_json::{Value, json};

use crate::keys::{post, replayed, stream};
use crate::support::{Answer, Conn, Server, int, kwq_lines, shared, text, unique};

fn outcomes(body: &Value) -> Vec<&str> {
    body["results"].as_array().expect("results").iter().map(|r| text(r, "outcome")).collect()
}

// S 9, S 10: whichever partition the key belongs to: one array, in all partitions, one answer.
#[test]
fn an_array_under_a_key_is_one_array() {
    let mut server = Server::start(&["log.partitions=3", "log.image-interval=1s"]);
    let mixed = json!([{"id": "a"}, {"array": {"to": 99, "id": "x"}}, {"priority": 99}, {"id": "b"},
        {"array": {"from": 7, "to": 7}}]);
    let alone = |n: usize| json!({"groupId": format!("alone{n}"), "array": {"to": 9}});
    let calls = |n: usize| {
        let path = format!("/kwq/jobs/mixed{n}/tasks");
        let mixed = post(&path, &format!("mixed-{n}"), &mixed);
        [mixed, post("/kwq/submit", &format!("alone-{n}"), &alone(n))]
    };
    // Eight keys of each kind: they do not all belong to one partition of three.
    let firsts: Vec<Answer> =
        (0..8).flat_map(|n| calls(n).map(|call| server.call(&call))).collect();
    for round in 0..2 {
        for n in 0..8 {
            for (at, call) in calls(n).iter().enumerate() {
                let first = &firsts[2 * n + at];
                first.ok();
                replayed(&server.call(call), first);
            }
            let told = firsts[2 * n].ok();
            assert_eq!(outcomes(&told), ["ok", "ok", "rejected", "ok", "ok"], "{told}");
            assert_eq!(told["results"][1]["refs"].as_array().map(Vec::len), Some(3), "{told}");
            let job = server.job(&format!("mixed{n}"));
            assert_eq!((int(&job, "submitted"), int(&job, "duplicates")), (103, 0), "{round}");
            assert_eq!(server.job(&format!("alone{n}"))["submitted"], 10);
            let other = post("/kwq/submit", &format!("alone-{n}"), &alone(n + 1));
            server.call(&other).refused(409, "idempotency_key_reused");
            let other = post("/kwq/submit", &format!("alone-{n}"), &json!({"groupId": "single"}));
            server.call(&other).refused(409, "idempotency_key_reused");
        }
        server.kill();
        server.launch();
    }
    server.get("/kwq/jobs/single").refused(404, "job_not_found");
}

// api.md 4: a line may be an array, also under a key; a chunk with one is a part like any other.
#[test]
fn arrays_in_a_stream_come_once_under_its_key() {
    let mut server = Server::start(&["log.partitions=3", "limits.batch-items=3"]);
    let lines: String = (0..5)
        .map(|n| format!("{{\"id\":\"t{n}\"}}\n{{\"array\":{{\"from\":{n},\"to\":20}}}}\n"))
        .collect();
    let want = 5 + (0..5).map(|n| 21 - n).sum::<i64>();
    let calls = ["", "?onError=stop"].map(|query| {
        (0..4).map(move |n| (format!("/kwq/jobs/s{n}/tasks{query}"), format!("{query}{n}")))
    });
    let calls: Vec<(String, String)> = calls.into_iter().flatten().collect();
    let firsts: Vec<Answer> =
        calls.iter().map(|(path, key)| server.call(&stream(path, key, &lines))).collect();
    server.kill();
    server.launch();
    for ((path, key), first) in calls.iter().zip(&firsts) {
        let told = first.ok();
        assert_eq!((int(&told, "accepted"), int(&told, "chunks")), (want, 4), "{told}");
        replayed(&server.call(&stream(path, key, &lines)), first);
    }
    for n in 0..4 {
        assert_eq!(server.job(&format!("s{n}"))["submitted"], 2 * want);
    }
    // It stops at the same line again, and what stands before it is not doubled.
    let bad = "{\"array\":{\"to\":9,\"id\":\"x\"}}\n{}\n{\"array\":{\"to\":8,\"id\":\"x\"}}\n{}\n";
    for _ in 0..2 {
        let answer = server.call(&stream("/kwq/jobs/stop/tasks?onError=stop", "stop", bad));
        let problem = answer.refused(422, "id_conflict");
        assert_eq!((int(&problem, "accepted"), int(&problem, "nextLine")), (11, 3), "{problem}");
        assert_eq!(server.job("stop")["submitted"], 11);
    }
}

// P4, S 9: a call of which only some partitions have their part is finished by its repeat.
#[test]
fn a_repeat_finishes_what_a_kill_cut_short() {
    let mut server = Server::start(&["log.partitions=3"]);
    let call = |n: usize| {
        let array = |k: usize| json!({"array": {"to": 999, "id": format!("{n}-{k}")}});
        let items: Vec<Value> = (0..40).map(array).collect();
        post("/kwq/jobs/cut/tasks", &format!("cut-{n}"), &Value::Array(items))
    };
    for n in 0..6 {
        // In flight, more or less, while the process dies.
        let mut conn = Conn::open(server.addr()).expect("connects");
        conn.send(&call(n).to_bytes()).expect("sends");
        crate::support::pause(n as u64 * 2);
        server.kill();
        server.launch();
        let done = server.call(&call(n)).ok();
        assert_eq!(int(&done, "accepted") + int(&done, "duplicates"), 40_000, "{done}");
        let submitted = int(&server.job("cut"), "submitted");
        assert_eq!(submitted, 40_000 * (n as i64 + 1));
    }
    for n in 0..6 {
        assert_eq!(server.call(&call(n)).header("kwq-replayed"), Some("true"));
    }
}

// api.md 15: a repeated array counts its elements in `duplicates`; the counter is durable.
#[test]
fn the_duplicates_of_an_array_outlive_restarts() {
    let mut server = Server::start(&["log.partitions=3", "log.image-interval=1s"]);
    let array = json!([{"array": {"id": "a", "to": 99}, "tags": {"x": "1", "y": "2"}}]);
    let spelled = json!([{"array": {"id": "a", "from": 0, "to": 99}, "tag": "y:2,x:1"}]);
    let first = server.post("/kwq/jobs/ids/tasks", &array).ok();
    for round in 1..4 {
        let again = server.post("/kwq/jobs/ids/tasks", &spelled).ok();
        assert_eq!((int(&again, "accepted"), int(&again, "duplicates")), (0, 100), "{again}");
        assert_eq!(again["results"][0]["refs"], first["results"][0]["refs"]);
        for start in 0..2 {
            let job = server.job("ids");
            let counted = (int(&job, "submitted"), int(&job, "duplicates"));
            assert_eq!(counted, (100, round * 100), "start {start}");
            // Once after a kill, once from an image.
            if start == 0 && round == 2 {
                server.terminate();
            } else {
                server.kill();
            }
            server.launch();
        }
    }
    // A repeat that is replayed is the first call still: nothing more is counted.
    let keyed = post("/kwq/jobs/ids/tasks", "again", &array);
    let counted = server.call(&keyed);
    replayed(&server.call(&keyed), &counted);
    assert_eq!(server.job("ids")["duplicates"], 400);
    server.terminate();
    let dir = server.dir().to_path_buf();
    let data = dir.to_str().expect("UTF-8");
    let dump = kwq_lines(&dir, &["log", "dump", "--json", "--data-dir", data]);
    let counts = dump.iter().filter_map(|record| record["duplicates"].as_array()).flatten();
    assert_eq!(counts.map(|row| int(row, "count")).sum::<i64>(), 400);
}

// S 9: another array of an id is a conflict and admits nothing, in no partition.
#[test]
fn a_conflicting_array_admits_nothing() {
    let (server, job) = (shared(), unique("conflict"));
    let path = format!("/kwq/jobs/{job}/tasks");
    let array = |to: u64| json!({"array": {"id": "a", "to": to}});
    let first = server.post(&path, &array(0)).ok();
    for to in [1, 2, 3, 98] {
        let body = server.post(&path, &array(to)).ok();
        assert_eq!((int(&body, "accepted"), int(&body, "rejected")), (0, 1), "{body}");
        let result = &body["results"][0];
        assert_eq!((text(result, "outcome"), text(result, "code")), ("conflict", "id_conflict"));
        assert_eq!(result["existing"], first["results"][0]["refs"][0]);
        assert_eq!(server.job(&job)["submitted"], 1, "{to}");
    }
}

// S 4, S 10: unique ids and arrays in one call; each partition keeps the listed order.
#[test]
fn unique_ids_stand_beside_arrays() {
    let (server, job) = (shared(), unique("beside"));
    server.post("/kwq/jobs", &json!({"id": job, "dedup": "task"})).expect(201);
    let unique_ids = |n: usize| (0..n).map(|id| json!({"id": format!("u{id}"), "payload": "p"}));
    let mut items: Vec<Value> = unique_ids(9).collect();
    items.insert(4, json!({"array": {"to": 299, "id": "u0"}}));
    items.push(json!({"id": "u3", "payload": "other"}));
    let call = post(&format!("/kwq/jobs/{job}/tasks"), &job, &Value::Array(items.clone()));
    let first = server.call(&call);
    let told = first.ok();
    let counts = ["accepted", "duplicates", "rejected"].map(|name| int(&told, name));
    assert_eq!(counts, [309, 0, 1], "{told}");
    replayed(&server.call(&call), &first);
    let again = server.post(&format!("/kwq/jobs/{job}/tasks"), &Value::Array(items)).ok();
    let counts = ["accepted", "duplicates", "rejected"].map(|name| int(&again, name));
    assert_eq!(counts, [0, 309, 1], "{again}");
    let view = server.job(&job);
    assert_eq!((int(&view, "submitted"), int(&view, "duplicates")), (309, 309));
}

//! What verbs print: formats, dry runs, checks, and text that must not steer a terminal
//! (`api.md` 12).

use serde_json::{Value, json};
use std::process::Output;

use crate::support::{Req, Server, int, kwq, kwq_lines};

fn run(server: &Server, args: &[&str]) -> Output {
    let url = format!("http://{}", server.addr());
    kwq(server.dir(), &[args, &["--url", &url]].concat())
}

fn stdout(server: &Server, args: &[&str]) -> String {
    let out = run(server, args);
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).expect("text")
}

/// Exit code and what was said.
fn said(server: &Server, args: &[&str]) -> (Option<i32>, String) {
    let out = run(server, args);
    (out.status.code(), String::from_utf8_lossy(&out.stderr).into_owned())
}

// api.md 12: `--dry-run` shows the count; a selector means the jobs the verb would hit.
#[test]
fn a_dry_run_names_what_it_would_hit() {
    let server = Server::start(&[]);
    for job in ["a", "b"] {
        server.post("/kwq/jobs", &json!({"id": job, "tag": "desk:x"})).expect(201);
    }
    server.post("/kwq/jobs", &json!({"id": "c"})).expect(201);
    for verb in ["pause", "cancel"] {
        let (code, words) = said(&server, &["job", verb, "tag=desk:x", "--dry-run"]);
        let named = words.contains("2 jobs") && words.contains('a') && words.contains('b');
        assert!(code == Some(0) && named && words.contains(verb), "{words}");
    }
    server.submit(&json!({"groupId": "a", "id": "t"}));
    let (code, words) = said(&server, &["task", "cancel", "t", "--dry-run"]);
    assert!(code == Some(0) && words.contains("would cancel 1 task"), "{words}");
    assert_eq!(int(&server.job("a"), "live"), 1);
}

// `rm` takes ended jobs only: what a selector means beside them stays, and that is said.
#[test]
fn a_dry_run_of_rm_says_what_goes_and_what_stays() {
    let server = Server::start(&[]);
    for job in ["gone-1", "gone-2", "open-1"] {
        server.post("/kwq/jobs", &json!({"id": job, "tag": "desk:x"})).expect(201);
        server.submit(&json!({"groupId": job}));
        // `last` goes by the millisecond of creation.
        crate::support::pause(2);
    }
    let rm = |more: &'static str| said(&server, &["job", "rm", "tag=desk:x", more]);
    let (code, words) = rm("--dry-run");
    assert!(code == Some(4) && words.contains("3 jobs (") && words.contains("open-1"), "{words}");
    for job in ["gone-1", "gone-2"] {
        server.complete(&server.take("w", job));
        server.job_verb(job, "close");
    }
    let (code, words) = rm("--dry-run");
    let told = ["2 jobs (", "gone-1", "gone-2", "2 tasks", "but not job open-1"];
    assert!(code == Some(0) && told.iter().all(|part| words.contains(part)), "{words}");
    assert_eq!(server.job("gone-1")["state"], "COMPLETED", "it was only looked at");
    // The last one is open: no other is meant by it.
    assert_eq!(said(&server, &["job", "rm", "last", "--yes"]).0, Some(4));
    assert_eq!(rm("--yes").0, Some(0));
    assert_eq!(server.job("open-1")["state"], "OPEN");
    let gone = || server.get("/kwq/jobs/gone-1").status == 410;
    crate::support::eventually("the ended ones go", || gone().then_some(()));
    let (code, words) = said(&server, &["job", "retry", "tag=desk:y", "--dry-run"]);
    assert!(code == Some(3) && words.contains("no job fits"), "{words}");
}

// api.md 12: what the verb would refuse, its dry run refuses with the same exit code.
#[test]
fn a_dry_run_refuses_what_the_verb_would_refuse() {
    let server = Server::start(&[]);
    let done = server.submit(&json!({"groupId": "a", "id": "done"}));
    server.complete(&server.take("w", "a"));
    let dead = server.submit(&json!({"groupId": "b", "id": "dead", "maxAttempts": 1}));
    let lease = server.take("w", "b")["lease"].clone();
    server.report("fail", &lease, &json!({}));
    server.job_verb("a", "close");
    let op = server.post("/kwq/dlq/redrive", &json!({"filter": {"job": "b", "class": "none"}}));
    let op = op.expect(202).json()["op"].as_str().expect("op").to_owned();
    crate::support::eventually("it has ended", || {
        let ended = server.get(&format!("/kwq/operations/{op}")).ok()["state"] == "DONE";
        ended.then_some(())
    });
    for args in [
        &["task", "cancel", "nope"][..],
        &["task", "cancel", &done],
        &["task", "cancel", &dead],
        &["task", "retry", &done],
        &["task", "retry", "nope"],
        &["job", "pause", "a"],
        &["job", "set", "a", "--priority", "3"],
        &["job", "cancel", "a"],
        &["job", "resume", "nope"],
        &["job", "retry", "nope"],
        &["worker", "drain", "nobody"],
        &["op", "stop", "op-77"],
        &["op", "stop", &op],
    ] {
        let dry = said(&server, &[args, &["--dry-run"]].concat());
        let real = said(&server, &[args, &["--yes"]].concat());
        assert_eq!(dry.0, real.0, "{args:?}: {} against {}", dry.1, real.1);
        assert!(matches!(dry.0, Some(3 | 4)), "{args:?}: {}", dry.1);
    }
}

// api.md 12 `-o`: json = one document, ndjson = one a line, quiet = ids, table = for people.
#[test]
fn results_come_in_every_format() {
    let server = Server::start(&[]);
    server.add("p", &json!([{"id": "x"}, {"id": "y"}]));
    for _ in 0..2 {
        server.complete(&server.take("w", "p"));
    }
    let results = |format: &str| stdout(&server, &["job", "results", "p", "-o", format]);
    let document: Vec<Value> = serde_json::from_str(&results("json")).expect("one document");
    let lines: Vec<Value> =
        results("ndjson").lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    // A cursor is sealed anew each time.
    let refs = |lines: &[Value]| lines.iter().map(|line| line["ref"].clone()).collect::<Vec<_>>();
    assert_eq!(refs(&document), refs(&lines));
    assert_eq!((lines.len(), &lines[0]["state"]), (2, &json!("COMPLETED")));
    let ids: Vec<&str> = lines.iter().map(|line| line["id"].as_str().expect("an id")).collect();
    assert_eq!(results("quiet").lines().collect::<Vec<_>>(), ids);
    let table = results("table");
    assert!(table.contains("COMPLETED") && !table.contains('{'), "{table}");
    server.post("/kwq/jobs", &json!({"id": "empty"})).expect(201);
    assert_eq!(stdout(&server, &["job", "results", "empty", "-o", "json"]).trim(), "[]");
}

// api.md 12, 15 `log dump`.
#[test]
fn a_dumped_log_comes_in_every_format() {
    let mut server = Server::start(&["log.partitions=1"]);
    server.submit(&json!({"groupId": "g"}));
    server.terminate();
    let dir = server.dir().to_str().expect("UTF-8").to_owned();
    let dump = |more: &[&str]| {
        let out = kwq(server.dir(), &[&["log", "dump", "--data-dir", &dir], more].concat());
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).expect("text")
    };
    let lines = kwq_lines(server.dir(), &["log", "dump", "--data-dir", &dir, "-o", "ndjson"]);
    for more in [&["-o", "json"][..], &["--json", "-o", "json"]] {
        let document: Value = serde_json::from_str(&dump(more)).expect("one document");
        assert_eq!(document, json!(lines));
    }
    let positions: Vec<&str> =
        lines.iter().map(|record| record["position"].as_str().expect("a position")).collect();
    assert_eq!(dump(&["-o", "quiet"]).lines().collect::<Vec<_>>(), positions);
    assert!(!dump(&["-o", "table"]).contains('{'));
    assert_eq!(dump(&["--json", "-o", "table"]).lines().count(), lines.len());
}

// api.md 4, 12: JSON output = the bodies of the API.
#[test]
fn a_submit_prints_the_body_of_the_api() {
    let server = Server::start(&[]);
    let submit = |more: &[&str]| -> Value {
        let args = [&["submit", "--job", "s", "-o", "json"], more].concat();
        serde_json::from_str(&stdout(&server, &args)).expect("one document")
    };
    let one = submit(&["--payload", "x", "--id", "t"]);
    assert_eq!((&one["job"], int(&one, "accepted")), (&json!("s"), 1), "{one}");
    assert_eq!(one["results"][0]["id"], "t", "{one}");
    let many = submit(&["--count", "3", "--close"]);
    assert_eq!((&many["job"], int(&many, "accepted")), (&json!("s"), 3), "{many}");
    assert_eq!((&many["closed"], &many["results"]), (&json!(true), &json!([])), "{many}");
    assert_eq!(server.job("s")["state"], "CLOSED");
    let file = server.dir().join("jobs.ndjson");
    std::fs::write(&file, "{\"groupId\":\"a\"}\n{\"groupId\":\"b\",\"priority\":99}\n")
        .expect("a file");
    let file = file.to_str().expect("UTF-8");
    let out = run(&server, &["submit", file, "-o", "json"]);
    let body: Value = serde_json::from_slice(&out.stdout).expect("one document");
    assert_eq!((out.status.code(), body.get("job")), (Some(1), None), "each line names its job");
    assert_eq!(body["results"][0]["code"], "invalid_field", "{body}");
}

// api.md 12 `doctor`: the disk is judged by the reserve a server here would keep.
#[test]
fn doctor_judges_the_disk_as_the_server_does() {
    let server = Server::start(&[]);
    let doctor = |reserve: &str| {
        let file = server.dir().join("doctor.toml");
        std::fs::write(&file, format!("[log]\ndisk-reserve = \"{reserve}\"\n")).expect("a file");
        let file = file.to_str().expect("UTF-8").to_owned();
        let args = ["doctor", "--listen", "127.0.0.1:0", "--config", &file, "-o", "ndjson"];
        let out = run(&server, &args);
        let rows = String::from_utf8(out.stdout).expect("text");
        let rows: Vec<Value> =
            rows.lines().map(|row| serde_json::from_str(row).expect("JSON")).collect();
        let disk = rows.iter().find(|row| row["check"] == "disk space").expect("a row");
        (out.status.code(), disk["level"].as_str().expect("a word").to_owned())
    };
    assert_eq!(doctor("900000GiB"), (Some(8), "fail".to_owned()));
    assert_ne!(doctor("1MiB").1, "fail");
}

// promises.md 8: what the server was told by `--set`, only the server can say.
#[test]
fn doctor_asks_the_server_whether_it_takes_submits() {
    let server = Server::start(&["log.disk-reserve=1000000GiB"]);
    crate::support::eventually("the disk is full", || {
        let ready = server.get("/kwq/health/ready").ok();
        (ready["submitsRefused"] == "disk_full" && ready["ready"] == true).then_some(())
    });
    let out = run(&server, &["doctor", "--listen", &server.addr().to_string(), "-o", "ndjson"]);
    assert_eq!(out.status.code(), Some(8));
    let rows = String::from_utf8(out.stdout).expect("text");
    let row = |check: &str| -> Value {
        let rows = rows.lines().map(|row| serde_json::from_str::<Value>(row).expect("JSON"));
        rows.into_iter().find(|row| row["check"] == check).expect("a row")
    };
    let (said, port) = (row("server"), row("port"));
    let found = said["found"].as_str().expect("text");
    assert!(said["level"] == "fail" && found.contains("disk_full"), "{said}");
    assert_eq!(port["level"], "ok", "the server is the one that listens there: {port}");
    let plain = Server::start(&[]).get("/kwq/health/ready").ok();
    assert!(plain.get("submitsRefused").is_none(), "{plain}");
}

// api.md 12: `quiet` is for scripts, also of verbs that have no ids: a check says what is wrong.
#[test]
fn a_quiet_check_says_only_what_is_wrong() {
    let mut server = Server::start(&[]);
    server.submit(&json!({"groupId": "g"}));
    let doctor = |reserve: &str| {
        let file = server.dir().join("doctor.toml");
        std::fs::write(&file, format!("[log]\ndisk-reserve = \"{reserve}\"\n")).expect("a file");
        let file = file.to_str().expect("UTF-8").to_owned();
        let args = ["doctor", "--listen", "127.0.0.1:0", "--config", &file, "-o", "quiet"];
        String::from_utf8(run(&server, &args).stdout).expect("text")
    };
    assert_eq!((doctor("1MiB"), doctor("900000GiB")), (String::new(), "disk space\n".to_owned()));
    server.terminate();
    let dir = server.dir().to_str().expect("UTF-8").to_owned();
    let quiet = |args: &[&str]| {
        let out = kwq(server.dir(), &[args, &["--data-dir", &dir, "-o", "quiet"]].concat());
        (out.status.code(), String::from_utf8(out.stdout).expect("text"))
    };
    assert_eq!(quiet(&["log", "verify"]), (Some(0), String::new()));
    // A byte in the middle of what was written.
    let segments = std::fs::read_dir(server.dir().join("log")).expect("segments");
    let segment = segments.map(|entry| entry.expect("an entry").path()).min().expect("one");
    let mut bytes = std::fs::read(&segment).expect("bytes");
    let end = bytes.iter().rposition(|byte| *byte != 0).expect("records");
    bytes[end / 2] ^= 1;
    std::fs::write(&segment, bytes).expect("written");
    let (code, place) = quiet(&["log", "verify"]);
    let (file, at) = place.trim_end().split_once(':').expect("file:offset");
    assert_eq!((code, place.lines().count()), (Some(2), 1), "{place}");
    assert!(segment.ends_with(file) && at.parse::<u64>().is_ok(), "{place}");
    let (code, end) = quiet(&["log", "repair", "--to-offset", at, "--yes"]);
    assert!(code == Some(0) && end.trim_end().parse::<u64>().is_ok(), "{code:?} {end}");
}

// promises.md 8, "injection by text": names and messages come from workers and submitters.
#[test]
fn a_table_does_not_steer_the_terminal() {
    let server = Server::start(&[]);
    let evil = "v\u{1b}]0;pwn\u{7}\u{1b}[31mRED\r\n\u{9b}31m";
    server.post("/kwq/jobs", &json!({"id": "j"})).expect(201);
    server.post("/kwq/jobs/j/cancel", &json!({"reason": evil})).ok();
    let endpoint = json!({"worker": "w", "endpoint": evil});
    let known = server.call(&Req::new("POST", "/kwq/workers").json(&endpoint)).status == 200;
    let mut tables = vec![stdout(&server, &["job", "get", "j", "-o", "table"])];
    if known {
        tables.push(stdout(&server, &["worker", "ls", "-o", "table"]));
        tables.push(stdout(&server, &["worker", "get", "w", "-o", "table"]));
    }
    for table in tables {
        assert!(table.contains("RED"), "the text is there: {table}");
        assert!(table.chars().all(|c| c == '\n' || !c.is_control()), "{table:?}");
    }
}

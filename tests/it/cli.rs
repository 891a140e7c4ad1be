//! The parts of the command line the server tests lean on: refusals at start, exit codes
//! (`api.md` 12, 14).

use serde_json::json;

use crate::support::{Folder, Server, eventually, int, kwq, kwq_lines, signal, sorted};

// api.md 14: an unknown key is refused at start with the nearest name.
#[test]
fn an_unknown_setting_is_refused_with_the_nearest_name() {
    let server = Server::start(&[]);
    let out =
        kwq(server.dir(), &["serve", "--listen", "127.0.0.1:0", "--set", "log.partitionss=2"]);
    assert!(!out.status.success());
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert!(stderr.contains("log.partitions"), "{stderr}");
    assert!(stderr.contains("error["), "error[CODE]: what: {stderr}");
}

// api.md 14: a value out of range is refused at start.
#[test]
fn a_setting_out_of_range_is_refused() {
    let server = Server::start(&[]);
    for setting in [
        "log.partitions=0",
        "log.partitions=1025",
        "queue.low-floor=0.6",
        "log.durability=sometimes",
        "queue.share=luck",
        "http.body=soon",
    ] {
        let args = ["serve", "--listen", "127.0.0.1:0", "--data-dir", "fresh", "--set", setting];
        let out = kwq(server.dir(), &args);
        assert!(!out.status.success(), "{setting} was taken");
    }
}

// promises.md F9: the second process on one directory is refused by the lock.
#[test]
fn a_second_server_on_one_directory_is_refused() {
    let server = Server::start(&[]);
    let dir = server.dir().to_str().expect("UTF-8").to_owned();
    let out = kwq(server.dir(), &["serve", "--listen", "127.0.0.1:0", "--data-dir", &dir]);
    assert!(!out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    server.assert_alive();
}

// api.md 12, promises.md 8: wider than loopback needs tokens or --insecure-no-auth.
#[test]
fn a_wide_listener_needs_a_decision() {
    let server = Server::start(&[]);
    let out = kwq(server.dir(), &["serve", "--listen", "0.0.0.0:0", "--data-dir", "wide"]);
    assert!(!out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

// api.md 14 --strict: refuses to start with reduced durability.
#[test]
fn strict_refuses_reduced_durability() {
    let server = Server::start(&[]);
    let args = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--data-dir",
        "strict",
        "--strict",
        "--set",
        "log.durability=os",
    ];
    assert!(!kwq(server.dir(), &args).status.success());
}

// api.md 12 exit codes: healthcheck 0 and 1, wrong usage 2, not reachable 5, 404 → 3.
#[test]
fn exit_codes_tell_what_happened() {
    let mut server = Server::start(&[]);
    let url = format!("http://{}", server.addr());
    let code = |args: &[&str]| kwq(server.dir(), args).status.code();
    assert_eq!(code(&["healthcheck", "--url", &url]), Some(0));
    assert_eq!(code(&["no-such-verb"]), Some(2));
    assert_eq!(code(&["job", "get", "nobody", "--url", &url]), Some(3));
    server.kill();
    assert_eq!(kwq(server.dir(), &["healthcheck", "--url", &url]).status.code(), Some(1));
    assert_eq!(kwq(server.dir(), &["job", "ls", "--url", &url]).status.code(), Some(5));
}

// api.md 12: a verb of the command line and the route show the same body.
#[test]
fn the_command_line_shows_the_bodies_of_the_api() {
    let server = Server::start(&[]);
    server.post("/kwq/jobs", &serde_json::json!({"id": "var", "weight": 3})).expect(201);
    let url = format!("http://{}", server.addr());
    let lines = kwq_lines(server.dir(), &["job", "get", "var", "--url", &url, "-o", "ndjson"]);
    assert_eq!(lines.first(), Some(&server.job("var")));
}

// promises.md 4 `kwq log verify`: 0 on an intact directory.
#[test]
fn a_stopped_directory_is_intact() {
    let mut server = Server::start(&[]);
    server.submit(&serde_json::json!({"groupId": "g"}));
    server.terminate();
    let dir = server.dir().to_str().expect("UTF-8").to_owned();
    let out = kwq(server.dir(), &["log", "verify", "--data-dir", &dir]);
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
}

// api.md 15 log dump: kinds with partition, position, epoch, at_ts; never a payload.
#[test]
fn the_dumped_log_tells_what_happened_without_payloads() {
    let mut server = Server::start(&["log.partitions=1"]);
    let reference = server.submit(&serde_json::json!({"groupId": "g", "payload": "topsecret"}));
    server.complete(&server.take("w", "g"));
    server.kill();
    let dir = server.dir().to_str().expect("UTF-8").to_owned();
    let args = ["log", "dump", "--json", "--data-dir", &dir];
    let records = kwq_lines(server.dir(), &args);
    for record in &records {
        assert!(record["kind"].is_string() && record["at_ts"].is_i64(), "{record}");
        assert!(record["position"].is_string() && record["epoch"].is_string(), "{record}");
        assert_eq!(record["partition"], 0);
        assert!(!record.to_string().contains("topsecret"), "{record}");
    }
    let kinds = |kind: &str| records.iter().filter(|r| r["kind"] == kind).count();
    assert_eq!((kinds("Owner"), kinds("Submitted")), (1, 1), "{records:?}");
    assert_eq!((kinds("Allocated"), kinds("Completed")), (1, 1));
    let submitted = records.iter().find(|r| r["kind"] == "Submitted").expect("one");
    let task = &submitted["tasks"][0];
    assert_eq!((&task["ref"], &task["payloadBytes"]), (&reference.into(), &9.into()));
}

fn url(server: &Server) -> String {
    format!("http://{}", server.addr())
}

// api.md 14: log.partitions is fixed at creation; P1: a durable log is never passed over.
#[test]
fn settings_that_would_hide_tasks_are_refused() {
    let mut server = Server::start(&[]);
    server.submit(&json!({"groupId": "kept"}));
    server.terminate();
    let dir = server.dir().to_str().expect("UTF-8").to_owned();
    for setting in ["log.partitions=1", "log.partitions=5", "log.durability=memory"] {
        let args = ["serve", "--listen", "127.0.0.1:0", "--data-dir", &dir, "--set", setting];
        let out = kwq(server.dir(), &args);
        let stderr = String::from_utf8_lossy(&out.stderr);
        assert!(!out.status.success(), "{setting} was taken");
        assert!(stderr.contains("error[settings]") && stderr.contains("help:"), "{stderr}");
    }
    server.launch();
    assert_eq!(int(&server.job("kept"), "submitted"), 1);
}

// api.md 12: --dry-run shows what would be done and does nothing, whatever the verb.
#[test]
fn a_dry_run_changes_nothing() {
    let server = Server::start(&[]);
    server.submit(&json!({"groupId": "a"}));
    let url = url(&server);
    for verb in [
        vec!["queue", "pause", "all"],
        vec!["job", "pause", "a"],
        vec!["job", "close", "a"],
        vec!["job", "cancel", "a"],
        vec!["submit", "--job", "a", "--payload", "x"],
    ] {
        let args: Vec<&str> = [&verb[..], &["--dry-run", "--url", &url]].concat();
        let out = kwq(server.dir(), &args);
        assert!(out.status.success(), "{verb:?}: {}", String::from_utf8_lossy(&out.stderr));
        assert!(String::from_utf8_lossy(&out.stderr).contains("would"), "{verb:?}");
    }
    let job = server.job("a");
    assert_eq!((&job["state"], &job["paused"]), (&json!("OPEN"), &json!(false)));
    assert_eq!(int(&job, "live"), 1);
    let queues = server.get("/kwq/queues").ok();
    assert!(queues.as_array().is_some_and(|q| q.iter().all(|level| level["paused"] == false)));
}

// api.md 12: a selector of several jobs means those the verb can still change.
#[test]
fn a_selector_passes_over_jobs_that_have_ended() {
    let server = Server::start(&[]);
    for job in ["a", "b", "c"] {
        server.submit(&json!({"groupId": job}));
    }
    server.complete(&server.take("w", "b"));
    server.job_verb("b", "close");
    let out = kwq(server.dir(), &["job", "pause", "all", "--url", &url(&server)]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(["a", "c"].iter().all(|job| server.job(job)["paused"] == true));
    let wait = ["job", "wait", "b", "--for", "firstError", "--timeout", "20s", "--url"];
    let out = kwq(server.dir(), &[&wait[..], &[&url(&server)]].concat());
    assert!(out.status.success(), "an ended job ends every wait");
}

// api.md 12: exit 0 means that everything was written.
#[test]
fn a_full_output_is_a_failure() {
    let server = Server::start(&[]);
    server.submit(&json!({"groupId": "a"}));
    let script =
        format!("'{}' task ls --url {} > /dev/full", env!("CARGO_BIN_EXE_kwq"), url(&server));
    let out = std::process::Command::new("sh").args(["-c", &script]).output().expect("sh");
    assert_eq!(out.status.code(), Some(1), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(String::from_utf8_lossy(&out.stderr).contains("incomplete"));
}

// api.md 12: `quiet` = ids, one a line, also for a file of many tasks.
#[test]
fn quiet_prints_the_reference_of_every_task() {
    let server = Server::start(&[]);
    let args = ["submit", "--job", "q", "--count", "3", "--payload", "{i}", "-o", "quiet", "--url"];
    let out = kwq(server.dir(), &[&args[..], &[&url(&server)]].concat());
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let refs = String::from_utf8_lossy(&out.stdout).lines().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(refs.len(), 3, "{refs:?}");
    assert!(refs.iter().all(|reference| server.state(reference) == "PENDING"));
}

// api.md 12: what cannot be meant is refused with what to do instead.
#[test]
fn flags_that_contradict_the_verb_are_wrong_usage() {
    let server = Server::start(&[]);
    let url = url(&server);
    for args in [
        &["state", "hash", "--from-zero", "--url", &url][..],
        &["dlq", "ls", "--state", "PENDING", "--url", &url],
    ] {
        let out = kwq(server.dir(), args);
        let stderr = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{args:?}: {stderr}");
        assert!(stderr.contains("error[usage]") && stderr.contains("help:"), "{stderr}");
    }
}

// api.md 12: `--dry-run` of a repair says how much it would cut, and cuts nothing.
#[test]
fn a_repair_can_be_looked_at_first() {
    let mut server = Server::start(&["log.partitions=1"]);
    server.submit(&json!({"groupId": "kept"}));
    server.terminate();
    let dir = server.dir().to_str().expect("UTF-8").to_owned();
    let records = kwq_lines(server.dir(), &["log", "dump", "--json", "--data-dir", &dir]);
    let submitted = records.iter().find(|r| r["kind"] == "Submitted").expect("one");
    let to = submitted["position"].as_str().expect("a position").to_owned();
    let repair = ["log", "repair", "--to-offset", &to, "--data-dir", &dir];
    let out = kwq(server.dir(), &[&repair[..], &["--dry-run"]].concat());
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && stderr.contains("new end"), "{stderr}");
    let out = kwq(server.dir(), &repair);
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.code() == Some(2) && stderr.contains("--yes"), "nobody to ask: {stderr}");
    let same = kwq_lines(server.dir(), &["log", "dump", "--json", "--data-dir", &dir]);
    assert_eq!(same, records);
    kwq_lines(server.dir(), &[&repair[..], &["--yes"]].concat());
    let cut = kwq_lines(server.dir(), &["log", "dump", "--json", "--data-dir", &dir]);
    assert!(cut.len() < records.len() && cut.iter().all(|r| r["kind"] != "Submitted"), "{cut:?}");
}

// S 13.1: each --tag is a text of its own.
#[test]
fn tags_of_two_flags_do_not_run_into_each_other() {
    let server = Server::start(&[]);
    let submit = ["submit", "--job", "t", "--tag", "a:b", "--tag", "c,d:e,f", "-o", "quiet"];
    let out = kwq(server.dir(), &[&submit[..], &["--url", &url(&server)]].concat());
    let reference = String::from_utf8_lossy(&out.stdout).trim().to_owned();
    let task = server.task(&reference);
    assert_eq!(sorted(&task["tags"]), ["a:b", "c", "d:e", "d:f", "f"], "{task}");
}

// api.md 4: a file goes in chunks; what is said of a bad line counts from the start of the file.
#[test]
fn a_bad_line_is_named_by_its_place_in_the_file() {
    let server = Server::start(&[]);
    let mut lines = "{\"payload\":1}\n".repeat(6_000);
    lines.push_str(&format!("{{\"payload\":\"{}\"}}\n", "x".repeat(300_000)));
    std::fs::write(server.dir().join("long.ndjson"), lines).expect("the file");
    let submit = ["submit", "long.ndjson", "--job", "long", "--url"];
    let out = kwq(server.dir(), &[&submit[..], &[&url(&server)]].concat());
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("line 6001 ") && stderr.contains("6,000 tasks accepted"), "{stderr}");
    assert_eq!(int(&server.job("long"), "submitted"), 6_000);
}

// P22: nothing that happens to stderr ends the process; `serve` ends with 0 after SIGTERM.
#[test]
fn a_server_outlives_its_stderr() {
    let (dir, port) = (Folder::new("kwq-mute"), free_port());
    let script = format!(
        "exec '{}' serve --listen 127.0.0.1:{port} --data-dir data 2>/dev/full",
        env!("CARGO_BIN_EXE_kwq")
    );
    let mut child = std::process::Command::new("sh")
        .args(["-c", &script])
        .current_dir(dir.path())
        .env("KWQ_DRAIN__DELAY", "0s")
        .spawn()
        .expect("sh");
    let url = format!("http://127.0.0.1:{port}");
    eventually("it is ready", || {
        let out = kwq(dir.path(), &["healthcheck", "--url", &url]);
        out.status.success().then_some(())
    });
    signal(child.id(), "TERM");
    assert_eq!(child.wait().expect("our child").code(), Some(0));
}

/// A port nobody listens at: bound, then given back.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").port()
}

// api.md 12: `job wait --timeout` is the wait's own limit; 124 = the time is over.
#[test]
fn a_wait_that_may_not_wait_ends_with_124() {
    let server = Server::start(&[]);
    server.submit(&json!({"groupId": "open"}));
    for limit in ["0s", "1ms"] {
        let wait = ["job", "wait", "open", "--timeout", limit, "--url", &url(&server)];
        assert_eq!(kwq(server.dir(), &wait).status.code(), Some(124), "{limit}");
    }
}

// api.md 12: `dlq`, `op`, `job retry`, `job rm`, with --dry-run and --yes.
#[test]
fn dead_letters_and_jobs_are_redriven_and_removed_from_the_command_line() {
    let server = Server::start(&[]);
    let url = format!("http://{}", server.addr());
    let run = |args: &[&str]| {
        let all: Vec<&str> = args.iter().copied().chain(["--url", &url]).collect();
        kwq_lines(server.dir(), &all)
    };
    server.add("j", &json!([{"id": "a"}, {"id": "b"}]));
    assert_eq!(server.bury("j", "io"), 2);
    let which = ["--job", "j", "--class", "io"];
    let verb = |verb: &'static str, more: &[&'static str]| {
        let all: Vec<&str> = ["dlq", verb].iter().chain(&which).chain(more).copied().collect();
        run(&all)
    };
    assert_eq!(verb("redrive", &["--dry-run"])[0], json!({"matched": 2, "skipped": 0}));
    let op = server.ended(&verb("redrive", &["--set-priority", "9"])[0]);
    assert_eq!((int(&op, "done"), &op["kind"]), (2, &json!("redrive")));
    assert_eq!(server.bury("j", "io"), 2);
    let id = op["op"].as_str().expect("op");
    assert_eq!(run(&["op", "get", id])[0], op);
    assert_eq!(run(&["op", "ls"])[0], op);
    let out = kwq(server.dir(), &["op", "stop", id, "--url", &url]);
    assert_eq!(out.status.code(), Some(4), "a conflict");
    server.ended(&run(&["job", "retry", "j"])[0]);
    assert_eq!(server.bury("j", "io"), 2);
    let purge = ["dlq", "purge", "--id", "a", "--url", &url];
    let out = kwq(server.dir(), &purge);
    assert_eq!(out.status.code(), Some(2), "nobody said yes");
    server.ended(&verb("purge", &["--id", "a", "--yes"])[0]);
    assert_eq!(int(&server.job("j"), "purged"), 1);
    let out = kwq(server.dir(), &["job", "rm", "j", "--yes", "--url", &url]);
    assert_eq!(out.status.code(), Some(4), "it has not ended");
    server.job_verb("j", "close");
    assert!(run(&["job", "rm", "j", "--dry-run"]).is_empty());
    assert_eq!(run(&["job", "rm", "j", "--yes"])[0]["kind"], "purgeJob");
    let out = kwq(server.dir(), &["job", "get", "j", "--url", &url]);
    assert_eq!(out.status.code(), Some(3), "410 is gone");
    let out = kwq(server.dir(), &["dlq", "redrive", "--url", &url]);
    assert!(String::from_utf8_lossy(&out.stderr).contains("empty_filter"));
}

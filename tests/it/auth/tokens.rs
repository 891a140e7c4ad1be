//! The tokens file: expiry, change at run time, bad files, wrong tokens; the command line.

use std::process::{Command, Output};

use serde_json::json;

use super::kit::{Guarded, ROLES, Ring, bearer};
use crate::support::{
    Conn, Folder, Process, Req, Server, Sse, eventually, kwq, kwq_lines, now_ms, shared,
};

fn about_me(g: &Guarded, token: &str) -> u16 {
    g.server.call(&bearer(Req::new("GET", "/kwq/me"), token)).status
}

#[test]
fn me_says_who_and_what_one_is() {
    let ring = Ring::new().add("ops-2", &["operate", "view"], &["--scope", "eod-"]);
    let g = Guarded::start(ring.add("reader", &["view", "payload"], &[]));
    let me = g.get("ops-2", "/kwq/me").ok();
    assert_eq!(me["name"], "ops-2");
    assert_eq!(me["roles"], json!(["view", "operate"]));
    assert_eq!((&me["scopes"], &me["readOnly"]), (&json!(["eod-"]), &json!(false)));
    let me = g.get("reader", "/kwq/me").ok();
    assert_eq!((&me["scopes"], &me["readOnly"]), (&json!([]), &json!(true)));
    let me = shared().get("/kwq/me").ok();
    assert_eq!((&me["name"], &me["roles"]), (&json!("anonymous"), &json!(ROLES)));
}

#[test]
fn a_token_is_good_until_it_expires() {
    let past = now_ms() - 1;
    let ring = Ring::new().add("good", &["view"], &["--expires", "1h"]);
    let g = Guarded::start(ring.add_edited("old", |line| line["expires_ts"] = json!(past)));
    g.get("good", "/kwq/jobs").ok();
    let body = g.get("old", "/kwq/jobs").refused(401, "unauthorized");
    assert!(body["detail"].as_str().is_some_and(|text| text.contains("expired")), "{body}");
    // Known, so it is no guess: it holds no address however often it comes.
    for _ in 0..60 {
        g.get("old", "/kwq/jobs").refused(401, "unauthorized");
    }
}

#[test]
fn tokens_change_at_run_time_and_a_bad_file_changes_nothing() {
    let ring = Ring::new().add("first", &["view"], &[]).add("stays", &["view"], &[]);
    let mut g = Guarded::start(ring);
    let (first, stays) = (g.ring.secret("first").to_owned(), g.ring.secret("stays").to_owned());
    assert_eq!((about_me(&g, &first), about_me(&g, &stays)), (200, 200));
    g.ring = g.ring.add("second", &["view"], &[]);
    g.ring.forget("first");
    g.ring.write();
    let second = g.ring.secret("second").to_owned();
    assert_eq!(about_me(&g, &second), 401, "not before the signal");
    g.server.signal("HUP");
    eventually("the new token is in force", || (about_me(&g, &second) == 200).then_some(()));
    assert_eq!((about_me(&g, &first), about_me(&g, &stays)), (401, 200));
    g.ring.write_text("{\"name\":\"half a li");
    g.server.signal("HUP");
    g.server.says("the old tokens stay");
    g.ring.write_text("");
    g.server.signal("HUP");
    g.server.says("names no token");
    std::fs::remove_file(g.ring.path()).expect("removes");
    g.server.signal("HUP");
    g.server.says("No such file");
    assert_eq!((about_me(&g, &second), about_me(&g, &stays)), (200, 200));
    g.server.assert_alive();
}

#[test]
fn a_stream_ends_with_its_token() {
    let ring = Ring::new().add("goes", &["view"], &[]).add("stays", &["view"], &[]);
    let mut g = Guarded::start(ring);
    let open = |g: &Guarded, who: &str| {
        Sse::call(&g.server, bearer(Req::new("GET", "/kwq/events"), g.ring.secret(who)))
    };
    let (mut goes, mut stays) = (open(&g, "goes"), open(&g, "stays"));
    goes.until("snapshot", |_| true);
    g.ring.forget("goes");
    g.ring.write();
    g.server.signal("HUP");
    eventually("the stream ends", || goes.try_next().is_none().then_some(()));
    stays.until("snapshot", |_| true);
}

#[test]
fn a_bad_file_refuses_the_start_and_names_the_line() {
    let ring = Ring::new().add("a", &["view"], &[]);
    let good = std::fs::read_to_string({
        ring.write();
        ring.path()
    })
    .expect("reads");
    let dir = Folder::new("kwq-badtokens");
    let serve = |text: &str| {
        let setting = ring.write_text(text);
        let data = dir.path().join("data");
        let data = data.to_str().expect("text");
        kwq(
            dir.path(),
            &["serve", "--listen", "127.0.0.1:0", "--data-dir", data, "--set", &setting],
        )
    };
    for (text, words) in [
        (format!("{good}\n{{\"name\":\"b\"}}\n"), "line 3: `sha256` is missing"),
        (good.replace("view", "root"), "line 1: each of `roles` must be one of"),
        (good.replace("\"sha256\"", "\"cn\""), "line 1: `cn`: client certificates"),
        (String::new(), "names no token"),
    ] {
        let out = serve(&text);
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(1), "{said}");
        assert!(said.contains("error[tokens_file]") && said.contains(words), "{words}: {said}");
    }
    assert!(!dir.path().join("data").exists(), "refused before anything is made");
}

#[test]
fn wrong_tokens_hold_an_address_and_valid_ones_pass() {
    let g = Guarded::start(Ring::new().add("good", &["view"], &[]));
    let wrong = || g.server.call(&bearer(Req::new("GET", "/kwq/jobs"), "kwq_guess"));
    for _ in 0..60 {
        g.server.get("/kwq/jobs").refused(401, "unauthorized");
    }
    for _ in 0..50 {
        wrong().refused(401, "unauthorized");
    }
    let held = eventually("the address is held", || {
        // A new minute may have begun meanwhile; then it takes as many again.
        Some(wrong()).filter(|answer| answer.status == 429)
    });
    held.refused(429, "auth_rate");
    let wait: u64 = held.header("Retry-After").expect("a time").parse().expect("seconds");
    assert!((1..=60).contains(&wait));
    g.get("good", "/kwq/jobs").ok();
    g.server.get("/kwq/jobs").refused(401, "unauthorized");
    g.server.get("/kwq/health/ready").expect(200);
    let metrics = g.get("good", "/metrics").text();
    assert!(metrics.contains("kwq_auth_denied_total{reason=\"rate\"}"), "{metrics}");
    for secret in ["kwq_guess", g.ring.secret("good")] {
        assert!(!metrics.contains(secret));
        assert!(!g.server.said().contains(secret), "no token is ever logged");
    }
}

#[test]
fn a_wide_listener_is_allowed_with_tokens() {
    let (ring, dir) = (Ring::new().add("a", &["view"], &[]), Folder::new("kwq-wide"));
    let setting = ring.write();
    let data = dir.path().join("data");
    let data = data.to_str().expect("text");
    let wide = ["serve", "--listen", "0.0.0.0:0", "--data-dir", data, "--set"];
    let mut process =
        Process::start(dir.path(), &[&wide[..], &[&setting, "--set", "drain.delay=0s"]].concat());
    process.says("listening on http://0.0.0.0:");
    process.signal("TERM");
    assert!(process.wait().success());
}

#[test]
fn a_made_token_is_shown_once_with_its_line() {
    let dir = Folder::new("kwq-made");
    let args = [
        "token",
        "create",
        "--name",
        "w",
        "--role",
        "work",
        "--role",
        "view",
        "--scope",
        "eod-",
        "--expires",
        "90d",
    ];
    let made = kwq_lines(dir.path(), &args).remove(0);
    let token = made["token"].as_str().expect("a token");
    assert!(token.starts_with("kwq_") && token.len() == 4 + 64, "{token}");
    let line = &made["line"];
    assert_eq!((&line["name"], &line["roles"]), (&json!("w"), &json!(["work", "view"])));
    assert_eq!(line["scopes"], json!(["eod-"]));
    assert!(line["expires_ts"].as_i64().expect("a time") > now_ms());
    assert!(!line.to_string().contains(token));
    let other = kwq_lines(dir.path(), &args).remove(0);
    assert_ne!(other["token"], made["token"]);
    let table = kwq(dir.path(), &[&args[..], &["-o", "table"]].concat());
    let text = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(text.contains("token  kwq_") && text.contains("line   {\"name\":\"w\""), "{text}");
    for wrong in [
        &["--name", "x"][..],
        &["--name", "x", "--role", "root"],
        &["--role", "view"],
        &["--name", " x", "--role", "view"],
    ] {
        let out = kwq(dir.path(), &[&["token", "create"], wrong].concat());
        assert_eq!(out.status.code(), Some(2), "{wrong:?}");
    }
}

/// Runs the command line with one variable of the environment.
fn with(name: &str, value: &str, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kwq"));
    command.env_remove("KWQ_TOKEN").env_remove("KWQ_TOKEN_FILE").env(name, value);
    command.args(args).output().expect("the binary starts")
}

#[test]
fn every_verb_brings_its_token_from_flag_environment_or_file() {
    let g = Guarded::start(Ring::new().add("all", &ROLES, &[]));
    let url = format!("http://{}", g.server.addr());
    let (dir, secret) = (Folder::new("kwq-clitoken"), g.ring.secret("all").to_owned());
    let file = dir.path().join("token");
    std::fs::write(&file, format!("{secret}\n")).expect("writes");
    let file = file.to_str().expect("text");
    let list = ["--url", &url, "job", "ls"];
    let out = with("KWQ_NONE", "", &list);
    assert_eq!(out.status.code(), Some(7), "{out:?}");
    assert!(with("KWQ_NONE", "", &[&list[..], &["--token", &secret]].concat()).status.success());
    assert!(with("KWQ_TOKEN", &secret, &list).status.success());
    assert!(with("KWQ_TOKEN", &format!("{secret}\n"), &list).status.success());
    let out = with("KWQ_TOKEN", "kwq_a b", &list);
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.code() == Some(2) && said.contains("a space"), "{said}");
    assert!(with("KWQ_TOKEN_FILE", file, &list).status.success());
    let bench = [
        "--url",
        &url,
        "bench",
        "load",
        "--tasks",
        "20",
        "--connections",
        "2",
        "--phases",
        "submit,consume,complete",
        "--dir",
        dir.path().to_str().expect("text"),
    ];
    let out = with("KWQ_TOKEN_FILE", file, &bench);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    g.post("all", "/kwq/submit", &json!({"groupId": "cli", "payload": "x"})).ok();
    let work = ["--url", &url, "work", "--job", "cli", "--max-tasks", "1", "--", "cat"];
    let out = with("KWQ_TOKEN_FILE", file, &work);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let job = g.get("all", "/kwq/jobs/cli").ok();
    assert_eq!(job["counts"]["COMPLETED"], 1, "{job}");
    let out = with("KWQ_NONE", "", &work);
    assert_eq!(out.status.code(), Some(7), "a worker without a token stops: {out:?}");
}

#[test]
fn dev_hands_its_token_to_its_workers() {
    let (ring, dir) = (Ring::new().add("dev", &ROLES, &[]), Folder::new("kwq-devtoken"));
    let setting = ring.write();
    let data = dir.path().join("data");
    let args = [
        "dev",
        "--listen",
        "127.0.0.1:0",
        "--data-dir",
        data.to_str().expect("text"),
        "--tasks",
        "40",
        "--workers",
        "1",
        "--set",
        &setting,
        "--token",
        ring.secret("dev"),
    ];
    let mut process = Process::start(dir.path(), &args);
    process.says("40");
    let url = process.says("API ");
    let url = url.split_whitespace().last().expect("a URL").trim_end_matches("/kwq").to_owned();
    let get = ["--url", &url, "--token", ring.secret("dev"), "job", "get", "demo-pricing"];
    eventually("the demo is priced", || {
        let out = kwq(dir.path(), &get);
        let job: serde_json::Value = serde_json::from_slice(&out.stdout).ok()?;
        (job["counts"]["COMPLETED"] == 40).then_some(())
    });
    process.signal("TERM");
    assert!(process.wait().success());
}

#[test]
fn tokens_outlive_a_restart() {
    let mut g = Guarded::start(Ring::new().add("all", &ROLES, &["--scope", "a-"]));
    let task = json!({"groupId": "a-1", "payload": "p"});
    g.post("all", "/kwq/submit", &task).ok();
    g.server.kill();
    g.server.launch();
    g.get("all", "/kwq/jobs/a-1").ok();
    g.server.get("/kwq/jobs/a-1").refused(401, "unauthorized");
    let ask = json!({"worker": "w", "waitMs": 20_000});
    let taken = g.post("all", "/kwq/consume", &ask).ok();
    assert_eq!(taken["tasks"].as_array().map(Vec::len), Some(1), "{taken}");
}

#[test]
fn insecure_is_said_where_people_look() {
    let open = Server::start(&["auth.insecure-no-auth=true"]);
    assert_eq!(open.get("/kwq").ok()["insecure"], true);
    assert!(open.get("/metrics").text().contains("kwq_insecure 1"));
    assert!(open.said().contains("no authentication"));
    let shut = Server::start(&[
        "auth.insecure-no-auth=true",
        &Ring::new().add("a", &["view"], &[]).write(),
    ]);
    shut.get("/kwq").refused(401, "unauthorized");
}

/// Sends a call under a token and does not read its answer.
fn open(g: &Guarded, token: &str, req: Req) -> Conn {
    let mut conn = Conn::open(g.server.addr()).expect("connects");
    conn.send(&bearer(req, token).to_bytes()).expect("sends");
    conn
}

// api.md 1.1: who is not let in any more does not stay in with what he has open.
#[test]
fn what_is_open_ends_with_its_token() {
    let roles = ["work", "view", "payload", "submit"];
    let ring = Ring::new().add("all", &ROLES, &[]).add("out", &roles, &[]);
    let mut g = Guarded::start(ring.add("old", &roles, &["--expires", "1h"]));
    g.post("all", "/kwq/submit", &json!({"groupId": "j"})).expect(200);
    let worker = |name: &str| {
        let ask = json!({"worker": name, "jobs": ["none"], "waitMs": 60_000});
        Req::new("POST", "/kwq/consume").json(&ask)
    };
    let watch = |path: &str| Req::new("GET", path);
    let upload = |g: &Guarded, token: &str| {
        let mut conn = Conn::open(g.server.addr()).expect("connects");
        let head = format!(
            "POST /kwq/jobs/j/tasks HTTP/1.1\r\nHost: k\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/x-ndjson\r\nContent-Length: 1000\r\n\r\n{{}}\n"
        );
        conn.send(head.as_bytes()).expect("sends");
        conn
    };
    let mut open_calls = Vec::new();
    for name in ["out", "old"] {
        let token = g.ring.secret(name).to_owned();
        let events = open(&g, &token, watch("/kwq/jobs/j/events"));
        eventually("the first event is there", || events.readable().then_some(()));
        let results = open(&g, &token, watch("/kwq/jobs/j/results?follow=true"));
        eventually("its head is there", || results.readable().then_some(()));
        let wait = watch("/kwq/jobs/j/wait?waitMs=60000");
        let refused = vec![open(&g, &token, worker(name)), open(&g, &token, wait)];
        open_calls.push((events, results, refused));
    }
    let waiting = || g.get("all", "/kwq/stats/now").ok()["consumersWaiting"].as_i64();
    eventually("both are parked", || (waiting() == Some(2)).then_some(()));
    // Last, because an upload that stands still is cut.
    for ((_, _, refused), name) in open_calls.iter_mut().zip(["out", "old"]) {
        refused.insert(0, upload(&g, g.ring.secret(name)));
    }
    g.ring.forget("out");
    let soon = now_ms() + 1_000;
    g.ring.edit("old", |line| line["expires_ts"] = json!(soon));
    g.ring.write();
    g.server.signal("HUP");
    for (mut events, mut results, refused) in open_calls {
        events.answer(false).expect("it ends");
        results.answer(false).expect_err("it breaks off");
        for mut call in refused {
            call.answer(false).expect("an answer").refused(401, "unauthorized");
        }
    }
    assert_eq!(g.get("all", "/kwq/jobs/j").ok()["submitted"], 1, "nothing of the uploads");
    assert!(now_ms() < soon + 30_000, "long before their waits were over");
    g.server.assert_alive();
}

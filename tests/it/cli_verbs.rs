//! Verbs of `api.md` 12 that only look, select or hand bytes through.

use std::process::Output;

use serde_json::{Value, json};

use crate::support::{Process, Server, kwq, text};

fn run(server: &Server, args: &[&str]) -> Output {
    let url = format!("http://{}", server.addr());
    kwq(server.dir(), &[args, &["--url", &url]].concat())
}

#[track_caller]
fn said(server: &Server, args: &[&str]) -> String {
    let out = run(server, args);
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

// `top`: JSON output = the API's body; `quiet` = ids, one a line; a table for people.
#[test]
fn top_shows_the_numbers_of_the_server_in_every_format() {
    let server = Server::start(&[]);
    server.add("big", &json!(vec![json!({"priority": 7}); 3]));
    server.add("small", &json!([{}]));
    server.leased("w", "held", &json!({}));
    server.poke("/kwq/queues/2/pause").expect(200);
    for format in ["json", "ndjson"] {
        let line = said(&server, &["top", "--once", "-o", format]);
        let now: Value = serde_json::from_str(&line).expect("one document");
        assert_eq!((&now["tasks"]["PENDING"], &now["leases"]), (&json!(4), &json!(1)), "{now}");
        assert!(now["verdict"]["text"].is_string() && now["queues"].is_array(), "{now}");
    }
    let ids = said(&server, &["top", "--once", "-o", "quiet"]);
    assert_eq!(ids.lines().take(2).collect::<Vec<_>>(), ["big", "small"], "most pending first");
    let board = said(&server, &["top", "--once", "-o", "table"]);
    assert!(board.contains("pending 4") && board.contains("leases   1"), "{board}");
    let line = |begin: &str| board.lines().find(|l| l.trim_start().starts_with(begin));
    let words = |begin| line(begin).map(|l| l.split_whitespace().collect::<Vec<_>>());
    assert_eq!(words("7 ").map(|w| w[1].to_owned()).as_deref(), Some("3"), "{board}");
    assert!(line("2 ").is_some_and(|l| l.contains("paused")), "{board}");
    assert_eq!(words("big").map(|w| w[2].to_owned()).as_deref(), Some("3"), "{board}");
    assert!(line("4 ").is_none(), "a level with nothing to show is left out: {board}");
    assert!(!board.contains('\u{1b}'), "no terminal, no control characters");
}

// `--interval`: again and again until it is interrupted; 5 when nobody is there.
#[test]
fn top_goes_on_until_it_is_interrupted() {
    let server = Server::start(&[]);
    let url = format!("http://{}", server.addr());
    let args = ["top", "--interval", "100ms", "-o", "ndjson", "--url", &url];
    let mut top = Process::start(server.dir(), &args);
    top.says("\"verdict\"");
    server.add("later", &json!([{}]));
    top.says("\"id\":\"later\"");
    top.signal("INT");
    assert!(!top.wait().success());
    let away = ["top", "--once", "--url", "http://127.0.0.1:1"];
    assert_eq!(kwq(server.dir(), &away).status.code(), Some(5));
    assert_eq!(run(&server, &["top", "--interval", "1ms"]).status.code(), Some(2));
}

/// Answers every connection with these words as the verdict, `times` times.
fn answers(listener: &std::net::TcpListener, words: &str, times: usize) {
    use std::io::{Read, Write};
    let body = json!({"ts": 1, "verdict": {"level": "ok", "text": words}}).to_string();
    for _ in 0..times {
        let (mut socket, _) = listener.accept().expect("a look");
        let mut head = [0; 4_096];
        assert!(socket.read(&mut head).expect("a head") > 0);
        let length = body.len();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close");
        write!(socket, "{head}\r\n\r\n{body}").expect("sends");
    }
}

// A server that restarts does not end the screen: it says for how long it shows old numbers.
#[test]
fn top_waits_for_a_server_that_comes_back() {
    let listen = |addr: &str| std::net::TcpListener::bind(addr).expect("an address");
    let dir = crate::support::Folder::new("kwq-top");
    for format in ["table", "ndjson"] {
        let before = listen("127.0.0.1:0");
        let addr = before.local_addr().expect("an address").to_string();
        let url = format!("http://{addr}");
        let args = ["top", "--interval", "100ms", "-o", format, "--url", &url];
        let mut top = Process::start(dir.path(), &args);
        answers(&before, "first words", 2);
        top.says("first words");
        drop(before);
        let missed = top.says("no answer");
        assert!(format == "ndjson" || missed.starts_with("1970-01-01"), "{missed}");
        crate::support::pause(300);
        let after = listen(&addr);
        answers(&after, "second words", 2);
        top.says("second words");
        let told = top.lines().iter().filter(|line| line.contains("no answer")).count();
        assert!(if format == "table" { told > 1 } else { told == 1 }, "{:?}", top.lines());
        top.signal("INT");
        assert!(!top.wait().success());
    }
}

// Selectors for jobs: `last`, `all`, an id, `tag=k:v`.
#[test]
fn selectors_name_the_jobs_they_mean() {
    let server = Server::start(&[]);
    for (id, tag) in [("a", "desk:rates"), ("b", "desk:fx"), ("c", "desk:rates")] {
        server.post("/kwq/jobs", &json!({"id": id, "tag": tag})).expect(201);
        // The last one is the one with the latest stamp.
        crate::support::pause(3);
    }
    let ids = |selector: &str| {
        let shown = said(&server, &["job", "get", selector, "-o", "quiet"]);
        let mut ids: Vec<String> = shown.lines().map(str::to_owned).collect();
        ids.sort();
        ids
    };
    assert_eq!(ids("b"), ["b"]);
    assert_eq!(ids("last"), ["c"]);
    assert_eq!(ids("all"), ["a", "b", "c"]);
    assert_eq!(ids("tag=desk:rates"), ["a", "c"]);
    assert_eq!(run(&server, &["job", "get", "tag=desk:none"]).status.code(), Some(3));
    said(&server, &["job", "pause", "tag=desk:rates"]);
    assert_eq!(["a", "b", "c"].map(|id| server.job(id)["paused"] == true), [true, false, true]);
}

// `task payload`, `task result`: the bytes and nothing else.
#[test]
fn payload_and_result_come_out_byte_for_byte() {
    let server = Server::start(&[]);
    let task = json!({"id": "mine", "payload": "AAH/Cg==", "encoding": "base64"});
    let task = server.leased("w", "g", &task);
    let out = run(&server, &["task", "payload", "mine", "--job", "g"]);
    assert_eq!(out.stdout, b"\x00\x01\xff\n", "no line end is added");
    assert_eq!(run(&server, &["task", "result", "mine"]).status.code(), Some(3), "not yet");
    server.report("complete", &task["lease"], &json!({"result": "42"})).expect(200);
    assert_eq!(run(&server, &["task", "result", text(&task, "ref")]).stdout, b"42");
}

// `worker rm`: asks first; what the worker holds is queued again.
#[test]
fn a_removed_worker_gives_back_what_it_holds() {
    let server = Server::start(&[]);
    let task = server.leased("gone", "g", &json!({}));
    let out = run(&server, &["worker", "rm", "gone"]);
    assert_eq!(out.status.code(), Some(2), "nobody said yes");
    assert!(String::from_utf8_lossy(&out.stderr).contains("1 leased task"));
    said(&server, &["worker", "rm", "gone", "--dry-run"]);
    assert_eq!(server.state(text(&task, "ref")), "ALLOCATED");
    said(&server, &["worker", "rm", "gone", "--yes"]);
    assert_eq!(server.state(text(&task, "ref")), "PENDING");
    assert_eq!(run(&server, &["worker", "get", "gone"]).status.code(), Some(3));
}

// `man DIR`: a page for the program and for each verb.
#[test]
fn man_pages_are_written_for_every_verb() {
    let server = Server::start(&[]);
    said(&server, &["man", "pages"]);
    for (page, words) in [("kwq.1", "kwq"), ("kwq-top.1", "interval"), ("kwq-job-wait.1", "for")] {
        let page = std::fs::read_to_string(server.dir().join("pages").join(page)).expect(page);
        assert!(page.contains(".TH") && page.contains(words), "{page}");
    }
}

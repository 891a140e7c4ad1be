//! Server-sent events: `GET /kwq/jobs/{job}/events` (`api.md` 6 and 15) and `GET /kwq/events` (8).

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{Conn, Req, Server, Sse, eventually, int, shared, text, unique};

/// Name and job of each event.
fn events(text: &str) -> Vec<(String, Value)> {
    let field = |block: &str, name: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.to_owned()
    };
    let blocks = text.split("\n\n").filter(|block| block.contains("event: "));
    let event = |block: &str| {
        let data = serde_json::from_str(&field(block, "data: ")).expect("data is a job");
        (field(block, "event: "), data)
    };
    blocks.map(event).collect()
}

// api.md 15: an ended job sends one `state` event and ends.
#[test]
fn an_ended_job_sends_one_state_event() {
    let (server, job) = (shared(), unique("over"));
    server.complete(&server.leased("w", &job, &json!({})));
    server.job_verb(&job, "close");
    let answer = server.get(&format!("/kwq/jobs/{job}/events"));
    assert_eq!(answer.expect(200).header("Content-Type"), Some("text/event-stream"));
    let found = events(&answer.text());
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].0.as_str(), text(&found[0].1, "state")), ("state", "COMPLETED"));
    assert!(answer.text().starts_with("retry: 2000\nid: 1\n"), "{}", answer.text());
}

// api.md 6: `progress` on change, `state` on change of state; ends after the ended state.
#[test]
fn a_live_job_tells_its_progress_and_its_states() {
    let (server, job) = (shared(), unique("live"));
    let task = server.leased("w", &job, &json!({}));
    let mut conn = Conn::open(server.addr()).expect("connects");
    let path = format!("/kwq/jobs/{job}/events");
    conn.send(&Req::new("GET", &path).to_bytes()).expect("sends");
    eventually("the first event is there", || conn.readable().then_some(()));
    server.complete(&task);
    let second = server.leased("w", &job, &json!({}));
    server.job_verb(&job, "close");
    server.complete(&second);
    let found = events(&conn.answer(false).expect("it ends").text());
    let (first, last) = (&found[0], &found[found.len() - 1]);
    assert_eq!((first.0.as_str(), text(&first.1, "state")), ("progress", "OPEN"));
    assert_eq!((last.0.as_str(), text(&last.1, "state")), ("state", "COMPLETED"));
    assert_eq!(int(&last.1["counts"], "COMPLETED"), 2);
    let ended = found.iter().filter(|(_, job)| text(job, "state") == "COMPLETED");
    assert_eq!(ended.count(), 1, "{found:?}");
}

#[test]
fn no_job_no_events() {
    let missing = shared().get(&format!("/kwq/jobs/{}/events", unique("none")));
    missing.refused(404, "job_not_found");
}

const NODE: &str = "/kwq/events";

// api.md 8: the snapshot is made once a second for all.
#[test]
fn everybody_gets_the_same_snapshot() {
    let mut streams = [(); 3].map(|()| Sse::open(shared(), NODE, None));
    // A listener that is late may leave one out, so not the n-th of each are compared.
    let told = streams.each_mut().map(|stream| {
        let snapshots = (0..5).map(|_| stream.until("snapshot", |_| true));
        snapshots.map(|event| (event.id, event.text)).collect::<BTreeMap<_, _>>()
    });
    let [first, others @ ..] = &told;
    let in_all = |id: &&u64| others.iter().all(|snapshots| snapshots.contains_key(id));
    let common: Vec<&u64> = first.keys().filter(in_all).collect();
    assert!(!common.is_empty(), "{told:?}");
    for id in common {
        assert!(others.iter().all(|snapshots| snapshots[id] == first[id]), "{id}");
    }
}

// api.md 8: `id` rising, whatever comes between, and over a restart.
#[test]
fn ids_of_the_node_rise_over_a_restart() {
    let mut server = Server::start(&[]);
    let mut latest = 0;
    for round in 0..2 {
        let mut stream = Sse::open(&server, NODE, None);
        for n in 0..3 {
            server.submit(&json!({"groupId": format!("rise-{round}-{n}")}));
            let event = stream.next();
            assert!(event.id > latest, "{} after {latest}", event.id);
            latest = event.id;
        }
        drop(stream);
        server.kill();
        server.launch();
    }
    let resumed = Sse::open(&server, NODE, Some(&latest.to_string())).next();
    assert!(resumed.id > latest, "{} after {latest}", resumed.id);
}

// api.md 8: a comment every 15 s; promises.md 9: a drain ends it.
#[test]
fn a_stream_of_the_node_is_kept_open_and_ends_with_a_drain() {
    let server = Server::start(&[]);
    let mut stream = Sse::open(&server, NODE, None);
    eventually("a comment", || {
        stream.next();
        stream.asides.iter().any(|aside| aside == ":").then_some(())
    });
    // No look comes after this change, within the second it happens in.
    server.post("/kwq/jobs", &json!({"id": "last"})).expect(201);
    server.signal_term();
    let told = std::iter::from_fn(|| stream.try_next());
    let jobs: Vec<_> = told.filter(|event| event.kind == "job").collect();
    assert!(jobs.iter().any(|event| event.data["id"] == "last"), "{} jobs", jobs.len());
}

// A listener that goes away in the middle of everything takes nothing with it.
#[test]
fn listeners_come_and_go() {
    let server = Server::start(&[]);
    let open = || {
        let text = server.get("/metrics").expect(200).text();
        let line = text.lines().find(|l| l.starts_with("kwq_http_connections{kind=\"sse\"}"));
        line.and_then(|l| l.rsplit(' ').next()?.parse::<f64>().ok()).expect("a number")
    };
    let mut stays = Sse::open(&server, NODE, None);
    for _ in 0..20 {
        drop(Sse::open(&server, NODE, None));
    }
    eventually("the others have gone", || (open() == 1.0).then_some(()));
    stays.until("snapshot", |_| true);
    drop(stays);
    eventually("all have gone", || (open() == 0.0).then_some(()));
}

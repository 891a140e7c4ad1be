//! `GET /kwq/jobs/{job}/events`: server-sent events (`api.md` 6 and 15).

use serde_json::{Value, json};

use crate::support::{Conn, Req, eventually, int, shared, text, unique};

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

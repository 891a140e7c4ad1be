//! Streams of tasks, one JSON object a line (`api.md` 4 NDJSON).

use serde_json::{Value, json};

use crate::support::{Answer, Conn, Req, eventually, int, shared, text, unique};

fn send(job: &str, query: &str, body: &str) -> Answer {
    let req = Req::new("POST", &format!("/kwq/jobs/{job}/tasks{query}"));
    shared().call(&req.text("application/x-ndjson", body))
}

#[track_caller]
fn counts(body: &Value) -> (i64, i64, i64, i64) {
    (int(body, "accepted"), int(body, "rejected"), int(body, "lines"), int(body, "chunks"))
}

// api.md 4: the documented example.
#[test]
fn a_stream_answers_counts_and_only_errors() {
    let job = unique("nd");
    let line = |i| format!("{{\"payload\":{{\"trade\":{i}}},\"tag\":\"currency:USD\"}}\n");
    let body = send(&job, "", &(1..=3).map(line).collect::<String>()).ok();
    let expected = json!({"job": job, "accepted": 3, "duplicates": 0, "rejected": 0, "lines": 3,
        "chunks": 1, "closed": false, "results": []});
    assert_eq!(body, expected);
    assert_eq!(shared().job(&job)["submitted"], 3);
}

// api.md 4: results=all lists the good lines too; line counts from 1.
#[test]
fn results_all_names_every_line() {
    let job = unique("all");
    let body = send(&job, "?results=all", "{\"id\":\"a\"}\n{\"id\":\"b\"}\n").ok();
    let results = body["results"].as_array().expect("results");
    let lines: Vec<i64> = results.iter().map(|r| int(r, "line")).collect();
    assert_eq!(lines, [1, 2]);
    let [first, ..] = results.as_slice() else { panic!("{body}") };
    assert_eq!((text(first, "outcome"), text(first, "id")), ("ok", "a"));
    assert_eq!(shared().task(text(first, "ref"))["id"], "a");
}

// api.md 4: LF or CRLF, last line end optional; empty lines are skipped but counted.
#[test]
fn line_ends_and_empty_lines_are_forgiven() {
    let job = unique("crlf");
    let body = send(&job, "?results=all", "{}\r\n\r\n\n{\"id\":\"last\"}").ok();
    assert_eq!((int(&body, "accepted"), int(&body, "rejected")), (2, 0));
    assert_eq!(int(&body, "lines"), 4);
    assert_eq!(body["results"][1]["line"], 4);
    let nothing = send(&unique("empty"), "", "\n\n").ok();
    assert_eq!((int(&nothing, "accepted"), int(&nothing, "lines")), (0, 2));
}

// api.md 4: a bad line is rejected and reported, the others go on.
#[test]
fn a_bad_line_is_reported_and_skipped() {
    let job = unique("bad");
    let stream = "{}\nnot json\n{\"priority\":12}\n[1]\n{}\n";
    let body = send(&job, "", stream).ok();
    assert_eq!(counts(&body), (2, 3, 5, 1));
    let results = body["results"].as_array().expect("results");
    let seen: Vec<(i64, &str)> =
        results.iter().map(|r| (int(r, "line"), text(r, "outcome"))).collect();
    assert_eq!(seen, [(2, "rejected"), (3, "rejected"), (4, "rejected")]);
    assert_eq!(results.first().map(|r| text(r, "code")), Some("bad_json"));
    assert_eq!(results.get(1).map(|r| text(r, "code")), Some("invalid_field"));
    assert_eq!(shared().job(&job)["submitted"], 2);
}

// api.md 4: onError=stop ends the call with 422, accepted, nextLine = the bad line.
#[test]
fn on_error_stop_ends_at_the_bad_line() {
    let job = unique("stop");
    let stream = "{}\n{}\n{\"priority\":12}\n{}\n{}\n";
    let problem = send(&job, "?onError=stop", stream).refused(422, "invalid_field");
    assert_eq!(int(&problem, "nextLine"), 3, "{problem}");
    assert_eq!(int(&problem, "accepted"), 2, "{problem}");
    assert_eq!(shared().job(&job)["submitted"], 2);
}

// api.md 4: onError takes skip or stop.
#[test]
fn on_error_takes_two_values() {
    let job = unique("onerror");
    send(&job, "?onError=panic", "{}\n").refused(400, "bad_request");
    assert_eq!(int(&send(&job, "?onError=skip", "{}\n").ok(), "accepted"), 1);
}

// api.md 4: a chunk ends after 10,000 lines.
#[test]
fn a_long_stream_is_cut_into_chunks() {
    let job = unique("chunks");
    let body = send(&job, "", &"{}\n".repeat(20_001)).ok();
    assert_eq!(counts(&body), (20_001, 0, 20_001, 3));
    assert_eq!(shared().job(&job)["submitted"], 20_001);
}

// api.md 4: a chunk ends before the line that would take it beyond 16 MiB; no limit on the total.
#[test]
fn a_wide_stream_is_cut_into_chunks_of_16_mib() {
    let job = unique("wide");
    let line = format!("{{\"payload\":\"{}\"}}\n", "x".repeat(250_000));
    let body = send(&job, "", &line.repeat(80)).ok();
    assert_eq!(counts(&body), (80, 0, 80, 2));
}

// api.md 4: a line is at most payload limit + 16 KiB, else 413 line_too_large.
#[test]
fn a_line_that_is_too_long_is_refused() {
    let job = unique("line");
    let line = format!("{{\"payload\":\"{}\"}}\n", "x".repeat(300 * 1024));
    let answer = send(&job, "", &format!("{{}}\n{line}{{}}\n"));
    // The text allows both: the call ends with 413, or the line is rejected like any bad one.
    if answer.status == 413 {
        let problem = answer.refused(413, "line_too_large");
        assert_eq!(int(&problem, "nextLine"), 2, "{problem}");
    } else {
        let body = answer.ok();
        assert_eq!((int(&body, "accepted"), int(&body, "rejected")), (2, 1), "{body}");
        assert_eq!(body["results"][0]["code"], "line_too_large");
    }
    shared().assert_alive();
}

// api.md 4: a payload over its limit in a line under its own is rejected alone.
#[test]
fn a_payload_just_over_its_limit_is_a_rejected_line() {
    let job = unique("over");
    let line = format!("{{\"payload\":\"{}\"}}\n", "x".repeat(256 * 1024 + 1));
    let body = send(&job, "", &format!("{{}}\n{line}{{}}\n")).ok();
    assert_eq!((int(&body, "accepted"), int(&body, "rejected")), (2, 1));
    assert_eq!(body["results"][0]["code"], "payload_too_large");
}

// api.md 4: the first 1,000 errors are listed, all are counted.
#[test]
fn errors_are_all_counted_but_only_a_thousand_listed() {
    let body = send(&unique("many"), "", &"{\"priority\":12}\n".repeat(1_200)).ok();
    assert_eq!(int(&body, "rejected"), 1_200);
    assert_eq!(body["results"].as_array().map(Vec::len), Some(1_000));
}

// api.md 4: close and lenient hold for streams too.
#[test]
fn a_stream_may_close_its_job() {
    let job = unique("close");
    let body = send(&job, "?close=true&lenient=true", "{\"colour\":1}\n{}\n").ok();
    assert_eq!(int(&body, "accepted"), 2);
    assert_eq!(body["closed"], true);
    assert_eq!(shared().job(&job)["state"], "CLOSED");
    send(&job, "", "{}\n").refused(409, "job_closed");
}

// api.md 4: on /kwq/submit each line names its job.
#[test]
fn a_stream_on_submit_lets_each_line_name_its_job() {
    let (a, b) = (unique("a"), unique("b"));
    let stream = format!("{{\"groupId\":\"{a}\"}}\n{{\"groupId\":\"{b}\"}}\n");
    let req = Req::new("POST", "/kwq/submit").text("application/x-ndjson", &stream);
    let body = shared().call(&req).ok();
    assert_eq!(counts(&body), (2, 0, 2, 1));
    assert_eq!(shared().job(&a)["submitted"], 1);
    assert_eq!(shared().job(&b)["submitted"], 1);
}

// api.md 4: a stream may come in HTTP chunks without a declared length.
#[test]
fn a_stream_may_come_without_a_length() {
    let job = unique("chunked");
    let head = format!(
        "POST /kwq/jobs/{job}/tasks HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\n\
         Transfer-Encoding: chunked\r\n\r\n"
    );
    let mut conn = Conn::open(shared().addr()).expect("connects");
    conn.send(head.as_bytes()).expect("sends");
    for part in ["{\"id\":", "\"x\"}\n{", "}\n"] {
        conn.send(format!("{:x}\r\n{part}\r\n", part.len()).as_bytes()).expect("sends");
    }
    conn.send(b"0\r\n\r\n").expect("sends");
    let body = conn.answer(false).expect("an answer").ok();
    assert_eq!(counts(&body), (2, 0, 2, 1));
}

// api.md 4: client gone in mid-stream: durable chunks stay.
#[test]
fn durable_chunks_stay_when_the_client_goes() {
    let job = unique("gone");
    let mut conn = Conn::open(shared().addr()).expect("connects");
    let stream = "{}\n".repeat(10_050);
    let head = format!(
        "POST /kwq/jobs/{job}/tasks HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\n\
         Content-Length: {}\r\n\r\n",
        stream.len() + 1_000
    );
    conn.send(head.as_bytes()).expect("sends");
    conn.send(stream.as_bytes()).expect("sends");
    eventually("the first chunk is durable", || {
        let answer = shared().get(&format!("/kwq/jobs/{job}"));
        (answer.status == 200 && int(&answer.json(), "submitted") >= 10_000).then_some(())
    });
    drop(conn);
    assert!(int(&shared().job(&job), "submitted") >= 10_000);
    shared().assert_alive();
}

// api.md 1: other types are refused with 415, also streams' near names.
#[test]
fn only_the_named_type_is_a_stream() {
    let path = format!("/kwq/jobs/{}/tasks", unique("type"));
    for kind in ["text/plain", "application/ndjson", "text/x-ndjson"] {
        let req = Req::new("POST", &path).text(kind, "{}\n");
        shared().call(&req).refused(415, "unsupported_media_type");
    }
    let req = Req::new("POST", &path).text("application/x-ndjson; charset=utf-8", "{}\n");
    assert_eq!(int(&shared().call(&req).ok(), "accepted"), 1);
}

//! `POST /kwq/submit` of one task: the seed's body, its headers, payloads byte for byte.

use serde_json::json;

use crate::support::{
    Req, in_background, int, is_problem, merge, now_ms, shared, sorted, text, unique,
};

/// The sixteen names of a seed body in their order.
const SEED_FIELDS: [&str; 16] = [
    "id",
    "groupId",
    "priority",
    "tag",
    "source",
    "payload",
    "status",
    "worker",
    "workerEndpoint",
    "runCount",
    "meta",
    "timeoutSeconds",
    "submitted_ts",
    "allocated_ts",
    "running_ts",
    "completed_ts",
];

// api.md 2.2 SeedTask, 4: exactly these fields; id, groupId … in the order of the example.
#[test]
fn one_task_answers_the_seed_body_with_its_sixteen_fields_in_order() {
    let (server, job, before) = (shared(), unique("seed"), now_ms());
    let answer = server.post(
        "/kwq/submit",
        &json!({"id": "trade-10", "groupId": job, "priority": 7,
            "tag": "currency:USD,risk:CR01,PV01", "affinity": ["curve=USD"],
            "payload": "{\"trade\":10}"}),
    );
    let body = answer.ok();
    assert_eq!(body.as_object().expect("an object").len(), SEED_FIELDS.len(), "{body}");
    let raw = answer.text();
    let places: Vec<_> =
        SEED_FIELDS.iter().map(|f| raw.find(&format!("\"{f}\":")).expect(f)).collect();
    assert!(places.is_sorted(), "{raw}");
    let submitted = int(&body, "submitted_ts");
    assert!(submitted >= before && submitted <= now_ms(), "{body}");
    let expected = json!({"id": "trade-10", "groupId": job, "priority": 7,
        "tag": "currency:USD,risk:CR01,PV01", "source": null, "payload": "{\"trade\":10}",
        "status": "SUBMITTED", "worker": null, "workerEndpoint": null, "runCount": 0, "meta": null,
        "timeoutSeconds": 0, "submitted_ts": submitted, "allocated_ts": 0, "running_ts": 0,
        "completed_ts": 0});
    assert_eq!(body, expected);
}

// api.md 1: Kwq-Ref, Kwq-Outcome; S 4: <priority>-<partition>-<offset>.
#[test]
fn one_task_answers_its_reference_and_outcome_in_headers() {
    let answer = shared().post("/kwq/submit", &json!({"groupId": unique("h"), "priority": 3}));
    answer.expect(200);
    assert_eq!(answer.header("Kwq-Outcome"), Some("ok"));
    assert_eq!(answer.header("Cache-Control"), Some("no-store"));
    let reference = answer.header("Kwq-Ref").expect("a reference");
    let parts: Vec<u64> = reference.split('-').map(|p| p.parse().expect("decimal")).collect();
    assert!(parts.len() == 3 || parts.len() == 4, "{reference}");
    assert_eq!(parts.first(), Some(&3), "{reference}");
    assert!(parts.get(1).is_some_and(|p| *p < 3), "{reference}");
}

// S 4: id in every body is the client id if given, else the reference.
#[test]
fn without_an_id_the_reference_is_the_id_and_the_job_is_default() {
    let answer = shared().post("/kwq/submit", &json!({"payload": "x"}));
    let body = answer.ok();
    assert_eq!(Some(text(&body, "id")), answer.header("Kwq-Ref"));
    assert_eq!(body["groupId"], "default");
    assert_eq!(body["priority"], 5);
}

// api.md 2.1: `job` is an alias of groupId.
#[test]
fn job_is_read_as_group_id() {
    let job = unique("alias");
    let body = shared().post("/kwq/submit", &json!({"job": job})).ok();
    assert_eq!(body["groupId"], *job);
}

// api.md 2.1: priority 0 = unset, so the default 5.
#[test]
fn priority_zero_means_unset() {
    let body = shared().post("/kwq/submit", &json!({"groupId": unique("z"), "priority": 0})).ok();
    assert_eq!(body["priority"], 5);
}

// S 4 "Ignored on input": status, worker, workerEndpoint, runCount, *_ts; api.md 2.1.
#[test]
fn output_only_fields_are_ignored_on_input() {
    let (server, job) = (shared(), unique("ignored"));
    let body = server
        .post(
            "/kwq/submit",
            &json!({"groupId": job, "status": "COMPLETED", "state": "ERROR", "worker": "w9",
                "workerEndpoint": "http://x", "runCount": 7, "submitted_ts": 5, "allocated_ts": 6,
                "running_ts": 7, "completed_ts": 8, "error_ts": 9, "attempt": 3, "errors": 2}),
        )
        .ok();
    assert_eq!(body["status"], "SUBMITTED");
    assert_eq!(body["worker"], json!(null));
    assert_eq!(int(&body, "runCount"), 0);
    assert_eq!(int(&body, "completed_ts"), 0);
    assert!(int(&body, "submitted_ts") > 1_000_000_000_000);
    let task = server.task(text(&body, "id"));
    assert_eq!(task["state"], "PENDING");
    assert_eq!(int(&task, "errors"), 0);
}

// S 4: the seed's clients send their whole body back, nulls included.
#[test]
fn a_seed_body_with_nulls_is_accepted_as_it_is() {
    let body = json!({"id": unique("seed"), "groupId": unique("nulls"), "priority": 4, "tag": null,
        "source": null, "payload": "x", "status": "SUBMITTED", "worker": null,
        "workerEndpoint": null, "runCount": 0, "meta": null, "timeoutSeconds": 0,
        "submitted_ts": 0, "allocated_ts": 0, "running_ts": 0, "completed_ts": 0});
    shared().post("/kwq/submit", &body).ok();
}

// api.md 2.1, 2.2: every field comes back in normal form, defaults filled in.
#[test]
fn a_task_by_id_shows_every_field_in_normal_form() {
    let (server, job) = (shared(), unique("normal"));
    let reference = server.submit(&json!({"id": "n1", "groupId": job, "priority": 8,
        "tag": "b,k:v", "tags": {"desk": ["rates", "fx"]}, "payload": "abc",
        "affinity": [{"key": "curve=USD", "weight": 7}, "model=h"], "source": "s", "meta": "m",
        "timeoutSeconds": 60, "leaseMs": 45_000, "maxAttempts": 2, "maxCrashes": 3,
        "backoff": {"baseMs": 10, "capMs": 20, "jitter": "none"},
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}));
    let task = server.task(&reference);
    assert_eq!(task["ref"], *reference);
    let expected = json!({"id": "n1", "groupId": job, "priority": 8, "state": "PENDING",
        "status": "SUBMITTED", "affinity": [{"key": "curve=USD", "weight": 7},
        {"key": "model=h", "weight": 1}], "source": "s", "meta": "m", "timeoutSeconds": 60,
        "leaseMs": 45_000, "maxAttempts": 2, "maxCrashes": 3,
        "backoff": {"baseMs": 10, "capMs": 20, "jitter": "none"}, "attempt": 0, "runCount": 0,
        "errors": 0, "crashes": 0, "redriven": 0, "payloadBytes": 3, "encoding": "text",
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "payloadSha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"});
    assert_eq!(merge(&task, &expected), task, "a field differs");
    assert_eq!(sorted(&task["tags"]), ["b", "desk:fx", "desk:rates", "k:v"]);
    assert!(task.get("payload").is_none(), "payload only on demand: {task}");
    assert!(task.get("worker").is_none(), "unset fields are absent: {task}");
    assert!(task.get("allocated_ts").is_none(), "unset stamps are absent: {task}");
}

// api.md 2.1: defaults; lease of a task nobody asked for is absent (section 15).
#[test]
fn a_bare_task_shows_the_defaults() {
    let server = shared();
    let task = server.task(&server.submit(&json!({"groupId": unique("bare")})));
    let expected = json!({"priority": 5, "timeoutSeconds": 0, "maxAttempts": 4, "maxCrashes": 5,
        "backoff": {"baseMs": 1000, "capMs": 300_000, "jitter": "full"}, "payloadBytes": 0});
    assert_eq!(merge(&task, &expected), task);
    assert!(task.get("leaseMs").is_none(), "{task}");
}

// api.md 2.1 affinity as string `a,b`.
#[test]
fn affinity_may_be_one_string() {
    let server = shared();
    let task = server.task(&server.submit(&json!({"groupId": unique("a"), "affinity": "x=1,y"})));
    assert_eq!(task["affinity"], json!([{"key": "x=1", "weight": 1}, {"key": "y", "weight": 1}]));
}

// api.md 2.1 "Payload bytes": text, json exactly as sent, base64 decoded; byte for byte back.
#[test]
fn payloads_come_back_byte_for_byte_in_each_encoding() {
    let (server, job) = (shared(), unique("bytes"));
    let cases: [(&str, &str, &[u8], &str); 6] = [
        (r#""héllo \u0041\n""#, "", "héllo A\n".as_bytes(), "text"),
        (
            r#"{"a": 1.50, "b":[1 ,2], "a2":"\u0041"}"#,
            "",
            br#"{"a": 1.50, "b":[1 ,2], "a2":"\u0041"}"#,
            "json",
        ),
        (r#""quoted""#, "json", br#""quoted""#, "json"),
        ("12345678901234567890.10", "", b"12345678901234567890.10", "json"),
        (r#""AP9/gA==""#, "base64", &[0x00, 0xff, 0x7f, 0x80], "base64"),
        (r#""""#, "", b"", "text"),
    ];
    for (sent, asked, bytes, encoding) in cases {
        let extra =
            if asked.is_empty() { String::new() } else { format!(r#","encoding":"{asked}""#) };
        let body = format!(r#"{{"groupId":"{job}","payload":{sent}{extra}}}"#);
        let answer = server.call(&Req::new("POST", "/kwq/submit").text("application/json", &body));
        let reference = answer.expect(200).header("Kwq-Ref").expect("a reference").to_owned();
        let download = server.get(&format!("/kwq/tasks/{reference}/payload"));
        assert_eq!(download.expect(200).body, bytes, "{sent}");
        let ask = json!({"worker": "bytes", "jobs": [job], "waitMs": 30_000});
        let given = server.post("/kwq/consume", &ask);
        let task = given.ok()["tasks"][0].clone();
        assert_eq!(task["ref"], *reference);
        assert_eq!(task["encoding"], encoding, "{task}");
        assert_eq!(int(&task, "payloadBytes"), i64::try_from(bytes.len()).expect("small"));
        if encoding == "json" {
            let exact = format!("\"payload\":{sent}");
            assert!(given.text().contains(&exact), "{exact} in {}", given.text());
        } else if !bytes.is_empty() {
            let meant: serde_json::Value = serde_json::from_str(sent).expect("our own JSON");
            assert_eq!(task["payload"], meant);
        }
    }
}

// api.md 2.2 SeedTask: payload is always a string (text; JSON text; base64 text).
#[test]
fn the_seed_body_shows_every_payload_as_a_string() {
    let (server, job) = (shared(), unique("strings"));
    let payload = |more| server.post("/kwq/submit", &merge(&json!({"groupId": job}), &more)).ok();
    assert_eq!(payload(json!({"payload": "t"}))["payload"], "t");
    assert_eq!(payload(json!({"payload": {"a": 1}}))["payload"], "{\"a\":1}");
    assert_eq!(payload(json!({"payload": "AP8=", "encoding": "base64"}))["payload"], "AP8=");
}

// api.md 7.2 downloads: octet-stream, attachment, nosniff; empty → 200 with 0 bytes.
#[test]
fn a_payload_is_downloaded_as_an_attachment() {
    let (server, job) = (shared(), unique("dl"));
    let reference = server.submit(&json!({"groupId": job, "payload": "<script>"}));
    let answer = server.get(&format!("/kwq/tasks/{reference}/payload"));
    assert_eq!(answer.expect(200).text(), "<script>");
    assert_eq!(answer.header("Content-Type"), Some("application/octet-stream"));
    let disposition = answer.header("Content-Disposition").unwrap_or_default();
    assert!(disposition.starts_with("attachment"), "{disposition}");
    assert_eq!(answer.header("X-Content-Type-Options"), Some("nosniff"));
    let empty = server.submit(&json!({"groupId": job}));
    assert!(server.get(&format!("/kwq/tasks/{empty}/payload")).expect(200).body.is_empty());
}

// api.md 2.2: payload by id with ?payload=true.
#[test]
fn a_task_by_id_shows_its_payload_on_demand() {
    let server = shared();
    let reference = server.submit(&json!({"groupId": unique("p"), "payload": {"x": [1]}}));
    let task = server.get(&format!("/kwq/tasks/{reference}?payload=true")).ok();
    assert_eq!(task["payload"], json!({"x": [1]}));
}

// S 15 Visible: a submit can be handed out and found by id as soon as it is acknowledged (P15).
#[test]
fn a_task_is_found_and_handed_out_right_after_its_acknowledgement() {
    let (server, job) = (shared(), unique("visible"));
    for _ in 0..20 {
        let reference = server.submit(&json!({"groupId": job, "payload": "x"}));
        assert_eq!(server.state(&reference), "PENDING");
        let got = server.consume("visible", &job, &json!({}));
        assert_eq!(got.len(), 1, "no wait was needed");
        server.complete(got.first().expect("one"));
        assert_eq!(server.state(&reference), "COMPLETED");
    }
}

// P15, S 15: a read by id shows at once what was acknowledged before it, also beside other work.
#[test]
fn reads_by_id_are_never_stale_beside_other_work() {
    let server = shared();
    let clients: Vec<_> = (0..6)
        .map(|_| {
            in_background(move || {
                let (job, worker) = (unique("stale"), unique("w"));
                for _ in 0..60 {
                    let reference = server.submit(&json!({"groupId": job, "payload": "x"}));
                    assert_eq!(server.state(&reference), "PENDING");
                    let held = server.take(&worker, &job);
                    assert_eq!(server.state(&reference), "ALLOCATED");
                    server.report("start", &held["lease"], &json!({})).expect(200);
                    assert_eq!(server.state(&reference), "RUNNING");
                    server.complete(&held);
                    assert_eq!(server.state(&reference), "COMPLETED");
                }
                assert_eq!(server.job(&job)["counts"]["COMPLETED"], 60);
            })
        })
        .collect();
    for client in clients {
        client.join().expect("no stale read");
    }
}

// api.md 1: Kwq-Position names the partition:position pairs an answer is valid for (P15).
#[test]
fn answers_say_which_position_they_are_valid_for() {
    let server = shared();
    let answer = server.post("/kwq/submit", &json!({"groupId": unique("pos")}));
    let position = answer.expect(200).header("Kwq-Position").expect("a position").to_owned();
    for pair in position.split(',') {
        let (partition, at) = pair.split_once(':').expect("partition:position");
        assert!(partition.parse::<u32>().is_ok() && at.parse::<u64>().is_ok(), "{position}");
    }
}

// api.md 13: body of one task 1 MiB → 413 body_too_large; payload 256 KiB → payload_too_large.
#[test]
fn too_much_is_refused_with_413_and_its_limit() {
    let (server, job) = (shared(), unique("big"));
    let edge = "x".repeat(256 * 1024);
    server.post("/kwq/submit", &json!({"groupId": job, "payload": edge})).ok();
    let over = json!({"groupId": job, "payload": "x".repeat(256 * 1024 + 1)});
    let problem = server.post("/kwq/submit", &over).refused(413, "payload_too_large");
    assert_eq!(problem["limit"], 256 * 1024);
    let huge = json!({"groupId": job, "payload": "x".repeat(1100 * 1024)});
    let problem = server.post("/kwq/submit", &huge).refused(413, "body_too_large");
    assert_eq!(problem["limit"], 1024 * 1024);
    assert_eq!(server.job(&job)["submitted"], 1);
}

// api.md 11.1 S: a closed job refuses a submit with 409 job_closed.
#[test]
fn a_closed_job_refuses_a_task() {
    let (server, job) = (shared(), unique("closed"));
    server.submit(&json!({"groupId": job}));
    server.job_verb(&job, "close");
    let answer = server.post("/kwq/submit", &json!({"groupId": job}));
    answer.refused(409, "job_closed");
    is_problem(&answer);
    assert_eq!(server.job(&job)["submitted"], 1);
}

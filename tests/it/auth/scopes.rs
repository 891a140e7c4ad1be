//! Two tenants on one server, and an operator who sees both.

use serde_json::{Value, json};

use super::kit::{Guarded, ROLES, Ring, bearer};
use crate::support::{Conn, Event, Req, Sse, eventually, in_background};

/// `a` and `b` may do everything inside their own jobs, `all` everywhere.
pub(super) fn tenants() -> Guarded {
    let ring = Ring::new().add("all", &ROLES, &[]).add("a", &ROLES, &["--scope", "a-"]);
    Guarded::start(ring.add("b", &ROLES, &["--scope", "b-", "--scope", "bb"]))
}

fn task(job: &str, id: &str) -> Value {
    json!({"groupId": job, "id": id, "payload": "p"})
}

impl Guarded {
    #[track_caller]
    pub(super) fn submit(&self, who: &str, job: &str, id: &str) -> String {
        let answer = self.post(who, "/kwq/submit", &task(job, id));
        answer.expect(200).header("Kwq-Ref").expect("a reference").to_owned()
    }

    #[track_caller]
    pub(super) fn take(&self, who: &str, more: Value) -> Vec<Value> {
        let ask = json!({"worker": format!("w-{who}"), "waitMs": 0, "max": 100});
        let answer = self.post(who, "/kwq/consume", &crate::support::merge(&ask, &more));
        if answer.status == 204 {
            return Vec::new();
        }
        answer.ok()["tasks"].as_array().expect("tasks").clone()
    }
}

pub(super) fn member(rows: &Value, name: &str) -> Vec<String> {
    let rows = rows.as_array().expect("a list");
    let mut found: Vec<String> =
        rows.iter().map(|row| row[name].as_str().unwrap_or_default().to_owned()).collect();
    found.sort();
    found
}

#[test]
fn a_submit_outside_the_scopes_is_one_into_a_job_that_does_not_exist() {
    let g = tenants();
    g.post("a", "/kwq/submit", &task("b-1", "x")).refused(404, "job_not_found");
    g.post("a", "/kwq/submit", &json!({"payload": "p"})).refused(404, "job_not_found");
    g.post("a", "/kwq/jobs/b-1/tasks", &json!([{}])).refused(404, "job_not_found");
    g.post("a", "/kwq/jobs", &json!({"id": "b-1"})).refused(404, "job_not_found");
    g.post("a", "/kwq/jobs", &json!({})).refused_field("invalid_field", "id");
    g.post("a", "/kwq/jobs", &json!({"id": "a-made"})).expect(201);
    let items = json!([task("a-1", "1"), task("b-1", "2"), task("a-1", "3"), {"priority": 99}]);
    let body = g.post("a", "/kwq/submit", &items).ok();
    assert_eq!((&body["accepted"], &body["rejected"]), (&json!(2), &json!(2)), "{body}");
    assert_eq!(body["results"][0]["outcome"], "ok", "{body}");
    assert_eq!(body["results"][1]["code"], "job_not_found", "{body}");
    assert_eq!(body["results"][2]["id"], "3", "{body}");
    assert_eq!(g.get("all", "/kwq/tasks?job=a-1").ok().as_array().map(Vec::len), Some(2));
    g.get("all", "/kwq/jobs/b-1").refused(404, "job_not_found");
    let only = json!([task("b-1", "1")]);
    assert_eq!(g.post("a", "/kwq/submit", &only).ok()["rejected"], 1);
}

#[test]
fn a_stream_skips_or_stops_at_a_foreign_line() {
    let g = tenants();
    let lines = [task("a-n", "1"), task("b-n", "2"), task("a-n", "3")];
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let send = |query: &str| {
        let req = Req::new("POST", &format!("/kwq/submit{query}"));
        g.call("a", req.text("application/x-ndjson", &text))
    };
    let stopped = send("?onError=stop");
    stopped.expect(422);
    let body = stopped.json();
    assert_eq!((&body["accepted"], &body["nextLine"]), (&json!(1), &json!(2)), "{body}");
    assert_eq!(body["code"], "job_not_found", "{body}");
    let body = send("").ok();
    assert_eq!((&body["accepted"], &body["rejected"]), (&json!(2), &json!(1)), "{body}");
    assert_eq!(g.get("all", "/kwq/tasks?job=a-n").ok().as_array().map(Vec::len), Some(3));
    g.get("all", "/kwq/jobs/b-n").refused(404, "job_not_found");
}

fn keyed(path: &str, key: &str) -> Req {
    Req::new("POST", path).header("Idempotency-Key", key)
}

#[test]
fn a_key_tells_nothing_of_a_foreign_job() {
    let g = tenants();
    let lines = format!("{}\n", task("b-k", "l"));
    let calls = || {
        let one = keyed("/kwq/submit", "k-one").json(&task("b-k", "1"));
        let batch = keyed("/kwq/submit", "k-batch").json(&json!([task("b-k", "2")]));
        let array = json!({"groupId": "b-k", "array": {"to": 9}});
        let array = keyed("/kwq/submit", "k-array").json(&array);
        let lines = keyed("/kwq/submit", "k-lines").text("application/x-ndjson", &lines);
        let tasks = keyed("/kwq/jobs/b-k/tasks", "k-tasks").json(&json!([{}]));
        let job = keyed("/kwq/jobs", "k-job").json(&json!({"id": "b-made"}));
        [one, batch, array, lines, tasks, job]
    };
    let firsts: Vec<_> = calls().map(|call| g.call("b", call)).into_iter().collect();
    for (call, first) in calls().into_iter().zip(&firsts) {
        assert!(first.status < 300, "{}", first.text());
        let foreign = g.call("a", call);
        assert_eq!(foreign.header("kwq-replayed"), None, "{}", foreign.text());
        match foreign.status {
            200 => assert_eq!(foreign.json()["rejected"], 1, "{}", foreign.text()),
            _ => drop(foreign.refused(404, "job_not_found")),
        }
    }
    // Another foreign job under the keys looks the same.
    for key in ["k-one", "k-job"] {
        let other = keyed("/kwq/submit", key).json(&task("b-other", "1"));
        g.call("a", other).refused(404, "job_not_found");
    }
    let made = keyed("/kwq/jobs", "k-one").json(&json!({"id": "b-other"}));
    g.call("a", made).refused(404, "job_not_found");
    // All that left the keys with their owner, and with who may see everything.
    for who in ["b", "all"] {
        for (call, first) in calls().into_iter().zip(&firsts) {
            let again = g.call(who, call);
            assert_eq!(again.header("kwq-replayed"), Some("true"), "{who}: {}", again.text());
            assert_eq!(again.text(), first.text());
        }
    }
    assert_eq!(g.get("all", "/kwq/jobs/b-k").ok()["submitted"], 14);
}

#[test]
fn a_key_is_held_for_what_is_ones_own() {
    let g = tenants();
    let mixed = || {
        let items = json!([task("a-m", "1"), task("b-m", "2"), task("a-m", "3")]);
        keyed("/kwq/submit", "k-mixed").json(&items)
    };
    let first = g.call("a", mixed());
    assert_eq!(first.ok()["accepted"], 2);
    let again = g.call("a", mixed());
    assert_eq!(again.header("kwq-replayed"), Some("true"));
    assert_eq!(again.text(), first.text());
    // Who may do more asks for something else by the same words.
    g.call("all", mixed()).refused(409, "idempotency_key_reused");
    g.get("all", "/kwq/jobs/b-m").refused(404, "job_not_found");
    // While a call of `b` runs under a key, only those hear of it who ask for jobs of their own.
    let secret = g.ring.secret("b");
    let mut conn = Conn::open(g.server.addr()).expect("connects");
    let head = format!(
        "POST /kwq/jobs/b-m/tasks HTTP/1.1\r\nHost: k\r\nAuthorization: Bearer {secret}\r\n\
         Content-Type: application/x-ndjson\r\nIdempotency-Key: k-run\r\nContent-Length: 6\r\n\r\n"
    );
    conn.send(head.as_bytes()).expect("sends");
    let own = || keyed("/kwq/submit", "k-run").json(&task("a-m", "4"));
    eventually("the call of b runs", || {
        let foreign = keyed("/kwq/jobs", "k-run").json(&json!({"id": "b-m"}));
        g.call("a", foreign).refused(404, "job_not_found");
        let foreign = keyed("/kwq/submit", "k-run").json(&task("b-m", "1"));
        g.call("a", foreign).refused(404, "job_not_found");
        // Refused either way, so it leaves the key alone.
        let probe = keyed("/kwq/submit", "k-run").json(&json!({"priority": 99}));
        (g.call("all", probe).status == 409).then_some(())
    });
    g.call("a", own()).refused(409, "idempotency_in_progress");
    conn.send(b"{}\n{}\n").expect("sends");
    assert_eq!(conn.answer(false).expect("an answer").ok()["accepted"], 2);
    g.call("a", own()).refused(409, "idempotency_key_reused");
}

#[test]
fn what_is_read_is_only_ones_own() {
    let g = tenants();
    let own = g.submit("a", "a-r", "same-id");
    let foreign = g.submit("b", "b-r", "same-id");
    let later = g.submit("b", "bb-r", "other-id");
    assert_eq!(member(&g.get("a", "/kwq/jobs").ok(), "id"), ["a-r"]);
    assert_eq!(member(&g.get("b", "/kwq/jobs").ok(), "id"), ["b-r", "bb-r"]);
    assert_eq!(member(&g.get("all", "/kwq/jobs").ok(), "id"), ["a-r", "b-r", "bb-r"]);
    for list in ["", "?order=old", "?order=new", "?state=PENDING", "?limit=1000&priority=5"] {
        let path = format!("/kwq/tasks{list}");
        assert_eq!(member(&g.get("a", &path).ok(), "ref"), [own.as_str()], "{path}");
        assert_eq!(g.get("b", &path).ok().as_array().map(Vec::len), Some(2), "{path}");
        assert_eq!(g.get("all", &path).ok().as_array().map(Vec::len), Some(3), "{path}");
    }
    assert_eq!(member(&g.get("a", "/kwq/tasks?id=same-id").ok(), "ref"), [own.as_str()]);
    assert!(member(&g.get("a", &format!("/kwq/tasks?id={foreign}")).ok(), "ref").is_empty());
    assert!(member(&g.get("a", "/kwq/tasks?job=b-r").ok(), "ref").is_empty());
    // The newest task of that id is another tenant's.
    assert_eq!(g.get("a", "/kwq/tasks/same-id").ok()["ref"], own);
    assert_eq!(g.get("all", "/kwq/tasks/same-id").ok()["ref"], foreign);
    for path in [&foreign, &later, "other-id", "same-id?job=b-r"] {
        g.get("a", &format!("/kwq/tasks/{path}")).refused(404, "task_not_found");
    }
    g.get("a", &format!("/kwq/tasks/{foreign}/payload")).refused(404, "task_not_found");
    g.get("a", "/kwq/jobs/b-r").refused(404, "job_not_found");
    g.get("a", "/kwq/jobs/b-r/wait?waitMs=0").refused(404, "job_not_found");
    let now = g.get("a", "/kwq/stats/now").ok();
    assert_eq!(member(&now["jobs"], "id"), ["a-r"]);
    // A foreign job answers exactly like one that never was.
    let (there, nowhere) = (g.get("a", "/kwq/jobs/b-r"), g.get("a", "/kwq/jobs/b-q"));
    assert_eq!(there.text().replace("b-r", "b-q"), nowhere.text());
}

#[test]
fn what_is_controlled_is_only_ones_own() {
    let g = tenants();
    let foreign = g.submit("b", "b-c", "t");
    for verb in ["close", "pause", "resume", "cancel"] {
        let path = format!("/kwq/jobs/b-c/{verb}");
        g.post("a", &path, &json!({})).refused(404, "job_not_found");
    }
    let patch = Req::new("PATCH", "/kwq/jobs/b-c").json(&json!({"priority": 9}));
    g.call("a", patch).refused(404, "job_not_found");
    let cancel = format!("/kwq/tasks/{foreign}/cancel");
    g.post("a", &cancel, &json!({})).refused(404, "task_not_found");
    let job = g.get("b", "/kwq/jobs/b-c").ok();
    assert_eq!((&job["state"], &job["paused"]), (&json!("OPEN"), &json!(false)), "{job}");
    g.post("b", &cancel, &json!({})).ok();
    for path in ["/kwq/queues/all/pause", "/kwq/queues/9/resume", "/kwq/admin/image"] {
        g.post("b", path, &json!({})).refused(403, "forbidden");
    }
}

#[test]
fn a_worker_is_handed_only_tasks_of_its_jobs() {
    let g = tenants();
    // Older, and more urgent: what is not for this worker must not stand in its way.
    for i in 0..20 {
        let urgent = json!({"groupId": "b-w", "id": format!("b{i}"), "priority": 9});
        g.post("b", "/kwq/submit", &urgent).ok();
    }
    assert!(g.take("a", json!({})).is_empty());
    for i in 0..5 {
        g.submit("a", "a-w", &format!("a{i}"));
    }
    let mine = json!(g.take("a", json!({})));
    assert_eq!(member(&mine, "id"), ["a0", "a1", "a2", "a3", "a4"]);
    assert!(g.take("a", json!({"jobs": ["b-w"]})).is_empty(), "asking by name opens nothing");
    assert_eq!(g.take("b", json!({})).len(), 20);
    let seed = Req::new("GET", "/kwq/consume/w-seed/e/0");
    g.submit("b", "b-w", "seed");
    g.call("a", seed).expect(204);
}

#[test]
fn a_parked_worker_is_woken_by_its_own_work_only() {
    let g = tenants();
    let secret = g.ring.secret("a").to_owned();
    let addr = g.server.addr();
    let parked = in_background(move || {
        let ask = json!({"worker": "w-park", "waitMs": 60_000});
        let req = bearer(Req::new("POST", "/kwq/consume").json(&ask), &secret);
        Conn::open(addr).and_then(|mut conn| conn.call(&req)).expect("an answer")
    });
    eventually("the consume is parked", || {
        let waiting = g.get("all", "/kwq/stats/now").ok()["consumersWaiting"].as_u64();
        (waiting == Some(1)).then_some(())
    });
    g.submit("b", "b-p", "not-for-a");
    // It may look at the offer, finds nothing, and waits on.
    g.submit("a", "a-p", "for-a");
    let answer = parked.join().expect("no panic").ok();
    assert_eq!(member(&answer["tasks"], "id"), ["for-a"]);
    assert_eq!(g.take("b", json!({})).len(), 1);
}

#[test]
fn foreign_leases_are_lost_leases_in_every_call() {
    let g = tenants();
    g.submit("b", "b-l", "t");
    g.submit("a", "a-l", "t");
    let theirs = g.take("b", json!({})).remove(0);
    let mine = g.take("a", json!({})).remove(0);
    let lease = json!({"lease": theirs["lease"]});
    for verb in ["start", "complete", "fail", "release"] {
        g.post("a", &format!("/kwq/{verb}"), &lease).refused(409, "lease_lost");
    }
    let items = json!({"items": [lease, {"lease": mine["lease"]}]});
    let body = g.post("a", "/kwq/start", &items).ok();
    assert_eq!(body["items"][0]["outcome"], "lease_lost", "{body}");
    assert_eq!(body["items"][1]["outcome"], "ok", "{body}");
    assert!(body["items"][0].get("ref").is_none(), "tells nothing: {body}");
    // By the name of the other's worker, as one that was taken over would.
    let both = json!({"worker": "w-b", "leases": [theirs["lease"], mine["lease"]]});
    let body = g.post("a", "/kwq/heartbeat", &both).ok();
    assert_eq!(body["renewed"], 0, "{body}");
    assert_eq!(body["lost"].as_array().map(Vec::len), Some(2), "{body}");
    let body = g.post("a", "/kwq/heartbeat", &json!({"worker": "w-b"})).ok();
    assert_eq!((&body["renewed"], &body["lost"]), (&json!(0), &json!([])), "{body}");
    let body = g.post("a", "/kwq/heartbeat", &json!({"worker": "w-a"})).ok();
    assert_eq!(body["renewed"], 1, "{body}");
    let ask = json!({"worker": "w-a", "waitMs": 0, "leases": [theirs["lease"], mine["lease"]],
                     "done": [lease]});
    let body = g.post("a", "/kwq/consume", &ask).ok();
    assert_eq!(body["done"][0]["outcome"], "lease_lost", "{body}");
    assert_eq!((&body["renewed"], &body["lost"]), (&json!(1), &json!([theirs["lease"]])), "{body}");
    let seed = json!({"id": "t", "groupId": "b-l", "status": "COMPLETED", "worker": "w-b"});
    g.post("a", "/kwq/updateTask", &seed).refused(404, "task_not_found");
    // All of this changed nothing for its holder.
    assert_eq!(g.post("b", "/kwq/complete", &lease).ok()["outcome"], "ok");
    g.post("a", "/kwq/complete", &lease).refused(409, "lease_lost");
}

#[test]
fn ones_own_reports_act_and_repeat_as_ever() {
    let g = tenants();
    g.submit("a", "a-o", "t");
    let task = g.take("a", json!({})).remove(0);
    let lease = json!({"lease": task["lease"]});
    assert_eq!(g.post("a", "/kwq/complete", &lease).ok()["outcome"], "ok");
    // The task is over, so its job is known to the tracker alone.
    assert_eq!(g.post("a", "/kwq/complete", &lease).ok()["outcome"], "duplicate");
    g.submit("a", "a-o", "u");
    let task = g.take("a", json!({})).remove(0);
    g.post(
        "a",
        &format!("/kwq/tasks/{}/cancel", task["ref"].as_str().expect("a reference")),
        &json!({}),
    )
    .ok();
    let body = g.post("a", "/kwq/heartbeat", &json!({"worker": "w-a"})).ok();
    assert_eq!(body["cancel"][0]["lease"], task["lease"], "{body}");
    let body = g.post("b", "/kwq/heartbeat", &json!({"worker": "w-a"})).ok();
    assert_eq!(body["cancel"], json!([]), "{body}");
}

#[test]
fn tags_are_counted_over_the_jobs_of_the_scopes() {
    let g = tenants();
    for (job, tag) in [("a-1", "k:x"), ("a-2", "k:x,k:y"), ("b-1", "k:x,k:z"), ("bb", "plain")] {
        let tasks = json!([{"tag": tag}, {"tag": tag}]);
        g.post("all", &format!("/kwq/jobs/{job}/tasks"), &tasks).expect(200);
    }
    let rows = |who: &str| -> Vec<(String, u64)> {
        let found = g.get(who, "/kwq/stats/tags?key=k&fresh=true").ok();
        let rows = found["rows"].as_array().expect("rows").clone();
        let value = |row: &Value| row["value"].as_str().unwrap_or("?").to_owned();
        rows.iter().map(|row| (value(row), row["total"].as_u64().unwrap_or(0))).collect()
    };
    let owned = |rows: &[(&str, u64)]| -> Vec<(String, u64)> {
        rows.iter().map(|(value, total)| ((*value).to_owned(), *total)).collect()
    };
    assert_eq!(rows("a"), owned(&[("x", 4), ("y", 2), ("__none", 0)]));
    assert_eq!(rows("b"), owned(&[("x", 2), ("z", 2), ("__none", 2)]));
    assert_eq!(rows("all"), owned(&[("x", 6), ("y", 2), ("z", 2), ("__none", 2)]));
    g.get("a", "/kwq/jobs/b-1/breakdown?by=state").refused(404, "job_not_found");
    g.get("a", "/kwq/jobs/b-1/results").refused(404, "job_not_found");
    g.get("a", "/kwq/jobs/b-1/events").refused(404, "job_not_found");
    g.get("a", "/kwq/jobs/a-1/breakdown?by=state").ok();
    let foreign = g.get("all", "/kwq/tasks?job=b-1").ok()[0]["ref"].clone();
    let path = format!("/kwq/tasks/{}/explain", foreign.as_str().expect("a reference"));
    g.get("a", &path).refused(404, "task_not_found");
    g.get("b", &path).ok();
}

// api.md 1.1: bulk work reaches the caller's own jobs only, and so does what is shown of it.
#[test]
fn an_operation_stays_inside_the_scopes() {
    let g = tenants();
    for job in ["a-1", "b-1"] {
        g.submit("all", job, "x");
        let held = g.take("all", json!({"jobs": [job]}));
        let fail = json!({"lease": held[0]["lease"], "retryable": false});
        assert_eq!(g.post("all", "/kwq/fail", &fail).ok()["outcome"], "dead");
    }
    let dry = json!({"all": true, "dryRun": true});
    assert_eq!(g.post("a", "/kwq/dlq/redrive", &dry).ok()["matched"], 1);
    assert_eq!(g.post("all", "/kwq/dlq/redrive", &dry).ok()["matched"], 2);
    let by_job = json!({"filter": {"job": "b-1"}, "dryRun": true});
    assert_eq!(g.post("a", "/kwq/dlq/purge", &by_job).ok()["matched"], 0);
    let own = g.post("a", "/kwq/dlq/redrive", &json!({"all": true}));
    let own = own.expect(202).json();
    assert_eq!((&own["by"], &own["matched"]), (&json!("a"), &json!(1)), "{own}");
    let foreign = g.post("b", "/kwq/dlq/purge", &json!({"all": true})).expect(202).json();
    let path = |op: &Value| format!("/kwq/operations/{}", op["op"].as_str().expect("op"));
    g.get("a", &path(&own)).expect(200);
    g.get("all", &path(&own)).expect(200);
    g.get("a", &path(&foreign)).refused(404, "operation_not_found");
    let stop = Req::new("DELETE", &path(&foreign));
    g.call("a", stop).refused(404, "operation_not_found");
    assert_eq!(member(&g.get("a", "/kwq/operations").ok(), "by"), ["a"]);
    assert_eq!(member(&g.get("all", "/kwq/operations").ok(), "by"), ["a", "b"]);
    g.call("a", Req::new("DELETE", "/kwq/jobs/b-1")).refused(404, "job_not_found");
    g.post("a", "/kwq/jobs/b-1/retry", &json!({})).refused(404, "job_not_found");
    let gone = || (g.get("all", "/kwq/dlq").ok() == json!([])).then_some(());
    eventually("both operations have ended", gone);
}

#[test]
fn a_worker_tells_nothing_of_foreign_jobs() {
    let g = tenants();
    let task = |job: &str, key: &str| json!({"groupId": job, "affinity": [key]});
    for (job, key) in [("b-1", "client=X"), ("b-1", "client=Y"), ("a-1", "own")] {
        g.post("all", "/kwq/submit", &task(job, key)).expect(200);
    }
    let warm = json!({"affinity": ["named"], "worker": "shared"});
    let held = g.take("all", warm);
    let foreign: Vec<&Value> = held.iter().filter(|t| t["groupId"] == "b-1").collect();
    let done = json!({"lease": foreign[0]["lease"]});
    g.post("all", "/kwq/complete", &done).expect(200);
    let whole = g.get("all", "/kwq/workers/shared").ok();
    assert_eq!((&whole["leases"], &whole["completed"]), (&json!(2), &json!(1)), "{whole}");
    assert!(whole["affinity"].as_array().is_some_and(|keys| keys.len() >= 2), "{whole}");
    let rows = g.get("a", "/kwq/workers").ok();
    let row = rows.as_array().expect("a list").iter().find(|row| row["worker"] == "shared");
    for shown in [row.expect("it works for both"), &g.get("a", "/kwq/workers/shared").ok()] {
        assert_eq!(shown["leases"], 1, "{shown}");
        assert_eq!(shown["affinity"], json!([]), "{shown}");
        for member in ["completed", "failed", "crashed"] {
            assert_eq!(shown.get(member), None, "{shown}");
        }
    }
}

#[test]
fn a_list_does_not_tell_whether_a_foreign_job_exists() {
    let g = tenants();
    g.submit("b", "b-1", "x");
    g.submit("a", "a-1", "y");
    let told = |path: &str| {
        let answer = g.get("a", path);
        let mut headers = answer.expect(200).headers.clone();
        // Time passes between two calls.
        headers.retain(|(name, _)| !["date", "kwq-lag-ms"].contains(&&*name.to_lowercase()));
        (headers, answer.text())
    };
    assert_eq!(told("/kwq/tasks?fresh=true&job=b-1"), told("/kwq/tasks?fresh=true&job=b-no"));
    assert_eq!(g.get("a", "/kwq/tasks?fresh=true").header("Kwq-Scanned"), None);
    assert!(g.get("all", "/kwq/tasks?fresh=true").header("Kwq-Scanned").is_some());
}

#[test]
fn a_stream_of_events_tells_of_ones_own_jobs_only() {
    let g = tenants();
    let listen = |who: &str| {
        let req = bearer(Req::new("GET", "/kwq/events"), g.ring.secret(who));
        Sse::call(&g.server, req)
    };
    let (mut a, mut all) = (listen("a"), listen("all"));
    all.until("snapshot", |_| true);
    g.submit("b", "b-1", "1");
    g.submit("a", "a-1", "1");
    g.post("b", "/kwq/jobs/b-1/retry", &json!({})).expect(202);
    g.post("a", "/kwq/jobs/a-1/retry", &json!({})).expect(202);
    let about = |event: &Event| match event.kind.as_str() {
        "job" => event.data["id"].as_str().map(str::to_owned),
        "operation" => event.data["filter"]["job"].as_str().map(str::to_owned),
        _ => None,
    };
    let begun =
        all.until("snapshot", |event| event.data["jobs"].as_array().map(Vec::len) == Some(2));
    let latest = begun.id;
    let mut told = Vec::new();
    let own = a.until("snapshot", |event| {
        event.id >= latest && event.data["jobs"].as_array().map(Vec::len) == Some(1)
    });
    assert_eq!(own.data["jobs"][0]["id"], "a-1");
    assert_eq!((&own.data["submitted"], &begun.data["submitted"]), (&json!(1), &json!(2)));
    // From the beginning of the minute on.
    for (who, stops) in [("a", "a-1"), ("all", "a-1")] {
        let req = bearer(Req::new("GET", "/kwq/events"), g.ring.secret(who));
        let mut stream = Sse::call(&g.server, req.header("Last-Event-ID", "0"));
        let mut heard = std::collections::BTreeSet::new();
        let ends =
            |event: &Event| event.kind == "operation" && about(event).as_deref() == Some(stops);
        let ended = (0..100).any(|_| {
            let event = stream.next();
            heard.extend(about(&event));
            ends(&event)
        });
        assert!(ended, "only {heard:?} came");
        told.push(heard.into_iter().collect::<Vec<_>>());
    }
    assert_eq!(told, [vec!["a-1"], vec!["a-1", "b-1"]]);
}

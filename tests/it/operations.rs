//! Redrive and purge of dead letters as operations (`api.md` 6, 7.3; `semantics.md` T22, 7.4).

use serde_json::{Value, json};

use crate::support::{Req, Server, encode, eventually, int, merge, shared, text, unique};

impl Server {
    /// Lets every waiting task of a job die, with a class.
    #[track_caller]
    pub(crate) fn bury(&self, job: &str, class: &str) -> i64 {
        let mut buried = 0;
        loop {
            let held = self.consume("undertaker", job, &json!({"max": 1_000}));
            if held.is_empty() {
                return buried;
            }
            let why = json!({"class": class, "message": "m", "retryable": false});
            let report = |task: &Value| merge(&json!({"lease": task["lease"]}), &why);
            let items: Vec<Value> = held.iter().map(report).collect();
            let told = self.post("/kwq/fail", &json!({"items": items})).ok();
            let outcomes = told["items"].as_array().expect("items");
            assert!(outcomes.iter().all(|o| o["outcome"] == "dead"), "{}", outcomes[0]);
            buried += i64::try_from(held.len()).expect("at most 1,000");
        }
    }

    /// Adds an array of so many tasks to a job.
    #[track_caller]
    pub(crate) fn add_array(&self, job: &str, count: i64) {
        let array = json!({"groupId": job, "array": {"from": 0, "to": count - 1}});
        self.post("/kwq/submit", &array).ok();
    }

    /// Begins an operation; checks the shape of the answer.
    #[track_caller]
    pub(crate) fn begin(&self, req: &Req, kind: &str) -> Value {
        let answer = self.call(req);
        let op = answer.expect(202).json();
        assert_eq!(op["kind"], kind, "{op}");
        let path = format!("/kwq/operations/{}", text(&op, "op"));
        assert_eq!(answer.header("Location"), Some(&*path));
        assert!(int(&op, "created_ts") > 0 && op["by"] == "anonymous", "{op}");
        op
    }

    #[track_caller]
    pub(crate) fn redrive(&self, body: &Value) -> Value {
        self.begin(&Req::new("POST", "/kwq/dlq/redrive").json(body), "redrive")
    }

    /// The operation once it has ended.
    #[track_caller]
    pub(crate) fn ended(&self, op: &Value) -> Value {
        let path = format!("/kwq/operations/{}", text(op, "op"));
        let over = || Some(self.get(&path).ok()).filter(|now| now["state"] != "RUNNING");
        let op = eventually("the operation ends", over);
        assert!(int(&op, "ended_ts") >= int(&op, "created_ts"), "{op}");
        op
    }

    fn counts(&self, job: &str) -> (i64, i64) {
        let counts = &self.job(job)["counts"];
        (int(counts, "ERROR"), int(counts, "PENDING"))
    }
}

fn numbers(op: &Value) -> (i64, i64, i64) {
    (int(op, "matched"), int(op, "done"), int(op, "skipped"))
}

// api.md 7.3: the filter decides, the job opens again as CLOSED, budgets are fresh (T22).
#[test]
fn a_redrive_by_filter_brings_back_what_matches_and_nothing_else() {
    let (server, job) = (shared(), unique("redrive"));
    server.add(&job, &json!([{"id": "a", "tag": "ccy:USD"}, {"id": "b", "tag": "ccy:EUR"}]));
    assert_eq!(server.bury(&job, "pricer.nan"), 2);
    server.add(&job, &json!([{"id": "c"}]));
    assert_eq!(server.bury(&job, "io"), 1);
    assert_eq!(server.job_verb(&job, "close")["state"], "FAILED");
    let filter = json!({"job": job, "class": "pricer.nan", "tag": ["ccy:USD"]});
    let dry = json!({"filter": filter, "dryRun": true});
    assert_eq!(server.post("/kwq/dlq/redrive", &dry).ok(), json!({"matched": 1, "skipped": 0}));
    assert_eq!(server.counts(&job), (3, 0), "a dry run changes nothing");
    let body = json!({"filter": filter, "set": {"priority": 8}});
    let op = server.ended(&server.redrive(&body));
    assert_eq!((numbers(&op), &op["state"]), ((1, 1, 0), &json!("DONE")));
    assert_eq!(op["filter"], filter, "as it was sent");
    assert_eq!(server.counts(&job), (2, 1));
    assert_eq!(server.job(&job)["state"], "CLOSED");
    assert_eq!(int(&server.job(&job), "redriven"), 1);
    let task = server.get(&format!("/kwq/tasks/a?job={job}")).ok();
    assert_eq!((&task["errors"], &task["redriven"]), (&json!(0), &json!(1)), "{task}");
    assert_eq!((&task["priority"], &task["state"]), (&json!(8), &json!("PENDING")));
}

// api.md 7.3: the other fields of the filter.
#[test]
fn every_field_of_the_filter_counts() {
    let (server, job) = (shared(), unique("filter"));
    let refs = server.add(&job, &json!([{"id": "x", "priority": 7}, {"id": "y"}, {"id": "z"}]));
    server.bury(&job, "e");
    let submitted = int(&server.task(&refs[0]), "submitted_ts");
    let count = |filter: Value| {
        let filter = merge(&json!({"job": job}), &filter);
        let dry = json!({"filter": filter, "dryRun": true});
        int(&server.post("/kwq/dlq/redrive", &dry).ok(), "matched")
    };
    assert_eq!(count(json!({})), 3);
    assert_eq!(count(json!({"priority": 7})), 1);
    assert_eq!(count(json!({"id": "y"})), 1);
    assert_eq!(count(json!({"id": refs[2]})), 1, "a reference is an id");
    assert_eq!(count(json!({"ref": [refs[0], refs[1], "5-0-999999999"]})), 2);
    assert_eq!(count(json!({"ref": [refs[0], refs[1]], "id": "y"})), 1);
    assert_eq!(count(json!({"ref": [refs[0]], "priority": 5})), 0);
    assert_eq!(count(json!({"worker": "undertaker"})), 3);
    assert_eq!(count(json!({"worker": "nobody"})), 0);
    assert_eq!(count(json!({"class": "f"})), 0);
    assert_eq!(count(json!({"tagAny": ["k:v"]})), 0);
    assert_eq!(count(json!({"since": submitted + 60_000})), 0);
    assert_eq!(count(json!({"until": submitted})), 0);
}

// S 7.4, api.md 1.2: an empty filter is refused unless `all` says so; fields are checked.
#[test]
fn an_empty_filter_and_bad_fields_are_refused() {
    let server = shared();
    for verb in ["redrive", "purge"] {
        let path = format!("/kwq/dlq/{verb}");
        server.post(&path, &json!({})).refused(422, "empty_filter");
        server.post(&path, &json!({"filter": {}, "dryRun": true})).refused(422, "empty_filter");
        server.post(&path, &json!({"filter": {"all": true}})).refused_field("unknown_field", "all");
        server
            .post(&path, &json!({"filter": {"ref": ["x"]}}))
            .refused_field("invalid_field", "ref");
        let dry = json!({"all": true, "dryRun": true});
        assert!(int(&server.post(&path, &dry).ok(), "matched") >= 0);
    }
    let body = json!({"all": true, "dryRun": true, "set": {"priority": 5}});
    server.post("/kwq/dlq/purge", &body).refused_field("unknown_field", "set");
}

// S 7.4: tasks of cancelled jobs are skipped and counted; `matched` includes them.
#[test]
fn tasks_of_cancelled_jobs_are_skipped() {
    let (server, job) = (shared(), unique("skip"));
    server.add(&job, &json!([{}, {}]));
    server.bury(&job, "e");
    server.job_verb(&job, "cancel");
    let filter = json!({"job": job});
    let dry = json!({"filter": filter, "dryRun": true});
    assert_eq!(server.post("/kwq/dlq/redrive", &dry).ok(), json!({"matched": 2, "skipped": 2}));
    let op = server.ended(&server.redrive(&json!({"filter": filter})));
    assert_eq!((numbers(&op), &op["state"]), ((2, 0, 2), &json!("DONE")));
    server.post(&format!("/kwq/jobs/{job}/retry"), &json!({})).refused(409, "job_ended");
}

// api.md 6, S 11.1: retry of a job in every state that has it.
#[test]
fn a_job_is_retried_whole() {
    let (server, job) = (shared(), unique("retry"));
    let path = format!("/kwq/jobs/{job}/retry");
    server.post(&path, &json!({})).refused(404, "job_not_found");
    server.add(&job, &json!([{}, {}, {}]));
    server.bury(&job, "e");
    let open = server.ended(&server.begin(&Req::new("POST", &path), "redrive"));
    assert_eq!((numbers(&open), &open["filter"]), ((3, 3, 0), &json!({"job": job})));
    server.bury(&job, "e");
    assert_eq!(server.job_verb(&job, "close")["state"], "FAILED");
    let req = Req::new("POST", &path).json(&json!({"set": {"priority": 9}}));
    server.ended(&server.begin(&req, "redrive"));
    assert_eq!((server.counts(&job), &server.job(&job)["state"]), ((0, 3), &json!("CLOSED")));
    assert_eq!(server.take("w", &job)["priority"], 9);
    server.post(&path, &json!({"set": {"priority": 0}})).refused(422, "invalid_field");
}

// S 4: whatever brings a task back, it stands in its lane by submit order.
#[test]
fn redriven_tasks_stand_where_they_were() {
    let (server, job) = (crate::support::single(), unique("order"));
    server.add_array(&job, 40);
    server.bury(&job, "e");
    server.add_array(&job, 2);
    server.ended(&server.redrive(&json!({"filter": {"job": job}})));
    let held = server.consume("w", &job, &json!({"max": 100}));
    let offsets: Vec<i64> = held.iter().map(|t| int(t, "index")).collect();
    let wanted: Vec<i64> = (0..40).chain(0..2).collect();
    assert_eq!(offsets, wanted);
}

// api.md 7.3: list, one, stop; 404 and 409.
#[test]
fn operations_are_listed_newest_first_and_can_be_stopped() {
    let (server, job) = (shared(), unique("ops"));
    server.add(&job, &json!([{}]));
    server.bury(&job, "e");
    let first = server.ended(&server.redrive(&json!({"filter": {"job": job}})));
    server.bury(&job, "e");
    let second = server.ended(&server.redrive(&json!({"filter": {"job": job}})));
    let all = server.pages("/kwq/operations?limit=1");
    let mine = |row: &&Value| row["filter"]["job"] == job;
    let ops: Vec<&Value> = all.iter().filter(mine).map(|row| &row["op"]).collect();
    assert_eq!(ops, [&second["op"], &first["op"]]);
    let path = format!("/kwq/operations/{}", text(&first, "op"));
    assert_eq!(server.get(&path).ok(), first);
    server.delete(&path).refused(409, "operation_ended");
    for unknown in ["op-999999999", "op-0", "op-01", "12", "op-"] {
        let path = format!("/kwq/operations/{unknown}");
        server.get(&path).refused(404, "operation_not_found");
        server.delete(&path).refused(404, "operation_not_found");
    }
}

#[test]
fn a_stopped_redrive_leaves_the_rest_dead() {
    let (server, job) = (Server::start(&["log.partitions=1"]), unique("stop"));
    server.add_array(&job, 30_000);
    assert_eq!(server.bury(&job, "e"), 30_000);
    let op = server.redrive(&json!({"filter": {"job": job}}));
    let stopped = server.delete(&format!("/kwq/operations/{}", text(&op, "op"))).ok();
    assert_eq!(stopped["state"], "STOPPED", "{stopped}");
    let done = int(&stopped, "done");
    assert!(done < 30_000, "{stopped}");
    assert_eq!(int(&stopped, "matched"), 30_000);
    assert_eq!(server.counts(&job), (30_000 - done, done), "and it stays so");
    let path = format!("/kwq/operations/{}", text(&op, "op"));
    assert_eq!(server.get(&path).ok(), stopped);
    server.delete(&path).refused(409, "operation_ended");
}

// The heart of it: killed in the middle, it goes on, with exact numbers, none redriven twice, and
// what dies again meanwhile is left alone.
#[test]
fn a_redrive_goes_on_after_a_kill_with_exact_numbers() {
    const TASKS: i64 = 24_000;
    let (mut server, job) = (Server::start(&["log.partitions=3"]), unique("kill"));
    server.add_array(&job, TASKS);
    assert_eq!(server.bury(&job, "e"), TASKS);
    server.job_verb(&job, "pause");
    let op = server.redrive(&json!({"filter": {"job": job}}));
    let path = format!("/kwq/operations/{}", text(&op, "op"));
    let mut kills = 0;
    while kills < 3 {
        let before = int(&server.get(&path).ok(), "done");
        server.kill();
        server.launch();
        kills += 1;
        let now = server.get(&path).ok();
        assert!(int(&now, "done") >= before, "{before} to {now}");
        if now["state"] != "RUNNING" {
            break;
        }
    }
    let op = server.ended(&op);
    assert_eq!((numbers(&op), &op["state"]), ((TASKS, TASKS, 0), &json!("DONE")));
    let shown = server.job(&job);
    assert_eq!((int(&shown, "redriven"), server.counts(&job)), (TASKS, (0, TASKS)));
    server.job_verb(&job, "resume");
    assert_eq!(server.bury(&job, "e"), TASKS);
    let once = |task: &Value| task["redriven"] == 1;
    assert!(server.pages(&format!("/kwq/dlq?job={}&limit=1000", encode(&job))).iter().all(once));
}

// P14, S 13.2: purged dead letters are counted and gone.
#[test]
fn a_purge_of_dead_letters_removes_them_for_good() {
    let (server, job) = (shared(), unique("bury"));
    let refs = server.add(&job, &json!([{"id": "x"}, {"id": "y"}]));
    server.bury(&job, "one");
    let more = server.add(&job, &json!([{"id": "z"}]));
    server.bury(&job, "two");
    let body = json!({"filter": {"job": job, "class": "one"}});
    let req = Req::new("POST", "/kwq/dlq/purge").json(&body);
    let op = server.ended(&server.begin(&req, "purgeDlq"));
    assert_eq!(numbers(&op), (2, 2, 0));
    let shown = server.job(&job);
    assert_eq!((int(&shown, "purged"), int(&shown, "submitted")), (2, 3));
    assert_eq!(server.counts(&job), (1, 0));
    for task in [&refs[0], &refs[1], &format!("x?job={job}")] {
        server.get(&format!("/kwq/tasks/{task}")).refused(410, "purged");
    }
    for verb in ["retry", "cancel"] {
        let path = format!("/kwq/tasks/{}/{verb}", refs[0]);
        server.post(&path, &json!({})).refused(410, "purged");
    }
    assert_eq!(server.state(&more[0]), "ERROR");
    assert_eq!(server.tasks(&job, "").len(), 1, "lists leave them out");
    assert_eq!(server.pages(&format!("/kwq/tasks?job={job}&id=x")).len(), 0);
}

// S 11.1: how a job ended is decided once; the only way back is a redrive.
#[test]
fn a_purge_of_the_dead_does_not_change_how_a_job_ended() {
    let mut server = Server::start(&[]);
    let purge = |server: &Server, filter: &Value| {
        let req = Req::new("POST", "/kwq/dlq/purge").json(&json!({"filter": filter}));
        assert_eq!(int(&server.ended(&server.begin(&req, "purgeDlq")), "skipped"), 0);
    };
    for job in ["failed", "mixed", "early"] {
        server.add(job, &json!([{}, {}]));
        if job != "failed" {
            server.complete(&server.take("w", job));
        }
        server.bury(job, "e");
    }
    // What has gone before the end counts for nothing.
    purge(&server, &json!({"job": "early"}));
    let ends = [("failed", "FAILED"), ("mixed", "COMPLETED_WITH_ERRORS"), ("early", "COMPLETED")];
    let before = ends.map(|(job, _)| server.job_verb(job, "close"));
    ["failed", "mixed"].iter().for_each(|job| purge(&server, &json!({"job": job})));
    for _ in 0..2 {
        for ((job, state), before) in ends.iter().zip(&before) {
            let now =
                server.patch(&format!("/kwq/jobs/{job}"), &json!({"retentionMs": 9_000_000})).ok();
            assert_eq!((text(&now, "state"), int(&now["counts"], "ERROR")), (*state, 0), "{now}");
            assert_eq!(now["ended_ts"], before["ended_ts"], "{job}");
        }
        server.kill();
        server.launch();
    }
}

#[test]
fn a_job_that_was_redriven_ends_anew() {
    let (server, job) = (shared(), unique("anew"));
    for class in ["gone", "again"] {
        server.add(&job, &json!([{}]));
        server.bury(&job, class);
    }
    assert_eq!(server.job_verb(&job, "close")["state"], "FAILED");
    let body = json!({"filter": {"job": job, "class": "gone"}});
    server.ended(&server.begin(&Req::new("POST", "/kwq/dlq/purge").json(&body), "purgeDlq"));
    assert_eq!(server.job(&job)["state"], "FAILED");
    server.ended(&server.redrive(&json!({"filter": {"job": job}})));
    server.complete(&server.take("w", &job));
    assert_eq!(server.job(&job)["state"], "COMPLETED", "no dead task was left at this end");
}

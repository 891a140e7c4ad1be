//! Jobs that go by themselves (`semantics.md` 11.3).

use serde_json::json;

use crate::support::{Server, eventually, shared, unique};

// S 11.3: retention by itself; a job with dead tasks waits for `dead.retention`.
#[test]
fn an_ended_job_goes_when_its_retention_is_over() {
    let server = shared();
    let (short, long, dead) = (unique("short"), unique("long"), unique("dead"));
    for (job, retention) in [(&short, 0), (&long, 3_600_000), (&dead, 0)] {
        server.post("/kwq/jobs", &json!({"id": job, "retentionMs": retention})).expect(201);
        server.add(job, &json!([{}]));
    }
    server.bury(&dead, "e");
    for job in [&short, &long] {
        let task = server.take("w", job);
        server.complete(&task);
    }
    for job in [&short, &long, &dead] {
        server.job_verb(job, "close");
    }
    let path = format!("/kwq/jobs/{short}");
    eventually("the job is purged", || (server.get(&path).status == 410).then_some(()));
    assert_eq!(server.job(&long)["state"], "COMPLETED");
    assert_eq!(server.job(&dead)["state"], "FAILED", "14 days for the dead");
    // Shortened afterwards, it goes as well.
    server.patch(&format!("/kwq/jobs/{long}"), &json!({"retentionMs": 1})).ok();
    let path = format!("/kwq/jobs/{long}");
    eventually("the job is purged", || (server.get(&path).status == 410).then_some(()));
}

#[test]
fn dead_tasks_go_after_their_own_retention() {
    let server = Server::start(&["dead.retention=1ms", "job.retention=0s"]);
    server.add("j", &json!([{}]));
    server.bury("j", "e");
    server.job_verb("j", "close");
    eventually("it is purged", || (server.get("/kwq/jobs/j").status == 410).then_some(()));
}

// S 11.1: an implicit job closes itself after `job.implicit-close-idle` without live tasks; not
// while one lives, not one that was made on purpose, and not the job of tasks that name none.
#[test]
fn an_idle_implicit_job_closes_itself() {
    let server = Server::start(&["job.implicit-close-idle=1s"]);
    let open = |job: &str| server.job(job)["state"] == "OPEN";
    for job in ["idle", "busy"] {
        server.add(job, &json!([{}]));
    }
    server.post("/kwq/jobs", &json!({"id": "made"})).expect(201);
    for job in ["made", "default"] {
        server.submit(&json!({"groupId": job}));
    }
    for job in ["idle", "made", "default"] {
        server.complete(&server.take("w", job));
    }
    eventually("it has closed", || (server.job("idle")["state"] == "COMPLETED").then_some(()));
    server.add("busy", &json!([{}]));
    assert!(open("busy") && open("made") && open("default"));
    server.post("/kwq/submit", &json!({"groupId": "idle"})).refused(409, "job_closed");
}

//! Simulations: `api.md` 10, and the seed's way to run one (`api.md` 9).

use serde_json::{Value, json};
use std::sync::OnceLock;

use crate::support::{Server, eventually, int, kwq, pause, shared, text, unique};

/// A server whose simulator is on.
fn simulator() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::start(&["simulator.enabled=true"]))
}

fn started(plan: &Value) -> String {
    let answer = simulator().post("/kwq/simulations", plan);
    answer.expect(202);
    let body = answer.json();
    assert_eq!(text(&body, "state"), "RUNNING");
    let id = text(&body, "id").to_owned();
    assert_eq!(answer.header("location"), Some(&*format!("/kwq/simulations/{id}")));
    id
}

fn shown(id: &str) -> Value {
    simulator().get(&format!("/kwq/simulations/{id}")).ok()
}

fn ended(id: &str) -> Value {
    eventually("the simulation has ended", || {
        let body = shown(id);
        (text(&body, "state") != "RUNNING").then_some(body)
    })
}

#[test]
fn a_simulation_runs_every_task_and_reports_exact_numbers() {
    let id = started(&json!({
        "tasks": 3_000, "jobs": 3, "workers": 20, "priorities": [9, 5, 1], "affinityKeys": 8,
        "durationMs": {"dist": "exp", "mean": 2}, "failRate": 0.05, "seed": 7,
    }));
    let report = ended(&id);
    assert_eq!(text(&report, "state"), "DONE", "{report}");
    assert_eq!(int(&report, "submitted"), 3_000);
    let (mut completed, mut failed) = (0, 0);
    for n in 1..=3 {
        let job = simulator().job(&format!("{id}-{n}"));
        assert!(text(&job, "state").starts_with("COMPLETED"), "{job}");
        assert_eq!(int(&job, "submitted"), 1_000);
        completed += int(&job["counts"], "COMPLETED");
        failed += int(&job, "failedAttempts");
    }
    assert_eq!(int(&report, "completed"), completed);
    assert_eq!(int(&report, "failed"), failed);
    // One in twenty attempts draws a failure; the seed makes it the same each time.
    assert!((100..230).contains(&failed), "{failed}");
    assert_eq!(int(&report, "crashed"), 0);
    assert!(report["waitMs"]["p50"].as_i64() <= report["waitMs"]["p99"].as_i64(), "{report}");
    // Its workers have left.
    let workers = simulator().get("/kwq/workers?limit=1000").ok();
    let left = workers.as_array().expect("a list").iter();
    assert_eq!(left.filter(|w| text(w, "worker").starts_with(&id)).count(), 0);
}

#[test]
fn a_crashed_worker_forgets_its_task_and_another_attempt_ends_it() {
    let id = started(&json!({
        "tasks": 20, "workers": 10, "durationMs": {"mean": 1}, "crashRate": 0.2, "seed": 3,
    }));
    let report = ended(&id);
    assert_eq!(text(&report, "state"), "DONE", "{report}");
    assert!(int(&report, "crashed") > 0, "{report}");
    assert_eq!(int(&report, "completed"), 20);
    // A lease ran out first.
    assert!(int(&report, "elapsedMs") >= 9_000, "{report}");
}

#[test]
fn a_stopped_simulation_cancels_what_is_left() {
    let id = started(&json!({"tasks": 500, "workers": 4, "durationMs": {"mean": 60_000}}));
    eventually("its workers hold tasks", || {
        let job = simulator().get(&format!("/kwq/jobs/{id}-1"));
        (job.status == 200 && int(&job.json(), "handedOut") == 4).then_some(())
    });
    let answer = simulator().delete(&format!("/kwq/simulations/{id}")).ok();
    assert_eq!(text(&answer, "state"), "STOPPED");
    let job = simulator().job(&format!("{id}-1"));
    assert_eq!(text(&job, "state"), "CANCELLED", "{job}");
    assert_eq!(int(&job, "live"), 0);
    // A second stop changes nothing.
    assert_eq!(simulator().delete(&format!("/kwq/simulations/{id}")).ok(), answer);
}

#[test]
fn other_workers_tasks_are_not_taken_by_a_simulation() {
    let (server, job) = (simulator(), unique("real"));
    let task = server.submit(&json!({"groupId": job, "priority": 9}));
    let id = started(&json!({"tasks": 50, "workers": 5, "durationMs": {"mean": 1}}));
    assert_eq!(text(&ended(&id), "state"), "DONE");
    assert_eq!(server.state(&task), "PENDING");
}

#[test]
fn only_so_many_simulations_run_at_a_time() {
    let server = Server::start(&["simulator.enabled=true"]);
    let plan = json!({"tasks": 1, "durationMs": {"mean": 60_000}});
    for _ in 0..4 {
        server.post("/kwq/simulations", &plan).expect(202);
    }
    let refused = server.post("/kwq/simulations", &plan);
    refused.refused(429, "quota");
    assert_eq!(refused.header("kwq-applied"), Some("no"));
}

#[test]
fn bad_plans_and_unknown_ids_are_refused() {
    let server = simulator();
    server.post("/kwq/simulations", &json!({"tasks": 0})).refused_field("invalid_field", "tasks");
    let body = json!({"failRates": 0.5});
    server.post("/kwq/simulations", &body).refused_field("unknown_field", "failRates");
    server.get("/kwq/simulations/sim-0").refused(404, "simulation_not_found");
    server.delete("/kwq/simulations/sim-0").refused(404, "simulation_not_found");
    server.get("/kwq/simulate/0/0/1").refused(400, "bad_request");
    server.get("/kwq/simulate/10/61/1").refused(400, "bad_request");
    server.get("/kwq/simulate/x/1/1").refused(400, "bad_request");
}

// api.md 9: a bare number, the job `GroupId-<ts>`, ids `<i>-<job>`, priority (i mod 5) + 1.
#[test]
fn the_seeds_simulation_answers_the_number_of_completed_tasks() {
    let server = simulator();
    let answer = server.get("/kwq/simulate/200/0/10");
    answer.expect(200);
    assert_eq!(answer.text(), "200");
    let jobs = server.get("/kwq/jobs?q=GroupId-").ok();
    let job = text(&jobs[0], "id").to_owned();
    assert_eq!(int(&jobs[0]["counts"], "COMPLETED"), 200);
    let task = server.get(&format!("/kwq/tasks/7-{job}?job={job}")).ok();
    assert_eq!(int(&task, "priority"), 7 % 5 + 1);
}

#[test]
fn the_simulator_is_off_unless_it_is_switched_on() {
    let server = shared();
    server.get("/kwq/simulate/10/1/1").refused(404, "simulator_disabled");
    server.post("/kwq/simulations", &json!({})).refused(404, "simulator_disabled");
    server.get("/kwq/simulations/sim-1").refused(404, "simulator_disabled");
}

#[test]
fn the_command_line_starts_a_simulation_and_waits_for_it() {
    let server = simulator();
    let url = format!("http://{}", server.addr());
    let args = ["--url", &url, "-o", "json", "simulate", "--tasks", "100", "--mean", "1ms"];
    let out = kwq(server.dir(), &[&args[..], &["--priorities", "9,1", "--wait"]].concat());
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let report: Value = serde_json::from_slice(&out.stdout).expect("JSON");
    assert_eq!((text(&report, "state"), int(&report, "completed")), ("DONE", 100));
}

#[test]
fn a_graceful_stop_leaves_no_task_of_a_simulation_behind() {
    let mut server = Server::start(&["simulator.enabled=true"]);
    let plan = json!({"tasks": 2_000, "workers": 4, "durationMs": {"mean": 30_000}});
    let id = text(&server.post("/kwq/simulations", &plan).json(), "id").to_owned();
    eventually("its workers hold tasks", || {
        let job = server.get(&format!("/kwq/jobs/{id}-1"));
        (job.status == 200 && int(&job.json(), "handedOut") >= 1).then_some(())
    });
    pause(50);
    server.terminate();
    server.launch();
    let job = server.job(&format!("{id}-1"));
    assert_eq!((text(&job, "state"), int(&job, "live")), ("CANCELLED", 0), "{job}");
    server.get(&format!("/kwq/simulations/{id}")).refused(404, "simulation_not_found");
}

// A simulation is an object of its process: what a killed one left open has nobody to serve it.
#[test]
fn the_jobs_of_a_killed_simulation_are_cancelled_at_the_next_start() {
    let mut server = Server::start(&["simulator.enabled=true"]);
    let plan = json!({"tasks": 50, "jobs": 2, "workers": 4, "durationMs": {"mean": 60_000}});
    let started = server.post("/kwq/simulations", &plan).expect(202).json();
    let ours = [1, 2].map(|n| format!("{}-{n}", text(&started, "id")));
    let counted = |server: &Server, job: &str, what: &str| {
        let job = server.get(&format!("/kwq/jobs/{job}"));
        if job.status == 200 { int(&job.json(), what) } else { 0 }
    };
    eventually("its workers hold tasks", || {
        (counted(&server, &ours[0], "handedOut") > 0).then_some(())
    });
    // One that looks like it, and is somebody's.
    let name = format!("simulation {}", text(&started, "id"));
    server.post("/kwq/jobs", &json!({"id": "mine", "name": name})).expect(201);
    server.kill();
    server.launch();
    for job in &ours {
        eventually("its jobs are cancelled", || {
            (text(&server.job(job), "state") == "CANCELLED").then_some(())
        });
        assert_eq!(counted(&server, job, "live"), 0);
    }
    assert_eq!(text(&server.job("mine"), "state"), "OPEN");
    assert!(server.said().contains("its simulation was lost"), "{}", server.said());
    let plan = json!({"tasks": 20, "workers": 4, "durationMs": {"mean": 1}});
    let again = server.post("/kwq/simulations", &plan).expect(202).json();
    eventually("and a new one runs", || {
        let shown = server.get(&format!("/kwq/simulations/{}", text(&again, "id"))).ok();
        (text(&shown, "state") == "DONE").then_some(())
    });
}

// promises.md 9: from SIGTERM on none begins that nobody would stop, also while the rest is served.
#[test]
fn no_simulation_begins_once_a_stop_has() {
    let mut server = Server::start(&["simulator.enabled=true", "drain.delay=3s"]);
    server.signal_term();
    eventually("it is not ready", || (server.get("/kwq/health/ready").status == 503).then_some(()));
    server.post("/kwq/simulations", &json!({"tasks": 5})).refused(503, "draining");
    server.get("/kwq/simulate/5/0/1").refused(503, "draining");
    server.post("/kwq/submit", &json!({"groupId": "still"})).expect(200);
    server.wait_end();
}

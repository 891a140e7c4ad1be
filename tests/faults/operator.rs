//! The operator of a run: creates the jobs, cancels short-lived ones, and looks at the numbers of
//! the jobs every 250 ms.

use crate::history::{Entry, JobView, Submit};
use crate::http::{Answer, Client, NoAnswer, Verdict, verdict};
use crate::load::{JOBS, RUN, STOP, World};
use crate::util::{Rng, now_us, pause_ms, wait_until};
use serde_json::{Value, json};

/// A server whose log is elsewhere may have to wait for it first.
const TAKEN_MS: u64 = 30_000;

/// Creates the jobs of the load; panics if the server does not take them.
pub(crate) fn create_jobs(world: &World) {
    let addr = world.addr().expect("the server is up");
    for job in JOBS {
        let spec = json!({"id": job, "name": job, "defaults": {"maxAttempts": 3}});
        let mut last = None;
        let taken = wait_until(TAKEN_MS, || {
            let answer = Client::new(addr).post("/kwq/jobs", &spec).expect("jobs can be created");
            let taken = matches!(answer.status, 200 | 201);
            let again = answer.status == 503;
            last = Some(answer);
            assert!(taken || again, "create job: {last:?}");
            taken
        });
        assert!(taken, "create job: {last:?}");
    }
}

/// Numbers of a job out of its body.
pub(crate) fn view(body: &Value) -> JobView {
    let state = |name: &str| body["counts"][name].as_i64().unwrap_or(0);
    let number = |name: &str| body[name].as_i64().unwrap_or(0);
    JobView {
        queued: state("BLOCKED") + state("DELAYED") + state("PENDING"),
        leased: state("ALLOCATED") + state("RUNNING"),
        completed: state("COMPLETED"),
        error: state("ERROR"),
        cancelled: state("CANCELLED"),
        expired: state("EXPIRED"),
        submitted: number("submitted"),
        purged: number("purged"),
        handed_out: number("handedOut"),
        failed_attempts: number("failedAttempts"),
        crashes: number("crashes"),
        redriven: number("redriven"),
    }
}

/// Looks at every job every 250 ms until `STOP`.
pub(crate) fn sampler(world: &World) {
    let mut client = None;
    while world.mode() != STOP {
        if !world.connect(&mut client) {
            continue;
        }
        for job in JOBS {
            let Some(http) = client.as_mut() else { continue };
            let t0 = now_us();
            let Ok(answer) = http.get(&format!("/kwq/jobs/{job}")) else { continue };
            let t1 = now_us();
            if answer.status == 200 {
                let view = view(&answer.json());
                world.history.push(Entry::Sample { t0, t1, job: job.into(), view });
            }
        }
        pause_ms(250);
    }
}

/// Creates a small job every second, lets some of it run and cancels it.
pub(crate) fn canceller(world: &World, seed: u64) {
    let mut rng = Rng::new(seed);
    let mut client = None;
    while world.mode() == RUN {
        pause_ms(rng.range(500, 1_500));
        if world.mode() != RUN || !world.connect(&mut client) {
            continue;
        }
        let job = format!("doomed-{}", world.number());
        if !fill(world, &mut client, &job) {
            continue;
        }
        pause_ms(rng.range(0, 200));
        for _ in 0..2_000 {
            if world.mode() == STOP {
                break;
            }
            if world.connect(&mut client) && cancel(world, &mut client, &job) != Verdict::Unknown {
                break;
            }
            pause_ms(10);
        }
    }
}

/// Submits 20 tasks into the job; false when the job may not exist.
fn fill(world: &World, client: &mut Option<Client>, job: &str) -> bool {
    let Some(http) = client.as_mut() else { return false };
    let payloads: Vec<String> = (0..20).map(|_| format!("p-{}-", world.number())).collect();
    let bodies: Vec<Value> =
        payloads.iter().map(|p| json!({"payload": p, "priority": 5, "maxAttempts": 2})).collect();
    let t0 = now_us();
    let result = http.post(&format!("/kwq/jobs/{job}/tasks"), &Value::Array(bodies));
    let t1 = now_us();
    world.judge("submit to a doomed job", &result);
    let whole = verdict(&result);
    let answer = result.as_ref().map(Answer::json).unwrap_or(Value::Null);
    for (i, payload) in payloads.into_iter().enumerate() {
        let item = &answer["results"][i];
        let (verdict, task) = match item["outcome"].as_str() {
            Some("ok") => (Verdict::Ok, item["ref"].as_str().map(str::to_owned)),
            Some(_) => (Verdict::Unknown, None),
            None => (whole, None),
        };
        let job = job.to_owned();
        let submit = Submit { t0, t1, payload, job, priority: 5, id: None, verdict, task };
        world.history.push(Entry::Submit(submit));
    }
    whole == Verdict::Ok
}

fn cancel(world: &World, client: &mut Option<Client>, job: &str) -> Verdict {
    let Some(http) = client.as_mut() else { return Verdict::Unknown };
    let t0 = now_us();
    let result: Result<Answer, NoAnswer> =
        http.post(&format!("/kwq/jobs/{job}/cancel"), &json!({"mode": "stop"}));
    let t1 = now_us();
    world.judge("cancel of a job", &result);
    let verdict = match &result {
        // 202: durable, not yet in force everywhere; ask again until it is.
        Ok(a) if a.status == 202 || a.status == 503 || a.status == 429 => Verdict::Unknown,
        Err(NoAnswer::NotSent) => Verdict::Unknown,
        _ => verdict(&result),
    };
    world.history.push(Entry::CancelJob { t0, t1, job: job.into(), verdict });
    verdict
}

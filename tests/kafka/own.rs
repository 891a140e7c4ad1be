//! What belongs to one of several instances on a log: the simulations it runs, the ids of the
//! events it tells, its copy of the log.

use crate::broker::{instance, prefix};
use crate::http::Client;
use crate::server::{Server, Start};
use crate::util::{alone, damage, now_us, pause_ms, scratch, wait_until};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// The session of a group member, and the take-over.
const SETTLED_MS: u64 = 30_000;
/// A start cleans up as soon as it is ready.
const CLEANED_MS: u64 = 2_000;
/// A stream tells something every second.
const SILENCE: Duration = Duration::from_secs(10);
const LIMIT_US: u64 = 60_000_000;

/// Two of one cluster, not started yet.
fn two(name: &str) -> [Start; 2] {
    let (prefix, dir) = (prefix(), scratch(name));
    ["a", "b"].map(|node| {
        let mut start = instance(&prefix, &dir, node);
        start.sets.push("simulator.enabled=true".into());
        start
    })
}

fn start(start: &Start) -> Server {
    Server::start(start).expect("it starts")
}

fn client(server: &Server) -> Client {
    Client::with_timeout(server.addr().expect("it is up"), 10_000)
}

fn get(server: &Server, path: &str) -> Value {
    // A partition may change hands just now.
    let mut found = Value::Null;
    let there = wait_until(SETTLED_MS, || {
        let answer = client(server).get(path);
        answer.is_ok_and(|answer| {
            found = answer.json();
            answer.status == 200
        })
    });
    assert!(there, "{path}: {found}");
    found
}

/// Starts a simulation that takes longer than the test; its id, once its workers hold tasks.
fn simulate(server: &Server) -> String {
    let plan = json!({"tasks": 50, "workers": 4, "durationMs": {"mean": 600_000}});
    let answer = client(server).post("/kwq/simulations", &plan).expect("an answer");
    assert_eq!(answer.status, 202, "{}", answer.json());
    let id = answer.json()["id"].as_str().expect("an id").to_owned();
    let works = || get(server, &format!("/kwq/jobs/{id}-1"))["handedOut"].as_u64() > Some(0);
    assert!(wait_until(SETTLED_MS, works), "its workers hold tasks");
    id
}

fn job_state(server: &Server, simulation: &str) -> String {
    let job = get(server, &format!("/kwq/jobs/{simulation}-1"));
    job["state"].as_str().expect("a state").to_owned()
}

/// A simulation ends with its process, and with no other one.
#[test]
fn a_start_cancels_the_simulations_of_its_own_instance_only() {
    let _alone = alone();
    let [for_a, for_b] = two("own-simulations");
    let a = start(&for_a);
    let of_a = simulate(&a);
    let b = start(&for_b);
    let of_b = simulate(&b);
    let goes_on = |a: &Server| {
        pause_ms(CLEANED_MS);
        assert_ne!(job_state(a, &of_a), "CANCELLED");
        let simulation = get(a, &format!("/kwq/simulations/{of_a}"));
        assert_eq!(simulation["state"], "RUNNING", "{simulation}");
    };
    goes_on(&a);
    b.kill();
    let b = start(&for_b);
    let cancelled =
        |server: &Server, id: &str| wait_until(SETTLED_MS, || job_state(server, id) == "CANCELLED");
    assert!(cancelled(&b, &of_b), "{}", b.stderr());
    goes_on(&a);
    a.kill();
    let a = start(&for_a);
    assert!(cancelled(&a, &of_a), "{}", a.stderr());
    assert_eq!(job_state(&b, &of_a), "CANCELLED");
}

/// One event of a stream.
#[derive(Debug, Default)]
struct Told {
    id: u64,
    kind: String,
    data: Value,
}

impl Told {
    fn is_of(&self, job: &str) -> bool {
        self.kind == "job" && self.data["id"] == job
    }
}

/// What an instance tells from there on, until something is told.
fn listen(at: SocketAddr, after: Option<u64>, last: impl Fn(&Told) -> bool) -> Vec<Told> {
    let mut stream = TcpStream::connect(at).expect("it listens");
    stream.set_read_timeout(Some(SILENCE)).expect("a limit can be set");
    let place = after.map_or(String::new(), |id| format!("Last-Event-ID: {id}\r\n"));
    write!(stream, "GET /kwq/events HTTP/1.1\r\nHost: {at}\r\n{place}\r\n").expect("it is sent");
    let (mut told, mut event, begun) = (Vec::new(), Told::default(), now_us());
    // An event is a chunk, so the lines of chunks are lines of their own.
    for line in BufReader::new(stream).lines() {
        let line = line.expect("the stream goes on");
        if let Some(id) = line.strip_prefix("id: ") {
            event.id = id.parse().expect("a number");
        } else if let Some(kind) = line.strip_prefix("event: ") {
            kind.clone_into(&mut event.kind);
        } else if let Some(data) = line.strip_prefix("data: ") {
            event.data = serde_json::from_str(data).expect("data is JSON");
            told.push(std::mem::take(&mut event));
            if told.last().is_some_and(&last) {
                return told;
            }
        }
        assert!(now_us() - begun < LIMIT_US, "it does not come: {told:?}");
    }
    panic!("the stream has ended: {told:?}");
}

/// Whoever goes on at another instance is told again rather than not at all.
#[test]
fn an_event_id_of_another_instance_is_none_of_ones_own() {
    let _alone = alone();
    let servers = two("own-events").map(|with| start(&with));
    let [a, b] = [0, 1].map(|n: usize| servers[n].addr().expect("it is up"));
    let make = |job: &str| {
        let made = Client::new(a).post("/kwq/jobs", &json!({"id": job})).expect("an answer");
        assert_eq!(made.status, 201, "{}", made.json());
    };
    // An id that nobody ever gave: all that is there comes before the next snapshot.
    let all = |at| listen(at, Some(1), |told| told.kind == "snapshot");
    let (mut made, tells) = (0, |at| all(at).iter().any(|told| told.kind == "job"));
    let both = wait_until(SETTLED_MS, || {
        made += 1;
        make(&format!("first-{made}"));
        tells(a) && tells(b)
    });
    assert!(both, "the first look of an instance finds no changes, the next ones do");
    make("seen");
    let is_job = |told: &Told| told.is_of("seen");
    let [of_a, of_b] = [a, b].map(|at| listen(at, Some(1), is_job).pop().expect("it was told").id);
    // A place at A behind that event, and at B all is told that far.
    let later = |told: &Told| told.kind == "snapshot" && told.id > of_b.max(of_a);
    let place = listen(a, None, later).pop().expect("a snapshot").id;
    let of_b_later = listen(b, None, |told| told.id > place).pop().expect("a snapshot").id;
    let again = |at, after| {
        let told = listen(at, Some(after), |told| told.kind == "snapshot" && told.id > place);
        told.iter().any(is_job)
    };
    assert!(again(b, place), "B never gave that id");
    assert!(again(a, of_b_later), "A never gave that one");
    assert!(!again(b, of_b_later) && !again(a, place), "their own ids are places");
}

/// Kafka has what the copy has lost: the owner that reads the damage takes it from there.
#[test]
fn a_copy_that_is_damaged_under_a_running_owner_is_read_anew() {
    let _alone = alone();
    let dir = scratch("own-damage");
    let server = start(&instance(&prefix(), &dir, "a"));
    let payload = |n: usize| format!("mark-{n:02}-{}", "x".repeat(5_000));
    for n in 0..20 {
        let job = "/kwq/jobs/marked/tasks";
        let answer = client(&server).post(job, &json!([{"payload": payload(n)}]));
        assert_eq!(answer.expect("an answer").status, 200);
    }
    let spools = || {
        let partitions = (0..4).map(|id| dir.join(format!("a/kafka/spool/{id}")));
        let listed = partitions.filter_map(|spool| spool.read_dir().ok()).flatten();
        listed.filter_map(|entry| Some(entry.ok()?.path())).collect::<Vec<_>>()
    };
    assert!(wait_until(SETTLED_MS, || damage(spools(), "mark-07-").is_some()), "{:?}", spools());
    let mut seen = BTreeSet::new();
    let done = wait_until(SETTLED_MS, || {
        // What was taken by the consume that failed comes again after its lease.
        let ask = json!({"worker": "w", "max": 3, "waitMs": 100, "leaseMs": 2_000});
        let answer = client(&server).post("/kwq/consume", &ask).expect("an answer").json();
        for task in answer["tasks"].as_array().into_iter().flatten() {
            let report = json!({"items": [{"lease": task["lease"]}]});
            client(&server).post("/kwq/complete", &report).expect("an answer");
            seen.insert(task["payload"].as_str().expect("a text").to_owned());
        }
        let job = client(&server).get("/kwq/jobs/marked").expect("an answer").json();
        job["counts"]["COMPLETED"] == 20
    });
    assert!(done, "{} of 20: {}", seen.len(), server.stderr());
    assert_eq!(seen, (0..20).map(payload).collect());
    let stderr = server.stderr();
    assert_eq!(stderr.matches("accepts nothing more").count(), 1, "{stderr}");
    assert_eq!(client(&server).get("/kwq/health/ready").expect("an answer").status, 200);
}

//! Reports whose owner is away are durable all the same, and count once when it, or another one,
//! is there again.

use crate::broker::{address, instance, prefix};
use crate::http::{Answer, Client};
use crate::server::Server;
use crate::util::{pause_ms, scratch, wait_until};
use kwq::log::kafka::{Cluster, Commands, Delivery, Letter, Topics};
use kwq::model::id::PartitionId;
use serde_json::{Value, json};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

const TASKS: usize = 32;
/// A call to an instance that stands still is given up, and Kafka has the report.
const REPORT_MS: u64 = 20_000;
/// The session of a group member, and the take-over.
const SETTLED_MS: u64 = 30_000;

fn commands(prefix: &str, partitions: u16) -> Commands {
    let cluster =
        Cluster { brokers: address().to_owned(), client_id: "kwq/t".into(), properties: vec![] };
    let prefix = prefix.to_owned();
    let topics =
        Topics { prefix, partitions, replication: 1, manage: true, inboxes: false, feeds: vec![] };
    Commands::start(&cluster, &topics).expect("Kafka is there").expect("the topic is there")
}

fn send(commands: &Commands, id: u16, value: &[u8]) -> Delivery {
    let (done, told) = sync_channel(1);
    let done = Box::new(move |sent| done.send(sent).expect("somebody waits"));
    commands.send(PartitionId(id), value, done).expect("it is sent");
    told.recv_timeout(Duration::from_secs(10)).expect("within the limit")
}

/// What is read from the first record that is kept.
fn kept(commands: &Commands, id: u16, count: usize) -> Vec<Letter> {
    commands.own(PartitionId(id), 0);
    let mut letters = Vec::new();
    wait_until(10_000, || {
        letters.extend(commands.pull(PartitionId(id), (1_000, 1 << 20)));
        letters.len() >= count
    });
    letters
}

/// Two instances.
struct Pair {
    a: Server,
    b: Option<Server>,
    prefix: String,
}

impl Pair {
    fn start(name: &str) -> Self {
        let (prefix, dir) = (prefix(), scratch(name));
        let start = |node: &str| Server::start(&instance(&prefix, &dir, node)).expect("it starts");
        let pair = Self { a: start("a"), b: Some(start("b")), prefix };
        let shared = || pair.owners().iter().filter(|(_, owner)| owner == "b").count() == 2;
        assert!(wait_until(SETTLED_MS, shared), "each serves two: {:?}", pair.owners());
        pair
    }

    fn signal_b(&mut self, name: &str) {
        self.b.as_mut().expect("it runs").signal(name);
    }

    fn a(&self) -> Client {
        Client::with_timeout(self.a.addr().expect("it is up"), REPORT_MS)
    }

    /// Partitions that have an owner, as A knows it.
    fn owners(&self) -> Vec<(u64, String)> {
        let Ok(answer) = self.a().get("/kwq/cluster") else { return Vec::new() };
        let cluster = answer.json();
        let rows = cluster["partitions"].as_array().cloned().unwrap_or_default();
        let ready = rows.iter().filter(|row| row["state"] == "READY");
        let owner = |row: &Value| {
            let owner = row["owner"].as_str().unwrap_or_default().to_owned();
            (row["partition"].as_u64().unwrap_or(u64::MAX), owner)
        };
        ready.map(owner).collect()
    }

    fn post(&self, path: &str, body: &Value) -> Answer {
        self.a().post(path, body).expect("an answer")
    }

    /// Tasks of B's partitions that a worker took through A.
    fn taken(&self) -> Vec<Value> {
        // Tasks stay with the instance they come to.
        let mut b = Client::new(self.b.as_ref().and_then(Server::addr).expect("it is up"));
        for n in 0..TASKS {
            let task = json!({"id": format!("t{n}"), "groupId": "grid", "payload": "p"});
            let answer = b.post("/kwq/submit", &task).expect("an answer");
            assert!(answer.status < 300, "{:?}", answer.json());
        }
        let ask = json!({"worker": "w", "max": TASKS, "waitMs": 1_000, "leaseMs": 60_000});
        let (mut tasks, mut last) = (Vec::new(), Value::Null);
        let all = wait_until(10_000, || {
            last = self.post("/kwq/consume", &ask).json();
            let body = &last;
            tasks.extend(body["tasks"].as_array().cloned().unwrap_or_default());
            tasks.len() == TASKS
        });
        assert!(all, "{} tasks were handed out: {last}", tasks.len());
        let owners = self.owners();
        let of_b = |task: &Value| {
            let partition = task["partition"].as_u64();
            owners.iter().any(|(id, owner)| Some(*id) == partition && owner == "b")
        };
        let theirs: Vec<Value> = tasks.into_iter().filter(of_b).collect();
        assert!(theirs.len() >= 4, "B has its share: {}", theirs.len());
        theirs
    }

    /// Reports each of four tasks in another way, all at a time, because another owner is there
    /// soon; all of them are left for later.
    fn leave(&self, tasks: &[Value]) {
        let done = |n: usize| json!({"lease": tasks[n]["lease"], "result": {"n": n}});
        let fail = json!({"lease": tasks[3]["lease"], "class": "io", "retryable": false});
        let calls = [
            ("/kwq/complete", done(0), 202, ""),
            ("/kwq/complete", json!({"items": [done(1)]}), 200, "/items/0"),
            (
                "/kwq/consume",
                json!({"worker": "w", "waitMs": 0, "done": [done(2)]}),
                200,
                "/done/0",
            ),
            ("/kwq/fail", fail, 202, ""),
        ];
        std::thread::scope(|scope| {
            for (path, body, status, place) in calls {
                scope.spawn(move || {
                    let answer = self.post(path, &body);
                    let told = answer.json();
                    assert_eq!(answer.status, status, "{path}: {told}");
                    let outcome = told.pointer(&format!("{place}/outcome"));
                    assert_eq!(outcome, Some(&json!("accepted")), "{path}: {told}");
                });
            }
        });
    }

    /// All of it has come true, once.
    fn settled(&self, tasks: &[Value]) {
        for (n, task) in tasks[..4].iter().enumerate() {
            let path = format!("/kwq/tasks/{}", task["ref"].as_str().expect("a ref"));
            let mut last = Value::Null;
            let state = if n == 3 { "ERROR" } else { "COMPLETED" };
            let fine = wait_until(SETTLED_MS, || {
                last = self.a().get(&path).map_or(Value::Null, |answer| answer.json());
                last["state"] == state
            });
            assert!(fine, "{n}: {last}");
            assert_eq!(last["attempt"], 1, "{last}");
        }
        let result = json!({"lease": tasks[0]["lease"], "result": {"n": 0}});
        let again = self.post("/kwq/complete", &result);
        assert_eq!((again.status, &again.json()["outcome"]), (200, &json!("duplicate")));
        let job = self.a().get("/kwq/jobs/grid").expect("an answer").json();
        assert_eq!(job["counts"]["COMPLETED"], 3, "{job}");
        assert_eq!(job["counts"]["ERROR"], 1, "{job}");
        let results = self.a().get("/kwq/jobs/grid/results").expect("an answer");
        let results = String::from_utf8(results.body).expect("text");
        assert_eq!(results.lines().filter(|line| line.contains("\"n\":0")).count(), 1, "{results}");
    }
}

#[test]
fn what_is_left_is_kept_in_order_until_it_is_trimmed() {
    let prefix = prefix();
    let (dir, partitions) = (crate::log_contract::kit::TempDir::new(), 4);
    // The topics are made by who opens the log.
    drop(crate::broker::open(&crate::broker::options(&prefix, &dir)));
    let commands = commands(&prefix, partitions);
    for value in [b"0", b"1", b"2"] {
        assert_eq!(send(&commands, 1, value), Delivery::Durable);
    }
    let values = |letters: Vec<Letter>| {
        letters.into_iter().map(|letter| letter.value.unwrap_or_default()).collect::<Vec<_>>()
    };
    assert_eq!(values(kept(&commands, 1, 3)), [b"0", b"1", b"2"]);
    commands.trim(PartitionId(1), 2).expect("Kafka forgets");
    assert_eq!(values(kept(&commands, 1, 1)), [b"2"]);
    let large = vec![0; 65 << 20];
    assert!(commands.send(PartitionId(1), &large, Box::new(|_| ())).is_err(), "not sent at all");
}

#[test]
fn a_report_for_an_instance_that_is_killed_counts_once_another_has_its_partition() {
    let mut pair = Pair::start("kafka-commands-kill");
    let tasks = pair.taken();
    // Whatever else is there is passed over.
    let partition = tasks[0]["partition"].as_u64().and_then(|id| u16::try_from(id).ok());
    let partition = partition.expect("a number");
    assert_eq!(send(&commands(&pair.prefix, 4), partition, b"junk"), Delivery::Durable);
    drop(pair.b.take().map(Server::kill));
    pair.leave(&tasks);
    pair.settled(&tasks);
}

#[test]
fn a_report_for_an_instance_that_stands_still_counts_once_when_it_goes_on() {
    let mut pair = Pair::start("kafka-commands-stop");
    let tasks = pair.taken();
    pair.signal_b("STOP");
    pair.leave(&tasks);
    pause_ms(100);
    pair.signal_b("CONT");
    pair.settled(&tasks);
}

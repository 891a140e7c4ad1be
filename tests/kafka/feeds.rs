//! Topics derived from the log: what any Kafka client reads there is what the server did, in its
//! order, once or a little more than once, and never with a gap.

use crate::broker::{address, kcat, options, prefix};
use crate::http::Client;
use crate::log_contract::kit::TempDir;
use crate::server::{Server, Start};
use crate::util::{pause_ms, scratch, wait_until};
use kwq::log::kafka::{Last, Outlet};
use kwq::model::ending::EndPlace;
use kwq::model::feed::Feed;
use kwq::model::id::{PartitionId, Position};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;

/// What is written within a moment is there by then.
const SETTLED_MS: u64 = 60_000;

/// A server with two partitions and further settings.
fn start(name: &str, prefix: &str, sets: &[&str]) -> Start {
    let dir = scratch(name).join("data");
    std::fs::create_dir_all(&dir).expect("the directory can be made");
    let mut all = vec![
        "log.backend=kafka".to_owned(),
        format!("kafka.bootstrap-servers={}", address()),
        format!("topics.prefix={prefix}"),
        "topics.replication=1".to_owned(),
        "log.partitions=2".to_owned(),
    ];
    all.extend(sets.iter().map(ToString::to_string));
    Start { dir, sets: all, ..Start::default() }
}

/// A record as `kcat` shows it.
#[derive(Clone, Debug)]
struct Record {
    partition: i64,
    key: String,
    value: Value,
    /// `kwq-position` and `kwq-entry`.
    place: (u64, u64),
}

fn record(line: &str) -> Record {
    let shown: Value = serde_json::from_str(line).expect("kcat writes JSON");
    let header = |name: &str| {
        let all = shown["headers"].as_array().expect("headers");
        let at = all.iter().position(|text| text == name).expect("the header is there");
        all[at + 1].as_str().and_then(|text| text.parse().ok()).expect("a number")
    };
    Record {
        partition: shown["partition"].as_i64().expect("a partition"),
        key: shown["key"].as_str().expect("a key").to_owned(),
        value: serde_json::from_str(shown["payload"].as_str().expect("a value")).expect("JSON"),
        place: (header("kwq-position"), header("kwq-entry")),
    }
}

/// All records of a topic, those of each partition in their order.
fn records(topic: &str) -> Vec<Record> {
    let args = ["-C", "-b", address(), "-t", topic, "-o", "beginning", "-e", "-q", "-J"];
    let output = Command::new("kcat").args(args).output().expect("kcat runs");
    String::from_utf8(output.stdout).expect("text").lines().map(record).collect()
}

/// Waits until a topic has so many different records.
fn wait_for(topic: &str, count: usize) -> Vec<Record> {
    let mut last = Vec::new();
    let fine = wait_until(SETTLED_MS, || {
        last = records(topic);
        let places: BTreeSet<_> = last.iter().map(|r| (r.partition, r.place)).collect();
        places.len() >= count
    });
    assert!(fine, "{topic} has {} records, not {count}", last.len());
    last
}

/// Is a topic there?
fn exists(topic: &str) -> bool {
    let output = Command::new("kcat").args(["-L", "-b", address()]).output().expect("kcat runs");
    String::from_utf8_lossy(&output.stdout).contains(&format!("\"{topic}\""))
}

fn produce(topic: &str, line: &str) {
    produce_into(topic, "0", line);
}

fn produce_into(topic: &str, partition: &str, line: &str) {
    kcat(topic, &["-p", partition], line.as_bytes());
}

fn client(server: &Server) -> Client {
    Client::new(server.addr().expect("it is up"))
}

fn post(server: &Server, path: &str, body: &Value) -> Value {
    let answer = client(server).post(path, body).expect("an answer");
    let told = answer.json();
    assert!(answer.status < 300, "{path}: {told}");
    told
}

fn get(server: &Server, path: &str) -> Value {
    client(server).get(path).expect("an answer").json()
}

fn submit(server: &Server, job: &str, count: usize) {
    let task = |n: usize| json!({"id": format!("t{n}"), "groupId": job, "payload": "abc"});
    let tasks: Vec<Value> = (0..count).map(task).collect();
    for part in tasks.chunks(500) {
        post(server, "/kwq/submit", &json!(part));
    }
}

/// Takes tasks of a job; empty when there are none.
fn consume(server: &Server, max: usize) -> Vec<Value> {
    let ask = json!({"worker": "w", "max": max, "waitMs": 0, "leaseMs": 60_000});
    let body = post(server, "/kwq/consume", &ask);
    body["tasks"].as_array().cloned().unwrap_or_default()
}

/// Fails them for good.
fn fail(server: &Server, tasks: &[Value]) {
    let item = |task: &Value| {
        let lease = &task["lease"];
        json!({"lease": lease, "class": "io", "message": "broken", "retryable": false})
    };
    let items: Vec<Value> = tasks.iter().map(item).collect();
    if items.is_empty() {
        return;
    }
    post(server, "/kwq/fail", &json!({"items": items}));
}

/// In each partition the first time each place comes up is behind all others before: whoever drops
/// what is not further than what it has seen has everything once and in order. Answers how many
/// records are there again.
fn repeated(records: &[Record]) -> usize {
    let mut repeats = 0;
    let mut furthest: BTreeMap<i64, (u64, u64)> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for record in records {
        let last = furthest.entry(record.partition).or_default();
        if seen.insert((record.partition, record.place)) {
            assert!(record.place > *last, "{record:?} comes after {last:?}");
            *last = record.place;
        } else {
            repeats += 1;
        }
    }
    repeats
}

#[test]
fn dead_letters_are_there_for_any_client_whole_and_with_their_key() {
    let prefix = prefix();
    let server = Server::start(&start("kafka-feeds-dead", &prefix, &[])).expect("it starts");
    submit(&server, "grid", 1);
    let tasks = consume(&server, 1);
    fail(&server, &tasks);
    produce(&format!("{prefix}-5"), "no json");
    let dead = wait_for(&format!("{prefix}-dead"), 2);
    let of = |class: &str| {
        let found = dead.iter().find(|record| record.value["error"]["class"] == class);
        found.unwrap_or_else(|| panic!("{class}: {dead:?}")).clone()
    };
    let (failed, malformed) = (of("io"), of("malformed"));
    assert_eq!(failed.key, tasks[0]["ref"], "the key is the reference");
    assert_eq!(failed.value["partition"], failed.partition, "partition i is partition i");
    for record in [&failed, &malformed] {
        let mut shown = get(&server, &format!("/kwq/tasks/{}?payload=true", record.key));
        shown["reason"] = json!("error");
        shown["position"] = json!(record.place.0.to_string());
        assert_eq!(record.value, shown);
    }
    assert_eq!(failed.value["attempts"].as_array().map(Vec::len), Some(1), "{failed:?}");
    assert_eq!((&failed.value["id"], &failed.value["payload"]), (&json!("t0"), &json!("abc")));
    assert_eq!(malformed.value["payload"], "no json");
    assert!(!exists(&format!("{prefix}-status")), "nobody asked for it");
}

#[test]
fn a_server_that_is_killed_goes_on_without_a_gap_and_repeats_little() {
    const TASKS: usize = 6_000;
    let prefix = prefix();
    let start = start("kafka-feeds-kill", &prefix, &["topics.inboxes=false"]);
    let mut server = Server::start(&start).expect("it starts");
    submit(&server, "grid", TASKS);
    let mut killed = 0;
    for pause in [0, 1, 5, 30, 120, 260] {
        for _ in 0..4 {
            fail(&server, &consume(&server, TASKS / 30));
        }
        pause_ms(pause);
        drop(server.kill());
        killed += 1;
        server = Server::start(&start).expect("it starts");
    }
    let dead = get(&server, "/kwq/jobs/grid")["counts"]["ERROR"].as_u64().expect("a number");
    let expected = usize::try_from(dead).expect("a count");
    assert!(expected >= TASKS / 2, "{expected} are dead");
    let all = wait_for(&format!("{prefix}-dead"), expected);
    let repeats = repeated(&all);
    let keys: BTreeSet<_> = all.iter().map(|record| record.key.as_str()).collect();
    assert_eq!(keys.len(), expected, "each of them, and no other");
    assert!(repeats <= killed * TASKS / 10, "{repeats} of {expected} are there again");
}

#[test]
fn changes_of_tasks_come_in_their_order() {
    let prefix = prefix();
    let sets = ["topics.status=true", "topics.dead=false", "topics.inboxes=false"];
    let server = Server::start(&start("kafka-feeds-status", &prefix, &sets)).expect("it starts");
    submit(&server, "grid", 1);
    let tasks = consume(&server, 1);
    post(&server, "/kwq/start", &json!({"lease": tasks[0]["lease"]}));
    post(&server, "/kwq/complete", &json!({"lease": tasks[0]["lease"]}));
    let topic = format!("{prefix}-status");
    let changes = wait_for(&topic, 4);
    let told: Vec<_> = changes.iter().map(|r| (&r.value["from"], &r.value["to"])).collect();
    let none = Value::Null;
    let words = ["PENDING", "ALLOCATED", "RUNNING", "COMPLETED"].map(Value::from);
    let [pending, allocated, running, completed] = &words;
    let expected =
        [(&none, pending), (pending, allocated), (allocated, running), (&none, completed)];
    assert_eq!(told, expected);
    for change in &changes {
        let value = &change.value;
        assert_eq!((&json!(change.key), &json!("t0")), (&value["ref"], &value["id"]));
        let position = json!(change.place.0.to_string());
        assert_eq!((&value["job"], &value["position"]), (&json!("grid"), &position));
    }
    let worker: Vec<_> = changes.iter().map(|record| &record.value["worker"]).collect();
    assert_eq!(worker[1..], [&json!("w"); 3]);
    assert!(!exists(&format!("{prefix}-dead")), "it is switched off");
}

#[test]
fn an_array_and_its_cancel_are_told_element_by_element_also_across_a_kill() {
    const ELEMENTS: usize = 20_000;
    let prefix = prefix();
    let sets = ["topics.status=true", "topics.inboxes=false"];
    let start = start("kafka-feeds-array", &prefix, &sets);
    let mut server = Server::start(&start).expect("it starts");
    let array = json!({"array": {"to": ELEMENTS - 1, "payloadTemplate": "{i}"}});
    post(&server, "/kwq/jobs/grid/tasks", &array);
    post(&server, "/kwq/jobs/grid/cancel", &json!({}));
    for pause in [250, 350] {
        pause_ms(pause);
        drop(server.kill());
        server = Server::start(&start).expect("it starts");
    }
    let all = wait_for(&format!("{prefix}-status"), 2 * ELEMENTS);
    repeated(&all);
    let states: BTreeSet<_> =
        all.iter().map(|r| (r.key.as_str(), r.value["to"].as_str().expect("a state"))).collect();
    let of = |state| states.iter().filter(|(_, to)| *to == state).count();
    assert_eq!((of("PENDING"), of("CANCELLED")), (ELEMENTS, ELEMENTS));
    let lag = || {
        let text = client(&server).get("/metrics").expect("an answer").body;
        let text = String::from_utf8(text).expect("text");
        let line = text.lines().find(|l| l.starts_with("kwq_feed_lag_records{topic=\"status\"}"));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
    };
    assert!(wait_until(SETTLED_MS, || lag() == Some(0.0)), "{:?}", lag());
}

#[test]
fn another_owner_goes_on_where_the_first_was_killed() {
    const TASKS: usize = 600;
    let prefix = prefix();
    let begin = |node: &str| {
        let node = format!("node.id={node}");
        let sets = ["topics.inboxes=false", "kafka.session-timeout=6s", node.as_str()];
        Server::start(&start(&format!("kafka-feeds-{node}"), &prefix, &sets)).expect("it starts")
    };
    let a = begin("a");
    submit(&a, "grid", TASKS);
    let b = begin("b");
    let dies = |server: &Server| {
        let mut left = TASKS / 2;
        let all = wait_until(SETTLED_MS, || {
            let tasks = consume(server, left.min(50));
            fail(server, &tasks);
            left -= tasks.len();
            left == 0
        });
        assert!(all, "{left} are left");
    };
    dies(&a);
    drop(a.kill());
    dies(&b);
    let all = wait_for(&format!("{prefix}-dead"), TASKS);
    repeated(&all);
    assert_eq!(all.iter().map(|r| &r.key).collect::<BTreeSet<_>>().len(), TASKS);
}

#[test]
fn without_the_topic_and_the_right_to_make_it_the_server_goes_on_without() {
    let prefix = prefix();
    let mut start = start("kafka-feeds-missing", &prefix, &["topics.dead=false"]);
    drop(Server::start(&start).expect("it starts").kill());
    start.sets.extend(["topics.dead=true".to_owned(), "topics.manage=false".to_owned()]);
    let server = Server::start(&start).expect("it starts all the same");
    submit(&server, "grid", 1);
    fail(&server, &consume(&server, 1));
    assert_eq!(get(&server, "/kwq/jobs/grid")["counts"]["ERROR"], 1);
    assert!(!exists(&format!("{prefix}-dead")));
}

/// An outlet on topics that are there.
fn outlet(prefix: &str) -> Outlet {
    let mut options = options(prefix, &TempDir::new());
    options.topics.feeds = vec![Feed::Dead];
    // The topics are made by who opens the log.
    drop(crate::broker::open(&options));
    let outlet = Outlet::start(&options.cluster, &options.topics, Feed::Dead);
    outlet.expect("Kafka is there").expect("the topic is there")
}

fn place(record: u64, read: u64) -> EndPlace {
    EndPlace { record: Position(record), read }
}

fn written(outlet: &Outlet, id: PartitionId, at: EndPlace) {
    assert!(outlet.send(id, at, ("k", b"{}")).expect("it is sent"));
    let arrived = wait_until(10_000, || {
        outlet.serve(Duration::from_millis(10));
        !outlet.flying()
    });
    assert!(arrived);
    outlet.check().expect("nothing has failed");
}

#[test]
fn the_last_record_of_ours_or_a_mark_behind_it_says_where_to_go_on() {
    let prefix = prefix();
    let writer = outlet(&prefix);
    let (id, other) = (PartitionId(0), PartitionId(1));
    assert_eq!(writer.last(id).expect("an answer"), Last::Never);
    for partition in ["0", "1"] {
        produce_into(&format!("{prefix}-changelog"), partition, "one\ntwo\n");
    }
    written(&writer, id, place(65_536, 0));
    written(&writer, id, place(65_537, 7));
    assert_eq!(writer.carried(id, place(9, 9)), place(9, 9), "nothing is on its way");
    let last = |id| outlet(&prefix).last(id).expect("an answer");
    assert_eq!(last(id), Last::Behind(place(65_537, 8)));
    let foreign = "somebody else\n".repeat(40);
    produce(&format!("{prefix}-dead"), &foreign);
    assert_eq!(last(id), Last::Behind(place(65_537, 8)), "it is looked for further back");
    writer.mark(&[(id, place(3, 0)), (other, place(70_000, 0))]);
    let marked = || {
        writer.serve(Duration::ZERO);
        last(other) == Last::Behind(place(70_000, 0))
    };
    assert!(wait_until(10_000, marked), "{:?}", last(other));
    assert_eq!(last(id), Last::Behind(place(65_537, 8)), "an older mark says nothing");
    writer.mark(&[(id, place(80_000, 2))]);
    assert!(wait_until(10_000, || last(id) == Last::Behind(place(80_000, 2))));
    written(&writer, id, place(4 << 16, 0));
    assert_eq!(last(id), Last::Ahead, "of a changelog that has two records");
}

#[test]
fn nothing_comes_behind_a_record_that_kafka_refuses() {
    let prefix = prefix();
    let writer = outlet(&prefix);
    let id = PartitionId(0);
    produce(&format!("{prefix}-changelog"), "one\n");
    written(&writer, id, place(65_536, 0));
    // Larger than the topic takes, and not to be made smaller.
    let mut rng = crate::util::Rng::new(7);
    let large: Vec<u8> = (0..400_000).flat_map(|_| rng.next().to_le_bytes()).collect();
    for entry in 1..200 {
        let value: &[u8] = if entry == 100 { &large } else { b"{}" };
        if writer.check().is_ok() {
            assert!(writer.send(id, place(65_536, entry), ("k", value)).is_ok_and(|room| room));
        }
    }
    let failed = wait_until(10_000, || {
        writer.serve(Duration::from_millis(10));
        writer.check().is_err()
    });
    assert!(failed, "it is refused, and that is said");
    assert!(writer.send(id, place(65_537, 0), ("k", b"{}")).is_err(), "nothing more is sent");
    // Long enough for the client to send what waits, if it still would.
    wait_until(2_000, || {
        writer.serve(Duration::from_millis(10));
        false
    });
    let carried = writer.carried(id, place(70_000, 0));
    assert!(carried <= place(65_536, 100), "{carried:?}");
    drop(writer);
    let Last::Behind(last) = outlet(&prefix).last(id).expect("an answer") else {
        panic!("a place")
    };
    assert!(last <= place(65_536, 100), "{last:?}: the one before is not there");
}

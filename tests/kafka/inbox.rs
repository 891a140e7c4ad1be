//! Foreign producers: `kcat` writes onto the inbox topics, and what it writes runs, or is a dead
//! letter that says why it does not.

use crate::broker::{address, kcat, prefix};
use crate::http::Client;
use crate::server::{Server, Start};
use crate::util::{scratch, wait_until};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::Command;

/// A server that reads inboxes.
fn start(name: &str, prefix: &str) -> Start {
    let dir = scratch(name).join("data");
    std::fs::create_dir_all(&dir).expect("the directory can be made");
    let sets = vec![
        "log.backend=kafka".into(),
        format!("kafka.bootstrap-servers={}", address()),
        format!("topics.prefix={prefix}"),
    ];
    Start { dir, sets, ..Start::default() }
}

/// Writes lines onto an inbox, a record each.
fn produce(topic: &str, headers: &[&str], lines: &str) {
    let args: Vec<_> = headers.iter().flat_map(|header| ["-H", header]).collect();
    kcat(topic, &args, lines.as_bytes());
}

fn get(server: &Server, path: &str) -> Value {
    let mut client = Client::new(server.addr().expect("it is up"));
    client.get(path).expect("an answer").json()
}

/// Waits for a number in an answer.
fn eventually(server: &Server, path: &str, pointer: &str, expected: i64) {
    let mut last = Value::Null;
    let fine = wait_until(30_000, || {
        last = get(server, path);
        last.pointer(pointer).and_then(Value::as_i64) == Some(expected)
    });
    assert!(fine, "{path}: {pointer} is {expected} in the end: {last}");
}

/// Takes tasks of a job, so many at a time, until there are `most` or none; their payloads in the
/// order they came.
fn work(server: &Server, job: &str, (max, most): (usize, usize)) -> Vec<String> {
    let mut client = Client::new(server.addr().expect("it is up"));
    let mut payloads = Vec::new();
    while payloads.len() < most {
        let ask = json!({"worker": "w", "jobs": [job], "max": max, "waitMs": 0});
        let answer = client.post("/kwq/consume", &ask).expect("an answer");
        let body = answer.json();
        let tasks = body["tasks"].as_array().cloned().unwrap_or_default();
        if tasks.is_empty() {
            break;
        }
        for task in tasks {
            payloads.push(task["payload"].as_str().unwrap_or_default().to_owned());
            let done = client.post("/kwq/complete", &json!({"lease": task["lease"]}));
            assert_eq!(done.expect("an answer").status, 200);
        }
    }
    payloads
}

#[test]
fn tasks_of_kcat_run_with_their_priority_and_malformed_ones_are_dead_letters() {
    let prefix = prefix();
    let server = Server::start(&start("kafka-inbox", &prefix)).expect("the server starts");
    let topic = |level: u8| format!("{prefix}-{level}");
    produce(&topic(3), &[], "{\"groupId\":\"grid\",\"payload\":\"low\",\"tag\":\"desk:fx\"}\n");
    let lines: String =
        (0..500).map(|n| format!("{{\"groupId\":\"grid\",\"payload\":\"{n}\"}}\n")).collect();
    produce(&topic(9), &[], &lines);
    produce(&topic(5), &["kwq-job=raw", "kwq-fmt=raw", "kwq-tags=a:b"], "any bytes\n");
    produce(&topic(5), &["kwq-job=bad"], "{\"payload\": 1\n[]\nno json\n");
    eventually(&server, "/kwq/jobs/grid", "/submitted", 501);
    eventually(&server, "/kwq/jobs/raw", "/counts/PENDING", 1);
    eventually(&server, "/kwq/jobs/bad", "/counts/ERROR", 3);
    let done = work(&server, "grid", (1, 10_000));
    assert_eq!((done.len(), done.last().map(String::as_str)), (501, Some("low")));
    assert_eq!(work(&server, "raw", (1, 10)), ["any bytes"]);
    let dead = get(&server, "/kwq/tasks?state=ERROR&job=bad&fresh=true");
    let first = &dead.as_array().expect("a list")[0];
    assert_eq!(first["error"]["class"], "malformed", "{first}");
    let tagged = get(&server, "/kwq/tasks?tag=desk:fx&fresh=true");
    assert_eq!(tagged.as_array().map(Vec::len), Some(1), "{tagged}");
    let levels = get(&server, "/kwq/queues");
    assert_eq!(levels[0]["topic"], format!("{prefix}-9"), "a level is a topic: {levels}");
}

/// Writes a record as it is.
fn produce_whole(name: &str, topic: &str, headers: &[&str], value: &[u8]) {
    let file = scratch(name).join("value");
    std::fs::write(&file, value).expect("the file can be written");
    let mut command = Command::new("kcat");
    command.args(["-P", "-b", address(), "-t", topic, "-X", "message.max.bytes=8000000"]);
    for header in headers {
        command.args(["-H", header]);
    }
    let status = command.arg(file).status().expect("kcat runs: apt-get install kcat");
    assert!(status.success());
}

/// References and messages of the dead letters of a job, and their payloads.
fn letters(server: &Server, job: &str) -> Vec<(String, String, Vec<u8>)> {
    let mut client = Client::new(server.addr().expect("it is up"));
    let list = format!("/kwq/tasks?state=ERROR&job={job}&limit=1000&fresh=true");
    let listed = client.get(&list).expect("an answer").json();
    let mut letter = |row: &Value| {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let reference = text(&row["ref"]);
        let payload = client.get(&format!("/kwq/tasks/{reference}/payload")).expect("an answer");
        assert_eq!(payload.status, 200, "{row}");
        (reference, text(&row["error"]["message"]), payload.body)
    };
    listed.as_array().expect("a list").iter().map(&mut letter).collect()
}

/// Joins pieces as their messages say; a record that is one dead letter is one piece.
fn joined(letters: &[(String, String, Vec<u8>)]) -> Vec<Vec<u8>> {
    let mut records: BTreeMap<String, BTreeMap<u64, &[u8]>> = BTreeMap::new();
    for (reference, message, payload) in letters {
        let partition = reference.split('-').nth(1).expect("a reference");
        let (piece, record) = match message.split_once(" of record ") {
            Some((piece, record)) => (piece.split(' ').nth(1).expect("its number"), record),
            None => ("1", message.strip_prefix("record ").expect("where it lies")),
        };
        let record = record.split(':').next().expect("its place");
        let pieces = records.entry(format!("{partition} {record}")).or_default();
        let before = pieces.insert(piece.parse().expect("a number"), payload);
        assert!(before.is_none(), "a piece is there once: {message}");
    }
    let mut whole: Vec<Vec<u8>> = records
        .into_values()
        .map(|pieces| pieces.into_values().collect::<Vec<_>>().concat())
        .collect();
    whole.sort_unstable();
    whole
}

/// What a foreign producer was acknowledged can be read back byte for byte, whatever is wrong with
/// it, and is there once after a kill.
#[test]
fn what_is_not_admitted_is_kept_whole() {
    let prefix = prefix();
    let start = start("kafka-inbox-whole", &prefix);
    let server = Server::start(&start).expect("the server starts");
    let mut client = Client::new(server.addr().expect("it is up"));
    let job = json!({"id": "kept", "dedup": "task"});
    assert_eq!(client.post("/kwq/jobs", &job).expect("an answer").status, 201);
    let topic = format!("{prefix}-5");
    let line = |n: usize| format!("{{\"id\":\"b{n}\",\"payload\":\"{}\"}}\n", "é".repeat(360));
    let batch: Vec<u8> = (0..1_001).map(line).collect::<String>().into_bytes();
    let raw: Vec<u8> =
        (0..900_000u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    let array = b"{\"array\":{\"from\":1,\"to\":10,\"id\":\"grid\"},  \"payload\":\"x\"}".to_vec();
    let large = vec![b'['; 3_000_000];
    let format = |format: &'static str| [format, "kwq-job=kept", "other=kept too"];
    produce_whole("whole-batch", &topic, &format("kwq-fmt=batch"), &batch);
    produce_whole("whole-raw", &topic, &format("kwq-fmt=raw"), &raw);
    produce_whole("whole-large", &topic, &format("kwq-fmt=raw"), &large);
    produce_whole("whole-array", &topic, &format("other="), &array);
    // Of three partitions one decides it.
    let id = b"{ \"id\":\"t1\" }\n".to_vec();
    for partition in ["0", "1", "2"] {
        kcat(&topic, &["-p", partition, "-H", "kwq-job=kept"], &id);
    }
    let id = id[..id.len() - 1].to_vec();
    let mut sent = vec![batch, raw, large, array, id.clone(), id];
    sent.sort_unstable();
    eventually(&server, "/kwq/jobs/kept", "/counts/PENDING", 1);
    let whole = wait_until(30_000, || joined(&letters(&server, "kept")).len() == sent.len());
    let before = letters(&server, "kept");
    assert!(
        whole && joined(&before) == sent,
        "{:?}",
        before.iter().map(|l| &l.1).collect::<Vec<_>>()
    );
    let refused = |text: &str| before.iter().filter(|letter| letter.1.contains(text)).count();
    assert_eq!(refused("decides `t1`; submit it over REST"), 2);
    let lines = before.iter().filter(|letter| letter.1.contains("too_many_items"));
    assert!(lines.clone().count() > 2, "the batch is several");
    for (reference, message, payload) in lines {
        assert!(payload.ends_with(b"}\n") && payload.starts_with(b"{"), "{message}");
        let first = message.starts_with("piece 1 ");
        let meta = &get(&server, &format!("/kwq/tasks/{reference}"))["meta"];
        assert_eq!(first, meta == "kwq-fmt=batch\nkwq-job=kept\nother=kept too", "{meta}");
    }
    let retried = client.post(&format!("/kwq/tasks/{}/retry", before[0].0), &json!({}));
    let detail = retried.expect("an answer").json()["detail"].clone();
    assert!(detail.as_str().is_some_and(|text| text.contains("never admitted")), "{detail}");
    drop(server.kill());
    let server = Server::start(&start).expect("the server starts");
    // What comes behind it is taken, so nothing is taken again later.
    produce(&topic, &["kwq-job=behind"], "{}\n");
    eventually(&server, "/kwq/jobs/behind", "/counts/PENDING", 1);
    assert!(letters(&server, "kept") == before, "each is there once");
}

#[test]
fn what_comes_while_the_server_is_away_or_killed_is_taken_once_and_urgent_first() {
    let prefix = prefix();
    let start = start("kafka-inbox-kill", &prefix);
    // The topics are made by the first start.
    drop(Server::start(&start).expect("the server starts").kill());
    let record =
        |n: usize| format!("{{\"id\":\"t{n}\",\"groupId\":\"away\",\"payload\":\"{n}\"}}\n");
    produce(&format!("{prefix}-2"), &[], &(0..5_000).map(record).collect::<String>());
    produce(&format!("{prefix}-8"), &[], &(5_000..5_100).map(record).collect::<String>());
    let mut server = Server::start(&start).expect("the server starts");
    for pause_ms in [10, 30, 100] {
        crate::util::pause_ms(pause_ms);
        drop(server.kill());
        server = Server::start(&start).expect("the server starts");
    }
    eventually(&server, "/kwq/jobs/away", "/submitted", 5_100);
    // One at a time: the rest of a batch would come from one partition.
    let mut done = work(&server, "away", (1, 100));
    let urgent = done.iter().filter(|n| n.parse::<usize>().is_ok_and(|n| n >= 5_000)).count();
    assert_eq!(urgent, 100, "the urgent ones are first");
    done.extend(work(&server, "away", (100, 10_000)));
    let mut numbers: Vec<usize> = done.iter().map(|n| n.parse().expect("a number")).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..5_100).collect::<Vec<_>>(), "each once");
    eventually(&server, "/kwq/jobs/away", "/counts/COMPLETED", 5_100);
}

/// Hand-outs until there were so many.
fn first(server: &Server, job: &str, count: usize) -> Vec<String> {
    let mut taken = Vec::new();
    let enough = wait_until(30_000, || {
        taken.extend(work(server, job, (1, count - taken.len())));
        taken.len() == count
    });
    assert!(enough, "{} were handed out", taken.len());
    taken
}

/// What was produced while nobody ran is handed out from its highest level on, from the first task
/// that is handed out.
#[test]
fn a_backlog_is_handed_out_from_its_highest_level_on() {
    let prefix = prefix();
    let mut start = start("kafka-inbox-backlog", &prefix);
    start.sets.push("log.partitions=1".into());
    drop(Server::start(&start).expect("the server starts").kill());
    let record = |n: usize| format!("{{\"groupId\":\"backlog\",\"payload\":\"{n}\"}}\n");
    produce(&format!("{prefix}-1"), &[], &(300..20_000).map(record).collect::<String>());
    produce(&format!("{prefix}-9"), &[], &(0..300).map(record).collect::<String>());
    let server = Server::start(&start).expect("the server starts");
    let urgent = first(&server, "backlog", 300);
    let late = urgent.iter().position(|n| n.parse::<usize>().is_ok_and(|n| n >= 300));
    assert_eq!(late, None, "the urgent ones are first");
}

/// Also where few of many partitions have urgent ones: lower levels of the others wait for them.
#[test]
fn a_backlog_of_many_partitions_is_handed_out_from_its_highest_level_on() {
    let prefix = prefix();
    let mut start = start("kafka-inbox-partitions", &prefix);
    start.sets.push("log.partitions=12".into());
    drop(Server::start(&start).expect("the server starts").kill());
    let record = |payload: &str| format!("{{\"groupId\":\"spread\",\"payload\":\"{payload}\"}}\n");
    for partition in 0..12 {
        let urgent = if partition % 4 == 3 { 20 } else { 0 };
        for (level, count) in [(1, 2_000), (9, urgent)] {
            let line = record(&format!("{level} of {partition}"));
            let (topic, lines) = (format!("{prefix}-{level}"), line.repeat(count));
            kcat(&topic, &["-p", &partition.to_string()], lines.as_bytes());
        }
    }
    let server = Server::start(&start).expect("the server starts");
    let mut urgent = first(&server, "spread", 60);
    let late = urgent.iter().position(|payload| payload.starts_with('1'));
    assert_eq!(late, None, "the urgent ones are first: {urgent:?}");
    urgent.sort_unstable();
    urgent.dedup();
    assert_eq!(urgent, ["9 of 11", "9 of 3", "9 of 7"]);
}

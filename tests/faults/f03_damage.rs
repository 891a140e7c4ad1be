//! F3: damage, mostly while stopped. A torn tail is cut with a line; a changed byte, a missing,
//! shortened or doubled segment stops the server, is named with segment and offset, and nothing is
//! deleted.

use crate::f02_power::copy_dir;
use crate::http::Client;
use crate::server::{Server, Start, offline};
use crate::util::{Rng, alone, damage, say, scaled, scratch, seed, wait_until};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Bytes at the start of a segment that may be its header: a changed version there is honestly
/// reported as an unknown format, which is another case.
const HEADER: usize = 128;

/// A stopped data directory of at least three segments and the number of its tasks.
fn golden(root: &Path) -> (PathBuf, i64) {
    let dir = root.join("golden");
    let start = Start { dir: dir.clone(), ..Start::default() };
    let server = Server::start(&start).expect("the server starts");
    let mut client = Client::new(server.addr().expect("it listens"));
    let mut count = 0;
    while segments(&dir).len() < 4 && count < 20_000 {
        let tasks: Vec<Value> = (0..200)
            .map(|i| json!({"payload": format!("d-{}-{}", count + i, "y".repeat(4_000))}))
            .collect();
        let answer = client.post("/kwq/jobs/damage/tasks", &Value::Array(tasks));
        assert_eq!(answer.expect("it answers").status, 200, "200 tasks are taken");
        count += 200;
    }
    assert_eq!(server.terminate(20_000).0, Some(0), "it stops well");
    assert!(segments(&dir).len() >= 3, "invalid: too few segments");
    (dir, count)
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir.join("log")) else { return Vec::new() };
    let paths = entries.filter_map(Result::ok).map(|e| e.path());
    let mut all: Vec<PathBuf> =
        paths.filter(|p| p.extension().is_some_and(|e| e == "seg")).collect();
    all.sort();
    all
}

fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let read = |p: PathBuf| (p.clone(), std::fs::read(p).expect("a segment can be read"));
    segments(dir).into_iter().map(read).collect()
}

/// A copy of the golden directory without images, so that the whole log is read.
fn fresh(root: &Path, golden: &Path, case: &str) -> PathBuf {
    let dir = root.join(case);
    copy_dir(golden, &dir);
    for derived in ["images", "tracker"] {
        drop(std::fs::remove_dir_all(dir.join(derived)));
    }
    dir
}

/// Flips one bit of a file at `from` or later, before its last non-zero byte; the place.
fn flip(file: &Path, from: usize, rng: &mut Rng) -> usize {
    let mut bytes = std::fs::read(file).expect("a file can be read");
    let end = data_end(&bytes);
    assert!(end > from, "invalid: {} is too short", file.display());
    let at = from + rng.index(end - from);
    *bytes.get_mut(at).expect("inside") ^= 1 << rng.index(8);
    std::fs::write(file, bytes).expect("a file can be written");
    at
}

/// All files under a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let paths = entries.filter_map(Result::ok).map(|e| e.path());
    paths.flat_map(|p| if p.is_dir() { files(&p) } else { vec![p] }).collect()
}

/// Place after the last byte that is not zero.
fn data_end(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1)
}

/// The server does not serve, says which segment and where, and leaves the files as they are.
fn must_refuse(case: &str, dir: &Path, names: &[String]) {
    let before = contents(dir);
    let verify = offline(&["log", "verify"], dir);
    let said = format!("{}{}", verify.stdout, verify.stderr);
    assert_eq!(verify.code, Some(2), "{case}: log verify: {said}");
    named(case, "log verify", &said, names);
    let start = Start { dir: dir.to_owned(), ..Start::default() };
    let mut server = Server::spawn(&start);
    let ready = server.wait_ready(5_000);
    assert!(!ready, "{case}: it became ready on a damaged log");
    match (server.try_wait(), server.addr()) {
        (Some(status), _) => assert!(!status.success(), "{case}: exit code not 0"),
        (None, Some(addr)) => {
            let ask = json!({"worker": "w", "waitMs": 0});
            let answer = Client::new(addr).post("/kwq/consume", &ask);
            let status = answer.map(|a| a.status).unwrap_or(503);
            assert_eq!(status, 503, "{case}: no consume of a stopped partition");
        }
        (None, None) => panic!("{case}: neither refused nor listening: {}", server.stderr()),
    }
    let said = server.kill();
    named(case, "serve", &said, names);
    assert!(before == contents(dir), "{case}: the segments were touched");
}

/// The text names one of the segments and an offset.
fn named(case: &str, who: &str, said: &str, names: &[String]) {
    let segment = names.iter().any(|n| said.contains(n.as_str()));
    assert!(segment, "{case}: {who} names none of {names:?}: {said}");
    let lower = said.to_lowercase();
    let offset = lower.contains("offset") || lower.contains("position");
    assert!(offset, "{case}: {who} names no offset: {said}");
}

fn stem(path: &Path) -> String {
    path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default()
}

#[test]
fn damage_of_the_log_is_refused_by_name_and_nothing_is_deleted() {
    let _alone = alone();
    let root = scratch("f03-damage");
    let seed = seed();
    let mut rng = Rng::new(seed);
    say(&format!("f03-damage: seed {seed}"));
    let (golden, _) = golden(&root);
    let clean = offline(&["log", "verify"], &golden);
    assert_eq!(clean.code, Some(0), "a clean log is intact: {clean:?}");
    for i in 0..scaled(4) {
        let case = format!("flip-{i}");
        let dir = fresh(&root, &golden, &case);
        let all = segments(&dir);
        let victim = all.get(rng.index(all.len() - 1)).expect("one of several").clone();
        let at = flip(&victim, HEADER, &mut rng);
        must_refuse(&format!("{case} at {at} of {}", stem(&victim)), &dir, &[stem(&victim)]);
    }
    let missing = fresh(&root, &golden, "missing");
    let all = segments(&missing);
    std::fs::remove_file(all.get(1).expect("three")).expect("a segment can be deleted");
    let near: Vec<String> = all.iter().take(3).map(|p| stem(p)).collect();
    must_refuse("missing", &missing, &near);

    let short = fresh(&root, &golden, "short");
    let victim = segments(&short).first().expect("three").clone();
    let bytes = std::fs::read(&victim).expect("a segment can be read");
    let half = bytes.get(..data_end(&bytes) / 2).unwrap_or_default();
    std::fs::write(&victim, half).expect("a segment can be written");
    must_refuse("short", &short, &[stem(&victim)]);

    let doubled = fresh(&root, &golden, "doubled");
    let all = segments(&doubled);
    let (first, last) = (all.first().expect("three"), all.last().expect("three"));
    let next = u64::from_str_radix(&stem(last), 16).expect("hex") + (4 << 20);
    let name = format!("{next:016x}");
    std::fs::copy(first, doubled.join("log").join(format!("{name}.seg"))).expect("copied");
    must_refuse("doubled", &doubled, &[name, stem(first), stem(last)]);
    say("f03-damage: flips, missing, short and doubled segments were refused by name");
}

#[test]
fn a_torn_tail_is_cut_and_all_that_was_synced_is_there() {
    let _alone = alone();
    let root = scratch("f03-tail");
    let mut rng = Rng::new(seed());
    let (golden, count) = golden(&root);
    for i in 0..scaled(3) {
        let dir = fresh(&root, &golden, &format!("tail-{i}"));
        let last = segments(&dir).last().expect("several").clone();
        let mut bytes = std::fs::read(&last).expect("a segment can be read");
        let end = data_end(&bytes);
        let len = 16 + rng.index(3_000);
        bytes.resize(bytes.len().max(end + len), 0);
        for byte in bytes.get_mut(end..end + len).expect("grown") {
            *byte = u8::try_from(rng.range(1, 256)).expect("a byte");
        }
        std::fs::write(&last, bytes).expect("a segment can be written");
        let verify = offline(&["log", "verify"], &dir);
        assert_eq!(verify.code, Some(1), "a torn tail of {len} bytes: {verify:?}");
        let start = Start { dir: dir.clone(), ..Start::default() };
        let server = Server::start(&start).expect("a torn tail is no damage");
        let mut client = Client::new(server.addr().expect("it listens"));
        let job = client.get("/kwq/jobs/damage").expect("it answers").json();
        assert_eq!(job["submitted"].as_i64(), Some(count), "every task is there");
        let said = server.stderr().to_lowercase();
        let lines = said.lines().filter(|l| l.contains("torn")).count();
        assert_eq!(lines, 1, "one line about the cut: {said}");
        assert_eq!(server.terminate(20_000).0, Some(0), "it stops well");
        let verify = offline(&["log", "verify"], &dir);
        assert_eq!(verify.code, Some(0), "intact after the cut: {verify:?}");
    }
    say("f03-tail: torn tails were cut");
}

#[test]
fn a_directory_of_a_foreign_format_is_refused_and_not_touched() {
    let _alone = alone();
    let root = scratch("f03-format");
    let (golden, _) = golden(&root);
    let dir = fresh(&root, &golden, "newer");
    std::fs::write(dir.join("format"), "kwq 4000000000\n").expect("format can be written");
    let before = contents(&dir);
    let verify = offline(&["log", "verify"], &dir);
    assert_eq!(verify.code, Some(3), "unknown format: {verify:?}");
    let mut server = Server::spawn(&Start { dir: dir.clone(), ..Start::default() });
    let code = server.wait_end(5_000);
    assert!(code.is_some_and(|c| c != 0), "it refuses: {code:?}: {}", server.stderr());
    assert!(server.stderr().contains("format"), "it says why: {}", server.stderr());
    assert!(before == contents(&dir), "the segments were not touched");
}

#[test]
fn a_damaged_image_or_tracker_is_made_anew_from_the_log() {
    let _alone = alone();
    let root = scratch("f03-derived");
    let mut rng = Rng::new(seed());
    let (golden, count) = golden(&root);
    for derived in ["images", "tracker"] {
        for i in 0..scaled(2) {
            let dir = root.join(format!("{derived}-{i}"));
            copy_dir(&golden, &dir);
            let victims: Vec<PathBuf> = files(&dir.join(derived))
                .into_iter()
                .filter(|f| std::fs::read(f).is_ok_and(|b| data_end(&b) > 0))
                .collect();
            say(&format!("f03-derived: {} files of {derived} damaged", victims.len()));
            for victim in &victims {
                flip(victim, 0, &mut rng);
            }
            let start = Start { dir: dir.clone(), ..Start::default() };
            let server = Server::start(&start).expect("what is derived may be damaged");
            let mut client = Client::new(server.addr().expect("it listens"));
            let job = client.get("/kwq/jobs/damage").expect("it answers").json();
            assert_eq!(job["submitted"].as_i64(), Some(count), "every task is there");
            assert_eq!(job["counts"]["PENDING"].as_i64(), Some(count), "and waits");
            let listed = client.get("/kwq/tasks?job=damage&order=old&limit=1000&fresh=true");
            let listed = listed.expect("it answers").json();
            let first = listed[0]["ref"].as_str().expect("the list begins with a task").to_owned();
            let task = client.get(&format!("/kwq/tasks/{first}?payload=true")).expect("answered");
            let payload = task.json()["payload"].as_str().unwrap_or_default().to_owned();
            assert!(payload.starts_with("d-"), "the payload is whole: {payload:.40}");
            assert_eq!(server.terminate(20_000).0, Some(0), "it stops well");
        }
    }
}

/// What is damaged under a running server is found by the hand-out that reads it.
#[test]
fn damage_that_is_read_stops_its_partition_and_no_other() {
    let _alone = alone();
    let dir = scratch("f03-running");
    let sets = vec!["log.partitions=2".to_owned()];
    let start = Start { dir: dir.clone(), sets, ..Start::default() };
    let server = Server::start(&start).expect("it starts");
    let mut client = Client::new(server.addr().expect("it listens"));
    for n in 0..20 {
        let task = json!({"payload": format!("mark-{n:02}-{}", "x".repeat(500))});
        let answer = client.post("/kwq/jobs/marked/tasks", &json!([task])).expect("an answer");
        assert_eq!(answer.status, 200);
    }
    let victim = damage(segments(&dir), "mark-07-").expect("it was acknowledged");
    let mut handed_out = 0;
    let stopped = wait_until(20_000, || {
        let ask = json!({"worker": "w", "max": 1, "waitMs": 0});
        let answer = client.post("/kwq/consume", &ask).expect("an answer");
        handed_out += answer.json()["tasks"].as_array().map_or(0, Vec::len);
        let ready = client.get("/kwq/health/ready").expect("an answer");
        ready.status == 503 && ready.json()["reasons"] == json!(["partition_failed"])
    });
    assert!(stopped, "{}", server.stderr());
    named("running", "serve", &server.stderr(), &[stem(&victim)]);
    // The other one goes on: half of the tasks are its.
    let ask = json!({"worker": "w", "max": 20, "waitMs": 0});
    let rest = client.post("/kwq/consume", &ask).expect("an answer");
    handed_out += rest.json()["tasks"].as_array().map_or(0, Vec::len);
    assert!((10..20).contains(&handed_out), "{handed_out}");
    let more = client.post("/kwq/jobs/more/tasks", &json!([{"payload": 1}])).expect("an answer");
    assert_eq!(more.status, 200, "{}", more.json());
    let rest = client.post("/kwq/consume", &ask).expect("an answer");
    assert_eq!((rest.status, &rest.json()["tasks"][0]["payload"]), (200, &json!(1)));
    let cluster = client.get("/kwq/cluster").expect("an answer").json();
    let states: Vec<_> = cluster["partitions"].as_array().expect("two").iter().collect();
    assert_eq!(states.iter().filter(|p| p["state"] == "FAILED").count(), 1, "{cluster}");
    assert_eq!(states.iter().filter(|p| p["state"] == "READY").count(), 1, "{cluster}");
}

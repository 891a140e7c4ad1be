//! Instances that are cut off, from each other or from the broker, both ways or one way only, with
//! load on all of them. Nothing acknowledged is lost, nothing is done twice, every call is answered
//! in time, and what `docs/kafka.md` promises meanwhile is so.

use crate::broker::{Brokers, prefix};
use crate::history::{Entry, HandOut, Report, Submit, Verb};
use crate::http::{Client, Verdict, verdict};
use crate::load::{JOBS, World};
use crate::net::{Net, Place, apart};
use crate::run::Run;
use crate::server::{Server, Start};
use crate::util::{alone, now_us, pause_ms, say, scaled, wait_until};
use crate::worker::hand_outs;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

const COUNT: usize = 3;
const PARTITIONS: usize = 6;
/// Cuts at scale 1.
const CUTS: usize = 4;
/// Ports of every instance: for clients, for the others.
const HTTP: u16 = 8_080;
const PEERS: u16 = 8_090;
/// Of a member of the group.
const SESSION_MS: u64 = 6_000;
/// Whatever is cut, a call is answered within so long: an instance that is cut from the broker
/// knows up to 1 s after the session that it owns nothing; then 3 s pass until a report cannot be
/// left, and 3 s in which a partition may have an owner again. No client waits longer: to it a call
/// that hangs is one that took so long.
const ANSWERED_MS: u64 = SESSION_MS + 9_000;
/// A cut is over, and every instance takes part, within so long: the session of a group member, the
/// take-over, and connections that learn of it only when they send again.
const SETTLED_MS: u64 = 40_000;
/// Calls between instances that were under way when they were cut have failed by then.
const OLD_CALLS_MS: u64 = 6_000;
/// `GET /kwq/cluster` asks all partitions, twice; a connection is waited for 1 s.
const CLUSTER_MS: u64 = 3_500;
/// Open tasks above which submitters are slow.
const BACKLOG: usize = 500;
/// Tasks that are held for what is to be seen.
const HELD: usize = 4;

/// Packets of the one that is cut off are lost, those to it, or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Out,
    In,
    Both,
}

/// Instances on one broker.
struct Fleet {
    net: Net,
    starts: Vec<Start>,
    servers: Vec<Server>,
    _broker: Brokers,
}

impl Fleet {
    fn start(run: &mut Run) -> Self {
        let net = Net::new(COUNT);
        let broker = Brokers::start_at(&Place::Broker.host().to_string(), &Place::Broker.within());
        run.start.sets = vec![
            "log.backend=kafka".into(),
            format!("kafka.bootstrap-servers={}", broker.addresses),
            format!("topics.prefix={}", prefix()),
            "topics.replication=1".into(),
            "topics.inboxes=false".into(),
            format!("log.partitions={PARTITIONS}"),
            format!("kafka.session-timeout={SESSION_MS}ms"),
            "auth.insecure-no-auth=true".into(),
            format!("node.internal-listen=0.0.0.0:{PEERS}"),
            "node.secret=known-to-these-instances-only".into(),
        ];
        let start = |number: usize| {
            let place = Place::Instance(number);
            let mut start = Start { listen: Some(place.port(HTTP)), ..run.start.clone() };
            start.within = place.within();
            start.sets.push(format!("node.id={}", name(number)));
            start.sets.push(format!("node.address={}", place.host()));
            if number > 0 {
                start.dir = run.side(&number.to_string());
            }
            start
        };
        let starts: Vec<Start> = (0..COUNT).map(start).collect();
        let servers = starts.iter().map(|start| Server::start(start).expect("it starts"));
        let fleet = Self { net, servers: servers.collect(), starts, _broker: broker };
        fleet.settle();
        fleet
    }

    /// What an instance says of all of them.
    fn cluster(&self, at: usize) -> Value {
        let answer = client(at).get("/kwq/cluster").expect("it is answered in time");
        answer.json()
    }

    /// Who serves each partition that is served, as one of them says.
    fn owners(&self, at: usize) -> BTreeMap<u64, String> {
        ready(&self.cluster(at))
    }

    /// Waits until all partitions are served, by all of them, and they agree by whom.
    fn settle(&self) {
        let mut views: Vec<BTreeMap<u64, String>> = Vec::new();
        let settled = wait_until(SETTLED_MS, || {
            views = (0..COUNT).map(|at| self.owners(at)).collect();
            let serving: BTreeSet<_> = views[0].values().collect();
            let whole = views[0].len() == PARTITIONS && serving.len() == COUNT;
            whole && views.iter().all(|view| *view == views[0])
        });
        assert!(settled, "all take part: {views:?}");
    }

    /// Cuts one off.
    fn cut(&self, victim: usize, from: &[Place], way: Way) {
        self.each(victim, from, way, |from, to| self.net.lose(from, to));
    }

    fn heal(&self, victim: usize, from: &[Place], way: Way) {
        self.each(victim, from, way, |from, to| self.net.find(from, to));
    }

    fn each(&self, victim: usize, others: &[Place], way: Way, act: impl Fn(Place, Place)) {
        let victim = Place::Instance(victim);
        for other in others {
            if way != Way::In {
                act(victim, *other);
            }
            if way != Way::Out {
                act(*other, victim);
            }
        }
    }
}

/// Who serves each partition that is served.
fn ready(cluster: &Value) -> BTreeMap<u64, String> {
    let rows = cluster["partitions"].as_array().into_iter().flatten();
    let ready = rows.filter(|row| row["state"] == "READY");
    let owner = |row: &Value| row["owner"].as_str().unwrap_or_default().to_owned();
    ready.map(|row| (row["partition"].as_u64().unwrap_or(u64::MAX), owner(row))).collect()
}

fn name(number: usize) -> String {
    format!("kwq-{number}")
}

fn address(at: usize) -> SocketAddr {
    Place::Instance(at).port(HTTP)
}

fn client(at: usize) -> Client {
    Client::with_timeout(address(at), ANSWERED_MS)
}

/// A client that knows whom it calls. What it does and sees is part of the history.
struct Probe<'a> {
    world: &'a World,
    held: Mutex<Vec<HandOut>>,
}

impl Probe<'_> {
    /// Submits a task to a partition of the instance that is called.
    fn submit(&self, at: usize) -> Verdict {
        let payload = format!("p-{}-probe", self.world.number());
        let (job, priority) = (JOBS[0].to_owned(), 5);
        let body = json!({"groupId": job, "priority": priority, "payload": payload});
        let t0 = now_us();
        let result = client(at).post("/kwq/submit", &body);
        let (t1, verdict) = (now_us(), verdict(&result));
        let task = result.ok().and_then(|a| a.header("kwq-ref").map(str::to_owned));
        let submit = Submit { t0, t1, payload, job, priority, id: None, verdict, task };
        self.world.history.push(Entry::Submit(submit));
        verdict
    }

    /// Takes tasks of the partitions an instance serves, and keeps them long.
    fn hold(&self, fleet: &Fleet, at: usize) -> Vec<HandOut> {
        let worker = format!("probe-{at}");
        let ask = json!({"worker": worker, "max": HELD, "waitMs": 1_000, "leaseMs": 120_000});
        let (mut own, mut owners) = (Vec::new(), fleet.owners(at));
        let found = wait_until(SETTLED_MS, || {
            let now = fleet.owners(at);
            if now != owners {
                // A busy machine moves partitions by itself.
                own.clear();
                owners = now;
            }
            let t0 = now_us();
            let answer = client(at).post("/kwq/consume", &ask).expect("it is answered in time");
            let taken = hand_outs(&answer, &worker, (t0, now_us()));
            for task in taken {
                self.world.history.push(Entry::HandOut(task.clone()));
                // Other jobs are cancelled before long.
                let lasts = JOBS.contains(&task.job.as_str());
                if lasts && owners.get(&partition(&task)) == Some(&name(at)) {
                    own.push(task.clone());
                }
                self.held.lock().expect("nobody panics while holding it").push(task);
            }
            own.len() >= HELD
        });
        assert!(found, "{} of {HELD} tasks of {} are held", own.len(), name(at));
        own
    }

    /// Reports a task as done: the status, and the word of the answer.
    fn complete(&self, at: usize, task: &HandOut) -> (u16, String) {
        let (token, verb) = (task.token.clone(), Verb::Complete);
        let body = json!({"lease": token, "result": "done"});
        let t0 = now_us();
        let result = client(at).post("/kwq/complete", &body);
        let (t1, verdict) = (now_us(), verdict(&result));
        let answer = result.expect("it is answered in time");
        let told = answer.json();
        let word =
            told["outcome"].as_str().or_else(|| told["code"].as_str()).unwrap_or("").to_owned();
        let outcome = match verdict {
            Verdict::Ok => Some(word.clone()).filter(|word| word != "accepted"),
            Verdict::Refused => Some("unavailable".to_owned()),
            Verdict::Unknown => None,
        };
        self.world.history.push(Entry::Report(Report { t0, t1, verb, token, outcome }));
        (answer.status, word)
    }

    /// Reads a task: the status, and its state.
    fn read(&self, at: usize, task: &HandOut) -> (u16, String) {
        let answer = client(at).get(&format!("/kwq/tasks/{}", task.task));
        let answer = answer.expect("it is answered in time");
        (answer.status, answer.json()["state"].as_str().unwrap_or_default().to_owned())
    }

    /// It is done, once, and known everywhere.
    fn done(&self, task: &HandOut) {
        for at in 0..COUNT {
            let mut last = (0, String::new());
            let done = wait_until(SETTLED_MS, || {
                last = self.read(at, task);
                last == (200, "COMPLETED".to_owned())
            });
            assert!(done, "{} at {}: {last:?}", task.task, name(at));
            assert_eq!(self.complete(at, task), (200, "duplicate".to_owned()));
        }
    }

    /// Reports everything that is held.
    fn finish(&self) {
        for task in self.held.lock().expect("nobody panics while holding it").drain(..) {
            let mut last = (0, String::new());
            let done = wait_until(SETTLED_MS, || {
                last = self.complete(0, &task);
                last.0 == 200 || (last.0 == 409 && last.1 == "cancelled")
            });
            assert!(done, "{}: {last:?}", task.task);
        }
    }
}

/// The partition of a task, by its reference.
fn partition(task: &HandOut) -> u64 {
    let number = task.task.split('-').nth(1).and_then(|number| number.parse().ok());
    number.expect("a reference names it")
}

/// An instance and the others lose sight of each other.
fn from_peers(run: &mut Run, fleet: &Fleet, (victim, way): (usize, Way)) {
    let probe = Probe { world: &run.world.clone(), held: Mutex::default() };
    let other = (victim + 1) % COUNT;
    let (theirs, ours) = (probe.hold(fleet, victim), probe.hold(fleet, other));
    run.count_in_flight();
    run.nemesis(&format!("{} is cut from its peers: {way:?}", name(victim)));
    let peers: Vec<_> = (0..COUNT).filter(|at| *at != victim).map(Place::Instance).collect();
    let begun = now_us();
    fleet.cut(victim, &peers, way);
    std::thread::scope(|scope| {
        for (at, own, foreign) in [(victim, &theirs, &ours), (other, &ours, &theirs)] {
            let probe = &probe;
            scope.spawn(move || {
                let taken = || probe.submit(at) == Verdict::Ok;
                assert!(wait_until(ANSWERED_MS, taken), "it takes tasks");
                assert_eq!(probe.complete(at, &own[0]), (200, "ok".to_owned()), "its own");
                let left = probe.complete(at, &foreign[1]);
                assert_eq!(left, (202, "accepted".to_owned()), "it is left for its owner");
                assert_eq!(probe.read(at, &foreign[2]).0, 503, "there is nobody to be asked");
            });
        }
    });
    pause_ms(OLD_CALLS_MS.saturating_sub((now_us() - begun) / 1_000));
    let asked = now_us();
    fleet.cluster(other);
    let took = (now_us() - asked) / 1_000;
    assert!(took < CLUSTER_MS, "partitions are waited for one after the other: {took} ms");
    fleet.heal(victim, &peers, way);
    run.nemesis("healed");
    say(&format!("kafka-cuts: cut from peers for {} ms, {way:?}", (now_us() - begun) / 1_000));
    probe.done(&theirs[1]);
    probe.done(&ours[1]);
    probe.finish();
}

/// An instance and the broker lose sight of each other.
fn from_broker(run: &mut Run, fleet: &Fleet, (victim, way): (usize, Way)) {
    let probe = Probe { world: &run.world.clone(), held: Mutex::default() };
    let other = (victim + 1) % COUNT;
    let held = probe.hold(fleet, victim);
    run.count_in_flight();
    run.nemesis(&format!("{} is cut from the broker: {way:?}", name(victim)));
    fleet.cut(victim, &[Place::Broker], way);
    let (begun, over) = (now_us(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let (probe, over) = (&probe, &over);
        scope.spawn(move || {
            while !over.load(Ordering::SeqCst) {
                assert_ne!(probe.submit(victim), Verdict::Ok, "it cannot have written it");
                pause_ms(20);
            }
        });
        let in_vain = scope.spawn(|| probe.complete(victim, &held[0]));
        let gone = wait_until(SETTLED_MS, || {
            let owners = fleet.owners(other);
            owners.len() == PARTITIONS && owners.values().all(|owner| *owner != name(victim))
        });
        // Else nobody would end the thread.
        over.store(true, Ordering::SeqCst);
        assert!(gone, "others have what it served: {:?}", fleet.owners(other));
        say(&format!("kafka-cuts: taken over after {} ms", (now_us() - begun) / 1_000));
        assert_eq!(probe.complete(other, &held[1]), (200, "ok".to_owned()), "leases survive");
        let mut cluster = Value::Null;
        let alone = wait_until(ANSWERED_MS, || {
            cluster = fleet.cluster(victim);
            cluster["nodes"].as_array().map_or(0, Vec::len) == 1 && ready(&cluster).is_empty()
        });
        assert!(alone, "it hears of nobody, and serves nothing: {cluster}");
        let told = in_vain.join().expect("it is answered in time");
        assert_eq!(told.0, 503, "it cannot have written it: {told:?}");
    });
    // What was reported in vain may have been written when only the answer was lost.
    let (status, word) = probe.complete(other, &held[0]);
    let late = way == Way::In && word == "duplicate";
    assert!(status == 200 && (word == "ok" || late), "{status} {word}");
    fleet.heal(victim, &[Place::Broker], way);
    run.nemesis("healed");
    say(&format!("kafka-cuts: cut from the broker for {} ms, {way:?}", (now_us() - begun) / 1_000));
    let begun = now_us();
    fleet.settle();
    say(&format!("kafka-cuts: takes part again after {} ms", (now_us() - begun) / 1_000));
    assert!(wait_until(ANSWERED_MS, || probe.submit(victim) == Verdict::Ok), "it takes tasks");
    probe.done(&held[0]);
    probe.done(&held[1]);
    probe.finish();
}

/// The slowest calls, ms.
fn slowest(world: &World) -> BTreeMap<&'static str, u64> {
    let any = world.slowest.load(Ordering::SeqCst) / 1_000;
    let mut slowest = BTreeMap::from([("any of submit, consume, report", any)]);
    for entry in &world.history.all() {
        let (what, t0, t1) = match entry {
            Entry::Submit(submit) => ("submit", submit.t0, submit.t1),
            Entry::HandOut(task) => ("consume", task.t0, task.t1),
            Entry::Report(report) => ("report", report.t0, report.t1),
            Entry::Beat(beat) => ("heartbeat", beat.t0, beat.t1),
            Entry::CancelJob { t0, t1, .. } => ("cancel", *t0, *t1),
            Entry::Sample { t0, t1, .. } => ("job", *t0, *t1),
            Entry::Nemesis { .. } => continue,
        };
        let ms = slowest.entry(what).or_insert(0);
        *ms = (*ms).max((t1 - t0) / 1_000);
    }
    slowest
}

fn cuts() {
    let mut run = Run::new("kafka-cuts");
    let mut fleet = Fleet::start(&mut run);
    run.world.set_addrs((0..COUNT).map(address).collect());
    run.world.patience_ms.store(ANSWERED_MS, Ordering::SeqCst);
    run.crowd.backlog = BACKLOG;
    run.load();
    for i in 0..scaled(CUTS) {
        pause_ms(run.rng.range(500, 1_500));
        let victim = run.rng.index(COUNT);
        let one_way = if run.rng.chance(50) { Way::Out } else { Way::In };
        match i % 4 {
            0 => from_peers(&mut run, &fleet, (victim, Way::Both)),
            1 => from_broker(&mut run, &fleet, (victim, Way::Both)),
            2 => from_peers(&mut run, &fleet, (victim, one_way)),
            // What it writes comes, and it is not told so.
            _ if i == 3 => from_broker(&mut run, &fleet, (victim, Way::In)),
            _ => from_broker(&mut run, &fleet, (victim, one_way)),
        }
        fleet.settle();
    }
    run.drain();
    let slowest = slowest(&run.world);
    say(&format!("kafka-cuts: slowest answers, ms: {slowest:?}"));
    for server in fleet.servers.drain(1..) {
        let (code, ms) = server.terminate(20_000);
        assert_eq!(code, Some(0), "SIGTERM ends with 0 (after {ms} ms)");
    }
    let first = fleet.servers.remove(0);
    run.world.set_addr(first.addr());
    run.start = fleet.starts[0].clone();
    run.verdict(first);
    assert!(slowest.values().all(|ms| *ms < ANSWERED_MS), "not answered in time: {slowest:?}");
}

#[test]
fn nothing_is_lost_or_doubled_while_instances_are_cut_off_both_ways_or_one_way() {
    let _alone = alone();
    let name = "cuts::nothing_is_lost_or_doubled_while_instances_are_cut_off_both_ways_or_one_way";
    apart(name, cuts);
}

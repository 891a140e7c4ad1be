//! Several instances on one Kafka behind haproxy, clients that know only that: instances are
//! killed, stand still, drain, start again. Nothing acknowledged is lost, nothing is done twice,
//! and whoever asks any instance is told the same.

use crate::broker::{Brokers, address, prefix};
use crate::http::Client;
use crate::run::{Crowd, Run};
use crate::server::{Server, Start};
use crate::util::{alone, pause_ms, say, scaled, wait_until};
use serde_json::json;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const COUNT: usize = 3;
/// From this `KWQ_TEST_SCALE` on the run is a long one: 200 workers, an instance stands still for
/// up to 30 s, 10,000 tasks times the scale. `KWQ_FAULTS_BIN` names a release binary for it.
const LONG_FROM: usize = 10;
/// A fault is over, and every partition has an owner, within so long: the session of a group
/// member, and the take-over.
const SETTLED_MS: u64 = 30_000;
/// Until an instance that is told to stop has done so: each of its clients waits some seconds for a
/// broker that hangs just then.
const STOP_MS: u64 = 60_000;

/// How long the instances are made to suffer, and by how many clients.
struct Size {
    /// At least so many faults,
    faults: usize,
    /// and more of them until so many tasks are acknowledged.
    tasks: usize,
    /// An instance stands still for so long, ms.
    still_ms: (u64, u64),
    crowd: Crowd,
}

impl Size {
    fn of_this_run() -> Self {
        let crowd = Crowd { submitters: 6, workers: 200, backlog: 20_000 };
        let long = Self { faults: 24, tasks: scaled(10_000), still_ms: (10_000, 30_000), crowd };
        let short =
            Self { faults: 8, tasks: 0, still_ms: (1_000, 12_000), crowd: Crowd::default() };
        if scaled(1) < LONG_FROM { short } else { long }
    }
}

/// An address that is free now; it is bound at once by whoever asked.
fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("it has an address")
}

/// The proxy of `docker/lb`; ends with this value.
struct Proxy(Child);

impl Proxy {
    fn start(listen: SocketAddr, instances: &[SocketAddr]) -> Self {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docker/lb/haproxy.cfg");
        let mut command = Command::new("haproxy");
        command.args(["-db", "-f", file]).env("KWQ_LISTEN", listen.to_string());
        for (number, instance) in (1..).zip(instances) {
            command.env(format!("KWQ_{number}"), instance.to_string());
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().expect("haproxy is there: apt-get install haproxy"))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Instances of one cluster.
pub(crate) struct Fleet {
    starts: Vec<Start>,
    servers: Vec<Option<Server>>,
    proxy: SocketAddr,
    _proxy: Proxy,
}

impl Fleet {
    pub(crate) fn start(run: &mut Run, brokers: &str) -> Self {
        run.start.sets = vec![
            "log.backend=kafka".into(),
            format!("kafka.bootstrap-servers={brokers}"),
            format!("topics.prefix={}", prefix()),
            "topics.replication=1".into(),
            "log.partitions=6".into(),
            "kafka.session-timeout=6s".into(),
        ];
        let start = |number: usize| {
            let dir =
                if number == 0 { run.start.dir.clone() } else { run.side(&number.to_string()) };
            let sets = [run.start.sets.clone(), vec![format!("node.id=kwq-{number}")]].concat();
            Start { dir, sets, listen: Some(free()), ..run.start.clone() }
        };
        let starts: Vec<Start> = (0..COUNT).map(start).collect();
        let listens: Vec<_> = starts.iter().filter_map(|start| start.listen).collect();
        let servers = starts.iter().map(|start| Some(Server::start(start).expect("it starts")));
        let (servers, proxy) = (servers.collect(), free());
        let fleet = Self { starts, servers, proxy, _proxy: Proxy::start(proxy, &listens) };
        assert!(wait_until(SETTLED_MS, || fleet.shares().len() == COUNT), "all take part");
        let through = || {
            let ready = Client::with_timeout(proxy, 1_000).get("/kwq/health/ready");
            ready.is_ok_and(|answer| answer.status == 200)
        };
        assert!(wait_until(10_000, through), "the proxy has found an instance");
        fleet
    }

    /// Of those that run.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.servers.iter().flatten().filter_map(Server::addr).collect()
    }

    /// Who serves how many partitions, as any instance says; empty while somebody says otherwise.
    fn shares(&self) -> std::collections::BTreeMap<String, usize> {
        let mut all = Vec::new();
        for server in self.servers.iter().flatten() {
            let Some(addr) = server.addr() else { return Default::default() };
            let Ok(answer) = Client::with_timeout(addr, 2_000).get("/kwq/cluster") else {
                return Default::default();
            };
            let mut shares = std::collections::BTreeMap::new();
            for row in answer.json()["partitions"].as_array().into_iter().flatten() {
                if row["state"] != "READY" {
                    return Default::default();
                }
                *shares.entry(row["owner"].as_str().unwrap_or_default().to_owned()).or_insert(0) +=
                    1;
            }
            all.push(shares);
        }
        all.dedup();
        if all.len() == 1 { all.remove(0) } else { Default::default() }
    }

    /// What one instance acknowledges every other one knows at once, text and all.
    fn agree(&self) {
        let addresses = self.addresses();
        for (number, told) in addresses.iter().enumerate() {
            let body = json!({"groupId": "agree", "payload": {"n": number}, "priority": 1});
            let answer = Client::new(*told).post("/kwq/submit", &body).expect("it is admitted");
            let task = answer.header("kwq-ref").expect("it has a reference").to_owned();
            for asked in &addresses {
                let path = format!("/kwq/tasks/{task}?payload=true");
                let seen = Client::new(*asked).get(&path).expect("it can be asked for");
                assert_eq!(seen.status, 200, "{task}: {}", String::from_utf8_lossy(&seen.body));
                assert_eq!(seen.json()["payload"]["n"], number);
            }
        }
    }

    /// Work at one instance is for whoever asks at another, and may be given back at a third.
    fn share_work(&self) {
        let addresses = self.addresses();
        for (number, asked) in addresses.iter().enumerate() {
            let wish = json!({"worker": asked.to_string(), "max": 1_000, "waitMs": 1_000});
            let mut leases = Vec::new();
            let all = wait_until(10_000, || {
                let answer = Client::new(*asked).post("/kwq/consume", &wish).expect("answered");
                let tasks = answer.json()["tasks"].as_array().cloned().unwrap_or_default();
                leases.extend(tasks.iter().map(|task| task["lease"].clone()));
                leases.len() == addresses.len()
            });
            assert!(all, "{leases:?}");
            let items: Vec<_> =
                leases.iter().map(|lease| json!({"lease": lease, "delayMs": 0})).collect();
            let other = addresses[(number + 1) % addresses.len()];
            let answer = Client::new(other).post("/kwq/release", &json!({"items": items}));
            let answer = answer.expect("answered").json();
            let kinds = answer["items"].as_array().expect("one for each").iter();
            kinds.for_each(|item| assert_eq!(item["outcome"], "ok", "{answer}"));
        }
    }

    /// A worker that one instance alone has heard of is seen, drained and sent off by any.
    fn know_workers(&self) {
        let addresses = self.addresses();
        let names = ["only-0", "only-1", "only-2"];
        let wish =
            |name: &str, wait_ms| json!({"worker": name, "jobs": ["nothing"], "waitMs": wait_ms});
        for (name, addr) in names.iter().zip(&addresses) {
            Client::new(*addr).post("/kwq/consume", &wish(name, 0)).expect("answered");
        }
        let states = |addr: &SocketAddr| {
            let rows = Client::new(*addr).get("/kwq/workers").expect("answered").json();
            let of = |name: &&str| {
                let row = rows.as_array()?.iter().find(|row| row["worker"] == **name)?;
                row["state"].as_str().map(str::to_owned)
            };
            names.iter().map(of).collect::<Vec<_>>()
        };
        let all_say = |first: Option<&str>| {
            let active = Some("ACTIVE".to_owned());
            let want = [first.map(str::to_owned), active.clone(), active];
            // What others told may be a second old.
            wait_until(5_000, || addresses.iter().all(|addr| states(addr) == want))
        };
        let status = |addr: &SocketAddr| {
            Client::new(*addr).get("/kwq/workers/only-0").expect("answered").status
        };
        let said = || addresses.iter().map(states).collect::<Vec<_>>();
        assert!(all_say(Some("ACTIVE")), "{:?}", said());
        assert!(addresses.iter().all(|addr| status(addr) == 200));

        // Drained by another instance than it is parked at, it is sent away there.
        let (at, path) = (addresses[0], "/kwq/workers/only-0");
        std::thread::scope(|scope| {
            let parked =
                scope.spawn(|| Client::new(at).post("/kwq/consume", &wish("only-0", 20_000)));
            pause_ms(500);
            let drained = Client::new(addresses[1]).post(&format!("{path}/drain"), &json!({}));
            assert_eq!(drained.expect("answered").json()["state"], "DRAINING");
            assert!(wait_until(10_000, || parked.is_finished()), "it is still parked");
            let sent_away = parked.join().expect("it ends").expect("answered");
            assert_eq!(sent_away.header("kwq-drain"), Some("true"));
        });
        assert!(all_say(Some("DRAINING")), "{:?}", said());

        let gone = Client::new(addresses[2]).call("DELETE", path, &[], &[]).expect("answered");
        assert_eq!(gone.status, 200);
        assert!(all_say(None), "{:?}", said());
        assert!(addresses.iter().all(|addr| status(addr) == 404), "a drain's end revives nobody");
    }

    fn restart(&mut self, number: usize) {
        // A broker that is busy or away ends a start after 10 s, and whoever watches tries again.
        let started = (0..6).map(|_| Server::start(&self.starts[number]));
        let mut failed = None;
        for start in started {
            match start {
                Ok(server) => return self.servers[number] = Some(server),
                Err(why) => failed = Some(why),
            }
        }
        panic!("it starts again: {failed:?}");
    }

    /// Partitions taken so far, as the log has it.
    fn takes(&self) -> usize {
        let dir = &self.starts[0].dir;
        let dump = crate::server::offline(&["log", "dump", "--json"], dir);
        dump.stdout.lines().filter(|line| line.contains("\"Owner\"")).count()
    }
}

/// Reference of a task that is submitted here.
fn submitted(addr: SocketAddr) -> String {
    let answer = Client::new(addr).post("/kwq/submit", &json!({"groupId": "known", "payload": 1}));
    answer.expect("answered").header("kwq-ref").expect("it has a reference").to_owned()
}

/// A call for a partition that changes hands waits for its next owner.
fn ask_until(over: &AtomicBool, addresses: &[SocketAddr], tasks: &[String]) {
    while !over.load(Ordering::SeqCst) {
        for (addr, task) in addresses.iter().flat_map(|addr| tasks.iter().map(move |t| (addr, t))) {
            let seen = Client::new(*addr).get(&format!("/kwq/tasks/{task}")).expect("answered");
            assert_eq!(seen.status, 200, "{task}: {}", String::from_utf8_lossy(&seen.body));
        }
    }
}

#[test]
fn every_instance_knows_and_hands_out_what_any_of_them_has() {
    let _alone = alone();
    let mut run = Run::new("kafka-agree");
    let mut fleet = Fleet::start(&mut run, address());
    fleet.agree();
    fleet.share_work();
    fleet.know_workers();
    // Partitions move to others and back.
    let known: Vec<_> = fleet.addresses().into_iter().map(submitted).collect();
    let server = fleet.servers[1].take().expect("it runs");
    let over = AtomicBool::new(false);
    let others = fleet.addresses();
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| ask_until(&over, &others, &known));
        assert_eq!(server.terminate(20_000).0, Some(0));
        over.store(true, Ordering::SeqCst);
        asked.join().expect("every question is answered while partitions move");
    });
    assert!(wait_until(SETTLED_MS, || fleet.shares().len() == COUNT - 1), "two share all of it");
    fleet.agree();
    fleet.restart(1);
    assert!(wait_until(SETTLED_MS, || fleet.shares().len() == COUNT), "it takes part again");
    fleet.agree();
}

/// An outage of Kafka ends the sessions of all. The group would wait for those members once more
/// before it proposes anything; each instance takes back what nobody else has taken.
#[test]
fn an_outage_longer_than_the_sessions_is_over_when_kafka_is_back() {
    let _alone = alone();
    let mut brokers = Brokers::start(1);
    let mut run = Run::new("kafka-outage");
    let fleet = Fleet::start(&mut run, &brokers.addresses);
    brokers.order("kill 1");
    let addresses = fleet.addresses();
    let refuses = |addr: &SocketAddr| {
        let ready = Client::new(*addr).get("/kwq/health/ready").expect("answered");
        let away = json!(["log_unavailable"]);
        ready.status == 503 && ready.json()["reasons"] == away
    };
    assert!(wait_until(SETTLED_MS, || addresses.iter().all(refuses)), "nothing can be recorded");
    let lost = || {
        let servers = fleet.servers.iter().flatten();
        servers.map(Server::stderr).all(|text| text.contains("the group has given"))
    };
    assert!(wait_until(SETTLED_MS, lost), "the sessions end");
    brokers.order("start 1");
    let began = crate::util::now_us();
    assert!(wait_until(SETTLED_MS, || fleet.shares().len() == COUNT), "all take part again");
    let took_ms = (crate::util::now_us() - began) / 1_000;
    say(&format!("kafka-outage: {took_ms} ms after the broker said that it runs"));
    let texts: Vec<_> = fleet.servers.iter().flatten().map(Server::stderr).collect();
    assert!(texts.iter().any(|text| text.contains("taken back")), "the group was waited for");
    fleet.agree();
}

#[test]
fn of_two_instances_with_one_name_the_later_one_serves_nothing() {
    let _alone = alone();
    let mut run = Run::new("kafka-double");
    let fleet = Fleet::start(&mut run, address());
    let double = Start {
        dir: run.side("double"),
        sets: [run.start.sets.clone(), vec!["node.id=kwq-1".into()]].concat(),
        listen: Some(free()),
        ..run.start.clone()
    };
    let later = Server::spawn(&double);
    let refuses = || {
        let addr = later.addr().or(double.listen);
        let Ok(ready) = Client::new(addr.expect("it listens")).get("/kwq/health/ready") else {
            return false;
        };
        let reasons = ready.json()["reasons"].clone();
        ready.status == 503
            && reasons.as_array().is_some_and(|r| r.contains(&json!("duplicate_node_id")))
    };
    assert!(wait_until(SETTLED_MS, refuses), "{}", later.stderr());
    assert!(later.stderr().contains("give it a name of its own"));
    // It has not joined the group, which would have taken from the first what it serves.
    let goes_on = || {
        let addresses = fleet.servers.iter().flatten().filter_map(Server::addr);
        let mut told = addresses.map(|addr| {
            let body = json!({"groupId": "agree", "payload": 0, "priority": 1});
            (0..6).all(|_| {
                Client::new(addr).post("/kwq/submit", &body).is_ok_and(|answer| answer.status < 300)
            })
        });
        fleet.shares().len() == COUNT && told.all(|all| all)
    };
    let began = crate::util::now_us();
    assert!(wait_until(SETTLED_MS, goes_on), "the first one goes on");
    say(&format!("kafka-double: over after {} ms", (crate::util::now_us() - began) / 1_000));
    fleet.agree();
    let first = fleet.servers[1].as_ref().expect("it runs");
    assert!(first.stderr().contains("another instance was started with the same node.id"));
    assert!(!first.stderr().contains("deposed"), "{}", first.stderr());
    drop(later.kill());
}

#[test]
fn three_instances_behind_a_proxy_lose_nothing_while_they_are_killed_stopped_and_drained() {
    let _alone = alone();
    let mut brokers = Brokers::start(1);
    let mut run = Run::new("kafka-instances");
    let size = Size::of_this_run();
    run.crowd = size.crowd;
    let mut fleet = Fleet::start(&mut run, &brokers.addresses);
    say(&format!("kafka-instances: {:?}", fleet.shares()));
    run.world.set_addr(Some(fleet.proxy));
    run.load();
    let world = Arc::clone(&run.world);
    let acked = || world.acked.load(Ordering::SeqCst);
    for i in (0..).take_while(|i| *i < size.faults || acked() < size.tasks) {
        pause_ms(run.rng.range(1_000, 3_000));
        run.count_in_flight();
        if i % 4 == 3 {
            run.nemesis("the broker is killed");
            brokers.order("kill 1");
            pause_ms(run.rng.range(100, 3_000));
            brokers.order("start 1");
            continue;
        }
        let number = run.rng.index(COUNT);
        let Some(mut server) = fleet.servers[number].take() else { continue };
        match i % 4 {
            0 => {
                run.nemesis("an instance is killed");
                drop(server.kill());
                pause_ms(run.rng.range(100, 9_000));
                fleet.restart(number);
            }
            1 => {
                run.nemesis("an instance stands still");
                server.signal("STOP");
                pause_ms(run.rng.range(size.still_ms.0, size.still_ms.1));
                server.signal("CONT");
                fleet.servers[number] = Some(server);
            }
            _ => {
                run.nemesis("an instance is stopped and started again");
                let (code, ms) = server.terminate(STOP_MS);
                assert_eq!(code, Some(0), "SIGTERM ends with 0 (after {ms} ms)");
                fleet.restart(number);
            }
        }
    }
    assert!(wait_until(SETTLED_MS, || fleet.shares().len() == COUNT), "all take part again");
    run.drain();
    for server in fleet.servers[1..].iter_mut().filter_map(Option::take) {
        let (code, ms) = server.terminate(STOP_MS);
        assert_eq!(code, Some(0), "SIGTERM ends with 0 (after {ms} ms)");
    }
    let first = fleet.servers[0].take().expect("it runs");
    run.world.set_addr(first.addr());
    run.start.sets.push("node.id=kwq-0".into());
    run.verdict(first);
    say(&format!("kafka-instances: partitions were taken {} times", fleet.takes()));
}

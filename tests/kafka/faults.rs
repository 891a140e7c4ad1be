//! Process faults with the log on a real Kafka: the server is killed, brokers are killed and
//! started again, a leader goes, one of two instances stands still. Whatever happens,
//! nothing acknowledged is lost, nothing is done twice.

use crate::broker::{Brokers, address, prefix};
use crate::http::Client;
use crate::run::Run;
use crate::server::{Server, Start};
use crate::util::{alone, pause_ms, say, scaled, wait_until};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// After an outage work goes on within so long.
const SETTLED_MS: u64 = 60_000;
/// Cycles at scale 1.
const KILLS: usize = 10;
const OUTAGES: usize = 4;
const LEADERS: usize = 3;
const ROUNDS: usize = 20;

/// A run whose log is on these brokers.
fn on(name: &'static str, brokers: &str, copies: u16) -> Run {
    let mut run = Run::new(name);
    run.start.sets = vec![
        "log.backend=kafka".into(),
        format!("kafka.bootstrap-servers={brokers}"),
        format!("topics.prefix={}", prefix()),
        format!("topics.replication={copies}"),
        // A restarted one is known again although its directory was deleted.
        format!("node.id={name}"),
    ];
    run
}

#[test]
fn nothing_acknowledged_is_lost_or_doubled_when_the_server_is_killed_under_load() {
    let _alone = alone();
    let mut run = on("kafka-kill", address(), 1);
    let mut server = run.serve();
    run.load();
    for i in 0..scaled(KILLS) {
        pause_ms(run.rng.range(300, 1_500));
        run.count_in_flight();
        run.kill(server, "kill -9");
        if i % 3 == 2 {
            // What this machine keeps is a cache: all of it may go.
            std::fs::remove_dir_all(&run.start.dir).expect("the directory can be deleted");
            std::fs::create_dir_all(&run.start.dir).expect("the directory can be made");
        }
        server = run.serve();
    }
    run.verdict(server);
}

#[test]
fn work_goes_on_after_the_broker_was_killed_stopped_and_started_again() {
    let _alone = alone();
    let mut brokers = Brokers::start(1);
    let mut run = on("kafka-broker", &brokers.addresses, 1);
    let server = run.serve();
    run.load();
    let world = Arc::clone(&run.world);
    let acked = || world.acked.load(Ordering::SeqCst);
    for i in 0..scaled(OUTAGES) {
        pause_ms(2_000);
        run.count_in_flight();
        if i % 2 == 0 {
            run.nemesis("the broker is killed");
            brokers.order("kill 1");
            pause_ms(run.rng.range(100, 3_000));
            brokers.order("start 1");
        } else {
            run.nemesis("the broker stands still");
            brokers.order("stop 1");
            pause_ms(run.rng.range(1_000, 6_000));
            brokers.order("cont 1");
        }
        // An outage may be longer than the session, as a killed broker starts slowly.
        let before = acked();
        assert!(wait_until(SETTLED_MS, || acked() > before + 10), "work goes on");
    }
    run.verdict(server);
}

#[test]
fn no_acknowledged_task_is_lost_when_leaders_are_killed() {
    let _alone = alone();
    let mut brokers = Brokers::start(3);
    let mut run = on("kafka-leader", &brokers.addresses, 3);
    let server = run.serve();
    run.load();
    for i in 0..scaled(LEADERS) {
        pause_ms(3_000);
        run.count_in_flight();
        // Each leads one of the three partitions, so one leader goes every time.
        let number = i % 3 + 1;
        run.nemesis("a leader is killed");
        brokers.order(&format!("kill {number}"));
        pause_ms(run.rng.range(2_000, 8_000));
        brokers.order(&format!("start {number}"));
        pause_ms(3_000);
    }
    run.verdict(server);
}

/// The broker that leads the only partition of a topic.
fn leader(brokers: &str, topic: &str) -> String {
    let listed = Command::new("kcat").args(["-L", "-b", brokers, "-t", topic]).output();
    let listed = listed.expect("kcat runs: apt-get install kcat");
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let number = listed.split_once("leader ").and_then(|(_, rest)| rest.split(',').next());
    number.unwrap_or_else(|| panic!("{topic} has no leader: {listed}")).to_owned()
}

/// All instances hear nothing then. Were all not ready, a load balancer would have nobody.
#[test]
fn an_instance_stays_ready_while_the_leader_of_the_gossip_stands_still() {
    let _alone = alone();
    let mut brokers = Brokers::start(3);
    let run = on("kafka-gossip", &brokers.addresses, 3);
    let server = run.serve();
    let own = run.start.sets.iter().find_map(|set| set.strip_prefix("topics.prefix="));
    let still = leader(&brokers.addresses, &format!("{}-cluster", own.expect("it is set")));
    brokers.order(&format!("stop {still}"));
    let mut client = Client::new(server.addr().expect("it listens"));
    let mut unready = Vec::new();
    for look in 0..80 {
        let ready = client.get("/kwq/health/ready").expect("an answer");
        if ready.status != 200 {
            unready.push((look, ready.json()["reasons"].clone()));
        }
        pause_ms(100);
    }
    brokers.order(&format!("cont {still}"));
    // A loaded machine may take longer than a look or two to ask the others.
    assert!(unready.len() < 20, "{unready:?}");
}

/// Two instances, of which one stands still now and then. Clients talk to either.
#[test]
fn two_instances_of_which_one_stands_still_hand_nothing_out_twice() {
    let _alone = alone();
    let mut run = on("kafka-two", address(), 1);
    let mut one = run.serve();
    run.load();
    let mut other = Start { dir: run.side("other"), ..run.start.clone() };
    other.sets.push("node.id=other".into());
    let mut two = Server::start(&other).expect("a second instance starts");
    for i in 0..scaled(ROUNDS) {
        let here = i % 2 == 0;
        run.world.set_addr(if here { two.addr() } else { one.addr() });
        pause_ms(run.rng.range(300, 1_200));
        if run.rng.chance(30) {
            run.nemesis("an instance stands still");
            let frozen = if here { &mut one } else { &mut two };
            frozen.signal("STOP");
            pause_ms(run.rng.range(500, 3_000));
            frozen.signal("CONT");
        }
    }
    run.nemesis("the second instance is killed");
    run.world.set_addr(one.addr());
    drop(two.kill());
    say("kafka-two: one instance is left");
    run.verdict(one);
}

//! The group that proposes owners: who is told what, and in which order. Members that are killed or
//! stopped are processes of their own: this program once more, as [`member_process`].

use crate::broker::{address, options, prefix};
use crate::log_contract::kit::TempDir;
use kwq::log::kafka::{Assigned, Cluster, Group, KafkaLog, Member, Topics, strangers};
use kwq::model::id::PartitionId;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

const PARTITIONS: u16 = 6;
/// The least a broker takes.
const SESSION: Duration = Duration::from_secs(6);
/// So long that nobody is ever missed by it.
const NEVER: Duration = Duration::from_secs(600);
/// A loaded machine may need it; nothing takes so long.
const LIMIT: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(20);
const WHOLE: &str = "nobody panics while holding it";
const NONE: [u16; 0] = [];
/// Begins what a process of ours says.
const MARK: &str = "kwq-member:";
const CHILD: &str = "KWQ_TEST_MEMBER";

fn eventually(what: &str, mut there: impl FnMut() -> bool) {
    let mut patience = LIMIT;
    while !there() {
        assert!(!patience.is_zero(), "{what}");
        thread::sleep(PAUSE);
        patience = patience.saturating_sub(PAUSE);
    }
}

/// Ends, or fails the test.
fn ends(what: &str, work: impl FnOnce() + Send + 'static) {
    let thread = thread::Builder::new().spawn(work).expect("a thread can be had");
    eventually(what, || thread.is_finished());
    thread.join().expect("it does not panic");
}

fn sorted(mut ids: Vec<u16>) -> Vec<u16> {
    ids.sort_unstable();
    ids
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Assigned,
    Revoking,
    Revoked,
    Lost,
    /// Written by a test: it was killed or stopped.
    Gone,
}

/// What all members of a test were told, in order.
#[derive(Clone, Default)]
struct Diary(Arc<Mutex<Vec<Entry>>>);

type Entry = (String, Told, Vec<u16>);

impl Diary {
    fn add(&self, who: &str, told: Told, ids: Vec<u16>) {
        self.0.lock().expect(WHOLE).push((who.to_owned(), told, ids));
    }

    fn told(&self, who: &str, what: Told) -> Vec<u16> {
        let entries = self.0.lock().expect(WHOLE);
        let his = entries.iter().filter(|(name, told, _)| name == who && *told == what);
        his.flat_map(|(_, _, ids)| ids.iter().copied()).collect()
    }

    /// Owners at the end. No partition was ever assigned while somebody had it: not given back, and
    /// not lost.
    fn owners(&self) -> BTreeMap<u16, String> {
        let mut owners = BTreeMap::new();
        let entries = self.0.lock().expect(WHOLE);
        for (who, told, ids) in entries.iter() {
            for id in ids {
                match told {
                    Told::Assigned => {
                        let before = owners.insert(*id, who.clone());
                        assert_eq!(before, None, "{id} has two owners: {entries:?}");
                    }
                    Told::Revoked | Told::Lost | Told::Gone if owners.get(id) == Some(who) => {
                        owners.remove(id);
                    }
                    Told::Revoked | Told::Lost | Told::Gone | Told::Revoking => {}
                }
            }
        }
        owners
    }

    fn of(&self, who: &str) -> Vec<u16> {
        self.owners().into_iter().filter(|(_, owner)| owner == who).map(|(id, _)| id).collect()
    }

    /// Waits until these have so many partitions each.
    fn settled(&self, wanted: &[(&str, usize)]) {
        let what = format!("the group comes to {wanted:?}");
        let there = || wanted.iter().all(|(who, count)| self.of(who).len() == *count);
        eventually(&what, there);
    }
}

/// A door that a release goes through.
#[derive(Clone, Default)]
struct Door(Arc<(Mutex<bool>, Condvar)>);

impl Door {
    fn shut(&self, shut: bool) {
        *self.0.0.lock().expect(WHOLE) = shut;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        drop(self.0.1.wait_while(self.0.0.lock().expect(WHOLE), |shut| *shut).expect(WHOLE));
    }
}

struct Node {
    name: String,
    diary: Diary,
    door: Door,
    /// Say it to the process that started this one.
    aloud: bool,
}

impl Node {
    fn add(&self, told: Told, ids: &[PartitionId]) {
        let ids: Vec<u16> = ids.iter().map(|id| id.0).collect();
        if self.aloud {
            let ids: Vec<String> = ids.iter().map(u16::to_string).collect();
            let said = writeln!(std::io::stdout(), "{MARK}{told:?} {}", ids.join(" "));
            said.expect("somebody listens");
        }
        self.diary.add(&self.name, told, ids);
    }
}

impl Assigned for Node {
    fn assigned(&self, partitions: &[PartitionId]) {
        self.add(Told::Assigned, partitions);
    }

    fn revoked(&self, partitions: &[PartitionId], _: Duration) {
        self.add(Told::Revoking, partitions);
        self.door.pass();
        self.add(Told::Revoked, partitions);
    }

    fn lost(&self, partitions: &[PartitionId]) {
        self.add(Told::Lost, partitions);
    }
}

/// A cluster with a changelog of its own.
struct Place {
    prefix: String,
    diary: Diary,
}

impl Place {
    fn new() -> Self {
        let (prefix, dir) = (prefix(), TempDir::new());
        let mut options = options(&prefix, &dir);
        options.topics.partitions = PARTITIONS;
        // It is asked for its bounds at once, which is too early for some brokers.
        eventually("the changelog is made", || KafkaLog::open(&options).is_ok());
        Self { prefix, diary: Diary::default() }
    }

    fn join(&self, name: &str, session: Duration) -> Group {
        self.join_with(name, session, &Door::default(), &[])
    }

    fn join_with(
        &self,
        name: &str,
        session: Duration,
        door: &Door,
        properties: &[(&str, &str)],
    ) -> Group {
        let (diary, door) = (self.diary.clone(), door.clone());
        let node = Node { name: name.to_owned(), diary, door, aloud: false };
        join(&self.prefix, node, session, properties)
    }

    /// A member in a process of its own.
    fn start(&self, name: &str, role: &str) -> Process {
        let mut command = Command::new(std::env::current_exe().expect("it has a path"));
        command.args(["group::member_process", "--exact", "--ignored", "--nocapture"]);
        command.env(CHILD, format!("{role} {} {name}", self.prefix));
        command.env("KWQ_TEST_KAFKA", address());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("this program starts once more");
        let stdin = child.stdin.take();
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let (diary, name) = (self.diary.clone(), name.to_owned());
        let listen = move || {
            for line in lines.map_while(Result::ok) {
                let Some((_, said)) = line.split_once(MARK) else { continue };
                let mut words = said.split_whitespace();
                let told = match words.next() {
                    Some("Assigned") => Told::Assigned,
                    Some("Revoking") => Told::Revoking,
                    Some("Revoked") => Told::Revoked,
                    Some("Lost") => Told::Lost,
                    other => panic!("{other:?} is not what a member says"),
                };
                diary.add(&name, told, words.map(|word| word.parse().expect("a number")).collect());
            }
        };
        thread::Builder::new().spawn(listen).expect("a thread can be had");
        Process { child, stdin }
    }
}

/// Everybody polls at least once a session: who only seemed to poll would lose its partitions.
fn join(prefix: &str, node: Node, session: Duration, properties: &[(&str, &str)]) -> Group {
    let mut all = vec![("max.poll.interval.ms".to_owned(), session.as_millis().to_string())];
    all.extend(properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    let cluster =
        Cluster { brokers: address().to_owned(), client_id: "test".to_owned(), properties: all };
    let topics = Topics {
        prefix: prefix.to_owned(),
        partitions: PARTITIONS,
        replication: 1,
        manage: false,
        inboxes: false,
        feeds: vec![],
    };
    let member = Member { node: node.name.clone(), addr: "127.0.0.1:1".to_owned(), session };
    Group::join(&cluster, &topics, &member, Arc::new(node)).expect("the member starts")
}

struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Process {
    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([format!("-{name}"), pid]).status();
        assert!(sent.expect("kill exists").success());
    }

    fn finish(&mut self) {
        self.stdin = None;
        let mut status = None;
        eventually("the process ends", || {
            status = self.child.try_wait().expect("our own child");
            status.is_some()
        });
        assert!(status.is_some_and(|status| status.success()), "{status:?}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
#[ignore = "what the others start as a process of its own"]
fn member_process() {
    let Ok(role) = std::env::var(CHILD) else { return };
    let words: Vec<&str> = role.split(' ').collect();
    let [role, prefix, name] = words.try_into().expect("role, prefix, name");
    let node = |diary| Node { name: name.to_owned(), diary, door: Door::default(), aloud: true };
    if role == "churn" {
        return churn(prefix, &|diary| Node { aloud: false, ..node(diary) });
    }
    let group = join(prefix, node(Diary::default()), SESSION, &[]);
    let mut rest = Vec::new();
    std::io::stdin().read_to_end(&mut rest).unwrap();
    group.leave();
}

/// Joins and leaves again and again, at once and as an owner.
fn churn(prefix: &str, node: &dyn Fn(Diary) -> Node) {
    let threads = || std::fs::read_dir("/proc/self/task").expect("Linux").count();
    let before = threads();
    for round in 0..20 {
        let diary = Diary::default();
        let group = join(prefix, node(diary.clone()), SESSION, &[]);
        if round % 3 == 0 {
            diary.settled(&[("m", PARTITIONS.into())]);
        }
        drop(group);
        assert!(diary.owners().is_empty(), "everything was given back");
    }
    eventually("no thread is left", || threads() <= before);
}

#[test]
fn a_lone_member_has_all_and_a_second_takes_its_part_one_way() {
    let place = Place::new();
    let a = place.join("a", SESSION);
    place.diary.settled(&[("a", 6)]);
    let b = place.join("b", SESSION);
    place.diary.settled(&[("a", 3), ("b", 3)]);
    for (who, group) in [("a", &a), ("b", &b)] {
        let asked: Vec<u16> = group.assigned().iter().map(|id| id.0).collect();
        assert_eq!(asked, place.diary.of(who));
    }
    assert_eq!(place.diary.told("a", Told::Assigned).len(), 6, "nothing came back");
    let moved = sorted(place.diary.told("a", Told::Revoking));
    assert_eq!(moved, place.diary.of("b"), "what stays hears nothing");
    assert_eq!(place.diary.told("b", Told::Revoking), NONE);
    assert_eq!(place.diary.told("a", Told::Lost), NONE);
}

#[test]
fn who_leaves_hands_over_without_waiting_for_the_end_of_its_session() {
    let place = Place::new();
    let a = place.join("a", NEVER);
    place.diary.settled(&[("a", 6)]);
    let b = place.join("b", NEVER);
    place.diary.settled(&[("a", 3), ("b", 3)]);
    ends("leaving ends", || b.leave());
    assert_eq!(place.diary.of("b"), NONE, "it has released before it is gone");
    place.diary.settled(&[("a", 6)]);
    drop(a);
    assert!(place.diary.owners().is_empty());
    assert_eq!(place.diary.told("b", Told::Lost), NONE);
}

#[test]
fn members_that_join_at_the_same_time_share_and_no_partition_has_two_owners() {
    let mut place = Place::new();
    for _ in 0..5 {
        place.diary = Diary::default();
        let members = ["a", "b", "c"].map(|name| place.join(name, SESSION));
        place.diary.settled(&[("a", 2), ("b", 2), ("c", 2)]);
        members.into_iter().for_each(Group::leave);
        assert!(place.diary.owners().is_empty());
    }
}

#[test]
fn partitions_of_a_killed_member_go_to_others() {
    let place = Place::new();
    let a = place.join("a", SESSION);
    place.diary.settled(&[("a", 6)]);
    let b = place.start("b", "member");
    place.diary.settled(&[("a", 3), ("b", 3)]);
    b.signal("KILL");
    place.diary.add("b", Told::Gone, place.diary.of("b"));
    place.diary.settled(&[("a", 6)]);
    assert_eq!(place.diary.told("a", Told::Lost), NONE);
    drop(a);
}

#[test]
fn a_member_that_was_stopped_hears_that_it_has_lost_all_and_is_asked_for_nothing() {
    let place = Place::new();
    let _a = place.join("a", SESSION);
    place.diary.settled(&[("a", 6)]);
    let mut b = place.start("b", "member");
    place.diary.settled(&[("a", 3), ("b", 3)]);
    let his = place.diary.of("b");
    b.signal("STOP");
    place.diary.add("b", Told::Gone, his.clone());
    place.diary.settled(&[("a", 6)]);
    assert_eq!(place.diary.told("b", Told::Lost), NONE, "it cannot hear anything");
    b.signal("CONT");
    eventually("it hears of it", || place.diary.told("b", Told::Lost).len() == his.len());
    let lost = sorted(place.diary.told("b", Told::Lost));
    assert_eq!(lost, his, "{:?}", place.diary.0.lock().unwrap());
    assert_eq!(place.diary.told("b", Told::Revoking), NONE);
    // And it is a member like any other again.
    place.diary.settled(&[("a", 3), ("b", 3)]);
    b.finish();
    place.diary.settled(&[("a", 6)]);
    assert_eq!(place.diary.told("a", Told::Lost), NONE);
}

#[test]
fn a_release_that_takes_too_long_holds_up_nobody() {
    let (place, door) = (Place::new(), Door::default());
    let a = place.join_with("a", NEVER, &door, &[]);
    place.diary.settled(&[("a", 6)]);
    door.shut(true);
    let b = place.join("b", NEVER);
    eventually("the other one has its part", || b.assigned().len() == 3);
    assert_eq!(place.diary.told("a", Told::Revoking).len(), 3);
    assert_eq!(place.diary.told("a", Told::Revoked), NONE, "it is still at it");
    // Nor does a node that never answers keep its member from leaving.
    ends("leaving ends", || a.leave());
    eventually("the other one has all", || b.assigned().len() == 6);
    assert_eq!(place.diary.told("a", Told::Revoking).len(), 3, "one call at a time");
    door.shut(false);
    eventually("the release ends", || place.diary.told("a", Told::Revoked).len() == 3);
    ends("leaving ends", || b.leave());
}

#[test]
fn calls_wait_for_a_late_release_and_come_in_order() {
    let (place, door) = (Place::new(), Door::default());
    let a = place.join_with("a", NEVER, &door, &[]);
    place.diary.settled(&[("a", 6)]);
    door.shut(true);
    let b = place.join("b", NEVER);
    eventually("the other one has its part", || b.assigned().len() == 3);
    ends("leaving ends", || b.leave());
    // They come back to it while it is still releasing them.
    eventually("it has them again", || a.assigned().len() == 6);
    assert_eq!(place.diary.told("a", Told::Assigned).len(), 6, "it is not told yet");
    door.shut(false);
    eventually("it is told", || place.diary.told("a", Told::Assigned).len() == 9);
    let entries = place.diary.0.lock().unwrap().clone();
    let his: Vec<Told> = entries.iter().filter(|e| e.0 == "a").map(|e| e.1).collect();
    assert_eq!(his, [Told::Assigned, Told::Revoking, Told::Revoked, Told::Assigned]);
}

#[test]
fn a_member_that_is_no_instance_is_named() {
    let (place, dir) = (Place::new(), TempDir::new());
    let _a = place.join("a", SESSION);
    place.diary.settled(&[("a", 6)]);
    let options = options(&place.prefix, &dir);
    let named = || strangers(&options.cluster, &options.topics).expect("the broker tells");
    assert!(named().is_empty());
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", address()).set("group.id", format!("{}-kwq", place.prefix));
    config.set("client.id", "kcat").set("partition.assignment.strategy", "cooperative-sticky");
    let stranger: BaseConsumer = config.create().expect("a client");
    stranger.subscribe(&[&options.topics.changelog()]).expect("it subscribes");
    eventually("it is named", || {
        drop(stranger.poll(PAUSE));
        named().first().is_some_and(|who| who.starts_with("kcat/"))
    });
    assert_eq!(named().len(), 1);
}

#[test]
fn joining_and_leaving_leaves_no_thread_behind() {
    let place = Place::new();
    place.start("m", "churn").finish();
}

#[test]
fn a_member_whose_answers_are_refused_leaves_and_keeps_nobody_out() {
    let place = Place::new();
    // Incremental answers are for cooperative groups.
    let odd = [("partition.assignment.strategy", "range")];
    let a = place.join_with("a", NEVER, &Door::default(), &odd);
    // No member of another kind is let in while it is there.
    let b = place.join("b", NEVER);
    place.diary.settled(&[("b", 6)]);
    assert_eq!(place.diary.told("a", Told::Assigned), NONE);
    for group in [a, b] {
        ends("leaving ends", || group.leave());
    }
}

#[test]
fn a_cluster_that_is_not_there_is_waited_for_and_left_at_once() {
    let nowhere = [("bootstrap.servers", "127.0.0.1:1")];
    let node =
        Node { name: "a".to_owned(), diary: Diary::default(), door: Door::default(), aloud: false };
    let group = join("nowhere", node, SESSION, &nowhere);
    thread::sleep(Duration::from_millis(200));
    assert!(group.assigned().is_empty());
    ends("leaving ends", || group.leave());
}

#[test]
fn a_member_tells_where_it_is() {
    let (node, addr) = ("n1".to_owned(), "10.0.0.1:8080".to_owned());
    assert_eq!(Member { node, addr, session: SESSION }.client_id(), "kwq/n1@10.0.0.1:8080");
}

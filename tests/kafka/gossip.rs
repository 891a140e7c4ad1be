//! What instances tell each other: who hears what, when, and what an outage does to it.

use crate::broker::{Brokers, address, options, prefix};
use crate::log_contract::kit::TempDir;
use crate::util::now_us;
use kwq::log::Error;
use kwq::log::kafka::{Cluster, Gossip, Heard, KafkaLog, Topics};
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What an instance knows of another one is no older than this.
const BEAT_US: u64 = 1_000_000;
/// Longest end of the gossip, whatever the cluster does.
const END_US: u64 = 5_000_000;
/// A loaded machine may need it; nothing takes so long.
const LIMIT_US: u64 = 60_000_000;
const PAUSE: Duration = Duration::from_millis(2);
const WHOLE: &str = "nobody panics while holding it";

/// All an instance was told, in order; `None` is a farewell.
#[derive(Clone, Default)]
struct Ears(Arc<Mutex<Vec<Word>>>);

type Word = (String, Option<String>);

impl Heard for Ears {
    fn told(&self, node: &str, value: Option<&[u8]>) {
        let value = value.map(|value| String::from_utf8(value.to_vec()).expect("ours is text"));
        self.0.lock().expect(WHOLE).push((node.to_owned(), value));
    }

    fn own(&self, _: &[u8]) {}

    fn answers(&self) {}
}

impl Ears {
    fn all(&self) -> Vec<Word> {
        self.0.lock().expect(WHOLE).clone()
    }

    fn last(&self, node: &str) -> Option<Option<String>> {
        self.all().into_iter().rev().find(|(name, _)| name == node).map(|(_, value)| value)
    }

    fn knows(&self, node: &str, value: &str) -> bool {
        self.last(node) == Some(Some(value.to_owned()))
    }
}

/// Waits for it, and says how long, µs.
fn eventually(what: &str, mut there: impl FnMut() -> bool) -> u64 {
    let begun = now_us();
    while !there() {
        assert!(now_us() - begun < LIMIT_US, "{what}");
        thread::sleep(PAUSE);
    }
    now_us() - begun
}

/// Tells once a beat until it is heard.
fn until_heard(what: &str, speaker: &Gossip, value: &str, ears: &Ears, node: &str) {
    let mut next = 0;
    eventually(what, || {
        if now_us() >= next {
            speaker.tell(value.as_bytes().to_vec());
            next = now_us() + BEAT_US;
        }
        ears.knows(node, value)
    });
}

#[track_caller]
fn ends(how: impl FnOnce()) {
    let begun = now_us();
    how();
    let took = now_us() - begun;
    assert!(took < END_US, "{took} µs");
}

/// A cluster of instances.
struct Place {
    brokers: String,
    prefix: String,
}

impl Place {
    fn new(brokers: &str) -> Self {
        let (prefix, dir) = (prefix(), TempDir::new());
        let mut options = options(&prefix, &dir);
        options.cluster.brokers = brokers.to_owned();
        eventually("the topics are made", || KafkaLog::open(&options).is_ok());
        Self { brokers: brokers.to_owned(), prefix }
    }

    fn start(&self, node: &str) -> (Gossip, Ears) {
        let cluster = Cluster {
            brokers: self.brokers.clone(),
            client_id: format!("kwq/{node}"),
            properties: vec![],
        };
        let topics = Topics {
            prefix: self.prefix.clone(),
            partitions: 4,
            replication: 1,
            manage: false,
            inboxes: false,
            feeds: vec![],
        };
        let ears = Ears::default();
        let on: Arc<dyn Heard> = Arc::new(ears.clone());
        (Gossip::start(&cluster, &topics, node, on).expect("the gossip starts"), ears)
    }

    /// Two that hear each other.
    fn pair(&self) -> [(Gossip, Ears); 2] {
        let [a, b] = [self.start("a"), self.start("b")];
        until_heard("b hears a", &a.0, "first", &b.1, "a");
        until_heard("a hears b", &b.0, "first", &a.1, "b");
        [a, b]
    }
}

#[test]
fn two_instances_hear_each_other_within_a_beat_and_never_themselves() {
    let place = Place::new(address());
    let [(a, at_a), (b, at_b)] = place.pair();
    for round in 0..5 {
        let (his, hers) = (format!("a{round}"), format!("b{round}"));
        a.tell(his.clone().into_bytes());
        b.tell(hers.clone().into_bytes());
        let took = eventually("both hear", || at_b.knows("a", &his) && at_a.knows("b", &hers));
        assert!(took < BEAT_US, "{took} µs");
    }
    assert_eq!(at_a.last("a"), None);
    assert_eq!(at_b.last("b"), None);
}

#[test]
fn the_newest_of_many_words_arrives_and_no_older_one_after_it() {
    let place = Place::new(address());
    let [(a, _a), (_b, at_b)] = place.pair();
    let many = 20_000;
    for number in 1..=many {
        a.tell(number.to_string().into_bytes());
    }
    eventually("the newest arrives", || at_b.knows("a", &many.to_string()));
    thread::sleep(Duration::from_millis(500));
    let numbers = at_b.all().into_iter().filter_map(|(_, value)| value?.parse().ok());
    let numbers: Vec<usize> = numbers.collect();
    assert!(numbers.is_sorted(), "{numbers:?}");
    assert!(numbers.len() < many / 10, "{} of {many} were sent", numbers.len());
}

#[test]
fn who_leaves_says_so_and_who_is_dropped_does_not() {
    let place = Place::new(address());
    let [(a, at_a), (b, at_b)] = place.pair();
    let (c, at_c) = place.start("c");
    until_heard("a hears c", &c, "first", &at_a, "c");
    ends(|| b.leave());
    let took = eventually("a hears it", || at_a.last("b") == Some(None));
    assert!(took < BEAT_US, "{took} µs");
    ends(|| drop(c));
    let before = (at_b.all().len(), at_c.all().len());
    a.tell(b"alone".to_vec());
    thread::sleep(Duration::from_millis(500));
    assert!(at_a.knows("c", "first"), "{:?}", at_a.all());
    assert_eq!((at_b.all().len(), at_c.all().len()), before, "nobody is told after the end");
}

#[test]
fn a_latecomer_hears_the_last_word_of_everybody_at_once() {
    let place = Place::new(address());
    let [(a, at_a), (b, at_b)] = place.pair();
    let (gone, _) = place.start("gone");
    until_heard("a hears who will be gone", &gone, "x", &at_a, "gone");
    gone.leave();
    for round in 0..30 {
        let word = format!("{round}");
        a.tell(word.clone().into_bytes());
        eventually("b hears a", || at_b.knows("a", &word));
    }
    b.tell(b"last".to_vec());
    eventually("a hears b", || at_a.knows("b", "last"));
    let (_c, at_c) = place.start("c");
    eventually("c hears both", || at_c.knows("a", "29") && at_c.knows("b", "last"));
    assert_eq!(at_c.last("gone"), Some(None));
    // Those who come back hear what they missed, and their own words are not news to them.
    drop(b);
    a.tell(b"30".to_vec());
    let (_b, again) = place.start("b");
    eventually("b hears a", || again.knows("a", "30"));
    assert_eq!(again.last("b"), None);
}

#[test]
fn gossip_goes_on_by_itself_after_the_broker_was_away() {
    let mut brokers = Brokers::start(1);
    let place = Place::new(&brokers.addresses.clone());
    let [(a, at_a), (b, at_b)] = place.pair();
    for (round, [away, back]) in [["kill 1", "start 1"], ["stop 1", "cont 1"]].iter().enumerate() {
        brokers.order(away);
        let (late, at_late) = place.start("late");
        for beat in 0..6 {
            a.tell(format!("unheard {round} {beat}").into_bytes());
            thread::sleep(Duration::from_secs(1));
        }
        let before = at_b.all().len();
        brokers.order(back);
        let word = format!("again {round}");
        until_heard("b hears a again", &a, &word, &at_b, "a");
        until_heard("a hears b again", &b, &word, &at_a, "b");
        until_heard("who started meanwhile hears a", &a, &word, &at_late, "a");
        until_heard("a hears who started meanwhile", &late, &word, &at_a, "late");
        let since = at_b.all().split_off(before);
        let stale = since.iter().filter(|(_, v)| v.as_ref().is_some_and(|v| v.contains("unheard")));
        assert!(stale.count() <= 2, "old words do not pile up: {since:?}");
        late.leave();
    }
}

#[test]
fn the_gossip_ends_soon_while_the_broker_is_away() {
    let mut brokers = Brokers::start(1);
    let place = Place::new(&brokers.addresses.clone());
    for (away, back) in [("kill 1", "start 1"), ("stop 1", "cont 1")] {
        let [(a, _), (b, _)] = place.pair();
        let (c, _) = place.start("c");
        brokers.order(away);
        for gossip in [&a, &b] {
            gossip.tell(b"nobody hears it".to_vec());
        }
        thread::sleep(Duration::from_millis(500));
        let (never, _) = place.start("never");
        ends(|| drop(a));
        ends(|| b.leave());
        ends(|| drop(c));
        ends(|| never.leave());
        brokers.order(back);
    }
}

#[test]
fn a_cluster_that_is_not_there_is_waited_for_and_left() {
    let place = Place { brokers: "127.0.0.1:1".to_owned(), prefix: "nowhere".to_owned() };
    let [(a, at_a), (b, _)] = [place.start("a"), place.start("b")];
    a.tell(b"nobody hears it".to_vec());
    thread::sleep(Duration::from_millis(200));
    ends(|| drop(a));
    ends(|| b.leave());
    assert_eq!(at_a.all(), []);
}

/// Names and settings of a topic that it was made with.
fn described(topic: &str) -> Vec<(String, String)> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", address());
    let admin: AdminClient<DefaultClientContext> = config.create().expect("a client can be had");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let (which, how) = ([ResourceSpecifier::Topic(topic)], AdminOptions::new());
    let answer = runtime.block_on(admin.describe_configs(&which, &how)).expect("an answer");
    let one = answer.into_iter().next().expect("one topic").expect("it is described");
    let entries = one.entries.into_iter();
    entries.filter_map(|entry| Some((entry.name, entry.value?))).collect()
}

#[test]
fn its_topic_is_made_compacted_or_said_to_be_missing() {
    let (prefix, dir) = (prefix(), TempDir::new());
    let mut options = options(&prefix, &dir);
    options.topics.manage = false;
    let missing = KafkaLog::open(&options).err();
    let name = format!("{prefix}-cluster");
    let told = |why: &str| why.contains("topics.manage=false") && why.contains(&name);
    assert!(matches!(&missing, Some(Error::Settings(why)) if told(why)), "{missing:?}");
    options.topics.manage = true;
    eventually("the topics are made", || KafkaLog::open(&options).is_ok());
    let settings = described(&name);
    let is = |name: &str, value: &str| settings.contains(&(name.to_owned(), value.to_owned()));
    assert!(is("cleanup.policy", "compact") && is("segment.ms", "600000"), "{settings:?}");
    options.topics.manage = false;
    KafkaLog::open(&options).expect("all topics are there");
}

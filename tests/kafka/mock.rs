//! The log on the mock brokers of librdkafka. They prove nothing about Kafka: they answer with what
//! a real broker says in rare moments only (F11).

use crate::broker::{open, options, prefix, topics};
use crate::log_contract::checks::contract;
use crate::log_contract::kit::TempDir;
use crate::run::{Crowd, Run};
use crate::util::{alone, pause_ms, say, scaled, wait_until};
use kwq::log::EventLog;
use kwq::log::kafka::Topics;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey as Call, RDKafkaRespErr as Answer};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// So often something goes wrong at scale 1: each of the kinds twice.
const FAULTS: usize = 12;
/// After a fault work goes on within so long.
const SETTLED_MS: u64 = 60_000;
const BROKERS: i32 = 3;

type Mock = MockCluster<'static, DefaultProducerContext>;

/// Brokers that have the topics of an installation: they take no orders to make some.
fn brokers(topics: &Topics) -> Mock {
    let mock = MockCluster::new(BROKERS).expect("mock brokers start");
    let partitions = topics.partitions.into();
    let wanted =
        [(topics.changelog(), partitions), (topics.commands(), partitions), (topics.cluster(), 1)];
    for (name, partitions) in wanted {
        let made = mock.create_topic(&name, partitions, BROKERS);
        made.expect("the topic is made");
    }
    mock
}

fn on_mock(check: fn(&dyn EventLog)) {
    let dir = TempDir::new();
    let mut options = options(&prefix(), &dir);
    let mock = brokers(&options.topics);
    options.cluster.brokers = mock.bootstrap_servers();
    options.topics.manage = false;
    check(&open(&options));
}

contract!(crate::mock::on_mock);

/// What brokers answer to a request that should be repeated, or that may be done although it was
/// refused.
const PRODUCE: [Answer; 6] = [
    Answer::RD_KAFKA_RESP_ERR__TRANSPORT,
    Answer::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
    Answer::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
    Answer::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
    Answer::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND,
    Answer::RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR,
];

/// What ends a producer, or what it has out; in turn, as the first one is the hardest.
const FATAL: [Answer; 4] = [
    Answer::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER,
    Answer::RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID,
    Answer::RD_KAFKA_RESP_ERR_INVALID_MSG,
    Answer::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
];

const FETCH: [Answer; 4] = [
    Answer::RD_KAFKA_RESP_ERR__TRANSPORT,
    Answer::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
    Answer::RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR,
    Answer::RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH,
];

#[test]
fn nothing_acknowledged_is_lost_or_doubled_whatever_brokers_answer() {
    let _alone = alone();
    let topics = topics(&prefix());
    let mock = brokers(&topics);
    let mut run = Run::new("kafka-mock");
    run.start.sets = vec![
        "log.backend=kafka".into(),
        format!("kafka.bootstrap-servers={}", mock.bootstrap_servers()),
        format!("topics.prefix={}", topics.prefix),
        "topics.manage=false".into(),
        "topics.inboxes=false".into(),
        format!("log.partitions={}", topics.partitions),
        "node.id=kafka-mock".into(),
    ];
    // A mock broker keeps 5 MiB of a partition.
    run.crowd = Crowd { submitters: 2, workers: 3, backlog: 500 };
    let server = run.serve();
    run.load();
    let world = Arc::clone(&run.world);
    let acked = || world.acked.load(Ordering::SeqCst);
    for i in 0..scaled(FAULTS) {
        pause_ms(run.rng.range(100, 500));
        run.count_in_flight();
        fault(&mut run, &mock, &topics, i);
        let before = acked();
        assert!(wait_until(SETTLED_MS, || acked() > before + 3), "work goes on");
    }
    run.verdict(server);
}

/// Lets something go wrong, and mends it where it does not mend itself.
fn fault(run: &mut Run, mock: &Mock, topics: &Topics, round: usize) {
    let broker = i32::try_from(run.rng.range(1, 4)).expect("small");
    let partition = i32::try_from(run.rng.range(0, u64::from(topics.partitions))).expect("small");
    let mut some = |of: &[Answer]| -> Vec<Answer> {
        (0..run.rng.range(1, 5)).filter_map(|_| of.get(run.rng.index(of.len())).copied()).collect()
    };
    let what = match round % 6 {
        0 => refuse(mock, Call::Produce, &some(&PRODUCE)),
        1 => {
            mock.partition_leader(&topics.changelog(), partition, Some(broker)).expect("it leads");
            format!("broker {broker} leads partition {partition}")
        }
        2 => {
            mock.broker_down(broker).expect("it goes");
            pause_ms(500);
            mock.broker_up(broker).expect("it comes");
            format!("broker {broker} was away")
        }
        3 => refuse(mock, Call::Fetch, &some(&FETCH)),
        4 => {
            let slow = Duration::from_millis(400);
            mock.broker_round_trip_time(broker, slow).expect("it is slow");
            pause_ms(1_500);
            mock.broker_round_trip_time(broker, Duration::ZERO).expect("it is fast");
            format!("broker {broker} was slow")
        }
        _ => refuse(mock, Call::Produce, &[FATAL[round / 6 % FATAL.len()]]),
    };
    say(&format!("kafka-mock: {what}"));
    run.nemesis(&what);
}

fn refuse(mock: &Mock, call: Call, answers: &[Answer]) -> String {
    mock.request_errors(call, answers);
    format!("{call:?} is answered with {answers:?}")
}

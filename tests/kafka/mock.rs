//! The log on the mock brokers of librdkafka. They prove nothing about Kafka: they answer with what
//! a real broker says in rare moments only (F11).

use crate::broker::{open, options, prefix};
use crate::log_contract::checks::contract;
use crate::log_contract::kit::TempDir;
use crate::run::{Crowd, Run};
use crate::util::{alone, pause_ms, say, scaled, wait_until};
use kwq::log::EventLog;
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
const PARTITIONS: u16 = 4;

type Mock = MockCluster<'static, DefaultProducerContext>;

/// Brokers that have the topics of an installation: they take no orders to make some.
fn brokers(prefix: &str) -> Mock {
    let mock = MockCluster::new(BROKERS).expect("mock brokers start");
    for (name, partitions) in [("changelog", PARTITIONS), ("commands", PARTITIONS), ("cluster", 1)]
    {
        let made = mock.create_topic(&format!("{prefix}-{name}"), partitions.into(), BROKERS);
        made.expect("the topic is made");
    }
    mock
}

fn on_mock(check: fn(&dyn EventLog)) {
    let (dir, prefix) = (TempDir::new(), prefix());
    let mock = brokers(&prefix);
    let mut options = options(&prefix, &dir);
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
    let prefix = prefix();
    let mock = brokers(&prefix);
    let mut run = Run::new("kafka-mock");
    run.start.sets = vec![
        "log.backend=kafka".into(),
        format!("kafka.bootstrap-servers={}", mock.bootstrap_servers()),
        format!("topics.prefix={prefix}"),
        "topics.manage=false".into(),
        "topics.inboxes=false".into(),
        format!("log.partitions={PARTITIONS}"),
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
        fault(&mut run, &mock, &prefix, i);
        let before = acked();
        assert!(wait_until(SETTLED_MS, || acked() > before + 3), "work goes on");
    }
    run.verdict(server);
}

/// Lets something go wrong, and mends it where it does not mend itself.
fn fault(run: &mut Run, mock: &Mock, prefix: &str, round: usize) {
    let broker = i32::try_from(run.rng.range(1, 4)).expect("small");
    let changelog = format!("{prefix}-changelog");
    let partition = i32::try_from(run.rng.range(0, u64::from(PARTITIONS))).expect("small");
    let mut some = |of: &[Answer]| -> Vec<Answer> {
        (0..run.rng.range(1, 5)).filter_map(|_| of.get(run.rng.index(of.len())).copied()).collect()
    };
    let what = match round % 6 {
        0 => refuse(mock, Call::Produce, &some(&PRODUCE)),
        1 => {
            mock.partition_leader(&changelog, partition, Some(broker)).expect("it leads");
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

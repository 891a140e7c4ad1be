//! A start that is refused: what it leaves behind, and what it tells to do.

use crate::broker::{address, options, prefix};
use crate::log_contract::kit::TempDir;
use kwq::log::EventLog;
use kwq::log::kafka::KafkaLog;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use std::process::Command;
use std::time::Duration;

/// Starts a server with these settings, which must be refused; what it says.
fn refused(brokers: &str, prefix: &str, more: &[&str]) -> String {
    let dir = TempDir::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_kwq"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--log", "kafka"]);
    command.args(["--bootstrap-servers", brokers, "--data-dir"]).arg(dir.path());
    command.args(["--set", &format!("topics.prefix={prefix}")]).args(more);
    let out = command.output().expect("the binary runs");
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(!out.status.success(), "{said}");
    said
}

/// Topics of a prefix.
fn topics(prefix: &str) -> Vec<String> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", address()).set("allow.auto.create.topics", "false");
    let client: BaseConsumer = config.create().expect("a client can be had");
    let metadata = client.fetch_metadata(None, Duration::from_secs(10)).expect("an answer");
    let names = metadata.topics().iter().map(|topic| topic.name().to_owned());
    names.filter(|name| name.starts_with(prefix)).collect()
}

// S 14 --strict: nothing is made that would be refused ever after.
#[test]
fn a_strict_start_on_one_broker_makes_no_topics() {
    let prefix = prefix();
    let said = refused(address(), &prefix, &["--strict"]);
    assert_eq!(topics(&prefix), Vec::<String>::new(), "{said}");
    assert!(said.contains("error[reduced_durability]"), "{said}");
    assert!(said.contains("1 of 3 copies: brokers 1, topics.replication 3"), "{said}");
    assert!(said.contains("3 brokers and topics.replication=3"), "{said}");
}

#[test]
fn topics_that_do_not_fit_say_what_to_set() {
    let (prefix, dir) = (prefix(), TempDir::new());
    let missing = refused(address(), &prefix, &["--set", "topics.manage=false"]);
    assert!(missing.contains("help: kafka-topics.sh --bootstrap-server "), "{missing}");
    assert!(missing.contains(&format!(" --create --topic {prefix}-changelog ")), "{missing}");
    assert_eq!(topics(&prefix), Vec::<String>::new());
    let (log, _) = KafkaLog::open(&options(&prefix, &dir)).expect("the log opens");
    log.close();
    let made = topics(&prefix).len();
    let other = refused(address(), &prefix, &["--partitions", "7"]);
    assert!(other.contains("has 4 partitions, log.partitions says 7\n"), "{other}");
    assert!(other.contains("help: set log.partitions=4, or set another topics.prefix"), "{other}");
    assert_eq!(topics(&prefix).len(), made, "the inboxes were not made before that was seen");
    let strict = refused(address(), &prefix, &["--partitions", "4", "--strict"]);
    assert!(strict.contains(&format!("{prefix}-changelog has 1 of 3 copies")), "{strict}");
}

#[test]
fn brokers_that_are_away_are_named() {
    let said = refused("127.0.0.1:1", &prefix(), &[]);
    assert!(said.contains("reaching Kafka at 127.0.0.1:1"), "{said}");
    assert!(said.contains("help: check kafka.bootstrap-servers"), "{said}");
    assert!(!said.contains("free space"), "{said}");
}

/// What `kwq doctor` finds of Kafka: check, level, found, fix.
fn doctor(brokers: &str, prefix: &str, partitions: u16) -> Vec<[String; 4]> {
    let dir = TempDir::new();
    std::fs::create_dir_all(dir.path()).expect("a directory");
    let file = dir.path().join("kwq.toml");
    let config = format!(
        "[log]\nbackend = \"kafka\"\npartitions = {partitions}\n\
         [kafka]\nbootstrap-servers = \"{brokers}\"\n[topics]\nprefix = \"{prefix}\"\n"
    );
    std::fs::write(&file, config).expect("a file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_kwq"));
    command.args(["doctor", "--listen", "127.0.0.1:0", "-o", "ndjson", "--config"]).arg(&file);
    let out = command.output().expect("the binary runs");
    let rows = String::from_utf8_lossy(&out.stdout).into_owned();
    let row = |line: &str| {
        let row: serde_json::Value = serde_json::from_str(line).expect("a row");
        ["check", "level", "found", "fix"].map(|at| row[at].as_str().expect("text").to_owned())
    };
    let of_kafka = |row: &[String; 4]| ["kafka", "topics", "replication"].contains(&&*row[0]);
    rows.lines().map(row).filter(of_kafka).collect()
}

#[test]
fn the_doctor_sees_brokers_topics_and_copies_and_makes_nothing() {
    let (prefix, dir) = (prefix(), TempDir::new());
    let away = doctor("127.0.0.1:1", &prefix, 4);
    let [[check, level, found, fix]] = away.as_slice() else { panic!("{away:?}") };
    assert_eq!((&**check, &**level), ("kafka", "fail"), "{found}");
    assert!(found.contains("127.0.0.1:1") && fix.contains("kafka.bootstrap-servers"), "{fix}");

    let levels = |rows: &[[String; 4]]| rows.iter().map(|row| row[1].clone()).collect::<Vec<_>>();
    let before = doctor(address(), &prefix, 4);
    assert_eq!(levels(&before), ["ok", "ok", "warn"], "{before:?}");
    assert!(before[1][2].contains("made by the first start"), "{before:?}");
    assert_eq!(topics(&prefix), Vec::<String>::new());

    let (log, _) = KafkaLog::open(&options(&prefix, &dir)).expect("the log opens");
    log.close();
    let other = doctor(address(), &prefix, 7);
    assert_eq!(levels(&other), ["fail"], "{other:?}");
    assert!(other[0][3].contains("set log.partitions=4"), "{other:?}");
    assert!(doctor(address(), &prefix, 4)[2][2].contains("1 of 3 copies"));
}

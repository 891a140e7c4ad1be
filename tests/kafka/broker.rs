//! The broker of the tests, and logs on it.

use crate::log_contract::kit::TempDir;
use kwq::log::kafka::{Cluster, KafkaLog, Options, Topics};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// `host:port` of a broker that lives as long as this process.
pub(crate) fn address() -> &'static str {
    static ADDRESS: OnceLock<String> = OnceLock::new();
    ADDRESS.get_or_init(|| match std::env::var("KWQ_TEST_KAFKA") {
        Ok(address) => address,
        Err(_) => started(),
    })
}

/// Starts one; it ends with its standard input, which is held by this process alone.
fn started() -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kafka/broker.py");
    let mut command = Command::new("python3");
    command.args([script, "run"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("python3 runs");
    let mut lines = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    lines.read_line(&mut line).expect("the script says where the broker is");
    let address = line.trim().strip_prefix("ready ").map(str::to_owned);
    // Neither is dropped: that would end the broker.
    std::mem::forget((child, lines));
    address.unwrap_or_else(|| panic!("no broker: {line:?}"))
}

/// A topic prefix nobody else has.
pub(crate) fn prefix() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock");
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("T{}-{}-{number}", now.as_millis(), std::process::id())
}

/// How an instance opens the log.
pub(crate) fn options(prefix: &str, dir: &TempDir) -> Options {
    let client_id = format!("kwq/{}", dir.path().display());
    let topics = Topics { prefix: prefix.to_owned(), partitions: 4, replication: 1, manage: true };
    Options {
        cluster: Cluster { brokers: address().to_owned(), client_id, properties: vec![] },
        topics,
        dir: dir.path().to_path_buf(),
        segment_bytes: 64 << 10,
        disk_reserve: Some(0),
        stopwatch: None,
    }
}

/// An opened log that has caught up.
pub(crate) fn open(options: &Options) -> KafkaLog {
    use kwq::log::EventLog;
    let (log, _) = KafkaLog::open(options).expect("the log opens");
    log.catch_up(&|_| ()).expect("the log catches up");
    log
}

//! The broker of the tests, and logs on it.

use crate::log_contract::kit::TempDir;
use crate::server::Start;
use crate::util::now_us;
use kwq::log::kafka::{Cluster, KafkaLog, Options, Topics};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Brings, starts and stops brokers.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kafka/broker.py");

/// Brings what brokers are made of, once on a machine; `Brokers::start` would do it by itself.
pub(crate) fn fetch() {
    let fetched = Command::new("python3").args([SCRIPT, "fetch"]).status().expect("python3 runs");
    assert!(fetched.success(), "there is no Kafka to be had");
}

/// `host:port` of a broker that lives as long as this process.
pub(crate) fn address() -> &'static str {
    static ADDRESS: OnceLock<String> = OnceLock::new();
    ADDRESS.get_or_init(|| match std::env::var("KWQ_TEST_KAFKA") {
        Ok(address) => address,
        Err(_) => {
            let brokers = Brokers::start(1);
            let address = brokers.addresses.clone();
            // Never dropped: that would end the broker. It ends with this process.
            std::mem::forget(brokers);
            address
        }
    })
}

/// Brokers of a test's own.
pub(crate) struct Brokers {
    /// `host:port,…`.
    pub(crate) addresses: String,
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Brokers {
    /// Starts so many; they end with their standard input, which is held by this process alone.
    pub(crate) fn start(count: u16) -> Self {
        let mut command = Command::new("python3");
        command.args([SCRIPT, "run", "--brokers", &count.to_string()]);
        Self::run(command)
    }

    /// Starts one that has an address of its own; `within` are words before the command, such as
    /// `ip netns exec NAME`. The jars must be there.
    pub(crate) fn start_at(host: &str, within: &[String]) -> Self {
        let (first, rest) = within.split_first().expect("words");
        let mut command = Command::new(first);
        command.args(rest).args(["python3", SCRIPT, "run", "--host", host]);
        Self::run(command)
    }

    fn run(mut command: Command) -> Self {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3 runs");
        let orders = child.stdin.take().expect("piped");
        let answers = BufReader::new(child.stdout.take().expect("piped"));
        let mut brokers = Self { addresses: String::new(), child, orders, answers };
        let line = brokers.line();
        let addresses = line.strip_prefix("ready ");
        addresses
            .unwrap_or_else(|| panic!("no broker: {line:?}"))
            .clone_into(&mut brokers.addresses);
        brokers
    }

    /// Carries out an order such as `kill 1`.
    pub(crate) fn order(&mut self, order: &str) {
        writeln!(self.orders, "{order}").expect("the script takes orders");
        let answer = self.line();
        assert_eq!(answer, "done", "{order}");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("the script answers");
        line.trim().to_owned()
    }
}

impl Drop for Brokers {
    fn drop(&mut self) {
        // The script ends its brokers when it is asked to.
        let asked = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(asked.is_ok(), "kill can be run");
        drop(self.child.wait());
    }
}

/// A topic prefix nobody else has.
pub(crate) fn prefix() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("T{}-{}-{number}", now_us(), std::process::id())
}

/// Four partitions each, on one broker.
pub(crate) fn topics(prefix: &str) -> Topics {
    Topics {
        prefix: prefix.to_owned(),
        partitions: 4,
        replication: 1,
        manage: true,
        inboxes: false,
        feeds: vec![],
    }
}

/// How an instance opens the log.
pub(crate) fn options(prefix: &str, dir: &TempDir) -> Options {
    let client_id = format!("kwq/{}", dir.path().display());
    Options {
        cluster: Cluster { brokers: address().to_owned(), client_id, properties: vec![] },
        topics: topics(prefix),
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

/// How one of several instances is started that share partitions of these topics.
pub(crate) fn instance(prefix: &str, dir: &Path, node: &str) -> Start {
    let dir = dir.join(node);
    std::fs::create_dir_all(&dir).expect("the directory can be made");
    let sets = vec![
        "log.backend=kafka".into(),
        format!("kafka.bootstrap-servers={}", address()),
        format!("topics.prefix={prefix}"),
        "topics.replication=1".into(),
        "topics.inboxes=false".into(),
        "log.partitions=4".into(),
        "kafka.session-timeout=6s".into(),
        format!("node.id={node}"),
    ];
    Start { dir, sets, ..Start::default() }
}

/// Has `kcat` write lines onto a topic, a record each.
pub(crate) fn kcat(topic: &str, args: &[&str], lines: &[u8]) {
    let mut command = Command::new("kcat");
    command.args(["-P", "-b", address(), "-t", topic]).args(args).stdin(Stdio::piped());
    let mut kcat = command.spawn().expect("kcat runs: apt-get install kcat");
    kcat.stdin.take().expect("piped").write_all(lines).expect("kcat reads");
    assert!(kcat.wait().expect("kcat ends").success());
}

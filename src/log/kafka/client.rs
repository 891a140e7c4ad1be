//! The clients of librdkafka with the settings kwq needs, and what they say of themselves.

use crate::log::Error;
use rdkafka::admin::AdminClient;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use std::time::Duration;

/// Batches that may be on their way: [`super::producer`] holds them up before, by their bytes.
/// librdkafka would refuse them, 100,000 by default, and a refusal fails a partition.
pub(super) const BATCHES_MAX: usize = 1 << 20;
/// Longest value of a record of the changelog, B: a batch of the largest event and a turn beside
/// it.
pub(super) const VALUE_BYTES_MAX: usize = 64 << 20;
/// A member of the group that does not poll for so long loses its partitions.
const POLL_INTERVAL_MS: u128 = 60_000;
/// It hears of a rebalance by its next heartbeat, however long its session is.
const HEARTBEAT_MS: u128 = 1_000;

/// So often the clients of the changelog tell of themselves.
const VITALS_MS: &str = "5000";
/// Facility of the client for connections that failed or ended.
const CONNECTION: &str = "FAIL";

/// How to reach the cluster.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// `host:port,…` to begin with.
    pub brokers: String,
    /// Name of this instance in the logs of the brokers.
    pub client_id: String,
    /// More settings of librdkafka: security, mostly. They win over those kwq makes.
    pub properties: Vec<(String, String)>,
}

impl Cluster {
    /// Of all clients. Asking for a topic must not make it: a broker would make it with settings
    /// of its own, which delete records after a week.
    fn common(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", &self.client_id)
            .set("log.connection.close", "false")
            .set("allow.auto.create.topics", "false")
            .set("socket.keepalive.enable", "true")
            .set("reconnect.backoff.max.ms", "1000")
            .set("message.max.bytes", VALUE_BYTES_MAX.to_string())
            .set("receive.message.max.bytes", (2 * VALUE_BYTES_MAX).to_string());
        config
    }

    fn finished(&self, mut config: ClientConfig) -> ClientConfig {
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        config
    }

    /// Of who sends what must not be lost or doubled, and does not wait for more of it.
    fn durable(&self) -> ClientConfig {
        let mut config = self.common();
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", "0")
            .set("compression.type", "lz4");
        config
    }

    /// Of administration and meta-data.
    pub(super) fn admin(&self) -> ClientConfig {
        self.finished(self.common())
    }

    /// Of the producer of the changelog: one batch is one record, in order, and nothing waits for
    /// more of them.
    pub(super) fn producer(&self) -> ClientConfig {
        let mut config = self.durable();
        config
            .set("statistics.interval.ms", VITALS_MS)
            .set("queue.buffering.max.kbytes", "2097151")
            .set("queue.buffering.max.messages", BATCHES_MAX.to_string())
            .set("message.timeout.ms", "30000");
        self.finished(config)
    }

    /// Of the reader. It is no member of a group; librdkafka wants a name for one all the same.
    /// `fetch.queue.backoff.ms` is 1 s by default: so long it would stand still with a full queue.
    pub(super) fn reader(&self) -> ClientConfig {
        let mut config = self.common();
        config
            .set("group.id", "kwq-none")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("fetch.queue.backoff.ms", "5")
            .set("fetch.wait.max.ms", "100")
            .set("queued.min.messages", "10000")
            .set("queued.max.messages.kbytes", "16384");
        self.finished(config)
    }

    /// Of the reader of the changelog, which tells of itself.
    pub(super) fn changelog_reader(&self) -> ClientConfig {
        let mut config = self.reader();
        config.set("statistics.interval.ms", VITALS_MS);
        self.finished(config)
    }

    /// Of a member of the group that proposes owners. Its partitions are paused as soon as they are
    /// assigned; what may be fetched before that is kept small.
    pub(super) fn group(&self, group: &str, client_id: &str, session: Duration) -> ClientConfig {
        let session_ms = session.as_millis();
        let mut config = self.common();
        config
            .set("client.id", client_id)
            .set("group.id", group)
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", session_ms.to_string())
            .set("heartbeat.interval.ms", (session_ms / 10).clamp(1, HEARTBEAT_MS).to_string())
            .set("max.poll.interval.ms", session_ms.max(POLL_INTERVAL_MS).to_string())
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("allow.auto.create.topics", "false")
            .set("fetch.message.max.bytes", "1024")
            .set("queued.min.messages", "1")
            .set("queued.max.messages.kbytes", "64");
        self.finished(config)
    }
}

impl Cluster {
    /// Of what this instance tells the others. A late word is worth nothing, because the next one
    /// is newer; one request at a time, so that an older one never comes behind it.
    pub(super) fn teller(&self) -> ClientConfig {
        let mut config = self.common();
        config
            .set("acks", "1")
            .set("linger.ms", "0")
            .set("max.in.flight.requests.per.connection", "1")
            .set("queue.buffering.max.messages", "16")
            .set("queue.buffering.max.kbytes", "8192")
            .set("compression.type", "lz4")
            .set("message.timeout.ms", "3000");
        self.finished(config)
    }

    /// Of who asks whether any broker is there: connects to all that it knows of, because one that
    /// stands still takes connections, too.
    pub(super) fn asker(&self) -> ClientConfig {
        let mut config = self.common();
        config.set("enable.sparse.connections", "false");
        self.finished(config)
    }

    /// Of what is left for an owner that is away: somebody waits for it.
    pub(super) fn leaver(&self) -> ClientConfig {
        let mut config = self.durable();
        config.set("queue.buffering.max.kbytes", "262144").set("message.timeout.ms", "3000");
        self.finished(config)
    }

    /// Of a producer that has only to be fast: it waits a little to fill its batches.
    pub(super) fn bulk(&self) -> ClientConfig {
        let mut config = self.durable();
        config
            .set("linger.ms", "5")
            .set("batch.size", "1000000")
            .set("queue.buffering.max.kbytes", "262144")
            .set("queue.buffering.max.messages", "500000");
        self.finished(config)
    }

    /// Of who writes a derived topic. Nothing is given up by itself, and after a failure nothing
    /// more is sent: a record that is there means that those before it are.
    pub(super) fn feeder(&self) -> ClientConfig {
        let mut config = self.durable();
        config
            .set("enable.gapless.guarantee", "true")
            .set("linger.ms", "5")
            .set("queue.buffering.max.kbytes", "65536")
            .set("message.timeout.ms", "0");
        self.finished(config)
    }

    /// Of who reads the end of derived topics, and marks how far they have come. It joins no group.
    pub(super) fn marker(&self, group: &str) -> ClientConfig {
        let mut config = self.listener();
        config.set("group.id", group).set("enable.partition.eof", "true");
        self.finished(config)
    }

    /// Of what others tell. A broker that answers nothing any more is left soon: another one may
    /// have the topic by then.
    pub(super) fn listener(&self) -> ClientConfig {
        let mut config = self.reader();
        config
            .set("auto.offset.reset", "earliest")
            .set("socket.timeout.ms", "6000")
            .set("queued.min.messages", "1000")
            .set("queued.max.messages.kbytes", "4096");
        self.finished(config)
    }

    /// Of the reader of inboxes and commands: many topics, so little is fetched ahead of each. What
    /// is fetched is compressed, and the client keeps some 600 B of its own for each message: of
    /// 1 MiB of small ones, its default, it may make 60.
    pub(super) fn inbox(&self) -> ClientConfig {
        let mut config = self.reader();
        config
            .set("auto.offset.reset", "earliest")
            .set("fetch.message.max.bytes", "65536")
            .set("queued.min.messages", "1000")
            .set("queued.max.messages.kbytes", "1024");
        self.finished(config)
    }
}

/// What a client says goes to the log of the process.
#[derive(Clone, Debug, Default)]
pub(super) struct Voice;

impl ClientContext for Voice {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        say(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        complain(&error, reason);
    }
}

impl rdkafka::consumer::ConsumerContext for Voice {}

/// What a client says of itself. Connections that fail are said by each client for each try, for as
/// long as an outage lasts and, because that waits in a queue, longer; the gossip says when an
/// outage begins and ends, and `kwq_kafka_faults_total` counts.
pub(super) fn say(level: RDKafkaLogLevel, facility: &str, message: &str) {
    if facility == CONNECTION {
        tracing::debug!(facility, message, "kafka client");
        return;
    }
    match level {
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error
        | RDKafkaLogLevel::Warning => tracing::warn!(facility, message, "kafka client"),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
            tracing::info!(facility, message, "kafka client");
        }
        RDKafkaLogLevel::Debug => tracing::debug!(facility, message, "kafka client"),
    }
}

/// An error of a client, of which nobody else is told; as with [`say`].
pub(super) fn complain(error: &KafkaError, reason: &str) {
    if passes(error) || error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
        tracing::debug!(%error, reason, "kafka client");
    } else {
        tracing::warn!(%error, reason, "kafka client");
    }
}

/// One connection of several; the client goes on with another one, if there is one.
pub(super) fn passes(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::Resolve
                | RDKafkaErrorCode::OperationTimedOut
        )
    )
}

/// Of administration and meta-data.
///
/// # Errors
/// `Io` = it cannot be had; nobody is reached for it.
pub(super) fn administration(cluster: &Cluster) -> Result<AdminClient<Voice>, Error> {
    let admin = AdminClient::from_config_and_context(&cluster.admin(), Voice);
    admin.map_err(|e| not_set_up(&e.to_string()))
}

/// The client cannot be had: settings it does not know, or that need another build.
fn not_set_up(cause: &str) -> Error {
    let cure = if cause.contains("build") {
        "that needs a build with --features kafka-tls (kafka-kerberos for GSSAPI)"
    } else {
        "look at the settings of librdkafka that the configuration passes on"
    };
    let what = "setting up the Kafka client".to_owned();
    Error::Io { what, cause: format!("{cause}\n{cure}") }
}

/// No broker answers.
pub(super) fn unreached(cluster: &Cluster, error: &KafkaError) -> Error {
    let what = format!("reaching Kafka at {}", cluster.brokers);
    let cure = "check kafka.bootstrap-servers, that a broker listens there, and whether it wants \
                TLS (a build with --features kafka-tls, and its settings)";
    Error::Io { what, cause: format!("{error}\n{cure}") }
}

/// An error of the cluster as one of the log that people see; says what to do.
pub(super) fn refused(what: &str, error: &KafkaError) -> Error {
    let cure = cure(code(error));
    Error::Io { what: what.to_owned(), cause: format!("{error}\n{cure}") }
}

/// The same of an answer that the cluster gave for one topic.
pub(super) fn turned_down(what: &str, code: RDKafkaErrorCode) -> Error {
    Error::Io { what: what.to_owned(), cause: format!("{code}\n{}", cure(Some(code))) }
}

/// An error of the cluster as one of the log that is tried again, and only said in a line of the
/// log of the process.
pub(super) fn brief(what: &str, error: &KafkaError) -> Error {
    Error::Io { what: what.to_owned(), cause: error.to_string() }
}

fn code(error: &KafkaError) -> Option<RDKafkaErrorCode> {
    // The library gives none for these.
    if let KafkaError::AdminOp(code) = error { Some(*code) } else { error.rdkafka_error_code() }
}

/// What to do about words of the cluster.
fn cure(code: Option<RDKafkaErrorCode>) -> &'static str {
    let known = |(codes, _): &&(&[RDKafkaErrorCode], _)| code.is_some_and(|c| codes.contains(&c));
    CURES.iter().find(known).map_or(DOCTOR, |(_, cure)| cure)
}

/// Of nothing that is known better.
pub(super) const DOCTOR: &str = "look at the logs of the brokers; `kwq doctor --config FILE` looks \
                                 at brokers, topics and copies";

const CURES: &[(&[RDKafkaErrorCode], &str)] = &[
    (
        &[
            RDKafkaErrorCode::UnknownTopic,
            RDKafkaErrorCode::UnknownPartition,
            RDKafkaErrorCode::UnknownTopicOrPartition,
            RDKafkaErrorCode::LeaderNotAvailable,
            RDKafkaErrorCode::NotLeaderForPartition,
        ],
        "the brokers are still making it, or have lost it: `kafka-topics.sh --describe` says \
         whether it is there with a leader for each partition; then start again",
    ),
    (
        &[RDKafkaErrorCode::PolicyViolation],
        "the brokers limit what may be made: make the topics as docs/kafka.md, \"Topics\", says \
         and set topics.manage=false, or set log.partitions lower",
    ),
    (
        &[RDKafkaErrorCode::InvalidReplicationFactor],
        "set topics.replication to the number of brokers that are up, or start the others",
    ),
    (
        &[
            RDKafkaErrorCode::TopicAuthorizationFailed,
            RDKafkaErrorCode::GroupAuthorizationFailed,
            RDKafkaErrorCode::ClusterAuthorizationFailed,
        ],
        "grant it to the user of kwq: docs/kafka.md, \"Topics\", lists the rights needed",
    ),
    (
        &[
            RDKafkaErrorCode::BrokerTransportFailure,
            RDKafkaErrorCode::AllBrokersDown,
            RDKafkaErrorCode::OperationTimedOut,
            RDKafkaErrorCode::RequestTimedOut,
            RDKafkaErrorCode::Resolve,
        ],
        "check that all brokers are up, and that this machine reaches them under the addresses \
         they advertise (advertised.listeners); then start again",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster() -> Cluster {
        let (brokers, client_id) = ("a:1".to_owned(), "c".to_owned());
        Cluster { brokers, client_id, properties: Vec::new() }
    }

    #[test]
    fn a_set_up_that_fails_says_what_to_do() {
        let told = |properties: &[(&str, &str)]| {
            let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            let properties = properties.iter().map(owned).collect();
            administration(&Cluster { properties, ..cluster() }).err().map(|e| e.to_string())
        };
        assert_eq!(told(&[]), None);
        let unknown = told(&[("no.such.property", "1")]).unwrap();
        assert!(unknown.contains("\nlook at the settings of librdkafka"), "{unknown}");
        // What librdkafka says in a build without OpenSSL.
        let text = "Invalid value ssl: OpenSSL not available at build time";
        assert!(not_set_up(text).to_string().contains("\nthat needs a build with --features"));
        if let Some(tls) = told(&[("security.protocol", "ssl")]) {
            assert!(tls.contains("--features kafka-tls"), "{tls}");
        }
        let away = unreached(&cluster(), &KafkaError::Canceled).to_string();
        assert!(away.starts_with("reaching Kafka at a:1: "), "{away}");
        assert!(away.contains("\ncheck kafka.bootstrap-servers"), "{away}");
    }

    #[test]
    fn what_the_cluster_refuses_says_what_to_do_and_nothing_of_a_directory() {
        let told = |code| refused("making T", &KafkaError::AdminOp(code)).to_string();
        for (code, cure) in [
            (RDKafkaErrorCode::UnknownPartition, "\nthe brokers are still making it"),
            (RDKafkaErrorCode::PolicyViolation, "set log.partitions lower"),
            (RDKafkaErrorCode::TopicAuthorizationFailed, "lists the rights"),
            (RDKafkaErrorCode::OperationTimedOut, "advertised.listeners"),
            (RDKafkaErrorCode::InvalidConfig, "\nlook at the logs of the brokers"),
        ] {
            assert!(told(code).contains(cure), "{}", told(code));
            assert!(turned_down("making T", code).to_string().contains(cure));
        }
    }

    #[test]
    fn batches_are_not_refused_by_their_number() {
        let messages = cluster().producer().get("queue.buffering.max.messages").unwrap().to_owned();
        assert_eq!(messages, BATCHES_MAX.to_string());
    }

    #[test]
    fn no_client_lets_a_broker_make_topics() {
        let cluster = cluster();
        let writers = [cluster.admin(), cluster.producer(), cluster.teller(), cluster.leaver()];
        let others = [cluster.feeder(), cluster.reader(), cluster.listener(), cluster.marker("g")];
        for config in writers.into_iter().chain(others) {
            assert_eq!(config.get("allow.auto.create.topics"), Some("false"));
        }
    }
}

//! Texts → typed values: units, ranges, relations between keys. Collects every finding.

use super::brokers;
use super::error::Error;
use super::instance::{self, Instance};
use super::kafka_built::KAFKA;
use super::load::{Origin, Values, shown};
use super::memory::auto_limit_bytes;
use super::{
    Backend, Compat, Config, Drain, Durability, Http, Job, Kafka, Limits, Log, LogFormat, Poll,
    Telemetry, Tracker,
};
use crate::model::breakdown::TagCaps;
use crate::model::feed::Feed;
use crate::model::limits as bound;
use crate::model::policy::{Backoff, Jitter, Policy, Share};
use crate::model::time::{parse_duration_ms, parse_size_bytes};
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const DAY: u64 = 24 * 60 * MINUTE;
const MIB: u64 = 1 << 20;
/// Least `queue.low-floor` that is not off.
const LOW_FLOOR_MIN: f64 = 0.000_001;

/// Values and findings; the values are good only without findings.
pub(super) fn resolve(values: &Values) -> (Config, Vec<Error>) {
    let mut read = Reader { values, errors: Vec::new() };
    let log = log(&mut read);
    let config = Config {
        http: http(&mut read),
        tokens_file: Some(read.text("auth.tokens-file"))
            .filter(|path| !path.is_empty())
            .map(PathBuf::from),
        insecure_no_auth: read.boolean("auth.insecure-no-auth"),
        policy: policy(&mut read, log.partitions),
        log,
        kafka: kafka(&mut read),
        instance: instance(&mut read),
        poll: Poll {
            default_wait_ms: read.duration("poll.default-wait", 0..=bound::WAIT_MS_MAX),
            max_parked: read.count("poll.max-parked", 0..=1_000_000),
        },
        job: Job {
            priority: read.integer("job.priority", 1, 9),
            implicit_close_idle_ms: read.duration("job.implicit-close-idle", SECOND..=365 * DAY),
        },
        dead_retention_ms: read.duration("dead.retention", 0..=bound::RETENTION_MS_MAX),
        worker_forget_ms: worker_forget_ms(&mut read),
        tracker: Tracker {
            recent: read.count("tracker.recent", 0..=1_000_000),
            max_lag: read.integer("tracker.max-lag", 1_000, 1_000_000_000),
            tags: TagCaps {
                values: read.count("tags.max-values", 1..=bound::TAG_VALUES_MAX),
                keys: read.count("tags.max-keys", 1..=bound::TAG_KEYS_MAX),
            },
        },
        limits: limits(&mut read),
        memory_limit_bytes: read
            .auto_size("memory.limit", 64 * MIB..=1 << 50)
            .unwrap_or_else(auto_limit_bytes),
        drain: Drain {
            delay_ms: read.duration("drain.delay", 0..=10 * MINUTE),
            timeout_ms: read.duration("drain.timeout", 0..=10 * MINUTE),
        },
        compat: Compat {
            seed_get: read.boolean("compat.seed-get"),
            update_by_worker: read.boolean("compat.update-by-worker"),
        },
        simulator: read.boolean("simulator.enabled"),
        telemetry: Telemetry {
            format: read.choice(
                "telemetry.log-format",
                &[("auto", LogFormat::Auto), ("text", LogFormat::Text), ("json", LogFormat::Json)],
            ),
            level: read.text("telemetry.level").to_owned(),
        },
    };
    if read.errors.is_empty() {
        relations(&config, &mut read);
    }
    (config, read.errors)
}

fn http(read: &mut Reader<'_>) -> Http {
    let timer = 100..=DAY;
    Http {
        listen: read.address("http.listen"),
        max_connections: read.count("http.max-connections", 1..=1_000_000),
        max_per_address: read.count("http.max-per-address", 1..=1_000_000),
        first_byte_ms: read.duration("http.first-byte", timer.clone()),
        head_ms: read.duration("http.head", timer.clone()),
        body_ms: read.duration("http.body", timer.clone()),
        idle_ms: read.duration("http.idle", timer.clone()),
        write_stall_ms: read.duration("http.write-stall", timer),
    }
}

fn log(read: &mut Reader<'_>) -> Log {
    if !KAFKA {
        read.later("log.backend", "kafka", "the Kafka back end");
    }
    read.later("log.lease-gate", "relaxed", "answering before a hand-out is durable");
    // What `later` has answered must not be called an unknown word as well.
    read.choice("log.lease-gate", &[("durable", ()), ("relaxed", ())]);
    let data_dir = PathBuf::from(read.text("log.data-dir"));
    if data_dir.as_os_str().is_empty() {
        read.wrong("log.data-dir", "must name a directory".to_owned());
    }
    Log {
        backend: read
            .choice("log.backend", &[("embedded", Backend::Embedded), ("kafka", Backend::Kafka)]),
        data_dir,
        partitions: read.integer("log.partitions", 1, bound::PARTITIONS_MAX),
        durability: read.choice(
            "log.durability",
            &[("fsync", Durability::Fsync), ("os", Durability::Os), ("memory", Durability::Memory)],
        ),
        segment_bytes: read.size("log.segment", MIB..=4_096 * MIB),
        image_interval_ms: read.duration("log.image-interval", SECOND..=DAY),
        strict: read.boolean("log.strict"),
        disk_reserve: read.auto_size("log.disk-reserve", 0..=1 << 50),
    }
}

/// Settings of librdkafka that are handed on, without their `kafka.`; with `.` for `-`.
const HANDED_ON: &[&str] = &[
    "security-protocol",
    "sasl-mechanism",
    "sasl-username",
    "sasl-password",
    "ssl-ca-location",
    "ssl-certificate-location",
    "ssl-key-location",
    "ssl-key-password",
];

fn kafka(read: &mut Reader<'_>) -> Kafka {
    let properties = HANDED_ON.iter().filter_map(|name| {
        let value = read.text(&format!("kafka.{name}"));
        (!value.is_empty()).then(|| (name.replace('-', "."), value.to_owned()))
    });
    let properties = properties.collect();
    let prefix = read.text("topics.prefix").to_owned();
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if prefix.is_empty() || prefix.len() > 100 || !prefix.chars().all(fits) {
        read.wrong("topics.prefix", "must be 1 to 100 of A-Z a-z 0-9 . _ -".to_owned());
    }
    let brokers = read.text("kafka.bootstrap-servers").to_owned();
    let protocol = read.text("kafka.security-protocol").to_owned();
    if let Some(reason) = brokers::unreachable(&brokers, &protocol) {
        read.wrong("kafka.bootstrap-servers", reason);
    }
    for name in HANDED_ON {
        let key = format!("kafka.{name}");
        let given = !read.text(&key).is_empty();
        if let Some(reason) = brokers::unused(name, &protocol).filter(|_| given) {
            read.wrong(&key, reason);
        }
    }
    let feeds = [(Feed::Dead, "topics.dead"), (Feed::Status, "topics.status")];
    let feeds = feeds.into_iter().filter(|(_, key)| read.boolean(key)).map(|(feed, _)| feed);
    let feeds = feeds.collect();
    Kafka {
        brokers,
        properties,
        session_ms: read.duration("kafka.session-timeout", 6 * SECOND..=MINUTE),
        prefix,
        replication: read.integer("topics.replication", 1, 16),
        manage: read.boolean("topics.manage"),
        inboxes: read.boolean("topics.inboxes"),
        feeds,
    }
}

/// Where instances are listened to if nothing else is said: any free port of loopback.
const ANY_LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

fn instance(read: &mut Reader<'_>) -> Instance {
    let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let id = given(read.text("node.id"));
    let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '@' | '/');
    if id.as_ref().is_some_and(|id| id.len() > bound::NAME_BYTES_MAX || id.contains(odd)) {
        let most = bound::NAME_BYTES_MAX;
        let reason = format!("must be 1 to {most} bytes, without blanks, controls, @ and /");
        read.wrong("node.id", reason);
    }
    let address = given(read.text("node.address"));
    if address.as_ref().is_some_and(|address| !instance::is_address(address)) {
        let reason = "must be HOST or HOST:PORT that other instances can connect to";
        read.wrong("node.address", reason.to_owned());
    }
    let secret = given(read.text("node.secret"));
    let visible = |secret: &String| {
        (16..=256).contains(&secret.len()) && secret.bytes().all(|byte| byte.is_ascii_graphic())
    };
    if secret.as_ref().is_some_and(|secret| !visible(secret)) {
        read.wrong("node.secret", "must be 16 to 256 visible ASCII characters".to_owned());
    }
    Instance { id, internal_listen: read.address("node.internal-listen"), address, secret }
}

/// What must hold between keys of instances.
fn instances(config: &Config, read: &mut Reader<'_>) {
    let Instance { internal_listen: listen, address, secret, .. } = &config.instance;
    if config.log.backend != Backend::Kafka {
        for (key, given) in [
            ("node.internal-listen", *listen != ANY_LOOPBACK),
            ("node.address", address.is_some()),
            ("node.secret", secret.is_some()),
        ] {
            if given {
                let reason = "is for several instances, which need log.backend=kafka";
                read.wrong(key, reason.to_owned());
            }
        }
        return;
    }
    if !listen.ip().to_canonical().is_loopback() && secret.is_none() {
        read.errors.push(Error::InsecureInternal { value: listen.to_string() });
    }
    if listen.ip().is_unspecified() && address.is_none() {
        let reason = "is no address that others could connect to: set node.address as well";
        read.wrong("node.internal-listen", reason.to_owned());
    }
}

fn policy(read: &mut Reader<'_>, partitions: u16) -> Policy {
    let backoff_max = u64::from(bound::BACKOFF_MS_MAX);
    let lease = u64::from(bound::LEASE_MS_MIN)..=u64::from(bound::LEASE_MS_MAX);
    Policy {
        share: read.choice("queue.share", &[("fair", Share::Fair), ("fifo", Share::Fifo)]),
        age_step_ms: read.duration("queue.age-step", 0..=DAY),
        age_max: read.integer("queue.age-max", 1, 8),
        low_every: read.low_every(),
        lease_ms: read.short_duration("lease.default", lease),
        lease_memory_ms: read.duration("lease.memory", SECOND..=DAY),
        retry_enabled: read.boolean("retry.enabled"),
        max_attempts: read.integer("retry.max-attempts", 1, bound::BUDGET_MAX),
        max_crashes: read.integer("retry.max-crashes", 1, bound::BUDGET_MAX),
        backoff: Backoff {
            base_ms: read.short_duration("retry.base", 0..=backoff_max),
            cap_ms: read.short_duration("retry.cap", 0..=backoff_max),
            jitter: read.choice("retry.jitter", &[("full", Jitter::Full), ("none", Jitter::None)]),
        },
        retention_ms: read.duration("job.retention", 0..=bound::RETENTION_MS_MAX),
        key_retention_ms: read
            .duration("idempotency.retention", SECOND..=bound::KEY_RETENTION_MS_MAX),
        partitions,
        head_every: read.integer("affinity.head-every", 1, bound::HEAD_EVERY_MAX),
        learned_keys: read.count("affinity.learned-keys", 0..=bound::AFFINITY_WORKER_MAX),
        worker_forget_ms: worker_forget_ms(read),
    }
}

fn worker_forget_ms(read: &mut Reader<'_>) -> u64 {
    read.duration("worker.forget", SECOND..=7 * DAY)
}

fn limits(read: &mut Reader<'_>) -> Limits {
    Limits {
        body: read.bytes("limits.body", 1_024..=bound::BATCH_BODY_BYTES),
        batch_body: read.bytes("limits.batch-body", 1_024..=bound::BATCH_BODY_BYTES),
        batch_items: read.count("limits.batch-items", 1..=bound::BATCH_ITEMS),
        payload: read.bytes("limits.payload", 1..=bound::PAYLOAD_BYTES_MAX),
        result: read.bytes("limits.result", 1..=bound::PAYLOAD_BYTES_MAX),
        array: read.integer("limits.array", 1, bound::ARRAY_CEILING),
    }
}

/// What must hold between keys.
fn relations(config: &Config, read: &mut Reader<'_>) {
    let backoff = config.policy.backoff;
    if backoff.base_ms > backoff.cap_ms {
        read.wrong("retry.base", "must not be above retry.cap".to_owned());
    }
    let one = config.limits.payload.max(config.limits.result) + bound::LINE_EXTRA_BYTES;
    if config.limits.body < one {
        let reason = "must be at least limits.payload and limits.result, each + 16KiB";
        read.wrong("limits.body", reason.to_owned());
    }
    if config.limits.batch_body < config.limits.body {
        read.wrong("limits.batch-body", "must not be below limits.body".to_owned());
    }
    let reasons = config.durability_reasons();
    if config.log.strict && !reasons.is_empty() {
        let reason = format!("refuses to start with reduced durability ({})", reasons.join(", "));
        read.wrong("log.strict", reason);
    }
    instances(config, read);
    let address = config.http.listen;
    let guarded = config.tokens_file.is_some() || config.insecure();
    if !address.ip().to_canonical().is_loopback() && !guarded {
        let value = address.to_string();
        read.errors.push(Error::InsecureListen { key: "http.listen", value });
    }
}

/// Reads one key after the other; on a finding the value is a placeholder.
struct Reader<'a> {
    values: &'a Values,
    errors: Vec<Error>,
}

impl<'a> Reader<'a> {
    fn text(&self, key: &str) -> &'a str {
        let found = self.values.get(key);
        found.expect("every key that is read stands in config/kwq.toml; a test reads all").0.trim()
    }

    fn origin(&self, key: &str) -> Origin {
        self.values.get(key).map_or(Origin::Default, |(_, origin)| origin.clone())
    }

    fn wrong(&mut self, key: &str, reason: String) {
        let (value, origin) = (shown(key, self.text(key)).to_owned(), self.origin(key));
        self.errors.push(Error::InvalidValue { key: key.to_owned(), value, reason, origin });
    }

    /// A value of the design that this build does not have.
    fn later(&mut self, key: &str, value: &str, feature: &'static str) {
        if self.text(key) == value {
            let (key, origin) = (format!("{key}={value}"), self.origin(key));
            self.errors.push(Error::NotInThisBuild { key, feature, origin });
        }
    }

    fn boolean(&mut self, key: &str) -> bool {
        self.choice(key, &[("false", false), ("true", true)])
    }

    fn choice<T: Copy>(&mut self, key: &str, choices: &[(&str, T)]) -> T {
        let text = self.text(key);
        if let Some((_, value)) = choices.iter().find(|(word, _)| *word == text) {
            return *value;
        }
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        self.wrong(key, format!("must be one of {}", words.join(", ")));
        choices[0].1
    }

    fn address(&mut self, key: &str) -> SocketAddr {
        let text = self.text(key).replacen("localhost:", "127.0.0.1:", 1);
        text.parse().unwrap_or_else(|_| {
            self.wrong(key, "must be ADDRESS:PORT, e.g. 127.0.0.1:8080".to_owned());
            SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
        })
    }

    /// Checks a parsed number; `show` writes bounds in the unit of the key.
    fn within(
        &mut self,
        key: &str,
        parsed: Result<u64, String>,
        range: &RangeInclusive<u64>,
        show: fn(u64) -> String,
    ) -> u64 {
        match parsed {
            Ok(number) if range.contains(&number) => return number,
            Ok(_) => {
                let (least, most) = (show(*range.start()), show(*range.end()));
                self.wrong(key, format!("must be {least} to {most}"));
            }
            Err(reason) => self.wrong(key, reason),
        }
        *range.start()
    }

    fn duration(&mut self, key: &str, range: RangeInclusive<u64>) -> u64 {
        self.within(key, parse_duration_ms(self.text(key)), &range, show_ms)
    }

    fn short_duration(&mut self, key: &str, range: RangeInclusive<u64>) -> u32 {
        u32::try_from(self.duration(key, range)).expect("ranges of short durations fit 32 bits")
    }

    fn size(&mut self, key: &str, range: RangeInclusive<u64>) -> u64 {
        self.within(key, parse_size_bytes(self.text(key)), &range, show_bytes)
    }

    fn auto_size(&mut self, key: &str, range: RangeInclusive<u64>) -> Option<u64> {
        (self.text(key) != "auto").then(|| self.size(key, range))
    }

    fn bytes(&mut self, key: &str, range: RangeInclusive<usize>) -> usize {
        let size = self.size(key, wide(&range));
        usize::try_from(size).expect("the range was given in usize")
    }

    fn count(&mut self, key: &str, range: RangeInclusive<usize>) -> usize {
        let number = self.number(key, &wide(&range));
        usize::try_from(number).expect("the range was given in usize")
    }

    fn integer<T: TryFrom<u64> + Into<u64>>(&mut self, key: &str, least: T, most: T) -> T {
        let number = self.number(key, &(least.into()..=most.into()));
        T::try_from(number).ok().expect("the range was given in this type")
    }

    /// `queue.low-floor`, a share of the hand-outs, as the number of hand-outs between two of it.
    fn low_every(&mut self) -> u32 {
        let key = "queue.low-floor";
        match self.text(key).parse::<f64>() {
            Ok(0.0) => 0,
            Ok(share) if (LOW_FLOOR_MIN..=0.5).contains(&share) => {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "2…1e6"
                )]
                let every = (1.0 / share).ceil() as u32;
                every
            }
            Ok(_) | Err(_) => {
                self.wrong(key, format!("must be 0, or a share {LOW_FLOOR_MIN} to 0.5"));
                0
            }
        }
    }

    fn number(&mut self, key: &str, range: &RangeInclusive<u64>) -> u64 {
        let text = self.text(key);
        let parsed = text.parse().map_err(|_| "must be a whole number".to_owned());
        self.within(key, parsed, range, |number| number.to_string())
    }
}

fn wide(range: &RangeInclusive<usize>) -> RangeInclusive<u64> {
    *range.start() as u64..=*range.end() as u64
}

fn show_ms(ms: u64) -> String {
    match ms {
        0 => "0ms".to_owned(),
        days if days % DAY == 0 => format!("{}d", days / DAY),
        seconds if seconds % SECOND == 0 => format!("{}s", seconds / SECOND),
        rest => format!("{rest}ms"),
    }
}

fn show_bytes(bytes: u64) -> String {
    match bytes {
        0 => "0B".to_owned(),
        mib if mib % MIB == 0 => format!("{}MiB", mib / MIB),
        kib if kib % 1_024 == 0 => format!("{}KiB", kib / 1_024),
        rest => format!("{rest}B"),
    }
}

//! Floor 1: the configuration. `config/kwq.toml` is the only place where a key and its default
//! stand.
//!
//! ```text
//!   config/kwq.toml < file < environment < --set, flags   ── load ──►  texts with their origin
//!                                                         ── resolve ──►  Config: units, ranges
//! ```
//! Must not: know what the values are used for, or accept a key that nothing in this build reads.

mod brokers;
mod error;
mod instance;
#[cfg_attr(not(feature = "kafka"), path = "kafka_absent.rs")]
mod kafka_built;
mod load;
mod memory;
mod names;
mod resolve;
#[cfg(test)]
mod tests;

pub use error::Error;
pub use instance::Instance;
pub use load::{Loaded, Origin, Sources, check_file, default_text, load, shown};

use crate::model::breakdown::TagCaps;
use crate::model::feed::Feed;
use crate::model::policy::Policy;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Everything a node is started with; units resolved, ranges and relations checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// `http.*`.
    pub http: Http,
    /// `auth.tokens-file`; `None` = no tokens.
    pub tokens_file: Option<PathBuf>,
    /// `auth.insecure-no-auth`.
    pub insecure_no_auth: bool,
    /// `log.*`.
    pub log: Log,
    /// `kafka.*` and `topics.*`.
    pub kafka: Kafka,
    /// `node.*`.
    pub instance: Instance,
    /// `queue.share`, `lease.*`, `retry.*`, `job.retention`.
    pub policy: Policy,
    /// `poll.*`.
    pub poll: Poll,
    /// `job.*` beyond the policy.
    pub job: Job,
    /// `dead.retention`, ms.
    pub dead_retention_ms: u64,
    /// `worker.forget`, ms.
    pub worker_forget_ms: u64,
    /// `tracker.*`.
    pub tracker: Tracker,
    /// `limits.*`.
    pub limits: Limits,
    /// `memory.limit`, bytes; `auto` is resolved.
    pub memory_limit_bytes: u64,
    /// `drain.*`.
    pub drain: Drain,
    /// `compat.*`.
    pub compat: Compat,
    /// `simulator.enabled`.
    pub simulator: bool,
    /// `telemetry.*`.
    pub telemetry: Telemetry,
}

/// `http.*`: listeners, caps and timers.
#[derive(Clone, Debug)]
pub struct Http {
    /// `http.listen`.
    pub listen: SocketAddr,
    /// `http.max-connections`.
    pub max_connections: usize,
    /// `http.max-per-address`.
    pub max_per_address: usize,
    /// `http.first-byte`, ms.
    pub first_byte_ms: u64,
    /// `http.head`, ms.
    pub head_ms: u64,
    /// `http.body`, ms.
    pub body_ms: u64,
    /// `http.idle`, ms.
    pub idle_ms: u64,
    /// `http.write-stall`, ms.
    pub write_stall_ms: u64,
}

/// `log.*`.
#[derive(Clone, Debug)]
pub struct Log {
    /// `log.backend`.
    pub backend: Backend,
    /// `log.data-dir`.
    pub data_dir: PathBuf,
    /// `log.partitions`.
    pub partitions: u16,
    /// `log.durability`.
    pub durability: Durability,
    /// `log.segment`, bytes.
    pub segment_bytes: u64,
    /// `log.image-interval`, ms.
    pub image_interval_ms: u64,
    /// `log.strict`.
    pub strict: bool,
    /// `log.disk-reserve`, bytes; `None` = `auto`.
    pub disk_reserve: Option<u64>,
}

/// `log.backend`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Segment files in the data directory.
    Embedded,
    /// Topics of Apache Kafka; the data directory holds a copy.
    Kafka,
}

impl Backend {
    /// The word in the configuration.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Kafka => "kafka",
        }
    }

    /// Several instances may append to it.
    #[must_use]
    pub fn is_shared(self) -> bool {
        match self {
            Self::Embedded => false,
            Self::Kafka => true,
        }
    }
}

/// `kafka.*` and `topics.*`.
#[derive(Clone, Debug)]
pub struct Kafka {
    /// `kafka.bootstrap-servers`.
    pub brokers: String,
    /// Those of `kafka.security-protocol`, `sasl-*` and `ssl-*` that are set, by their names in
    /// librdkafka.
    pub properties: Vec<(String, String)>,
    /// `kafka.session-timeout`, ms.
    pub session_ms: u64,
    /// `topics.prefix`.
    pub prefix: String,
    /// `topics.replication`.
    pub replication: u16,
    /// `topics.manage`.
    pub manage: bool,
    /// `topics.inboxes`.
    pub inboxes: bool,
    /// `topics.dead`, `topics.status`: the derived topics that are written.
    pub feeds: Vec<Feed>,
}

/// `log.durability`: what an acknowledgement means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// `fdatasync` returned 0.
    Fsync,
    /// Written to the page cache.
    Os,
    /// In memory only.
    Memory,
}

impl Durability {
    /// The word in the configuration.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Fsync => "fsync",
            Self::Os => "os",
            Self::Memory => "memory",
        }
    }
}

/// `poll.*`.
#[derive(Clone, Copy, Debug)]
pub struct Poll {
    /// `poll.default-wait`, ms.
    pub default_wait_ms: u64,
    /// `poll.max-parked`.
    pub max_parked: usize,
}

/// `job.*` beyond the policy.
#[derive(Clone, Copy, Debug)]
pub struct Job {
    /// `job.priority`.
    pub priority: u8,
    /// `job.implicit-close-idle`, ms.
    pub implicit_close_idle_ms: u64,
}

/// `tracker.*`.
#[derive(Clone, Copy, Debug)]
pub struct Tracker {
    /// `tracker.recent`, changes.
    pub recent: usize,
    /// `tracker.max-lag`, changes.
    pub max_lag: u64,
    /// `tags.max-values`, `tags.max-keys`.
    pub tags: TagCaps,
}

/// `limits.*`, bytes unless said otherwise.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// `limits.body`.
    pub body: usize,
    /// `limits.batch-body`.
    pub batch_body: usize,
    /// `limits.batch-items`, count.
    pub batch_items: usize,
    /// `limits.payload`.
    pub payload: usize,
    /// `limits.result`.
    pub result: usize,
    /// `limits.array`, count.
    pub array: u64,
}

/// `drain.*`.
#[derive(Clone, Copy, Debug)]
pub struct Drain {
    /// `drain.delay`, ms.
    pub delay_ms: u64,
    /// `drain.timeout`, ms.
    pub timeout_ms: u64,
}

/// `compat.*`.
#[derive(Clone, Copy, Debug)]
pub struct Compat {
    /// `compat.seed-get`.
    pub seed_get: bool,
    /// `compat.update-by-worker`.
    pub update_by_worker: bool,
}

/// `telemetry.*`.
#[derive(Clone, Debug)]
pub struct Telemetry {
    /// `telemetry.log-format`.
    pub format: LogFormat,
    /// `telemetry.level`.
    pub level: String,
}

/// `telemetry.log-format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, else JSON.
    Auto,
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// JSON or not; `None` = decide by the terminal.
    #[must_use]
    pub fn json(self) -> Option<bool> {
        match self {
            Self::Auto => None,
            Self::Text => Some(false),
            Self::Json => Some(true),
        }
    }
}

impl Config {
    /// Everybody who reaches the listener may do everything, and that is meant.
    #[must_use]
    pub fn insecure(&self) -> bool {
        self.insecure_no_auth && self.tokens_file.is_none()
    }

    /// Reasons why less than the default durability is promised; empty = full.
    #[must_use]
    pub fn durability_reasons(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.log.backend == Backend::Embedded && self.log.durability != Durability::Fsync {
            reasons.push(format!("log.durability={}", self.log.durability.word()));
        }
        reasons
    }
}

impl Default for Config {
    /// The embedded `config/kwq.toml`, nothing else.
    fn default() -> Self {
        load::defaults().expect("the embedded config/kwq.toml is valid; a test loads it")
    }
}

//! `kwq serve`: a node in this process, until a signal.

use super::failure::{Failure, Verdict, exit};
use super::{Context, human};
use crate::config::{self, Backend, Config, Loaded, LogFormat, Sources};
use crate::node::{self, Node, StopSignal, Summary};
use clap::Args;
use std::path::{Path, PathBuf};

/// `serve`
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// Configuration file [default: ./kwq.toml if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address to listen on; port 0 takes any [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Where log, images and tracker are kept [default: ./kwq-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Back end of the log: embedded, kafka [default: embedded]
    #[arg(long, value_name = "BACKEND")]
    log: Option<String>,
    /// Kafka brokers to begin with, HOST:PORT,…; used with --log kafka
    #[arg(long, value_name = "LIST")]
    bootstrap_servers: Option<String>,
    /// Partitions of a new data directory, or of new topics [default: 3]
    #[arg(long, value_name = "N")]
    partitions: Option<u16>,
    /// What an acknowledgement means: fsync, os, memory
    #[arg(long, value_name = "MODE")]
    durability: Option<String>,
    /// Listen beyond this machine without any authentication
    #[arg(long)]
    insecure_no_auth: bool,
    /// Refuse to start with reduced durability
    #[arg(long)]
    strict: bool,
    /// Any configuration key (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// Serves until a signal.
pub(super) fn run(args: &ServeArgs, context: &Context) -> Verdict {
    let config = load(args.sources()?)?;
    install_logging(&config)?;
    let hangup = config.tokens_file.is_none();
    let stop =
        StopSignal::install(hangup).map_err(|e| Failure::io("cannot listen for signals", &e))?;
    let node = start(&config, Some(&stop))?;
    // Said before recovery ends: health answers from here on.
    context.out.note(&format!("listening on http://{}", node.addr()));
    let summary = node.wait_ready().map_err(|error| start_failure(&error))?;
    context.out.note(&banner(&config, &summary));
    node.run_until_signal(&stop);
    Ok(exit::DONE)
}

impl ServeArgs {
    fn sources(&self) -> Result<Sources, Failure> {
        let mut sets = pairs(&self.set)?;
        let flags = [
            ("http.listen", self.listen.clone()),
            ("log.data-dir", self.data_dir.clone()),
            ("log.backend", self.log.clone()),
            ("kafka.bootstrap-servers", self.bootstrap_servers.clone()),
            ("log.partitions", self.partitions.map(|n| n.to_string())),
            ("log.durability", self.durability.clone()),
            ("auth.insecure-no-auth", self.insecure_no_auth.then(|| "true".to_owned())),
            ("log.strict", self.strict.then(|| "true".to_owned())),
        ];
        sets.extend(flags.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
        Ok(Sources { file: self.config.clone(), sets, ..Sources::default() })
    }
}

/// `KEY=VALUE` flags.
pub(super) fn pairs(flags: &[String]) -> Result<Vec<(String, String)>, Failure> {
    let split = |flag: &String| {
        let pair = flag.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
        let failure = Failure::usage(format!("--set {flag}: no value"));
        pair.ok_or_else(|| failure.help("write --set KEY=VALUE"))
    };
    flags.iter().map(split).collect()
}

/// The configuration, or what is wrong with it.
pub(super) fn load(sources: Sources) -> Result<Config, Failure> {
    let loaded = config::load(&sources).map_err(|error| config_failure(&error))?;
    match bad_level(&loaded) {
        Some(error) => Err(config_failure(&error)),
        None => Ok(loaded.config),
    }
}

/// The one value whose grammar the configuration leaves to the library that reads it.
pub(super) fn bad_level(loaded: &Loaded) -> Option<config::Error> {
    let key = "telemetry.level";
    let (value, origin) = loaded.origins.get(key).cloned()?;
    let reason = crate::telemetry::check_level(&value).err()?;
    Some(config::Error::InvalidValue { key: key.to_owned(), value, reason, origin })
}

/// A refused configuration.
pub(super) fn config_failure(error: &config::Error) -> Failure {
    let failure = Failure::new(error.code(), error.to_string()).exit(exit::USAGE);
    failure.help(error.help())
}

/// Log lines as the configuration says.
pub(super) fn install_logging(config: &Config) -> Result<(), Failure> {
    let json = match config.telemetry.format {
        LogFormat::Auto => None,
        LogFormat::Json => Some(true),
        LogFormat::Text => Some(false),
    };
    crate::telemetry::install(json, &config.telemetry.level)
        .map_err(|what| Failure::new("telemetry", what))
}

/// Starts a node, or says why not.
pub(super) fn start(config: &Config, stop: Option<&StopSignal>) -> Result<Node, Failure> {
    Node::start(config, stop).map_err(|error| start_failure(&error))
}

/// Why a node did not start.
pub(super) fn start_failure(error: &node::Error) -> Failure {
    let what = error.to_string();
    match error {
        node::Error::Listen(addr, cause) if cause.kind() == std::io::ErrorKind::AddrInUse => {
            let next = addr.port().checked_add(1).unwrap_or(8081);
            Failure::new("address_in_use", format!("cannot listen on {addr}"))
                .help(format!("another process listens there; try --listen {}:{next}", addr.ip()))
        }
        node::Error::Listen(..) => Failure::new("cannot_listen", what)
            .help("--listen takes an address of this machine, e.g. 127.0.0.1:8080"),
        node::Error::Log(log) => log_failure(log),
        node::Error::Tracker(_) => Failure::new("tracker", what)
            .help("the tracker is a cache: move DATA_DIR/tracker away and start again"),
        node::Error::Tokens(_) => Failure::new("tokens_file", what)
            .help("one JSON object a line; `kwq token create` prints one"),
        node::Error::Audit(_) => Failure::new("audit", what)
            .help("look at the owner and the free space of DATA_DIR/audit"),
        node::Error::Start(_) => Failure::new("cannot_start", what)
            .help("`kwq doctor` looks for what is wrong with this machine"),
        node::Error::Strict(reasons) => {
            Failure::new("reduced_durability", what).help(strict_help(reasons))
        }
    }
}

/// What makes an acknowledgement mean what `--strict` asks for.
fn strict_help(reasons: &str) -> &'static str {
    if reasons.contains("log.durability=") {
        "use --durability fsync, or drop --strict"
    } else if reasons.contains("of 3 copies") {
        "three copies need 3 brokers and topics.replication=3, and min.insync.replicas=2 on topics \
         that are there already; or drop --strict"
    } else {
        "set the topics as it says (`kafka-configs.sh --alter`), or drop --strict"
    }
}

/// Refuses a directory that no server has used: a typing error must not make one.
pub(super) fn existing(directory: &Path) -> Result<(), Failure> {
    if crate::node::offline::holds_log(directory) {
        return Ok(());
    }
    let what = format!("{} is no data directory of kwq", directory.display());
    Err(Failure::new("no_data_dir", what).help("name it with --data-dir"))
}

/// What to do about damage in a copy of what Kafka holds.
pub(super) const MOVE_AWAY: &str =
    "it is only a copy: move the data directory away, the server reads it anew from Kafka";

/// Why a stopped server's directory cannot be read.
pub(super) fn stopped_failure(directory: &Path, error: &crate::log::Error) -> Failure {
    let failure = log_failure(error);
    let damaged = matches!(error, crate::log::Error::Damaged { .. });
    if damaged && crate::node::offline::is_copy(directory) {
        return failure.help(MOVE_AWAY);
    }
    failure
}

/// Why a data directory cannot be used.
pub(super) fn log_failure(error: &crate::log::Error) -> Failure {
    let text = error.to_string();
    match text.split_once('\n') {
        Some((what, cure)) => failure_of(error, what).help(cure),
        None => failure_of(error, &text),
    }
}

fn failure_of(error: &crate::log::Error, what: &str) -> Failure {
    use crate::log::Error;
    match error {
        Error::Locked(..) => Failure::new("data_dir_in_use", what)
            .exit(exit::CONFLICT)
            .help("stop that process, or use another --data-dir"),
        Error::Damaged { .. } => Failure::new("log_damaged", what)
            .help("`kwq log verify` names every damage; `kwq log repair --to-offset` cuts it off"),
        Error::UnknownFormat(_) => Failure::new("unknown_format", what)
            .help("use the release that wrote it, or another --data-dir; nothing was touched"),
        Error::Settings(_) => Failure::new("settings", what)
            .exit(exit::CONFLICT)
            .help("start with the settings it was created with, or another --data-dir"),
        Error::Full(_) => Failure::new("disk_full", what).help("free space on that disk"),
        Error::NoRecord(_) => Failure::new("log", what)
            .help("`kwq log dump` shows the positions; a cut needs a segment before it"),
        Error::Fenced(_) => Failure::new("fenced", what)
            .exit(exit::CONFLICT)
            .help("another instance has taken the partition; stop it, or start this one again"),
        Error::Failed(_) => Failure::new("log", what).help(
            "the lines that were logged before say more; `kwq doctor --config FILE` looks at the \
             directory, and at Kafka",
        ),
        Error::Io { .. } => Failure::new("log", what)
            .help("look at the directory's owner and free space; `kwq doctor` checks both"),
    }
}

/// One line about what was started.
pub(super) fn banner(config: &Config, summary: &Summary) -> String {
    format!(
        "kwq {} · {} · {} partitions · restored {} tasks in {:.1} s",
        env!("CARGO_PKG_VERSION"),
        match config.log.backend {
            Backend::Embedded => {
                let dir = config.log.data_dir.display();
                format!("embedded log in {dir} ({})", summary.durability)
            }
            Backend::Kafka => format!("log on Kafka at {}", config.kafka.brokers),
        },
        summary.partitions,
        human::grouped(summary.restored_tasks),
        summary.elapsed_ms as f64 / 1_000.0,
    )
}

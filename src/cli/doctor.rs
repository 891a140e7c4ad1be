//! `kwq doctor` and `kwq healthcheck`.

use super::failure::{Failure, Verdict, exit};
use super::out::{Format, View, left, text};
use super::{Context, human, serve};
use crate::client::{Call, Client, Error};
use crate::clock::SystemClock;
use crate::config::{self, Backend, Config, Log, Sources};
use crate::log::embedded::inspect;
use crate::model::reject::Code;
use crate::node;
use crate::sim::report::DiskSync;
use clap::Args;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// `doctor`
#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// Data directory to look at (its disk is measured)
    #[arg(long, value_name = "DIR", default_value = "./kwq-data")]
    data_dir: PathBuf,
    /// Address a server would listen on
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Configuration file of that server
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// One check.
struct Finding {
    check: &'static str,
    level: &'static str,
    found: String,
    fix: String,
}

const VIEW: View = View {
    id: "check",
    columns: &[
        left("CHECK", |row| text(row, "check")),
        left("", |row| text(row, "level")),
        left("FOUND", |row| text(row, "found")),
        left("FIX", |row| text(row, "fix")),
    ],
};

/// Exit 0 when the server is ready, else 1.
pub(super) async fn healthcheck(context: &Context) -> Verdict {
    let client = context.client_with(0, 0)?;
    match client.send_once(&Call::get("/kwq/health/ready")).await {
        Ok(answer) => {
            context.out.detail(&answer.text());
            Ok(exit::DONE)
        }
        Err(crate::client::Error::Refused(problem)) if problem.status == 503 => {
            Err(Failure::new("not_ready", "the server does not serve now")
                .help("it is starting or draining; GET /kwq/health/ready says which"))
        }
        Err(error) => Err(Failure::from(error).exit(exit::FAILED)),
    }
}

/// Runs all checks; exit 8 when one fails.
pub(super) async fn run(args: DoctorArgs, context: &Context) -> Verdict {
    let client = context.client_with(0, 0)?;
    let sources = Sources { file: args.config, ..Sources::default() };
    let loaded = config::load(&sources).map_err(|error| serve::config_failure(&error))?;
    let config = loaded.config;
    let Config { log, instance, .. } = &config;
    let (finding, serving) = server(&client).await;
    let mut findings =
        vec![finding, port("port", args.listen, serving, "use another address: --listen")];
    // Any free port is free.
    if log.backend == Backend::Kafka && instance.internal_listen.port() != 0 {
        let fix = "use another node.internal-listen";
        findings.push(port("internal port", instance.internal_listen, serving, fix));
    }
    let directory = existing(&args.data_dir);
    findings.extend([space(&directory, log), sync(&directory), files(), clock()]);
    if log.backend == Backend::Kafka {
        findings.extend(kafka(&config));
    }
    let fails = |finding: &&Finding| finding.level == "fail";
    let all = context.out.format() != Format::Quiet;
    let shown = findings.iter().filter(|finding| all || fails(finding));
    let rows: Vec<Box<RawValue>> = shown.map(Finding::row).collect();
    context.out.rows(&rows, &VIEW);
    let failed = findings.iter().any(|finding| fails(&finding));
    Ok(if failed { exit::CHECK } else { exit::DONE })
}

impl Finding {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, level: "ok", found: found.into(), fix: String::new() }
    }

    fn warn(check: &'static str, found: impl Into<String>, fix: &str) -> Self {
        Self { check, level: "warn", found: found.into(), fix: fix.to_owned() }
    }

    fn fail(check: &'static str, found: impl Into<String>, fix: &str) -> Self {
        Self { check, level: "fail", found: found.into(), fix: fix.to_owned() }
    }

    fn row(&self) -> Box<RawValue> {
        let row = json!({
            "check": self.check, "level": self.level, "found": self.found, "fix": self.fix
        });
        RawValue::from_string(row.to_string()).expect("a printed value is JSON")
    }
}

/// The running server, and whether it serves.
async fn server(client: &Client) -> (Finding, bool) {
    match client.send_once(&Call::get("/kwq/health/ready")).await {
        Ok(answer) => (ready(client.url(), &answer.read().unwrap_or_default()), true),
        Err(Error::Unreachable { url, .. }) => {
            let found = format!("nobody listens at {url}");
            (Finding::warn("server", found, "start one: kwq dev"), false)
        }
        Err(error) => {
            (Finding::fail("server", error.to_string(), "look at the server's log"), false)
        }
    }
}

/// What a server that serves says of itself: its settings may be others than those read here.
fn ready(url: &str, body: &Value) -> Finding {
    let word = |member: &str| body.get(member).and_then(Value::as_str);
    if let Some(code) = word("submitsRefused") {
        let fix = if code == Code::DiskFull.word() {
            "free space on its disk, or lower its log.disk-reserve".to_owned()
        } else {
            format!("{url}/docs/errors/{code} says what it means")
        };
        return Finding::fail("server", format!("{url} refuses submits: {code}"), &fix);
    }
    if word("durability") == Some("reduced") {
        let reasons = body.get("durabilityReasons").and_then(Value::as_array);
        let reasons: Vec<_> = reasons.into_iter().flatten().filter_map(Value::as_str).collect();
        let found = format!("ready, with reduced durability: {}", reasons.join("; "));
        let fix = "the default of what it names; of copies: 3 brokers, topics.replication=3";
        return Finding::warn("server", found, fix);
    }
    Finding::ok("server", format!("{url} is ready"))
}

fn port(check: &'static str, listen: SocketAddr, serving: bool, fix: &str) -> Finding {
    match TcpListener::bind(listen) {
        Ok(_) => Finding::ok(check, format!("{listen} is free")),
        Err(_) if serving => Finding::ok(check, format!("{listen} is served")),
        Err(error) => Finding::fail(check, format!("{listen}: {error}"), fix),
    }
}

/// The brokers and topics of that configuration, and how many copies they keep.
fn kafka(config: &Config) -> Vec<Finding> {
    let brokers = &config.kafka.brokers;
    let seen = match node::examine_kafka(config) {
        Ok(seen) => seen,
        Err(error) => {
            let text = error.to_string();
            let (found, fix) = text.split_once('\n').unwrap_or((&text, "see docs/kafka.md"));
            return vec![Finding::fail("kafka", found, fix)];
        }
    };
    let prefix = &config.kafka.prefix;
    let topics = match seen.missing {
        0 => Finding::ok("topics", format!("{prefix}-… are there")),
        missing if config.kafka.manage => {
            Finding::ok("topics", format!("{missing} of {prefix}-… are made by the first start"))
        }
        missing => {
            let found = format!("{missing} of {prefix}-… are missing that one can do without");
            Finding::warn("topics", found, "make them: docs/kafka.md, \"Topics\"")
        }
    };
    let mut findings = vec![Finding::ok("kafka", format!("{brokers} answers")), topics];
    findings.extend(seen.gone.iter().map(|gone| {
        let fix = "start instances that have kept them; docs/kafka.md, \"What Kafka may not lose\"";
        Finding::fail("changelog", gone, fix)
    }));
    findings.extend(seen.untaken.iter().map(|untaken| {
        let fix = "let producers write to the first ones only";
        Finding::fail("inboxes", untaken, fix)
    }));
    match seen.reduced.as_slice() {
        [] => findings.push(Finding::ok("replication", "a record outlives any one broker")),
        lacks => findings.extend(lacks.iter().map(|lack| {
            let fix = "3 brokers, topics.replication=3, min.insync.replicas=2";
            if config.log.strict {
                let found = format!("{lack}, and log.strict=true: it refuses to start");
                return Finding::fail("replication", found, fix);
            }
            Finding::warn("replication", lack, fix)
        })),
    }
    findings
}

/// The directory, or the nearest one above that exists.
fn existing(path: &Path) -> PathBuf {
    let found = path.ancestors().find(|path| !path.as_os_str().is_empty() && path.is_dir());
    found.map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// Above the reserve, less than this may be filled in a day of work.
const SPACE_LOW: u64 = 10 << 30;

/// By the rule of the server, under the settings that one started here would have.
fn space(directory: &Path, log: &Log) -> Finding {
    let space = inspect::space(directory, log.segment_bytes, log.disk_reserve);
    let Some(space) = space else {
        let found = format!("{} cannot be asked", directory.display());
        return Finding::fail("disk space", found, "use another --data-dir");
    };
    let (free, reserve) = (human::bytes(space.free), human::bytes(space.reserve));
    let at = directory.display();
    let found = format!("{free} free at {at}; a server started here keeps {reserve} in reserve");
    match space.free.checked_sub(space.reserve) {
        None => {
            let fix = "submits answer 507: free space, use another disk, or set log.disk-reserve";
            Finding::fail("disk space", found, fix)
        }
        Some(0..SPACE_LOW) => {
            Finding::warn("disk space", found, "submits stop when only the reserve is free")
        }
        Some(SPACE_LOW..) => Finding::ok("disk space", found),
    }
}

fn sync(directory: &Path) -> Finding {
    match DiskSync::measure(directory, 100) {
        Ok(sync) => {
            let found = format!("fdatasync of 4 KiB: {sync}");
            match sync.p99_us {
                0..20_000 => Finding::ok("disk sync", found),
                20_000.. => Finding::warn("disk sync", found, "a slow or shared disk: batch more"),
            }
        }
        Err(error) => {
            let found = format!("{}: {error}", directory.display());
            Finding::fail("disk sync", found, "the directory must be writable")
        }
    }
}

fn files() -> Finding {
    let limits = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    match limits.current {
        Some(n @ 0..12_000) => {
            let fix = "ulimit -n 65536 (10,000 connections and the log's files)";
            Finding::warn("open files", format!("{n} at most"), fix)
        }
        Some(n) => Finding::ok("open files", format!("{} at most", human::grouped(n))),
        None => Finding::ok("open files", "no limit"),
    }
}

/// 2026-01-01; a clock before that was never set.
const PLAUSIBLE_MS: u64 = 1_767_225_600_000;

fn clock() -> Finding {
    let clock = SystemClock::shared();
    let before = clock.now();
    std::thread::sleep(Duration::from_millis(50));
    let after = clock.now();
    let wall = after.wall.since(before.wall);
    let found = before.wall.rfc3339();
    if before.wall.0 < PLAUSIBLE_MS {
        return Finding::fail("clock", found, "set the clock: stamps and delays would be wrong");
    }
    if wall.abs_diff(after.tick.since(before.tick)) > 20 {
        return Finding::warn("clock", format!("{found}, jumping"), "run one time service only");
    }
    Finding::ok("clock", found)
}

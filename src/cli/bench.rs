//! `kwq bench load`: drives a server over HTTP, counts every task, and puts the disk's own sync
//! time of the same minute beside each rate.

mod compare;
#[cfg_attr(not(feature = "kafka"), path = "bench/no_kafka.rs")]
mod kafka;
mod mixed;
mod server;
mod show;

use super::Context;
use super::failure::{Failure, Verdict, exit};
use super::out::text;
use crate::sim::idle::{self, Idle};
use crate::sim::keys::{Fits, Keys};
use crate::sim::report::{DiskSync, ProcessUse, Quantiles};
use crate::sim::tally::Books;
use crate::sim::wire::Wire;
use crate::sim::workload::{Phase, Plan, Run};
use clap::{Args, Subcommand, ValueEnum};
use compare::Compared;
use serde::Serialize;
use serde_json::Value;
use server::{Server, Spawn};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

/// Verbs of measuring.
#[derive(Debug, Subcommand)]
pub(super) enum BenchVerb {
    /// Closed-loop load with exact counting of lost and doubled tasks
    Load(LoadArgs),
    /// Everything at once with exact books: priorities, weights, affinity, failures, lost workers,
    /// pauses, a cancel, a redrive
    Mixed(mixed::MixedArgs),
    /// REST submits into kwq on Kafka against a plain Kafka client, on one broker in one run
    Kafka(kafka::KafkaArgs),
}

/// `bench load`
#[derive(Debug, Args)]
pub(super) struct LoadArgs {
    /// Start a server of its own on an empty directory, instead of using --url
    #[arg(long)]
    spawn: bool,
    /// Where that server keeps its data, and whose disk is timed [default: a temporary directory]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Leave the data of --spawn behind
    #[arg(long)]
    keep: bool,
    /// Durability of --spawn: fsync, os, memory
    #[arg(long, default_value = "fsync", value_name = "MODE")]
    durability: String,
    /// Configuration key of --spawn (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Process whose memory is read (known for --spawn)
    #[arg(long)]
    pid: Option<u32>,
    /// Tasks in all
    #[arg(long, default_value_t = 100_000)]
    tasks: u64,
    /// Tasks of one call
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    batch: u64,
    /// Connections, each a worker
    #[arg(long, default_value_t = 16, value_name = "N")]
    connections: usize,
    /// Bytes of a payload
    #[arg(long, default_value_t = 64, value_name = "BYTES")]
    payload: usize,
    /// Distinct affinity keys, one a task by chance; 0 = none
    #[arg(long, default_value_t = 0, value_name = "N")]
    affinity_keys: u32,
    /// How uneven they are: the k-th is k^SKEW times rarer than the first
    #[arg(long, default_value_t = 0.0, value_name = "SKEW")]
    affinity_skew: f64,
    /// Instead of the phases so many rounds of life cycles with affinity on and off in turn, on two
    /// servers (--spawn only): both rates, their ratio and the share of hits
    #[arg(long, default_value_t = 0, value_name = "N")]
    affinity_rounds: u32,
    /// What to run, in order
    #[arg(long, alias = "phase", value_enum, value_delimiter = ',')]
    #[arg(default_value = "submit,consume,complete")]
    phases: Vec<PhaseName>,
    /// One task a call
    #[arg(long)]
    single: bool,
    /// Completions ride on the next consume (lifecycle)
    #[arg(long)]
    merged: bool,
    /// Take only so many tasks in the consume phase: the hand-out rate at a depth
    #[arg(long, value_name = "N")]
    take: Option<u64>,
    /// Tasks that are pending, beside those of --tasks, before a lifecycle begins and when it ends
    #[arg(long, default_value_t = 0, value_name = "N")]
    depth: u64,
    /// Parked consumes of the idle phase
    #[arg(long, default_value_t = 1_000, value_name = "N")]
    polls: usize,
    /// Rounds of the wake phase
    #[arg(long, default_value_t = 200, value_name = "N")]
    rounds: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum PhaseName {
    /// Submit all tasks
    Submit,
    /// Hand out
    Consume,
    /// Complete what was handed out
    Complete,
    /// Submit, consume and complete in turn on every connection
    Lifecycle,
    /// Memory and threads of parked consumes
    Idle,
    /// Submit → answer of a parked consume
    Wake,
    /// Kill -9, start again, first hand-out (--spawn only)
    Restart,
}

/// Everything a run has to say.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    version: &'static str,
    tasks: u64,
    batch: u64,
    connections: usize,
    payload_bytes: usize,
    durability: String,
    cores: usize,
    load_before: String,
    load_after: String,
    disk_sync_before: Option<DiskSync>,
    disk_sync_after: Option<DiskSync>,
    phases: Vec<Phase>,
    memory: Option<Memory>,
    idle: Option<Idle>,
    wake: Option<Quantiles>,
    restart: Option<Restart>,
    affinity: Vec<Fits>,
    compared: Option<Compared>,
    books: Vec<Books>,
    not_tested: &'static str,
}

/// Memory of the fill.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Memory {
    before: ProcessUse,
    after: ProcessUse,
    bytes_per_pending_task: f64,
}

/// A start after kill -9; page cache warm.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Restart {
    listen_ms: u64,
    ready_ms: u64,
    first_hand_out_ms: u64,
}

/// What no run of this command can say.
const NOT_TESTED: &str =
    "network between hosts, replication, real worker code, other disks, cold cache";
/// Syncs timed before and after.
const SYNC_ROUNDS: u64 = 500;

struct Bench<'a> {
    args: LoadArgs,
    context: &'a Context,
    server: Option<Server>,
    addr: SocketAddr,
    token: Option<String>,
    directory: PathBuf,
    run: Option<Run>,
    drained: bool,
    report: Report,
}

/// Measures; exit 8 when a task was lost or doubled.
pub(super) async fn run(verb: BenchVerb, context: &Context) -> Verdict {
    let args = match verb {
        BenchVerb::Load(args) => args,
        BenchVerb::Mixed(args) => return mixed::run(args, context).await,
        BenchVerb::Kafka(args) => return kafka::run(args, context).await,
    };
    let mut bench = Bench::begin(args, context).await?;
    let outcome = bench.phases().await;
    let books_are_clean = bench.finish()?;
    outcome?;
    Ok(if books_are_clean { exit::DONE } else { exit::CHECK })
}

impl<'a> Bench<'a> {
    async fn begin(args: LoadArgs, context: &'a Context) -> Result<Self, Failure> {
        if args.affinity_rounds > 0 && !(args.spawn && args.affinity_keys > 0) {
            return Err(Failure::usage(
                "rounds with affinity on and off need servers of their own",
            )
            .help("add --spawn and --affinity-keys N"));
        }
        if args.phases.contains(&PhaseName::Restart) && !args.spawn {
            return Err(Failure::usage("the restart phase kills its server").help("add --spawn"));
        }
        raise_file_limit();
        let directory = match &args.dir {
            Some(directory) => directory.clone(),
            None => std::env::temp_dir().join(format!("kwq-bench-{}", std::process::id())),
        };
        std::fs::create_dir_all(&directory)
            .map_err(|e| Failure::io("cannot make the directory", &e))?;
        let mut server = None;
        let addr = if args.spawn {
            let data_dir = directory.join("data");
            if data_dir.exists() {
                let what = format!("{} holds the data of another run", data_dir.display());
                return Err(Failure::usage(what).help("give an empty --dir"));
            }
            let (durability, sets) = (args.durability.clone(), args.set.clone());
            let started = Server::start(Spawn { data_dir, durability, sets }).await?;
            let addr = started.addr();
            server = Some(started);
            addr
        } else {
            address(context.url())?
        };
        let token = context.token()?;
        let report = Report {
            version: env!("CARGO_PKG_VERSION"),
            tasks: args.tasks,
            batch: if args.single { 1 } else { args.batch },
            connections: args.connections,
            payload_bytes: args.payload,
            durability: durability(addr, token.as_deref()).await,
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            load_before: load_average(),
            disk_sync_before: DiskSync::measure(&directory, SYNC_ROUNDS).ok(),
            not_tested: NOT_TESTED,
            ..Report::default()
        };
        Ok(Self {
            args,
            context,
            server,
            addr,
            token,
            directory,
            run: None,
            drained: false,
            report,
        })
    }

    async fn phases(&mut self) -> Result<(), Failure> {
        if self.args.affinity_rounds > 0 {
            return self.compare().await;
        }
        for name in self.args.phases.clone() {
            self.context.out.note(&format!("phase {name:?} …").to_lowercase());
            let what = format!("phase {name:?}");
            self.phase(name).await.map_err(|error| broken(&what, &error))?;
        }
        self.fits().await;
        self.close_run();
        Ok(())
    }

    /// Keeps what the server counted for the run; a server that is gone shows elsewhere.
    async fn fits(&mut self) {
        if let Some(run) = self.run.as_ref().filter(|_| self.args.affinity_keys > 0) {
            self.report.affinity.extend(run.fits().await.ok());
        }
    }

    async fn phase(&mut self, name: PhaseName) -> io::Result<()> {
        match name {
            PhaseName::Submit => {
                self.close_run();
                let before = self.usage();
                let run = self.new_run("fill", 0);
                let phase = run.submit().await?;
                self.run = Some(run);
                self.memory(before);
                self.report.phases.push(phase);
            }
            PhaseName::Consume => {
                let most = self.args.take.unwrap_or(self.args.tasks);
                let phase = self.current()?.consume(most).await?;
                self.drained = most >= self.args.tasks;
                self.report.phases.push(phase);
            }
            PhaseName::Complete => {
                let phase = self.current()?.complete().await?;
                self.report.phases.push(phase);
            }
            PhaseName::Lifecycle => {
                self.close_run();
                let depth = self.args.depth;
                let run = self.new_run("life", depth);
                if depth > 0 {
                    run.fill().await?;
                }
                let phase = run.lifecycle().await;
                self.run = Some(run);
                self.drained = phase.is_ok() && depth == 0;
                self.report.phases.push(phase?);
            }
            PhaseName::Idle => {
                let pid = self.pid();
                let token = self.token.as_deref();
                let idle = idle::park(self.addr, token, self.args.polls, pid).await?;
                self.report.idle = Some(idle);
            }
            PhaseName::Wake => {
                let token = self.token.as_deref();
                let wake = idle::wake(self.addr, token, self.args.rounds).await?;
                self.report.wake = Some(wake);
            }
            PhaseName::Restart => self.restart().await?,
        }
        Ok(())
    }

    fn new_run(&self, kind: &str, depth: u64) -> Run {
        Run::new(self.plan(kind, depth, self.addr))
    }

    fn plan(&self, kind: &str, depth: u64, addr: SocketAddr) -> Plan {
        let id = crate::client::fresh_name();
        Plan {
            addr,
            token: self.token.clone(),
            job: format!("bench-{kind}-{id}"),
            tasks: self.args.tasks + depth,
            batch: self.args.batch,
            connections: self.args.connections,
            payload_bytes: self.args.payload,
            single: self.args.single,
            merged: self.args.merged,
            keys: Keys::new(self.args.affinity_keys, self.args.affinity_skew),
            depth,
        }
    }

    fn current(&self) -> io::Result<&Run> {
        self.run.as_ref().ok_or_else(|| io::Error::other("this phase needs a submit before it"))
    }

    fn close_run(&mut self) {
        if let Some(run) = self.run.take() {
            self.report.books.push(run.books(self.drained));
        }
        self.drained = false;
    }

    fn pid(&self) -> Option<u32> {
        self.server.as_ref().map(Server::pid).or(self.args.pid)
    }

    fn usage(&self) -> Option<ProcessUse> {
        self.pid().and_then(ProcessUse::of)
    }

    fn memory(&mut self, before: Option<ProcessUse>) {
        let (Some(before), Some(after)) = (before, self.usage()) else { return };
        let grown = after.rss_bytes.saturating_sub(before.rss_bytes);
        let bytes_per_pending_task = grown as f64 / self.args.tasks.max(1) as f64;
        self.report.memory = Some(Memory { before, after, bytes_per_pending_task });
    }

    async fn restart(&mut self) -> io::Result<()> {
        let server = self.server.as_mut().ok_or_else(|| io::Error::other("no own server"))?;
        let (watch, listen_ms) = server.restart().await?;
        self.addr = server.addr();
        let ms = |us: u64| us / 1_000;
        if let Some(run) = self.run.as_mut() {
            run.move_to(self.addr);
            run.first_hand_out().await?;
        }
        let first_hand_out_ms = ms(watch.us());
        server.wait_ready().await?;
        let ready_ms = ms(watch.us());
        self.report.restart = Some(Restart { listen_ms, ready_ms, first_hand_out_ms });
        Ok(())
    }

    /// Prints and cleans up. True: the books are clean.
    fn finish(mut self) -> Result<bool, Failure> {
        self.close_run();
        self.report.disk_sync_after = DiskSync::measure(&self.directory, SYNC_ROUNDS).ok();
        self.report.load_after = load_average();
        show::show(&self.report, self.context);
        if let Some(server) = self.server.take() {
            server.stop();
        }
        if !self.args.keep && self.args.spawn {
            let removed = match &self.args.dir {
                Some(directory) => std::fs::remove_dir_all(directory.join("data")),
                None => std::fs::remove_dir_all(&self.directory),
            };
            removed.map_err(|error| Failure::io("cannot remove the data", &error))?;
        }
        Ok(self.report.books.iter().all(Books::clean))
    }
}

fn broken(what: &str, error: &io::Error) -> Failure {
    let failure = Failure::new("bench", format!("{what}: {error}"));
    if error.kind() == io::ErrorKind::ConnectionRefused {
        return failure
            .exit(exit::AWAY)
            .help("nobody listens there; start a server or use --spawn");
    }
    failure.help("the report shows what was measured before; look at the server's log")
}

fn address(url: &str) -> Result<SocketAddr, Failure> {
    let wrong = || Failure::usage(format!("`{url}` is no address")).help("write http://HOST:PORT");
    let host = url.trim_end_matches('/').strip_prefix("http://").ok_or_else(wrong)?;
    let mut addresses = host.to_socket_addrs().map_err(|_| wrong())?;
    addresses.next().ok_or_else(wrong)
}

/// What the server itself says about its durability.
async fn durability(addr: SocketAddr, token: Option<&str>) -> String {
    let mut wire = Wire::new(addr, token);
    let Ok(reply) = wire.get("/kwq").await else { return "durability unknown".to_owned() };
    let about: Value = serde_json::from_slice(reply.body).unwrap_or_default();
    format!("{} log, durability {}", text(&about, "backend"), text(&about, "durability"))
}

fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

/// Thousands of parked connections need as many descriptors; what is not granted shows as an error
/// later.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _kept = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

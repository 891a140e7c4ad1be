//! Floor 6: the command line. Parses, calls one file per verb, maps failures to exit codes.
//!
//! Must not: hold logic of the queue, or reach the engine but through HTTP (`serve` and `dev` start
//! a node).

mod bench;
mod breakdown;
mod config;
mod dev;
mod dlq;
mod doctor;
mod dry;
mod explain;
mod failure;
mod help;
mod human;
mod jobs;
mod lists;
mod logs;
mod operations;
mod out;
mod queues;
mod results;
mod serve;
mod simulate;
mod state;
mod submit;
mod tasks;
mod tokens;
mod top;
mod work;
mod workers;

#[cfg(test)]
mod tests;

use crate::client::{Client, Options};
use clap::{Args, Parser, Subcommand};
use failure::{Failure, Verdict};
use out::{Format, Out};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "kwq",
    version,
    about = "Compute-grid dispatcher and task tracker",
    after_help = "Start with `kwq dev`: it runs a server, workers and a demo job on this machine.",
    disable_help_subcommand = true,
    max_term_width = 100
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

/// Flags every verb knows.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global")]
struct Global {
    /// Server to talk to [default: http://127.0.0.1:8080]
    #[arg(long, global = true, env = "KWQ_URL", hide_env_values = true)]
    url: Option<String>,
    /// Bearer token (or a file that holds it, named by KWQ_TOKEN_FILE)
    #[arg(long, global = true, env = "KWQ_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Shape of the output [default: table on a terminal, else ndjson]
    #[arg(short = 'o', long = "output", global = true, value_enum, value_name = "FORMAT")]
    output: Option<Format>,
    /// Limit of one request [default: 30s]; with `job wait`: of the whole wait [default: none]
    #[arg(long, global = true, value_parser = human::duration_flag, value_name = "DURATION")]
    timeout: Option<Duration>,
    /// No remarks and no progress
    #[arg(short, long, global = true)]
    quiet: bool,
    /// More remarks
    #[arg(short, long, global = true)]
    verbose: bool,
    /// Do not ask before destructive verbs
    #[arg(short, long, global = true)]
    yes: bool,
    /// Show what a destructive verb would hit, and stop
    #[arg(long, global = true)]
    dry_run: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run a server
    Serve(serve::ServeArgs),
    /// Run a server, local workers and a demo job; nothing to set up
    Dev(dev::DevArgs),
    /// Submit tasks: one, an array, or a file of NDJSON or JSON
    Submit(submit::SubmitArgs),
    /// Work on tasks: payload on stdin, stdout is the result
    Work(work::WorkArgs),
    /// Jobs
    #[command(subcommand)]
    Job(jobs::JobVerb),
    /// Single tasks
    #[command(subcommand)]
    Task(tasks::TaskVerb),
    /// Priority levels
    #[command(subcommand)]
    Queue(queues::QueueVerb),
    /// Workers
    #[command(subcommand)]
    Worker(workers::WorkerVerb),
    /// Dead letters
    #[command(subcommand)]
    Dlq(dlq::DlqVerb),
    /// Redrives and purges, running or ended
    #[command(subcommand)]
    Op(operations::OpVerb),
    /// Show the numbers of a server, live
    Top(top::TopArgs),
    /// Put a simulated load on a server whose simulator is on
    Simulate(simulate::SimulateArgs),
    /// Measure a server
    #[command(subcommand)]
    Bench(bench::BenchVerb),
    /// State of a stopped or running server
    #[command(subcommand)]
    State(state::StateVerb),
    /// The log of a stopped server
    #[command(subcommand)]
    Log(logs::LogVerb),
    /// Configuration
    #[command(subcommand)]
    Config(config::ConfigVerb),
    /// Tokens for the server's tokens file
    #[command(subcommand)]
    Token(tokens::TokenVerb),
    /// Check this machine and the server, with a fix for each finding
    Doctor(doctor::DoctorArgs),
    /// Exit 0 when the server is ready, else 1
    Healthcheck,
    /// Print a completion script
    Completions {
        /// Shell
        shell: clap_complete::Shell,
    },
    /// Write a man page for each verb
    Man {
        /// Directory; made if it is missing
        dir: PathBuf,
    },
    /// Explain a verb or an error code
    Help {
        /// Verb or error code
        what: Option<String>,
    },
}

/// Where `kwq serve` and `kwq dev` listen.
const DEFAULT_URL: &str = "http://127.0.0.1:8080";
/// Limit of one request.
const REQUEST: Duration = Duration::from_secs(30);

/// What a verb works with.
struct Context {
    global: Global,
    out: Out,
}

impl Context {
    /// A client as the flags say.
    fn client(&self) -> Result<Client, Failure> {
        self.client_with(5, 0)
    }

    fn client_with(&self, retries: u32, connect_retries: u32) -> Result<Client, Failure> {
        let timeout = self.global.timeout.unwrap_or(REQUEST);
        Ok(Client::new(Options { retries, connect_retries, ..self.options(timeout)? })?)
    }

    /// A client whose requests have their usual time, whatever `--timeout` says.
    fn patient_client(&self) -> Result<Client, Failure> {
        Ok(Client::new(Options { retries: 5, ..self.options(REQUEST)? })?)
    }

    fn options(&self, timeout: Duration) -> Result<Options, Failure> {
        Ok(Options {
            url: self.url().to_owned(),
            token: self.token()?,
            timeout,
            dry_run: self.global.dry_run,
            ..Options::default()
        })
    }

    /// The token of the flags, the environment, or the file it names.
    fn token(&self) -> Result<Option<String>, Failure> {
        let text = match &self.global.token {
            Some(token) => token.clone(),
            None => {
                let Some(path) = std::env::var_os("KWQ_TOKEN_FILE").map(PathBuf::from) else {
                    return Ok(None);
                };
                std::fs::read_to_string(&path)
                    .map_err(|e| Failure::io(&format!("cannot read {}", path.display()), &e))?
            }
        };
        let token = text.trim();
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            let what = "the token has a space or another character that no token has";
            return Err(Failure::usage(what.to_owned())
                .help("give it by --token, KWQ_TOKEN or KWQ_TOKEN_FILE, as it was shown"));
        }
        Ok(Some(token.to_owned()))
    }

    /// The server the flags name.
    fn url(&self) -> &str {
        self.global.url.as_deref().unwrap_or(DEFAULT_URL)
    }

    /// Asks before something is destroyed. `Ok(false)`: a dry run, or a no.
    fn confirm(&self, what: &str) -> Result<bool, Failure> {
        if self.global.dry_run {
            self.out.note(&format!("dry run: would {what}"));
            return Ok(false);
        }
        if self.global.yes {
            return Ok(true);
        }
        if !out::can_ask() {
            return Err(Failure::usage(format!("this would {what}"))
                .help("add --yes to do it, or --dry-run to only look"));
        }
        Ok(out::asked(&format!("{what}?")))
    }
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return ExitCode::from(help::usage_error(&error)),
    };
    let out = Out::new(cli.global.output, cli.global.quiet, cli.global.verbose);
    let context = Context { global: cli.global, out };
    let code = run(cli.verb, &context).unwrap_or_else(|failure| {
        match failure.exit {
            failure::exit::DONE => out.note(&format!("dry run: {}", failure.what)),
            _ => out.failure(&failure),
        }
        failure.exit
    });
    ExitCode::from(code)
}

fn run(verb: Verb, context: &Context) -> Verdict {
    match verb {
        Verb::Serve(args) => serve::run(&args, context),
        Verb::Dev(args) => dev::run(&args, context),
        Verb::Submit(args) => on_runtime(submit::run(args, context)),
        Verb::Work(args) => on_runtime(work::run(args, context)),
        Verb::Job(verb) => on_runtime(jobs::run(verb, context)),
        Verb::Task(verb) => on_runtime(tasks::run(verb, context)),
        Verb::Queue(verb) => on_runtime(queues::run(verb, context)),
        Verb::Worker(verb) => on_runtime(workers::run(verb, context)),
        Verb::Dlq(verb) => on_runtime(dlq::run(verb, context)),
        Verb::Op(verb) => on_runtime(operations::run(verb, context)),
        Verb::Top(args) => on_runtime(top::run(args, context)),
        Verb::Simulate(args) => on_runtime(simulate::run(args, context)),
        Verb::Bench(verb) => on_runtime(bench::run(verb, context)),
        Verb::Log(verb) => logs::run(verb, context),
        Verb::State(verb) => state::run(verb, context),
        Verb::Config(verb) => config::run(&verb, context),
        Verb::Token(verb) => tokens::run(verb, context),
        Verb::Doctor(args) => on_runtime(doctor::run(args, context)),
        Verb::Healthcheck => on_runtime(doctor::healthcheck(context)),
        Verb::Completions { shell } => help::completions(shell, context),
        Verb::Man { dir } => help::man(&dir, context),
        Verb::Help { what } => help::run(what.as_deref(), context),
    }
}

/// One thread is enough for a client; a server starts its own.
fn on_runtime(verb: impl Future<Output = Verdict>) -> Verdict {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::io("cannot start the runtime", &error))?;
    let verdict = runtime.block_on(verb);
    // A read of stdin cannot be interrupted; do not wait for it.
    runtime.shutdown_background();
    verdict
}

/// The command as the user typed it, for hints that can be pasted.
fn own_name() -> String {
    std::env::args().next().unwrap_or_else(|| "kwq".to_owned())
}

//! `kwq bench mixed`: everything at once, with exact books. Three priorities, fifty jobs with
//! weights, affinity keys, 1 % failures, 0.1 % lost workers, paused jobs, a cancel and a redrive;
//! at the end every counter of the server must be what its clients counted.

mod books;
mod worker;

use super::server::{Server, Spawn};
use crate::cli::Context;
use crate::cli::failure::{Failure, Verdict, exit};
use crate::cli::human::grouped;
use crate::cli::out::{Format, number, text};
use crate::client::{Call, Client, Options, fresh_name};
use crate::sim::report::Stopwatch;
use books::{Books, CANCELLED, JOBS, is_paused};
use clap::Args;
use futures_util::future::try_join_all;
use serde::Serialize;
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::time::Duration;

/// `bench mixed`
#[derive(Debug, Args)]
pub(in crate::cli) struct MixedArgs {
    /// Start a server of its own on an empty directory, instead of using --url
    #[arg(long)]
    spawn: bool,
    /// Where that server keeps its data [default: a temporary directory]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Tasks in all
    #[arg(long, default_value_t = 100_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1_000..=100_000_000))]
    tasks: u64,
    /// Connections, each a worker
    #[arg(long, default_value_t = 16, value_name = "N")]
    connections: u32,
    /// Tasks of one consume
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    batch: u64,
}

/// What the scenario came to.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    tasks: u64,
    seconds: f64,
    tasks_per_sec: f64,
    completed: u64,
    failed_attempts: u64,
    lost_workers: u64,
    redriven: u64,
    cancelled: u64,
    hits: u64,
    misses: u64,
    findings: Vec<String>,
}

/// Between two looks at the whole.
const LOOK: Duration = Duration::from_millis(200);
/// A run without any completion for so long has lost something: longer than a lease.
const STALL: Duration = Duration::from_secs(120);

/// The scenario, shared by its connections, all on one thread.
struct Scenario {
    client: Client,
    id: String,
    tasks: u64,
    batch: usize,
    next: Cell<u64>,
    books: RefCell<Books>,
    /// Jobs are paused and this is acknowledged.
    paused: Cell<bool>,
    /// The cancel is acknowledged.
    cancelled: Cell<bool>,
    /// Ids of its jobs.
    jobs: Vec<String>,
    /// Nothing is left to do.
    over: Cell<bool>,
}

/// Runs it; exit 8 when a counter is not what it must be.
pub(super) async fn run(args: MixedArgs, context: &Context) -> Verdict {
    let directory = match &args.dir {
        Some(directory) => directory.clone(),
        None => std::env::temp_dir().join(format!("kwq-mixed-{}", std::process::id())),
    };
    let data_dir = directory.join("data");
    let mut server = None;
    let url = if args.spawn {
        let (durability, sets) = ("fsync".to_owned(), Vec::new());
        let started = Server::start(Spawn { data_dir: data_dir.clone(), durability, sets }).await?;
        let url = format!("http://{}", started.addr());
        server = Some(started);
        url
    } else {
        context.url().to_owned()
    };
    let options = Options { url, token: context.token()?, ..Options::default() };
    let scenario = Scenario::new(Client::new(options)?, &args);
    let report = scenario.play(&args, context).await;
    if let Some(server) = server {
        server.stop();
        std::fs::remove_dir_all(&data_dir)
            .map_err(|error| Failure::io("cannot remove the data", &error))?;
    }
    show(&report?, context)
}

fn show(report: &Report, context: &Context) -> Verdict {
    if context.out.format() == Format::Table {
        context.out.data(&format!(
            "{} tasks in {:.1} s ({:.0} a second): {} completed, {} failed attempts, \
             {} lost workers, {} redriven, {} cancelled; affinity {} hits, {} misses",
            grouped(report.tasks),
            report.seconds,
            report.tasks_per_sec,
            grouped(report.completed),
            grouped(report.failed_attempts),
            grouped(report.lost_workers),
            grouped(report.redriven),
            grouped(report.cancelled),
            grouped(report.hits),
            grouped(report.misses),
        ));
        match report.findings.as_slice() {
            [] => context.out.data("0 lost, 0 doubled, attempts and counters exact"),
            findings => findings.iter().for_each(|finding| context.out.data(finding)),
        }
    } else {
        let text = serde_json::to_string(report).expect("a report has string keys only");
        context.out.data(&text);
    }
    Ok(if report.findings.is_empty() { exit::DONE } else { exit::CHECK })
}

impl Scenario {
    fn new(client: Client, args: &MixedArgs) -> Self {
        let id = format!("mixed-{}", fresh_name());
        Self {
            client,
            jobs: (0..JOBS).map(|job| job_id(&id, job)).collect(),
            id,
            tasks: args.tasks,
            batch: usize::try_from(args.batch).expect("at most 1,000"),
            next: Cell::new(0),
            books: RefCell::new(Books::new(args.tasks)),
            paused: Cell::new(false),
            cancelled: Cell::new(false),
            over: Cell::new(false),
        }
    }

    fn job_id(&self, job: u64) -> String {
        job_id(&self.id, job)
    }

    async fn play(&self, args: &MixedArgs, context: &Context) -> Result<Report, Failure> {
        self.create_jobs().await?;
        let watch = Stopwatch::start();
        let submits = async {
            try_join_all((0..4).map(|_| self.submit_loop())).await?;
            // A closed job may end, and an ended one is neither paused nor cancelled.
            while !self.cancelled.get() {
                tokio::time::sleep(LOOK).await;
            }
            self.each_job("close", &json!({})).await
        };
        let workers = try_join_all((0..args.connections).map(|n| self.work(n)));
        tokio::try_join!(submits, workers, self.conduct(context))?;
        let seconds = watch.elapsed().as_secs_f64();
        self.books.borrow_mut().close();
        let mut report = self.compare().await?;
        (report.seconds, report.tasks_per_sec) = (seconds, self.tasks as f64 / seconds);
        Ok(report)
    }

    async fn create_jobs(&self) -> Result<(), Failure> {
        for job in 0..JOBS {
            let backoff = json!({"baseMs": 1, "capMs": 1, "jitter": "none"});
            let (id, weight) = (self.job_id(job), 1 + job % 3);
            let spec = json!({"id": id, "weight": weight, "defaults": {"backoff": backoff}});
            self.client.create_job(&spec).await?;
        }
        Ok(())
    }

    async fn each_job(&self, verb: &str, body: &Value) -> Result<(), Failure> {
        for job in (0..JOBS).filter(|job| *job != CANCELLED) {
            self.client.job_verb(&self.job_id(job), verb, body).await?;
        }
        Ok(())
    }

    async fn some_jobs(&self, verb: &str) -> Result<(), Failure> {
        for job in (0..JOBS).filter(|job| is_paused(*job)) {
            self.client.job_verb(&self.job_id(job), verb, &json!({})).await?;
        }
        Ok(())
    }

    async fn submit_loop(&self) -> Result<(), Failure> {
        while self.next.get() < self.tasks {
            let first = self.next.get();
            let end = self.tasks.min(first + 1_000);
            self.next.set(end);
            let tasks: Vec<Value> = (first..end).map(|n| self.task(n)).collect();
            // A key each, so that a repeat after an unknown outcome doubles nothing.
            let key = format!("{}-{first}", self.id);
            let call = Call::post("/kwq/submit").query("results", "errors").key(key);
            let answer: Value = self.client.send(call.json(&Value::Array(tasks))).await?.read()?;
            let refused = answer["results"].as_array().cloned().unwrap_or_default();
            let refused: Vec<u64> = refused.iter().map(|item| first + number(item, "i")).collect();
            let mut books = self.books.borrow_mut();
            for n in first..end {
                match refused.contains(&n) {
                    false => books.admitted(n),
                    true if books::job(n) == CANCELLED => {}
                    true => books.found(format!("task {n} was refused: {answer}")),
                }
            }
        }
        Ok(())
    }

    fn task(&self, n: u64) -> Value {
        json!({
            "groupId": self.job_id(books::job(n)),
            "priority": books::priority(n),
            "payload": n.to_string(),
            "affinity": [format!("mixed={}", books::key(n))],
            "tag": format!("run:{}", self.id),
        })
    }

    /// Pauses, resumes, cancels, redrives, each at its share of the whole.
    async fn conduct(&self, context: &Context) -> Result<(), Failure> {
        let bar = context.out.progress(Some(self.tasks));
        self.until(&bar, 20).await?;
        self.some_jobs("pause").await?;
        self.paused.set(true);
        self.until(&bar, 40).await?;
        self.paused.set(false);
        self.some_jobs("resume").await?;
        self.until(&bar, 50).await?;
        let body = json!({"mode": "stop", "reason": "half-way"});
        self.client.job_verb(&self.job_id(CANCELLED), "cancel", &body).await?;
        self.cancelled.set(true);
        self.until_drained(&bar).await?;
        self.redrive().await?;
        self.until_drained(&bar).await?;
        bar.finish_and_clear();
        self.over.set(true);
        Ok(())
    }

    async fn until(&self, bar: &indicatif::ProgressBar, percent: u64) -> Result<(), Failure> {
        let goal = self.tasks * percent / 100;
        self.wait(bar, || self.books.borrow().completions() >= goal).await
    }

    /// Waits until every task was submitted and none is live.
    async fn until_drained(&self, bar: &indicatif::ProgressBar) -> Result<(), Failure> {
        self.wait(bar, || self.next.get() >= self.tasks).await?;
        loop {
            let before = self.books.borrow().completions();
            let jobs = self.rows().await?;
            if jobs.iter().all(|job| number(job, "live") == 0)
                && jobs.iter().all(|job| text(job, "state") != "OPEN")
            {
                return Ok(());
            }
            self.wait_some(bar, before).await?;
        }
    }

    async fn wait(
        &self,
        bar: &indicatif::ProgressBar,
        reached: impl Fn() -> bool,
    ) -> Result<(), Failure> {
        while !reached() {
            let before = self.books.borrow().completions();
            self.wait_some(bar, before).await?;
        }
        Ok(())
    }

    /// A little while; fails when nothing has moved for long.
    async fn wait_some(&self, bar: &indicatif::ProgressBar, before: u64) -> Result<(), Failure> {
        tokio::time::sleep(LOOK).await;
        let now = self.books.borrow().completions();
        bar.set_position(now);
        if now > before {
            bar.reset_elapsed();
        } else if bar.elapsed() > STALL {
            let what = format!("nothing was completed for {} s", STALL.as_secs());
            return Err(Failure::new("bench", what).help("the server's log says more"));
        }
        Ok(())
    }

    /// Its jobs as the server shows them.
    async fn rows(&self) -> Result<Vec<Value>, Failure> {
        let call = Call::get("/kwq/jobs").query("q", format!("{}-", self.id)).query("limit", 1_000);
        Ok(self.client.send(call).await?.read()?)
    }

    async fn redrive(&self) -> Result<(), Failure> {
        let body = json!({"filter": {"tag": [format!("run:{}", self.id)]}});
        // The tracker chooses: it must have seen every death.
        let call = Call::get("/kwq/tasks").query("state", "ERROR").query("limit", 1);
        self.client.send(call.query("fresh", true)).await?;
        let answer = self.client.send(Call::post("/kwq/dlq/redrive").json(&body)).await?;
        let mut operation: Value = answer.read()?;
        let path = format!("/kwq/operations/{}", text(&operation, "op"));
        while text(&operation, "state") == "RUNNING" {
            tokio::time::sleep(LOOK).await;
            operation = self.client.send(Call::get(&*path)).await?.read()?;
        }
        let wanted = self.books.borrow().redrivable();
        if number(&operation, "done") != wanted {
            let finding = format!("the redrive of {wanted} dead tasks ended as {operation}");
            self.books.borrow_mut().found(finding);
        }
        Ok(())
    }

    /// The server's counters beside those of its clients.
    async fn compare(&self) -> Result<Report, Failure> {
        let jobs = self.rows().await?;
        let mut books = self.books.borrow_mut();
        let mut report = Report { tasks: self.tasks, ..Report::default() };
        for job in 0..JOBS {
            let id = self.job_id(job);
            let Some(row) = jobs.iter().find(|row| text(row, "id") == id) else {
                books.found(format!("job {id} is gone"));
                continue;
            };
            let own = *books.of(job);
            let count = |state: &str| number(&row["counts"], state);
            let mut pairs = vec![
                ("submitted", number(row, "submitted"), own.submitted),
                ("live", number(row, "live"), 0),
                ("handedOut", number(row, "handedOut"), own.handed_out),
                ("completed", count("COMPLETED"), own.completed),
                ("failedAttempts", number(row, "failedAttempts"), own.failed),
            ];
            if job == CANCELLED {
                let rest = own.submitted - own.completed - own.dead;
                pairs.push(("cancelled", count("CANCELLED"), rest));
            } else {
                pairs.push(("crashes", number(row, "crashes"), own.lost));
                pairs.push(("redriven", number(row, "redriven"), own.dead));
                pairs.push(("error", count("ERROR"), 0));
            }
            for (what, theirs, ours) in pairs.into_iter().filter(|(_, a, b)| a != b) {
                books.found(format!("job {id}: {what} is {theirs}, its clients counted {ours}"));
            }
            report.completed += count("COMPLETED");
            report.cancelled += count("CANCELLED");
            report.failed_attempts += number(row, "failedAttempts");
            report.lost_workers += number(row, "crashes");
            report.redriven += number(row, "redriven");
            report.hits += number(&row["affinity"], "hits");
            report.misses += number(&row["affinity"], "misses");
        }
        report.findings = std::mem::take(&mut books.findings);
        Ok(report)
    }
}

fn job_id(run: &str, job: u64) -> String {
    format!("{run}-{job:02}")
}

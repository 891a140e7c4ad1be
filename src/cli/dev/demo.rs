//! The demo job: prices a portfolio, goes on where it was after a restart, and checks every result
//! against the closed form.
//!
//! Every task has an id made of its trade and seed. What is missing in the job is found by listing
//! ids, so a submit that was cut off by anything is completed without a task being lost or doubled.

use super::crew::{Crew, Usage};
use crate::cli::failure::Failure;
use crate::cli::human;
use crate::cli::out::Out;
use crate::client::upload::{Key, Upload};
use crate::client::verbs::Job;
use crate::client::{Call, Client, Options};
use crate::codec::pricing::PortfolioTrade;
use crate::sim::pricing;
use crate::sim::report::Stopwatch;
use crate::sim::wire::Wire;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

/// Name of the job.
pub(super) const JOB: &str = "demo-pricing";
/// The trades, inside the binary.
const PORTFOLIO: &str = include_str!("../../../examples/portfolio.ndjson");
/// Time between two looks at the job.
const LOOK: Duration = Duration::from_millis(500);
/// Attempts to complete the submit; each begins with a look at what is there.
const ROUNDS: u32 = 20;
/// A result further away than this many standard errors is wrong: 20,000 right ones stay below 5.
const Z_MAX: f64 = 6.0;

/// The demo.
pub(super) struct Demo {
    url: String,
    token: Option<String>,
    client: Client,
    trades: Vec<PortfolioTrade>,
    tasks: u64,
    workers: u16,
    out: Out,
}

/// Results beside the closed form.
#[derive(Clone, Copy, Debug, Default)]
struct Checked {
    count: u64,
    error_sum: f64,
    relative_sum: f64,
    worst_z: f64,
}

impl Demo {
    /// A demo on a server.
    pub(super) fn new(
        url: &str,
        token: Option<String>,
        (tasks, workers): (u64, u16),
        out: Out,
    ) -> Result<Self, Failure> {
        let trades = pricing::portfolio(PORTFOLIO)
            .map_err(|what| Failure::new("portfolio", format!("the embedded portfolio: {what}")))?;
        let options = Options {
            url: url.to_owned(),
            token: token.clone(),
            connect_retries: 5,
            ..Options::default()
        };
        let (client, url) = (Client::new(options)?, url.to_owned());
        Ok(Self { url, token, client, trades, tasks, workers, out })
    }

    /// Runs until the results are checked; may be dropped at any moment, the next run goes on from
    /// there.
    pub(super) async fn run(&self, crew: &mut Crew) -> Result<(), Failure> {
        let watch = Stopwatch::start();
        let job = self.job().await?;
        let before = job.count("COMPLETED");
        if job.ended() {
            self.out.note(&format!("{JOB} has ended in an earlier run; checking its results"));
        } else {
            *crew = Crew::start(&self.url, self.token.as_deref(), JOB, self.workers)
                .map_err(|error| Failure::io("cannot start a worker", &error))?;
            if job.state == "OPEN" {
                self.submit().await?;
            } else if job.submitted != self.tasks {
                let tasks = human::grouped(job.submitted);
                self.out.note(&format!("{JOB} goes on with the {tasks} tasks of an earlier run"));
            }
            self.wait(crew).await?;
        }
        let seconds = watch.elapsed().as_secs_f64();
        crew.stop().await;
        let job = self.client.job(JOB).await?;
        let checked = self.check(&job).await?;
        self.tell(&job, checked, before, seconds, crew.usage())
    }

    /// The job of an earlier run, or a new one.
    async fn job(&self) -> Result<Job, Failure> {
        match self.client.job(JOB).await {
            Ok(job) => return Ok(job),
            Err(error) if error.code() == Some("job_not_found") => {}
            Err(error) => return Err(error.into()),
        }
        let spec = json!({"id": JOB, "name": "Monte Carlo option prices", "tag": "demo"});
        Ok(self.client.create_job(&spec).await?.read()?)
    }

    /// Submits what is missing and closes the job.
    async fn submit(&self) -> Result<(), Failure> {
        for _ in 0..ROUNDS {
            let present = self.present().await?;
            let missing = (0..self.tasks).filter(|k| !present.contains(&self.id(*k)));
            match self.send(missing).await {
                Ok(()) => {
                    self.client.job_verb(JOB, "close", &json!({})).await?;
                    return Ok(());
                }
                Err(error) if error.passing() => tokio::time::sleep(LOOK).await,
                Err(error) => return Err(error.into()),
            }
        }
        Err(Failure::new("demo", format!("{JOB} could not be submitted")))
    }

    async fn send(&self, missing: impl Iterator<Item = u64>) -> Result<(), crate::client::Error> {
        let key = Key::Own(self.client.fresh_name());
        let mut upload = Upload::new(self.client.clone(), Some(JOB), key);
        for k in missing {
            let (trade, seed) = self.trade(k);
            let payload = self.payload(k)?;
            let task = json!({
                "id": format!("{}-{seed}", trade.trade), "payload": payload,
                "tag": trade.tag, "affinity": [trade.curve],
            });
            upload.line(task.to_string().as_bytes()).await?;
        }
        match upload.finish().await?.errors.first() {
            None => Ok(()),
            Some(error) => Err(crate::client::Error::BadAnswer(format!("refused: {error}"))),
        }
    }

    /// Ids that are in the job, by looking at all of them.
    async fn present(&self) -> Result<BTreeSet<String>, Failure> {
        let mut ids = BTreeSet::new();
        self.each_task(None, |task| {
            ids.insert(super::super::out::text(task, "id"));
        })
        .await?;
        Ok(ids)
    }

    async fn each_task(
        &self,
        state: Option<&str>,
        mut each: impl FnMut(&Value),
    ) -> Result<(), Failure> {
        let mut cursor: Option<String> = None;
        loop {
            let mut call = Call::get("/kwq/tasks")
                .query("job", JOB)
                .query("order", "old")
                .query("fresh", true)
                .query("limit", 1_000);
            if let Some(state) = state {
                call = call.query("state", state);
            }
            if let Some(cursor) = &cursor {
                call = call.query("cursor", cursor);
            }
            let answer = self.client.send(call).await?;
            answer.read::<Vec<Value>>()?.iter().for_each(&mut each);
            match answer.next() {
                Some(next) => cursor = Some(next.to_owned()),
                None => return Ok(()),
            }
        }
    }

    async fn wait(&self, crew: &mut Crew) -> Result<(), Failure> {
        loop {
            match self.client.wait_job(JOB, "done", LOOK).await {
                Ok(Some(_)) => return Ok(()),
                Ok(None) => {}
                Err(error) if error.passing() => tokio::time::sleep(LOOK).await,
                Err(error) => return Err(error.into()),
            }
            let replaced = crew.replace_ended();
            match replaced.map_err(|error| Failure::io("cannot start a worker", &error))? {
                0 => {}
                n => self.out.note(&format!("local workers have ended; {n} replaced")),
            }
            if crew.all_gone() {
                return Err(Failure::new("demo", "all local workers have ended")
                    .help(format!("see `kwq task ls --job {JOB} --state ERROR`")));
            }
        }
    }

    /// Every result against the closed form.
    async fn check(&self, job: &Job) -> Result<Checked, Failure> {
        let mut done = Vec::new();
        self.each_task(Some("COMPLETED"), |task| {
            let text = |name| super::super::out::text(task, name);
            done.push((text("ref"), text("id")));
        })
        .await?;
        if done.len() as u64 != job.count("COMPLETED") {
            let what = format!(
                "{} completed tasks listed, {} counted",
                done.len(),
                job.count("COMPLETED")
            );
            return Err(Failure::new("demo", what));
        }
        let addr: SocketAddr = self.url.trim_start_matches("http://").parse().map_err(|_| {
            Failure::new("demo", format!("{} is no address", self.url)) //
        })?;
        let (mut wire, mut sum) = (Wire::new(addr, self.token.as_deref()), Checked::default());
        for (reference, id) in &done {
            let Some(k) = self.number(id) else { continue };
            let path = format!("/kwq/tasks/{reference}/result");
            let reply = wire.get(&path).await;
            let reply = reply.map_err(|error| Failure::io("cannot read a result", &error))?;
            let result = String::from_utf8_lossy(reply.body);
            let checked = pricing::check(&self.payload(k)?, &result)
                .map_err(|what| Failure::new("demo", format!("task {id}: {what}")))?;
            let error = (checked.price - checked.reference).abs();
            sum.count += 1;
            sum.error_sum += error;
            sum.relative_sum += error / checked.reference.abs().max(1e-2);
            sum.worst_z = sum.worst_z.max(checked.z.abs());
        }
        Ok(sum)
    }

    fn tell(
        &self,
        job: &Job,
        checked: Checked,
        before: u64,
        seconds: f64,
        usage: Usage,
    ) -> Result<(), Failure> {
        let n = checked.count.max(1) as f64;
        let priced = job.count("COMPLETED").saturating_sub(before);
        let warm = 100.0 * usage.hits as f64 / (usage.hits + usage.misses).max(1) as f64;
        let mut line = format!(
            "{JOB}: {} prices checked against the closed form: mean error {:.4} ({:.2} %), \
             worst z {:.1}",
            human::grouped(checked.count),
            checked.error_sum / n,
            100.0 * checked.relative_sum / n,
            checked.worst_z,
        );
        if priced > 0 {
            line.push_str(&format!(
                "; {} priced here in {seconds:.1} s, warm hits {warm:.1} %, {:.1} worker s saved",
                human::grouped(priced),
                usage.saved_seconds,
            ));
        }
        self.out.data(&line);
        if job.state != "COMPLETED" || checked.worst_z > Z_MAX {
            let what = format!("{JOB} is {}, worst z {:.1}", job.state, checked.worst_z);
            return Err(Failure::new("demo_check", what)
                .help(format!("see `kwq task ls --job {JOB} --state ERROR`")));
        }
        Ok(())
    }

    /// Task `k` prices trade `k mod n` with seed `k div n + 1`.
    fn trade(&self, k: u64) -> (&PortfolioTrade, u64) {
        let n = self.trades.len() as u64;
        let place = usize::try_from(k % n).expect("smaller than the length of the list");
        (&self.trades[place], k / n + 1)
    }

    fn id(&self, k: u64) -> String {
        let (trade, seed) = self.trade(k);
        format!("{}-{seed}", trade.trade)
    }

    fn payload(&self, k: u64) -> Result<String, crate::client::Error> {
        let (trade, seed) = self.trade(k);
        pricing::payload(trade, seed).map_err(crate::client::Error::BadAnswer)
    }

    /// Inverse of [`Self::id`]; ids of trades end in `-NNNNN`, counted from 1.
    fn number(&self, id: &str) -> Option<u64> {
        let (trade, seed) = id.rsplit_once('-')?;
        let place = self.trades.iter().position(|known| known.trade == trade)? as u64;
        Some((seed.parse::<u64>().ok()?.checked_sub(1)?) * self.trades.len() as u64 + place)
    }
}

//! The loop of a worker: ask, run, beat, report, stop.

mod stop;

use super::child::End;
use super::duty::Reports;
use super::{Engine, Plan, child};
use crate::cli::Context;
use crate::cli::failure::{Failure, Verdict};
use crate::client::worker::{Beat, Consume, Consumed, HandOut, Outcome, Report};
use crate::client::{Client, Error};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};

/// Wait of a consume.
const WAIT: Duration = Duration::from_secs(20);
/// Tasks asked for when they are fetched by time.
const MANY: u64 = 1_000;
/// The time a command gets between SIGTERM and SIGKILL when the worker itself must go.
const LAST_GRACE: Duration = Duration::from_secs(1);
/// Reports that cannot be delivered this long after the last task are given up; leases heal them.
const FLUSH: Duration = Duration::from_secs(30);
/// Beat before the server has named one.
const BEAT: Duration = Duration::from_secs(10);
/// The loop looks around at least this often.
const LOOK: Duration = Duration::from_millis(500);
/// Longest pause after a failed call.
const PAUSE_MS_MAX: u64 = 5_000;

/// How long a command may go on after it was told to stop.
type Stop = Duration;

enum Event {
    Ran { lease: String, end: End },
    Consumed { sent: Vec<Report>, answer: Result<Consumed, Error> },
    Beaten(Result<Beat, Error>),
    Reported { sent: Vec<Report>, answer: Result<Vec<Outcome>, Error> },
    Registered,
}

struct Cycle<'a> {
    plan: Plan,
    client: Client,
    context: &'a Context,
    events: JoinSet<Event>,
    /// Handed out, not started.
    queue: VecDeque<HandOut>,
    /// Running, by token; the sender is gone once it was told to stop.
    running: BTreeMap<String, Option<oneshot::Sender<Stop>>>,
    reports: Reports,
    /// The consume in flight and the reports it carries.
    consume: Option<(AbortHandle, Vec<Report>)>,
    beating: bool,
    reporting: bool,
    beat_every: Duration,
    beat_at: Instant,
    ask_at: Instant,
    report_at: Instant,
    failures: u32,
    away: Option<Failure>,
    busy_at: Instant,
    taken: u64,
    /// Ask no more: drained, told to stop, or done.
    closing: bool,
    /// Told to stop: what runs gets until then.
    stop_at: Option<Instant>,
    signals: u32,
    orphaned: bool,
    idle_since: Option<Instant>,
    fatal: Option<Failure>,
    usage_shown: String,
}

/// Works until drained, stopped, idle for too long, or done.
pub(super) async fn run(plan: Plan, client: Client, context: &Context) -> Verdict {
    let broken = |error| Failure::io("cannot listen for signals", &error);
    let mut term = signal(SignalKind::terminate()).map_err(broken)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(broken)?;
    let mut cycle = Cycle::new(plan, client, context);
    cycle.register();
    while !cycle.over() {
        cycle.start_tasks();
        cycle.ask();
        cycle.report();
        cycle.beat();
        cycle.step(&mut term, &mut interrupt).await;
        cycle.look_around();
    }
    cycle.sign_off().await
}

impl<'a> Cycle<'a> {
    fn new(plan: Plan, client: Client, context: &'a Context) -> Self {
        let now = Instant::now();
        Self {
            plan,
            client,
            context,
            events: JoinSet::new(),
            queue: VecDeque::new(),
            running: BTreeMap::new(),
            reports: Reports::default(),
            consume: None,
            beating: false,
            reporting: false,
            beat_every: BEAT,
            beat_at: now,
            ask_at: now,
            report_at: now,
            failures: 0,
            away: None,
            busy_at: now,
            taken: 0,
            closing: false,
            stop_at: None,
            signals: 0,
            orphaned: false,
            idle_since: None,
            fatal: None,
            usage_shown: String::new(),
        }
    }

    /// Introduces itself with its size; a consume would do as well, so a failure does not matter.
    fn register(&mut self) {
        let mut body = serde_json::json!({
            "worker": self.plan.name, "slots": self.plan.slots,
            "version": concat!("kwq ", env!("CARGO_PKG_VERSION")),
        });
        if let Some(endpoint) = &self.plan.ask.endpoint {
            body["endpoint"] = serde_json::Value::from(endpoint.as_str());
        }
        let client = self.client.clone();
        self.events.spawn(async move {
            let _unknown = client.register(&body).await;
            Event::Registered
        });
    }

    fn over(&self) -> bool {
        let idle = self.running.is_empty() && self.queue.is_empty();
        let told = self.reports.is_empty() && !self.reporting && self.consume.is_none();
        let given_up = self.idle_since.is_some_and(|since| since.elapsed() > FLUSH);
        self.closing && idle && (told || given_up || self.orphaned)
    }

    fn start_tasks(&mut self) {
        while self.running.len() < self.plan.slots
            && let Some(task) = self.queue.pop_front()
        {
            let (stop, stopped) = oneshot::channel();
            self.running.insert(task.lease.clone(), Some(stop));
            let engine = self.plan.engine.clone();
            self.events.spawn(async move {
                let end = match engine {
                    Engine::Command(command) => child::run(&command, &task, stopped).await,
                    Engine::Pricing(pricer) => tokio::select! {
                        end = pricer.run(&task) => end,
                        Ok(_) = stopped => End::Stopped,
                    },
                };
                Event::Ran { lease: task.lease, end }
            });
        }
    }

    fn ask(&mut self) {
        let free = self.plan.slots.saturating_sub(self.running.len());
        let left = self.plan.max_tasks.saturating_sub(self.taken);
        let busy = self.consume.is_some() || !self.queue.is_empty() || free == 0;
        if self.closing || busy || left == 0 || Instant::now() < self.ask_at {
            return;
        }
        let most = if self.plan.target_ms.is_some() { MANY } else { free as u64 };
        let mut body = Consume {
            max: usize::try_from(most.min(left)).unwrap_or(1),
            wait_ms: u64::try_from(self.wait().as_millis()).unwrap_or(0),
            target_ms: self.plan.target_ms.map(|ms| ms.saturating_mul(free as u64).min(3_600_000)),
            ..self.plan.ask.clone()
        };
        if let Engine::Pricing(pricer) = &self.plan.engine {
            body.affinity = pricer.warm_keys();
        }
        self.show_usage();
        let sent = self.reports.take_for_consume();
        body.done.clone_from(&sent);
        let (client, carried) = (self.client.clone(), sent.clone());
        let handle = self.events.spawn(async move {
            let answer = client.consume(&body).await;
            Event::Consumed { sent: carried, answer }
        });
        self.consume = Some((handle, sent));
    }

    /// No longer than the patience for being idle.
    fn wait(&self) -> Duration {
        let Some(idle_exit) = self.plan.idle_exit else { return WAIT };
        let left = idle_exit.saturating_sub(self.busy_at.elapsed());
        if self.running.is_empty() { left.min(WAIT) } else { idle_exit.min(WAIT) }
    }

    /// Reports normally ride on the next consume. They go alone when that would take long.
    fn report(&mut self) {
        let patience = match (&self.consume, self.queue.is_empty()) {
            (Some(_), _) => Duration::from_millis(20),
            (None, false) => Duration::from_millis(500),
            (None, true) => Duration::ZERO,
        };
        let due = self.reports.waiting_for().is_some_and(|waiting| waiting >= patience);
        if !due || self.reporting || Instant::now() < self.report_at {
            return;
        }
        let sent = self.reports.take_for_report();
        let client = self.client.clone();
        self.reporting = true;
        self.events.spawn(async move {
            let answer = client.report(&sent).await;
            Event::Reported { sent, answer }
        });
    }

    fn beat(&mut self) {
        let leases: Vec<String> = self.running.keys().cloned().chain(self.queued()).collect();
        if leases.is_empty() || self.beating || Instant::now() < self.beat_at {
            return;
        }
        let (client, name) = (self.client.clone(), self.plan.name.clone());
        self.beating = true;
        self.events.spawn(async move { Event::Beaten(client.heartbeat(&name, &leases).await) });
    }

    fn queued(&self) -> impl Iterator<Item = String> + '_ {
        self.queue.iter().map(|task| task.lease.clone())
    }

    async fn step(&mut self, term: &mut Signal, interrupt: &mut Signal) {
        let wake = self.wake();
        tokio::select! {
            Some(event) = self.events.join_next() => self.on_event(event),
            () = sleep_until(wake) => {}
            Some(()) = term.recv() => self.on_signal(),
            Some(()) = interrupt.recv() => self.on_signal(),
        }
    }

    fn wake(&self) -> Instant {
        let now = Instant::now();
        let soon = if self.reports.is_empty() { LOOK } else { Duration::from_millis(20) };
        let mut wake = now + soon;
        let timers = [Some(self.ask_at), Some(self.beat_at), self.stop_at];
        for timer in timers.into_iter().flatten().filter(|timer| *timer > now) {
            wake = wake.min(timer);
        }
        wake
    }

    fn on_event(&mut self, event: Result<Event, JoinError>) {
        match event {
            Ok(Event::Ran { lease, end }) => self.on_end(lease, end),
            Ok(Event::Consumed { sent, answer }) => self.on_consumed(sent, answer),
            Ok(Event::Beaten(answer)) => self.on_beaten(answer),
            Ok(Event::Reported { sent, answer }) => self.on_reported(sent, answer),
            Ok(Event::Registered) => {}
            Err(error) if error.is_cancelled() => {}
            Err(error) => {
                self.fatal = Some(Failure::new("internal", error.to_string()));
                self.close();
            }
        }
    }

    fn on_end(&mut self, lease: String, end: End) {
        let told = self.running.remove(&lease).is_some_and(|stop| stop.is_none());
        self.busy_at = Instant::now();
        match end {
            End::Report(report) => self.reports.push(report),
            // Cancelled or lost: report nothing. Our own stop: the task goes back.
            End::Stopped if told && self.stop_at.is_some() => {
                self.reports.push(Report::release(&lease, 0));
            }
            End::Stopped => {}
            End::NoCommand(error) => {
                self.reports.push(Report::release(&lease, 1_000));
                let what = match &self.plan.engine {
                    Engine::Command(command) => command.program.display().to_string(),
                    Engine::Pricing(_) => "the pricer".to_owned(),
                };
                let failure = Failure::io(&format!("cannot run {what}"), &error);
                self.fatal = Some(failure.help("is it installed, and executable?"));
                self.close();
            }
        }
    }

    fn on_consumed(&mut self, sent: Vec<Report>, answer: Result<Consumed, Error>) {
        self.consume = None;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                let alone = !error.passing() && !sent.is_empty();
                self.reports.put_back(sent, alone);
                if !alone {
                    self.ask_at = self.on_failure(error);
                }
                return;
            }
        };
        self.back_again();
        self.reports.settle(sent, answer.done, self.context);
        self.beat_every = duration_or(answer.heartbeat_ms, self.beat_every);
        if self.queue.is_empty() && self.running.is_empty() && !answer.tasks.is_empty() {
            self.beat_at = Instant::now() + self.beat_every;
        }
        self.taken += answer.tasks.len() as u64;
        if answer.tasks.is_empty() {
            self.ask_at = Instant::now() + Duration::from_millis(answer.poll_after_ms);
        } else {
            self.busy_at = Instant::now();
        }
        self.queue.extend(answer.tasks);
        if answer.drain {
            self.drained();
        }
        if self.stop_at.is_some() {
            self.release_queue();
        }
    }

    fn on_reported(&mut self, sent: Vec<Report>, answer: Result<Vec<Outcome>, Error>) {
        self.reporting = false;
        match answer {
            Ok(outcomes) => {
                self.back_again();
                self.reports.settle(sent, outcomes, self.context);
            }
            Err(error) if error.passing() => {
                self.reports.put_back(sent, true);
                self.report_at = self.on_failure(error);
            }
            Err(error) => {
                if self.reports.refused(sent, &error, self.context) {
                    self.on_failure(error);
                }
            }
        }
    }

    fn on_beaten(&mut self, answer: Result<Beat, Error>) {
        self.beating = false;
        let beat = match answer {
            Ok(beat) => beat,
            Err(error) => {
                let retry = self.on_failure(error);
                self.beat_at = retry.min(Instant::now() + self.beat_every / 3);
                return;
            }
        };
        self.back_again();
        self.beat_every = duration_or(beat.heartbeat_ms, self.beat_every);
        self.beat_at = Instant::now() + self.beat_every;
        for stop in beat.cancel {
            let reason = stop.reason.unwrap_or_else(|| "cancelled".to_owned());
            self.context.out.detail(&format!("stopping a task: {reason}"));
            self.stop_one(&stop.lease);
        }
        for lease in beat.lost {
            self.context.out.detail("stopping a task whose lease is lost");
            self.stop_one(&lease);
        }
        if beat.drain {
            self.drained();
        }
    }
}

fn duration_or(ms: u64, old: Duration) -> Duration {
    if ms == 0 { old } else { Duration::from_millis(ms) }
}

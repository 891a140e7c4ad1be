//! One run: clients on one data directory, faults in between, then heal, drain, read everything,
//! dump, check; restart and read again; delete the tracker and read a third time.

use crate::checker::{Finals, Kind, Seen, Violation, check};
use crate::fold::Fold;
use crate::history::{Entry, JobView};
use crate::http::{Client, Verdict};
use crate::load::{HEAL, JOBS, STOP, World, submitter};
use crate::operator::{canceller, create_jobs, sampler, view};
use crate::server::{Server, Start, offline};
use crate::util::{Rng, now_us, pause_ms, say, scratch, seed, spawn, wait_until};
use crate::worker::worker;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// How many clients a run has.
#[derive(Clone, Copy)]
pub(crate) struct Crowd {
    /// Submitting threads.
    pub(crate) submitters: usize,
    /// Working threads.
    pub(crate) workers: u64,
    /// Open tasks above which submitters are slow.
    pub(crate) backlog: usize,
}

impl Default for Crowd {
    /// Two cores are shared with the server.
    fn default() -> Self {
        Self { submitters: 3, workers: 5, backlog: 2_000 }
    }
}

/// A client waits so long for an answer.
const PATIENCE_MS: u64 = 10_000;

/// With `KWQ_TEST_LOG_KAFKA=HOST:PORT` the log is there, on topics of this run.
fn on_kafka(name: &str) -> Vec<String> {
    let Ok(brokers) = std::env::var("KWQ_TEST_LOG_KAFKA") else { return Vec::new() };
    vec![
        "log.backend=kafka".to_owned(),
        format!("kafka.bootstrap-servers={brokers}"),
        "topics.inboxes=false".to_owned(),
        format!("topics.prefix={name}-{}-{}", std::process::id(), now_us()),
    ]
}

/// A run.
pub(crate) struct Run {
    pub(crate) name: &'static str,
    pub(crate) start: Start,
    pub(crate) world: Arc<World>,
    pub(crate) rng: Rng,
    pub(crate) crowd: Crowd,
    scratch: PathBuf,
    /// Clients that bring work.
    givers: Vec<JoinHandle<()>>,
    /// The other clients.
    threads: Vec<JoinHandle<()>>,
    flying: Vec<[usize; 3]>,
    began: u64,
}

impl Run {
    /// A run with an empty data directory.
    pub(crate) fn new(name: &'static str) -> Self {
        let scratch = scratch(name);
        let sets = on_kafka(name);
        let start = Start { dir: scratch.join("data"), sets, ..Start::default() };
        std::fs::create_dir_all(&start.dir).expect("the data directory can be made");
        let seed = seed();
        say(&format!("{name}: seed {seed} (KWQ_TEST_SEED repeats the choices)"));
        let world = Arc::new(World::default());
        world.patience_ms.store(PATIENCE_MS, Ordering::SeqCst);
        let (rng, began, crowd) = (Rng::new(seed), now_us(), Crowd::default());
        let (givers, threads, flying) = (vec![], vec![], vec![]);
        Self { name, start, world, rng, crowd, scratch, givers, threads, flying, began }
    }

    /// A directory of this run beside the data directory.
    pub(crate) fn side(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }

    /// Starts the server, waits for it and tells the clients.
    pub(crate) fn serve(&self) -> Server {
        match Server::start(&self.start) {
            Ok(server) => {
                self.nemesis("start");
                self.world.set_addr(server.addr());
                server
            }
            Err(why) => panic!("{}: {why}", self.name),
        }
    }

    /// Notes a fault.
    pub(crate) fn nemesis(&self, what: &str) {
        self.world.history.push(Entry::Nemesis { t: now_us(), what: what.into() });
    }

    /// Starts the clients on a server that is up.
    pub(crate) fn load(&mut self) {
        create_jobs(&self.world);
        self.world.backlog.store(self.crowd.backlog, Ordering::SeqCst);
        for i in 0..self.crowd.submitters {
            let (world, seed) = (Arc::clone(&self.world), self.rng.next());
            self.givers.push(spawn(&format!("submit{i}"), move || submitter(&world, seed, i)));
        }
        for i in 0..self.crowd.workers {
            let (world, seed) = (Arc::clone(&self.world), self.rng.next());
            let name = format!("w{i}-{}", std::process::id());
            self.threads.push(spawn(&name.clone(), move || worker(&world, seed, &name)));
        }
        let (world, seed) = (Arc::clone(&self.world), self.rng.next());
        self.givers.push(spawn("cancel", move || canceller(&world, seed)));
        let world = Arc::clone(&self.world);
        self.threads.push(spawn("sample", move || sampler(&world)));
    }

    /// Counts what is in flight now: call right before a kill under load. It waits a moment for a
    /// submit, a consume and a report to be out together, because such a kill cuts off the most.
    pub(crate) fn count_in_flight(&mut self) {
        for _ in 0..100 {
            if self.world.in_flight().iter().all(|n| *n > 0) {
                break;
            }
            pause_ms(1);
        }
        self.flying.push(self.world.in_flight());
    }

    /// Kills, and keeps the clients from the address that may be given to somebody else.
    pub(crate) fn kill(&mut self, server: Server, what: &str) {
        self.nemesis(what);
        self.world.set_addr(None);
        drop(server.kill());
    }

    /// Ends the threads.
    pub(crate) fn stop_load(&mut self) {
        self.world.mode.store(STOP, Ordering::SeqCst);
        join_all(self.name, &mut self.givers);
        join_all(self.name, &mut self.threads);
    }

    /// Lets the workers finish what there is; whether all of it is.
    pub(crate) fn drain(&mut self) -> bool {
        self.world.mode.store(HEAL, Ordering::SeqCst);
        // Whoever was amid a call may bring work after a look that saw none.
        join_all(self.name, &mut self.givers);
        wait_until(60_000, || live_tasks(&self.world) == Some(0))
    }

    /// Heal, drain, read, dump and check; the server is stopped afterwards.
    pub(crate) fn verdict(mut self, server: Server) {
        let drained = self.drain();
        self.stop_load();
        let mut finals = self.read_all(drained);
        if !drained {
            finals.drained = true; // what is not ended now is stuck
        }
        self.stop(server);
        let (fold, mut found) = self.log();
        found.extend(check(&self.world.history.all(), &finals, &fold));
        self.again(&finals, &mut found);
        self.report(&fold, &found);
    }

    /// Only what must hold without draining: reads, kill, dump, check for loss. For the proof that
    /// the harness can fail.
    pub(crate) fn losses(&mut self, server: Option<Server>) -> Vec<Violation> {
        let finals = match &server {
            Some(_) => self.read_all(false),
            None => Finals::default(), // it refuses to start: nothing can be read
        };
        drop(server.map(Server::kill));
        let dump = offline(&["log", "dump", "--json"], &self.start.dir);
        let found = check(&self.world.history.all(), &finals, &Fold::of(&dump.stdout));
        found.into_iter().filter(|v| v.kind == Kind::Lost).collect()
    }

    fn stop(&self, server: Server) {
        self.world.set_addr(None);
        let (code, ms) = server.terminate(20_000);
        assert_eq!(code, Some(0), "{}: SIGTERM ends with 0 (after {ms} ms)", self.name);
    }

    fn log(&self) -> (Fold, Vec<Violation>) {
        let mut found = Vec::new();
        let verify = offline(&["log", "verify"], &self.start.dir);
        if verify.code != Some(0) {
            let what = format!("log verify after a clean stop: {verify:?}");
            found.push(Violation { kind: Kind::Dump, what });
        }
        let dump = offline(&["log", "dump", "--json"], &self.start.dir);
        if dump.code != Some(0) {
            let what = format!("log dump: exit {:?}: {}", dump.code, dump.stderr);
            found.push(Violation { kind: Kind::Dump, what });
        }
        (Fold::of(&dump.stdout), found)
    }

    /// Reads everything acknowledged and everything listed.
    fn read_all(&self, drained: bool) -> Finals {
        let addr = self.world.addr().expect("the server is up");
        let refs: BTreeSet<String> = self
            .world
            .history
            .all()
            .into_iter()
            .filter_map(|e| match e {
                Entry::Submit(s) if s.verdict == Verdict::Ok => s.task,
                Entry::HandOut(h) => Some(h.task),
                Entry::Submit(_)
                | Entry::Report(_)
                | Entry::Beat(_)
                | Entry::CancelJob { .. }
                | Entry::Sample { .. }
                | Entry::Nemesis { .. } => None,
            })
            .collect();
        let tasks = read_tasks(addr, refs.into_iter().collect());
        let (jobs, listed) = read_jobs(addr);
        Finals { tasks, listed, jobs, drained }
    }

    /// Restart and read again; delete the tracker, restart and read a third time.
    fn again(&self, finals: &Finals, found: &mut Vec<Violation>) {
        let plain = Start { strace: None, ..self.start.clone() };
        for round in ["after a restart", "after the tracker was deleted"] {
            if round.contains("tracker") {
                let tracker = self.start.dir.join("tracker");
                if tracker.exists() {
                    std::fs::remove_dir_all(&tracker).expect("the tracker can be deleted");
                }
            }
            let server = match Server::start(&plain) {
                Ok(server) => server,
                Err(why) => {
                    let what = format!("{round}: {why}");
                    return found.push(Violation { kind: Kind::Lost, what });
                }
            };
            let addr = server.addr().expect("it is ready");
            let (jobs, listed) = read_jobs(addr);
            differ(round, finals, &jobs, &listed, found);
            let some: Vec<String> = finals.tasks.keys().step_by(20).cloned().collect();
            for (task, seen) in read_tasks(addr, some) {
                if finals.tasks.get(&task) != Some(&seen) {
                    let what = format!("{round}: {task} reads {seen:?}");
                    found.push(Violation { kind: Kind::Contradiction, what });
                }
            }
            self.stop(server);
        }
    }

    fn report(&self, fold: &Fold, found: &[Violation]) {
        let w = &self.world;
        let full = self.flying.iter().filter(|f| f.iter().all(|n| *n > 0)).count();
        say(&format!(
            "{}: {} faults under load, {full} with submit, consume and report in flight; {} tasks \
             and {} operations acknowledged; {} log records; {} violations; {} s",
            self.name,
            self.flying.len(),
            w.acked.load(Ordering::SeqCst),
            w.operations.load(Ordering::SeqCst),
            fold.records,
            found.len(),
            (now_us() - self.began) / 1_000_000
        ));
        let odd = w.odd.lock().unwrap_or_else(PoisonError::into_inner);
        if !found.is_empty() || !odd.is_empty() {
            self.keep_history();
            odd.iter().take(20).for_each(|o| say(&format!("{}: odd answer: {o}", self.name)));
            print_violations(self.name, found);
            panic!("{}: {} violations, {} odd answers", self.name, found.len(), odd.len());
        }
        assert!(w.acked.load(Ordering::SeqCst) >= 200, "{}: invalid, too little", self.name);
        // A fault that hits an idle server proves little: such a run is invalid, never a pass.
        assert!(full * 10 >= self.flying.len() * 8, "{}: invalid: {:?}", self.name, self.flying);
    }

    fn keep_history(&self) {
        let path = self.side("history.jsonl");
        let line = |e: &Entry| serde_json::to_string(e).expect("an entry can be written") + "\n";
        let text: String = self.world.history.all().iter().map(line).collect();
        std::fs::write(&path, text).expect("the history can be kept");
        say(&format!("{}: history and data are kept in {}", self.name, self.scratch.display()));
    }
}

fn join_all(name: &str, threads: &mut Vec<JoinHandle<()>>) {
    for thread in threads.drain(..) {
        assert!(thread.join().is_ok(), "{name}: a client of the load panicked");
    }
}

/// Prints the first violations of each kind.
fn print_violations(name: &str, found: &[Violation]) {
    let mut by_kind: BTreeMap<Kind, Vec<&str>> = BTreeMap::new();
    for v in found {
        by_kind.entry(v.kind).or_default().push(&v.what);
    }
    for (kind, all) in by_kind {
        say(&format!("{name}: {kind:?}: {}", all.len()));
        all.iter().take(8).for_each(|what| say(&format!("    {what}")));
    }
}

fn differ(
    round: &str,
    finals: &Finals,
    jobs: &BTreeMap<String, JobView>,
    listed: &BTreeSet<String>,
    found: &mut Vec<Violation>,
) {
    for (job, view) in &finals.jobs {
        if jobs.get(job) != Some(view) {
            let what = format!("{round}: {job} reads {:?}, before {view:?}", jobs.get(job));
            found.push(Violation { kind: Kind::Counter, what });
        }
    }
    for task in finals.listed.symmetric_difference(listed) {
        let what = format!("{round}: {task} is in only one of the lists");
        found.push(Violation { kind: Kind::Counter, what });
    }
}

/// Live tasks of all jobs; `None` when some job could not be read.
fn live_tasks(world: &World) -> Option<i64> {
    let mut client = Client::new(world.addr()?);
    let mut sum = 0;
    for job in job_names(&mut client)? {
        let view = view(&client.get(&format!("/kwq/jobs/{job}")).ok()?.json());
        sum += view.queued + view.leased;
    }
    Some(sum)
}

/// All jobs, by the list and by name.
fn job_names(client: &mut Client) -> Option<BTreeSet<String>> {
    let mut names: BTreeSet<String> = JOBS.iter().map(|j| (*j).to_owned()).collect();
    for body in pages(client, "/kwq/jobs?limit=1000&fresh=true")? {
        names.extend(body["id"].as_str().map(str::to_owned));
    }
    Some(names)
}

/// All pages of a list.
fn pages(client: &mut Client, path: &str) -> Option<Vec<serde_json::Value>> {
    let mut all = Vec::new();
    let mut next = path.to_owned();
    for _ in 0..100_000 {
        let answer = client.get(&next).ok()?;
        if answer.status != 200 {
            return None;
        }
        all.extend(answer.json().as_array()?.iter().cloned());
        match answer.header("kwq-next") {
            Some(cursor) => next = format!("{path}&cursor={cursor}"),
            None => return Some(all),
        }
    }
    None
}

/// Numbers and listed references of all jobs.
fn read_jobs(addr: std::net::SocketAddr) -> (BTreeMap<String, JobView>, BTreeSet<String>) {
    let mut client = Client::with_timeout(addr, 30_000);
    let mut jobs = BTreeMap::new();
    let mut listed = BTreeSet::new();
    for job in job_names(&mut client).expect("the jobs can be listed") {
        let answer = client.get(&format!("/kwq/jobs/{job}")).expect("a job can be read");
        if answer.status == 200 {
            jobs.insert(job.clone(), view(&answer.json()));
        }
        let path = format!("/kwq/tasks?job={job}&order=old&limit=1000&fresh=true");
        for body in pages(&mut client, &path).expect("the tasks can be listed") {
            listed.extend(body["ref"].as_str().map(str::to_owned));
        }
    }
    (jobs, listed)
}

/// Reads tasks by reference over four connections.
fn read_tasks(addr: std::net::SocketAddr, refs: Vec<String>) -> BTreeMap<String, Option<Seen>> {
    let out = Arc::new(Mutex::new(BTreeMap::new()));
    let mut threads = Vec::new();
    for part in refs.chunks(refs.len().div_ceil(4).max(1)) {
        let (out, part) = (Arc::clone(&out), part.to_vec());
        threads.push(spawn("read", move || {
            let mut client = Client::with_timeout(addr, 30_000);
            for task in part {
                let seen = read_task(&mut client, &task);
                out.lock().unwrap_or_else(PoisonError::into_inner).insert(task, seen);
            }
        }));
    }
    for thread in threads {
        thread.join().expect("every task can be asked for");
    }
    let mut map = out.lock().unwrap_or_else(PoisonError::into_inner);
    std::mem::take(&mut *map)
}

fn read_task(client: &mut Client, task: &str) -> Option<Seen> {
    let mut last = String::new();
    // A log that failed is opened again: every partition has an owner within 15 s (P20).
    for _ in 0..150 {
        let answer = client.get(&format!("/kwq/tasks/{task}")).expect("a task can be asked for");
        if answer.status == 404 || answer.status == 410 {
            return None;
        }
        if answer.status == 200 {
            let body = answer.json();
            let text = |key: &str| body[key].as_str().map(str::to_owned);
            return Some(Seen {
                state: text("state").unwrap_or_default(),
                job: text("groupId").unwrap_or_default(),
                attempt: body["attempt"].as_u64().and_then(|n| n.try_into().ok()).unwrap_or(0),
                sha256: text("payloadSha256"),
            });
        }
        last = format!("{} {}", answer.status, String::from_utf8_lossy(&answer.body));
        pause_ms(100);
    }
    panic!("task {task} cannot be read within 15 s: {last}");
}

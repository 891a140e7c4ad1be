//! The choice of a task against a model that looks at every pending task, over random histories.

use crate::core::image::PartitionImage;
use crate::core::intern::{KeyNumber, WorkerKey};
use crate::core::partition::Partition;
use crate::core::partition::tests::owned;
use crate::model::affinity::{AffinityKey, AffinityMode, Fit};
use crate::model::array::{ArrayInput, Span};
use crate::model::command::{ALL_LEVELS, Command, Consume, Heartbeat};
use crate::model::event::Stamped;
use crate::model::id::{Name, PartitionId, Position, TaskSeq};
use crate::model::job::{CancelMode, JobChange};
use crate::model::lease::LeaseToken;
use crate::model::policy::Policy;
use crate::model::priority::Priority;
use crate::model::reply::Reply;
use crate::model::report::{Report, Verb};
use crate::model::state::TaskState;
use crate::model::task::{Delay, TaskInput};
use crate::model::time::Now;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const JOBS: [&str; 2] = ["a", "b"];
const WORKERS: usize = 3;

/// What was submitted and what should be known about it.
struct Model {
    partition: Partition,
    log: Vec<Stamped>,
    now: Now,
    /// Job and keys of each task.
    tasks: Vec<(usize, Vec<(u8, u8)>)>,
    /// Hand-outs since the latest head, by job and level.
    since_head: BTreeMap<(usize, usize), u16>,
    /// Hits and misses by job.
    counts: [(u64, u64); 2],
    /// By worker, latest last.
    learned: [Vec<u8>; WORKERS],
    held: Vec<(usize, TaskSeq, LeaseToken)>,
}

impl Model {
    fn new(policy: Policy) -> Self {
        let (partition, log, now) = owned(policy);
        Self {
            partition,
            log,
            now,
            tasks: Vec::new(),
            since_head: BTreeMap::new(),
            counts: [(0, 0); 2],
            learned: Default::default(),
            held: Vec::new(),
        }
    }

    fn run(&mut self, command: Command) -> Reply {
        self.partition.decide(command, self.now, &mut self.log)
    }

    fn submit(&mut self, job: usize, priority: u64, keys: &[(u8, u8)], count: usize) {
        let task = input(job, priority, keys);
        let Reply::Submitted(answer) = self.run(Command::submit(vec![task; count])) else {
            panic!("a submit is answered as one");
        };
        let admitted = answer.outcomes.iter().filter(|o| o.is_ok()).count();
        self.tasks.extend(std::iter::repeat_n((job, keys.to_vec()), admitted));
    }

    fn submit_array(&mut self, job: usize, keys: &[(u8, u8)], count: u64, delay_ms: u64) {
        let task = TaskInput { delay: Delay::For(delay_ms), ..input(job, 5, keys) };
        let array = ArrayInput { task, span: Span { from: 0, step: 1, count }, id: None };
        let Reply::Submitted(answer) = self.run(Command::submit(vec![array])) else {
            panic!("items are answered as one");
        };
        if answer.outcomes[0].is_ok() {
            let count = usize::try_from(count).expect("small");
            self.tasks.extend(std::iter::repeat_n((job, keys.to_vec()), count));
        }
    }

    /// Everything that could be handed out, by the states alone: (job, level) → tasks.
    fn pending(&self) -> BTreeMap<(usize, usize), BTreeSet<TaskSeq>> {
        let mut lanes: BTreeMap<_, BTreeSet<TaskSeq>> = BTreeMap::new();
        for (seq, (job, _)) in (0..).map(TaskSeq).zip(&self.tasks) {
            if self.partition.state(seq) == Some(TaskState::Pending) {
                let class = self.partition.class(seq).expect("pending");
                let level = self.partition.current_priority(seq, &class).index();
                lanes.entry((*job, level)).or_default().insert(seq);
            }
        }
        lanes
    }

    fn score(&self, seq: TaskSeq, warm: &BTreeSet<u8>) -> u32 {
        let keys = &self.tasks[usize::try_from(seq.0).expect("small")].1;
        keys.iter().filter(|(key, _)| warm.contains(key)).map(|(_, w)| u32::from(*w)).sum()
    }

    fn expected(&self, lane: &BTreeSet<TaskSeq>, warm: &BTreeSet<u8>) -> Option<TaskSeq> {
        let carries = |seq: &TaskSeq, key: u8| {
            let keys = &self.tasks[usize::try_from(seq.0).expect("small")].1;
            keys.iter().any(|(k, _)| *k == key)
        };
        let oldest = |key: &u8| lane.iter().copied().find(|seq| carries(seq, *key));
        let candidates: BTreeSet<TaskSeq> = warm.iter().filter_map(oldest).collect();
        let best = candidates.iter().map(|seq| self.score(*seq, warm)).max();
        candidates.into_iter().find(|seq| Some(self.score(*seq, warm)) == best)
    }

    fn consume(&mut self, worker: usize, named: &BTreeSet<u8>, max: usize, any: bool) {
        let mut lanes = self.pending();
        let mut warm = named.clone();
        warm.extend(&self.learned[worker]);
        let mode = if any { AffinityMode::Any } else { AffinityMode::Prefer };
        let consume = Consume { max, mode, ..wish(worker, named) };
        let Reply::Granted(grants) = self.run(Command::Consume(consume)) else {
            panic!("a consume is answered as one");
        };
        assert_eq!(grants.len(), max.min(lanes.values().map(BTreeSet::len).sum()));
        for grant in grants {
            let (job, keys) = self.tasks[usize::try_from(grant.seq.0).expect("small")].clone();
            let place = (job, grant.priority.index());
            let lane = lanes.get_mut(&place).expect("it was pending there");
            let head = *lane.first().expect("not empty");
            let since = self.since_head.entry(place).or_default();
            let due = *since + 1 >= self.partition.policy.head_every;
            *since = if grant.seq == head { 0 } else { *since + 1 };
            assert!(*since < 8, "of 8 hand-outs one is the head");
            let fits = if any || due { None } else { self.expected(lane, &warm) };
            assert_eq!(grant.seq, fits.unwrap_or(head));
            lanes.get_mut(&place).expect("as above").remove(&grant.seq);
            if !warm.is_empty() && !keys.is_empty() && self.partition.policy.affinity_on() {
                let hit = self.score(grant.seq, &warm) > 0;
                self.counts[job].0 += u64::from(hit);
                self.counts[job].1 += u64::from(!hit);
            }
            self.held.push((worker, grant.seq, grant.token));
        }
    }

    fn report(&mut self, pick: usize, verb: Verb) {
        if self.held.is_empty() {
            return;
        }
        let (worker, seq, token) = self.held.swap_remove(pick % self.held.len());
        let completes = matches!(verb, Verb::Complete { .. });
        let live = self.partition.state(seq).is_some_and(TaskState::leased);
        self.run(Command::Report(vec![Report { token: Some(token), worker: None, verb }]));
        if completes && live && self.partition.policy.affinity_on() {
            let keys = self.tasks[usize::try_from(seq.0).expect("small")].1.clone();
            let learned = &mut self.learned[worker];
            for (key, _) in keys {
                learned.retain(|known| *known != key);
                learned.push(key);
            }
            let over = learned.len().saturating_sub(self.partition.policy.learned_keys);
            learned.drain(..over);
        }
    }

    fn change(&mut self, job: usize, change: JobChange) {
        if let JobChange::Prioritise(to) = &change {
            let from: Vec<u16> =
                (0..9).filter_map(|level| self.since_head.remove(&(job, level))).collect();
            self.since_head.insert((job, to.index()), from.into_iter().max().unwrap_or(0));
        }
        let spec = Box::new(crate::core::admit::implicit_spec(&self.partition.policy));
        let job = JOBS[job].into();
        self.run(Command::ChangeJob { job, change, spec, implicit: true });
    }

    /// Counts are exact, replay and image know the same.
    fn check(&self) {
        let mut replayed = Partition::new(PartitionId(0), self.partition.policy, 0);
        for (at, record) in (0..).zip(&self.log) {
            replayed.replay(Position(at), record);
        }
        let image: PartitionImage = self.partition.image();
        let (id, policy) = (PartitionId(0), self.partition.policy);
        let mut restored = Partition::restore(id, policy, 0, image);
        restored.arm(self.now);
        for twin in [&self.partition, &replayed, &restored] {
            assert_eq!(twin.state_hash(), self.partition.state_hash());
            for (job, counts) in JOBS.iter().zip(self.counts) {
                let numbers = twin.job_row(job).map(|row| (row.numbers.hits, row.numbers.misses));
                assert_eq!(numbers.unwrap_or_default(), counts);
            }
        }
        for (lane, twin) in self.lanes().zip(restored.jobs.iter().flat_map(|job| &job.lanes)) {
            assert_eq!(lane.since_head, twin.since_head);
            for key in 0..self.partition.keys.count() {
                assert_eq!(lane.oldest_with(KeyNumber(key)), twin.oldest_with(KeyNumber(key)));
            }
        }
    }

    fn lanes(&self) -> impl Iterator<Item = &crate::core::lanes::Lane> {
        self.partition.jobs.iter().flat_map(|job| &job.lanes)
    }
}

fn input(job: usize, priority: u64, keys: &[(u8, u8)]) -> TaskInput {
    let affinity = keys.iter().map(|(k, weight)| AffinityKey { key: key(*k), weight: *weight });
    TaskInput {
        job: Some(JOBS[job].into()),
        priority: Priority::new(priority),
        affinity: Some(affinity.collect()),
        max_attempts: Some(9),
        ..TaskInput::default()
    }
}

fn key(number: u8) -> Name {
    Name::from(format!("curve={number}"))
}

fn wish(worker: usize, named: &BTreeSet<u8>) -> Consume {
    Consume {
        worker: Name::from(format!("w{worker}")),
        endpoint: None,
        max: 1,
        target_ms: None,
        peers: 1,
        max_bytes: u64::MAX,
        spent: Default::default(),
        lease_ms: Some(100_000),
        seed_lease: false,
        levels: ALL_LEVELS,
        jobs: Vec::new(),
        scopes: Default::default(),
        warm: named.iter().map(|k| key(*k)).collect(),
        mode: AffinityMode::Prefer,
    }
}

#[derive(Clone, Debug)]
enum Op {
    Submit(usize, u64, Vec<(u8, u8)>, usize),
    Array(usize, Vec<(u8, u8)>, u64, u64),
    Consume(usize, BTreeSet<u8>, usize, bool),
    Complete(usize),
    Fail(usize),
    Release(usize, u32),
    CancelTask(u64),
    RetryTask(u64),
    Prioritise(usize, u64),
    CancelJob(usize),
    Pass(u64),
}

fn keys() -> impl Strategy<Value = Vec<(u8, u8)>> {
    let one = (0u8..6, 1u8..4);
    proptest::collection::vec(one, 0..4).prop_map(|mut keys| {
        keys.sort_unstable();
        keys.dedup_by_key(|(key, _)| *key);
        keys
    })
}

fn op() -> impl Strategy<Value = Op> {
    let named = proptest::collection::btree_set(0u8..8, 0..4);
    prop_oneof![
        6 => (0..2usize, 4u64..6, keys(), 1..6usize)
            .prop_map(|(job, priority, keys, count)| Op::Submit(job, priority, keys, count)),
        2 => (0..2usize, keys(), 1..40u64, prop::sample::select(vec![0u64, 500, 3_000]))
            .prop_map(|(job, keys, count, delay)| Op::Array(job, keys, count, delay)),
        8 => (0..WORKERS, named, 1..5usize, prop::bool::weighted(0.1))
            .prop_map(|(worker, named, max, any)| Op::Consume(worker, named, max, any)),
        4 => (0..20usize).prop_map(Op::Complete),
        2 => (0..20usize).prop_map(Op::Fail),
        2 => (0..20usize, 0..3_000u32).prop_map(|(pick, delay)| Op::Release(pick, delay)),
        1 => (0..60u64).prop_map(Op::CancelTask),
        1 => (0..60u64).prop_map(Op::RetryTask),
        1 => (0..2usize, 4u64..7).prop_map(|(job, to)| Op::Prioritise(job, to)),
        1 => prop::bool::weighted(0.05).prop_map(|b| Op::CancelJob(usize::from(b))),
        2 => (1..2_000u64).prop_map(Op::Pass),
    ]
}

fn act(model: &mut Model, op: Op) {
    match op {
        Op::Submit(job, priority, keys, count) => model.submit(job, priority, &keys, count),
        Op::Array(job, keys, count, delay) => model.submit_array(job, &keys, count, delay),
        Op::Consume(worker, named, max, any) => model.consume(worker, &named, max, any),
        Op::Complete(pick) => {
            model.report(pick, Verb::Complete { result: None, run_ms: Some(5) });
        }
        Op::Fail(pick) => {
            let (class, message) = ("e".into(), "".into());
            let (retryable, retry_after_ms, run_ms) = (true, None, Some(5));
            model.report(pick, Verb::Fail { class, message, retryable, retry_after_ms, run_ms });
        }
        Op::Release(pick, delay_ms) => model.report(pick, Verb::Release { delay_ms }),
        Op::CancelTask(seq) => {
            model.run(Command::CancelTask(TaskSeq(seq)));
        }
        Op::RetryTask(seq) => {
            model.run(Command::RetryTask { seq: TaskSeq(seq), priority: Priority::new(5) });
        }
        Op::Prioritise(job, to) => {
            let to = Priority::new(to).expect("1 to 9");
            model.change(job, JobChange::Prioritise(to));
        }
        // Only the second job, and seldom, so that the first lives on.
        Op::CancelJob(0) => {}
        Op::CancelJob(job) => model.change(job, JobChange::Cancel(CancelMode::DropQueued, None)),
        Op::Pass(ms) => {
            model.now = Now { wall: model.now.wall.plus(ms), tick: model.now.tick.plus(ms) };
            model.run(Command::Tick);
        }
    }
}

proptest! {
    #[test]
    fn the_choice_is_that_of_a_model_which_looks_at_every_task(
        ops in proptest::collection::vec(op(), 1..120),
        learned_keys in prop::sample::select(vec![0usize, 2, 64]),
        head_every in prop::sample::select(vec![1u16, 2, 8]),
    ) {
        let mut model = Model::new(Policy { learned_keys, head_every, ..Policy::default() });
        for op in ops {
            act(&mut model, op);
        }
        model.check();
    }
}

fn learned(model: &Model, worker: usize) -> Vec<u32> {
    let name = Name::from(format!("w{worker}"));
    let number = model.partition.workers.known(&name).expect("it has had work");
    model.partition.learned.of(WorkerKey(number)).iter().map(|key| key.0).collect()
}

#[test]
fn the_head_waits_at_most_eight_hand_outs_of_its_lane() {
    let mut model = Model::new(Policy::default());
    model.submit(0, 5, &[(1, 1)], 40);
    model.submit(0, 5, &[(2, 1)], 40);
    model.consume(0, &BTreeSet::from([2]), 16, false);
    let heads: Vec<usize> = model
        .held
        .iter()
        .enumerate()
        .filter_map(|(at, (_, seq, _))| (seq.0 < 40).then_some(at))
        .collect();
    assert_eq!(heads, [7, 15]);
    assert_eq!(model.counts[0], (14, 2));
    model.check();
}

#[test]
fn learned_keys_go_with_their_worker_and_a_heartbeat_keeps_them() {
    let policy = Policy { worker_forget_ms: 1_000, ..Policy::default() };
    let mut model = Model::new(policy);
    model.submit(0, 5, &[(1, 1)], 9);
    model.consume(0, &BTreeSet::new(), 2, false);
    model.report(0, Verb::Complete { result: None, run_ms: Some(1) });
    assert_eq!(learned(&model, 0), [0]);
    let later = |now: Now| Now { wall: now.wall.plus(900), tick: now.tick.plus(900) };
    for _ in 0..2 {
        model.now = later(model.now);
        model.run(Command::Heartbeat(Heartbeat { worker: "w0".into(), leases: None }));
    }
    assert_eq!(learned(&model, 0), [0], "a heartbeat is a sign of life");
    model.now = later(later(model.now));
    model.learned[0].clear();
    model.consume(0, &BTreeSet::new(), 1, false);
    assert_eq!(learned(&model, 0), [0u32; 0], "silent for too long");
    model.report(0, Verb::Complete { result: None, run_ms: Some(1) });
    model.run(Command::DropWorker("w0".into()));
    assert_eq!(learned(&model, 0), [0u32; 0], "deleted");
    model.check();
}

#[test]
fn nothing_is_kept_for_tasks_that_are_gone() {
    let mut model = Model::new(Policy::default());
    for n in 0..60u8 {
        model.submit(0, 5, &[(n, 1), (100 + n % 7, 2)], 3);
    }
    model.submit(1, 5, &[(1, 1)], 50);
    assert!(model.partition.posting_bytes() > 0);
    model.change(1, JobChange::Cancel(CancelMode::DropQueued, None));
    model.consume(0, &BTreeSet::from([103, 105]), 180, false);
    let left = (0..model.partition.keys.count()).map(KeyNumber);
    assert!(left.into_iter().all(|key| model.lanes().all(|lane| lane.oldest_with(key).is_none())));
    model.check();
}

/// The keys of an array stand for all its elements: no posting for one that nobody touched.
#[test]
fn an_array_costs_its_keys_once_and_its_elements_are_served_by_affinity() {
    const MANY: u64 = 20_000_000;
    for delay_ms in [0, 5_000] {
        let mut model = Model::new(Policy::default());
        model.submit(0, 5, &[(1, 1)], 20);
        let delay = Delay::For(delay_ms);
        let task = TaskInput { delay, ..input(0, 5, &[(2, 1), (3, 1)]) };
        let array = ArrayInput { task, span: Span { from: 0, step: 1, count: MANY }, id: None };
        model.run(Command::submit(vec![array]));
        act(&mut model, Op::Pass(10_000));
        let policy = model.partition.policy;
        let restored = Partition::restore(PartitionId(0), policy, 0, model.partition.image());
        for partition in [&model.partition, &restored] {
            let bytes = partition.posting_bytes();
            assert!(bytes < 2_000, "{bytes} B of postings");
        }
        let ask = Consume { max: 7, ..wish(0, &BTreeSet::from([2])) };
        let Reply::Granted(grants) = model.run(Command::Consume(ask)) else { panic!("granted") };
        let seqs: Vec<u64> = grants.iter().map(|grant| grant.seq.0).collect();
        assert_eq!(seqs, [20, 21, 22, 23, 24, 25, 26], "the oldest elements, in front of the head");
        // One that leaves from the middle costs a cut, not the array.
        model.run(Command::CancelTask(TaskSeq(20 + MANY / 2)));
        let [_, hits, misses] = model.partition.stats().fits;
        assert_eq!((hits, misses), (7, 0));
        assert!(model.partition.posting_bytes() < 2_000);
    }
}

/// Without keys on either side nothing is counted; with affinity off nothing at all.
#[test]
fn only_hand_outs_with_keys_on_both_sides_count() {
    for (head_every, counts) in [(8, (1, 1)), (1, (0, 0))] {
        let mut model = Model::new(Policy { head_every, ..Policy::default() });
        model.submit(0, 5, &[], 1);
        model.submit(0, 5, &[(1, 1)], 3);
        for named in [BTreeSet::from([9]), BTreeSet::new(), BTreeSet::from([9])] {
            model.consume(0, &named, 1, false);
        }
        model.consume(0, &BTreeSet::from([1, 9]), 1, true);
        assert_eq!(model.counts[0], counts);
        let none = model.partition.stats().fits[Fit::None as usize];
        assert_eq!(none, 4 - counts.0 - counts.1);
        model.check();
    }
}

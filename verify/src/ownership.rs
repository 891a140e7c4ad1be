//! Ownership of one partition whose log is a Kafka topic: two nodes, a log that either may append to
//! at any time, and a group that proposes owners. It runs the [`Fence`] of the real back end.
//!
//! Each step of each part comes whenever it likes, so a node that pauses, a zombie that wakes, an
//! append that is delayed beyond a take-over and a proposal nobody heard of are all in it. On top,
//! as often as [`Bounds`] allow: an append is lost, one succeeds and is reported as failed, a node
//! crashes while its appends are on their way.
//!
//! ```text
//!   group ─ proposes ─► node ─ appends ─► sent ─► log ─► reports ─► node ─► told to workers
//!                                     (lost)      (muted)
//! ```
//! Left out: time. A lease lasts for ever here, so whoever is told of a task that another worker was
//! told of is a fault. That leases may end and be granted again is the business of the core.

use crate::changelog::{Folded, Record, Task, Token};
use kwq::log::fence::{Between, Fence, Latest, Settled};
use stateright::{Model, Property};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

const NODES: usize = 2;

/// A batch whose report is awaited.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Batch {
    Grant(Task, Token),
    Checkpoint,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Idle,
    /// Its `Owner` record is on its way.
    Acquiring,
    Serving {
        fence: Fence<Batch>,
        held: BTreeMap<Task, Token>,
        numbers: u8,
        releasing: bool,
    },
}

/// An append on its way, or its report: of which life of the node's producer.
type Sent<T> = VecDeque<(u8, T)>;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Node {
    /// What it has heard of the group.
    assigned: bool,
    phase: Phase,
    /// Producers it has had: reports of an earlier one are nobody's any more.
    life: u8,
    sent: Sent<Record>,
    reports: Sent<Option<u64>>,
}

/// How far is looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Tasks that wait.
    pub tasks: u8,
    /// Records of the log.
    pub records: usize,
    /// Times a node tries to become the owner.
    pub acquires: u8,
    /// Times the group changes its mind.
    pub moves: u8,
    /// Appends lost or muted, crashes.
    pub faults: u8,
    /// Batches of a node in flight.
    pub in_flight: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { tasks: 2, records: 7, acquires: 3, moves: 2, faults: 1, in_flight: 2 }
    }
}

/// A mistake to be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// Workers are told when a batch is sent.
    AnswerBeforeReport,
    /// A batch behind a gap counts without a look into the gap.
    AcceptGap,
    /// A checkpoint is committed wherever it landed.
    ZombieCheckpoint,
    /// Tokens are numbered anew by each owner, and that is all there is to them.
    ReusedToken,
    /// An `Owner` record in a gap is forgiven when the node itself has sent it, in an attempt it
    /// believed lost.
    ForgiveOwnOwner,
    /// A batch counts for readers although one before it in its epoch was lost.
    AcceptHole,
}

/// The protocol, or one with a mistake in it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ownership {
    /// How far is looked.
    pub bounds: Bounds,
    /// What is wrong with it.
    pub mistake: Option<Mistake>,
}

/// All of it at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    log: Vec<Record>,
    /// Whom the group proposes.
    group: Option<usize>,
    /// Committed checkpoint.
    mark: Option<usize>,
    nodes: [Node; NODES],
    /// What workers were told, by which node.
    told: BTreeSet<(Task, Token, usize)>,
    acquires: u8,
    moves: u8,
    faults: u8,
    /// A gap without an owner in it was stepped over.
    bridged: bool,
}

/// A step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The group proposes a node.
    Propose(usize),
    /// A node hears whether it is the one; one that is not any more drops everything.
    Hear(usize),
    /// One that is not any more ends well: a checkpoint, and then nothing.
    Release(usize),
    /// A node tries to become the owner.
    Acquire(usize),
    /// An owner hands out the first task that nobody holds.
    Decide(usize),
    /// An append of a node arrives: one that is the oldest of its producer.
    Append(usize, usize),
    /// It arrives, and its report says that it failed.
    Mute(usize, usize),
    /// It is lost.
    Lose(usize, usize),
    /// The oldest report is looked at.
    Report(usize),
    /// A node dies. What it has sent is still on its way.
    Crash(usize),
}

impl Model for Ownership {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let node = || Node {
            assigned: false,
            phase: Phase::Idle,
            life: 0,
            sent: Sent::new(),
            reports: Sent::new(),
        };
        vec![State {
            log: Vec::new(),
            group: None,
            mark: None,
            nodes: std::array::from_fn(|_| node()),
            told: BTreeSet::new(),
            acquires: 0,
            moves: 0,
            faults: 0,
            bridged: false,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let faulty = state.faults < self.bounds.faults;
        for (n, node) in state.nodes.iter().enumerate() {
            if state.moves < self.bounds.moves && state.group != Some(n) {
                actions.push(Action::Propose(n));
            }
            if node.assigned != (state.group == Some(n)) {
                actions.push(Action::Hear(n));
            }
            match &node.phase {
                Phase::Idle if node.assigned && state.acquires < self.bounds.acquires => {
                    actions.push(Action::Acquire(n));
                }
                Phase::Serving { fence, held, releasing: false, .. } => {
                    if state.group != Some(n) && fence.in_flight() == 0 {
                        actions.push(Action::Release(n));
                    }
                    let room = fence.in_flight() < self.bounds.in_flight;
                    if room && (held.len() as u8) < self.bounds.tasks {
                        actions.push(Action::Decide(n));
                    }
                }
                Phase::Idle | Phase::Acquiring | Phase::Serving { .. } => {}
            }
            for at in node.oldest() {
                actions.push(Action::Append(n, at));
                let bad = [Action::Mute(n, at), Action::Lose(n, at)];
                actions.extend(bad.iter().filter(|_| faulty));
            }
            if !node.reports.is_empty() {
                actions.push(Action::Report(n));
            }
            if faulty && node.phase != Phase::Idle {
                actions.push(Action::Crash(n));
            }
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::Propose(n) => {
                state.group = Some(n);
                state.moves += 1;
            }
            Action::Hear(n) => {
                state.nodes[n].assigned = state.group == Some(n);
                if !state.nodes[n].assigned {
                    state.nodes[n].down();
                }
            }
            Action::Release(n) => self.release(&mut state, n),
            Action::Acquire(n) => {
                state.acquires += 1;
                let node = &mut state.nodes[n];
                node.life += 1;
                node.phase = Phase::Acquiring;
                node.send(Record::Owner { node: n });
            }
            Action::Decide(n) => self.decide(&mut state, n),
            Action::Append(n, at) | Action::Mute(n, at) => {
                let (life, record) = state.nodes[n].sent.remove(at)?;
                let offset = state.log.len() as u64;
                state.log.push(record);
                let muted = action == Action::Mute(n, at);
                state.faults += u8::from(muted);
                state.nodes[n].reports.push_back((life, (!muted).then_some(offset)));
            }
            Action::Lose(n, at) => {
                let (life, _) = state.nodes[n].sent.remove(at)?;
                state.faults += 1;
                state.nodes[n].reports.push_back((life, None));
            }
            Action::Report(n) => self.report(&mut state, n)?,
            Action::Crash(n) => {
                state.faults += 1;
                let node = &mut state.nodes[n];
                node.assigned = false;
                node.down();
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(NO_DOUBLE, |_, state: &State| {
                let tasks: BTreeSet<_> = state.told.iter().map(|(task, ..)| task).collect();
                tasks.len() == state.told.len()
            }),
            Property::always(TOKEN_IS_ONE, |_, state: &State| {
                let tokens: BTreeSet<_> = state.told.iter().map(|(_, token, _)| token).collect();
                tokens.len() == state.told.len()
            }),
            Property::always(IN_THE_LOG, |_, state: &State| {
                let all = Folded::of(&state.log, None, state.log.len());
                let kept =
                    |(task, token, _): &(Task, Token, usize)| all.held.get(task) == Some(token);
                state.told.iter().all(kept)
            }),
            Property::always(SAME_FROM_THE_MARK, |_, state: &State| {
                let end = state.log.len();
                Folded::of(&state.log, state.mark, end) == Folded::of(&state.log, None, end)
            }),
            Property::always(NO_HOLE, |model: &Self, state: &State| {
                let end = state.log.len();
                let all = Folded::read(&state.log, None, end, model.has(Mistake::AcceptHole));
                let grants = state.log.iter().filter_map(|record| match record {
                    Record::Grant { epoch, number, task, token } => {
                        Some((*epoch, *number, all.held.get(task) == Some(token)))
                    }
                    Record::Owner { .. } | Record::Checkpoint { .. } => None,
                });
                let grants: Vec<(u64, u64, bool)> = grants.collect();
                // Nodes hand out only until they release, so all before a grant are grants.
                let there = |epoch, number| grants.contains(&(epoch, number, true));
                let whole = |epoch, number| (1..number).all(|before| there(epoch, before));
                grants.iter().all(|(epoch, number, counts)| !counts || whole(*epoch, *number))
            }),
            Property::sometimes("a batch that rests on a lost one is void", |_, state: &State| {
                let counts = |epoch, number| {
                    state.log.iter().any(|record| record.batch() == Some((epoch, number)))
                };
                let first = |(epoch, number): (u64, u64)| number == 1 || counts(epoch, number - 1);
                !state.log.iter().filter_map(Record::batch).all(first)
            }),
            Property::sometimes("both nodes have told something", |_, state: &State| {
                (0..NODES).all(|n| state.told.iter().any(|(.., by)| *by == n))
            }),
            Property::sometimes("a batch of a deposed owner is void", |_, state: &State| {
                let all = Folded::of(&state.log, None, state.log.len());
                state.log.iter().any(|record| match record {
                    Record::Grant { task, token, .. } => all.held.get(task) != Some(token),
                    Record::Owner { .. } | Record::Checkpoint { .. } => false,
                })
            }),
            Property::sometimes("a gap of older epochs is stepped over", |_, state: &State| {
                state.bridged
            }),
            Property::sometimes("a node begins from a checkpoint", |_, state: &State| {
                let serves = |node: &Node| matches!(node.phase, Phase::Serving { .. });
                state.mark.is_some() && state.nodes.iter().any(serves)
            }),
        ]
    }

    fn within_boundary(&self, state: &State) -> bool {
        state.log.len() <= self.bounds.records
    }
}

/// P19, as a worker sees it.
pub const NO_DOUBLE: &str = "no task is told twice";
/// A token is told for one hand-out only.
pub const TOKEN_IS_ONE: &str = "a token proves one hand-out";
/// What a worker was told, the next owner knows.
pub const IN_THE_LOG: &str = "what is told counts in the log";
/// A batch rests on all before it in its epoch.
pub const NO_HOLE: &str = "what counts rests on nothing that was lost";
/// A checkpoint stands for all before it.
pub const SAME_FROM_THE_MARK: &str = "a checkpoint leaves nothing out";

impl Node {
    fn send(&mut self, record: Record) {
        self.sent.push_back((self.life, record));
    }

    /// Places of the appends that may arrive next: a producer keeps the order of its own, those of
    /// earlier lives of the node may come whenever they like.
    fn oldest(&self) -> Vec<usize> {
        let first = |at: &usize| !self.sent.range(..at).any(|(life, _)| *life == self.sent[*at].0);
        (0..self.sent.len()).filter(first).collect()
    }

    /// Drops the partition; reports of what was sent are nobody's any more.
    fn down(&mut self) {
        self.phase = Phase::Idle;
        self.life += 1;
        self.reports.clear();
    }
}

impl Ownership {
    fn has(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }

    fn decide(&self, state: &mut State, n: usize) {
        let State { nodes, told, .. } = state;
        let Phase::Serving { fence, held, numbers, .. } = &mut nodes[n].phase else { return };
        let free = (0..self.bounds.tasks).find(|task| !held.contains_key(task));
        let Some(task) = free else { return };
        let epoch = fence.epoch();
        let token = match self.has(Mistake::ReusedToken) {
            true => Token { epoch: 0, number: *numbers },
            false => Token { epoch, number: *numbers },
        };
        *numbers += 1;
        held.insert(task, token);
        let number = fence.number();
        fence.begin(Batch::Grant(task, token));
        if self.has(Mistake::AnswerBeforeReport) {
            told.insert((task, token, n));
        }
        nodes[n].send(Record::Grant { epoch, number, task, token });
    }

    fn release(&self, state: &mut State, n: usize) {
        let Phase::Serving { fence, held, releasing, .. } = &mut state.nodes[n].phase else {
            return;
        };
        *releasing = true;
        let (epoch, number) = (fence.epoch(), fence.number());
        fence.begin(Batch::Checkpoint);
        let folded = Folded { latest: Latest::behind(epoch, number), held: held.clone() };
        state.nodes[n].send(Record::Checkpoint { epoch, number, folded });
    }

    fn report(&self, state: &mut State, n: usize) -> Option<()> {
        let (life, offset) = state.nodes[n].reports.pop_front()?;
        if life != state.nodes[n].life {
            return Some(());
        }
        let State { log, nodes, mark, .. } = state;
        match &mut nodes[n].phase {
            Phase::Idle => {}
            Phase::Acquiring => match offset {
                Some(epoch) => {
                    let held = Folded::of(log, *mark, epoch as usize).held;
                    let fence = Fence::new(epoch);
                    nodes[n].phase = Phase::Serving { fence, held, numbers: 0, releasing: false };
                }
                None => nodes[n].down(),
            },
            Phase::Serving { fence, .. } => {
                let settled = match fence.report(offset) {
                    Settled::Gap { from, to } => {
                        let between = log[from as usize..to as usize].iter();
                        let settled = fence.bridge(between.map(|record| self.between(n, record)));
                        state.bridged |= matches!(settled, Settled::Counts(_));
                        settled
                    }
                    settled => settled,
                };
                self.settle(state, n, settled, offset);
            }
        }
        Some(())
    }

    fn settle(&self, state: &mut State, n: usize, settled: Settled<Batch>, offset: Option<u64>) {
        match settled {
            Settled::Counts(Batch::Grant(task, token)) => {
                state.told.insert((task, token, n));
            }
            Settled::Counts(Batch::Checkpoint) => {
                state.mark = offset.map(|offset| offset as usize);
                state.nodes[n].down();
            }
            Settled::Gap { .. } | Settled::Down => {
                let landed = offset.map(|offset| offset as usize);
                let is_checkpoint = |at: usize| matches!(state.log[at], Record::Checkpoint { .. });
                if self.has(Mistake::ZombieCheckpoint)
                    && let Some(at) = landed.filter(|at| is_checkpoint(*at))
                {
                    state.mark = Some(at);
                }
                state.nodes[n].down();
            }
        }
    }

    /// What a record in a gap is to a node.
    fn between(&self, n: usize, record: &Record) -> Between {
        match record {
            Record::Owner { .. } if self.has(Mistake::AcceptGap) => Between::Void,
            Record::Owner { node } if *node == n && self.has(Mistake::ForgiveOwnOwner) => {
                Between::Void
            }
            Record::Owner { .. } => Between::Owner,
            Record::Grant { .. } | Record::Checkpoint { .. } => Between::Void,
        }
    }
}

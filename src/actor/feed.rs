//! What changes on this node, for `GET /kwq/events`: looked for once a second, kept for a minute.
//!
//! ```text
//!   publish (1/s) ─► Feed: ring of events ──────────┐
//!   beat (1/s) ────► number of this second's snapshot ─► Events (one a listener: a cursor)
//!                         Audience: its text, made by the first listener who gets there
//! ```
//! A listener holds a place and no queue: one that reads slowly goes on with what the ring still
//! has.
//!
//! An id is a number that rises and, in its last six digits, a mark that this process drew. Numbers
//! rise over restarts too, because none is smaller than the wall clock in ms; by the mark an id of
//! another instance is known, by the number one of an earlier process. Two instances draw the same
//! mark once in a million times.
//!
//! Bounds: of the last 60 s at most 8,192 events and 16 MiB; of a job known here some 100 B; a
//! snapshot for each set of scopes that somebody listens with.

use crate::actor::bodies;
use crate::actor::engine::lock;
use crate::actor::handle::KwqHandle;
use crate::actor::handle_operations::reaches;
use crate::codec::wire::sse;
use crate::model::access::Scopes;
use crate::model::id::Name;
use crate::model::job::JobState;
use crate::model::limits;
use crate::model::operation::{OpNo, OpSpec, OpState, Operation};
use crate::model::policy::Policy;
use crate::model::time::Now;
use crate::model::view::JobView;
use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, Weak};
use tokio::sync::watch;

/// Text of an event, shared by everybody it is sent to.
pub type Text = Arc<[u8]>;

/// Whom an event concerns.
enum About {
    Job(Name),
    Operation(OpSpec),
    Everybody,
}

impl About {
    fn within(&self, scopes: &Scopes) -> bool {
        match self {
            Self::Job(job) => scopes.cover(job),
            Self::Operation(spec) => reaches(scopes, spec),
            Self::Everybody => true,
        }
    }
}

struct Event {
    number: u64,
    /// When it was found, ms of the monotonic clock.
    at: u64,
    about: About,
    text: Text,
}

/// A job as it was last told.
struct Told {
    print: u64,
    mark: (JobState, bool),
    /// Number of that event; 0 = none since the start.
    number: u64,
}

/// How far an operation was when it was last told.
type Progress = (OpState, u64, u64);

/// What a change of the cluster is: epoch and state of each partition, and whether all levels are
/// paused, if that is known.
pub(crate) type ClusterMark = (Vec<(u64, u8)>, Option<bool>);

#[derive(Default)]
struct Ring {
    events: VecDeque<Event>,
    bytes: usize,
    /// Mark of this process in its ids.
    mark: u64,
    /// First number given; 0 = none yet.
    first: u64,
    /// Latest number given.
    latest: u64,
    /// Number of the snapshot of this second.
    beat: u64,
    /// `None` before the first look, which finds no changes.
    jobs: Option<BTreeMap<Name, Told>>,
    operations: Option<BTreeMap<OpNo, Progress>>,
    cluster: Option<ClusterMark>,
}

impl Ring {
    fn number(&mut self, now: Now) -> u64 {
        self.latest = now.wall.0.max(self.latest + 1);
        if self.first == 0 {
            self.first = self.latest;
        }
        self.latest
    }

    /// The id of a number.
    fn id(&self, number: u64) -> u64 {
        number.saturating_mul(limits::EVENT_MARKS).saturating_add(self.mark)
    }

    /// The number of an id; `None` = this process never gave it.
    fn number_of(&self, id: u64) -> Option<u64> {
        let (number, mark) = (id / limits::EVENT_MARKS, id % limits::EVENT_MARKS);
        (mark == self.mark && (self.first..=self.latest).contains(&number)).then_some(number)
    }

    fn push(&mut self, now: Now, about: About, kind: &str, data: &[u8]) -> u64 {
        let number = self.number(now);
        let text: Text = sse::event(self.id(number), kind, data).into();
        self.bytes += text.len();
        self.events.push_back(Event { number, at: now.tick.0, about, text });
        while self.events.len() > limits::FEED_EVENTS_MAX || self.bytes > limits::FEED_BYTES_MAX {
            self.forget_oldest();
        }
        number
    }

    fn forget_oldest(&mut self) {
        if let Some(event) = self.events.pop_front() {
            self.bytes -= event.text.len();
        }
    }

    fn forget_before(&mut self, tick: u64) {
        while self.events.front().is_some_and(|event| event.at < tick) {
            self.forget_oldest();
        }
    }

    /// The first event behind a number, for these scopes.
    fn behind(&self, number: u64, scopes: &Scopes) -> Option<&Event> {
        let from = self.events.partition_point(|event| event.number <= number);
        self.events.range(from..).find(|event| event.about.within(scopes))
    }
}

/// The events of this node.
pub(crate) struct Feed {
    ring: Mutex<Ring>,
    /// Changes when there is something new.
    news: watch::Sender<u64>,
    audiences: Mutex<BTreeMap<Vec<Name>, Weak<Audience>>>,
}

impl Default for Feed {
    fn default() -> Self {
        Self { ring: Mutex::default(), news: watch::Sender::new(0), audiences: Mutex::default() }
    }
}

impl Feed {
    /// Draws the mark of this process, by these random bits; before the first event.
    pub(crate) fn begin(&self, chance: u64) {
        lock(&self.ring).mark = chance % limits::EVENT_MARKS;
    }

    /// A second has passed: there may be another snapshot.
    pub(crate) fn beat(&self, now: Now) {
        let mut ring = lock(&self.ring);
        ring.forget_before(now.tick.0.saturating_sub(limits::FEED_MS));
        ring.beat = ring.number(now);
        self.tell(&ring);
    }

    fn tell(&self, ring: &Ring) {
        self.news.send_replace(ring.latest);
    }

    /// A look at all jobs. When more have changed than are told in a second, those whose state did
    /// go first, then those that wait longest for their turn.
    pub(crate) fn jobs(&self, jobs: &[JobView], policy: &Policy, now: Now) {
        let mut ring = lock(&self.ring);
        let first = ring.jobs.is_none();
        let mut told = ring.jobs.take().unwrap_or_default();
        let mut kept = BTreeMap::new();
        let mut changed = Vec::new();
        for job in jobs {
            let (print, mark) = (job.print(), (job.state, job.paused));
            let before = told.remove(&job.id);
            match &before {
                None if first => drop(kept.insert(job.id.clone(), Told { print, mark, number: 0 })),
                Some(before) if before.print == print => {}
                Some(_) | None => {
                    let turned = before.as_ref().is_none_or(|before| before.mark != mark);
                    let number = before.as_ref().map_or(0, |before| before.number);
                    changed.push((Reverse(turned), number, job, print));
                }
            }
            kept.extend(before.map(|before| (job.id.clone(), before)));
        }
        changed.sort_by_key(|(turned, number, _, _)| (*turned, *number));
        for (_, _, job, print) in changed.into_iter().take(limits::FEED_CHANGES_MAX) {
            let data = bodies::job(job, policy, now.wall);
            let number = ring.push(now, About::Job(job.id.clone()), "job", &data);
            kept.insert(job.id.clone(), Told { print, mark: (job.state, job.paused), number });
        }
        ring.jobs = Some(kept);
        self.tell(&ring);
    }

    /// A look at all operations, newest first; of many changes the oldest operations' go first.
    pub(crate) fn operations(&self, operations: &[Operation], now: Now) {
        let mut ring = lock(&self.ring);
        let progress = |of: &Operation| (of.op, (of.state, of.done, of.skipped));
        let Some(told) = ring.operations.take() else {
            ring.operations = Some(operations.iter().map(progress).collect());
            return;
        };
        let mut kept = BTreeMap::new();
        let mut left = limits::FEED_CHANGES_MAX;
        for operation in operations.iter().rev() {
            let (op, now_at) = progress(operation);
            let before = told.get(&op);
            if before == Some(&now_at) || left == 0 {
                kept.extend(before.map(|before| (op, *before)));
                continue;
            }
            left -= 1;
            let about = About::Operation(operation.spec.clone());
            ring.push(now, about, "operation", &bodies::operation_of(operation));
            kept.insert(op, now_at);
        }
        ring.operations = Some(kept);
        self.tell(&ring);
    }

    /// A look at the cluster; true when it has changed since the one before.
    pub(crate) fn cluster_changed(&self, mut mark: ClusterMark) -> bool {
        let mut ring = lock(&self.ring);
        mark.1 = mark.1.or_else(|| ring.cluster.as_ref().and_then(|before| before.1));
        let before = ring.cluster.replace(mark);
        before.is_some() && before != ring.cluster
    }

    /// How the cluster is after a change.
    pub(crate) fn cluster(&self, data: &[u8], now: Now) {
        let mut ring = lock(&self.ring);
        ring.push(now, About::Everybody, "cluster", data);
        self.tell(&ring);
    }

    /// Those who listen with the same scopes.
    fn audience(&self, scopes: &Scopes) -> Arc<Audience> {
        let key: Vec<Name> = scopes.iter().cloned().collect();
        let mut audiences = lock(&self.audiences);
        if let Some(known) = audiences.get(&key).and_then(Weak::upgrade) {
            return known;
        }
        audiences.retain(|_, audience| audience.strong_count() > 0);
        let audience = Arc::new(Audience::default());
        audiences.insert(key, Arc::downgrade(&audience));
        audience
    }
}

/// Listeners that see the same: what was made for one of them is for all.
#[derive(Default)]
struct Audience {
    /// Number of the latest snapshot and its text; `None` = it could not be made.
    made: tokio::sync::Mutex<(u64, Option<Text>)>,
}

impl Audience {
    /// The snapshot of a beat. The first who asks makes it, the others wait for him; if he goes
    /// away meanwhile the next one makes it.
    async fn snapshot(&self, handle: &KwqHandle, beat: u64) -> Option<Text> {
        let mut made = self.made.lock().await;
        if made.0 < beat {
            let now = handle.stats_now().await.ok();
            let id = lock(&handle.engine.feed.ring).id(beat);
            let text = now.map(|now| sse::event(id, "snapshot", &bodies::snapshot(&now)).into());
            *made = (beat, text);
        }
        made.1.clone()
    }
}

/// What one listener has still to be told.
pub struct Events {
    handle: KwqHandle,
    audience: Arc<Audience>,
    news: watch::Receiver<u64>,
    /// Nothing up to this number is told any more.
    told: u64,
    /// The latest snapshot that is not told any more.
    seen: u64,
}

/// What comes next.
enum Next {
    Event(Text),
    Snapshot(u64),
    Nothing,
}

impl KwqHandle {
    /// Events from now on, for the jobs of this door; with the id of the last event a listener has
    /// had, first those of the last 60 s that it has missed. Of an id that this process never gave
    /// it is all of them.
    #[must_use]
    pub fn events(&self, after: Option<u64>) -> Events {
        let feed = &self.engine.feed;
        let news = feed.news.subscribe();
        let audience = feed.audience(&self.scopes);
        let ring = lock(&feed.ring);
        let told = match after {
            None => ring.latest,
            Some(id) => ring.number_of(id).unwrap_or(0),
        };
        Events { handle: self.clone(), audience, news, told, seen: ring.beat }
    }
}

impl Events {
    /// The next event as text, once there is one. To give up waiting loses nothing.
    pub async fn next(&mut self) -> Text {
        loop {
            match self.look() {
                Next::Event(text) => return text,
                Next::Snapshot(beat) => {
                    let text = self.audience.snapshot(&self.handle, beat).await;
                    (self.told, self.seen) = (beat, beat);
                    if let Some(text) = text {
                        return text;
                    }
                }
                // The sender lives in the engine, which the handle holds.
                Next::Nothing => drop(self.news.changed().await),
            }
        }
    }

    /// The next event that is there already, without snapshots.
    pub fn left(&mut self) -> Option<Text> {
        loop {
            match self.look() {
                Next::Event(text) => return Some(text),
                Next::Snapshot(beat) => self.seen = beat,
                Next::Nothing => return None,
            }
        }
    }

    /// What comes next, in the order of the numbers.
    fn look(&mut self) -> Next {
        self.news.mark_unchanged();
        let ring = lock(&self.handle.engine.feed.ring);
        let due = ring.beat > self.seen && ring.beat > self.told;
        match ring.behind(self.told, &self.handle.scopes) {
            Some(event) if !due || event.number < ring.beat => {
                self.told = event.number;
                Next::Event(Arc::clone(&event.text))
            }
            Some(_) | None if due => Next::Snapshot(ring.beat),
            Some(_) | None => Next::Nothing,
        }
    }
}

#[cfg(test)]
#[path = "feed_tests.rs"]
pub(crate) mod tests;

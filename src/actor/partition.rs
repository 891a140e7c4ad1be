//! [`PartitionActor`]: chunk → decide → append → durable → replies. No logic of its own.

use crate::actor::engine::{Engine, OUTAGE_MS, disk_full, lock, shed_class};
use crate::actor::envelope::{Envelope, Waiting, Work};
use crate::actor::gate::{Commands, Gate};
use crate::actor::node::{Fall, NodeActor, PartitionDown};
use crate::core::partition::Partition;
use crate::core::workers::heartbeat_ms;
use crate::log::{Appended, Batch, Error, EventLog, Room};
use crate::metrics::ShedReason;
use crate::model::access::Scopes;
use crate::model::command::{Class, Command};
use crate::model::event::{Event, Stamped};
use crate::model::id::{LeaseNo, PartitionId, Position};
use crate::model::reject::{Code, Reject};
use crate::model::reply::{AdmittedItem, Decided, Reply};
use crate::model::time::{Now, Tick};
use actix::prelude::*;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Commands older than this are refused unless they are reports, ms.
const AGE_MAX_MS: u64 = 1_000;

/// Runs one partition on its shard.
pub(crate) struct PartitionActor {
    partition: Partition,
    engine: Arc<Engine>,
    log: Arc<dyn EventLog>,
    gate: Rc<Gate>,
    receiver: Option<mpsc::Receiver<Envelope>>,
    open: VecDeque<OpenBatch>,
    durable: Position,
    appends: u64,
    timer: Option<(Tick, SpawnHandle)>,
    snapshots: Vec<oneshot::Sender<Snapshot>>,
    stopping: bool,
    /// The state holds events that the log will never have: nothing is answered any more.
    failed: bool,
    /// When the process last went on after it had stood still, as far as this partition knows.
    thawed_at: u64,
    guard: DownGuard,
}

struct OpenBatch {
    events: Arc<[Stamped]>,
    waiting: Vec<Waiting>,
    sent: Tick,
    number: u64,
    outcome: Option<Result<Appended, Error>>,
}

/// Image of a partition as of a position (first record not inside).
pub(crate) struct Snapshot {
    pub(crate) image: crate::core::image::PartitionImage,
    pub(crate) position: Position,
}

/// Asks for an image; answered when everything decided is durable.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct TakeSnapshot {
    pub(crate) reply: oneshot::Sender<Snapshot>,
    /// Serve nothing afterwards.
    pub(crate) stop: bool,
}

/// Stop at once for this reason: the log has failed for everybody, or another instance has the
/// partition.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Halt(pub(crate) Error);

/// Tells the node when the actor goes away, also by a panic.
struct DownGuard {
    id: PartitionId,
    node: Addr<NodeActor>,
    expected: bool,
    fenced: bool,
}

impl Drop for DownGuard {
    fn drop(&mut self) {
        let fall = match (std::thread::panicking(), self.fenced) {
            (true, _) => Fall::Panic,
            (false, true) => Fall::Fenced,
            (false, false) => Fall::Log,
        };
        if fall == Fall::Panic || !self.expected {
            self.node.do_send(PartitionDown { id: self.id, fall });
        }
    }
}

/// What a partition starts with.
pub(crate) struct Start {
    pub(crate) partition: Partition,
    pub(crate) engine: Arc<Engine>,
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) node: Addr<NodeActor>,
    pub(crate) receiver: mpsc::Receiver<Envelope>,
    pub(crate) durable: Position,
}

impl PartitionActor {
    pub(crate) fn new(start: Start) -> Self {
        let id = start.partition.id();
        let guard = DownGuard { id, node: start.node, expected: false, fenced: false };
        Self {
            partition: start.partition,
            engine: start.engine,
            log: start.log,
            gate: Rc::default(),
            receiver: Some(start.receiver),
            open: VecDeque::new(),
            durable: start.durable,
            appends: 0,
            timer: None,
            snapshots: Vec::new(),
            stopping: false,
            failed: false,
            guard,
            thawed_at: 0,
        }
    }

    /// One turn: decide what is there, append once.
    fn turn(&mut self, chunk: Vec<Envelope>, ctx: &mut Context<Self>) {
        let now = self.engine.clock.now();
        let (mut events, mut waiting) = (self.notice_freeze(now), Vec::new());
        let room = self.log.room();
        for Envelope { work, class, held, sent } in chunk {
            drop(held);
            match work {
                Work::Inspect(read) => waiting.push(Waiting::Read(read(&self.partition))),
                Work::Decide(_, reply) if reply.is_closed() && class != Class::Report => {}
                Work::Decide(command, reply) => {
                    let refusal = refusal(&command, class, sent, now, room);
                    let decided = match refusal {
                        Some((full, reject)) => {
                            self.engine.metrics.shed(shed_class(class), full);
                            Reply::Refused(reject)
                        }
                        None => self.partition.decide(command, now, &mut events),
                    };
                    waiting.push(Waiting::Reply(decided, reply));
                }
            }
        }
        self.finish(events, waiting, ctx);
        let took_ms = self.engine.clock.now().tick.since(now.tick);
        self.engine.metrics.turn_seconds.record(Duration::from_millis(took_ms));
    }

    /// After the process stood still leases begin anew: beats that came meanwhile were not heard.
    /// Another instance may have taken the partition, too: not even a question is answered before
    /// what is returned was appended and has counted.
    fn notice_freeze(&mut self, now: Now) -> Vec<Stamped> {
        let thawed_at = self.engine.thawed_at(now);
        if std::mem::replace(&mut self.thawed_at, thawed_at) == thawed_at {
            return Vec::new();
        }
        self.partition.thaw(now);
        let nothing = Stamped { at: now.wall, event: Event::Started(Vec::new()) };
        if self.log.others_append() { vec![nothing] } else { Vec::new() }
    }

    /// Nothing could be recorded for a while.
    fn stalled(&self, now: Now) -> bool {
        self.open.front().is_some_and(|batch| now.tick.since(batch.sent) > OUTAGE_MS)
    }

    /// Appends what was decided; replies wait for it.
    fn finish(&mut self, events: Vec<Stamped>, waiting: Vec<Waiting>, ctx: &mut Context<Self>) {
        if self.failed {
            return;
        }
        let moved = !events.is_empty();
        if !moved {
            match self.open.back_mut() {
                // What was read or refused may rest on events that are not durable yet.
                Some(batch) => batch.waiting.extend(waiting),
                None => self.release(waiting, ctx),
            }
        } else {
            let events: Arc<[Stamped]> = events.into();
            let batch = Batch { epoch: self.partition.epoch(), events: Arc::clone(&events) };
            match self.log.append(self.partition.id(), batch) {
                Ok(ticket) => {
                    let sent = self.engine.clock.now().tick;
                    self.appends += 1;
                    let number = self.appends;
                    self.open.push_back(OpenBatch { events, waiting, sent, number, outcome: None });
                    self.gate.begin();
                    let done = ticket.into_actor(self);
                    ctx.spawn(
                        done.map(move |outcome, actor, ctx| actor.resolved(number, outcome, ctx)),
                    );
                }
                Err(error) => {
                    drop(waiting);
                    self.fail(&error, ctx);
                    return;
                }
            }
        }
        self.publish_ready(moved);
        self.arm_timer(ctx);
    }

    /// A ticket resolved. Tickets resolve in order, but the futures that wait for them are polled
    /// in any: a batch is settled
    /// only when it is the oldest one.
    fn resolved(&mut self, number: u64, outcome: Result<Appended, Error>, ctx: &mut Context<Self>) {
        if let Some(batch) = self.open.iter_mut().find(|b| b.number == number) {
            batch.outcome = Some(outcome);
        }
        while self.open.front().is_some_and(|b| b.outcome.is_some()) {
            if let Some(batch) = self.open.pop_front() {
                self.durable(batch, ctx);
            }
        }
    }

    /// The oldest open batch is durable, or the log has failed.
    fn durable(&mut self, mut batch: OpenBatch, ctx: &mut Context<Self>) {
        self.gate.end();
        let Some(outcome) = batch.outcome.take() else { return };
        let appended = match outcome {
            Ok(appended) => appended,
            Err(error) => {
                self.fail(&error, ctx);
                return;
            }
        };
        for (stamped, position) in batch.events.iter().zip(&appended.positions) {
            self.partition.placed(&stamped.event, *position);
        }
        let now = self.engine.clock.now();
        let took_ms = now.tick.since(batch.sent);
        if took_ms > OUTAGE_MS {
            tracing::warn!(partition = %self.partition.id(), took_ms, "the log could not record");
            self.partition.thaw(now);
        }
        self.engine.metrics.log_append_seconds.record(Duration::from_millis(took_ms));
        if let Some(last) = appended.positions.last() {
            self.durable = *last;
            let slot = &self.engine.slots[self.partition.id().index()];
            slot.position.store(last.0, Ordering::Release);
        }
        let id = self.partition.id();
        self.engine.tracker.committed(id, appended.positions, batch.events);
        self.release(batch.waiting, ctx);
        if took_ms > OUTAGE_MS {
            self.arm_timer(ctx);
        }
        if self.open.is_empty() {
            self.answer_snapshots(ctx);
        }
    }

    fn release(&mut self, waiting: Vec<Waiting>, ctx: &mut Context<Self>) {
        let position = self.durable;
        let mut undelivered: Vec<LeaseNo> = Vec::new();
        for one in waiting {
            match one {
                Waiting::Read(deliver) => deliver(position),
                Waiting::Reply(mut reply, sender) => {
                    self.locate(&mut reply);
                    if let Err(Decided { reply: Reply::Granted(grants), .. }) =
                        sender.send(Decided { reply, position })
                    {
                        undelivered.extend(grants.iter().map(|g| g.token.number));
                    }
                }
            }
        }
        if !undelivered.is_empty() {
            // The caller has gone: the leases go back at once instead of expiring.
            self.act(Command::Undeliver(undelivered), ctx);
        }
    }

    /// Fills in where the texts lie, which is known only now. A task that was cancelled meanwhile
    /// may have none.
    fn locate(&self, reply: &mut Reply) {
        if let Reply::Granted(grants) = reply {
            for grant in grants {
                grant.failed = self.partition.failed_at(grant.seq);
                if let Some(placed) = self.partition.text_at(grant.seq) {
                    (grant.record, grant.index) = (placed.record, placed.entry);
                }
            }
        } else if let Reply::Submitted(answer) = reply {
            for item in answer.outcomes.iter_mut().flatten() {
                // The elements of an array are not told one by one.
                let AdmittedItem::Task(admitted) = item else { continue };
                if let Some(placed) = self.partition.text_at(admitted.seq) {
                    (admitted.record, admitted.index) = (placed.record, placed.entry);
                }
            }
        }
    }

    /// A command of the shell's own; nobody waits for the reply.
    fn act(&mut self, command: Command, ctx: &mut Context<Self>) {
        let mut events = Vec::new();
        let reply = self.partition.decide(command, self.engine.clock.now(), &mut events);
        if let Reply::Ticked(lost) = reply {
            let mut workers = lock(&self.engine.workers);
            lost.iter().for_each(|(worker, cause)| workers.lapsed(worker, *cause));
        }
        self.finish(events, Vec::new(), ctx);
    }

    fn publish_ready(&mut self, moved: bool) {
        let levels = if self.stopping { 0 } else { self.partition.ready_levels() };
        let tasks = self.partition.ready_tasks();
        let (id, hub) = (self.partition.id(), &self.engine.hub);
        let mut work = Vec::new();
        if hub.waiting() == 0 {
            self.partition.forget_fresh();
        } else {
            work = self.partition.fresh_work();
        }
        if !work.is_empty() {
            hub.learn(id, |worker| self.partition.learned_by(worker));
        }
        hub.publish(id, levels, tasks, moved, work);
    }

    /// One timer, armed for the next deadline of the partition.
    fn arm_timer(&mut self, ctx: &mut Context<Self>) {
        let due = self.partition.next_deadline();
        if self.timer.as_ref().map(|(at, _)| *at) == due {
            return;
        }
        if let Some((_, handle)) = self.timer.take() {
            ctx.cancel_future(handle);
        }
        if let Some(due) = due {
            let wait = due.since(self.engine.clock.now().tick).max(1);
            let handle = ctx.run_later(Duration::from_millis(wait), |actor, ctx| {
                actor.timer = None;
                actor.time_passes(ctx);
            });
            self.timer = Some((due, handle));
        }
    }

    fn time_passes(&mut self, ctx: &mut Context<Self>) {
        let now = self.engine.clock.now();
        let proof = self.notice_freeze(now);
        if !proof.is_empty() {
            self.finish(proof, Vec::new(), ctx);
        }
        if self.stalled(now) {
            // No lease ends while nothing can be recorded; what comes after looks again.
            return;
        }
        self.partition.rest_operations(self.log.room() != Room::Plenty);
        self.act(Command::Tick, ctx);
    }

    fn answer_snapshots(&mut self, ctx: &mut Context<Self>) {
        if self.failed {
            return;
        }
        for reply in std::mem::take(&mut self.snapshots) {
            let position = Position(self.durable.0 + 1);
            let snapshot = Snapshot { image: self.partition.image(), position };
            // The node may have given up waiting.
            drop(reply.send(snapshot));
        }
        if self.stopping {
            self.guard.expected = true;
            ctx.stop();
        } else {
            self.gate.shut(false);
        }
    }

    /// Fail-stop: nothing of what is open is acknowledged; the partition is rebuilt from the log.
    fn fail(&mut self, error: &Error, ctx: &mut Context<Self>) {
        let partition = self.partition.id();
        self.failed = true;
        self.guard.fenced = matches!(error, Error::Fenced(_));
        if self.guard.fenced {
            // What happens whenever partitions move is no fault of the log.
            tracing::info!(%partition, %error, "fenced, partition stops");
        } else {
            tracing::error!(%partition, %error, "append failed, partition stops");
            self.engine.metrics.log_error(crate::metrics::LogFault::Write);
        }
        self.gate.shut(true);
        for batch in std::mem::take(&mut self.open) {
            drop(batch.waiting);
        }
        ctx.stop();
    }
}

/// What is full, and what the caller is told.
fn refusal(
    command: &Command,
    class: Class,
    sent: Tick,
    now: Now,
    room: Room,
) -> Option<(ShedReason, Reject)> {
    if class != Class::Report && now.tick.since(sent) > AGE_MAX_MS {
        let detail = "the call waited longer than a second in front of its partition";
        let reject = Reject::new(Code::Overloaded, detail).retry_unapplied(1_000);
        return Some((ShedReason::Age, reject));
    }
    match (room, command) {
        (Room::Plenty, _) => None,
        (Room::WorkOnly, Command::Submit(_) | Command::TakeInbox(_)) | (Room::None, _) => {
            Some((ShedReason::Disk, disk_full()))
        }
        (Room::WorkOnly, _) => None,
    }
}

impl Actor for PartitionActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Some(receiver) = self.receiver.take() {
            ctx.add_stream(Commands { receiver, gate: Rc::clone(&self.gate) });
        }
        let now = self.engine.clock.now();
        self.thawed_at = self.engine.thawed_at(now);
        self.partition.arm(now);
        {
            // After a restart their leases are the only trace of them.
            let mut workers = lock(&self.engine.workers);
            for holder in self.partition.lease_holders(&Scopes::default()) {
                workers.restored(&holder.worker, now, heartbeat_ms(holder.shortest_ms));
            }
            for worker in self.partition.drained() {
                workers.drained(worker, now, true);
            }
        }
        self.act(Command::Tick, ctx);
    }
}

impl StreamHandler<Vec<Envelope>> for PartitionActor {
    fn handle(&mut self, chunk: Vec<Envelope>, ctx: &mut Self::Context) {
        self.turn(chunk, ctx);
    }

    fn finished(&mut self, _: &mut Self::Context) {
        // The door was closed; the node stops the actor by message when everything is durable.
    }
}

impl Handler<TakeSnapshot> for PartitionActor {
    type Result = ();

    fn handle(&mut self, message: TakeSnapshot, ctx: &mut Self::Context) {
        self.snapshots.push(message.reply);
        self.stopping |= message.stop;
        self.gate.shut(true);
        if self.open.is_empty() {
            self.answer_snapshots(ctx);
        }
    }
}

impl Handler<Halt> for PartitionActor {
    type Result = ();

    fn handle(&mut self, Halt(reason): Halt, ctx: &mut Self::Context) {
        self.fail(&reason, ctx);
    }
}

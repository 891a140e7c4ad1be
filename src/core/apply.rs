//! `apply`: the one match on [`Event`]. Never fails, and is the same live and in replay.

use crate::core::intern::{Class, JobKey};
use crate::core::job::{JobRow, weighted};
use crate::core::lease::{Answer, Fate, Live};
use crate::core::partition::{DelayedArray, Due, Partition, Timer, Touched};
use crate::model::event::{
    Allocation, Completion, Event, FailCause, Failure, Next, Release, ReleaseCause, Stamped, Start,
};
use crate::model::id::{Epoch, LeaseNo, Name, Position, TaskSeq};
use crate::model::job::JobSpec;
use crate::model::priority::Priority;
use crate::model::state::TaskState;
use crate::model::time::WallMs;

/// Shown as class of a task that ran too long or lost its worker.
pub const CLASS_TIMEOUT: &str = "timeout";
/// See [`CLASS_TIMEOUT`].
pub const CLASS_CRASH: &str = "crash";

impl Partition {
    /// Folds a record of the log; `position` is where it lies.
    pub fn replay(&mut self, position: Position, record: &Stamped) {
        self.now.wall = self.now.wall.max(record.at);
        if let Event::Owner { token_key, .. } = &record.event {
            self.own(Epoch(position.0), *token_key);
        }
        self.apply(&record.event, record.at);
        self.placed(&record.event, position);
    }

    /// Serves under a new epoch from now on.
    pub fn own(&mut self, epoch: Epoch, token_key: [u64; 2]) {
        self.epoch = epoch;
        self.leases.add_key(epoch, token_key);
    }

    /// Tells where an event decided here was written, once it is durable.
    pub fn placed(&mut self, event: &Event, position: Position) {
        if let Some((first, count)) = event.admits() {
            self.rows.place(first, count, position);
        } else if let Event::Failed { tasks, .. } = event {
            for failure in tasks {
                if let Some(touched) = self.touched.get_mut(&failure.seq) {
                    touched.failed = Some(position);
                }
            }
        }
    }

    pub(crate) fn apply(&mut self, event: &Event, at: WallMs) {
        match event {
            Event::Owner { .. } => {}
            Event::JobDefined { job, implicit, spec } => {
                self.apply_define(job, *implicit, spec, at);
            }
            Event::JobChanged { job, change } => self.apply_job_change(job, change, at),
            Event::WorkerDrained { worker, drains } => {
                if *drains {
                    self.drained.insert(worker.clone());
                } else {
                    self.drained.remove(worker);
                }
            }
            Event::LevelChanged { level, paused } => {
                for priority in Priority::DESCENDING {
                    if level.is_none_or(|l| l == priority) {
                        self.levels[priority.index()].paused = *paused;
                    }
                }
            }
            Event::Submitted { tasks, .. } => self.apply_submitted(tasks, at),
            Event::SubmittedArray { array, .. } => self.apply_array(array, at),
            Event::Allocated { worker, tasks, .. } => {
                let batch = u32::try_from(tasks.len()).unwrap_or(u32::MAX);
                for task in tasks {
                    self.apply_allocation(worker, *task, batch, at);
                }
            }
            Event::Started(starts) => starts.iter().for_each(|s| self.apply_start(*s, at)),
            Event::Completed(tasks) => tasks.iter().for_each(|c| self.apply_completion(c, at)),
            Event::Failed { cause, tasks } => {
                tasks.iter().for_each(|f| self.apply_failure(*cause, f, at));
            }
            Event::Released { cause, tasks } => {
                tasks.iter().for_each(|r| self.apply_release(*cause, *r, at));
            }
            Event::Cancelled(tasks) => tasks.iter().for_each(|seq| self.apply_cancel(*seq, at)),
            Event::Redriven { tasks, priority } => {
                tasks.iter().for_each(|seq| self.apply_redrive(*seq, *priority, at));
            }
            Event::Key { part, answer } => {
                self.remembered.apply(part, answer, at, self.policy.key_retention_ms);
            }
            Event::Duplicates(jobs) => {
                for (name, count) in jobs {
                    let key = *self.job_keys.get(name).expect("its first task came before");
                    self.job_mut(key).numbers.duplicates += *count;
                }
            }
            Event::Inbox { level, from, next, lost } => {
                self.inbox[level.index()] = *next;
                self.stats.inbox_taken[level.index()] += next - from;
                self.stats.inbox_lost[level.index()] += lost;
            }
            Event::Purged(tasks) => self.apply_purged(tasks, at),
            Event::Operation { op, step } => self.apply_operation(*op, step, at),
        }
    }

    fn apply_define(&mut self, name: &Name, implicit: bool, spec: &JobSpec, at: WallMs) {
        if let Some(key) = self.job_keys.get(name).copied() {
            let job = self.job_mut(key);
            // Made explicit as paused: from now on it is; a pause that was asked for stays.
            job.paused |= job.implicit && spec.paused;
            job.implicit = implicit;
            job.spec = spec.clone();
            Priority::DESCENDING.iter().for_each(|priority| self.relist(key, *priority));
            return;
        }
        let row = JobRow::new(name.clone(), spec.clone(), implicit, at);
        let key = match self.free_jobs.pop_first() {
            Some(key) => {
                *self.job_mut(key) = row;
                key
            }
            None => {
                self.jobs.push(row);
                JobKey(u32::try_from(self.jobs.len() - 1).expect("fewer than 2^32 jobs"))
            }
        };
        self.job_keys.insert(name.clone(), key);
    }

    /// A lane that is about to become non-empty joins its level.
    pub(crate) fn wake_lane(&mut self, job: JobKey, priority: Priority) {
        if self.job(job).lanes[priority.index()].is_empty() {
            self.join_level(job, priority);
        }
    }

    /// A lane that may be handed out from now on starts at max(own, lowest of the level): no credit
    /// is saved up, neither while there is nothing in it nor while its job is paused.
    pub(crate) fn join_level(&mut self, job: JobKey, priority: Priority) {
        let floor = self.levels[priority.index()].floor();
        let lane = &mut self.job_mut(job).lanes[priority.index()];
        lane.vtime = lane.vtime.max(floor);
    }

    pub(crate) fn apply_allocation(
        &mut self,
        worker: &Name,
        task: Allocation,
        batch: u32,
        at: WallMs,
    ) -> LeaseNo {
        let class = self.class(task.seq).expect("only live tasks are handed out");
        let priority = self.current_priority(task.seq, &class);
        self.count_fit(&class, priority.index(), task.seq, task.fit);
        let from = self.take_queued(task.seq, &class, priority);
        let available = self.available(task.seq);
        self.stats.handed_out(priority, at.since(available));
        let worker = self.worker_key(worker);
        let limit_ms = u64::from(class.timeout_s) * 1_000;
        let served = task.served.unwrap_or(priority);
        let charged_us = self.charge(class.job, priority, served);
        let job = self.job_mut(class.job);
        job.numbers.handed_out += 1;
        if job.numbers.first_allocated == WallMs(0) {
            job.numbers.first_allocated = at;
        }
        job.shift(priority, from, TaskState::Allocated);
        self.rows.set_state(task.seq, TaskState::Allocated);
        self.relist(class.job, priority);
        let lease = Live {
            seq: task.seq,
            worker,
            attempt: task.attempt,
            lease_ms: task.lease_ms,
            limit_ms,
            priority,
            served,
            batch,
            charged_us,
            started: false,
            allocated: at,
            running: at,
            ends: self.now.tick.plus(u64::from(task.lease_ms)),
            limit: (limit_ms > 0).then(|| self.now.tick.plus(limit_ms)),
        };
        let due = lease.limit.map_or(lease.ends, |limit| limit.min(lease.ends));
        let number = self.leases.grant(lease);
        let touched = self.touched.entry(task.seq).or_default();
        touched.attempt = task.attempt;
        touched.lease = number;
        touched.worker = worker;
        if touched.available == WallMs(0) {
            touched.available = available;
        }
        if self.armed {
            self.wheel.insert(due, Timer::Lease(number));
        }
        number
    }

    pub(crate) fn apply_start(&mut self, start: Start, at: WallMs) {
        let Some(number) = self.touched.get(&start.seq).map(|t| t.lease) else { return };
        let tick = self.now.tick;
        let Some(lease) = self.leases.get_mut(number) else { return };
        lease.started = true;
        lease.running = at;
        // The run limit counts from the start once there is one.
        lease.limit = (lease.limit_ms > 0).then(|| tick.plus(lease.limit_ms));
        let priority = lease.priority;
        let class = self.class(start.seq).expect("a leased task is live");
        self.job_mut(class.job).shift(priority, TaskState::Allocated, TaskState::Running);
        self.rows.set_state(start.seq, TaskState::Running);
        self.stats.started[priority.index()] += 1;
    }

    pub(crate) fn apply_completion(&mut self, done: &Completion, at: WallMs) {
        let class = self.class(done.seq).expect("a completed task was live");
        if done.late {
            let priority = self.current_priority(done.seq, &class);
            let from = self.take_queued(done.seq, &class, priority);
            self.leases.set_fate(done.lease, Fate::Completed, at);
            self.job_mut(class.job).shift(priority, from, TaskState::Completed);
            if let Some(worker) = self.touched.get(&done.seq).map(|touched| touched.worker) {
                self.learn(worker, &class);
            }
        } else {
            let lease = self.leases.end(done.lease, Fate::Completed, at);
            let lease = lease.expect("a completion names a live lease");
            self.leave(&class, &lease, TaskState::Completed);
            self.settle(&class, &lease, done.run_ms);
            self.learn(lease.worker, &class);
        }
        self.ran(class.job, done.run_ms);
        let total_ms = at.since(self.rows.submitted(done.seq));
        self.rows.set_state(done.seq, TaskState::Completed);
        self.touched.remove(&done.seq);
        self.stats.finished(class.priority, done.run_ms, total_ms);
        self.note_drained(class.job, at);
    }

    pub(crate) fn apply_failure(&mut self, cause: FailCause, failure: &Failure, at: WallMs) {
        if failure.attempt == 0 {
            return self.apply_dead(failure, at);
        }
        let class = self.class(failure.seq).expect("a failed task was live");
        let fate = match (cause, failure.next) {
            // T20: the job was cancelled meanwhile; the token says so from now on.
            (FailCause::Error, Next::Cancelled) => Fate::Cancelled,
            (FailCause::Error, _) => Fate::Failed,
            // A redrive does not bring the token of the attempt it died of to life again.
            (FailCause::Crash | FailCause::Timeout, Next::Error) => Fate::Released,
            (FailCause::Crash | FailCause::Timeout, _) => Fate::Lapsed,
        };
        let lease = self.leases.end(failure.lease, fate, at).expect("a failure names a live lease");
        self.settle(&class, &lease, failure.run_ms);
        let reference = self.reference_of(class.priority, failure.seq);
        if cause == FailCause::Error {
            self.ran(class.job, failure.run_ms);
        }
        let job = self.job_mut(class.job);
        match cause {
            FailCause::Crash => job.numbers.crashes += 1,
            FailCause::Error | FailCause::Timeout => job.numbers.failed_attempts += 1,
        }
        if failure.next == Next::Error && job.numbers.first_error.is_none() {
            job.numbers.first_error = Some((reference, failure.error(at)));
        }
        let touched = self.touched.entry(failure.seq).or_default();
        touched.errors = failure.errors;
        touched.crashes = failure.crashes;
        let again = matches!(failure.next, Next::Pending | Next::Delayed(_));
        let dead = failure.next == Next::Error;
        self.stats.attempt_failed(cause, lease.priority, dead, again);
        self.requeue(&class, &lease, failure.next, at);
        if cause == FailCause::Error {
            let (state, due) = landing(failure.next);
            // With no delay it may run again at once, and a repeat is told when that was.
            let due = if state == TaskState::Pending { at } else { due };
            let budget = (failure.errors, failure.crashes, class.max_attempts);
            self.leases.remember_answer(failure.lease, Answer { state, at: due, budget }, at);
        }
    }

    pub(crate) fn apply_release(&mut self, cause: ReleaseCause, release: Release, at: WallMs) {
        let class = self.class(release.seq).expect("a released task was live");
        let lease = self.leases.end(release.lease, Fate::Released, at);
        let lease = lease.expect("a release names a live lease");
        self.settle(&class, &lease, 0);
        self.stats.released[match cause {
            ReleaseCause::Release => 0,
            ReleaseCause::Undelivered => 1,
            ReleaseCause::Worker => 2,
        }] += 1;
        self.requeue(&class, &lease, release.next, at);
        // Only a worker that gave the task back itself is told so again.
        if cause == ReleaseCause::Release {
            let (state, due) = landing(release.next);
            let answer = Answer { state, at: due, budget: (0, 0, 0) };
            self.leases.remember_answer(release.lease, answer, at);
        }
    }

    fn apply_cancel(&mut self, seq: TaskSeq, at: WallMs) {
        let class = self.class(seq).expect("only live tasks are cancelled");
        // A task that was never handed out names lease 0, which may be another task's.
        let number = self.touched.get(&seq).map(|t| t.lease);
        let number = number.filter(|n| self.leases.get(*n).is_some_and(|l| l.seq == seq));
        match number.and_then(|n| self.leases.end(n, Fate::Cancelled, at)) {
            Some(lease) => {
                self.leave(&class, &lease, TaskState::Cancelled);
                self.settle(&class, &lease, 0);
            }
            None => {
                let priority = self.current_priority(seq, &class);
                let from = self.take_queued(seq, &class, priority);
                self.job_mut(class.job).shift(priority, from, TaskState::Cancelled);
            }
        }
        self.rows.set_state(seq, TaskState::Cancelled);
        self.touched.remove(&seq);
        self.stats.cancelled[class.priority.index()] += 1;
        self.note_drained(class.job, at);
    }

    fn apply_redrive(&mut self, seq: TaskSeq, priority: Option<Priority>, at: WallMs) {
        let class = self.class(seq).expect("a dead task keeps its class");
        let moves = self.job(class.job).moves();
        let touched = self.touched.entry(seq).or_default();
        let redriven = touched.redriven.saturating_add(1);
        let priority = priority.map(|p| (p, moves)).or(touched.priority);
        *touched = Touched { redriven, available: at, priority, errors: 0, crashes: 0, ..*touched };
        let priority = self.current_priority(seq, &class);
        let job = self.job_mut(class.job);
        job.numbers.redriven += 1;
        job.numbers.counts.shift(TaskState::Error, TaskState::Pending);
        job.by_level[priority.index()].add(TaskState::Pending, 1);
        self.rows.set_state(seq, TaskState::Pending);
        self.enqueue(seq, &class, priority);
    }

    /// Takes a task out of its lane or its delay; the state it was in.
    pub(crate) fn take_queued(
        &mut self,
        seq: TaskSeq,
        class: &Class,
        priority: Priority,
    ) -> TaskState {
        if self.delayed_order.remove(seq) {
            let due = self.delayed.remove(&seq).unwrap_or_default();
            if self.rows.state(seq) == Some(TaskState::Delayed) {
                // Replay of a task that became due: T6 itself is not logged.
                self.touched.entry(seq).or_default().available = due.wall;
                return TaskState::Delayed;
            }
        }
        if let Some(array) = self.delayed_array(seq)
            && array.members.remove(seq)
        {
            // As above: live its turn would have come before.
            let due = array.due.wall;
            self.touched.entry(seq).or_default().available = due;
            return TaskState::Delayed;
        }
        let posted = self.keys.posted(class.keys);
        self.jobs[class.job.0 as usize].lanes[priority.index()].remove(seq, posted);
        self.relist(class.job, priority);
        TaskState::Pending
    }

    fn delayed_array(&mut self, seq: TaskSeq) -> Option<&mut DelayedArray> {
        let (_, array) = self.delayed_arrays.range_mut(..=seq).next_back()?;
        Some(array)
    }

    /// Moves a leased task where `next` says.
    fn requeue(&mut self, class: &Class, lease: &Live, next: Next, at: WallMs) {
        let (state, due) = landing(next);
        self.leave(class, lease, state);
        self.rows.set_state(lease.seq, state);
        let priority = self.current_priority(lease.seq, class);
        match next {
            Next::Pending => {
                self.touched.entry(lease.seq).or_default().available = at;
                self.job_mut(class.job).by_level[priority.index()].add(state, 1);
                self.enqueue(lease.seq, class, priority);
            }
            Next::Delayed(_) => {
                self.job_mut(class.job).by_level[priority.index()].add(state, 1);
                self.delay(lease.seq, due);
            }
            Next::Error => {}
            Next::Cancelled => {
                self.touched.remove(&lease.seq);
                self.stats.cancelled[priority.index()] += 1;
            }
        }
        self.note_drained(class.job, at);
    }

    /// Counts a task out of its leased state into `to`; queued states are counted by level by the
    /// caller.
    fn leave(&mut self, class: &Class, lease: &Live, to: TaskState) {
        let from = if lease.started { TaskState::Running } else { TaskState::Allocated };
        let job = self.job_mut(class.job);
        job.numbers.counts.shift(from, to);
        job.by_level[lease.priority.index()].sub(from, 1);
    }

    /// End of an attempt: the lane is charged what it really used.
    fn settle(&mut self, class: &Class, lease: &Live, run_ms: u64) {
        let job = self.job_mut(class.job);
        let weight = job.spec.weight;
        let used = weighted(run_ms.saturating_mul(1_000), weight);
        job.lanes[lease.served.index()].vtime += used - weighted(lease.charged_us, weight);
        self.relist(class.job, lease.served);
    }

    /// A run time is known: the average stands wherever the job has work.
    fn ran(&mut self, job: JobKey, run_ms: u64) {
        self.job_mut(job).ran(run_ms);
        let mut listed = self.job(job).listed;
        while listed != 0 {
            self.relist(job, Priority::ASCENDING[listed.trailing_zeros() as usize]);
            listed &= listed - 1;
        }
    }

    pub(crate) fn enqueue(&mut self, seq: TaskSeq, class: &Class, priority: Priority) {
        self.wake_lane(class.job, priority);
        let posted = self.keys.posted(class.keys);
        self.jobs[class.job.0 as usize].lanes[priority.index()].insert(seq, posted);
        self.became_ready(class, priority, 1);
        self.relist(class.job, priority);
    }

    pub(crate) fn delay(&mut self, seq: TaskSeq, wall: WallMs) {
        let tick = self.now.tick.plus(wall.since(self.clock()));
        self.delayed.insert(seq, Due { wall, tick });
        self.delayed_order.insert(seq);
        if self.armed {
            self.wheel.insert(tick, Timer::Due(seq));
        }
    }

    /// Latest entry into PENDING.
    pub(crate) fn available(&self, seq: TaskSeq) -> WallMs {
        let touched = self.touched.get(&seq).map(|t| t.available).filter(|at| *at != WallMs(0));
        touched.unwrap_or_else(|| {
            self.rows.array_of(seq).map_or_else(|| self.rows.submitted(seq), |a| a.available)
        })
    }

    pub(crate) fn note_drained(&mut self, key: JobKey, at: WallMs) {
        let job = self.job_mut(key);
        if job.numbers.counts.live() == 0 {
            job.numbers.drained = at;
        }
    }
}

fn landing(next: Next) -> (TaskState, WallMs) {
    match next {
        Next::Pending => (TaskState::Pending, WallMs(0)),
        Next::Delayed(due) => (TaskState::Delayed, due),
        Next::Error => (TaskState::Error, WallMs(0)),
        Next::Cancelled => (TaskState::Cancelled, WallMs(0)),
    }
}

//! Explain: where a task stands in its partition, and what that means.
//!
//! The place in a lane is counted block by block (4,096 tasks a step), so the cost follows the
//! length of the lane ÷ 4,096, not its tasks. Estimates are no promises.

use crate::core::intern::JobKey;
use crate::core::lanes::Level;
use crate::core::partition::Partition;
use crate::model::explain::{Cause, Explanation, Held, Reason, Standing};
use crate::model::id::TaskSeq;
use crate::model::priority::Priority;
use crate::model::state::TaskState;
use crate::model::time::WallMs;
use crate::model::view::TrackedTask;

/// An estimate further away than this says nothing, ms (31 years).
const FAR_MS: f64 = 1e12;

/// What the partition does not know.
#[derive(Clone, Copy, Debug)]
pub struct Around {
    /// The time.
    pub now: WallMs,
    /// Somebody has asked for work or sent a heartbeat in the last 60 s.
    pub workers: bool,
    /// Hand-outs per second of the partition, last 60 s.
    pub rate: f64,
    /// The partition is not being served.
    pub away: bool,
}

/// What only the tracker knows of a task that is over.
#[derive(Clone, Copy, Debug)]
pub struct Past {
    /// Priority when it ended.
    pub priority: Priority,
    /// Latest entry into PENDING.
    pub available: WallMs,
    /// Latest hand-out.
    pub allocated: WallMs,
    /// End.
    pub ended: WallMs,
}

/// Lanes that compete with one.
#[derive(Clone, Copy, Debug, Default)]
struct Rivals {
    /// Other lanes of its level.
    lanes: u64,
    /// Their tasks.
    beside: u64,
    /// Tasks of higher levels.
    above: u64,
}

impl Past {
    /// What a row tells.
    #[must_use]
    pub fn of(row: &TrackedTask) -> Self {
        Self {
            priority: row.priority,
            available: row.available,
            allocated: row.allocated,
            ended: row.ended,
        }
    }
}

impl Partition {
    /// Are hand-outs off: of a job, of a level?
    #[must_use]
    pub fn pauses(&self, job: &str, level: Priority) -> (bool, bool) {
        let paused = self.job_keys.get(job).is_some_and(|key| self.job(*key).paused);
        (paused, self.levels[level.index()].paused)
    }

    /// Where a task stands at this time; `None` for a number never given. Lanes age also while
    /// nobody commands anything.
    #[must_use]
    pub fn standing(&self, seq: TaskSeq, now: WallMs) -> Option<Standing> {
        let state = self.state(seq)?;
        let class = self.class(seq)?;
        let job = self.job(class.job);
        let touched = self.touched.get(&seq);
        let lease = touched.filter(|_| state.leased()).and_then(|t| self.leases.get(t.lease));
        let priority =
            lease.map_or_else(|| self.current_priority(seq, &class), |lease| lease.priority);
        let queued = state.queued();
        let counted = |count: u64| if queued { count } else { 0 };
        let now = now.max(self.now.wall);
        let effective =
            if queued { self.effective_priority(class.job, priority, now) } else { priority };
        let rivals = self.rivals((class.job, priority), effective, now);
        Some(Standing {
            job: job.name.clone(),
            state,
            priority,
            effective,
            job_paused: job.paused,
            level_paused: self.levels[priority.index()].paused,
            available: self.available(seq),
            due: if state == TaskState::Delayed { self.due(seq) } else { WallMs(0) },
            held: lease.map(|lease| Held {
                worker: self.workers.value(lease.worker.0).clone(),
                attempt: lease.attempt,
                allocated: lease.allocated,
            }),
            ahead: counted(job.lanes[priority.index()].rank(seq)),
            ahead_peers: counted(rivals.beside),
            peers: counted(rivals.lanes),
            ahead_higher: counted(rivals.above),
        })
    }

    /// What is served before a lane or shares its level: O(levels) as long as priority is strict,
    /// O(lanes) with ageing.
    fn rivals(&self, (job, own): (JobKey, Priority), effective: Priority, now: WallMs) -> Rivals {
        if self.policy.age_step_ms == 0 {
            let lane = &self.job(job).lanes[own.index()];
            let (lanes, beside) = self.levels[own.index()].beside(lane);
            let above = self.levels.iter().skip(own.index() + 1).map(Level::ready_tasks).sum();
            return Rivals { lanes, beside, above };
        }
        let mut rivals = Rivals::default();
        for at in Priority::ASCENDING {
            let level = &self.levels[at.index()];
            let others = level.lanes().filter(|_| at == own || level.ready());
            for (_, _, other) in others.filter(|(_, _, other)| (*other, at) != (job, own)) {
                let served = self.effective_priority(other, at, now);
                let tasks = self.job(other).lanes[at.index()].len();
                rivals.above += if served > effective { tasks } else { 0 };
                if served == effective {
                    rivals.lanes += 1;
                    rivals.beside += tasks;
                }
            }
        }
        rivals
    }

    fn due(&self, seq: TaskSeq) -> WallMs {
        if let Some(due) = self.delayed.get(&seq) {
            return due.wall;
        }
        let array = self.delayed_arrays.range(..=seq).next_back();
        array.map_or(WallMs(0), |(_, array)| array.due.wall)
    }
}

/// Explains a task that is not over.
#[must_use]
pub fn explain(standing: &Standing, around: &Around) -> Explanation {
    let until = standing.held.as_ref().map_or(around.now, |held| held.allocated);
    let delayed = standing.state == TaskState::Delayed;
    Explanation {
        state: standing.state,
        priority: standing.priority,
        effective: Some(standing.effective),
        waited_ms: if delayed { 0 } else { until.since(standing.available) },
        reasons: reasons(standing, around),
        ahead: Some([standing.ahead, standing.ahead_peers, standing.ahead_higher]),
        rate: around.rate,
        start: start(standing, around),
    }
}

/// Explains a task that is over.
#[must_use]
pub fn explain_ended(state: TaskState, past: &Past, rate: f64) -> Explanation {
    let until = past.allocated.max(past.available);
    let waited = if past.allocated == WallMs(0) { past.ended } else { until };
    let detail = format!("the task has ended: {}", state.name());
    Explanation {
        state,
        priority: past.priority,
        effective: None,
        waited_ms: past.available.known().map_or(0, |at| waited.since(at)),
        reasons: vec![Reason { cause: Cause::Ended, count: None, detail }],
        ahead: None,
        rate,
        start: None,
    }
}

/// Explains a task whose partition is away, by what the tracker knows of it. `paused`: its job, its
/// level. Places in the queue are the owner's knowledge, so they are left out, and so is the start.
#[must_use]
pub fn explain_away(row: &TrackedTask, paused: (bool, bool), around: &Around) -> Explanation {
    if row.state.terminal() {
        return explain_ended(row.state, &Past::of(row), around.rate);
    }
    let worker = row.worker.clone().filter(|_| row.state.leased());
    let held = worker.map(|worker| Held { worker, attempt: row.attempt, allocated: row.allocated });
    let standing = Standing {
        job: row.job.clone(),
        state: row.state,
        priority: row.priority,
        effective: row.priority,
        job_paused: paused.0,
        level_paused: paused.1,
        available: row.available,
        due: if row.state == TaskState::Delayed { row.available } else { WallMs(0) },
        held,
        ahead: 0,
        ahead_peers: 0,
        peers: 0,
        ahead_higher: 0,
    };
    let why = explain(&standing, &Around { away: true, ..*around });
    Explanation { effective: None, ahead: None, start: None, ..why }
}

fn reasons(standing: &Standing, around: &Around) -> Vec<Reason> {
    let one = |cause, detail: String| vec![Reason { cause, count: None, detail }];
    if let Some(held) = &standing.held {
        let who = format!("worker {} has it, attempt {}", held.worker, held.attempt);
        return match standing.state {
            TaskState::Running => one(Cause::Running, format!("it is running: {who}")),
            TaskState::Blocked
            | TaskState::Delayed
            | TaskState::Pending
            | TaskState::Allocated
            | TaskState::Completed
            | TaskState::Error
            | TaskState::Cancelled
            | TaskState::Expired => one(Cause::Allocated, format!("it is handed out: {who}")),
        };
    }
    let (job, priority, effective) = (&standing.job, standing.priority, standing.effective);
    let first = |count: u64, rest: &str| match count {
        1 => format!("1 task of {rest} goes first"),
        many => format!("{many} tasks of {rest} go first"),
    };
    let shared = match standing.peers {
        1 => format!("1 other job shares priority {effective}"),
        many => format!("{many} other jobs share priority {effective}"),
    };
    let left_ms = standing.due.since(around.now);
    let all = [
        (standing.job_paused, Cause::JobPaused, None, format!("job {job} is paused")),
        (standing.level_paused, Cause::LevelPaused, None, format!("priority {priority} is paused")),
        (
            standing.state == TaskState::Delayed,
            Cause::Delayed,
            None,
            format!("it waits for its time, {left_ms} ms from now"),
        ),
        (
            around.away,
            Cause::PartitionUnavailable,
            None,
            "its partition is not being served right now".to_owned(),
        ),
        (
            !around.workers,
            Cause::NoWorkers,
            None,
            "no worker has asked for work in the last 60 s".to_owned(),
        ),
        (
            standing.ahead_higher > 0,
            Cause::HigherPriorityAhead,
            Some(standing.ahead_higher),
            first(standing.ahead_higher, "a higher priority"),
        ),
        (standing.peers > 0, Cause::FairShare, Some(standing.peers), shared),
        (
            standing.ahead > 0,
            Cause::LaneAhead,
            Some(standing.ahead),
            first(standing.ahead, &format!("job {job}")),
        ),
    ];
    let holds = all.into_iter().filter(|(holds, ..)| *holds);
    holds.map(|(_, cause, count, detail)| Reason { cause, count, detail }).collect()
}

/// now + (aheadHigher + ahead × lanes of the level) ÷ rate, and not before a delay ends. Nothing
/// is expected of what is paused.
fn start(standing: &Standing, around: &Around) -> Option<WallMs> {
    let paused = standing.job_paused || standing.level_paused;
    if around.rate <= 0.0 || paused || !standing.state.queued() {
        return None;
    }
    let lanes = standing.peers + 1;
    let tasks = standing.ahead_higher as f64 + standing.ahead as f64 * lanes as f64;
    let left_ms = tasks / around.rate * 1_000.0;
    if left_ms > FAR_MS {
        return None;
    }
    let left = std::time::Duration::try_from_secs_f64(left_ms / 1_000.0).ok()?;
    let expected = around.now.plus(u64::try_from(left.as_millis()).ok()?);
    Some(expected.max(standing.due))
}

#[cfg(test)]
#[path = "explain_tests.rs"]
mod tests;

//! Ageing: a lane whose head has waited long is served at a higher level than its own, and every
//! so many hand-outs the lowest level with work has its turn. Both are off unless the operator
//! switches them on.
//!
//! A lane rises when its head has waited `queue.age-step`, again after two, at most
//! `queue.age-max` levels. While it is risen it competes with the virtual time that its job has at
//! the higher level and is charged there; the level is in the record of the hand-out, so that a
//! replay, which knows no waiting, charges the same. Risen lanes stand in the order of their own
//! level as well: what a level is asked about itself does not depend on the time.

use crate::core::intern::JobKey;
use crate::core::job::FIRST_COST_US;
use crate::core::partition::Partition;
use crate::model::command::Consume;
use crate::model::id::TaskSeq;
use crate::model::policy::Share;
use crate::model::priority::Priority;
use crate::model::time::WallMs;
use std::collections::BTreeSet;

/// When lanes rise next.
pub(crate) type Rises = BTreeSet<(WallMs, JobKey, Priority)>;

/// Where a risen lane stands in the order of a higher level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Risen {
    /// The level it is served at.
    pub to: Priority,
    /// Virtual time it competes with there.
    pub vtime: i64,
    /// Its head.
    pub head: TaskSeq,
}

/// What ageing keeps of a lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Age {
    /// Where it stands, if it has risen.
    pub risen: Option<Risen>,
    /// When it rises next, if it can.
    pub rises: Option<WallMs>,
}

/// A lane and the level it is served at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) job: JobKey,
    /// The lane's own level.
    pub(crate) own: Priority,
    /// The level it is charged at.
    pub(crate) served: Priority,
}

impl Partition {
    /// The lane whose turn it is for this consume.
    pub(crate) fn turn(&mut self, consume: &Consume) -> Option<Turn> {
        if self.is_low_turn() {
            let mut lowest = Priority::ASCENDING.into_iter();
            return lowest.find_map(|own| self.own_turn(own, consume, |_| true)).map(fst);
        }
        self.rise();
        Priority::DESCENDING.into_iter().find_map(|level| {
            let stays = |job| self.job(job).lanes[level.index()].age.risen.is_none();
            let own = self.own_turn(level, consume, stays);
            let risen = self.risen_turn(level, consume);
            let turns = own.into_iter().chain(risen);
            turns.min_by_key(|(_, place)| *place).map(fst)
        })
    }

    /// The `queue.low-floor`-th hand-out.
    fn is_low_turn(&self) -> bool {
        let every = u64::from(self.policy.low_every);
        every > 0 && (self.hand_outs + 1).is_multiple_of(every)
    }

    /// The first lane of a level that this consume may be given, with its place in the order.
    fn own_turn(
        &self,
        own: Priority,
        consume: &Consume,
        stays: impl Fn(JobKey) -> bool,
    ) -> Option<(Turn, (i64, TaskSeq))> {
        if !self.may_serve(own, consume) {
            return None;
        }
        let mut lanes = self.levels[own.index()].lanes();
        let fits = |job| stays(job) && consume.takes(&self.job(job).name);
        let (vtime, head, job) = lanes.find(|(_, _, job)| fits(*job))?;
        Some((Turn { job, own, served: own }, (vtime, head)))
    }

    /// The first lane that has risen to a level and that this consume may be given.
    fn risen_turn(&self, served: Priority, consume: &Consume) -> Option<(Turn, (i64, TaskSeq))> {
        let mut risen = self.levels[served.index()].risen.iter();
        let fits = |job, own| self.may_serve(own, consume) && consume.takes(&self.job(job).name);
        let (vtime, head, job, own) = *risen.find(|(_, _, job, own)| fits(*job, *own))?;
        Some((Turn { job, own, served }, (vtime, head)))
    }

    fn may_serve(&self, own: Priority, consume: &Consume) -> bool {
        consume.levels >> own.index() & 1 == 1 && self.levels[own.index()].ready()
    }

    /// Lets every lane rise whose time has come.
    fn rise(&mut self) {
        while let Some((at, job, own)) = self.rises.first().copied()
            && at <= self.now.wall
        {
            // Its next rise lies behind now, so this comes to an end.
            self.place(job, own);
        }
    }

    /// Brings what ageing keeps of a lane up to date after its head, its virtual time or the time
    /// changed. A job's lanes that have risen to this level compete with its virtual time too.
    pub(crate) fn aged(&mut self, job: JobKey, level: Priority) {
        if self.policy.age_step_ms == 0 {
            return;
        }
        self.place(job, level);
        for own in Priority::DESCENDING.into_iter().filter(|own| *own < level) {
            let risen = self.job(job).lanes[own.index()].age.risen;
            if risen.is_some_and(|risen| risen.to == level) {
                self.place(job, own);
            }
        }
    }

    fn place(&mut self, job: JobKey, own: Priority) {
        let row = self.job(job);
        let lane = &row.lanes[own.index()];
        let (before, head) = (lane.age, lane.head().filter(|_| row.runs()));
        let now = self.now.wall;
        let age = head.map_or_else(Age::default, |head| self.age((job, own), head, now));
        if let Some(at) = before.rises {
            self.rises.remove(&(at, job, own));
        }
        self.rises.extend(age.rises.map(|at| (at, job, own)));
        if before.risen != age.risen {
            let entry = |risen: Risen| (risen.vtime, risen.head, job, own);
            if let Some(risen) = before.risen {
                self.levels[risen.to.index()].risen.remove(&entry(risen));
            }
            if let Some(risen) = age.risen {
                self.levels[risen.to.index()].risen.insert(entry(risen));
            }
        }
        self.job_mut(job).lanes[own.index()].age = age;
    }

    /// The age of a lane with this head at this time.
    fn age(&self, (job, own): (JobKey, Priority), head: TaskSeq, now: WallMs) -> Age {
        let (step, available) = (self.policy.age_step_ms, self.available(head));
        let room = (Priority::LEVELS - 1 - own.index()).min(usize::from(self.policy.age_max));
        let waited = now.since(available);
        let levels = usize::try_from(waited / step).unwrap_or(usize::MAX).min(room);
        let to = Priority::ASCENDING[own.index() + levels];
        let risen = (levels > 0).then(|| Risen { to, vtime: self.vtime_at(job, to), head });
        let next = step.saturating_mul(levels as u64 + 1);
        Age { risen, rises: (levels < room).then(|| available.plus(next)) }
    }

    /// Virtual time with which a job competes at a level where it may have no lane of its own: no
    /// credit is saved up there.
    fn vtime_at(&self, job: JobKey, level: Priority) -> i64 {
        if self.policy.share == Share::Fifo {
            return 0;
        }
        let own = self.job(job).lanes[level.index()].vtime;
        own.max(self.levels[level.index()].floor())
    }

    /// Level at which a lane would be served at this time.
    #[must_use]
    pub fn effective_priority(&self, job: JobKey, own: Priority, now: WallMs) -> Priority {
        let lane = &self.job(job).lanes[own.index()];
        let head = lane.head().filter(|_| self.policy.age_step_ms > 0);
        let risen = head.and_then(|head| self.age((job, own), head, now).risen);
        risen.map_or(own, |risen| risen.to)
    }

    /// Charges a hand-out: to the lane, at the level it was served at. What it costs, µs.
    pub(crate) fn charge(&mut self, job: JobKey, own: Priority, served: Priority) -> u64 {
        self.hand_outs += 1;
        if served != own && self.job(job).lanes[served.index()].is_empty() {
            self.wake_lane(job, served);
        }
        let cost_us = self.cost_us(job, served);
        let row = self.job_mut(job);
        let weight = row.spec.weight;
        let lane = &mut row.lanes[served.index()];
        let before = lane.vtime;
        lane.vtime += crate::core::job::weighted(cost_us, weight);
        self.levels[served.index()].latest = before;
        if served != own {
            self.relist(job, served);
        }
        cost_us
    }

    /// Expected run time of one task of a job, µs: its own average, else that of the others of the
    /// level, else a second.
    fn cost_us(&self, job: JobKey, level: Priority) -> u64 {
        let own = Some(self.job(job).mean_us).filter(|mean| *mean > 0);
        let mean = own.or_else(|| self.levels[level.index()].mean_us());
        mean.map_or(FIRST_COST_US, |us| us.max(1_000))
    }
}

fn fst((turn, _): (Turn, (i64, TaskSeq))) -> Turn {
    turn
}

#[cfg(test)]
#[path = "ageing_tests.rs"]
mod tests;

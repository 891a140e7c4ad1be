//! Time passing: leases expire, runs time out, delayed tasks become due; arming after a replay.

use crate::core::partition::{Due, Partition, Timer};
use crate::model::event::{Event, FailCause, Stamped};
use crate::model::id::{LeaseNo, Name, TaskSeq};
use crate::model::reply::Reply;
use crate::model::state::TaskState;
use crate::model::time::Now;

impl Partition {
    pub(crate) fn tick(&mut self, events: &mut Vec<Stamped>) -> Reply {
        let mut fired = Vec::new();
        self.wheel.advance(self.now.tick, &mut fired);
        // In order of grant and admission, so that equal inputs give equal logs.
        let mut leases: Vec<LeaseNo> = Vec::new();
        let (mut due, mut arrays): (Vec<TaskSeq>, Vec<TaskSeq>) = Default::default();
        let mut operations = false;
        for timer in fired {
            match timer {
                Timer::Operations => operations = true,
                Timer::Lease(number) => leases.push(number),
                Timer::Due(seq) => due.push(seq),
                Timer::DueArray(first) => arrays.push(first),
            }
        }
        leases.sort_unstable();
        due.sort_unstable();
        arrays.sort_unstable();
        due.into_iter().for_each(|seq| self.became_due(seq));
        arrays.into_iter().for_each(|first| self.array_became_due(first));
        let lost = self.expire(&leases, events);
        if operations {
            self.operate(events);
        }
        self.leases.forget(self.now.wall, self.policy.lease_memory_ms);
        Reply::Ticked(lost)
    }

    /// Ends the leases whose time is over; whose they were, and why they end.
    fn expire(&mut self, numbers: &[LeaseNo], events: &mut Vec<Stamped>) -> Vec<(Name, FailCause)> {
        let (mut crashed, mut timed_out, mut lost) = (Vec::new(), Vec::new(), Vec::new());
        let tick = self.now.tick;
        for number in numbers {
            let Some(lease) = self.leases.get(*number) else { continue };
            let cause = if lease.ends <= tick {
                FailCause::Crash
            } else if lease.limit.is_some_and(|limit| limit <= tick) {
                FailCause::Timeout
            } else {
                let again = lease.limit.map_or(lease.ends, |limit| limit.min(lease.ends));
                self.wheel.insert(again, Timer::Lease(*number));
                continue;
            };
            lost.push((self.workers.value(lease.worker.0).clone(), cause));
            let failure = self.lost_worker(*number, cause);
            self.apply_failure(cause, &failure, self.now.wall);
            let list = if cause == FailCause::Crash { &mut crashed } else { &mut timed_out };
            list.push(failure);
        }
        for (cause, tasks) in [(FailCause::Crash, crashed), (FailCause::Timeout, timed_out)] {
            if !tasks.is_empty() {
                self.commit_applied(Event::Failed { cause, tasks }, events);
            }
        }
        lost
    }

    /// T6, which is not logged: the due time is in the record that delayed the task.
    fn became_due(&mut self, seq: TaskSeq) {
        let Some(due) = self.delayed.get(&seq).copied() else { return };
        if due.tick > self.now.tick {
            self.wheel.insert(due.tick, Timer::Due(seq));
            return;
        }
        self.delayed.remove(&seq);
        self.delayed_order.remove(seq);
        if self.state(seq) != Some(TaskState::Delayed) {
            return;
        }
        let class = self.class(seq).expect("a delayed task is live");
        let priority = self.current_priority(seq, &class);
        self.job_mut(class.job).shift(priority, TaskState::Delayed, TaskState::Pending);
        self.rows.set_state(seq, TaskState::Pending);
        let entry = self.touched.entry(seq).or_default();
        entry.available = due.wall;
        self.enqueue(seq, &class, priority);
    }

    /// T6 for all elements of an array that still wait for it.
    fn array_became_due(&mut self, first: TaskSeq) {
        let Some(array) = self.delayed_arrays.get(&first) else { return };
        if array.due.tick > self.now.tick {
            self.wheel.insert(array.due.tick, Timer::DueArray(first));
            return;
        }
        let array = self.delayed_arrays.remove(&first).expect("looked at just now");
        if self.state(first).is_none() || array.members.is_empty() {
            return;
        }
        let class = self.class(first).expect("an element keeps its class");
        if self.job(class.job).overlay(first, TaskState::Delayed) == TaskState::Delayed {
            let members = array.members;
            self.rows.turn_array(first, TaskState::Pending, &members);
            let priority = self.job(class.job).current(first, class.priority, 0);
            let job = self.job_mut(class.job);
            job.shift_many(priority, TaskState::Delayed, TaskState::Pending, members.len());
            self.wake_lane(class.job, priority);
            let posted = self.keys.posted(class.keys);
            let job = &mut self.jobs[class.job.0 as usize];
            let count = members.len();
            job.lanes[priority.index()].absorb_set(members, posted);
            self.became_ready(&class, priority, count);
            self.relist(class.job, priority);
        }
    }

    /// Starts the timers after a replay: every surviving lease and run limit begins anew with its
    /// full length.
    pub fn arm(&mut self, now: Now) {
        self.set_now(now);
        self.armed = true;
        // What was counted while replaying has been published before.
        self.stats = crate::core::stats::Stats::default();
        self.start_timers();
    }

    fn start_timers(&mut self) {
        let (tick, clock) = (self.now.tick, self.clock());
        let numbers: Vec<LeaseNo> = self.leases.iter().map(|(number, _)| number).collect();
        for number in numbers {
            let lease = self.leases.get_mut(number).expect("listed as live just now");
            lease.ends = tick.plus(u64::from(lease.lease_ms));
            lease.limit = (lease.limit_ms > 0).then(|| tick.plus(lease.limit_ms));
            let due = lease.limit.map_or(lease.ends, |limit| limit.min(lease.ends));
            self.wheel.insert(due, Timer::Lease(number));
        }
        let waiting: Vec<TaskSeq> = self.delayed_order.iter().collect();
        for seq in waiting {
            let wall = self.delayed.get(&seq).map_or(clock, |due| due.wall);
            let due = Due { wall, tick: tick.plus(wall.since(clock)) };
            self.delayed.insert(seq, due);
            self.wheel.insert(due.tick, Timer::Due(seq));
        }
        for (first, array) in &mut self.delayed_arrays {
            array.due.tick = tick.plus(array.due.wall.since(clock));
            self.wheel.insert(array.due.tick, Timer::DueArray(*first));
        }
        self.start_operations();
    }

    /// Nobody could be heard or nothing recorded for a while: lease clocks stood still and start
    /// anew.
    pub fn thaw(&mut self, now: Now) {
        self.set_now(now);
        self.wheel = crate::core::wheel::Wheel::default();
        self.start_timers();
    }
}

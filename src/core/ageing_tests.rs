//! Ageing and the low floor against the rule itself, worked out anew for every hand-out.

use super::*;
use crate::core::partition::tests::{consume, owned};
use crate::model::command::{ALL_LEVELS, Command};
use crate::model::event::Stamped;
use crate::model::id::{Name, PartitionId, Position};
use crate::model::job::JobChange;
use crate::model::policy::Policy;
use crate::model::reply::{Grant, Reply};
use crate::model::task::TaskInput;
use crate::model::time::Now;
use proptest::prelude::*;

/// A partition beside the list of what is pending in it.
struct Model {
    partition: Partition,
    policy: Policy,
    now: Now,
    /// Job, priority, number, entry into PENDING.
    pending: Vec<(Name, Priority, TaskSeq, WallMs)>,
    next: u64,
    hand_outs: u64,
    log: Vec<Stamped>,
}

fn level(p: u8) -> Priority {
    Priority::new(u64::from(p)).expect("1..9")
}

impl Model {
    fn new(policy: Policy) -> Self {
        let (partition, log, now) = owned(policy);
        Self { partition, policy, now, pending: Vec::new(), next: 0, hand_outs: 0, log }
    }

    fn run(&mut self, command: Command) -> Reply {
        self.partition.decide(command, self.now, &mut self.log)
    }

    fn submit(&mut self, job: u8, priority: u8, count: u8) {
        let (job, priority) = (Name::from(format!("job{job}")), level(priority));
        let task = || TaskInput {
            job: Some(job.clone()),
            priority: Some(priority),
            ..TaskInput::default()
        };
        self.run(Command::submit((0..count).map(|_| task()).collect()));
        for _ in 0..count {
            self.pending.push((job.clone(), priority, TaskSeq(self.next), self.now.wall));
            self.next += 1;
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now = Now { wall: self.now.wall.plus(ms), tick: self.now.tick.plus(ms) };
    }

    /// One hand-out to a worker that may take these levels.
    fn take(&mut self, levels: u16) -> Option<Grant> {
        let consume = Consume { levels, ..consume("w", 1) };
        let Reply::Granted(grants) = self.run(Command::Consume(consume)) else {
            panic!("a consume answers with grants");
        };
        grants.into_iter().next()
    }

    /// Level of every lane that these levels allow, and the one it is served at by the rule.
    fn lanes(&self, levels: u16) -> Vec<(&Name, Priority, u8)> {
        let mut lanes: Vec<(&Name, Priority, u8)> = Vec::new();
        for (job, priority, _, since) in &self.pending {
            if levels >> priority.index() & 1 == 0 {
                continue;
            }
            // Numbers rise, so the first of a lane is its head.
            if lanes.iter().all(|(j, p, _)| (*j, *p) != (job, *priority)) {
                let waited = self.now.wall.since(*since);
                let steps = waited.checked_div(self.policy.age_step_ms).unwrap_or(0);
                let rise = steps.min(u64::from(self.policy.age_max));
                let served = (u64::from(priority.get()) + rise).min(9);
                lanes.push((job, *priority, u8::try_from(served).expect("at most 9")));
            }
        }
        lanes
    }

    /// Takes one and compares it with the rule.
    fn step(&mut self, levels: u16) {
        let lanes = self.lanes(levels);
        let every = u64::from(self.policy.low_every);
        let low = every > 0 && (self.hand_outs + 1).is_multiple_of(every);
        let lowest = lanes.iter().map(|(_, own, _)| *own).min();
        let highest = lanes.iter().map(|(_, _, served)| *served).max();
        let allowed: Vec<(Name, Priority)> = lanes
            .iter()
            .filter(|(_, own, served)| match low {
                true => Some(*own) == lowest,
                false => Some(*served) == highest,
            })
            .map(|(job, own, _)| ((*job).clone(), *own))
            .collect();
        let Some(grant) = self.take(levels) else {
            assert!(allowed.is_empty(), "nothing, though there is {allowed:?}");
            return;
        };
        self.hand_outs += 1;
        let at = self.pending.iter().position(|(_, _, seq, _)| *seq == grant.seq);
        let (job, own, ..) = self.pending.remove(at.expect("what was given was pending"));
        assert_eq!(grant.priority, own, "ageing changes no priority");
        assert!(allowed.contains(&(job.clone(), own)), "{job} {own:?}, not of {allowed:?}");
    }

    fn replayed(&self) -> Partition {
        let mut twin = Partition::new(PartitionId(0), Policy::default(), 3);
        for (at, record) in self.log.iter().enumerate() {
            twin.replay(Position(at as u64), record);
        }
        twin
    }
}

fn vtimes(partition: &Partition) -> Vec<i64> {
    partition.jobs.iter().flat_map(|job| job.lanes.iter().map(|lane| lane.vtime)).collect()
}

proptest! {
    #[test]
    fn every_hand_out_is_of_the_level_that_the_rule_says(
        steps in proptest::collection::vec(
            (0u8..4, 1u8..10, 0u8..4, 0u64..700, 0u8..4, prop::sample::select(vec![
                ALL_LEVELS, 0b0_0011_1111, 0b1_1100_0000,
            ])),
            1..60,
        ),
        (age_step_ms, age_max, low_every) in (0u64..2, 1u8..9, 0u32..5),
        fifo in any::<bool>(),
    ) {
        let share = if fifo { Share::Fifo } else { Share::Fair };
        let age_step_ms = age_step_ms * 500;
        let mut model =
            Model::new(Policy { share, age_step_ms, age_max, low_every, ..Policy::default() });
        for (job, priority, count, ms, takes, levels) in steps {
            model.submit(job, priority, count);
            model.pass(ms);
            (0..takes).for_each(|_| model.step(levels));
        }
        // A replay knows neither the policy nor the waiting, only what was decided.
        let twin = model.replayed();
        prop_assert_eq!(twin.hand_outs, model.hand_outs);
        if share == Share::Fair {
            prop_assert_eq!(vtimes(&twin), vtimes(&model.partition));
        }
        let restored = Partition::restore(PartitionId(0), model.policy, 3, model.partition.image());
        prop_assert_eq!(vtimes(&restored), vtimes(&model.partition));
        prop_assert_eq!(restored.hand_outs, model.hand_outs);
        // Nothing is left over once everything is gone.
        while !model.pending.is_empty() {
            model.step(ALL_LEVELS);
        }
        prop_assert!(model.partition.rises.is_empty());
        prop_assert!(model.partition.levels.iter().all(|level| level.risen.is_empty()));
    }
}

#[test]
fn a_risen_lane_shares_its_new_level_and_does_not_take_it_over() {
    let policy = Policy { age_step_ms: 1_000, age_max: 2, ..Policy::default() };
    let mut model = Model::new(policy);
    model.submit(0, 5, 100);
    model.pass(2_000);
    model.submit(1, 7, 100);
    let mut of_old = 0;
    for _ in 0..40 {
        let grant = model.take(ALL_LEVELS).expect("there is work");
        of_old += u32::from(grant.priority == level(5));
    }
    assert!((18..=22).contains(&of_old), "{of_old} of 40");
}

#[test]
fn without_ageing_the_lower_level_waits_however_long() {
    let mut model = Model::new(Policy::default());
    model.submit(0, 1, 1);
    model.pass(86_400_000);
    model.submit(1, 2, 5);
    let given = |model: &mut Model| model.take(ALL_LEVELS).map(|grant| grant.priority.get());
    let order: Vec<u8> = std::iter::from_fn(|| given(&mut model)).collect();
    assert_eq!(order, [2, 2, 2, 2, 2, 1]);
}

#[test]
fn a_job_without_an_average_costs_as_much_as_the_others_of_its_level() {
    let mut model = Model::new(Policy::default());
    model.submit(0, 5, 10);
    assert_eq!(model.partition.cost_us(JobKey(0), level(5)), FIRST_COST_US);
    model.submit(1, 5, 10);
    model.submit(2, 5, 10);
    model.partition.job_mut(JobKey(0)).ran(4);
    model.partition.job_mut(JobKey(1)).ran(8);
    [0, 1].into_iter().for_each(|n| model.partition.relist(JobKey(n), level(5)));
    assert_eq!(model.partition.cost_us(JobKey(0), level(5)), 4_000);
    assert_eq!(model.partition.cost_us(JobKey(2), level(5)), 6_000, "the mean of the two others");
    assert_eq!(model.partition.cost_us(JobKey(2), level(9)), FIRST_COST_US, "nobody is there");
}

impl Model {
    fn change(&mut self, job: u8, change: JobChange) {
        let spec = Box::new(crate::core::admit::implicit_spec(&self.policy));
        let job = Name::from(format!("job{job}"));
        self.run(Command::ChangeJob { job, change, spec, implicit: true });
    }

    /// How many of the next hand-outs are of this job.
    fn share(&mut self, job: u8, of: usize) -> usize {
        let name = Name::from(format!("job{job}"));
        let ours = |model: &mut Self| {
            let seq = model.take(ALL_LEVELS).expect("there is work").seq;
            model.pending.iter().any(|(job, _, pending, _)| *pending == seq && *job == name)
        };
        (0..of).filter(|_| ours(self)).count()
    }
}

#[test]
fn a_job_that_was_paused_comes_back_without_credit() {
    let mut model = Model::new(Policy::default());
    (0..2).for_each(|job| model.submit(job, 5, 250));
    assert_eq!(model.share(1, 20), 10);
    model.change(1, JobChange::Pause);
    assert_eq!(model.share(1, 100), 0);
    model.change(1, JobChange::Resume);
    let share = model.share(1, 40);
    assert!((19..=21).contains(&share), "{share} of 40");
}

#[test]
fn a_job_that_is_moved_to_a_level_joins_it_without_credit() {
    let mut model = Model::new(Policy::default());
    model.submit(0, 5, 250);
    assert_eq!(model.share(0, 50), 50);
    model.submit(1, 4, 250);
    model.change(1, JobChange::Prioritise(level(5)));
    let share = model.share(1, 40);
    assert!((19..=21).contains(&share), "{share} of 40");
}

#[test]
fn a_job_that_comes_while_its_level_is_empty_has_no_credit_either() {
    let mut model = Model::new(Policy::default());
    model.submit(0, 5, 50);
    assert_eq!(model.share(0, 50), 50);
    (0..2).for_each(|job| model.submit(1 - job, 5, 100));
    // The same after a restart.
    let image = model.partition.image();
    model.partition = Partition::restore(PartitionId(0), model.policy, 3, image);
    let share = model.share(1, 40);
    assert!((19..=21).contains(&share), "{share} of 40");
}

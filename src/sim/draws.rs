//! What the tasks of a simulation are and how their runs go: functions of the plan's seed, the
//! task's number and the attempt, so that a run can be repeated.

use crate::model::priority::Priority;
use crate::model::simulation::{SimulationPlan, Spread};
use crate::sim::random::Random;

/// A task of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrawnTask {
    /// Number of its job, from 0.
    pub job: u32,
    /// Priority.
    pub priority: Priority,
    /// Number of its affinity key.
    pub key: Option<u32>,
}

/// How an attempt ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It completes.
    Complete,
    /// It fails and may be repeated.
    Fail,
    /// Its worker dies.
    Crash,
}

/// A drawn attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrawnRun {
    /// Run time, ms.
    pub ms: u64,
    /// How it ends.
    pub end: End,
}

/// Longest run in means: an exponential draw has no end of its own.
const LONGEST_MEANS: f64 = 20.0;

/// Task number `n`, from 0.
#[must_use]
pub fn task(plan: &SimulationPlan, n: u64) -> DrawnTask {
    let jobs = u64::from(plan.jobs.max(1));
    let at = usize::try_from(n / jobs).unwrap_or(0) % plan.priorities.len().max(1);
    let key = (plan.affinity_keys > 0).then(|| {
        let drawn = Random::new(plan.seed ^ n.rotate_left(32)).uniform();
        below(drawn * f64::from(plan.affinity_keys), plan.affinity_keys)
    });
    DrawnTask {
        job: u32::try_from(n % jobs).unwrap_or(0),
        priority: plan.priorities.get(at).copied().unwrap_or(Priority::DEFAULT),
        key,
    }
}

/// An attempt (1, 2, 3 …) of task number `n`.
#[must_use]
pub fn run(plan: &SimulationPlan, n: u64, attempt: u32) -> DrawnRun {
    let mut random = Random::new(plan.seed.wrapping_add(n << 20) ^ u64::from(attempt));
    let (time, luck) = (random.uniform(), random.uniform());
    let means = match plan.spread {
        Spread::Fixed => 1.0,
        Spread::Uniform => 2.0 * time,
        Spread::Exponential => (-time.ln()).min(LONGEST_MEANS),
    };
    let end = if luck < plan.crash_rate {
        End::Crash
    } else if luck < plan.crash_rate + plan.fail_rate {
        End::Fail
    } else {
        End::Complete
    };
    let most = plan.mean_ms.saturating_mul(20);
    DrawnRun { ms: u64::from(below(means * f64::from(plan.mean_ms), most.saturating_add(1))), end }
}

/// The whole part of a number that is not negative, kept below `end`.
fn below(number: f64, end: u32) -> u32 {
    let last = end.saturating_sub(1);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in 0..end")]
    let whole = number.clamp(0.0, f64::from(last)) as u32;
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> SimulationPlan {
        let priorities = [2, 5, 9].map(|p| Priority::new(p).expect("1..9")).to_vec();
        SimulationPlan {
            jobs: 4,
            spread: Spread::Exponential,
            fail_rate: 0.2,
            crash_rate: 0.1,
            affinity_keys: 10,
            priorities,
            ..SimulationPlan::default()
        }
    }

    #[test]
    fn the_same_seed_draws_the_same_and_another_seed_does_not() {
        let (one, other) = (plan(), SimulationPlan { seed: 2, ..plan() });
        let runs = |plan: &SimulationPlan| -> Vec<DrawnRun> {
            (0..100).map(|n| run(plan, n, 1)).collect()
        };
        assert_eq!(runs(&one), runs(&plan()));
        assert_ne!(runs(&one), runs(&other));
        assert_ne!(runs(&one), (0..100).map(|n| run(&one, n, 2)).collect::<Vec<_>>());
    }

    #[test]
    fn jobs_and_priorities_take_turns_and_every_key_is_drawn() {
        let plan = plan();
        let tasks: Vec<DrawnTask> = (0..1_200).map(|n| task(&plan, n)).collect();
        for job in 0..4 {
            for priority in &plan.priorities {
                let count = tasks.iter().filter(|t| t.job == job && t.priority == *priority);
                assert_eq!(count.count(), 100, "job {job} priority {priority:?}");
            }
        }
        for key in 0..10 {
            assert!(tasks.iter().filter(|t| t.key == Some(key)).count() > 60, "key {key}");
        }
        assert!(tasks.iter().all(|t| t.key.is_some_and(|key| key < 10)));
    }

    #[test]
    fn run_times_and_ends_have_the_shares_of_the_plan() {
        for spread in Spread::ALL {
            let plan = SimulationPlan { spread, ..plan() };
            let runs: Vec<DrawnRun> = (0..20_000).map(|n| run(&plan, n, 1)).collect();
            let mean = runs.iter().map(|r| r.ms).sum::<u64>() as f64 / runs.len() as f64;
            assert!((95.0..105.0).contains(&mean), "{spread:?} {mean}");
            let share = |end: End| runs.iter().filter(|r| r.end == end).count() as f64 / 20_000.0;
            assert!((share(End::Fail) - 0.2).abs() < 0.02, "{spread:?} {}", share(End::Fail));
            assert!((share(End::Crash) - 0.1).abs() < 0.02, "{spread:?} {}", share(End::Crash));
        }
        let fixed = SimulationPlan { mean_ms: 7, ..SimulationPlan::default() };
        assert_eq!(run(&fixed, 3, 1), DrawnRun { ms: 7, end: End::Complete });
    }
}

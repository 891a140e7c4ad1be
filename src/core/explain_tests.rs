//! Places counted in a real partition, and what is made of them.

use super::{Around, Past, explain, explain_away, explain_ended};
use crate::core::partition::Partition;
use crate::model::array::{ArrayInput, Span};
use crate::model::command::Command;
use crate::model::event::Event;
use crate::model::explain::{Cause, Explanation};
use crate::model::id::{PartitionId, Position, TaskSeq};
use crate::model::job::JobChange;
use crate::model::policy::Policy;
use crate::model::priority::Priority;
use crate::model::state::TaskState;
use crate::model::task::{Delay, TaskInput};
use crate::model::time::{Now, Tick, WallMs};
use crate::model::view::TrackedTask;

const NOW: Now = Now { wall: WallMs(10_000), tick: Tick(0) };

struct Rig(Partition);

fn rig() -> Rig {
    rig_of(Policy::default())
}

fn rig_of(policy: Policy) -> Rig {
    let mut partition = Partition::new(PartitionId(0), policy, 7);
    let owner = Event::Owner { node: "n".into(), addr: "".into(), token_key: [1, 2] };
    let record = crate::model::event::Stamped { at: NOW.wall, event: owner };
    partition.replay(Position(0), &record);
    partition.arm(NOW);
    Rig(partition)
}

fn task(job: &str, priority: u64) -> TaskInput {
    let priority = Priority::new(priority);
    TaskInput { job: Some(job.into()), priority, ..TaskInput::default() }
}

impl Rig {
    fn run(&mut self, command: Command) {
        self.0.decide(command, NOW, &mut Vec::new());
    }

    fn submit(&mut self, job: &str, priority: u64, count: usize) -> TaskSeq {
        let first = self.0.admitted();
        self.run(Command::submit(vec![task(job, priority); count]));
        first
    }

    fn why(&self, seq: TaskSeq) -> Explanation {
        let standing = self.0.standing(seq, NOW.wall).expect("it was admitted");
        explain(&standing, &around(NOW.wall.plus(500), true, 2.0))
    }
}

fn around(now: WallMs, workers: bool, rate: f64) -> Around {
    Around { now, workers, rate, away: false }
}

fn causes(why: &Explanation) -> Vec<(Cause, Option<u64>)> {
    why.reasons.iter().map(|r| (r.cause, r.count)).collect()
}

#[test]
fn what_goes_first_is_counted_by_lane_level_and_higher_levels() {
    let mut rig = rig();
    rig.submit("urgent", 9, 4);
    rig.submit("peer-a", 5, 10);
    rig.submit("peer-b", 5, 20);
    rig.submit("low", 1, 7);
    let own = rig.submit("own", 5, 3);
    let why = rig.why(own.plus(2));
    let peers = [(Cause::HigherPriorityAhead, Some(4)), (Cause::FairShare, Some(2))];
    assert_eq!(causes(&why), [peers[0], peers[1], (Cause::LaneAhead, Some(2))]);
    assert_eq!(why.ahead, Some([2, 30, 4]));
    // (4 + 2 × 3 lanes) ÷ 2 a second.
    assert_eq!((why.waited_ms, why.start), (500, Some(NOW.wall.plus(500 + 5_000))));
}

#[test]
fn a_lane_that_has_risen_stands_among_those_of_its_new_level() {
    let mut rig = rig_of(Policy { age_step_ms: 1_000, age_max: 2, ..Policy::default() });
    let own = rig.submit("own", 5, 2);
    let later = Now { wall: NOW.wall.plus(1_500), tick: Tick(1_500) };
    let mut at_once = |job: &str, priority| {
        rig.0.decide(Command::submit(vec![task(job, priority)]), later, &mut Vec::new());
    };
    at_once("six", 6);
    at_once("seven", 7);
    at_once("five", 5);
    let standing = rig.0.standing(own.plus(1), later.wall).expect("it was admitted");
    assert_eq!((standing.priority.get(), standing.effective.get()), (5, 6));
    assert_eq!((standing.ahead, standing.peers), (1, 1), "six is its peer");
    assert_eq!((standing.ahead_peers, standing.ahead_higher), (1, 1), "seven goes first");
    let why = explain(&standing, &around(later.wall, true, 0.0));
    assert_eq!(why.effective.map(Priority::get), Some(6));
}

#[test]
fn a_lane_ages_by_the_time_of_the_question() {
    let mut rig = rig_of(Policy { age_step_ms: 1_000, age_max: 2, ..Policy::default() });
    let own = rig.submit("own", 5, 1);
    rig.submit("six", 6, 1);
    let at = |ms| rig.0.standing(own, NOW.wall.plus(ms)).expect("it was admitted");
    let seen = [0, 1_000, 9_000].map(|ms| (at(ms).effective.get(), at(ms).ahead_higher));
    // The other lane ages as well: it stays ahead.
    assert_eq!(seen, [(5, 1), (6, 1), (7, 1)]);
    rig.0.decide(Command::Tick, Now { wall: NOW.wall.plus(5_000), tick: Tick(0) }, &mut Vec::new());
    let early = rig.0.standing(own, NOW.wall).expect("it was admitted");
    assert_eq!(early.effective.get(), 7, "the clock never falls inside a partition");
}

#[test]
fn paused_comes_first_and_promises_nothing() {
    let mut rig = rig();
    let seq = rig.submit("own", 5, 2).plus(1);
    let (level, paused) = (Priority::new(5), true);
    rig.run(Command::SetLevel { level, paused });
    let spec = rig.0.job_row("own").expect("a job").spec.clone();
    rig.run(Command::ChangeJob {
        job: "own".into(),
        change: JobChange::Pause,
        spec: Box::new(spec),
        implicit: true,
    });
    let why = rig.why(seq);
    let order = [Cause::JobPaused, Cause::LevelPaused, Cause::LaneAhead];
    assert_eq!(why.reasons.iter().map(|r| r.cause).collect::<Vec<_>>(), order);
    assert_eq!(why.start, None);
}

#[test]
fn a_delayed_task_does_not_start_before_its_time() {
    let mut rig = rig();
    let seq = rig.0.admitted();
    let delay = Delay::For(60_000);
    rig.run(Command::submit(vec![TaskInput { delay, ..task("own", 5) }]));
    let why = rig.why(seq);
    assert_eq!(why.state, TaskState::Delayed);
    assert_eq!(causes(&why), [(Cause::Delayed, None)]);
    assert_eq!((why.waited_ms, why.start), (0, Some(NOW.wall.plus(60_000))));
}

#[test]
fn without_a_rate_there_is_no_estimate_and_without_workers_a_reason() {
    let mut rig = rig();
    let standing = rig.submit("own", 5, 1);
    let standing = rig.0.standing(standing, NOW.wall).expect("it was admitted");
    let why = explain(&standing, &around(NOW.wall, false, 0.0));
    assert_eq!(causes(&why), [(Cause::NoWorkers, None)]);
    assert_eq!((why.start, why.ahead), (None, Some([0, 0, 0])));
}

#[test]
fn an_ended_task_says_so_and_no_more() {
    let past = Past {
        priority: Priority::DEFAULT,
        available: WallMs(100),
        allocated: WallMs(350),
        ended: WallMs(900),
    };
    let why = explain_ended(TaskState::Completed, &past, 1.5);
    assert_eq!(causes(&why), [(Cause::Ended, None)]);
    assert_eq!((why.effective, why.ahead, why.start), (None, None, None));
    assert_eq!(why.waited_ms, 250);
}

fn row(state: TaskState) -> TrackedTask {
    TrackedTask {
        partition: PartitionId(0),
        seq: TaskSeq(7),
        job: "own".into(),
        submit_priority: Priority::DEFAULT,
        priority: Priority::DEFAULT,
        state,
        worker: Some("w".into()),
        endpoint: None,
        attempt: 2,
        errors: 0,
        crashes: 0,
        redriven: 0,
        submitted: WallMs(100),
        available: WallMs(9_000),
        allocated: WallMs(9_600),
        running: WallMs(0),
        ended: WallMs(9_900),
        error: None,
        record: Position(0),
        index: 0,
        payload_bytes: 0,
        result: None,
    }
}

#[test]
fn away_from_its_partition_a_task_has_reasons_but_no_place() {
    let around = around(NOW.wall, false, 2.0);
    let why = explain_away(&row(TaskState::Pending), (true, true), &around);
    let order =
        [Cause::JobPaused, Cause::LevelPaused, Cause::PartitionUnavailable, Cause::NoWorkers];
    assert_eq!(causes(&why), order.map(|cause| (cause, None)));
    assert_eq!((why.effective, why.ahead, why.start), (None, None, None));
    assert_eq!(why.waited_ms, 1_000);
    let why = explain_away(&row(TaskState::Delayed), (false, false), &around);
    let order = [Cause::Delayed, Cause::PartitionUnavailable, Cause::NoWorkers];
    assert_eq!(causes(&why), order.map(|cause| (cause, None)));
    // What a worker holds, and what is over, does not wait for the partition.
    let why = explain_away(&row(TaskState::Running), (true, false), &around);
    assert_eq!((causes(&why), why.waited_ms), (vec![(Cause::Running, None)], 600));
    let why = explain_away(&row(TaskState::Completed), (true, false), &around);
    assert_eq!(causes(&why), [(Cause::Ended, None)]);
}

#[test]
fn a_pause_is_known_in_every_partition() {
    let mut rig = rig();
    rig.submit("own", 5, 1);
    assert_eq!(rig.0.pauses("own", Priority::DEFAULT), (false, false));
    rig.run(Command::SetLevel { level: Some(Priority::DEFAULT), paused: true });
    assert_eq!(rig.0.pauses("own", Priority::DEFAULT), (false, true));
    assert_eq!(rig.0.pauses("nobody", Priority::DEFAULT), (false, true));
}

#[test]
fn a_place_in_fifty_million_is_found_by_blocks() {
    let mut rig = rig();
    let mut array = task("mc", 5);
    array.payload.bytes = b"{i}".to_vec();
    let span = Span { from: 0, step: 1, count: 50_000_000 };
    let array = ArrayInput { task: array, span, id: None };
    rig.run(Command::submit(vec![array]));
    let why = rig.why(TaskSeq(49_999_999));
    assert_eq!(why.ahead, Some([49_999_999, 0, 0]));
}

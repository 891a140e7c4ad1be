//! What an event says of the states of tasks, one change after the other.
//!
//! A delayed task that becomes due is in no event, and the cancel of a job does not list its tasks:
//! both are not told here.

use crate::model::event::{
    Allocation, Completion, Event, FailCause, Failure, Next, Release, Start,
};
use crate::model::feed::Change;
use crate::model::id::{Name, TaskSeq};
use crate::model::state::TaskState;
use crate::model::task::TaskSpec;

/// The change number `entry` of an event, counted from 0; `None` behind the last one.
/// Takes no longer for a late one.
#[must_use]
pub fn change(event: &Event, entry: u64) -> Option<Change> {
    let place = usize::try_from(entry).ok()?;
    match event {
        Event::Submitted { first, tasks } => Some(admitted(first.plus(entry), tasks.get(place)?)),
        Event::SubmittedArray { first, array } => {
            let inside = entry < array.span.count;
            inside.then(|| admitted(first.plus(entry), &array.task))
        }
        Event::Allocated { worker, tasks, .. } => Some(allocated(tasks.get(place)?, worker)),
        Event::Started(starts) => Some(started(*starts.get(place)?)),
        Event::Completed(tasks) => Some(completed(tasks.get(place)?)),
        Event::Failed { cause, tasks } => Some(failed(*cause, tasks.get(place)?)),
        Event::Released { tasks, .. } => Some(released(*tasks.get(place)?)),
        Event::Cancelled(tasks) => Some(Change::to(*tasks.get(place)?, TaskState::Cancelled)),
        Event::Redriven { tasks, .. } => {
            let change = Change::to(*tasks.get(place)?, TaskState::Pending);
            Some(Change { from: Some(TaskState::Error), ..change })
        }
        Event::Owner { .. }
        | Event::JobDefined { .. }
        | Event::JobChanged { .. }
        | Event::LevelChanged { .. }
        | Event::WorkerDrained { .. }
        | Event::Key { .. }
        | Event::Duplicates(_)
        | Event::Inbox { .. }
        | Event::Purged(_)
        | Event::Operation { .. } => None,
    }
}

fn admitted(seq: TaskSeq, task: &TaskSpec) -> Change {
    Change { attempt: Some(0), ..Change::to(seq, task.first_state()) }
}

fn allocated(task: &Allocation, worker: &Name) -> Change {
    Change {
        from: Some(TaskState::Pending),
        attempt: Some(task.attempt),
        worker: Some(worker.clone()),
        ..Change::to(task.seq, TaskState::Allocated)
    }
}

fn started(start: Start) -> Change {
    Change {
        from: Some(TaskState::Allocated),
        attempt: Some(start.attempt),
        ..Change::to(start.seq, TaskState::Running)
    }
}

/// It may have been only handed out, or have lost its lease before.
fn completed(done: &Completion) -> Change {
    Change { attempt: Some(done.attempt), ..Change::to(done.seq, TaskState::Completed) }
}

fn failed(cause: FailCause, failure: &Failure) -> Change {
    Change {
        from: (failure.attempt == 0).then_some(TaskState::Pending),
        attempt: Some(failure.attempt),
        failure: Some((cause, failure.clone())),
        ..Change::to(failure.seq, landed(failure.next))
    }
}

fn released(release: Release) -> Change {
    Change { attempt: Some(release.attempt), ..Change::to(release.seq, landed(release.next)) }
}

fn landed(next: Next) -> TaskState {
    match next {
        Next::Pending => TaskState::Pending,
        Next::Delayed(_) => TaskState::Delayed,
        Next::Error => TaskState::Error,
        Next::Cancelled => TaskState::Cancelled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::array::{ArraySpec, Span};
    use crate::model::id::LeaseNo;
    use crate::model::key::Hash128;
    use crate::model::task::Blob;
    use crate::model::time::WallMs;

    fn all(event: &Event) -> Vec<Change> {
        (0..).map_while(|entry| change(event, entry)).collect()
    }

    fn failure(attempt: u32, next: Next) -> Failure {
        Failure {
            seq: TaskSeq(7),
            attempt,
            lease: LeaseNo(0),
            class: "io".into(),
            message: "m".into(),
            errors: 1,
            crashes: 0,
            next,
            run_ms: 0,
        }
    }

    #[test]
    fn an_array_is_told_element_by_element() {
        let task = TaskSpec::plain(Blob::default());
        let span = Span { from: 10, step: 2, count: 50_000_000 };
        let array = ArraySpec { task, span, id: None, content: Hash128::default() };
        let event = Event::SubmittedArray { first: TaskSeq(5), array: Box::new(array) };
        let told = |entry| change(&event, entry).map(|c| (c.seq, c.to, c.attempt));
        assert_eq!(told(0), Some((TaskSeq(5), TaskState::Pending, Some(0))));
        assert_eq!(told(49_999_999).map(|c| c.0), Some(TaskSeq(50_000_004)));
        assert_eq!(told(50_000_000), None);
    }

    #[test]
    fn a_failure_says_where_the_task_went() {
        let next = [Next::Pending, Next::Delayed(WallMs(9)), Next::Error, Next::Cancelled];
        let tasks = next.map(|next| failure(2, next)).to_vec();
        let changes = all(&Event::Failed { cause: FailCause::Crash, tasks });
        let states: Vec<_> = changes.iter().map(|c| c.to).collect();
        use TaskState::{Cancelled, Delayed, Error, Pending};
        assert_eq!(states, [Pending, Delayed, Error, Cancelled]);
        assert!(changes.iter().all(|c| c.from.is_none() && c.failure.is_some()));
    }

    #[test]
    fn what_came_in_dead_was_never_anything_but_pending() {
        let event = Event::Failed { cause: FailCause::Error, tasks: vec![failure(0, Next::Error)] };
        let [dead] = &all(&event)[..] else { panic!("one change") };
        assert_eq!((dead.from, dead.attempt), (Some(TaskState::Pending), Some(0)));
    }

    #[test]
    fn a_hand_out_and_a_start_say_who_and_from_what() {
        let starts = vec![Start { seq: TaskSeq(1), attempt: 3 }];
        let [start] = &all(&Event::Started(starts))[..] else { panic!("one change") };
        assert_eq!((start.from, start.to), (Some(TaskState::Allocated), TaskState::Running));
        assert_eq!(all(&Event::Purged(vec![TaskSeq(1)])), []);
    }
}

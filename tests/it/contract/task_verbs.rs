//! `semantics.md` 3, the task verbs by id: a test for every cell. BLOCKED and EXPIRED are later.

use super::{counts, job_of, now, task_in, task_verb};

/// A verb that is not allowed here, and changes nothing.
#[track_caller]
fn refused(state: &str, verb: &str) {
    let task = task_in(state);
    let before = now(&task);
    task_verb(&task, verb).refused(409, "illegal_transition");
    assert_eq!(now(&task), before);
    counts(&job_of(&task), &[(state, 1)]);
}

/// A cancel that is.
#[track_caller]
fn cancels(state: &str) {
    let task = task_in(state);
    let shown = task_verb(&task, "cancel").ok();
    assert_eq!((&shown["state"], &shown["ref"]), (&"CANCELLED".into(), &task["ref"]));
    assert_eq!(now(&task)["state"], "CANCELLED");
    counts(&job_of(&task), &[("CANCELLED", 1)]);
}

#[test]
fn cancel_of_a_delayed_task() {
    cancels("DELAYED");
}

#[test]
fn cancel_of_a_pending_task() {
    cancels("PENDING");
}

#[test]
fn cancel_of_an_allocated_task() {
    cancels("ALLOCATED");
}

#[test]
fn cancel_of_a_running_task() {
    cancels("RUNNING");
}

#[test]
fn cancel_of_a_completed_task() {
    refused("COMPLETED", "cancel");
}

#[test]
fn cancel_of_a_dead_task() {
    refused("ERROR", "cancel");
}

#[test]
fn cancel_of_a_cancelled_task_changes_nothing() {
    let task = task_in("CANCELLED");
    let before = now(&task);
    assert_eq!(task_verb(&task, "cancel").ok()["state"], "CANCELLED");
    assert_eq!(now(&task), before);
    counts(&job_of(&task), &[("CANCELLED", 1)]);
}

#[test]
fn retry_of_a_delayed_task() {
    refused("DELAYED", "retry");
}

#[test]
fn retry_of_a_pending_task() {
    refused("PENDING", "retry");
}

#[test]
fn retry_of_an_allocated_task() {
    refused("ALLOCATED", "retry");
}

#[test]
fn retry_of_a_running_task() {
    refused("RUNNING", "retry");
}

#[test]
fn retry_of_a_completed_task() {
    refused("COMPLETED", "retry");
}

#[test]
fn retry_of_a_dead_task() {
    let task = task_in("ERROR");
    let shown = task_verb(&task, "retry").ok();
    assert_eq!((&shown["state"], &shown["redriven"]), (&"PENDING".into(), &1.into()));
    assert_eq!(now(&task)["state"], "PENDING");
    counts(&job_of(&task), &[("PENDING", 1)]);
}

#[test]
fn retry_of_a_cancelled_task() {
    refused("CANCELLED", "retry");
}

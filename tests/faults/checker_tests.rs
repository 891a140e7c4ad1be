//! The checker on synthetic histories: a clean run passes, and each planted violation is found
//! under its own kind. A checker that cannot fail is worthless.

use crate::checker::{Finals, Kind, Seen, check, sha256_hex};
use crate::fold::Fold;
use crate::history::{Beat, Entry, HandOut, Report, Submit, Verb};
use crate::http::Verdict;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const MS: u64 = 1_000;

/// A history, its dump and its final reads; starts clean and is then spoilt.
struct Case {
    history: Vec<Entry>,
    dump: Vec<Value>,
    finals: Finals,
    position: u64,
}

fn submit(task: &str, payload: &str, t: u64) -> Entry {
    Entry::Submit(Submit {
        t0: t,
        t1: t + 1,
        payload: payload.into(),
        job: "alpha".into(),
        priority: 5,
        id: None,
        verdict: Verdict::Ok,
        task: Some(task.into()),
    })
}

fn hand_out(task: &str, payload: &str, attempt: u32, token: &str, t: u64) -> Entry {
    Entry::HandOut(HandOut {
        t0: t,
        t1: t + 2,
        worker: "w".into(),
        task: task.into(),
        id: task.into(),
        job: "alpha".into(),
        priority: 5,
        payload: payload.into(),
        attempt,
        token: token.into(),
        lease_ms: 1_000,
        allocated: t + 1,
    })
}

fn report(verb: Verb, token: &str, outcome: Option<&str>, t: u64) -> Entry {
    let outcome = outcome.map(str::to_owned);
    Entry::Report(Report { t0: t, t1: t + 1, verb, token: token.into(), outcome })
}

impl Case {
    /// Three tasks: A completed, with a doubled report; B failed, retried and completed; C lapsed,
    /// was handed out again and died.
    fn clean() -> Self {
        let mut case = Self {
            history: Vec::new(),
            dump: Vec::new(),
            finals: Finals { drained: true, ..Finals::default() },
            position: 0,
        };
        case.record("Owner", json!({"node": "n"}));
        for (task, payload) in [("5-0-1", "pa"), ("5-0-2", "pb"), ("5-0-3", "pc")] {
            case.history.push(submit(task, payload, MS));
            case.record("Submitted", json!({"tasks": [sent(task, payload)]}));
        }
        case.allocated("5-0-1", "pa", 1, 10 * MS);
        case.history.push(report(Verb::Complete, "t-5-0-1-1", Some("ok"), 20 * MS));
        case.history.push(report(Verb::Complete, "t-5-0-1-1", Some("duplicate"), 21 * MS));
        case.record("Completed", json!({"tasks": [{"ref": "5-0-1", "attempt": 1}]}));

        case.allocated("5-0-2", "pb", 1, 10 * MS);
        case.history.push(report(Verb::Fail, "t-5-0-2-1", Some("retry"), 30 * MS));
        case.failed("Failed", "5-0-2", 1, (1, 0), "DELAYED");
        case.allocated("5-0-2", "pb", 2, 100 * MS);
        case.history.push(report(Verb::Complete, "t-5-0-2-2", None, 120 * MS));
        case.history.push(report(Verb::Complete, "t-5-0-2-2", Some("duplicate"), 130 * MS));
        case.record("Completed", json!({"tasks": [{"ref": "5-0-2", "attempt": 2}]}));

        case.allocated("5-0-3", "pc", 1, 10 * MS);
        case.failed("Crashed", "5-0-3", 1, (0, 1), "PENDING");
        case.allocated("5-0-3", "pc", 2, 1_100 * MS);
        case.history.push(report(Verb::Complete, "t-5-0-3-1", Some("lease_lost"), 1_150 * MS));
        case.history.push(report(Verb::Fail, "t-5-0-3-2", Some("dead"), 1_200 * MS));
        case.failed("Failed", "5-0-3", 2, (1, 1), "ERROR");
        case.read("5-0-1", "pa", "COMPLETED", 1);
        case.read("5-0-2", "pb", "COMPLETED", 2);
        case.read("5-0-3", "pc", "ERROR", 2);
        case
    }

    fn record(&mut self, kind: &str, fields: Value) {
        self.position += 1;
        let mut record = fields;
        record["kind"] = json!(kind);
        record["partition"] = json!(0);
        record["position"] = json!(self.position.to_string());
        record["epoch"] = json!("1");
        self.dump.push(record);
    }

    /// A hand-out in the history and in the log; its token is `t-REF-ATTEMPT`.
    fn allocated(&mut self, task: &str, payload: &str, attempt: u32, t: u64) {
        self.history.push(hand_out(task, payload, attempt, &format!("t-{task}-{attempt}"), t));
        let lease = self.position + 100;
        let item = json!({"ref": task, "attempt": attempt, "lease": lease, "leaseMs": 1_000});
        self.record("Allocated", json!({"worker": "w", "tasks": [item]}));
    }

    fn failed(&mut self, kind: &str, task: &str, attempt: u32, budgets: (u32, u32), to: &str) {
        let (errors, crashes) = budgets;
        let item = json!({"ref": task, "attempt": attempt, "class": "x", "errors": errors,
            "crashes": crashes, "to": to});
        self.record(kind, json!({ "tasks": [item] }));
    }

    fn read(&mut self, task: &str, payload: &str, state: &str, attempt: u32) {
        let sha256 = Some(sha256_hex(payload));
        let seen = Seen { state: state.into(), job: "alpha".into(), attempt, sha256 };
        self.finals.tasks.insert(task.into(), Some(seen));
        self.finals.listed.insert(task.into());
    }

    fn seen(&mut self, task: &str) -> &mut Seen {
        self.finals.tasks.get_mut(task).and_then(Option::as_mut).expect("it was read")
    }

    fn fold(&self) -> Fold {
        Fold::of(&self.dump.iter().map(|r| format!("{r}\n")).collect::<String>())
    }

    fn kinds(&self) -> BTreeSet<Kind> {
        let fold = self.fold();
        let jobs =
            if self.finals.jobs.is_empty() { fold.job_views() } else { self.finals.jobs.clone() };
        let finals = Finals {
            jobs,
            tasks: self.finals.tasks.clone(),
            listed: self.finals.listed.clone(),
            drained: self.finals.drained,
        };
        check(&self.history, &finals, &fold).into_iter().map(|v| v.kind).collect()
    }

    #[track_caller]
    fn finds(&self, kind: Kind) {
        let kinds = self.kinds();
        assert!(kinds.contains(&kind), "{kind:?} was planted, found {kinds:?}");
    }

    /// Sees the violation and nothing of another kind.
    #[track_caller]
    fn finds_only(&self, kind: Kind) {
        assert_eq!(self.kinds(), BTreeSet::from([kind]));
    }
}

fn sent(task: &str, payload: &str) -> Value {
    json!({"ref": task, "job": "alpha", "priority": 5, "state": "PENDING",
        "payloadSha256": sha256_hex(payload)})
}

#[test]
fn a_clean_history_passes() {
    assert_eq!(Case::clean().kinds(), BTreeSet::new());
}

#[test]
fn a_lost_task_is_found() {
    let mut case = Case::clean();
    case.finals.tasks.insert("5-0-1".into(), None);
    case.finds_only(Kind::Lost);
    let mut case = Case::clean();
    case.finals.tasks.remove("5-0-2");
    case.finds_only(Kind::Lost);
    let mut case = Case::clean();
    case.dump.retain(|r| r["tasks"][0]["ref"] != "5-0-1");
    case.finds(Kind::Lost);
    let mut case = Case::clean();
    case.seen("5-0-3").attempt = 1;
    case.finds(Kind::Lost);
}

#[test]
fn a_lost_task_is_found_without_draining() {
    let mut case = Case::clean();
    case.finals.drained = false;
    case.finals.tasks.clear();
    case.finds(Kind::Lost);
}

#[test]
fn a_doubled_completion_is_found() {
    let mut case = Case::clean();
    case.history.push(report(Verb::Complete, "t-5-0-1-1", Some("ok"), 25 * MS));
    case.finds_only(Kind::Doubled);
    let mut case = Case::clean();
    case.record("Completed", json!({"tasks": [{"ref": "5-0-1", "attempt": 1}]}));
    case.finds(Kind::Doubled);
}

#[test]
fn a_submit_that_became_two_tasks_is_found() {
    let mut case = Case::clean();
    case.history.push(submit("5-0-9", "pa", 2 * MS));
    case.record("Submitted", json!({"tasks": [sent("5-0-9", "pa")]}));
    case.finds(Kind::Doubled);
}

#[test]
fn an_inbox_that_is_taken_twice_or_skipped_is_found() {
    let mut case = Case::clean();
    case.record("Inbox", json!({"level": 7, "from": 2, "next": 9, "lost": 2}));
    case.record("Inbox", json!({"level": 8, "from": 0, "next": 3, "lost": 0}));
    case.record("Inbox", json!({"level": 7, "from": 9, "next": 12, "lost": 0}));
    assert_eq!(case.kinds(), BTreeSet::new());
    case.record("Inbox", json!({"level": 7, "from": 11, "next": 14, "lost": 0}));
    case.finds_only(Kind::Doubled);
    let mut case = Case::clean();
    case.record("Inbox", json!({"level": 7, "from": 2, "next": 9, "lost": 0}));
    case.finds_only(Kind::Lost);
}

#[test]
fn an_unexpected_task_is_found() {
    let mut case = Case::clean();
    case.allocated("5-0-77", "from nowhere", 1, 50 * MS);
    case.finds(Kind::Unexpected);
    let mut case = Case::clean();
    case.record("Submitted", json!({"tasks": [sent("5-0-78", "from nowhere")]}));
    case.finds(Kind::Unexpected);
    let mut case = Case::clean();
    case.finals.listed.insert("5-0-79".into());
    case.finds_only(Kind::Unexpected);
    let mut case = Case::clean();
    case.seen("5-0-1").sha256 = Some(sha256_hex("pb"));
    case.finds_only(Kind::Unexpected);
}

#[test]
fn a_refused_submit_that_exists_is_found() {
    let mut case = Case::clean();
    for entry in &mut case.history {
        if let Entry::Submit(s) = entry
            && s.payload == "pa"
        {
            s.verdict = Verdict::Refused;
            s.task = None;
        }
    }
    case.finds_only(Kind::Unexpected);
}

#[test]
fn a_changed_payload_or_priority_is_found() {
    let mut case = Case::clean();
    for entry in &mut case.history {
        if let Entry::HandOut(h) = entry
            && h.task == "5-0-1"
        {
            h.payload = "pb".into();
        }
    }
    case.finds_only(Kind::Unexpected);
    let mut case = Case::clean();
    if let Some(Entry::HandOut(h)) =
        case.history.iter_mut().find(|e| matches!(e, Entry::HandOut(_)))
    {
        h.priority = 6;
    }
    case.finds_only(Kind::Unexpected);
}

#[test]
fn a_resurrected_task_is_found() {
    let mut case = Case::clean();
    case.allocated("5-0-1", "pa", 2, 2_000 * MS);
    case.finds(Kind::Resurrected);
    let mut case = Case::clean();
    case.history.push(hand_out("5-0-3", "pc", 3, "t-9", 3_000 * MS));
    case.finds(Kind::Resurrected);
    let mut case = Case::clean();
    let (t0, job) = (5 * MS, "alpha".to_owned());
    case.history.push(Entry::CancelJob { t0, t1: t0 + 1, job, verdict: Verdict::Ok });
    case.finds(Kind::Resurrected);
}

#[test]
fn an_overlapping_lease_is_found() {
    let mut case = Case::clean();
    for entry in &mut case.history {
        if let Entry::HandOut(h) = entry
            && (h.task.as_str(), h.attempt) == ("5-0-3", 2)
        {
            (h.t0, h.t1, h.allocated) = (500 * MS, 502 * MS, 501 * MS);
        }
    }
    case.finds_only(Kind::Overlap);
}

#[test]
fn a_lease_cut_short_after_a_renewal_is_found() {
    let mut case = Case::clean();
    let (t0, token) = (900 * MS, "t-5-0-3-1".to_owned());
    case.history.push(Entry::Beat(Beat { t0, t1: t0 + 1, token, renewed: Some(true) }));
    case.finds_only(Kind::Overlap);
    let mut case = Case::clean();
    let token = "t-5-0-3-1".to_owned();
    case.history.push(Entry::Beat(Beat { t0, t1: t0 + 1, token, renewed: None }));
    assert_eq!(case.kinds(), BTreeSet::new(), "an unknown renewal proves nothing");
}

#[test]
fn a_hand_out_while_leased_is_found_in_the_log() {
    let mut case = Case::clean();
    let lapse = case.dump.iter().position(|r| r["kind"] == "Crashed").expect("one lapsed");
    case.dump.remove(lapse);
    case.finds(Kind::Overlap);
}

#[test]
fn a_repeated_token_is_found() {
    let mut case = Case::clean();
    for entry in &mut case.history {
        if let Entry::HandOut(h) = entry
            && (h.task.as_str(), h.attempt) == ("5-0-3", 1)
        {
            h.token = "t-5-0-1-1".into();
        }
    }
    case.finds(Kind::Token);
    let mut case = Case::clean();
    for record in &mut case.dump {
        if record["kind"] == "Allocated" {
            record["tasks"][0]["lease"] = json!(7);
        }
    }
    case.finds_only(Kind::Token);
}

#[test]
fn a_wrong_attempt_number_is_found() {
    for wrong in [1, 3] {
        let mut case = Case::clean();
        for record in case.dump.iter_mut().filter(|r| r["tasks"].is_array()) {
            let item = &mut record["tasks"][0];
            if item["ref"] == "5-0-2" && item["attempt"] == 2 {
                item["attempt"] = json!(wrong);
            }
        }
        case.finds(Kind::Attempt);
    }
    let mut case = Case::clean();
    case.history.push(hand_out("5-0-2", "pb", 2, "another", 101 * MS));
    case.finds(Kind::Attempt);
    let mut case = Case::clean();
    for record in &mut case.dump {
        if record["kind"] == "Crashed" {
            record["tasks"][0]["crashes"] = json!(2);
        }
    }
    case.finds(Kind::Attempt);
}

#[test]
fn a_stale_accept_is_found() {
    let mut case = Case::clean();
    for entry in &mut case.history {
        if let Entry::Report(r) = entry
            && r.token == "t-5-0-3-1"
        {
            r.outcome = Some("ok".into());
        }
    }
    case.finds(Kind::Stale);
    let mut case = Case::clean();
    case.history.push(report(Verb::Complete, "forged", Some("ok"), 40 * MS));
    case.finds_only(Kind::Stale);
    let mut case = Case::clean();
    case.history.push(report(Verb::Release, "t-5-0-1-1", Some("duplicate"), 40 * MS));
    case.finds_only(Kind::Stale);
    let mut case = Case::clean();
    case.record("Completed", json!({"tasks": [{"ref": "5-0-3", "attempt": 1, "late": true}]}));
    case.finds(Kind::Stale);
}

#[test]
fn a_final_state_against_an_acknowledgement_is_found() {
    let mut case = Case::clean();
    case.seen("5-0-1").state = "ERROR".into();
    case.finds(Kind::Contradiction);
    let mut case = Case::clean();
    case.seen("5-0-2").state = "CANCELLED".into();
    case.finds(Kind::Contradiction);
}

#[test]
fn a_stuck_task_is_found() {
    let mut case = Case::clean();
    case.history.push(submit("5-0-4", "pd", 2 * MS));
    case.record("Submitted", json!({"tasks": [sent("5-0-4", "pd")]}));
    case.read("5-0-4", "pd", "PENDING", 0);
    case.finds_only(Kind::Stuck);
}

#[test]
fn a_counter_that_differs_from_the_fold_is_found() {
    let mut case = Case::clean();
    case.finals.jobs = case.fold().job_views();
    assert_eq!(case.kinds(), BTreeSet::new());
    let alpha = case.finals.jobs.get_mut("alpha").expect("the job of the case");
    assert_eq!((alpha.submitted, alpha.handed_out, alpha.completed, alpha.error), (3, 5, 2, 1));
    assert_eq!((alpha.failed_attempts, alpha.crashes), (2, 1));
    alpha.handed_out += 1;
    case.finds_only(Kind::Counter);
}

#[test]
fn a_sum_that_does_not_add_up_and_a_falling_counter_are_found() {
    let sample = |t: u64, completed: i64, submitted: i64| {
        let view =
            crate::history::JobView { completed, submitted, ..crate::history::JobView::default() };
        Entry::Sample { t0: t, t1: t + 1, job: "alpha".into(), view }
    };
    let mut case = Case::clean();
    case.history.extend([sample(1, 1, 1), sample(3, 2, 2)]);
    assert_eq!(case.kinds(), BTreeSet::new());
    case.history.push(sample(5, 1, 1));
    case.finds_only(Kind::Conservation);
    let mut case = Case::clean();
    case.history.push(sample(1, 1, 2));
    case.finds_only(Kind::Conservation);
}

#[test]
fn a_void_batch_of_a_deposed_owner_does_not_count() {
    let mut case = Case::clean();
    case.record("Completed", json!({"tasks": [{"ref": "5-0-1", "attempt": 1}]}));
    case.dump.last_mut().expect("just added")["epoch"] = json!("0");
    assert_eq!(case.kinds(), BTreeSet::new());
}

#[test]
fn a_dump_that_cannot_be_read_is_found() {
    let fold = Fold::of("{\"partition\":0");
    assert!(fold.problems.iter().any(|(kind, _)| *kind == Kind::Dump));
    let mut case = Case::clean();
    let last = case.dump.last().expect("some").clone();
    case.dump.insert(1, last);
    case.finds(Kind::Dump);
}

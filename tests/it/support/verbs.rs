//! Short words for the calls every test makes. Each asserts the plain success of its call, so that
//! a test shows only what it is about.

use serde_json::{Map, Value, json};

use super::http::{Answer, Conn, Req};
use super::server::Server;
use super::wait::eventually;

impl Server {
    /// Consumes that are parked.
    pub(crate) fn waiting(&self) -> i64 {
        int(&self.get("/kwq/stats/now").ok(), "consumersWaiting")
    }

    /// Parks a consume for a minute, without a thread: sends it and does not read.
    pub(crate) fn park(&self, worker: &str, job: &str) -> Conn {
        self.park_with(&json!({"worker": worker, "jobs": [job]}))
    }

    /// As [`Self::park`] with any body.
    pub(crate) fn park_with(&self, ask: &Value) -> Conn {
        let before = self.waiting();
        let mut conn = Conn::open(self.addr()).expect("connects");
        let ask = merge(ask, &json!({"waitMs": 60_000}));
        let req = Req::new("POST", "/kwq/consume").json(&ask);
        conn.send(&req.to_bytes()).expect("sends");
        eventually("the consume is parked", || (self.waiting() > before).then_some(()));
        conn
    }

    /// Submits one task, gives its reference.
    #[track_caller]
    pub(crate) fn submit(&self, task: &Value) -> String {
        let answer = self.post("/kwq/submit", task);
        answer.expect(200).header("Kwq-Ref").expect("Kwq-Ref is on every seed submit").to_owned()
    }

    /// Submits a list into one job; every item must be accepted. Gives the references in order.
    #[track_caller]
    pub(crate) fn add(&self, job: &str, items: &Value) -> Vec<String> {
        let body = self.post(&format!("/kwq/jobs/{}/tasks", encode(job)), items).ok();
        assert_eq!(body["rejected"], 0, "{body}");
        let results = body["results"].as_array().expect("results of a JSON array").clone();
        results.iter().map(|r| text(r, "ref").to_owned()).collect()
    }

    /// Asks for tasks of one job; no wait unless `more` says so. 204 gives an empty list.
    #[track_caller]
    pub(crate) fn consume(&self, worker: &str, job: &str, more: &Value) -> Vec<Value> {
        let ask = json!({"worker": worker, "jobs": [job], "waitMs": 0});
        let answer = self.post("/kwq/consume", &merge(&ask, more));
        if answer.status == 204 {
            return Vec::new();
        }
        answer.ok()["tasks"].as_array().expect("tasks").clone()
    }

    /// Takes one task of a job; waits for it.
    #[track_caller]
    pub(crate) fn take(&self, worker: &str, job: &str) -> Value {
        let tasks = self.consume(worker, job, &json!({"waitMs": 30_000}));
        assert_eq!(tasks.len(), 1, "a task of {job} was to be had");
        tasks.into_iter().next().expect("just counted")
    }

    /// Submits one task into a fresh job and takes it; `task` may say more about it.
    #[track_caller]
    pub(crate) fn leased(&self, worker: &str, job: &str, task: &Value) -> Value {
        self.submit(&merge(&json!({"groupId": job, "payload": "p"}), task));
        self.take(worker, job)
    }

    /// One report: `start`, `complete`, `fail`, `release`.
    #[track_caller]
    pub(crate) fn report(&self, verb: &str, lease: &Value, more: &Value) -> Answer {
        self.post(&format!("/kwq/{verb}"), &merge(&json!({"lease": lease}), more))
    }

    #[track_caller]
    pub(crate) fn complete(&self, task: &Value) -> Value {
        let body = self.report("complete", &task["lease"], &json!({})).ok();
        assert_eq!(body["outcome"], "ok", "{body}");
        body
    }

    #[track_caller]
    pub(crate) fn task(&self, task: &str) -> Value {
        self.get(&format!("/kwq/tasks/{}", encode(task))).ok()
    }

    #[track_caller]
    pub(crate) fn state(&self, task: &str) -> String {
        text(&self.task(task), "state").to_owned()
    }

    #[track_caller]
    pub(crate) fn job(&self, job: &str) -> Value {
        self.get(&format!("/kwq/jobs/{}", encode(job))).ok()
    }

    /// A verb on a job that must answer 200.
    #[track_caller]
    pub(crate) fn job_verb(&self, job: &str, verb: &str) -> Value {
        self.post(&format!("/kwq/jobs/{}/{verb}", encode(job)), &json!({})).ok()
    }

    /// Every page of a list, followed by its cursors; bounded.
    #[track_caller]
    pub(crate) fn pages(&self, path: &str) -> Vec<Value> {
        let mut rows = Vec::new();
        let mut next = path.to_owned();
        for _ in 0..10_000 {
            let answer = self.get(&next);
            rows.extend(answer.ok().as_array().expect("a list is a bare array").iter().cloned());
            let Some(cursor) = answer.header("Kwq-Next") else { return rows };
            let sign = if path.contains('?') { '&' } else { '?' };
            next = format!("{path}{sign}cursor={}", encode(cursor));
        }
        panic!("{path}: no end of pages");
    }

    /// Tasks of one job by further filters, read fresh.
    #[track_caller]
    pub(crate) fn tasks(&self, job: &str, filters: &str) -> Vec<Value> {
        self.pages(&format!("/kwq/tasks?job={}&fresh=true{filters}", encode(job)))
    }
}

/// `base` with the members of `more` over it.
pub(crate) fn merge(base: &Value, more: &Value) -> Value {
    let mut all: Map<String, Value> = base.as_object().expect("an object").clone();
    for (name, value) in more.as_object().expect("an object") {
        all.insert(name.clone(), value.clone());
    }
    Value::Object(all)
}

/// Percent-encodes everything but unreserved characters.
pub(crate) fn encode(part: &str) -> String {
    let mut out = String::new();
    for byte in part.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[track_caller]
pub(crate) fn text<'a>(of: &'a Value, name: &str) -> &'a str {
    of[name].as_str().unwrap_or_else(|| panic!("{name} is no string in {of}"))
}

#[track_caller]
pub(crate) fn int(of: &Value, name: &str) -> i64 {
    of[name].as_i64().unwrap_or_else(|| panic!("{name} is no integer in {of}"))
}

/// The ids of some tasks, in their order.
pub(crate) fn ids(tasks: &[Value]) -> Vec<&str> {
    tasks.iter().map(|t| text(t, "id")).collect()
}

/// A list of strings in sorted order, for comparisons that are not about order.
pub(crate) fn sorted(list: &Value) -> Vec<String> {
    let list = list.as_array().unwrap_or_else(|| panic!("no list: {list}"));
    let mut list: Vec<String> = list.iter().map(|v| v.as_str().expect("text").to_owned()).collect();
    list.sort();
    list
}

/// The verdict of a single report: its outcome on 200, its code on 409.
#[track_caller]
pub(crate) fn outcome(answer: &Answer) -> String {
    let body = match answer.status {
        200 => answer.json(),
        409 => answer.refused(409, text(&answer.json(), "code")),
        other => panic!("neither 200 nor 409 but {other}: {}", answer.text()),
    };
    let name = if answer.status == 200 { "outcome" } else { "code" };
    text(&body, name).to_owned()
}

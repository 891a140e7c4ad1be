//! The gate by itself: order of its questions, and callers who leave.

use super::*;
use crate::actor::handle::idle_engine;
use crate::api::ApiContext;
use crate::api::auth::Guard;
use crate::api::context::Phase;
use crate::api::delivery::Delivery;
use crate::api::route::{OPERATE, VIEW};
use crate::codec::digest;
use crate::config::Config;
use crate::model::access::{Role, Scopes, Token};
use crate::model::time::WallMs;
use crate::store::audit::Audit;
use futures_util::FutureExt as _;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use tokio::sync::watch;

const PAUSE: Row = Row::new("/kwq/jobs/{job}/pause", OPERATE.audited("job.pause"));

struct Bench {
    shared: Arc<Shared>,
    audit: Arc<Audit>,
    dir: PathBuf,
}

impl Drop for Bench {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.dir));
    }
}

impl Bench {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("kwq-gate-{}-{name}", std::process::id()));
        let audit = Audit::open(&dir, 100, Box::new(|| {})).map(Arc::new).expect("opens");
        let metrics = crate::metrics::install("0", "test");
        let token = |secret: &str, role, scopes| Token {
            name: secret.into(),
            sha256: digest::sha256(secret.as_bytes()),
            roles: Roles::of(&[role]),
            scopes: Scopes::new(scopes),
            expires: WallMs(0),
        };
        let api = ApiContext {
            guard: Arc::new(Guard::new(vec![
                token("ops", Role::Operate, Vec::new()),
                token("view", Role::View, Vec::new()),
                token("own", Role::Operate, vec!["own-".into()]),
            ])),
            audit: Some(Arc::clone(&audit)),
            ..ApiContext::new(idle_engine(), &Config::default(), metrics)
        };
        let (_, phase) = watch::channel(Phase::Serving);
        Self { shared: Arc::new(Shared::new(api, phase)), audit, dir }
    }

    fn call(&self, token: &str, path: &str) -> Call {
        let request = hyper::Request::post(path).header("authorization", format!("Bearer {token}"));
        Call {
            shared: Arc::clone(&self.shared),
            peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
            caller: Caller::default(),
            head: request.body(()).expect("a request").into_parts().0,
            params: Vec::new(),
            delivery: Arc::new(Delivery::default()),
            body: None,
            deadline: None,
        }
    }

    /// `result` and `target` of every line.
    fn trail(&self) -> Vec<(String, String)> {
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let reply = Box::new(move |lines| tell.send(lines).expect("the test waits"));
        self.audit.read(0, 100, reply).expect("not busy");
        let lines = told.recv().expect("answers").expect("reads");
        let shown = |line: &String| {
            let fields = crate::codec::json::object(line).expect("JSON");
            let text = |name| {
                let text = fields.get(name).expect("a member").string().expect("characters");
                text.expect("a string").into_owned()
            };
            (text("result"), text("target"))
        };
        lines.iter().map(shown).collect()
    }
}

fn line(result: &str, target: &str) -> (String, String) {
    (result.to_owned(), target.to_owned())
}

#[test]
fn a_caller_who_leaves_before_the_answer_is_recorded() {
    let bench = Bench::new("leaves");
    let call = bench.call("ops", "/kwq/jobs/eod/pause");
    let left = perform(call, PAUSE, |_| std::future::pending::<Outcome>()).now_or_never();
    assert!(left.is_none());
    assert_eq!(bench.trail(), [line("unknown", "eod")]);
}

#[test]
fn no_handler_runs_for_who_may_not_and_only_what_changed_or_was_forbidden_is_recorded() {
    let bench = Bench::new("order");
    let run = |token: &str, path: &str, row: Row, answer: Outcome| {
        let mut ran = false;
        let call = bench.call(token, path);
        let handler = |_: Call| {
            ran = true;
            std::future::ready(answer)
        };
        let answer = perform(call, row, handler).now_or_never().expect("ready at once");
        (answer.status.as_u16(), ran)
    };
    let done = || Ok(Answer::json(b"{}".to_vec()));
    let gone = || Err(Problem::new(Code::JobEnded, "over"));
    assert_eq!(run("ops", "/kwq/jobs/a/pause", PAUSE, done()), (200, true));
    assert_eq!(run("ops", "/kwq/jobs/b/pause", PAUSE, gone()), (409, true));
    assert_eq!(run("view", "/kwq/jobs/c/pause", PAUSE, done()), (403, false));
    assert_eq!(run("nobody", "/kwq/jobs/d/pause", PAUSE, done()), (401, false));
    assert_eq!(run("own", "/kwq/jobs/e/pause", PAUSE, done()), (404, false));
    assert_eq!(run("own", "/kwq/jobs/own-f/pause", PAUSE, done()), (200, true));
    assert_eq!(run("own", "/kwq/jobs/ow%6e-g/pause", PAUSE, done()), (200, true));
    let whole = Row::new("/kwq/queues/{p}/pause", OPERATE.audited("queue.pause").whole());
    assert_eq!(run("own", "/kwq/queues/5/pause", whole, done()), (403, false));
    let quiet = Row::new("/kwq/jobs/{job}", VIEW);
    assert_eq!(run("view", "/kwq/jobs/h", quiet, done()), (200, true));
    let broken = || Err(Problem::new(Code::LogUnavailable, "outcome unknown"));
    assert_eq!(run("ops", "/kwq/jobs/i/pause", PAUSE, broken()), (503, true));
    let expected = [
        line("ok", "a"),
        line("forbidden", "c"),
        line("ok", "own-f"),
        line("ok", "own-g"),
        line("forbidden", "5"),
        line("log_unavailable", "i"),
    ];
    assert_eq!(bench.trail(), expected);
}

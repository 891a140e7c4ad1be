//! The one way into every handler: who may, then the handler, then the audit trail. Nothing of the
//! body is read before.

use crate::api::answer::{Answer, Told};
use crate::api::auth::Caller;
use crate::api::call::Call;
use crate::api::context::Shared;
use crate::api::problem::{Outcome, Problem};
use crate::api::query;
use crate::api::route::{Row, Rule, parts};
use crate::codec::audit::Deed;
use crate::metrics::Denial;
use crate::model::access::{Access, Roles};
use crate::model::limits;
use crate::model::reject::{Code, Reject};
use hyper::Method;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;

/// Runs a call of a row.
pub(crate) async fn perform<F>(mut call: Call, row: Row, run: impl FnOnce(Call) -> F) -> Answer
where
    F: Future<Output = Outcome>,
{
    let entered = enter(&mut call, row);
    let witness = row.rule.audited.map(|op| Witness::of(&call, row, op));
    let shared = Arc::clone(&call.shared);
    let ended = call.caller.name.is_some().then(|| call.ended());
    let outcome = match entered {
        Ok(()) => run(call).await,
        Err(problem) => Err(problem),
    };
    let mut answer = outcome.unwrap_or_else(Answer::from);
    if answer.refused.as_ref().is_some_and(|refused| tells_a_state(refused.code)) {
        // What was refused by a state rests on that state as much as an answer does.
        answer = answer.positions(&shared.api.handle.positions());
    }
    answer.route = row.pattern;
    if let Some(ended) = ended {
        answer.stream = answer.stream.map(|stream| stream.until(ended));
    }
    match witness {
        Some(witness) => witness.told(answer),
        None => answer,
    }
}

/// Does a refusal say how something stands?
fn tells_a_state(code: Code) -> bool {
    matches!(code.status(), 404 | 409 | 410) && code != Code::NoRoute
}

fn enter(call: &mut Call, row: Row) -> Result<(), Problem> {
    if row.rule.access == Access::Open {
        return Ok(());
    }
    let api = &call.shared.api;
    let identified = api.guard.identify(&call.head.headers, call.peer, api.handle.now());
    let admitted = identified.and_then(|caller| {
        call.caller = caller;
        admit(&call.caller, row.rule)
    });
    admitted.map_err(|(why, reject)| {
        api.metrics.denied(why);
        Problem::from(reject)
    })?;
    if !call.caller.scopes.everything() {
        inside(call, row.pattern)?;
        call.shared = Arc::new(call.shared.within(call.caller.scopes.clone()));
    }
    Ok(())
}

fn admit(caller: &Caller, rule: Rule) -> Result<(), (Denial, Reject)> {
    let denied = |detail| Err((Denial::Role, Reject::new(Code::Forbidden, detail)));
    if let Access::OneOf(roles) = rule.access
        && caller.roles.both(roles) == Roles::default()
    {
        let words: Vec<&str> = roles.iter().map(|role| role.word()).collect();
        return denied(format!("this needs the role {}", words.join(" or ")));
    }
    if rule.whole && !caller.scopes.everything() {
        return denied("this touches every job, and the token has scopes".to_owned());
    }
    Ok(())
}

/// A job of the path that lies outside the scopes does not exist for this caller.
fn inside(call: &Call, pattern: &'static str) -> Result<(), Problem> {
    if !pattern.starts_with("/kwq/jobs/{job}") {
        return Ok(());
    }
    let job = first_part(call, pattern).unwrap_or_default();
    if call.caller.scopes.cover(&job) {
        return Ok(());
    }
    Err(crate::actor::handle::no_job(&crate::codec::json::shown(&job)).into())
}

/// The first variable part of the path; `None` = there is none, or it cannot be read.
fn first_part(call: &Call, pattern: &'static str) -> Option<String> {
    let path = call.head.uri.path();
    let found = parts(pattern, path)?;
    query::decode(found.first()?).ok()
}

/// What the audit trail will want to know of a call, kept aside while it runs. A call that is
/// dropped before its answer, because its caller has gone or by a bug, is recorded as `unknown`:
/// who leaves early must not leave unseen.
struct Witness {
    shared: Arc<Shared>,
    caller: Caller,
    from: IpAddr,
    method: Method,
    row: Row,
    op: &'static str,
    target: Option<String>,
    answered: bool,
}

impl Drop for Witness {
    fn drop(&mut self) {
        if !self.answered {
            self.note("unknown", Told::default(), "");
        }
    }
}

impl Witness {
    fn of(call: &Call, row: Row, op: &'static str) -> Self {
        Self {
            shared: call.shared.clone(),
            caller: call.caller.clone(),
            from: call.peer,
            method: call.head.method.clone(),
            row,
            op,
            target: first_part(call, row.pattern),
            answered: false,
        }
    }

    /// Records what changed something and what a role forbade; other refusals changed nothing.
    fn told(mut self, mut answer: Answer) -> Answer {
        self.answered = true;
        match answer.refused {
            Some(refused) if refused.partly || refused.code == Code::Forbidden => {
                self.note(refused.code.word(), std::mem::take(&mut answer.told), "");
            }
            Some(_) => {}
            None if answer.told.unchanged => {}
            None => {
                if !answer.headers.contains_key("kwq-position") {
                    answer = answer.positions(&self.shared.api.handle.positions());
                }
                let position = answer.headers.get("kwq-position");
                let position = position.and_then(|text| text.to_str().ok()).unwrap_or_default();
                self.note("ok", std::mem::take(&mut answer.told), position);
            }
        }
        answer
    }

    fn note(&self, result: &'static str, told: Told, position: &str) {
        let api = &self.shared.api;
        let Some(audit) = &api.audit else { return };
        let mut target = told.target.or_else(|| self.target.clone()).unwrap_or_default();
        target.truncate(target.floor_char_boundary(limits::AUDIT_TARGET_BYTES_MAX));
        let actor = self.caller.name.as_ref();
        audit.note(Deed {
            at: api.handle.now().wall,
            actor: actor.map_or_else(|| "anonymous".to_owned(), |name| format!("token:{name}")),
            from: self.from.to_string(),
            role: role(&self.caller, self.row.rule),
            op: self.op,
            call: format!("{} {}", self.method, self.row.pattern),
            target,
            result,
            job: told.job.unwrap_or_default(),
            operation: told.operation.unwrap_or_default(),
            position: position.to_owned(),
        });
    }
}

/// The role it was allowed by, or the first it would have needed.
fn role(caller: &Caller, rule: Rule) -> &'static str {
    let Access::OneOf(roles) = rule.access else { return "" };
    let held = caller.roles.both(roles).iter().next();
    held.or_else(|| roles.iter().next()).map_or("", |role| role.word())
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;

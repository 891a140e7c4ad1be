//! The audit trail, read.

use crate::api::answer::Answer;
use crate::api::call::Call;
use crate::api::problem::{Outcome, Problem};
use crate::api::route::{ADMIN, Route, on};
use crate::codec::wire::out::Out;
use crate::model::reject::{Code, Reject};
use hyper::Method;
use tokio::sync::oneshot;

pub(crate) fn routes() -> Vec<Route> {
    vec![on(Method::GET, "/kwq/audit", ADMIN.whole(), list)]
}

async fn list(call: Call) -> Outcome {
    let query = call.query(&["after", "limit"])?;
    let after = query.integer("after", 0, u64::MAX)?.unwrap_or(0);
    let limit = query.limit()?;
    let Some(audit) = &call.shared.api.audit else { return Ok(Answer::json(b"[]".to_vec())) };
    let busy = || Reject::new(Code::Overloaded, "the audit trail is busy").retry_unapplied(1_000);
    let (reply, lines) = oneshot::channel();
    // The asker may have gone.
    let asked = audit.read(after, limit, Box::new(move |lines| drop(reply.send(lines))));
    asked.map_err(|_| busy())?;
    let lines = lines.await.map_err(|_| busy())?.map_err(|error| {
        tracing::error!(%error, "the audit trail cannot be read");
        Problem::new(Code::Internal, "the audit trail cannot be read; see the log")
    })?;
    let mut out = Out::with_capacity(2 + lines.len() * 512);
    out.open_list();
    lines.iter().for_each(|line| out.raw(line.as_bytes()));
    out.close_list();
    Ok(Answer::json(out.into_bytes()))
}

//! Server-sent events: `GET /kwq/jobs/{job}/events`, how a job goes on, and `GET /kwq/events`, how
//! the whole node does.

use crate::actor::feed::Events;
use crate::api::call::Call;
use crate::api::context::Shared;
use crate::api::jobs::body;
use crate::api::problem::Outcome;
use crate::api::query::bad;
use crate::api::route::{Route, VIEW, on};
use crate::api::sse::{self, Source};
use crate::api::stream::Pulse;
use crate::codec::wire::sse as wire;
use crate::model::id::Name;
use crate::model::job::JobState;
use crate::model::limits;
use crate::model::reject::{Code, Reject};
use crate::model::view::JobView;
use hyper::Method;
use hyper::body::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Between two looks at the job.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Between two `progress` events, at least.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

pub(crate) fn job_routes() -> Vec<Route> {
    vec![on(Method::GET, "/kwq/jobs/{job}/events", VIEW, of_job)]
}

pub(crate) fn node_routes() -> Vec<Route> {
    vec![on(Method::GET, "/kwq/events", VIEW, of_node)]
}

async fn of_node(call: Call) -> Outcome {
    call.query(&[])?;
    let after = last_event_id(&call)?;
    let events = call.shared.api.handle.events(after);
    let live = Live { events, pulse: Pulse::new(call.shared.phase.clone()), begun: false };
    Ok(sse::answer(&call, live)?)
}

/// Where a listener left off.
fn last_event_id(call: &Call) -> Result<Option<u64>, Reject> {
    let Some(text) = call.header("last-event-id")? else { return Ok(None) };
    let fits = text.len() <= limits::EVENT_ID_DIGITS_MAX;
    let fits = fits && text.bytes().all(|byte| byte.is_ascii_digit());
    let id = text.parse().ok().filter(|_| fits);
    let wrong = || bad("Last-Event-ID", "Last-Event-ID must be the id of an event, a number");
    id.map(Some).ok_or_else(wrong)
}

/// The node, live.
struct Live {
    events: Events,
    pulse: Pulse,
    begun: bool,
}

impl Source for Live {
    async fn piece(&mut self) -> Result<Option<Bytes>, Reject> {
        if !self.begun {
            self.begun = true;
            return Ok(Some(Bytes::from_static(wire::RETRY)));
        }
        let left = self.pulse.left();
        tokio::select! {
            biased;
            on = self.pulse.rest(left) => {
                self.pulse.speak();
                match on {
                    true => Ok(Some(Bytes::from_static(wire::COMMENT))),
                    // The stream ends with what was found until then.
                    false => Ok(self.events.left().map(Bytes::from_owner)),
                }
            }
            text = self.events.next() => Ok(Some(Bytes::from_owner(text))),
        }
    }
}

async fn of_job(call: Call) -> Outcome {
    let job = call.name(0, "job")?;
    call.query(&[])?;
    let first = call.shared.api.handle.job(job.clone()).await?;
    let watch = Watch {
        pulse: Pulse::new(call.shared.phase.clone()),
        shared: Arc::clone(&call.shared),
        job,
        next: Some(first),
        seen: None,
        progressed: None,
        number: 0,
    };
    Ok(sse::answer(&call, watch)?)
}

struct Watch {
    shared: Arc<Shared>,
    job: Name,
    /// Looked at before the answer began.
    next: Option<JobView>,
    /// State and print as they were sent.
    seen: Option<(JobState, u64)>,
    progressed: Option<Instant>,
    number: u64,
    pulse: Pulse,
}

impl Source for Watch {
    async fn piece(&mut self) -> Result<Option<Bytes>, Reject> {
        if self.seen.is_some_and(|(state, _)| state.ended()) {
            return Ok(None);
        }
        loop {
            let job = match self.next.take() {
                Some(job) => job,
                None if !self.pulse.rest(LOOK_EVERY).await => return Ok(None),
                None => match self.shared.api.handle.job(self.job.clone()).await {
                    Ok(job) => job,
                    // It was purged.
                    Err(reject) if matches!(reject.code, Code::JobNotFound | Code::Purged) => {
                        return Ok(None);
                    }
                    Err(reject) => return Err(reject),
                },
            };
            if let Some(kind) = self.kind(&job) {
                return Ok(Some(self.event(kind, &job)));
            }
            if self.pulse.due() {
                self.pulse.speak();
                return Ok(Some(Bytes::from_static(wire::COMMENT)));
            }
        }
    }
}

impl Watch {
    /// Name of the event this look at the job is worth.
    fn kind(&self, job: &JobView) -> Option<&'static str> {
        let Some((state, print)) = self.seen else {
            return Some(if job.state.ended() { "state" } else { "progress" });
        };
        if state != job.state {
            return Some("state");
        }
        let rested = self.progressed.is_none_or(|at| at.elapsed() >= PROGRESS_EVERY);
        (rested && print != job.print()).then_some("progress")
    }

    fn event(&mut self, kind: &'static str, job: &JobView) -> Bytes {
        self.pulse.speak();
        self.number += 1;
        if kind == "progress" {
            self.progressed = Some(Instant::now());
        }
        self.seen = Some((job.state, job.print()));
        let event = wire::event(self.number, kind, &body(&self.shared, job));
        if self.number > 1 {
            return event.into();
        }
        [wire::RETRY.trim_ascii_end(), b"\n", &event].concat().into()
    }
}

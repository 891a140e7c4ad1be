//! `GET /kwq/jobs/{job}/events`: how a job goes on, as server-sent events.

use crate::api::answer::Answer;
use crate::api::call::Call;
use crate::api::context::Shared;
use crate::api::jobs::body;
use crate::api::problem::Outcome;
use crate::api::route::{Route, VIEW, on};
use crate::api::stream::{Broken, Pulse, Streaming};
use crate::model::id::Name;
use crate::model::reject::{Code, Reject};
use crate::model::time::WallMs;
use crate::model::view::JobView;
use hyper::body::Bytes;
use hyper::header::HeaderValue;
use hyper::{Method, StatusCode};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");
/// Between two looks at the job.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Between two `progress` events, at least.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

pub(crate) fn routes() -> Vec<Route> {
    vec![on(Method::GET, "/kwq/jobs/{job}/events", VIEW, of_job)]
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
    let pieces = futures_util::stream::unfold(Some(watch), |watch| async {
        let mut watch = watch?;
        match watch.piece().await {
            Ok(Some(bytes)) => Some((Ok(bytes), Some(watch))),
            Ok(None) => None,
            Err(reject) => Some((Err(Broken(reject.detail.to_string())), None)),
        }
    });
    let answer = Answer::typed(StatusCode::OK, EVENTS, Bytes::new());
    Ok(answer.streaming(Streaming::new(Box::pin(pieces))))
}

struct Watch {
    shared: Arc<Shared>,
    job: Name,
    /// Looked at before the answer began.
    next: Option<JobView>,
    /// As it was sent.
    seen: Option<JobView>,
    progressed: Option<Instant>,
    number: u64,
    pulse: Pulse,
}

impl Watch {
    /// The next event; `None` = no more.
    async fn piece(&mut self) -> Result<Option<Bytes>, Reject> {
        if self.seen.as_ref().is_some_and(|job| job.state.ended()) {
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
                return Ok(Some(self.event(kind, job)));
            }
            if self.pulse.due() {
                self.pulse.speak();
                return Ok(Some(Bytes::from_static(b":\n\n")));
            }
        }
    }

    /// Name of the event this look at the job is worth.
    fn kind(&self, job: &JobView) -> Option<&'static str> {
        let Some(seen) = &self.seen else {
            return Some(if job.state.ended() { "state" } else { "progress" });
        };
        if seen.state != job.state {
            return Some("state");
        }
        let rested = self.progressed.is_none_or(|at| at.elapsed() >= PROGRESS_EVERY);
        (rested && settled(seen) != settled(job)).then_some("progress")
    }

    fn event(&mut self, kind: &'static str, job: JobView) -> Bytes {
        self.pulse.speak();
        self.number += 1;
        let retry = if self.number == 1 { "retry: 2000\n" } else { "" };
        let mut text = format!("{retry}id: {}\nevent: {kind}\ndata: ", self.number).into_bytes();
        text.extend(body(&self.shared, &job));
        text.extend_from_slice(b"\n\n");
        if kind == "progress" {
            self.progressed = Some(Instant::now());
        }
        self.seen = Some(job);
        text.into()
    }
}

/// A job without what moves by itself: rates, and what is made of them and the clock.
fn settled(job: &JobView) -> JobView {
    JobView { rate_per_sec: 0.0, eta: None, ended: WallMs(0), ..job.clone() }
}

//! Verbs that are called per task, recognised without the filters.

use crate::api::call::Call;
use crate::api::problem::Outcome;
use crate::api::route::{Row, SUBMIT, WORK};
use crate::api::{consume, seed, submit};
use crate::codec::wire::report::Kind;
use crate::model::reject::Reject;
use hyper::Method;

/// A hot verb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hot {
    Consume,
    Heartbeat,
    Report(Kind),
    Submit,
    JobTasks,
    SeedConsume,
}

impl Hot {
    /// Every hot verb.
    pub(crate) const ALL: [Self; 9] = [
        Self::Consume,
        Self::Heartbeat,
        Self::Report(Kind::Start),
        Self::Report(Kind::Complete),
        Self::Report(Kind::Fail),
        Self::Report(Kind::Release),
        Self::Submit,
        Self::JobTasks,
        Self::SeedConsume,
    ];

    /// The hot verb of a call, with its path parts read.
    pub(crate) fn of(call: &mut Call) -> Option<Self> {
        let path = call.head.uri.path();
        let verb = path.strip_prefix("/kwq/")?;
        if call.head.method == Method::GET {
            let rest = verb.strip_prefix("consume/")?;
            let parts: Vec<&str> = rest.split('/').collect();
            let three = parts.len() == 3 && parts.iter().all(|p| !p.is_empty());
            return three.then(|| Self::with_params(call, Self::SeedConsume, 3)).flatten();
        }
        if call.head.method != Method::POST {
            return None;
        }
        match verb {
            "consume" => Some(Self::Consume),
            "complete" => Some(Self::Report(Kind::Complete)),
            "submit" => Some(Self::Submit),
            "start" => Some(Self::Report(Kind::Start)),
            "fail" => Some(Self::Report(Kind::Fail)),
            "release" => Some(Self::Report(Kind::Release)),
            "heartbeat" => Some(Self::Heartbeat),
            other => {
                let job = other.strip_prefix("jobs/")?.strip_suffix("/tasks")?;
                let one = !job.is_empty() && !job.contains('/');
                one.then(|| Self::with_params(call, Self::JobTasks, 1)).flatten()
            }
        }
    }

    /// A broken escape leaves the call to the filters, which refuse it.
    fn with_params(call: &mut Call, hot: Self, count: usize) -> Option<Self> {
        let parts = call.head.uri.path().split('/').skip(3).take(count);
        let params: Result<Vec<String>, Reject> = parts.map(crate::api::query::decode).collect();
        call.params = params.ok()?;
        Some(hot)
    }

    /// Its row of the table.
    pub(crate) fn row(self) -> Row {
        match self {
            Self::Consume => Row::new("/kwq/consume", WORK),
            Self::Heartbeat => Row::new("/kwq/heartbeat", WORK),
            Self::Report(Kind::Start) => Row::new("/kwq/start", WORK),
            Self::Report(Kind::Complete) => Row::new("/kwq/complete", WORK),
            Self::Report(Kind::Fail) => Row::new("/kwq/fail", WORK),
            Self::Report(Kind::Release) => Row::new("/kwq/release", WORK),
            Self::Submit => Row::new("/kwq/submit", SUBMIT.audited("task.submit")),
            Self::JobTasks => Row::new("/kwq/jobs/{job}/tasks", SUBMIT.audited("job.submit")),
            Self::SeedConsume => {
                Row::new("/kwq/consume/{workerAddress}/{workerEndpoint}/{waitSec}", WORK)
            }
        }
    }

    /// Its method.
    pub(crate) fn method(self) -> Method {
        match self {
            Self::SeedConsume => Method::GET,
            Self::Consume | Self::Heartbeat | Self::Report(_) | Self::Submit | Self::JobTasks => {
                Method::POST
            }
        }
    }

    /// Runs its handler.
    pub(crate) async fn run(self, call: Call) -> Outcome {
        match self {
            Self::Consume => consume::consume(call).await,
            Self::Heartbeat => consume::heartbeat(call).await,
            Self::Report(kind) => consume::report(call, kind).await,
            Self::Submit => submit::submit(call).await,
            Self::JobTasks => submit::job_tasks(call).await,
            Self::SeedConsume => seed::consume(call).await,
        }
    }
}

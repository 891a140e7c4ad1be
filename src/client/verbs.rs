//! Job verbs in types; everything that is only shown stays JSON text as the server wrote it.

use super::call::part;
use super::{Answer, Call, Client, Error};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// What a client decides by about a job.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    /// Id.
    pub id: String,
    /// `OPEN`, `CLOSED` or an ended state.
    pub state: String,
    /// By state, upper case.
    #[serde(default)]
    pub counts: BTreeMap<String, u64>,
    /// Tasks admitted.
    #[serde(default)]
    pub submitted: u64,
    /// Tasks not ended.
    #[serde(default)]
    pub live: u64,
    /// Tasks ended per second.
    #[serde(default)]
    pub rate_per_sec: f64,
    /// Expected end.
    pub eta_ts: Option<u64>,
}

impl Job {
    /// No task will change any more.
    #[must_use]
    pub fn ended(&self) -> bool {
        !matches!(self.state.as_str(), "OPEN" | "CLOSED")
    }

    /// Tasks of a state.
    #[must_use]
    pub fn count(&self, state: &str) -> u64 {
        self.counts.get(state).copied().unwrap_or(0)
    }

    /// Tasks in an ended state.
    #[must_use]
    pub fn over(&self) -> u64 {
        ["COMPLETED", "ERROR", "CANCELLED", "EXPIRED"].iter().map(|state| self.count(state)).sum()
    }
}

impl Client {
    /// A job.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn job(&self, id: &str) -> Result<Job, Error> {
        self.send(Call::get(job_path(id))).await?.read()
    }

    /// Creates a job, or finds it as given.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn create_job(&self, spec: &Value) -> Result<Answer, Error> {
        let named = spec.get("id").is_some();
        let call = Call::post("/kwq/jobs").json(spec);
        self.send(if named { call.repeatable() } else { call }).await
    }

    /// `close`, `pause`, `resume`, `cancel`: idempotent by nature.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn job_verb(&self, id: &str, verb: &str, body: &Value) -> Result<Answer, Error> {
        let path = format!("{}/{verb}", job_path(id));
        self.send(Call::post(path).json(body).repeatable()).await
    }

    /// Waits for one of `what` at most `wait`; `None` when the time is over.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn wait_job(
        &self,
        id: &str,
        what: &str,
        wait: Duration,
    ) -> Result<Option<Answer>, Error> {
        let call = Call::get(format!("{}/wait", job_path(id)))
            .query("for", what)
            .query("waitMs", wait.as_millis())
            .and_wait(wait);
        let answer = self.send(call).await?;
        Ok((answer.status != 204).then_some(answer))
    }
}

/// Path of a job.
#[must_use]
pub fn job_path(id: &str) -> String {
    format!("/kwq/jobs/{}", part(id))
}
